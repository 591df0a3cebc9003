//! Governors and their links.

use crate::error::PlanError;
use crate::graph::Graph;

/// Each governor has one link to all others, of the same speed in both directions at once.
#[derive(Clone, Debug)]
pub struct Cluster {
    cpus: Vec<u32>,
    bandwidth: f64,
}

/// How many objects a governor receives at once.
pub const DOWNLOADS_MAX: u32 = 4;
/// How many of these from the same governor.
pub const DOWNLOADS_FROM_ONE_MAX: u32 = 2;
/// A bound for tables of pairs of governors.
pub const GOVERNORS_MAX: usize = 1024;

impl Cluster {
    /// Governors with that many cpus, and links of `bandwidth` bytes a second.
    ///
    /// # Errors
    /// When there is no governor, one has no cpu, or the bandwidth is no positive number.
    pub fn new(cpus: Vec<u32>, bandwidth: f64) -> Result<Self, PlanError> {
        if cpus.is_empty() || cpus.contains(&0) {
            return Err(PlanError::EmptyCluster);
        }
        if cpus.len() > GOVERNORS_MAX {
            return Err(PlanError::TooMany { what: "governors", max: GOVERNORS_MAX });
        }
        if !(bandwidth.is_finite() && bandwidth > 0.0) {
            return Err(PlanError::Bandwidth(bandwidth));
        }
        Ok(Self { cpus, bandwidth })
    }

    /// The number of governors.
    pub fn governors(&self) -> usize {
        self.cpus.len()
    }

    /// The cpus of a governor.
    pub fn cpus(&self, governor: usize) -> u32 {
        self.cpus[governor]
    }

    /// The cpus of all governors.
    pub fn cpus_in_all(&self) -> u64 {
        self.cpus.iter().map(|cpus| u64::from(*cpus)).sum()
    }

    /// Bytes a second, in each direction of each link.
    pub fn bandwidth(&self) -> f64 {
        self.bandwidth
    }

    /// Checks that each task of `graph` fits on some governor.
    ///
    /// # Errors
    /// Names the first task that does not.
    pub fn fits(&self, graph: &Graph) -> Result<(), PlanError> {
        let largest = self.cpus.iter().copied().max().unwrap_or(0);
        match (0..graph.tasks()).find(|task| graph.cpus(*task) > largest) {
            Some(task) => Err(PlanError::TooWide { task, cpus: graph.cpus(task), largest }),
            None => Ok(()),
        }
    }
}
