//! Requests of clients.

use super::effects::{Effects, Reply, ReplyTo};
use super::event::Command;
use super::placer::empty_run;
use super::reactor::{Client, FetchFor, PendingFetch, Server};
use super::session::Session;
use super::submit::check_name;
use super::waits::{ClientFetch, Item};
use rain_model::id::{ClientId, GovernorId, NONE, ObjectIndex, SessionId};
use rain_protocol::client::RequestError;
use rain_protocol::log::LogEntry;
use rain_protocol::peer::{Failure, Run, ToGovernor};

/// Content of this size is worth a client's connection to the governor that has it, bytes.
const DIRECT_BYTES_MIN: u32 = 256 << 10;
/// Governors named to a client that fetches content itself.
const HOLDERS_MAX: usize = 3;

impl<D: Clone> Server<D> {
    pub(super) fn carry_out(
        &mut self,
        to: ReplyTo,
        command: Command<D>,
        effects: &mut Effects<D>,
    ) -> Result<(), RequestError> {
        match command {
            Command::NewSession { name } => {
                let id = self.new_session(to.client, name.clone())?;
                self.log(effects, || LogEntry::SessionOpened { session: id, name, client: to.client });
                effects.reply(to, Reply::Session(id));
            }
            Command::CloseSession { session } => {
                self.owned_session(to.client, session)?;
                self.remove_session(session, effects);
                if let Some(client) = self.clients.get_mut(&to.client) {
                    client.sessions.retain(|other| *other != session);
                }
                self.place(effects);
                effects.reply(to, Reply::Done);
            }
            Command::Submit { session, submission } => {
                let cpus_max = self.governors.cpus_max();
                if self.is_fixed {
                    self.check_resources(&submission.kinds)?;
                }
                let added = self.usable_session(to.client, session)?.items_added(&submission)?;
                let sessions = &self.sessions;
                self.budget.check(added, || {
                    let items = |all: bool| -> u64 {
                        let counted = sessions.values().filter(|session| all || session.client == to.client);
                        counted.map(|session| session.items_held()).sum()
                    };
                    (items(true), items(false))
                })?;
                let check = self.check;
                self.usable_session(to.client, session)?.submit(*submission, cpus_max, check)?;
                self.log_submit(session, effects);
                self.note(session);
                effects.reply(to, Reply::Done);
                self.place(effects);
            }
            Command::Wait { session, tasks, objects } => {
                self.usable_session(to.client, session)?.wait(to, tasks, objects, effects)?;
            }
            Command::WaitSome { session, tasks, objects } => {
                self.usable_session(to.client, session)?.wait_some(to, tasks, objects, effects)?;
            }
            Command::WaitAll { session } => self.usable_session(to.client, session)?.wait_all(to, effects),
            Command::Watch { session, tasks, objects } => {
                self.usable_session(to.client, session)?.watch(to, tasks, objects, effects)?;
            }
            Command::WatchNext { session, watch } => {
                self.usable_session(to.client, session)?.watch_next(to, watch, effects)?;
            }
            Command::Unwatch { session, watch } => {
                self.usable_session(to.client, session)?.unwatch(watch, effects);
                effects.reply(to, Reply::Done);
            }
            Command::Fetch { session: id, object, direct } => {
                let session = self.usable_session(to.client, id)?;
                session.check_fetch(object)?;
                session.check_not_cancelled(Item::Object(object))?;
                let fetch = ClientFetch { to, object, direct };
                if session.object_is_finished(object) {
                    self.start_client_fetch(id, fetch, effects);
                    self.place(effects);
                } else {
                    session.add_fetch(fetch);
                }
            }
            Command::Unkeep { session, objects } => {
                let session = self.usable_session(to.client, session)?;
                session.unkeep(&objects, effects)?;
                effects.reply(to, Reply::Done);
            }
            Command::Cancel { session, tasks } => {
                self.usable_session(to.client, session)?.check_items(&tasks, &[])?;
                let tasks = self.cancel(session, &tasks, effects);
                self.fetch_finished(session, effects);
                effects.reply(to, Reply::Some { tasks, objects: Vec::new() });
                self.place(effects);
            }
            Command::Forget { session: id, tasks, constants, kinds } => {
                let session = self.usable_session(to.client, id)?;
                let objects = session.forget(tasks, constants, kinds, effects)?;
                effects.reply(to, Reply::Forgotten { session: id, objects });
            }
            Command::CancelWaiting { session, tasks } => {
                self.usable_session(to.client, session)?.check_items(&tasks, &[])?;
                self.cancel_waiting(to, session, tasks, effects);
                self.place(effects);
            }
            Command::Info { session, tasks, objects } => {
                let session = self.usable_session(to.client, session)?;
                session.check_items(&tasks, &objects)?;
                let (tasks, objects) = session.infos(&tasks, &objects);
                effects.reply(to, Reply::Infos { tasks, objects });
            }
            Command::Outputs { session, tasks } => {
                let session = self.owned_session(to.client, session)?;
                if session.failure.is_none() {
                    session.check_items(&tasks, &[])?;
                }
                let (outputs, count) = session.outputs.answer(&tasks);
                effects.reply(to, Reply::Outputs { outputs, count });
            }
            Command::Explain { session, tasks } => {
                effects.reply(to, Reply::Explanations(self.explain(session, &tasks)?));
            }
            Command::Status => effects.reply(to, Reply::Status(self.status())),
        }
        Ok(())
    }

    fn new_session(&mut self, client_id: ClientId, name: String) -> Result<SessionId, RequestError> {
        check_name("the name of the session", &name)?;
        let client: &mut Client = self
            .clients
            .get_mut(&client_id)
            .ok_or_else(|| RequestError::protocol("no handshake before the request"))?;
        let id = SessionId(self.next_session);
        self.next_session += 1;
        client.sessions.push(id);
        let session = Session { recovers: self.recovers, ..Session::new(id, name, client_id, client.python.clone()) };
        self.sessions.insert(id, session);
        Ok(id)
    }

    fn owned_session(&mut self, client: ClientId, id: SessionId) -> Result<&mut Session<D>, RequestError> {
        self.sessions
            .get_mut(&id)
            .filter(|session| session.client == client && !session.closing)
            .ok_or_else(|| RequestError::request(format!("{id} does not exist, was closed, or is another client's")))
    }

    /// A session that has not failed.
    fn usable_session(&mut self, client: ClientId, id: SessionId) -> Result<&mut Session<D>, RequestError> {
        let session = self.owned_session(client, id)?;
        match &session.failure {
            Some(error) => Err((**error).clone()),
            None => Ok(session),
        }
    }

    /// Starts the fetches whose objects have just been finished.
    pub(super) fn fetch_finished(&mut self, id: SessionId, effects: &mut Effects<D>) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let remade = std::mem::take(&mut session.remade);
        for fetch in session.take_due_fetches() {
            self.start_client_fetch(id, fetch, effects);
        }
        for object in remade {
            for to in self.parked.remove(&(id, object)).unwrap_or_default() {
                if !self.start_fetch(to, id, object, effects) {
                    let why = Err("it could not be made again".to_owned());
                    self.deliver(PendingFetch { to, governor: None, session: id, object, info: None }, why, effects);
                }
            }
        }
    }

    fn start_client_fetch(&mut self, id: SessionId, fetch: ClientFetch, effects: &mut Effects<D>) {
        let ClientFetch { to, object, direct } = fetch;
        if direct
            && let Some(session) = self.sessions.get_mut(&id)
            && session.size_of(object) >= DIRECT_BYTES_MIN
        {
            let governors: Vec<GovernorId> = session.holders_of_kept(object).take(HOLDERS_MAX).collect();
            if !governors.is_empty() {
                session.is_fetched(object);
                return effects.reply(to, Reply::Holders { info: session.object_info(object), governors });
            }
        }
        if !self.start_fetch(FetchFor::Client(to), id, object, effects) {
            let error = RequestError::request(format!("object {object} is not kept any more"));
            effects.error(to, error);
        }
    }

    /// A client has been told that it can have this object from the server.
    pub(super) fn content_wanted(&mut self, number: u64, id: SessionId, object: u32, effects: &mut Effects<D>) {
        let session = self.sessions.get(&id).filter(|session| session.failure.is_none());
        let is_finished = session.is_some_and(|session| session.object_is_finished(object));
        if !is_finished || !self.start_fetch(FetchFor::Content(number), id, object, effects) {
            let error = RequestError::request(format!("object {object} of {id} is not here"));
            effects.content(number, Err(error));
        }
        self.place(effects);
    }

    /// The governor that was asked for an object is lost: another one may have it.
    pub(super) fn fetch_again(&mut self, fetch: PendingFetch, effects: &mut Effects<D>) {
        if !self.start_fetch(fetch.to, fetch.session, fetch.object, effects) {
            self.deliver(fetch, Err("the governor that had it was lost".to_owned()), effects);
        }
    }

    /// Asks a governor for a finished, kept object, unless it is still here only; whether it is anywhere.
    pub(super) fn start_fetch(&mut self, to: FetchFor, id: SessionId, object: u32, effects: &mut Effects<D>) -> bool {
        let Some(session) = self.sessions.get_mut(&id) else { return false };
        let info = matches!(to, FetchFor::Client(_)).then(|| session.object_info(object));
        let governor = match to {
            _ if !session.is_there(object) => None,
            FetchFor::Governor(_) => session.holder_of(object),
            _ => session.holders_of_kept(object).next(),
        };
        if governor.is_none() && session.is_to_be_made_again(object) {
            let made_again = session.make_again(object).map(|tasks| {
                session.tell_repeated(effects);
                session.push_again(tasks);
            });
            return match made_again {
                Ok(()) => {
                    self.parked.entry((id, object)).or_default().push(to);
                    self.note(id);
                    true
                }
                Err(why) => {
                    session.broken = Some(why.clone());
                    self.note(id);
                    self.deliver(PendingFetch { to, governor, session: id, object, info }, Err(why), effects);
                    true
                }
            };
        }
        let pending = PendingFetch { to, governor, session: id, object, info };
        if let Some(governor) = governor {
            let ticket = self.next_ticket;
            self.next_ticket += 1;
            self.fetches.insert(ticket, pending);
            effects.send(governor, ToGovernor::Fetch { session: id, object, ticket });
            return true;
        }
        let Some(content) = self.sessions.get(&id).and_then(|session| session.constant(object).cloned()) else {
            return false;
        };
        self.deliver(pending, Ok(content), effects);
        true
    }

    /// Passes an object on to a governor that could not get it from those who have it.
    pub(super) fn pass_on(
        &mut self,
        governor: GovernorId,
        id: SessionId,
        object: ObjectIndex,
        content: Result<D, String>,
        effects: &mut Effects<D>,
    ) {
        let Some(session) = self.usable(id).filter(|session| session.shares.knows(governor)) else { return };
        let Some(record) = session.objects.get_mut(object) else { return };
        // It may be lost itself by now, or not be needed any more.
        if record.mark.is_lost() || record.readers() == 0 || session.holders.has(record.mark, governor) {
            return;
        }
        match content {
            Ok(content) => {
                session.holders.add(&mut record.mark, governor);
                let run = Run {
                    constants: vec![(object, content)],
                    pins: vec![object],
                    ..empty_run(id, session.empty_batch())
                };
                effects.send(governor, ToGovernor::Run(run));
            }
            Err(why) => self.cannot_bring(governor, id, object, &why, effects),
        }
    }

    /// A governor has found nobody who could give it an object that tasks of it read.
    pub(super) fn input_lost(
        &mut self,
        governor: GovernorId,
        id: SessionId,
        (object, transfer): (ObjectIndex, u32),
        why: &str,
        effects: &mut Effects<D>,
    ) {
        let recovers = self.recovers;
        let Some(session) = self.usable(id) else { return };
        // Nobody may need it any more, because tasks were cancelled; then its holders have dropped it.
        if !recovers && session.is_held(object) {
            return self.cannot_bring(governor, id, object, why, effects);
        }
        // Who has it may be lost, or cannot be reached from there.
        if recovers && session.has_not_arrived(governor, object, transfer, effects) {
            self.start_fetch(FetchFor::Governor(governor), id, object, effects);
        }
    }

    /// A session ends because a task of a governor cannot be given what it reads.
    fn cannot_bring(
        &mut self,
        governor: GovernorId,
        id: SessionId,
        object: ObjectIndex,
        why: &str,
        effects: &mut Effects<D>,
    ) {
        let message = format!("input object {object} could not be brought {why}");
        self.task_failed(governor, id, NONE, Failure { message, ..Failure::default() }, effects);
    }
}
