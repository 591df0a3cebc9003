//! How a worker goes to sleep without missing work (`README.md`, "Sleeping").

use crate::sync::{AtomicBool, AtomicUsize, Condvar, Mutex, Ordering, fence, lock};

/// The sleepers of a pool and how they are woken.
pub struct Sleep {
    /// Length of `idle`, to be read without the lock.
    sleepers: AtomicUsize,
    /// Workers that were woken, or have stayed awake, to look for work and have not found any yet. While there is one, nobody else is
    /// woken: it wakes the next one when it has found work and more is left.
    searchers: AtomicUsize,
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
            searchers: AtomicUsize::new(0),
            idle: Mutex::new(Vec::with_capacity(workers)),
            beds: (0..workers).map(|_| Bed { woken: Mutex::new(false), bell: Condvar::new() }).collect(),
            shut_down: AtomicBool::new(false),
        }
    }

    /// Makes the calling worker a searcher if nobody else is one; then it is to call [`sleep`](Self::sleep) or
    /// [`has_found`](Self::has_found) soon.
    pub fn start_searching(&self) -> bool {
        self.searchers.load(Ordering::Relaxed) == 0
            && self.searchers.compare_exchange(0, 1, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// The calling worker, a searcher until now, has found work, or does something else. If it was the only one and `has_work` says
    /// that there is more, another one is woken.
    pub fn has_found(&self, has_work: impl FnOnce() -> bool) {
        if self.leave_searchers() > 0 {
            return;
        }
        // With the fence in `wake`: either the waker sees no searcher any more, or the check below sees the waker's work.
        fence(Ordering::SeqCst);
        if self.sleepers.load(Ordering::Relaxed) > 0 && has_work() {
            self.wake_sleepers(1);
        }
    }

    /// One searcher less; how many others there are.
    fn leave_searchers(&self) -> usize {
        let before = self.searchers.fetch_sub(1, Ordering::Relaxed);
        // If one were counted less than once, nobody would ever be woken again.
        assert!(before > 0, "a worker that is no searcher stops searching");
        before - 1
    }

    /// Puts `worker` to sleep until it is woken, unless `has_work` says, after it has been announced as a sleeper, that there is no
    /// need to. Afterwards it is a searcher, as it may have been before.
    pub fn sleep(&self, worker: usize, is_searcher: bool, has_work: impl FnOnce() -> bool) {
        {
            let mut idle = lock(&self.idle);
            *lock(&self.beds[worker].woken) = false;
            idle.push(worker);
            self.sleepers.store(idle.len(), Ordering::Relaxed);
        }
        if is_searcher {
            self.leave_searchers();
        }
        // With the fence in `wake`: either the waker sees this sleeper and no searcher, or the check below sees the waker's work.
        fence(Ordering::SeqCst);
        if has_work() || self.is_shut_down() {
            let mut idle = lock(&self.idle);
            let announced = idle.len();
            idle.retain(|other| *other != worker);
            self.sleepers.store(idle.len(), Ordering::Relaxed);
            // Else somebody has taken it off the list to wake it, and has counted it.
            if idle.len() < announced {
                self.searchers.fetch_add(1, Ordering::Relaxed);
            }
            return;
        }
        let bed = &self.beds[worker];
        let mut woken = bed.woken.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        while !*woken {
            woken = bed.bell.wait(woken).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }

    /// Sees to it that a worker looks for work, if one sleeps. Call it after the work has been queued.
    #[inline]
    pub fn wake(&self) {
        fence(Ordering::SeqCst);
        if self.searchers.load(Ordering::Relaxed) == 0 && self.sleepers.load(Ordering::Relaxed) > 0 {
            self.wake_sleepers(1);
        }
    }

    /// Wakes everybody.
    pub fn wake_all(&self) {
        fence(Ordering::SeqCst);
        self.wake_sleepers(usize::MAX);
    }

    #[cold]
    fn wake_sleepers(&self, count: usize) {
        for _ in 0..count {
            let bed = {
                let mut idle = lock(&self.idle);
                let worker = idle.pop();
                self.sleepers.store(idle.len(), Ordering::Relaxed);
                let Some(worker) = worker else { return };
                self.searchers.fetch_add(1, Ordering::Relaxed);
                let bed = &self.beds[worker];
                // Under this lock: the worker may not need the ring, and fall asleep again, which must not be taken for that ring.
                *lock(&bed.woken) = true;
                bed
            };
            bed.bell.notify_one();
        }
    }

    /// Wakes everybody for good.
    pub fn shut_down(&self) {
        self.shut_down.store(true, Ordering::SeqCst);
        self.wake_all();
    }

    /// Whether `shut_down` was called.
    pub fn is_shut_down(&self) -> bool {
        self.shut_down.load(Ordering::SeqCst)
    }
}
