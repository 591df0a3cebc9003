//! A few threads for what would hold the server's thread up: archives of directories, files of constants, long frames.

use crossbeam_channel::{Receiver, Sender, unbounded};
use rain_io::{IoThreads, THREADS_MAX};
use rain_transport::Wake;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Runs jobs on a bounded number of threads, which are started when they are needed, and hands out what comes of them.
pub(super) struct Background<T> {
    threads: Option<IoThreads>,
    threads_max: usize,
    /// Each job that waits or runs has a clone; none when this ends.
    results: Option<Sender<T>>,
    done: Receiver<T>,
    /// Jobs that have not begun are not to be done any more.
    is_over: Arc<AtomicBool>,
    wake: Wake,
}

impl<T: Send + 'static> Background<T> {
    /// Starts nothing yet; `wake` is called after each job.
    pub(super) fn new(wake: Wake) -> Self {
        Self::with_threads(THREADS_MAX, wake)
    }

    /// As `new`, with so many threads at most.
    pub(super) fn with_threads(threads_max: usize, wake: Wake) -> Self {
        let (results, done) = unbounded();
        Self { threads: None, threads_max, results: Some(results), done, is_over: Arc::default(), wake }
    }

    /// Has a job done; at once and here when the system gives no thread.
    pub(super) fn run(&mut self, job: impl FnOnce() -> T + Send + 'static) {
        let Some(results) = self.results.clone() else { return };
        let (is_over, wake) = (self.is_over.clone(), self.wake.clone());
        let job = move || {
            // Nobody hears of it when this ends.
            if !is_over.load(Ordering::Relaxed) && results.send(job()).is_ok() {
                wake();
            }
        };
        if self.threads.is_none() {
            self.threads = IoThreads::start(self.threads_max)
                .inspect_err(|error| tracing::warn!("cannot start a thread: {error}"))
                .ok();
        }
        match &self.threads {
            Some(threads) => threads.run(job),
            None => job(),
        }
    }

    /// What came of a job.
    pub(super) fn take_done(&self) -> Option<T> {
        self.done.try_recv().ok()
    }
}

impl<T> Drop for Background<T> {
    /// Drops the jobs that wait, and waits for those that run: they use the store.
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.threads = None;
        self.results = None;
        // It ends when the last job is gone.
        self.done.iter().for_each(drop);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::sync::Barrier;
    use std::thread;

    #[test]
    fn jobs_run_side_by_side_on_a_bounded_number_of_threads() {
        let (rang, bell) = unbounded();
        let mut background = Background::new(Arc::new(move || rang.send(()).unwrap()));
        let barrier = Arc::new(Barrier::new(THREADS_MAX));
        for number in 0..THREADS_MAX * 25 {
            let barrier = barrier.clone();
            // They do not end unless so many run at once.
            background.run(move || {
                barrier.wait();
                (number, format!("{:?}", thread::current().id()))
            });
        }
        let done: Vec<(usize, String)> = (0..THREADS_MAX * 25)
            .map(|_| {
                bell.recv().unwrap();
                background.take_done().unwrap()
            })
            .collect();
        let numbers: BTreeSet<usize> = done.iter().map(|(number, _)| *number).collect();
        assert!(numbers.into_iter().eq(0..THREADS_MAX * 25));
        let threads: BTreeSet<&String> = done.iter().map(|(_, thread)| thread).collect();
        assert_eq!(threads.len(), THREADS_MAX);
        assert_eq!(background.take_done(), None);
    }
    #[test]
    fn the_end_waits_for_what_runs_and_drops_what_waits() {
        let mut background = Background::new(Arc::new(|| ()));
        let (begun, begins) = unbounded();
        let (go_on, wait) = unbounded::<()>();
        let counted = Arc::new(());
        for _ in 0..THREADS_MAX * 3 {
            let (begun, wait, counted) = (begun.clone(), wait.clone(), counted.clone());
            background.run(move || {
                begun.send(()).unwrap();
                wait.recv().unwrap();
                counted
            });
        }
        (0..THREADS_MAX).for_each(|_| begins.recv().unwrap());
        let is_over = background.is_over.clone();
        let ends = thread::spawn(move || drop(background));
        while !is_over.load(Ordering::Relaxed) {
            thread::yield_now();
        }
        assert!(!ends.is_finished());
        (0..THREADS_MAX).for_each(|_| go_on.send(()).unwrap());
        ends.join().unwrap();
        assert_eq!((begins.try_iter().count(), Arc::strong_count(&counted)), (0, 1));
    }
}
