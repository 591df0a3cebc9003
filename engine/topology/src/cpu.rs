//! Cpus, and what can be wrong about them.

use std::io;

/// A cpu (hardware thread) by the number that the system gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CpuId(pub usize);

/// A cpu and where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu {
    pub id: CpuId,
    /// Cpus of the same core share its execution units.
    pub core: usize,
    /// Cpus of the same NUMA node share their memory.
    pub node: usize,
}

/// Why cpus cannot be told, given out or pinned to.
#[derive(Debug, thiserror::Error)]
pub enum TopologyError {
    /// Not a failure: the caller goes on without pinning, and says so.
    #[error("{asked} cpus are asked for but only {available} may be used here")]
    Overcommitted { asked: usize, available: usize },
    #[error("a governor needs at least one cpu")]
    NoCpus,
    #[error("cannot read the cpu affinity: {0}")]
    ReadAffinity(#[source] io::Error),
    #[error("cannot pin {what} to cpus {cpus:?}: {source}")]
    Pin { what: String, cpus: Vec<usize>, source: io::Error },
}
