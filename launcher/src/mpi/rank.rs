//! The process that is a rank: begins MPI, agrees with the others, and is the server or a governor.

use super::agreement::{Announcement, Refusal, judge};
use super::cpus::{RankCpus, Share, divide};
use super::rank_governor::governor_config;
use super::role::{OBITUARY_TIME, RankRole, expected_rank};
use super::server::{Door, serve};
use super::shared_memory;
use super::voice::Voice;
use super::{panics, server};
use crate::client_command::{self, is_of_a_rank};
use crate::cpu_claims;
use crate::engine_error::EngineError;
use crate::host_name::host_name;
use crate::launch::{Launch, Report, Reports};
use crate::local::{self, Stop};
use crate::orphan::Guardian;
use crate::place_watch;
use crate::remote::governor::boot_id;
use crate::signals::{catch_signals, stop_on_signals};
use rain_model::id::GovernorId;
use rain_runtime::cluster::{GovernorEnd, run_governor};
use rain_topology::{Topology, TopologyError, pin_current_thread};
use rain_transport_mpi::{MpiError, World};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

/// Why a rank has ended.
#[derive(Debug, thiserror::Error)]
pub enum RankError {
    /// Said by the rank that is named, before this is returned.
    #[error("{0}")]
    Refused(Refusal),
    /// For the rank that is gone to say.
    #[error("the server is gone: {0}")]
    ServerLost(String),
    #[error("the governor's thread has failed{}", .0.as_ref().map(|line| format!(": {line}")).unwrap_or_default())]
    Broken(Option<String>),
    #[error(
        "the launcher has started {launched} processes, but for the MPI library of this program ({library}) there {} of \
         {found}: they do not belong together; use the mpirun of that library",
        if *.found == 1 { "is a world" } else { "are worlds" }
    )]
    OtherMpi { launched: u32, found: u32, library: String },
    #[error("MPI does not work: {0}")]
    Mpi(#[from] MpiError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("cannot take what the supervisor has handed down: {0}")]
    Inherited(#[source] io::Error),
}

/// What all ranks know of each before they begin.
#[derive(Debug, Serialize, Deserialize)]
struct Facts {
    cpus: RankCpus,
    /// Where its objects will be, and the mount namespace in which that is a path.
    store: PathBuf,
    mounts: PathBuf,
    /// On the server's rank: the interpreter that the client will want for its tasks.
    client_python: Option<PathBuf>,
}

/// Takes part until the end of the job.
///
/// # Errors
/// When this rank, or another one, could not begin or go on; the user was told then.
pub fn run(launch: &Launch, role: &RankRole, guardian: &Guardian, reports: &mut Reports) -> Result<(), RankError> {
    rain_exec::leave_out_variables(is_of_a_rank);
    panics::say_in_one_line();
    let voice = Voice::new(launch.descriptors.voice, reports).map_err(RankError::Inherited)?;
    let result = take_part(launch, role, guardian, reports, &voice);
    match &result {
        Ok(()) => {}
        Err(RankError::Refused(_) | RankError::ServerLost(_)) => voice.leave_it(),
        // Each process is rank 0 of a world of its own.
        Err(RankError::OtherMpi { .. }) if expected_rank().is_some_and(|rank| rank > 0) => voice.leave_it(),
        Err(error) => {
            let rank = expected_rank().map_or_else(String::new, |rank| format!("rank {rank} on "));
            voice.say(&format!("{rank}{}: {error}", host_name()));
        }
    }
    result
}

fn take_part(
    launch: &Launch,
    role: &RankRole,
    guardian: &Guardian,
    reports: &mut Reports,
    voice: &Voice,
) -> Result<(), RankError> {
    let signals = catch_signals()?;
    // While there is only this thread, and before MPI, which may bind this process to cpus of its own choice.
    let topology = Topology::detect();
    let stop = Stop::new();
    stop_on_signals(signals, stop.clone(), guardian.clone(), launch).map_err(EngineError::Thread)?;
    place_watch::start(launch, stop.clone()).map_err(EngineError::Thread)?;
    let mut world = World::begin()?;
    if let Ok(topology) = &topology {
        let cpus: Vec<_> = topology.allowed_cpus().iter().map(|cpu| cpu.id).collect();
        let _ = pin_current_thread(&cpus);
    }
    let _ = reports.send(&Report::Rank(world.rank()));
    let _ = reports.send(&Report::SharedMemory(shared_memory::mapped_files()));
    tracing::info!(version = role.version, rank = world.rank(), ranks = world.size(), mpi = world.library(), "begins");
    if let Some(launched) = World::launcher_size().filter(|&launched| launched > 1 && launched != world.size()) {
        let (found, library) = (world.size(), world.library().to_owned());
        return Err(RankError::OtherMpi { launched, found, library });
    }
    let began = begin(&mut world, launch, role, topology, reports, voice);
    let (door, shares, notes, hosts) = match began {
        Ok(began) => began,
        Err(error) => {
            if let RankError::Refused(_) = &error {
                // So that nobody ends, and makes `mpirun` end all, before it is said why.
                world.all_gather(Vec::new())?;
            }
            world.finish();
            return Err(error);
        }
    };
    let mut share = shares.get(world.rank() as usize).cloned().unwrap_or_default();
    if !cpu_claims::claim(share.cpus.iter().copied().flatten()) {
        tracing::warn!("another Rain on this machine has some of the same cpus: they are shared and not pinned");
        share.cpus.fill(None);
    }
    tracing::info!(cpus = share.cpus.len(), "all ranks are ready");
    match door {
        Some(door) => {
            guardian.also_removes(door.directory());
            let job = server::Job { notes, hosts, voice: voice.clone() };
            Ok(serve(world, launch, role, door, share, job, stop, reports)?)
        }
        None => govern(world, launch, share, &stop, reports),
    }
}

type Beginning = (Option<Door>, Vec<Share>, Vec<String>, Vec<String>);

/// Agrees with the other ranks: the server's door, the cpus of all ranks, notes about them, and the hosts.
fn begin(
    world: &mut World,
    launch: &Launch,
    role: &RankRole,
    topology: Result<Topology, TopologyError>,
    reports: &mut Reports,
    voice: &Voice,
) -> Result<Beginning, RankError> {
    let mut door = None;
    let prepared = (|| {
        role.unready.clone().map_or(Ok(()), Err)?;
        let topology = topology.map_err(|error| error.to_string())?;
        let mut client_python = None;
        if world.rank() == 0 {
            client_python = client_program(role)?.filter(|program| is_python(program));
            door = Some(Door::open(role, launch, reports).map_err(|error| error.to_string())?);
        }
        if world.rank() > 0 || world.size() == 1 {
            check_governor(launch)?;
        }
        let mounts = std::fs::read_link("/proc/self/ns/mnt").map_err(|error| error.to_string())?;
        Ok(Facts { cpus: cpus(&topology, launch, role), store: store(world, launch), mounts, client_python })
    })();
    let facts: Vec<Facts> = agree(world, role, prepared, voice)?;
    // The client's tasks ask for its own interpreter, on every host.
    let missing = facts[0].client_python.as_ref().filter(|path| world.rank() > 0 && !path.exists());
    let there = missing.map_or(Ok(()), |path| {
        Err(format!("there is no {} here, the Python of --run, with which tasks run", path.display()))
    });
    agree::<()>(world, role, there, voice)?;
    let neighbours = neighbours(world.rank(), &facts);
    world.set_neighbours(neighbours);
    let cpus: Vec<RankCpus> = facts.into_iter().map(|facts| facts.cpus).collect();
    let (shares, notes) = divide(&cpus);
    Ok((door, shares, notes, cpus.into_iter().map(|cpus| cpus.host).collect()))
}

/// Where this rank's store will be.
fn store(world: &World, launch: &Launch) -> PathBuf {
    match world.rank() {
        0 => launch.places.server_work_dir.clone(),
        _ => launch.places.work_dirs.first().cloned().unwrap_or_default(),
    }
}

/// The other ranks on the machine of this one, and their stores.
fn neighbours(rank: u32, facts: &[Facts]) -> Vec<(u32, PathBuf)> {
    let place = |facts: &Facts| (facts.cpus.boot.clone(), facts.mounts.clone());
    let own = facts.get(rank as usize).map(place);
    let others = (0u32..).zip(facts).filter(|(other, facts)| *other != rank && own == Some(place(facts)));
    others.map(|(other, facts)| (other, facts.store.clone())).collect()
}

/// Tells all ranks whether this one is ready, and hears what they tell.
fn agree<T: Serialize + DeserializeOwned>(
    world: &World,
    role: &RankRole,
    ready: Result<T, String>,
    voice: &Voice,
) -> Result<Vec<T>, RankError> {
    let announcement = Announcement { version: role.version.clone(), host: host_name(), ready };
    judge(&world.all_gather(announcement.encode())?).map_err(|refusal| {
        if refusal.rank == world.rank() {
            voice.say(&refusal.to_string());
        }
        RankError::Refused(refusal)
    })
}

/// The program of `--run`.
fn client_program(role: &RankRole) -> Result<Option<PathBuf>, String> {
    let words = role.run.as_deref().map(client_command::words).transpose().map_err(|error| error.to_string())?;
    Ok(words.map(|(program, _)| program))
}

fn is_python(program: &Path) -> bool {
    program.file_name().is_some_and(|name| name.to_string_lossy().starts_with("python"))
}

/// What a governor needs beside cpus and a directory.
fn check_governor(launch: &Launch) -> Result<(), String> {
    if launch.prestart_python.is_none() {
        return Err(
            "there is no Python for tasks here: neither beside rain-engine nor in VIRTUAL_ENV or PATH".to_owned()
        );
    }
    let directory = launch.places.work_dirs.first().cloned().unwrap_or_default();
    local::try_warm_executors(&launch.executors, &directory).map_err(|error| error.to_string())
}

fn cpus(topology: &Topology, launch: &Launch, role: &RankRole) -> RankCpus {
    RankCpus {
        host: host_name(),
        boot: boot_id(),
        cpus: topology.allowed_cpus().iter().map(|cpu| (cpu.id.0, cpu.core, cpu.node)).collect(),
        parallelism: topology.parallelism(),
        wanted: role.cpus,
        pin: launch.pin,
    }
}

fn govern(world: World, launch: &Launch, share: Share, stop: &Stop, reports: &mut Reports) -> Result<(), RankError> {
    let (rank, cpus) = (world.rank(), share.cpus.len());
    let end = run_governor(
        governor_config(launch, share),
        stop,
        |store, wake, _| Ok((GovernorId(rank - 1), world.into_transport(store, wake))),
        |_| _ = reports.send(&Report::Ready { pid: std::process::id(), governors: 1, cpus }),
    )
    .map_err(EngineError::from)?;
    tracing::info!("ended: {end:?}");
    match end {
        GovernorEnd::Asked => Ok(()),
        GovernorEnd::Refused(why) => Err(RankError::Broken(Some(why))),
        GovernorEnd::ServerLost(_) if stop.is_requested() => Ok(()),
        GovernorEnd::ServerLost(why) => {
            std::thread::sleep(OBITUARY_TIME);
            Err(RankError::ServerLost(why))
        }
        GovernorEnd::Broken => Err(RankError::Broken(panics::latest())),
    }
}
