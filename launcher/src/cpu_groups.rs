//! Which cpus the governors of an engine get.

use crate::cpu_claims;
use crate::launch::Launch;
use crate::plan::Governors;
use rain_topology::{CpuId, Topology, TopologyError};

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
    // Of fewer cpus than this process may use it is not known which ones others leave alone: the system chooses them, task by task.
    if !pin || asked < limit {
        return Ok(Placement { groups: unpinned, notes });
    }
    let groups = topology.split(&counts)?;
    if !cpu_claims::claim(groups.iter().flatten().copied()) {
        notes.push("another Rain on this machine has some of the same cpus: they are shared and not pinned".to_owned());
        return Ok(Placement { groups: unpinned, notes });
    }
    Ok(Placement { groups: groups.into_iter().map(|group| group.into_iter().map(Some).collect()).collect(), notes })
}
