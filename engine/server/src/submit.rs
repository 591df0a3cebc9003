//! Taking a submit: every rule is checked before anything changes.

use super::records::{BatchNote, Constant, ObjectRecord, TaskRecord, TaskState};
use super::session::{Fresh, Session};
use super::submission::{CheckTask, Submission};
use super::table::Table;
use rain_model::graph::{Batch, BatchKind, Column, Kind, Offsets};
use rain_model::id::{NONE, ObjectIndex, TaskIndex};
use rain_protocol::client::RequestError;
use rain_protocol::cut::{cut_owned, quoted};
use rayon::prelude::*;
use std::sync::Arc;

/// Mark of an object that nothing has produced yet while a submit is checked.
const UNPRODUCED: u32 = u32::MAX - 1;

/// Tasks, and objects, of one submit: columns of one number could otherwise make a small frame ask for any amount of memory.
const ITEMS_MAX: u64 = 1 << 26;

/// A submit with so many inputs is checked by several threads; with fewer it takes longer to start them.
const PARALLEL_INPUTS_MIN: usize = 1 << 20;
/// Tasks that each of them takes at least.
const PARALLEL_TASKS_MIN: usize = 1 << 10;

/// Longest name of a session or a kind of tasks, bytes.
const NAME_BYTES_MAX: usize = 1 << 10;
/// Longest text that says what is wrong with a task's configuration, bytes.
const WHY_BYTES_MAX: usize = 4 << 10;

fn refuse<T>(message: String) -> Result<T, RequestError> {
    Err(RequestError::request(format!("submit refused: {message}")))
}

impl<D: Clone> Session<D> {
    /// How many tasks and objects a submit adds. Of tasks whose kinds are listed one by one the objects are not counted: such a frame has
    /// bytes for each task.
    ///
    /// # Errors
    /// When it has more tasks than one submit may have.
    pub(super) fn items_added(&self, submission: &Submission<D>) -> Result<u64, RequestError> {
        let tasks = u64::from(submission.count);
        if tasks > ITEMS_MAX {
            return refuse(format!("{tasks} tasks are more than the {ITEMS_MAX} of one submit"));
        }
        let outputs = match submission.kind {
            Column::Same(kind) => match kind.checked_sub(self.kinds.len()) {
                Some(new) => submission.kinds.get(new as usize).map_or(0, |kind| kind.outputs.len()),
                None => self.kinds.get(kind).and_then(Option::as_ref).map_or(0, |kind| kind.outputs.len()),
            },
            Column::Each(_) => 0,
        };
        Ok(tasks.saturating_mul(outputs as u64 + 1).saturating_add(submission.constants.len() as u64))
    }

    /// Takes a submit or refuses it whole. `cpus_max`: cpus of the largest governor, `None` while there is none; `check`
    /// looks into the configuration of built-in tasks.
    pub(super) fn submit(
        &mut self,
        mut submission: Submission<D>,
        cpus_max: Option<u32>,
        check: CheckTask,
    ) -> Result<(), RequestError> {
        let first_task = self.tasks.len();
        if u64::from(first_task) + u64::from(submission.count) >= u64::from(UNPRODUCED) {
            return refuse("a session holds less than 2^32 tasks".to_owned());
        }
        // Governors number what waits for objects as inputs are numbered.
        if self.inputs + submission.inputs.len() as u64 >= u64::from(UNPRODUCED) {
            return refuse("the tasks of a session have less than 2^32 inputs".to_owned());
        }
        check_kinds(&submission.kinds, cpus_max)?;
        if u64::from(self.kinds.len()) + submission.kinds.len() as u64 >= u64::from(UNPRODUCED) {
            return refuse("a session holds less than 2^32 kinds".to_owned());
        }
        let new_kinds: Vec<Arc<Kind>> = std::mem::take(&mut submission.kinds).into_iter().map(Arc::new).collect();
        let batch = self.build_batch(&submission, &new_kinds)?;
        let producers = self.check_graph(&batch, &submission)?;
        check_built_in_tasks(&batch, &submission.configs, check)?;

        let first_object = self.objects.len();
        self.objects.extend(producers.into_iter().map(ObjectRecord::new));
        for object in &submission.keep {
            self.objects[*object].mark.set_kept(true);
        }
        self.tasks.grow(first_task + submission.count, TaskRecord::NEW);
        self.unfinished += u64::from(submission.count);
        self.inputs += submission.inputs.len() as u64;
        self.kinds.extend(new_kinds.into_iter().map(Some));
        let mut constants = Vec::with_capacity(submission.constants.len());
        for constant in submission.constants {
            self.objects[constant.object].number = u32::try_from(constant.size).unwrap_or(u32::MAX);
            if constant.size >= u64::from(u32::MAX) {
                self.object_details.entry(constant.object).or_default().size = constant.size;
            }
            if let Some(content_type) = constant.content_type {
                self.constant_types.insert(constant.object, content_type);
            }
            if self.recovers {
                let batch = if batch.count > 0 { batch.first } else { NONE };
                let kept = Constant { data: constant.data.clone(), batch, readers: 0 };
                self.constants.insert(constant.object, kept);
            }
            constants.push((constant.object, constant.data));
        }
        let batch = Arc::new(Batch { configs: submission.configs, user: Arc::new(submission.user), ..batch });
        if batch.count > 0 {
            let objects = first_object..self.objects.len();
            let outputs = submission.keep.iter().filter(|object| self.objects[**object].producer != NONE);
            let kept = outputs.count() as u32;
            let lineage = self.new_lineage(&batch, first_object, kept);
            let (open, known) = (batch.count, batch.count);
            self.batches.insert(&batch, BatchNote { open, known, objects, counted: false, lineage });
            self.inherit_priorities(&batch);
            self.uncounted = true;
        }
        self.fresh.push(Fresh { batch, constants, keep: submission.keep });
        Ok(())
    }

    /// Checks inputs, outputs and constants; returns the producer of each new object.
    fn check_graph(&self, batch: &Batch, submission: &Submission<D>) -> Result<Vec<TaskIndex>, RequestError> {
        let base = u64::from(self.objects.len());
        let outputs: u64 = batch.tasks().map(|task| batch.outputs(task).len() as u64).sum();
        let count = outputs + submission.constants.len() as u64;
        if count > ITEMS_MAX {
            return refuse(format!("{count} objects are more than the {ITEMS_MAX} of one submit"));
        }
        if base + count >= u64::from(UNPRODUCED) {
            return refuse("a session holds less than 2^32 objects".to_owned());
        }
        let mut producers = vec![UNPRODUCED; count as usize];
        let mut produce = |object: ObjectIndex, producer: TaskIndex| {
            let place = u64::from(object).checked_sub(base).and_then(|offset| producers.get_mut(offset as usize));
            match place {
                Some(place) if *place == UNPRODUCED => {
                    *place = producer;
                    Ok(())
                }
                Some(_) => refuse(format!("object {object} has a second producer")),
                None if u64::from(object) < base => {
                    refuse(format!("object {object} exists since an earlier submit: it would have a second producer"))
                }
                None => refuse(format!(
                    "object {object} is out of order: this submit's objects are numbered {base} to {}",
                    base + count - 1
                )),
            }
        };
        for constant in &submission.constants {
            produce(constant.object, NONE)?;
        }
        for task in batch.tasks() {
            for object in batch.outputs(task) {
                produce(object, task)?;
            }
        }
        check_inputs(batch, &producers, &self.objects, &self.tasks)?;
        for object in &submission.keep {
            match u64::from(*object).checked_sub(base) {
                None => return refuse(format!("object {object} was submitted before; keep() comes before submit()")),
                Some(offset) if offset >= count => return refuse(format!("object {object} does not exist")),
                Some(_) => {}
            }
        }
        Ok(producers)
    }

    /// The batch without its configurations, which stay in the submission until it is accepted.
    fn build_batch(&self, submission: &Submission<D>, new_kinds: &[Arc<Kind>]) -> Result<Batch, RequestError> {
        let rows = submission.count as usize;
        let (kinds, kind) = self.batch_kinds(submission, new_kinds)?;
        let config = match &submission.config {
            Column::Same(value) => (rows > 0).then_some(*value).filter(|i| *i != NONE),
            Column::Each(values) => values.iter().copied().filter(|i| *i != NONE).max(),
        };
        if let Some(config) = config.filter(|config| *config as usize >= submission.configs.len()) {
            return refuse(format!("configuration {config} does not exist; there are {}", submission.configs.len()));
        }
        let Some(input_offsets) = Offsets::from_counts(&submission.input_count, rows) else {
            return refuse("more than 2^32 inputs".to_owned());
        };
        let inputs_expected = if rows == 0 { 0 } else { input_offsets.range(rows - 1).end };
        if inputs_expected != submission.inputs.len() {
            return refuse(format!(
                "input counts add up to {inputs_expected}, but {} are given",
                submission.inputs.len()
            ));
        }
        let batch = Batch {
            first: self.tasks.len(),
            count: submission.count,
            kinds,
            kind,
            input_offsets,
            inputs: submission.inputs.clone(),
            first_output: submission.first_output.clone(),
            configs: Arc::default(),
            config: submission.config.clone(),
            user: Arc::default(),
        };
        for task in batch.tasks() {
            let outputs = batch.kind(task).outputs.len() as u64;
            let first = submission.first_output.get((task - batch.first) as usize);
            if (first == NONE) != (outputs == 0)
                || (first != NONE && u64::from(first) + outputs > u64::from(UNPRODUCED))
            {
                let kind = batch.kind(task);
                return refuse(format!(
                    "task {task} is of a kind ({}) with {outputs} outputs, which does not fit its first output",
                    kind.display_name()
                ));
            }
        }
        Ok(batch)
    }

    /// The kinds that the tasks of a submit are of, and which of them each is of.
    fn batch_kinds(
        &self,
        submission: &Submission<D>,
        new_kinds: &[Arc<Kind>],
    ) -> Result<(Arc<[BatchKind]>, Column), RequestError> {
        let numbers = match &submission.kind {
            _ if submission.count == 0 => Vec::new(),
            Column::Same(number) => vec![*number],
            Column::Each(numbers) => distinct(numbers),
        };
        let find = |number: &u32| {
            let is_new = number.checked_sub(self.kinds.len());
            let kind = match is_new {
                Some(place) => new_kinds.get(place as usize),
                None => self.kind(*number),
            };
            let Some(kind) = kind.cloned() else {
                let count = self.kinds.len() as usize + new_kinds.len();
                let why = if is_new.is_some() { "does not exist" } else { "was forgotten" };
                return refuse(format!("kind {number} {why}; the session has {count}"));
            };
            Ok(BatchKind { number: *number, kind })
        };
        let kinds: Arc<[BatchKind]> = numbers.iter().map(find).collect::<Result<_, _>>()?;
        let places = match &submission.kind {
            Column::Same(_) => Column::Same(0),
            Column::Each(_) if numbers.iter().copied().eq(0..numbers.len() as u32) => submission.kind.clone(),
            Column::Each(column) => {
                let place = |number: &u32| numbers.binary_search(number).unwrap_or_default() as u32;
                Column::Each(column.iter().map(place).collect())
            }
        };
        Ok((kinds, places))
    }
}

/// Checks what the tasks of a new batch read: outputs of tasks before them, constants, and kept objects of earlier submits.
/// `producers` has the producers of the new objects, whose numbers follow those of `objects`.
fn check_inputs(
    batch: &Batch,
    producers: &[TaskIndex],
    objects: &Table<ObjectRecord>,
    tasks: &Table<TaskRecord>,
) -> Result<(), RequestError> {
    let base = objects.len();
    let is_cancelled = |task| tasks.get(task).is_some_and(|record| record.state == TaskState::Cancelled);
    let why_not = |task: TaskIndex, object: ObjectIndex| {
        if object >= base {
            return match producers.get((object - base) as usize).copied() {
                None => Some(format!("task {task} reads object {object}, which does not exist")),
                Some(producer) if producer == NONE || producer < task => None,
                Some(producer) => Some(format!(
                    "task {task} reads object {object}, which task {producer} makes, which does not come before it: there is a \
                     cycle, or tasks are not in topological order"
                )),
            };
        }
        match objects.get(object).filter(|record| !record.mark.is_forgotten()) {
            None => Some(format!("task {task} reads object {object}, which was forgotten")),
            Some(record) if record.producer != NONE && is_cancelled(record.producer) => {
                Some(format!("task {task} reads object {object}, but task {} was cancelled", record.producer))
            }
            Some(record) if !record.mark.is_kept() => Some(format!(
                "task {task} reads object {object} of an earlier submit, which is not kept; call keep() on it before the \
                 submit that makes it"
            )),
            Some(_) => None,
        }
    };
    let first_of = |task: TaskIndex| batch.inputs(task).iter().find_map(|object| why_not(task, *object));
    // The same answer either way: that of the first task.
    let found = if batch.inputs.len() < PARALLEL_INPUTS_MIN {
        batch.tasks().find_map(first_of)
    } else {
        batch.tasks().into_par_iter().with_min_len(PARALLEL_TASKS_MIN).find_map_first(first_of)
    };
    found.map_or(Ok(()), refuse)
}

fn check_kinds(kinds: &[Kind], cpus_max: Option<u32>) -> Result<(), RequestError> {
    for kind in kinds {
        if !kind.task_type.contains('/') {
            let task_type = quoted(&kind.task_type);
            return refuse(format!("task type {task_type} is not of the form EXECUTOR/METHOD"));
        }
        for (what, text) in [("name", &kind.name), ("type", &kind.task_type), ("process", &kind.process)] {
            check_name(&format!("the {what} of a kind of tasks"), text)?;
        }
        if kind.cpus == 0 {
            return refuse(format!("{} asks for 0 cpus; a task takes at least 1", quoted(kind.display_name())));
        }
        if let Some(cpus_max) = cpus_max.filter(|cpus_max| kind.cpus > *cpus_max) {
            return refuse(format!(
                "{} asks for {} cpus, but the largest governor has {cpus_max}",
                quoted(kind.display_name()),
                kind.cpus
            ));
        }
    }
    Ok(())
}

/// Refuses names that are too long for tables and messages.
pub(super) fn check_name(what: &str, name: &str) -> Result<(), RequestError> {
    if name.len() <= NAME_BYTES_MAX {
        return Ok(());
    }
    let message = format!("{what} has {} bytes, but {NAME_BYTES_MAX} at most: {}", name.len(), quoted(name));
    Err(RequestError::request(message))
}

/// The numbers of a column, each once, in ascending order.
fn distinct(column: &[u32]) -> Vec<u32> {
    let (Some(least), Some(most)) = (column.iter().min(), column.iter().max()) else { return Vec::new() };
    let span = (most - least) as usize + 1;
    if span > column.len() + 1024 {
        let mut numbers = column.to_vec();
        numbers.sort_unstable();
        numbers.dedup();
        return numbers;
    }
    let mut seen = vec![false; span];
    column.iter().for_each(|number| seen[(number - least) as usize] = true);
    (*least..=*most).zip(seen).filter(|(_, seen)| *seen).map(|(number, _)| number).collect()
}

/// Checks tasks that governors run themselves; of equal ones in a row only the first.
fn check_built_in_tasks(batch: &Batch, configs: &[serde_bytes::ByteBuf], check: CheckTask) -> Result<(), RequestError> {
    // By kind: the configuration and the number of inputs that were found to be good.
    let mut good: Vec<Option<(u32, usize)>> = vec![None; batch.kinds.len()];
    let all_equal = matches!(
        (&batch.kind, &batch.config, &batch.input_offsets),
        (Column::Same(_), Column::Same(_), Offsets::Every(_))
    );
    for task in batch.tasks().take(if all_equal { 1 } else { usize::MAX }) {
        let kind = batch.kind(task);
        if !kind.is_built_in() {
            continue;
        }
        let config = batch.config.get((task - batch.first) as usize);
        let inputs = batch.inputs(task).len();
        let checked = &mut good[batch.kind_place(task)];
        if *checked != Some((config, inputs)) {
            let bytes = if config == NONE { &kind.config } else { configs[config as usize].as_slice() };
            check(kind, bytes, inputs)
                .map_err(|why| cut_owned(why, WHY_BYTES_MAX))
                .map_err(|why| RequestError { task: Some(task), ..RequestError::request(why) })?;
            *checked = Some((config, inputs));
        }
    }
    Ok(())
}
