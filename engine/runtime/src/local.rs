//! Server and governors in one process.

use crate::config::GovernorConfig;
use crate::end_of_time::EndOfTime;
use crate::governor::{GovernorError, start_governor};
use crate::questions::{ContentRequests, StatusRequests};
use crate::server::{ProcessFacts, ServerDriver, server_wake};
use rain_data::{Object, Store, StoreError};
use rain_model::id::GovernorId;
use rain_protocol::client::HelloReply;
use rain_protocol::msgpack::PROTOCOL_VERSION;
use rain_transport::{InProcessEndpoint, Wake, connect_in_process};
use rain_transport_tcp::front::{ClientFront, FrontError};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// How a server with local governors is set up.
pub struct LocalConfig {
    pub governors: Vec<GovernorConfig>,
    /// Directory for content that clients send; made, and removed at the end.
    pub workdir: PathBuf,
    pub version: &'static str,
    /// Where it listens, for status replies.
    pub listen: String,
    pub end: EndOfTime,
    /// Questions from other threads.
    pub status: StatusRequests,
    pub contents: ContentRequests,
}

/// Why a local Rain ended.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    #[error(transparent)]
    Governor(#[from] GovernorError),
    #[error("cannot use the working directory: {0}")]
    Store(#[from] StoreError),
    #[error(transparent)]
    Connect(#[from] rain_transport_tcp::peer::ConnectError),
    #[error("cannot serve clients: {0}")]
    Front(#[from] FrontError),
}

/// Asks a running server to stop, from any thread.
#[derive(Clone, Default)]
pub struct Stop(Arc<StopState>);

#[derive(Default)]
struct StopState {
    requested: AtomicBool,
    wake: Mutex<Option<Wake>>,
}

impl Stop {
    /// Nothing is asked yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The server is to stop.
    pub fn request(&self) {
        self.0.requested.store(true, Ordering::SeqCst);
        if let Some(wake) = &*self.0.wake.lock().unwrap_or_else(PoisonError::into_inner) {
            wake();
        }
    }

    /// Whether it was asked.
    pub fn is_requested(&self) -> bool {
        self.0.requested.load(Ordering::SeqCst)
    }

    pub(crate) fn set_wake(&self, wake: Wake) {
        *self.0.wake.lock().unwrap_or_else(PoisonError::into_inner) = Some(wake);
    }
}

/// Runs a server with local governors until it is stopped, by `stop` or by a client. `ready` is called once every governor
/// is in and clients are served.
///
/// # Errors
/// When the parts cannot be started, or the front breaks.
pub fn run_local(
    config: LocalConfig,
    mut front: ClientFront,
    stop: Stop,
    ready: impl FnOnce(),
) -> Result<(), RuntimeError> {
    let store = Arc::new(Store::create(&config.workdir)?);
    let wake = server_wake(&front);
    stop.set_wake(wake.clone());
    let cpus: u32 = config.governors.iter().map(|governor| governor.cpus.len() as u32).sum();
    let count = config.governors.len() as u32;
    let mut handles = Vec::new();
    let mut senders = Vec::new();
    for (number, governor) in config.governors.into_iter().enumerate() {
        let (handle, sender) = start_governor::<InProcessEndpoint<Arc<Object>>>(GovernorId(number as u32), governor)?;
        handles.push(handle);
        senders.push(sender);
    }
    let (server_end, governor_ends) =
        connect_in_process((wake.clone(), handles.iter().map(|handle| handle.wake()).collect()));
    for (sender, end) in senders.into_iter().zip(governor_ends) {
        // The governor's thread waits for exactly this.
        let _ = sender.send(end);
    }
    let facts = ProcessFacts::of_this_process(config.version, config.listen);
    front.set_greeting(HelloReply {
        version: PROTOCOL_VERSION,
        server: facts.version.to_owned(),
        pid: facts.pid,
        governors: count,
        cpus,
        local: false,
    });
    let mut driver = ServerDriver::new(front, server_end, store, facts, stop);
    driver.answer(config.status, config.contents, wake.clone());
    driver.set_end(config.end, wake).map_err(GovernorError::System)?;
    let served = driver.serve_until_joined(count).and_then(|()| {
        ready();
        driver.serve()
    });
    driver.stop_governors(count);
    for handle in handles {
        handle.join();
    }
    Ok(served?)
}
