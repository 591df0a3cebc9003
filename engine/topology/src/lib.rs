//! The cpus that this process may use: which there are, how they lie to each other, and binding threads to them; and how much memory and
//! which GPUs it may use.
//!
//! hwloc (feature `hwloc`) tells the order in which neighbouring cpus stand together; without it `/sys` does. Which
//! cpus may be used is always the affinity the process was started with, so that a container's cpuset, a batch job's
//! cpus and `taskset` are respected.

mod affinity;
mod cpu;
mod gpus;
#[cfg(feature = "hwloc")]
mod hwloc;
mod memory;
mod nvml;
mod split;
#[cfg(any(test, not(feature = "hwloc")))]
mod sysfs;

pub use affinity::{pin_current_thread, pin_process};
pub use cpu::{Cpu, CpuId, TopologyError};
pub use gpus::gpus;
pub use memory::memory_bytes;

/// The cpus this process may use, neighbours together.
#[derive(Clone, Debug)]
pub struct Topology {
    cpus: Vec<Cpu>,
}

impl Topology {
    /// Asks the system. Call it before the calling thread is pinned, and best before other threads are started: only
    /// then can hwloc be kept from loading plugins that are of no use here (3 to 40 ms).
    ///
    /// # Errors
    /// When the system does not tell the affinity.
    pub fn detect() -> Result<Self, TopologyError> {
        let allowed = affinity::current().map_err(TopologyError::ReadAffinity)?;
        Ok(Self { cpus: in_order_of_locality(&allowed, known_cpus()) })
    }

    /// Cpus that another process was told of; neighbours stand together.
    pub fn of(cpus: Vec<Cpu>) -> Self {
        Self { cpus }
    }

    /// The cpus that may be used, neighbours together.
    pub fn allowed_cpus(&self) -> Vec<Cpu> {
        self.cpus.clone()
    }

    /// How many cpus this process can keep busy: those that may be used, or fewer when a cgroup limits their time. In
    /// that case the process should not be pinned, for nobody says which cpus the others are on.
    pub fn parallelism(&self) -> usize {
        std::thread::available_parallelism().map_or(self.cpus.len(), |limit| limit.get().min(self.cpus.len()))
    }

    /// Gives each governor as many cpus of its own as `counts` says: of one NUMA node if there is one with enough, and
    /// otherwise of neighbouring ones; one a core as long as there are enough cores for all.
    ///
    /// # Errors
    /// `Overcommitted` when there are not enough cpus, `NoCpus` when a count is zero.
    pub fn split(&self, counts: &[usize]) -> Result<Vec<Vec<CpuId>>, TopologyError> {
        split::split(&self.cpus, counts)
    }
}

#[cfg(feature = "hwloc")]
fn known_cpus() -> Vec<Cpu> {
    hwloc::cpus()
}

#[cfg(not(feature = "hwloc"))]
fn known_cpus() -> Vec<Cpu> {
    sysfs::cpus()
}

/// The allowed cpus in the order of `known`, then those that are not known there.
fn in_order_of_locality(allowed: &[CpuId], known: Vec<Cpu>) -> Vec<Cpu> {
    let mut cpus: Vec<Cpu> = known.into_iter().filter(|cpu| allowed.contains(&cpu.id)).collect();
    let first_free_core = cpus.iter().map(|cpu| cpu.core + 1).max().unwrap_or(0);
    for &id in allowed {
        if !cpus.iter().any(|cpu| cpu.id == id) {
            cpus.push(Cpu { id, core: first_free_core + id.0, node: 0 });
        }
    }
    cpus
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_detected_is_what_the_affinity_allows() {
        let start = std::time::Instant::now();
        let topology = Topology::detect().unwrap();
        println!("detected in {:?}: {:?}", start.elapsed(), topology.allowed_cpus());
        let mut found: Vec<CpuId> = topology.allowed_cpus().iter().map(|cpu| cpu.id).collect();
        found.sort();
        assert_eq!(found, affinity::current().unwrap());
        assert!((1..=found.len()).contains(&topology.parallelism()));
    }

    #[test]
    fn a_pinned_thread_sees_only_its_cpus_and_so_do_its_children() {
        std::thread::spawn(|| {
            let last = *affinity::current().unwrap().last().unwrap();
            pin_current_thread(&[last]).unwrap();
            let topology = Topology::detect().unwrap();
            assert_eq!(topology.allowed_cpus().iter().map(|cpu| cpu.id).collect::<Vec<_>>(), [last]);
            let child =
                std::process::Command::new("sh").args(["-c", "grep Cpus_allowed_list /proc/self/status"]).output();
            let listed = String::from_utf8(child.unwrap().stdout).unwrap();
            assert_eq!(listed.split_whitespace().nth(1), Some(last.0.to_string().as_str()));
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_process_can_be_pinned_from_outside() {
        let mut child = std::process::Command::new("sleep").arg("30").spawn().unwrap();
        let first = affinity::current().unwrap()[0];
        let pinned = pin_process(child.id(), &[first]);
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        pinned.unwrap();
        assert!(status.contains(&format!("Cpus_allowed_list:\t{}\n", first.0)));
    }

    #[test]
    fn pinning_to_a_cpu_that_is_not_there_is_an_error() {
        let error = pin_current_thread(&[CpuId(100_000)]).unwrap_err();
        assert!(error.to_string().contains("100000"), "{error}");
        assert!(matches!(pin_current_thread(&[]), Err(TopologyError::NoCpus)));
    }

    #[test]
    fn cpus_that_hwloc_does_not_know_come_last() {
        let known = [(4, 0), (0, 1), (2, 2)].map(|(id, core)| Cpu { id: CpuId(id), core, node: 0 });
        let ordered = in_order_of_locality(&[CpuId(0), CpuId(1), CpuId(4)], known.to_vec());
        assert_eq!(ordered.iter().map(|cpu| cpu.id.0).collect::<Vec<_>>(), [4, 0, 1]);
    }
}
