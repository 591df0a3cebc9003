//! The rank that is the server: clients over TCP with TLS and through the Unix socket, governors through MPI.

use super::cpus::Share;
use super::rank_governor::governor_config;
use super::role::{OBITUARY_TIME, RankRole};
use super::voice::Voice;
use crate::engine_error::EngineError;
use crate::launch::{Launch, Report, Reports, tell_end};
use crate::local::Stop;
use crate::remote::access::TlsAccess;
use crate::remote::engine::open_to_clients;
use crate::remote::{RemoteError, clear_ready_file};
use crate::runtime_dir::{self, ServerDir};
use crate::shown::Shown;
use crate::start;
use rain_model::id::GovernorId;
use rain_runtime::cluster::{OnLoss, ServerConfig, run_server};
use rain_runtime::local::{LocalConfig, run_local};
use rain_runtime::questions::ContentRequests;
use rain_transport_mpi::World;
use rain_transport_tcp::contents::ContentService;
use rain_transport_tcp::front::{ClientFront, FrontConfig};
use rain_transport_tcp::peer::identity::{Cluster, PeerTls};
use rain_transport_tcp::peer::{ClientDoor, ClientListener};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

/// The server's port, and its directory, in which its lock is held.
pub struct Door {
    listener: TcpListener,
    listen: SocketAddr,
    directory: ServerDir,
}

impl Door {
    /// Takes them.
    ///
    /// # Errors
    /// When somebody else has them.
    pub fn open(role: &RankRole, launch: &Launch, reports: &mut Reports) -> Result<Self, RemoteError> {
        clear_ready_file(role.server.ready_file.as_deref())?;
        let (listener, directory) = start::take_port(role.listen)?;
        let listen = listener.local_addr().map_err(|error| RemoteError::Listen(role.listen.into(), error))?;
        start::clean_up_after_dead_server(directory.path());
        let serving = Report::Serving { directory: directory.path().to_owned(), listen };
        // An error means that the supervisor is gone, which ends this process, too.
        let _ = reports.send(&serving);
        // `rain stop` waits for its end.
        let supervisor = launch.supervisor_pid.unwrap_or_else(std::process::id);
        runtime_dir::write_supervisor_pid(directory.path(), supervisor)?;
        Ok(Self { listener, listen, directory })
    }

    /// The server's runtime directory.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

/// What the server has to know about the job.
pub struct Job {
    pub notes: Vec<String>,
    /// Of each rank.
    pub hosts: Vec<String>,
    pub voice: Voice,
}

/// Serves until it is stopped, or a rank is lost.
///
/// # Errors
/// When a part cannot be started or fails.
#[expect(clippy::too_many_arguments, reason = "what a rank has collected by now, used once")]
pub fn serve(
    world: World,
    launch: &Launch,
    role: &RankRole,
    door: Door,
    share: Share,
    job: Job,
    stop: Stop,
    reports: &mut Reports,
) -> Result<(), EngineError> {
    for note in &job.notes {
        tracing::warn!("{note}");
        let _ = reports.send(&Report::Note(note.clone()));
    }
    let cluster = Cluster::new()?;
    let token = runtime_dir::new_token()?;
    let directory = door.directory.path().to_owned();
    let mut access = runtime_dir::access(door.listen, &directory, token.clone());
    // Governors come through MPI and in no other way.
    access.tls = Some(TlsAccess::for_clients(&cluster));
    let log = launch.log.start(launch.log_dir.as_deref(), door.listen, world.size() == 1);
    let shown = Shown::new(log.as_ref());
    if let Some(http) = &launch.http {
        http.serve(&shown, &mut access, reports)?;
    }
    tell_end(launch, reports);
    let end = launch.end.for_runtime();
    let front = ClientFront::new(FrontConfig { tcp: None, socket_path: Some(access.socket.clone()), token })?;
    let contents = ContentRequests::default();
    let service = ContentService::new(Arc::new(contents.clone()));
    let clients = ClientDoor::of_server(front.tls_clients(), service);
    let listener =
        ClientListener::start(door.listener, PeerTls::for_clients(&cluster)?, clients).map_err(EngineError::Thread)?;
    drop(cluster);
    let alone = world.size() == 1;
    let (status, view, orders) = (shown.requests(), shown.view(), shown.orders());
    let mut opened = Ok(());
    let (version, listen) = (env!("CARGO_PKG_VERSION"), door.listen.to_string());
    let stopper = stop.clone();
    let governors = if alone { 1 } else { world.size() as usize - 1 };
    let mut open = |cpus: usize| {
        let ready = Report::Ready { pid: std::process::id(), governors, cpus };
        opened = open_to_clients(&directory, &access, &role.server.access_files, &ready, reports, &stopper);
    };
    let workdir = launch.places.server_work_dir.clone();
    let memory = launch.memory(share.host_parts.len());
    if alone {
        let cpus = share.cpus.len();
        let governors = vec![governor_config(launch, share)];
        run_local(
            LocalConfig { governors, workdir, memory, version, listen, end, status, view, orders, contents, log },
            front,
            stop,
            || open(cpus),
        )?;
        world.finish();
    } else {
        let on_loss = Some(end_job(&world, job, stop.clone()));
        let governors = governors as u32;
        let config = ServerConfig {
            workdir,
            memory,
            version,
            listen,
            governors,
            on_loss,
            end,
            status,
            view,
            orders,
            contents,
            log,
        };
        let connect = |store, wake| Ok(world.into_transport(store, wake));
        run_server(config, front, stop, connect, |cpus| open(cpus as usize))?;
    }
    drop(listener);
    tracing::info!("stopped");
    opened?;
    Ok(())
}

/// What is done when a rank is lost: an MPI program cannot go on without it.
fn end_job(world: &World, job: Job, stop: Stop) -> OnLoss {
    let abort = world.abort_handle();
    Box::new(move |governor: GovernorId, why| {
        // Where all ranks were asked to end, they do not end in order.
        if stop.is_requested() {
            return;
        }
        std::thread::sleep(OBITUARY_TIME);
        let rank = governor.0 + 1;
        let host = job.hosts.get(rank as usize).map_or("an unknown host", String::as_str);
        job.voice.say(&format!("rank {rank} on {host} is lost: {why}; this ends the job"));
        abort.abort(1);
    })
}
