//! Tasks whose inputs are finished and that no governor has: those of high priority first, and none behind one that asks for
//! more cpus than there are just now.

use rain_model::id::TaskIndex;
use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};

/// Tasks of one priority that take as many cpus, and whether they were given back.
type Class = (Reverse<i32>, u32, bool);

/// A task, and when it was put there.
type Entry = (u64, TaskIndex);

/// Tasks that were put behind others have this number or a higher one, those that went before them lower ones.
const FIRST: u64 = 1 << 63;

/// Queues by priority and cpus. A task that was put there and is not ready any more stays until its turn: who takes it looks.
#[derive(Debug)]
pub(super) struct Ready {
    classes: BTreeMap<Class, VecDeque<Entry>>,
    /// The number of the next task that is put behind the others.
    next: u64,
    /// The number of the last task that was put before the others.
    first: u64,
    len: usize,
}

impl Default for Ready {
    fn default() -> Self {
        Self { classes: BTreeMap::new(), next: FIRST, first: FIRST, len: 0 }
    }
}

/// Tasks that ask for so many cpus or more find no governor just now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    cpus: u32,
    /// For those that were given back.
    cpus_given_back: u32,
}

impl Limits {
    pub(super) const NONE: Self = Self { cpus: u32::MAX, cpus_given_back: u32::MAX };
    /// Only tasks that were given back.
    pub(super) const GIVEN_BACK: Self = Self { cpus: 0, ..Self::NONE };

    /// Notes that a task has found no governor. One that was given back finds one sooner than others.
    pub(super) fn lower(&mut self, taken: &Taken) {
        self.cpus = self.cpus.min(taken.cpus);
        if taken.was_given_back() {
            self.cpus_given_back = self.cpus_given_back.min(taken.cpus);
        }
    }

    fn allow(&self, class: &Class) -> bool {
        class.1 < if class.2 { self.cpus_given_back } else { self.cpus }
    }
}

/// Where a task was taken from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    pub(super) task: TaskIndex,
    pub(super) cpus: u32,
    class: Class,
    when: u64,
}

impl Taken {
    /// Whether a governor has given it back.
    pub(super) fn was_given_back(&self) -> bool {
        self.class.2
    }
}

impl Ready {
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether a task is there that was given back.
    pub(super) fn has_given_back(&self) -> bool {
        self.classes.keys().any(|class| class.2)
    }

    /// Puts a task behind those of its priority.
    pub(super) fn push(&mut self, task: TaskIndex, priority: i32, cpus: u32) {
        self.classes.entry((Reverse(priority), cpus, false)).or_default().push_back((self.next, task));
        self.next += 1;
        self.len += 1;
    }

    /// Puts a task that was given back before all of its priority.
    pub(super) fn push_given_back(&mut self, task: TaskIndex, priority: i32, cpus: u32) {
        self.first -= 1;
        self.classes.entry((Reverse(priority), cpus, true)).or_default().push_front((self.first, task));
        self.len += 1;
    }

    /// Takes the first of the tasks within the limits: of the highest priority the one that was put there first.
    pub(super) fn pop(&mut self, limits: &Limits) -> Option<Taken> {
        let priority = self.classes.keys().find(|class| limits.allow(class))?.0;
        let of_priority = self.classes.range((priority, 0, false)..=(priority, u32::MAX, true));
        let allowed = of_priority.filter(|(class, _)| limits.allow(class));
        let (class, _) = allowed.min_by_key(|(_, queue)| queue.front().copied())?;
        let class = *class;
        let queue = self.classes.get_mut(&class)?;
        let (when, task) = queue.pop_front()?;
        if queue.is_empty() {
            self.classes.remove(&class);
        }
        self.len -= 1;
        Some(Taken { task, cpus: class.1, class, when })
    }

    /// The task that comes after one that was taken in its queue.
    pub(super) fn after(&self, taken: &Taken) -> Option<TaskIndex> {
        self.classes.get(&taken.class)?.front().map(|(_, task)| *task)
    }

    /// Takes the task that `after` has told.
    pub(super) fn pop_after(&mut self, taken: &Taken) {
        if let Some(queue) = self.classes.get_mut(&taken.class)
            && queue.pop_front().is_some()
        {
            self.len -= 1;
            if queue.is_empty() {
                self.classes.remove(&taken.class);
            }
        }
    }

    /// Puts a task back where it was taken from.
    pub(super) fn put_back(&mut self, taken: Taken) {
        self.classes.entry(taken.class).or_default().push_front((taken.when, taken.task));
        self.len += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pop_all(ready: &mut Ready, limits: Limits) -> Vec<TaskIndex> {
        std::iter::from_fn(|| ready.pop(&limits)).map(|taken| taken.task).collect()
    }

    #[test]
    fn priorities_go_first_and_then_who_came_first() {
        let mut ready = Ready::default();
        for (task, (priority, cpus)) in (0..).zip([(0, 1), (0, 4), (5, 2), (0, 1), (-1, 1), (5, 1)]) {
            ready.push(task, priority, cpus);
        }
        let taken = ready.pop(&Limits::NONE).unwrap();
        assert_eq!((taken.task, taken.cpus), (2, 2));
        ready.put_back(taken);
        assert_eq!(pop_all(&mut ready, Limits::NONE), [2, 5, 0, 1, 3, 4]);
        assert!(ready.is_empty() && ready.classes.is_empty());
    }

    #[test]
    fn what_was_given_back_goes_first_of_its_priority() {
        let mut ready = Ready::default();
        (0..3).for_each(|task| ready.push(task, 0, 1));
        ready.push_given_back(3, 0, 2);
        ready.push_given_back(4, 0, 1);
        ready.push(5, 1, 1);
        let taken: Vec<_> =
            std::iter::from_fn(|| ready.pop(&Limits::NONE)).map(|t| (t.task, t.was_given_back())).collect();
        assert_eq!(taken, [(5, false), (4, true), (3, true), (0, false), (1, false), (2, false)]);
    }

    #[test]
    fn wide_tasks_can_be_passed_over() {
        let mut ready = Ready::default();
        (0..6).for_each(|task| ready.push(task, 0, if task < 3 { 4 } else { 1 }));
        let taken = ready.pop(&Limits::NONE).unwrap();
        assert_eq!((taken.task, ready.after(&taken)), (0, Some(1)));
        let mut limits = Limits::NONE;
        limits.lower(&taken);
        assert_eq!(pop_all(&mut ready, limits), [3, 4, 5]);
        ready.pop_after(&taken);
        assert_eq!((pop_all(&mut ready, Limits::NONE), ready.len()), (vec![2], 0));
    }

    #[test]
    fn who_finds_no_governor_keeps_back_none_that_was_given_back() {
        let mut ready = Ready::default();
        ready.push(0, 1, 4);
        ready.push(1, 0, 4);
        ready.push_given_back(2, 0, 4);
        ready.push_given_back(3, -1, 5);
        let mut limits = Limits::NONE;
        limits.lower(&ready.pop(&limits).unwrap());
        let taken = ready.pop(&limits).unwrap();
        assert_eq!((taken.task, taken.was_given_back()), (2, true));
        limits.lower(&taken);
        assert!(ready.pop(&limits).is_none(), "it is wider still");
        assert_eq!(pop_all(&mut ready, Limits::NONE), [1, 3]);
    }
}
