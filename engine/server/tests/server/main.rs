//! The server's state machine, driven by events: exact messages, then nothing left.

mod bounds;
mod cluster;
mod end_of_time;
mod fetching;
mod forgetting;
mod losing;
mod priorities;
mod random;
mod recovering;
mod resources;
mod scripts;
mod sharing;
mod watching;

use rain_model::graph::{Batch, Column, DataType, Kind, OutputSpec};
use rain_model::id::{ClientId, GovernorId, NONE, SessionId};
use rain_model::time::Time;
use rain_protocol::log::LogEntry;
use rain_protocol::peer::{
    Finished, Forget, FromGovernor, Message, ObjectReport, Run, TaskReport, TaskSet, ToGovernor,
};
use rain_server::{Action, Command, Effects, Event, Reply, RequestId, Server, Submission};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Content of objects in these tests.
pub type Content = u64;

pub struct Harness {
    pub server: Server<Content>,
    pub actions: Vec<Action<Content>>,
    pub log: Vec<LogEntry>,
    pub now: Time,
    request: RequestId,
}

pub const CLIENT: ClientId = ClientId(1);

impl Harness {
    /// A server with governors of these cpus and one client.
    pub fn new(cpus: &[u32]) -> Self {
        let mut harness =
            Self { server: Server::new(), actions: Vec::new(), log: Vec::new(), now: Time::default(), request: 0 };
        for (number, cpus) in cpus.iter().enumerate() {
            harness.governor(number as u32, FromGovernor::Joined { cpus: *cpus, resources: Default::default() });
        }
        harness.handle(Event::ClientConnected { client: CLIENT, python: None });
        harness
    }

    pub fn handle(&mut self, event: Event<Content>) {
        let mut effects = Effects::new();
        self.server.handle(self.now, event, &mut effects);
        self.actions.extend(effects.drain());
        self.log.extend(effects.drain_log());
    }

    pub fn governor(&mut self, number: u32, message: FromGovernor<Content>) {
        self.handle(Event::Governor { governor: GovernorId(number), message });
    }

    /// Sends a request and returns its number.
    pub fn request(&mut self, command: Command<Content>) -> RequestId {
        self.request += 1;
        self.handle(Event::Request { client: CLIENT, request: self.request, command });
        self.request
    }

    pub fn new_session(&mut self) -> SessionId {
        let request = self.request(Command::NewSession { name: String::new() });
        match self.take_reply(request) {
            Some(Reply::Session(session)) => session,
            other => panic!("no session: {other:?}"),
        }
    }

    /// The reply to a request, if there is one by now.
    pub fn take_reply(&mut self, number: RequestId) -> Option<Reply<Content>> {
        let is_it = |a: &Action<Content>| matches!(a, Action::Reply { request, .. } if *request == number);
        let index = self.actions.iter().position(is_it)?;
        match self.actions.remove(index) {
            Action::Reply { reply, .. } => Some(reply),
            Action::Send { .. } | Action::StoreResult(_) | Action::Content { .. } => None,
        }
    }

    /// Carries out a request that must succeed at once.
    pub fn done(&mut self, command: Command<Content>) {
        let request = self.request(command);
        match self.take_reply(request) {
            Some(Reply::Done) => {}
            other => panic!("expected done, got {other:?}"),
        }
    }

    /// Carries out a request that must fail at once; the error's text.
    pub fn refused(&mut self, command: Command<Content>) -> String {
        let request = self.request(command);
        match self.take_reply(request) {
            Some(Reply::Error(error)) => error.message.clone(),
            other => panic!("expected an error, got {other:?}"),
        }
    }

    /// Messages to governors since the last call.
    pub fn take_messages(&mut self) -> Vec<(u32, ToGovernor<Content>)> {
        let (messages, rest) = std::mem::take(&mut self.actions)
            .into_iter()
            .partition(|action| matches!(action, Action::Send { message: Message::ToGovernor(_), .. }));
        self.actions = rest;
        let unwrap = |action| match action {
            Action::Send { governor, message: Message::ToGovernor(message) } => (governor.0, message),
            other => panic!("not a message to a governor: {other:?}"),
        };
        Vec::into_iter(messages).map(unwrap).collect()
    }

    /// The messages in short, as scripts compare them.
    pub fn take_message_texts(&mut self) -> Vec<String> {
        self.take_messages().iter().map(|(governor, message)| format!("{governor}: {}", describe(message))).collect()
    }

    pub fn finish(&mut self, governor: u32, session: SessionId, tasks: &[u32], objects: &[u32]) {
        self.finish_with(governor, session, tasks, objects, 7);
    }

    /// The same with objects of this size, bytes.
    pub fn finish_with(&mut self, governor: u32, session: SessionId, tasks: &[u32], objects: &[u32], size: u32) {
        let tasks = tasks.iter().map(|task| TaskReport { task: *task, duration: 0.5, start: 100.0 }).collect();
        let objects = objects.iter().map(|object| ObjectReport { object: *object, size }).collect();
        let finished = Finished { session: session.0, tasks, objects, ..Finished::default() };
        self.governor(governor, FromGovernor::Finished(finished));
    }

    pub fn assert_nothing_left(&self) {
        assert!(self.actions.is_empty(), "left over: {:?}", self.actions);
    }
}

fn describe(message: &ToGovernor<Content>) -> String {
    match message {
        ToGovernor::OpenSession(open) => format!("open {}", open.session.0),
        ToGovernor::Run(Run { batch, tasks, constants, remote, pins, .. }) => {
            let tasks: Vec<u32> = match tasks {
                TaskSet::All => Batch::tasks(batch).collect(),
                TaskSet::Some(tasks) => tasks.clone(),
            };
            let constants: Vec<u32> = constants.iter().map(|(object, _)| *object).collect();
            let remote =
                remote.iter().map(|input| (input.object, input.holders.iter().map(|id| id.0).collect::<Vec<_>>()));
            let remote: Vec<(u32, Vec<u32>)> = remote.collect();
            format!("run {tasks:?} constants {constants:?} remote {remote:?} pins {pins:?}")
        }
        ToGovernor::CloseSession(session) => format!("close {}", session.0),
        ToGovernor::CancelTasks { tasks, .. } => format!("cancel {tasks:?}"),
        ToGovernor::CancelWaiting { tasks, .. } => format!("cancel waiting {tasks:?}"),
        ToGovernor::Unpin { objects, .. } => format!("unpin {objects:?}"),
        ToGovernor::Raise { tasks, .. } => format!("raise {tasks:?}"),
        ToGovernor::DropConfigs { batches, .. } => format!("drop configs {batches:?}"),
        ToGovernor::Forget(forget) => {
            let Forget { tasks, objects, batches, kinds, .. } = forget;
            format!("forget tasks {tasks:?} objects {objects:?} batches {batches:?} kinds {kinds:?}")
        }
        ToGovernor::GiveBack { count, .. } => format!("give back {count}"),
        ToGovernor::Fetch { object, .. } => format!("fetch {object}"),
        ToGovernor::EndOfWork { left } => format!("end of work in {left:?}"),
        ToGovernor::CaughtUp { ticket } => format!("caught up {ticket}"),
        ToGovernor::StopAwaiting { session, objects } => format!("stop awaiting {} {objects:?}", session.0),
        ToGovernor::Refused { why } => format!("refused: {why}"),
        ToGovernor::Stop => "stop".to_owned(),
    }
}

/// Cases of a property test: few in the short form, `PROPTEST_CASES` in the long one (`make stress`).
pub fn cases(short: u32) -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(short)
}

/// A kind with this number of outputs.
pub fn kind(cpus: u32, outputs: usize) -> Kind {
    let output = |n| OutputSpec { label: format!("o{n}"), data_type: DataType::Blob, content_type: None };
    Kind { cpus, outputs: (0..outputs).map(output).collect(), ..Kind::new("buildin/noop") }
}

/// A submit of tasks given by their inputs and their single output (`NONE`: no output), and constants.
pub fn submission(tasks: &[(&[u32], u32)], constants: &[u32], keep: &[u32]) -> Box<Submission<Content>> {
    Box::new(Submission {
        kinds: vec![kind(1, 0), kind(1, 1)],
        count: tasks.len() as u32,
        kind: Column::Each(tasks.iter().map(|(_, output)| u32::from(*output != NONE)).collect()),
        input_count: Column::Each(tasks.iter().map(|(inputs, _)| inputs.len() as u32).collect()),
        inputs: tasks.iter().flat_map(|(inputs, _)| inputs.iter().copied()).collect(),
        first_output: Column::Each(tasks.iter().map(|(_, output)| *output).collect()),
        configs: Arc::default(),
        config: Column::Same(NONE),
        user: BTreeMap::new(),
        constants: constants
            .iter()
            .map(|object| rain_server::NewConstant {
                object: *object,
                content_type: None,
                size: 3,
                data: u64::from(*object),
            })
            .collect(),
        keep: keep.to_vec(),
    })
}
