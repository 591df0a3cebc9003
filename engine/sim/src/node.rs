//! A simulated governor: the real state machine, a pool and workers.

use crate::content::Data;
use crate::context::Context;
use crate::graph::Graph;
use crate::mutation::Mutation;
use crate::schedule::{Happening, Time};
use crate::shared_queues::SharedQueues;
use rain_governor::{Dialogue, EndOfWork, Event, Holdings, Reactor, Session, Sessions};
use rain_model::graph::Batch;
use rain_model::resources::{Grant, Supplies};
use rain_pool::ReadyTask;
use rain_protocol::peer::{BetweenGovernors, Finished, ToGovernor};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// What a link has brought to a governor.
#[derive(Debug)]
pub enum Arrived {
    Server(ToGovernor<Data>),
    Peer { from: u32, message: BetweenGovernors<Data> },
    PeerLost { peer: u32 },
}

/// A worker at an executor.
#[derive(Debug)]
pub struct Drive {
    pub session: u32,
    pub dialogue: Dialogue,
    /// Calls that the executor has; it is at the first of them.
    pub calls: VecDeque<u32>,
    /// The first of them has begun.
    pub is_at_it: bool,
    /// Whether further tasks may follow.
    pub goes_on: bool,
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
    /// What its task was given beside cpus.
    pub grant: Option<Arc<Grant>>,
}

/// See above.
pub struct Node {
    pub number: u32,
    pub cpus: u32,
    pub machine: Reactor<Graph, SharedQueues>,
    /// All sessions that it was told of; those that were closed are over.
    pub known: Vec<u32>,
    sessions: Arc<Sessions<Graph>>,
    pub queues: SharedQueues,
    pub workers: Vec<Worker>,
    pub arrived: VecDeque<Arrived>,
    pub reports: VecDeque<Event<Data>>,
    /// Whether the governor's thread has been rung for.
    pub is_rung: bool,
    pub stopped_until: Time,
    pub stalled_until: Time,
    pub full_until: Time,
    pub slowness: u64,
    /// How many cpus tasks use.
    pub busy: u32,
    /// What it has beside cpus.
    pub supplies: Supplies,
    pub holdings: Holdings,
}

impl Node {
    /// A governor that nobody knows yet; its workers are about to look for work.
    pub fn new(number: u32, cpus: u32, supplies: Supplies, context: &mut Context) -> Self {
        let worker = || Worker {
            doing: Doing::Looks,
            next: None,
            serial: 0,
            members: Vec::new(),
            finished: Finished::default(),
            grant: None,
        };
        for worker in 0..cpus as usize {
            context.after(1, Happening::WorkerTurn { governor: number, worker });
        }
        let sessions: Arc<Sessions<Graph>> = Arc::default();
        let queues = SharedQueues::new(cpus as usize);
        Self {
            number,
            cpus,
            machine: Reactor::new(sessions.clone(), queues.clone(), Arc::new(EndOfWork::default()), Arc::new(|_| {})),
            known: Vec::new(),
            sessions,
            queues,
            workers: (0..cpus).map(|_| worker()).collect(),
            arrived: VecDeque::new(),
            reports: VecDeque::new(),
            is_rung: false,
            stopped_until: 0,
            stalled_until: 0,
            full_until: 0,
            slowness: 1,
            busy: 0,
            holdings: Holdings::new(&supplies),
            supplies,
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
            let Some(worker) = self.queues.with(|queues| queues.wake()) else { return };
            self.rouse(worker, context);
        }
    }

    /// A session that is open here.
    pub fn session(&self, number: u32) -> Option<Arc<Session<Graph>>> {
        self.sessions.get(number)
    }

    /// All sessions that are open here.
    pub fn sessions(&self) -> impl Iterator<Item = Arc<Session<Graph>>> + '_ {
        self.known.iter().filter_map(|number| self.sessions.get(*number))
    }

    /// Whether a task is not to be run, or not any more.
    pub fn is_unwanted(&self, session: u32, task: u32) -> bool {
        self.session(session).is_none_or(|session| session.is_cancelled(task))
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

    /// A task begins on a worker with what it was given; false if others have some of it.
    pub fn hold(&mut self, worker: usize, task: ReadyTask, grant: Arc<Grant>, context: &Context) -> bool {
        let takes = context.has(Mutation::EarlyBegin) || self.holdings.take(task, &grant);
        if takes {
            self.workers[worker].grant = Some(grant);
        }
        takes
    }

    /// The task of a worker has ended: others may have what it had.
    pub fn let_go(&mut self, worker: usize, context: &mut Context) {
        let Some(grant) = self.workers[worker].grant.take() else { return };
        for task in self.holdings.give_back(&grant) {
            self.queues.with(|queues| queues.add(task, 1));
            self.wake(1, context);
        }
    }

    /// The task that a worker is at.
    pub fn current(&self, worker: usize) -> Option<(u32, u32)> {
        match &self.workers[worker].doing {
            Doing::Runs { session, task, .. } => Some((*session, *task)),
            Doing::Drives(drive) => drive.calls.front().map(|task| (drive.session, *task)),
            Doing::Looks | Doing::Sleeps | Doing::Gathers | Doing::Lends => None,
        }
    }
}

/// A time for the state machines.
pub fn since_beginning(now: Time) -> Duration {
    Duration::from_micros(now)
}
