//! What hwloc knows about the cpus.

use crate::cpu::{Cpu, CpuId};
use hwlocality::Topology;
use hwlocality::object::types::ObjectType;
use hwlocality::topology::builder::{TopologyBuilder, TypeFilter};
use std::error::Error;
use std::ffi::OsStr;

/// Where hwloc looks for plugins.
const PLUGINS_PATH: &str = "HWLOC_PLUGINS_PATH";

/// All cpus in hwloc's order, in which neighbours stand together; none when hwloc does not work here.
pub(crate) fn cpus() -> Vec<Cpu> {
    // An order without locality is no reason not to start.
    load().map(|topology| cpus_of(&topology)).unwrap_or_default()
}

fn load() -> Result<Topology, Box<dyn Error>> {
    let builder = without_plugins(TopologyBuilder::new);
    // Cores and NUMA nodes are what is asked for; caches and the like are kept only where they group cores. The x86
    // component would run on every cpu in turn to ask it for what Linux has told already.
    let topology = builder
        .without_component("x86")?
        .with_common_type_filter(TypeFilter::KeepNone)?
        .with_cpu_cache_type_filter(TypeFilter::KeepStructure)?
        .with_type_filter(ObjectType::Package, TypeFilter::KeepStructure)?
        .with_type_filter(ObjectType::Core, TypeFilter::KeepAll)?
        .build()?;
    Ok(topology)
}

/// hwloc loads its plugins (OpenCL, GL, PCI...) when the first topology is made: with all their libraries that takes
/// longer than the rest of Rain's start.
fn without_plugins<T>(make: impl FnOnce() -> T) -> T {
    let single_threaded = std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1);
    if !single_threaded || std::env::var_os(PLUGINS_PATH).is_some() {
        return make();
    }
    // SAFETY: this is the only thread, so nobody reads the environment meanwhile.
    unsafe { std::env::set_var(PLUGINS_PATH, OsStr::new("/nonexistent")) };
    let made = make();
    // SAFETY: as above; making a topology object starts no thread.
    unsafe { std::env::remove_var(PLUGINS_PATH) };
    made
}

fn cpus_of(topology: &Topology) -> Vec<Cpu> {
    let units = topology.objects_with_type(ObjectType::PU);
    let known = units.filter_map(|unit| {
        let id = CpuId(unit.os_index()?);
        let core = unit.first_ancestor_with_type(ObjectType::Core).map_or(unit.logical_index(), |c| c.logical_index());
        let node = unit.nodeset().and_then(|nodes| nodes.first_set()).map_or(0, usize::from);
        Some(Cpu { id, core, node })
    });
    known.collect()
}
