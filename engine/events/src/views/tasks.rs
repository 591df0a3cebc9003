//! Lists of tasks.

use super::task_rows::task_rows;
use crate::answers::{LogState, TaskState, Tasks};
use crate::chunk::decode_tasks;
use crate::error::LogError;
use crate::log::{KindRow, Log, Reader};
use crate::over::Bits;
use crate::producers::Producers;
use crate::questions::{TaskQuery, cursor, limit};
use rusqlite::params;
use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::sync::Arc;

/// Tasks of which it is known that they match that are counted one by one.
const COUNTED_MAX: usize = 200_000;

/// What is asked for, checked.
struct Filter {
    states: HashSet<TaskState>,
    /// Kinds whose names match; `None`: all.
    kinds: Option<HashSet<u32>>,
    governor: Option<u32>,
}

impl Filter {
    /// Whether all tasks match.
    fn is_empty(&self) -> bool {
        self.states.is_empty() && self.kinds.is_none() && self.governor.is_none()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Key {
    Id,
    Started,
    Seconds,
    Name,
}

impl Log {
    /// Tasks of a session; `None` if there is none with this number.
    ///
    /// # Errors
    /// When the log cannot be read, or there is no such state, order or cursor.
    pub fn tasks(&self, session: u32, query: &TaskQuery) -> Result<Option<Tasks>, LogError> {
        let mut states = HashSet::new();
        for name in query.state.iter().flat_map(|states| states.split(',')).filter(|name| !name.is_empty()) {
            let state = TaskState::from_name(name);
            states.insert(state.ok_or_else(|| LogError::Request(format!("there is no state {name:?} of tasks")))?);
        }
        let sort = query.sort.as_deref().unwrap_or("id");
        let key = match sort.strip_prefix('-').unwrap_or(sort) {
            "id" => Key::Id,
            "started" => Key::Started,
            "seconds" => Key::Seconds,
            "name" => Key::Name,
            other => return Err(LogError::Request(format!("tasks cannot be sorted by {other:?}"))),
        };
        let after = cursor(query.after.as_ref())?.unwrap_or_default();
        let limit = limit(query.limit);
        self.read(|reader| {
            if !reader.has_session(session)? {
                return Ok(None);
            }
            let kinds = reader.kinds(session)?;
            let named = query.name.as_deref().filter(|name| !name.is_empty());
            let filter = Filter {
                states,
                kinds: named.map(|name| matching_kinds(reader, &kinds, name)).transpose()?,
                governor: query.governor,
            };
            let search = Search { session, kinds: &kinds, filter: &filter };
            let (ids, total) = match key {
                Key::Started | Key::Seconds => search.by_time(reader, key, sort.starts_with('-'), after, limit)?,
                Key::Id if filter.is_empty() => {
                    let all = reader.task_count(session)?;
                    let until = after.saturating_add(limit as u64 + 1).min(all);
                    let number = |place: u64| if sort.starts_with('-') { all - 1 - place } else { place };
                    ((after..until).map(|place| number(place) as u32).collect(), Some(all))
                }
                Key::Id | Key::Name => {
                    let mut ids = search.by_id(reader)?;
                    if key == Key::Name {
                        sort_by_name(reader, session, &kinds, &mut ids)?;
                    }
                    if sort.starts_with('-') {
                        ids.reverse();
                    }
                    let total = ids.len() as u64;
                    (ids.into_iter().skip(after as usize).take(limit + 1).collect(), Some(total))
                }
            };
            let next = (ids.len() > limit).then(|| (after + limit as u64).to_string());
            let tasks = task_rows(reader, session, &kinds, &ids[..ids.len().min(limit)])?;
            Ok(Some(Tasks { tasks, total, next }))
        })
    }
}

/// Kinds whose names contain a text, or begin with it at the border of a group.
fn matching_kinds(reader: &mut Reader, kinds: &HashMap<u32, KindRow>, name: &str) -> Result<HashSet<u32>, LogError> {
    let mut found = HashSet::new();
    for (number, kind) in kinds {
        let text = reader.string(kind.name)?;
        let matches = match name.strip_suffix('/') {
            Some(group) => text.strip_prefix(group).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
            None => text.contains(name),
        };
        if matches {
            found.insert(*number);
        }
    }
    Ok(found)
}

struct Search<'a> {
    session: u32,
    kinds: &'a HashMap<u32, KindRow>,
    filter: &'a Filter,
}

impl Search<'_> {
    /// All tasks that match, in the order of their numbers.
    fn by_id(&self, reader: &mut Reader) -> Result<Vec<u32>, LogError> {
        let is_open = reader.is_open(self.session)?;
        let log_state = reader.state()?;
        reader.over(self.session)?;
        let reader = &*reader;
        let Some(over) = reader.over.get(&self.session) else { return Ok(Vec::new()) };
        let running = reader.running_tasks(self.session)?;
        let failed = self.failed(reader)?;
        let ran_on = self.filter.governor.map(|governor| self.tasks_of_governor(reader, governor)).transpose()?;
        let states = &self.filter.states;
        let tells_ready = states.contains(&TaskState::Ready) != states.contains(&TaskState::Waiting);
        let is_wanted = |task: u32, kind: u32| {
            self.filter.kinds.as_ref().is_none_or(|kinds| kinds.contains(&kind))
                && ran_on.as_ref().is_none_or(|tasks| tasks.has(task))
        };
        // A task that is neither over nor runs is said to be ready; whether it waits is found out below.
        let state_of = |task: u32| {
            if over.finished.has(task) {
                TaskState::Finished
            } else if over.given_up.has(task) {
                if failed.contains(&task) { TaskState::Failed } else { TaskState::Cancelled }
            } else if !is_open {
                TaskState::Cancelled
            } else if running.contains(&task) {
                if log_state == LogState::Running { TaskState::Running } else { TaskState::Lost }
            } else {
                TaskState::Ready
            }
        };
        let mut ids = Vec::new();
        if !tells_ready {
            let any = states.is_empty();
            reader.graph_kinds(self.session, |first, kinds| {
                for (place, kind) in kinds.iter().enumerate() {
                    let task = first + place as u32;
                    if is_wanted(task, *kind) && (any || states.contains(&state_of(task))) {
                        ids.push(task);
                    }
                }
            })?;
            return Ok(ids);
        }
        let mut producers = Producers::new(reader, self.session, self.kinds);
        reader.graph_rows(self.session, 0, |row| {
            for (task, place, inputs) in row.iter() {
                if !is_wanted(task, row.kinds[place]) {
                    continue;
                }
                let mut state = state_of(task);
                if state == TaskState::Ready {
                    for input in inputs {
                        if let Some(producer) = producers.of(*input)?
                            && !over.finished.has(producer)
                        {
                            state = TaskState::Waiting;
                            break;
                        }
                    }
                }
                if states.contains(&state) {
                    ids.push(task);
                }
            }
            Ok(true)
        })?;
        Ok(ids)
    }

    fn failed(&self, reader: &Reader) -> Result<HashSet<u32>, LogError> {
        let text = "SELECT DISTINCT task FROM attempts WHERE session = ?1 AND is_last";
        let mut statement = reader.connection.prepare_cached(text)?;
        let rows = statement.query_map([self.session], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Tasks that a governor has finished or runs.
    fn tasks_of_governor(&self, reader: &Reader, governor: u32) -> Result<Bits, LogError> {
        let mut found = Bits::default();
        for (task, running) in reader.running(self.session)? {
            if running.slot.governor == governor {
                found.set(task);
            }
        }
        let text = "SELECT task FROM attempts WHERE session = ?1 AND governor = ?2";
        let mut statement = reader.connection.prepare_cached(text)?;
        for task in statement.query_map(params![self.session, governor], |row| row.get(0))? {
            found.set(task?);
        }
        self.chunks(reader, |task| {
            if task.slot.governor == governor {
                found.set(task.task);
            }
        })?;
        Ok(found)
    }

    /// Tasks that have run or run, in the order of a time of theirs: those from `after` on, one more than `limit`.
    fn by_time(
        &self,
        reader: &mut Reader,
        key: Key,
        largest_first: bool,
        after: u64,
        limit: usize,
    ) -> Result<(Vec<u32>, Option<u64>), LogError> {
        let wanted = (after as usize).saturating_add(limit + 1).min(COUNTED_MAX);
        let mut matches = None;
        if self.filter.kinds.is_some() || !self.filter.states.is_empty() {
            let mut tasks = Bits::default();
            self.by_id(reader)?.into_iter().for_each(|task| tasks.set(task));
            matches = Some(tasks);
        }
        // The heap has the best so far; its top is the worst of them.
        let mut best: BinaryHeap<(i128, u32)> = BinaryHeap::new();
        // Tasks that were run again after a loss are in two chunks.
        let mut added = reader.has_losses(self.session)?.then(Bits::default);
        let mut add = |value: u64, task: u32| {
            if let Some(added) = &mut added {
                if added.has(task) {
                    return;
                }
                added.set(task);
            }
            let value = if largest_first { -i128::from(value) } else { i128::from(value) };
            if matches.as_ref().is_some_and(|tasks| !tasks.has(task)) {
                return;
            }
            if best.len() < wanted {
                best.push((value, task));
            } else if best.peek().is_some_and(|worst| (value, task).cmp(worst) == Ordering::Less) {
                best.pop();
                best.push((value, task));
            }
        };
        let on_governor = |governor: u32| self.filter.governor.is_none_or(|wanted| wanted == governor);
        if key == Key::Started {
            for (task, running) in reader.running(self.session)? {
                if on_governor(running.slot.governor) {
                    add(running.start as u64, task);
                }
            }
        }
        let text = "SELECT task, start, duration, governor FROM attempts WHERE session = ?1 AND is_last";
        let mut statement = reader.connection.prepare_cached(text)?;
        let mut rows = statement.query([self.session])?;
        while let Some(row) = rows.next()? {
            let value: Option<i64> = row.get(if key == Key::Started { 1 } else { 2 })?;
            if on_governor(row.get(3)?) {
                add(value.unwrap_or_default() as u64, row.get(0)?);
            }
        }
        self.chunks(reader, |task| {
            if on_governor(task.slot.governor) {
                add(if key == Key::Started { task.start } else { task.duration }, task.task);
            }
        })?;
        let sorted = best.into_sorted_vec();
        Ok((sorted.into_iter().skip(after as usize).map(|(_, task)| task).collect(), None))
    }

    fn chunks(&self, reader: &Reader, mut each: impl FnMut(crate::chunk::FinishedTask)) -> Result<(), LogError> {
        let text = "SELECT count, tasks FROM chunks JOIN chunk_data USING (id) WHERE session = ?1";
        let mut statement = reader.connection.prepare_cached(text)?;
        let mut rows = statement.query([self.session])?;
        while let Some(row) = rows.next()? {
            let data = row.get_ref(1)?.as_blob().map_err(|error| LogError::Damaged(error.to_string()))?;
            decode_tasks(data, row.get(0)?, &mut each)?;
        }
        Ok(())
    }
}

impl Reader {
    /// How many tasks a session has, which are numbered from 0.
    fn task_count(&self, session: u32) -> Result<u64, LogError> {
        let mut statement = self.connection.prepare_cached("SELECT tasks FROM sessions WHERE id = ?1")?;
        Ok(statement.query_row([session], |row| row.get::<_, i64>(0))? as u64)
    }

    /// Whether tasks of a session were lost with a governor.
    fn has_losses(&self, session: u32) -> Result<bool, LogError> {
        let mut statement =
            self.connection.prepare_cached("SELECT 1 FROM events WHERE session = ?1 AND kind = 'TaskLost'")?;
        Ok(statement.exists([session])?)
    }

    /// Whether a session has neither failed nor been closed.
    pub(super) fn is_open(&self, session: u32) -> Result<bool, LogError> {
        let mut statement =
            self.connection.prepare_cached("SELECT 1 FROM sessions WHERE id = ?1 AND state = 'open'")?;
        Ok(statement.exists([session])?)
    }
}

/// Sorts tasks by their names, and those of one name by their numbers.
fn sort_by_name(
    reader: &mut Reader,
    session: u32,
    kinds: &HashMap<u32, KindRow>,
    ids: &mut [u32],
) -> Result<(), LogError> {
    let mut names: HashMap<u32, Arc<str>> = HashMap::new();
    for (number, kind) in kinds {
        names.insert(*number, reader.string(kind.name)?);
    }
    let mut ranks: Vec<(&Arc<str>, u32)> = names.iter().map(|(number, name)| (name, *number)).collect();
    ranks.sort_unstable();
    let ranks: HashMap<u32, u32> = ranks.iter().enumerate().map(|(rank, (_, kind))| (*kind, rank as u32)).collect();
    let mut of_task: HashMap<u32, u32> = HashMap::with_capacity(ids.len());
    reader.graph_rows(session, 0, |row| {
        of_task.extend(
            row.kinds
                .iter()
                .enumerate()
                .map(|(place, kind)| (row.first + place as u32, ranks.get(kind).copied().unwrap_or_default())),
        );
        Ok(true)
    })?;
    ids.sort_by_key(|task| (of_task.get(task).copied().unwrap_or_default(), *task));
    Ok(())
}
