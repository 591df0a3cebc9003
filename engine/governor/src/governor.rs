//! What a governor tells others: objects to be brought from other governors, and what goes back to the server.

use crate::event::{Action, Asker, Event, To};
use rain_model::id::{GovernorId, ObjectIndex, SessionId};
use rain_protocol::peer::{BetweenGovernors, Failure, FromGovernor, Message, Run, ToGovernor};
use std::collections::BTreeMap;

#[derive(Debug, Default)]
struct Session {
    /// Objects asked for and not yet come.
    awaited: BTreeMap<ObjectIndex, Awaited>,
    /// The server has been told of a failure: what else happens here is of no interest.
    failed: bool,
}

/// An object on its way.
#[derive(Debug)]
struct Awaited {
    /// Who can be asked; all before `asked` could not give it.
    holders: Vec<GovernorId>,
    /// Place in `holders` of the one that has been asked.
    asked: usize,
    /// What those said who could not give it.
    refusals: Vec<String>,
    /// The server's number for it.
    transfer: u32,
    /// Who has asked for it here meanwhile.
    askers: Vec<Asker>,
}

impl Awaited {
    fn is_asked(&self, governor: GovernorId) -> bool {
        self.holders.get(self.asked) == Some(&governor)
    }
}

/// What a governor knows beside tasks: its sessions, and the objects that are on their way to it.
#[derive(Debug, Default)]
pub struct Governor {
    sessions: BTreeMap<SessionId, Session>,
    /// What was asked for and is not known, by the ticket of the server's answer after which it never will be.
    early: BTreeMap<u64, Early>,
    next_ticket: u64,
}

/// A peer's question that may have come before the server's message about the object.
#[derive(Debug)]
struct Early {
    asker: GovernorId,
    session: SessionId,
    object: ObjectIndex,
}

impl Governor {
    /// A governor that knows no session.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one event and appends what follows from it.
    pub fn handle<D: Clone>(&mut self, event: Event<D>, actions: &mut Vec<Action<D>>) {
        match event {
            Event::Server(message) => self.server_message(message, actions),
            Event::Peer { from, message } => self.peer_message(from, message, actions),
            Event::PeerLost { governor } => self.peer_lost(governor, actions),
            Event::NotFound { session, object, asker } => self.catch_up(Early { asker, session, object }, actions),
            Event::IsHere { session, object } => self.is_here(session, object, actions),
            Event::Started { session, task, worker, start } => {
                self.report(session, FromGovernor::Started { session, task, worker, start }, actions);
            }
            Event::Finished(finished) => {
                self.report(SessionId(finished.session), FromGovernor::Finished(finished), actions);
            }
            Event::Withheld { session, tasks } => {
                self.report(session, FromGovernor::Withheld { session, tasks }, actions);
            }
            Event::TakenBack { session, tasks } => {
                self.report(session, FromGovernor::GaveBack { session, tasks }, actions);
            }
            Event::Lending { calls } => actions.push(to_server(FromGovernor::Lending { tasks: calls })),
            Event::CancelledWaiting { session, ticket, tasks } => {
                self.report(session, FromGovernor::CancelledWaiting { session, ticket, tasks }, actions);
            }
            Event::Retried { session, task, failed } => {
                if self.sessions.contains_key(&session) {
                    actions.push(Action::Retry { session, task, failed });
                }
            }
            Event::Failed { session, task, failure } => self.fail(session, task, failure, actions),
        }
    }

    /// Tells the server something of a session, unless that is closed or has failed here.
    fn report<D>(&self, session: SessionId, message: FromGovernor<D>, actions: &mut Vec<Action<D>>) {
        if self.sessions.get(&session).is_some_and(|session| !session.failed) {
            actions.push(to_server(message));
        }
    }

    fn server_message<D: Clone>(&mut self, message: ToGovernor<D>, actions: &mut Vec<Action<D>>) {
        // What comes after the end of a session is of no interest.
        if session_of(&message).is_some_and(|session| !self.sessions.contains_key(&session)) {
            return;
        }
        let action = match message {
            ToGovernor::OpenSession(open) => {
                self.sessions.insert(open.session, Session::default());
                Action::OpenSession(open)
            }
            ToGovernor::Run(run) => return self.run(run, actions),
            ToGovernor::StopAwaiting { session, objects } => return self.stop_awaiting(session, &objects, actions),
            ToGovernor::CloseSession(session) => {
                self.sessions.remove(&session);
                Action::CloseSession(session)
            }
            ToGovernor::CancelTasks { session, tasks } => Action::CancelTasks { session, tasks },
            ToGovernor::Raise { session, tasks } => Action::Raise { session, tasks },
            ToGovernor::DropConfigs { session, batches } => Action::DropConfigs { session, batches },
            ToGovernor::Forget(forget) => Action::Forget(forget),
            ToGovernor::CancelWaiting { session, ticket, tasks } => Action::CancelWaiting { session, ticket, tasks },
            ToGovernor::GiveBack { session, count } => Action::TakeBack { session, count },
            ToGovernor::Unpin { session, objects } => Action::Release { session, objects },
            ToGovernor::Fetch { session, object, ticket } => {
                return self.wanted(session, object, Asker::Server { ticket }, actions);
            }
            ToGovernor::EndOfWork { left } => Action::EndOfWork { left },
            ToGovernor::CaughtUp { ticket } => {
                if let Some(Early { asker, session, object }) = self.early.remove(&ticket) {
                    self.wanted(session, object, Asker::LateGovernor(asker), actions);
                }
                return;
            }
            ToGovernor::Refused { .. } | ToGovernor::Stop => Action::Stop,
        };
        actions.push(action);
    }

    fn run<D>(&mut self, mut run: Run<D>, actions: &mut Vec<Action<D>>) {
        let id = run.session;
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let mut replaced = Vec::new();
        for input in &mut run.remote {
            let holders = std::mem::take(&mut input.holders);
            if let Some(holder) = holders.first() {
                actions.push(to_governor(*holder, BetweenGovernors::Want { session: id, object: input.object }));
            }
            let (transfer, refusals) = (input.transfer, Vec::new());
            let awaited = Awaited { holders, asked: 0, refusals, transfer, askers: Vec::new() };
            if let Some(before) = session.awaited.insert(input.object, awaited) {
                // Who had it was lost, and the server has heard of that first.
                replaced.push(input.object);
                if let Some(awaited) = session.awaited.get_mut(&input.object) {
                    awaited.askers = before.askers;
                }
            }
        }
        actions.push(Action::Link(run));
        if !replaced.is_empty() {
            actions.push(Action::Release { session: id, objects: replaced });
        }
    }

    /// Objects are made here: nobody brings them any more.
    fn stop_awaiting<D>(&mut self, session: SessionId, objects: &[ObjectIndex], actions: &mut Vec<Action<D>>) {
        let Some(open) = self.sessions.get_mut(&session) else { return };
        for object in objects.iter().copied() {
            let Some(awaited) = open.awaited.remove(&object) else { continue };
            for asker in awaited.askers {
                actions.push(answer(asker, session, object, Err("it is made again".to_owned())));
            }
            actions.push(Action::Release { session, objects: vec![object] });
        }
    }

    /// An object that was asked for is here all the same.
    fn is_here<D>(&mut self, session: SessionId, object: ObjectIndex, actions: &mut Vec<Action<D>>) {
        let Some(open) = self.sessions.get_mut(&session) else { return };
        let Some(awaited) = open.awaited.remove(&object) else { return };
        for to in awaited.askers {
            actions.push(Action::SendObject { session, object, to });
        }
        self.arrived(session, object, awaited.transfer, actions);
    }

    fn arrived<D>(&self, session: SessionId, object: ObjectIndex, transfer: u32, actions: &mut Vec<Action<D>>) {
        if transfer != 0 {
            self.report(session, FromGovernor::Arrived { session, object, transfer }, actions);
        }
    }

    fn peer_message<D: Clone>(&mut self, from: GovernorId, message: BetweenGovernors<D>, actions: &mut Vec<Action<D>>) {
        match message {
            BetweenGovernors::Want { session, object } => {
                self.wanted(session, object, Asker::Governor(from), actions);
            }
            BetweenGovernors::Object { session, object, content } => match content {
                Ok(content) => {
                    let Some(open) = self.sessions.get_mut(&session) else { return };
                    let Some(awaited) = open.awaited.remove(&object) else { return };
                    for asker in awaited.askers {
                        actions.push(answer(asker, session, object, Ok(content.clone())));
                    }
                    actions.push(Action::Supply { session, object, content });
                    self.arrived(session, object, awaited.transfer, actions);
                }
                Err(why) => self.ask_next(session, object, from, &why, actions),
            },
        }
    }

    /// Somebody wants an object, which may be on its way to this governor.
    fn wanted<D>(&mut self, session: SessionId, object: ObjectIndex, to: Asker, actions: &mut Vec<Action<D>>) {
        match (self.sessions.get_mut(&session), to) {
            (Some(open), _) => match open.awaited.get_mut(&object) {
                Some(awaited) => awaited.askers.push(to),
                None => actions.push(Action::SendObject { session, object, to }),
            },
            (None, Asker::Governor(asker)) => self.catch_up(Early { asker, session, object }, actions),
            (None, _) => actions.push(answer(to, session, object, Err("it does not know the session".to_owned()))),
        }
    }

    /// Puts a question off until all has come that the server had to say: the asker may have heard sooner than this governor of
    /// what this one is to have. What the server sends comes in order.
    fn catch_up<D>(&mut self, early: Early, actions: &mut Vec<Action<D>>) {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.early.insert(ticket, early);
        actions.push(to_server(FromGovernor::CatchUp { ticket }));
    }

    fn peer_lost<D>(&mut self, governor: GovernorId, actions: &mut Vec<Action<D>>) {
        self.early.retain(|_, early| early.asker != governor);
        let lost: Vec<(SessionId, ObjectIndex)> = self
            .sessions
            .iter()
            .flat_map(|(id, session)| session.awaited.iter().map(move |(object, awaited)| (*id, *object, awaited)))
            .filter(|(_, _, awaited)| awaited.is_asked(governor))
            .map(|(id, object, _)| (id, object))
            .collect();
        for (session, object) in lost {
            self.ask_next(session, object, governor, "the connection was lost", actions);
        }
    }

    /// The governor that was asked for an object cannot give it: another one may.
    fn ask_next<D>(
        &mut self,
        session: SessionId,
        object: ObjectIndex,
        from: GovernorId,
        why: &str,
        actions: &mut Vec<Action<D>>,
    ) {
        let Some(open) = self.sessions.get_mut(&session) else { return };
        let Some(awaited) = open.awaited.get_mut(&object).filter(|awaited| awaited.is_asked(from)) else { return };
        awaited.asked += 1;
        awaited.refusals.push(format!("from {from}: {why}"));
        if let Some(next) = awaited.holders.get(awaited.asked) {
            return actions.push(to_governor(*next, BetweenGovernors::Want { session, object }));
        }
        let Some(awaited) = open.awaited.remove(&object) else { return };
        for asker in awaited.askers {
            actions.push(answer(asker, session, object, Err("it could not get it itself".to_owned())));
        }
        // The claim of who would have brought it.
        actions.push(Action::Release { session, objects: vec![object] });
        // Only the server knows whether that is a failure: it may have let all holders drop it.
        let (transfer, why) = (awaited.transfer, awaited.refusals.join("; "));
        actions.push(to_server(FromGovernor::InputLost { session, object, transfer, why }));
    }

    fn fail<D>(&mut self, session: SessionId, task: u32, failure: Failure, actions: &mut Vec<Action<D>>) {
        let Some(open) = self.sessions.get_mut(&session) else { return };
        if !open.failed {
            open.failed = true;
            actions.push(to_server(FromGovernor::Failed { session, task, failure }));
        }
    }
}

/// The session that a message of the server is about, which the governor has to know; none for other messages.
fn session_of<D>(message: &ToGovernor<D>) -> Option<SessionId> {
    match message {
        ToGovernor::OpenSession(_)
        | ToGovernor::EndOfWork { .. }
        | ToGovernor::CaughtUp { .. }
        | ToGovernor::Refused { .. }
        | ToGovernor::Stop => None,
        ToGovernor::Run(run) => Some(run.session),
        ToGovernor::Forget(forget) => Some(SessionId(forget.session)),
        ToGovernor::CloseSession(session)
        | ToGovernor::CancelTasks { session, .. }
        | ToGovernor::StopAwaiting { session, .. }
        | ToGovernor::Raise { session, .. }
        | ToGovernor::DropConfigs { session, .. }
        | ToGovernor::CancelWaiting { session, .. }
        | ToGovernor::GiveBack { session, .. }
        | ToGovernor::Unpin { session, .. }
        | ToGovernor::Fetch { session, .. } => Some(*session),
    }
}

/// What an asker is told.
pub(crate) fn answer<D>(to: Asker, session: SessionId, object: ObjectIndex, content: Result<D, String>) -> Action<D> {
    match to {
        Asker::Server { ticket } => to_server(FromGovernor::Fetched { ticket, content }),
        Asker::Governor(id) | Asker::LateGovernor(id) => {
            to_governor(id, BetweenGovernors::Object { session, object, content })
        }
    }
}

fn to_governor<D>(governor: GovernorId, message: BetweenGovernors<D>) -> Action<D> {
    Action::Send { to: To::Governor(governor), message: Message::BetweenGovernors(message) }
}

fn to_server<D>(message: FromGovernor<D>) -> Action<D> {
    Action::Send { to: To::Server, message: Message::FromGovernor(message) }
}
