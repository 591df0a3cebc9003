//! Starting a governor on another machine through SSH.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The command for SSH, with options, instead of `ssh`.
pub const VARIABLE: &str = "RAIN_SSH";
/// How long one machine may take.
const START_TIME_MAX: Duration = Duration::from_secs(60);
/// How long its TCP connection may take.
const CONNECT_SECONDS: &str = "ConnectTimeout=15";
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A host on which no governor is, and why.
#[derive(Debug, thiserror::Error)]
#[error("{host}: {why}")]
pub struct HostError {
    pub(super) host: String,
    pub(super) why: String,
}

/// Runs `command` on all hosts at once, with `input` as its standard input, and waits until all have ended, or until
/// `given_up`.
///
/// # Errors
/// All hosts on which it failed, each with what ssh or the command said.
pub fn run_everywhere(
    hosts: &[String],
    command: &str,
    input: &[u8],
    given_up: &dyn Fn() -> bool,
) -> Result<(), Vec<HostError>> {
    let deadline = Instant::now() + START_TIME_MAX;
    let started: Vec<(&String, Result<Running, String>)> =
        hosts.iter().map(|host| (host, Running::start(host, command, input))).collect();
    let failed = started.into_iter().filter_map(|(host, running)| {
        let ended = running.and_then(|running| running.wait(deadline, given_up));
        ended.err().map(|why| HostError { host: host.clone(), why })
    });
    let failed: Vec<HostError> = failed.collect();
    if failed.is_empty() { Ok(()) } else { Err(failed) }
}

struct Running {
    child: Child,
    errors: std::thread::JoinHandle<String>,
}

impl Running {
    fn start(host: &str, command: &str, input: &[u8]) -> Result<Self, String> {
        let words = std::env::var(VARIABLE).ok().and_then(|text| shlex::split(&text)).filter(|words| !words.is_empty());
        let words = words.unwrap_or_else(|| vec!["ssh".to_owned()]);
        let mut ssh = Command::new(&words[0]);
        ssh.args(&words[1..]).args(["-T", "-o", "BatchMode=yes", "-o", CONNECT_SECONDS, "--", host, command]);
        ssh.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = ssh.spawn().map_err(|error| format!("cannot run {}: {error}", words[0]))?;
        let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
        if let Some(mut stdin) = stdin {
            // Small enough for the pipe; that ssh has ended already is said by itself.
            let _ = stdin.write_all(input);
        }
        let errors = std::thread::spawn(move || {
            let mut text = Vec::new();
            if let Some(stderr) = stderr {
                let _ = stderr.take(64 << 10).read_to_end(&mut text);
            }
            String::from_utf8_lossy(&text).trim().to_owned()
        });
        Ok(Self { child, errors })
    }

    fn wait(mut self, deadline: Instant, given_up: &dyn Fn() -> bool) -> Result<(), String> {
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if Instant::now() < deadline && !given_up() => std::thread::sleep(LOOK_AGAIN),
                Ok(None) => {
                    let _ = self.child.kill();
                    let _ = self.child.wait();
                    return Err(format!("no answer within {} s", START_TIME_MAX.as_secs()));
                }
                Err(error) => return Err(error.to_string()),
            }
        };
        if status.success() {
            // What is left behind there may hold standard error open; it is of no interest.
            return Ok(());
        }
        let said = self.errors.join().unwrap_or_default();
        Err(if said.is_empty() { format!("ssh ended with {status}") } else { said })
    }
}
