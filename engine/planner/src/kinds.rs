//! Which tasks are of the same kind.

use crate::graph::Task;
use std::collections::BTreeMap;

/// Numbers equal values equally, in order of their first appearance.
pub fn number<T: Ord + Clone>(values: &[T]) -> Vec<u32> {
    let mut numbers = BTreeMap::new();
    let mut numbered = Vec::with_capacity(values.len());
    for value in values {
        let next = numbers.len() as u32;
        numbered.push(*numbers.entry(value.clone()).or_insert(next));
    }
    numbered
}

/// Kinds of tasks that have no names: those of the same cpus with as many outputs and inputs, next to such tasks, are of one kind. How many
/// does not count where it is large: tasks that gather are of one kind whatever they gather.
pub fn structural(tasks: &[Task]) -> Vec<u32> {
    let count = |many: usize| many.min(4);
    let alone: Vec<_> =
        tasks.iter().map(|task| (task.cpus, count(task.inputs.len()), count(task.outputs.len()))).collect();
    let mut kinds = number(&alone);
    let mut producers = Vec::new();
    for (number, task) in tasks.iter().enumerate() {
        producers.extend(task.outputs.iter().map(|_| number));
    }
    for _ in 0..2 {
        let mut before = vec![Vec::new(); tasks.len()];
        let mut after = vec![Vec::new(); tasks.len()];
        for (number, task) in tasks.iter().enumerate() {
            for producer in task.inputs.iter().filter_map(|object| producers.get(*object)) {
                before[number].push(kinds[*producer]);
                after[*producer].push(kinds[number]);
            }
        }
        for near in before.iter_mut().chain(&mut after) {
            near.sort_unstable();
            near.dedup();
        }
        let seen: Vec<_> = (0..tasks.len()).map(|task| (kinds[task], &before[task], &after[task])).collect();
        kinds = self::number(&seen);
    }
    kinds
}
