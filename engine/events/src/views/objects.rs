//! Lists of objects.

use crate::answers::{ObjectRow, Objects};
use crate::error::LogError;
use crate::log::{Log, Reader, seconds};
use crate::object_rows::{Made, decode};
use crate::producers::Producers;
use crate::questions::{ObjectQuery, cursor, limit};
use rusqlite::params;
use std::collections::BinaryHeap;

/// Objects that can be listed one page after the other.
const LISTED_MAX: usize = 200_000;

impl Log {
    /// Objects of a session; `None` if there is none with this number.
    ///
    /// # Errors
    /// When the log cannot be read, or there is no such order or cursor.
    pub fn objects(&self, session: u32, query: &ObjectQuery) -> Result<Option<Objects>, LogError> {
        let sort = query.sort.as_deref().unwrap_or("-size");
        let key: fn(&Made) -> i128 = match sort {
            "-size" => |made| -i128::from(made.size),
            "size" => |made| i128::from(made.size),
            "id" => |made| i128::from(made.object),
            "-made" => |made| -i128::from(made.time),
            other => return Err(LogError::Request(format!("objects cannot be sorted by {other:?}"))),
        };
        let after = cursor(query.after.as_ref())?.unwrap_or_default() as usize;
        let limit = limit(query.limit);
        self.read(|reader| {
            if !reader.has_session(session)? {
                return Ok(None);
            }
            let wanted = after.saturating_add(limit + 1).min(LISTED_MAX);
            let best = best(reader, session, sort == "-size", key, wanted)?;
            let next = (best.len() > after + limit).then(|| (after + limit).to_string());
            let kinds = reader.kinds(session)?;
            let mut producers = Producers::new(reader, session, &kinds);
            let mut objects = Vec::new();
            for made in best.into_iter().skip(after).take(limit) {
                let task = producers.of(made.object)?;
                let of_task = match task {
                    Some(task) => {
                        producers.with_row(task, |row, place| (row.kinds[place], row.first_outputs[place]))?
                    }
                    None => None,
                };
                let label = of_task.and_then(|(kind, first)| {
                    let spec: serde_json::Value = serde_json::from_str(&kinds.get(&kind)?.spec).ok()?;
                    let label = spec["outputs"][(made.object - first) as usize]["label"].as_str()?;
                    (!label.is_empty()).then(|| label.to_owned())
                });
                let mut governors: Vec<u32> = made.governor.into_iter().collect();
                governors.extend(reader.copies(session, made.object)?);
                objects.push(ObjectRow {
                    id: made.object,
                    task,
                    label,
                    size: made.size,
                    state: "made".to_owned(),
                    governors,
                    made: Some(seconds(made.time)),
                    dropped: None,
                });
            }
            let text = "SELECT COALESCE(SUM(count), 0) FROM objects WHERE session = ?1";
            let total: i64 = reader.connection.prepare_cached(text)?.query_row([session], |row| row.get(0))?;
            Ok(Some(Objects { objects, total: total as u64, next }))
        })
    }
}

impl Reader {
    /// Governors that an object went to.
    pub(super) fn copies(&self, session: u32, object: u32) -> Result<Vec<u32>, LogError> {
        let text = "SELECT DISTINCT target FROM moves WHERE session = ?1 AND object = ?2 ORDER BY target LIMIT 1000";
        let mut statement = self.connection.prepare_cached(text)?;
        let rows = statement.query_map(params![session, object], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

/// The first `wanted` objects in an order.
fn best(
    reader: &Reader,
    session: u32,
    by_size: bool,
    key: fn(&Made) -> i128,
    wanted: usize,
) -> Result<Vec<Made>, LogError> {
    // The heap has the best so far; its top is the worst of them.
    let mut best: BinaryHeap<(i128, Made)> = BinaryHeap::new();
    let order = if by_size { "largest DESC" } else { "id" };
    // Contents come apart: what is sorted is to be small.
    let text = format!("SELECT id, largest FROM objects WHERE session = ?1 ORDER BY {order}");
    let mut statement = reader.connection.prepare_cached(&text)?;
    let ids = statement.query_map([session], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?;
    let ids: Vec<(i64, i64)> = ids.collect::<Result<_, _>>()?;
    let mut content = reader.connection.prepare_cached("SELECT time, data FROM objects WHERE id = ?1")?;
    for (id, largest) in ids {
        let is_full = best.len() >= wanted;
        if by_size && is_full && best.peek().is_some_and(|(worst, _)| -i128::from(largest) > *worst) {
            break;
        }
        let mut rows = content.query([id])?;
        let Some(row) = rows.next()? else { continue };
        let data = row.get_ref(1)?.as_blob().map_err(|error| LogError::Damaged(error.to_string()))?;
        decode(data, row.get(0)?, |made| {
            let value = (key(&made), made);
            if best.len() < wanted {
                best.push(value);
            } else if best.peek().is_some_and(|worst| value < *worst) {
                best.pop();
                best.push(value);
            }
        })?;
    }
    Ok(best.into_sorted_vec().into_iter().map(|(_, made)| made).collect())
}
