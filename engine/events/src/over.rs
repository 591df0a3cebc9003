//! Which tasks of a session are over, a bit each, as far as a log has been read.

use crate::chunk::decode_numbers;
use crate::error::LogError;
use rusqlite::{Connection, params};

/// Bits by the numbers of tasks.
#[derive(Debug, Default)]
pub struct Bits(Vec<u64>);

impl Bits {
    pub fn set(&mut self, task: u32) {
        let word = task as usize / 64;
        if word >= self.0.len() {
            self.0.resize(word + 1 + word / 2, 0);
        }
        self.0[word] |= 1 << (task % 64);
    }

    #[inline]
    pub fn has(&self, task: u32) -> bool {
        self.0.get(task as usize / 64).is_some_and(|word| word >> (task % 64) & 1 == 1)
    }
}

/// Tasks that are over.
#[derive(Debug, Default)]
pub struct Over {
    pub finished: Bits,
    /// Tasks that have failed or were cancelled.
    pub given_up: Bits,
    /// Of tasks that are finished nothing else is known.
    pub folded: Bits,
    next_chunk: i64,
    next_attempt: i64,
}

impl Over {
    /// Reads what has come since the last time.
    pub fn update(&mut self, connection: &Connection, session: u32) -> Result<(), LogError> {
        let text = "SELECT id, count, tasks FROM chunks JOIN chunk_data USING (id) WHERE session = ?1 AND id >= ?2 ORDER BY id";
        let mut statement = connection.prepare_cached(text)?;
        let mut rows = statement.query(params![session, self.next_chunk])?;
        while let Some(row) = rows.next()? {
            // The last chunk may not be full: it is read again.
            self.next_chunk = row.get(0)?;
            let data = row.get_ref(2)?.as_blob().map_err(|error| LogError::Damaged(error.to_string()))?;
            decode_numbers(data, row.get(1)?, |task| self.finished.set(task as u32))?;
        }
        let ranges = |table: &str, mark: &mut dyn FnMut(u32)| -> Result<(), LogError> {
            let text = format!("SELECT first, count FROM {table} WHERE session = ?1");
            let mut statement = connection.prepare_cached(&text)?;
            let mut rows = statement.query([session])?;
            while let Some(row) = rows.next()? {
                let (first, count): (u32, u32) = (row.get(0)?, row.get(1)?);
                (first..first.saturating_add(count)).for_each(&mut *mark);
            }
            Ok(())
        };
        let (finished, folded, given_up) = (&mut self.finished, &mut self.folded, &mut self.given_up);
        ranges("folded", &mut |task| {
            finished.set(task);
            folded.set(task);
        })?;
        ranges("cancelled", &mut |task| given_up.set(task))?;
        let text = "SELECT id, task FROM attempts WHERE session = ?1 AND is_last AND id >= ?2 ORDER BY id";
        let mut statement = connection.prepare_cached(text)?;
        let mut rows = statement.query(params![session, self.next_attempt])?;
        while let Some(row) = rows.next()? {
            self.next_attempt = row.get(0)?;
            self.given_up.set(row.get(1)?);
        }
        Ok(())
    }

    /// A task before which all are over.
    pub fn first_open(&self) -> u32 {
        let words = self.finished.0.iter().zip(self.given_up.0.iter().chain(std::iter::repeat(&0)));
        words.take_while(|(finished, given_up)| **finished | **given_up == u64::MAX).count() as u32 * 64
    }

    /// Whether a task is over, well or not.
    #[inline]
    pub fn has(&self, task: u32) -> bool {
        self.finished.has(task) || self.given_up.has(task)
    }
}
