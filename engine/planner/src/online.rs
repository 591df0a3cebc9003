//! Placing tasks while their graph runs: as they become ready, where they can start first as far as it is known.

use crate::cluster::Cluster;
use crate::graph::Graph;
use crate::learned::Knowledge;
use crate::list::{portfolio, schedule};
use crate::machine::{Machine, NOWHERE};
use crate::partition::divide;

/// An object for which nothing else is missing comes before all others: more than what urgencies differ by.
const URGENT: f64 = 1e9;

/// How many ready tasks are looked at that stay where they are, and one for two governors: what comes after them waits anyway.
const KEPT_MAX: usize = 16;

/// How tasks are placed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// How much a transfer counts when a place is chosen.
    pub transfer: f64,
    /// How much a transfer counts in the urgency of tasks.
    pub urgency: f64,
    /// All durations and sizes are known from the start.
    pub knows_all: bool,
    /// The first task of a kind goes before tasks of kinds that are known.
    pub explores: bool,
    /// How much longer than the saved transfer a task may wait for the governor that a division of the graph gives it; 0 for no division.
    pub patience: f64,
}

/// What is decided about ready tasks at one time.
struct Placing<'a, 'b> {
    graph: &'a Graph,
    cluster: &'a Cluster,
    machine: &'b mut Machine<'a>,
    policy: Policy,
    known: Knowledge<'a>,
    urgencies: Vec<f64>,
    /// Where a division of the graph has tasks.
    hints: Vec<u32>,
    /// Kinds of which a task was chosen to go first, and these tasks.
    begun: Vec<bool>,
    pioneers: Vec<bool>,
    /// Tasks that have a place and have not finished, by governor.
    given: Vec<Vec<u32>>,
    /// Ready tasks without a place, the most urgent last.
    pool: Vec<u32>,
    /// When each cpu of a governor is expected to be free, the first first.
    cpus: Vec<Vec<f64>>,
    outgoing: Vec<f64>,
}

impl Placing<'_, '_> {
    /// Learns from tasks that have finished, and says how many.
    fn observe(&mut self) -> usize {
        let mut finished = Vec::new();
        for given in &mut self.given {
            given.retain(|task| {
                let over = self.machine.run(*task as usize).finish <= self.machine.now();
                if over {
                    finished.push(*task as usize);
                }
                !over
            });
        }
        finished.iter().for_each(|task| self.known.finish(*task));
        finished.len()
    }

    fn rank(&mut self) {
        let weight = self.policy.urgency / self.cluster.bandwidth();
        let known = &self.known;
        self.urgencies = self.graph.b_levels(|task| known.duration(task), |object| weight * known.size(object));
        if self.policy.explores {
            for task in 0..self.graph.tasks() {
                if !std::mem::replace(&mut self.begun[self.graph.kind(task) as usize], true) {
                    self.pioneers[task] = true;
                }
                if self.pioneers[task] {
                    self.urgencies[task] += URGENT / 2.0;
                }
            }
        }
        self.known.is_news = false;
        let urgencies = &self.urgencies;
        self.pool.sort_by(|a, b| urgencies[*a as usize].total_cmp(&urgencies[*b as usize]).then(b.cmp(a)));
    }

    /// Divides the graph as far as it is known; tasks that have a place keep it.
    fn divide(&mut self) {
        let known = &self.known;
        let Ok(expected) = self.graph.with(|task| known.duration(task), |object| known.size(object)) else { return };
        let mut plan = schedule(&expected, self.cluster, portfolio(&expected, self.cluster)[0]);
        let is_placed = |task: usize| self.machine.place(task) != NOWHERE;
        for (task, place) in plan.places.iter_mut().enumerate() {
            if is_placed(task) {
                *place = self.machine.place(task);
            }
        }
        if let Some(plan) = divide(&expected, self.cluster, &plan, 1, 0, is_placed, || false) {
            self.hints = plan.places;
        }
    }

    fn admit(&mut self, task: u32) {
        let urgency = self.urgencies[task as usize];
        let at = self.pool.partition_point(|other| {
            let others = self.urgencies[*other as usize];
            others < urgency || (others == urgency && *other > task)
        });
        self.pool.insert(at, task);
    }

    /// Works out when cpus will be free.
    fn look_at_cpus(&mut self) {
        let now = self.machine.now();
        for governor in 0..self.cluster.governors() {
            let cpus = &mut self.cpus[governor];
            cpus.fill(now);
            // Running ones first: queued ones come after them.
            for running in [true, false] {
                for task in &self.given[governor] {
                    let task = *task as usize;
                    let start = self.machine.run(task).start;
                    if (start <= now) == running {
                        let needs = self.graph.cpus(task);
                        let takes = self.known.duration(task);
                        let end = if running {
                            let age = now - start;
                            // One that has run longer than was expected may go on for as long again.
                            if age < takes || self.policy.knows_all { start + takes } else { now + age / 2.0 }
                        } else {
                            cpus[needs as usize - 1] + takes
                        };
                        occupy(cpus, needs, end.max(soon(now)));
                    }
                }
            }
            self.outgoing[governor] = self.machine.outgoing(governor);
        }
    }

    /// When the inputs of a task could be at a governor, and how many bytes would have to move.
    fn arrival(&mut self, task: usize, governor: usize) -> (f64, f64) {
        let mut bytes = 0.0;
        let mut slowest: f64 = 0.0;
        for object in self.graph.inputs(task) {
            let object = *object as usize;
            if !self.machine.has_or_gets(governor, object) {
                let from = self.machine.place(self.graph.producer(object)) as usize;
                bytes += self.graph.size(object);
                slowest = slowest.max(self.outgoing[from] + self.graph.size(object));
            }
        }
        if bytes == 0.0 {
            return (self.machine.now(), 0.0);
        }
        let queued = (self.machine.incoming(governor) + bytes).max(slowest);
        (self.machine.now() + self.policy.transfer * queued / self.cluster.bandwidth(), bytes)
    }

    /// Gives ready tasks to governors; those that would only wait there for a cpu are kept.
    fn place(&mut self) {
        let kept_max = KEPT_MAX + self.cluster.governors() / 2;
        self.look_at_cpus();
        let mut kept = Vec::new();
        while kept.len() < kept_max {
            let Some(task) = self.pool.pop() else { break };
            let needs = self.graph.cpus(task as usize);
            let mut best: Option<(f64, f64, f64, usize)> = None;
            for governor in 0..self.cluster.governors() {
                if needs > self.cluster.cpus(governor) {
                    continue;
                }
                let free = self.cpus[governor][needs as usize - 1];
                let (arrives, bytes) = self.arrival(task as usize, governor);
                let start = free.max(arrives);
                if best.is_none_or(|(other, missing, ..)| start < other || (start == other && bytes < missing)) {
                    best = Some((start, bytes, free, governor));
                }
            }
            let Some(mut place) = best else { continue };
            if let Some(hint) = self.hints.get(task as usize).map(|hint| *hint as usize)
                && place.1 > 0.0
            {
                let free = self.cpus[hint][needs as usize - 1];
                let (arrives, bytes) = self.arrival(task as usize, hint);
                let start = free.max(arrives);
                let saves = (place.1 - bytes) / self.cluster.bandwidth();
                if start <= place.0 + self.policy.patience * saves {
                    place = (start, bytes, free, hint);
                }
            }
            let (start, bytes, free, governor) = place;
            if free <= self.machine.now() || (bytes > 0.0 && free <= start) {
                self.machine.assign(task as usize, governor as u32, self.urgencies[task as usize]);
                self.given[governor].push(task);
            } else {
                kept.push(task);
            }
            let end = start + self.known.duration(task as usize);
            occupy(&mut self.cpus[governor], needs, end.max(soon(self.machine.now())));
        }
        self.pool.extend(kept.into_iter().rev());
    }
}

/// A time after now: a cpu that is taken is not free now, however short its task is expected to be.
fn soon(now: f64) -> f64 {
    now + (now + 1.0) * 1e-9
}

/// Takes the cpus that are free first.
fn occupy(cpus: &mut [f64], needs: u32, until: f64) {
    cpus[..needs as usize].fill(until);
    cpus.sort_unstable_by(f64::total_cmp);
}

/// Runs a graph that fits the cluster from the start to the end, and says how long it took, in seconds; `None` when it was given up because
/// `enough` said so.
pub fn run_online<'a>(
    machine: &mut Machine<'a>,
    graph: &'a Graph,
    cluster: &'a Cluster,
    policy: Policy,
    enough: impl Fn() -> bool,
) -> Option<f64> {
    machine.reset();
    machine.set_urgent(URGENT);
    let governors = cluster.governors();
    let mut placing = Placing {
        graph,
        cluster,
        machine,
        policy,
        known: Knowledge::new(graph, policy.knows_all),
        urgencies: Vec::new(),
        hints: Vec::new(),
        begun: vec![false; graph.kinds()],
        pioneers: vec![false; graph.tasks()],
        given: vec![Vec::new(); governors],
        pool: Vec::new(),
        cpus: (0..governors).map(|governor| vec![0.0; cluster.cpus(governor) as usize]).collect(),
        outgoing: vec![0.0; governors],
    };
    placing.rank();
    let mut enabled = Vec::new();
    let mut since_ranked = 0;
    let mut steps = 0u32;
    let divides = policy.patience > 0.0 && graph.objects() > 0;
    let (mut finished, mut divided_at) = (0, 0);
    loop {
        steps = steps.wrapping_add(1);
        if steps.is_multiple_of(64) && enough() {
            return None;
        }
        let seen = placing.observe();
        since_ranked += seen;
        finished += seen;
        if placing.known.is_news || (!policy.knows_all && since_ranked > graph.tasks() / 32) {
            placing.rank();
            since_ranked = 0;
        }
        if divides && (finished == 0 || finished >= divided_at + graph.tasks() / 10) {
            divided_at = finished;
            placing.divide();
        }
        placing.machine.take_enabled(&mut enabled);
        enabled.drain(..).for_each(|task| placing.admit(task));
        placing.place();
        placing.machine.settle();
        if !placing.machine.advance() {
            return Some(placing.machine.now());
        }
    }
}
