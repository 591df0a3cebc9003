//! Server and governors in processes of their own, on one machine or several.

use crate::governor::{GovernorConfig, start_governor_with};
use crate::local::{RuntimeError, Stop};
use crate::server::{ProcessFacts, ServerDriver, server_wake};
use rain_core::client::HelloReply;
use rain_core::id::GovernorId;
use rain_core::msgpack::PROTOCOL_VERSION;
use rain_data::{Object, Store};
use rain_transport_tcp::front::ClientFront;
use rain_transport_tcp::peer::identity::PeerTls;
use rain_transport_tcp::peer::{ClientDoor, TcpTransport};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

/// How a server without governors of its own is set up.
pub struct ServerConfig {
    /// Where governors and clients connect.
    pub listener: TcpListener,
    pub tls: PeerTls,
    /// Large content from governors, and between them, goes without TLS.
    pub data_plain: bool,
    /// Directory for content that clients send and fetch; made, and removed at the end.
    pub workdir: PathBuf,
    pub version: &'static str,
    /// Where it listens, for status replies.
    pub listen: String,
    /// How many governors have to be in before clients are told that it is ready.
    pub governors: u32,
}

/// Runs a server until it is stopped, by `stop` or by a client. `ready` is called once clients are served and the governors
/// that were asked for are in; with how many cpus.
///
/// # Errors
/// When the parts cannot be started, or the front breaks.
pub fn run_server(
    config: ServerConfig,
    mut front: ClientFront,
    stop: Stop,
    ready: impl FnOnce(u32),
) -> Result<(), RuntimeError> {
    let store = Arc::new(Store::create(&config.workdir)?);
    let wake = server_wake(&front);
    stop.set_wake(wake.clone());
    let clients = ClientDoor::new(front.tls_clients());
    let transport: TcpTransport<Arc<Object>> =
        TcpTransport::serve(config.listener, config.tls, store.clone(), Some(clients), config.data_plain, wake)?;
    let facts = ProcessFacts::of_this_process(config.version, config.listen);
    front.set_greeting(HelloReply {
        version: PROTOCOL_VERSION,
        server: facts.version.to_owned(),
        pid: facts.pid,
        governors: 0,
        cpus: 0,
        local: false,
    });
    let mut driver = ServerDriver::new(front, transport, store, facts, stop);
    driver.keep_fetched();
    let served = driver.serve_until_joined(config.governors).and_then(|()| {
        ready(driver.cpus());
        driver.serve()
    });
    // Whoever has ever joined; those that are gone are passed over.
    driver.stop_governors(driver.governors_seen());
    Ok(served?)
}

/// How a governor of a server elsewhere is set up.
pub struct RemoteGovernorConfig {
    pub governor: GovernorConfig,
    /// Where the server listens: one of these.
    pub server: Vec<SocketAddr>,
    /// Where other governors connect.
    pub listener: TcpListener,
    pub tls: PeerTls,
}

/// Runs a governor until its server is gone or ends it, or `stop` does. `ready` is called once the server has let it in.
///
/// # Errors
/// When the server is not there or does not let it in, or the parts cannot be started.
pub fn run_governor(
    config: RemoteGovernorConfig,
    stop: &Stop,
    ready: impl FnOnce(GovernorId),
) -> Result<(), RuntimeError> {
    let store = Arc::new(Store::create(&config.governor.workdir).map_err(RuntimeError::Store)?);
    let (id, mut transport) = TcpTransport::join(&config.server, config.listener, config.tls, store.clone())?;
    let (handle, sender) = start_governor_with(id, config.governor, store)?;
    transport.set_wake(handle.wake());
    stop.set_wake(handle.stopper());
    if stop.is_requested() {
        handle.stopper()();
    }
    // The governor's thread waits for exactly this.
    let _ = sender.send(transport);
    ready(id);
    handle.join();
    Ok(())
}
