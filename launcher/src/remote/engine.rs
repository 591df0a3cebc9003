//! The process that runs a server alone, or a governor.

use super::access::TlsAccess;
use super::role::{GovernorRole, ServerRole};
use crate::engine::{EngineError, catch_signals, die_with_supervisor, place, stop_on_signals};
use crate::launch::{Launch, Report, Reports};
use crate::local::{self, Stop};
use crate::plan::Governors;
use crate::runtime_dir;
use rain_runtime::cluster::{RemoteGovernorConfig, ServerConfig, run_governor, run_server};
use rain_topology::Topology;
use rain_transport_tcp::front::{ClientFront, FrontConfig};
use rain_transport_tcp::peer::identity::{Cluster, PeerTls};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// Runs a server alone until it is stopped.
///
/// # Errors
/// When it cannot start or fails later.
pub fn serve(launch: &Launch, role: &ServerRole, listener: OwnedFd, reports: &mut Reports) -> Result<(), EngineError> {
    die_with_supervisor(launch)?;
    let stop = Stop::new();
    stop_on_signals(catch_signals()?, stop.clone()).map_err(EngineError::Thread)?;
    let cluster = Cluster::new()?;
    // Nobody comes with it: over TCP, clients show a certificate.
    let token = runtime_dir::new_token()?;
    let mut access = runtime_dir::access(launch.listen, &launch.directory, token.clone());
    access.tls = Some(TlsAccess::new(&cluster));
    let front = ClientFront::new(FrontConfig { tcp: None, socket_path: Some(access.socket.clone()), token })?;
    let config = ServerConfig {
        listener: TcpListener::from(listener),
        tls: PeerTls::server(&cluster)?,
        data_plain: role.data_plain,
        workdir: launch.places.server_work_dir.clone(),
        version: env!("CARGO_PKG_VERSION"),
        listen: launch.listen.to_string(),
        governors: 0,
    };
    drop(cluster);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), listen = %launch.listen, "starting a server");
    let stopper = stop.clone();
    let mut unwritten = None;
    run_server(config, front, stop, |cpus| {
        let written =
            runtime_dir::write_access(&launch.directory, &access).and_then(|()| role.access_files.write(&access));
        if let Err(error) = written {
            unwritten = Some(error);
            return stopper.request();
        }
        let ready = Report::Ready { pid: std::process::id(), governors: 0, cpus: cpus as usize };
        match reports.send(&ready) {
            Ok(()) => tracing::info!("ready"),
            // Nobody to hear that it is ready: whoever started it has given up.
            Err(_) => stopper.request(),
        }
    })?;
    tracing::info!("stopped");
    unwritten.map_or(Ok(()), |error| Err(error.into()))
}

/// Runs a governor until its server is gone or ends it, or it is stopped.
///
/// # Errors
/// When it cannot start, or the server does not let it in.
pub fn govern(
    launch: &Launch,
    role: &GovernorRole,
    listener: OwnedFd,
    reports: &mut Reports,
) -> Result<(), EngineError> {
    die_with_supervisor(launch)?;
    let signals = catch_signals()?;
    // Before any thread is pinned, and while there is only this one (see `Topology::detect`).
    let topology = Topology::detect()?;
    let count = role.cpus.of(topology.parallelism());
    let placement = place(&topology, &Launch { governors: Governors::Cpus(vec![count]), ..launch.clone() })?;
    for note in &placement.notes {
        tracing::warn!("{note}");
        let _ = reports.send(&Report::Note(note.clone()));
    }
    let stop = Stop::new();
    stop_on_signals(signals, stop.clone()).map_err(EngineError::Thread)?;
    let cpus = placement.groups.into_iter().next().unwrap_or_default();
    let work_dir = launch.places.work_dirs.first().cloned().unwrap_or_else(|| PathBuf::from("."));
    local::try_warm_executors(&launch.executors, &work_dir)?;
    let config = RemoteGovernorConfig {
        governor: local::governor(launch, cpus, work_dir),
        server: role.server.clone(),
        listener: TcpListener::from(listener),
        tls: PeerTls::governor(&role.authority, &role.credentials.clone().into())?,
    };
    tracing::info!(version = env!("CARGO_PKG_VERSION"), cpus = count, "starting a governor");
    let stopper = stop.clone();
    run_governor(config, &stop, |id| {
        tracing::info!("ready: {id}");
        if reports.send(&Report::Ready { pid: std::process::id(), governors: 1, cpus: count }).is_err() {
            stopper.request();
        }
    })?;
    tracing::info!("ended");
    Ok(())
}
