//! The thread of a governor: it drives the governor's state machine and feeds the pool.

use crate::bell::Bell;
use crate::config::GovernorConfig;
use crate::deadlines::Deadlines;
use crate::executors::Executors;
use crate::session::{Graph, SessionTable, leave_to};
use crate::worker::{LentCalls, Report, Worker, WorkerShared, queue_again, without_grant};
use crossbeam_channel::{Receiver, unbounded};
use rain_data::{Object, Store, StoreError};
use rain_events::seconds_since_1970;
use rain_exec::Interrupt;
use rain_governor::{Effect, EndOfWork, Event, Holdings, Reactor, To};
use rain_model::id::{GovernorId, SessionId};
use rain_pool::{LocalQueue, Pool};
use rain_protocol::peer::{FromGovernor, Message, ToGovernor};
use rain_transport::{Peer, Transport, TransportEvent, Wake};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

/// Reports of workers that are taken before messages have a turn.
const REPORTS_AT_ONCE: usize = 64;

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
    /// Its server has refused it, for this reason.
    Refused(String),
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
    let store = Arc::new(Store::create_within(&config.workdir, config.memory.clone())?);
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
    let ungranted = without_grant(&config.resources);
    let holdings = Arc::new(Holdings::new(&config.resources));
    let executors = Executors::new(store.clone(), sessions.clone(), &config, &ungranted);
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
        holdings,
        again: queue_again(&pool),
        ungranted,
        end: Arc::new(EndOfWork::new(seconds_since_1970())),
        began: Instant::now(),
    });
    let driver_bell = bell.clone();
    let stop = Arc::new(AtomicBool::new(false));
    let asked_to_stop = stop.clone();
    let thread = std::thread::Builder::new().name(format!("governor-{}", id.0)).spawn(move || {
        let workers = start_workers(&shared, queues);
        let (workers, error) = match workers {
            Ok(workers) => (workers, None),
            Err(Unstarted { workers, error }) => (workers, Some(error)),
        };
        if let Some(error) = &error {
            tracing::error!("governor {} ends: its workers cannot be started: {error}", id.0);
        }
        if let (Ok(endpoint), None) = (endpoint.recv(), error) {
            let (sessions, pool, end) = (shared.sessions.clone(), shared.pool.clone(), shared.end.clone());
            let machine = Reactor::new(sessions, pool, end, leave_to(&shared.reaper));
            Driver {
                machine,
                shared,
                reports,
                reports_taken: 0,
                transport: endpoint,
                workers,
                asked_to_stop,
                stopping: false,
                end: GovernorEnd::Asked,
            }
            .run(&driver_bell)
        } else {
            shut_down(&shared, workers);
            GovernorEnd::Broken
        }
    })?;
    Ok((GovernorHandle { bell, stop, thread }, endpoint_in))
}

/// Not all workers could be started.
struct Unstarted {
    /// The workers that run.
    workers: Vec<JoinHandle<()>>,
    error: std::io::Error,
}

fn start_workers(shared: &Arc<WorkerShared>, queues: Vec<LocalQueue>) -> Result<Vec<JoinHandle<()>>, Unstarted> {
    let mut workers = Vec::with_capacity(queues.len());
    if let Err(error) = shared.executors.start(shared.config.prestart, queues.len()) {
        return Err(Unstarted { workers, error });
    }
    for queue in queues {
        let shared = shared.clone();
        let name = format!("worker-{}-{}", shared.id.0, queue.index());
        match std::thread::Builder::new().name(name).spawn(move || Worker::new(shared, queue).run()) {
            Ok(worker) => workers.push(worker),
            Err(error) => return Err(Unstarted { workers, error }),
        }
    }
    Ok(workers)
}

/// Ends everything that works for a governor.
fn shut_down(shared: &WorkerShared, workers: Vec<JoinHandle<()>>) {
    for session in shared.sessions.drain() {
        session.graph.cancel();
    }
    shared.deadlines.shut_down();
    shared.pool.shut_down();
    shared.lent.shut_down();
    interrupt_workers(shared);
    for worker in workers {
        let _ = worker.join();
    }
    shared.lent.join();
    shared.executors.shut_down();
    shared.reaper.finish();
}

fn interrupt_workers(shared: &WorkerShared) {
    shared.interrupts.iter().for_each(|interrupt| interrupt.raise());
    shared.lent.interrupt();
}

struct Driver<T> {
    machine: Reactor<Graph, Arc<Pool>>,
    shared: Arc<WorkerShared>,
    reports: Receiver<Report>,
    /// How many reports were taken since messages had a turn.
    reports_taken: usize,
    transport: T,
    workers: Vec<JoinHandle<()>>,
    asked_to_stop: Arc<AtomicBool>,
    stopping: bool,
    end: GovernorEnd,
}

impl<T: Transport<Arc<Object>>> Driver<T> {
    fn run(mut self, bell: &Bell) -> GovernorEnd {
        let cpus = self.shared.config.cpus.len() as u32;
        let resources = self.shared.config.resources.clone();
        self.transport.send(Peer::Server, Message::FromGovernor(FromGovernor::Joined { cpus, resources }));
        let mut effects = Vec::new();
        while !self.stopping {
            let mut idle = true;
            while let Some(event) = self.next_event() {
                idle = false;
                self.machine.handle(self.shared.now(), event, &mut effects);
                for effect in effects.drain(..) {
                    self.carry_out(effect);
                }
            }
            if idle && !self.stopping {
                let now = self.shared.now();
                self.machine.queue_due(now);
                bell.wait(self.machine.next_due().map(|due| due.saturating_sub(now)));
            }
            self.stopping |= self.asked_to_stop.load(Ordering::SeqCst);
        }
        shut_down(&self.shared, self.workers);
        self.end
    }

    /// What workers report, and, after some of it, what others have sent.
    fn next_event(&mut self) -> Option<Event<Arc<Object>>> {
        if self.stopping {
            return None;
        }
        if self.reports_taken < REPORTS_AT_ONCE {
            if let Some(event) = self.next_report() {
                self.reports_taken += 1;
                return Some(event);
            }
            self.reports_taken = 0;
            return self.next_message();
        }
        self.reports_taken = 0;
        self.next_message().or_else(|| self.next_report())
    }

    fn next_report(&mut self) -> Option<Event<Arc<Object>>> {
        Some(match self.reports.try_recv().ok()? {
            Report::Started { session, task, worker, start } => {
                Event::Started { session: SessionId(session), task, worker, start }
            }
            Report::Finished(finished) => Event::Finished(finished),
            Report::Withheld { session, tasks } => Event::Withheld { session: SessionId(session), tasks },
            Report::Retried { session, task, failed } => Event::Retried { session: SessionId(session), task, failed },
            Report::Failed { session, task, failure } => Event::Failed { session: SessionId(session), task, failure },
            Report::Lending => Event::Lending { calls: self.shared.lent.waiting() },
        })
    }

    fn next_message(&mut self) -> Option<Event<Arc<Object>>> {
        loop {
            match self.transport.try_receive()? {
                TransportEvent::Message { message: Message::ToGovernor(message), .. } => {
                    if let ToGovernor::Refused { why } = &message {
                        tracing::error!("the server refuses this governor: {why}");
                        self.end = GovernorEnd::Refused(why.clone());
                    }
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

    fn carry_out(&mut self, effect: Effect<Arc<Object>>) {
        match effect {
            Effect::Send { to, message } => {
                let to = match to {
                    To::Server => Peer::Server,
                    To::Governor(id) => Peer::Governor(id),
                };
                self.transport.send(to, message);
            }
            Effect::Interrupt => interrupt_workers(&self.shared),
            Effect::Free(mut objects) => {
                objects.retain(|object| object.file_path().is_some());
                if !objects.is_empty() {
                    self.shared.reaper.take(objects);
                }
            }
            Effect::SessionClosed(_) => self.shared.executors.session_closed(),
            Effect::Stop => self.stopping = true,
        }
    }
}
