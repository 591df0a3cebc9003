//! Governors, and how their machines fare.

use super::status::maybe_seconds;
use crate::answers::{Governor, Governors, LogState, Samples};
use crate::error::LogError;
use crate::log::{Log, seconds};
use crate::questions::Range;
use rusqlite::params;

/// Points of an answer when nothing else is said, and at most.
const POINTS_DEFAULT: u32 = 300;
const POINTS_MAX: u32 = 2000;

/// How many points an answer has.
pub(super) fn points(asked: Option<u32>) -> u32 {
    asked.unwrap_or(POINTS_DEFAULT).clamp(1, POINTS_MAX)
}

/// Refuses spans of time that are none.
pub(super) fn span(from: f64, to: f64) -> Result<(f64, f64), LogError> {
    if !from.is_finite() || !to.is_finite() || from < 0.0 || to > 1e12 {
        return Err(LogError::Request("from and to are seconds since 1970".to_owned()));
    }
    if from > to {
        return Err(LogError::Request(format!("from={from} is after to={to}")));
    }
    Ok((from, to.max(from + 1e-3)))
}

impl Log {
    /// All governors there have been.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn governors(&self) -> Result<Governors, LogError> {
        self.read(|reader| {
            let state = reader.state()?;
            let text = "SELECT id, host, state, cpus, joined, lost, why, tasks, busy, \
                        (SELECT COUNT(*) FROM running WHERE running.governor = governors.id), \
                        load, memory, memory_budget, net_in, net_out, disk_read + disk_write FROM governors \
                        LEFT JOIN samples ON samples.governor = governors.id AND time = \
                        (SELECT MAX(time) FROM samples WHERE samples.governor = governors.id) ORDER BY id";
            let mut statement = reader.connection.prepare_cached(text)?;
            let rows = statement.query_map([], |row| {
                let bytes =
                    |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(column)?.map(|bytes| bytes as u64));
                let cpus: u32 = row.get(3)?;
                let said: String = row.get(2)?;
                Ok(Governor {
                    id: row.get(0)?,
                    host: row.get(1)?,
                    state: if state == LogState::Finished && said != "lost" { "left".to_owned() } else { said },
                    cpus,
                    joined: seconds(row.get(4)?),
                    lost: maybe_seconds(row.get(5)?),
                    reason: row.get(6)?,
                    tasks: row.get::<_, i64>(7)? as u64,
                    seconds: row.get::<_, i64>(8)? as f64 / 1e9,
                    running: if state == LogState::Running { row.get::<_, i64>(9)? as u64 } else { 0 },
                    load: row.get(10)?,
                    memory: bytes(11)?,
                    memory_budget: bytes(12)?,
                    net_in: bytes(13)?,
                    net_out: bytes(14)?,
                    disk: bytes(15)?,
                    spilled: 0,
                    executors: 0,
                    topology: None,
                })
            })?;
            Ok(Governors { governors: rows.collect::<Result<_, _>>()? })
        })
    }

    /// How the machine of a governor fared; `None` if there is none with this number.
    ///
    /// # Errors
    /// When the log cannot be read, or the span is none.
    pub fn samples(&self, governor: u32, range: &Range) -> Result<Option<Samples>, LogError> {
        let points = points(range.points);
        self.read(|reader| {
            let joined = "SELECT joined FROM governors WHERE id = ?1";
            let mut statement = reader.connection.prepare_cached(joined)?;
            let mut rows = statement.query([governor])?;
            let Some(row) = rows.next()? else { return Ok(None) };
            let joined = seconds(row.get(0)?);
            let (from, to) = span(range.from.unwrap_or(joined), range.to.unwrap_or(reader.present()?))?;
            let step = (to - from) / f64::from(points);
            let count = points as usize;
            let empty = || vec![None; count];
            let mut samples = Samples {
                times: (0..points).map(|point| from + f64::from(point) * step).collect(),
                load: empty(),
                memory: empty(),
                memory_budget: empty(),
                net_in: empty(),
                net_out: empty(),
                disk: empty(),
                running: empty(),
            };
            let text = "SELECT CAST((time - ?2) / ?4 AS INTEGER), AVG(load), AVG(memory), AVG(memory_budget), AVG(net_in), \
                        AVG(net_out), AVG(disk_read + disk_write), AVG(running) FROM samples \
                        WHERE governor = ?1 AND time >= ?2 AND time < ?3 GROUP BY 1";
            let mut statement = reader.connection.prepare_cached(text)?;
            let mut rows = statement.query(params![governor, from * 1e6, to * 1e6, step * 1e6])?;
            while let Some(row) = rows.next()? {
                let point = (row.get::<_, i64>(0)?.max(0) as usize).min(count - 1);
                samples.load[point] = row.get(1)?;
                samples.memory[point] = row.get(2)?;
                samples.memory_budget[point] = row.get(3)?;
                samples.net_in[point] = row.get(4)?;
                samples.net_out[point] = row.get(5)?;
                samples.disk[point] = row.get(6)?;
                samples.running[point] = row.get(7)?;
            }
            Ok(Some(samples))
        })
    }
}
