//! What running tasks have of the governor's resources.
//!
//! The server gives every part to one task at a time. But it gives what a task had that was cancelled, or whose session has ended, to another
//! one at once, when the first may not have been stopped; and in need it promises a part twice. Here a task begins when it can
//! have what it was given, and nobody else has any of it.

use rain_model::resources::{Grant, Stock, Supplies};
use rain_pool::ReadyTask;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The governor's resources as tasks have them that run; all its workers share it.
#[derive(Debug, Default)]
pub struct Holdings(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    stock: Stock,
    /// Tasks that wait until something is given back.
    waiting: Vec<ReadyTask>,
}

impl Holdings {
    /// Nobody has anything of this.
    pub fn new(supplies: &Supplies) -> Self {
        Self(Mutex::new(State { stock: Stock::new(supplies), waiting: Vec::new() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what a task was given; false if others have some of it. Then the task is among those that `give_back` returns next.
    #[must_use]
    pub fn take(&self, task: ReadyTask, grant: &Grant) -> bool {
        let mut state = self.state();
        let is_taken = state.stock.take(grant);
        if !is_taken {
            state.waiting.push(task);
        }
        is_taken
    }

    /// Gives back what a task has taken. Returns tasks that wait for something: they are to be tried again.
    #[must_use]
    pub fn give_back(&self, grant: &Grant) -> Vec<ReadyTask> {
        let mut state = self.state();
        state.stock.give_back(grant);
        std::mem::take(&mut state.waiting)
    }

    /// Whether everything is there, and nobody waits.
    pub fn is_idle(&self, supplies: &Supplies) -> bool {
        let state = self.state();
        state.waiting.is_empty() && state.stock == Stock::new(supplies)
    }
}

/// Queues tasks that are to be tried again.
pub type Again = Arc<dyn Fn(Vec<ReadyTask>) + Send + Sync>;

/// What a task has while it runs: given back when this goes.
#[must_use]
pub struct Hold {
    holdings: Arc<Holdings>,
    grant: Arc<Grant>,
    again: Again,
}

impl Hold {
    /// Takes what a task was given; `None` if others have some of it, and `again` is called with the task when that may have changed.
    pub fn take(holdings: &Arc<Holdings>, task: ReadyTask, grant: Arc<Grant>, again: Again) -> Option<Hold> {
        holdings.take(task, &grant).then(|| Hold { holdings: holdings.clone(), grant, again })
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let waiting = self.holdings.give_back(&self.grant);
        if !waiting.is_empty() {
            (self.again)(waiting);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rain_model::resources::{Amount, Part, Supply};

    #[test]
    fn a_task_begins_when_nobody_has_what_it_was_given() {
        let supplies = Supplies::from([("gpus".to_owned(), Supply::Indexed(vec!["0".into(), "1".into()]))]);
        let holdings = Arc::new(Holdings::new(&supplies));
        let again: Arc<Mutex<Vec<ReadyTask>>> = Arc::default();
        let queue = again.clone();
        let queue: Again = Arc::new(move |tasks| queue.lock().unwrap().extend(tasks));
        let grant = |place| {
            Arc::new(Grant { cpus: 1, parts: [("gpus".to_owned(), Part::Indexed(vec![(place, Amount::ONE)]))].into() })
        };
        let take = |task, place| Hold::take(&holdings, ReadyTask::new(1, task), grant(place), queue.clone());
        let (first, other) = (take(0, 0), take(1, 1));
        assert!(first.is_some() && other.is_some() && take(2, 0).is_none());
        assert!(again.lock().unwrap().is_empty());
        drop(first);
        assert_eq!(*again.lock().unwrap(), [ReadyTask::new(1, 2)]);
        let next = take(2, 0);
        assert!(next.is_some() && !holdings.is_idle(&supplies));
        drop((next, other));
        assert!(holdings.is_idle(&supplies));
    }
}
