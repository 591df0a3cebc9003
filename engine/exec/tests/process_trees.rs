//! What programs start and leave behind: nothing of it outlives its task, but what is meant to.

mod fixture;

use fixture::{Fixture, is_alive, kind, one_task};
use rain_exec::{TaskOutcome, run_built_in};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

#[derive(Serialize)]
struct Shell<'a> {
    args: [&'a str; 3],
    env: BTreeMap<&'a str, &'a str>,
}

/// A pipe whose other end the processes of a test have: it ends when all of them have ended.
struct Lifeline {
    end: File,
    text: String,
}

impl Lifeline {
    fn make(path: &std::path::Path) -> Self {
        nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let end = OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path).unwrap();
        Self { end, text: String::new() }
    }

    /// Waits for the next word, which nobody writes in parts, from somebody who has started or will.
    fn next_word(&mut self) -> String {
        let end = Instant::now() + Duration::from_secs(60);
        while !self.text.contains(char::is_whitespace) {
            let mut fds = [nix::poll::PollFd::new(self.end.as_fd(), nix::poll::PollFlags::POLLIN)];
            nix::poll::poll(&mut fds, nix::poll::PollTimeout::from(60_000u16)).unwrap();
            assert!(Instant::now() < end, "nothing was written");
            let mut bytes = [0; 4096];
            // Before anybody has opened the other end, the pipe has ended, too.
            match self.end.read(&mut bytes) {
                Ok(length) => self.text.push_str(std::str::from_utf8(&bytes[..length]).unwrap()),
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
            }
        }
        let (word, rest) = self.text.split_once(char::is_whitespace).unwrap();
        let found = (word.to_owned(), rest.to_owned());
        self.text = found.1;
        found.0
    }

    /// Whether all who have had the other end are gone.
    fn has_ended(&mut self) -> bool {
        let mut bytes = [0; 4096];
        loop {
            match self.end.read(&mut bytes) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => {
                    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
                    return false;
                }
            }
        }
    }
}

enum End {
    /// By itself, when it likes.
    Own,
    /// It is stopped when the lifeline has given a word.
    Stopped,
}

/// Runs a command of bash that has the lifeline's end as descriptor 9; what became of it, and the lifeline afterwards.
fn run(command: &str, end: End) -> (TaskOutcome, Lifeline) {
    let fixture = Fixture::new();
    let path = fixture.outside("lifeline");
    let mut lifeline = Lifeline::make(&path);
    let command = format!("exec 9>$LIFELINE; {command}");
    let env = BTreeMap::from([("LIFELINE", path.to_str().unwrap())]);
    let config = Shell { args: ["bash", "-c", &command], env };
    let outcome = std::thread::scope(|scope| {
        let running = scope.spawn(|| fixture.run("buildin/execute", &config, &[], &[]));
        if let End::Stopped = end {
            lifeline.next_word();
            fixture.stop();
        }
        running.join().unwrap()
    });
    (outcome, lifeline)
}

/// Ways to start a process that gets out of its group, or of its session, or has no parent any more.
const WAYS_OUT: [(&str, &str); 8] = [
    ("a child", "bash -c 'echo $$ >&9; exec sleep 1000' & "),
    ("job control", "set -m; bash -c 'echo $$ >&9; exec sleep 1000' & "),
    ("GNU timeout", "timeout 1000 bash -c 'echo $$ >&9; exec sleep 1000' & "),
    ("a session", "setsid bash -c 'echo $$ >&9; exec sleep 1000' & "),
    ("a daemon", "(setsid bash -c 'echo $$ >&9; exec sleep 1000' &); "),
    (
        "a daemon that takes out the variable, in its parent's session",
        "(env -u RAIN_TASK bash -c 'echo $$ >&9; exec sleep 1000' &); ",
    ),
    ("signals are ignored", "(trap '' TERM INT HUP; setsid bash -c 'echo $$ >&9; exec sleep 1000' &); "),
    ("deep", "(setsid bash -c 'set -m; (setsid bash -c \"echo x >&9; exec sleep 1000\" &); sleep 1000' &); "),
];

#[test]
fn what_a_program_has_started_ends_when_it_is_stopped() {
    for (name, command) in WAYS_OUT {
        let (outcome, mut lifeline) = run(&format!("{command} sleep 1000"), End::Stopped);
        assert!(matches!(outcome, TaskOutcome::Cancelled), "{name}: {outcome:?}");
        assert!(lifeline.has_ended(), "{name}");
    }
}

#[test]
fn what_a_program_has_started_ends_with_it_however_it_ends() {
    for (name, command) in WAYS_OUT {
        for (status, how) in [("0", "well"), ("3", "badly")] {
            // It ends once the other process runs, which it hears of through a pipe.
            let command = command.replace(" >&9;", " >&9; echo >ready;");
            let (outcome, mut lifeline) =
                run(&format!("mkfifo ready; {command} read -r <ready; exit {status}"), End::Own);
            assert_eq!(matches!(outcome, TaskOutcome::Finished { .. }), status == "0", "{name}: {outcome:?}");
            assert!(!lifeline.next_word().is_empty());
            assert!(lifeline.has_ended(), "{name}, which ends {how}");
        }
    }
}

#[test]
fn a_program_that_does_not_stop_starting_others_ends() {
    // Each starts the next one in a session of its own, and ends; should they not be ended, they end after the last one.
    let runner =
        "cat >run <<'E'\n[ $1 -gt 0 ] || exit\n[ $1 -gt 1990 ] || echo x >&9\nsetsid bash ./run $(($1 - 1)) &\nE\n";
    let bomb = "cat >bomb <<'E'\n[ $1 -gt 0 ] || exec sleep 1000\necho x >&9\nsetsid bash ./bomb $(($1 - 1)) &\nbash ./bomb $(($1 - 1)) &\nwait\nE\n";
    for (name, command) in
        [("in a row", format!("{runner}bash run 2000; sleep 1000")), ("in a tree", format!("{bomb}bash bomb 6"))]
    {
        let (outcome, mut lifeline) = run(&command, End::Stopped);
        assert!(matches!(outcome, TaskOutcome::Cancelled), "{name}: {outcome:?}");
        assert!(lifeline.has_ended(), "{name}");
    }
}

#[test]
fn what_is_meant_to_live_on_does() {
    // As the documents have it: nothing waits until it runs.
    let server = "bash -c \"echo \\$\\$ >&9; exec sleep 1000\" >/dev/null 2>&1 </dev/null";
    let command = format!("env -u RAIN_TASK setsid --wait sh -c '{server} &'");
    let (outcome, mut lifeline) = run(&command, End::Own);
    let pid: u32 = lifeline.next_word().parse().unwrap();
    let lives = is_alive(pid);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), nix::sys::signal::Signal::SIGKILL).unwrap();
    assert!(matches!(outcome, TaskOutcome::Finished { .. }), "{outcome:?}");
    assert!(lives, "it was ended with its task");
}

#[test]
fn processes_of_others_stay() {
    let fixture = Fixture::new();
    // Started while the program runs, by somebody else: so it has a pid among those that are looked at.
    let path = fixture.outside("lifeline");
    let mut lifeline = Lifeline::make(&path);
    let env = BTreeMap::from([("LIFELINE", path.to_str().unwrap())]);
    let config = Shell { args: ["bash", "-c", "echo $RAIN_TASK >$LIFELINE; sleep 1000 & sleep 1000"], env };
    let batch = one_task(kind("buildin/execute", &config, &[]), 0);
    std::thread::scope(|scope| {
        let running = scope.spawn(|| fixture.with_call(&batch, &[], run_built_in));
        let value = lifeline.next_word();
        let mut others = [
            std::process::Command::new("sleep").arg("1000").spawn().unwrap(),
            std::process::Command::new("setsid").args(["sleep", "1000"]).spawn().unwrap(),
            std::process::Command::new("setsid")
                .args(["sleep", "1000"])
                .env("RAIN_TASK", format!("{value}0"))
                .spawn()
                .unwrap(),
        ];
        fixture.stop();
        let outcome = running.join().unwrap();
        let alive = others.each_mut().map(|child| child.try_wait().unwrap().is_none());
        others.iter_mut().for_each(|child| drop((child.kill(), child.wait())));
        assert!(matches!(outcome, TaskOutcome::Cancelled), "{outcome:?}");
        assert_eq!(alive, [true; 3]);
    });
}

#[test]
fn each_program_has_a_task_of_its_own_and_default_signals() {
    let fixture = Fixture::new();
    let masks = ["SigBlk", "SigIgn"].map(|name| format!("{name}:\t0000000000000000"));
    let mut values = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let path = fixture.outside("lifeline");
        let mut lifeline = Lifeline::make(&path);
        let env = BTreeMap::from([("LIFELINE", path.to_str().unwrap())]);
        let command =
            "{ echo $RAIN_TASK; grep -E 'Sig(Blk|Ign)' /proc/self/status | tr '\\t\\n' '= '; echo; } >$LIFELINE";
        let config = Shell { args: ["sh", "-c", command], env };
        // As whoever started this process may have left it.
        let ignored =
            [nix::sys::signal::Signal::SIGINT, nix::sys::signal::Signal::SIGHUP, nix::sys::signal::Signal::SIGUSR1];
        // SAFETY: ignoring a signal runs no code.
        let set = |handler| ignored.map(|signal| unsafe { nix::sys::signal::signal(signal, handler) }.unwrap());
        let before = set(nix::sys::signal::SigHandler::SigIgn);
        let outcome = fixture.run("buildin/execute", &config, &[], &[]);
        for (signal, handler) in ignored.iter().zip(before) {
            // SAFETY: as it was before.
            unsafe { nix::sys::signal::signal(*signal, handler) }.unwrap();
        }
        assert!(matches!(outcome, TaskOutcome::Finished { .. }), "{outcome:?}");
        values.insert(lifeline.next_word());
        for mask in &masks {
            assert_eq!(lifeline.next_word(), mask.replace('\t', "="));
        }
        std::fs::remove_file(path).unwrap();
    }
    assert_eq!(values.len(), 3);
}

#[test]
fn a_program_stopped_before_it_starts_ends_at_once() {
    let fixture = Fixture::new();
    fixture.stop();
    let config = Shell { args: ["sh", "-c", "sleep 1000"], env: BTreeMap::new() };
    let outcome = fixture.run("buildin/execute", &config, &[], &[]);
    assert!(matches!(outcome, TaskOutcome::Cancelled), "{outcome:?}");
}
