//! What a worker has finished, gathered so that the governor is not told task by task.

use super::shared::Report;
use crate::bell::Bell;
use crossbeam_channel::Sender;
use rain_data::Object;
use rain_exec::TaskNotes;
use rain_protocol::cut::cut_owned;
use rain_protocol::peer::{Failure, Finished, ObjectDetails, ObjectReport, TaskDetails, TaskReport, TaskTimes};
use std::time::{Duration, Instant, SystemTime};

/// Tasks reported at once at most.
const TASKS_MAX: usize = 1024;
/// Longest error and debug text of a task, bytes: what is longer is cut in its middle.
const TEXT_BYTES_MAX: usize = 64 << 10;
/// How long a finished task waits for others, while the worker goes on.
const HOLD_MAX: Duration = Duration::from_micros(200);

pub(super) struct Reports {
    finished: Finished,
    /// Tasks of the same session that are not begun for want of time.
    withheld: Vec<u32>,
    oldest: Option<Instant>,
    sender: Sender<Report>,
    bell: Bell,
}

impl Reports {
    /// Of the worker with this number.
    pub(super) fn new(worker: u32, sender: Sender<Report>, bell: Bell) -> Self {
        Self { finished: Finished { worker, ..Finished::default() }, withheld: Vec::new(), oldest: None, sender, bell }
    }

    fn switch_to(&mut self, session: u32) {
        if self.finished.session != session {
            self.flush();
            self.finished.session = session;
        }
    }

    /// An output of a task that will be reported next.
    pub(super) fn object(&mut self, session: u32, object: u32, value: &Object, declared: Option<&str>) {
        self.switch_to(session);
        let size = value.size();
        self.finished.objects.push(ObjectReport { object, size: u32::try_from(size).unwrap_or(u32::MAX) });
        let content_type = value.content_type().filter(|actual| Some(*actual) != declared);
        if content_type.is_some() || value.user().is_some() || size >= u64::from(u32::MAX) {
            self.finished.object_details.push(ObjectDetails {
                object,
                size,
                content_type: content_type.map(str::to_owned),
                user: value.user().map(str::to_owned),
            });
        }
    }

    pub(super) fn details(&mut self, session: u32, task: u32, notes: TaskNotes) {
        self.switch_to(session);
        let TaskNotes { debug, user, output } = notes;
        let debug = debug.map(|debug| cut_owned(debug, TEXT_BYTES_MAX));
        self.finished.details.push(TaskDetails { task, debug, user, output });
    }

    /// A task that has finished now.
    #[inline]
    pub(super) fn task(&mut self, session: u32, task: u32, (times, now): (TaskTimes, Instant)) {
        self.switch_to(session);
        self.finished.tasks.push(TaskReport { task, duration: times.duration, start: times.start });
        match self.oldest {
            None => self.oldest = Some(now),
            Some(oldest) if self.finished.tasks.len() >= TASKS_MAX || now - oldest > HOLD_MAX => self.flush(),
            Some(_) => {}
        }
    }

    /// A task that is not begun for want of time.
    pub(super) fn withheld(&mut self, session: u32, task: u32) {
        self.switch_to(session);
        self.withheld.push(task);
        if self.withheld.len() >= TASKS_MAX {
            self.flush();
        }
    }

    pub(super) fn failed(&mut self, session: u32, task: u32, mut failure: Failure) {
        self.flush();
        failure.message = cut_owned(failure.message, TEXT_BYTES_MAX);
        failure.debug = failure.debug.map(|debug| cut_owned(debug, TEXT_BYTES_MAX));
        self.send(Report::Failed { session, task, failure });
    }

    /// A task has failed so many times and is to be run again.
    pub(super) fn retried(&mut self, session: u32, task: u32, failed: u32) {
        self.flush();
        self.send(Report::Retried { session, task, failed });
    }

    /// A task that may take long has begun; what was finished before is not held back by it.
    pub(super) fn started(&mut self, session: u32, task: u32, start: f64) {
        self.flush();
        self.send(Report::Started { session, task, worker: self.finished.worker, start });
    }

    /// Another number of calls waits for other tasks.
    pub(super) fn lending(&self) {
        self.send(Report::Lending);
    }

    /// Reports everything.
    pub(super) fn flush(&mut self) {
        self.oldest = None;
        if !self.finished.tasks.is_empty() {
            let tasks = Vec::with_capacity(self.finished.tasks.len());
            let Finished { session, worker, .. } = self.finished;
            let next = Finished { session, worker, tasks, ..Finished::default() };
            let finished = std::mem::replace(&mut self.finished, next);
            self.send(Report::Finished(finished));
        }
        if !self.withheld.is_empty() {
            let tasks = std::mem::take(&mut self.withheld);
            self.send(Report::Withheld { session: self.finished.session, tasks });
        }
    }

    fn send(&self, report: Report) {
        // The governor's thread outlives its workers; if it has panicked there is nobody to tell.
        let _ = self.sender.send(report);
        self.bell.ring();
    }
}

/// No-ops in a row for which the clock is not read: reading it takes as long as a fifth of one.
const NOOPS_UNTIMED: u32 = 15;

/// Start and duration of the worker's tasks; at most one reading of the clock a task, because a task begins when the one before it
/// has ended.
#[derive(Clone)]
pub(super) struct Clock {
    /// A moment, as both clocks showed it.
    origin: (Instant, f64),
    /// When the last task ended, and the same in seconds since 1970.
    end: Instant,
    end_seconds: f64,
    /// Times of the task that ended last.
    times: TaskTimes,
    /// No-ops that have ended since the clock was read.
    untimed: u32,
}

impl Clock {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let start = since_epoch.as_secs_f64();
        let times = TaskTimes { start, duration: 0.0 };
        Self { origin: (now, start), end: now, end_seconds: start, times, untimed: 0 }
    }

    fn read(&mut self) {
        self.end = Instant::now();
        self.end_seconds = self.origin.1 + (self.end - self.origin.0).as_secs_f64();
        self.untimed = 0;
    }

    /// The next task begins now, not at the end of the last one.
    pub(super) fn restart(&mut self) {
        self.read();
    }

    /// When the task that begins now begins, seconds since 1970.
    #[inline]
    pub(super) fn begin(&self) -> f64 {
        self.end_seconds
    }

    /// A task has ended now.
    #[inline]
    pub(super) fn lap(&mut self) {
        let (start, before) = (self.end_seconds, self.end);
        self.read();
        self.times = TaskTimes { start, duration: (self.end - before).as_secs_f32() };
    }

    /// A task that does nothing has ended now. The time of several such counts as that of the last of them.
    #[inline]
    pub(super) fn lap_noop(&mut self) {
        if self.untimed == NOOPS_UNTIMED {
            return self.lap();
        }
        self.untimed += 1;
        self.times = TaskTimes { start: self.end_seconds, duration: 0.0 };
    }

    /// Times of the task that ended last, and the moment of its end.
    #[inline]
    pub(super) fn times(&self) -> (TaskTimes, Instant) {
        (self.times, self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_follow_each_other_in_time_and_no_ops_take_none_but_for_each_sixteenth() {
        let mut clock = Clock::new();
        let mut end = clock.begin();
        let mut timed = 0;
        for _ in 0..32 {
            clock.lap_noop();
            let times = clock.times().0;
            assert_eq!(times.start, end);
            timed += usize::from(times.duration > 0.0);
            end = clock.begin();
        }
        assert!(timed <= 2);
        std::thread::sleep(Duration::from_millis(2));
        clock.lap();
        let times = clock.times().0;
        assert!(times.start == end && times.duration >= 2e-3);
        let seconds = clock.begin() - (times.start + f64::from(times.duration));
        assert!(seconds.abs() < 1e-5, "{seconds}");
    }
}
