//! Tasks that ask for more than cpus, whose inputs are finished and that no governor has.

use rain_model::id::TaskIndex;
use rain_model::time::Time;
use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};

/// Tasks that were given back, of one priority and one kind. All tasks of a class ask for the same, so if the first finds no
/// governor, none does.
type Class = (Reverse<bool>, Reverse<i32>, u32);

/// The first task of a class, which comes before those of the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct First {
    was_given_back: Reverse<bool>,
    priority: Reverse<i32>,
    when: u64,
    kind: u32,
    pub(super) task: TaskIndex,
}

impl First {
    /// Whether a governor has given it back, or tasks that governors have wait for it.
    pub(super) fn was_given_back(&self) -> bool {
        self.was_given_back.0
    }

    fn class(&self) -> Class {
        (self.was_given_back, self.priority, self.kind)
    }
}

/// Queues by priority and kind. A task that was put there and is not ready any more stays until its turn: who takes it looks.
#[derive(Debug, Default)]
pub(super) struct Wanting {
    classes: BTreeMap<Class, VecDeque<(u64, TaskIndex)>>,
    arrivals: u64,
    has_new: bool,
    /// Up to which arrival tasks had come by when.
    times: VecDeque<(u64, Time)>,
}

impl Wanting {
    pub(super) fn is_empty(&self) -> bool {
        self.classes.is_empty()
    }

    /// Whether tasks have come since this was asked. It is now when they did.
    pub(super) fn take_new(&mut self, now: Time) -> bool {
        let has_new = std::mem::take(&mut self.has_new);
        if has_new {
            let oldest = self.classes.values().filter_map(|queue| queue.front()).map(|(when, _)| *when).min();
            while self.times.front().is_some_and(|(until, _)| oldest.is_none_or(|oldest| *until < oldest)) {
                self.times.pop_front();
            }
            self.times.push_back((self.arrivals, now));
        }
        has_new
    }

    /// Since when a task waits.
    pub(super) fn since(&self, task: TaskIndex) -> Option<Time> {
        let (_, when) = self.find(task)?;
        let place = self.times.partition_point(|(until, _)| *until < when);
        self.times.get(place).map(|(_, time)| *time)
    }

    fn find(&self, task: TaskIndex) -> Option<(Class, u64)> {
        let is_it = |entry: &&(u64, TaskIndex)| entry.1 == task;
        self.classes.iter().find_map(|(class, queue)| queue.iter().find(is_it).map(|(when, _)| (*class, *when)))
    }

    /// Puts a task behind those of its priority.
    pub(super) fn push(&mut self, task: TaskIndex, priority: i32, kind: u32, was_given_back: bool) {
        self.arrivals += 1;
        let class = (Reverse(was_given_back), Reverse(priority), kind);
        self.classes.entry(class).or_default().push_back((self.arrivals, task));
        self.has_new = true;
    }

    /// The first of each class, in the order in which they are to be handed out: those that were given back, then by priority, then as
    /// they came.
    pub(super) fn firsts(&self) -> Vec<First> {
        let first = |(class, queue): (&Class, &VecDeque<(u64, TaskIndex)>)| {
            let (when, task) = queue.front().copied()?;
            Some(First { was_given_back: class.0, priority: class.1, when, kind: class.2, task })
        };
        let mut firsts: Vec<First> = self.classes.iter().filter_map(first).collect();
        firsts.sort_unstable();
        firsts
    }

    /// Takes a task out that `firsts` has told.
    pub(super) fn remove(&mut self, first: &First) {
        let class = first.class();
        if let Some(queue) = self.classes.get_mut(&class) {
            queue.pop_front();
            if queue.is_empty() {
                self.classes.remove(&class);
            }
        }
    }

    /// How many tasks of the session are before one, and when it came among those; `None` if it is not there.
    pub(super) fn place_of(&self, task: TaskIndex) -> Option<usize> {
        let (class, when) = self.find(task)?;
        let before =
            |(other, queue): (&Class, &VecDeque<(u64, TaskIndex)>)| match (other.0, other.1).cmp(&(class.0, class.1)) {
                std::cmp::Ordering::Less => queue.len(),
                std::cmp::Ordering::Equal => queue.partition_point(|(other, _)| *other < when),
                std::cmp::Ordering::Greater => 0,
            };
        Some(self.classes.iter().map(before).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_tried_by_priority_and_then_as_their_tasks_came() {
        let mut wanting = Wanting::default();
        wanting.push(1, 0, 7, false);
        wanting.push(2, 0, 5, false);
        wanting.push(3, 0, 7, false);
        wanting.push(4, 9, 6, false);
        wanting.push(5, -1, 5, true);
        let now = Time::default() + std::time::Duration::from_secs(5);
        assert!(wanting.take_new(now) && !wanting.take_new(now + std::time::Duration::from_secs(1)));
        assert_eq!((wanting.since(3), wanting.since(6)), (Some(now), None));
        assert_eq!(
            [1, 2, 3, 4, 5, 6].map(|task| wanting.place_of(task)),
            [2, 3, 4, 1, 0].map(Some).into_iter().chain([None]).collect::<Vec<_>>()[..]
        );
        let mut order = Vec::new();
        while let Some(first) = wanting.firsts().first().copied() {
            order.push((first.task, first.was_given_back()));
            wanting.remove(&first);
        }
        assert_eq!(order, [(5, true), (4, false), (1, false), (2, false), (3, false)]);
        assert!(wanting.is_empty());
    }
}
