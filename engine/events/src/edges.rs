//! How often tasks of one kind read what tasks of another one make.

use crate::graph_rows::GraphRow;
use rain_model::id::NONE;
use std::collections::HashMap;

/// Objects past this are taken for constants: a damaged log must not take all memory.
const OBJECTS_MAX: u32 = 1 << 28;

/// Edges between the kinds of a session, as far as its graph was read.
#[derive(Debug, Default)]
pub struct Edges {
    /// The kinds of the tasks that make objects, by object; `NONE`: a constant.
    makers: Vec<u32>,
    counts: HashMap<(u32, u32), u64>,
    next: u32,
}

impl Edges {
    /// Tasks below this are counted.
    pub fn next(&self) -> u32 {
        self.next
    }

    /// Kinds, and how often tasks of the second read what tasks of the first make.
    pub fn iter(&self) -> impl Iterator<Item = (&(u32, u32), &u64)> {
        self.counts.iter()
    }

    /// Counts the edges to the tasks of a row, unless they are counted. `outputs_of` says how many objects tasks of a kind make.
    pub fn add(&mut self, row: &GraphRow, outputs_of: impl Fn(u32) -> u32) {
        if row.first < self.next {
            return;
        }
        for (place, first) in row.first_outputs.iter().enumerate().filter(|(_, first)| **first != NONE) {
            let kind = row.kinds[place];
            let end = first.saturating_add(outputs_of(kind));
            if end > OBJECTS_MAX {
                continue;
            }
            let end = end as usize;
            if self.makers.len() < end {
                self.makers.resize(end + end / 4, NONE);
            }
            self.makers[*first as usize..end].fill(kind);
        }
        let mut last: Option<((u32, u32), u64)> = None;
        for (_, place, inputs) in row.iter() {
            for input in inputs {
                let from = self.makers.get(*input as usize).copied().unwrap_or(NONE);
                if from == NONE {
                    continue;
                }
                let edge = (from, row.kinds[place]);
                match &mut last {
                    Some((known, count)) if *known == edge => *count += 1,
                    _ => {
                        if let Some((known, count)) = last.replace((edge, 1)) {
                            *self.counts.entry(known).or_default() += count;
                        }
                    }
                }
            }
        }
        if let Some((known, count)) = last {
            *self.counts.entry(known).or_default() += count;
        }
        self.next = row.tasks().end;
    }
}
