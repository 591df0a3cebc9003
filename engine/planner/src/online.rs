//! Placing tasks while their graph runs: as they become ready, where they can start first as far as it is known.

use crate::cluster::Cluster;
use crate::graph::Graph;
use crate::learned::Knowledge;
use crate::machine::Machine;

/// An object for which nothing else is missing comes before all others: more than what urgencies differ by.
const URGENT: f64 = 1e9;

/// How tasks are placed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// How much a transfer counts when a place is chosen.
    pub transfer: f64,
    /// How much a transfer counts in the urgency of tasks.
    pub urgency: f64,
    /// All durations and sizes are known from the start.
    pub knows_all: bool,
}

/// What is decided about ready tasks at one time.
struct Placing<'a, 'b> {
    graph: &'a Graph,
    cluster: &'a Cluster,
    machine: &'b mut Machine<'a>,
    policy: Policy,
    known: Knowledge<'a>,
    urgencies: Vec<f64>,
    /// Tasks that have a place and have not finished, by governor.
    given: Vec<Vec<u32>>,
    /// Ready tasks without a place, the most urgent last.
    pool: Vec<u32>,
    /// When each cpu of a governor is expected to be free, the first first.
    cpus: Vec<Vec<f64>>,
    outgoing: Vec<f64>,
}

impl Placing<'_, '_> {
    /// Learns from tasks that have finished; true if there are such.
    fn observe(&mut self) -> bool {
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
        !finished.is_empty()
    }

    fn rank(&mut self) {
        let weight = self.policy.urgency / self.cluster.bandwidth();
        let known = &self.known;
        self.urgencies = self.graph.b_levels(|task| known.duration(task), |object| weight * known.size(object));
        self.known.is_news = false;
        let urgencies = &self.urgencies;
        self.pool.sort_by(|a, b| urgencies[*a as usize].total_cmp(&urgencies[*b as usize]).then(b.cmp(a)));
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
        let many = self.cluster.cpus_in_all() as usize + 16;
        self.look_at_cpus();
        let mut kept = Vec::new();
        for _ in 0..many {
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
            let Some((start, bytes, free, governor)) = best else { continue };
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

/// Runs a graph that fits the cluster from the start to the end, and says how long it took, in seconds.
pub fn run_online<'a>(machine: &mut Machine<'a>, graph: &'a Graph, cluster: &'a Cluster, policy: Policy) -> f64 {
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
        given: vec![Vec::new(); governors],
        pool: Vec::new(),
        cpus: (0..governors).map(|governor| vec![0.0; cluster.cpus(governor) as usize]).collect(),
        outgoing: vec![0.0; governors],
    };
    placing.rank();
    let mut enabled = Vec::new();
    let mut since_ranked = 0;
    loop {
        since_ranked += usize::from(placing.observe());
        if placing.known.is_news || (!policy.knows_all && since_ranked > graph.tasks() / 32) {
            placing.rank();
            since_ranked = 0;
        }
        placing.machine.take_enabled(&mut enabled);
        enabled.drain(..).for_each(|task| placing.admit(task));
        placing.place();
        placing.machine.settle();
        if !placing.machine.advance() {
            break placing.machine.now();
        }
    }
}
