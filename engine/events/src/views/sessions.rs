//! Sessions, and how far their groups of names are.

use super::counts::{TALLY, broken, counts, ready, with_ready};
use super::status::maybe_seconds;
use crate::answers::{Counts, Group, LogState, Session, SessionDetail, Sessions};
use crate::error::LogError;
use crate::log::{Log, Reader, seconds};
use crate::questions::{Page, cursor, limit};
use rusqlite::{OptionalExtension, Row, params};
use std::collections::BTreeMap;

/// Groups of an answer at most.
const GROUPS_MAX: usize = 1000;
/// Columns of a session, in the order in which `session` reads them.
const SESSION: &str = "id, name, state, created, closed, error, bytes";

impl Log {
    /// Sessions, the newest first.
    ///
    /// # Errors
    /// When the log cannot be read, or there is no such state or cursor.
    pub fn sessions(&self, page: &Page) -> Result<Sessions, LogError> {
        let state = page.state.as_deref();
        if state.is_some_and(|state| !["open", "failed", "closed"].contains(&state)) {
            return Err(LogError::Request("state is one of open, failed, closed".to_owned()));
        }
        let limit = limit(page.limit);
        let after = cursor(page.after.as_ref())?.unwrap_or(i64::MAX as u64);
        self.read(|reader| {
            let log_state = reader.state()?;
            let text = format!(
                "SELECT {TALLY}, {SESSION} FROM sessions WHERE id < ?1 AND (?2 IS NULL OR state = ?2) ORDER BY id DESC LIMIT ?3"
            );
            let found: Vec<Session> = {
                let mut statement = reader.connection.prepare_cached(&text)?;
                let rows = statement.query_map(params![after as i64, state, limit as i64 + 1], session)?;
                rows.collect::<Result<_, _>>()?
            };
            let has_more = found.len() > limit;
            let mut sessions: Vec<Session> = found.into_iter().take(limit).collect();
            for session in &mut sessions {
                finish(reader, session, log_state)?;
            }
            let next = sessions.last().filter(|_| has_more).map(|session| session.id.to_string());
            Ok(Sessions { sessions, next })
        })
    }

    /// A session and its groups; `None` if there is none with this number.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn session(&self, id: u32) -> Result<Option<SessionDetail>, LogError> {
        self.read(|reader| {
            let state = reader.state()?;
            let text = format!("SELECT {TALLY}, {SESSION} FROM sessions WHERE id = ?1");
            let found = reader
                .connection
                .prepare_cached(&text)?
                .query_row([id], |row| Ok((session(row)?, row.get::<_, Option<String>>(11)?)));
            let Some((mut session, error_text)) = found.optional()? else { return Ok(None) };
            let by_name = finish(reader, &mut session, state)?;
            let mut groups: BTreeMap<String, (Counts, f64)> = BTreeMap::new();
            for (name, tally, time) in group_rows(reader, id)? {
                let tally = broken(with_ready(tally, by_name.get(&name).copied().unwrap_or_default()), state);
                let text = reader.string(name)?;
                let ends = text.match_indices('/').map(|(end, _)| end).chain([text.len()]);
                for end in ends {
                    let (sum, seconds) = groups.entry(text[..end].to_owned()).or_default();
                    sum.add(&tally);
                    *seconds += time;
                }
            }
            let left_out = groups.len().saturating_sub(GROUPS_MAX) as u64;
            let groups = groups.into_iter().take(GROUPS_MAX).map(|(name, (tasks, seconds))| {
                let depth = name.matches('/').count() as u32 + 1;
                Group { name, depth, tasks, seconds }
            });
            Ok(Some(SessionDetail { session, error_text, groups: groups.collect(), groups_left_out: left_out }))
        })
    }
}

/// Counts of each name of a session, and seconds in which its tasks ran.
pub(super) fn group_rows(reader: &Reader, session: u32) -> Result<Vec<(u32, Counts, f64)>, LogError> {
    let text = format!("SELECT {TALLY}, name FROM groups WHERE session = ?1");
    let mut statement = reader.connection.prepare_cached(&text)?;
    let rows = statement
        .query_map([session], |row| Ok((row.get::<_, u32>(6)?, counts(row)?, row.get::<_, i64>(5)? as f64 / 1e9)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn session(row: &Row<'_>) -> rusqlite::Result<Session> {
    let error: Option<String> = row.get(11)?;
    Ok(Session {
        id: row.get(6)?,
        name: row.get(7)?,
        state: row.get(8)?,
        created: seconds(row.get(9)?),
        closed: maybe_seconds(row.get(10)?),
        tasks: counts(row)?,
        seconds: row.get::<_, i64>(5)? as f64 / 1e9,
        bytes: row.get::<_, i64>(12)? as u64,
        error: error.map(|error| error.lines().next().unwrap_or_default().to_owned()),
    })
}

/// Finds out which of a session's tasks are ready, and which were lost; how many are ready by name.
fn finish(
    reader: &mut Reader,
    session: &mut Session,
    state: LogState,
) -> Result<std::collections::HashMap<u32, u64>, LogError> {
    let by_name =
        if session.state == "open" { ready(reader, session.id, session.tasks.waiting)? } else { Default::default() };
    session.tasks = broken(with_ready(session.tasks, by_name.values().sum()), state);
    Ok(by_name)
}
