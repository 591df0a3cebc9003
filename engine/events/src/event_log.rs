//! What a server holds of its log: entries go to a thread, which nobody waits for.

use crate::answers::LogStatus;
use crate::clock::seconds_since_1970 as now;
use crate::error::LogError;
use crate::log::Log;
use crate::machine::Machine;
use crate::queue::{Queue, Timed};
use crate::recorder::{Recorder, ServerFacts};
use crate::{answers::LogState, schema};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, unbounded};
use rain_protocol::log::LogEntry;
use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Entries that wait in the server's thread before they are handed over at least.
const HANDED_OVER: usize = 256;
/// Pause between two transactions: entries are gathered meanwhile.
const PAUSE: Duration = Duration::from_millis(100);
/// Work of one transaction at most, as `Queue` weighs it.
const TRANSACTION_MAX: u64 = 1 << 18;
/// Time between two samples of this machine, while sessions are open and else.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
const IDLE_SAMPLE_EVERY: Duration = Duration::from_secs(15);
/// How long the log may be locked by somebody else.
const LOCKED_MAX: Duration = Duration::from_secs(20);
/// How long the end of a server waits for what is not written.
const END_MAX: Duration = Duration::from_secs(5);
/// Logs of earlier servers in the same directory that are kept.
const EARLIER_KEPT: u32 = 5;

/// What others may know of a log.
#[derive(Clone)]
pub struct LogHandle(Arc<Shared>);

struct Shared {
    path: PathBuf,
    is_off: AtomicBool,
    error: Mutex<Option<String>>,
    bytes: AtomicU64,
    queue: Arc<Queue>,
}

impl LogHandle {
    /// The file.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// How writing goes.
    pub fn status(&self) -> LogStatus {
        let Shared { path, error, bytes, queue, .. } = &*self.0;
        LogStatus {
            path: path.display().to_string(),
            bytes: bytes.load(Ordering::Relaxed),
            dropped_samples: queue.dropped_samples(),
            folded_tasks: queue.folded_tasks(),
            removed_sessions: 0,
            error: error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    fn set_error(&self, error: Option<String>) {
        *self.0.error.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }

    fn give_up(&self, error: &LogError) {
        tracing::warn!("there is no event log from now on: {error}");
        self.set_error(Some(error.to_string()));
        self.0.is_off.store(true, Ordering::Release);
    }
}

/// A server's end of its log. It never waits; when the writer falls behind, samples are left out and finished tasks become ranges
/// of numbers.
pub struct EventLog {
    handle: LogHandle,
    sender: Option<Sender<Vec<Timed>>>,
    waiting: Vec<Timed>,
    ended: Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

impl EventLog {
    /// Begins a log in `directory`, which takes about `bytes_max` bytes at most. Governors on the machine of the server, which are those
    /// that `is_local` says so of, get samples of it. What goes wrong with the file is said by the handle.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(directory: &Path, bytes_max: u64, server: ServerFacts, is_local: bool) -> io::Result<Self> {
        let path = directory.join(schema::FILE_NAME);
        let queue = Arc::new(Queue::default());
        let handle = LogHandle(Arc::new(Shared {
            path,
            is_off: AtomicBool::new(false),
            error: Mutex::new(None),
            bytes: AtomicU64::new(0),
            queue,
        }));
        let (sender, receiver) = unbounded();
        let (end, ended) = unbounded();
        let own = handle.clone();
        let run = move || {
            be_last();
            let writer = Writer { handle: own.clone(), receiver, machine: is_local.then(Machine::default), server };
            if let Err(error) = writer.run(bytes_max) {
                own.give_up(&error);
            }
            drop(end);
        };
        let thread = std::thread::Builder::new().name("event-log".to_owned()).spawn(run)?;
        Ok(Self { handle, sender: Some(sender), waiting: Vec::new(), ended, thread: Some(thread) })
    }

    /// What others may know of it.
    pub fn handle(&self) -> LogHandle {
        self.handle.clone()
    }

    /// Notes what happened at `time`, seconds since 1970.
    #[inline]
    pub fn note(&mut self, time: f64, entry: LogEntry) {
        if matches!(entry, LogEntry::SessionClosed { .. } | LogEntry::SessionFailed { .. }) {
            // What was finished before it is to be told before it.
            let folded = self.handle.0.queue.take_all_folded();
            self.waiting.extend(folded.into_iter().map(|entry| (time, entry)));
        }
        if let Some(entry) = self.handle.0.queue.admit(entry) {
            self.waiting.push((time, entry));
            if self.waiting.len() >= HANDED_OVER {
                self.hand_over();
            }
        }
    }

    /// Hands what was noted to the writer; to be called whenever the server has nothing else to do.
    pub fn flush(&mut self) {
        if !self.waiting.is_empty() {
            self.hand_over();
        }
    }

    fn hand_over(&mut self) {
        let entries = std::mem::take(&mut self.waiting);
        if self.handle.0.is_off.load(Ordering::Acquire) {
            self.handle.0.queue.done(&entries);
            return;
        }
        if let Some(sender) = &self.sender {
            // A writer that has given up has said so.
            let _ = sender.send(entries);
        }
    }
}

impl Drop for EventLog {
    fn drop(&mut self) {
        let folded = self.handle.0.queue.take_all_folded();
        self.waiting.extend(folded.into_iter().map(|entry| (now(), entry)));
        self.flush();
        self.sender = None;
        if self.ended.recv_timeout(END_MAX) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("the end of the event log could not be written in time");
        } else if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Writer {
    handle: LogHandle,
    receiver: Receiver<Vec<Timed>>,
    machine: Option<Machine>,
    server: ServerFacts,
}

impl Writer {
    fn run(mut self, bytes_max: u64) -> Result<(), LogError> {
        put_aside(&self.handle.0.path)?;
        let mut recorder = Recorder::create(&self.handle.0.path, bytes_max, &self.server)?;
        let mut sampled = Instant::now();
        let mut governors = HashSet::new();
        loop {
            let due = if recorder.has_open_sessions() { SAMPLE_EVERY } else { IDLE_SAMPLE_EVERY };
            let wait = if self.machine.is_some() { due.saturating_sub(sampled.elapsed()) } else { IDLE_SAMPLE_EVERY };
            let first = match self.receiver.recv_timeout(wait) {
                Ok(entries) => Some(entries),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let is_due = self.machine.is_some() && sampled.elapsed() >= due;
            if first.is_none() && !is_due {
                continue;
            }
            self.begin(&mut recorder)?;
            let mut is_over = false;
            let mut next = first;
            let mut work = 0;
            while let Some(entries) = next.take() {
                work += self.handle.0.queue.done(&entries);
                for (time, entry) in entries {
                    note_governors(&mut governors, &entry);
                    recorder.take(time, entry)?;
                }
                if work < TRANSACTION_MAX {
                    match self.receiver.try_recv() {
                        Ok(entries) => next = Some(entries),
                        Err(TryRecvError::Empty) => {}
                        Err(TryRecvError::Disconnected) => is_over = true,
                    }
                }
            }
            for entry in self.handle.0.queue.take_folded() {
                let entries = [(now(), entry)];
                self.handle.0.queue.done(&entries);
                for (time, entry) in entries {
                    recorder.take(time, entry)?;
                }
            }
            if is_due {
                sampled = Instant::now();
                self.sample(&mut recorder, &governors)?;
            }
            recorder.set_dropped_samples(self.handle.0.queue.dropped_samples());
            recorder.commit()?;
            self.handle.0.bytes.store(recorder.bytes()?, Ordering::Relaxed);
            if is_over {
                break;
            }
            if work < TRANSACTION_MAX {
                std::thread::sleep(PAUSE);
            }
        }
        recorder.end(now())
    }

    /// Begins a transaction; waits for a while when somebody else holds the log.
    fn begin(&self, recorder: &mut Recorder) -> Result<(), LogError> {
        let began = Instant::now();
        let mut was_locked = false;
        loop {
            match recorder.begin() {
                Err(error) if error.is_passing() && began.elapsed() < LOCKED_MAX => {
                    was_locked = true;
                    self.handle.set_error(Some(error.to_string()));
                }
                begun => {
                    if was_locked && begun.is_ok() {
                        self.handle.set_error(None);
                    }
                    return begun;
                }
            }
        }
    }

    fn sample(&mut self, recorder: &mut Recorder, governors: &HashSet<u32>) -> Result<(), LogError> {
        let Some(sample) = self.machine.as_mut().and_then(Machine::sample) else { return Ok(()) };
        for governor in governors {
            let governor = rain_model::id::GovernorId(*governor);
            recorder.take(now(), LogEntry::Sampled { governor, sample })?;
        }
        Ok(())
    }
}

fn note_governors(governors: &mut HashSet<u32>, entry: &LogEntry) {
    match entry {
        LogEntry::GovernorJoined { governor, .. } => _ = governors.insert(governor.0),
        LogEntry::GovernorLost { governor, .. } => _ = governors.remove(&governor.0),
        _ => {}
    }
}

/// Gives an earlier server's log another name.
fn put_aside(path: &Path) -> Result<(), LogError> {
    if !path.exists() {
        return Ok(());
    }
    if let Ok(status) = Log::open(path).and_then(|log| log.status())
        && status.state == LogState::Running
    {
        return Err(LogError::Request(format!("{} is the log of another server, which runs", path.display())));
    }
    let named = |number: u32, end: &str| path.with_file_name(format!("events-{number}.sqlite{end}"));
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(named(EARLIER_KEPT, end));
        for number in (1..EARLIER_KEPT).rev() {
            let _ = std::fs::rename(named(number, end), named(number + 1, end));
        }
        let own = path.with_file_name(format!("{}{end}", schema::FILE_NAME));
        if own.exists() {
            std::fs::rename(own, named(1, end))?;
        }
    }
    Ok(())
}

/// Has this thread run when no other one wants the cpu, but for a little.
fn be_last() {
    // SAFETY: only takes numbers. For Linux a thread has a priority of its own, and 0 is the calling one.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 19) };
}
