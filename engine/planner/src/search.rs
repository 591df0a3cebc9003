//! The search for a better plan: the best of many that are made in different ways, then small changes of it.

use crate::cluster::Cluster;
use crate::graph::Graph;
use crate::list::{Weights, portfolio, schedule};
use crate::machine::Machine;
use crate::moves::Draft;
use crate::online::{Policy, run_online};
use crate::partition::divide;
use crate::plan::Plan;
use crate::random::Random;
use rayon::prelude::*;

/// A plan that was found.
#[derive(Clone, Debug)]
pub struct Found {
    pub plan: Plan,
    /// How long it takes in the model, in seconds.
    pub makespan: f64,
    /// How many plans were replayed.
    pub replays: usize,
}

/// Says how much of a search's budget is used, from 0.0 to 1.0, when it has replayed as many plans.
pub type Budget<'a> = &'a (dyn Fn(usize) -> f64 + Sync);

/// No plan takes less: the longest chain of tasks, or all work on all cpus.
pub fn lower_bound(graph: &Graph, cluster: &Cluster) -> f64 {
    graph.critical_path().max(graph.work() / cluster.cpus_in_all() as f64)
}

/// How much worse a plan may be for the search to go on from it, as a part of the makespan, at the beginning.
const HEAT: f64 = 0.004;
/// A plan this near to the lower bound is good enough.
const ENOUGH: f64 = 1.0 + 1e-6;

/// Looks for a short plan, with `chains` searches side by side, until the budget is used.
///
/// # Errors
/// When a task fits on no governor.
pub fn search(
    graph: &Graph,
    cluster: &Cluster,
    seed: u64,
    chains: usize,
    budget: Budget,
) -> Result<Found, crate::error::PlanError> {
    cluster.fits(graph)?;
    let enough = lower_bound(graph, cluster) * ENOUGH;
    let mut starts = starts(graph, cluster, seed, enough, budget);
    starts.sort_by(|a, b| a.makespan.total_cmp(&b.makespan));
    let replays = replays_of(&starts);
    let best = starts[0].clone();
    if best.makespan <= enough || budget(replays) >= 1.0 {
        return Ok(Found { replays, ..best });
    }
    let chains = chains.max(1);
    let found: Vec<Found> = (0..chains)
        .into_par_iter()
        .map(|chain| {
            let near = starts.iter().take_while(|start| start.makespan <= best.makespan * 1.02).count();
            let start = &starts[chain % near.max(1)];
            let seed = Random::new(seed.wrapping_add(chain as u64)).draw();
            improve(graph, cluster, start, enough, seed, &|tried| budget(replays + tried * chains))
        })
        .collect();
    let tried: usize = found.iter().map(|found| found.replays).sum();
    let best = found.into_iter().min_by(|a, b| a.makespan.total_cmp(&b.makespan)).unwrap_or(best);
    Ok(Found { replays: replays + tried, ..best })
}

/// A way to make a plan to start from.
#[derive(Clone, Copy, Debug)]
enum Origin {
    List(Weights),
    Online(Policy),
    /// The best plan so far, divided anew with loads balanced in as many stages.
    Divided(usize),
}

/// Ways to make plans, in waves: first those that find the most in the least time. Each wave begins only while its part of the budget is not used.
fn waves(graph: &Graph, cluster: &Cluster) -> [(f64, Vec<Origin>); 3] {
    let lists: Vec<Origin> = portfolio(graph, cluster).into_iter().skip(1).map(Origin::List).collect();
    let (early, late) = lists.split_at(lists.len().min(5));
    if graph.objects() == 0 {
        return [(0.2, early.to_vec()), (0.4, Vec::new()), (0.5, late.to_vec())];
    }
    let policy = |transfer, urgency| {
        Origin::Online(Policy { transfer, urgency, knows_all: true, explores: false, patience: 0.0 })
    };
    let stages = [1, 4, 16].map(Origin::Divided);
    let second = [&stages[..], &[policy(1.0, 1.0), policy(2.0, 1.0)]].concat();
    let third = [late, &[policy(4.0, 1.0), policy(16.0, 0.0)], &stages[..]].concat();
    [(0.2, early.to_vec()), (0.4, second), (0.5, third)]
}

/// Plans of several origins, replayed; the first one whatever the budget is.
fn starts(graph: &Graph, cluster: &Cluster, seed: u64, enough: f64, budget: Budget) -> Vec<Found> {
    let replayed = |machine: &mut Machine, plan: Plan, replays: usize| {
        let makespan = machine.replay(&plan, f64::INFINITY).unwrap_or(f64::INFINITY);
        Found { plan, makespan, replays }
    };
    let first = schedule(graph, cluster, portfolio(graph, cluster)[0]);
    let mut found = vec![replayed(&mut Machine::new(graph, cluster), first, 1)];
    for (wave, (until, origins)) in waves(graph, cluster).into_iter().enumerate() {
        let Some(best) = found.iter().min_by(|a, b| a.makespan.total_cmp(&b.makespan)) else { break };
        if best.makespan <= enough {
            break;
        }
        let before = replays_of(&found);
        let make = |machine: &mut Machine, (at, origin): (usize, &Origin)| {
            let is_over = || budget(before + at) >= until;
            if is_over() {
                return None;
            }
            match origin {
                Origin::List(weights) => Some(replayed(machine, schedule(graph, cluster, *weights), 1)),
                Origin::Online(policy) => {
                    let mut online = Machine::new(graph, cluster);
                    run_online(&mut online, graph, cluster, *policy, is_over)?;
                    Some(replayed(machine, online.as_run(), 2))
                }
                Origin::Divided(stages) => {
                    let seed = Random::new(seed.wrapping_add((wave * 64 + at) as u64)).draw();
                    let plan = divide(graph, cluster, &best.plan, *stages, seed, |_| false, is_over)?;
                    Some(replayed(machine, plan, 1))
                }
            }
        };
        let machine = || Machine::new(graph, cluster);
        let made: Vec<Option<Found>> = origins.par_iter().enumerate().map_init(machine, make).collect();
        found.extend(made.into_iter().flatten());
    }
    found
}

fn replays_of(found: &[Found]) -> usize {
    found.iter().map(|found| found.replays).sum()
}

/// Changes a plan for as long as the budget lasts: changes that make it longer are taken less and less.
fn improve(graph: &Graph, cluster: &Cluster, start: &Found, enough: f64, seed: u64, budget: Budget) -> Found {
    let mut random = Random::new(seed);
    let mut machine = Machine::new(graph, cluster);
    let mut draft = Draft::new(graph, cluster, start.plan.clone());
    let mut current = machine.replay(&draft.plan, f64::INFINITY).unwrap_or(start.makespan);
    draft.trace(&machine);
    let mut best = Found { plan: draft.plan.clone(), makespan: current, replays: 0 };
    let mut replays = 1;
    let begin = budget(replays).min(1.0);
    loop {
        let used = budget(replays);
        if used >= 1.0 || best.makespan <= enough {
            break;
        }
        let left = (1.0 - used) / (1.0 - begin).max(1e-9);
        if !draft.change(&mut random) {
            draft.undo();
            replays += usize::from(random.below(8) == 0);
            continue;
        }
        let heat = HEAT * left * left * best.makespan;
        let bound = current - heat * (1.0 - random.unit()).ln();
        replays += 1;
        match machine.replay(&draft.plan, bound) {
            None => draft.undo(),
            Some(makespan) => {
                draft.keep();
                draft.trace(&machine);
                current = makespan;
                if makespan < best.makespan {
                    best.makespan = makespan;
                    best.plan.clone_from(&draft.plan);
                }
            }
        }
    }
    best.replays = replays;
    best
}
