//! The answers of a server that keeps no event log: what is just now, and nothing of what was.

use crate::views::{Question, ViewError, Views};
use serde::Deserialize;
use serde_json::{Value, json};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

/// How long the server may take to answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
const NO_LOG: &str = "this server keeps no event log (--event-log=off): only what is just now can be shown";

/// Asks the server for its status, JSON text, which the callback is given from any thread.
pub type AskStatus = Arc<dyn Fn(Box<dyn FnOnce(String) + Send>) + Send + Sync>;

/// What a server says of itself.
pub struct ServerViews {
    ask: AskStatus,
}

/// The parts of a status reply that are shown.
#[derive(Deserialize)]
struct Reply {
    version: String,
    listen: String,
    started: f64,
    governors: Vec<Governor>,
    #[serde(default)]
    governors_lost: Vec<Lost>,
    sessions_open: u64,
    sessions: Vec<Session>,
}

#[derive(Deserialize)]
struct Governor {
    id: u32,
    host: String,
    cpus: u32,
    tasks_unfinished: u64,
    tasks_finished: u64,
}

#[derive(Deserialize)]
struct Lost {
    id: u32,
    host: String,
    reason: String,
    lost: f64,
}

#[derive(Deserialize)]
struct Session {
    id: u32,
    name: String,
    tasks: u64,
    finished: u64,
    state: String,
}

fn counts(waiting: u64, ready: u64, finished: u64) -> Value {
    json!({"waiting": waiting, "ready": ready, "running": 0, "finished": finished, "failed": 0, "cancelled": 0, "lost": 0})
}

impl Session {
    fn shown(&self, started: f64) -> Value {
        json!({
            "id": self.id, "name": self.name, "state": self.state, "created": started, "closed": null,
            "tasks": counts(self.tasks.saturating_sub(self.finished), 0, self.finished),
            "seconds": 0.0, "bytes": 0, "error": null,
        })
    }
}

/// What is known of any governor.
fn governor(id: u32, host: &str, started: f64) -> Value {
    json!({
        "id": id, "host": host, "state": "alive", "cpus": 0, "joined": started, "lost": null, "reason": null, "running": 0,
        "load": null, "memory": null, "memory_budget": null, "net_in": null, "net_out": null, "disk": null, "spilled": 0,
        "tasks": 0, "seconds": 0.0, "executors": 0, "topology": null,
    })
}

impl Governor {
    fn shown(&self, started: f64) -> Value {
        let mut shown = governor(self.id, &self.host, started);
        shown["cpus"] = json!(self.cpus);
        shown["running"] = json!(self.tasks_unfinished.min(self.cpus.into()));
        shown["tasks"] = json!(self.tasks_finished);
        shown
    }
}

impl Lost {
    fn shown(&self, started: f64) -> Value {
        let mut shown = governor(self.id, &self.host, started);
        shown["state"] = json!("lost");
        shown["lost"] = json!(self.lost);
        shown["reason"] = json!(self.reason);
        shown
    }
}

impl ServerViews {
    pub fn new(ask: AskStatus) -> Self {
        Self { ask }
    }

    fn asked(&self) -> Result<String, ViewError> {
        let (sender, receiver) = mpsc::channel();
        let sender = Mutex::new(sender);
        (self.ask)(Box::new(move |status| {
            // Whoever asked may be gone.
            let _ = sender.lock().map(|sender| sender.send(status));
        }));
        let none = |_| ViewError::Unavailable("the server does not answer".to_owned());
        receiver.recv_timeout(ANSWER_TIME_MAX).map_err(none)
    }

    fn reply(&self) -> Result<Reply, ViewError> {
        let wrong =
            |error: serde_json::Error| ViewError::Unavailable(format!("the server's answer cannot be read: {error}"));
        serde_json::from_str(&self.asked()?).map_err(wrong)
    }
}

fn status(reply: &Reply, sequence: u64) -> Value {
    let cpus: u64 = reply.governors.iter().map(|governor| u64::from(governor.cpus)).sum();
    let sum = |of: fn(&Session) -> u64| reply.sessions.iter().map(of).sum::<u64>();
    let failed = reply.sessions.iter().filter(|session| session.state == "failed").count() as u64;
    json!({
        "time": rain_events::seconds_since_1970(), "sequence": sequence, "state": "running",
        "server": {"name": null, "version": reply.version, "started": reply.started, "ended": null, "address": reply.listen},
        "governors": reply.governors.len(), "cpus": cpus,
        "tasks": counts(sum(|one| one.tasks.saturating_sub(one.finished)), 0, sum(|one| one.finished)),
        "sessions": {"open": reply.sessions_open.saturating_sub(failed), "failed": failed, "closed": 0},
        "rate": 0.0, "time_left": null, "log": null,
    })
}

impl Views for ServerViews {
    fn answer(&self, question: Question, _: &str) -> Result<Option<String>, ViewError> {
        let answer = match question {
            Question::Status => status(&self.reply()?, self.sequence()?),
            Question::Sessions => {
                let reply = self.reply()?;
                let shown: Vec<Value> = reply.sessions.iter().rev().map(|one| one.shown(reply.started)).collect();
                json!({"sessions": shown, "next": null})
            }
            Question::Session(id) => {
                let reply = self.reply()?;
                let Some(session) = reply.sessions.iter().find(|one| one.id == id) else { return Ok(None) };
                let mut shown = session.shown(reply.started);
                shown["error_text"] = Value::Null;
                shown["groups"] = json!([]);
                shown["groups_left_out"] = json!(0);
                shown
            }
            Question::Governors => {
                let reply = self.reply()?;
                let alive = reply.governors.iter().map(|one| one.shown(reply.started));
                let shown: Vec<Value> =
                    alive.chain(reply.governors_lost.iter().map(|one| one.shown(reply.started))).collect();
                json!({"governors": shown})
            }
            Question::Throughput => json!({"times": [], "step": 1.0, "finished": [], "failed": [], "running": []}),
            Question::Tasks(_)
            | Question::Task(..)
            | Question::Graph(_)
            | Question::Objects(_)
            | Question::Samples(_)
            | Question::Stream
            | Question::Events => return Err(ViewError::Unavailable(NO_LOG.to_owned())),
        };
        Ok(Some(answer.to_string()))
    }

    fn filtered(&self, _: &[u8]) -> Result<String, ViewError> {
        Err(ViewError::Unavailable(NO_LOG.to_owned()))
    }

    fn sequence(&self) -> Result<u64, ViewError> {
        let mut hasher = DefaultHasher::new();
        self.asked()?.hash(&mut hasher);
        // Browsers know whole numbers up to 2^53.
        Ok(hasher.finish() >> 11)
    }
}
