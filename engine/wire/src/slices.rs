//! Runs in the parts that a governor needs: of a submit's batch, the tasks that it is to run.

use rain_model::graph::Batch;
use rain_model::id::{SessionId, TaskIndex};
use rain_protocol::peer::{Forget, Message, Run, TaskSet, ToGovernor};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Which slices of which submits' batches the receiver has been sent, as the sender sees it. To the receiver a slice is a batch.
#[derive(Default)]
pub(crate) struct Slices(BTreeMap<SessionId, BTreeMap<TaskIndex, Sent>>);

/// The slices of one submit: the first task of each, and the one after its last.
type Sent = BTreeMap<TaskIndex, TaskIndex>;

impl Slices {
    /// The messages that are sent instead of this one, in their order.
    pub(crate) fn cut(&mut self, message: Message<u32>) -> Vec<Message<u32>> {
        let Message::ToGovernor(message) = message else { return vec![message] };
        let message = match message {
            ToGovernor::Run(run) => {
                return self.cut_run(run).into_iter().map(|run| Message::ToGovernor(ToGovernor::Run(run))).collect();
            }
            ToGovernor::CloseSession(session) => {
                self.0.remove(&session);
                ToGovernor::CloseSession(session)
            }
            ToGovernor::DropConfigs { session, batches } => {
                ToGovernor::DropConfigs { session, batches: self.slices_of(session, &batches) }
            }
            ToGovernor::Forget(forget) => {
                let session = SessionId(forget.session);
                let batches = self.slices_of(session, &forget.batches);
                if let Some(submits) = self.0.get_mut(&session) {
                    forget.batches.iter().for_each(|first| drop(submits.remove(first)));
                }
                ToGovernor::Forget(Forget { batches, ..forget })
            }
            other => other,
        };
        vec![Message::ToGovernor(message)]
    }

    /// The first tasks of all slices of these submits.
    fn slices_of(&self, session: SessionId, submits: &[TaskIndex]) -> Vec<TaskIndex> {
        let Some(sent) = self.0.get(&session) else { return Vec::new() };
        submits.iter().filter_map(|first| sent.get(first)).flat_map(|slices| slices.keys().copied()).collect()
    }

    /// The last tasks come first, so that who reads something is there before who makes it: what nobody has a claim on is dropped.
    /// For the same reason objects to be held come with the first run, and constants with the last; so do, with the first, grants, which
    /// have to be there when a task becomes ready.
    fn cut_run(&mut self, run: Run<u32>) -> Vec<Run<u32>> {
        let Run { session, batch, tasks, constants, remote, pins, grants } = run;
        let mut parts = if batch.count == 0 { Vec::new() } else { self.parts(session, &batch, &tasks) };
        if parts.is_empty() {
            parts.push((Arc::new(Batch::empty(batch.first)), TaskSet::Some(Vec::new())));
        }
        let part = |(batch, tasks)| Run {
            session,
            batch,
            tasks,
            constants: Vec::new(),
            remote: Vec::new(),
            pins: Vec::new(),
            grants: Vec::new(),
        };
        let mut runs: Vec<Run<u32>> = parts.into_iter().rev().map(part).collect();
        if let Some(first) = runs.first_mut() {
            (first.remote, first.pins, first.grants) = (remote, pins, grants);
        }
        if let Some(last) = runs.last_mut() {
            last.constants = constants;
        }
        runs
    }

    /// Slices with all of their tasks, and tasks of slices that were sent before.
    fn parts(&mut self, session: SessionId, batch: &Arc<Batch>, tasks: &TaskSet) -> Vec<(Arc<Batch>, TaskSet)> {
        let sent = self.0.entry(session).or_default().entry(batch.first).or_default();
        let mut parts: Vec<(Arc<Batch>, TaskSet)> = Vec::new();
        for range in tasks.ranges(batch) {
            let mut at = range.start;
            while at < range.end {
                let before = sent.range(..=at).next_back().map(|(first, end)| (*first, *end));
                if let Some((first, end)) = before.filter(|(_, end)| *end > at) {
                    let end = end.min(range.end);
                    match parts.last_mut() {
                        Some((known, TaskSet::Some(tasks))) if known.first == first => tasks.extend(at..end),
                        // Its number stands for it.
                        _ => parts.push((
                            Arc::new(Batch { count: 1, ..Batch::empty(first) }),
                            TaskSet::Some((at..end).collect()),
                        )),
                    }
                    at = end;
                } else {
                    let end = sent.range(at..).next().map_or(range.end, |(next, _)| range.end.min(*next));
                    let is_whole = (at..end) == batch.tasks();
                    let slice = if is_whole { batch.clone() } else { Arc::new(batch.slice(at..end)) };
                    sent.insert(at, end);
                    parts.push((slice, TaskSet::All));
                    at = end;
                }
            }
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rain_model::graph::{BatchKind, Column, Kind, Offsets};
    use rain_model::resources::Grant;

    const SESSION: SessionId = SessionId(3);

    /// Tasks 100 to 199, each of which reads the object of its own number.
    fn batch() -> Arc<Batch> {
        let kind = Kind::new("kind");
        let kinds = [BatchKind { number: 4, kind: Arc::new(kind) }].into();
        let inputs: Vec<u32> = (100..200).collect();
        let input_offsets = Offsets::Every(1);
        Arc::new(Batch {
            count: 100,
            kinds,
            kind: Column::Same(0),
            input_offsets,
            inputs: inputs.into(),
            ..Batch::empty(100)
        })
    }

    fn run(tasks: TaskSet) -> Message<u32> {
        let (constants, pins) = (vec![(7, 0)], vec![8]);
        let (remote, grants) = (Vec::new(), vec![(150, Grant { cpus: 1, parts: Default::default() })]);
        let run = Run { session: SESSION, batch: batch(), tasks, constants, remote, pins, grants };
        Message::ToGovernor(ToGovernor::Run(run))
    }

    fn runs(messages: Vec<Message<u32>>) -> Vec<Run<u32>> {
        let run_of = |message| match message {
            Message::ToGovernor(ToGovernor::Run(run)) => run,
            other => panic!("unexpected {other:?}"),
        };
        messages.into_iter().map(run_of).collect()
    }

    #[test]
    fn a_run_is_cut_into_what_was_not_sent_before_and_what_was() {
        let mut slices = Slices::default();
        let tasks: Vec<u32> = (110..120).chain([150]).collect();
        let first = runs(slices.cut(run(TaskSet::Some(tasks))));
        assert_eq!(first.iter().map(|run| run.batch.tasks()).collect::<Vec<_>>(), [150..151, 110..120]);
        assert!(first.iter().all(|run| run.tasks == TaskSet::All));
        assert_eq!(first[1].batch.inputs(113), [113]);
        assert_eq!((first[0].pins.len(), first[1].pins.len()), (1, 0));
        assert_eq!((first[0].constants.len(), first[1].constants.len()), (0, 1));
        // Some of these were given back.
        let again = runs(slices.cut(run(TaskSet::Some(vec![105, 112, 114, 119, 120, 121, 150]))));
        let found: Vec<_> = again.iter().map(|run| (run.batch.first, run.tasks.clone())).collect();
        let some = |tasks: &[u32]| TaskSet::Some(tasks.to_vec());
        assert_eq!(
            found,
            [(150, some(&[150])), (120, TaskSet::All), (110, some(&[112, 114, 119])), (105, TaskSet::All)]
        );
        let rest = runs(slices.cut(run(TaskSet::All)));
        let count = |run: &Run<u32>| match &run.tasks {
            TaskSet::All => run.batch.count as usize,
            TaskSet::Some(tasks) => tasks.len(),
        };
        assert_eq!(rest.iter().map(count).sum::<usize>(), 100);
    }

    #[test]
    fn a_whole_batch_is_sent_as_it_is_and_no_tasks_without_one() {
        let mut slices = Slices::default();
        let nothing = runs(slices.cut(run(TaskSet::Some(Vec::new()))));
        assert_eq!(
            (nothing.len(), nothing[0].batch.count, nothing[0].constants.len(), nothing[0].pins.len()),
            (1, 0, 1, 1)
        );
        let whole = runs(slices.cut(run(TaskSet::All)));
        assert_eq!((whole.len(), whole[0].batch.tasks()), (1, 100..200));
    }

    #[test]
    fn submits_are_named_by_their_slices() {
        let mut slices = Slices::default();
        slices.cut(run(TaskSet::Some(vec![100, 130, 131])));
        let batches = vec![100, 999];
        match slices
            .cut(Message::ToGovernor(ToGovernor::DropConfigs { session: SESSION, batches: batches.clone() }))
            .pop()
        {
            Some(Message::ToGovernor(ToGovernor::DropConfigs { batches, .. })) => assert_eq!(batches, [100, 130]),
            other => panic!("unexpected {other:?}"),
        }
        for expected in [vec![100, 130], Vec::new()] {
            let forget = Forget { session: SESSION.0, batches: batches.clone(), ..Forget::default() };
            match slices.cut(Message::ToGovernor(ToGovernor::Forget(forget))).pop() {
                Some(Message::ToGovernor(ToGovernor::Forget(forget))) => assert_eq!(forget.batches, expected),
                other => panic!("unexpected {other:?}"),
            }
        }
        // It is not known any more.
        let again = runs(slices.cut(run(TaskSet::Some(vec![130]))));
        assert_eq!((again[0].batch.tasks(), &again[0].tasks), (130..131, &TaskSet::All));
    }
}
