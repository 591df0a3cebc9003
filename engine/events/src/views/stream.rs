//! What each slot did, in columns of equal time.

use super::governors::span;
use crate::answers::{Bar, LogState, Stream, StreamSlot, Transfers};
use crate::chunk::{Slot, decode_summary, decode_tasks};
use crate::error::LogError;
use crate::log::{Log, Reader};
use crate::questions::StreamQuery;
use rusqlite::params;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

/// Columns when nothing else is said, and at most.
const WIDTH_DEFAULT: u32 = 1200;
const WIDTH_MAX: u32 = 4000;
/// A chunk that is not longer than so many columns is shown by its summary: its tasks are spread evenly over them.
const SUMMED_COLUMNS: f64 = 4.0;
/// Slots of an answer at most.
const SLOTS_MAX: usize = 2000;

/// States of bars.
const FINISHED: u8 = 0;
const RUNNING: u8 = 1;
const FAILED: u8 = 2;
const LOST: u8 = 3;

/// Tasks, or parts of them, in one column of a slot.
#[derive(Clone, Copy, Debug)]
struct Cell {
    name: u32,
    state: u8,
    count: u64,
    session: u32,
    task: u32,
    longest: u64,
    /// Nanoseconds in this column.
    busy: u64,
    /// Of the name that has most so far.
    most: u64,
}

/// Tasks of one slot and name that are to be shown.
#[derive(Clone, Copy, Debug)]
struct Piece {
    name: u32,
    state: u8,
    count: u64,
    session: u32,
    task: u32,
    longest: u64,
    /// Microseconds since 1970.
    start: u64,
    end: u64,
    /// Nanoseconds.
    busy: u64,
}

struct Canvas {
    /// Microseconds since 1970.
    from: f64,
    /// Microseconds of a column.
    column: f64,
    width: u32,
    slots: BTreeMap<Slot, BTreeMap<u32, Cell>>,
}

impl Canvas {
    fn column_of(&self, time: u64) -> f64 {
        ((time as f64 - self.from) / self.column).floor()
    }

    fn add(&mut self, slot: Slot, piece: &Piece) {
        let (first, last) = (self.column_of(piece.start), self.column_of(piece.end));
        if last < 0.0 || first >= f64::from(self.width) {
            return;
        }
        if self.slots.len() >= SLOTS_MAX && !self.slots.contains_key(&slot) {
            return;
        }
        let (from, column, width) = (self.from, self.column, self.width);
        let cells = self.slots.entry(slot).or_default();
        let (first, last) = (first.max(0.0) as u32, (last as u32).min(width - 1));
        let extent = ((piece.end - piece.start) as f64).max(1e-3);
        for place in first..=last {
            let begin = (from + f64::from(place) * column).max(piece.start as f64);
            let end = (from + f64::from(place + 1) * column).min(piece.end as f64);
            let part = if first == last { 1.0 } else { ((end - begin) / extent).clamp(0.0, 1.0) };
            let busy = (piece.busy as f64 * part) as u64;
            let Piece { name, state, count, session, task, longest, .. } = *piece;
            let cell =
                cells.entry(place).or_insert(Cell { name, state, count: 0, session, task, longest, busy: 0, most: 0 });
            cell.count += (count as f64 * part).ceil() as u64;
            cell.busy += busy;
            if longest > cell.longest {
                (cell.session, cell.task, cell.longest) = (session, task, longest);
            }
            // What is wrong or still runs is not to be hidden by what is well.
            if cell.name == name && cell.state == state {
                cell.most += busy;
            } else if state > cell.state || (state == cell.state && busy > cell.most) {
                (cell.name, cell.state, cell.most) = (name, state, busy);
            }
        }
    }

    fn bars(cells: &BTreeMap<u32, Cell>, column: f64, names: &mut Names) -> Vec<Bar> {
        let mut bars: Vec<Bar> = Vec::new();
        for (place, cell) in cells {
            let fill = (cell.busy as f64 / (column * 10.0)).ceil().clamp(1.0, 100.0) as u8;
            let name = names.place(cell.name);
            if let Some(Bar(_, last, before, state, count, session, task, fill_before)) = bars.last_mut()
                && *last + 1 == *place
                && (*before, *state) == (name, cell.state)
            {
                let is_same = (*session, *task) == (cell.session, cell.task) && *count == 1 && cell.count == 1;
                let are_alike = *count > 1 && cell.count > 1 && fill.abs_diff(*fill_before) <= 5;
                if is_same || are_alike {
                    *last = *place;
                    *count += if is_same { 0 } else { cell.count };
                    *fill_before = (*fill_before).max(fill);
                    continue;
                }
            }
            bars.push(Bar(*place, *place, name, cell.state, cell.count, cell.session, cell.task, fill));
        }
        bars
    }
}

/// Names in the order in which they are first met.
#[derive(Default)]
struct Names {
    places: HashMap<u32, u32>,
    numbers: Vec<u32>,
}

impl Names {
    fn place(&mut self, number: u32) -> u32 {
        *self.places.entry(number).or_insert_with(|| {
            self.numbers.push(number);
            self.numbers.len() as u32 - 1
        })
    }
}

impl Log {
    /// What each slot did, for all sessions or one; `None` if there is none with this number.
    ///
    /// # Errors
    /// When the log cannot be read, or the span is none.
    pub fn stream(&self, query: &StreamQuery) -> Result<Option<Stream>, LogError> {
        let width = query.width.unwrap_or(WIDTH_DEFAULT).clamp(1, WIDTH_MAX);
        self.read(|reader| {
            let (first, last) = match query.session {
                Some(session) if !reader.has_session(session)? => return Ok(None),
                Some(session) => reader.extent(Some(session))?,
                None => reader.work_extent()?,
            };
            let (from, to) = span(query.from.unwrap_or(first), query.to.unwrap_or(last))?;
            let column = (to - from) * 1e6 / f64::from(width);
            let mut canvas = Canvas { from: from * 1e6, column, width, slots: BTreeMap::new() };
            let window = (query.session, from * 1e6, to * 1e6);
            add_chunks(reader, &mut canvas, window)?;
            add_attempts(reader, &mut canvas, window)?;
            add_running(reader, &mut canvas, window)?;
            let transfers = transfers(reader, &canvas, window)?;
            let text = "SELECT COALESCE(SUM(folded), 0) FROM sessions WHERE ?1 IS NULL OR id = ?1";
            let folded: i64 = reader.connection.prepare_cached(text)?.query_row([query.session], |row| row.get(0))?;
            let mut numbers = Names::default();
            let slots = canvas.slots.iter().map(|(slot, cells)| StreamSlot {
                governor: slot.governor,
                slot: slot.worker,
                bars: Canvas::bars(cells, column, &mut numbers),
            });
            let slots = slots.collect();
            let mut names = Vec::new();
            for number in numbers.numbers {
                names.push(reader.string(number)?.to_string());
            }
            Ok(Some(Stream { from, to, width, names, slots, transfers, folded: folded as u64 }))
        })
    }
}

impl Reader {
    /// From the first task to the last, or now while any runs; seconds since 1970.
    fn work_extent(&self) -> Result<(f64, f64), LogError> {
        let text = "SELECT MIN(start), MAX(end) FROM chunks";
        let (first, last): (Option<f64>, Option<f64>) =
            self.connection.query_row(text, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let text = "SELECT MIN(start) FROM running";
        let running: Option<f64> = self.connection.query_row(text, [], |row| row.get(0))?;
        let text = "SELECT MIN(COALESCE(start, time)), MAX(time) FROM attempts";
        let (tried, failed): (Option<f64>, Option<f64>) =
            self.connection.query_row(text, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let present = self.present()?;
        let least = [first, running, tried].into_iter().flatten().reduce(f64::min);
        let most = [last, failed].into_iter().flatten().reduce(f64::max).filter(|_| running.is_none());
        let from = least.map_or(self.number("started")?.unwrap_or_default(), |least| least / 1e6);
        Ok((from, most.map_or(present, |most| most / 1e6).max(from)))
    }
}

type Window = (Option<u32>, f64, f64);

fn add_chunks(reader: &Reader, canvas: &mut Canvas, (session, from, to): Window) -> Result<(), LogError> {
    let text = "SELECT id, session, count, start, end FROM chunks \
                WHERE (?1 IS NULL OR session = ?1) AND start <= ?3 AND end >= ?2";
    let mut statement = reader.connection.prepare_cached(text)?;
    let mut chunks = statement.query(params![session, from, to])?;
    let mut summary = reader.connection.prepare_cached("SELECT summary FROM chunk_summaries WHERE id = ?1")?;
    let mut tasks = reader.connection.prepare_cached("SELECT tasks FROM chunk_data WHERE id = ?1")?;
    let damaged = |error: rusqlite::types::FromSqlError| LogError::Damaged(error.to_string());
    let mut names: HashMap<u32, Namer> = HashMap::new();
    while let Some(row) = chunks.next()? {
        let (id, session, count): (i64, u32, usize) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let (start, end): (f64, f64) = (row.get(3)?, row.get(4)?);
        if end - start < SUMMED_COLUMNS * canvas.column {
            let mut rows = summary.query([id])?;
            let Some(row) = rows.next()? else { continue };
            decode_summary(row.get_ref(0)?.as_blob().map_err(damaged)?, |stretch| {
                let piece = Piece {
                    name: stretch.name,
                    state: FINISHED,
                    count: u64::from(stretch.count),
                    session,
                    task: stretch.task,
                    longest: stretch.longest,
                    start: stretch.start,
                    end: stretch.end,
                    busy: stretch.busy,
                };
                canvas.add(stretch.slot, &piece);
            })?;
            continue;
        }
        let mut rows = tasks.query([id])?;
        let Some(row) = rows.next()? else { continue };
        let namer = namer(&mut names, reader, session)?;
        decode_tasks(row.get_ref(0)?.as_blob().map_err(damaged)?, count, |task| {
            let piece = Piece {
                name: namer.name(task.task),
                state: FINISHED,
                count: 1,
                session,
                task: task.task,
                longest: task.duration,
                start: task.start,
                end: task.start + task.duration / 1000,
                busy: task.duration,
            };
            canvas.add(task.slot, &piece);
        })?;
    }
    Ok(())
}

/// The names of the tasks of a session, which are read when they are first needed.
fn namer<'a>(names: &'a mut HashMap<u32, Namer>, reader: &Reader, session: u32) -> Result<&'a mut Namer, LogError> {
    Ok(match names.entry(session) {
        Entry::Occupied(known) => known.into_mut(),
        Entry::Vacant(new) => new.insert(Namer::new(reader, session)?),
    })
}

/// The names of a session's tasks.
pub(crate) struct Namer {
    /// First task, and the kinds from there on; one kind stands for all.
    rows: Vec<(u32, u32, Vec<u32>)>,
    names: HashMap<u32, u32>,
    near: usize,
}

impl Namer {
    pub(crate) fn new(reader: &Reader, session: u32) -> Result<Self, LogError> {
        let names = reader.kinds(session)?.into_iter().map(|(number, kind)| (number, kind.name)).collect();
        let mut all = Vec::new();
        reader.graph_kinds(session, |first, kinds| {
            let is_one = kinds.windows(2).all(|pair| pair[0] == pair[1]);
            let told = if is_one { kinds.len().min(1) } else { kinds.len() };
            all.push((first, kinds.len() as u32, kinds[..told].to_vec()));
        })?;
        Ok(Self { rows: all, names, near: 0 })
    }

    pub(crate) fn name(&mut self, task: u32) -> u32 {
        let holds = |(first, count, _): &(u32, u32, Vec<u32>)| task >= *first && task - first < *count;
        if !self.rows.get(self.near).is_some_and(holds) {
            self.near = self.rows.partition_point(|(first, _, _)| *first <= task).saturating_sub(1);
        }
        let Some((first, _, kinds)) = self.rows.get(self.near).filter(|row| holds(row)) else { return 0 };
        let kind = kinds.get((task - first) as usize).or(kinds.first());
        kind.and_then(|kind| self.names.get(kind)).copied().unwrap_or_default()
    }
}

fn add_attempts(reader: &Reader, canvas: &mut Canvas, (session, from, to): Window) -> Result<(), LogError> {
    let text = "SELECT session, task, governor, worker, start, duration, time FROM attempts \
                WHERE (?1 IS NULL OR session = ?1) AND COALESCE(start, time) <= ?3 AND time >= ?2";
    let mut statement = reader.connection.prepare_cached(text)?;
    let mut rows = statement.query(params![session, from, to])?;
    let mut names: HashMap<u32, Namer> = HashMap::new();
    while let Some(row) = rows.next()? {
        let (session, task): (u32, u32) = (row.get(0)?, row.get(1)?);
        let slot = Slot { governor: row.get(2)?, worker: row.get::<_, Option<u32>>(3)?.unwrap_or_default() };
        let time: i64 = row.get(6)?;
        let start = row.get::<_, Option<i64>>(4)?.unwrap_or(time).min(time) as u64;
        let busy = row.get::<_, Option<i64>>(5)?.map_or((time as u64 - start) * 1000, |duration| duration as u64);
        let name = namer(&mut names, reader, session)?.name(task);
        let end = start + busy / 1000;
        canvas.add(slot, &Piece { name, state: FAILED, count: 1, session, task, longest: busy, start, end, busy });
    }
    Ok(())
}

fn add_running(reader: &Reader, canvas: &mut Canvas, (session, _, to): Window) -> Result<(), LogError> {
    let state = if reader.state()? == LogState::Running { RUNNING } else { LOST };
    let present = (reader.present()? * 1e6) as u64;
    let text =
        "SELECT session, task, governor, worker, start FROM running WHERE (?1 IS NULL OR session = ?1) AND start <= ?2";
    let mut statement = reader.connection.prepare_cached(text)?;
    let mut rows = statement.query(params![session, to])?;
    let mut names: HashMap<u32, Namer> = HashMap::new();
    while let Some(row) = rows.next()? {
        let (session, task): (u32, u32) = (row.get(0)?, row.get(1)?);
        let slot = Slot { governor: row.get(2)?, worker: row.get(3)? };
        let start = row.get::<_, i64>(4)? as u64;
        let name = namer(&mut names, reader, session)?.name(task);
        let end = present.max(start);
        let busy = (end - start) * 1000;
        canvas.add(slot, &Piece { name, state, count: 1, session, task, longest: busy, start, end, busy });
    }
    Ok(())
}

fn transfers(reader: &Reader, canvas: &Canvas, (session, from, to): Window) -> Result<Vec<Transfers>, LogError> {
    let text = "SELECT target, CAST((time - ?2) / ?4 AS INTEGER), SUM(bytes), COUNT(*) FROM moves \
                WHERE (?1 IS NULL OR session = ?1) AND time BETWEEN ?2 AND ?3 GROUP BY 1, 2 ORDER BY 1, 2";
    let mut statement = reader.connection.prepare_cached(text)?;
    let mut rows = statement.query(params![session, from, to, canvas.column])?;
    let mut transfers: Vec<Transfers> = Vec::new();
    while let Some(row) = rows.next()? {
        let (governor, column): (u32, i64) = (row.get(0)?, row.get(1)?);
        let column = (column.max(0) as u32).min(canvas.width - 1);
        let bar = (column, column, row.get::<_, i64>(2)? as u64, row.get::<_, i64>(3)? as u64);
        match transfers.last_mut().filter(|last| last.governor == governor) {
            Some(last) => last.bars.push(bar),
            None => transfers.push(Transfers { governor, bars: vec![bar] }),
        }
    }
    Ok(transfers)
}
