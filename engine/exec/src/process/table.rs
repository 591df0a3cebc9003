//! What the system says about processes: `/proc`, and calls that tell without it.

use nix::errno::Errno;
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use nix::unistd::{Pid, getsid};
use std::ffi::CStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Environments are searched so far; the system allows a few MiB.
const ENVIRONMENT_BYTES_MAX: u64 = 16 << 20;
/// How long it may take to execute a program that has begun to be.
const EXECUTION_TIME_MAX: Duration = Duration::from_secs(2);
/// What the system allows at least where it does not say.
const PIDS_MIN: i32 = 1 << 15;

/// A process, as `/proc/PID/stat` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    /// `R` runs, `T` is stopped, `Z` has ended, and others.
    pub(super) state: u8,
    pub(super) parent: i32,
    pub(super) session: i32,
    /// Ticks from the start of the system to that of the process: with the pid, it names one process for ever.
    pub(super) started: u64,
}

impl Stat {
    /// Reads about a process; none if there is none, or it may not be looked at.
    pub(super) fn read(pid: i32) -> Option<Self> {
        let text = fs::read(format!("/proc/{pid}/stat")).ok()?;
        // The program's name stands in parentheses and may contain anything, parentheses too.
        let end = text.iter().rposition(|byte| *byte == b')')?;
        let mut fields = text[end + 1..].split(|byte| *byte == b' ').filter(|field| !field.is_empty());
        let state = *fields.next()?.first()?;
        let number = |field: &[u8]| std::str::from_utf8(field).ok()?.parse::<u64>().ok();
        let (parent, _group, session) = (number(fields.next()?)?, fields.next()?, number(fields.next()?)?);
        // Fields are numbered from 1 in proc(5); the session is number 6, the start number 22.
        let started = number(fields.nth(22 - 6 - 1)?)?;
        Some(Self { state, parent: i32::try_from(parent).ok()?, session: i32::try_from(session).ok()?, started })
    }

    /// It has ended, though its parent may not have noticed.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }

    /// It does not run, and will not before a signal comes; or it waits within the system, as for a child that has its memory.
    pub(super) fn stands_still(&self) -> bool {
        self.has_ended() || matches!(self.state, b'T' | b't' | b'D')
    }
}

/// The session of a process or thread; none if there is none.
pub(super) fn session_of(pid: i32) -> Option<i32> {
    match getsid(Some(Pid::from_raw(pid))) {
        Ok(session) => Some(session.as_raw()),
        Err(Errno::ESRCH) => None,
        // The system keeps it secret, so it is not one of ours.
        Err(_) => None,
    }
}

/// Whether the environment that a process's program was started with has this entry (`NAME=value`). One that may not be read has
/// not. Waits for a program that is just being executed.
pub(super) fn environment_has(pid: i32, entry: &CStr) -> bool {
    let end = Instant::now() + EXECUTION_TIME_MAX;
    let mut was_executed = false;
    loop {
        let mut bytes = Vec::new();
        let read = File::open(format!("/proc/{pid}/environ"))
            .and_then(|file| file.take(ENVIRONMENT_BYTES_MAX).read_to_end(&mut bytes));
        if read.is_err() {
            return false;
        }
        if !bytes.is_empty() {
            return bytes.split(|byte| *byte == 0).any(|found| found == entry.to_bytes());
        }
        if was_executed || Instant::now() >= end {
            return false;
        }
        // It may have got its environment since that was read, so that this is read once more.
        was_executed = !is_being_executed(pid);
        if !was_executed {
            std::thread::sleep(Duration::from_micros(50));
        }
    }
}

/// Whether the memory of a process has no place for an environment yet.
fn is_being_executed(pid: i32) -> bool {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let Some((_, fields)) = text.rsplit_once(')') else { return false };
    let mut fields = fields.split_whitespace();
    // The state is field 3 in proc(5), the end of the environment field 51; it is 0 also of who has ended.
    let state = fields.next();
    fields.nth(51 - 3 - 1) == Some("0") && !matches!(state, Some("Z" | "X" | "x"))
}

/// All processes, not their threads; none when `/proc` is not there.
pub(super) fn all_pids() -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The pid that was given out last, to whatever process or thread; none where the system does not say.
pub(super) fn last_pid() -> Option<i32> {
    static AVERAGES: OnceLock<Option<File>> = OnceLock::new();
    let averages = AVERAGES.get_or_init(|| {
        let file = File::open("/proc/loadavg").ok()?;
        // Containers may have a file of their own in its place, whose last number is another.
        let is_genuine = fstatfs(&file).is_ok_and(|system| system.filesystem_type() == PROC_SUPER_MAGIC);
        is_genuine.then_some(file)
    });
    let mut bytes = [0; 128];
    let length = averages.as_ref()?.read_at(&mut bytes, 0).ok()?;
    let text = std::str::from_utf8(bytes.get(..length)?).ok()?;
    text.split_whitespace().nth(4)?.parse().ok()
}

/// Pids are smaller than this, and given out in turn.
pub(super) fn pid_limit() -> i32 {
    static LIMIT: OnceLock<i32> = OnceLock::new();
    *LIMIT.get_or_init(|| {
        let text = fs::read_to_string("/proc/sys/kernel/pid_max").unwrap_or_default();
        text.trim().parse().unwrap_or(PIDS_MIN)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_described() {
        let own = std::process::id() as i32;
        let stat = Stat::read(own).unwrap();
        assert_eq!(stat.parent, nix::unistd::getppid().as_raw());
        assert_eq!(Some(stat.session), session_of(own));
        assert!(!stat.has_ended() && stat.started > 0);
        assert!(all_pids().contains(&own));
        assert_eq!(Stat::read(0), None);
    }

    #[test]
    fn environments_are_those_of_programs() {
        for _ in 0..50 {
            // The system says that it runs before its environment is there.
            let mut command = std::process::Command::new("sleep");
            let mut child = command.arg("1000").env("RAIN_TEST_ENTRY", "one").spawn().unwrap();
            let pid = child.id() as i32;
            let entries = [c"RAIN_TEST_ENTRY=one", c"RAIN_TEST_ENTRY=on", c"TEST_ENTRY=one"];
            let found = entries.map(|entry| environment_has(pid, entry));
            child.kill().unwrap();
            while !Stat::read(pid).unwrap().has_ended() {
                std::thread::yield_now();
            }
            let ended = environment_has(pid, entries[0]);
            child.wait().unwrap();
            assert_eq!((found, ended), ([true, false, false], false));
            assert!(!environment_has(pid, entries[0]));
        }
        let mut child = std::process::Command::new("/bin/sleep").arg("1000").env_clear().spawn().unwrap();
        let (found, executed) = (environment_has(child.id() as i32, c"A="), !is_being_executed(child.id() as i32));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!found && executed);
    }
}
