//! Rows of what the writer remembers.

use crate::chunk::ChunkBounds;
use crate::columns::{put_column, put_number};
use crate::error::LogError;
use crate::session_state::{Governor, SessionState};
use rain_model::graph::{Batch, BatchKind};
use rain_protocol::peer::{TaskDetails, TaskOutput};
use rusqlite::{Connection, ToSql, params};
use serde_json::json;

/// Objects of one row at most.
pub const OBJECTS_MAX: usize = 4096;
/// Stands for a governor where the server has an object.
pub const SERVER: u32 = u32::MAX;
/// Bytes of a kind's configuration that are kept.
const CONFIG_BYTES_MAX: usize = 1 << 10;

pub fn put_meta(connection: &Connection, key: &str, value: impl ToSql) -> Result<(), LogError> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)")?
        .execute(params![key, value])?;
    Ok(())
}

pub fn put_governor_counts(connection: &Connection, governor: &Governor) -> Result<(), LogError> {
    connection.prepare_cached("UPDATE governors SET tasks = ?2, busy = ?3 WHERE id = ?1")?.execute(params![
        governor.id,
        governor.tasks as i64,
        governor.busy as i64
    ])?;
    Ok(())
}

pub fn put_kind(
    connection: &Connection,
    session: u32,
    kind: &BatchKind,
    name: u32,
    task_type: u32,
) -> Result<(), LogError> {
    let mut known = connection.prepare_cached("SELECT 1 FROM kinds WHERE session = ?1 AND number = ?2")?;
    if known.exists(params![session, kind.number])? {
        return Ok(());
    }
    let spec = &kind.kind;
    let outputs = spec.outputs.iter().map(|output| {
        json!({"label": output.label, "data_type": format!("{:?}", output.data_type).to_lowercase(),
               "content_type": output.content_type})
    });
    let config = std::str::from_utf8(&spec.config).ok().filter(|config| config.len() <= CONFIG_BYTES_MAX);
    let spec_text = json!({
        "task_type": spec.task_type, "name": spec.name, "cpus": spec.cpus, "inputs": spec.inputs,
        "outputs": outputs.collect::<Vec<_>>(), "retries": spec.retries,
        "timeout": spec.timeout.map(|timeout| timeout.as_secs_f64()), "priority": spec.priority,
        "config": config, "config_bytes": spec.config.len(),
    });
    connection
        .prepare_cached(
            "INSERT INTO kinds (session, number, name, type, cpus, outputs, spec) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            session,
            kind.number,
            name,
            task_type,
            spec.cpus,
            spec.outputs.len(),
            spec_text.to_string()
        ])?;
    Ok(())
}

/// Writes the submitted tasks that wait for it.
pub fn put_graph(connection: &Connection, state: &mut SessionState) -> Result<(), LogError> {
    let row = std::mem::take(&mut state.graph);
    if row.is_empty() {
        return Ok(());
    }
    let bounds = row.output_bounds;
    let text =
        "INSERT INTO graph (session, first, count, first_output, last_output, data) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    connection.prepare_cached(text)?.execute(params![
        state.id,
        row.first,
        row.len(),
        bounds.map(|bounds| bounds.0),
        bounds.map(|bounds| bounds.1),
        row.encode()
    ])?;
    Ok(())
}

/// Writes the finished tasks that wait for it; a chunk that is full makes room for the next.
pub fn put_chunk(connection: &Connection, state: &mut SessionState) -> Result<(), LogError> {
    let Some(ChunkBounds { first, last, start, end, longest }) = state.chunk.bounds() else { return Ok(()) };
    let text = "INSERT OR REPLACE INTO chunks (id, session, count, first, last, start, end, longest) \
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    connection.prepare_cached(text)?.execute(params![
        state.chunk_row,
        state.id,
        state.chunk.len(),
        first,
        last,
        start as i64,
        end as i64,
        longest as i64
    ])?;
    let row = *state.chunk_row.get_or_insert_with(|| connection.last_insert_rowid());
    connection
        .prepare_cached("INSERT OR REPLACE INTO chunk_data (id, tasks) VALUES (?1, ?2)")?
        .execute(params![row, state.chunk.encode()])?;
    connection
        .prepare_cached("INSERT OR REPLACE INTO chunk_summaries (id, summary) VALUES (?1, ?2)")?
        .execute(params![row, state.chunk.encode_summary()])?;
    state.chunk.is_written = true;
    if state.chunk.is_full() {
        state.chunk = Default::default();
        state.chunk_row = None;
    }
    Ok(())
}

/// Writes which tasks a governor was given at some time; `tasks` are all of the batch if it is `None`.
pub fn put_assigned(
    connection: &Connection,
    (session, time, governor): (u32, u64, u32),
    batch: &Batch,
    tasks: Option<&[u32]>,
) -> Result<(), LogError> {
    let (first, last, count, data) = match tasks {
        None if batch.count == 0 => return Ok(()),
        None => (batch.first, batch.tasks().end - 1, batch.count, None),
        Some(tasks) => {
            let mut tasks = tasks.to_vec();
            tasks.sort_unstable();
            let (first, last) = (tasks[0], tasks[tasks.len() - 1]);
            let is_range = (last - first) as usize + 1 == tasks.len();
            let mut data = Vec::new();
            put_column(&mut data, &tasks);
            (first, last, tasks.len() as u32, (!is_range).then_some(data))
        }
    };
    let text =
        "INSERT INTO assigned (session, time, governor, first, last, count, tasks) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    connection.prepare_cached(text)?.execute(params![session, time as i64, governor, first, last, count, data])?;
    Ok(())
}

/// Standard output and error, where there is any.
pub fn written(output: &TaskOutput) -> [Option<&str>; 2] {
    [&output.stdout, &output.stderr].map(|text| (!text.is_empty()).then_some(&**text))
}

pub fn put_details(connection: &Connection, session: u32, details: &TaskDetails) -> Result<(), LogError> {
    let text =
        "INSERT OR REPLACE INTO details (session, task, debug, user, stdout, stderr) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let [stdout, stderr] = written(&details.output);
    connection.prepare_cached(text)?.execute(params![
        session,
        details.task,
        details.debug,
        details.user,
        stdout,
        stderr
    ])?;
    Ok(())
}

/// Writes the objects that wait for it.
pub fn put_objects(connection: &Connection, state: &mut SessionState, time: u64) -> Result<(), LogError> {
    let objects = std::mem::take(&mut state.objects);
    let (Some(first), Some(last)) = (objects.numbers.iter().min(), objects.numbers.iter().max()) else {
        return Ok(());
    };
    let mut data = Vec::with_capacity(4 * objects.numbers.len() + 16);
    put_number(&mut data, objects.numbers.len() as u64);
    put_column(&mut data, &objects.numbers);
    put_column(&mut data, &objects.sizes);
    put_column(&mut data, &objects.governors);
    let bytes: u64 = objects.sizes.iter().sum();
    state.bytes += bytes;
    state.made += objects.numbers.len() as u64;
    state.is_changed = true;
    let largest = objects.sizes.iter().max().copied().unwrap_or_default();
    let text = "INSERT INTO objects (session, count, first, last, time, bytes, largest, data) \
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    connection.prepare_cached(text)?.execute(params![
        state.id,
        objects.numbers.len(),
        first,
        last,
        time as i64,
        bytes as i64,
        largest as i64,
        data
    ])?;
    Ok(())
}

/// Writes all that has changed of a session.
pub fn put_session(connection: &Connection, state: &mut SessionState, time: u64) -> Result<(), LogError> {
    put_graph(connection, state)?;
    if !state.chunk.is_written {
        put_chunk(connection, state)?;
    }
    put_objects(connection, state, time)?;
    put_running(connection, state)?;
    if !std::mem::take(&mut state.is_changed) {
        return Ok(());
    }
    let tally = state.tally;
    let text = "INSERT OR REPLACE INTO sessions (id, name, client, state, created, closed, error, error_task, tasks, finished, \
                failed, cancelled, lost, running, folded, busy, moved, bytes, objects) \
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)";
    connection.prepare_cached(text)?.execute(params![
        state.id,
        state.name,
        state.client as i64,
        state.state,
        state.created as i64,
        state.closed.map(|closed| closed as i64),
        state.error,
        state.error_task,
        tally.tasks as i64,
        tally.finished as i64,
        tally.failed as i64,
        tally.cancelled as i64,
        tally.lost as i64,
        tally.running as i64,
        state.folded as i64,
        tally.busy as i64,
        state.moved as i64,
        state.bytes as i64,
        state.made as i64
    ])?;
    let text = "INSERT OR REPLACE INTO groups (session, name, tasks, finished, failed, cancelled, lost, running, busy) \
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    let mut statement = connection.prepare_cached(text)?;
    for (name, group) in state.groups.iter_mut().filter(|(_, group)| group.is_changed) {
        let tally = group.tally;
        statement.execute(params![
            state.id,
            name,
            tally.tasks as i64,
            tally.finished as i64,
            tally.failed as i64,
            tally.cancelled as i64,
            tally.lost as i64,
            tally.running as i64,
            tally.busy as i64
        ])?;
        group.is_changed = false;
    }
    Ok(())
}

fn put_running(connection: &Connection, state: &mut SessionState) -> Result<(), LogError> {
    let mut remove = connection.prepare_cached("DELETE FROM running WHERE session = ?1 AND task = ?2")?;
    for task in state.stopped.drain(..) {
        remove.execute(params![state.id, task])?;
    }
    let text = "INSERT OR REPLACE INTO running (session, task, governor, worker, start) VALUES (?1, ?2, ?3, ?4, ?5)";
    let mut add = connection.prepare_cached(text)?;
    for (task, running) in state.running.iter_mut().filter(|(_, running)| !running.is_stored) {
        add.execute(params![state.id, task, running.slot.governor, running.slot.worker, running.start as i64])?;
        running.is_stored = true;
    }
    Ok(())
}
