//! How a worker goes to sleep without missing work (`README.md`, "Sleeping").

use crate::sync::{AtomicBool, AtomicUsize, Condvar, Mutex, Ordering, fence, lock};

/// The sleepers of a pool and how they are woken.
pub struct Sleep {
    /// Length of `idle`, to be read without the lock.
    sleepers: AtomicUsize,
    idle: Mutex<Vec<usize>>,
    beds: Vec<Bed>,
    shut_down: AtomicBool,
}

struct Bed {
    woken: Mutex<bool>,
    bell: Condvar,
}

impl Sleep {
    /// Beds for `workers` workers.
    pub fn new(workers: usize) -> Self {
        Self {
            sleepers: AtomicUsize::new(0),
            idle: Mutex::new(Vec::with_capacity(workers)),
            beds: (0..workers).map(|_| Bed { woken: Mutex::new(false), bell: Condvar::new() }).collect(),
            shut_down: AtomicBool::new(false),
        }
    }

    /// Puts `worker` to sleep until it is woken, unless `has_work` says, after it has been announced as a sleeper,
    /// that there is no need to.
    pub fn sleep(&self, worker: usize, has_work: impl FnOnce() -> bool) {
        {
            let mut idle = lock(&self.idle);
            *lock(&self.beds[worker].woken) = false;
            idle.push(worker);
            self.sleepers.store(idle.len(), Ordering::Relaxed);
        }
        // With the fence in `wake`: either the waker sees this sleeper, or the check below sees the waker's work.
        fence(Ordering::SeqCst);
        if has_work() || self.is_shut_down() {
            let mut idle = lock(&self.idle);
            idle.retain(|other| *other != worker);
            self.sleepers.store(idle.len(), Ordering::Relaxed);
            return;
        }
        let bed = &self.beds[worker];
        let mut woken = bed.woken.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        while !*woken {
            woken = bed.bell.wait(woken).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }

    /// Wakes up to `count` sleepers. Call it after the work has been queued.
    #[inline]
    pub fn wake(&self, count: usize) {
        fence(Ordering::SeqCst);
        if self.sleepers.load(Ordering::Relaxed) > 0 {
            self.wake_sleepers(count);
        }
    }

    #[cold]
    fn wake_sleepers(&self, count: usize) {
        for _ in 0..count {
            let worker = {
                let mut idle = lock(&self.idle);
                let worker = idle.pop();
                self.sleepers.store(idle.len(), Ordering::Relaxed);
                worker
            };
            let Some(worker) = worker else { return };
            let bed = &self.beds[worker];
            *lock(&bed.woken) = true;
            bed.bell.notify_one();
        }
    }

    /// Wakes everybody for good.
    pub fn shut_down(&self) {
        self.shut_down.store(true, Ordering::SeqCst);
        self.wake(usize::MAX);
    }

    /// Whether `shut_down` was called.
    pub fn is_shut_down(&self) -> bool {
        self.shut_down.load(Ordering::SeqCst)
    }
}
