//! Submitted tasks: what they are and what they read and make, in columns.

use crate::columns::{BrokenColumn, Columns, put_column, put_number};
use rain_model::graph::Batch;

/// Tasks of one row at most.
pub const ROW_TASKS_MAX: u32 = 16 << 10;

/// Tasks `first ..` of a session, as they were submitted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GraphRow {
    pub first: u32,
    /// When each was submitted, microseconds since 1970.
    pub times: Vec<u64>,
    /// Number of each one's kind in its session.
    pub kinds: Vec<u32>,
    /// How many objects each reads.
    pub input_counts: Vec<u32>,
    pub inputs: Vec<u32>,
    /// The first object that each makes; `NONE`: it makes none.
    pub first_outputs: Vec<u32>,
    /// The lowest and the highest object that its tasks make; not in what `decode` gives.
    pub output_bounds: Option<(u32, u32)>,
}

impl GraphRow {
    /// Appends the tasks of a batch from `from` on, as many as fit; where those begin that do not.
    pub fn append(&mut self, batch: &Batch, from: u32, time: u64) -> u32 {
        if self.kinds.is_empty() {
            self.first = from;
        }
        let end = batch.tasks().end.min(from + (ROW_TASKS_MAX - self.len().min(ROW_TASKS_MAX)));
        for task in from..end {
            let inputs = batch.inputs(task);
            self.times.push(time);
            self.kinds.push(batch.kind_index(task));
            self.input_counts.push(inputs.len() as u32);
            self.inputs.extend_from_slice(inputs);
            self.first_outputs.push(batch.first_output.get((task - batch.first) as usize));
            let outputs = batch.outputs(task);
            if !outputs.is_empty() {
                let (low, high) = self.output_bounds.unwrap_or((outputs.start, outputs.end - 1));
                self.output_bounds = Some((low.min(outputs.start), high.max(outputs.end - 1)));
            }
        }
        end
    }

    pub fn len(&self) -> u32 {
        self.kinds.len() as u32
    }

    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    /// The tasks of this row.
    pub fn tasks(&self) -> std::ops::Range<u32> {
        self.first..self.first + self.len()
    }

    /// The row as `decode` reads it; its kinds come first.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(4 * self.kinds.len() + self.inputs.len() + 32);
        put_column(&mut out, &self.kinds);
        put_column(&mut out, &self.times);
        put_column(&mut out, &self.input_counts);
        put_number(&mut out, self.inputs.len() as u64);
        put_column(&mut out, &self.inputs);
        put_column(&mut out, &self.first_outputs);
        out
    }

    /// Reads a row of `count` tasks.
    ///
    /// # Errors
    /// When the bytes are not those of such a row.
    pub fn decode(bytes: &[u8], first: u32, count: usize) -> Result<Self, BrokenColumn> {
        let mut columns = Columns(bytes);
        let kinds = columns.small_column(count)?;
        let times = columns.large_column(count)?;
        let input_counts = columns.small_column(count)?;
        let inputs = columns.small()? as usize;
        if inputs as u64 != input_counts.iter().map(|count| u64::from(*count)).sum::<u64>() {
            return Err(BrokenColumn);
        }
        let inputs = columns.small_column(inputs)?;
        let first_outputs = columns.small_column(count)?;
        Ok(Self { first, times, kinds, input_counts, inputs, first_outputs, output_bounds: None })
    }

    /// Each task: its number, its place in the row, and what it reads.
    pub fn iter(&self) -> impl Iterator<Item = (u32, usize, &[u32])> {
        let mut rest = &self.inputs[..];
        self.input_counts.iter().enumerate().map(move |(place, count)| {
            let (inputs, others) = rest.split_at(*count as usize);
            rest = others;
            (self.first + place as u32, place, inputs)
        })
    }

    /// What one of its tasks reads.
    pub fn inputs(&self, place: usize) -> &[u32] {
        let from: usize = self.input_counts[..place].iter().map(|count| *count as usize).sum();
        &self.inputs[from..from + self.input_counts[place] as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rain_model::id::NONE;

    #[test]
    fn a_row_gives_back_its_tasks() {
        let row = GraphRow {
            first: 5,
            times: vec![1 << 50; 3],
            kinds: vec![0, 1, 0],
            input_counts: vec![2, 0, 1],
            inputs: vec![4, 9, 2],
            first_outputs: vec![7, NONE, 8],
            output_bounds: None,
        };
        let bytes = row.encode();
        assert_eq!(GraphRow::decode(&bytes, 5, 3).as_ref(), Ok(&row));
        let inputs: Vec<_> = row.iter().map(|(task, _, inputs)| (task, inputs.to_vec())).collect();
        assert_eq!(inputs, [(5, vec![4, 9]), (6, vec![]), (7, vec![2])]);
        assert_eq!((row.inputs(2), row.inputs(0)), (&[2][..], &[4, 9][..]));
        for length in 0..bytes.len() {
            assert!(GraphRow::decode(&bytes[..length], 5, 3).is_err(), "{length}");
        }
    }
}
