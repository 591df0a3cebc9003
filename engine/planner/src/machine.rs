//! Governors that run a graph: what happens when, as tasks are given to them.
//!
//! A governor starts tasks whose inputs are all there, by priority, as soon as cpus are free. It downloads what its tasks will read, always
//! from the governor that made it, as soon as it is made: at most four objects at once, two of them from the same governor, first those
//! for which nothing else is missing, then by priority. Links are shared max-min fairly.

use crate::cluster::{Cluster, DOWNLOADS_FROM_ONE_MAX, DOWNLOADS_MAX};
use crate::flows::Flows;
use crate::graph::Graph;
use crate::plan::Plan;
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// The place of a task that was not given to any governor.
pub const NOWHERE: u32 = u32::MAX;
const NONE: u32 = u32::MAX;

/// Something in a queue: larger numbers first, then in order.
#[derive(Clone, Copy, Debug)]
struct Key {
    priority: f64,
    number: u32,
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        self.priority.total_cmp(&other.priority).then(other.number.cmp(&self.number))
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Key {}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Progress {
    Waiting,
    Going,
    Arrived,
}

/// An object that a governor needs from another one.
#[derive(Clone, Debug)]
struct Download {
    object: u32,
    from: u32,
    to: u32,
    priority: f64,
    progress: Progress,
    /// The next one of the same object.
    next: u32,
}

/// What is known of a task so far.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Inputs that are not at its place.
    missing: u32,
    /// Inputs that do not exist.
    unmade: u32,
    /// When the last input came.
    pub ready: f64,
    pub start: f64,
    pub finish: f64,
    /// The object that came last, if there was one.
    last_input: u32,
    /// The task whose end freed a cpu for it, if it waited for one.
    after: u32,
}

/// A cluster that runs a graph, with all that it needs so that the next run takes no memory.
#[derive(Clone, Debug)]
pub struct Machine<'a> {
    graph: &'a Graph,
    cluster: &'a Cluster,
    strict: bool,
    bound: f64,
    exceeded: bool,
    now: f64,
    done: usize,
    received: f64,
    places: Vec<u32>,
    priorities: Vec<f64>,
    /// More than all priorities differ by.
    urgent: f64,
    runs: Vec<Run>,
    enabled: Vec<u32>,
    /// By governor.
    free: Vec<u32>,
    startable: Vec<BinaryHeap<Key>>,
    /// Cpu seconds of tasks that have not started.
    unstarted: Vec<f64>,
    last_finished: Vec<u32>,
    running: BinaryHeap<Reverse<Key>>,
    downloads: Vec<Download>,
    first_download: Vec<u32>,
    /// Downloads that wait, by receiver and sender.
    waiting: Vec<BinaryHeap<Key>>,
    waiting_of: Vec<u32>,
    going_of: Vec<u32>,
    /// Bytes that governors wait for, and that wait for governors' links, those on their way included.
    incoming: Vec<f64>,
    outgoing: Vec<f64>,
    going_between: Vec<u8>,
    flows: Flows,
    touched: Vec<u32>,
    is_touched: Vec<bool>,
    aside: Vec<Key>,
    arrived: Vec<u32>,
}

impl<'a> Machine<'a> {
    pub fn new(graph: &'a Graph, cluster: &'a Cluster) -> Self {
        let (tasks, governors) = (graph.tasks(), cluster.governors());
        let run = Run {
            missing: 0,
            unmade: 0,
            ready: f64::INFINITY,
            start: f64::INFINITY,
            finish: f64::INFINITY,
            last_input: NONE,
            after: NONE,
        };
        let mut machine = Self {
            graph,
            cluster,
            strict: false,
            bound: f64::INFINITY,
            exceeded: false,
            now: 0.0,
            done: 0,
            received: 0.0,
            places: vec![NOWHERE; tasks],
            priorities: vec![0.0; tasks],
            urgent: 0.0,
            runs: vec![run; tasks],
            enabled: Vec::new(),
            free: vec![0; governors],
            startable: vec![BinaryHeap::new(); governors],
            unstarted: vec![0.0; governors],
            last_finished: vec![NONE; governors],
            running: BinaryHeap::new(),
            downloads: Vec::new(),
            first_download: vec![NONE; graph.objects()],
            waiting: vec![BinaryHeap::new(); governors * governors],
            waiting_of: vec![0; governors],
            going_of: vec![0; governors],
            incoming: vec![0.0; governors],
            outgoing: vec![0.0; governors],
            going_between: vec![0; governors * governors],
            flows: Flows::new(governors, cluster.bandwidth()),
            touched: Vec::new(),
            is_touched: vec![false; governors],
            aside: Vec::new(),
            arrived: Vec::new(),
        };
        machine.reset();
        machine
    }

    /// Begins anew at time 0, with no task anywhere.
    pub fn reset(&mut self) {
        self.exceeded = false;
        self.bound = f64::INFINITY;
        self.urgent = 0.0;
        self.now = 0.0;
        self.done = 0;
        self.received = 0.0;
        self.places.fill(NOWHERE);
        self.enabled.clear();
        for task in 0..self.graph.tasks() {
            let inputs = self.graph.inputs(task).len() as u32;
            self.runs[task] = Run {
                missing: inputs,
                unmade: inputs,
                ready: f64::INFINITY,
                start: f64::INFINITY,
                finish: f64::INFINITY,
                last_input: NONE,
                after: NONE,
            };
            if inputs == 0 {
                self.enabled.push(task as u32);
            }
        }
        for governor in 0..self.cluster.governors() {
            self.free[governor] = self.cluster.cpus(governor);
            self.startable[governor].clear();
        }
        self.unstarted.fill(0.0);
        self.last_finished.fill(NONE);
        self.running.clear();
        self.downloads.clear();
        self.first_download.fill(NONE);
        self.waiting.iter_mut().for_each(BinaryHeap::clear);
        self.waiting_of.fill(0);
        self.going_of.fill(0);
        self.incoming.fill(0.0);
        self.outgoing.fill(0.0);
        self.going_between.fill(0);
        self.flows.clear();
        self.touched.clear();
        self.is_touched.fill(false);
    }

    /// Seconds since the start.
    pub fn now(&self) -> f64 {
        self.now
    }

    /// The plan that the tasks were run by: where they were, in the order in which they started.
    pub fn as_run(&self) -> Plan {
        let priorities = self.runs.iter().map(|run| -run.start).collect();
        Plan { places: self.places.clone(), priorities, strict: self.strict }
    }

    /// Whether all tasks have finished.
    pub fn is_over(&self) -> bool {
        self.done == self.graph.tasks()
    }

    /// Bytes that went from governor to governor, those on their way included.
    pub fn received(&self) -> f64 {
        self.received
    }

    /// Where a task was given to.
    pub fn place(&self, task: usize) -> u32 {
        self.places[task]
    }

    /// What has become of a task.
    pub fn run(&self, task: usize) -> &Run {
        &self.runs[task]
    }

    /// Tasks of which all inputs exist, since the last call.
    pub fn take_enabled(&mut self, into: &mut Vec<u32>) {
        into.append(&mut self.enabled);
    }

    /// Bytes that a governor has asked for and that have not come as a whole.
    pub fn incoming(&self, governor: usize) -> f64 {
        self.incoming[governor]
    }

    /// Bytes that others have asked a governor for and that have not come as a whole.
    pub fn outgoing(&self, governor: usize) -> f64 {
        self.outgoing[governor]
    }

    /// Whether a governor has an object, or will have it without asking for it.
    pub fn has_or_gets(&self, governor: usize, object: usize) -> bool {
        self.places[self.graph.producer(object)] == governor as u32
            || self.find_download(object, governor as u32) != NONE
    }

    /// Runs a whole plan and says how long it takes, in seconds; `None` when that is more than `bound`.
    pub fn replay(&mut self, plan: &Plan, bound: f64) -> Option<f64> {
        self.reset();
        self.strict = plan.strict;
        // Sums of the same numbers in another order differ by rounding.
        self.bound = bound * (1.0 + 1e-9);
        let mut low = f64::INFINITY;
        let mut high = f64::NEG_INFINITY;
        for priority in &plan.priorities {
            low = low.min(*priority);
            high = high.max(*priority);
        }
        self.urgent = (high - low) + 1.0;
        self.places.copy_from_slice(&plan.places);
        self.priorities.copy_from_slice(&plan.priorities);
        for task in 0..self.graph.tasks() {
            let place = self.places[task] as usize;
            self.unstarted[place] += self.graph.duration(task) * f64::from(self.graph.cpus(task));
        }
        for at in 0..self.enabled.len() {
            let task = self.enabled[at] as usize;
            self.become_ready(task);
        }
        self.settle();
        while !self.exceeded && self.advance() {
            self.settle();
        }
        (!self.exceeded && self.is_over() && self.now <= bound).then_some(self.now)
    }

    /// Sets how much an object counts more when nothing but it is missing: more than priorities differ by.
    pub fn set_urgent(&mut self, urgent: f64) {
        self.urgent = urgent;
    }

    /// Gives a task to a governor.
    pub fn assign(&mut self, task: usize, governor: u32, priority: f64) {
        self.places[task] = governor;
        self.priorities[task] = priority;
        self.unstarted[governor as usize] += self.graph.duration(task) * f64::from(self.graph.cpus(task));
        let graph = self.graph;
        let inputs = graph.inputs(task);
        if inputs.is_empty() {
            self.become_ready(task);
        }
        for object in inputs {
            if self.runs[graph.producer(*object as usize)].finish <= self.now {
                self.need(task, *object);
            }
        }
    }

    fn touch(&mut self, governor: u32) {
        if !std::mem::replace(&mut self.is_touched[governor as usize], true) {
            self.touched.push(governor);
        }
    }

    fn become_ready(&mut self, task: usize) {
        let place = self.places[task];
        self.runs[task].ready = self.now;
        self.startable[place as usize].push(Key { priority: self.priorities[task], number: task as u32 });
        self.touch(place);
    }

    fn have(&mut self, task: usize, object: u32) {
        self.runs[task].missing -= 1;
        if self.runs[task].missing == 0 {
            self.runs[task].last_input = object;
            self.become_ready(task);
        }
    }

    fn find_download(&self, object: usize, to: u32) -> u32 {
        let mut number = self.first_download[object];
        while number != NONE && self.downloads[number as usize].to != to {
            number = self.downloads[number as usize].next;
        }
        number
    }

    /// A task that has a place needs an object that exists.
    fn need(&mut self, task: usize, object: u32) {
        let to = self.places[task];
        let from = self.places[self.graph.producer(object as usize)];
        if from == to {
            return self.have(task, object);
        }
        let urgent = if self.runs[task].unmade == 0 { self.urgent } else { 0.0 };
        let priority = self.priorities[task] + urgent;
        let found = self.find_download(object as usize, to);
        if found == NONE {
            let number = self.downloads.len() as u32;
            let next = std::mem::replace(&mut self.first_download[object as usize], number);
            self.downloads.push(Download { object, from, to, priority, progress: Progress::Waiting, next });
            self.waiting_of[to as usize] += 1;
            let bytes = self.graph.size(object as usize);
            self.incoming[to as usize] += bytes;
            self.outgoing[from as usize] += bytes;
            let earliest = self.now + bytes / self.cluster.bandwidth();
            self.exceeded |= earliest + self.graph.tail(task) > self.bound;
            return self.queue(number, priority);
        }
        let download = &mut self.downloads[found as usize];
        match download.progress {
            Progress::Arrived => self.have(task, object),
            Progress::Waiting if priority > download.priority => {
                download.priority = priority;
                self.queue(found, priority);
            }
            Progress::Waiting | Progress::Going => {}
        }
    }

    fn queue(&mut self, number: u32, priority: f64) {
        let Download { from, to, .. } = self.downloads[number as usize];
        let pair = to as usize * self.cluster.governors() + from as usize;
        self.waiting[pair].push(Key { priority, number });
        self.touch(to);
    }

    /// All inputs of a task exist: what is missing for it is downloaded first.
    fn enable(&mut self, task: usize) {
        self.enabled.push(task as u32);
        let to = self.places[task];
        if to == NOWHERE {
            return;
        }
        let priority = self.priorities[task] + self.urgent;
        for object in self.graph.inputs(task) {
            let found = self.find_download(*object as usize, to);
            if found != NONE {
                let download = &mut self.downloads[found as usize];
                if download.progress == Progress::Waiting && priority > download.priority {
                    download.priority = priority;
                    self.queue(found, priority);
                }
            }
        }
    }

    /// Starts what can start: tasks, then downloads.
    pub fn settle(&mut self) {
        while let Some(governor) = self.touched.pop() {
            self.is_touched[governor as usize] = false;
            self.start_tasks(governor as usize);
            if self.waiting_of[governor as usize] > 0 {
                self.start_downloads(governor as usize);
            }
        }
        self.flows.share(self.now);
    }

    fn start_tasks(&mut self, governor: usize) {
        while self.free[governor] > 0 {
            let Some(key) = self.startable[governor].pop() else { break };
            let task = key.number as usize;
            let cpus = self.graph.cpus(task);
            if cpus > self.free[governor] {
                self.aside.push(key);
                if self.strict {
                    break;
                }
                continue;
            }
            let behind = self.now + self.unstarted[governor] / f64::from(self.cluster.cpus(governor));
            self.exceeded |= self.now + self.graph.tail(task) > self.bound || behind > self.bound + 1e-6;
            let duration = self.graph.duration(task);
            self.unstarted[governor] -= duration * f64::from(cpus);
            self.free[governor] -= cpus;
            let run = &mut self.runs[task];
            run.start = self.now;
            if run.ready < self.now {
                run.after = self.last_finished[governor];
            }
            self.running.push(Reverse(Key { priority: self.now + duration, number: key.number }));
        }
        self.startable[governor].extend(self.aside.drain(..));
    }

    fn start_downloads(&mut self, governor: usize) {
        let governors = self.cluster.governors();
        let pairs = governor * governors..(governor + 1) * governors;
        while self.going_of[governor] < DOWNLOADS_MAX && self.waiting_of[governor] > 0 {
            let mut best: Option<Key> = None;
            for pair in pairs.clone() {
                if u32::from(self.going_between[pair]) >= DOWNLOADS_FROM_ONE_MAX {
                    continue;
                }
                // An entry of a download that was queued again with a higher priority, and so has begun.
                while let Some(key) = self.waiting[pair].peek() {
                    if self.downloads[key.number as usize].progress == Progress::Waiting {
                        best = best.max(Some(*key));
                        break;
                    }
                    self.waiting[pair].pop();
                }
            }
            let Some(key) = best else { break };
            let download = &mut self.downloads[key.number as usize];
            download.progress = Progress::Going;
            let bytes = self.graph.size(download.object as usize);
            let pair = governor * governors + download.from as usize;
            self.flows.start(self.now, download.from, download.to, bytes, key.number);
            self.waiting[pair].pop();
            self.going_between[pair] += 1;
            self.going_of[governor] += 1;
            self.waiting_of[governor] -= 1;
            self.received += bytes;
        }
    }

    /// Goes on to the next end of a task or a download; false when there is none.
    pub fn advance(&mut self) -> bool {
        let task = self.running.peek().map_or(f64::INFINITY, |Reverse(key)| key.priority);
        let next = task.min(self.flows.next_finish());
        if next == f64::INFINITY {
            return false;
        }
        self.now = next;
        while let Some(Reverse(key)) = self.running.peek()
            && key.priority <= next
        {
            let task = key.number as usize;
            self.running.pop();
            self.finish_task(task);
        }
        let arrived = &mut self.arrived;
        self.flows.take_finished(next, |flow| arrived.push(flow.tag));
        for at in 0..self.arrived.len() {
            self.arrive(self.arrived[at]);
        }
        self.arrived.clear();
        true
    }

    fn finish_task(&mut self, task: usize) {
        let place = self.places[task];
        self.runs[task].finish = self.now;
        self.done += 1;
        self.free[place as usize] += self.graph.cpus(task);
        self.last_finished[place as usize] = task as u32;
        self.touch(place);
        let graph = self.graph;
        for object in graph.outputs(task) {
            for consumer in graph.consumers(object) {
                let consumer = *consumer as usize;
                self.runs[consumer].unmade -= 1;
                if self.runs[consumer].unmade == 0 {
                    self.enable(consumer);
                }
                if self.places[consumer] != NOWHERE {
                    self.need(consumer, object as u32);
                }
            }
        }
    }

    fn arrive(&mut self, number: u32) {
        let download = &mut self.downloads[number as usize];
        download.progress = Progress::Arrived;
        let Download { object, from, to, .. } = *download;
        let bytes = self.graph.size(object as usize);
        self.incoming[to as usize] -= bytes;
        self.outgoing[from as usize] -= bytes;
        self.going_of[to as usize] -= 1;
        self.going_between[to as usize * self.cluster.governors() + from as usize] -= 1;
        self.touch(to);
        let graph = self.graph;
        for consumer in graph.consumers(object as usize) {
            if self.places[*consumer as usize] == to {
                self.have(*consumer as usize, object);
            }
        }
    }

    /// The task that a task waited for: the one that made what came last, or that had the cpu.
    pub fn waited_for(&self, task: usize) -> Option<usize> {
        let run = &self.runs[task];
        let object = (run.last_input != NONE).then(|| self.graph.producer(run.last_input as usize));
        if run.after != NONE { Some(run.after as usize) } else { object }
    }

    /// Whether a task waited for a cpu, and not for an object.
    pub fn waited_for_cpu(&self, task: usize) -> bool {
        self.runs[task].after != NONE
    }
}
