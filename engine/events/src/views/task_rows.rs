//! Rows of single tasks, put together from where their parts are.

use crate::answers::{LogState, TaskRow, TaskState};
use crate::chunk::{FinishedTask, Slot, decode_tasks};
use crate::columns::Columns;
use crate::error::LogError;
use crate::log::{KindRow, Reader, seconds};
use crate::producers::Producers;
use rusqlite::{OptionalExtension, params};
use std::collections::{HashMap, HashSet};

/// Inputs of one task, and of all of an answer, that are looked at to find out when it was ready.
const INPUTS_OF_TASK_MAX: usize = 1000;
const INPUTS_MAX: usize = 20_000;
/// Hand-outs that are looked through.
const HAND_OUTS_MAX: i64 = 20_000;

/// A task that is known to run.
#[derive(Clone, Copy, Debug)]
pub(super) struct RunningTask {
    pub slot: Slot,
    /// Microseconds since 1970.
    pub start: i64,
}

/// The last failure of a task.
#[derive(Clone, Debug)]
struct Failure {
    count: u32,
    is_last: bool,
    time: i64,
    governor: u32,
    start: Option<i64>,
    duration: Option<i64>,
    message: String,
}

impl Reader {
    /// Tasks of a session that are known to run.
    pub(super) fn running(&self, session: u32) -> Result<HashMap<u32, RunningTask>, LogError> {
        let text = "SELECT task, governor, worker, start FROM running WHERE session = ?1";
        let mut statement = self.connection.prepare_cached(text)?;
        let rows = statement.query_map([session], |row| {
            let slot = Slot { governor: row.get(1)?, worker: row.get(2)? };
            Ok((row.get(0)?, RunningTask { slot, start: row.get(3)? }))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The numbers of the same.
    pub(super) fn running_tasks(&self, session: u32) -> Result<HashSet<u32>, LogError> {
        Ok(self.running(session)?.into_keys().collect())
    }

    /// What is noted of those of the tasks that are finished.
    pub(super) fn finished(&self, session: u32, tasks: &[u32]) -> Result<HashMap<u32, FinishedTask>, LogError> {
        let mut found = HashMap::new();
        let mut sorted = tasks.to_vec();
        sorted.sort_unstable();
        let (Some(least), Some(most)) = (sorted.first(), sorted.last()) else { return Ok(found) };
        let text = "SELECT count, first, last, tasks FROM chunks JOIN chunk_data USING (id) \
                    WHERE session = ?1 AND first <= ?3 AND last >= ?2 ORDER BY id";
        let mut statement = self.connection.prepare_cached(text)?;
        let mut rows = statement.query(params![session, least, most])?;
        while let Some(row) = rows.next()? {
            let (count, first, last): (usize, u32, u32) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let place = sorted.partition_point(|task| *task < first);
            if sorted.get(place).is_none_or(|task| *task > last) {
                continue;
            }
            let data = row.get_ref(3)?.as_blob().map_err(|error| LogError::Damaged(error.to_string()))?;
            decode_tasks(data, count, |task| {
                if sorted.binary_search(&task.task).is_ok() {
                    found.insert(task.task, task);
                }
            })?;
        }
        Ok(found)
    }

    fn failures(&self, session: u32, tasks: &[u32]) -> Result<HashMap<u32, Failure>, LogError> {
        let text = "SELECT COUNT(*), MAX(id), is_last, time, governor, start, duration, message FROM attempts \
                    WHERE session = ?1 AND task = ?2";
        let mut statement = self.connection.prepare_cached(text)?;
        let mut found = HashMap::new();
        if !self.connection.prepare_cached("SELECT 1 FROM attempts WHERE session = ?1")?.exists([session])? {
            return Ok(found);
        }
        for task in tasks {
            let failure = statement.query_row(params![session, task], |row| {
                let count: u32 = row.get(0)?;
                Ok((count > 0).then_some(()).map(|()| {
                    Ok::<_, rusqlite::Error>(Failure {
                        count,
                        is_last: row.get(2)?,
                        time: row.get(3)?,
                        governor: row.get(4)?,
                        start: row.get(5)?,
                        duration: row.get(6)?,
                        message: row.get(7)?,
                    })
                }))
            })?;
            if let Some(failure) = failure {
                found.insert(*task, failure?);
            }
        }
        Ok(found)
    }

    /// When each of the tasks was last given to a governor, and which; microseconds since 1970.
    fn hand_outs(&self, session: u32, tasks: &[u32]) -> Result<HashMap<u32, (i64, u32)>, LogError> {
        let mut found = HashMap::new();
        let (Some(least), Some(most)) = (tasks.iter().min(), tasks.iter().max()) else { return Ok(found) };
        let text = "SELECT time, governor, first, last, count, tasks FROM assigned \
                    WHERE session = ?1 AND first <= ?3 AND last >= ?2 ORDER BY id DESC LIMIT ?4";
        let mut statement = self.connection.prepare_cached(text)?;
        let mut rows = statement.query(params![session, least, most, HAND_OUTS_MAX])?;
        while let Some(row) = rows.next()? {
            let (time, governor): (i64, u32) = (row.get(0)?, row.get(1)?);
            let (first, last, count): (u32, u32, usize) = (row.get(2)?, row.get(3)?, row.get(4)?);
            let range = tasks.iter().copied().filter(|task| (first..=last).contains(task));
            match row.get_ref(5)?.as_blob_or_null().map_err(|error| LogError::Damaged(error.to_string()))? {
                None => range.for_each(|task| _ = found.entry(task).or_insert((time, governor))),
                Some(data) => {
                    let given = Columns(data).small_column(count)?;
                    range.filter(|task| given.binary_search(task).is_ok()).for_each(|task| {
                        found.entry(task).or_insert((time, governor));
                    });
                }
            }
            if found.len() == tasks.len() {
                break;
            }
        }
        Ok(found)
    }
}

/// Rows of these tasks of a session, in this order; those that there are not are left out.
pub(super) fn task_rows(
    reader: &mut Reader,
    session: u32,
    kinds: &HashMap<u32, KindRow>,
    tasks: &[u32],
) -> Result<Vec<TaskRow>, LogError> {
    let log_state = reader.state()?;
    let text = "SELECT state FROM sessions WHERE id = ?1";
    let session_state: Option<String> =
        reader.connection.prepare_cached(text)?.query_row([session], |row| row.get(0)).optional()?;
    let is_open = session_state.is_some_and(|state| state == "open");
    reader.over(session)?;
    let names: HashMap<u32, (String, String)> = {
        let mut names = HashMap::new();
        for (number, kind) in kinds {
            let text = (reader.string(kind.name)?.to_string(), reader.string(kind.task_type)?.to_string());
            names.insert(*number, text);
        }
        names
    };
    let Some(over) = reader.over.get(&session) else { return Ok(Vec::new()) };
    let running = reader.running(session)?;
    let finished = reader.finished(session, tasks)?;
    let failures = reader.failures(session, tasks)?;
    let hand_outs = reader.hand_outs(session, tasks)?;
    let mut producers = Producers::new(reader, session, kinds);
    let mut parts = Vec::with_capacity(tasks.len());
    let mut all_makers: Vec<u32> = Vec::new();
    let mut looked_at = 0;
    for task in tasks {
        let about = producers
            .with_row(*task, |row, place| (row.kinds[place], row.times[place] as i64, row.inputs(place).to_vec()))?;
        let Some((kind, submitted, inputs)) = about else { continue };
        looked_at += inputs.len();
        let mut makers = None;
        if inputs.len() <= INPUTS_OF_TASK_MAX && looked_at <= INPUTS_MAX {
            let mut of_task = Vec::new();
            for input in &inputs {
                of_task.extend(producers.of(*input)?);
            }
            all_makers.extend(&of_task);
            makers = Some(of_task);
        }
        parts.push((*task, kind, submitted, makers));
    }
    all_makers.sort_unstable();
    all_makers.dedup();
    let made = reader.finished(session, &all_makers)?;
    let mut rows = Vec::with_capacity(parts.len());
    for (task, kind, submitted, makers) in parts {
        let waits = makers.as_ref().is_some_and(|makers| makers.iter().any(|maker| !over.finished.has(*maker)));
        let ready = makers.filter(|_| !waits).map(|makers| {
            let ends = makers.iter().filter_map(|maker| made.get(maker)).map(|maker| maker.end() as i64);
            ends.chain([submitted]).max().unwrap_or(submitted)
        });
        let (name, task_type) = names.get(&kind).cloned().unwrap_or_default();
        let failure = failures.get(&task);
        let hand_out = hand_outs.get(&task);
        let mut row = TaskRow {
            id: task,
            name,
            kind: task_type,
            state: if waits { TaskState::Waiting } else { TaskState::Ready },
            governor: hand_out.map(|(_, governor)| *governor),
            slot: None,
            submitted: seconds(submitted),
            ready: ready.map(seconds),
            assigned: hand_out.map(|(time, _)| seconds(*time)),
            started: None,
            finished: None,
            seconds: None,
            attempts: failure.map_or(0, |failure| failure.count),
            error_line: failure.map(|failure| failure.message.lines().next().unwrap_or_default().to_owned()),
        };
        if let Some(done) = finished.get(&task) {
            row.state = TaskState::Finished;
            (row.governor, row.slot) = (Some(done.slot.governor), Some(done.slot.worker));
            row.started = Some(done.start as f64 / 1e6);
            row.seconds = Some(done.duration as f64 / 1e9);
            row.finished = Some(done.start as f64 / 1e6 + done.duration as f64 / 1e9);
            row.attempts += 1;
        } else if over.finished.has(task) {
            row.state = TaskState::Finished;
            row.attempts += 1;
        } else if let Some(failure) = failure.filter(|failure| failure.is_last) {
            row.state = TaskState::Failed;
            row.governor = Some(failure.governor);
            row.started = failure.start.map(seconds);
            row.seconds = failure.duration.map(|duration| duration as f64 / 1e9);
            row.finished = Some(seconds(failure.time));
        } else if over.given_up.has(task) || !is_open {
            row.state = TaskState::Cancelled;
        } else if let Some(runs) = running.get(&task) {
            row.state = if log_state == LogState::Running { TaskState::Running } else { TaskState::Lost };
            (row.governor, row.slot) = (Some(runs.slot.governor), Some(runs.slot.worker));
            row.started = Some(seconds(runs.start));
            row.attempts += 1;
        }
        rows.push(row);
    }
    Ok(rows)
}
