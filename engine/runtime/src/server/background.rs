//! A few threads for what would hold the server's thread up: archives of directories, files of constants, long frames.

use crossbeam_channel::{Receiver, Sender, unbounded};
use rain_transport::Wake;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

/// Threads at the same time.
const THREADS_MAX: usize = 4;

type Job<T> = Box<dyn FnOnce() -> T + Send>;

/// Runs jobs on a bounded number of threads, which are started when they are needed, and hands out what comes of them.
pub(super) struct Background<T> {
    jobs: Sender<Job<T>>,
    waiting: Receiver<Job<T>>,
    results: Sender<T>,
    done: Receiver<T>,
    /// Jobs that wait or run.
    unfinished: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<()>>,
    wake: Wake,
}

impl<T: Send + 'static> Background<T> {
    /// Starts nothing yet; `wake` is called after each job.
    pub(super) fn new(wake: Wake) -> Self {
        let (jobs, waiting) = unbounded();
        let (results, done) = unbounded();
        Self { jobs, waiting, results, done, unfinished: Arc::default(), threads: Vec::new(), wake }
    }

    /// Has a job done; at once and here when the system gives no thread.
    pub(super) fn run(&mut self, job: impl FnOnce() -> T + Send + 'static) {
        let unfinished = self.unfinished.fetch_add(1, Ordering::Relaxed) + 1;
        if unfinished > self.threads.len() && self.threads.len() < THREADS_MAX {
            match self.start_thread() {
                Ok(thread) => self.threads.push(thread),
                Err(error) if self.threads.is_empty() => {
                    tracing::warn!("cannot start a thread: {error}");
                    self.unfinished.fetch_sub(1, Ordering::Relaxed);
                    // Both ends of the channels are here.
                    let _ = self.results.send(job());
                    (self.wake)();
                    return;
                }
                Err(error) => tracing::debug!("cannot start one more thread: {error}"),
            }
        }
        let _ = self.jobs.send(Box::new(job));
    }

    /// What came of a job.
    pub(super) fn take_done(&self) -> Option<T> {
        self.done.try_recv().ok()
    }

    fn start_thread(&self) -> std::io::Result<JoinHandle<()>> {
        let (waiting, results) = (self.waiting.clone(), self.results.clone());
        let (unfinished, wake) = (self.unfinished.clone(), self.wake.clone());
        std::thread::Builder::new().name("background".to_owned()).spawn(move || {
            for job in waiting {
                let result = job();
                unfinished.fetch_sub(1, Ordering::Relaxed);
                if results.send(result).is_err() {
                    return;
                }
                wake();
            }
        })
    }
}

impl<T> Drop for Background<T> {
    /// Drops the jobs that wait, and waits for those that run: they use the store.
    fn drop(&mut self) {
        while self.waiting.try_recv().is_ok() {}
        let (jobs, _) = unbounded();
        self.jobs = jobs;
        for thread in self.threads.drain(..) {
            // A panic there has been reported by the panic hook.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

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
                number
            });
        }
        let mut done: Vec<usize> = (0..THREADS_MAX * 25)
            .map(|_| {
                bell.recv().unwrap();
                background.take_done().unwrap()
            })
            .collect();
        done.sort_unstable();
        assert_eq!(done, (0..THREADS_MAX * 25).collect::<Vec<_>>());
        assert_eq!(background.threads.len(), THREADS_MAX);
        assert_eq!(background.take_done(), None);
    }
}
