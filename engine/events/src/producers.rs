//! Which task makes an object.

use crate::error::LogError;
use crate::graph_rows::GraphRow;
use crate::log::{KindRow, Reader};
use rain_model::id::NONE;
use rusqlite::params;
use std::collections::HashMap;

/// Rows of the graph that are kept.
const ROWS_MAX: usize = 64;

/// Finds the tasks that make objects of one session, and what they are.
pub struct Producers<'a> {
    reader: &'a Reader,
    session: u32,
    kinds: &'a HashMap<u32, KindRow>,
    /// By the first task of each.
    rows: HashMap<u32, Indexed>,
}

struct Indexed {
    row: GraphRow,
    /// The first object of each task that makes any, and one past its last, and the task; in order.
    outputs: Vec<(u32, u32, u32)>,
}

impl<'a> Producers<'a> {
    pub fn new(reader: &'a Reader, session: u32, kinds: &'a HashMap<u32, KindRow>) -> Self {
        Self { reader, session, kinds, rows: HashMap::new() }
    }

    /// The task that makes an object; `None`: it is a constant, or not known.
    pub fn of(&mut self, object: u32) -> Result<Option<u32>, LogError> {
        if let Some(task) = self.rows.values().find_map(|indexed| indexed.producer(object)) {
            return Ok(Some(task));
        }
        let text =
            "SELECT first, count, data FROM graph WHERE session = ?1 AND first_output <= ?2 AND last_output >= ?2";
        let mut statement = self.reader.connection.prepare_cached(text)?;
        let mut rows = statement.query(params![self.session, object])?;
        while let Some(row) = rows.next()? {
            let (first, count, data): (u32, usize, Vec<u8>) = (row.get(0)?, row.get(1)?, row.get(2)?);
            if !self.rows.contains_key(&first) {
                let row = GraphRow::decode(&data, first, count)?;
                self.put(row);
            }
            if let Some(task) = self.rows.get(&first).and_then(|indexed| indexed.producer(object)) {
                return Ok(Some(task));
            }
        }
        Ok(None)
    }

    /// Does `with` for the row that has a task, and its place there.
    pub fn with_row<T>(&mut self, task: u32, with: impl FnOnce(&GraphRow, usize) -> T) -> Result<Option<T>, LogError> {
        let holds = |row: &GraphRow| row.tasks().contains(&task);
        if !self.rows.values().any(|indexed| holds(&indexed.row)) {
            let mut found = None;
            self.reader.graph_rows(self.session, task, |row| {
                found = holds(&row).then_some(row);
                Ok(false)
            })?;
            match found {
                Some(row) => self.put(row),
                None => return Ok(None),
            }
        }
        let found = self.rows.values().find(|indexed| holds(&indexed.row));
        Ok(found.map(|indexed| with(&indexed.row, (task - indexed.row.first) as usize)))
    }

    fn put(&mut self, row: GraphRow) {
        if self.rows.len() >= ROWS_MAX {
            self.rows.clear();
        }
        let mut outputs = Vec::new();
        for (place, (first, kind)) in row.first_outputs.iter().zip(&row.kinds).enumerate() {
            let count = self.kinds.get(kind).map_or(0, |kind| kind.outputs);
            if *first != NONE && count > 0 {
                outputs.push((*first, first.saturating_add(count), row.first + place as u32));
            }
        }
        outputs.sort_unstable();
        self.rows.insert(row.first, Indexed { row, outputs });
    }
}

impl Indexed {
    fn producer(&self, object: u32) -> Option<u32> {
        let place = self.outputs.partition_point(|(first, _, _)| *first <= object).checked_sub(1)?;
        let (_, end, task) = self.outputs[place];
        (object < end).then_some(task)
    }
}
