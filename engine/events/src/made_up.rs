//! Logs of runs that never were, for tests and for looking at pages: the same ones each time.

use crate::error::LogError;
use crate::recorder::{Recorder, ServerFacts};
use rain_model::graph::{Batch, BatchKind, Column, DataType, Kind, Offsets, OutputSpec};
use rain_model::id::{ClientId, GovernorId, NONE, SessionId};
use rain_protocol::client::{ErrorKind, RequestError};
use rain_protocol::log::{LogEntry, MachineSample};
use rain_protocol::peer::{Failure, Finished, ObjectReport, TaskOutput, TaskReport, TaskSet, TaskTimes};
use std::path::Path;
use std::sync::Arc;

/// What is made up.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// When it begins, seconds since 1970.
    pub start: f64,
    pub governors: u32,
    /// Of each governor.
    pub cpus: u32,
    /// Tasks of the first session, in three layers.
    pub tasks: u32,
    /// Mean duration of a task, seconds.
    pub duration: f64,
    /// The server ends in order; else it breaks off with tasks that run.
    pub ends: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self { start: 1_764_312_900.0, governors: 2, cpus: 4, tasks: 3000, duration: 0.05, ends: true }
    }
}

/// Names that are hard to show.
pub const HOSTILE_NAMES: [&str; 5] = [
    "<script>alert(1)</script>/<img src=x onerror=alert(2)>",
    "'; DROP TABLE sessions; --",
    "\u{1b}[31mred\u{1b}[0m\u{7}",
    "\u{202e}from right to left\u{202c}/\u{5e9}\u{5dc}\u{5d5}\u{5dd}",
    "main/../../etc/passwd\0\n\r\t%00&amp;",
];

/// Draws numbers, the same ones each time (xorshift).
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end.max(1)
    }

    fn part(&mut self) -> f64 {
        self.below(1 << 30) as f64 / f64::from(1 << 30)
    }
}

/// A kind of tasks that read `inputs` objects and make one.
fn kind(number: u32, name: &str, task_type: &str) -> BatchKind {
    let outputs = vec![OutputSpec { label: "out".to_owned(), data_type: DataType::Blob, content_type: None }];
    let kind = Kind { name: name.to_owned(), outputs, inputs: vec!["in".to_owned()], ..Kind::new(task_type) };
    BatchKind { number, kind: Arc::new(kind) }
}

/// Makes a log at `path` of a session of three layers that goes well, one that fails, one that is closed early, one with names that
/// are hard to show, and one that nothing is submitted to.
///
/// # Errors
/// When the file cannot be written.
pub fn write(path: &Path, plan: &Plan) -> Result<(), LogError> {
    let server = ServerFacts {
        name: "made up".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        address: "127.0.0.1:7210".to_owned(),
        started: plan.start,
    };
    let mut recorder = Recorder::create(path, 2 << 30, &server)?;
    let mut story = Story { draw: Draw(88_172_645_463_325_252), plan: *plan, free: Vec::new() };
    recorder.begin()?;
    story.join(&mut recorder)?;
    let end = story.layers(&mut recorder, SessionId(1))?;
    story.failing(&mut recorder, SessionId(2), end)?;
    story.closed_early(&mut recorder, SessionId(3), end)?;
    story.hostile(&mut recorder, SessionId(4), end)?;
    recorder.take(end, LogEntry::SessionOpened { session: SessionId(5), name: String::new(), client: ClientId(2) })?;
    story.sample(&mut recorder, end)?;
    if plan.ends {
        recorder.take(end + 1.0, LogEntry::SessionClosed { session: SessionId(1) })?;
        recorder.commit()?;
        return recorder.end(end + 2.0);
    }
    let batch = Batch { kinds: [kind(0, "left/behind", "run")].into(), count: 3, ..Batch::empty(0) };
    let batch = Arc::new(Batch { first_output: Column::Each([0, 1, 2].into()), ..batch });
    recorder.take(end, LogEntry::Submitted { session: SessionId(5), batch, constants: Vec::new() })?;
    let started =
        LogEntry::Started { session: SessionId(5), task: 1, governor: GovernorId(0), worker: 1, start: end + 0.5 };
    recorder.take(end + 0.5, started)?;
    recorder.commit()
}

struct Story {
    draw: Draw,
    plan: Plan,
    /// When each slot is free, by governor and worker.
    free: Vec<f64>,
}

impl Story {
    fn join(&mut self, recorder: &mut Recorder) -> Result<(), LogError> {
        let Plan { start, governors, cpus, .. } = self.plan;
        self.free = vec![start + 0.2; (governors * cpus) as usize];
        for number in 0..governors {
            let host = format!("node{number}");
            recorder.take(start + 0.1, LogEntry::GovernorJoined { governor: GovernorId(number), cpus, host })?;
        }
        Ok(())
    }

    /// A sample of each governor for each second up to `end`.
    fn sample(&mut self, recorder: &mut Recorder, end: f64) -> Result<(), LogError> {
        let seconds = ((end - self.plan.start) as u32).min(7200);
        for second in 0..seconds {
            for number in 0..self.plan.governors {
                let sample = MachineSample {
                    load: 0.5 + 0.5 * self.draw.part(),
                    memory: (2 << 30) + self.draw.below(1 << 30),
                    memory_budget: 8 << 30,
                    net_in: 1e6 * self.draw.part(),
                    net_out: 2e6 * self.draw.part(),
                    disk_read: 0.0,
                    disk_write: 1e5 * self.draw.part(),
                };
                let entry = LogEntry::Sampled { governor: GovernorId(number), sample };
                recorder.take(self.plan.start + f64::from(second), entry)?;
            }
        }
        Ok(())
    }

    /// Runs tasks, each on the slot that is free first, in groups as workers report them; when the last is over.
    fn run(
        &mut self,
        recorder: &mut Recorder,
        session: SessionId,
        tasks: std::ops::Range<u32>,
    ) -> Result<f64, LogError> {
        const GROUP: usize = 64;
        let mut end = self.plan.start;
        let slots = self.free.len();
        let mut groups: Vec<Finished> = (0..slots)
            .map(|slot| Finished { session: session.0, worker: slot as u32 % self.plan.cpus, ..Finished::default() })
            .collect();
        for task in tasks {
            let slot = (0..slots).min_by(|a, b| self.free[*a].total_cmp(&self.free[*b])).unwrap_or_default();
            let duration = self.plan.duration * (0.5 + self.draw.part());
            let start = self.free[slot];
            self.free[slot] = start + duration;
            end = end.max(start + duration);
            let group = &mut groups[slot];
            group.tasks.push(TaskReport { task, duration: duration as f32, start });
            group.objects.push(ObjectReport { object: task, size: 8 + self.draw.below(4096) as u32 });
            if group.tasks.len() >= GROUP {
                let next = Finished { session: group.session, worker: group.worker, ..Finished::default() };
                let finished = std::mem::replace(group, next);
                let governor = GovernorId(slot as u32 / self.plan.cpus);
                recorder.take(start + duration, LogEntry::Finished { governor, finished })?;
            }
        }
        for (slot, finished) in groups.into_iter().enumerate().filter(|(_, group)| !group.tasks.is_empty()) {
            recorder.take(end, LogEntry::Finished { governor: GovernorId(slot as u32 / self.plan.cpus), finished })?;
        }
        Ok(end)
    }

    /// `tasks` tasks: half load, then each two of them are trained on, then a tenth of those is scored.
    fn layers(&mut self, recorder: &mut Recorder, session: SessionId) -> Result<f64, LogError> {
        let opened =
            LogEntry::SessionOpened { session, name: "iris <cross validation>".to_owned(), client: ClientId(1) };
        recorder.take(self.plan.start + 0.2, opened)?;
        let names = [("main/load", "buildin/load"), ("main/training/fold1", "py/train"), ("main/score", "run")];
        let load = self.plan.tasks / 2;
        let train = self.plan.tasks / 4;
        let score = self.plan.tasks - load - train;
        let mut first = 0;
        let mut end = self.plan.start;
        for (layer, count) in [load, train, score].into_iter().enumerate() {
            let inputs: Vec<u32> = match layer {
                0 => Vec::new(),
                1 => (0..count).flat_map(|task| [2 * task, 2 * task + 1]).collect(),
                _ => (0..count).map(|task| load + task % train.max(1)).collect(),
            };
            let batch = Arc::new(Batch {
                kinds: [kind(layer as u32, names[layer].0, names[layer].1)].into(),
                input_offsets: Offsets::Every([0, 2, 1][layer]),
                inputs: inputs.into(),
                first_output: Column::Each((first..first + count).collect()),
                count,
                ..Batch::empty(first)
            });
            let time = self.plan.start + 0.2 + 0.01 * layer as f64;
            recorder.take(time, LogEntry::Submitted { session, batch: batch.clone(), constants: Vec::new() })?;
            let governor = GovernorId(layer as u32 % self.plan.governors);
            recorder.take(time, LogEntry::Assigned { session, governor, batch, tasks: TaskSet::All })?;
            first += count;
        }
        first = 0;
        for (layer, count) in [load, train, score].into_iter().enumerate() {
            end = self.run(recorder, session, first..first + count)?;
            first += count;
            if layer == 0 && self.plan.governors > 1 {
                let objects = (0..count.min(50)).map(|object| (object, GovernorId(0), 4096)).collect();
                recorder.take(end, LogEntry::Moved { session, to: GovernorId(1), objects })?;
            }
        }
        Ok(end)
    }

    fn failing(&mut self, recorder: &mut Recorder, session: SessionId, time: f64) -> Result<(), LogError> {
        let name = "a session that fails".to_owned();
        recorder.take(time, LogEntry::SessionOpened { session, name, client: ClientId(1) })?;
        let batch = Arc::new(Batch {
            kinds: [kind(0, "prepare", "buildin/concat"), kind(1, "divide", "py/divide")].into(),
            kind: Column::Each([0, 1, 1, 0].into()),
            input_offsets: Offsets::Table([0, 0, 1, 2, 3].into()),
            inputs: [0, 0, 1].into(),
            first_output: Column::Each([0, 1, 2, 3].into()),
            count: 4,
            ..Batch::empty(0)
        });
        recorder.take(time, LogEntry::Submitted { session, batch, constants: vec![(9, 100)] })?;
        let tasks = vec![TaskReport { task: 0, duration: 0.1, start: time }];
        let finished = Finished { session: session.0, tasks, ..Finished::default() };
        recorder.take(time + 0.1, LogEntry::Finished { governor: GovernorId(0), finished })?;
        let governor = GovernorId(0);
        recorder.take(time + 0.1, LogEntry::Started { session, task: 1, governor, worker: 2, start: time + 0.1 })?;
        let message = "ZeroDivisionError: division by zero\nTraceback (most recent call last):\n  File \"fold.py\", line 12, in divide\n    return a / b\nZeroDivisionError: division by zero";
        let failure = |start: f64| Failure {
            message: message.to_owned(),
            debug: Some("a = 1, b = 0".to_owned()),
            user: None,
            output: TaskOutput { stdout: "fold 1\n".to_owned(), stderr: "a warning\n".to_owned() },
            times: Some(TaskTimes { start, duration: 0.5 }),
        };
        let task = 1;
        let (first, second) = (failure(time + 0.1), failure(time + 0.7));
        recorder.take(time + 0.6, LogEntry::Retried { session, task, governor, failure: first })?;
        recorder.take(time + 1.2, LogEntry::TaskFailed { session, task, governor, failure: second })?;
        let error = RequestError {
            kind: ErrorKind::Task,
            message: format!("task 1 \"divide\" (py/divide) failed on governor 0: {message}"),
            session: Some(session.0),
            task: Some(task),
            debug: None,
        };
        recorder.take(time + 1.2, LogEntry::SessionFailed { session, error: Arc::new(error) })
    }

    fn closed_early(&mut self, recorder: &mut Recorder, session: SessionId, time: f64) -> Result<(), LogError> {
        let name = "closed early".to_owned();
        recorder.take(time, LogEntry::SessionOpened { session, name, client: ClientId(1) })?;
        let kinds = [kind(0, "sleep", "buildin/sleep")].into();
        let batch = Arc::new(Batch { kinds, count: 10, first_output: Column::Same(NONE), ..Batch::empty(0) });
        recorder.take(time, LogEntry::Submitted { session, batch, constants: Vec::new() })?;
        recorder.take(time + 0.1, LogEntry::Cancelled { session, tasks: vec![9, 3, 4, 5] })?;
        recorder.take(time + 0.2, LogEntry::SessionClosed { session })
    }

    fn hostile(&mut self, recorder: &mut Recorder, session: SessionId, time: f64) -> Result<(), LogError> {
        let name = HOSTILE_NAMES.concat();
        recorder.take(time, LogEntry::SessionOpened { session, name, client: ClientId(1) })?;
        let long = "long/".repeat(200);
        let names = HOSTILE_NAMES.iter().copied().chain([long.as_str()]);
        let kinds: Vec<BatchKind> =
            names.enumerate().map(|(number, name)| kind(number as u32, name, &format!("{name}/x"))).collect();
        let count = kinds.len() as u32;
        let batch = Arc::new(Batch {
            kinds: kinds.into(),
            kind: Column::Each((0..count).collect()),
            count,
            first_output: Column::Each((0..count).collect()),
            ..Batch::empty(0)
        });
        recorder.take(time, LogEntry::Submitted { session, batch, constants: Vec::new() })?;
        let end = self.run(recorder, session, 0..count - 1)?;
        recorder.take(end, LogEntry::SessionClosed { session })
    }
}
