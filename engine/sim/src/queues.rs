//! The ready tasks of a simulated governor, and who sleeps: what the pool's queues do, in one thread.

use rain_pool::ReadyTask;
use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};

/// A task of several cpus, and those who gather for the first of them.
#[derive(Debug, Default)]
pub struct Gang {
    queue: VecDeque<(ReadyTask, usize)>,
    pub gathered: Vec<usize>,
}

/// What a worker that offers its cpu is to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Joined {
    /// Nobody needs it.
    Dismissed,
    /// Wait until others have come.
    Gathers,
    /// Run this task with these workers.
    Leads { task: ReadyTask, members: Vec<usize> },
}

impl Gang {
    /// Whether free workers should come.
    pub fn is_wanted(&self) -> bool {
        !self.queue.is_empty()
    }

    /// The task that workers gather for.
    pub fn first(&self) -> Option<ReadyTask> {
        self.queue.front().map(|(task, _)| *task)
    }

    /// A free worker comes.
    pub fn join(&mut self, worker: usize) -> Joined {
        let Some(&(task, cpus)) = self.queue.front() else { return Joined::Dismissed };
        self.gathered.push(worker);
        if self.gathered.len() < cpus {
            return Joined::Gathers;
        }
        self.queue.pop_front();
        Joined::Leads { task, members: std::mem::take(&mut self.gathered) }
    }
}

/// See above.
#[derive(Debug)]
pub struct Queues {
    lanes: BTreeMap<u32, VecDeque<ReadyTask>>,
    /// By priority and order of arrival.
    ranked: BTreeMap<(Reverse<i32>, u64), ReadyTask>,
    arrivals: u64,
    own: Vec<Vec<ReadyTask>>,
    /// Workers that sleep; the last one is woken first.
    asleep: Vec<usize>,
    pub gang: Gang,
    /// The session whose task each worker has found last.
    last: Vec<u32>,
    workers: usize,
}

impl Queues {
    /// For so many workers.
    pub fn new(workers: usize) -> Self {
        Self {
            lanes: BTreeMap::new(),
            ranked: BTreeMap::new(),
            arrivals: 0,
            own: vec![Vec::new(); workers],
            asleep: Vec::new(),
            gang: Gang::default(),
            last: vec![0; workers],
            workers,
        }
    }

    /// Queues a ready task from outside, or one that goes behind what waits.
    pub fn add(&mut self, task: ReadyTask, priority: i32) {
        if priority == 0 {
            self.lanes.entry(task.session()).or_default().push_back(task);
        } else {
            self.arrivals += 1;
            self.ranked.insert((Reverse(priority), self.arrivals), task);
        }
    }

    /// Queues one that a worker will take next.
    pub fn add_own(&mut self, worker: usize, task: ReadyTask) {
        self.own[worker].push(task);
    }

    /// Queues one that takes several workers.
    pub fn add_wide(&mut self, task: ReadyTask, cpus: usize) {
        self.gang.queue.push_back((task, cpus.clamp(1, self.workers)));
    }

    /// Takes wide tasks out that are over; these, and the workers that gathered for the first if it was one of them.
    pub fn withdraw_wide(&mut self, mut is_over: impl FnMut(ReadyTask) -> bool) -> (Vec<ReadyTask>, Vec<usize>) {
        let first = self.gang.first();
        let (over, wanted) = self.gang.queue.drain(..).partition::<Vec<_>, _>(|(task, _)| is_over(*task));
        self.gang.queue = wanted.into();
        let is_same = first == self.gang.first();
        let dismissed = if is_same { Vec::new() } else { std::mem::take(&mut self.gang.gathered) };
        (over.into_iter().map(|(task, _)| task).collect(), dismissed)
    }

    /// A task of a priority above 0.
    fn urgent(&mut self) -> Option<ReadyTask> {
        let (key, _) = self.ranked.first_key_value()?;
        if key.0.0 > 0 { self.ranked.pop_first().map(|(_, task)| task) } else { None }
    }

    /// A task from outside; sessions take turns after this one.
    fn next_of_lanes(&mut self, last: u32) -> Option<ReadyTask> {
        let after = self.lanes.range(last + 1..).map(|(session, _)| *session).next();
        let session = after.or_else(|| self.lanes.keys().next().copied())?;
        let lane = self.lanes.get_mut(&session)?;
        let task = lane.pop_front();
        if lane.is_empty() {
            self.lanes.remove(&session);
        }
        task
    }

    /// A task that goes before `next`.
    pub fn before(&mut self, _next: ReadyTask) -> Option<ReadyTask> {
        self.urgent()
    }

    /// A ready task from anywhere.
    pub fn find(&mut self, worker: usize) -> Option<ReadyTask> {
        let found = self
            .urgent()
            .or_else(|| self.own[worker].pop())
            .or_else(|| self.next_of_lanes(self.last[worker]))
            .or_else(|| self.steal(worker))
            .or_else(|| self.ranked.pop_first().map(|(_, task)| task))?;
        self.last[worker] = found.session();
        Some(found)
    }

    fn steal(&mut self, worker: usize) -> Option<ReadyTask> {
        let victim = (1..self.workers).map(|step| (worker + step) % self.workers).find(|v| !self.own[*v].is_empty())?;
        Some(self.own[victim].remove(0))
    }

    /// Takes out ready tasks of a session that are wanted, up to `count`; those with a priority stay.
    pub fn take_back(&mut self, session: u32, count: usize, mut is_wanted: impl FnMut(u32) -> bool) -> Vec<u32> {
        let mut taken = Vec::new();
        let mut stays = |task: &ReadyTask| {
            let takes = task.session() == session && taken.len() < count && is_wanted(task.task());
            if takes {
                taken.push(task.task());
            }
            !takes
        };
        self.lanes.values_mut().for_each(|lane| lane.retain(&mut stays));
        self.own.iter_mut().for_each(|own| own.retain(&mut stays));
        self.lanes.retain(|_, lane| !lane.is_empty());
        taken
    }

    /// Gives ready tasks of a session other priorities.
    pub fn raise(&mut self, session: u32, priorities: &BTreeMap<u32, i32>) {
        let is_its = |task: &ReadyTask| task.session() == session && priorities.contains_key(&task.task());
        let mut raised: Vec<ReadyTask> = Vec::new();
        for lane in self.lanes.values_mut() {
            raised.extend(lane.iter().filter(|task| is_its(task)));
            lane.retain(|task| !is_its(task));
        }
        self.lanes.retain(|_, lane| !lane.is_empty());
        for own in &mut self.own {
            raised.extend(own.iter().filter(|task| is_its(task)));
            own.retain(|task| !is_its(task));
        }
        raised.extend(self.ranked.values().filter(|task| is_its(task)));
        self.ranked.retain(|_, task| !is_its(task));
        for task in raised {
            self.add(task, priorities[&task.task()]);
        }
    }

    /// Whether there is something for a worker.
    pub fn has_work(&self) -> bool {
        self.gang.is_wanted() || self.queued() > 0
    }

    /// How many tasks of one cpu are ready.
    pub fn queued(&self) -> usize {
        let lanes: usize = self.lanes.values().map(VecDeque::len).sum();
        lanes + self.ranked.len() + self.own.iter().map(Vec::len).sum::<usize>()
    }

    /// How many workers sleep.
    pub fn asleep(&self) -> usize {
        self.asleep.len()
    }

    /// A worker goes to sleep.
    pub fn sleep(&mut self, worker: usize) {
        self.asleep.push(worker);
    }

    /// A worker to be woken, if one sleeps.
    pub fn wake(&mut self) -> Option<usize> {
        self.asleep.pop()
    }
}
