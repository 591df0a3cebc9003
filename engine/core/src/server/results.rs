//! The end of the time that a batch job has: tasks that were not begun, and results that are stored before it.

use super::session::Session;
use super::{Action, FetchFor, Server};
use crate::client::ObjectInfo;
use crate::id::{NONE, ObjectIndex, SessionId, TaskIndex};
use crate::peer::Finished;
use std::collections::VecDeque;

/// Results fetched from governors or written at the same time.
const AT_ONCE_MAX: usize = 8;

/// A result to be stored.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredResult<D> {
    pub session: SessionId,
    pub session_name: String,
    pub object: ObjectInfo,
    /// The task that made it.
    pub task: TaskIndex,
    /// Its name, else its type.
    pub task_name: String,
    /// Label of the output, "" if it has none.
    pub label: String,
    /// Why it could not be brought here, if so.
    pub content: Result<D, String>,
}

/// Results on their way to where they are stored.
#[derive(Debug, Default)]
pub(super) struct Results {
    active: bool,
    waiting: VecDeque<(SessionId, ObjectIndex)>,
    under_way: usize,
}

impl<D: Clone> Server<D> {
    /// Whether all results that are to be stored by now were.
    pub fn results_are_stored(&self) -> bool {
        self.results.waiting.is_empty() && self.results.under_way == 0
    }

    pub(super) fn store_results(&mut self, actions: &mut Vec<Action<D>>) {
        if !std::mem::replace(&mut self.results.active, true) {
            for session in self.sessions.values() {
                let objects = (0..session.objects.len() as u32).filter(|object| session.is_result(*object));
                self.results.waiting.extend(objects.map(|object| (session.id, object)));
            }
            self.store_more(actions);
        }
    }

    /// Has results stored that were finished when storing had begun already.
    pub(super) fn store_finished(&mut self, finished: &Finished, actions: &mut Vec<Action<D>>) {
        let id = SessionId(finished.session);
        if self.results.active
            && let Some(session) = self.sessions.get(&id)
        {
            let objects = finished.tasks.iter().flat_map(|report| session.outputs(report.task));
            let results = objects.filter(|object| session.is_result(*object));
            self.results.waiting.extend(results.map(|object| (id, object)));
            self.store_more(actions);
        }
    }

    fn store_more(&mut self, actions: &mut Vec<Action<D>>) {
        while self.results.under_way < AT_ONCE_MAX
            && let Some((session, object)) = self.results.waiting.pop_front()
        {
            let still_kept = self.sessions.get(&session).is_some_and(|session| session.is_result(object));
            if still_kept && self.start_fetch(FetchFor::Results, session, object, actions) {
                self.results.under_way += 1;
            }
        }
    }

    pub(super) fn result_stored(&mut self, actions: &mut Vec<Action<D>>) {
        self.results.under_way = self.results.under_way.saturating_sub(1);
        self.store_more(actions);
    }

    pub(super) fn result_fetched(
        &mut self,
        id: SessionId,
        object: ObjectIndex,
        content: Result<D, String>,
        actions: &mut Vec<Action<D>>,
    ) {
        let Some(session) = self.sessions.get(&id).filter(|session| session.is_result(object)) else {
            return self.result_stored(actions);
        };
        let task = session.objects[object as usize].producer;
        let batch = session.batch_of(task);
        let kind = batch.kind(task);
        let output = kind.outputs.get((object - batch.outputs(task).start) as usize);
        actions.push(Action::StoreResult(Box::new(StoredResult {
            session: id,
            session_name: session.name.clone(),
            object: session.object_info(object),
            task,
            task_name: kind.display_name().to_owned(),
            label: output.map(|output| output.label.clone()).unwrap_or_default(),
            content,
        })));
    }

    /// A governor has not begun these tasks for want of time: nobody will.
    pub(super) fn withheld(&mut self, id: SessionId, tasks: &[TaskIndex], actions: &mut Vec<Action<D>>) {
        let Some(session) = self.sessions.get_mut(&id).filter(|session| session.failure.is_none()) else { return };
        session.out_of_time = true;
        self.cancel(id, tasks, actions);
        self.fetch_finished(id, actions);
    }
}

impl<D: Clone> Session<D> {
    /// Whether an object is the finished, kept output of a task.
    fn is_result(&self, object: ObjectIndex) -> bool {
        let record = self.objects.get(object as usize);
        record.is_some_and(|record| record.kept && record.producer != NONE) && self.object_is_finished(object)
    }
}
