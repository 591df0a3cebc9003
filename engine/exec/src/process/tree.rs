//! Ending everything that a program or executor has started, whatever groups and sessions its processes have made.
//!
//! The *root* leads a session of its own, and its environment has a variable [`VARIABLE`] with a value that no other has. Of
//! its *tree* are
//! - processes of its session,
//! - children of processes of the tree, and
//! - orphans whose environment has the root's variable: daemons, whose parents have ended.
//!
//! An orphan without the variable, in a session of its own, is none: that is how a program says that it is to live on.
//!
//! A tree is stopped (SIGSTOP) before it is killed: what is stopped starts nothing more, and who belongs to whom stays visible. Pids
//! are never trusted: each signal goes through a descriptor of the process, after a look at what is behind the pid.
//!
//! Most programs start nothing, and that is found out by one call: when the last pid that was given out is the root's own.

use super::table::{self, Stat};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getppid, getsid};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// The variable that all processes of a tree have, if they do not take it out.
pub(super) const VARIABLE: &str = "RAIN_TASK";

/// What is not gone after this hangs in the system, or starts processes faster than they are found.
const PATIENCE: Duration = Duration::from_secs(10);
/// More pids than this are not looked at one by one; all processes are.
const RANGE_MAX: i32 = 4096;
/// The system does not give out more pids a second.
const PIDS_PER_SECOND_MAX: i32 = 1_000_000;

/// What is to become of the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Root {
    /// It has ended, and its status was not taken.
    Ended,
    /// It ends with what it has started.
    Ends,
    /// It goes on.
    Stays,
}

/// The processes that a root has started, and they, and so on.
#[derive(Debug)]
pub(super) struct Tree {
    root: i32,
    entry: CString,
    /// The last pid given out when there was certainly nothing but the root, and when that was.
    clean: (i32, Instant),
}

/// An entry for the environment of a root that no other root has had.
pub(super) fn new_entry() -> CString {
    static OWN: OnceLock<u64> = OnceLock::new();
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let own = OWN.get_or_init(|| {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        since_epoch.as_nanos() as u64
    });
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    // Hexadecimal and decimal digits have no zero byte.
    CString::new(format!("{VARIABLE}={own:x}-{}-{number}", std::process::id())).unwrap_or_default()
}

static REAPER: AtomicI32 = AtomicI32::new(1);

/// Says which ancestor of this process is a subreaper, so that the orphans of programs become its children. Without one, those are
/// the children of any ancestor.
pub fn set_reaper(pid: u32) {
    REAPER.store(i32::try_from(pid).unwrap_or(1), Ordering::Relaxed);
}

/// The roots of this process: what is in their sessions is theirs.
static ROOTS: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

fn with_roots<T>(f: impl FnOnce(&mut BTreeSet<i32>) -> T) -> T {
    f(&mut ROOTS.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The ancestors of this process that orphans may become children of.
fn foster_parents() -> BTreeSet<i32> {
    let reaper = REAPER.load(Ordering::Relaxed);
    let mut found = BTreeSet::new();
    let mut next = Some(getppid().as_raw());
    while let Some(pid) = next.filter(|pid| *pid > 0) {
        // A parent whose pid was seen before is none: the chain has changed meanwhile.
        if !found.insert(pid) || pid == reaper {
            break;
        }
        next = Stat::read(pid).map(|stat| stat.parent);
    }
    found
}

/// One process, whatever its pid means later.
#[derive(Debug, Clone, Copy)]
struct Process {
    pid: i32,
    started: u64,
}

impl Process {
    /// A descriptor for the process, if it is still there.
    fn open(self) -> Option<OwnedFd> {
        let fd = pidfd_open(self.pid).ok()?;
        // If the pid was given to another process before the descriptor was made, this shows it.
        Stat::read(self.pid).filter(|stat| stat.started == self.started).map(|_| fd)
    }

    /// False if it may not be sent signals.
    fn signal(self, signal: Signal) -> bool {
        let Some(fd) = self.open() else { return true };
        // SAFETY: a live descriptor, numbers, and no pointer.
        let sent = unsafe {
            libc::syscall(libc::SYS_pidfd_send_signal, fd.as_raw_fd(), signal as libc::c_int, std::ptr::null::<()>(), 0)
        };
        sent == 0 || Errno::last() != Errno::EPERM
    }

    /// Waits until it has ended.
    fn wait(self, deadline: Instant) {
        let Some(fd) = self.open() else { return };
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
                Err(Errno::EINTR) => {}
                _ => return,
            }
        }
    }
}

/// A descriptor of a process.
///
/// # Errors
/// When there is no such process (a thread is none), or no room for a descriptor.
pub(super) fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open takes a pid and flags and touches no memory of ours.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

impl Tree {
    /// The tree of a root that was just started with this entry in its environment, as the leader of a session.
    pub(super) fn new(root: Pid, entry: CString) -> Self {
        with_roots(|roots| roots.insert(root.as_raw()));
        Self { root: root.as_raw(), entry, clean: (root.as_raw(), Instant::now()) }
    }

    /// Ends what the root has started, and the root itself if it is to end, and waits until that is gone. The root was not waited for.
    pub(super) fn end(&mut self, root: Root) {
        let deadline = Instant::now() + PATIENCE;
        let mut kill_root = root == Root::Ends;
        // Its pid is its own until somebody takes its status.
        let signal_root = |signal| _ = kill(Pid::from_raw(self.root), signal);
        if kill_root {
            signal_root(Signal::SIGSTOP);
        }
        loop {
            let seen = (table::last_pid(), Instant::now());
            let tree = self.stop(deadline);
            if std::mem::take(&mut kill_root) {
                signal_root(Signal::SIGKILL);
            } else if tree.is_empty() {
                if let (Some(last), now) = seen {
                    self.clean = (last, now);
                }
                return;
            }
            for process in &tree {
                process.signal(Signal::SIGKILL);
            }
            for process in &tree {
                process.wait(deadline);
            }
            if Instant::now() >= deadline {
                let pids: Vec<i32> = tree.iter().map(|process| process.pid).collect();
                tracing::warn!("processes that a task has started cannot be ended: {pids:?}");
                return;
            }
        }
    }

    /// Stops all processes of the tree but the root, until there are no more of them.
    fn stop(&self, deadline: Instant) -> Vec<Process> {
        let mut stopped: BTreeMap<i32, Process> = BTreeMap::new();
        let mut beyond_reach = BTreeSet::new();
        loop {
            let mut is_settled = true;
            for (pid, stat) in self.find() {
                if stat.has_ended() || beyond_reach.contains(&pid) {
                    continue;
                }
                let process = Process { pid, started: stat.started };
                if stopped.get(&pid).is_none_or(|known| known.started != stat.started) {
                    if process.signal(Signal::SIGSTOP) {
                        stopped.insert(pid, process);
                    } else {
                        // Another user's, as of a program with the set-user-ID bit.
                        beyond_reach.insert(pid);
                    }
                    is_settled = false;
                } else if !stat.stands_still() {
                    is_settled = false;
                }
            }
            if is_settled || Instant::now() >= deadline {
                return stopped.into_values().collect();
            }
            std::thread::yield_now();
        }
    }

    /// The processes of the tree but the root, as far as they were started since it was clean.
    fn find(&self) -> Vec<(i32, Stat)> {
        let (clean_pid, clean_time) = self.clean;
        let last = table::last_pid();
        // As long as the root is there, its pid is not given out again.
        let is_recent =
            clean_time.elapsed().as_secs_f64() * f64::from(PIDS_PER_SECOND_MAX) < f64::from(table::pid_limit());
        if last == Some(clean_pid) && (clean_pid == self.root || is_recent) {
            return Vec::new();
        }
        let candidates = match last {
            Some(last) if is_recent && last >= clean_pid && last - clean_pid <= RANGE_MAX => {
                (clean_pid + 1..=last).collect()
            }
            _ => table::all_pids(),
        };
        self.find_among(&candidates)
    }

    fn find_among(&self, candidates: &[i32]) -> Vec<(i32, Stat)> {
        let (own_pid, own_session) = (Pid::this().as_raw(), getsid(None).map_or(0, Pid::as_raw));
        let (mut found, mut unclear) = (Vec::new(), Vec::new());
        for &pid in candidates {
            if pid == self.root {
                continue;
            }
            let Some(session) = table::session_of(pid) else { continue };
            let is_ours = session == self.root;
            // Threads of the system have no session; what is in the session of another root has come from that one.
            if !is_ours && (session == 0 || session == own_session || with_roots(|roots| roots.contains(&session))) {
                continue;
            }
            let Some(stat) = Stat::read(pid) else { continue };
            // Children of this process are roots, also those that were not taken charge of yet. Threads have pids, too, but no such
            // descriptors.
            if (is_ours || stat.parent != own_pid) && pidfd_open(pid).is_ok() {
                if is_ours { found.push((pid, stat)) } else { unclear.push((pid, stat)) }
            }
        }
        if unclear.is_empty() {
            return found;
        }
        let foster_parents = foster_parents();
        unclear.retain(|(pid, _)| *pid != own_pid && !foster_parents.contains(pid));
        let mut pids: BTreeSet<i32> = found.iter().map(|(pid, _)| *pid).chain([self.root]).collect();
        loop {
            let (more, rest): (Vec<_>, Vec<_>) = unclear.into_iter().partition(|(pid, stat)| {
                let is_orphan = foster_parents.contains(&stat.parent) && !pids.contains(&stat.parent);
                pids.contains(&stat.parent)
                    || (is_orphan && !stat.has_ended() && table::environment_has(*pid, &self.entry))
            });
            if more.is_empty() {
                return found;
            }
            pids.extend(more.iter().map(|(pid, _)| *pid));
            found.extend(more);
            unclear = rest;
        }
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        with_roots(|roots| roots.remove(&self.root));
    }
}
