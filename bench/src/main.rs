//! `rain-bench engine`: the engine alone, server and one local governor in this process, no client and no wire. `rain-bench
//! scale`: the server's decisions alone (`scale.rs`). `rain-bench logs`: the event log alone (`logs.rs`). `rain-bench spill`: objects that go to a disk (`spill.rs`).
//!
//! Each line of output is one JSON object `{"name", "value", "unit", "runs"}`, which `bench/run.py` collects.

mod logs;
mod row;
mod scale;
mod spill;

use crate::row::{Row, print};
use clap::{Parser, Subcommand, ValueEnum};
use rain_data::Object;
use rain_events::EventLog;
use rain_model::graph::{Column, DataType, Kind, OutputSpec};
use rain_model::id::{ClientId, GovernorId, NONE, SessionId};
use rain_model::time::Time;
use rain_protocol::peer::{FromGovernor, Message, ToGovernor};
use rain_runtime::{GovernorConfig, start_governor};
use rain_server::{Action, Command, Effects, Event, Reply, Server, Submission};
use rain_transport::{InProcessEndpoint, Peer, Transport, TransportEvent, Wake, connect_in_process};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::Thread;
use std::time::Instant;

#[derive(Parser)]
#[command(about = "benchmarks of Rain's engine")]
struct Arguments {
    #[command(subcommand)]
    command: What,
}

#[derive(Subcommand)]
enum What {
    /// No-op tasks through server, governor and pool.
    Engine {
        /// Tasks in one submit.
        #[arg(long, default_value_t = 1_000_000)]
        tasks: u32,
        #[arg(long, value_enum, default_value_t = Shape::Independent)]
        shape: Shape,
        #[arg(long, default_value_t = 5)]
        runs: usize,
        #[arg(long, default_value_t = 2)]
        workers: usize,
        #[arg(long, default_value_t = 1)]
        governors: usize,
        /// Run each graph in an engine without an event log and in one with it, in turns.
        #[arg(long)]
        log: bool,
    },
    /// The event log: writing finished tasks, their bytes, and how long questions take.
    Logs {
        #[arg(long, default_value_t = 1_000_000)]
        tasks: u32,
    },
    /// Objects that go to a disk because there is not memory enough, beside what `dd` writes there.
    Spill {
        #[arg(long, default_value = "/dev/shm")]
        memory: PathBuf,
        #[arg(long, default_value = "/var/tmp")]
        disk: PathBuf,
        #[arg(long, default_value_t = 512)]
        mebibytes: usize,
        #[arg(long, default_value_t = 5)]
        runs: usize,
    },
    /// The server's decisions: all of the table, or one graph of it.
    Scale {
        #[arg(long, value_enum)]
        graph: Option<scale::Graph>,
        #[arg(long, default_value_t = 100_000)]
        tasks: u32,
        #[arg(long, default_value_t = 10)]
        governors: u32,
        /// Tasks of the largest graphs of the table.
        #[arg(long, default_value_t = 1_000_000)]
        largest: u32,
    },
}

#[derive(Clone, Copy, ValueEnum, PartialEq)]
enum Shape {
    /// Tasks without inputs and outputs.
    Independent,
    /// As many chains as workers; each task reads the object of the one before it.
    Chains,
    /// Tasks of one input (a constant) and one output.
    Objects,
}

fn main() {
    match Arguments::parse().command {
        What::Engine { tasks, shape, runs, workers, governors, log } => {
            engine((tasks, shape), runs, (workers, governors), log);
        }
        What::Logs { tasks } => logs::measure(tasks),
        What::Spill { memory, disk, mebibytes, runs } => spill::measure(&memory, &disk, mebibytes, runs),
        What::Scale { graph: Some(graph), tasks, governors, .. } => scale::graph(graph, tasks, governors),
        What::Scale { largest, .. } => scale::table(largest),
    }
}

fn engine((tasks, shape): (u32, Shape), runs: usize, (workers, governors): (usize, usize), with_log: bool) {
    let directory = std::env::temp_dir().join(format!("rain-bench-log-{}", std::process::id()));
    let mut engines = vec![("", Engine::start(workers, governors, None), Vec::new())];
    if with_log {
        let log = logs::start(&directory);
        engines.push((" with event log", Engine::start(workers, governors, Some(log)), Vec::new()));
    }
    for _ in 0..runs {
        for (_, engine, times) in &mut engines {
            let submission = graph(tasks, shape, workers as u32 * governors as u32);
            times.push(engine.run(submission) / f64::from(tasks) * 1e9);
        }
    }
    let shape = shape.to_possible_value().expect("no value is skipped").get_name().to_owned();
    for (what, engine, times) in engines {
        engine.stop();
        print(&Row::median(format!("engine {shape} {tasks} tasks{what}"), "ns/task", times));
    }
    let _ = std::fs::remove_dir_all(directory);
}

fn graph(tasks: u32, shape: Shape, chains: u32) -> Submission<Arc<Object>> {
    let outputs = match shape {
        Shape::Independent => Vec::new(),
        _ => vec![OutputSpec { label: "output".into(), data_type: DataType::Blob, content_type: None }],
    };
    let kind = Kind { outputs, ..Kind::new("buildin/noop") };
    let constant = |object| rain_server::NewConstant {
        object,
        content_type: None,
        size: 0,
        data: Arc::new(Object::inline(Vec::new(), None)),
    };
    // Chains are interleaved: task t reads what task t - chains makes. Object 0 is the constant for the first ones.
    let (inputs, first_output, constants) = match shape {
        Shape::Independent => (Vec::new(), Column::Same(NONE), Vec::new()),
        Shape::Objects => (vec![0; tasks as usize], Column::Each((1..=tasks).collect()), vec![constant(0)]),
        Shape::Chains => {
            let inputs = (0..tasks).map(|task| if task < chains { 0 } else { task - chains + 1 }).collect();
            (inputs, Column::Each((1..=tasks).collect()), vec![constant(0)])
        }
    };
    Submission {
        kinds: vec![kind],
        count: tasks,
        kind: Column::Same(0),
        input_count: Column::Same(u32::from(shape != Shape::Independent)),
        inputs: inputs.into(),
        first_output,
        configs: Arc::default(),
        config: Column::Same(NONE),
        user: BTreeMap::new(),
        constants,
        keep: Vec::new(),
    }
}

/// Server on this thread, governors on theirs.
struct Engine {
    server: Server<Arc<Object>>,
    transport: InProcessEndpoint<Arc<Object>>,
    governors: Vec<rain_runtime::GovernorHandle>,
    effects: Effects<Arc<Object>>,
    log: Option<EventLog>,
    start: Instant,
    request: u64,
}

const CLIENT: ClientId = ClientId(1);

impl Engine {
    fn start(workers: usize, governors: usize, log: Option<EventLog>) -> Self {
        let me: Thread = std::thread::current();
        let wake: Wake = Arc::new(move || me.unpark());
        let (handles, senders): (Vec<_>, Vec<_>) = (0..governors as u32)
            .map(|number| {
                let config = GovernorConfig {
                    memory: Default::default(),
                    resources: Default::default(),
                    cpus: vec![None; workers],
                    workdir: std::env::temp_dir().join(format!(
                        "rain-bench-{}-{number}-{}",
                        std::process::id(),
                        log.is_some()
                    )),
                    executors: Vec::new(),
                    python: "python3".into(),
                    prestart: 0,
                };
                start_governor(GovernorId(number), config).expect("governor starts")
            })
            .unzip();
        let wakes = handles.iter().map(rain_runtime::GovernorHandle::wake).collect();
        let (transport, ends) = connect_in_process((wake, wakes));
        for (sender, end) in senders.into_iter().zip(ends) {
            sender.send(end).expect("governor waits for its end");
        }
        let mut server = Server::new();
        if log.is_some() {
            server.set_logged();
        }
        let mut engine = Self {
            server,
            log,
            transport,
            governors: handles,
            effects: Effects::new(),
            start: Instant::now(),
            request: 0,
        };
        let mut joined = 0;
        while joined < governors {
            joined += engine.take_messages().0;
        }
        engine.server.handle(
            engine.now(),
            Event::ClientConnected { client: CLIENT, python: None },
            &mut engine.effects,
        );
        engine
    }

    /// Handles what governors sent; how many joined, and the replies.
    fn take_messages(&mut self) -> (usize, Vec<Reply<Arc<Object>>>) {
        let mut joined = 0;
        let mut replies = Vec::new();
        while let Some(event) = self.transport.try_receive() {
            if let TransportEvent::Message { from: Peer::Governor(governor), message: Message::FromGovernor(message) } =
                event
            {
                joined += usize::from(matches!(message, FromGovernor::Joined { .. }));
                self.server.handle(self.now(), Event::Governor { governor, message }, &mut self.effects);
                replies.extend(self.carry_out());
            }
        }
        if let Some(log) = &mut self.log {
            log.flush();
        }
        if replies.is_empty() && joined == 0 {
            std::thread::park();
        }
        (joined, replies)
    }

    fn now(&self) -> Time {
        Time::new(self.start.elapsed())
    }

    fn carry_out(&mut self) -> Vec<Reply<Arc<Object>>> {
        let mut replies = Vec::new();
        if let Some(log) = &mut self.log {
            let time = logs::now();
            self.effects.drain_log().for_each(|entry| log.note(time, entry));
        }
        for action in self.effects.drain() {
            match action {
                Action::Reply { reply, .. } => replies.push(reply),
                Action::Send { governor, message } => self.transport.send(Peer::Governor(governor), message),
                Action::StoreResult(_) | Action::Content { .. } => unreachable!("nobody asks for it here"),
            }
        }
        replies
    }

    fn request(&mut self, command: Command<Arc<Object>>) -> Reply<Arc<Object>> {
        self.request += 1;
        self.server.handle(
            self.now(),
            Event::Request { client: CLIENT, request: self.request.into(), command },
            &mut self.effects,
        );
        let mut replies = self.carry_out();
        while replies.is_empty() {
            replies = self.take_messages().1;
        }
        replies.remove(0)
    }

    fn done(&mut self, command: Command<Arc<Object>>) {
        let reply = self.request(command);
        assert!(matches!(reply, Reply::Done), "{reply:?}");
    }

    /// Seconds from submit to the end of all tasks.
    fn run(&mut self, submission: Submission<Arc<Object>>) -> f64 {
        let session = match self.request(Command::NewSession { name: String::new() }) {
            Reply::Session(session) => session,
            other => panic!("no session: {other:?}"),
        };
        let start = Instant::now();
        self.done(Command::Submit { session, submission: Box::new(submission) });
        self.done(Command::WaitAll { session });
        let seconds = start.elapsed().as_secs_f64();
        self.close(session);
        seconds
    }

    fn close(&mut self, session: SessionId) {
        self.done(Command::CloseSession { session });
    }

    fn stop(mut self) {
        for number in 0..self.governors.len() as u32 {
            self.transport.send(Peer::Governor(GovernorId(number)), Message::ToGovernor(ToGovernor::Stop));
        }
        for governor in self.governors {
            governor.join();
        }
    }
}
