//! The end of a transaction: what has changed is written, and what is too much is removed.

use crate::error::LogError;
use crate::rates::Rates;
use crate::recorder::{Recorder, Row, micros};
use crate::rows;
use rusqlite::params;

/// Commits between two looks at the size of the log.
const COMMITS_PER_LOOK: u64 = 16;
/// What is removed when there is too much, of the bound.
const REMOVED_PART: u64 = 10;
/// Chunks of an open session that are removed at once at least.
const CHUNKS_MIN: u64 = 16;
/// What belongs to one session, beside its row and the contents of its chunks.
const TABLES_OF_SESSION: [&str; 12] = [
    "kinds",
    "groups",
    "graph",
    "chunks",
    "folded",
    "cancelled",
    "running",
    "assigned",
    "attempts",
    "details",
    "objects",
    "moves",
];

impl Recorder {
    /// Writes what has changed, and ends the transaction.
    ///
    /// # Errors
    /// When a row cannot be written; then the transaction is undone.
    pub fn commit(&mut self) -> Result<(), LogError> {
        let written = self.write_changes().and_then(|()| Ok(self.connection.execute_batch("COMMIT")?));
        if written.is_err() {
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        written
    }

    /// Bytes that the log takes, without what is written ahead.
    ///
    /// # Errors
    /// When they cannot be found out.
    pub fn bytes(&self) -> Result<u64, LogError> {
        let number = |name| self.connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let pages = number("page_count")? - number("freelist_count")?;
        Ok((pages * number("page_size")?) as u64)
    }

    /// Notes how many samples were left out.
    pub fn set_dropped_samples(&mut self, count: u64) {
        self.dropped_samples = count;
    }

    /// Whether there is a session that is not closed.
    pub fn has_open_sessions(&self) -> bool {
        !self.sessions.is_empty()
    }

    /// Notes the end of the server, at `time`, seconds since 1970, and leaves one file.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub fn end(mut self, time: f64) -> Result<(), LogError> {
        self.begin()?;
        rows::put_meta(&self.connection, "ended", time)?;
        self.last_time = self.last_time.max(micros(time));
        self.event(self.last_time, "ServerEnded", Row::default())?;
        self.commit()?;
        // A reader may hold it open; then what was written ahead stays beside it, and is read.
        let _ = self.connection.pragma_update(None, "journal_mode", "DELETE");
        Ok(())
    }

    fn write_changes(&mut self) -> Result<(), LogError> {
        let time = self.last_time;
        for state in self.sessions.values_mut() {
            rows::put_session(&self.connection, state, time)?;
        }
        for governor in self.governors.values_mut().filter(|governor| governor.is_changed) {
            rows::put_governor_counts(&self.connection, governor)?;
            governor.is_changed = false;
        }
        let running: u64 = self.sessions.values().map(|state| state.tally.running).sum();
        self.rates.write(&self.connection, time, running)?;
        rows::put_meta(&self.connection, "sequence", self.sequence as i64)?;
        rows::put_meta(&self.connection, "last", time as i64)?;
        rows::put_meta(&self.connection, "dropped_samples", self.dropped_samples as i64)?;
        if self.commits.is_multiple_of(COMMITS_PER_LOOK) {
            Rates::prune(&self.connection, time)?;
            self.keep_within_bounds()?;
        }
        self.commits += 1;
        Ok(())
    }

    /// Removes the oldest sessions while the log is too large; when none is closed, the oldest tasks of one that is open.
    fn keep_within_bounds(&mut self) -> Result<(), LogError> {
        if self.bytes()? <= self.bytes_max {
            return Ok(());
        }
        let enough = self.bytes_max - self.bytes_max / REMOVED_PART;
        while self.bytes()? > enough {
            let oldest = "SELECT id FROM sessions WHERE closed IS NOT NULL ORDER BY closed, id LIMIT 1";
            let oldest = optional(self.connection.prepare_cached(oldest)?.query_row([], |row| row.get::<_, u32>(0)))?;
            let went_on = match oldest {
                Some(session) => self.remove_session(session)?,
                None => self.remove_oldest_chunks()?,
            };
            if !went_on {
                break;
            }
        }
        let first = "SELECT MIN(created) FROM sessions";
        let first: Option<i64> = self.connection.query_row(first, [], |row| row.get(0))?;
        if let Some(first) = first {
            self.connection.execute("DELETE FROM samples WHERE time < ?1", [first])?;
            self.connection.execute("DELETE FROM events WHERE time < ?1 AND session IS NOT NULL", [first])?;
        }
        Ok(())
    }

    fn remove_session(&mut self, session: u32) -> Result<bool, LogError> {
        for table in ["chunk_data", "chunk_summaries"] {
            let text = format!("DELETE FROM {table} WHERE id IN (SELECT id FROM chunks WHERE session = ?1)");
            self.connection.execute(&text, [session])?;
        }
        for table in TABLES_OF_SESSION {
            self.connection.execute(&format!("DELETE FROM {table} WHERE session = ?1"), [session])?;
        }
        self.connection.execute("DELETE FROM events WHERE session = ?1", [session])?;
        self.connection.execute("DELETE FROM sessions WHERE id = ?1", [session])?;
        let text =
            "INSERT INTO meta (key, value) VALUES ('removed_sessions', 1) ON CONFLICT DO UPDATE SET value = value + 1";
        self.connection.execute(text, [])?;
        Ok(true)
    }

    /// Keeps of the oldest finished tasks that they are finished, and nothing else.
    fn remove_oldest_chunks(&mut self) -> Result<bool, LogError> {
        let chunks: i64 = self.connection.query_row("SELECT COUNT(*) FROM chunks", [], |row| row.get(0))?;
        let count = (chunks as u64 / REMOVED_PART).max(CHUNKS_MIN);
        let mut statement = self.connection.prepare_cached(
            "SELECT chunks.id, session, count, tasks FROM chunks JOIN chunk_data USING (id) WHERE count = ?1 ORDER BY chunks.id \
             LIMIT ?2",
        )?;
        let full = crate::chunk::CHUNK_TASKS_MAX as i64;
        let rows = statement.query_map(params![full, count as i64], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, u32>(1)?, row.get::<_, usize>(2)?, row.get::<_, Vec<u8>>(3)?))
        })?;
        let rows: Vec<_> = rows.collect::<Result<_, _>>()?;
        for (id, session, count, data) in &rows {
            let mut tasks = Vec::with_capacity(*count);
            crate::chunk::decode_numbers(data, *count, |task| tasks.push(task as u32))?;
            tasks.sort_unstable();
            let text = "INSERT OR IGNORE INTO folded (session, first, count) VALUES (?1, ?2, ?3)";
            let mut fold = self.connection.prepare_cached(text)?;
            for range in tasks.chunk_by(|one, next| *next == one + 1) {
                fold.execute(params![session, range[0], range.len()])?;
            }
            for table in ["chunks", "chunk_data", "chunk_summaries"] {
                self.connection.prepare_cached(&format!("DELETE FROM {table} WHERE id = ?1"))?.execute([id])?;
            }
            if let Some(state) = self.sessions.get_mut(session) {
                state.folded += *count as u64;
                state.is_changed = true;
            }
        }
        Ok(!rows.is_empty())
    }
}

fn optional<T>(found: rusqlite::Result<T>) -> rusqlite::Result<Option<T>> {
    match found {
        Err(rusqlite::Error::QueryReturnedNoRows) => Ok(None),
        other => other.map(Some),
    }
}
