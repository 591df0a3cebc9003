//! How many calls wait for other tasks and have lent their cpus, and which workers stand aside for those that have gone on.

use rain_exec::Interrupt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// The calls of a governor that have lent their cpus and have not ended.
#[derive(Default)]
pub(crate) struct LentCalls {
    state: Mutex<State>,
    changed: Condvar,
    /// Cpus of calls that have gone on, less those of workers that stand aside; to be read without the lock.
    owed: AtomicU32,
}

#[derive(Default)]
pub(super) struct State {
    interrupts: Vec<Arc<Interrupt>>,
    /// Calls that wait now.
    pub(super) waiting: u32,
    /// Cpus of those that have gone on.
    pub(super) resumed: u32,
    /// Workers that stand aside for these.
    aside: u32,
    shut_down: bool,
}

impl LentCalls {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        self.owed.store(state.resumed.saturating_sub(state.aside), Ordering::Release);
        self.changed.notify_all();
    }

    /// How many calls have lent their cpus and not gone on.
    pub(crate) fn waiting(&self) -> u32 {
        self.lock().waiting
    }

    /// Whether a call has gone on for which no worker stands aside.
    #[inline]
    pub(super) fn is_owed(&self) -> bool {
        self.owed.load(Ordering::Acquire) > 0
    }

    /// A worker that has nothing in hand leaves its cpu to a call that has gone on, until this ends or lends again.
    pub(super) fn stand_aside(&self) {
        self.change(|state| state.aside += 1);
        let mut state = self.lock();
        while state.resumed >= state.aside && !state.shut_down {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.aside -= 1;
        self.owed.store(state.resumed.saturating_sub(state.aside), Ordering::Release);
    }

    /// Has all threads look whether their call was cancelled.
    pub(crate) fn interrupt(&self) {
        self.lock().interrupts.iter().for_each(|interrupt| interrupt.raise());
    }

    /// Lets workers go that stand aside, for good.
    pub(crate) fn shut_down(&self) {
        self.change(|state| state.shut_down = true);
    }

    /// Waits until there are no such calls any more.
    pub(crate) fn join(&self) {
        let mut state = self.lock();
        while !state.interrupts.is_empty() {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(super) fn add(&self) -> std::io::Result<Arc<Interrupt>> {
        let interrupt = Arc::new(Interrupt::new()?);
        self.change(|state| state.interrupts.push(interrupt.clone()));
        Ok(interrupt)
    }

    pub(super) fn remove(&self, interrupt: &Arc<Interrupt>) {
        self.change(|state| state.interrupts.retain(|other| !Arc::ptr_eq(other, interrupt)));
    }
}
