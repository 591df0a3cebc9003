//! The process that runs a server alone, or a governor.

use super::access::{AccessFiles, TlsAccess};
use super::patience;
use super::role::{GovernorRole, ServerRole};
use super::srun;
use crate::cpu_groups::place;
use crate::end_watch;
use crate::engine_error::EngineError;
use crate::launch::{Launch, Report, Reports, tell_end};
use crate::local::{self, RuntimeError, Stop};
use crate::orphan::Guardian;
use crate::place_watch;
use crate::plan::Governors;
use crate::runtime_dir::{self, Access, RuntimeDirError};
use crate::shown::Shown;
use crate::signals::{catch_signals, stop_on_signals};
use rain_runtime::cluster::{GovernorEnd, ServerConfig, run_governor, run_server};
use rain_runtime::questions::ContentRequests;
use rain_topology::Topology;
use rain_transport_tcp::contents::ContentService;
use rain_transport_tcp::front::{ClientFront, FrontConfig};
use rain_transport_tcp::peer::identity::{Cluster, PeerTls};
use rain_transport_tcp::peer::{ClientDoor, ConnectError, Patience, TcpTransport, Terms};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Runs a server alone until it is stopped.
///
/// # Errors
/// When it cannot start or fails later.
pub fn serve(
    launch: &Launch,
    role: &ServerRole,
    guardian: &Guardian,
    listener: OwnedFd,
    reports: &mut Reports,
) -> Result<(), EngineError> {
    let stop = Stop::new();
    stop_on_signals(catch_signals()?, stop.clone(), guardian.clone(), launch).map_err(EngineError::Thread)?;
    place_watch::start(launch, stop.clone()).map_err(EngineError::Thread)?;
    end_watch::start(&launch.end, stop.clone()).map_err(EngineError::Thread)?;
    let cluster = Cluster::new()?;
    // Nobody comes with it: over TCP, clients show a certificate.
    let token = runtime_dir::new_token()?;
    let mut access = runtime_dir::access(launch.listen, &launch.directory, token.clone());
    access.tls = Some(TlsAccess::new(&cluster));
    let log = launch.log.start(launch.log_dir.as_deref(), launch.listen, false);
    let shown = Shown::new(log.as_ref());
    if let Some(http) = &launch.http {
        http.serve(&shown, &mut access, reports)?;
    }
    let front = ClientFront::new(FrontConfig { tcp: None, socket_path: Some(access.socket.clone()), token })?;
    let config = ServerConfig {
        workdir: launch.places.server_work_dir.clone(),
        memory: launch.memory(1),
        version: env!("CARGO_PKG_VERSION"),
        listen: launch.listen.to_string(),
        governors: 0,
        on_loss: None,
        end: launch.end.for_runtime(),
        status: shown.requests(),
        view: shown.view(),
        orders: shown.orders(),
        contents: ContentRequests::default(),
        log,
    };
    tell_end(launch, reports);
    let tls = PeerTls::server(&cluster)?;
    drop(cluster);
    let clients = ClientDoor::of_server(front.tls_clients(), ContentService::new(Arc::new(config.contents.clone())));
    let patience = role.governor_timeout.map_or_else(Patience::default, Patience::new);
    let terms = Terms { data_plain: role.data_plain, patience };
    let listener = TcpListener::from(listener);
    let connect =
        |store, wake| TcpTransport::serve(listener, tls, store, Some(clients), terms, wake).map_err(connect_error);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), listen = %launch.listen, "starting a server");
    let stopper = stop.clone();
    let mut opened = Ok(());
    run_server(config, front, stop, connect, |cpus| {
        let ready = Report::Ready { pid: std::process::id(), governors: 0, cpus: cpus as usize };
        opened = open_to_clients(&launch.directory, &access, &role.access_files, &ready, reports, &stopper);
    })?;
    tracing::info!("stopped");
    Ok(opened?)
}

/// Writes the access files and reports that clients are served; asks to stop when that cannot be done.
///
/// # Errors
/// When a file cannot be written.
pub fn open_to_clients(
    directory: &Path,
    access: &Access,
    files: &AccessFiles,
    ready: &Report,
    reports: &mut Reports,
    stop: &Stop,
) -> Result<(), RuntimeDirError> {
    let written = runtime_dir::write_access(directory, access).and_then(|()| files.write(access));
    match written.is_ok() && reports.send(ready).is_ok() {
        true => tracing::info!("ready"),
        // Or nobody hears that it is ready: whoever started it has given up.
        false => stop.request(),
    }
    written
}

/// Runs a governor until its server is gone or ends it, or it is stopped.
///
/// # Errors
/// When it cannot start, or the server does not let it in.
pub fn govern(
    launch: &Launch,
    role: &GovernorRole,
    guardian: &Guardian,
    listener: OwnedFd,
    reports: &mut Reports,
) -> Result<(), EngineError> {
    if std::env::var_os(srun::STEP_VARIABLE).is_some() {
        rain_exec::leave_out_variables(|name| name == srun::STEP_VARIABLE || srun::is_of_the_step(name));
    }
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
    stop_on_signals(signals, stop.clone(), guardian.clone(), launch).map_err(EngineError::Thread)?;
    place_watch::start(launch, stop.clone()).map_err(EngineError::Thread)?;
    let cpus = placement.groups.into_iter().next().unwrap_or_default();
    let work_dir = launch.places.work_dirs.first().cloned().unwrap_or_else(|| PathBuf::from("."));
    local::try_warm_executors(&launch.executors, &work_dir)?;
    let config = local::governor(launch, cpus, work_dir, 1);
    patience::await_server(&role.server, role.wait, &stop);
    let tls = PeerTls::governor(&role.authority, &role.credentials.clone().into())?;
    let connect = |store, wake, contents| {
        let clients = Some(ClientDoor::of_governor(ContentService::new(contents)));
        let joined = TcpTransport::join(&role.server, TcpListener::from(listener), tls, store, clients);
        let (id, mut transport) = joined.map_err(connect_error)?;
        transport.set_wake(wake);
        Ok((id, transport))
    };
    tracing::info!(version = env!("CARGO_PKG_VERSION"), cpus = count, "starting a governor");
    let stopper = stop.clone();
    let end = run_governor(config, &stop, connect, |id| {
        tracing::info!("ready: {id}");
        if reports.send(&Report::Ready { pid: std::process::id(), governors: 1, cpus: count }).is_err() {
            stopper.request();
        }
    })?;
    tracing::info!("ended");
    match end {
        GovernorEnd::Refused(why) => Err(EngineError::Refused(why)),
        _ => Ok(()),
    }
}

fn connect_error(error: ConnectError) -> RuntimeError {
    RuntimeError::Connect(Box::new(error))
}
