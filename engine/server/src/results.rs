//! The end of the time that a batch job has: tasks that were not begun, and results that are stored before it.

use super::effects::{Effects, StoredResult};
use super::reactor::{FetchFor, Server};
use super::session::Session;
use rain_model::id::{NONE, ObjectIndex, SessionId, TaskIndex};
use rain_protocol::peer::Finished;
use std::sync::Arc;

/// Results fetched from governors or written at the same time.
const AT_ONCE_MAX: usize = 8;

impl<D: Clone> Server<D> {
    /// There is a place where kept results can be stored.
    pub fn set_results_wanted(&mut self) {
        self.results.wanted = true;
    }

    /// Whether all results that are to be stored by now were.
    pub fn results_are_stored(&self) -> bool {
        self.results.waiting.is_empty() && self.results.under_way == 0
    }

    pub(super) fn store_results(&mut self, effects: &mut Effects<D>) {
        if !std::mem::replace(&mut self.results.active, true) {
            for session in self.sessions.values() {
                self.results.add(session.id, session.results());
            }
            self.store_more(effects);
        }
    }

    /// Has results stored that were finished when storing had begun already.
    pub(super) fn store_finished(&mut self, finished: &Finished, effects: &mut Effects<D>) {
        let id = SessionId(finished.session);
        if self.results.active
            && let Some(session) = self.sessions.get(&id)
        {
            let objects = finished.tasks.iter().flat_map(|report| session.outputs(report.task));
            self.results.add(id, objects.filter(|object| session.is_result(*object)));
            self.store_more(effects);
        }
    }

    fn store_more(&mut self, effects: &mut Effects<D>) {
        while self.results.under_way < AT_ONCE_MAX
            && let Some((session, object)) = self.results.waiting.pop_front()
        {
            let still_kept = self.sessions.get(&session).is_some_and(|session| session.is_result(object));
            if still_kept && self.start_fetch(FetchFor::Results, session, object, effects) {
                self.results.under_way += 1;
            } else {
                self.results.no_longer_missing(session);
            }
        }
    }

    pub(super) fn result_stored(&mut self, effects: &mut Effects<D>) {
        self.results.under_way = self.results.under_way.saturating_sub(1);
        self.store_more(effects);
    }

    /// A result cannot be brought here any more.
    pub(super) fn give_result_up(&mut self, session: SessionId, effects: &mut Effects<D>) {
        self.results.no_longer_missing(session);
        self.result_stored(effects);
    }

    /// Keeps a session whose client leaves it because there was no time for its tasks, as long as its results are brought
    /// here; whether it has to.
    pub(super) fn keep_for_results(&mut self, id: SessionId, effects: &mut Effects<D>) -> bool {
        let Some(session) = self.sessions.get_mut(&id) else { return false };
        if !self.results.wanted || !session.out_of_time || session.failure.is_some() || session.closing {
            return false;
        }
        session.closing = true;
        let error = Arc::new(session.closed_error());
        session.answer_waits_with(&error, effects);
        self.results.add(id, session.results());
        let open: Vec<TaskIndex> = session.open_tasks();
        self.cancel(id, &open, effects);
        self.results.closing.insert(id);
        self.store_more(effects);
        self.results.missing.contains_key(&id) || !self.results.closing.remove(&id)
    }

    /// Removes sessions that were kept for their results and need not be any more.
    pub(super) fn remove_closed(&mut self, effects: &mut Effects<D>) {
        let results = &mut self.results;
        let done: Vec<SessionId> =
            results.closing.iter().copied().filter(|session| !results.missing.contains_key(session)).collect();
        for session in done {
            self.results.closing.remove(&session);
            self.remove_session(session, effects);
        }
    }

    /// The time is over: what has not finished is stopped, so that whoever waits for it hears of it.
    pub(super) fn stop_work(&mut self, effects: &mut Effects<D>) {
        let ids: Vec<SessionId> = self.sessions.keys().copied().collect();
        for id in ids {
            let Some(session) = self.sessions.get(&id).filter(|session| session.failure.is_none()) else { continue };
            let open = session.open_tasks();
            if !open.is_empty() {
                self.withheld(id, &open, effects);
            }
        }
    }

    pub(super) fn result_fetched(
        &mut self,
        id: SessionId,
        object: ObjectIndex,
        content: Result<D, String>,
        effects: &mut Effects<D>,
    ) {
        let Some(session) = self.sessions.get(&id).filter(|session| session.is_result(object)) else {
            return self.give_result_up(id, effects);
        };
        self.results.no_longer_missing(id);
        let task = session.producer_of(object).unwrap_or(NONE);
        let Some(batch) = session.batch_of(task) else { return self.result_stored(effects) };
        let kind = batch.kind(task);
        let output = kind.outputs.get((object - batch.outputs(task).start) as usize);
        effects.store(StoredResult {
            session: id,
            session_name: session.name.clone(),
            object: session.object_info(object),
            task,
            task_name: kind.display_name().to_owned(),
            label: output.map(|output| output.label.clone()).unwrap_or_default(),
            content,
        });
    }

    /// A governor has not begun these tasks for want of time: nobody will.
    pub(super) fn withheld(&mut self, id: SessionId, tasks: &[TaskIndex], effects: &mut Effects<D>) {
        let Some(session) = self.sessions.get_mut(&id).filter(|session| session.failure.is_none()) else { return };
        session.out_of_time = true;
        self.cancel(id, tasks, effects);
        self.fetch_finished(id, effects);
    }
}

impl<D: Clone> Session<D> {
    fn results(&self) -> impl Iterator<Item = ObjectIndex> {
        self.objects.iter().map(|(object, _)| object).filter(|object| self.is_result(*object))
    }

    fn open_tasks(&self) -> Vec<TaskIndex> {
        self.tasks.iter().filter(|(_, record)| !record.state.is_over()).map(|(task, _)| task).collect()
    }

    /// Whether an object is the finished, kept output of a task.
    fn is_result(&self, object: ObjectIndex) -> bool {
        let record = self.known_object(object);
        record.is_some_and(|record| record.mark.is_kept() && record.producer != NONE) && self.object_is_finished(object)
    }
}
