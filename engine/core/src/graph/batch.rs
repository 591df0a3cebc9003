//! Batches: tasks with consecutive numbers, in columns.

use super::{Column, Kind};
use crate::id::{NONE, ObjectIndex, TaskIndex};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// An object whose content came with the submit. `D` is how the driver holds content.
#[derive(Clone, Debug)]
pub struct Constant<D> {
    pub object: ObjectIndex,
    pub data: D,
}

/// Tasks `first .. first + count` of a session; immutable, shared by server and local governors.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Batch {
    pub first: TaskIndex,
    pub count: u32,
    /// Kinds this batch refers to, by session-wide number; those that came with earlier batches are shared.
    pub kinds: Arc<Vec<Arc<Kind>>>,
    pub kind: Column,
    /// Where each task's inputs begin in `inputs`; one more entry than tasks, or a constant number a task.
    pub input_offsets: Offsets,
    pub inputs: Vec<ObjectIndex>,
    pub first_output: Column,
    pub configs: Vec<serde_bytes::ByteBuf>,
    pub config: Column,
    /// `spec.user` as JSON text, by task number.
    pub user: BTreeMap<TaskIndex, String>,
}

/// Prefix sums of counts; a constant count needs no table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Offsets {
    Every(u32),
    Table(Vec<u32>),
}

impl Offsets {
    /// Offsets from counts; `None` when their sum does not fit.
    pub fn from_counts(counts: &Column, rows: usize) -> Option<Offsets> {
        match counts {
            Column::Same(count) => {
                u32::try_from(rows as u64 * u64::from(*count)).ok()?;
                Some(Offsets::Every(*count))
            }
            Column::Each(counts) => {
                let mut sum = 0u32;
                let mut table = Vec::with_capacity(rows + 1);
                table.push(0);
                for count in counts {
                    sum = sum.checked_add(*count)?;
                    table.push(sum);
                }
                Some(Offsets::Table(table))
            }
        }
    }

    /// The range of row `row`.
    #[inline]
    pub fn range(&self, row: usize) -> Range<usize> {
        match self {
            Offsets::Every(count) => {
                let count = *count as usize;
                row * count..(row + 1) * count
            }
            Offsets::Table(table) => table[row] as usize..table[row + 1] as usize,
        }
    }
}

impl Batch {
    /// Task numbers in this batch.
    pub fn tasks(&self) -> Range<TaskIndex> {
        self.first..self.first + self.count
    }

    #[inline]
    fn row(&self, task: TaskIndex) -> usize {
        debug_assert!(self.tasks().contains(&task));
        (task - self.first) as usize
    }

    /// The kind of a task.
    #[inline]
    pub fn kind(&self, task: TaskIndex) -> &Arc<Kind> {
        &self.kinds[self.kind.get(self.row(task)) as usize]
    }

    /// Session-wide number of the kind of a task.
    #[inline]
    pub fn kind_index(&self, task: TaskIndex) -> u32 {
        self.kind.get(self.row(task))
    }

    /// Objects that a task reads.
    #[inline]
    pub fn inputs(&self, task: TaskIndex) -> &[ObjectIndex] {
        &self.inputs[self.input_range(task)]
    }

    /// Positions in `inputs` of what a task reads.
    #[inline]
    pub fn input_range(&self, task: TaskIndex) -> Range<usize> {
        self.input_offsets.range(self.row(task))
    }

    /// Objects that a task makes.
    #[inline]
    pub fn outputs(&self, task: TaskIndex) -> Range<ObjectIndex> {
        let first = self.first_output.get(self.row(task));
        if first == NONE { 0..0 } else { first..first + self.kind(task).outputs.len() as u32 }
    }

    /// The task's own configuration, if it has one beside its kind's.
    #[inline]
    pub fn own_config(&self, task: TaskIndex) -> Option<&[u8]> {
        match self.config.get(self.row(task)) {
            NONE => None,
            index => Some(&self.configs[index as usize]),
        }
    }

    /// The configuration in force: the task's own, else its kind's.
    pub fn config(&self, task: TaskIndex) -> &[u8] {
        self.own_config(task).unwrap_or(&self.kind(task).config)
    }

    /// The user's attributes of the task, JSON text.
    pub fn user(&self, task: TaskIndex) -> Option<&str> {
        if self.user.is_empty() { None } else { self.user.get(&task).map(String::as_str) }
    }
}
