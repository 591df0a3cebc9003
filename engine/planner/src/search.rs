//! The search for a better plan: the best of many list schedules, then small changes of it.

use crate::cluster::Cluster;
use crate::graph::Graph;
use crate::list::{Weights, portfolio, schedule};
use crate::machine::Machine;
use crate::moves::Draft;
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
    let mut starts = list_schedules(graph, cluster, enough, budget);
    starts.sort_by(|a, b| a.makespan.total_cmp(&b.makespan));
    let replays: usize = starts.iter().map(|start| start.replays).sum();
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

/// Replays list schedules with several weights; the first one whatever the budget is.
fn list_schedules(graph: &Graph, cluster: &Cluster, enough: f64, budget: Budget) -> Vec<Found> {
    let weights = portfolio(graph, cluster);
    let try_one = |machine: &mut Machine, weights: &Weights| {
        let plan = schedule(graph, cluster, *weights);
        let makespan = machine.replay(&plan, f64::INFINITY).unwrap_or(f64::INFINITY);
        Found { plan, makespan, replays: 1 }
    };
    let first = try_one(&mut Machine::new(graph, cluster), &weights[0]);
    if first.makespan <= enough {
        return vec![first];
    }
    let later = weights[1..].par_iter().enumerate().map_init(
        || Machine::new(graph, cluster),
        |machine, (at, weights)| (budget(at) < 0.5).then(|| try_one(machine, weights)),
    );
    let mut found: Vec<Found> = later.flatten().collect();
    found.push(first);
    found
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
