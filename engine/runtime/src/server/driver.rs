//! The server's thread: clients through their front, governors through a transport, the state machine between.

use super::background::Background;
use super::client::{Client, UNANSWERED_MAX};
use super::group::result_of;
use super::logging::{Logging, host_of};
use super::machines::Machines;
use super::orders::Orders;
use super::parts::{Done, ServerParts};
use super::replies::{Empty, ErrorFrames, StatusReply};
use super::requests::{Prepared, fetch_command, is_slow, plain_command, prepare, prepare_submit};
use super::turn::Turn;
use crate::end_of_time::{Due, EndOfTime, ResultWriter, STORE_TIME_MAX};
use crate::facts::ProcessFacts;
use crate::memory;
use crate::questions::{ContentAnswer, ContentRequests, OrderRequests, StatusRequests, View};
use crate::stop::Stop;
use rain_data::{Object, Store};
use rain_events::seconds_since_1970;
use rain_model::id::{ClientId, GovernorId, SessionId};
use rain_model::resources::Supplies;
use rain_model::time::Time;
use rain_protocol::client::{Request, RequestError, Viewed, error_frame, ok_frame};
use rain_protocol::peer::{FromGovernor, Message, ToGovernor};
use rain_server::{Action, Command, Effects, Event, Reply, Server, check_joining};
use rain_transport::clients::{Clients, FrontEvent, PollError};
use rain_transport::{Peer, Transport, TransportEvent, Wake};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the last replies may take at the end.
const GOODBYE_MAX: Duration = Duration::from_secs(1);
/// Bytes of memory that a task or an object takes, about, here and in a governor in this process.
const ITEM_BYTES: u64 = 50;
/// The part of this process's memory that tasks and objects may take.
const ITEMS_PART: u64 = 2;
/// The part of this process's memory that what one client has uploaded may take while it waits for its submit.
const UPLOAD_PART: u64 = 4;

pub(crate) struct ServerDriver<C, T> {
    pub(super) machine: Server<Arc<Object>>,
    pub(super) front: C,
    pub(super) transport: T,
    pub(super) store: Arc<Store>,
    pub(super) clients: HashMap<ClientId, Client>,
    /// The client of each session.
    pub(super) sessions: HashMap<u32, ClientId>,
    /// Clients with questions to governors that wait for their turn.
    pub(super) bringing: BTreeSet<ClientId>,
    /// Groups of results of which a client is to be told something.
    pub(super) told: BTreeSet<(ClientId, u64)>,
    pub(super) background: Background<Done>,
    /// One thread, for what clients want to see: it may take long, and holds nothing else up.
    pub(super) viewing: Background<Done>,
    pub(super) view: Option<View>,
    pub(super) facts: ProcessFacts,
    pub(super) stop: Stop,
    pub(super) joined: u32,
    /// Governors have had numbers below this.
    pub(super) seen: u32,
    pub(super) cpus: u32,
    /// Governors are elsewhere: what clients fetch is brought here.
    pub(super) brings_contents: bool,
    pub(super) upload_bytes_max: u64,
    pub(super) end: EndOfTime,
    pub(super) results: Option<ResultWriter>,
    pub(super) status_requests: StatusRequests,
    pub(super) content_requests: ContentRequests,
    pub(super) order_requests: OrderRequests,
    pub(super) orders: Orders,
    /// Content that is on its way, by number.
    pub(super) wanted: HashMap<u64, ContentAnswer>,
    pub(super) next_wanted: u64,
    pub(super) ends_with_governors: bool,
    /// The first governor that was lost, and why.
    pub(super) lost: Option<(GovernorId, String)>,
    pub(super) log: Logging,
    pub(super) machines: Machines,
    /// The moment from which the machine's time counts.
    pub(super) start: Instant,
}

impl<C: Clients, T: Transport<Arc<Object>>> ServerDriver<C, T> {
    pub(crate) fn new(parts: ServerParts<C, T>) -> Self {
        let ServerParts { clients, transport, store, facts, stop, log } = parts;
        let mut machine = Server::new().with_check(rain_exec::check_built_in);
        let usable = memory::usable_bytes();
        machine.set_items_max(usable / ITEMS_PART / ITEM_BYTES);
        let log = Logging::new(log, &mut machine);
        Self {
            machine,
            background: Background::new(clients.wake()),
            viewing: Background::with_threads(1, clients.wake()),
            view: None,
            front: clients,
            transport,
            store,
            clients: HashMap::new(),
            sessions: HashMap::new(),
            bringing: BTreeSet::new(),
            told: BTreeSet::new(),
            facts,
            stop,
            joined: 0,
            seen: 0,
            cpus: 0,
            brings_contents: false,
            upload_bytes_max: usable / UPLOAD_PART,
            end: EndOfTime::default(),
            results: None,
            status_requests: StatusRequests::default(),
            content_requests: ContentRequests::default(),
            order_requests: OrderRequests::default(),
            orders: Orders::default(),
            wanted: HashMap::new(),
            next_wanted: 0,
            ends_with_governors: false,
            lost: None,
            log,
            machines: Machines::default(),
            start: Instant::now(),
        }
    }

    /// Brings what clients fetch from governors elsewhere, and holds it until they have all of it.
    pub(crate) fn bring_contents(&mut self) {
        self.brings_contents = true;
    }

    /// Has tasks refused that ask for what no governor has: the ones that it begins with are all that there will be.
    pub(crate) fn take_no_governors(&mut self) {
        self.machine.set_fixed();
    }

    /// Has sessions go on when governors are lost.
    pub(crate) fn recover(&mut self) {
        self.machine.set_recovers();
    }

    /// Says when the time is over, and where results go then; before governors join.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn set_end(&mut self, end: EndOfTime, wake: Wake) -> std::io::Result<()> {
        if let Some(at) = end.end_of_work {
            let left = Duration::try_from_secs_f64(at - seconds_since_1970()).unwrap_or_default();
            self.machine.set_end_of_work(Time::new(self.start.elapsed() + left));
        }
        if let Some(directory) = &end.results {
            self.machine.set_results_wanted();
            self.results = Some(ResultWriter::start(directory.clone(), self.store.clone(), wake)?);
        }
        self.end = end;
        Ok(())
    }

    /// Has the server answer what other threads of this process ask.
    pub(crate) fn answer(&mut self, status: StatusRequests, contents: ContentRequests, wake: Wake) {
        status.set_wake(wake.clone());
        contents.set_wake(wake);
        self.status_requests = status;
        self.content_requests = contents;
    }

    /// Has the server carry out what other threads of this process order.
    pub(crate) fn obey(&mut self, orders: OrderRequests, wake: Wake) {
        orders.set_wake(wake);
        self.order_requests = orders;
    }

    /// Has clients shown what they want to see.
    pub(crate) fn show(&mut self, view: View) {
        self.view = Some(view);
    }

    /// Has the server end when a governor is lost.
    pub(crate) fn end_with_governors(&mut self) {
        self.ends_with_governors = true;
    }

    /// Whether it is to stop, or cannot go on.
    pub(crate) fn is_over(&self) -> bool {
        self.stop.is_requested() || (self.ends_with_governors && self.lost.is_some())
    }

    /// The governor whose loss has ended it, and why it was lost.
    pub(crate) fn lost(&self) -> Option<(GovernorId, String)> {
        self.lost.clone().filter(|_| self.ends_with_governors)
    }

    /// All governors that have joined have had numbers below this.
    pub(crate) fn governors_seen(&self) -> u32 {
        self.seen
    }

    /// Cpus of all governors that have joined.
    pub(crate) fn cpus(&self) -> u32 {
        self.cpus
    }

    /// Serves until `count` governors have joined, or it is to stop.
    pub(crate) fn serve_until_joined(&mut self, count: u32) -> Result<(), PollError> {
        let mut wait = None;
        while self.joined < count && !self.is_over() {
            wait = self.turn(wait)?.then_some(Duration::ZERO);
        }
        Ok(())
    }

    /// Serves until it is to stop.
    pub(crate) fn serve(&mut self) -> Result<(), PollError> {
        let mut has_more = true;
        while !self.is_over() {
            match self.end.due(seconds_since_1970()) {
                Ok(Due::StoreResults) => {
                    tracing::info!("the time for work is over");
                    self.store_results();
                }
                Ok(Due::StopWork) => self.handle(Event::TimeIsOver),
                Err(wait) => has_more = self.turn(if has_more { Some(Duration::ZERO) } else { wait })?,
            }
        }
        self.store_results();
        let patience = Instant::now() + STORE_TIME_MAX;
        while !self.machine.results_are_stored() && Instant::now() < patience {
            let left = patience.saturating_duration_since(Instant::now());
            has_more = self.turn(Some(if has_more { Duration::ZERO } else { left }))?;
        }
        self.front.flush_and_close(GOODBYE_MAX);
        Ok(())
    }

    /// Has results stored that are kept, if there is a place for them.
    fn store_results(&mut self) {
        if self.results.is_some() {
            self.handle(Event::StoreResults);
        }
    }

    pub(super) fn handle(&mut self, event: Event<Arc<Object>>) {
        let mut effects = Effects::new();
        self.handle_at(Instant::now(), event, &mut effects);
    }

    /// Has the machine handle an event, and does what follows.
    pub(super) fn handle_at(&mut self, now: Instant, event: Event<Arc<Object>>, effects: &mut Effects<Arc<Object>>) {
        let time = Time::new(now.saturating_duration_since(self.start));
        self.machine.handle(time, event, effects);
        self.log.take(now, effects, &self.transport);
        self.carry_out(now, effects);
    }

    /// Waits until something happens, or for so long, and deals with it: of each source as much as fits into its part of the turn.
    /// Whether there may be more.
    fn turn(&mut self, wait: Option<Duration>) -> Result<bool, PollError> {
        self.front.poll(wait)?;
        let has_more_requests = self.take_requests();
        let has_more_messages = self.take_messages();
        while let Some(done) = self.background.take_done().or_else(|| self.viewing.take_done()) {
            self.take_done(done);
        }
        while self.results.as_ref().is_some_and(ResultWriter::take_written) {
            self.handle(Event::ResultStored);
        }
        self.answer_questions();
        self.take_orders();
        self.bring();
        if self.machine.has_more() {
            self.handle(Event::Continue);
        }
        self.tell_results();
        self.log.flush();
        Ok(has_more_requests || has_more_messages || self.machine.has_more())
    }

    fn take_requests(&mut self) -> bool {
        let mut effects = Effects::new();
        let mut turn = Turn::default();
        while let Some(now) = turn.next_moment() {
            let Some(event) = self.front.next_event() else { return false };
            if let Some(event) = self.front_event(event) {
                self.handle_at(now, event, &mut effects);
            }
        }
        true
    }

    fn take_messages(&mut self) -> bool {
        let mut effects = Effects::new();
        let mut turn = Turn::default();
        while let Some(now) = turn.next_moment() {
            let Some(event) = self.next_message() else { return false };
            self.handle_at(now, event, &mut effects);
        }
        true
    }

    /// Answers what other threads of this process ask.
    fn answer_questions(&mut self) {
        for answer in self.status_requests.take() {
            let reply = StatusReply::new(&self.facts, self.machine.status(), &self.machines, self.log.status());
            answer(serde_json::to_string(&reply).unwrap_or_default());
        }
        for request in self.content_requests.take() {
            let number = self.next_wanted;
            self.next_wanted += 1;
            self.wanted.insert(number, request.answer);
            let (session, object) = (SessionId(request.fetch.session), request.fetch.object);
            self.handle(Event::ContentWanted { number, session, object });
        }
    }

    /// Notes a governor that the machine will let in.
    fn note_joining(&mut self, governor: GovernorId, cpus: u32, resources: &Supplies) {
        if let Err(why) = check_joining(cpus, resources) {
            return tracing::warn!("{governor} is refused: {why}");
        }
        self.joined += 1;
        self.seen = self.seen.max(governor.0 + 1);
        self.cpus = self.cpus.saturating_add(cpus);
        self.machines.joined(governor, host_of(governor, &self.transport));
        tracing::info!("{governor} has joined with {cpus} cpus");
    }

    /// The next thing that a governor sent.
    fn next_message(&mut self) -> Option<Event<Arc<Object>>> {
        loop {
            match self.transport.try_receive()? {
                TransportEvent::Message { from: Peer::Governor(governor), message: Message::FromGovernor(message) } => {
                    if let FromGovernor::Joined { cpus, resources } = &message {
                        self.note_joining(governor, *cpus, resources);
                    }
                    return Some(Event::Governor { governor, message });
                }
                TransportEvent::Message { from, .. } => tracing::warn!("{from:?} sent what no server takes"),
                TransportEvent::Lost { peer: Peer::Governor(governor), why } => {
                    tracing::warn!("{governor} is lost: {why}");
                    self.machines.lost(governor, &why);
                    self.lost.get_or_insert((governor, why.clone()));
                    return Some(Event::GovernorLost { governor, why });
                }
                TransportEvent::Lost { .. } => {}
            }
        }
    }

    /// Tells governors `0 .. count` to end.
    pub(crate) fn stop_governors(&mut self, count: u32) {
        for number in 0..count {
            self.transport.send(Peer::Governor(GovernorId(number)), Message::ToGovernor(ToGovernor::Stop));
        }
    }

    fn front_event(&mut self, event: FrontEvent) -> Option<Event<Arc<Object>>> {
        match event {
            FrontEvent::Connected { client, local, python, name } => {
                tracing::info!("{client} connected: {name}");
                self.clients.insert(client, Client::new(local, self.upload_bytes_max));
                Some(Event::ClientConnected { client, python })
            }
            FrontEvent::Request { client, id, request } => self.request(client, id, request),
            FrontEvent::LargeRequest { client, frame } => {
                let uploads = self.clients.get(&client)?.share_uploads();
                let store = self.store.clone();
                self.front.hold(client);
                self.background.run(move || Done::Request { client, prepared: prepare(&frame, &uploads, &store) });
                None
            }
            FrontEvent::Closed { client } => {
                tracing::info!("{client} is gone");
                if let Some(facts) = self.clients.remove(&client) {
                    facts.sessions.iter().for_each(|session| _ = self.sessions.remove(session));
                }
                self.bringing.remove(&client);
                self.orders.forget(client);
                Some(Event::ClientLost { client })
            }
            FrontEvent::Woken => None,
        }
    }

    /// The event that a request is; `None` when it was answered, or goes to another thread first.
    fn request(&mut self, client: ClientId, id: u64, request: Request) -> Option<Event<Arc<Object>>> {
        if let Request::Results(results) = &request {
            self.ask_for_results(client, id, results);
            return None;
        }
        match self.command(client, id, request) {
            Ok(command) => self.event(client, id, command?),
            Err(error) => {
                self.front.send(client, error_frame(id, &error).into());
                None
            }
        }
    }

    fn event(&mut self, client: ClientId, id: u64, command: Command<Arc<Object>>) -> Option<Event<Arc<Object>>> {
        self.clients.get_mut(&client)?.unanswered += 1;
        Some(Event::Request { client, request: id.into(), command })
    }

    fn command(
        &mut self,
        client: ClientId,
        id: u64,
        request: Request,
    ) -> Result<Option<Command<Arc<Object>>>, RequestError> {
        let facts = self.clients.get_mut(&client).ok_or_else(|| RequestError::protocol("no handshake was made"))?;
        if facts.unanswered >= UNANSWERED_MAX {
            return Err(RequestError::request(format!("{UNANSWERED_MAX} requests of this client wait already")));
        }
        match request {
            Request::Submit(submit) => {
                let (uploads, store) = (facts.share_uploads(), self.store.clone());
                if !is_slow(&submit) {
                    return prepare_submit(*submit, &uploads, &store).map(Some);
                }
                self.front.hold(client);
                self.background.run(move || {
                    let prepared = Ok((id, Prepared::Submit(prepare_submit(*submit, &uploads, &store))));
                    Done::Request { client, prepared }
                });
                return Ok(None);
            }
            Request::Upload(upload) => {
                if !facts.sessions.contains(&upload.session) {
                    let id = SessionId(upload.session);
                    let why = format!("{id} does not exist, was closed, or is another client's");
                    return Err(RequestError::request(why));
                }
                facts.uploads().add(upload)?;
                self.front.send(client, ok_frame(id, &Empty {}).into());
                return Ok(None);
            }
            Request::Fetch(fetch) => {
                if fetch.offset > 0
                    && let Some((info, object)) = facts.fetched.get(fetch.session, fetch.object)
                {
                    self.send_object(client, id, info, object, fetch);
                    return Ok(None);
                }
                facts.fetches.insert(id.into(), fetch);
                if self.brings_contents {
                    facts.bringing.want(fetch.session, fetch.object, id.into());
                }
                return Ok(Some(fetch_command(&fetch, facts.local)));
            }
            Request::CloseSession(session) if facts.in_background > 0 => {
                facts.closing = Some((id, session));
                self.front.hold(client);
                return Ok(None);
            }
            Request::View(asked) => {
                let view = self.view.clone().ok_or_else(|| RequestError::request("this server shows nothing"))?;
                self.front.hold(client);
                self.viewing.run(move || Done::View { client, id, answer: view(&asked.path) });
                return Ok(None);
            }
            Request::Stop => {
                tracing::info!("{client} asks the server to stop");
                self.front.send(client, ok_frame(id, &Empty {}).into());
                self.stop.request();
                return Ok(None);
            }
            _ => {}
        }
        let command = plain_command(request)?;
        match &command {
            Command::CloseSession { session } if facts.sessions.contains(&session.0) => {
                facts.forget_session(session.0);
                self.sessions.remove(&session.0);
            }
            Command::Unkeep { session, objects } if self.brings_contents => {
                objects.iter().for_each(|object| facts.fetched.forget(session.0, *object));
            }
            _ => {}
        }
        Ok(Some(command))
    }

    /// Deals with what comes of a job.
    fn take_done(&mut self, done: Done) {
        match done {
            Done::Request { client, prepared } => {
                self.front.go_on(client);
                let event = match prepared {
                    Err(error) => return self.front.refuse(client, 0, error),
                    Ok((id, Prepared::Request(request))) => self.request(client, id, request),
                    Ok((id, Prepared::Submit(Ok(command)))) => self.event(client, id, command),
                    Ok((id, Prepared::Submit(Err(error)))) => {
                        return self.front.send(client, error_frame(id, &error).into());
                    }
                };
                if let Some(event) = event {
                    self.handle(event);
                }
            }
            Done::View { client, id, answer } => {
                self.front.go_on(client);
                let frame = match answer {
                    Ok(json) => ok_frame(id, &Viewed { json }),
                    Err(error) => error_frame(id, &error),
                };
                self.front.send(client, frame.into());
            }
            Done::Object { client, fetch, answer } => {
                self.send_answer(client, fetch, answer);
                self.is_done_in_background(client);
            }
            Done::Result { client, group, object, content } => {
                self.take_read_result(client, group, object, content);
                self.is_done_in_background(client);
            }
        }
    }

    /// A job for a client is done: a session that waited for it can be closed.
    fn is_done_in_background(&mut self, client: ClientId) {
        let Some(facts) = self.clients.get_mut(&client) else { return };
        facts.in_background -= 1;
        if facts.in_background == 0
            && let Some((id, session)) = facts.closing.take()
        {
            self.front.go_on(client);
            if let Some(event) = self.request(client, id, Request::CloseSession(session)) {
                self.handle(event);
            }
        }
    }

    fn carry_out(&mut self, now: Instant, effects: &mut Effects<Arc<Object>>) {
        let mut errors = ErrorFrames::default();
        for action in effects.drain() {
            match action {
                Action::Reply { client, request, reply } => {
                    let Some(reply) = self.orders.pass_on(client, request, reply) else { continue };
                    let fetch = self.answered(client, request);
                    match (result_of(request), reply) {
                        (Err((group, object)), reply) => self.take_result(client, group, object, reply, fetch),
                        (Ok(id), Reply::Error(error)) => self.front.send(client, errors.frame(id, error)),
                        (Ok(id), reply) => self.reply(client, id, reply, fetch),
                    }
                }
                Action::Send { governor, message } => self.send(now, governor, message),
                Action::Content { number, content } => {
                    if let Some(answer) = self.wanted.remove(&number) {
                        answer(content);
                    }
                }
                Action::StoreResult(result) => {
                    if let Some(writer) = &self.results {
                        writer.write(result);
                    }
                }
            }
        }
    }
}

impl<C, T> Drop for ServerDriver<C, T> {
    fn drop(&mut self) {
        self.status_requests.end();
        self.content_requests.end();
        self.order_requests.end();
    }
}
