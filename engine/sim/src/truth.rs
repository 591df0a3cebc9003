//! What really happened, which checkers compare with what anybody is told; and what a sequential run would have made.

use crate::content::{Content, Plan};
use rain_model::id::{ClientId, NONE, SessionId};
use rain_server::RequestId;
use std::collections::{BTreeMap, BTreeSet};

/// A task as its client has planned it.
#[derive(Clone, Debug)]
pub struct TaskFacts {
    pub plan: Plan,
    pub inputs: Vec<u32>,
    pub outputs: std::ops::Range<u32>,
    pub cpus: u32,
    pub retries: u32,
    /// How often it ran to its end.
    pub ended: u32,
    /// How many of its attempts were made to fail or to hang.
    pub failures: u32,
    pub hangs: u32,
    /// A client was told that it is cancelled.
    pub cancelled: bool,
    /// Its client has asked for it to be forgotten.
    pub forgotten: bool,
}

/// An object as its client knows it.
#[derive(Clone, Copy, Debug)]
pub struct ObjectFacts {
    /// What a sequential run makes.
    pub content: Content,
    /// `NONE` for constants.
    pub producer: u32,
    pub kept: bool,
    /// Its client has asked for it to be forgotten.
    pub forgotten: bool,
    /// The server has said that it is.
    pub gone: bool,
}

/// A session.
#[derive(Clone, Debug)]
pub struct SessionFacts {
    pub client: ClientId,
    /// Its client has closed it, or is gone.
    pub closed: bool,
    /// A client was told that it has failed.
    pub failed: bool,
    /// Why it may fail.
    pub excuses: BTreeSet<&'static str>,
    pub tasks: Vec<TaskFacts>,
    pub objects: Vec<ObjectFacts>,
}

impl SessionFacts {
    /// Whether it goes on.
    pub fn is_open(&self) -> bool {
        !self.closed && !self.failed
    }
}

/// What a client has asked.
#[derive(Clone, Debug)]
pub struct Asked {
    pub what: Question,
    pub session: Option<SessionId>,
    pub answers: u32,
}

/// The part of a request that its answer is compared with.
#[derive(Clone, Debug)]
pub enum Question {
    NewSession,
    /// What becomes part of the session when it is accepted.
    Submit {
        tasks: Vec<TaskFacts>,
        objects: Vec<ObjectFacts>,
        cpus: u32,
    },
    Wait {
        tasks: Vec<u32>,
        objects: Vec<u32>,
    },
    WaitSome {
        tasks: Vec<u32>,
        objects: Vec<u32>,
    },
    WaitAll,
    Fetch {
        object: u32,
    },
    Unkeep {
        objects: Vec<u32>,
    },
    Cancel {
        waiting: bool,
    },
    /// `kept`: those of the objects that were kept before.
    Forget {
        tasks: Vec<u32>,
        constants: Vec<u32>,
        kinds: Vec<u32>,
        kept: Vec<u32>,
    },
    Info {
        tasks: Vec<u32>,
    },
    Explain {
        tasks: Vec<u32>,
    },
    Status,
    Close,
}

/// Everything that is known of a run.
#[derive(Clone, Debug, Default)]
pub struct Truth {
    pub sessions: BTreeMap<SessionId, SessionFacts>,
    pub asked: BTreeMap<(ClientId, RequestId), Asked>,
    /// Why sessions may fail, also later ones.
    pub excuses: BTreeSet<&'static str>,
    /// Clients that have vanished.
    pub vanished: BTreeSet<ClientId>,
    /// Cpus of the governors that the server knows, `None`: it knows that it is lost.
    pub known_cpus: BTreeMap<u32, Option<u32>>,
    /// Governors that the server has lost.
    pub losses: u32,
    /// Messages that were sent, for bounds.
    pub most_under_way: usize,
}

impl Truth {
    /// A session may fail from now on, for this reason.
    pub fn excuse(&mut self, session: u32, why: &'static str) {
        if let Some(facts) = self.sessions.get_mut(&SessionId(session)) {
            facts.excuses.insert(why);
        }
    }

    /// So may all sessions.
    pub fn excuse_all(&mut self, why: &'static str) {
        self.excuses.insert(why);
    }

    /// Whether a request to cancel tasks of a session is not answered: some of them may be cancelled already.
    pub fn is_cancelling(&self, session: SessionId) -> bool {
        let cancels = |asked: &Asked| {
            asked.session == Some(session) && asked.answers == 0 && matches!(asked.what, Question::Cancel { .. })
        };
        self.asked.values().any(cancels)
    }

    /// A task, if its submit was accepted.
    pub fn task_mut(&mut self, session: u32, task: u32) -> Option<&mut TaskFacts> {
        self.sessions.get_mut(&SessionId(session))?.tasks.get_mut(task as usize)
    }

    /// What a sequential run makes of an object.
    pub fn expected(&self, session: u32, object: u32) -> Option<Content> {
        self.sessions.get(&SessionId(session))?.objects.get(object as usize).map(|facts| facts.content)
    }

    /// Whether an object is there in the sense that a wait for it may be answered.
    pub fn is_made(&self, session: SessionId, object: u32) -> bool {
        let Some(facts) = self.sessions.get(&session) else { return false };
        match facts.objects.get(object as usize).map(|object| object.producer) {
            Some(NONE) => true,
            Some(producer) => facts.tasks[producer as usize].ended > 0,
            None => false,
        }
    }
}
