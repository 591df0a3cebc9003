//! What a client is told about tasks and objects.

use super::records::TaskState;
use super::session::Session;
use rain_model::id::{NONE, ObjectIndex, TaskIndex};
use rain_protocol::client::{ObjectInfo, TaskInfo};

/// Items that one answer tells of, at most: clients ask again for the others.
const ITEMS_MAX: usize = 1 << 14;
/// Bytes of texts of users in one answer, at most, but for the first item.
const TEXT_BYTES_MAX: usize = 4 << 20;

/// How much of an answer there is.
#[derive(Default)]
struct Answered {
    items: usize,
    bytes: usize,
}

impl Answered {
    /// Counts an item with such texts; false when the answer has enough already.
    fn add(&mut self, texts: [&Option<String>; 2]) -> bool {
        let bytes: usize = texts.into_iter().flatten().map(String::len).sum();
        let has_room = self.items < ITEMS_MAX && self.bytes + bytes <= TEXT_BYTES_MAX;
        let takes = self.items == 0 || has_room;
        // What comes after an item that was left out is left out, too.
        self.items = if takes { self.items + 1 } else { ITEMS_MAX };
        self.bytes += bytes;
        takes
    }
}

impl<D: Clone> Session<D> {
    /// Info of tasks and objects that exist: of as many as one answer may have, in this order.
    pub(super) fn infos(&self, tasks: &[TaskIndex], objects: &[ObjectIndex]) -> (Vec<TaskInfo>, Vec<ObjectInfo>) {
        let mut answered = Answered::default();
        let tasks = tasks.iter().map(|task| self.task_info(*task));
        let tasks = tasks.take_while(|info| answered.add([&info.debug, &info.user])).collect();
        let objects = objects.iter().map(|object| self.object_info(*object));
        let objects = objects.take_while(|info| answered.add([&info.content_type, &info.user])).collect();
        (tasks, objects)
    }

    /// Info of a task that exists.
    pub(super) fn task_info(&self, task: TaskIndex) -> TaskInfo {
        let record = &self.tasks[task];
        let finished = record.told_state() == TaskState::Finished;
        let state = match record.told_state() {
            TaskState::Waiting => "waiting",
            TaskState::Running => "running",
            TaskState::Finished => "finished",
            TaskState::Cancelled | TaskState::Forgotten => "cancelled",
        };
        let details = self.task_details.get(&task);
        TaskInfo {
            id: task,
            state: state.to_owned(),
            governor: record
                .governor()
                .filter(|_| record.told_state() != TaskState::Waiting)
                .map(|governor| governor.0),
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
            size: (finished && !record.mark.is_lost()).then_some(size),
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
