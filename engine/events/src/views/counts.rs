//! Counts of tasks by state; and which of those that wait are ready.

use crate::answers::{Counts, LogState};
use crate::error::LogError;
use crate::log::Reader;
use crate::producers::Producers;
use rusqlite::Row;
use std::collections::HashMap;

/// Tasks that are not over that are looked at; of more, these are taken for all.
const LOOKED_AT_MAX: u64 = 20_000;

/// Columns of a tally, in the order in which `counts` reads them.
pub(super) const TALLY: &str = "tasks, finished, failed, cancelled, running, busy";

/// Counts of a row that begins with the columns of `TALLY`; tasks that are neither over nor run are said to be waiting.
pub(super) fn counts(row: &Row<'_>) -> rusqlite::Result<Counts> {
    let number = |column| Ok::<u64, rusqlite::Error>(row.get::<_, i64>(column)?.max(0) as u64);
    let (tasks, finished, failed) = (number(0)?, number(1)?, number(2)?);
    let (cancelled, running) = (number(3)?, number(4)?);
    let waiting = tasks.saturating_sub(finished + failed + cancelled + running);
    Ok(Counts { waiting, ready: 0, running, finished, failed, cancelled, lost: 0 })
}

/// What ran when a server ended without a word was lost.
pub(super) fn broken(counts: Counts, state: LogState) -> Counts {
    if state == LogState::Running { counts } else { Counts { running: 0, lost: counts.running, ..counts } }
}

/// How many of the waiting tasks of a session are ready, by the numbers of their names.
pub(super) fn ready(reader: &mut Reader, session: u32, waiting: u64) -> Result<HashMap<u32, u64>, LogError> {
    let mut ready: HashMap<u32, u64> = HashMap::new();
    if waiting == 0 {
        return Ok(ready);
    }
    reader.over(session)?;
    let kinds = reader.kinds(session)?;
    let running = reader.running_tasks(session)?;
    let Some(over) = reader.over.get(&session) else { return Ok(ready) };
    let mut producers = Producers::new(reader, session, &kinds);
    let mut looked_at = 0u64;
    reader.graph_rows(session, over.first_open(), |row| {
        for (task, place, inputs) in row.iter() {
            if over.has(task) || running.contains(&task) {
                continue;
            }
            looked_at += 1;
            let mut is_ready = true;
            for input in inputs {
                if let Some(producer) = producers.of(*input)?
                    && !over.finished.has(producer)
                {
                    is_ready = false;
                    break;
                }
            }
            if is_ready && let Some(kind) = kinds.get(&row.kinds[place]) {
                *ready.entry(kind.name).or_default() += 1;
            }
            if looked_at >= LOOKED_AT_MAX {
                return Ok(false);
            }
        }
        Ok(true)
    })?;
    if looked_at >= LOOKED_AT_MAX && waiting > looked_at {
        for count in ready.values_mut() {
            *count = (*count as f64 * waiting as f64 / looked_at as f64) as u64;
        }
    }
    Ok(ready)
}

/// The same counts, of which so many of those that wait are ready.
pub(super) fn with_ready(counts: Counts, ready: u64) -> Counts {
    let ready = ready.min(counts.waiting);
    Counts { waiting: counts.waiting - ready, ready, ..counts }
}
