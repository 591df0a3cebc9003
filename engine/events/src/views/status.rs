//! The whole at a glance.

use super::counts::{TALLY, counts, ready, with_ready};
use crate::answers::{Counts, LogState, LogStatus, ServerStatus, SessionCounts, Status};
use crate::clock::seconds_since_1970 as now;
use crate::error::LogError;
use crate::log::{Log, Reader, seconds};
use crate::process;
use crate::rates::WIDTHS;
use rusqlite::params;

/// How long ago something may have been written by a server on another machine that still runs, seconds.
const SILENCE_MAX: f64 = 10.0;
/// The span over which the rate is taken, seconds.
const RATE_SPAN: f64 = 5.0;

impl Log {
    /// What goes on, or went on.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn status(&self) -> Result<Status, LogError> {
        let path = self.path().display().to_string();
        self.read(|reader| status(reader, path))
    }

    /// A number that grows with everything that happens.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn sequence(&self) -> Result<u64, LogError> {
        self.read(|reader| Ok(reader.number("sequence")?.unwrap_or_default() as u64))
    }
}

impl Reader {
    /// Whether the log goes on.
    pub(super) fn state(&self) -> Result<LogState, LogError> {
        if self.number("ended")?.is_some() {
            return Ok(LogState::Finished);
        }
        let pid = self.number("pid")?.unwrap_or_default() as u32;
        let since = self.number("process")?.unwrap_or_default() as u64;
        let boot = self.text("boot")?.unwrap_or_default();
        let silence = now() - self.last()?;
        let runs = process::runs(pid, since, &boot).unwrap_or(silence < SILENCE_MAX);
        Ok(if runs { LogState::Running } else { LogState::Broken })
    }

    /// When something last happened, seconds since 1970.
    pub(super) fn last(&self) -> Result<f64, LogError> {
        Ok(self.number("last")?.unwrap_or_default() / 1e6)
    }

    /// What is now for this log, seconds since 1970.
    pub(super) fn present(&self) -> Result<f64, LogError> {
        Ok(if self.state()? == LogState::Running { now() } else { self.last()? })
    }
}

fn status(reader: &mut Reader, path: String) -> Result<Status, LogError> {
    let state = reader.state()?;
    let time = reader.present()?;
    let mut tasks = Counts::default();
    let mut sessions = SessionCounts::default();
    let mut folded = 0;
    let mut open = Vec::new();
    {
        let text = format!("SELECT {TALLY}, state, folded, id FROM sessions");
        let mut statement = reader.connection.prepare_cached(&text)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let of_session = counts(row)?;
            folded += row.get::<_, i64>(7)? as u64;
            match row.get_ref(6)?.as_str().unwrap_or_default() {
                "open" => {
                    sessions.open += 1;
                    open.push((row.get::<_, u32>(8)?, of_session));
                }
                "failed" => sessions.failed += 1,
                _ => sessions.closed += 1,
            }
            tasks.add(&of_session);
        }
    }
    let mut all_ready = 0;
    for (session, of_session) in open {
        all_ready += ready(reader, session, of_session.waiting)?.values().sum::<u64>().min(of_session.waiting);
    }
    let tasks = super::counts::broken(with_ready(tasks, all_ready), state);
    let text = "SELECT COUNT(*), COALESCE(SUM(cpus), 0) FROM governors WHERE state != 'lost'";
    let (governors, cpus): (i64, i64) = reader.connection.query_row(text, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let from = ((time - RATE_SPAN) * 1e6) as i64 / WIDTHS[0] as i64;
    let finished: i64 = reader.connection.query_row(
        "SELECT COALESCE(SUM(finished), 0) FROM rates WHERE width = ?1 AND bucket > ?2",
        params![WIDTHS[0] as i64, from],
        |row| row.get(0),
    )?;
    let started = reader.number("started")?.unwrap_or_default();
    let rate =
        if state == LogState::Running { finished as f64 / RATE_SPAN.min((time - started).max(0.1)) } else { 0.0 };
    let left = tasks.open();
    let name = reader.text("name")?.filter(|name| !name.is_empty());
    let pages = |name| reader.connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let bytes = (pages("page_count")? * pages("page_size")?) as u64;
    Ok(Status {
        time,
        sequence: reader.number("sequence")?.unwrap_or_default() as u64,
        state,
        server: ServerStatus {
            name,
            version: reader.text("version")?.unwrap_or_default(),
            started,
            ended: reader.number("ended")?,
            address: reader.text("address")?.unwrap_or_default(),
        },
        governors: governors as u64,
        cpus: cpus as u64,
        tasks,
        sessions,
        rate,
        time_left: (left > 0 && rate > 0.0).then(|| left as f64 / rate),
        log: LogStatus {
            path,
            bytes,
            dropped_samples: reader.number("dropped_samples")?.unwrap_or_default() as u64,
            folded_tasks: folded,
            removed_sessions: reader.number("removed_sessions")?.unwrap_or_default() as u64,
            error: reader.text("error")?,
        },
    })
}

/// Seconds of an optional column.
pub(super) fn maybe_seconds(micros: Option<i64>) -> Option<f64> {
    micros.map(seconds)
}
