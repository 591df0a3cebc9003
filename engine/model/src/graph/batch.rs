//! Batches: tasks with consecutive numbers, in columns.

use super::{Column, Kind};
use crate::id::{NONE, ObjectIndex, TaskIndex};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// Tasks `first .. first + count` of a session; immutable, shared by server and local governors. A clone shares all that is large.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Batch {
    pub first: TaskIndex,
    pub count: u32,
    /// The kinds of these tasks, by ascending number.
    pub kinds: Arc<[BatchKind]>,
    /// Place of each task's kind in `kinds`.
    pub kind: Column,
    /// Where each task's inputs begin in `inputs`; one more entry than tasks, or a constant number a task.
    pub input_offsets: Offsets,
    pub inputs: Arc<[ObjectIndex]>,
    pub first_output: Column,
    pub configs: Arc<[serde_bytes::ByteBuf]>,
    pub config: Column,
    /// `spec.user` as JSON text, by task number.
    pub user: Arc<BTreeMap<TaskIndex, String>>,
}

/// A kind that tasks of a batch are of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchKind {
    /// Its number in the session.
    pub number: u32,
    pub kind: Arc<Kind>,
}

/// Prefix sums of counts; a constant count needs no table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Offsets {
    Every(u32),
    Table(Arc<[u32]>),
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
                for count in counts.iter() {
                    sum = sum.checked_add(*count)?;
                    table.push(sum);
                }
                Some(Offsets::Table(table.into()))
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
    /// A batch of no tasks, which can be the rest of one whose tasks have neither inputs, outputs nor configurations.
    pub fn empty(first: TaskIndex) -> Batch {
        Batch {
            first,
            count: 0,
            kinds: Arc::default(),
            kind: Column::Same(0),
            input_offsets: Offsets::Every(0),
            inputs: Arc::default(),
            first_output: Column::Same(NONE),
            configs: Arc::default(),
            config: Column::Same(NONE),
            user: Arc::default(),
        }
    }

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
        &self.kinds[self.kind_place(task)].kind
    }

    /// Session-wide number of the kind of a task.
    #[inline]
    pub fn kind_index(&self, task: TaskIndex) -> u32 {
        self.kinds[self.kind_place(task)].number
    }

    /// Place in `kinds` of the kind of a task.
    #[inline]
    pub fn kind_place(&self, task: TaskIndex) -> usize {
        self.kind.get(self.row(task)) as usize
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
            index => self.configs.get(index as usize).map(|config| &config[..]),
        }
    }

    /// Bytes of what only tasks that are not over need.
    pub fn config_bytes(&self) -> usize {
        let configs: usize = self.configs.iter().map(|config| config.len()).sum();
        configs + self.user.values().map(String::len).sum::<usize>()
    }

    /// The same batch without what only tasks that are not over need: their own configurations and the user's attributes.
    pub fn without_configs(&self) -> Batch {
        Batch { configs: Arc::default(), user: Arc::default(), ..self.clone() }
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
