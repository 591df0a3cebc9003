//! The process that runs server and governors.

use crate::launch::{Launch, Report, Reports, adopt};
use crate::local::{self, GovernorPlan, LocalPlan, Stop};
use crate::orphan::Guardian;
use crate::plan::Governors;
use crate::remote::access::{AccessFiles, TlsAccess};
use crate::remote::{self, role::Role};
use crate::runtime_dir::{self, RuntimeDirError};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use rain_runtime::questions::ContentRequests;
use rain_topology::{CpuId, Topology, TopologyError};
use rain_transport_tcp::contents::ContentService;
use rain_transport_tcp::front::{ClientFront, FrontConfig, FrontError};
use rain_transport_tcp::peer::identity::{Cluster, PeerTls};
use rain_transport_tcp::peer::{ClientDoor, ClientListener};
use std::fs::File;
use std::io::{self, Read};
use std::net::TcpListener;
use std::os::fd::{IntoRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

/// Why the engine could not start or ended.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("cannot read the launch file {path}: {source}")]
    LaunchFile { path: PathBuf, source: io::Error },
    #[error("the supervisor is gone")]
    Orphaned,
    #[error("cannot set up signals: {0}")]
    Signals(#[from] Errno),
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
    #[error(transparent)]
    Topology(#[from] TopologyError),
    #[error(transparent)]
    RuntimeDir(#[from] RuntimeDirError),
    #[error(transparent)]
    Identity(#[from] rain_transport_tcp::peer::identity::IdentityError),
    #[error(transparent)]
    Front(#[from] FrontError),
    #[error(transparent)]
    Http(#[from] crate::http::HttpError),
    #[error(transparent)]
    Warm(#[from] local::WarmError),
    #[error(transparent)]
    Runtime(#[from] local::RuntimeError),
    #[cfg(feature = "mpi")]
    #[error(transparent)]
    Rank(#[from] Box<crate::mpi::rank::RankError>),
}

/// Runs until it is stopped.
///
/// # Errors
/// When it cannot start or fails later; this is also reported and logged.
pub fn run(launch_file: &Path) -> Result<(), EngineError> {
    start_log();
    let unusable = |source| EngineError::LaunchFile { path: launch_file.to_owned(), source };
    let launch = Launch::read(launch_file).map_err(unusable)?;
    let mut reports = Reports::new(adopt(launch.descriptors.reports).map_err(unusable)?);
    let listener = |launch: &Launch| adopt(launch.descriptors.listener).map_err(unusable);
    let guardian = Guardian::watch(&launch)?;
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
        Role::Rank(role) => {
            crate::mpi::rank::run(&launch, &role, &guardian, &mut reports).map_err(|error| Box::new(error).into())
        }
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

fn start_log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("RAIN_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    // The supervisor has made the log file this process's standard error, so that panics get there, too.
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(io::stderr).init();
}

fn serve(launch: &Launch, guardian: &Guardian, listener: OwnedFd, reports: &mut Reports) -> Result<(), EngineError> {
    let signals = catch_signals()?;
    // Before any thread is pinned, and while there is only this one (see `Topology::detect`).
    let placement = place(&Topology::detect()?, launch)?;
    let stop = Stop::new();
    stop_on_signals(signals, stop.clone(), guardian.clone(), launch).map_err(EngineError::Thread)?;
    for note in &placement.notes {
        tracing::warn!("{note}");
        let _ = reports.send(&Report::Note(note.clone()));
    }
    tell_end(launch, reports);
    local::try_warm_executors(&launch.executors, &launch.places.server_work_dir)?;
    let token = runtime_dir::new_token()?;
    let mut access = runtime_dir::access(launch.listen, &launch.directory, token.clone());
    let status = launch.http.as_ref().map(|http| http.serve(&mut access, reports)).transpose()?.unwrap_or_default();
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
    let governors = placement.groups.into_iter().zip(&launch.places.work_dirs);
    let plan = LocalPlan {
        governors: governors.map(|(cpus, path)| GovernorPlan { cpus, work_dir: path.clone() }).collect(),
        server_work_dir: launch.places.server_work_dir.clone(),
        executors: launch.executors.clone(),
        listen: launch.listen.to_string(),
        python: launch.prestart_python.clone(),
        end: launch.end.for_runtime(),
        status,
        contents,
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

/// Says when the time is over.
pub fn tell_end(launch: &Launch, reports: &mut Reports) {
    if let Some(note) = launch.end.note() {
        tracing::info!("{note}");
        let _ = reports.send(&Report::Note(note));
    }
}

/// Where the signal handler says that a signal came.
static SIGNAL_PIPE: AtomicI32 = AtomicI32::new(-1);

extern "C" fn on_signal(_: libc::c_int) {
    let fd = SIGNAL_PIPE.load(Ordering::Relaxed);
    // SAFETY: `write` may be called in a signal handler, the byte lives long enough, and a bad descriptor is an error.
    unsafe { libc::write(fd, [0u8].as_ptr().cast(), 1) };
}

/// A handler rather than blocked signals: blocked they would stay in all programs that tasks run. What comes before
/// somebody reads is kept in the pipe.
pub fn catch_signals() -> Result<OwnedFd, EngineError> {
    let (read_end, write_end) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    SIGNAL_PIPE.store(write_end.into_raw_fd(), Ordering::Relaxed);
    let action = SigAction::new(SigHandler::Handler(on_signal), SaFlags::SA_RESTART, SigSet::empty());
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        // SAFETY: the handler makes one async-signal-safe call and touches nothing but an atomic.
        unsafe { sigaction(signal, &action) }?;
    }
    Ok(read_end)
}

/// Asks `stop` to stop at each signal that was caught.
///
/// # Errors
/// When the system gives no thread.
pub fn stop_on_signals(pipe: OwnedFd, stop: Stop, guardian: Guardian, launch: &Launch) -> io::Result<()> {
    let launch = launch.clone();
    let watch = move || {
        let mut pipe = File::from(pipe);
        while pipe.read_exact(&mut [0]).is_ok() {
            let is_orphaned = guardian.is_gone();
            tracing::info!("asked to stop by {}", if is_orphaned { "the supervisor's end" } else { "a signal" });
            stop.request();
            if is_orphaned {
                guardian.end_in_time(&launch);
            }
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(watch).map(|_| ())
}

/// Which cpus the workers of each governor get.
pub struct Placement {
    pub groups: Vec<Vec<Option<CpuId>>>,
    /// What the user should know about it.
    pub notes: Vec<String>,
}

/// Chooses the cpus of each governor.
///
/// # Errors
/// When the machine cannot be divided so.
pub fn place(topology: &Topology, launch: &Launch) -> Result<Placement, TopologyError> {
    let allowed = topology.allowed_cpus().len();
    let mut notes = Vec::new();
    let mut limit = topology.parallelism();
    let pin = launch.pin && limit == allowed;
    if launch.pin && !pin {
        notes.push(format!("this process may use the time of {limit} cpus of {allowed}: they are not pinned"));
    }
    if launch.reserve_cpu && limit > 1 {
        limit -= 1;
    } else if launch.reserve_cpu {
        notes.push("-S: there is only one cpu; the server shares it".to_owned());
    }
    let counts = match &launch.governors {
        Governors::Simple => vec![limit],
        Governors::Cpus(counts) => counts.clone(),
    };
    let asked = counts.iter().fold(0usize, |sum, &count| sum.saturating_add(count));
    let unpinned = counts.iter().map(|&count| vec![None; count]).collect();
    if asked > limit {
        notes.push(format!("{asked} cpus were asked for and {limit} are there: they are shared and not pinned"));
        return Ok(Placement { groups: unpinned, notes });
    }
    if !pin {
        return Ok(Placement { groups: unpinned, notes });
    }
    let groups = topology.split(&counts)?;
    Ok(Placement { groups: groups.into_iter().map(|group| group.into_iter().map(Some).collect()).collect(), notes })
}
