//! The governor's state machine, driven by events: exact actions, then nothing left.

use rain_governor::{Action, Asker, Event, Governor, To};
use rain_model::graph::Batch;
use rain_model::id::{GovernorId, SessionId};
use rain_protocol::peer::{
    BetweenGovernors, Failure, Finished, Forget, FromGovernor, Message, OpenSession, RemoteInput, Run, TaskReport,
    TaskSet, ToGovernor,
};
use std::sync::Arc;

type Content = u64;

const SESSION: SessionId = SessionId(3);

struct Harness {
    governor: Governor,
    actions: Vec<Action<Content>>,
}

impl Harness {
    /// A governor that knows the session.
    fn new() -> Self {
        let mut harness = Self { governor: Governor::new(), actions: Vec::new() };
        harness.server(ToGovernor::OpenSession(OpenSession { session: SESSION, python: None }));
        assert_eq!(harness.texts(), ["open 3"]);
        harness
    }

    fn handle(&mut self, event: Event<Content>) {
        self.governor.handle(event, &mut self.actions);
    }

    fn server(&mut self, message: ToGovernor<Content>) {
        self.handle(Event::Server(message));
    }

    fn peer(&mut self, from: u32, message: BetweenGovernors<Content>) {
        self.handle(Event::Peer { from: GovernorId(from), message });
    }

    /// What has been done since the last call.
    fn texts(&mut self) -> Vec<String> {
        self.actions.drain(..).map(describe).collect()
    }
}

fn describe(action: Action<Content>) -> String {
    match action {
        Action::Send { to: To::Server, message: Message::FromGovernor(message) } => match message {
            FromGovernor::Finished(finished) => format!("tell finished {}", finished.tasks.len()),
            FromGovernor::Failed { task, failure, .. } => format!("tell failed {task}: {}", failure.message),
            FromGovernor::Started { task, .. } => format!("tell started {task}"),
            FromGovernor::GaveBack { tasks, .. } => format!("tell gave back {tasks:?}"),
            FromGovernor::CancelledWaiting { ticket, tasks, .. } => format!("tell cancelled {tasks:?} for {ticket}"),
            FromGovernor::InputLost { object, why, .. } => format!("tell lost {object} {why}"),
            other => format!("tell {other:?}"),
        },
        Action::Send { to: To::Governor(to), message: Message::BetweenGovernors(message) } => match message {
            BetweenGovernors::Want { object, .. } => format!("want {object} from {}", to.0),
            other => format!("to {}: {other:?}", to.0),
        },
        Action::Send { .. } => panic!("a message to somebody whom it is not for: {action:?}"),
        Action::OpenSession(open) => format!("open {}", open.session.0),
        Action::Link(_) => "link".to_owned(),
        Action::Supply { object, content, .. } => format!("supply {object} = {content}"),
        Action::Release { objects, .. } => format!("release {objects:?}"),
        Action::CancelTasks { tasks, .. } => format!("cancel {tasks:?}"),
        Action::Raise { tasks, .. } => format!("raise {tasks:?}"),
        Action::Retry { task, failed, .. } => format!("retry {task} after {failed}"),
        Action::DropConfigs { batches, .. } => format!("drop configs {batches:?}"),
        Action::Forget(forget) => format!("forget {:?} {:?}", forget.tasks, forget.objects),
        Action::CancelWaiting { tasks, .. } => format!("cancel waiting {tasks:?}"),
        Action::TakeBack { count, .. } => format!("take back {count}"),
        Action::CloseSession(session) => format!("close {}", session.0),
        Action::SendObject { object, to: Asker::Server { ticket }, .. } => format!("send {object} for ticket {ticket}"),
        Action::SendObject { object, to: Asker::Governor(to), .. } => format!("send {object} to {}", to.0),
        Action::SendObject { object, to: Asker::LateGovernor(to), .. } => format!("send {object} or not to {}", to.0),
        Action::EndOfWork { left } => format!("end of work in {left:?}"),
        Action::Stop => "stop".to_owned(),
    }
}

fn run(session: SessionId, remote: &[(u32, &[u32])]) -> ToGovernor<Content> {
    let batch = Batch { count: 1, ..Batch::empty(0) };
    ToGovernor::Run(Run {
        session,
        batch: Arc::new(batch),
        tasks: TaskSet::All,
        constants: Vec::new(),
        grants: Vec::new(),
        remote: remote
            .iter()
            .map(|(object, holders)| RemoteInput {
                object: *object,
                holders: holders.iter().copied().map(GovernorId).collect(),
                transfer: 0,
            })
            .collect(),
        pins: Vec::new(),
    })
}

fn finished(tasks: &[u32]) -> Event<Content> {
    let tasks = tasks.iter().map(|task| TaskReport { task: *task, duration: 0.0, start: 0.0 }).collect();
    Event::Finished(Finished { session: SESSION.0, tasks, ..Finished::default() })
}

#[test]
fn remote_inputs_are_asked_for_once_and_supplied_when_they_come() {
    let mut h = Harness::new();
    h.server(run(SESSION, &[(4, &[1]), (5, &[2])]));
    assert_eq!(h.texts(), ["want 4 from 1", "want 5 from 2", "link"]);
    h.peer(1, BetweenGovernors::Object { session: SESSION, object: 4, content: Ok(44) });
    assert_eq!(h.texts(), ["supply 4 = 44"]);
    // What was not asked for, or came before, changes nothing.
    h.peer(1, BetweenGovernors::Object { session: SESSION, object: 4, content: Ok(45) });
    h.peer(1, BetweenGovernors::Object { session: SESSION, object: 9, content: Ok(99) });
    assert!(h.texts().is_empty());
}

#[test]
fn after_a_failure_the_server_is_told_nothing_more() {
    let mut h = Harness::new();
    h.server(run(SESSION, &[]));
    h.texts();
    h.handle(Event::Failed {
        session: SESSION,
        task: 0,
        failure: Failure { message: "boom".into(), ..Failure::default() },
    });
    assert_eq!(h.texts(), ["tell failed 0: boom"]);
    h.handle(Event::Failed { session: SESSION, task: 0, failure: Failure::default() });
    h.handle(finished(&[0]));
    assert!(h.texts().is_empty(), "the server has been told already");
    h.server(ToGovernor::CloseSession(SESSION));
    assert_eq!(h.texts(), ["close 3"]);
}

#[test]
fn an_input_is_asked_of_all_holders_before_it_is_said_to_be_lost() {
    let mut h = Harness::new();
    h.server(run(SESSION, &[(4, &[1, 2, 7])]));
    h.texts();
    let no = |why: &str| BetweenGovernors::Object { session: SESSION, object: 4, content: Err(why.into()) };
    // Who was not asked is not heard.
    h.peer(2, no("never mind"));
    assert!(h.texts().is_empty());
    h.peer(1, no("dropped"));
    assert_eq!(h.texts(), ["want 4 from 2"]);
    h.peer(1, no("dropped"));
    assert!(h.texts().is_empty());
    h.handle(Event::PeerLost { governor: GovernorId(2) });
    assert_eq!(h.texts(), ["want 4 from 7"]);
    h.peer(7, no("full"));
    let all = "from governor 1: dropped; from governor 2: the connection was lost; from governor 7: full";
    assert_eq!(h.texts(), ["release [4]".to_owned(), format!("tell lost 4 {all}")]);
}

#[test]
fn who_asks_for_an_input_on_its_way_gets_it_when_it_has_come() {
    let mut h = Harness::new();
    h.server(run(SESSION, &[(4, &[1]), (5, &[1])]));
    h.texts();
    for (asker, object) in [(2, 4), (3, 4), (2, 5)] {
        h.peer(asker, BetweenGovernors::Want { session: SESSION, object });
    }
    assert!(h.texts().is_empty());
    h.peer(1, BetweenGovernors::Object { session: SESSION, object: 4, content: Ok(44) });
    let to = |governor: u32, object: u32, content: Result<u64, String>| {
        format!("to {governor}: {:?}", BetweenGovernors::Object { session: SESSION, object, content })
    };
    assert_eq!(h.texts(), [to(2, 4, Ok(44)), to(3, 4, Ok(44)), "supply 4 = 44".to_owned()]);
    h.peer(1, BetweenGovernors::Object { session: SESSION, object: 5, content: Err("gone".into()) });
    let texts = h.texts();
    assert_eq!(texts[..2], [to(2, 5, Err("it could not get it itself".into())), "release [5]".to_owned()]);
    assert_eq!(texts.len(), 3);
}

#[test]
fn a_lost_peer_is_not_waited_for() {
    let mut h = Harness::new();
    h.server(run(SESSION, &[(4, &[1])]));
    h.texts();
    h.handle(Event::PeerLost { governor: GovernorId(7) });
    assert!(h.texts().is_empty());
    h.handle(Event::PeerLost { governor: GovernorId(1) });
    assert_eq!(h.texts().len(), 2);
}

#[test]
fn questions_and_orders_are_passed_on_while_the_session_is_open() {
    let mut h = Harness::new();
    h.server(ToGovernor::Fetch { session: SESSION, object: 1, ticket: 8 });
    h.peer(2, BetweenGovernors::Want { session: SESSION, object: 1 });
    h.server(ToGovernor::Unpin { session: SESSION, objects: vec![1] });
    h.server(ToGovernor::CancelTasks { session: SESSION, tasks: vec![0] });
    h.server(ToGovernor::CancelWaiting { session: SESSION, ticket: 9, tasks: vec![5, 6] });
    h.handle(Event::CancelledWaiting { session: SESSION, ticket: 9, tasks: vec![6] });
    h.server(ToGovernor::GiveBack { session: SESSION, count: 2 });
    h.server(ToGovernor::DropConfigs { session: SESSION, batches: vec![7] });
    h.server(ToGovernor::Forget(Forget { session: SESSION.0, tasks: vec![7], objects: vec![3], ..Forget::default() }));
    h.handle(Event::TakenBack { session: SESSION, tasks: vec![4] });
    h.handle(Event::Started { session: SESSION, task: 0, worker: 0, start: 1.0 });
    h.handle(finished(&[1, 2]));
    assert_eq!(
        h.texts(),
        [
            "send 1 for ticket 8",
            "send 1 to 2",
            "release [1]",
            "cancel [0]",
            "cancel waiting [5, 6]",
            "tell cancelled [6] for 9",
            "take back 2",
            "drop configs [7]",
            "forget [7] [3]",
            "tell gave back [4]",
            "tell started 0",
            "tell finished 2"
        ]
    );
    h.server(ToGovernor::Stop);
    assert_eq!(h.texts(), ["stop"]);
}

#[test]
fn nothing_is_done_for_a_session_that_is_closed_or_unknown() {
    let mut h = Harness::new();
    h.server(ToGovernor::CloseSession(SESSION));
    assert_eq!(h.texts(), ["close 3"]);
    h.server(ToGovernor::CloseSession(SESSION));
    h.server(run(SESSION, &[(4, &[1])]));
    h.server(ToGovernor::Fetch { session: SESSION, object: 1, ticket: 8 });
    h.server(ToGovernor::Unpin { session: SESSION, objects: vec![1] });
    h.server(ToGovernor::CancelTasks { session: SESSION, tasks: vec![0] });
    h.server(ToGovernor::DropConfigs { session: SESSION, batches: vec![7] });
    h.server(ToGovernor::Forget(Forget { session: SESSION.0, ..Forget::default() }));
    h.server(ToGovernor::CancelWaiting { session: SESSION, ticket: 9, tasks: vec![0] });
    h.handle(Event::CancelledWaiting { session: SESSION, ticket: 9, tasks: vec![0] });
    h.peer(2, BetweenGovernors::Want { session: SESSION, object: 1 });
    h.peer(2, BetweenGovernors::Object { session: SESSION, object: 1, content: Ok(1) });
    h.handle(finished(&[1]));
    h.handle(Event::Started { session: SESSION, task: 0, worker: 0, start: 1.0 });
    h.handle(Event::Failed { session: SESSION, task: 0, failure: Failure::default() });
    assert_eq!(h.texts(), ["tell CatchUp { ticket: 0 }"]);
    h.server(ToGovernor::CaughtUp { ticket: 0 });
    assert_eq!(h.texts(), [refusal(2, 1, "it does not know the session")]);
    // Tickets are used once.
    h.server(ToGovernor::CaughtUp { ticket: 0 });
    assert!(h.texts().is_empty());
}

fn refusal(to: u32, object: u32, why: &str) -> String {
    let answer = BetweenGovernors::Object::<Content> { session: SESSION, object, content: Err(why.to_owned()) };
    format!("to {to}: {answer:?}")
}

#[test]
fn who_asks_sooner_than_the_server_has_told_of_an_object_gets_it() {
    let mut h = Harness { governor: Governor::new(), actions: Vec::new() };
    for (asker, object) in [(1, 4), (2, 5), (7, 4)] {
        h.peer(asker, BetweenGovernors::Want { session: SESSION, object });
    }
    let catch_up = |ticket: u64| format!("tell CatchUp {{ ticket: {ticket} }}");
    assert_eq!(h.texts(), [0, 1, 2].map(catch_up));
    h.handle(Event::PeerLost { governor: GovernorId(7) });
    h.server(ToGovernor::OpenSession(OpenSession { session: SESSION, python: None }));
    h.server(run(SESSION, &[(4, &[3])]));
    h.texts();
    h.server(ToGovernor::CaughtUp { ticket: 0 });
    h.server(ToGovernor::CaughtUp { ticket: 1 });
    h.server(ToGovernor::CaughtUp { ticket: 2 });
    // One is on its way here, another one should be there; a lost peer is told nothing.
    assert_eq!(h.texts(), ["send 5 or not to 2"]);
    h.peer(3, BetweenGovernors::Object { session: SESSION, object: 4, content: Ok(44) });
    let found = BetweenGovernors::Object { session: SESSION, object: 4, content: Ok(44) };
    assert_eq!(h.texts(), [format!("to 1: {found:?}"), "supply 4 = 44".to_owned()]);
    // In a session that is known.
    h.handle(Event::NotFound { session: SESSION, object: 9, asker: GovernorId(2) });
    assert_eq!(h.texts(), [catch_up(3)]);
    h.server(ToGovernor::CaughtUp { ticket: 3 });
    assert_eq!(h.texts(), ["send 9 or not to 2"]);
}

#[test]
fn the_server_gets_what_is_on_its_way_here_when_it_has_come() {
    let mut h = Harness::new();
    h.server(run(SESSION, &[(4, &[1]), (5, &[1])]));
    h.server(ToGovernor::Fetch { session: SESSION, object: 4, ticket: 6 });
    h.server(ToGovernor::Fetch { session: SESSION, object: 5, ticket: 7 });
    h.texts();
    h.peer(1, BetweenGovernors::Object { session: SESSION, object: 4, content: Ok(44) });
    h.peer(1, BetweenGovernors::Object { session: SESSION, object: 5, content: Err("gone".into()) });
    let fetched = |ticket, content| format!("tell {:?}", FromGovernor::<Content>::Fetched { ticket, content });
    let texts = h.texts();
    assert_eq!(texts[..2], [fetched(6, Ok(44)), "supply 4 = 44".to_owned()]);
    assert_eq!(texts[2], fetched(7, Err("it could not get it itself".into())));
}
