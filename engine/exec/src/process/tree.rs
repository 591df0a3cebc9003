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
/// No cpu starts more processes or threads a second.
const STARTED_PER_CPU_MAX: f64 = 100_000.0;

impl Mark {
    /// Whether so many pids may have been given out since that some were again.
    fn may_have_turned(&self) -> bool {
        let limit = f64::from(table::pid_limit());
        if self.at.elapsed().as_secs_f64() * STARTED_PER_CPU_MAX * table::cpu_count() < limit {
            return false;
        }
        // After a look at all processes, which takes a while.
        let Some((before, now)) = self.started_count.zip(self.started_count.and_then(|_| table::started_count()))
        else {
            return true;
        };
        now.saturating_sub(before) as f64 >= limit / 2.0
    }
}

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
    /// Of what was given out until then, nothing is left but the root.
    clean: Mark,
}

/// A moment, by the pids that were given out until then.
#[derive(Debug, Clone, Copy)]
struct Mark {
    /// The last one.
    pid: i32,
    at: Instant,
    /// How many processes were started before, if that was looked for.
    started_count: Option<u64>,
    /// Where the system does not say which was the last one: how often all were looked at.
    looks: u32,
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
        self.stat().map(|_| fd)
    }

    /// What is known of it; none when it is gone.
    fn stat(self) -> Option<Stat> {
        Stat::read(self.pid).filter(|stat| stat.started == self.started)
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
        Self {
            root: root.as_raw(),
            entry,
            clean: Mark { pid: root.as_raw(), at: Instant::now(), looks: 0, started_count: None },
        }
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
            let (tree, clean) = self.stop(deadline);
            if std::mem::take(&mut kill_root) {
                signal_root(Signal::SIGKILL);
            } else if tree.is_empty() {
                self.clean = clean;
                return;
            }
            for process in tree.values() {
                process.signal(Signal::SIGKILL);
            }
            for process in tree.values() {
                process.wait(deadline);
            }
            if Instant::now() >= deadline {
                let pids: Vec<i32> = tree.into_keys().collect();
                tracing::warn!("processes that a task has started cannot be ended: {pids:?}");
                return;
            }
        }
    }

    /// Nothing was started since the root, when all that it had started was ended last.
    pub(super) fn is_root_only(&self) -> bool {
        self.clean.pid == self.root && self.clean.looks == 0
    }

    /// Stops all processes of the tree but the root, until there are no more of them; also how far pids were looked at.
    fn stop(&self, deadline: Instant) -> (BTreeMap<i32, Process>, Mark) {
        let mut stopped: BTreeMap<i32, Process> = BTreeMap::new();
        let mut looked = Mark { looks: 0, ..self.clean };
        loop {
            let Some((candidates, mark)) = self.new_pids(looked) else {
                // Nothing was started since all was looked at, so that nothing can be but what is stopped.
                let runs = |process: &Process| process.stat().is_some_and(|stat| !stat.stands_still());
                if !stopped.values().any(runs) || Instant::now() >= deadline {
                    return (stopped, looked);
                }
                std::thread::yield_now();
                continue;
            };
            for (pid, stat) in self.find_among(&candidates, &stopped) {
                let process = Process { pid, started: stat.started };
                // Another user's, as of a program with the set-user-ID bit, cannot be ended.
                if !stat.has_ended() && process.signal(Signal::SIGSTOP) {
                    stopped.insert(pid, process);
                }
            }
            looked = mark;
            if Instant::now() >= deadline {
                return (stopped, looked);
            }
        }
    }

    /// The pids that may have been given out since `looked`, and up to where they go; none if there are none.
    fn new_pids(&self, looked: Mark) -> Option<(Vec<i32>, Mark)> {
        let Some(last) = table::last_pid() else {
            // It is not known when all were looked at: twice is enough for what does not start others all the time.
            return (looked.looks < 2).then(|| (table::all_pids(), Mark { looks: looked.looks + 1, ..looked }));
        };
        // Pids are given out in turn: has it come round since? The root's is not given out again while its status was not taken.
        let has_turned = looked.may_have_turned();
        if last == looked.pid && (last == self.root || !has_turned) {
            return None;
        }
        let mark = Mark { pid: last, at: Instant::now(), started_count: None, looks: 0 };
        let in_range = !has_turned && last >= looked.pid && last - looked.pid <= RANGE_MAX;
        let mark = if in_range { mark } else { Mark { started_count: table::started_count(), ..mark } };
        Some((if in_range { (looked.pid + 1..=last).collect() } else { table::all_pids() }, mark))
    }

    /// The processes of the tree but the root among these; `known` are others.
    fn find_among(&self, candidates: &[i32], known: &BTreeMap<i32, Process>) -> Vec<(i32, Stat)> {
        let (own_pid, own_session) = (Pid::this().as_raw(), getsid(None).map_or(0, Pid::as_raw));
        let (mut found, mut unclear) = (Vec::new(), Vec::new());
        for &pid in candidates {
            if pid == self.root || known.contains_key(&pid) {
                continue;
            }
            let Some(session) = table::session_of(pid) else { continue };
            let is_ours = session == self.root;
            // Threads of the system have no session; what is in the session of another root has come from that one.
            if !is_ours && (session == 0 || session == own_session || with_roots(|roots| roots.contains(&session))) {
                continue;
            }
            // What may not be sent signals cannot be ended.
            if !is_ours && kill(Pid::from_raw(pid), None) == Err(Errno::EPERM) {
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
        let mut tree: BTreeSet<i32> = found.iter().map(|(pid, _)| *pid).chain(known.keys().copied()).collect();
        tree.insert(self.root);
        loop {
            let before = (found.len(), unclear.len());
            let mut has_changed = false;
            unclear.retain_mut(|(pid, stat)| {
                let is_orphan = foster_parents.contains(&stat.parent);
                let is_ours = tree.contains(&stat.parent) || (is_orphan && table::environment_has(*pid, &self.entry));
                if is_ours {
                    tree.insert(*pid);
                    found.push((*pid, *stat));
                } else if !is_orphan && let Some(now) = Stat::read(*pid).filter(|now| now.parent != stat.parent) {
                    // Its parent has ended meanwhile, before anybody could look at that.
                    *stat = now;
                    has_changed = true;
                    return true;
                }
                // What is no orphan may be a child of one that is found later.
                !is_ours && !is_orphan
            });
            if !has_changed && before == (found.len(), unclear.len()) {
                return found;
            }
        }
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        with_roots(|roots| roots.remove(&self.root));
    }
}
