//! What a client is told about tasks and objects.

use super::records::TaskState;
use super::session::Session;
use rain_model::id::{NONE, ObjectIndex, TaskIndex};
use rain_protocol::client::{ObjectInfo, TaskInfo};

impl<D: Clone> Session<D> {
    /// Info of a task that exists.
    pub(super) fn task_info(&self, task: TaskIndex) -> TaskInfo {
        let record = &self.tasks[task];
        let finished = record.state == TaskState::Finished;
        let state = match record.state {
            TaskState::Waiting => "waiting",
            TaskState::Running => "running",
            TaskState::Finished => "finished",
            TaskState::Cancelled | TaskState::Forgotten => "cancelled",
        };
        let details = self.task_details.get(&task);
        TaskInfo {
            id: task,
            state: state.to_owned(),
            governor: record.governor().filter(|_| record.state != TaskState::Waiting).map(|governor| governor.0),
            start_time: (finished || record.state == TaskState::Running).then_some(record.start),
            duration: record.duration().map(f64::from),
            error: None,
            debug: details.and_then(|d| d.debug.clone()),
            user: details.and_then(|d| d.user.clone()),
        }
    }

    /// Info of an object that exists.
    pub(super) fn object_info(&self, object: ObjectIndex) -> ObjectInfo {
        let record = &self.objects[object];
        let finished = self.object_is_finished(object);
        let details = self.object_details.get(&object);
        let state = match (finished, record.mark.is_kept()) {
            (false, _) => "unfinished",
            (true, true) => "finished",
            (true, false) => "removed",
        };
        let size = details.map_or(u64::from(self.size_of(object)), |d| d.size);
        ObjectInfo {
            id: object,
            state: state.to_owned(),
            size: finished.then_some(size),
            content_type: match details.and_then(|d| d.content_type.clone()) {
                Some(content_type) => Some(content_type),
                None => self.declared_content_type(object).map(str::to_owned),
            },
            error: None,
            debug: None,
            user: details.and_then(|d| d.user.clone()),
        }
    }

    fn declared_content_type(&self, object: ObjectIndex) -> Option<&str> {
        let producer = self.objects[object].producer;
        if producer == NONE {
            return self.constant_types.get(&object).map(String::as_str);
        }
        let batch = self.batch_of(producer)?;
        let output = object - batch.outputs(producer).start;
        batch.kind(producer).outputs.get(output as usize)?.content_type.as_deref()
    }
}
