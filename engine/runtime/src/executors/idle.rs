//! Executor processes that have nothing to do, and which of them a task gets.

use super::key::{ExecutorKey, Granted};
use rain_exec::ExecutorSpec;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a process is kept that nobody uses.
const KEPT_TIME_MAX: Duration = Duration::from_secs(600);
/// How long one is kept that holds much memory.
const LARGE_KEPT_TIME_MAX: Duration = Duration::from_secs(60);

/// Idle processes, the one that was used last at the end.
pub(super) struct Idle<P> {
    entries: Vec<Entry<P>>,
    used_max: usize,
}

struct Entry<P> {
    spec: Arc<ExecutorSpec>,
    /// What it may run; `None` while it has run nothing and may run anything of its executor.
    key: Option<Arc<ExecutorKey>>,
    /// The worker that used it last.
    worker: usize,
    since: Instant,
    process: P,
}

/// A process that was idle.
pub(super) struct Taken<P> {
    pub(super) process: P,
    /// It had run nothing.
    pub(super) is_unused: bool,
}

impl<P> Idle<P> {
    /// Keeps at most `used_max` processes that have run something.
    pub(super) fn new(used_max: usize) -> Self {
        Self { entries: Vec::new(), used_max }
    }

    /// A process for tasks of this key: one that `worker` used, else the one that was used last, else one that has run nothing.
    pub(super) fn take(&mut self, key: &ExecutorKey, worker: usize) -> Option<Taken<P>> {
        let fits = |entry: &Entry<P>| entry.key.as_deref() == Some(key);
        let own = self.entries.iter().rposition(|entry| fits(entry) && entry.worker == worker);
        let place = own.or_else(|| self.entries.iter().rposition(fits)).or_else(|| {
            let may_be_any = |entry: &Entry<P>| entry.key.is_none() && Arc::ptr_eq(&entry.spec, &key.spec);
            self.entries.iter().position(|entry| may_be_any(entry) && key.granted.is_none())
        })?;
        let entry = self.entries.remove(place);
        Some(Taken { process: entry.process, is_unused: entry.key.is_none() })
    }

    /// Adds a process that `worker` has used; returns the one that was idle longest if they are too many now.
    pub(super) fn put(&mut self, key: Arc<ExecutorKey>, worker: usize, now: Instant, process: P) -> Option<P> {
        let spec = key.spec.clone();
        self.entries.push(Entry { spec, key: Some(key), worker, since: now, process });
        let is_used = |entry: &Entry<P>| entry.key.is_some();
        if self.entries.iter().filter(|entry| is_used(entry)).count() <= self.used_max {
            return None;
        }
        let oldest = self.entries.iter().position(is_used)?;
        Some(self.entries.remove(oldest).process)
    }

    /// Adds a process that may run anything of its executor.
    pub(super) fn add_unused(&mut self, spec: Arc<ExecutorSpec>, now: Instant, process: P) {
        self.entries.push(Entry { spec, key: None, worker: 0, since: now, process });
    }

    /// How many have run nothing, of those with this specification.
    pub(super) fn unused(&self, spec: &Arc<ExecutorSpec>) -> usize {
        self.entries.iter().filter(|entry| entry.key.is_none() && Arc::ptr_eq(&entry.spec, spec)).count()
    }

    /// Takes out those that have had some of what `key` is given, and are not for its tasks.
    pub(super) fn take_others(&mut self, key: &ExecutorKey, granted: &Granted) -> Vec<P> {
        let is_other = |entry: &mut Entry<P>| {
            let other = entry.key.as_ref().filter(|other| ***other != *key).and_then(|other| other.granted.as_ref());
            other.is_some_and(|other| !other.places.is_disjoint(&granted.places))
        };
        self.entries.extract_if(.., is_other).map(|entry| entry.process).collect()
    }

    /// Takes out those for which `is_over` says so.
    pub(super) fn take_over(&mut self, mut is_over: impl FnMut(&mut P) -> bool) -> Vec<P> {
        self.entries.extract_if(.., |entry| is_over(&mut entry.process)).map(|entry| entry.process).collect()
    }

    /// Takes out those that nobody has used for long; those of `kept` that have run nothing stay.
    pub(super) fn take_expired(
        &mut self,
        now: Instant,
        kept: Option<&Arc<ExecutorSpec>>,
        mut is_large: impl FnMut(&P) -> bool,
    ) -> Vec<P> {
        let is_expired = |entry: &mut Entry<P>| {
            let idle = now.saturating_duration_since(entry.since);
            match &entry.key {
                None if kept.is_some_and(|kept| Arc::ptr_eq(kept, &entry.spec)) => false,
                _ => idle >= KEPT_TIME_MAX || (idle >= LARGE_KEPT_TIME_MAX && is_large(&entry.process)),
            }
        };
        self.entries.extract_if(.., is_expired).map(|entry| entry.process).collect()
    }

    /// Takes out all.
    pub(super) fn take_all(&mut self) -> Vec<P> {
        self.entries.drain(..).map(|entry| entry.process).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rain_exec::python_spec;
    use std::path::Path;

    fn key(spec: &Arc<ExecutorSpec>, process: &str, cpus: u32) -> Arc<ExecutorKey> {
        Arc::new(ExecutorKey { spec: spec.clone(), process: process.into(), cpus, granted: None })
    }

    fn granted(key: &ExecutorKey, places: &[u32]) -> Arc<ExecutorKey> {
        let places = places.iter().map(|place| ("gpus".to_owned(), *place)).collect();
        Arc::new(key.with_grant(1, Arc::new(Granted { environment: Vec::new(), places })))
    }

    fn taken(idle: &mut Idle<u32>, key: &ExecutorKey, worker: usize) -> Option<(u32, bool)> {
        idle.take(key, worker).map(|taken| (taken.process, taken.is_unused))
    }

    #[test]
    fn a_process_runs_tasks_of_one_client_and_one_width() {
        let (python, other) = (Arc::new(python_spec(Path::new("/a"))), Arc::new(python_spec(Path::new("/b"))));
        let now = Instant::now();
        let mut idle = Idle::new(8);
        for (number, worker) in [(1, 0), (2, 1), (3, 0)] {
            assert_eq!(idle.put(key(&python, "x", 1), worker, now, number), None);
        }
        idle.add_unused(python.clone(), now, 4);
        for strange in [key(&other, "x", 1), key(&other, "", 1)] {
            assert_eq!(taken(&mut idle, &strange, 0), None);
        }
        assert_eq!(idle.unused(&python), 1);
        assert_eq!(taken(&mut idle, &key(&python, "x", 2), 0), Some((4, true)));
        assert_eq!(taken(&mut idle, &key(&python, "x", 2), 0), None);
        assert_eq!(taken(&mut idle, &key(&python, "y", 1), 0), None);
        let own = key(&python, "x", 1);
        assert_eq!(
            [1, 1, 1].map(|worker| taken(&mut idle, &own, worker)),
            [Some((2, false)), Some((3, false)), Some((1, false))]
        );
        assert_eq!((taken(&mut idle, &own, 0), idle.unused(&python)), (None, 0));
    }

    #[test]
    fn a_process_has_the_same_resources_all_its_life_and_gives_way_to_others_with_the_same() {
        let (python, now) = (Arc::new(python_spec(Path::new("/a"))), Instant::now());
        let plain = key(&python, "", 1);
        let [first, second, both] = [&[0][..], &[1], &[0, 1]].map(|places| granted(&plain, places));
        let mut idle = Idle::new(8);
        idle.add_unused(python.clone(), now, 9);
        for (key, process) in [(&plain, 1), (&first, 2), (&second, 3), (&both, 4)] {
            assert_eq!(idle.put(key.clone(), 0, now, process), None);
        }
        assert_eq!(taken(&mut idle, &second, 0), Some((3, false)));
        // One that has run nothing has been started without.
        assert_eq!(taken(&mut idle, &second, 0), None);
        let others = |idle: &mut Idle<u32>, key: &ExecutorKey| idle.take_others(key, key.granted.as_ref().unwrap());
        assert_eq!(others(&mut idle, &second), [4]);
        assert!(others(&mut idle, &first).is_empty());
        assert_eq!(idle.take_all(), [9, 1, 2]);
    }

    #[test]
    fn few_are_kept_and_not_for_ever() {
        let (python, other) = (Arc::new(python_spec(Path::new("/a"))), Arc::new(python_spec(Path::new("/b"))));
        let start = Instant::now();
        let mut idle: Idle<u32> = Idle::new(2);
        idle.add_unused(python.clone(), start, 10);
        idle.add_unused(other.clone(), start, 11);
        assert_eq!(idle.put(key(&python, "a", 1), 0, start, 1), None);
        assert_eq!(idle.put(key(&python, "b", 1), 0, start, 2), None);
        assert_eq!(idle.put(key(&python, "c", 1), 0, start + LARGE_KEPT_TIME_MAX, 3), Some(1));
        let mut expired = |seconds| {
            let now = start + Duration::from_secs(seconds);
            idle.take_expired(now, Some(&python), |process| *process != 3)
        };
        assert!(expired(59).is_empty());
        assert_eq!(expired(60), [11, 2]);
        assert!(expired(659).is_empty());
        assert_eq!(expired(660), [3]);
        assert!(idle.take_over(|process| *process == 11).is_empty());
        assert_eq!(idle.take_all(), [10]);
    }
}
