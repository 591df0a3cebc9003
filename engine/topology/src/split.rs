//! Giving cpus out to governors.

use crate::cpu::{Cpu, CpuId, TopologyError};
use std::collections::BTreeMap;

pub(crate) fn split(cpus: &[Cpu], counts: &[usize]) -> Result<Vec<Vec<CpuId>>, TopologyError> {
    if counts.contains(&0) {
        return Err(TopologyError::NoCpus);
    }
    let asked = counts.iter().fold(0usize, |sum, &count| sum.saturating_add(count));
    if asked > cpus.len() {
        return Err(TopologyError::Overcommitted { asked, available: cpus.len() });
    }
    let mut free = free_by_node(cpus, asked);
    // Large governors first: they are the ones that do not fit any more once nodes are broken up.
    let mut order: Vec<usize> = (0..counts.len()).collect();
    order.sort_by_key(|&governor| std::cmp::Reverse(counts[governor]));
    let mut groups = vec![Vec::new(); counts.len()];
    for governor in order {
        groups[governor] = take(&mut free, counts[governor]);
    }
    Ok(groups)
}

/// The cpus to give out, by NUMA node and in their order; one a core if that is enough.
fn free_by_node(cpus: &[Cpu], asked: usize) -> Vec<Vec<Cpu>> {
    let mut seen_cores = Vec::new();
    let mut one_a_core = Vec::new();
    for cpu in cpus {
        if !seen_cores.contains(&cpu.core) {
            seen_cores.push(cpu.core);
            one_a_core.push(*cpu);
        }
    }
    let mut nodes: BTreeMap<usize, Vec<Cpu>> = BTreeMap::new();
    for cpu in if asked <= one_a_core.len() { &one_a_core } else { cpus } {
        nodes.entry(cpu.node).or_default().push(*cpu);
    }
    nodes.into_values().collect()
}

/// Takes from the node that fits best, or from several, beginning with the one with the most free cpus.
fn take(free: &mut [Vec<Cpu>], count: usize) -> Vec<CpuId> {
    let fitting = free.iter_mut().filter(|node| node.len() >= count).min_by_key(|node| node.len());
    if let Some(node) = fitting {
        return node.drain(..count).map(|cpu| cpu.id).collect();
    }
    let mut taken = Vec::new();
    while taken.len() < count
        && let Some(node) = free.iter_mut().max_by_key(|node| node.len()).filter(|node| !node.is_empty())
    {
        let part = node.len().min(count - taken.len());
        taken.extend(node.drain(..part).map(|cpu| cpu.id));
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nodes of cores with `threads` threads each, the threads of a core next to each other.
    fn machine(nodes: usize, cores: usize, threads: usize) -> Vec<Cpu> {
        let count = nodes * cores * threads;
        let cpu = |i: usize| Cpu { id: CpuId(i), core: i / threads, node: i / (cores * threads) };
        (0..count).map(cpu).collect()
    }

    fn ids(groups: Vec<Vec<CpuId>>) -> Vec<Vec<usize>> {
        groups.into_iter().map(|group| group.into_iter().map(|cpu| cpu.0).collect()).collect()
    }

    #[test]
    fn groups_are_contiguous_and_distinct() {
        let groups = ids(split(&machine(1, 10, 1), &[4, 4, 2]).unwrap());
        assert_eq!(groups, [vec![0, 1, 2, 3], vec![4, 5, 6, 7], vec![8, 9]]);
    }

    #[test]
    fn a_governor_stays_within_a_numa_node_when_it_fits() {
        let groups = ids(split(&machine(2, 8, 1), &[2, 6, 6, 2]).unwrap());
        assert_eq!(groups[1], [0, 1, 2, 3, 4, 5]);
        assert_eq!(groups[2], [8, 9, 10, 11, 12, 13]);
        assert_eq!((&groups[0], &groups[3]), (&vec![6, 7], &vec![14, 15]));
    }

    #[test]
    fn a_governor_larger_than_a_node_gets_neighbours() {
        assert_eq!(ids(split(&machine(2, 4, 1), &[6, 2]).unwrap()), [vec![4, 5, 6, 7, 0, 1], vec![2, 3]]);
    }

    #[test]
    fn second_threads_of_cores_are_used_only_when_needed() {
        assert_eq!(ids(split(&machine(1, 4, 2), &[2, 2]).unwrap()), [vec![0, 2], vec![4, 6]]);
        assert_eq!(ids(split(&machine(1, 4, 2), &[4, 2]).unwrap()), [vec![0, 1, 2, 3], vec![4, 5]]);
    }

    #[test]
    fn too_many_and_none_are_said() {
        let error = split(&machine(1, 2, 1), &[4, 4, 2]).unwrap_err();
        assert!(matches!(error, TopologyError::Overcommitted { asked: 10, available: 2 }));
        assert!(split(&machine(1, 2, 1), &[usize::MAX, 2]).is_err());
        assert!(matches!(split(&machine(1, 2, 1), &[1, 0]), Err(TopologyError::NoCpus)));
    }
}
