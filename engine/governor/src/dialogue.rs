//! A worker's dialogue with its executor: which calls the executor has, and what becomes of them.
//!
//! The driver of a dialogue fills it with calls as long as `wants_more`, returns when `next` says that it is over, else waits, and tells
//! what has happened. Times are since any beginning that stays the same.

use rain_model::id::TaskIndex;
use std::collections::VecDeque;
use std::time::Duration;

/// What happens in a dialogue. `O`: what a call that was answered has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DialogueEvent<O> {
    /// A call is on its way to the executor. `limit`: how long its task may take. `depth`: how many calls like it the executor may
    /// have at once.
    Sent { task: TaskIndex, limit: Option<Duration>, depth: usize },
    /// A call could not be sent, and its task has failed: the executor has nothing of it.
    NotSent,
    /// There was no call to be sent.
    NothingToSend,
    /// A call has ended.
    Answered { task: TaskIndex, outcome: O },
    /// The executor gives calls back that it has not begun. With a reason it must not be used again.
    Returned { tasks: Vec<TaskIndex>, reason: Option<String> },
    /// A call waits for other tasks, and needs no cpu meanwhile.
    Lent { task: TaskIndex },
    /// A call that has lent its cpus goes on.
    Resumed { task: TaskIndex },
    /// The executor has ended, or has said what it must not.
    Died { why: String },
    /// All that the executor has said was told. `is_cancelled`: the first call, if there is one, is not wanted any more.
    Heard { is_cancelled: bool },
}

/// What is to be done about it, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DialogueAction<O> {
    /// A task has come to its end.
    Settle { task: TaskIndex, outcome: O },
    /// A task has failed with its executor.
    Fail { task: TaskIndex, why: String },
    /// A task has failed because an executor that has answered nothing gave it back: so would the next one, and so on.
    Refuse { task: TaskIndex, reason: String },
    /// A task was stopped because it took too long.
    TimedOut { task: TaskIndex },
    /// A task was stopped because nobody wants it.
    Abandon { task: TaskIndex },
    /// These tasks have not begun: they go to another executor, or to this one later.
    GiveBack { tasks: Vec<TaskIndex> },
    /// Kill the executor and everything that it has started.
    Kill,
    /// The cpus of this task are free, until it goes on or ends. The executor waits to be told so.
    Lend { task: TaskIndex },
    /// A task takes its cpus again.
    GoOn { task: TaskIndex },
}

/// What a dialogue needs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The executor has calls: wait until it says something, or until this time.
    Wait { until: Option<Duration> },
    /// The executor has no calls, and can be used for other tasks.
    Free,
    /// The executor has no calls, and must not be used again.
    UsedUp,
}

/// The calls that one executor has, all of one session.
#[derive(Debug, Default)]
pub struct Dialogue {
    /// In the order in which they were sent, which is that in which they begin: only the first one can run.
    calls: VecDeque<TaskIndex>,
    /// When the time of the first call is over; it is alone then.
    limit: Option<Duration>,
    /// How many calls like the last one the executor may have.
    depth: usize,
    /// Nothing was found to be sent since something was last said.
    has_no_more: bool,
    has_answered: bool,
    is_used_up: bool,
    /// The first call has lent its cpus, and may have got them back.
    has_lent: bool,
}

impl Dialogue {
    /// A dialogue with an executor that has no calls. `has_answered`: whether it has ever answered one.
    pub fn new(has_answered: bool) -> Self {
        Self { has_answered, ..Self::default() }
    }

    /// Whether another call may be sent.
    pub fn wants_more(&self) -> bool {
        let has_room = self.calls.is_empty() || (self.limit.is_none() && self.calls.len() < self.depth);
        has_room && !self.has_no_more && !self.is_used_up && !self.has_lent
    }

    /// Whether the executor has no call, so that one that is sent now begins at once.
    pub fn is_idle(&self) -> bool {
        self.calls.is_empty()
    }

    /// The call that the executor is at.
    pub fn first(&self) -> Option<TaskIndex> {
        self.calls.front().copied()
    }

    /// Whether the executor has ever answered a call.
    pub fn has_answered(&self) -> bool {
        self.has_answered
    }

    /// What the dialogue needs when no more calls are to be sent: never a wait for an executor that has none.
    pub fn next(&self) -> Next {
        match (self.calls.is_empty(), self.is_used_up) {
            (false, _) => Next::Wait { until: self.limit },
            (true, false) => Next::Free,
            (true, true) => Next::UsedUp,
        }
    }

    /// Takes one event and appends what is to be done.
    pub fn handle<O>(&mut self, now: Duration, event: DialogueEvent<O>, actions: &mut Vec<DialogueAction<O>>) {
        match event {
            DialogueEvent::Sent { task, limit, depth } => {
                self.calls.push_back(task);
                self.depth = depth;
                if let Some(limit) = limit {
                    self.depth = 1;
                    self.limit = now.checked_add(limit);
                }
            }
            DialogueEvent::NotSent => {}
            DialogueEvent::NothingToSend => self.has_no_more = true,
            DialogueEvent::Answered { task, outcome } => {
                if self.take(task) {
                    self.has_answered = true;
                    actions.push(DialogueAction::Settle { task, outcome });
                }
            }
            DialogueEvent::Returned { mut tasks, reason } => {
                tasks.retain(|task| self.take(*task));
                if let Some(reason) = reason {
                    self.is_used_up = true;
                    if !self.has_answered && !tasks.is_empty() {
                        actions.push(DialogueAction::Refuse { task: tasks.remove(0), reason });
                    }
                }
                if !tasks.is_empty() {
                    actions.push(DialogueAction::GiveBack { tasks });
                }
            }
            DialogueEvent::Lent { task } if self.first() == Some(task) => {
                // It has begun a call, so it does not give back every one.
                (self.has_lent, self.has_answered) = (true, true);
                actions.push(DialogueAction::Lend { task });
            }
            DialogueEvent::Resumed { task } if self.first() == Some(task) && self.has_lent => {
                actions.push(DialogueAction::GoOn { task });
            }
            DialogueEvent::Lent { .. } | DialogueEvent::Resumed { .. } => {}
            DialogueEvent::Died { why } => {
                // One that must not be used again has begun none of the calls that are left, but for one that has lent its cpus.
                let runs = !self.is_used_up || self.has_lent;
                let first = |task| DialogueAction::Fail { task, why };
                self.lose(runs, first, actions);
            }
            DialogueEvent::Heard { is_cancelled } if !self.calls.is_empty() => {
                if self.limit.is_some_and(|limit| limit <= now) {
                    actions.push(DialogueAction::Kill);
                    self.lose(true, |task| DialogueAction::TimedOut { task }, actions);
                } else if is_cancelled {
                    actions.push(DialogueAction::Kill);
                    self.lose(true, |task| DialogueAction::Abandon { task }, actions);
                }
            }
            DialogueEvent::Heard { .. } => {}
        }
    }

    /// Takes a call out that the executor does not have any more; false if it did not have it.
    fn take(&mut self, task: TaskIndex) -> bool {
        let Some(place) = self.calls.iter().position(|call| *call == task) else { return false };
        self.calls.remove(place);
        self.has_no_more = false;
        // A call with a limit is alone, so the limit was its.
        self.limit = None;
        if place == 0 {
            self.has_lent = false;
        }
        true
    }

    /// The executor is gone. `runs`: the first call had begun, and has this end; the others have not.
    fn lose<O>(
        &mut self,
        runs: bool,
        first: impl FnOnce(TaskIndex) -> DialogueAction<O>,
        actions: &mut Vec<DialogueAction<O>>,
    ) {
        self.is_used_up = true;
        (self.limit, self.has_lent) = (None, false);
        let mut calls = std::mem::take(&mut self.calls);
        if runs && let Some(task) = calls.pop_front() {
            actions.push(first(task));
        }
        if !calls.is_empty() {
            actions.push(DialogueAction::GiveBack { tasks: calls.into() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Event = DialogueEvent<&'static str>;
    type Action = DialogueAction<&'static str>;

    fn handle(dialogue: &mut Dialogue, now: u64, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        dialogue.handle(Duration::from_secs(now), event, &mut actions);
        actions
    }

    fn send(dialogue: &mut Dialogue, now: u64, task: u32, limit: Option<u64>, depth: usize) {
        let sent = Event::Sent { task, limit: limit.map(Duration::from_secs), depth };
        assert_eq!(handle(dialogue, now, sent), []);
    }

    #[test]
    fn quick_calls_are_sent_ahead_and_slow_ones_and_those_with_limits_are_alone() {
        let mut dialogue = Dialogue::new(false);
        assert!(dialogue.wants_more() && dialogue.is_idle());
        (1..=3).for_each(|task| send(&mut dialogue, 0, task, None, 3));
        assert!(!dialogue.wants_more());
        let answered = handle(&mut dialogue, 0, Event::Answered { task: 1, outcome: "done" });
        assert_eq!(answered, [Action::Settle { task: 1, outcome: "done" }]);
        assert!(dialogue.wants_more() && dialogue.has_answered());
        send(&mut dialogue, 0, 4, None, 1);
        assert!(!dialogue.wants_more());
        for task in 2..=4 {
            assert_eq!(dialogue.next(), Next::Wait { until: None });
            handle(&mut dialogue, 0, Event::Answered { task, outcome: "done" });
        }
        send(&mut dialogue, 5, 5, Some(10), 3);
        assert!(!dialogue.wants_more());
        assert_eq!(dialogue.next(), Next::Wait { until: Some(Duration::from_secs(15)) });
        assert_eq!(handle(&mut dialogue, 14, Event::Heard { is_cancelled: false }), []);
        let stopped = handle(&mut dialogue, 15, Event::Heard { is_cancelled: false });
        assert_eq!(stopped, [Action::Kill, Action::TimedOut { task: 5 }]);
        assert_eq!(dialogue.next(), Next::UsedUp);
    }

    #[test]
    fn a_call_that_could_not_be_sent_is_not_waited_for() {
        let mut dialogue = Dialogue::new(true);
        assert_eq!(handle(&mut dialogue, 0, Event::NotSent), []);
        assert!(dialogue.wants_more());
        assert_eq!(handle(&mut dialogue, 0, Event::NothingToSend), []);
        assert!(!dialogue.wants_more());
        assert_eq!(dialogue.next(), Next::Free);
    }

    #[test]
    fn what_an_executor_has_not_begun_is_run_elsewhere() {
        let mut dialogue = Dialogue::new(true);
        (1..=4).for_each(|task| send(&mut dialogue, 0, task, None, 9));
        let returned = Event::Returned { tasks: vec![3, 4], reason: Some("modules have changed".to_owned()) };
        assert_eq!(handle(&mut dialogue, 0, returned), [Action::GiveBack { tasks: vec![3, 4] }]);
        assert!(!dialogue.wants_more());
        let died = Event::Died { why: "ended".to_owned() };
        assert_eq!(handle(&mut dialogue, 0, died), [Action::GiveBack { tasks: vec![1, 2] }]);
        assert_eq!(dialogue.next(), Next::UsedUp);

        let mut dialogue = Dialogue::new(false);
        (1..=2).for_each(|task| send(&mut dialogue, 0, task, None, 9));
        let returned = Event::Returned { tasks: vec![1, 2], reason: Some("no".to_owned()) };
        let refused = Action::Refuse { task: 1, reason: "no".to_owned() };
        assert_eq!(handle(&mut dialogue, 0, returned), [refused, Action::GiveBack { tasks: vec![2] }]);

        let mut dialogue = Dialogue::new(false);
        (1..=2).for_each(|task| send(&mut dialogue, 0, task, None, 9));
        let failed = Action::Fail { task: 1, why: "ended".to_owned() };
        let died = Event::Died { why: "ended".to_owned() };
        assert_eq!(handle(&mut dialogue, 0, died), [failed, Action::GiveBack { tasks: vec![2] }]);
    }

    #[test]
    fn a_call_lends_its_cpus_and_goes_on() {
        let mut dialogue = Dialogue::new(false);
        send(&mut dialogue, 0, 1, None, 5);
        assert_eq!(handle(&mut dialogue, 0, Event::Resumed { task: 1 }), []);
        for _ in 0..2 {
            assert_eq!(handle(&mut dialogue, 0, Event::Lent { task: 1 }), [Action::Lend { task: 1 }]);
            assert!(!dialogue.wants_more());
            assert_eq!(handle(&mut dialogue, 0, Event::Resumed { task: 1 }), [Action::GoOn { task: 1 }]);
        }
        let stopped = handle(&mut dialogue, 0, Event::Heard { is_cancelled: true });
        assert_eq!(stopped, [Action::Kill, Action::Abandon { task: 1 }]);
        assert_eq!(handle(&mut dialogue, 0, Event::Lent { task: 1 }), []);
    }

    /// What an executor and its worker can do next, whatever was before.
    fn events(next_task: u32) -> Vec<Event> {
        let first = next_task.saturating_sub(2);
        let mut events = vec![
            Event::Sent { task: next_task, limit: None, depth: 2 },
            Event::Sent { task: next_task, limit: Some(Duration::from_secs(2)), depth: 2 },
            Event::NotSent,
            Event::NothingToSend,
            Event::Died { why: String::new() },
            Event::Heard { is_cancelled: false },
            Event::Heard { is_cancelled: true },
        ];
        for task in first..next_task {
            events.push(Event::Answered { task, outcome: "" });
            events.push(Event::Returned { tasks: vec![task], reason: None });
            events.push(Event::Returned { tasks: vec![task], reason: Some(String::new()) });
            events.push(Event::Lent { task });
            events.push(Event::Resumed { task });
        }
        events
    }

    /// Plays all sequences of events; returns how many.
    fn play(history: &mut Vec<Event>, left: usize) -> usize {
        let mut dialogue = Dialogue::new(false);
        // How often each task was sent and has come to an end, and whether its executor is gone.
        let (mut sent, mut ended): (Vec<u32>, Vec<u32>) = Default::default();
        let mut is_gone = false;
        for (now, event) in (0..).zip(&*history) {
            if let Event::Sent { task, .. } = event {
                sent.push(*task);
            }
            for action in handle(&mut dialogue, now, event.clone()) {
                match action {
                    Action::Settle { task, .. }
                    | Action::Fail { task, .. }
                    | Action::Refuse { task, .. }
                    | Action::TimedOut { task }
                    | Action::Abandon { task } => ended.push(task),
                    Action::GiveBack { tasks } => ended.extend(tasks),
                    Action::Kill => is_gone = true,
                    Action::Lend { task } | Action::GoOn { task } => assert_eq!(dialogue.first(), Some(task)),
                }
            }
            is_gone |= matches!(event, Event::Died { .. });
        }
        let open: Vec<u32> = sent.iter().copied().filter(|task| !ended.contains(task)).collect();
        let mut once = ended.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), ended.len(), "a task ends twice: {history:?}");
        assert!(ended.iter().all(|task| sent.contains(task)), "{history:?}");
        assert_eq!(dialogue.first(), open.first().copied(), "{history:?}");
        assert!(!is_gone || open.is_empty(), "a task waits for an executor that is gone: {history:?}");
        match dialogue.next() {
            Next::Wait { .. } => assert!(!open.is_empty(), "nothing is waited for: {history:?}"),
            Next::Free => assert!(open.is_empty() && !is_gone, "{history:?}"),
            Next::UsedUp => assert!(open.is_empty() && !dialogue.wants_more(), "{history:?}"),
        }
        if left == 0 {
            return 1;
        }
        let mut played = 1;
        for event in events(sent.len() as u32) {
            if matches!(event, Event::Sent { .. } | Event::NotSent | Event::NothingToSend) && !dialogue.wants_more() {
                continue;
            }
            history.push(event);
            played += play(history, left - 1);
            history.pop();
        }
        played
    }

    #[test]
    fn in_every_order_of_events_each_call_ends_once_and_nothing_is_waited_for_in_vain() {
        let played = play(&mut Vec::new(), 6);
        assert!(played > 100_000, "{played} histories");
    }
}
