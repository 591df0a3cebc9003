//! What happened, one thing after the other.

use crate::answers::{Event, Events, OldEvent};
use crate::chunk::{CHUNK_TASKS_MAX, decode_tasks};
use crate::error::LogError;
use crate::log::{Log, Reader, seconds};
use crate::questions::{EventQuery, OldFilter, cursor, limit};
use rusqlite::params;
use serde_json::{Map, Value};

/// Events of the old kind at most.
const OLD_MAX: usize = 10_000;
/// Numbers of the events that are made of chunks begin here: two for each task, in the order of the chunks.
const OF_CHUNKS: u64 = 1 << 48;
/// Types of events that are made of chunks.
const STARTED: &str = "TaskStarted";
const FINISHED: &str = "TaskFinished";

/// Which events, checked.
struct Filter {
    session: Option<u32>,
    /// `None`: all but those of single tasks that went well.
    kinds: Option<Vec<String>>,
    /// Microseconds since 1970.
    from: i64,
    /// Numbers above this.
    after: u64,
}

impl Filter {
    fn wants(&self, kind: &str) -> bool {
        self.kinds.as_ref().is_some_and(|kinds| kinds.iter().any(|wanted| wanted == kind))
    }
}

impl Log {
    /// Events, the oldest first. Those of single tasks that went well (`TaskStarted`, `TaskFinished`) come only when they are asked for.
    ///
    /// # Errors
    /// When the log cannot be read, or there is no such cursor.
    pub fn events(&self, query: &EventQuery) -> Result<Events, LogError> {
        let limit = limit(query.limit);
        let kinds = query.kind.as_deref().filter(|kinds| !kinds.is_empty());
        let filter = Filter {
            session: query.session,
            kinds: kinds.map(|kinds| kinds.split(',').map(str::to_owned).collect()),
            from: query.from.map_or(0, |from| (from * 1e6) as i64),
            after: cursor(query.after.as_ref())?.unwrap_or_default(),
        };
        self.read(|reader| {
            let mut events = list(reader, &filter, limit + 1, |_| true)?;
            let has_more = events.len() > limit;
            events.truncate(limit);
            let next = events.last().filter(|_| has_more).map(|last| last.id.to_string());
            Ok(Events { events, next })
        })
    }

    /// Events as the first Rain's dashboard asked for them, the oldest first.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn filtered(&self, asked: &OldFilter) -> Result<Vec<OldEvent>, LogError> {
        let kinds = asked.event_types.as_ref().map(|kinds| kinds.iter().map(|kind| kind.value.clone()).collect());
        let filter = Filter { session: None, kinds, from: 0, after: 0 };
        let admits = |event: &Event| {
            asked.id.as_ref().is_none_or(|id| id.admits(&event.id))
                && asked
                    .session
                    .as_ref()
                    .is_none_or(|wanted| event.session.is_some_and(|session| wanted.admits(&session)))
        };
        let events = self.read(|reader| list(reader, &filter, OLD_MAX, admits))?;
        Ok(events.into_iter().map(old).collect())
    }
}

fn list(
    reader: &Reader,
    filter: &Filter,
    count: usize,
    admits: impl Fn(&Event) -> bool,
) -> Result<Vec<Event>, LogError> {
    let mut events = Vec::new();
    let kinds = filter.kinds.as_ref().map(|kinds| serde_json::to_string(kinds).unwrap_or_default());
    let text = "SELECT id, time, kind, session, task, governor, value, text FROM events WHERE id > ?1 AND time >= ?2 \
                AND (?3 IS NULL OR session = ?3) AND (?4 IS NULL OR kind IN (SELECT value FROM json_each(?4))) ORDER BY id";
    let mut statement = reader.connection.prepare_cached(text)?;
    let after = filter.after.min(OF_CHUNKS) as i64;
    let mut rows = statement.query(params![after, filter.from, filter.session, kinds])?;
    while let Some(row) = rows.next()? {
        let event = Event {
            id: row.get::<_, i64>(0)? as u64,
            time: seconds(row.get(1)?),
            kind: row.get(2)?,
            session: row.get(3)?,
            task: row.get(4)?,
            governor: row.get(5)?,
            object: None,
            value: row.get::<_, Option<i64>>(6)?.map(|value| value as u64),
            text: row.get(7)?,
        };
        if admits(&event) {
            events.push(event);
        }
        if events.len() >= count {
            return Ok(events);
        }
    }
    if filter.wants(STARTED) || filter.wants(FINISHED) {
        of_chunks(reader, filter, count, &admits, &mut events)?;
    }
    Ok(events)
}

/// Appends what chunks tell of single tasks.
fn of_chunks(
    reader: &Reader,
    filter: &Filter,
    count: usize,
    admits: &impl Fn(&Event) -> bool,
    events: &mut Vec<Event>,
) -> Result<(), LogError> {
    let per_chunk = 2 * CHUNK_TASKS_MAX as u64;
    let first = filter.after.saturating_sub(OF_CHUNKS) / per_chunk;
    let text = "SELECT id, session, count, tasks FROM chunks JOIN chunk_data USING (id) \
                WHERE id >= ?1 AND end >= ?2 AND (?3 IS NULL OR session = ?3) ORDER BY id";
    let mut statement = reader.connection.prepare_cached(text)?;
    let mut rows = statement.query(params![first as i64, filter.from, filter.session])?;
    while let Some(row) = rows.next()? {
        let (chunk, session): (i64, u32) = (row.get(0)?, row.get(1)?);
        let data = row.get_ref(3)?.as_blob().map_err(|error| LogError::Damaged(error.to_string()))?;
        let mut id = OF_CHUNKS + chunk as u64 * per_chunk;
        decode_tasks(data, row.get(2)?, |task| {
            for (kind, time) in [(STARTED, task.start), (FINISHED, task.end())] {
                let event = Event {
                    id,
                    time: time as f64 / 1e6,
                    kind: kind.to_owned(),
                    session: Some(session),
                    task: Some(task.task),
                    governor: Some(task.slot.governor),
                    ..Event::default()
                };
                let is_wanted = id > filter.after && time as i64 >= filter.from && filter.wants(kind);
                if is_wanted && events.len() < count && admits(&event) {
                    events.push(event);
                }
                id += 1;
            }
        })?;
        if events.len() >= count {
            break;
        }
    }
    Ok(())
}

fn old(event: Event) -> OldEvent {
    let mut about = Map::new();
    about.insert("type".to_owned(), event.kind.into());
    let numbers = [
        ("session", event.session.map(u64::from)),
        ("task", event.task.map(u64::from)),
        ("governor", event.governor.map(u64::from)),
        ("value", event.value),
    ];
    for (key, value) in numbers {
        if let Some(value) = value {
            about.insert(key.to_owned(), value.into());
        }
    }
    if let Some(text) = event.text {
        about.insert("text".to_owned(), text.into());
    }
    OldEvent { id: event.id, time: rfc3339(event.time), event: Value::Object(about) }
}

/// A time as in RFC 3339, in UTC, with milliseconds.
pub(crate) fn rfc3339(time: f64) -> String {
    let millis = (time * 1e3).round() as i64;
    let (days, of_day) = (millis.div_euclid(86_400_000), millis.rem_euclid(86_400_000));
    // From the number of a day to its date in the Gregorian calendar: years begin in March, 400 of them have 146,097 days.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute) = (of_day / 3_600_000, of_day / 60_000 % 60);
    let (second, milli) = (of_day / 1000 % 60, of_day % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_dates() {
        assert_eq!(rfc3339(0.0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(951_827_696.789), "2000-02-29T12:34:56.789Z");
        assert_eq!(rfc3339(1_764_312_947.123), "2025-11-28T06:55:47.123Z");
    }
}
