//! A few threads for work that may wait for a disk, so that threads that must not wait can hand it over.
//!
//! Whoever hands jobs over bounds how many of them wait. A job may wait for the system, but not for another job: there may be no
//! thread for that one.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Work for one of the threads.
pub type Job = Box<dyn FnOnce() + Send>;

/// How many threads one end of a transport needs, about: for memory two are enough, and a slow disk gets no quicker by many.
pub const THREADS_MAX: usize = 4;
/// After so many jobs of one queue, others get their turns.
const JOBS_IN_A_ROW_MAX: usize = 16;

/// A fixed number of threads, which end when the last handle is gone and all jobs are done. A clone is a handle to the same threads.
#[derive(Clone)]
pub struct IoThreads {
    handle: Arc<Handle>,
}

/// When it is dropped, nobody can hand over jobs any more.
struct Handle {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// There is a job, or no handle any more.
    changed: Condvar,
    threads_max: usize,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Work>,
    threads: usize,
    idle: usize,
    closed: bool,
}

enum Work {
    Job(Job),
    /// Jobs of this queue, which are done one after the other.
    Queue(Arc<Mutex<Queued>>),
}

#[derive(Default)]
struct Queued {
    jobs: VecDeque<Job>,
    /// A thread is at it, or it waits for one.
    is_scheduled: bool,
}

impl IoThreads {
    /// Starts the first of at most `threads_max` threads; the others are started when there is work for them. Where the system gives no
    /// more, the work is done by those that there are.
    ///
    /// # Errors
    /// When the system does not give even one.
    pub fn start(threads_max: usize) -> io::Result<Self> {
        let (state, changed) = (Mutex::new(State { threads: 1, ..State::default() }), Condvar::new());
        let shared = Arc::new(Shared { state, changed, threads_max });
        shared.start_thread()?;
        Ok(Self { handle: Arc::new(Handle { shared }) })
    }

    /// Hands over a job, which may be done at the same time as others and before those that were handed over earlier.
    pub fn run(&self, job: impl FnOnce() + Send + 'static) {
        self.handle.shared.push(Work::Job(Box::new(job)));
    }

    /// A queue of jobs that are done one after the other, in their order.
    pub fn queue(&self) -> IoQueue {
        IoQueue { threads: self.clone(), queued: Arc::default() }
    }
}

/// Jobs that are done one after the other.
#[derive(Clone)]
pub struct IoQueue {
    threads: IoThreads,
    queued: Arc<Mutex<Queued>>,
}

impl IoQueue {
    /// Appends a job.
    pub fn run(&self, job: impl FnOnce() + Send + 'static) {
        let mut queued = lock(&self.queued);
        queued.jobs.push_back(Box::new(job));
        if !std::mem::replace(&mut queued.is_scheduled, true) {
            drop(queued);
            self.threads.handle.shared.push(Work::Queue(self.queued.clone()));
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn push(self: &Arc<Self>, work: Work) {
        let mut state = self.lock();
        state.jobs.push_back(work);
        let starts = state.idle < state.jobs.len() && state.threads < self.threads_max;
        state.threads += usize::from(starts);
        drop(state);
        self.changed.notify_one();
        if starts && self.start_thread().is_err() {
            // The next job tries again.
            self.lock().threads -= 1;
        }
    }

    /// Starts a thread that is counted already.
    fn start_thread(self: &Arc<Self>) -> io::Result<()> {
        let shared = self.clone();
        std::thread::Builder::new().name("io".to_owned()).spawn(move || shared.work()).map(drop)
    }

    fn work(&self) {
        let mut state = self.lock();
        loop {
            match state.jobs.pop_front() {
                Some(work) => {
                    drop(state);
                    let rest = carry_out(work);
                    state = self.lock();
                    state.jobs.extend(rest);
                }
                None if state.closed => return,
                None => {
                    state.idle += 1;
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                    state.idle -= 1;
                }
            }
        }
    }
}

/// Does a job, or some of a queue; what is left of it.
fn carry_out(work: Work) -> Option<Work> {
    let queued = match work {
        Work::Job(job) => {
            do_job(job);
            return None;
        }
        Work::Queue(queued) => queued,
    };
    for _ in 0..JOBS_IN_A_ROW_MAX {
        let mut waiting = lock(&queued);
        let Some(job) = waiting.jobs.pop_front() else {
            waiting.is_scheduled = false;
            return None;
        };
        drop(waiting);
        do_job(job);
    }
    Some(Work::Queue(queued))
}

fn do_job(job: Job) {
    // The panic hook has reported it; the thread is there for others, too.
    let _ = catch_unwind(AssertUnwindSafe(job));
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    /// Against hanging only.
    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn jobs_of_a_queue_are_done_in_their_order_and_those_of_others_beside_them() {
        let threads = IoThreads::start(3).unwrap();
        let (done, all_done) = channel();
        let queues: Vec<IoQueue> = (0..10).map(|_| threads.queue()).collect();
        for number in 0..1000 {
            for (queue, jobs) in queues.iter().enumerate() {
                let done = done.clone();
                jobs.run(move || done.send((queue, number)).unwrap());
            }
        }
        let mut next = [0; 10];
        for _ in 0..10_000 {
            let (queue, number) = all_done.recv_timeout(PATIENCE).unwrap();
            assert_eq!(number, next[queue]);
            next[queue] += 1;
        }
    }

    #[test]
    fn a_job_that_waits_keeps_no_other_queue_waiting_and_threads_are_few() {
        let threads = IoThreads::start(2).unwrap();
        let (go_on, wait) = channel::<()>();
        let (done, all_done) = channel();
        let slow = threads.queue();
        slow.run(move || wait.recv_timeout(PATIENCE).unwrap());
        let after = done.clone();
        slow.run(move || after.send((usize::MAX, std::thread::current().id())).unwrap());
        for number in 0..100 {
            let done = done.clone();
            threads.run(move || done.send((number, std::thread::current().id())).unwrap());
        }
        let others: Vec<_> = (0..100).map(|_| all_done.recv_timeout(PATIENCE).unwrap()).collect();
        assert!(others.iter().enumerate().all(|(place, (number, _))| place == *number));
        assert_eq!(others.iter().map(|(_, thread)| format!("{thread:?}")).collect::<BTreeSet<_>>().len(), 1);
        go_on.send(()).unwrap();
        assert_eq!(all_done.recv_timeout(PATIENCE).unwrap().0, usize::MAX);
    }

    #[test]
    fn what_was_handed_over_is_done_when_the_last_handle_is_gone_also_after_a_panic() {
        let threads = IoThreads::start(1).unwrap();
        let (done, all_done) = channel();
        let queue = threads.queue();
        queue.run(|| std::panic::resume_unwind(Box::new("a job that fails")));
        for number in 0..100 {
            let done = done.clone();
            queue.run(move || done.send(number).unwrap());
        }
        drop((queue, threads, done));
        assert_eq!(all_done.iter().collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
    }
}
