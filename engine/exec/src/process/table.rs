//! What the system says about processes: `/proc`, and calls that tell without it.

use nix::errno::Errno;
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use nix::unistd::{Pid, SysconfVar, getsid, sysconf};
use std::ffi::CStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Environments are searched so far; the system allows a few MiB.
const ENVIRONMENT_BYTES_MAX: u64 = 16 << 20;
/// How long it may take to execute a program that has begun to be.
const EXECUTION_TIME_MAX: Duration = Duration::from_secs(2);
/// What the system allows at least where it does not say.
const PIDS_MIN: i32 = 1 << 15;

/// The flag of processes that the system is ending (`PF_EXITING` in its `sched.h`).
const ENDING: u64 = 4;

/// Whether the system is ending a process, or it has ended. That is so before the system closes what it has open.
pub(super) fn is_ending(pid: i32) -> bool {
    let Ok(text) = fs::read(format!("/proc/{pid}/stat")) else { return true };
    // Numbered from 3 in proc(5): the flags are field 9.
    let flags = fields_of_stat(&text).and_then(|mut fields| number(fields.nth(9 - 3)?));
    flags.is_none_or(|flags| flags & ENDING != 0)
}

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
        let mut fields = fields_of_stat(&text)?;
        let state = *fields.next()?.first()?;
        let (parent, _group, session) = (number(fields.next()?)?, fields.next()?, number(fields.next()?)?);
        // Numbered from 1 in proc(5): the session is field 6, the start field 22.
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
/// not.
pub(super) fn environment_has(pid: i32, entry: &CStr) -> bool {
    let end = Instant::now() + EXECUTION_TIME_MAX;
    loop {
        // A process that ends or executes another program while its environment is read shows a part of it, or nothing.
        match (environment_size(pid), environment_of(pid)) {
            (None, _) | (_, Err(_)) => return false,
            (Some(size), Ok(bytes)) if bytes.len() as u64 == size.min(ENVIRONMENT_BYTES_MAX) => {
                return bytes.split(|byte| *byte == 0).any(|found| found == entry.to_bytes());
            }
            _ if Instant::now() >= end => return false,
            _ => std::thread::sleep(Duration::from_micros(50)),
        }
    }
}

fn environment_of(pid: i32) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(format!("/proc/{pid}/environ"))?.take(ENVIRONMENT_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Bytes of the environment of a process, more than there can be while its program is being executed; none of one that has ended.
fn environment_size(pid: i32) -> Option<u64> {
    let text = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = fields_of_stat(&text)?;
    // Numbered from 1 in proc(5): the state is field 3, start and end of the environment are fields 50 and 51.
    let state = fields.next()?;
    let (start, end) = (number(fields.nth(50 - 3 - 1)?)?, number(fields.next()?)?);
    if matches!(state, b"Z" | b"X" | b"x") {
        return None;
    }
    Some(if end == 0 { u64::MAX } else { end.saturating_sub(start) })
}

/// The fields of `/proc/PID/stat` from the state on.
fn fields_of_stat(text: &[u8]) -> Option<impl Iterator<Item = &[u8]>> {
    // The program's name stands in parentheses and may contain anything, parentheses too.
    let end = text.iter().rposition(|byte| *byte == b')')?;
    Some(text[end + 1..].split(|byte| byte.is_ascii_whitespace()).filter(|field| !field.is_empty()))
}

fn number(field: &[u8]) -> Option<u64> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

/// All processes, not their threads; none when `/proc` is not there.
pub(super) fn all_pids() -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// A file of `/proc` that tells about the whole system. Containers may have one of their own in its place, that tells something else:
/// then none.
fn genuine(path: &str) -> Option<File> {
    let file = File::open(path).ok()?;
    fstatfs(&file).is_ok_and(|system| system.filesystem_type() == PROC_SUPER_MAGIC).then_some(file)
}

/// The pid that was given out last, to whatever process or thread; none where the system does not say.
pub(super) fn last_pid() -> Option<i32> {
    static AVERAGES: OnceLock<Option<File>> = OnceLock::new();
    let averages = AVERAGES.get_or_init(|| genuine("/proc/loadavg"));
    let mut bytes = [0; 128];
    let length = averages.as_ref()?.read_at(&mut bytes, 0).ok()?;
    let text = std::str::from_utf8(bytes.get(..length)?).ok()?;
    text.split_whitespace().nth(4)?.parse().ok()
}

/// How many processes and threads were started since the system was; none where it does not say. Takes longer than the last pid.
pub(super) fn started_count() -> Option<u64> {
    let mut text = String::new();
    genuine("/proc/stat")?.read_to_string(&mut text).ok()?;
    text.lines().find_map(|line| line.strip_prefix("processes "))?.trim().parse().ok()
}

/// Pids are smaller than this, and given out in turn.
pub(super) fn pid_limit() -> i32 {
    static LIMIT: OnceLock<i32> = OnceLock::new();
    *LIMIT.get_or_init(|| {
        let text = fs::read_to_string("/proc/sys/kernel/pid_max").unwrap_or_default();
        text.trim().parse().unwrap_or(PIDS_MIN)
    })
}

/// Cpus of the machine, whichever this thread may use.
pub(super) fn cpu_count() -> f64 {
    static COUNT: OnceLock<f64> = OnceLock::new();
    *COUNT.get_or_init(|| match sysconf(SysconfVar::_NPROCESSORS_ONLN) {
        Ok(Some(count)) => count as f64,
        // More than there are: then all processes are looked at more often.
        _ => 1024.0,
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
        assert!(!stat.has_ended() && stat.started > 0 && !is_ending(own));
        assert!(all_pids().contains(&own));
        assert_eq!(Stat::read(0), None);
        let before = (started_count().unwrap(), last_pid().unwrap());
        std::thread::spawn(|| ()).join().unwrap();
        assert!(started_count().unwrap() > before.0 && last_pid().unwrap() != before.1);
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
        let found = environment_has(child.id() as i32, c"A=");
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!found);
    }
}
