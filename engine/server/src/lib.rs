//! The server: which sessions there are, what they have submitted, where it runs, who waits for it.
//!
//! Sans I/O: `Server::handle` takes an event and appends the effects that follow from it.

mod balance;
mod cancel;
mod edges;
mod effects;
mod event;
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

use effects::ReplyTo;
pub use effects::{Action, Effects, Reply, StoredResult};
pub use event::{Command, Event, RequestId};
use rain_model::id::{ClientId, GovernorId, SessionId};
use rain_model::time::Time;
use rain_protocol::client::RequestError;
use rain_protocol::peer::{FromGovernor, ToGovernor};
use results::Results;
use session::Session;
pub use status::{GovernorStatus, SessionStatus, Status};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
pub use submit::{CheckTask, NewConstant, Submission};

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
    /// When the latest event happened.
    now: Time,
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
            now: Time::default(),
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

    /// Takes one event, which happens at `now`, and appends what follows from it. Time does not go back from one event to the next.
    pub fn handle(&mut self, now: Time, event: Event<D>, effects: &mut Effects<D>) {
        debug_assert!(self.now <= now, "time goes back from {:?} to {now:?}", self.now);
        self.now = self.now.max(now);
        match event {
            Event::ClientConnected { client, python } => {
                self.clients.insert(client, Client { python, sessions: Vec::new() });
            }
            Event::Request { client, request, command } => {
                let to = ReplyTo { client, request };
                if let Err(error) = self.carry_out(to, command, effects) {
                    effects.error(to, error);
                }
            }
            Event::ClientLost { client } => self.client_lost(client, effects),
            Event::Governor { governor, message } => self.governor_message(governor, message, effects),
            Event::GovernorLost { governor, why } => self.governor_lost(governor, &why, effects),
            Event::ContentWanted { number, session, object } => self.content_wanted(number, session, object, effects),
            Event::StoreResults => self.store_results(effects),
            Event::ResultStored => self.result_stored(effects),
            Event::TimeIsOver => self.stop_work(effects),
        }
        self.remove_closed(effects);
    }

    fn client_lost(&mut self, client: ClientId, effects: &mut Effects<D>) {
        let Some(client_state) = self.clients.remove(&client) else { return };
        for session in client_state.sessions {
            self.remove_session(session, effects);
        }
        self.fetches.retain(|_, fetch| !matches!(fetch.to, FetchFor::Client(to) if to.client == client));
        self.place(effects);
    }

    fn remove_session(&mut self, id: SessionId, effects: &mut Effects<D>) {
        if self.keep_for_results(id, effects) {
            return;
        }
        let Some(mut session) = self.sessions.remove(&id) else { return };
        let error = Arc::new(session.closed_error());
        session.answer_waits_with(&error, effects);
        self.abandon(&mut session, effects);
        self.refuse_fetches(id, &error, effects);
    }

    /// Ends all fetches from a session.
    fn refuse_fetches(&mut self, id: SessionId, error: &Arc<RequestError>, effects: &mut Effects<D>) {
        let mut results = 0;
        self.fetches.retain(|_, fetch| {
            match fetch.to {
                _ if fetch.session != id => return true,
                FetchFor::Client(to) => effects.error(to, error.clone()),
                FetchFor::Results => results += 1,
                FetchFor::Content(number) => {
                    effects.content(number, Err((**error).clone()));
                }
            }
            false
        });
        for _ in 0..results {
            self.give_result_up(id, effects);
        }
    }

    /// Tells governors to forget a session, and takes its tasks out of their load.
    fn abandon(&mut self, session: &mut Session<D>, effects: &mut Effects<D>) {
        for (id, governor) in &mut self.governors {
            if session.leave_governor(*id, governor) {
                effects.send(*id, ToGovernor::CloseSession(session.id));
            }
        }
    }

    fn governor_message(&mut self, id: GovernorId, message: FromGovernor<D>, effects: &mut Effects<D>) {
        match message {
            FromGovernor::Joined { cpus } => {
                self.governors.insert(id, Governor { cpus, alive: true, outstanding: 0, lending: 0, finished: 0 });
                if let Some(at) = self.end_of_work {
                    effects.send(id, ToGovernor::EndOfWork { at });
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
                    session.tasks_finished(id, governor, &finished, effects);
                    if session.has_unplaced() {
                        self.to_place.insert(session.id);
                    }
                    self.fetch_finished(SessionId(finished.session), effects);
                    self.store_finished(&finished, effects);
                }
            }
            FromGovernor::Withheld { session, tasks } => self.withheld(session, &tasks, effects),
            FromGovernor::Failed { session, task, failure } => self.task_failed(id, session, task, failure, effects),
            FromGovernor::GaveBack { session, tasks } => {
                let Some(session) = self.sessions.get_mut(&session).filter(|s| s.failure.is_none()) else { return };
                let Some(governor) = self.governors.get_mut(&id) else { return };
                session.take_back(id, governor, &tasks, effects);
                self.to_place.insert(session.id);
            }
            FromGovernor::CancelledWaiting { session, ticket, tasks } => {
                self.cancelled_waiting(id, session, ticket, tasks, effects);
            }
            FromGovernor::InputLost { session, object, why } => self.input_lost(id, session, object, &why, effects),
            FromGovernor::Lending { tasks } => {
                let Some(governor) = self.governors.get_mut(&id) else { return };
                governor.lending = u64::from(tasks);
            }
            FromGovernor::Fetched { ticket, content } => {
                if let Some(fetch) = self.fetches.remove(&ticket) {
                    self.fetched(fetch, content, effects);
                }
            }
        }
        self.place(effects);
    }

    fn governor_lost(&mut self, id: GovernorId, why: &str, effects: &mut Effects<D>) {
        let Some(governor) = self.governors.get_mut(&id) else { return };
        governor.alive = false;
        let lost: Vec<SessionId> =
            self.sessions.values().filter(|s| s.failure.is_none() && s.uses_governor(id)).map(|s| s.id).collect();
        for session in lost {
            let message = format!("{id} was lost ({why}) with tasks or objects of this session");
            self.fail_session(session, session_error(session, message), effects);
        }
        self.place(effects);
    }

    fn task_failed(
        &mut self,
        governor: GovernorId,
        id: SessionId,
        task: u32,
        failure: rain_protocol::peer::Failure,
        effects: &mut Effects<D>,
    ) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if session.failure.is_some() {
            return;
        }
        let error = session.record_failure(governor, task, failure);
        self.fail_session(id, error, effects);
    }

    fn input_lost(&mut self, governor: GovernorId, id: SessionId, object: u32, why: &str, effects: &mut Effects<D>) {
        // Nobody may need it any more, because tasks were cancelled; then its holders have dropped it.
        if self.sessions.get(&id).is_some_and(|session| session.failure.is_none() && session.is_held(object)) {
            let message = format!("input object {object} could not be brought {why}");
            let failure = rain_protocol::peer::Failure { message, ..Default::default() };
            self.task_failed(governor, id, rain_model::id::NONE, failure, effects);
        }
    }

    fn fail_session(&mut self, id: SessionId, error: RequestError, effects: &mut Effects<D>) {
        let Some(mut session) = self.sessions.remove(&id) else { return };
        let error = Arc::new(error);
        session.failure = Some(error.clone());
        session.answer_waits_with(&error, effects);
        self.abandon(&mut session, effects);
        session.forget_graph();
        self.sessions.insert(id, session);
        self.refuse_fetches(id, &error, effects);
    }

    fn fetched(&mut self, fetch: PendingFetch, content: Result<D, String>, effects: &mut Effects<D>) {
        if !self.sessions.contains_key(&fetch.session) {
            return;
        }
        let refuse = |why| RequestError::request(format!("object {} cannot be fetched: {why}", fetch.object));
        match fetch.to {
            FetchFor::Results => self.result_fetched(fetch.session, fetch.object, content, effects),
            FetchFor::Content(number) => {
                effects.content(number, content.map_err(refuse));
            }
            FetchFor::Client(to) => match content {
                Ok(content) => effects.reply(to, Reply::Object { info: fetch.info.unwrap_or_default(), content }),
                Err(why) => effects.error(to, refuse(why)),
            },
        }
    }
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
