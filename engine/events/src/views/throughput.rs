//! How many tasks were over in each span of time.

use super::governors::{points, span};
use crate::answers::Throughput;
use crate::chunk::{decode_summary, decode_tasks};
use crate::error::LogError;
use crate::log::{Log, Reader};
use crate::questions::ThroughputQuery;
use crate::rates::{KEPT, WIDTHS};
use rusqlite::params;

impl Log {
    /// How many tasks were over in each span of time, of all sessions or one; `None` if there is none with this number.
    ///
    /// # Errors
    /// When the log cannot be read, or the span is none.
    pub fn throughput(&self, query: &ThroughputQuery) -> Result<Option<Throughput>, LogError> {
        let points = points(query.points);
        self.read(|reader| {
            let (first, last) = match query.session {
                Some(session) if !reader.has_session(session)? => return Ok(None),
                session => reader.extent(session)?,
            };
            let (from, to) = span(query.from.unwrap_or(first), query.to.unwrap_or(last))?;
            let least = (to - from) / f64::from(points);
            match query.session {
                Some(session) => of_session(reader, session, from, least, points).map(Some),
                None => of_all(reader, (from, to, last), least).map(Some),
            }
        })
    }
}

impl Reader {
    /// When a session, or all, began and ended, or now, seconds since 1970.
    pub(super) fn extent(&self, session: Option<u32>) -> Result<(f64, f64), LogError> {
        let present = self.present()?;
        let Some(session) = session else {
            return Ok((self.number("started")?.unwrap_or_default(), present));
        };
        let text = "SELECT created, closed, (SELECT MAX(end) FROM chunks WHERE session = sessions.id) FROM sessions WHERE id = ?1";
        let (created, closed, last): (f64, Option<f64>, Option<f64>) = self
            .connection
            .prepare_cached(text)?
            .query_row([session], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let end = closed.map_or(present, |closed| closed.max(last.unwrap_or_default()) / 1e6);
        Ok((created / 1e6, end))
    }
}

fn empty(from: f64, step: f64, count: usize) -> Throughput {
    Throughput {
        times: (0..count).map(|point| from + point as f64 * step).collect(),
        step,
        finished: vec![0; count],
        failed: vec![0; count],
        running: vec![Some(0.0); count],
    }
}

fn of_all(reader: &Reader, (from, to, last): (f64, f64, f64), least: f64) -> Result<Throughput, LogError> {
    let now = last * 1e6;
    let is_kept = |width: u64| width == WIDTHS[2] || from * 1e6 >= now - (KEPT * width) as f64;
    let fits = |width: &&u64| **width as f64 <= least * 1e6 || **width == WIDTHS[0];
    let wanted = WIDTHS.iter().rev().find(fits).copied().unwrap_or(WIDTHS[0]);
    let width = WIDTHS.iter().copied().find(|width| *width >= wanted && is_kept(*width)).unwrap_or(WIDTHS[2]);
    let buckets_per_point = ((least * 1e6 / width as f64).ceil() as u64).max(1);
    let step = (buckets_per_point * width) as f64 / 1e6;
    let first_bucket = (from * 1e6) as u64 / width;
    let last_bucket = (to * 1e6) as u64 / width;
    let count = ((last_bucket - first_bucket) / buckets_per_point + 1) as usize;
    let mut answer = empty((first_bucket * width) as f64 / 1e6, step, count);
    let mut sums = vec![0.0; count];
    let mut known = vec![0u64; count];
    let mut left: Vec<Option<f64>> = vec![None; count];
    let text = "SELECT bucket, finished, failed, running, left FROM rates WHERE width = ?1 AND bucket BETWEEN ?2 AND ?3 \
                ORDER BY bucket";
    let mut statement = reader.connection.prepare_cached(text)?;
    let mut rows = statement.query(params![width as i64, first_bucket as i64, last_bucket as i64])?;
    while let Some(row) = rows.next()? {
        let point = ((row.get::<_, i64>(0)? as u64 - first_bucket) / buckets_per_point) as usize;
        answer.finished[point] += row.get::<_, i64>(1)? as u64;
        answer.failed[point] += row.get::<_, i64>(2)? as u64;
        sums[point] += row.get::<_, f64>(3)?;
        known[point] += 1;
        left[point] = Some(row.get(4)?);
    }
    let text = "SELECT left FROM rates WHERE width = ?1 AND bucket < ?2 ORDER BY bucket DESC LIMIT 1";
    let mut statement = reader.connection.prepare_cached(text)?;
    let mut before = statement.query(params![width as i64, first_bucket as i64])?;
    // Where nothing was noted, what ran before still runs.
    let mut runs: f64 = before.next()?.map(|row| row.get(0)).transpose()?.unwrap_or_default();
    for point in 0..count {
        let unknown = buckets_per_point.saturating_sub(known[point]) as f64;
        answer.running[point] = Some((sums[point] + unknown * runs) / buckets_per_point as f64);
        runs = left[point].unwrap_or(runs);
    }
    Ok(answer)
}

fn of_session(reader: &Reader, session: u32, from: f64, least: f64, points: u32) -> Result<Throughput, LogError> {
    let step = least.max(1e-6);
    let count = points as usize;
    let mut answer = empty(from, step, count);
    let mut busy = vec![0.0; count];
    let at = |micros: f64| ((micros / 1e6 - from) / step).floor();
    let text = "SELECT count, id, start, end FROM chunks WHERE session = ?1 AND end >= ?2 AND start <= ?3";
    let mut statement = reader.connection.prepare_cached(text)?;
    let mut summaries = reader.connection.prepare_cached("SELECT summary FROM chunk_summaries WHERE id = ?1")?;
    let mut contents = reader.connection.prepare_cached("SELECT tasks FROM chunk_data WHERE id = ?1")?;
    let to = from + step * count as f64;
    let mut rows = statement.query(params![session, from * 1e6, to * 1e6])?;
    while let Some(row) = rows.next()? {
        let (tasks, id): (usize, i64) = (row.get(0)?, row.get(1)?);
        let (start, end): (f64, f64) = (row.get(2)?, row.get(3)?);
        let is_within = end - start < step * 1e6;
        let mut found = if is_within { summaries.query([id])? } else { contents.query([id])? };
        let Some(content) = found.next()? else { continue };
        let data = content.get_ref(0)?.as_blob().map_err(|error| LogError::Damaged(error.to_string()))?;
        if is_within {
            let point = at(end).clamp(0.0, count as f64 - 1.0) as usize;
            answer.finished[point] += tasks as u64;
            decode_summary(data, |stretch| busy[point] += stretch.busy as f64 / 1e9)?;
            continue;
        }
        decode_tasks(data, tasks, |task| {
            let (start, end) = (task.start as f64, task.start as f64 + task.duration as f64 / 1e3);
            let (first, last) = (at(start), at(end));
            if last >= 0.0 && last < count as f64 {
                answer.finished[last as usize] += 1;
            }
            if first == last {
                if last >= 0.0 && last < count as f64 {
                    busy[last as usize] += task.duration as f64 / 1e9;
                }
                return;
            }
            let places = first.max(0.0) as usize..(last + 1.0).clamp(0.0, count as f64) as usize;
            for (point, busy) in busy.iter_mut().enumerate().take(places.end).skip(places.start) {
                let (begin, finish) = (from + point as f64 * step, from + (point + 1) as f64 * step);
                *busy += (finish.min(end / 1e6) - begin.max(start / 1e6)).max(0.0);
            }
        })?;
    }
    let text = "SELECT time FROM attempts WHERE session = ?1 AND is_last";
    let mut statement = reader.connection.prepare_cached(text)?;
    for time in statement.query_map([session], |row| row.get::<_, f64>(0))? {
        let point = at(time?);
        if point >= 0.0 && point < count as f64 {
            answer.failed[point as usize] += 1;
        }
    }
    answer.running = busy.into_iter().map(|busy| Some(busy / step)).collect();
    Ok(answer)
}
