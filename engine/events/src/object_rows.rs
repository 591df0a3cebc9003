//! Objects as they are noted: which, how large, and where they were made.

use crate::columns::Columns;
use crate::error::LogError;
use crate::log::Reader;
use crate::rows::SERVER;
use rusqlite::params;
use std::collections::HashMap;

/// An object that was made, or came with a submit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Made {
    pub size: u64,
    pub object: u32,
    /// `None`: it came with a submit.
    pub governor: Option<u32>,
    /// When that was known, microseconds since 1970.
    pub time: i64,
}

/// Reads a row of objects.
///
/// # Errors
/// When the bytes are not those of one.
pub fn decode(data: &[u8], time: i64, mut each: impl FnMut(Made)) -> Result<(), LogError> {
    let mut columns = Columns(data);
    let count = columns.small()? as usize;
    let objects = columns.small_column(count)?;
    let sizes = columns.large_column(count)?;
    let governors = columns.small_column(count)?;
    for (place, object) in objects.iter().enumerate() {
        let governor = Some(governors[place]).filter(|governor| *governor != SERVER);
        each(Made { size: sizes[place], object: *object, governor, time });
    }
    Ok(())
}

/// What is noted of those of the objects that were made.
///
/// # Errors
/// When the log cannot be read.
pub fn sizes(reader: &Reader, session: u32, objects: &[u32]) -> Result<HashMap<u32, Made>, LogError> {
    let mut found = HashMap::new();
    let mut wanted = objects.to_vec();
    wanted.sort_unstable();
    let (Some(least), Some(most)) = (wanted.first(), wanted.last()) else { return Ok(found) };
    let text = "SELECT time, first, last, data FROM objects WHERE session = ?1 AND first <= ?3 AND last >= ?2";
    let mut statement = reader.connection.prepare_cached(text)?;
    let mut rows = statement.query(params![session, least, most])?;
    while let Some(row) = rows.next()? {
        let (first, last): (u32, u32) = (row.get(1)?, row.get(2)?);
        let place = wanted.partition_point(|object| *object < first);
        if wanted.get(place).is_none_or(|object| *object > last) {
            continue;
        }
        let data = row.get_ref(3)?.as_blob().map_err(|error| LogError::Damaged(error.to_string()))?;
        decode(data, row.get(0)?, |made| {
            if wanted.binary_search(&made.object).is_ok() {
                found.insert(made.object, made);
            }
        })?;
    }
    Ok(found)
}
