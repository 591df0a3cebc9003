//! A graph of tasks as the planner sees it: durations, cpus, who reads what.

use crate::error::PlanError;

/// A task as it is described.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Task {
    /// Seconds on one governor, whichever.
    pub duration: f64,
    pub cpus: u32,
    /// Objects that it reads, by number; one that is named twice is read once.
    pub inputs: Vec<usize>,
    /// Sizes in bytes of the objects that it makes. Objects are numbered in this order, task by task.
    pub outputs: Vec<f64>,
    /// Tasks of a kind (the same function, say) are expected to take as long and to make as much as each other.
    pub kind: u32,
}

/// Lists of numbers, one after the other.
#[derive(Clone, Debug, Default)]
struct Lists {
    ends: Vec<u32>,
    values: Vec<u32>,
}

impl Lists {
    fn push(&mut self, values: impl IntoIterator<Item = u32>) {
        self.values.extend(values);
        self.ends.push(self.values.len() as u32);
    }

    fn range(&self, index: usize) -> std::ops::Range<usize> {
        let begin = if index == 0 { 0 } else { self.ends[index - 1] };
        begin as usize..self.ends[index] as usize
    }

    fn of(&self, index: usize) -> &[u32] {
        &self.values[self.range(index)]
    }
}

/// A checked graph. Tasks and objects are numbered from 0.
#[derive(Clone, Debug)]
pub struct Graph {
    durations: Vec<f64>,
    cpus: Vec<u32>,
    kinds: Vec<u32>,
    inputs: Lists,
    consumers: Lists,
    /// The first object of each task, and one more.
    outputs: Vec<u32>,
    producers: Vec<u32>,
    sizes: Vec<f64>,
    order: Vec<u32>,
    tails: Vec<f64>,
}

/// So that all numbers fit in 32 bits.
pub const ITEMS_MAX: usize = 1 << 30;

impl Graph {
    /// Checks and takes the tasks.
    ///
    /// # Errors
    /// Says which task is wrong: its duration, cpus, sizes or inputs, or that it waits for itself.
    pub fn new(tasks: &[Task]) -> Result<Self, PlanError> {
        if tasks.len() > ITEMS_MAX {
            return Err(PlanError::TooMany { what: "tasks", max: ITEMS_MAX });
        }
        let mut outputs = vec![0];
        let mut producers = Vec::new();
        let mut sizes = Vec::new();
        for (number, task) in tasks.iter().enumerate() {
            if !(task.duration.is_finite() && task.duration >= 0.0) {
                return Err(PlanError::Duration { task: number, duration: task.duration });
            }
            if task.cpus == 0 {
                return Err(PlanError::NoCpus { task: number });
            }
            for size in &task.outputs {
                if !(size.is_finite() && *size >= 0.0) {
                    return Err(PlanError::Size { object: sizes.len(), size: *size });
                }
                sizes.push(size.max(1.0));
                producers.push(number as u32);
            }
            outputs.push(sizes.len() as u32);
        }
        let (inputs, consumers) = edges(tasks, sizes.len())?;
        let mut graph = Self {
            durations: tasks.iter().map(|task| task.duration).collect(),
            cpus: tasks.iter().map(|task| task.cpus).collect(),
            kinds: tasks.iter().map(|task| task.kind).collect(),
            inputs,
            consumers,
            outputs,
            producers,
            sizes,
            order: Vec::new(),
            tails: Vec::new(),
        };
        graph.order = graph.topological_order()?;
        graph.tails = graph.b_levels(|task| graph.duration(task), |_| 0.0);
        Ok(graph)
    }

    fn topological_order(&self) -> Result<Vec<u32>, PlanError> {
        let mut missing: Vec<u32> = (0..self.tasks()).map(|task| self.inputs(task).len() as u32).collect();
        let mut order: Vec<u32> = (0..self.tasks() as u32).filter(|task| missing[*task as usize] == 0).collect();
        let mut next = 0;
        while let Some(task) = order.get(next).copied() {
            next += 1;
            for object in self.outputs(task as usize) {
                for consumer in self.consumers(object) {
                    missing[*consumer as usize] -= 1;
                    if missing[*consumer as usize] == 0 {
                        order.push(*consumer);
                    }
                }
            }
        }
        match missing.iter().position(|missing| *missing > 0) {
            Some(task) => Err(PlanError::Circle { task }),
            None => Ok(order),
        }
    }

    /// For each task the longest way from its start to the end of the graph (its b-level), where a task takes `duration(task)` and an object
    /// that is read `transfer(object)`.
    pub fn b_levels(&self, duration: impl Fn(usize) -> f64, transfer: impl Fn(usize) -> f64) -> Vec<f64> {
        let mut levels = vec![0.0; self.tasks()];
        for task in self.order().iter().rev() {
            let task = *task as usize;
            let mut longest: f64 = 0.0;
            for object in self.outputs(task) {
                let consumers = self.consumers(object).iter().map(|consumer| levels[*consumer as usize]);
                let after = consumers.fold(f64::NEG_INFINITY, f64::max);
                longest = longest.max(after + transfer(object));
            }
            levels[task] = longest + duration(task);
        }
        levels
    }

    pub fn tasks(&self) -> usize {
        self.durations.len()
    }

    pub fn objects(&self) -> usize {
        self.sizes.len()
    }

    /// Seconds.
    pub fn duration(&self, task: usize) -> f64 {
        self.durations[task]
    }

    pub fn durations(&self) -> &[f64] {
        &self.durations
    }

    pub fn cpus(&self, task: usize) -> u32 {
        self.cpus[task]
    }

    pub fn kind(&self, task: usize) -> u32 {
        self.kinds[task]
    }

    /// The same graph with other durations, in seconds, and sizes, in bytes.
    ///
    /// # Errors
    /// When one of them is negative or no number.
    pub fn with(&self, duration: impl Fn(usize) -> f64, size: impl Fn(usize) -> f64) -> Result<Self, PlanError> {
        let mut graph = self.clone();
        for (task, slot) in graph.durations.iter_mut().enumerate() {
            *slot = duration(task);
            if !(slot.is_finite() && *slot >= 0.0) {
                return Err(PlanError::Duration { task, duration: *slot });
            }
        }
        for (object, slot) in graph.sizes.iter_mut().enumerate() {
            *slot = size(object).max(1.0);
            if !slot.is_finite() {
                return Err(PlanError::Size { object, size: *slot });
            }
        }
        graph.tails = graph.b_levels(|task| graph.duration(task), |_| 0.0);
        Ok(graph)
    }

    /// More than the number of any kind.
    pub fn kinds(&self) -> usize {
        self.kinds.iter().max().map_or(0, |kind| *kind as usize + 1)
    }

    /// The objects that a task reads, each once.
    pub fn inputs(&self, task: usize) -> &[u32] {
        self.inputs.of(task)
    }

    /// The objects that a task makes.
    pub fn outputs(&self, task: usize) -> std::ops::Range<usize> {
        self.outputs[task] as usize..self.outputs[task + 1] as usize
    }

    /// The tasks that read an object, each once.
    pub fn consumers(&self, object: usize) -> &[u32] {
        self.consumers.of(object)
    }

    pub fn producer(&self, object: usize) -> usize {
        self.producers[object] as usize
    }

    /// Bytes; at least 1.
    pub fn size(&self, object: usize) -> f64 {
        self.sizes[object]
    }

    pub fn sizes(&self) -> &[f64] {
        &self.sizes
    }

    /// Tasks such that each comes after those whose objects it reads.
    pub fn order(&self) -> &[u32] {
        &self.order
    }

    /// Seconds from the start of a task to the end of the graph if nothing but durations counts.
    pub fn tail(&self, task: usize) -> f64 {
        self.tails[task]
    }

    /// The longest chain of tasks, in seconds: no plan is shorter.
    pub fn critical_path(&self) -> f64 {
        self.tails.iter().copied().fold(0.0, f64::max)
    }

    /// Seconds of one cpu that all tasks take together.
    pub fn work(&self) -> f64 {
        (0..self.tasks()).map(|task| self.durations[task] * f64::from(self.cpus[task])).sum()
    }
}

fn edges(tasks: &[Task], objects: usize) -> Result<(Lists, Lists), PlanError> {
    let mut inputs = Lists::default();
    let mut readers = vec![0u32; objects];
    for (number, task) in tasks.iter().enumerate() {
        let mut named = task.inputs.clone();
        named.sort_unstable();
        named.dedup();
        if let Some(object) = named.iter().copied().find(|object| *object >= objects) {
            return Err(PlanError::UnknownObject { task: number, object, objects });
        }
        named.iter().for_each(|object| readers[*object] += 1);
        if inputs.values.len() + named.len() > ITEMS_MAX {
            return Err(PlanError::TooMany { what: "inputs", max: ITEMS_MAX });
        }
        inputs.push(named.iter().map(|object| *object as u32));
    }
    let mut next: Vec<u32> = Vec::with_capacity(objects);
    let mut consumers = Lists::default();
    let mut end = 0;
    for count in readers {
        next.push(end);
        end += count;
        consumers.ends.push(end);
    }
    consumers.values = vec![0; end as usize];
    for task in 0..tasks.len() {
        for object in inputs.of(task) {
            let place = &mut next[*object as usize];
            consumers.values[*place as usize] = task as u32;
            *place += 1;
        }
    }
    Ok((inputs, consumers))
}
