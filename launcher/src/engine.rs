//! The process that runs server and governors.

use crate::cpu_groups::place;
use crate::end_watch;
use crate::engine_error::EngineError;
use crate::engine_log;
use crate::launch::{Launch, Report, Reports, adopt, tell_end};
use crate::local::{self, GovernorPlan, LocalPlan, Stop};
use crate::orphan::Guardian;
use crate::place_watch;
use crate::remote;
use crate::remote::access::{AccessFiles, TlsAccess};
use crate::role::Role;
use crate::runtime_dir;
use crate::shown::Shown;
use crate::signals::{catch_signals, stop_on_signals};
use rain_runtime::questions::ContentRequests;
use rain_topology::Topology;
use rain_transport_tcp::contents::ContentService;
use rain_transport_tcp::front::{ClientFront, FrontConfig};
use rain_transport_tcp::peer::identity::{Cluster, PeerTls};
use rain_transport_tcp::peer::{ClientDoor, ClientListener};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

/// Runs until it is stopped.
///
/// # Errors
/// When it cannot start or fails later; this is also reported and logged.
pub fn run(launch_file: &Path) -> Result<(), EngineError> {
    engine_log::start();
    let unusable = |source| EngineError::LaunchFile { path: launch_file.to_owned(), source };
    let launch = Launch::read(launch_file).map_err(unusable)?;
    let mut reports = Reports::new(adopt(launch.descriptors.reports).map_err(unusable)?);
    let listener = |launch: &Launch| adopt(launch.descriptors.listener).map_err(unusable);
    let guardian = Guardian::watch(&launch)?;
    check_log(&launch, &mut reports);
    // The supervisor is a subreaper.
    launch.supervisor_pid.into_iter().for_each(rain_exec::set_reaper);
    if launch.keep_capabilities {
        rain_exec::keep_capabilities();
    }
    let result = match launch.role.clone() {
        Role::Local => listener(&launch).and_then(|listener| serve(&launch, &guardian, listener, &mut reports)),
        Role::Server(role) => listener(&launch)
            .and_then(|listener| remote::engine::serve(&launch, &role, &guardian, listener, &mut reports)),
        Role::Governor(role) => listener(&launch)
            .and_then(|listener| remote::engine::govern(&launch, &role, &guardian, listener, &mut reports)),
        #[cfg(feature = "mpi")]
        Role::Rank(role) => crate::mpi::rank::run(&launch, &role, &guardian, &mut reports)
            .map_err(|error| EngineError::Rank(Box::new(error))),
    };
    if let Err(error) = &result {
        tracing::error!("{error}");
        let _ = reports.send(&Report::Failed(error.to_string()));
    }
    if guardian.is_gone() {
        guardian.clean_up(&launch);
    }
    result
}

/// Says where the log should be when it cannot be written.
fn check_log(launch: &Launch, reports: &mut Reports) {
    tracing::info!(version = env!("CARGO_PKG_VERSION"), pid = std::process::id(), "the engine begins");
    if engine_log::is_in_trouble() {
        let place = launch.log_dir.as_ref().map_or_else(String::new, |place| format!(" in {}", place.display()));
        let why = "the file system is full, or a quota is used up";
        let _ = reports
            .send(&Report::Note(format!("the log{place} cannot be written ({why}): --logdir chooses another place")));
    }
}

fn serve(launch: &Launch, guardian: &Guardian, listener: OwnedFd, reports: &mut Reports) -> Result<(), EngineError> {
    let signals = catch_signals()?;
    // Before any thread is pinned, and while there is only this one (see `Topology::detect`).
    let placement = place(&Topology::detect()?, launch)?;
    let stop = Stop::new();
    stop_on_signals(signals, stop.clone(), guardian.clone(), launch).map_err(EngineError::Thread)?;
    place_watch::start(launch, stop.clone()).map_err(EngineError::Thread)?;
    end_watch::start(&launch.end, stop.clone()).map_err(EngineError::Thread)?;
    for note in &placement.notes {
        tracing::warn!("{note}");
        let _ = reports.send(&Report::Note(note.clone()));
    }
    tell_end(launch, reports);
    local::try_warm_executors(&launch.executors, &launch.places.server_work_dir)?;
    let token = runtime_dir::new_token()?;
    let mut access = runtime_dir::access(launch.listen, &launch.directory, token.clone());
    let log = launch.log.start(launch.log_dir.as_deref(), launch.listen, true);
    let shown = Shown::new(log.as_ref());
    if let Some(http) = &launch.http {
        http.serve(&shown, &mut access, reports)?;
    }
    // Connections that leave the machine are encrypted, and both sides show certificates.
    let cluster = (!launch.listen.ip().is_loopback()).then(Cluster::new).transpose()?;
    access.tls = cluster.as_ref().map(TlsAccess::for_clients);
    let (plain, encrypted) = match &cluster {
        None => (Some(TcpListener::from(listener)), None),
        Some(cluster) => (None, Some((TcpListener::from(listener), PeerTls::for_clients(cluster)?))),
    };
    drop(cluster);
    let front = ClientFront::new(FrontConfig { tcp: plain, socket_path: Some(access.socket.clone()), token })?;
    let contents = ContentRequests::default();
    let _listener = encrypted
        .map(|(listener, tls)| {
            let service = ContentService::new(Arc::new(contents.clone()));
            ClientListener::start(listener, tls, ClientDoor::of_server(front.tls_clients(), service))
        })
        .transpose()
        .map_err(EngineError::Thread)?;
    let cpus = placement.groups.iter().map(Vec::len).sum();
    let ready = Report::Ready { pid: std::process::id(), governors: placement.groups.len(), cpus };
    let parts: Vec<usize> = placement.groups.iter().map(Vec::len).collect();
    let governors = placement.groups.into_iter().zip(&launch.places.work_dirs).enumerate();
    let plan = LocalPlan {
        governors: governors
            .map(|(place, (cpus, path))| {
                let resources = launch.resources.supplies(&parts, place);
                GovernorPlan { cpus, resources, work_dir: path.clone() }
            })
            .collect(),
        server_work_dir: launch.places.server_work_dir.clone(),
        memory: launch.memory(1),
        executors: launch.executors.clone(),
        listen: launch.listen.to_string(),
        python: launch.prestart_python.clone(),
        end: launch.end.for_runtime(),
        status: shown.requests(),
        view: shown.view(),
        orders: shown.orders(),
        contents,
        log,
    };
    tracing::info!(version = env!("CARGO_PKG_VERSION"), listen = %launch.listen, cpus, "starting");
    let mut opened = Ok(());
    let stopper = stop.clone();
    local::run(plan, front, stop, || {
        let files = AccessFiles::default();
        opened = remote::engine::open_to_clients(&launch.directory, &access, &files, &ready, reports, &stopper);
    })?;
    tracing::info!("stopped");
    Ok(opened?)
}
