//! Which cpus the workers of each rank get: ranks of a node share its cpus, within what each of them may use.

use crate::remote::role::CpuCount;
use rain_topology::{Cpu, CpuId, Topology};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What a rank knows about its cpus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RankCpus {
    pub host: String,
    /// Which boot of the host; hosts of one name are told apart by it.
    pub boot: String,
    /// Id, core and NUMA node of the cpus that it was started with, neighbours together.
    pub cpus: Vec<(usize, usize, usize)>,
    /// How many of them it can keep busy: fewer than those where a cgroup limits their time.
    pub parallelism: usize,
    pub wanted: CpuCount,
    /// Whether its workers are to be bound to cpus.
    pub pin: bool,
}

impl RankCpus {
    fn ids(&self) -> BTreeSet<usize> {
        self.cpus.iter().map(|cpu| cpu.0).collect()
    }

    /// Whether the other one is on the same node, with some of the same cpus.
    fn shares_with(&self, other: &Self) -> bool {
        // The usual cases first, for there may be many ranks.
        (&self.host, &self.boot) == (&other.host, &other.boot)
            && (self.cpus == other.cpus || !self.ids().is_disjoint(&other.ids()))
    }
}

/// The part of a rank.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Share {
    /// One for each worker; `None`: not pinned.
    pub cpus: Vec<Option<CpuId>>,
    /// So many executors may be started ahead: none where ranks crowd on few cpus.
    pub prestart_max: usize,
    /// Cpus of each governor of the machine, which divide what it has beside cpus.
    pub host_parts: Vec<usize>,
    /// Which of these is its own.
    pub host_place: usize,
}

/// Divides the cpus of each node among its ranks, the same on every rank; and what users should know about it. The server,
/// which is rank 0 unless it is alone, has no workers, and is left where it is.
pub fn divide(ranks: &[RankCpus]) -> (Vec<Share>, Vec<String>) {
    let mut shares = vec![Share::default(); ranks.len()];
    let mut notes = Vec::new();
    let first_worker = usize::from(ranks.len() > 1);
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for rank in first_worker..ranks.len() {
        let touches = |group: &Vec<usize>| group.iter().any(|&other| ranks[other].shares_with(&ranks[rank]));
        let (touching, others): (Vec<_>, Vec<_>) = groups.into_iter().partition(touches);
        groups = others;
        groups.push(touching.into_iter().flatten().chain([rank]).collect());
    }
    for group in groups {
        let members: Vec<&RankCpus> = group.iter().map(|&rank| &ranks[rank]).collect();
        let (parts, note) = divide_group(&members);
        group.into_iter().zip(parts).for_each(|(rank, part)| shares[rank] = part);
        notes.extend(note);
    }
    let host = |rank: usize| (&ranks[rank].host, &ranks[rank].boot);
    let mut by_host: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    (first_worker..ranks.len()).for_each(|rank| by_host.entry(host(rank)).or_default().push(rank));
    for members in by_host.into_values() {
        let parts: Vec<usize> = members.iter().map(|&rank| shares[rank].cpus.len()).collect();
        for (place, rank) in members.into_iter().enumerate() {
            (shares[rank].host_parts, shares[rank].host_place) = (parts.clone(), place);
        }
    }
    (shares, notes)
}

/// Among ranks that may use some of the same cpus.
fn divide_group(members: &[&RankCpus]) -> (Vec<Share>, Option<String>) {
    let same = members.windows(2).all(|pair| pair[0].cpus == pair[1].cpus || pair[0].ids() == pair[1].ids());
    let own = if same { evenly(members) } else { one_by_one(members) };
    let there: usize = own.iter().map(Vec::len).sum();
    let counts: Vec<usize> = members.iter().zip(&own).map(|(member, own)| member.wanted.of(own.len().max(1))).collect();
    let asked: usize = counts.iter().sum();
    let limited = members.iter().any(|member| member.parallelism < member.cpus.len());
    let pin = members.iter().all(|member| member.pin) && !limited;
    let prestart_max = there / members.len();
    let fits = counts.iter().zip(&own).all(|(count, own)| *count <= own.len());
    let share = |cpus| Share { cpus, prestart_max, ..Share::default() };
    if asked > there || (!fits && !same) {
        let (host, count) = (&members[0].host, members.len());
        let plural = if count == 1 { "" } else { "s" };
        let note = format!("{host}: {count} governor{plural} with {asked} cpus share {there}, and are not pinned");
        return (counts.iter().map(|&count| share(vec![None; count])).collect(), Some(note));
    }
    if !pin {
        let note = limited.then(|| format!("{}: the time of {there} cpus may be used: not pinned", members[0].host));
        return (counts.iter().map(|&count| share(vec![None; count])).collect(), note);
    }
    if same && let Ok(groups) = Topology::of(cpus_of(members[0])).split(&counts) {
        return (groups.into_iter().map(|group| share(group.into_iter().map(Some).collect())).collect(), None);
    }
    let kept = own.into_iter().zip(counts).map(|(own, count)| own.into_iter().take(count).map(Some).collect());
    (kept.map(share).collect(), None)
}

fn cpus_of(member: &RankCpus) -> Vec<Cpu> {
    member.cpus.iter().map(|&(id, core, node)| Cpu { id: CpuId(id), core, node }).collect()
}

/// As many for each; only the numbers matter, which of them they are is chosen by where they lie.
fn evenly(members: &[&RankCpus]) -> Vec<Vec<CpuId>> {
    let limit = members.iter().map(|member| member.parallelism).min().unwrap_or(0);
    let mut cpus = cpus_of(members[0]).into_iter().map(|cpu| cpu.id).take(limit);
    let (each, rest) = (cpus.len() / members.len(), cpus.len() % members.len());
    (0..members.len()).map(|i| cpus.by_ref().take(each + usize::from(i < rest)).collect()).collect()
}

/// Each cpu to the one that has the fewest so far, of those that may use it; first the cpus that few may use.
fn one_by_one(members: &[&RankCpus]) -> Vec<Vec<CpuId>> {
    let sets: Vec<BTreeSet<usize>> = members.iter().map(|member| member.ids()).collect();
    let all: BTreeSet<usize> = sets.iter().flatten().copied().collect();
    let users = |id: usize| (0..sets.len()).filter(|&i| sets[i].contains(&id)).collect::<Vec<_>>();
    let mut by_users: Vec<(usize, Vec<usize>)> = all.into_iter().map(|id| (id, users(id))).collect();
    by_users.sort_by_key(|(_, users)| users.len());
    let mut own = vec![Vec::new(); members.len()];
    for (id, users) in by_users {
        if let Some(poorest) = users.into_iter().min_by_key(|&i| own[i].len()) {
            own[poorest].push(CpuId(id));
        }
    }
    own.iter_mut().for_each(|own| own.sort());
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rank(host: &str, cpus: impl IntoIterator<Item = usize>) -> RankCpus {
        let cpus: Vec<_> = cpus.into_iter().map(|id| (id, id, 0)).collect();
        let parallelism = cpus.len();
        let wanted = CpuCount::AllBut(0);
        RankCpus { host: host.to_owned(), boot: "b".to_owned(), cpus, parallelism, wanted, pin: true }
    }

    fn ids(shares: &[Share]) -> Vec<Vec<usize>> {
        let pinned = |share: &Share| share.cpus.iter().map(|cpu| cpu.map_or(usize::MAX, |cpu| cpu.0)).collect();
        shares.iter().map(pinned).collect()
    }

    #[test]
    fn ranks_of_a_node_with_the_same_cpus_divide_them() {
        let (shares, notes) = divide(&[rank("a", 0..8), rank("a", 0..8), rank("a", 0..8), rank("b", 0..8)]);
        assert_eq!(ids(&shares), [vec![], vec![0, 1, 2, 3], vec![4, 5, 6, 7], (0..8).collect()]);
        assert_eq!(notes, [""; 0]);
        assert_eq!(shares.iter().map(|share| share.prestart_max).collect::<Vec<_>>(), [0, 4, 4, 8]);
    }

    #[test]
    fn what_does_not_divide_goes_to_the_first() {
        let (shares, _) = divide(&[rank("a", 0..5), rank("a", 0..5), rank("a", 0..5)]);
        assert_eq!(ids(&shares).iter().map(Vec::len).collect::<Vec<_>>(), [0, 3, 2]);
        let all: BTreeSet<usize> = ids(&shares).into_iter().flatten().collect();
        assert_eq!(all.len(), 5, "no cpu twice");
    }

    #[test]
    fn ranks_that_mpirun_has_bound_apart_keep_their_own() {
        let (shares, _) = divide(&[rank("a", [0]), rank("a", [1, 2]), rank("a", [3])]);
        assert_eq!(ids(&shares), [vec![], vec![1, 2], vec![3]]);
    }

    #[test]
    fn cpus_of_some_are_given_to_those_that_may_use_them() {
        let (shares, notes) = divide(&[rank("a", 0..4), rank("a", 0..2), rank("a", 1..4), rank("a", 3..6)]);
        assert_eq!(ids(&shares), [vec![], vec![0, 1], vec![2, 3], vec![4, 5]]);
        assert_eq!(notes, [""; 0]);
    }

    #[test]
    fn hosts_of_one_name_are_told_apart() {
        let other = RankCpus { boot: "c".to_owned(), ..rank("a", 0..2) };
        assert_eq!(ids(&divide(&[rank("a", 0..2), rank("a", 0..2), other]).0), [vec![], vec![0, 1], vec![0, 1]]);
    }

    #[test]
    fn one_rank_alone_has_workers() {
        assert_eq!(ids(&divide(&[rank("a", 0..3)]).0), [vec![0, 1, 2]]);
    }

    #[test]
    fn crowds_are_not_pinned_and_start_nothing_ahead() {
        let (shares, notes) = divide(&vec![rank("a", 0..2); 5]);
        assert!(shares[1..].iter().all(|share| share.cpus == [None] && share.prestart_max == 0));
        assert_eq!(notes, ["a: 4 governors with 4 cpus share 2, and are not pinned"]);
    }

    #[test]
    fn cpus_can_be_asked_for() {
        let wanting = |wanted| RankCpus { wanted, ..rank("a", 0..8) };
        let exactly = |count| ids(&divide(&vec![wanting(CpuCount::Exactly(count)); 3]).0);
        assert_eq!(exactly(2), [vec![], vec![0, 1], vec![2, 3]]);
        assert_eq!(exactly(5)[1], [usize::MAX; 5], "more than there are: not pinned");
        let all_but = ids(&divide(&vec![wanting(CpuCount::AllBut(1)); 3]).0);
        assert_eq!(all_but.iter().map(Vec::len).collect::<Vec<_>>(), [0, 3, 3]);
    }

    #[test]
    fn where_time_is_limited_nobody_is_pinned() {
        let limited = RankCpus { parallelism: 2, ..rank("a", 0..8) };
        let (shares, notes) = divide(&vec![limited; 3]);
        assert_eq!(shares[1].cpus, [None]);
        assert_eq!(notes, ["a: the time of 2 cpus may be used: not pinned"]);
        let free = RankCpus { pin: false, ..rank("a", 0..2) };
        assert_eq!(divide(&[free.clone(), free]).0[1].cpus, [None, None]);
    }
}
