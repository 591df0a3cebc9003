//! What is known of durations and sizes while a graph runs.

use crate::graph::Graph;

/// A mean of what was seen.
#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    sum: f64,
    count: f64,
}

impl Mean {
    fn add(&mut self, value: f64) {
        self.sum += value;
        self.count += 1.0;
    }

    fn get(self) -> Option<f64> {
        (self.count > 0.0).then(|| self.sum / self.count)
    }
}

/// What a scheduler may look at.
#[derive(Clone, Debug)]
pub struct Knowledge<'a> {
    graph: &'a Graph,
    /// All is known from the start.
    all: bool,
    by_kind: Vec<Mean>,
    of_tasks: Mean,
    /// Sizes of what tasks of a kind make, on the average.
    sizes_by_kind: Vec<Mean>,
    of_objects: Mean,
    finished: Vec<bool>,
    /// Something was learned of a kind of which nothing was known.
    pub is_news: bool,
}

/// What a task is expected to take when nothing has finished yet, in seconds: only that all are alike matters.
const UNSEEN: f64 = 1.0;

impl<'a> Knowledge<'a> {
    /// Nothing but the graph's shape, or all.
    pub fn new(graph: &'a Graph, all: bool) -> Self {
        let kinds = graph.kinds();
        Self {
            graph,
            all,
            by_kind: vec![Mean::default(); kinds],
            of_tasks: Mean::default(),
            sizes_by_kind: vec![Mean::default(); kinds],
            of_objects: Mean::default(),
            finished: vec![false; graph.tasks()],
            is_news: true,
        }
    }

    /// Takes in how long a task took and what it made.
    pub fn finish(&mut self, task: usize) {
        let kind = self.graph.kind(task) as usize;
        self.finished[task] = true;
        self.is_news |= !self.all && self.by_kind[kind].count == 0.0;
        self.by_kind[kind].add(self.graph.duration(task));
        self.of_tasks.add(self.graph.duration(task));
        for object in self.graph.outputs(task) {
            self.sizes_by_kind[kind].add(self.graph.size(object));
            self.of_objects.add(self.graph.size(object));
        }
    }

    /// How long a task is expected to take, in seconds.
    pub fn duration(&self, task: usize) -> f64 {
        if self.all || self.finished[task] {
            return self.graph.duration(task);
        }
        let seen = self.by_kind[self.graph.kind(task) as usize].get();
        seen.or(self.of_tasks.get()).unwrap_or(UNSEEN)
    }

    /// How large an object is expected to be, in bytes.
    pub fn size(&self, object: usize) -> f64 {
        let producer = self.graph.producer(object);
        if self.all || self.finished[producer] {
            return self.graph.size(object);
        }
        let seen = self.sizes_by_kind[self.graph.kind(producer) as usize].get();
        seen.or(self.of_objects.get()).unwrap_or(1.0)
    }
}
