//! List scheduling: tasks by urgency, each to the governor where it would finish first.

use crate::cluster::Cluster;
use crate::graph::Graph;
use crate::plan::Plan;

/// What the list is ordered by, and what a place costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weights {
    /// How much a transfer counts in the urgency of tasks.
    pub urgency: f64,
    /// How much a transfer counts when a place is chosen.
    pub transfer: f64,
    /// Transfers wait for each other on links; else each is as fast as if it were alone.
    pub links: bool,
    /// How many of the governors get tasks.
    pub governors: usize,
    pub strict: bool,
}

/// Governors as they fill up.
struct Filling<'a> {
    graph: &'a Graph,
    cluster: &'a Cluster,
    weights: Weights,
    /// When each cpu of a governor is free, the first first.
    cpus: Vec<Vec<f64>>,
    sends: Vec<f64>,
    receives: Vec<f64>,
    /// Where each object has been sent to, and when it comes.
    copies: Vec<Vec<(u32, f64)>>,
    places: Vec<u32>,
    finishes: Vec<f64>,
}

impl Filling<'_> {
    /// When `object` is at `governor`, and the link times with it there. `sends` and `receives` are those before it.
    fn arrival(&self, object: usize, governor: usize, receives: f64) -> (f64, Option<f64>) {
        let producer = self.graph.producer(object);
        let made = self.finishes[producer];
        let from = self.places[producer] as usize;
        if from == governor {
            return (made, None);
        }
        if let Some((_, time)) = self.copies[object].iter().find(|(place, _)| *place as usize == governor) {
            return (*time, None);
        }
        let takes = self.weights.transfer * self.graph.size(object) / self.cluster.bandwidth();
        let begin = if self.weights.links { made.max(self.sends[from]).max(receives) } else { made };
        (begin + takes, Some(begin + takes))
    }

    /// When a task would start and what it would have to receive.
    fn estimate(&self, task: usize, governor: usize) -> (f64, f64) {
        let mut receives = self.receives[governor];
        let mut bytes = 0.0;
        let mut ready: f64 = 0.0;
        for object in self.graph.inputs(task) {
            let (time, link) = self.arrival(*object as usize, governor, receives);
            if let Some(link) = link {
                receives = link;
                bytes += self.graph.size(*object as usize);
            }
            ready = ready.max(time);
        }
        let free = self.cpus[governor][self.graph.cpus(task) as usize - 1];
        (ready.max(free), bytes)
    }

    fn place(&mut self, task: usize, governor: usize, start: f64) {
        for object in self.graph.inputs(task) {
            let object = *object as usize;
            let (time, link) = self.arrival(object, governor, self.receives[governor]);
            if let Some(link) = link {
                let from = self.places[self.graph.producer(object)] as usize;
                self.receives[governor] = link;
                self.sends[from] = self.sends[from].max(link);
                self.copies[object].push((governor as u32, time));
            }
        }
        let finish = start + self.graph.duration(task);
        self.places[task] = governor as u32;
        self.finishes[task] = finish;
        let cpus = &mut self.cpus[governor];
        cpus[..self.graph.cpus(task) as usize].fill(finish);
        cpus.sort_unstable_by(f64::total_cmp);
    }
}

/// A plan for a graph that fits the cluster.
pub fn schedule(graph: &Graph, cluster: &Cluster, weights: Weights) -> Plan {
    let cost = |object: usize| weights.urgency * graph.size(object) / cluster.bandwidth();
    let urgencies = graph.b_levels(|task| graph.duration(task), cost);
    let mut order: Vec<u32> = graph.order().to_vec();
    order.sort_by(|a, b| urgencies[*b as usize].total_cmp(&urgencies[*a as usize]));
    let governors = cluster.governors();
    let mut filling = Filling {
        graph,
        cluster,
        weights,
        cpus: (0..governors).map(|governor| vec![0.0; cluster.cpus(governor) as usize]).collect(),
        sends: vec![0.0; governors],
        receives: vec![0.0; governors],
        copies: vec![Vec::new(); graph.objects()],
        places: vec![0; graph.tasks()],
        finishes: vec![0.0; graph.tasks()],
    };
    for task in order {
        let task = task as usize;
        let needs = graph.cpus(task);
        let mut best: Option<(f64, f64, usize)> = None;
        for governor in 0..governors {
            // A task that fits on none of the first ones may go to others.
            if needs > cluster.cpus(governor) || (governor >= weights.governors && best.is_some()) {
                continue;
            }
            let (start, bytes) = filling.estimate(task, governor);
            if best.is_none_or(|(other, missing, _)| start < other || (start == other && bytes < missing)) {
                best = Some((start, bytes, governor));
            }
        }
        if let Some((start, _, governor)) = best {
            filling.place(task, governor, start);
        }
    }
    Plan { places: filling.places, priorities: urgencies, strict: weights.strict }
}

/// Weights worth trying, the most promising ones first.
pub fn portfolio(graph: &Graph, cluster: &Cluster) -> Vec<Weights> {
    let governors = cluster.governors();
    let has_wide = (0..graph.tasks()).any(|task| graph.cpus(task) > 1);
    let mut found = Vec::new();
    let first = Weights { urgency: 1.0, transfer: 1.0, links: true, governors, strict: false };
    found.push(first);
    if graph.objects() > 0 {
        for links in [true, false] {
            for transfer in [1.0, 2.0, 0.5, 4.0, 0.0, 16.0] {
                for urgency in [1.0, 0.0, 4.0] {
                    found.push(Weights { urgency, transfer, links, ..first });
                }
            }
        }
        let mut fewer = governors / 2;
        while fewer > 0 {
            found.push(Weights { governors: fewer, ..first });
            found.push(Weights { governors: fewer, links: false, ..first });
            fewer /= 2;
        }
    }
    if has_wide {
        let strict: Vec<Weights> = found.iter().map(|weights| Weights { strict: true, ..*weights }).collect();
        found.extend(strict);
    }
    let mut seen: Vec<Weights> = Vec::new();
    for weights in found {
        if !seen.contains(&weights) {
            seen.push(weights);
        }
    }
    seen
}
