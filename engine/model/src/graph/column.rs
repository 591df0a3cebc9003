//! Columns of numbers, where one number may stand for all rows.

use crate::id::NONE;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::sync::Arc;

/// A column for `n` rows: a number a row, or the same number for all. A clone shares the numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Column {
    Same(u32),
    Each(Arc<[u32]>),
}

/// Why the bytes of a column cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ColumnError {
    #[error("column has {0} bytes, which is not a whole number of 32-bit integers")]
    Ragged(usize),
    #[error("column has {found} numbers for {expected} rows")]
    Length { found: usize, expected: usize },
}

impl Column {
    /// Reads a column of `rows` rows from little-endian bytes.
    pub fn from_bytes(bytes: &[u8], rows: usize) -> Result<Column, ColumnError> {
        let mut numbers = numbers(bytes)?;
        match numbers.len() {
            1 => Ok(Column::Same(numbers.next().unwrap_or_default())),
            n if n == rows => Ok(Column::Each(numbers.collect())),
            found => Err(ColumnError::Length { found, expected: rows }),
        }
    }

    /// The column of some rows.
    pub(super) fn slice(&self, rows: Range<usize>) -> Column {
        match self {
            Column::Same(value) => Column::Same(*value),
            Column::Each(values) => Column::Each(values[rows].into()),
        }
    }

    /// The numbers that occur, each once and in ascending order, and the column of their places among them; `NONE` stays.
    pub(super) fn renumber(&self) -> (Column, Vec<u32>) {
        match self {
            Column::Same(NONE) => (Column::Same(NONE), Vec::new()),
            Column::Same(value) => (Column::Same(0), vec![*value]),
            Column::Each(values) => {
                let mut found: Vec<u32> = values.iter().copied().filter(|value| *value != NONE).collect();
                found.sort_unstable();
                found.dedup();
                let place = |value: &u32| match found.binary_search(value) {
                    Ok(place) => place as u32,
                    Err(_) => NONE,
                };
                (Column::Each(values.iter().map(place).collect()), found)
            }
        }
    }

    /// The number in row `row`.
    #[inline]
    pub fn get(&self, row: usize) -> u32 {
        match self {
            Column::Same(value) => *value,
            Column::Each(values) => values[row],
        }
    }
}

fn numbers(bytes: &[u8]) -> Result<impl ExactSizeIterator<Item = u32>, ColumnError> {
    if !bytes.len().is_multiple_of(4) {
        return Err(ColumnError::Ragged(bytes.len()));
    }
    Ok(bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])))
}

/// Reads little-endian 32-bit integers into a `Vec`, or into what can be shared.
///
/// # Errors
/// When the bytes are no whole number of them.
pub fn decode_column<C: FromIterator<u32>>(bytes: &[u8]) -> Result<C, ColumnError> {
    numbers(bytes).map(Iterator::collect)
}

/// Writes little-endian 32-bit integers.
pub fn encode_column(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|n| n.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_holds_for_all_rows() {
        let column = Column::from_bytes(&7u32.to_le_bytes(), 1000).unwrap();
        assert_eq!(column, Column::Same(7));
        assert_eq!(column.get(999), 7);
    }

    #[test]
    fn wrong_lengths_are_refused() {
        assert_eq!(Column::from_bytes(&[0; 7], 2), Err(ColumnError::Ragged(7)));
        assert_eq!(Column::from_bytes(&[0; 8], 3), Err(ColumnError::Length { found: 2, expected: 3 }));
    }

    #[test]
    fn bytes_round_trip() {
        let numbers = vec![0, 1, 0xdead_beef, u32::MAX];
        assert_eq!(decode_column::<Vec<u32>>(&encode_column(&numbers)).unwrap(), numbers);
    }
}
