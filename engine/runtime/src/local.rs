//! Server and governors in one process.

use crate::config::GovernorConfig;
use crate::end_of_time::EndOfTime;
pub use crate::error::RuntimeError;
use crate::facts::ProcessFacts;
use crate::governor::{GovernorError, start_governor};
use crate::questions::{ContentRequests, OrderRequests, StatusRequests, View};
use crate::server::{ServerDriver, ServerParts};
pub use crate::stop::Stop;
use rain_data::{Memory, Object, Store};
use rain_events::EventLog;
use rain_model::id::GovernorId;
use rain_protocol::client::HelloReply;
use rain_protocol::msgpack::PROTOCOL_VERSION;
use rain_transport::clients::Clients;
use rain_transport::{InProcessEndpoint, connect_in_process};
use std::path::PathBuf;
use std::sync::Arc;

/// How a server with local governors is set up.
pub struct LocalConfig {
    pub governors: Vec<GovernorConfig>,
    /// Directory for content that clients send; made, and removed at the end.
    pub workdir: PathBuf,
    /// What content that clients send takes is a part of this.
    pub memory: Arc<Memory>,
    pub version: &'static str,
    /// Where it listens, for status replies.
    pub listen: String,
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
}

/// Runs a server with local governors until it is stopped, by `stop` or by a client. `ready` is called once every governor
/// is in and clients are served.
///
/// # Errors
/// When the parts cannot be started, or the clients' front breaks.
pub fn run_local<C: Clients>(
    config: LocalConfig,
    mut clients: C,
    stop: Stop,
    ready: impl FnOnce(),
) -> Result<(), RuntimeError> {
    let store = Arc::new(Store::create_within(&config.workdir, config.memory)?);
    let wake = clients.wake();
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
    clients.set_greeting(HelloReply {
        version: PROTOCOL_VERSION,
        server: facts.version.to_owned(),
        pid: facts.pid,
        governors: count,
        cpus,
        local: false,
    });
    let mut driver =
        ServerDriver::new(ServerParts { clients, transport: server_end, store, facts, stop, log: config.log });
    driver.take_no_governors();
    driver.answer(config.status, config.contents, wake.clone());
    driver.show(config.view);
    driver.obey(config.orders, wake.clone());
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
