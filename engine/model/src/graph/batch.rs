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

    /// The offsets of some rows, counted from the first of them.
    fn slice(&self, rows: Range<usize>) -> Offsets {
        match self {
            Offsets::Every(count) => Offsets::Every(*count),
            Offsets::Table(table) => {
                Offsets::Table(table[rows.start..=rows.end].iter().map(|offset| offset - table[rows.start]).collect())
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

    /// The tasks of `range` as a batch of their own, with only those kinds, configurations and attributes that they have: what a
    /// governor elsewhere needs of a large batch of which it runs some tasks. Tasks, kinds and objects keep their numbers.
    ///
    /// # Panics
    /// When the range is not one of this batch's tasks.
    pub fn slice(&self, range: Range<TaskIndex>) -> Batch {
        assert!(
            self.first <= range.start && range.end <= self.first + self.count,
            "{range:?} is not in {:?}",
            self.tasks()
        );
        let rows = (range.start - self.first) as usize..(range.end - self.first) as usize;
        if rows.is_empty() {
            return Batch::empty(range.start);
        }
        let inputs = self.input_offsets.range(rows.start).start..self.input_offsets.range(rows.end - 1).end;
        let (kind, kinds) = self.kind.slice(rows.clone()).renumber();
        let (config, configs) = self.config.slice(rows.clone()).renumber();
        Batch {
            first: range.start,
            count: rows.len() as u32,
            kinds: kinds.iter().map(|place| self.kinds[*place as usize].clone()).collect(),
            kind,
            input_offsets: self.input_offsets.slice(rows.clone()),
            inputs: self.inputs[inputs].into(),
            first_output: self.first_output.slice(rows),
            configs: configs
                .iter()
                .map(|place| self.configs.get(*place as usize).cloned().unwrap_or_default())
                .collect(),
            config,
            user: Arc::new(self.user.range(range).map(|(task, user)| (*task, user.clone())).collect()),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{DataType, OutputSpec};

    fn kind(number: u32) -> BatchKind {
        let output = OutputSpec { label: String::new(), data_type: DataType::Blob, content_type: None };
        let kind = Kind { outputs: vec![output; number as usize % 2], ..Kind::new(format!("buildin/{number}")) };
        BatchKind { number, kind: Arc::new(kind) }
    }

    #[test]
    fn a_slice_says_of_its_tasks_what_the_batch_says() {
        let batch = Batch {
            first: 10,
            count: 6,
            kinds: [3, 5, 6, 9].map(kind).into(),
            kind: Column::Each([0, 2, 1, 0, 3, 2].into()),
            input_offsets: Offsets::Table([0, 2, 2, 3, 6, 6, 7].into()),
            inputs: [100, 101, 102, 103, 104, 105, 106].into(),
            first_output: Column::Each([7, NONE, 8, 9, 10, NONE].into()),
            configs: [*b"a", *b"b", *b"c"].map(serde_bytes::ByteBuf::from).into(),
            config: Column::Each([NONE, 2, 1, 2, NONE, 0].into()),
            user: Arc::new(BTreeMap::from([(11, "x".into()), (14, "y".into())])),
        };
        for (from, to) in (10..=16).flat_map(|from| (from..=16).map(move |to| (from, to))) {
            let slice = batch.slice(from..to);
            assert_eq!(slice.tasks(), from..to);
            for task in from..to {
                assert_eq!((slice.kind(task), slice.kind_index(task)), (batch.kind(task), batch.kind_index(task)));
                assert_eq!((slice.inputs(task), slice.outputs(task)), (batch.inputs(task), batch.outputs(task)));
                assert_eq!((slice.own_config(task), slice.user(task)), (batch.own_config(task), batch.user(task)));
            }
        }
        let slice = batch.slice(12..14);
        assert_eq!((slice.kinds.len(), slice.configs.len(), slice.inputs.len(), slice.user.len()), (2, 2, 4, 0));
        let all_equal = Batch {
            kind: Column::Same(1),
            input_offsets: Offsets::Every(1),
            config: Column::Same(NONE),
            ..batch.clone()
        };
        let slice = all_equal.slice(15..16);
        assert_eq!(
            (slice.inputs(15), slice.kind_index(15), slice.kinds.len(), &slice.kind),
            (&[105][..], 5, 1, &Column::Same(0))
        );
    }
}
