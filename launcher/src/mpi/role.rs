//! What a rank of `rain-engine` was asked for.

use crate::remote::role::{CpuCount, ServerRole};
use serde::{Deserialize, Serialize};
use std::env;
use std::net::SocketAddr;
use std::time::Duration;

/// How long the engine process of a rank may take to stop: `mpirun` kills what has not ended a second after it was asked to,
/// and serves nobody meanwhile, so that MPI cannot be finalized.
pub const STOP_TIME_MAX: Duration = Duration::from_millis(400);

/// How long the supervisor of a rank stays once it was asked to end: when the first one goes, `mpirun` kills the others, who
/// may be removing their files.
pub const ASKED_TIME_MIN: Duration = Duration::from_millis(900);

/// How long the supervisor of a rank that has died may take to say how, before others say that it is gone and end the job.
/// Longer than `STOP_TIME_MAX`: where all ranks were asked to end, nobody is left to say it.
pub const OBITUARY_TIME: Duration = Duration::from_millis(700);

/// A rank: which one, and so whether it is the server or a governor, is known only once MPI has begun.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RankRole {
    /// The release that it tells the others.
    pub version: String,
    /// The rank, if the environment tells.
    pub expected_rank: Option<u32>,
    /// Where it listens if it is the server.
    pub listen: SocketAddr,
    pub server: ServerRole,
    /// The command that runs beside the server.
    pub run: Option<String>,
    pub cpus: CpuCount,
    /// Why it cannot take part, if that is known already.
    pub unready: Option<String>,
}

impl RankRole {
    /// What its log is called.
    pub fn log_name(&self) -> String {
        match self.expected_rank {
            Some(rank) => format!("rank-{rank}"),
            None => format!("rank-of-{}", std::process::id()),
        }
    }
}

/// The rank that this process will have, as far as its environment tells.
pub fn expected_rank() -> Option<u32> {
    // Slurm's own is there also where `mpirun` was started by it, and is that of `mpirun` then.
    let names = ["OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"];
    names.iter().find_map(|name| env::var(name).ok()?.parse().ok())
}
