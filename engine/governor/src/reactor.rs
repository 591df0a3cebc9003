//! What a governor does: the messages of `Governor`, and what follows for graphs and queues.

use crate::end_of_work::EndOfWork;
use crate::event::{Action, Asker, Event, To};
use crate::governor::{Governor, answer};
use crate::graph::Graph;
use crate::link::{link, queue_ready};
use crate::queues::Queues;
use crate::retries::Retries;
use crate::session::{Leave, Session};
use crate::sessions::Sessions;
use rain_model::id::{ObjectIndex, SessionId, TaskIndex};
use rain_pool::ReadyTask;
use rain_protocol::peer::{Failure, Message};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// What is left for the driver to do.
#[derive(Debug)]
pub enum Effect<D> {
    Send {
        to: To,
        message: Message<D>,
    },
    /// Every worker is to look whether the task that it runs was cancelled.
    Interrupt,
    /// Contents that nobody needs any more: freeing them may take long.
    Free(Vec<D>),
    /// A session was closed: executors forget what they keep of it.
    SessionClosed(SessionId),
    Stop,
}

/// A governor but for its workers. Its sessions and what it knows of the end of work are shared with these.
pub struct Reactor<G: Graph, Q> {
    machine: Governor,
    sessions: Arc<Sessions<G>>,
    queues: Q,
    end: Arc<EndOfWork>,
    retries: Retries,
    leave: Leave<G>,
    /// What the machine is to be told next.
    answers: VecDeque<Event<G::Content>>,
    actions: Vec<Action<G::Content>>,
}

impl<G: Graph, Q: Queues> Reactor<G, Q> {
    /// A governor that knows no session. What is left of sessions at their end goes to `leave`.
    pub fn new(sessions: Arc<Sessions<G>>, queues: Q, end: Arc<EndOfWork>, leave: Leave<G>) -> Self {
        Self {
            machine: Governor::new(),
            sessions,
            queues,
            end,
            retries: Retries::default(),
            leave,
            answers: VecDeque::new(),
            actions: Vec::new(),
        }
    }

    /// Takes one event, does what follows from it, and appends what is left to be done. `now`: time since any beginning that
    /// stays the same.
    pub fn handle(&mut self, now: Duration, event: Event<G::Content>, effects: &mut Vec<Effect<G::Content>>) {
        self.queue_due(now);
        let mut next = Some(event);
        while let Some(event) = next {
            let mut actions = std::mem::take(&mut self.actions);
            self.machine.handle(event, &mut actions);
            for action in actions.drain(..) {
                self.carry_out(now, action, effects);
            }
            self.actions = actions;
            next = self.answers.pop_front();
        }
    }

    /// When `queue_due` has something to do.
    pub fn next_due(&self) -> Option<Duration> {
        self.retries.next_due()
    }

    /// Queues the tasks that have failed and rested long enough.
    pub fn queue_due(&mut self, now: Duration) {
        let mut queueing = self.queues.queueing();
        while let Some(task) = self.retries.take_due(now) {
            if let Some(session) = self.sessions.get(task.session()) {
                queue_ready(&session, &mut queueing, task.task());
            }
        }
    }

    fn carry_out(&mut self, now: Duration, action: Action<G::Content>, effects: &mut Vec<Effect<G::Content>>) {
        match action {
            Action::Send { to, message } => effects.push(Effect::Send { to, message }),
            Action::OpenSession(open) => self.sessions.insert(Arc::new(Session::new(&open, self.leave.clone()))),
            Action::Link(run) => {
                let (session, task) = (run.session, run.batch.first);
                let Some(open) = self.sessions.get(session.0) else { return };
                let awaited: Vec<ObjectIndex> = run.remote.iter().map(|input| input.object).collect();
                if link(&open, &self.queues, run).is_err() {
                    let message = "its session has had more than four billion inputs; use another one".to_owned();
                    let failure = Failure { message, ..Failure::default() };
                    return self.answers.push_back(Event::Failed { session, task, failure });
                }
                // The server may have let go of what tasks here still read. It stays now that the server has a claim again.
                for object in awaited.into_iter().filter(|object| open.graph.share(*object).is_some()) {
                    self.answers.push_back(Event::IsHere { session, object });
                    self.release(session, &[object], effects);
                }
            }
            Action::Supply { session, object, content } => {
                if let Some(session) = self.sessions.get(session.0) {
                    let mut queueing = self.queues.queueing();
                    session.graph.supply(object, content, |task| queue_ready(&session, &mut queueing, task));
                }
            }
            Action::Release { session, objects } => self.release(session, &objects, effects),
            Action::Retry { session, task, failed } => self.retries.add(now, session.0, task, failed),
            Action::CancelTasks { session, tasks } => {
                if let Some(session) = self.sessions.get(session.0) {
                    session.cancel_tasks(&tasks);
                    self.withdraw_cancelled(&session);
                    effects.push(Effect::Interrupt);
                }
            }
            Action::CancelWaiting { session, ticket, tasks } => {
                let open = self.sessions.get(session.0);
                let tasks = open.as_ref().map(|open| open.cancel_waiting(tasks)).unwrap_or_default();
                if let Some(open) = open {
                    self.withdraw_cancelled(&open);
                }
                self.answers.push_back(Event::CancelledWaiting { session, ticket, tasks });
            }
            Action::Raise { session, tasks } => {
                if let Some(session) = self.sessions.get(session.0) {
                    let ready = session.raise(&tasks);
                    if !ready.is_empty() {
                        self.queues.raise(session.number, &ready);
                    }
                }
            }
            Action::DropConfigs { session, batches } => {
                if let Some(session) = self.sessions.get(session.0) {
                    session.drop_configs(&batches);
                }
            }
            Action::Forget(forget) => {
                if let Some(session) = self.sessions.get(forget.session) {
                    session.forget(&forget);
                    self.end.forget_kinds(forget.session, &forget.kinds);
                }
            }
            Action::EndOfWork { left } => self.end.set(now + left),
            Action::TakeBack { session, count } => {
                let tasks = self.sessions.get(session.0).map(|open| self.take_back(&open, count));
                self.answers.push_back(Event::TakenBack { session, tasks: tasks.unwrap_or_default() });
            }
            Action::CloseSession(session) => self.close(session, effects),
            Action::SendObject { session, object, to } => {
                let content = self.sessions.get(session.0).and_then(|session| session.graph.share(object));
                match (content, to) {
                    (None, Asker::Governor(asker)) => {
                        self.answers.push_back(Event::NotFound { session, object, asker });
                    }
                    (content, to) => {
                        let content = content.ok_or_else(|| "it is not there any more".to_owned());
                        self.carry_out(now, answer(to, session, object, content), effects);
                    }
                }
            }
            Action::Stop => effects.push(Effect::Stop),
        }
    }

    fn release(&self, session: SessionId, objects: &[ObjectIndex], effects: &mut Vec<Effect<G::Content>>) {
        let Some(session) = self.sessions.get(session.0) else { return };
        let freed: Vec<G::Content> = objects.iter().filter_map(|object| session.graph.unpin(*object)).collect();
        if !freed.is_empty() {
            effects.push(Effect::Free(freed));
        }
    }

    fn close(&mut self, session: SessionId, effects: &mut Vec<Effect<G::Content>>) {
        self.end.forget(session.0);
        if let Some(open) = self.sessions.remove(session.0) {
            open.graph.cancel();
            let is_its = |task: ReadyTask| task.session() == open.number;
            self.queues.withdraw_wide(is_its);
            self.retries.withdraw(is_its);
            effects.push(Effect::Interrupt);
        }
        effects.push(Effect::SessionClosed(session));
    }

    /// Cancelled tasks for which workers gather, or which rest after a failure, are over at once: no worker comes to them soon.
    fn withdraw_cancelled(&mut self, session: &Session<G>) {
        let is_over = |task: ReadyTask| task.session() == session.number && session.is_cancelled(task.task());
        let mut over = self.queues.withdraw_wide(is_over);
        over.extend(self.retries.withdraw(is_over));
        for task in over {
            if let Some(batch) = session.batch_of(task.task()) {
                session.abandon(&batch, task.task());
            }
        }
    }

    /// Takes ready tasks of a session out of the queues; their claims stay.
    fn take_back(&self, session: &Session<G>, count: u32) -> Vec<TaskIndex> {
        let is_wanted = |task: TaskIndex| {
            !session.is_cancelled(task) && !session.graph.has_begun(task) && !session.is_retried(task)
        };
        let taken = self.queues.take_back(session.number, count as usize, is_wanted);
        taken.iter().for_each(|task| session.unlink(*task));
        taken
    }
}
