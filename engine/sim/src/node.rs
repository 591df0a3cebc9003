//! A simulated governor: the real state machine, a pool and workers.

use crate::content::Data;
use crate::context::Context;
use crate::queues::Queues;
use crate::schedule::{Happening, Time};
use crate::session::Session;
use rain_governor::{Event, Governor};
use rain_model::graph::Batch;
use rain_pool::ReadyTask;
use rain_protocol::peer::{BetweenGovernors, Finished, ToGovernor};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// What a link has brought to a governor.
#[derive(Debug)]
pub enum Arrived {
    Server(ToGovernor<Data>),
    Peer { from: u32, message: BetweenGovernors<Data> },
    PeerLost { peer: u32 },
}

/// A call that an executor has.
#[derive(Clone, Debug)]
pub struct Call {
    pub task: u32,
    pub batch: Arc<Batch>,
}

/// A worker at an executor.
#[derive(Debug)]
pub struct Drive {
    pub session: u32,
    /// The executor is at the first of them.
    pub in_flight: VecDeque<Call>,
    /// Whether further tasks may follow.
    pub goes_on: bool,
    pub is_used_up: bool,
    pub has_answered: bool,
}

/// What a worker does.
#[derive(Debug)]
pub enum Doing {
    /// It is about to look for something to do.
    Looks,
    Sleeps,
    /// It waits for others who are to run a task of several cpus with it.
    Gathers,
    /// It has lent its cpu to the leader of a group.
    Lends,
    /// It runs a built-in task.
    Runs {
        session: u32,
        task: u32,
        batch: Arc<Batch>,
    },
    Drives(Drive),
}

/// One cpu.
#[derive(Debug)]
pub struct Worker {
    pub doing: Doing,
    pub next: Option<ReadyTask>,
    /// Number of what it does, so that what is said of something earlier is not heeded.
    pub serial: u64,
    /// The group that it leads, itself among them.
    pub members: Vec<usize>,
    /// What it has not reported yet.
    pub finished: Finished,
}

/// See above.
pub struct Node {
    pub number: u32,
    pub cpus: u32,
    pub machine: Governor,
    pub sessions: BTreeMap<u32, Session>,
    pub queues: Queues,
    pub workers: Vec<Worker>,
    pub arrived: VecDeque<Arrived>,
    pub reports: VecDeque<Event<Data>>,
    pub taken_back: VecDeque<Event<Data>>,
    /// Whether the governor's thread has been rung for.
    pub is_rung: bool,
    pub stopped_until: Time,
    pub stalled_until: Time,
    pub full_until: Time,
    pub slowness: u64,
    /// How many cpus tasks use.
    pub busy: u32,
}

impl Node {
    /// A governor that nobody knows yet; its workers are about to look for work.
    pub fn new(number: u32, cpus: u32, context: &mut Context) -> Self {
        let worker = || Worker {
            doing: Doing::Looks,
            next: None,
            serial: 0,
            members: Vec::new(),
            finished: Finished::default(),
        };
        for worker in 0..cpus as usize {
            context.after(1, Happening::WorkerTurn { governor: number, worker });
        }
        Self {
            number,
            cpus,
            machine: Governor::new(),
            sessions: BTreeMap::new(),
            queues: Queues::new(cpus as usize),
            workers: (0..cpus).map(|_| worker()).collect(),
            arrived: VecDeque::new(),
            reports: VecDeque::new(),
            taken_back: VecDeque::new(),
            is_rung: false,
            stopped_until: 0,
            stalled_until: 0,
            full_until: 0,
            slowness: 1,
            busy: 0,
        }
    }

    /// Has the governor's thread look for events.
    pub fn ring(&mut self, context: &mut Context) {
        if !std::mem::replace(&mut self.is_rung, true) {
            let delay = (1 + context.turns.below(20)) * self.slowness;
            context.after(delay, Happening::GovernorTurn { governor: self.number });
        }
    }

    /// Has a worker look for something to do.
    pub fn rouse(&mut self, worker: usize, context: &mut Context) {
        self.workers[worker].doing = Doing::Looks;
        self.workers[worker].serial += 1;
        let delay = (1 + context.turns.below(8)) * self.slowness;
        context.after(delay, Happening::WorkerTurn { governor: self.number, worker });
    }

    /// Wakes up to `count` sleeping workers.
    pub fn wake(&mut self, count: usize, context: &mut Context) {
        for _ in 0..count {
            let Some(worker) = self.queues.wake() else { return };
            self.rouse(worker, context);
        }
    }

    /// Queues a ready task from outside of the workers, and wakes one for it.
    pub fn queue(&mut self, session: u32, task: u32, context: &mut Context) {
        self.queue_silently(session, task);
        self.wake(1, context);
    }

    /// Queues a ready task and wakes nobody.
    pub fn queue_silently(&mut self, session: u32, task: u32) {
        let priority = self.sessions.get(&session).map_or(0, |session| session.priority(task));
        self.queues.add(ReadyTask::new(session, task), priority);
    }

    /// A worker tells the governor what it has finished.
    pub fn flush(&mut self, worker: usize, context: &mut Context) {
        let finished = &mut self.workers[worker].finished;
        if !finished.tasks.is_empty() {
            let finished = std::mem::take(finished);
            self.report(Event::Finished(finished), context);
        }
    }

    /// A worker tells the governor something.
    pub fn report(&mut self, event: Event<Data>, context: &mut Context) {
        self.reports.push_back(event);
        self.ring(context);
    }

    /// The task that a worker is at.
    pub fn current(&self, worker: usize) -> Option<(u32, u32, Arc<Batch>)> {
        match &self.workers[worker].doing {
            Doing::Runs { session, task, batch } => Some((*session, *task, batch.clone())),
            Doing::Drives(drive) => drive.in_flight.front().map(|call| (drive.session, call.task, call.batch.clone())),
            Doing::Looks | Doing::Sleeps | Doing::Gathers | Doing::Lends => None,
        }
    }
}
