//! Readers of a log.

use crate::columns::Columns;
use crate::edges::Edges;
use crate::error::LogError;
use crate::graph_rows::GraphRow;
use crate::over::Over;
use crate::schema;
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Sessions of which is remembered what was read.
const REMEMBERED_MAX: usize = 16;

/// A log that can be asked, by one thread at a time. It may be written meanwhile: each question is answered from what was there when it
/// was asked.
pub struct Log {
    path: PathBuf,
    reader: Mutex<Reader>,
}

/// The connection, and what need not be read again.
pub(crate) struct Reader {
    pub connection: Connection,
    pub strings: HashMap<u32, Arc<str>>,
    pub over: HashMap<u32, Over>,
    pub edges: HashMap<u32, Edges>,
}

/// A kind of a session.
#[derive(Clone, Debug)]
pub(crate) struct KindRow {
    pub name: u32,
    pub task_type: u32,
    pub cpus: u32,
    pub outputs: u32,
    pub spec: String,
}

impl Log {
    /// Opens the log of a directory of logs, or a file itself.
    ///
    /// # Errors
    /// When there is none, it is no log, or one of another version.
    pub fn open(path: &Path) -> Result<Self, LogError> {
        let path = if path.is_dir() { path.join(schema::FILE_NAME) } else { path.to_owned() };
        let connection = schema::open(&path)?;
        let reader = Reader { connection, strings: HashMap::new(), over: HashMap::new(), edges: HashMap::new() };
        Ok(Self { path, reader: Mutex::new(reader) })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Answers a question from one state of the log.
    pub(crate) fn read<T>(&self, question: impl FnOnce(&mut Reader) -> Result<T, LogError>) -> Result<T, LogError> {
        let mut reader: MutexGuard<'_, Reader> = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        reader.connection.execute_batch("BEGIN")?;
        let answer = question(&mut reader);
        // A transaction that only reads has nothing to lose.
        let _ = reader.connection.execute_batch("COMMIT");
        answer
    }
}

impl Reader {
    /// The text of a number; "" if there is none.
    pub fn string(&mut self, number: u32) -> Result<Arc<str>, LogError> {
        if let Some(text) = self.strings.get(&number) {
            return Ok(text.clone());
        }
        let found: Option<String> = self
            .connection
            .prepare_cached("SELECT text FROM strings WHERE id = ?1")?
            .query_row([number], |row| row.get(0))
            .optional()?;
        let text: Arc<str> = found.unwrap_or_default().into();
        self.strings.insert(number, text.clone());
        Ok(text)
    }

    /// Whether the log has a session.
    pub fn has_session(&self, session: u32) -> Result<bool, LogError> {
        Ok(self.connection.prepare_cached("SELECT 1 FROM sessions WHERE id = ?1")?.exists([session])?)
    }

    /// Which of a session's tasks are over.
    pub fn over(&mut self, session: u32) -> Result<&Over, LogError> {
        if self.over.len() >= REMEMBERED_MAX && !self.over.contains_key(&session) {
            self.over.clear();
        }
        let Reader { connection, over, .. } = self;
        let over = over.entry(session).or_default();
        over.update(connection, session)?;
        Ok(over)
    }

    /// The kinds of a session.
    pub fn kinds(&self, session: u32) -> Result<HashMap<u32, KindRow>, LogError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT number, name, type, cpus, outputs, spec FROM kinds WHERE session = ?1")?;
        let rows = statement.query_map([session], |row| {
            Ok((
                row.get(0)?,
                KindRow {
                    name: row.get(1)?,
                    task_type: row.get(2)?,
                    cpus: row.get(3)?,
                    outputs: row.get(4)?,
                    spec: row.get(5)?,
                },
            ))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Goes through the rows of a session's graph with tasks from `from` on, while `each` says so.
    pub fn graph_rows(
        &self,
        session: u32,
        from: u32,
        mut each: impl FnMut(GraphRow) -> Result<bool, LogError>,
    ) -> Result<(), LogError> {
        let text = "SELECT first, count, data FROM graph WHERE session = ?1 AND first >= ?2 ORDER BY first";
        // Rows do not overlap: the one that has `from` is the last that begins before.
        let first: Option<u32> = self
            .connection
            .prepare_cached("SELECT MAX(first) FROM graph WHERE session = ?1 AND first <= ?2")?
            .query_row(params![session, from], |row| row.get(0))?;
        let mut statement = self.connection.prepare_cached(text)?;
        let mut rows = statement.query(params![session, first.unwrap_or(from)])?;
        while let Some(row) = rows.next()? {
            let (first, count): (u32, usize) = (row.get(0)?, row.get(1)?);
            if u64::from(first) + count as u64 <= u64::from(from) {
                continue;
            }
            let data = row.get_ref(2)?.as_blob().map_err(|error| LogError::Damaged(error.to_string()))?;
            if !each(GraphRow::decode(data, first, count)?)? {
                break;
            }
        }
        Ok(())
    }

    /// Goes through the kinds of a session's tasks: `each` is told the first task, and the kinds from there on.
    pub fn graph_kinds(&self, session: u32, mut each: impl FnMut(u32, &[u32])) -> Result<(), LogError> {
        let text = "SELECT first, count, data FROM graph WHERE session = ?1 ORDER BY first";
        let mut statement = self.connection.prepare_cached(text)?;
        let mut rows = statement.query([session])?;
        while let Some(row) = rows.next()? {
            let data = row.get_ref(2)?.as_blob().map_err(|error| LogError::Damaged(error.to_string()))?;
            each(row.get(0)?, &Columns(data).small_column(row.get(1)?)?);
        }
        Ok(())
    }

    /// A number that the log notes of itself.
    pub fn number(&self, key: &str) -> Result<Option<f64>, LogError> {
        let mut statement = self.connection.prepare_cached("SELECT value FROM meta WHERE key = ?1")?;
        Ok(statement.query_row([key], |row| row.get(0)).optional()?)
    }

    /// A text that the log notes of itself.
    pub fn text(&self, key: &str) -> Result<Option<String>, LogError> {
        let mut statement = self.connection.prepare_cached("SELECT value FROM meta WHERE key = ?1")?;
        Ok(statement.query_row([key], |row| row.get(0)).optional()?)
    }
}

/// Microseconds of the tables as seconds.
pub(crate) fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}
