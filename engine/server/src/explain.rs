//! Why a task does not run, or where it does: answered from what the server knows, without asking anybody.

use super::reactor::Server;
use super::records::TaskState;
use super::session::Session;
use rain_model::graph::Batch;
use rain_model::id::{GovernorId, SessionId, TaskIndex};
use rain_model::resources::{Request, Shortage};
use rain_protocol::client::RequestError;
use rain_protocol::explain::{Explanation, Lack, MissingInput, ResourceHolder};

/// Tasks that one answer explains at most: clients ask again for the others.
const TASKS_MAX: usize = 16;
/// Inputs, governors and holders that are named of one task.
const NAMED_MAX: usize = 16;

impl<D: Clone> Server<D> {
    /// What becomes of tasks, of the first of those that are named.
    ///
    /// # Errors
    /// When there is no such session, or it has failed, or a task is not there.
    pub(super) fn explain(&self, id: SessionId, tasks: &[TaskIndex]) -> Result<Vec<Explanation>, RequestError> {
        let session = self.sessions.get(&id).filter(|session| !session.closing);
        let session = session.ok_or_else(|| RequestError::request(format!("{id} does not exist, or was closed")))?;
        if let Some(error) = &session.failure {
            return Err((**error).clone());
        }
        session.check_items(tasks, &[])?;
        Ok(tasks.iter().take(TASKS_MAX).map(|task| self.explain_task(session, *task)).collect())
    }

    fn explain_task(&self, session: &Session<D>, task: TaskIndex) -> Explanation {
        let record = &session.tasks[task];
        let governor = record.governor();
        let mut found =
            Explanation { id: task, governor: governor.map(|governor| governor.0), ..Explanation::default() };
        let (state, why) = match (record.state, governor) {
            (TaskState::Finished | TaskState::Forgotten, governor) => {
                found.start_time = Some(record.start);
                ("finished", format!("it has finished{}", on(governor)))
            }
            (TaskState::Cancelled, _) => {
                found.governor = None;
                ("cancelled", "it was cancelled, or a task that it needs".to_owned())
            }
            (TaskState::Running, _) => {
                found.start_time = Some(record.start);
                found.has = self.has(session.id, task);
                ("running", format!("it runs{}", on(governor)))
            }
            (TaskState::Waiting, _) => match session.batch_of(task) {
                Some(batch) => self.explain_waiting(session, batch, task, &mut found),
                None => ("waiting", "it waits".to_owned()),
            },
        };
        (found.state, found.why) = (state.to_owned(), why);
        found
    }

    fn explain_waiting(
        &self,
        session: &Session<D>,
        batch: &Batch,
        task: TaskIndex,
        found: &mut Explanation,
    ) -> (&'static str, String) {
        self.find_missing(session, batch, task, found);
        let governor = session.tasks[task].governor();
        if found.missing_count > 0 {
            let inputs: Vec<String> = found.missing.iter().map(in_words).collect();
            let more = found.missing_count as usize - inputs.len();
            let more = if more > 0 { format!(", and {more} more") } else { String::new() };
            return ("waiting", format!("it waits for what it reads: {}{more}", inputs.join("; ")));
        }
        if let Some(id) = governor {
            found.has = self.has(session.id, task);
            let (load, cpus) = self.governors.get(id).map_or((0, 0), |governor| (governor.load(), governor.cpus));
            return ("ready", format!("it waits on {id} for a cpu: {load} tasks are there for {cpus} cpus"));
        }
        let kind = batch.kind(task);
        if self.governors.alive() == 0 {
            return ("ready", "it waits for a governor: none is there".to_owned());
        }
        if !kind.resources.is_empty() {
            return ("ready", self.explain_lack(session, &kind.resources, task, found));
        }
        let cpus_max = self.governors.cpus_max().unwrap_or_default();
        if kind.cpus > cpus_max {
            return ("ready", format!("it asks for {} cpus, but the largest governor has {cpus_max}", kind.cpus));
        }
        let (ready, free, cpus) = (session.ready.len(), self.governors.free(), self.governors.cpus());
        let why = format!("it waits for a cpu: {free} of {cpus} are free, and {ready} tasks of its session are ready");
        ("ready", why)
    }

    fn find_missing(&self, session: &Session<D>, batch: &Batch, task: TaskIndex, found: &mut Explanation) {
        for object in batch.inputs(task).iter().copied().filter(|object| !session.is_there(*object)) {
            found.missing_count += 1;
            if found.missing.len() < NAMED_MAX {
                let producer = session.producer_of(object);
                let record = producer.and_then(|producer| session.tasks.get(producer));
                let state = match record.map(|record| record.state) {
                    Some(TaskState::Running) => "running",
                    Some(TaskState::Cancelled) => "cancelled",
                    _ => "waiting",
                };
                let governor = record.and_then(|record| record.governor()).map(|governor| governor.0);
                found.missing.push(MissingInput { object, task: producer, state: state.to_owned(), governor });
            }
        }
    }

    /// What is missing for a task, on those governors that could run it.
    fn explain_lack(
        &self,
        session: &Session<D>,
        alternatives: &[Request],
        task: TaskIndex,
        found: &mut Explanation,
    ) -> String {
        let place = session.wanting.place_of(task);
        found.place = place.map(|place| place as u32);
        found.waited = session.wanting.since(task).map(|since| self.now().since(since).as_secs_f64());
        let could = |request: &Request| {
            let alive = self.governors.iter().filter(|(_, governor)| governor.is_alive());
            let able = alive.filter(|(id, governor)| governor.cpus >= request.cpus && self.ledger.has(*id, request));
            able.map(|(id, _)| id).collect::<Vec<GovernorId>>()
        };
        let mut said = Vec::new();
        for request in alternatives {
            for id in could(request).into_iter().take(NAMED_MAX - said.len().min(NAMED_MAX)) {
                let shortages = self.ledger.shortages(id, request);
                let kept_for = self.ledger.kept_for(id).filter(|holder| *holder != (session.id, task));
                said.push(match (shortages.is_empty(), kept_for) {
                    (false, _) => {
                        let lacks = shortages.into_iter().map(|shortage| self.lack(id, shortage));
                        let lacks: Vec<Lack> = lacks.collect();
                        let words: Vec<String> = lacks.iter().map(lack_in_words).collect();
                        found.lacks.extend(lacks);
                        format!("{id} has {}", words.join(" and "))
                    }
                    (true, Some((other, first))) => format!("{id} keeps what it has for task {first} of {other}"),
                    (true, None) => format!("{id} has enough, but no cpu for it soon"),
                });
            }
        }
        let before = match place {
            Some(0) => "; it is the next of its session".to_owned(),
            Some(place) => format!("; {place} tasks of its session are before it"),
            None => String::new(),
        };
        if said.is_empty() {
            let never: Vec<String> = alternatives.iter().map(|request| self.why_never(request)).collect();
            return format!("it waits for a governor: it asks for {}", never.join("; or for "));
        }
        format!("it waits for resources: {}{before}", said.join("; "))
    }

    fn lack(&self, id: GovernorId, shortage: Shortage) -> Lack {
        let holders = self.ledger.holders(id).filter_map(|((session, task), grant)| {
            let amount = grant.parts.get(&shortage.name)?.total().number();
            Some(ResourceHolder { session: session.0, task, amount })
        });
        let holders = holders.take(NAMED_MAX).collect();
        Lack {
            governor: id.0,
            wanted: shortage.wanted.number(),
            free: shortage.free.number(),
            total: shortage.total.number(),
            name: shortage.name,
            holders,
        }
    }

    /// What a task was given, by name.
    fn has(&self, session: SessionId, task: TaskIndex) -> Vec<(String, f64)> {
        let given = self.ledger.given_to((session, task)).map(|(_, grant)| &grant.parts);
        given.into_iter().flatten().map(|(name, part)| (name.clone(), part.total().number())).collect()
    }
}

fn on(governor: Option<GovernorId>) -> String {
    governor.map_or_else(String::new, |governor| format!(" on {governor}"))
}

fn in_words(missing: &MissingInput) -> String {
    let MissingInput { object, task, state, governor } = missing;
    let on = governor.map_or_else(String::new, |governor| format!(" on {}", GovernorId(governor)));
    match task {
        Some(task) => format!("object {object}, which task {task} makes ({state}{on})"),
        None => format!("object {object}, which is on its way"),
    }
}

fn lack_in_words(lack: &Lack) -> String {
    let Lack { name, wanted, free, total, holders, .. } = lack;
    let holder = |holder: &ResourceHolder| {
        format!("task {} of {} has {}", holder.task, SessionId(holder.session), holder.amount)
    };
    let who: Vec<String> = holders.iter().map(holder).collect();
    let who = if who.is_empty() { String::new() } else { format!(" ({})", who.join(", ")) };
    format!("{free} of {total} {name} free, and {wanted} are asked for{who}")
}
