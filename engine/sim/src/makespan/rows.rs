//! One row of the table: a graph on a cluster, scheduled once.

use crate::makespan::graph_file::NamedGraph;
use crate::makespan::options::{Options, Scheduler};
use rain_planner::cluster::Cluster;
use rain_planner::graph::Graph;
use rain_planner::list::{portfolio, schedule};
use rain_planner::machine::Machine;
use rain_planner::online::{Policy, run_online};
use rain_planner::plan::Plan;
use rain_planner::random::Random;
use rain_planner::search::search;
use std::fmt;
use std::time::Instant;

/// Bytes of a MiB.
pub const MIB: f64 = (1u64 << 20) as f64;

/// The names of the columns.
pub const COLUMNS: &str = "graph,split,cluster,bandwidth_mib_s,netmodel,scheduler,makespan_s,scheduler_wall_s,sim_wall_s,\
     transferred_mib,lb_critical_path_s,lb_work_s";

/// What came out.
#[derive(Clone, Debug)]
pub struct Row {
    pub graph: String,
    pub cluster: String,
    pub bandwidth: f64,
    pub scheduler: String,
    /// Seconds.
    pub makespan: f64,
    pub scheduler_wall: f64,
    pub sim_wall: f64,
    pub transferred_mib: f64,
    pub critical_path: f64,
    pub work: f64,
}

impl fmt::Display for Row {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(
            formatter,
            "{},open,{},{},maxmin,{},{:.4},{:.4},{:.4},{:.1},{:.4},{:.4}",
            self.graph,
            self.cluster,
            self.bandwidth,
            self.scheduler,
            self.makespan,
            self.scheduler_wall,
            self.sim_wall,
            self.transferred_mib,
            self.critical_path,
            self.work
        )
    }
}

/// Where a plan says that all tasks run, at random.
fn random_plan(graph: &Graph, cluster: &Cluster, seed: u64) -> Plan {
    let mut random = Random::new(seed);
    let mut place = |task: usize| loop {
        let place = random.below(cluster.governors());
        if cluster.cpus(place) >= graph.cpus(task) {
            return place as u32;
        }
    };
    let places = (0..graph.tasks()).map(&mut place).collect();
    let priorities = (0..graph.tasks()).map(|_| random.unit()).collect();
    Plan { places, priorities, strict: false }
}

/// How tasks are placed when nothing is known beforehand.
fn learned(options: &Options) -> Policy {
    Policy { transfer: 1.0, urgency: 1.0, knows_all: false, explores: true, patience: options.patience }
}

fn searched(graph: &Graph, cluster: &Cluster, seed: u64, options: &Options) -> Plan {
    let begin = Instant::now();
    let budget = |replays: usize| match options.replays {
        Some(max) => replays as f64 / max as f64,
        None => begin.elapsed().as_secs_f64() / options.plan_time,
    };
    let own = if options.replays.is_some() { 2 } else { rayon::current_num_threads() };
    let chains = options.chains.map_or(own, |chains| chains as usize);
    // That each task fits was checked before.
    match search(graph, cluster, seed, chains, &budget) {
        Ok(found) => found.plan,
        Err(_) => random_plan(graph, cluster, seed),
    }
}

/// Schedules a graph that fits the cluster, and lets it run.
pub fn row(
    named: &NamedGraph,
    shape: &str,
    bandwidth: f64,
    cluster: &Cluster,
    scheduler: Scheduler,
    seed: u64,
    options: &Options,
) -> Row {
    let graph = &named.graph;
    let begin = Instant::now();
    let mut machine = Machine::new(graph, cluster);
    let plan = match scheduler {
        Scheduler::Plan => Some(searched(graph, cluster, seed, options)),
        Scheduler::List => Some(schedule(graph, cluster, portfolio(graph, cluster)[0])),
        Scheduler::Random => Some(random_plan(graph, cluster, seed)),
        Scheduler::Learned => None,
    };
    let planned = begin.elapsed().as_secs_f64();
    let makespan = match &plan {
        Some(plan) => machine.replay(plan, f64::INFINITY).unwrap_or(f64::INFINITY),
        None => run_online(&mut machine, graph, cluster, learned(options), || false).unwrap_or(f64::INFINITY),
    };
    let all = begin.elapsed().as_secs_f64();
    // Where tasks are placed as they run, deciding and running are not told apart.
    let scheduler_wall = if plan.is_some() { planned } else { all };
    Row {
        graph: named.name.clone(),
        cluster: shape.to_owned(),
        bandwidth,
        scheduler: scheduler.name(seed),
        makespan,
        scheduler_wall,
        sim_wall: all - planned,
        transferred_mib: machine.received() / MIB,
        critical_path: graph.critical_path(),
        work: graph.work() / cluster.cpus_in_all() as f64,
    }
}
