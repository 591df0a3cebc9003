//! All about one task.

use super::task_rows::task_rows;
use crate::answers::{Attempt, Task, TaskInput, TaskOutput, TaskState};
use crate::error::LogError;
use crate::log::{Log, Reader, seconds};
use crate::object_rows::sizes;
use crate::producers::Producers;
use rain_model::id::NONE;
use rusqlite::{OptionalExtension, params};
use serde_json::{Value, json};

/// Inputs that are listed.
const INPUTS_MAX: usize = 1000;
/// Tasks that are named as waited for, or as consumers.
const NAMED_MAX: usize = 100;
/// Rows of the graph after that of the task that are searched for consumers.
const ROWS_SEARCHED_MAX: usize = 64;

impl Log {
    /// All about a task; `None` if there is none with this number.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn task(&self, session: u32, number: u32) -> Result<Option<Task>, LogError> {
        self.read(|reader| task(reader, session, number))
    }
}

fn task(reader: &mut Reader, session: u32, number: u32) -> Result<Option<Task>, LogError> {
    let kinds = reader.kinds(session)?;
    let Some(row) = task_rows(reader, session, &kinds, &[number])?.pop() else { return Ok(None) };
    let Some(over) = reader.over.get(&session) else { return Ok(None) };
    let mut producers = Producers::new(reader, session, &kinds);
    let about = producers
        .with_row(number, |row, place| (row.kinds[place], row.first_outputs[place], row.inputs(place).to_vec()))?;
    let Some((kind, first_output, inputs)) = about else { return Ok(None) };
    let kind = kinds.get(&kind);
    let spec: Value = kind.and_then(|kind| serde_json::from_str(&kind.spec).ok()).unwrap_or_default();
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let output_count = kind.map_or(0, |kind| kind.outputs);
    let made = if first_output == NONE { 0..0 } else { first_output..first_output.saturating_add(output_count) };
    let mut wanted = inputs.clone();
    wanted.truncate(INPUTS_MAX);
    wanted.extend(made.clone());
    let sizes = sizes(reader, session, &wanted)?;

    let mut waits_for = Vec::new();
    let mut listed = Vec::new();
    for (place, object) in inputs.iter().enumerate() {
        let maker = producers.of(*object)?;
        if let Some(maker) = maker.filter(|maker| !over.finished.has(*maker))
            && !waits_for.contains(&maker)
        {
            waits_for.push(maker);
        }
        if place < INPUTS_MAX {
            let label = text(&spec["inputs"][place]);
            listed.push(TaskInput {
                task: maker,
                object: *object,
                label,
                size: sizes.get(object).map(|made| made.size),
            });
        }
    }
    let is_over = matches!(row.state, TaskState::Finished | TaskState::Failed | TaskState::Cancelled);
    if is_over {
        waits_for.clear();
    }
    let mut outputs = Vec::new();
    for (place, object) in made.clone().enumerate() {
        let known = sizes.get(&object);
        let mut governors: Vec<u32> = known.and_then(|made| made.governor).into_iter().collect();
        governors.extend(reader.copies(session, object)?);
        outputs.push(TaskOutput {
            object,
            label: text(&spec["outputs"][place]["label"]),
            size: known.map(|made| made.size),
            state: if known.is_some() { "made" } else { "none" }.to_owned(),
            governors,
        });
    }
    let said = reader
        .connection
        .prepare_cached("SELECT debug, stdout, stderr, user FROM details WHERE session = ?1 AND task = ?2")?
        .query_row(params![session, number], |row| Ok((Said::of(row)?, row.get(3)?)))
        .optional()?;
    let (of_failure, history) = history(reader, session, number, &row)?;
    let (said, user): (Said, Option<String>) = said.unwrap_or((of_failure, None));
    let consumers = consumers(reader, session, number, &made)?;
    let error = (row.state == TaskState::Failed).then(|| history.last().and_then(|last| last.error.clone())).flatten();
    let info = json!({
        "governor": row.governor, "start_time": row.started, "duration": row.seconds,
        "user": user.and_then(|user| serde_json::from_str::<Value>(&user).ok()),
    });
    let waits_for_count = waits_for.len() as u64;
    waits_for.truncate(NAMED_MAX);
    Ok(Some(Task {
        session,
        cpus: kind.map_or(1, |kind| kind.cpus),
        info: row.started.map(|_| info),
        row,
        spec,
        inputs: listed,
        outputs,
        error,
        debug: said.debug,
        stdout: said.stdout,
        stderr: said.stderr,
        waits_for,
        waits_for_count,
        consumers,
        history,
    }))
}

/// What an attempt has said: its debug messages, standard output and error.
#[derive(Default)]
struct Said {
    debug: Option<String>,
    stdout: Option<String>,
    stderr: Option<String>,
}

impl Said {
    /// Of the first three columns of a row.
    fn of(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self { debug: row.get(0)?, stdout: row.get(1)?, stderr: row.get(2)? })
    }
}

/// The attempts at a task, the last one too if it goes on or went well; and what the last that failed has said.
fn history(
    reader: &Reader,
    session: u32,
    number: u32,
    row: &crate::answers::TaskRow,
) -> Result<(Said, Vec<Attempt>), LogError> {
    let text = "SELECT debug, stdout, stderr, time, governor, start, message FROM attempts \
                WHERE session = ?1 AND task = ?2 ORDER BY id";
    let mut statement = reader.connection.prepare_cached(text)?;
    let mut rows = statement.query(params![session, number])?;
    let mut history: Vec<Attempt> = Vec::new();
    let mut said = Said::default();
    while let Some(row) = rows.next()? {
        said = Said::of(row)?;
        history.push(Attempt {
            attempt: history.len() as u32 + 1,
            governor: row.get(4)?,
            slot: None,
            started: super::status::maybe_seconds(row.get(5)?),
            finished: Some(seconds(row.get(3)?)),
            state: TaskState::Failed,
            error: row.get(6)?,
        });
    }
    if matches!(row.state, TaskState::Finished | TaskState::Running | TaskState::Lost) {
        history.push(Attempt {
            attempt: history.len() as u32 + 1,
            governor: row.governor,
            slot: row.slot,
            started: row.started,
            finished: row.finished,
            state: row.state,
            error: None,
        });
    }
    Ok((said, history))
}

/// The first tasks that read any of these objects.
fn consumers(reader: &Reader, session: u32, number: u32, objects: &std::ops::Range<u32>) -> Result<Vec<u32>, LogError> {
    let mut found = Vec::new();
    let mut rows = 0;
    if objects.is_empty() {
        return Ok(found);
    }
    reader.graph_rows(session, number, |row| {
        rows += 1;
        let reads = row.iter().filter(|(_, _, inputs)| inputs.iter().any(|input| objects.contains(input)));
        found.extend(reads.map(|(task, _, _)| task).take(NAMED_MAX - found.len()));
        Ok(found.len() < NAMED_MAX && rows < ROWS_SEARCHED_MAX)
    })?;
    Ok(found)
}
