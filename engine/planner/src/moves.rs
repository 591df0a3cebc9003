//! Small changes of a plan, which can be taken back.

use crate::cluster::Cluster;
use crate::graph::Graph;
use crate::machine::Machine;
use crate::plan::Plan;
use crate::random::Random;

/// How many tasks are moved together at most.
const FAMILY_MAX: usize = 24;

/// A plan that is being changed.
#[derive(Clone, Debug)]
pub struct Draft<'a> {
    graph: &'a Graph,
    cluster: &'a Cluster,
    pub plan: Plan,
    /// Tasks, places and priorities before the last change.
    before: Vec<(u32, u32, f64)>,
    /// The chain of tasks that decides how long the plan takes, the last one first.
    chain: Vec<u32>,
    /// For each of the chain, the task that kept it from a cpu.
    blockers: Vec<Option<u32>>,
    family: Vec<u32>,
}

impl<'a> Draft<'a> {
    pub fn new(graph: &'a Graph, cluster: &'a Cluster, plan: Plan) -> Self {
        Self { graph, cluster, plan, before: Vec::new(), chain: Vec::new(), blockers: Vec::new(), family: Vec::new() }
    }

    /// Finds the chain that the plan's length is due to, in the machine that has just replayed it.
    pub fn trace(&mut self, machine: &Machine) {
        self.chain.clear();
        self.blockers.clear();
        let last = (0..self.graph.tasks()).max_by(|a, b| machine.run(*a).finish.total_cmp(&machine.run(*b).finish));
        let mut next = last;
        while let Some(task) = next {
            next = machine.waited_for(task);
            self.chain.push(task as u32);
            self.blockers.push(if machine.waited_for_cpu(task) { next.map(|task| task as u32) } else { None });
        }
    }

    /// Takes the last change back.
    pub fn undo(&mut self) {
        while let Some((task, place, priority)) = self.before.pop() {
            self.plan.places[task as usize] = place;
            self.plan.priorities[task as usize] = priority;
        }
    }

    /// Keeps the last change.
    pub fn keep(&mut self) {
        self.before.clear();
    }

    fn set(&mut self, task: usize, place: u32, priority: f64) {
        if self.graph.cpus(task) <= self.cluster.cpus(place as usize) {
            self.before.push((task as u32, self.plan.places[task], self.plan.priorities[task]));
            self.plan.places[task] = place;
            self.plan.priorities[task] = priority;
        }
    }

    fn move_to(&mut self, task: usize, place: u32) {
        self.set(task, place, self.plan.priorities[task]);
    }

    /// Makes one change at random; false if it came to nothing.
    pub fn change(&mut self, random: &mut Random) -> bool {
        let tasks = self.graph.tasks();
        let of_chain = random.below(self.chain.len());
        let is_critical = !self.chain.is_empty() && random.below(4) > 0;
        let task = if is_critical { self.chain[of_chain] as usize } else { random.below(tasks) };
        let blocker = if is_critical { self.blockers[of_chain] } else { None };
        match random.below(100) {
            0..30 => {
                let place = self.place_near(task, random);
                self.move_to(task, place);
            }
            30..45 => {
                let place = self.place_near(task, random);
                self.gather_family(task, random);
                for at in 0..self.family.len() {
                    self.move_to(self.family[at] as usize, place);
                }
            }
            45..60 => {
                let other = random.below(tasks);
                let (here, there) = (self.plan.places[task], self.plan.places[other]);
                self.move_to(task, there);
                self.move_to(other, here);
            }
            60..70 if blocker.is_some() => {
                // What kept this one waiting goes elsewhere.
                let blocker = blocker.map_or(task, |blocker| blocker as usize);
                let place = self.place_near(blocker, random);
                self.move_to(blocker, place);
            }
            60..80 => {
                let other = blocker.map_or_else(|| random.below(tasks), |blocker| blocker as usize);
                self.set_before(task, other);
            }
            80..90 => {
                let other = random.below(tasks);
                let (mine, others) = (self.plan.priorities[task], self.plan.priorities[other]);
                self.set(task, self.plan.places[task], others);
                self.set(other, self.plan.places[other], mine);
            }
            _ => {
                let other = random.below(tasks);
                let place = self.plan.places[other];
                self.set_before(task, other);
                self.move_to(task, place);
            }
        }
        self.before.iter().any(|(task, place, priority)| {
            self.plan.places[*task as usize] != *place || self.plan.priorities[*task as usize] != *priority
        })
    }

    /// Gives a task, and what it waits for, a priority just above another's.
    fn set_before(&mut self, task: usize, other: usize) {
        let above = self.plan.priorities[other];
        let priority = above + (above.abs() + 1.0) * 1e-9;
        self.set(task, self.plan.places[task], priority);
        for object in self.graph.inputs(task) {
            let producer = self.graph.producer(*object as usize);
            if self.plan.priorities[producer] < priority {
                self.set(producer, self.plan.places[producer], priority + (priority.abs() + 1.0) * 1e-9);
            }
        }
    }

    /// A governor that has something to do with the task, or any.
    fn place_near(&self, task: usize, random: &mut Random) -> u32 {
        let any = random.below(self.cluster.governors()) as u32;
        match random.below(3) {
            0 => {
                let input = random.pick(self.graph.inputs(task));
                input.map_or(any, |object| self.plan.places[self.graph.producer(object as usize)])
            }
            1 => {
                let outputs = self.graph.outputs(task);
                if outputs.is_empty() {
                    return any;
                }
                let object = outputs.start + random.below(outputs.len());
                let consumer = random.pick(self.graph.consumers(object));
                consumer.map_or(any, |consumer| self.plan.places[consumer as usize])
            }
            _ => any,
        }
    }

    /// Finds tasks on the same governor that belong to `task`: those before it, after it, or beside it.
    fn gather_family(&mut self, task: usize, random: &mut Random) {
        self.family.clear();
        self.family.push(task as u32);
        let place = self.plan.places[task];
        let direction = random.below(3);
        let max = 2 + random.below(FAMILY_MAX);
        let mut next = 0;
        while next < self.family.len() && self.family.len() < max {
            let member = self.family[next] as usize;
            next += 1;
            if direction != 1 {
                for object in self.graph.inputs(member) {
                    let producer = self.graph.producer(*object as usize);
                    self.join(producer, place, max);
                    if direction == 2 {
                        for sibling in self.graph.consumers(*object as usize).iter().take(FAMILY_MAX) {
                            self.join(*sibling as usize, place, max);
                        }
                    }
                }
            }
            if direction == 1 {
                for object in self.graph.outputs(member) {
                    for consumer in self.graph.consumers(object).iter().take(FAMILY_MAX) {
                        self.join(*consumer as usize, place, max);
                    }
                }
            }
        }
    }

    fn join(&mut self, task: usize, place: u32, max: usize) {
        let joins = self.plan.places[task] == place && self.family.len() < max;
        if joins && !self.family.contains(&(task as u32)) {
            self.family.push(task as u32);
        }
    }
}
