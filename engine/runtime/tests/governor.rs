//! A governor with its threads; the test is its server. What the machines decide is tested with them; here is what only threads show.

use rain_data::Object;
use rain_model::graph::{Batch, BatchKind, Column, Kind, Offsets};
use rain_model::id::{GovernorId, SessionId};
use rain_protocol::msgpack::append_value;
use rain_protocol::peer::{FromGovernor, Message, OpenSession, Run, TaskSet, ToGovernor};
use rain_runtime::{GovernorConfig, GovernorEnd, GovernorHandle, start_governor};
use rain_transport::{InProcessEndpoint, Peer, Transport, TransportEvent, Wake, connect_in_process};
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;
use std::thread::Thread;
use std::time::{Duration, Instant};

/// Longest wait for what should come at once: a bound against hanging.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the tests wait for.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Joined(u32),
    Started(u32, u32),
    Finished(u32, u32),
    Failed(u32, u32, String),
    Other(String),
}

struct Governor {
    handle: GovernorHandle,
    transport: InProcessEndpoint<Arc<Object>>,
    directory: tempfile::TempDir,
    said: Vec<Said>,
}

impl Governor {
    fn start(workers: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = GovernorConfig {
            memory: Default::default(),
            resources: Default::default(),
            cpus: vec![None; workers],
            workdir: directory.path().join("work"),
            executors: Vec::new(),
            python: "python3".into(),
            prestart: 0,
        };
        let me: Thread = std::thread::current();
        let wake: Wake = Arc::new(move || me.unpark());
        let (handle, sender) = start_governor(GovernorId(0), config).unwrap();
        let (transport, mut ends) = connect_in_process((wake, vec![handle.wake()]));
        sender.send(ends.remove(0)).unwrap();
        let mut governor = Self { handle, transport, directory, said: Vec::new() };
        governor.wait_for(&Said::Joined(workers as u32));
        governor
    }

    fn send(&mut self, message: ToGovernor<Arc<Object>>) {
        self.transport.send(Peer::Governor(GovernorId(0)), Message::ToGovernor(message));
    }

    fn open(&mut self, session: u32) {
        self.send(ToGovernor::OpenSession(OpenSession { session: SessionId(session), python: None }));
    }

    fn run(&mut self, session: u32, batch: Batch, constants: Vec<(u32, Arc<Object>)>) {
        let (batch, tasks) = (Arc::new(batch), TaskSet::All);
        let session = SessionId(session);
        self.send(ToGovernor::Run(Run {
            session,
            batch,
            tasks,
            constants,
            remote: Vec::new(),
            pins: Vec::new(),
            grants: Vec::new(),
        }));
    }

    /// Takes what has come, and waits for this.
    fn wait_for(&mut self, wanted: &Said) {
        self.wait_until(|said| said == wanted, &format!("{wanted:?}"));
    }

    fn wait_until(&mut self, is_wanted: impl Fn(&Said) -> bool, what: &str) {
        let end = Instant::now() + PATIENCE;
        while !self.said.iter().any(&is_wanted) {
            match self.transport.try_receive() {
                Some(TransportEvent::Message { message: Message::FromGovernor(message), .. }) => self.take(message),
                Some(other) => panic!("{other:?}"),
                None => std::thread::park_timeout(Duration::from_millis(100)),
            }
            assert!(Instant::now() < end, "no {what}, only {:?}", self.said);
        }
    }

    fn take(&mut self, message: FromGovernor<Arc<Object>>) {
        match message {
            FromGovernor::Joined { cpus, .. } => self.said.push(Said::Joined(cpus)),
            FromGovernor::Started { session, task, .. } => self.said.push(Said::Started(session.0, task)),
            FromGovernor::Finished(finished) => {
                let tasks = finished.tasks.iter().map(|task| Said::Finished(finished.session, task.task));
                self.said.extend(tasks);
            }
            FromGovernor::Failed { session, task, failure } => {
                self.said.push(Said::Failed(session.0, task, failure.message));
            }
            other => self.said.push(Said::Other(format!("{other:?}"))),
        }
    }

    /// Stops it; everything that it had is gone.
    fn stop(mut self) {
        self.send(ToGovernor::Stop);
        assert_eq!(self.handle.join(), GovernorEnd::Asked);
        assert!(!self.directory.path().join("work").exists());
    }
}

fn kind(task_type: &str) -> Kind {
    Kind::new(task_type)
}

fn program(command: &str) -> Kind {
    #[derive(Serialize)]
    struct Config<'a> {
        args: [&'a str; 1],
        shell: bool,
    }
    let mut config = Vec::new();
    append_value(&mut config, &Config { args: [command], shell: true });
    Kind { config, ..kind("buildin/execute") }
}

/// Tasks of one kind, each of which reads these objects.
fn tasks(first: u32, count: u32, kind: Kind, inputs: &[u32]) -> Batch {
    Batch {
        count,
        kinds: Arc::new([BatchKind { number: first, kind: Arc::new(kind) }]),
        input_offsets: Offsets::Every(inputs.len() as u32),
        inputs: (0..count).flat_map(|_| inputs.iter().copied()).collect(),
        kind: Column::Same(0),
        ..Batch::empty(first)
    }
}

fn lines(path: &Path) -> usize {
    std::fs::read_to_string(path).map_or(0, |text| text.lines().count())
}

#[test]
fn a_wide_task_that_nobody_wants_any_more_keeps_no_worker() {
    let mut governor = Governor::start(2);
    (1..=5).for_each(|session| governor.open(session));
    for (session, cancels) in [(2, false), (4, true)] {
        governor.run(1, tasks(session, 1, program("sleep 1000"), &[]), Vec::new());
        governor.wait_for(&Said::Started(1, session));
        governor.run(session, tasks(0, 1, Kind { cpus: 2, ..kind("buildin/noop") }, &[]), Vec::new());
        governor.send(match cancels {
            false => ToGovernor::CloseSession(SessionId(session)),
            true => ToGovernor::CancelTasks { session: SessionId(session), tasks: vec![0] },
        });
        governor.run(session + 1, tasks(0, 1, kind("buildin/noop"), &[]), Vec::new());
        governor.wait_for(&Said::Finished(session + 1, 0));
        governor.send(ToGovernor::CancelTasks { session: SessionId(1), tasks: vec![session] });
    }
    governor.stop();
}

#[test]
fn a_wide_task_waits_for_a_long_one_and_others_run_meanwhile() {
    let mut governor = Governor::start(2);
    (1..=3).for_each(|session| governor.open(session));
    let wanted = governor.directory.path().join("wanted");
    let command = format!("until [ -e {} ]; do sleep 0.01; done", wanted.display());
    governor.run(1, tasks(0, 1, program(&command), &[]), Vec::new());
    governor.wait_for(&Said::Started(1, 0));
    governor.run(2, tasks(0, 1, Kind { cpus: 2, ..kind("buildin/noop") }, &[]), Vec::new());
    // However long the first task takes, these do not wait for it.
    governor.run(3, tasks(0, 1000, kind("buildin/noop"), &[]), Vec::new());
    governor.wait_for(&Said::Finished(3, 999));
    assert!(!governor.said.contains(&Said::Finished(2, 0)));
    std::fs::write(&wanted, "").unwrap();
    governor.wait_for(&Said::Finished(2, 0));
    governor.stop();
}

#[test]
fn a_constant_that_comes_after_its_reader_wakes_a_worker() {
    let mut governor = Governor::start(2);
    governor.open(1);
    governor.run(1, tasks(0, 1, program("sleep 1000"), &[]), Vec::new());
    governor.wait_for(&Said::Started(1, 0));
    governor.run(1, tasks(1, 1, kind("buildin/noop"), &[7]), Vec::new());
    governor.run(1, Batch::empty(2), vec![(7, Arc::new(Object::inline(b"x".to_vec(), None)))]);
    governor.wait_for(&Said::Finished(1, 1));
    governor.send(ToGovernor::CloseSession(SessionId(1)));
    governor.stop();
}

#[test]
fn a_task_that_fails_is_run_again_as_often_as_it_may_and_others_are_not_kept() {
    let mut governor = Governor::start(1);
    (1..=2).for_each(|session| governor.open(session));
    let log = governor.directory.path().join("attempts");
    let failing = |retries| Kind { retries, ..program(&format!("echo x >> {}; exit 3", log.display())) };
    governor.run(1, tasks(0, 1, failing(4), &[]), Vec::new());
    governor.wait_until(|said| matches!(said, Said::Failed(1, 0, message) if message.contains('3')), "failure");
    assert_eq!(lines(&log), 5);
    // One that never ends to fail leaves its cpu to others.
    governor.run(2, tasks(0, 1, failing(u32::MAX), &[]), Vec::new());
    governor.run(2, tasks(1, 100, kind("buildin/noop"), &[]), Vec::new());
    governor.wait_for(&Said::Finished(2, 100));
    governor.send(ToGovernor::CancelTasks { session: SessionId(2), tasks: vec![0] });
    governor.run(2, tasks(200, 1, kind("buildin/noop"), &[]), Vec::new());
    governor.wait_for(&Said::Finished(2, 200));
    governor.stop();
}

#[test]
fn messages_have_their_turn_while_workers_report_all_the_time() {
    let mut governor = Governor::start(2);
    governor.open(1);
    // Each of them is reported by itself, because it may take long.
    governor.run(1, tasks(0, 3000, program(":"), &[]), Vec::new());
    governor.wait_for(&Said::Started(1, 0));
    governor.send(ToGovernor::CancelTasks { session: SessionId(1), tasks: (0..3000).collect() });
    governor.send(ToGovernor::Fetch { session: SessionId(1), object: 0, ticket: 9 });
    governor.wait_until(|said| matches!(said, Said::Other(text) if text.contains("ticket: 9")), "answer");
    let finished = governor.said.iter().filter(|said| matches!(said, Said::Finished(..))).count();
    assert!(finished < 3000, "all had run before they were cancelled");
    governor.stop();
}
