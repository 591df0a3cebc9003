//! How many tasks were over in each stretch of time, for stretches of several widths.

use crate::error::LogError;
use rusqlite::{Connection, params};
use std::collections::BTreeMap;

/// Widths of the stretches, microseconds, narrowest first: each is a multiple of the first.
pub const WIDTHS: [u64; 3] = [100_000, 2_000_000, 60_000_000];
/// Stretches of a width that are kept, but for the widest.
pub const KEPT: u64 = 50_000;

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    finished: u64,
    failed: u64,
    /// Nanoseconds in which they ran.
    busy: u64,
}

/// What was over since the last commit.
#[derive(Debug, Default)]
pub struct Rates {
    changed: BTreeMap<u64, Bucket>,
    last: u64,
    latest: Bucket,
}

impl Rates {
    fn at(&mut self, time: u64) -> &mut Bucket {
        let bucket = time / WIDTHS[0];
        if bucket != self.last {
            self.put_latest();
            self.last = bucket;
        }
        &mut self.latest
    }

    fn put_latest(&mut self) {
        let Bucket { finished, failed, busy } = std::mem::take(&mut self.latest);
        if finished + failed > 0 {
            let bucket = self.changed.entry(self.last).or_default();
            bucket.finished += finished;
            bucket.failed += failed;
            bucket.busy = bucket.busy.saturating_add(busy);
        }
    }

    /// A task was finished at `end`, microseconds since 1970, after so many nanoseconds.
    #[inline]
    pub fn finished(&mut self, end: u64, duration: u64) {
        let bucket = self.at(end);
        bucket.finished += 1;
        bucket.busy = bucket.busy.saturating_add(duration);
    }

    /// So many tasks were finished about then.
    pub fn folded(&mut self, time: u64, count: u64, busy: u64) {
        let bucket = self.at(time);
        bucket.finished += count;
        bucket.busy = bucket.busy.saturating_add(busy);
    }

    /// A task has failed.
    pub fn failed(&mut self, time: u64) {
        self.at(time).failed += 1;
    }

    /// Writes what has changed. `running` tasks are known to run now, which is `time`.
    ///
    /// # Errors
    /// When a row cannot be written.
    pub fn write(&mut self, connection: &Connection, time: u64, running: u64) -> Result<(), LogError> {
        self.put_latest();
        let text = "INSERT INTO rates (width, bucket, finished, failed, running, left) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
                    ON CONFLICT DO UPDATE SET finished = finished + excluded.finished, failed = failed + excluded.failed, \
                    running = MAX(running, excluded.running), left = MAX(left * ?7, excluded.left)";
        let mut statement = connection.prepare_cached(text)?;
        let changed = std::mem::take(&mut self.changed);
        for width in WIDTHS {
            let mut wider: BTreeMap<u64, Bucket> = BTreeMap::new();
            for (bucket, counts) in &changed {
                let sum = wider.entry(bucket * WIDTHS[0] / width).or_default();
                sum.finished += counts.finished;
                sum.failed += counts.failed;
                sum.busy = sum.busy.saturating_add(counts.busy);
            }
            let now = time / width;
            wider.entry(now).or_default();
            for (bucket, counts) in wider {
                // Of tasks that are quick it is not known when they run, only how long.
                let busy = counts.busy.div_ceil(1000 * width);
                let left = if bucket == now { running } else { 0 };
                statement.execute(params![
                    width as i64,
                    bucket as i64,
                    counts.finished as i64,
                    counts.failed as i64,
                    busy.max(left) as i64,
                    left as i64,
                    bucket != now
                ])?;
            }
        }
        Ok(())
    }

    /// Removes what is too old for its width.
    ///
    /// # Errors
    /// When rows cannot be removed.
    pub fn prune(connection: &Connection, time: u64) -> Result<(), LogError> {
        for width in &WIDTHS[..2] {
            let oldest = (time / width).saturating_sub(KEPT);
            connection
                .prepare_cached("DELETE FROM rates WHERE width = ?1 AND bucket < ?2")?
                .execute(params![*width as i64, oldest as i64])?;
        }
        Ok(())
    }
}
