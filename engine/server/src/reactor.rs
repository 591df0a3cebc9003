//! `Server::handle`: the one place that knows clients, sessions and governors alike.

use super::budget::Budget;
use super::effects::{Effects, Reply, ReplyTo};
use super::event::Event;
use super::fair::Fair;
use super::governors::{Governors, State, check_joining};
use super::ledger::Ledger;
use super::placer::{Placer, Round, Turn};
use super::recovery::NotRepeated;
use super::session::{Session, session_error};
use super::stored::Results;
use super::submission::CheckTask;
use rain_model::id::{ClientId, GovernorId, ObjectIndex, SessionId};
use rain_model::resources::Supplies;
use rain_model::time::Time;
use rain_protocol::client::{ErrorKind, ObjectInfo, RequestError};
use rain_protocol::log::LogEntry;
use rain_protocol::peer::{Failure, FromGovernor, ToGovernor};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Sessions that are asked in one turn whether a governor has too much of them.
const ASKED_BACK_MAX: usize = 8;
/// Sessions that find no room for a task, one after the other, before the others are not tried while all cpus are busy.
const BLOCKED_MAX: usize = 4;

/// Tasks that are handed out in one turn: some milliseconds' worth.
const PLACED_MAX: usize = 10_000;

/// A client's connection.
#[derive(Debug, Default)]
pub(super) struct Client {
    pub(super) python: Option<String>,
    pub(super) sessions: Vec<SessionId>,
}

/// Content that a governor was asked for.
pub(super) struct PendingFetch {
    pub(super) to: FetchFor,
    pub(super) governor: Option<GovernorId>,
    pub(super) session: SessionId,
    pub(super) object: u32,
    /// For a client, which may ask for the object to be forgotten before it comes.
    pub(super) info: Option<ObjectInfo>,
}

/// Who wants the content of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FetchFor {
    Client(ReplyTo),
    /// The place where results are stored.
    Results,
    /// Whoever waits for `Action::Content` of this number.
    Content(u64),
    /// A governor that could not get it from those who have it.
    Governor(GovernorId),
}

/// The server's whole state.
pub struct Server<D> {
    pub(super) clients: BTreeMap<ClientId, Client>,
    pub(super) sessions: BTreeMap<SessionId, Session<D>>,
    pub(super) governors: Governors,
    /// By ticket.
    pub(super) fetches: BTreeMap<u64, PendingFetch>,
    /// Who wants objects that are being made again.
    pub(super) parked: BTreeMap<(SessionId, ObjectIndex), Vec<FetchFor>>,
    /// Sessions go on when a governor is lost.
    pub(super) recovers: bool,
    /// Sessions that have tasks to be handed out.
    fair: Fair,
    /// What governors have beside cpus.
    pub(super) ledger: Ledger,
    /// Sessions with ready tasks that ask for that.
    pub(super) wanting: Fair,
    /// Rounds for these in which nothing was handed out.
    pub(super) rounds_in_vain: u32,
    /// No governor will join: what none has is refused.
    pub(super) is_fixed: bool,
    /// Sessions of which some governor has more tasks than cpus.
    uneven: BTreeSet<SessionId>,
    /// Sessions with ready tasks that a governor has given back.
    given_back: BTreeSet<SessionId>,
    /// The session of `uneven` that was asked last.
    last_asked: SessionId,
    /// There is more to be handed out, and room for it.
    pub(super) has_more: bool,
    /// Governors begin nothing that will not be finished by then, seconds since 1970.
    end_of_work: Option<Time>,
    pub(super) results: Results,
    pub(super) budget: Budget,
    pub(super) next_session: u32,
    pub(super) next_ticket: u64,
    pub(super) check: CheckTask,
    /// There is an event log.
    pub(super) is_logged: bool,
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
            governors: Governors::default(),
            fetches: BTreeMap::new(),
            parked: BTreeMap::new(),
            recovers: false,
            fair: Fair::default(),
            ledger: Ledger::default(),
            wanting: Fair::default(),
            rounds_in_vain: 0,
            is_fixed: false,
            uneven: BTreeSet::new(),
            given_back: BTreeSet::new(),
            last_asked: SessionId(0),
            has_more: false,
            end_of_work: None,
            results: Results::default(),
            budget: Budget::default(),
            next_session: 1,
            next_ticket: 1,
            check: |_, _, _| Ok(()),
            is_logged: false,
            now: Time::default(),
        }
    }

    /// Has governors begin nothing that will not be finished by `at`. To be called before any joins.
    pub fn set_end_of_work(&mut self, at: Time) {
        self.end_of_work = Some(at);
    }

    /// Has sessions go on when governors are lost: what these had is run again by others. To be called before there is any session.
    pub fn set_recovers(&mut self) {
        self.recovers = true;
    }

    /// Refuses tasks that ask for what no governor has, as no further one will join.
    pub fn set_fixed(&mut self) {
        self.is_fixed = true;
    }

    /// Refuses submits after which the server would have to remember more than so many tasks and objects, or more than half of them
    /// for one client.
    pub fn set_items_max(&mut self, items_max: u64) {
        self.budget.items_max = items_max;
    }

    /// Refuses submits with built-in tasks that cannot run.
    #[must_use]
    pub fn with_check(self, check: CheckTask) -> Self {
        Self { check, ..self }
    }

    /// Whether `handle` has left something to be done for the sake of others who wait: `Event::Continue` goes on with it.
    pub fn has_more(&self) -> bool {
        self.has_more
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
            Event::GovernorSilent { governor } => {
                let since = self.now;
                if self.governors.get(governor).is_some_and(|known| known.state == State::Alive) {
                    self.governors.set_state(governor, State::Suspect { since });
                    self.log(effects, || LogEntry::GovernorSilent { governor });
                }
            }
            Event::GovernorHeard { governor } => {
                self.governors.set_state(governor, State::Alive);
                self.ledger.change();
                self.log(effects, || LogEntry::GovernorHeard { governor });
                self.place(effects);
            }
            Event::Continue => self.place(effects),
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
        let is_its = |to: &FetchFor| matches!(to, FetchFor::Client(to) if to.client == client);
        self.fetches.retain(|_, fetch| !is_its(&fetch.to));
        self.parked.values_mut().for_each(|wanted| wanted.retain(|to| !is_its(to)));
        self.place(effects);
    }

    pub(super) fn remove_session(&mut self, id: SessionId, effects: &mut Effects<D>) {
        if self.keep_for_results(id, effects) {
            return;
        }
        let Some(mut session) = self.sessions.remove(&id) else { return };
        let error = Arc::new(session.closed_error());
        session.answer_waits_with(&error, effects);
        self.abandon(&mut session, effects);
        self.refuse_fetches(id, &error, effects);
        self.results.forget(id);
        self.log(effects, || LogEntry::SessionClosed { session: id });
    }

    /// Ends all fetches from a session.
    fn refuse_fetches(&mut self, id: SessionId, error: &Arc<RequestError>, effects: &mut Effects<D>) {
        let of_session = self.fetches.iter().filter(|(_, fetch)| fetch.session == id);
        let tickets: Vec<u64> = of_session.map(|(ticket, _)| *ticket).collect();
        let mut refused: Vec<FetchFor> =
            tickets.iter().filter_map(|ticket| self.fetches.remove(ticket)).map(|fetch| fetch.to).collect();
        let of_session = self.parked.range((id, 0)..=(id, ObjectIndex::MAX)).map(|(key, _)| *key);
        let parked: Vec<(SessionId, ObjectIndex)> = of_session.collect();
        refused.extend(parked.iter().filter_map(|key| self.parked.remove(key)).flatten());
        for to in refused {
            match to {
                FetchFor::Client(to) => effects.error(to, error.clone()),
                FetchFor::Results => self.give_result_up(id, effects),
                FetchFor::Content(number) => effects.content(number, Err((**error).clone())),
                FetchFor::Governor(_) => {}
            }
        }
    }

    /// Tells governors to forget a session, and takes its tasks out of their load.
    fn abandon(&mut self, session: &mut Session<D>, effects: &mut Effects<D>) {
        let governors: Vec<GovernorId> = session.shares.governors().collect();
        for id in governors {
            if let Some(tasks) = session.shares.close(id) {
                self.governors.take(id, tasks);
                self.governors.close(id, session.id);
                effects.send(id, ToGovernor::CloseSession(session.id));
            }
        }
        self.ledger.release_session(session.id);
        self.wanting.remove(session.id);
        self.fair.remove(session.id);
        self.uneven.remove(&session.id);
        self.given_back.remove(&session.id);
    }

    fn governor_message(&mut self, id: GovernorId, message: FromGovernor<D>, effects: &mut Effects<D>) {
        if let FromGovernor::Joined { cpus, resources } = message {
            return self.governor_joined(id, cpus, resources, effects);
        }
        // What comes of one that was lost is old.
        if self.governors.get(id).is_none() {
            return;
        }
        match message {
            FromGovernor::Joined { .. } => {}
            FromGovernor::Started { session, task, worker, start } => {
                if let Some(known) = self.sessions.get_mut(&session) {
                    known.task_started(id, task, start);
                    self.log(effects, || LogEntry::Started { session, task, governor: id, worker, start });
                }
                return;
            }
            FromGovernor::Finished(finished) => {
                let Some(session) = self.usable(SessionId(finished.session)) else { return };
                let session_id = session.id;
                // Of these it may tell that they are finished once more.
                session.tell_repeated(effects);
                let count = session.tasks_finished(id, &finished, effects);
                self.ledger.release_from(id, session_id, finished.tasks.iter().map(|report| report.task));
                let Some(session) = self.usable(session_id) else { return };
                session.shares.take(id, count);
                self.governors.finish(id, count);
                self.fetch_finished(session_id, effects);
                self.store_finished(&finished, effects);
                self.note(session_id);
                if self.is_logged {
                    self.log_finished(id, finished, count, effects);
                }
                if let Some(session) = self.sessions.get_mut(&session_id) {
                    session.tell_repeated(effects);
                }
            }
            FromGovernor::Withheld { session, tasks } => {
                self.ledger.release_from(id, session, tasks.iter().copied());
                self.withheld(session, &tasks, effects);
            }
            FromGovernor::Failed { session, task, failure } => self.task_failed(id, session, task, failure, effects),
            FromGovernor::GaveBack { session: session_id, tasks } => {
                let Some(session) = self.usable(session_id) else { return };
                let count = session.take_back(id, &tasks, effects);
                if session.ready.has_given_back() {
                    self.given_back.insert(session_id);
                }
                self.governors.take(id, count);
                self.ledger.release_from(id, session_id, tasks);
                self.note(session_id);
            }
            FromGovernor::CancelledWaiting { session, ticket, tasks } => {
                self.cancelled_waiting(id, session, ticket, tasks, effects);
            }
            FromGovernor::InputLost { session, object, transfer, why } => {
                self.input_lost(id, session, (object, transfer), &why, effects);
            }
            FromGovernor::Arrived { session, object, transfer } => {
                if let Some(session) = self.usable(session) {
                    session.has_arrived(id, object, transfer);
                }
                return;
            }
            FromGovernor::CatchUp { ticket } => {
                effects.send(id, ToGovernor::CaughtUp { ticket });
                return;
            }
            FromGovernor::Lending { tasks } => self.governors.set_lending(id, u64::from(tasks)),
            FromGovernor::Fetched { ticket, content } => {
                if let Some(fetch) = self.fetches.remove(&ticket) {
                    self.fetched(fetch, content, effects);
                }
            }
        }
        self.place(effects);
    }

    fn governor_joined(&mut self, id: GovernorId, cpus: u32, resources: Supplies, effects: &mut Effects<D>) {
        // The number may be that of one whose loss was not noticed.
        self.governor_lost(id, "another one has joined under its number", effects);
        if let Err(why) = check_joining(cpus, &resources) {
            return effects.send(id, ToGovernor::Refused { why });
        }
        if !self.governors.join(id, cpus) {
            return;
        }
        self.ledger.join(id, resources);
        self.log(effects, || LogEntry::GovernorJoined { governor: id, cpus, host: String::new() });
        if let Some(at) = self.end_of_work {
            effects.send(id, ToGovernor::EndOfWork { left: at.since(self.now) });
        }
        for session in self.sessions.values_mut() {
            session.answered.clear();
        }
        self.place(effects);
    }

    /// A governor is gone. Sessions with tasks there, or objects that nobody else has and that are still needed, have these run and made
    /// again, or end.
    fn governor_lost(&mut self, id: GovernorId, why: &str, effects: &mut Effects<D>) {
        let Some(governor) = self.governors.remove(id) else { return };
        self.ledger.lose(id);
        self.log(effects, || LogEntry::GovernorLost { governor: id, why: why.to_owned() });
        for session_id in governor.sessions {
            let Some(session) = self.usable(session_id) else { continue };
            let tasks = session.shares.close(id).unwrap_or_default();
            if session.recovers {
                match session.recover(id, effects) {
                    Ok(()) => {
                        self.note(session_id);
                        self.answer_for(id, session_id, effects);
                    }
                    Err(NotRepeated { task, why: what }) => {
                        let message = format!("{id} was lost ({why}), and {what}");
                        let kind = if task.is_some() { ErrorKind::Task } else { ErrorKind::Session };
                        let error = RequestError { kind, task, ..session_error(session_id, message) };
                        self.fail_session(session_id, error, effects);
                    }
                }
                continue;
            }
            let objects_are_lost = session.lose_holder(id);
            if tasks > 0 || objects_are_lost {
                let message = format!("{id} was lost ({why}) with tasks or objects of this session");
                self.fail_session(session_id, session_error(session_id, message), effects);
            } else {
                self.note(session_id);
                self.answer_for(id, session_id, effects);
            }
        }
        let asked: Vec<u64> =
            self.fetches.iter().filter(|(_, fetch)| fetch.governor == Some(id)).map(|(ticket, _)| *ticket).collect();
        for ticket in asked {
            if let Some(fetch) = self.fetches.remove(&ticket) {
                self.fetch_again(fetch, effects);
            }
        }
        self.place(effects);
    }

    pub(super) fn task_failed(
        &mut self,
        governor: GovernorId,
        id: SessionId,
        task: u32,
        failure: Failure,
        effects: &mut Effects<D>,
    ) {
        if let Some(session) = self.usable(id) {
            session.outputs.add(task, failure.output.clone());
            let error = session.failed_error(governor, task, failure.clone());
            self.log(effects, || LogEntry::TaskFailed { session: id, task, governor, failure });
            self.fail_session(id, error, effects);
        }
    }

    fn fail_session(&mut self, id: SessionId, error: RequestError, effects: &mut Effects<D>) {
        let Some(mut session) = self.sessions.remove(&id) else { return };
        let error = Arc::new(error);
        session.failure = Some(error.clone());
        self.log(effects, || LogEntry::SessionFailed { session: id, error: error.clone() });
        session.answer_waits_with(&error, effects);
        self.abandon(&mut session, effects);
        session.forget_graph();
        self.sessions.insert(id, session);
        self.refuse_fetches(id, &error, effects);
    }

    /// When the latest event happened.
    pub(super) fn now(&self) -> Time {
        self.now
    }

    /// A session that has not failed.
    pub(super) fn usable(&mut self, id: SessionId) -> Option<&mut Session<D>> {
        self.sessions.get_mut(&id).filter(|session| session.failure.is_none())
    }

    /// Notes what a change of a session may have made different: whether it has something to be handed out, and whether a
    /// governor has too much of it.
    pub(super) fn note(&mut self, id: SessionId) {
        self.note_wanting(id);
        let Some(session) = self.sessions.get(&id).filter(|session| session.failure.is_none()) else { return };
        if session.has_work() {
            self.fair.add(id, session.had);
        }
        if session.has_losses && session.ready.has_given_back() {
            self.given_back.insert(id);
        }
        if session.shares.largest_excess().is_some() {
            self.uneven.insert(id);
        } else {
            self.uneven.remove(&id);
        }
    }

    /// Hands out what can be handed out.
    pub(super) fn place(&mut self, effects: &mut Effects<D>) {
        self.has_more = false;
        self.place_waiting_for_resources(effects);
        if !self.fair.is_empty() {
            self.place_all(effects);
            self.place_waiting_for_resources(effects);
        }
        self.balance(effects);
    }

    /// Lets sessions have turns in which tasks of theirs are handed out, as long as there is room.
    fn place_all(&mut self, effects: &mut Effects<D>) {
        let mut round = Round::default();
        let (mut blocked, mut broken) = (Vec::new(), Vec::new());
        while let Some((id, had)) = self.fair.pop() {
            let Some(session) = self.sessions.get_mut(&id).filter(|session| session.failure.is_none()) else {
                continue;
            };
            session.had = had;
            let governors = &mut self.governors;
            let turn = Placer { session, governors, round: &mut round, effects }.turn();
            if session.had > had {
                self.fair.served(had);
            }
            let (had, is_broken) = (session.had, session.broken.is_some());
            self.note_wanting(id);
            if is_broken {
                broken.push(id);
                continue;
            }
            match turn {
                Turn::Empty => {}
                Turn::More => self.fair.put_back(id, had),
                Turn::Blocked => blocked.push((id, had)),
            }
            self.note_excess(id);
            if blocked.len() >= BLOCKED_MAX && self.governors.free() == 0 {
                break;
            }
            if round.count() >= PLACED_MAX {
                self.has_more |= !self.fair.is_empty();
                break;
            }
        }
        for (id, had) in blocked {
            self.fair.put_back(id, had);
        }
        // Also of sessions that had no turn.
        for id in std::mem::take(&mut self.given_back) {
            let Some(session) = self.sessions.get_mut(&id).filter(|session| session.failure.is_none()) else {
                continue;
            };
            let governors = &mut self.governors;
            let turn = Placer { session, governors, round: &mut round, effects }.place_given_back();
            self.has_more |= turn == Turn::More && session.ready.has_given_back();
            if session.ready.has_given_back() {
                self.given_back.insert(id);
            }
            self.note_excess(id);
        }
        round.send(effects);
        for id in broken {
            let why = self.sessions.get_mut(&id).and_then(|session| session.broken.take()).unwrap_or_default();
            self.fail_session(id, session_error(id, format!("a governor was lost, and {why}")), effects);
        }
    }

    fn place_waiting_for_resources(&mut self, effects: &mut Effects<D>) {
        if self.ledger.may_find_more() && !self.wanting.is_empty() {
            self.place_wanting(effects);
        }
    }

    pub(super) fn note_excess(&mut self, id: SessionId) {
        if self.sessions.get(&id).is_some_and(|session| session.shares.largest_excess().is_some()) {
            self.uneven.insert(id);
        }
    }

    /// Asks for tasks back when a governor has nothing to do and another one has too much.
    fn balance(&mut self, effects: &mut Effects<D>) {
        let free = self.governors.free();
        if free == 0 || self.governors.alive() < 2 || self.uneven.is_empty() {
            return;
        }
        let after = self.uneven.range((std::ops::Bound::Excluded(self.last_asked), std::ops::Bound::Unbounded));
        let all: Vec<SessionId> =
            after.chain(self.uneven.range(..=self.last_asked)).copied().take(ASKED_BACK_MAX).collect();
        for id in all {
            self.last_asked = id;
            if let Some(session) = self.usable(id) {
                session.ask_back(free, effects);
            }
        }
    }

    fn fetched(&mut self, fetch: PendingFetch, content: Result<D, String>, effects: &mut Effects<D>) {
        if self.sessions.contains_key(&fetch.session) {
            self.deliver(fetch, content, effects);
        }
    }

    /// Gives content to whoever wants it, or says why there is none.
    pub(super) fn deliver(&mut self, fetch: PendingFetch, content: Result<D, String>, effects: &mut Effects<D>) {
        if content.is_ok()
            && matches!(fetch.to, FetchFor::Client(_))
            && let Some(session) = self.usable(fetch.session)
        {
            session.is_fetched(fetch.object);
        }
        let refuse = |why| RequestError::request(format!("object {} cannot be fetched: {why}", fetch.object));
        match fetch.to {
            FetchFor::Results => self.result_fetched(fetch.session, fetch.object, content, effects),
            FetchFor::Content(number) => effects.content(number, content.map_err(refuse)),
            FetchFor::Governor(governor) => self.pass_on(governor, fetch.session, fetch.object, content, effects),
            FetchFor::Client(to) => match content {
                Ok(content) => effects.reply(to, Reply::Object { info: fetch.info.unwrap_or_default(), content }),
                Err(why) => effects.error(to, refuse(why)),
            },
        }
    }
}
