//! What Linux says about the cpus in `/sys`, for builds without hwloc.

use crate::cpu::{Cpu, CpuId};
use std::collections::HashMap;
use std::fs;
use std::path::Path;

/// Where Linux describes cpus and NUMA nodes.
const SYSTEM: &str = "/sys/devices/system";

/// All cpus that are online, those that share a core, a cache, a NUMA node and a package next to each other; none where
/// `/sys` is not mounted.
pub(crate) fn cpus() -> Vec<Cpu> {
    read(Path::new(SYSTEM))
}

/// The place of a cpu among the others: the first cpu of its package, NUMA node, L3 cache, L2 cache and core, and its
/// number. Cpus in this order stand beside those that they share most with.
type Place = [usize; 6];

fn read(system: &Path) -> Vec<Cpu> {
    let nodes = nodes(&system.join("node"));
    let mut places: Vec<(Place, usize)> = numbered(&system.join("cpu"), "cpu")
        .into_iter()
        .filter_map(|cpu| {
            let directory = system.join(format!("cpu/cpu{cpu}"));
            let node = nodes.get(&cpu).copied().unwrap_or_default();
            place(&directory, cpu, &node).map(|place| (place, node.id))
        })
        .collect();
    places.sort_unstable();

    let mut core = 0;
    let mut last_core = None;
    let mut cpus = Vec::with_capacity(places.len());
    for ([.., first_of_core, cpu], node) in places {
        if last_core.is_some_and(|last| last != first_of_core) {
            core += 1;
        }
        last_core = Some(first_of_core);
        cpus.push(Cpu { id: CpuId(cpu), core, node });
    }
    cpus
}

/// None for a cpu that is offline: its topology is not described.
fn place(directory: &Path, cpu: usize, node: &Node) -> Option<Place> {
    let topology = directory.join("topology");
    // Linux before 5.0 has the second name only.
    let core = first_of_list(&topology.join("core_cpus_list"))
        .or_else(|| first_of_list(&topology.join("thread_siblings_list")))?;
    let package = first_of_list(&topology.join("package_cpus_list"))
        .or_else(|| first_of_list(&topology.join("core_siblings_list")))
        .unwrap_or(0);
    // A cache that is not described separates no cpus.
    let caches = directory.join("cache");
    let l3 = first_with_cache(&caches, 3).unwrap_or(package);
    let l2 = first_with_cache(&caches, 2).unwrap_or(l3);
    Some([package, node.first_cpu, l3, l2, core, cpu])
}

/// The first cpu that shares the cache of this level.
fn first_with_cache(caches: &Path, level: usize) -> Option<usize> {
    let directories = numbered(caches, "index").into_iter().map(|index| caches.join(format!("index{index}")));
    let of_level = directories.filter(|directory| {
        fs::read_to_string(directory.join("level")).is_ok_and(|text| text.trim().parse() == Ok(level))
    });
    of_level.filter_map(|directory| first_of_list(&directory.join("shared_cpu_list"))).min()
}

#[derive(Clone, Copy, Default)]
struct Node {
    id: usize,
    first_cpu: usize,
}

fn nodes(directory: &Path) -> HashMap<usize, Node> {
    let mut nodes = HashMap::new();
    for id in numbered(directory, "node") {
        let cpus = fs::read_to_string(directory.join(format!("node{id}/cpulist"))).map(|text| list(&text));
        let cpus = cpus.unwrap_or_default();
        let first_cpu = cpus.iter().copied().min().unwrap_or(0);
        nodes.extend(cpus.into_iter().map(|cpu| (cpu, Node { id, first_cpu })));
    }
    nodes
}

/// The numbers of the entries `PREFIXn` of a directory, in ascending order.
fn numbered(directory: &Path, prefix: &str) -> Vec<usize> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut numbers: Vec<usize> =
        entries.filter_map(|entry| entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()).collect();
    numbers.sort_unstable();
    numbers
}

fn first_of_list(path: &Path) -> Option<usize> {
    list(&fs::read_to_string(path).ok()?).into_iter().min()
}

/// The numbers of a list of the kernel, such as `0-3,8`.
fn list(text: &str) -> Vec<usize> {
    let ranges = text.trim().split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.parse().ok()?..=last.parse().ok()?)
    });
    ranges.flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{text}\n")).unwrap();
    }

    fn described(cpus: &[Cpu]) -> Vec<(usize, usize, usize)> {
        cpus.iter().map(|cpu| (cpu.id.0, cpu.core, cpu.node)).collect()
    }

    #[test]
    fn neighbours_stand_together() {
        // Two packages, each a NUMA node with two cores of two threads; numbered as Linux does on Intel's machines: first
        // one thread of each core, in turn from both packages, then the other threads. Cpu 8 is offline.
        let root = tempfile::tempdir().unwrap();
        let system = root.path();
        for cpu in 0..8 {
            let directory = system.join(format!("cpu/cpu{cpu}"));
            let core = cpu % 4;
            write(&directory.join("topology/core_cpus_list"), &format!("{core},{}", core + 4));
            let package = if cpu % 2 == 0 { "0,2,4,6" } else { "1,3,5,7" };
            write(&directory.join("topology/package_cpus_list"), package);
            write(&directory.join("cache/index3/level"), "3");
            write(&directory.join("cache/index3/shared_cpu_list"), package);
        }
        fs::create_dir_all(system.join("cpu/cpu8")).unwrap();
        fs::create_dir_all(system.join("cpu/cpufreq")).unwrap();
        write(&system.join("node/node0/cpulist"), "0,2,4,6");
        write(&system.join("node/node1/cpulist"), "1,3,5,7");
        assert_eq!(
            described(&read(system)),
            [(0, 0, 0), (4, 0, 0), (2, 1, 0), (6, 1, 0), (1, 2, 1), (5, 2, 1), (3, 3, 1), (7, 3, 1)]
        );
    }

    #[test]
    fn cpus_of_one_cache_stand_together() {
        // Four cores of one package, two and two with a cache of their own; an old Linux with the former names.
        let root = tempfile::tempdir().unwrap();
        for cpu in 0..4 {
            let directory = root.path().join(format!("cpu/cpu{cpu}"));
            write(&directory.join("topology/thread_siblings_list"), &cpu.to_string());
            write(&directory.join("topology/core_siblings_list"), "0-3");
            write(&directory.join("cache/index0/level"), "2");
            write(&directory.join("cache/index0/shared_cpu_list"), if cpu % 2 == 0 { "0,2" } else { "1,3" });
        }
        assert_eq!(described(&read(root.path())), [(0, 0, 0), (2, 1, 0), (1, 2, 0), (3, 3, 0)]);
    }

    #[test]
    fn without_sys_nothing_is_known() {
        assert_eq!(described(&read(Path::new("/nonexistent"))), []);
    }

    #[test]
    fn lists_of_the_kernel_are_read() {
        assert_eq!(list("0-2,8,10-11\n"), [0, 1, 2, 8, 10, 11]);
        assert_eq!(list("\n"), Vec::<usize>::new());
    }

    /// Both ways of asking say the same of the machine that this runs on.
    #[cfg(feature = "hwloc")]
    #[test]
    fn hwloc_says_the_same() {
        let by_hwloc = crate::hwloc::cpus();
        let allowed: Vec<CpuId> = by_hwloc.iter().map(|cpu| cpu.id).collect();
        let by_sysfs: Vec<Cpu> = cpus().into_iter().filter(|cpu| allowed.contains(&cpu.id)).collect();
        if by_sysfs.is_empty() {
            println!("/sys does not describe the cpus of this machine");
            return;
        }
        let shape = |cpus: &[Cpu]| {
            let first_of_core = |core| cpus.iter().find(|cpu| cpu.core == core).unwrap().id;
            cpus.iter().map(|cpu| (cpu.id, first_of_core(cpu.core), cpu.node)).collect::<Vec<_>>()
        };
        assert_eq!(shape(&by_sysfs), shape(&by_hwloc));
    }
}
