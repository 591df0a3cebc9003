//! Dividing a graph among governors so that none has much more to compute, to send or to receive than others, whatever the order is.
//!
//! This finds what list scheduling does not see: that tasks far from each other read the same. A step costs as much as a task has
//! neighbours, and no replay.

use crate::cluster::Cluster;
use crate::graph::Graph;
use crate::plan::Plan;
use crate::random::Random;

/// Tables of objects and governors are not larger.
const TABLE_MAX: usize = 1 << 24;
/// How many changes are tried for each task.
const STEPS: usize = 60;

/// What governors have to do, in seconds, in each of a few stages of the graph.
struct Loads<'a> {
    graph: &'a Graph,
    cluster: &'a Cluster,
    stages: usize,
    stage: Vec<u32>,
    /// By governor and stage: computing, sending, receiving.
    loads: [Vec<f64>; 3],
    places: Vec<u32>,
    /// Consumers of an object on a governor.
    consumers: Vec<u32>,
    cost: f64,
}

const COMPUTES: usize = 0;
const SENDS: usize = 1;
const RECEIVES: usize = 2;

fn weigh(load: f64) -> f64 {
    let square = load * load;
    square * square
}

/// In which of `stages` parts of the longest chain each task starts if nothing but durations counts.
fn stages_of(graph: &Graph, stages: usize) -> Vec<u32> {
    let mut starts: Vec<f64> = vec![0.0; graph.tasks()];
    for task in graph.order() {
        let task = *task as usize;
        let end = starts[task] + graph.duration(task);
        for object in graph.outputs(task) {
            for consumer in graph.consumers(object) {
                let start = &mut starts[*consumer as usize];
                *start = start.max(end);
            }
        }
    }
    let longest = graph.critical_path().max(f64::MIN_POSITIVE);
    let stage = |start: &f64| ((start / longest * stages as f64) as u32).min(stages as u32 - 1);
    starts.iter().map(stage).collect()
}

impl<'a> Loads<'a> {
    fn new(graph: &'a Graph, cluster: &'a Cluster, stages: usize, places: &[u32]) -> Self {
        let governors = cluster.governors();
        let mut loads = Self {
            graph,
            cluster,
            stages,
            stage: stages_of(graph, stages),
            loads: std::array::from_fn(|_| vec![0.0; governors * stages]),
            places: places.to_vec(),
            consumers: vec![0; graph.objects() * governors],
            cost: 0.0,
        };
        for (task, place) in places.iter().enumerate() {
            let place = *place as usize;
            loads.compute(task, place, 1.0);
            for object in graph.inputs(task) {
                loads.consumers[*object as usize * governors + place] += 1;
            }
        }
        for object in 0..graph.objects() {
            let from = places[graph.producer(object)] as usize;
            for to in 0..governors {
                if loads.consumers[object * governors + to] > 0 {
                    loads.transfer(object, from, to, 1.0);
                }
            }
        }
        loads
    }

    fn add(&mut self, what: usize, governor: usize, stage: usize, seconds: f64) {
        let load = &mut self.loads[what][governor * self.stages + stage];
        let before = *load;
        *load += seconds;
        self.cost += weigh(*load) - weigh(before);
    }

    fn compute(&mut self, task: usize, governor: usize, sign: f64) {
        let seconds =
            self.graph.duration(task) * f64::from(self.graph.cpus(task)) / f64::from(self.cluster.cpus(governor));
        self.add(COMPUTES, governor, self.stage[task] as usize, sign * seconds);
    }

    fn transfer(&mut self, object: usize, from: usize, to: usize, sign: f64) {
        if from != to {
            let seconds = sign * self.graph.size(object) / self.cluster.bandwidth();
            let stage = self.stage[self.graph.producer(object)] as usize;
            self.add(SENDS, from, stage, seconds);
            self.add(RECEIVES, to, stage, seconds);
        }
    }

    fn move_to(&mut self, task: usize, to: usize) {
        let governors = self.cluster.governors();
        let graph = self.graph;
        let from = self.places[task] as usize;
        self.compute(task, from, -1.0);
        self.compute(task, to, 1.0);
        for object in graph.inputs(task) {
            let object = *object as usize;
            let made_at = self.places[graph.producer(object)] as usize;
            self.consumers[object * governors + from] -= 1;
            if self.consumers[object * governors + from] == 0 {
                self.transfer(object, made_at, from, -1.0);
            }
            if self.consumers[object * governors + to] == 0 {
                self.transfer(object, made_at, to, 1.0);
            }
            self.consumers[object * governors + to] += 1;
        }
        for object in graph.outputs(task) {
            for reader in 0..governors {
                if self.consumers[object * governors + reader] > 0 {
                    self.transfer(object, from, reader, -1.0);
                    self.transfer(object, to, reader, 1.0);
                }
            }
        }
        self.places[task] = to as u32;
    }
}

/// Where else a task might go: where others are that it has something to do with, or anywhere.
fn target(graph: &Graph, cluster: &Cluster, places: &[u32], task: usize, random: &mut Random) -> u32 {
    let any = random.below(cluster.governors()) as u32;
    let of = |task: Option<u32>| task.map_or(any, |task| places[task as usize]);
    match random.below(4) {
        0 => {
            let input = random.pick(graph.inputs(task));
            of(input.map(|object| graph.producer(object as usize) as u32))
        }
        1 => match random.pick(graph.inputs(task)) {
            Some(object) => of(random.pick(graph.consumers(object as usize))),
            None => any,
        },
        2 => {
            let outputs = graph.outputs(task);
            if outputs.is_empty() {
                return any;
            }
            let object = outputs.start + random.below(outputs.len());
            of(random.pick(graph.consumers(object)))
        }
        _ => any,
    }
}

/// Divides a graph anew, starting from the places of a plan, which tasks that are fixed keep; `None` where tables would be too large, or when `enough` says so.
pub fn divide(
    graph: &Graph,
    cluster: &Cluster,
    from: &Plan,
    stages: usize,
    seed: u64,
    is_fixed: impl Fn(usize) -> bool,
    enough: impl Fn() -> bool,
) -> Option<Plan> {
    if graph.objects().saturating_mul(cluster.governors()) > TABLE_MAX {
        return None;
    }
    let mut random = Random::new(seed);
    let mut loads = Loads::new(graph, cluster, stages, &from.places);
    let steps = STEPS * graph.tasks();
    for step in 0..steps {
        if step % 256 == 0 && enough() {
            return None;
        }
        let left = 1.0 - step as f64 / steps as f64;
        let task = random.below(graph.tasks());
        let here = loads.places[task];
        let there = target(graph, cluster, &loads.places, task, &mut random);
        if here == there || graph.cpus(task) > cluster.cpus(there as usize) || is_fixed(task) {
            continue;
        }
        let before = loads.cost;
        let heat = before / (cluster.governors() * stages) as f64 * left * left * 0.1;
        let bound = before - heat * (1.0 - random.unit()).ln();
        loads.move_to(task, there as usize);
        if loads.cost > bound {
            loads.move_to(task, here as usize);
        }
    }
    Some(Plan { places: loads.places, ..from.clone() })
}
