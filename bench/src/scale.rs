//! `rain-bench scale`: what the server's decisions cost, by the number of tasks, governors and sessions.
//!
//! The server's state machine alone, with governors that finish at once what they are given. Only the time inside of
//! `Server::handle` counts.

use crate::row::{Row, print};
use rain_model::graph::{Column, DataType, Kind, OutputSpec};
use rain_model::id::{ClientId, GovernorId, NONE, SessionId};
use rain_model::time::Time;
use rain_protocol::peer::{Finished, FromGovernor, Message, ObjectReport, TaskReport, TaskSet, ToGovernor};
use rain_server::{Action, Command, Effects, Event, NewConstant, Reply, Server, Submission};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

const CLIENT: ClientId = ClientId(1);
/// Cpus of each governor.
const CPUS: u32 = 16;
/// How long governors say that tasks took, seconds.
const DURATION: f32 = 0.001;
/// Tasks that one message of a governor reports at most, as governors do.
const REPORT_MAX: usize = 1024;

/// What the tasks of a graph have to do with each other.
#[derive(Clone, Copy, clap::ValueEnum, PartialEq)]
pub enum Graph {
    /// Nothing.
    Flat,
    /// Each but the first hundredth reads what another one makes.
    Chains,
    /// All read one constant.
    Broadcast,
    /// Each reads a hundred constants.
    Inputs,
    /// The last one reads what all others make.
    Reduction,
}

impl Graph {
    /// Constants and inputs: constants are the objects `0 .. constants`, then come the outputs in the order of their tasks.
    fn shape(self, tasks: u32) -> (u32, Column, Vec<u32>) {
        match self {
            Graph::Flat => (0, Column::Same(0), Vec::new()),
            Graph::Chains => {
                let chains = (tasks / 100).max(1);
                (
                    0,
                    Column::Each((0..tasks).map(|task| u32::from(task >= chains)).collect()),
                    (0..tasks - chains).collect(),
                )
            }
            Graph::Broadcast => (1, Column::Same(1), vec![0; tasks as usize]),
            Graph::Inputs => (100, Column::Same(100), (0..tasks).flat_map(|_| 0..100).collect()),
            Graph::Reduction => {
                let count = |task| if task + 1 == tasks { tasks - 1 } else { 0 };
                (0, Column::Each((0..tasks).map(count).collect()), (0..tasks - 1).collect())
            }
        }
    }

    fn submission(self, tasks: u32) -> Submission<u64> {
        let (constants, input_count, inputs) = self.shape(tasks);
        let constant = |object| NewConstant { object, content_type: None, size: 100, data: 0 };
        Submission {
            kinds: vec![kind()],
            count: tasks,
            kind: Column::Same(0),
            input_count,
            inputs: inputs.into(),
            first_output: Column::Each((constants..constants + tasks).collect()),
            configs: Default::default(),
            config: Column::Same(NONE),
            user: BTreeMap::new(),
            constants: (0..constants).map(constant).collect(),
            keep: Vec::new(),
        }
    }
}

fn kind() -> Kind {
    Kind {
        outputs: vec![OutputSpec { label: String::new(), data_type: DataType::Blob, content_type: None }],
        ..Kind::new("buildin/noop")
    }
}

/// The server, and what its governors have to do.
struct World {
    server: Server<u64>,
    effects: Effects<u64>,
    start: Instant,
    given: VecDeque<Given>,
    /// Governors that were asked to give tasks of a session back, and have not answered.
    asked_back: VecDeque<(GovernorId, SessionId)>,
    replies: Vec<Reply<u64>>,
    costs: Costs,
}

/// What a governor was given at once.
struct Given {
    governor: GovernorId,
    session: SessionId,
    tasks: Vec<TaskReport>,
    objects: Vec<ObjectReport>,
}

/// Time spent in the server.
#[derive(Clone, Copy, Default)]
struct Costs {
    time: Duration,
    worst: Duration,
    messages: u64,
    tasks: u64,
}

impl Costs {
    fn add(&mut self, took: Duration) {
        self.time += took;
        self.worst = self.worst.max(took);
    }
}

impl World {
    fn new(governors: u32) -> Self {
        let mut world = World {
            server: Server::new(),
            effects: Effects::new(),
            start: Instant::now(),
            given: VecDeque::new(),
            asked_back: VecDeque::new(),
            replies: Vec::new(),
            costs: Costs::default(),
        };
        for number in 0..governors {
            let message = FromGovernor::Joined { cpus: CPUS, resources: Default::default() };
            world.handle(Event::Governor { governor: GovernorId(number), message });
        }
        world.handle(Event::ClientConnected { client: CLIENT, python: None });
        world
    }

    /// Has the server handle an event and what governors answer at once to it; returns how long the server took for the event.
    fn handle(&mut self, event: Event<u64>) -> Duration {
        let took = self.turn(event);
        while let Some((governor, session)) = self.asked_back.pop_front() {
            // All of it has begun.
            let message = FromGovernor::GaveBack { session, tasks: Vec::new() };
            let took = self.turn(Event::Governor { governor, message });
            self.costs.add(took);
            self.costs.messages += 1;
        }
        took
    }

    /// Has the server handle an event, and carries out what follows; returns how long the server took.
    fn turn(&mut self, event: Event<u64>) -> Duration {
        let before = Instant::now();
        self.server.handle(Time::new(before - self.start), event, &mut self.effects);
        let took = before.elapsed();
        for action in self.effects.drain() {
            match action {
                Action::Send { governor, message: Message::ToGovernor(ToGovernor::Run(run)) } => {
                    let tasks: Vec<u32> = match run.tasks {
                        TaskSet::All => run.batch.tasks().collect(),
                        TaskSet::Some(tasks) => tasks,
                    };
                    let object = |object| ObjectReport { object, size: 100 };
                    for tasks in tasks.chunks(REPORT_MAX) {
                        let report = |task: &u32| TaskReport { task: *task, duration: DURATION, start: 1.0 };
                        self.given.push_back(Given {
                            governor,
                            session: run.session,
                            tasks: tasks.iter().map(report).collect(),
                            objects: tasks.iter().flat_map(|task| run.batch.outputs(*task)).map(object).collect(),
                        });
                    }
                }
                Action::Send { governor, message: Message::ToGovernor(ToGovernor::GiveBack { session, .. }) } => {
                    self.asked_back.push_back((governor, session));
                }
                Action::Reply { reply, .. } => self.replies.push(reply),
                Action::Send { .. } | Action::StoreResult(_) | Action::Content { .. } => {}
            }
        }
        took
    }

    /// Carries out a request; returns how long the server took.
    fn request(&mut self, command: Command<u64>) -> Duration {
        let took = self.handle(Event::Request { client: CLIENT, request: 1, command });
        assert!(!matches!(self.replies.last(), Some(Reply::Error(_))), "{:?}", self.replies.last());
        took
    }

    fn new_session(&mut self) -> SessionId {
        self.request(Command::NewSession { name: String::new() });
        match self.replies.pop() {
            Some(Reply::Session(session)) => session,
            other => panic!("no session: {other:?}"),
        }
    }

    /// Submits a graph; returns how long the server took.
    fn submit(&mut self, session: SessionId, graph: Graph, tasks: u32) -> Duration {
        let submission = Box::new(graph.submission(tasks));
        self.request(Command::Submit { session, submission })
    }

    /// Finishes what was given, `at_once` tasks a message, until nothing is left.
    fn finish_all(&mut self, at_once: usize) {
        loop {
            while self.server.has_more() {
                let took = self.handle(Event::Continue);
                self.costs.add(took);
            }
            let Some(mut given) = self.given.pop_front() else { break };
            while !given.tasks.is_empty() {
                let count = at_once.min(given.tasks.len());
                let finished = Finished {
                    session: given.session.0,
                    tasks: given.tasks.drain(..count).collect(),
                    objects: given.objects.drain(..count).collect(),
                    ..Finished::default()
                };
                let event = Event::Governor { governor: given.governor, message: FromGovernor::Finished(finished) };
                let took = self.handle(event);
                self.costs.add(took);
                self.costs.messages += 1;
                self.costs.tasks += count as u64;
            }
        }
    }
}

fn report(name: &str, costs: &Costs) {
    let tasks = costs.tasks.max(1) as f64;
    let messages = costs.messages.max(1) as f64;
    let nanoseconds = costs.time.as_secs_f64() * 1e9;
    print(&Row::one(format!("scale {name}, a task"), nanoseconds / tasks, "ns"));
    print(&Row::one(format!("scale {name}, a message"), nanoseconds / messages, "ns"));
    print(&Row::one(format!("scale {name}, worst turn"), costs.worst.as_secs_f64() * 1e3, "ms"));
}

/// A graph on so many governors, from the submit to the last task.
pub fn graph(graph: Graph, tasks: u32, governors: u32) {
    let mut world = World::new(governors);
    let session = world.new_session();
    world.costs = Costs::default();
    let took = world.submit(session, graph, tasks);
    let name = clap::ValueEnum::to_possible_value(&graph).expect("no value is skipped").get_name().to_owned();
    let name = format!("{name} {tasks} tasks, {governors} governors");
    print(&Row::one(format!("scale {name}, submit"), took.as_secs_f64() * 1e9 / f64::from(tasks), "ns/task"));
    world.finish_all(usize::MAX);
    assert_eq!(world.costs.tasks, u64::from(tasks), "each task is given to a governor once");
    report(&name, &world.costs);
}

/// One busy session beside so many that have used all governors and are idle: one task a message.
pub fn idle_sessions(sessions: u32, governors: u32) {
    let mut world = World::new(governors);
    for _ in 0..sessions {
        let session = world.new_session();
        world.submit(session, Graph::Flat, governors * 2);
        world.finish_all(usize::MAX);
    }
    let session = world.new_session();
    world.submit(session, Graph::Flat, 10_000);
    world.costs = Costs::default();
    world.finish_all(1);
    report(&format!("{sessions} idle sessions, {governors} governors"), &world.costs);
}

/// Cancelling the head of a chain of so many tasks, and a task without followers beside them.
pub fn cancel(tasks: u32) {
    let mut world = World::new(1);
    let session = world.new_session();
    world.submit(session, Graph::Chains, tasks);
    let name = format!("scale cancel among {tasks} tasks");
    let last = world.request(Command::Cancel { session, tasks: vec![tasks - 1] });
    print(&Row::one(format!("{name}, the last"), last.as_secs_f64() * 1e6, "us"));
    let head = world.request(Command::Cancel { session, tasks: vec![0] });
    print(&Row::one(format!("{name}, the head of a chain of 100"), head.as_secs_f64() * 1e6, "us"));
}

/// Waiting for any of so many tasks again and again, of which one finishes each time.
pub fn wait_some(tasks: u32) {
    let mut world = World::new(1);
    let session = world.new_session();
    world.submit(session, Graph::Flat, tasks);
    let mut left: Vec<u32> = (0..tasks).collect();
    let (mut time, rounds) = (Duration::ZERO, 200);
    for task in 0..rounds {
        time += world.request(Command::WaitSome { session, tasks: left.clone(), objects: Vec::new() });
        let finished = Finished {
            session: session.0,
            tasks: vec![TaskReport { task, duration: DURATION, start: 1.0 }],
            ..Finished::default()
        };
        let message = FromGovernor::Finished(finished);
        time += world.handle(Event::Governor { governor: GovernorId(0), message });
        left.remove(0);
    }
    let each = time.as_secs_f64() * 1e6 / f64::from(rounds);
    print(&Row::one(format!("scale wait_some over {tasks} tasks, one finishes"), each, "us"));
}

/// Prints the table, with graphs of up to so many tasks.
pub fn table(largest: u32) {
    for governors in [10, 100, 1000] {
        for shape in [Graph::Flat, Graph::Chains, Graph::Broadcast, Graph::Reduction] {
            for tasks in [10_000, 100_000, 1_000_000].into_iter().filter(|tasks| *tasks <= largest) {
                graph(shape, tasks, governors);
            }
        }
        graph(Graph::Inputs, 10_000, governors);
    }
    for (sessions, governors) in [(1, 10), (1000, 10), (1, 100), (1000, 100), (1, 1000), (100, 1000)] {
        idle_sessions(sessions, governors);
    }
    cancel(largest);
    wait_some(largest.min(100_000));
}
