//! The thread of a governor: it drives the governor's state machine and feeds the pool.

use crate::bell::Bell;
use crate::deadlines::Deadlines;
use crate::end_of_work::EndOfWork;
use crate::executors::Executors;
use crate::link::{link, queue_ready};
use crate::session::{Session, SessionTable};
use crate::worker::{LentCalls, Report, Worker, WorkerShared};
use crossbeam_channel::{Receiver, unbounded};
use rain_data::{Object, Store, StoreError};
use rain_exec::{ExecutorSpec, Interrupt};
use rain_governor::{Action, Asker, Event, Governor, To};
use rain_model::id::{GovernorId, SessionId};
use rain_pool::{LocalQueue, Pool, ReadyTask};
use rain_protocol::peer::{BetweenGovernors, FromGovernor, Message};
use rain_topology::CpuId;
use rain_transport::{Peer, Transport, TransportEvent, Wake};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// Tasks of other sessions that are looked at to find some of one session.
const OTHERS_MAX: usize = 1 << 12;

/// How a governor is set up.
#[derive(Clone, Debug)]
pub struct GovernorConfig {
    /// The cpu that each worker is pinned to; `None`: not pinned. Its length is the number of workers.
    pub cpus: Vec<Option<CpuId>>,
    /// Directory for objects; made, and removed at the end.
    pub workdir: PathBuf,
    /// Executors beside Python's.
    pub executors: Vec<ExecutorSpec>,
    /// Interpreter for Python tasks whose client asks for none.
    pub python: PathBuf,
    /// How many Python executors are started ahead.
    pub prestart: usize,
}

/// Why a governor cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum GovernorError {
    #[error("cannot use the working directory: {0}")]
    Store(#[from] StoreError),
    #[error("cannot start a thread or make an event descriptor: {0}")]
    System(#[from] std::io::Error),
}

/// A governor's threads.
pub struct GovernorHandle {
    bell: Bell,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<GovernorEnd>,
}

/// Why a governor has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GovernorEnd {
    /// Its server, or its owner, has told it to.
    Asked,
    /// Its server was gone, for this reason.
    ServerLost(String),
    /// Its thread could not go on; the log says why.
    Broken,
}

impl GovernorHandle {
    /// What the transport calls when something has come for this governor.
    pub fn wake(&self) -> Wake {
        self.bell.wake()
    }

    /// What ends this governor, as a `Stop` message does.
    pub(crate) fn stopper(&self) -> Wake {
        let (stop, bell) = (self.stop.clone(), self.bell.clone());
        Arc::new(move || {
            stop.store(true, Ordering::SeqCst);
            bell.ring();
        })
    }

    /// Waits for the end of all threads; they end after a `Stop` message or the loss of the server.
    pub fn join(self) -> GovernorEnd {
        // A panic there has been reported by the panic hook.
        self.thread.join().unwrap_or(GovernorEnd::Broken)
    }
}

/// Starts the threads of a governor. Its end of the transport comes through the returned sender, because a transport
/// needs the governors' wakes first.
///
/// # Errors
/// When its working directory cannot be made, or the system gives no thread or descriptor.
pub fn start_governor<T>(
    id: GovernorId,
    config: GovernorConfig,
) -> Result<(GovernorHandle, crossbeam_channel::Sender<T>), GovernorError>
where
    T: Transport<Arc<Object>> + Send + 'static,
{
    let store = Arc::new(Store::create(&config.workdir)?);
    start_governor_with(id, config, store, Arc::default(), Bell::default())
}

/// The same with a store that is there already, which its end of the transport fills, too, and with the bell that it rings. Its
/// sessions will be in `sessions`.
pub(crate) fn start_governor_with<T>(
    id: GovernorId,
    config: GovernorConfig,
    store: Arc<Store>,
    sessions: Arc<SessionTable>,
    bell: Bell,
) -> Result<(GovernorHandle, crossbeam_channel::Sender<T>), GovernorError>
where
    T: Transport<Arc<Object>> + Send + 'static,
{
    let (pool, queues) = Pool::new(config.cpus.len());
    let interrupts: Vec<Arc<Interrupt>> =
        queues.iter().map(|_| Interrupt::new().map(Arc::new)).collect::<Result<_, _>>()?;
    let (reports_in, reports) = unbounded();
    let (endpoint_in, endpoint) = crossbeam_channel::bounded::<T>(1);
    let workers = config.cpus.len();
    let executors = Executors::new(store.clone(), sessions.clone(), &config.executors, &config.python, workers);
    let shared = Arc::new(WorkerShared {
        id,
        sessions,
        store,
        config,
        pool: pool.clone(),
        interrupts,
        executors,
        lent: LentCalls::default(),
        reports: reports_in,
        bell: bell.clone(),
        deadlines: Deadlines::default(),
        reaper: Arc::default(),
        end: EndOfWork::default(),
    });
    let driver_bell = bell.clone();
    let stop = Arc::new(AtomicBool::new(false));
    let asked_to_stop = stop.clone();
    let thread = std::thread::Builder::new().name(format!("governor-{}", id.0)).spawn(move || {
        let workers = start_workers(&shared, queues);
        if let (Ok(endpoint), Ok(workers)) = (endpoint.recv(), workers) {
            let machine = Governor::new();
            Driver {
                machine,
                shared,
                reports,
                transport: endpoint,
                workers,
                asked_to_stop,
                stopping: false,
                end: GovernorEnd::Asked,
                taken_back: VecDeque::new(),
            }
            .run(&driver_bell)
        } else {
            GovernorEnd::Broken
        }
    })?;
    Ok((GovernorHandle { bell, stop, thread }, endpoint_in))
}

fn start_workers(shared: &Arc<WorkerShared>, queues: Vec<LocalQueue>) -> Result<Vec<JoinHandle<()>>, std::io::Error> {
    shared.executors.start(shared.config.prestart, queues.len())?;
    queues
        .into_iter()
        .map(|queue| {
            let shared = shared.clone();
            let name = format!("worker-{}-{}", shared.id.0, queue.index());
            std::thread::Builder::new().name(name).spawn(move || Worker::new(shared, queue).run())
        })
        .collect()
}

struct Driver<T> {
    machine: Governor,
    shared: Arc<WorkerShared>,
    reports: Receiver<Report>,
    transport: T,
    workers: Vec<JoinHandle<()>>,
    asked_to_stop: Arc<AtomicBool>,
    stopping: bool,
    end: GovernorEnd,
    /// What the state machine is to be told next.
    taken_back: VecDeque<Event<Arc<Object>>>,
}

impl<T: Transport<Arc<Object>>> Driver<T> {
    fn run(mut self, bell: &Bell) -> GovernorEnd {
        let cpus = self.shared.config.cpus.len() as u32;
        self.transport.send(Peer::Server, Message::FromGovernor(FromGovernor::Joined { cpus }));
        let mut actions = Vec::new();
        while !self.stopping {
            let mut idle = true;
            while let Some(event) = self.next_event() {
                idle = false;
                self.machine.handle(event, &mut actions);
                for action in actions.drain(..) {
                    self.carry_out(action);
                }
            }
            if idle && !self.stopping {
                bell.wait();
            }
            self.stopping |= self.asked_to_stop.load(Ordering::SeqCst);
        }
        self.shut_down()
    }

    fn next_event(&mut self) -> Option<Event<Arc<Object>>> {
        if let Some(event) = self.taken_back.pop_front() {
            return Some(event);
        }
        if let Ok(report) = self.reports.try_recv() {
            return Some(match report {
                Report::Started { session, task, start } => Event::Started { session: SessionId(session), task, start },
                Report::Finished(finished) => Event::Finished(finished),
                Report::Withheld { session, tasks } => Event::Withheld { session: SessionId(session), tasks },
                Report::Failed { session, task, failure } => {
                    Event::Failed { session: SessionId(session), task, failure }
                }
                Report::Lending => Event::Lending { calls: self.shared.lent.waiting() },
            });
        }
        loop {
            match self.transport.try_receive()? {
                TransportEvent::Message { message: Message::ToGovernor(message), .. } => {
                    return Some(Event::Server(message));
                }
                TransportEvent::Message { from: Peer::Governor(from), message: Message::BetweenGovernors(message) } => {
                    return Some(Event::Peer { from, message });
                }
                TransportEvent::Message { from, .. } => tracing::warn!("{from:?} sent what no governor takes"),
                TransportEvent::Lost { peer: Peer::Server, why } => {
                    tracing::info!("the server is gone ({why}): governor ends");
                    // A server that ends everything is gone right after.
                    if !self.stopping {
                        self.end = GovernorEnd::ServerLost(why);
                    }
                    self.stopping = true;
                    return None;
                }
                TransportEvent::Lost { peer: Peer::Governor(governor), .. } => {
                    return Some(Event::PeerLost { governor });
                }
            }
        }
    }

    fn carry_out(&mut self, action: Action<Arc<Object>>) {
        let sessions = &self.shared.sessions;
        match action {
            Action::Send { to, message } => {
                let to = match to {
                    To::Server => Peer::Server,
                    To::Governor(id) => Peer::Governor(id),
                };
                self.transport.send(to, message);
            }
            Action::OpenSession(open) => sessions.insert(Arc::new(Session::new(&open, self.shared.reaper.clone()))),
            Action::Link(run) => {
                if let Some(session) = sessions.get(run.session.0) {
                    link(&session, &self.shared.pool, run);
                }
            }
            Action::Supply { session, object, content } => {
                if let Some(session) = sessions.get(session.0) {
                    let mut queueing = self.shared.pool.queueing();
                    session.graph.supply(object, content, |task| queue_ready(&session, &mut queueing, task));
                }
            }
            Action::Release { session, objects } => {
                if let Some(session) = sessions.get(session.0) {
                    let mut dropped: Vec<_> =
                        objects.iter().filter_map(|object| session.graph.unpin(*object)).collect();
                    dropped.retain(|object| object.file_path().is_some());
                    if !dropped.is_empty() {
                        self.shared.reaper.take(dropped);
                    }
                }
            }
            Action::CancelTasks { session, tasks } => {
                if let Some(session) = sessions.get(session.0) {
                    session.cancel_tasks(&tasks);
                    self.interrupt_workers();
                }
            }
            Action::Raise { session, tasks } => {
                if let Some(session) = sessions.get(session.0) {
                    let ready = session.raise(&tasks);
                    if !ready.is_empty() {
                        let is_its = |task: &ReadyTask| task.session() == session.number;
                        let priority =
                            |task| Some(task).filter(is_its).and_then(|task| ready.get(&task.task()).copied());
                        self.shared.pool.raise(session.number, ready.len(), priority);
                    }
                }
            }
            Action::DropConfigs { session, batches } => {
                if let Some(session) = sessions.get(session.0) {
                    session.drop_configs(&batches);
                }
            }
            Action::Forget(forget) => {
                if let Some(session) = sessions.get(forget.session) {
                    session.forget(&forget);
                    self.shared.end.forget_kinds(forget.session, &forget.kinds);
                }
            }
            Action::CancelWaiting { session, ticket, tasks } => {
                let tasks = sessions.get(session.0).map(|session| session.cancel_waiting(tasks)).unwrap_or_default();
                self.taken_back.push_back(Event::CancelledWaiting { session, ticket, tasks });
            }
            Action::EndOfWork { at } => self.shared.end.set(at),
            Action::TakeBack { session, count } => {
                let tasks = sessions.get(session.0).map(|session| self.take_back(&session, count)).unwrap_or_default();
                self.taken_back.push_back(Event::TakenBack { session, tasks });
            }
            Action::CloseSession(session) => {
                self.shared.end.forget(session.0);
                if let Some(session) = sessions.remove(session.0) {
                    session.graph.cancel();
                    self.interrupt_workers();
                }
                self.shared.executors.session_closed();
            }
            Action::SendObject { session, object, to } => self.send_object(session, object, to),
            Action::Stop => self.stopping = true,
        }
    }

    /// Takes ready tasks of a session out of the queues; their claims stay.
    fn take_back(&self, session: &Session, count: u32) -> Vec<u32> {
        let pool = &self.shared.pool;
        let mut taken = Vec::new();
        let mut others = Vec::new();
        while taken.len() < count as usize && others.len() < OTHERS_MAX {
            let Some(task) = pool.take_back(session.number) else { break };
            let is_wanted = task.session() == session.number
                && !session.is_cancelled(task.task())
                && !session.graph.has_begun(task.task())
                && !session.is_retried(task.task());
            if is_wanted { taken.push(task.task()) } else { others.push(task) }
        }
        taken.iter().for_each(|task| session.unlink(*task));
        let mut queueing = pool.queueing();
        others.into_iter().for_each(|task| queueing.add(task, 0));
        taken
    }

    fn send_object(&mut self, session: SessionId, object: u32, to: Asker) {
        let content = self.shared.sessions.get(session.0).and_then(|session| session.graph.share(object));
        let content = content.ok_or_else(|| "it is not there any more".to_owned());
        match to {
            Asker::Server { ticket } => {
                let message = FromGovernor::Fetched { ticket, content };
                self.transport.send(Peer::Server, Message::FromGovernor(message));
            }
            Asker::Governor(id) => {
                let message = BetweenGovernors::Object { session, object, content };
                self.transport.send(Peer::Governor(id), Message::BetweenGovernors(message));
            }
        }
    }

    fn interrupt_workers(&self) {
        for interrupt in &self.shared.interrupts {
            interrupt.raise();
        }
        self.shared.lent.interrupt();
    }

    fn shut_down(self) -> GovernorEnd {
        for session in self.shared.sessions.drain() {
            session.graph.cancel();
        }
        self.shared.deadlines.shut_down();
        self.shared.pool.shut_down();
        self.shared.lent.shut_down();
        self.interrupt_workers();
        for worker in self.workers {
            let _ = worker.join();
        }
        self.shared.lent.join();
        self.shared.executors.shut_down();
        self.shared.reaper.finish();
        self.end
    }
}
