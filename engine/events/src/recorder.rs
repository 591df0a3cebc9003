//! What becomes of entries: rows, in transactions.

use crate::chunk::{FinishedTask, Slot};
use crate::error::LogError;
use crate::rates::Rates;
use crate::rows;
use crate::schema;
use crate::session_state::{Governor, OTHER_NAMES, SessionState};
use rain_model::graph::Batch;
use rain_model::id::{GovernorId, NONE, SessionId};
use rain_protocol::log::{LogEntry, MachineSample};
use rain_protocol::peer::{Failure, Finished, TaskSet};
use rusqlite::{Connection, params};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// Numbers of governors; the log numbers those that had one before by so much more.
const GOVERNOR_NUMBERS: u32 = 1 << 16;
/// Texts whose numbers are remembered.
const STRINGS_MAX: usize = 100_000;
/// Characters of an error that lists and summaries have.
const ERROR_LINE_MAX: usize = 500;

/// Facts about a server that do not change.
#[derive(Clone, Debug, Default)]
pub struct ServerFacts {
    pub name: String,
    pub version: String,
    pub address: String,
    /// Seconds since 1970.
    pub started: f64,
}

/// Writes a log. Entries become rows between `begin` and `commit`.
pub struct Recorder {
    pub(crate) connection: Connection,
    pub(crate) sessions: BTreeMap<u32, SessionState>,
    pub(crate) governors: HashMap<GovernorId, Governor>,
    /// How many governors had this number before.
    incarnations: HashMap<GovernorId, u32>,
    strings: HashMap<String, u32>,
    last_string: u32,
    pub(crate) rates: Rates,
    /// Entries so far.
    pub(crate) sequence: u64,
    /// When the last entry was made, microseconds since 1970.
    pub(crate) last_time: u64,
    pub(crate) dropped_samples: u64,
    pub(crate) bytes_max: u64,
    pub(crate) commits: u64,
}

/// Seconds as the microseconds of the tables.
pub(crate) fn micros(seconds: f64) -> u64 {
    (seconds.max(0.0) * 1e6) as u64
}

/// Seconds as the nanoseconds of the tables.
pub(crate) fn nanos(seconds: f64) -> u64 {
    (seconds.max(0.0) * 1e9) as u64
}

impl Recorder {
    /// Makes a log at `path`, where there must be nothing, that takes about `bytes_max` bytes at most.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn create(path: &Path, bytes_max: u64, server: &ServerFacts) -> Result<Self, LogError> {
        let connection = schema::create(path)?;
        let recorder = Self {
            connection,
            sessions: BTreeMap::new(),
            governors: HashMap::new(),
            incarnations: HashMap::new(),
            strings: HashMap::new(),
            last_string: 0,
            rates: Rates::default(),
            sequence: 0,
            last_time: micros(server.started),
            dropped_samples: 0,
            bytes_max,
            commits: 0,
        };
        let (pid, since, boot) = crate::process::this();
        for (key, value) in [("name", &server.name), ("version", &server.version), ("address", &server.address)] {
            rows::put_meta(&recorder.connection, key, value)?;
        }
        rows::put_meta(&recorder.connection, "started", server.started)?;
        rows::put_meta(&recorder.connection, "pid", pid)?;
        rows::put_meta(&recorder.connection, "process", since)?;
        rows::put_meta(&recorder.connection, "boot", boot)?;
        rows::put_meta(&recorder.connection, "last", recorder.last_time as i64)?;
        recorder.event(recorder.last_time, "ServerStarted", Row::default())?;
        Ok(recorder)
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// `LogError::Locked`: another program holds the log, and asking again may help.
    pub fn begin(&mut self) -> Result<(), LogError> {
        Ok(self.connection.execute_batch("BEGIN IMMEDIATE")?)
    }

    /// Notes what happened at `time`, seconds since 1970.
    ///
    /// # Errors
    /// When a row cannot be written.
    pub fn take(&mut self, time: f64, entry: LogEntry) -> Result<(), LogError> {
        let time = micros(time);
        self.last_time = self.last_time.max(time);
        self.sequence += 1;
        match entry {
            LogEntry::SessionOpened { session, name, client } => {
                self.event(time, "SessionNew", Row { session: Some(session), text: Some(&name), ..Row::default() })?;
                self.sessions.insert(session.0, SessionState::new(session.0, name, client.0, time));
            }
            LogEntry::SessionFailed { session, error } => {
                let text = cut(&error.message);
                self.event(
                    time,
                    "SessionFailed",
                    Row { session: Some(session), task: error.task, text: Some(text), ..Row::default() },
                )?;
                if let Some(state) = self.sessions.get_mut(&session.0) {
                    state.state = "failed";
                    state.error = Some(error.message.clone());
                    state.error_task = error.task;
                    state.close();
                }
            }
            LogEntry::SessionClosed { session } => self.close(time, session)?,
            LogEntry::Submitted { session, batch, constants } => self.submit(time, session, &batch, &constants)?,
            LogEntry::Assigned { session, governor, batch, tasks } => {
                self.assign(time, session, governor, &batch, &tasks)?;
            }
            LogEntry::Started { session, task, governor, worker, start } => {
                let slot = Slot { governor: self.governor(time, governor)?.id, worker };
                if let Some(state) = self.sessions.get_mut(&session.0) {
                    state.start(task, slot, micros(start));
                }
            }
            LogEntry::Finished { governor, finished } => self.finish(time, governor, finished)?,
            LogEntry::Folded { session, ranges, seconds } => self.fold(time, session, &ranges, seconds)?,
            LogEntry::Retried { session, task, governor, failure } => {
                self.failed_attempt(time, (session, task, governor), &failure, false)?;
            }
            LogEntry::TaskFailed { session, task, governor, failure } => {
                self.failed_attempt(time, (session, task, governor), &failure, true)?;
            }
            LogEntry::Cancelled { session, tasks } => self.cancel(time, session, &tasks)?,
            LogEntry::Lost { session, governor, tasks } => {
                if tasks.is_empty() {
                    return Ok(());
                }
                let text = format!("{governor} was lost with them");
                let row = Row {
                    session: Some(session),
                    value: Some(tasks.len() as u64),
                    text: Some(&text),
                    ..Row::default()
                };
                self.event(time, "TaskLost", row)?;
                if let Some(state) = self.sessions.get_mut(&session.0) {
                    tasks.into_iter().for_each(|task| _ = state.run_again(task, true));
                }
            }
            LogEntry::Repeated { session, tasks } => {
                let row = Row {
                    session: Some(session),
                    value: Some(tasks.len() as u64),
                    text: Some("what they have made was lost"),
                    ..Row::default()
                };
                self.event(time, "TaskLost", row)?;
                if let Some(state) = self.sessions.get_mut(&session.0) {
                    state.repeat(tasks);
                }
            }
            LogEntry::Moved { session, to, objects } => self.moved(time, session, to, &objects)?,
            LogEntry::GovernorJoined { governor, cpus, host } => self.join(time, governor, cpus, &host)?,
            LogEntry::GovernorSilent { governor } => {
                self.governor_state(time, governor, "GovernorSuspect", "suspect")?
            }
            LogEntry::GovernorHeard { governor } => self.governor_state(time, governor, "GovernorHeard", "alive")?,
            LogEntry::GovernorLost { governor, why } => {
                let Some(known) = self.governors.remove(&governor) else { return Ok(()) };
                *self.incarnations.entry(governor).or_default() += 1;
                rows::put_governor_counts(&self.connection, &known)?;
                self.connection
                    .prepare_cached("UPDATE governors SET state = 'lost', lost = ?2, why = ?3 WHERE id = ?1")?
                    .execute(params![known.id, time as i64, why])?;
                let row = Row { governor: Some(known.id), text: Some(&why), ..Row::default() };
                self.event(time, "GovernorLost", row)?;
            }
            LogEntry::Sampled { governor, sample } => self.sample(time, governor, &sample)?,
        }
        Ok(())
    }

    pub(crate) fn event(&self, time: u64, kind: &str, row: Row<'_>) -> Result<(), LogError> {
        let text = "INSERT INTO events (time, kind, session, task, governor, worker, value, text) \
                    VALUES (?1, ?2, ?3, ?4, ?5, NULL, ?6, ?7)";
        let session = row.session.map(|session| session.0);
        let value = row.value.map(|value| value as i64);
        self.connection.prepare_cached(text)?.execute(params![
            time as i64,
            kind,
            session,
            row.task,
            row.governor,
            value,
            row.text
        ])?;
        Ok(())
    }

    /// A governor that is in; one that was never heard of before joins.
    fn governor(&mut self, time: u64, id: GovernorId) -> Result<&mut Governor, LogError> {
        if !self.governors.contains_key(&id) {
            self.join(time, id, 0, "")?;
        }
        let known = self.governors.entry(id).or_default();
        known.is_changed = true;
        Ok(known)
    }

    fn join(&mut self, time: u64, governor: GovernorId, cpus: u32, host: &str) -> Result<(), LogError> {
        let before = self.incarnations.get(&governor).copied().unwrap_or_default();
        let id = governor.0.saturating_add(before.saturating_mul(GOVERNOR_NUMBERS));
        let text = "INSERT OR REPLACE INTO governors (id, host, cpus, joined, state, tasks, busy) \
                    VALUES (?1, ?2, ?3, ?4, 'alive', 0, 0)";
        self.connection.prepare_cached(text)?.execute(params![id, host, cpus, time as i64])?;
        self.governors.insert(governor, Governor { id, ..Governor::default() });
        let row = Row { governor: Some(id), value: Some(u64::from(cpus)), text: Some(host), ..Row::default() };
        self.event(time, "GovernorNew", row)
    }

    fn governor_state(&mut self, time: u64, governor: GovernorId, kind: &str, state: &str) -> Result<(), LogError> {
        let Some(known) = self.governors.get(&governor) else { return Ok(()) };
        self.connection
            .prepare_cached("UPDATE governors SET state = ?2 WHERE id = ?1")?
            .execute(params![known.id, state])?;
        self.event(time, kind, Row { governor: Some(known.id), ..Row::default() })
    }

    fn close(&mut self, time: u64, session: SessionId) -> Result<(), LogError> {
        let Some(mut state) = self.sessions.remove(&session.0) else { return Ok(()) };
        self.event(time, "SessionClosed", Row { session: Some(session), ..Row::default() })?;
        if state.state == "open" {
            state.state = "closed";
        }
        state.closed = Some(time);
        state.close();
        rows::put_session(&self.connection, &mut state, time)
    }

    fn string(&mut self, text: &str) -> Result<u32, LogError> {
        if let Some(number) = self.strings.get(text) {
            return Ok(*number);
        }
        // One that is written again has another number then, which makes no difference to readers.
        if self.strings.len() >= STRINGS_MAX {
            self.strings.clear();
        }
        self.last_string += 1;
        let number = self.last_string;
        self.connection
            .prepare_cached("INSERT INTO strings (id, text) VALUES (?1, ?2)")?
            .execute(params![number, text])?;
        self.strings.insert(text.to_owned(), number);
        Ok(number)
    }

    fn submit(
        &mut self,
        time: u64,
        session: SessionId,
        batch: &Batch,
        constants: &[(u32, u64)],
    ) -> Result<(), LogError> {
        if !self.sessions.contains_key(&session.0) {
            return Ok(());
        }
        let mut names = Vec::with_capacity(batch.kinds.len());
        let other = self.string(OTHER_NAMES)?;
        for kind in batch.kinds.iter() {
            let name = self.string(kind.kind.display_name())?;
            let task_type = self.string(&kind.kind.task_type)?;
            rows::put_kind(&self.connection, session.0, kind, name, task_type)?;
            let counted = self.sessions.get_mut(&session.0).map(|state| state.counted_name(name, other));
            names.push(counted.unwrap_or(name));
        }
        let row = Row { session: Some(session), value: Some(u64::from(batch.count)), ..Row::default() };
        self.event(time, "Submit", row)?;
        let Some(state) = self.sessions.get_mut(&session.0) else { return Ok(()) };
        if batch.count > 0 {
            state.add_batch(batch, names.into());
            let mut next = batch.first;
            while next < batch.tasks().end {
                if state.graph.tasks().end != next {
                    rows::put_graph(&self.connection, state)?;
                }
                next = state.graph.append(batch, next, time);
                if next < batch.tasks().end {
                    rows::put_graph(&self.connection, state)?;
                }
            }
        }
        for (object, bytes) in constants {
            state.objects.numbers.push(*object);
            state.objects.sizes.push(*bytes);
            state.objects.governors.push(rows::SERVER);
        }
        Ok(())
    }

    fn assign(
        &mut self,
        time: u64,
        session: SessionId,
        governor: GovernorId,
        batch: &Batch,
        tasks: &TaskSet,
    ) -> Result<(), LogError> {
        let governor = self.governor(time, governor)?.id;
        let numbers = match tasks {
            TaskSet::All => None,
            TaskSet::Some(tasks) if tasks.is_empty() => return Ok(()),
            TaskSet::Some(tasks) => Some(tasks.as_slice()),
        };
        rows::put_assigned(&self.connection, (session.0, time, governor), batch, numbers)
    }

    fn finish(&mut self, time: u64, governor: GovernorId, finished: Finished) -> Result<(), LogError> {
        let known = *self.governor(time, governor)?;
        let slot = Slot { governor: known.id, worker: finished.worker };
        let Some(state) = self.sessions.get_mut(&finished.session) else { return Ok(()) };
        let mut busy = 0;
        for report in &finished.tasks {
            let task = FinishedTask {
                task: report.task,
                slot,
                start: micros(report.start),
                duration: nanos(f64::from(report.duration)),
            };
            self.rates.finished(task.end(), task.duration);
            busy = task.duration.saturating_add(busy);
            state.finish(&task);
            if state.chunk.is_full() {
                rows::put_chunk(&self.connection, state)?;
            }
        }
        state.settle();
        for object in &finished.objects {
            state.objects.numbers.push(object.object);
            state.objects.sizes.push(u64::from(object.size));
            state.objects.governors.push(known.id);
        }
        for details in &finished.object_details {
            if let Some(place) = state.objects.numbers.iter().rposition(|object| *object == details.object) {
                state.objects.sizes[place] = details.size.max(state.objects.sizes[place]);
            }
        }
        for details in &finished.details {
            rows::put_details(&self.connection, finished.session, details)?;
        }
        if state.objects.numbers.len() >= rows::OBJECTS_MAX {
            rows::put_objects(&self.connection, state, time)?;
        }
        let counted = self.governor(time, governor)?;
        counted.tasks += finished.tasks.len() as u64;
        counted.busy = counted.busy.saturating_add(busy);
        Ok(())
    }

    fn fold(&mut self, time: u64, session: SessionId, ranges: &[(u32, u32)], seconds: f64) -> Result<(), LogError> {
        let Some(state) = self.sessions.get_mut(&session.0) else { return Ok(()) };
        let text = "INSERT INTO folded (session, first, count) VALUES (?1, ?2, ?3) \
                    ON CONFLICT DO UPDATE SET count = MAX(count, excluded.count)";
        let mut statement = self.connection.prepare_cached(text)?;
        for (first, count) in ranges {
            state.fold(*first, *count);
            statement.execute(params![session.0, first, count])?;
        }
        let count: u64 = ranges.iter().map(|(_, count)| u64::from(*count)).sum();
        state.tally.busy = state.tally.busy.saturating_add(nanos(seconds));
        self.rates.folded(time, count, nanos(seconds));
        Ok(())
    }

    fn failed_attempt(
        &mut self,
        time: u64,
        (session, task, governor): (SessionId, u32, GovernorId),
        failure: &Failure,
        is_last: bool,
    ) -> Result<(), LogError> {
        let id = self.governor(time, governor)?.id;
        let Some(state) = self.sessions.get_mut(&session.0) else { return Ok(()) };
        let ran = if is_last { state.give_up(task, true) } else { state.run_again(task, false) };
        if is_last {
            self.rates.failed(time);
        }
        if task == NONE {
            return Ok(());
        }
        let start = failure.times.map(|times| micros(times.start)).or(ran.map(|ran| ran.start));
        let duration = failure.times.map(|times| nanos(f64::from(times.duration)));
        let text = "INSERT INTO attempts (session, task, is_last, time, governor, worker, start, duration, message, debug, \
                    user, stdout, stderr) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";
        let [stdout, stderr] = rows::written(&failure.output);
        self.connection.prepare_cached(text)?.execute(params![
            session.0,
            task,
            is_last,
            time as i64,
            id,
            ran.map(|ran| ran.slot.worker),
            start.map(|start| start as i64),
            duration.map(|duration| duration as i64),
            failure.message,
            failure.debug,
            failure.user,
            stdout,
            stderr
        ])?;
        let row = Row {
            session: Some(session),
            task: Some(task),
            governor: Some(id),
            text: Some(cut(&failure.message)),
            value: None,
        };
        self.event(time, if is_last { "TaskFailed" } else { "TaskRetried" }, row)
    }

    fn cancel(&mut self, time: u64, session: SessionId, tasks: &[u32]) -> Result<(), LogError> {
        let row = Row { session: Some(session), value: Some(tasks.len() as u64), ..Row::default() };
        self.event(time, "TaskCancelled", row)?;
        let Some(state) = self.sessions.get_mut(&session.0) else { return Ok(()) };
        let mut tasks = tasks.to_vec();
        tasks.sort_unstable();
        let text = "INSERT OR REPLACE INTO cancelled (session, first, count, time) VALUES (?1, ?2, ?3, ?4)";
        let mut statement = self.connection.prepare_cached(text)?;
        for range in tasks.chunk_by(|one, next| *next == one + 1) {
            statement.execute(params![session.0, range[0], range.len(), time as i64])?;
            range.iter().for_each(|task| _ = state.give_up(*task, false));
        }
        Ok(())
    }

    fn moved(
        &mut self,
        time: u64,
        session: SessionId,
        to: GovernorId,
        objects: &[(u32, GovernorId, u64)],
    ) -> Result<(), LogError> {
        let target = self.governor(time, to)?.id;
        let text = "INSERT INTO moves (session, time, object, source, target, bytes) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        for (object, from, bytes) in objects {
            let source = self.governor(time, *from)?.id;
            self.connection.prepare_cached(text)?.execute(params![
                session.0,
                time as i64,
                object,
                source,
                target,
                *bytes as i64
            ])?;
            if let Some(state) = self.sessions.get_mut(&session.0) {
                state.moved += bytes;
                state.is_changed = true;
            }
        }
        Ok(())
    }

    fn sample(&mut self, time: u64, governor: GovernorId, sample: &MachineSample) -> Result<(), LogError> {
        let Some(known) = self.governors.get(&governor) else { return Ok(()) };
        let all_running = self.sessions.values().flat_map(|state| state.running.values());
        let running = all_running.filter(|running| running.slot.governor == known.id).count();
        let text = "INSERT OR REPLACE INTO samples (governor, time, load, memory, memory_budget, net_in, net_out, disk_read, \
                    disk_write, running) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
        self.connection.prepare_cached(text)?.execute(params![
            known.id,
            time as i64,
            sample.load,
            sample.memory as i64,
            sample.memory_budget as i64,
            sample.net_in as i64,
            sample.net_out as i64,
            sample.disk_read as i64,
            sample.disk_write as i64,
            running as i64
        ])?;
        Ok(())
    }
}

/// Columns of an event.
#[derive(Default)]
pub(crate) struct Row<'a> {
    pub session: Option<SessionId>,
    pub task: Option<u32>,
    pub governor: Option<u32>,
    pub value: Option<u64>,
    pub text: Option<&'a str>,
}

/// The beginning of a message.
fn cut(text: &str) -> &str {
    text.char_indices().nth(ERROR_LINE_MAX).map_or(text, |(end, _)| &text[..end])
}
