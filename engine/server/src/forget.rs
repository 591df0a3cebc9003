//! Giving back what is remembered of tasks that are over.
//!
//! A session may live for weeks: its client says which tasks, constants and kinds it will not name again. Their numbers stay used;
//! what was remembered of them goes here and on the governors.

use super::effects::Effects;
use super::records::TaskState;
use super::session::Session;
use rain_model::id::{NONE, ObjectIndex, TaskIndex};
use rain_protocol::client::RequestError;
use rain_protocol::peer::{Forget, ToGovernor};
use std::collections::BTreeSet;

fn distinct(mut numbers: Vec<u32>) -> Vec<u32> {
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

impl<D: Clone> Session<D> {
    /// Forgets tasks that are over with what they made, constants and kinds. Returns the objects that were forgotten.
    ///
    /// # Errors
    /// When one of them does not exist, was forgotten before or must not be forgotten; then nothing is.
    pub(super) fn forget(
        &mut self,
        tasks: Vec<TaskIndex>,
        constants: Vec<ObjectIndex>,
        kinds: Vec<u32>,
        effects: &mut Effects<D>,
    ) -> Result<Vec<ObjectIndex>, RequestError> {
        let [tasks, constants, kinds] = [tasks, constants, kinds].map(distinct);
        self.check_forget(&tasks, &constants, &kinds)?;
        let mut objects = constants;
        objects.extend(tasks.iter().flat_map(|task| self.outputs(*task)));
        let kept: BTreeSet<ObjectIndex> = objects.iter().copied().filter(|object| self.is_kept(*object)).collect();
        if !kept.is_empty() {
            self.stop_keeping(kept, effects);
        }
        objects.iter().for_each(|object| self.forget_object(*object));
        let (mut batches, mut over) = (Vec::new(), Vec::new());
        for task in tasks.iter().copied() {
            self.forget_task(task);
            if let Some((batch, note)) = self.batches.find_mut(task) {
                note.known -= 1;
                if note.known == 0 {
                    over.push((batch.first, batch.count, note.objects.clone(), note.lineage.is_needed));
                }
            }
        }
        let mut stay = Vec::new();
        for (first, count, made, is_needed) in over {
            if is_needed {
                stay.push((first, count));
            } else {
                self.remove_batch(first);
                batches.push(first);
            }
            // Only tasks of its own submit read a constant that is not kept.
            for object in made {
                if self.known_object(object).is_some_and(|record| record.producer == NONE && !record.mark.is_kept()) {
                    self.forget_object(object);
                    objects.push(object);
                }
            }
        }
        for kind in kinds.iter().copied() {
            self.kinds[kind] = None;
            self.kinds.forget(kind);
        }
        let forget = Forget { session: self.id.0, tasks, objects: objects.clone(), batches, kinds };
        self.tell_governors(|_| ToGovernor::Forget(forget.clone()), effects);
        for (first, count) in stay {
            self.stay_forgotten(first, count, effects);
        }
        Ok(objects)
    }

    fn check_forget(&self, tasks: &[u32], constants: &[u32], kinds: &[u32]) -> Result<(), RequestError> {
        self.check_items(tasks, constants)?;
        let refuse = |why: String| Err(RequestError::request(why));
        if let Some(task) = tasks.iter().find(|task| !self.tasks[**task].told_state().is_over()) {
            let what = self.describe_task(*task);
            return refuse(format!("{what} cannot be forgotten: it is neither finished nor cancelled"));
        }
        if let Some((object, producer)) = constants.iter().find_map(|object| Some((object, self.producer_of(*object)?)))
        {
            return refuse(format!(
                "object {object} is no constant: it is forgotten with task {producer}, which makes it"
            ));
        }
        if let Some(kind) = kinds.iter().find(|kind| self.kind(**kind).is_none()) {
            return refuse(format!("kind {kind} does not exist in {}, or was forgotten", self.id));
        }
        Ok(())
    }

    fn forget_task(&mut self, task: TaskIndex) {
        self.task_details.remove(&task);
        self.outputs.forget(task);
        if self.is_needed(task) {
            return self.tasks[task].leave();
        }
        self.tasks[task].state = TaskState::Forgotten;
        self.tasks.forget(task);
    }

    /// Forgets an object that is not kept, now or with its last reader.
    fn forget_object(&mut self, object: ObjectIndex) {
        self.object_details.remove(&object);
        self.constant_types.remove(&object);
        let record = &mut self.objects[object];
        record.mark.set_forgotten();
        if record.readers() == 0 {
            if !self.constants.is_empty() {
                self.drop_constant(object);
            }
            if !self.stays(object) {
                self.objects.forget(object);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Action, Command, Effects, Event, NewConstant, Reply, Server, Submission};
    use rain_model::graph::{Column, DataType, Kind, OutputSpec};
    use rain_model::id::{ClientId, GovernorId, NONE, SessionId};
    use rain_model::time::Time;
    use rain_protocol::peer::{Finished, FromGovernor, ObjectReport, TaskReport};
    use std::collections::BTreeSet;

    /// A client that goes on submitting one task of a kind of its own at a time, and forgets all but one in a thousand.
    #[test]
    fn a_session_that_goes_on_for_long_stays_small() {
        for governors in [1, 2] {
            let mut server = Server::<u64>::new();
            let mut effects: Effects<u64> = Effects::new();
            for number in 0..governors {
                let message = FromGovernor::Joined { cpus: 1, resources: Default::default() };
                server.handle(Time::default(), Event::Governor { governor: GovernorId(number), message }, &mut effects);
            }
            let client = ClientId(1);
            server.handle(Time::default(), Event::ClientConnected { client, python: None }, &mut effects);
            let request = |server: &mut Server<u64>, effects: &mut Effects<u64>, command| {
                server.handle(Time::default(), Event::Request { client, request: 0, command }, effects);
            };
            request(&mut server, &mut effects, Command::NewSession { name: String::new() });
            let session = SessionId(1);
            for task in 0..8_000u32 {
                let output = OutputSpec { label: String::new(), data_type: DataType::Blob, content_type: None };
                let kind = Kind { config: vec![0; 100], outputs: vec![output], ..Kind::new("buildin/noop") };
                let data = NewConstant { object: 2 * task, content_type: Some("text".into()), size: 5, data: 0 };
                let submission = Submission {
                    kinds: vec![kind],
                    count: 1,
                    kind: Column::Same(task),
                    input_count: Column::Same(1),
                    inputs: [2 * task].into(),
                    first_output: Column::Same(2 * task + 1),
                    configs: Default::default(),
                    config: Column::Same(NONE),
                    user: Default::default(),
                    constants: vec![data],
                    keep: vec![2 * task + 1],
                };
                request(&mut server, &mut effects, Command::Submit { session, submission: Box::new(submission) });
                let finished = Finished {
                    session: session.0,
                    tasks: vec![TaskReport { task, duration: 0.0, start: 0.0 }],
                    objects: vec![ObjectReport { object: 2 * task + 1, size: 3 }],
                    ..Finished::default()
                };
                let governor = server.sessions[&session].tasks[task].governor().expect("it was placed");
                let message = FromGovernor::Finished(finished);
                server.handle(Time::default(), Event::Governor { governor, message }, &mut effects);
                if task % 1000 != 7 {
                    let (tasks, constants, kinds) = (vec![task], Vec::new(), vec![task]);
                    request(&mut server, &mut effects, Command::Forget { session, tasks, constants, kinds });
                }
                let is_refused = |action: &Action<u64>| matches!(action, Action::Reply { reply: Reply::Error(_), .. });
                assert!(!effects.drain().any(|action| is_refused(&action)), "task {task}");
            }
            let session = &server.sessions[&session];
            assert_eq!((session.tasks.len(), session.objects.len()), (8_000, 16_000));
            // One task of each thousand stays, and the last chunks, which are not full.
            let chunks = |a_task: u32| {
                let held = (0..8).map(|thousand| (1000 * thousand + 7) * a_task).chain([8_000 * a_task - 1]);
                held.map(|number| number as usize / 1024).collect::<BTreeSet<usize>>()
            };
            assert_eq!(session.tasks.chunks_held(), chunks(1));
            assert_eq!(session.kinds.chunks_held(), chunks(1));
            assert_eq!(session.objects.chunks_held(), chunks(2));
            assert_eq!(session.batches.iter().count(), 8);
            assert_eq!(session.constant_types.len(), 8);
            assert_eq!(session.ready.len(), 0);
        }
    }
}
