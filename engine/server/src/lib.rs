//! The server: which sessions there are, what they have submitted, where it runs, who waits for it.
//!
//! Sans I/O: `Server::handle` takes an event and appends the actions that follow from it.

mod balance;
mod cancel;
mod edges;
mod forget;
mod info;
mod placement;
mod priority;
mod requests;
mod results;
mod session;
mod status;
mod submit;
mod table;
mod waits;

use rain_model::id::{ClientId, GovernorId, SessionId};
use rain_protocol::client::RequestError;
use rain_protocol::peer::{FromGovernor, Message, ToGovernor};
use results::Results;
pub use results::StoredResult;
use session::Session;
pub use status::{GovernorStatus, SessionStatus, Status};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
pub use submit::{CheckTask, NewConstant, Submission};

/// Number that a client gave a request.
pub type RequestId = u64;

/// What happens to the server.
#[derive(Debug)]
pub enum Event<D> {
    ClientConnected {
        client: ClientId,
        python: Option<String>,
    },
    Request {
        client: ClientId,
        request: RequestId,
        command: Command<D>,
    },
    ClientLost {
        client: ClientId,
    },
    Governor {
        governor: GovernorId,
        message: FromGovernor<D>,
    },
    GovernorLost {
        governor: GovernorId,
        why: String,
    },
    /// A client wants a finished, kept object over a connection of its own, which the driver has given this number.
    ContentWanted {
        number: u64,
        session: SessionId,
        object: u32,
    },
    /// The end is near: store results that are kept, and those that are still to come.
    StoreResults,
    /// The driver has carried out an `Action::StoreResult`, well or not.
    ResultStored,
    /// Stop what still runs: there is just time enough for clients to hear of it.
    TimeIsOver,
}

/// What a client asks, checked for form.
#[derive(Debug)]
pub enum Command<D> {
    NewSession {
        name: String,
    },
    CloseSession {
        session: SessionId,
    },
    Submit {
        session: SessionId,
        submission: Box<Submission<D>>,
    },
    Wait {
        session: SessionId,
        tasks: Vec<u32>,
        objects: Vec<u32>,
    },
    WaitSome {
        session: SessionId,
        tasks: Vec<u32>,
        objects: Vec<u32>,
    },
    WaitAll {
        session: SessionId,
    },
    /// `direct`: of large content, the answer is who has it.
    Fetch {
        session: SessionId,
        object: u32,
        direct: bool,
    },
    Unkeep {
        session: SessionId,
        objects: Vec<u32>,
    },
    Cancel {
        session: SessionId,
        tasks: Vec<u32>,
    },
    /// Tasks that are over, constants and kinds, which the client will not name again.
    Forget {
        session: SessionId,
        tasks: Vec<u32>,
        constants: Vec<u32>,
        kinds: Vec<u32>,
    },
    /// Cancel those of the tasks that have not begun.
    CancelWaiting {
        session: SessionId,
        tasks: Vec<u32>,
    },
    Info {
        session: SessionId,
        tasks: Vec<u32>,
        objects: Vec<u32>,
    },
    Status,
}

/// What the driver is to do.
#[derive(Debug)]
pub enum Action<D> {
    Reply {
        client: ClientId,
        request: RequestId,
        reply: Reply<D>,
    },
    Send {
        governor: GovernorId,
        message: Message<D>,
    },
    StoreResult(Box<StoredResult<D>>),
    /// What came of an `Event::ContentWanted`.
    Content {
        number: u64,
        content: Result<D, RequestError>,
    },
}

/// An answer to a request.
#[derive(Debug)]
pub enum Reply<D> {
    Done,
    Session(SessionId),
    /// Which of the waited-for items are finished.
    Some {
        tasks: Vec<u32>,
        objects: Vec<u32>,
    },
    Object {
        info: rain_protocol::client::ObjectInfo,
        content: D,
    },
    /// The content can be had from these governors.
    Holders {
        info: rain_protocol::client::ObjectInfo,
        governors: Vec<GovernorId>,
    },
    /// These objects are forgotten.
    Forgotten {
        session: SessionId,
        objects: Vec<u32>,
    },
    Infos {
        tasks: Vec<rain_protocol::client::TaskInfo>,
        objects: Vec<rain_protocol::client::ObjectInfo>,
    },
    Status(Status),
    /// The same for all that fail for the same reason.
    Error(Arc<RequestError>),
}

/// A governor as the server sees it.
#[derive(Debug)]
pub(crate) struct Governor {
    pub cpus: u32,
    pub alive: bool,
    /// Tasks sent there that have not come back.
    pub outstanding: u64,
    /// How many of them wait for other tasks and need no cpu.
    pub lending: u64,
    pub finished: u64,
}

impl Governor {
    /// Tasks that need its cpus, now or later.
    fn load(&self) -> u64 {
        self.outstanding.saturating_sub(self.lending)
    }
}

#[derive(Debug, Default)]
struct Client {
    python: Option<String>,
    sessions: Vec<SessionId>,
}

/// Where to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReplyTo {
    pub client: ClientId,
    pub request: RequestId,
}

struct PendingFetch {
    to: FetchFor,
    session: SessionId,
    object: u32,
    /// For a client, which may ask for the object to be forgotten before it comes.
    info: Option<rain_protocol::client::ObjectInfo>,
}

/// Who wants the content of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FetchFor {
    Client(ReplyTo),
    /// The place where results are stored.
    Results,
    /// Whoever waits for `Action::Content` of this number.
    Content(u64),
}

/// The server's whole state.
pub struct Server<D> {
    clients: BTreeMap<ClientId, Client>,
    sessions: BTreeMap<SessionId, Session<D>>,
    governors: BTreeMap<GovernorId, Governor>,
    fetches: BTreeMap<u64, PendingFetch>,
    /// Sessions that have tasks to be handed out.
    to_place: BTreeSet<SessionId>,
    /// Governors begin nothing that will not be finished by then, seconds since 1970.
    end_of_work: Option<f64>,
    results: Results,
    next_session: u32,
    next_ticket: u64,
    check: CheckTask,
}

impl<D: Clone> Default for Server<D> {
    fn default() -> Self {
        Self::new()
    }
}

impl<D: Clone> Server<D> {
    /// A server without governors and clients.
    pub fn new() -> Self {
        Self {
            clients: BTreeMap::new(),
            sessions: BTreeMap::new(),
            governors: BTreeMap::new(),
            fetches: BTreeMap::new(),
            to_place: BTreeSet::new(),
            end_of_work: None,
            results: Results::default(),
            next_session: 1,
            next_ticket: 1,
            check: |_, _, _| Ok(()),
        }
    }

    /// Has governors begin nothing that will not be finished by `at`, seconds since 1970. To be called before any joins.
    pub fn set_end_of_work(&mut self, at: f64) {
        self.end_of_work = Some(at);
    }

    /// Refuses submits with built-in tasks that cannot run.
    #[must_use]
    pub fn with_check(self, check: CheckTask) -> Self {
        Self { check, ..self }
    }

    /// Takes one event and appends what follows from it.
    pub fn handle(&mut self, event: Event<D>, actions: &mut Vec<Action<D>>) {
        match event {
            Event::ClientConnected { client, python } => {
                self.clients.insert(client, Client { python, sessions: Vec::new() });
            }
            Event::Request { client, request, command } => {
                let to = ReplyTo { client, request };
                if let Err(error) = self.carry_out(to, command, actions) {
                    actions.push(reply_error(to, error));
                }
            }
            Event::ClientLost { client } => self.client_lost(client, actions),
            Event::Governor { governor, message } => self.governor_message(governor, message, actions),
            Event::GovernorLost { governor, why } => self.governor_lost(governor, &why, actions),
            Event::ContentWanted { number, session, object } => self.content_wanted(number, session, object, actions),
            Event::StoreResults => self.store_results(actions),
            Event::ResultStored => self.result_stored(actions),
            Event::TimeIsOver => self.stop_work(actions),
        }
        self.remove_closed(actions);
    }

    fn client_lost(&mut self, client: ClientId, actions: &mut Vec<Action<D>>) {
        let Some(client_state) = self.clients.remove(&client) else { return };
        for session in client_state.sessions {
            self.remove_session(session, actions);
        }
        self.fetches.retain(|_, fetch| !matches!(fetch.to, FetchFor::Client(to) if to.client == client));
        self.place(actions);
    }

    fn remove_session(&mut self, id: SessionId, actions: &mut Vec<Action<D>>) {
        if self.keep_for_results(id, actions) {
            return;
        }
        let Some(mut session) = self.sessions.remove(&id) else { return };
        let error = Arc::new(session.closed_error());
        session.answer_waits_with(&error, actions);
        self.abandon(&mut session, actions);
        self.refuse_fetches(id, &error, actions);
    }

    /// Ends all fetches from a session.
    fn refuse_fetches(&mut self, id: SessionId, error: &Arc<RequestError>, actions: &mut Vec<Action<D>>) {
        let mut results = 0;
        self.fetches.retain(|_, fetch| {
            match fetch.to {
                _ if fetch.session != id => return true,
                FetchFor::Client(to) => actions.push(reply_error(to, error.clone())),
                FetchFor::Results => results += 1,
                FetchFor::Content(number) => {
                    actions.push(Action::Content { number, content: Err((**error).clone()) });
                }
            }
            false
        });
        for _ in 0..results {
            self.give_result_up(id, actions);
        }
    }

    /// Tells governors to forget a session, and takes its tasks out of their load.
    fn abandon(&mut self, session: &mut Session<D>, actions: &mut Vec<Action<D>>) {
        for (id, governor) in &mut self.governors {
            if session.leave_governor(*id, governor) {
                let message = Message::ToGovernor(ToGovernor::CloseSession(session.id));
                actions.push(Action::Send { governor: *id, message });
            }
        }
    }

    fn governor_message(&mut self, id: GovernorId, message: FromGovernor<D>, actions: &mut Vec<Action<D>>) {
        match message {
            FromGovernor::Joined { cpus } => {
                self.governors.insert(id, Governor { cpus, alive: true, outstanding: 0, lending: 0, finished: 0 });
                if let Some(at) = self.end_of_work {
                    let message = Message::ToGovernor(ToGovernor::EndOfWork { at });
                    actions.push(Action::Send { governor: id, message });
                }
                for session in self.sessions.values_mut() {
                    session.reconsider_wide_tasks();
                    session.ask_again();
                }
            }
            FromGovernor::Started { session, task, start } => {
                if let Some(session) = self.sessions.get_mut(&session) {
                    session.task_started(id, task, start);
                }
                return;
            }
            FromGovernor::Finished(finished) => {
                let Some(session) = self.sessions.get_mut(&SessionId(finished.session)) else { return };
                let Some(governor) = self.governors.get_mut(&id) else { return };
                if session.failure.is_none() {
                    session.tasks_finished(id, governor, &finished, actions);
                    if session.has_unplaced() {
                        self.to_place.insert(session.id);
                    }
                    self.fetch_finished(SessionId(finished.session), actions);
                    self.store_finished(&finished, actions);
                }
            }
            FromGovernor::Withheld { session, tasks } => self.withheld(session, &tasks, actions),
            FromGovernor::Failed { session, task, failure } => self.task_failed(id, session, task, failure, actions),
            FromGovernor::GaveBack { session, tasks } => {
                let Some(session) = self.sessions.get_mut(&session).filter(|s| s.failure.is_none()) else { return };
                let Some(governor) = self.governors.get_mut(&id) else { return };
                session.take_back(id, governor, &tasks, actions);
                self.to_place.insert(session.id);
            }
            FromGovernor::CancelledWaiting { session, ticket, tasks } => {
                self.cancelled_waiting(id, session, ticket, tasks, actions);
            }
            FromGovernor::InputLost { session, object, why } => self.input_lost(id, session, object, &why, actions),
            FromGovernor::Lending { tasks } => {
                let Some(governor) = self.governors.get_mut(&id) else { return };
                governor.lending = u64::from(tasks);
            }
            FromGovernor::Fetched { ticket, content } => {
                if let Some(fetch) = self.fetches.remove(&ticket) {
                    self.fetched(fetch, content, actions);
                }
            }
        }
        self.place(actions);
    }

    fn governor_lost(&mut self, id: GovernorId, why: &str, actions: &mut Vec<Action<D>>) {
        let Some(governor) = self.governors.get_mut(&id) else { return };
        governor.alive = false;
        let lost: Vec<SessionId> =
            self.sessions.values().filter(|s| s.failure.is_none() && s.uses_governor(id)).map(|s| s.id).collect();
        for session in lost {
            let message = format!("{id} was lost ({why}) with tasks or objects of this session");
            self.fail_session(session, session_error(session, message), actions);
        }
        self.place(actions);
    }

    fn task_failed(
        &mut self,
        governor: GovernorId,
        id: SessionId,
        task: u32,
        failure: rain_protocol::peer::Failure,
        actions: &mut Vec<Action<D>>,
    ) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if session.failure.is_some() {
            return;
        }
        let error = session.record_failure(governor, task, failure);
        self.fail_session(id, error, actions);
    }

    fn input_lost(
        &mut self,
        governor: GovernorId,
        id: SessionId,
        object: u32,
        why: &str,
        actions: &mut Vec<Action<D>>,
    ) {
        // Nobody may need it any more, because tasks were cancelled; then its holders have dropped it.
        if self.sessions.get(&id).is_some_and(|session| session.failure.is_none() && session.is_held(object)) {
            let message = format!("input object {object} could not be brought {why}");
            let failure = rain_protocol::peer::Failure { message, ..Default::default() };
            self.task_failed(governor, id, rain_model::id::NONE, failure, actions);
        }
    }

    fn fail_session(&mut self, id: SessionId, error: RequestError, actions: &mut Vec<Action<D>>) {
        let Some(mut session) = self.sessions.remove(&id) else { return };
        let error = Arc::new(error);
        session.failure = Some(error.clone());
        session.answer_waits_with(&error, actions);
        self.abandon(&mut session, actions);
        session.forget_graph();
        self.sessions.insert(id, session);
        self.refuse_fetches(id, &error, actions);
    }

    fn fetched(&mut self, fetch: PendingFetch, content: Result<D, String>, actions: &mut Vec<Action<D>>) {
        if !self.sessions.contains_key(&fetch.session) {
            return;
        }
        let refuse = |why| RequestError::request(format!("object {} cannot be fetched: {why}", fetch.object));
        match fetch.to {
            FetchFor::Results => self.result_fetched(fetch.session, fetch.object, content, actions),
            FetchFor::Content(number) => {
                actions.push(Action::Content { number, content: content.map_err(refuse) });
            }
            FetchFor::Client(to) => actions.push(match content {
                Ok(content) => {
                    let reply = Reply::Object { info: fetch.info.unwrap_or_default(), content };
                    Action::Reply { client: to.client, request: to.request, reply }
                }
                Err(why) => reply_error(to, refuse(why)),
            }),
        }
    }
}

pub(crate) fn reply_error<D>(to: ReplyTo, error: impl Into<Arc<RequestError>>) -> Action<D> {
    Action::Reply { client: to.client, request: to.request, reply: Reply::Error(error.into()) }
}

pub(crate) fn session_error(session: SessionId, message: String) -> RequestError {
    RequestError {
        kind: rain_protocol::client::ErrorKind::Session,
        message,
        session: Some(session.0),
        task: None,
        debug: None,
    }
}
