//! Server and governors in processes of their own, on one machine or several.

use crate::bell::Bell;
use crate::config::GovernorConfig;
use crate::contents::GovernorContents;
use crate::end_of_time::EndOfTime;
use crate::error::RuntimeError;
use crate::facts::ProcessFacts;
pub use crate::governor::GovernorEnd;
use crate::governor::{GovernorError, start_governor_with};
use crate::questions::{ContentRequests, OrderRequests, StatusRequests, View};
use crate::server::{ServerDriver, ServerParts};
use crate::session::SessionTable;
use crate::stop::Stop;
use rain_data::{Memory, Object, Store};
use rain_events::EventLog;
use rain_model::id::GovernorId;
use rain_protocol::client::HelloReply;
use rain_protocol::msgpack::PROTOCOL_VERSION;
use rain_transport::clients::{Clients, Contents};
use rain_transport::{Transport, Wake};
use std::path::PathBuf;
use std::sync::Arc;

/// How a server without governors of its own is set up.
pub struct ServerConfig {
    /// Directory for content that clients send and fetch; made, and removed at the end.
    pub workdir: PathBuf,
    /// What this content takes is a part of this.
    pub memory: Arc<Memory>,
    pub version: &'static str,
    /// Where it listens, for status replies.
    pub listen: String,
    /// How many governors have to be in before clients are told that it is ready.
    pub governors: u32,
    pub end: EndOfTime,
    /// Questions from other threads.
    pub status: StatusRequests,
    /// Answers questions of the HTTP API for clients.
    pub view: View,
    /// What other threads order.
    pub orders: OrderRequests,
    pub contents: ContentRequests,
    /// What happens is noted there.
    pub log: Option<EventLog>,
    /// What to do when a governor is lost, once the clients have heard of it; `None`: go on with the others.
    pub on_loss: Option<OnLoss>,
}

/// Called with the governor that was lost, and why.
pub type OnLoss = Box<dyn FnOnce(GovernorId, String)>;

/// Runs a server until it is stopped, by `stop` or by a client, or a governor is lost that it does not go on without.
/// `connect` makes its end of the transport, which brings content to the store. `ready` is called once clients are served and the governors
/// that were asked for are in; with how many cpus.
///
/// # Errors
/// When the parts cannot be started, or the clients' front breaks.
pub fn run_server<C: Clients, T: Transport<Arc<Object>>>(
    config: ServerConfig,
    mut clients: C,
    stop: Stop,
    connect: impl FnOnce(Arc<Store>, Wake) -> Result<T, RuntimeError>,
    ready: impl FnOnce(u32),
) -> Result<(), RuntimeError> {
    let store = Arc::new(Store::create_within(&config.workdir, config.memory)?);
    let wake = clients.wake();
    stop.set_wake(wake.clone());
    let transport = connect(store.clone(), wake.clone())?;
    let facts = ProcessFacts::of_this_process(config.version, config.listen);
    clients.set_greeting(HelloReply {
        version: PROTOCOL_VERSION,
        server: facts.version.to_owned(),
        pid: facts.pid,
        governors: 0,
        cpus: 0,
        local: false,
    });
    let mut driver = ServerDriver::new(ServerParts { clients, transport, store, facts, stop, log: config.log });
    driver.bring_contents();
    driver.answer(config.status, config.contents, wake.clone());
    driver.show(config.view);
    driver.obey(config.orders, wake.clone());
    driver.set_end(config.end, wake).map_err(GovernorError::System)?;
    if config.on_loss.is_some() {
        driver.end_with_governors();
        driver.take_no_governors();
    } else {
        driver.recover();
    }
    let served = driver.serve_until_joined(config.governors).and_then(|()| {
        if !driver.is_over() {
            ready(driver.cpus());
        }
        driver.serve()
    });
    if let (Some((governor, why)), Some(on_loss)) = (driver.lost(), config.on_loss) {
        on_loss(governor, why);
    }
    // Whoever has ever joined; those that are gone are passed over.
    driver.stop_governors(driver.governors_seen());
    Ok(served?)
}

/// Runs a governor until its server is gone or ends it, or `stop` does. `connect` joins the server: it makes the governor's
/// end of the transport, which brings content to the store, and may give clients the governor's objects. `ready` is called once
/// the server has let it in.
///
/// # Errors
/// When the server is not there or does not let it in, or the parts cannot be started.
pub fn run_governor<T>(
    config: GovernorConfig,
    stop: &Stop,
    connect: impl FnOnce(Arc<Store>, Wake, Arc<dyn Contents>) -> Result<(GovernorId, T), RuntimeError>,
    ready: impl FnOnce(GovernorId),
) -> Result<GovernorEnd, RuntimeError>
where
    T: Transport<Arc<Object>> + Send + 'static,
{
    let store = Arc::new(Store::create_within(&config.workdir, config.memory.clone()).map_err(RuntimeError::Store)?);
    let bell = Bell::default();
    let sessions = Arc::new(SessionTable::default());
    let contents = Arc::new(GovernorContents(sessions.clone()));
    let (id, transport) = connect(store.clone(), bell.wake(), contents)?;
    let (handle, sender) = start_governor_with(id, config, store, sessions, bell)?;
    stop.set_wake(handle.stopper());
    if stop.is_requested() {
        handle.stopper()();
    }
    // The governor's thread waits for exactly this.
    let _ = sender.send(transport);
    ready(id);
    Ok(handle.join())
}
