//! Starting a governor on each of many machines through SSH.

use super::greeting;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The command for SSH, with options, instead of `ssh`.
pub const VARIABLE: &str = "RAIN_SSH";
/// Machines to which there are connections at the same time: each is a process here, and sshd refuses what comes too fast.
const AT_ONCE_MAX: usize = 64;
/// How long one machine may take.
const START_TIME_MAX: Duration = Duration::from_secs(60);
/// How long its TCP connection may take.
const CONNECT_SECONDS: &str = "ConnectTimeout=15";
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// So much of what a machine says is kept.
const SAID_BYTES_MAX: usize = 64 << 10;
/// So many lines of it are shown where it is not known which of them matter.
const SHOWN_LINES_MAX: usize = 10;
/// The exit status of ssh where ssh itself failed.
const OF_SSH: i32 = 255;

/// A host on which no governor is, and why.
#[derive(Debug, thiserror::Error)]
#[error("{host}: {why}")]
pub struct HostError {
    pub(super) host: String,
    pub(super) why: String,
}

/// Runs `command`, which starts a detached governor, on all hosts, many at a time, and waits until it has ended everywhere, or
/// until `given_up`. A governor that asks for its standard input gets `input`.
///
/// # Errors
/// All hosts on which no governor is, each with what ssh or the command said.
pub fn run_everywhere(
    hosts: &[String],
    command: &str,
    input: &[u8],
    given_up: &dyn Fn() -> bool,
) -> Result<(), Vec<HostError>> {
    raise_descriptor_limit();
    let mut waiting: VecDeque<&String> = hosts.iter().collect();
    let (mut running, mut failed): (Vec<Running<'_>>, Vec<HostError>) = (Vec::new(), Vec::new());
    let mut at_once = AT_ONCE_MAX;
    while (!waiting.is_empty() || !running.is_empty()) && !given_up() {
        while running.len() < at_once
            && let Some(host) = waiting.pop_front()
        {
            match Running::start(host, command) {
                Ok(started) => running.push(started),
                // As many as the system lets this user have, then.
                Err(error) if is_scarcity(&error) && !running.is_empty() => {
                    waiting.push_front(host);
                    at_once = running.len();
                }
                Err(error) => failed.push(HostError { host: host.clone(), why: cannot_run(&error) }),
            }
        }
        wait(&running);
        let mut still_running = Vec::with_capacity(running.len());
        for mut one in running {
            match one.look(input) {
                None => still_running.push(one),
                Some(Ok(())) => {}
                Some(Err(why)) => failed.push(HostError { host: one.host.to_owned(), why }),
            }
        }
        running = still_running;
    }
    if failed.is_empty() { Ok(()) } else { Err(failed) }
}

/// Lets this process have as many descriptors as it may.
fn raise_descriptor_limit() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
    {
        // With fewer, fewer machines are started at a time.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

fn is_scarcity(error: &io::Error) -> bool {
    let scarce = [Errno::EAGAIN, Errno::EMFILE, Errno::ENFILE, Errno::ENOMEM];
    error.raw_os_error().is_some_and(|code| scarce.contains(&Errno::from_raw(code)))
}

fn ssh_words() -> Vec<String> {
    let words = std::env::var(VARIABLE).ok().and_then(|text| shlex::split(&text)).filter(|words| !words.is_empty());
    words.unwrap_or_else(|| vec!["ssh".to_owned()])
}

fn cannot_run(error: &io::Error) -> String {
    let limits = if is_scarcity(error) { " (limits of this machine: see `ulimit -u` and `ulimit -n`)" } else { "" };
    format!("cannot run {}: {error}{limits}", ssh_words()[0])
}

/// Waits until one of them has said something, or a short time.
fn wait(running: &[Running<'_>]) {
    let streams = running.iter().flat_map(|one| {
        [one.out.as_ref().map(ChildStdout::as_fd), one.errors.as_ref().map(ChildStderr::as_fd)].into_iter().flatten()
    });
    let mut polled: Vec<PollFd<'_>> = streams.map(|stream| PollFd::new(stream, PollFlags::POLLIN)).collect();
    let _ = poll(&mut polled, PollTimeout::try_from(LOOK_AGAIN).unwrap_or(PollTimeout::ZERO));
}

/// An ssh, and what it has said.
struct Running<'a> {
    host: &'a str,
    child: Child,
    input: Option<ChildStdin>,
    out: Option<ChildStdout>,
    errors: Option<ChildStderr>,
    heard: Vec<u8>,
    said: Vec<u8>,
    deadline: Instant,
}

impl<'a> Running<'a> {
    fn start(host: &'a str, command: &str) -> io::Result<Self> {
        let words = ssh_words();
        let mut ssh = Command::new(&words[0]);
        ssh.args(&words[1..]).args(["-T", "-o", "BatchMode=yes", "-o", CONNECT_SECONDS, "--", host, command]);
        ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = ssh.spawn()?;
        let (input, out, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let deadline = Instant::now() + START_TIME_MAX;
        let started = Self { host, child, input, out, errors, heard: Vec::new(), said: Vec::new(), deadline };
        for stream in
            [started.out.as_ref().map(AsFd::as_fd), started.errors.as_ref().map(AsFd::as_fd)].into_iter().flatten()
        {
            fcntl(stream, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        Ok(started)
    }

    /// Takes what has come; how it has ended, if it has.
    fn look(&mut self, input: &[u8]) -> Option<Result<(), String>> {
        let status = self.child.try_wait();
        // After the status: what was said before the end is there then.
        take(&mut self.out, &mut self.heard);
        take(&mut self.errors, &mut self.said);
        if greeting::is_in(&self.heard, greeting::ASKS)
            && let Some(mut stdin) = self.input.take()
        {
            // Small enough for the pipe; that ssh has ended already is said by itself.
            let _ = stdin.write_all(input);
        }
        match status {
            Ok(Some(status)) => Some(self.judge(status)),
            Ok(None) if Instant::now() < self.deadline => None,
            Ok(None) => Some(Err(self.no_answer())),
            Err(error) => Some(Err(error.to_string())),
        }
    }

    fn judge(&self, status: ExitStatus) -> Result<(), String> {
        let (said, is_of_the_governor) = greeting::of_the_governor(&self.said);
        if status.success() {
            if greeting::is_in(&self.heard, greeting::READY) {
                return Ok(());
            }
            let why = "ssh has ended well and no governor is there: a login script on that machine (~/.bashrc, ~/.profile, \
                       ~/.login, ...) ends its shell before Rain's command is run";
            return Err(with_lines(why, &last_lines(&said)));
        }
        if is_of_the_governor {
            return Err(if said.is_empty() { format!("the governor ended with {status}") } else { said });
        }
        match status.code() {
            Some(OF_SSH) if !said.is_empty() => Err(last_lines(&said)),
            _ => Err(with_lines(&format!("ended with {status} before the governor was started"), &last_lines(&said))),
        }
    }

    fn no_answer(&self) -> String {
        let seconds = START_TIME_MAX.as_secs();
        let (said, is_of_the_governor) = greeting::of_the_governor(&self.said);
        let why = if is_of_the_governor {
            format!("the governor was not ready within {seconds} s")
        } else {
            format!(
                "no answer within {seconds} s: is that machine alive, and does a login script there (~/.bashrc, \
                 ~/.profile, ~/.login, ...) read standard input or start another shell?"
            )
        };
        with_lines(&why, &last_lines(&said))
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Reads what there is to read, up to a bound, of a stream that does not block; a stream that has ended goes.
fn take(stream: &mut Option<impl Read>, text: &mut Vec<u8>) {
    let mut piece = [0; 4096];
    while let Some(open) = stream {
        match open.read(&mut piece) {
            Ok(0) => *stream = None,
            Ok(count) => {
                let room = SAID_BYTES_MAX.saturating_sub(text.len());
                text.extend_from_slice(&piece[..count.min(room)]);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => *stream = None,
        }
    }
}

fn with_lines(why: &str, lines: &str) -> String {
    if lines.is_empty() { why.to_owned() } else { format!("{why}\n{lines}") }
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(SHOWN_LINES_MAX)..].join("\n")
}
