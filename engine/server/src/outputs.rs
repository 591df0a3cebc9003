//! What tasks have written to standard output and error, for their clients.

use rain_model::id::TaskIndex;
use rain_protocol::peer::TaskOutput;
use std::collections::{BTreeMap, VecDeque};

/// Bytes of a session's outputs that are kept: the latest ones.
const BYTES_MAX: usize = 32 << 20;
/// Bytes of one answer, at most, but for its first output: clients ask again for the others.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// Tasks that one answer is about.
const ANSWER_TASKS_MAX: usize = 1 << 14;

/// Outputs of a session's tasks, at most so many bytes of them.
#[derive(Debug, Default)]
pub(super) struct Outputs {
    /// With the number of the output, so that an entry of `order` that is not up to date is known.
    of: BTreeMap<TaskIndex, (u64, TaskOutput)>,
    /// In the order in which they came. Some may have been forgotten since.
    order: VecDeque<(u64, TaskIndex)>,
    next: u64,
    bytes: usize,
}

impl Outputs {
    /// Keeps what a task has written, in the place of what an earlier attempt has; the oldest outputs go when there are too many.
    pub(super) fn add(&mut self, task: TaskIndex, output: TaskOutput) {
        self.forget(task);
        if output.is_empty() {
            return;
        }
        self.bytes += output.bytes();
        self.of.insert(task, (self.next, output));
        self.order.push_back((self.next, task));
        self.next += 1;
        while self.bytes > BYTES_MAX && self.of.len() > 1 {
            let Some((number, task)) = self.order.pop_front() else { break };
            if self.is_current(number, task) {
                self.forget(task);
            }
        }
        if self.order.len() > 2 * self.of.len() + 64 {
            let of = &self.of;
            self.order.retain(|(number, task)| of.get(task).is_some_and(|(current, _)| current == number));
        }
    }

    fn is_current(&self, number: u64, task: TaskIndex) -> bool {
        self.of.get(&task).is_some_and(|(current, _)| *current == number)
    }

    /// Forgets what a task has written.
    pub(super) fn forget(&mut self, task: TaskIndex) {
        if let Some((_, output)) = self.of.remove(&task) {
            self.bytes -= output.bytes();
        }
    }

    /// The outputs that there are of the first of these tasks, and how many of the tasks this is about.
    pub(super) fn answer(&self, tasks: &[TaskIndex]) -> (Vec<(TaskIndex, TaskOutput)>, u32) {
        let (mut outputs, mut bytes, mut count) = (Vec::new(), 0, 0);
        for task in tasks.iter().take(ANSWER_TASKS_MAX) {
            if let Some((_, output)) = self.of.get(task) {
                bytes += output.bytes();
                if bytes > ANSWER_BYTES_MAX && !outputs.is_empty() {
                    break;
                }
                outputs.push((*task, output.clone()));
            }
            count += 1;
        }
        (outputs, count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(bytes: usize) -> TaskOutput {
        TaskOutput { stdout: "x".repeat(bytes), stderr: String::new() }
    }

    fn known(outputs: &Outputs, tasks: &[u32]) -> Vec<u32> {
        tasks.iter().copied().filter(|task| !outputs.answer(&[*task]).0.is_empty()).collect()
    }

    #[test]
    fn the_oldest_ones_go_when_there_are_too_many_bytes() {
        let mut outputs = Outputs::default();
        for task in 0..4 {
            outputs.add(task, output(BYTES_MAX / 4));
        }
        // An attempt that is made again comes later.
        outputs.add(0, output(BYTES_MAX / 4));
        assert_eq!(known(&outputs, &[0, 1, 2, 3, 4]), [0, 1, 2, 3]);
        outputs.add(4, output(2));
        assert_eq!(known(&outputs, &[0, 1, 2, 3, 4]), [0, 2, 3, 4]);
        outputs.add(2, TaskOutput::default());
        outputs.forget(3);
        assert_eq!((known(&outputs, &[0, 1, 2, 3, 4]), outputs.bytes), (vec![0, 4], BYTES_MAX / 4 + 2));
        outputs.add(5, output(BYTES_MAX + 1));
        assert_eq!(known(&outputs, &[0, 4, 5]), [5]);
    }

    #[test]
    fn what_is_forgotten_takes_no_memory() {
        let mut outputs = Outputs::default();
        for task in 0..10_000 {
            outputs.add(task, output(3));
            outputs.forget(task);
        }
        assert!(outputs.order.len() <= 65 && outputs.of.is_empty() && outputs.bytes == 0);
    }

    #[test]
    fn an_answer_has_a_bound_and_says_how_far_it_goes() {
        let mut outputs = Outputs::default();
        (0..8).for_each(|task| outputs.add(2 * task, output(ANSWER_BYTES_MAX / 2)));
        let tasks: Vec<u32> = (0..16).collect();
        let told = |tasks: &[u32]| {
            let (told, count) = outputs.answer(tasks);
            (told.into_iter().map(|(task, _)| task).collect::<Vec<_>>(), count)
        };
        assert_eq!(told(&tasks), (vec![0, 2], 4));
        assert_eq!(told(&tasks[4..]), (vec![4, 6], 4));
        assert_eq!(told(&tasks[15..]), (vec![], 1));
        let many: Vec<u32> = (1000..1000 + 2 * ANSWER_TASKS_MAX as u32).collect();
        assert_eq!(told(&many), (vec![], ANSWER_TASKS_MAX as u32));
    }
}
