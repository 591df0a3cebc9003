//! A governor without threads: plain graphs and queues, and time that the tests make.

use proptest::prelude::*;
use rain_governor::plain::{PlainGraph, PlainQueues};
use rain_governor::{Effect, EndOfWork, Event, Graph, Queueing, Queues, Reactor, Session, Sessions, To};
use rain_model::graph::{Batch, BatchKind, Column, Kind, Offsets};
use rain_model::id::{GovernorId, NONE, SessionId};
use rain_pool::{ReadyTask, SessionGraph};
use rain_protocol::peer::{
    BetweenGovernors, Forget, FromGovernor, Message, OpenSession, RemoteInput, Run, TaskSet, ToGovernor,
};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

type Content = Arc<u64>;

/// A governor with one kind of graph; its workers are what a test does.
struct World<G: Graph<Content = Content>> {
    sessions: Arc<Sessions<G>>,
    queues: Arc<PlainQueues>,
    reactor: Reactor<G, Arc<PlainQueues>>,
    now: Duration,
    effects: Vec<Effect<Content>>,
}

impl<G: Graph<Content = Content> + Send + Sync + 'static> World<G> {
    fn new() -> Self {
        let (sessions, queues) = (Arc::<Sessions<G>>::default(), Arc::<PlainQueues>::default());
        let end = Arc::<EndOfWork>::default();
        let reactor = Reactor::new(sessions.clone(), queues.clone(), end, Arc::new(drop));
        Self { sessions, queues, reactor, now: Duration::ZERO, effects: Vec::new() }
    }

    fn handle(&mut self, event: Event<Content>) {
        self.reactor.handle(self.now, event, &mut self.effects);
    }

    fn server(&mut self, message: ToGovernor<Content>) {
        self.handle(Event::Server(message));
    }

    fn open(&mut self, session: u32) {
        self.server(ToGovernor::OpenSession(OpenSession { session: SessionId(session), python: None }));
    }

    fn run(&mut self, session: u32, batch: &Arc<Batch>, tasks: TaskSet, change: impl FnOnce(&mut Run<Content>)) {
        let mut run = Run {
            session: SessionId(session),
            batch: batch.clone(),
            tasks,
            constants: Vec::new(),
            remote: Vec::new(),
            pins: Vec::new(),
            grants: Vec::new(),
        };
        change(&mut run);
        self.server(ToGovernor::Run(run));
    }

    fn session(&self, number: u32) -> Arc<Session<G>> {
        self.sessions.get(number).expect("an open session")
    }

    fn ready(&self) -> Vec<(u32, u32)> {
        self.queues.ready().into_iter().map(|task| (task.session(), task.task())).collect()
    }

    /// Takes a task out as a worker does; whether it is to be run.
    fn take(&self, session: u32, task: u32) -> bool {
        assert!(self.queues.take(ReadyTask::new(session, task)), "task {session}:{task} is not ready");
        let Some(session) = self.sessions.get(session) else { return false };
        let batch = session.batch_of(task).expect("the batch of a ready task");
        if session.is_cancelled(task) || !session.graph.begin(task) {
            session.abandon(&batch, task);
            return false;
        }
        true
    }

    /// Finishes a task as a worker does.
    fn finish(&self, session: u32, task: u32) {
        let Some(session) = self.sessions.get(session) else { return };
        let batch = session.batch_of(task).expect("the batch of a running task");
        if session.is_cancelled(task) {
            return session.abandon(&batch, task);
        }
        let mut queueing = self.queues.queueing();
        for object in batch.outputs(task) {
            session.graph.supply(object, Arc::new(u64::from(object)), |ready| {
                queueing.add(ReadyTask::new(session.number, ready), session.priority(ready));
            });
        }
        session.release_inputs(&batch, task);
        session.graph.set_over(task);
    }

    fn texts(&mut self) -> Vec<String> {
        self.effects.drain(..).map(|effect| format!("{effect:?}")).collect()
    }
}

/// Tasks from `first` on, each with inputs and, unless it is `NONE`, one output; all of one kind.
fn batch(first: u32, tasks: &[(&[u32], u32)], priority: i32) -> Arc<Batch> {
    let kind = |number, outputs| {
        let output = rain_model::graph::OutputSpec {
            label: String::new(),
            data_type: rain_model::graph::DataType::Blob,
            content_type: None,
        };
        let kind = Kind { outputs: vec![output; outputs], priority, ..Kind::new("x/y") };
        BatchKind { number, kind: Arc::new(kind) }
    };
    let counts: Vec<u32> = tasks.iter().map(|(inputs, _)| inputs.len() as u32).collect();
    Arc::new(Batch {
        first,
        count: tasks.len() as u32,
        kinds: Arc::new([kind(0, 0), kind(1, 1)]),
        kind: Column::Each(tasks.iter().map(|(_, output)| u32::from(*output != NONE)).collect()),
        input_offsets: Offsets::from_counts(&Column::Each(counts.into()), tasks.len()).expect("few inputs"),
        inputs: tasks.iter().flat_map(|(inputs, _)| inputs.iter().copied()).collect(),
        first_output: Column::Each(tasks.iter().map(|(_, output)| *output).collect()),
        configs: Arc::default(),
        config: Column::Same(NONE),
        user: Arc::default(),
    })
}

fn content(number: u64) -> Content {
    Arc::new(number)
}

#[test]
fn a_constant_that_comes_after_its_reader_wakes_somebody() {
    let mut w = World::<PlainGraph<Content>>::new();
    w.open(1);
    let first = batch(0, &[(&[7], NONE)], 0);
    // The reader is linked first, with the server's claim on what comes with a later run.
    w.run(1, &first, TaskSet::All, |_| {});
    assert_eq!((w.ready(), w.queues.take_wakes()), (vec![], 0));
    let none = Arc::new(Batch::empty(1));
    w.run(1, &none, TaskSet::Some(vec![]), |run| run.constants.push((7, content(70))));
    assert_eq!((w.ready(), w.queues.take_wakes()), (vec![(1, 0)], 1));
    assert!(w.take(1, 0));
    w.finish(1, 0);
    assert!(w.session(1).graph.claims().is_empty());
}

#[test]
fn tasks_wait_for_each_other_and_drop_what_nobody_needs() {
    let mut w = World::<PlainGraph<Content>>::new();
    w.open(1);
    let tasks = batch(0, &[(&[], 10), (&[10], 11), (&[10, 11], NONE)], 0);
    w.run(1, &tasks, TaskSet::All, |run| run.pins = vec![11]);
    assert_eq!(w.ready(), [(1, 0)]);
    for task in 0..3 {
        assert!(w.take(1, task));
        w.finish(1, task);
    }
    assert_eq!(w.session(1).graph.claims(), [(11, 1)].into());
    assert_eq!(w.texts(), Vec::<String>::new());
    w.server(ToGovernor::Fetch { session: SessionId(1), object: 11, ticket: 5 });
    w.server(ToGovernor::Fetch { session: SessionId(1), object: 10, ticket: 6 });
    w.server(ToGovernor::Unpin { session: SessionId(1), objects: vec![11, 10] });
    let texts = w.texts();
    assert!(texts[0].contains("Fetched { ticket: 5, content: Ok(11)"), "{texts:?}");
    assert!(texts[1].contains("Fetched { ticket: 6, content: Err("), "{texts:?}");
    assert_eq!(texts[2], "Free([11])");
    assert!(w.session(1).graph.claims().is_empty());
}

#[test]
fn cancelled_tasks_let_go_of_everything_wherever_they_are() {
    let mut w = World::<PlainGraph<Content>>::new();
    w.open(1);
    // 0 runs, 1 is ready, 2 waits, 3 rests after a failure, 4 is one for which workers gather.
    let tasks = batch(0, &[(&[], 10), (&[], 11), (&[10, 11], 12), (&[], 13), (&[], 14)], 0);
    w.run(1, &tasks, TaskSet::All, |_| {});
    assert!(w.take(1, 0) && w.take(1, 3) && w.queues.take(ReadyTask::new(1, 4)));
    w.handle(Event::Retried { session: SessionId(1), task: 3, failed: 1 });
    w.queues.inject_wide(ReadyTask::new(1, 4), 2);
    w.server(ToGovernor::CancelTasks { session: SessionId(1), tasks: vec![0, 1, 2, 3, 4] });
    assert_eq!(w.texts(), ["Interrupt"]);
    assert_eq!((w.queues.wide(), w.reactor.next_due()), (vec![], None));
    assert_eq!(w.session(1).graph.open_tasks(), [0, 1].into());
    w.finish(1, 0);
    assert!(!w.take(1, 1));
    assert!(w.session(1).graph.claims().is_empty());
    assert!(w.session(1).graph.open_tasks().is_empty());
}

#[test]
fn nobody_gathers_for_a_session_that_was_closed_and_its_failed_tasks_do_not_come_back() {
    let mut w = World::<PlainGraph<Content>>::new();
    (1..=2).for_each(|session| w.open(session));
    let tasks = batch(0, &[(&[], NONE), (&[], NONE)], 0);
    for session in 1..=2 {
        w.run(session, &tasks, TaskSet::All, |_| {});
        assert!(w.take(session, 0) && w.queues.take(ReadyTask::new(session, 1)));
        w.handle(Event::Retried { session: SessionId(session), task: 0, failed: 1 });
        w.queues.inject_wide(ReadyTask::new(session, 1), 2);
    }
    w.server(ToGovernor::CloseSession(SessionId(1)));
    assert_eq!(w.texts(), ["Interrupt", "SessionClosed(SessionId(1))"]);
    assert_eq!(w.queues.wide(), [(ReadyTask::new(2, 1), 2)]);
    assert_eq!(w.reactor.next_due(), Some(Duration::from_micros(250)));
    w.reactor.queue_due(Duration::from_secs(60));
    assert_eq!(w.ready(), [(2, 0)]);
}

#[test]
fn a_task_that_fails_again_and_again_rests_longer_each_time_and_keeps_its_priority() {
    let mut w = World::<PlainGraph<Content>>::new();
    w.open(1);
    w.run(1, &batch(0, &[(&[], NONE)], 7), TaskSet::All, |_| {});
    w.run(1, &batch(1, &[(&[], NONE)], 0), TaskSet::All, |_| {});
    let mut pauses = Vec::new();
    for failed in [1, 2, 3, 4, 1000, 4000, 100_000] {
        assert!(w.take(1, 0));
        w.handle(Event::Retried { session: SessionId(1), task: 0, failed });
        assert_eq!(w.ready(), [(1, 1)]);
        let due = w.reactor.next_due().expect("a task that rests");
        pauses.push((due - w.now).as_micros());
        w.now = due;
        w.queues.take_wakes();
        w.reactor.queue_due(w.now);
        assert_eq!((w.ready(), w.queues.take_wakes()), (vec![(1, 0), (1, 1)], 1));
    }
    assert_eq!(pauses, [250, 500, 750, 1000, 250_000, 1_000_000, 1_000_000]);
}

#[test]
fn only_tasks_that_nobody_has_begun_are_given_back() {
    let mut w = World::<PlainGraph<Content>>::new();
    (1..=2).for_each(|session| w.open(session));
    for session in 1..=2 {
        w.run(session, &batch(0, &[(&[], 10), (&[], 11), (&[], 12), (&[12], NONE)], 0), TaskSet::All, |_| {});
    }
    assert!(w.take(1, 0));
    w.server(ToGovernor::GiveBack { session: SessionId(1), count: 5 });
    let texts = w.texts();
    assert!(texts[0].contains("GaveBack { session: SessionId(1), tasks: [1, 2] }"), "{texts:?}");
    assert_eq!(w.ready(), [(2, 0), (2, 1), (2, 2)]);
    // What they claim is the server's now.
    assert_eq!(w.session(1).graph.claims(), [(10, 1), (11, 1), (12, 2)].into());
    w.server(ToGovernor::GiveBack { session: SessionId(3), count: 5 });
    assert_eq!(w.texts(), Vec::<String>::new());
}

#[test]
fn what_comes_from_other_governors_is_there_for_all_who_wait() {
    let mut w = World::<PlainGraph<Content>>::new();
    w.open(1);
    let remote = |object| RemoteInput { object, holders: vec![GovernorId(4)], transfer: 0 };
    w.run(1, &batch(0, &[(&[10], NONE), (&[10, 11], NONE)], 0), TaskSet::All, |run| {
        run.remote = vec![remote(10), remote(11)];
    });
    w.handle(Event::Peer {
        from: GovernorId(6),
        message: BetweenGovernors::Want { session: SessionId(1), object: 10 },
    });
    let found = BetweenGovernors::Object { session: SessionId(1), object: 10, content: Ok(content(100)) };
    w.handle(Event::Peer { from: GovernorId(4), message: found });
    assert_eq!((w.ready(), w.queues.take_wakes()), (vec![(1, 0)], 1));
    let to: Vec<To> = w
        .effects
        .drain(..)
        .filter_map(|effect| match effect {
            Effect::Send { to, .. } => Some(to),
            _ => None,
        })
        .collect();
    assert_eq!(to, [To::Governor(GovernorId(4)), To::Governor(GovernorId(4)), To::Governor(GovernorId(6))]);
    w.handle(Event::PeerLost { governor: GovernorId(4) });
    match &w.effects[..] {
        [
            Effect::Send { to: To::Server, message: Message::FromGovernor(FromGovernor::InputLost { object: 11, .. }) },
        ] => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(w.session(1).graph.claims(), [(10, 3), (11, 2)].into());
}

/// One thing that happens to both governors.
#[derive(Clone, Debug)]
enum Step {
    Run { tasks: Vec<(Vec<prop::sample::Index>, bool)>, pins: Vec<bool>, constants: u32 },
    Take(prop::sample::Index),
    Finish(prop::sample::Index),
    Cancel(prop::sample::Index, bool),
    GiveBack(u32),
    Unpin(prop::sample::Index),
    Fetch(prop::sample::Index),
    Forget(prop::sample::Index),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let index = any::<prop::sample::Index>;
    let task = (prop::collection::vec(index(), 0..4), any::<bool>());
    let run = (prop::collection::vec(task, 1..6), prop::collection::vec(any::<bool>(), 8), 0u32..2)
        .prop_map(|(tasks, pins, constants)| Step::Run { tasks, pins, constants });
    let step = prop_oneof![
        2 => run,
        6 => index().prop_map(Step::Take),
        6 => index().prop_map(Step::Finish),
        1 => (index(), any::<bool>()).prop_map(|(task, waiting)| Step::Cancel(task, waiting)),
        1 => (0u32..3).prop_map(Step::GiveBack),
        2 => index().prop_map(Step::Unpin),
        1 => index().prop_map(Step::Fetch),
        2 => index().prop_map(Step::Forget),
    ];
    prop::collection::vec(step, 1..80)
}

/// Does the same to a governor with either graph; returns all that can be seen of it after each step. Only what the server may say
/// is said: nothing is read that has no claim, nothing is forgotten twice.
fn play<G: Graph<Content = Content> + Send + Sync + 'static>(steps: &[Step]) -> (Vec<String>, Arc<Session<G>>) {
    let mut w = World::<G>::new();
    w.open(1);
    let (mut tasks, mut objects) = (0, 0);
    let mut pinned: Vec<u32> = Vec::new();
    let mut running: Vec<u32> = Vec::new();
    let mut cancelled: BTreeSet<u32> = BTreeSet::new();
    let mut over: Vec<u32> = Vec::new();
    let mut seen = Vec::new();
    for step in steps {
        match step {
            Step::Run { tasks: shapes, pins, constants } => {
                let first_constant = objects;
                objects += constants;
                let mut readable = pinned.clone();
                readable.extend(first_constant..objects);
                let mut columns: Vec<(Vec<u32>, u32)> = Vec::new();
                let first_output = objects;
                for (inputs, makes) in shapes {
                    let inputs =
                        inputs.iter().filter(|_| !readable.is_empty()).map(|i| readable[i.index(readable.len())]);
                    columns.push((inputs.collect(), if *makes { objects } else { NONE }));
                    if *makes {
                        readable.push(objects);
                        objects += 1;
                    }
                }
                let columns: Vec<(&[u32], u32)> = columns.iter().map(|(i, o)| (i.as_slice(), *o)).collect();
                let pins: Vec<u32> = (first_output..objects).filter(|o| pins[(*o % 8) as usize]).collect();
                pinned.extend(&pins);
                w.run(1, &batch(tasks, &columns, 0), TaskSet::All, |run| {
                    run.constants = (first_constant..first_output).map(|o| (o, content(u64::from(o)))).collect();
                    run.pins = pins;
                });
                tasks += columns.len() as u32;
            }
            Step::Take(index) => {
                let ready = w.ready();
                if !ready.is_empty() {
                    let (_, task) = ready[index.index(ready.len())];
                    if w.take(1, task) { running.push(task) } else { over.push(task) }
                }
            }
            Step::Finish(index) if !running.is_empty() => {
                let task = running.remove(index.index(running.len()));
                w.finish(1, task);
                over.push(task);
            }
            Step::Cancel(index, waiting) if tasks > 0 => {
                // What needs the task is cancelled, too, as the server does; here those are all that come after it.
                let chosen: Vec<u32> = (index.index(tasks as usize) as u32..tasks).collect();
                cancelled.extend(&chosen);
                w.server(match waiting {
                    false => ToGovernor::CancelTasks { session: SessionId(1), tasks: chosen },
                    true => ToGovernor::CancelWaiting { session: SessionId(1), ticket: 9, tasks: chosen },
                });
                // A constant or pin may never be made now.
                pinned.clear();
            }
            Step::GiveBack(count) => w.server(ToGovernor::GiveBack { session: SessionId(1), count: *count }),
            Step::Unpin(index) if !pinned.is_empty() => {
                let object = pinned.remove(index.index(pinned.len()));
                w.server(ToGovernor::Unpin { session: SessionId(1), objects: vec![object] });
            }
            Step::Fetch(index) if objects > 0 => {
                let object = index.index(objects as usize) as u32;
                w.server(ToGovernor::Fetch { session: SessionId(1), object, ticket: 1 });
            }
            Step::Forget(index) if !over.is_empty() => {
                let task = over.remove(index.index(over.len()));
                let outputs =
                    w.session(1).batch_of(task).map(|batch| batch.outputs(task).collect()).unwrap_or_default();
                let forget = Forget { session: 1, tasks: vec![task], objects: outputs, ..Forget::default() };
                w.server(ToGovernor::Forget(forget));
            }
            Step::Finish(_) | Step::Cancel(..) | Step::Unpin(_) | Step::Fetch(_) | Step::Forget(_) => {}
        }
        let shared: Vec<Option<Content>> = (0..objects).map(|object| w.session(1).graph.share(object)).collect();
        seen.push(format!("{step:?}: {:?} {:?} {running:?} {shared:?}", w.texts(), w.ready()));
    }
    let session = w.session(1);
    (seen, session)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_lock_free_graph_does_what_the_plain_one_does(steps in steps()) {
        let (plain, _) = play::<PlainGraph<Content>>(&steps);
        let (lock_free, _) = play::<SessionGraph<Content>>(&steps);
        for (plain, lock_free) in plain.iter().zip(&lock_free) {
            prop_assert_eq!(plain, lock_free);
        }
    }
}
