//! The server's thread: clients through the front, governors through a transport, the state machine between.

use crate::end_of_time::{Due, EndOfTime, ResultWriter, STORE_TIME_MAX};
use crate::fetched::Fetched;
use crate::local::Stop;
use crate::questions::{ContentAnswer, ContentRequests, StatusRequests};
use crate::replies::{ElsewhereReply, Empty, InfoReply, SomeReply, StatusReply, object_frame};
use crate::uploads::{Uploads, make_constant};
use rain_data::{Object, Store};
use rain_model::graph::{decode_column, encode_column};
use rain_model::id::{ClientId, GovernorId, SessionId};
use rain_model::time::Time;
use rain_protocol::client::{Fetch, ObjectInfo, Request, RequestError, error_body, error_frame, error_head, ok_frame};
use rain_protocol::peer::{FromGovernor, Message, ToGovernor};
use rain_server::{Action, Command, Effects, Event, Reply, RequestId, Server, Submission};
use rain_transport::{Peer, Transport, TransportEvent, Wake};
use rain_transport_tcp::front::{ClientFront, FrontError, FrontEvent};
use serde::Serialize;
use serde_bytes::Bytes;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// How long the last replies may take at the end.
const GOODBYE_MAX: Duration = Duration::from_secs(1);

/// Facts about this process that a status reply shows.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ProcessFacts {
    pub(crate) pid: u32,
    pub(crate) version: &'static str,
    pub(crate) listen: String,
    /// Seconds since 1970.
    pub(crate) started: f64,
}

impl ProcessFacts {
    /// Facts about this process, which starts now.
    pub(crate) fn of_this_process(version: &'static str, listen: String) -> Self {
        Self { pid: std::process::id(), version, listen, started: seconds_since_1970() }
    }
}

fn seconds_since_1970() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// What wakes the server's thread, which sleeps in its front.
pub(crate) fn server_wake(front: &ClientFront) -> Wake {
    let waker = front.waker();
    Arc::new(move || {
        if let Err(error) = waker.wake() {
            tracing::error!("cannot wake the server: {error}");
        }
    })
}

struct ClientFacts {
    /// It may be answered with paths.
    local: bool,
}

pub(crate) struct ServerDriver<T> {
    machine: Server<Arc<Object>>,
    front: ClientFront,
    transport: T,
    /// Where content of submits goes.
    store: Arc<Store>,
    clients: HashMap<ClientId, ClientFacts>,
    fetches: HashMap<(ClientId, RequestId), Fetch>,
    uploads: Uploads,
    facts: ProcessFacts,
    stop: Stop,
    joined: u32,
    /// Governors have had numbers below this.
    seen: u32,
    cpus: u32,
    /// Set where governors are elsewhere.
    fetched: Option<Fetched>,
    end: EndOfTime,
    results: Option<ResultWriter>,
    status_requests: StatusRequests,
    content_requests: ContentRequests,
    /// Content that is on its way, by number.
    wanted: HashMap<u64, ContentAnswer>,
    next_wanted: u64,
    ends_with_governors: bool,
    /// The first governor that was lost, and why.
    lost: Option<(GovernorId, String)>,
    front_events: Vec<FrontEvent>,
    /// The moment from which the machine's time counts.
    start: Instant,
}

impl<T: Transport<Arc<Object>>> ServerDriver<T> {
    pub(crate) fn new(front: ClientFront, transport: T, store: Arc<Store>, facts: ProcessFacts, stop: Stop) -> Self {
        Self {
            machine: Server::new().with_check(rain_exec::check_built_in),
            front,
            transport,
            store,
            clients: HashMap::new(),
            fetches: HashMap::new(),
            uploads: Uploads::default(),
            facts,
            stop,
            joined: 0,
            seen: 0,
            cpus: 0,
            fetched: None,
            end: EndOfTime::default(),
            results: None,
            status_requests: StatusRequests::default(),
            content_requests: ContentRequests::default(),
            wanted: HashMap::new(),
            next_wanted: 0,
            ends_with_governors: false,
            lost: None,
            front_events: Vec::new(),
            start: Instant::now(),
        }
    }

    /// Holds what it fetches from governors elsewhere until its client has all of it.
    pub(crate) fn keep_fetched(&mut self) {
        self.fetched = Some(Fetched::default());
    }

    /// Says when the time is over, and where results go then; before governors join.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn set_end(&mut self, end: EndOfTime, wake: Wake) -> std::io::Result<()> {
        if let Some(at) = end.end_of_work {
            self.machine.set_end_of_work(at);
        }
        if let Some(directory) = &end.results {
            self.machine.set_results_wanted();
            self.results = Some(ResultWriter::start(directory.clone(), self.store.clone(), wake)?);
        }
        self.end = end;
        Ok(())
    }

    /// Answers these, too.
    pub(crate) fn answer(&mut self, status: StatusRequests, contents: ContentRequests, wake: Wake) {
        status.set_wake(wake.clone());
        contents.set_wake(wake);
        self.status_requests = status;
        self.content_requests = contents;
    }

    /// It is over when a governor is lost.
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
    pub(crate) fn serve_until_joined(&mut self, count: u32) -> Result<(), FrontError> {
        while self.joined < count && !self.is_over() {
            self.turn(None)?;
        }
        Ok(())
    }

    /// Serves until it is to stop.
    pub(crate) fn serve(&mut self) -> Result<(), FrontError> {
        while !self.is_over() {
            match self.end.due(seconds_since_1970()) {
                Ok(Due::StoreResults) => {
                    tracing::info!("the time for work is over");
                    self.store_results();
                }
                Ok(Due::StopWork) => self.handle(Event::TimeIsOver),
                Err(wait) => self.turn(wait)?,
            }
        }
        self.store_results();
        let patience = Instant::now() + STORE_TIME_MAX;
        while !self.machine.results_are_stored() && Instant::now() < patience {
            self.turn(Some(patience.saturating_duration_since(Instant::now())))?;
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

    /// The machine's time.
    fn now(&self) -> Time {
        Time::new(self.start.elapsed())
    }

    fn handle(&mut self, event: Event<Arc<Object>>) {
        let mut effects = Effects::new();
        self.machine.handle(self.now(), event, &mut effects);
        self.carry_out(&mut effects);
    }

    /// Waits until something happens, or for so long, and deals with it.
    fn turn(&mut self, wait: Option<Duration>) -> Result<(), FrontError> {
        let mut front_events = std::mem::take(&mut self.front_events);
        let mut effects = Effects::new();
        self.front.poll(wait, &mut front_events)?;
        for event in front_events.drain(..) {
            if let Some(event) = self.front_event(event) {
                self.machine.handle(self.now(), event, &mut effects);
                self.carry_out(&mut effects);
            }
        }
        self.front_events = front_events;
        while let Some(event) = self.next_message() {
            self.machine.handle(self.now(), event, &mut effects);
            self.carry_out(&mut effects);
        }
        while self.results.as_ref().is_some_and(ResultWriter::take_written) {
            self.handle(Event::ResultStored);
        }
        for answer in self.status_requests.take() {
            let reply = StatusReply { process: &self.facts, server: self.machine.status() };
            answer(serde_json::to_string(&reply).unwrap_or_default());
        }
        for request in self.content_requests.take() {
            let number = self.next_wanted;
            self.next_wanted += 1;
            self.wanted.insert(number, request.answer);
            let (session, object) = (SessionId(request.fetch.session), request.fetch.object);
            self.handle(Event::ContentWanted { number, session, object });
        }
        Ok(())
    }

    /// The next thing that a governor sent.
    fn next_message(&mut self) -> Option<Event<Arc<Object>>> {
        loop {
            match self.transport.try_receive()? {
                TransportEvent::Message { from: Peer::Governor(governor), message: Message::FromGovernor(message) } => {
                    if let FromGovernor::Joined { cpus } = &message {
                        self.joined += 1;
                        self.seen = self.seen.max(governor.0 + 1);
                        self.cpus = self.cpus.saturating_add(*cpus);
                        tracing::info!("{governor} has joined with {cpus} cpus");
                    }
                    return Some(Event::Governor { governor, message });
                }
                TransportEvent::Message { from, .. } => tracing::warn!("{from:?} sent what no server takes"),
                TransportEvent::Lost { peer: Peer::Governor(governor), why } => {
                    tracing::warn!("{governor} is lost: {why}");
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
                self.clients.insert(client, ClientFacts { local });
                Some(Event::ClientConnected { client, python })
            }
            FrontEvent::Request { client, id, request } => match self.command(client, id, request) {
                Ok(command) => command.map(|command| Event::Request { client, request: id, command }),
                Err(error) => {
                    self.front.send(client, error_frame(id, &error));
                    None
                }
            },
            FrontEvent::Closed { client } => {
                tracing::info!("{client} is gone");
                self.clients.remove(&client);
                self.fetches.retain(|(other, _), _| *other != client);
                self.uploads.forget(client, None);
                if let Some(fetched) = &mut self.fetched {
                    fetched.forget_session(client, None);
                }
                Some(Event::ClientLost { client })
            }
            FrontEvent::Woken => None,
        }
    }

    fn command(
        &mut self,
        client: ClientId,
        id: RequestId,
        request: Request,
    ) -> Result<Option<Command<Arc<Object>>>, RequestError> {
        let column = |bytes: &[u8]| decode_column(bytes).map_err(|e| RequestError::request(e.to_string()));
        Ok(Some(match request {
            Request::Hello(_) => return Err(RequestError::protocol("a second hello")),
            Request::NewSession(new) => Command::NewSession { name: new.name },
            Request::CloseSession(session) => {
                self.uploads.forget(client, Some(session.session));
                if let Some(fetched) = &mut self.fetched {
                    fetched.forget_session(client, Some(session.session));
                }
                Command::CloseSession { session: SessionId(session.session) }
            }
            Request::Submit(wire) => {
                let session = wire.session;
                let (uploads, store) = (&mut self.uploads, &self.store);
                let submission = Submission::from_wire(*wire, |object, data_type, content_type, data| {
                    let data = data.or_else(|| uploads.take(client, session, object));
                    let data = data.ok_or("has no content, and none was uploaded before")?;
                    let object = make_constant(store, data_type, content_type, data)?;
                    Ok((object.size(), Arc::new(object)))
                })?;
                Command::Submit { session: SessionId(session), submission: Box::new(submission) }
            }
            Request::Upload(upload) => {
                self.uploads.add(client, upload)?;
                self.front.send(client, ok_frame(id, &Empty {}));
                return Ok(None);
            }
            Request::Wait(items) => Command::Wait {
                session: SessionId(items.session),
                tasks: column(&items.tasks)?,
                objects: column(&items.objects)?,
            },
            Request::WaitSome(items) => Command::WaitSome {
                session: SessionId(items.session),
                tasks: column(&items.tasks)?,
                objects: column(&items.objects)?,
            },
            Request::Watch(items) => Command::Watch {
                session: SessionId(items.session),
                tasks: column(&items.tasks)?,
                objects: column(&items.objects)?,
            },
            Request::WatchNext(of) => Command::WatchNext { session: SessionId(of.session), watch: of.watch },
            Request::Unwatch(of) => Command::Unwatch { session: SessionId(of.session), watch: of.watch },
            Request::WaitAll(session) => Command::WaitAll { session: SessionId(session.session) },
            Request::Fetch(fetch) => {
                if let Some((info, content)) = self.fetched_before(client, fetch) {
                    let frame = self.object_reply(client, id, &info, &content, fetch);
                    self.front.send(client, frame);
                    return Ok(None);
                }
                self.fetches.insert((client, id), fetch);
                let direct = fetch.direct && fetch.offset == 0 && !self.is_local(client);
                Command::Fetch { session: SessionId(fetch.session), object: fetch.object, direct }
            }
            Request::Unkeep(unkeep) => {
                let objects = column(&unkeep.objects)?;
                if let Some(fetched) = &mut self.fetched {
                    objects.iter().for_each(|object| fetched.forget(client, unkeep.session, *object));
                }
                Command::Unkeep { session: SessionId(unkeep.session), objects }
            }
            Request::Cancel(cancel) => {
                let (session, tasks) = (SessionId(cancel.session), column(&cancel.tasks)?);
                if cancel.waiting {
                    Command::CancelWaiting { session, tasks }
                } else {
                    Command::Cancel { session, tasks }
                }
            }
            Request::Forget(forget) => Command::Forget {
                session: SessionId(forget.session),
                tasks: column(&forget.tasks)?,
                constants: column(&forget.objects)?,
                kinds: column(&forget.kinds)?,
            },
            Request::Info(items) => Command::Info {
                session: SessionId(items.session),
                tasks: column(&items.tasks)?,
                objects: column(&items.objects)?,
            },
            Request::Status => Command::Status,
            Request::Stop => {
                tracing::info!("{client} asks the server to stop");
                self.front.send(client, ok_frame(id, &Empty {}));
                self.stop.request();
                return Ok(None);
            }
        }))
    }

    fn carry_out(&mut self, effects: &mut Effects<Arc<Object>>) {
        let mut last_error: Option<(Arc<RequestError>, Arc<[u8]>)> = None;
        for action in effects.drain() {
            match action {
                Action::Reply { client, request, reply: Reply::Error(error) } => {
                    self.fetches.remove(&(client, request));
                    // Whoever waits when a session fails gets the same error, which may be long.
                    let body = match &last_error {
                        Some((last, body)) if Arc::ptr_eq(last, &error) => Arc::clone(body),
                        _ => error_body(&error).into(),
                    };
                    self.front.send_shared(client, error_head(request, body.len()), body.clone());
                    last_error = Some((error, body));
                }
                Action::Reply { client, request, reply } => {
                    let fetch = self.fetches.remove(&(client, request));
                    let frame = self.reply_frame(client, request, reply, fetch);
                    self.front.send(client, frame);
                }
                Action::Send { governor, message } => self.transport.send(Peer::Governor(governor), message),
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

    fn reply_frame(
        &mut self,
        client: ClientId,
        id: RequestId,
        reply: Reply<Arc<Object>>,
        fetch: Option<Fetch>,
    ) -> Vec<u8> {
        match reply {
            Reply::Done => ok_frame(id, &Empty {}),
            Reply::Watch { number } => ok_frame(id, &rain_protocol::client::WatchStarted { watch: number }),
            Reply::Session(session) => ok_frame(id, &rain_protocol::client::SessionRef { session: session.0 }),
            Reply::Some { tasks, objects } => {
                let (tasks, objects) = (encode_column(&tasks), encode_column(&objects));
                ok_frame(id, &SomeReply { tasks: Bytes::new(&tasks), objects: Bytes::new(&objects) })
            }
            Reply::Holders { info, governors } => {
                let places = governors.iter().filter_map(|governor| self.transport.place_of(*governor));
                let at = places.map(|place| (place.ip.map(|ip| ip.to_string()), place.port)).collect();
                ok_frame(id, &ElsewhereReply { info: &info, at })
            }
            Reply::Forgotten { session, objects } => {
                if let Some(fetched) = &mut self.fetched {
                    objects.iter().for_each(|object| fetched.forget(client, session.0, *object));
                }
                ok_frame(id, &Empty {})
            }
            Reply::Infos { tasks, objects } => ok_frame(id, &InfoReply { tasks, objects }),
            Reply::Status(server) => ok_frame(id, &StatusReply { process: &self.facts, server }),
            Reply::Error(error) => error_frame(id, &error),
            Reply::Object { info, content } => match fetch {
                Some(fetch) => self.object_reply(client, id, &info, &content, fetch),
                None => error_frame(id, &RequestError::request("not a fetch")),
            },
        }
    }

    /// Whether this client may be answered with paths.
    fn is_local(&self, client: ClientId) -> bool {
        self.clients.get(&client).is_some_and(|facts| facts.local)
    }

    /// What this client has fetched a part of.
    fn fetched_before(&self, client: ClientId, fetch: Fetch) -> Option<(ObjectInfo, Arc<Object>)> {
        let fetched = self.fetched.as_ref().filter(|_| fetch.offset > 0)?;
        fetched.get(client, fetch.session, fetch.object)
    }

    fn object_reply(
        &mut self,
        client: ClientId,
        id: RequestId,
        info: &ObjectInfo,
        content: &Arc<Object>,
        fetch: Fetch,
    ) -> Vec<u8> {
        match object_frame(id, info, content, fetch, self.is_local(client), &self.store) {
            Ok((frame, is_all)) => {
                match &mut self.fetched {
                    Some(fetched) if is_all => fetched.forget(client, fetch.session, fetch.object),
                    Some(fetched) => fetched.hold(client, fetch.session, info.clone(), content.clone()),
                    None => {}
                }
                frame
            }
            Err(error) => {
                error_frame(id, &RequestError::request(format!("object {} cannot be read: {error}", info.id)))
            }
        }
    }
}

impl<T> Drop for ServerDriver<T> {
    fn drop(&mut self) {
        self.status_requests.end();
        self.content_requests.end();
    }
}
