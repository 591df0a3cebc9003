//! Simulated clients: what they ask, at random and, in the end, to see everything through.

use crate::content::Data;
use crate::faults::Setup;
use crate::random::Random;
use crate::truth::{Asked, Question, SessionFacts, Truth};
use crate::workload::{Draws, KindFacts, draw};
use rain_model::id::{ClientId, NONE, SessionId};
use rain_server::{Command, Reply, RequestId};
use std::collections::VecDeque;

/// Sessions of a client at the same time.
const SESSIONS_MAX: usize = 3;

/// How far the end of a session has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Finale {
    NotYet,
    WaitsForAll,
    Fetches,
    /// Nothing is needed any more.
    Unkept,
    Closes,
}

/// A session as its client knows it.
#[derive(Debug)]
struct Session {
    id: SessionId,
    kinds: Vec<KindFacts>,
    /// Kinds that there were before the submit that is not answered.
    submitting: Option<usize>,
    fetches: u32,
    finale: Finale,
}

/// A client.
#[derive(Debug)]
pub struct Client {
    pub id: ClientId,
    random: Random,
    draws: Draws,
    cancels: u64,
    /// How much it still does.
    pub steps: u32,
    sessions: Vec<Session>,
    opening: bool,
    next_request: RequestId,
    /// Requests that have not arrived at the server.
    pub under_way: VecDeque<(RequestId, Command<Data>)>,
    /// Sessions that are to get another submit at once.
    bursts: Vec<SessionId>,
    /// Number of requests made since it was looked at.
    pub made: usize,
}

impl Client {
    /// A client of a run.
    pub fn new(seed: u64, number: u32, setup: &Setup) -> Self {
        let cpus = setup.cpus.iter().copied().max().unwrap_or(1);
        let Setup { fails, hangs, fails_for_good, .. } = *setup;
        let mut random = Random::child(seed, &format!("client {number}"));
        let (constants, keeps_constants) = (random.below(6), random.between(100, 900));
        let continues = random.chance(250);
        let (constants, keeps_constants) = if continues { (3, 900) } else { (constants, keeps_constants) };
        let bursts = if continues { 900 } else { random.below(800) };
        let slow = random.pick(&[20, 100, 500]).copied().unwrap_or_default();
        Self {
            id: ClientId(number.into()),
            random,
            draws: Draws {
                cpus,
                resources: setup.resources,
                fails,
                hangs,
                fails_for_good,
                constants,
                keeps_constants,
                slow,
                continues,
                bursts,
            },
            cancels: setup.cancels,
            steps: setup.steps,
            sessions: Vec::new(),
            opening: false,
            next_request: 1,
            under_way: VecDeque::new(),
            bursts: Vec::new(),
            made: 0,
        }
    }

    /// How long it thinks, at most `most`.
    pub fn thinks(&mut self, most: u64) -> u64 {
        1 + self.random.below(most)
    }

    fn ask(&mut self, what: Question, session: Option<SessionId>, command: Command<Data>, truth: &mut Truth) {
        let request = self.next_request;
        self.next_request += 1;
        truth.asked.insert((self.id, request), Asked { what, session, answers: 0 });
        self.under_way.push_back((request, command));
        self.made += 1;
    }

    /// Does something at random.
    pub fn act(&mut self, truth: &mut Truth) {
        self.sessions.retain(|session| truth.sessions.get(&session.id).is_some_and(SessionFacts::is_open));
        if self.sessions.len() < SESSIONS_MAX && !self.opening && (self.sessions.is_empty() || self.random.chance(50)) {
            self.opening = true;
            return self.ask(Question::NewSession, None, Command::NewSession { name: "s".into() }, truth);
        }
        if self.sessions.is_empty() {
            return;
        }
        let place = self.random.below(self.sessions.len() as u64) as usize;
        let session = self.sessions[place].id;
        let Some(facts) = truth.sessions.get(&session).cloned() else { return };
        if self.random.chance(self.cancels) {
            return self.cancel(session, &facts, truth);
        }
        match self.random.below(20) {
            0..7 => self.submit(place, truth),
            7..9 => {
                let (tasks, objects) = self.items(&facts, 5);
                let what = Question::Wait { tasks: tasks.clone(), objects: objects.clone() };
                self.ask(what, Some(session), Command::Wait { session, tasks, objects }, truth);
            }
            9..11 => {
                let (tasks, objects) = self.items(&facts, 12);
                let what = Question::WaitSome { tasks: tasks.clone(), objects: objects.clone() };
                self.ask(what, Some(session), Command::WaitSome { session, tasks, objects }, truth);
            }
            11 => self.ask(Question::WaitAll, Some(session), Command::WaitAll { session }, truth),
            12..15 => {
                let kept = kept(&facts);
                if let Some(object) = self.random.pick(&kept).copied() {
                    self.fetch(place, object, truth);
                }
            }
            15 => {
                let kept = kept(&facts);
                let objects: Vec<u32> = kept.into_iter().filter(|_| self.random.chance(300)).collect();
                self.unkeep(session, objects, truth);
            }
            16 | 17 => self.forget(place, &facts, truth),
            18 => {
                let (tasks, _) = self.items(&facts, 8);
                if tasks.len() % 2 == 1 {
                    let command = Command::Explain { session, tasks: tasks.clone() };
                    return self.ask(Question::Explain { tasks }, Some(session), command, truth);
                }
                let command = Command::Info { session, tasks: tasks.clone(), objects: Vec::new() };
                self.ask(Question::Info { tasks }, Some(session), command, truth);
            }
            _ if self.random.chance(200) => self.close(place, truth),
            _ => self.ask(Question::Status, None, Command::Status, truth),
        }
    }

    /// Goes on submitting where it is in the middle of that.
    pub fn go_on(&mut self, truth: &mut Truth) {
        let Some(id) = self.bursts.pop() else { return };
        let Some(place) = self.sessions.iter().position(|session| session.id == id) else { return };
        if self.steps > 0 && self.sessions[place].finale == Finale::NotYet {
            self.steps -= 1;
            self.submit(place, truth);
        }
    }

    /// Tasks and objects that are not forgotten.
    fn items(&mut self, facts: &SessionFacts, most: u64) -> (Vec<u32>, Vec<u32>) {
        let tasks: Vec<u32> = (0..).zip(&facts.tasks).filter(|(_, task)| !task.forgotten).map(|(n, _)| n).collect();
        let objects: Vec<u32> =
            (0..).zip(&facts.objects).filter(|(_, object)| !object.forgotten && !object.gone).map(|(n, _)| n).collect();
        let (some, others) = (self.random.below(most), self.random.below(most));
        let tasks = (0..some).filter_map(|_| self.random.pick(&tasks).copied()).collect();
        let objects = (0..others).filter_map(|_| self.random.pick(&objects).copied()).collect();
        (tasks, objects)
    }

    fn submit(&mut self, place: usize, truth: &mut Truth) {
        let session = &mut self.sessions[place];
        let Some(facts) = truth.sessions.get(&session.id) else { return };
        if session.submitting.is_some() {
            return;
        }
        session.submitting = Some(session.kinds.len());
        let readable: Vec<u32> = kept(facts).into_iter().filter(|object| !is_cancelled(facts, *object)).collect();
        let first = facts.tasks.len() as u32;
        let drawn = draw(&mut self.random, &self.draws, &mut session.kinds, first, &facts.objects, &readable);
        let id = session.id;
        let what = Question::Submit { tasks: drawn.tasks, objects: drawn.objects, cpus: drawn.cpus };
        let command = Command::Submit { session: id, submission: Box::new(drawn.submission) };
        self.ask(what, Some(id), command, truth);
    }

    fn fetch(&mut self, place: usize, object: u32, truth: &mut Truth) {
        let session = self.sessions[place].id;
        self.sessions[place].fetches += 1;
        let direct = self.random.chance(500);
        self.ask(Question::Fetch { object }, Some(session), Command::Fetch { session, object, direct }, truth);
    }

    fn unkeep(&mut self, session: SessionId, objects: Vec<u32>, truth: &mut Truth) {
        let Some(facts) = truth.sessions.get_mut(&session).filter(|_| !objects.is_empty()) else { return };
        objects.iter().for_each(|object| facts.objects[*object as usize].kept = false);
        let what = Question::Unkeep { objects: objects.clone() };
        self.ask(what, Some(session), Command::Unkeep { session, objects }, truth);
    }

    fn cancel(&mut self, session: SessionId, facts: &SessionFacts, truth: &mut Truth) {
        let (tasks, _) = self.items(facts, 4);
        if tasks.is_empty() {
            return;
        }
        let waiting = self.random.chance(500);
        let command = match waiting {
            true => Command::CancelWaiting { session, tasks },
            false => Command::Cancel { session, tasks },
        };
        self.ask(Question::Cancel { waiting }, Some(session), command, truth);
    }

    /// Asks for a part of what is over to be forgotten.
    fn forget(&mut self, place: usize, facts: &SessionFacts, truth: &mut Truth) {
        // What an unanswered submit reads must stay.
        if self.sessions[place].submitting.is_some() {
            return;
        }
        let session = self.sessions[place].id;
        let rate = self.random.between(50, 1000);
        let over = |task: &crate::truth::TaskFacts| !task.forgotten && (task.ended > 0 || task.cancelled);
        let tasks: Vec<u32> = (0..)
            .zip(&facts.tasks)
            .filter(|(_, task)| over(task) && self.random.chance(rate))
            .map(|(number, _)| number)
            .collect();
        let constants: Vec<u32> = (0..)
            .zip(&facts.objects)
            .filter(|(_, object)| {
                !(object.forgotten || object.gone) && object.producer == NONE && self.random.chance(rate / 2)
            })
            .map(|(number, _)| number)
            .collect();
        let known = self.sessions[place].kinds.iter_mut().enumerate();
        let random = &mut self.random;
        let kinds: Vec<u32> = known
            .filter(|(_, kind)| !kind.forgotten && random.chance(100))
            .map(|(number, kind)| {
                kind.forgotten = true;
                number as u32
            })
            .collect();
        let mut kept = Vec::new();
        if let Some(facts) = truth.sessions.get_mut(&session) {
            let outputs = tasks.iter().flat_map(|task| facts.tasks[*task as usize].outputs.clone());
            for object in outputs.chain(constants.iter().copied()).collect::<Vec<u32>>() {
                facts.objects[object as usize].forgotten = true;
                if std::mem::take(&mut facts.objects[object as usize].kept) {
                    kept.push(object);
                }
            }
            tasks.iter().for_each(|task| facts.tasks[*task as usize].forgotten = true);
        }
        let what = Question::Forget { tasks: tasks.clone(), constants: constants.clone(), kinds: kinds.clone(), kept };
        self.ask(what, Some(session), Command::Forget { session, tasks, constants, kinds }, truth);
    }

    fn close(&mut self, place: usize, truth: &mut Truth) {
        let session = self.sessions.remove(place).id;
        self.ask(Question::Close, Some(session), Command::CloseSession { session }, truth);
    }

    /// Takes an answer.
    pub fn take(&mut self, asked: &Asked, reply: &Reply<Data>, truth: &mut Truth) {
        if let (Question::NewSession, Reply::Session(id)) = (&asked.what, reply) {
            self.opening = false;
            let finale = Finale::NotYet;
            self.sessions.push(Session { id: *id, kinds: Vec::new(), submitting: None, fetches: 0, finale });
        }
        let Some(id) = asked.session else { return };
        let Some(place) = self.sessions.iter().position(|session| session.id == id) else { return };
        let is_refused = matches!(reply, Reply::Error(_));
        match &asked.what {
            Question::Submit { .. } => {
                if !is_refused && self.random.chance(self.draws.bursts) {
                    self.bursts.push(id);
                }
                let session = &mut self.sessions[place];
                if let Some(before) = session.submitting.take()
                    && is_refused
                {
                    session.kinds.truncate(before);
                }
            }
            Question::Fetch { .. } => self.sessions[place].fetches -= 1,
            // Nothing of it was forgotten: some of it may be later.
            Question::Forget { tasks, constants, kinds, kept } if is_refused => {
                for kind in kinds {
                    self.sessions[place].kinds[*kind as usize].forgotten = false;
                }
                if let Some(facts) = truth.sessions.get_mut(&id) {
                    let outputs = tasks.iter().flat_map(|task| facts.tasks[*task as usize].outputs.clone());
                    for object in outputs.chain(constants.iter().copied()).collect::<Vec<u32>>() {
                        facts.objects[object as usize].forgotten = false;
                    }
                    tasks.iter().for_each(|task| facts.tasks[*task as usize].forgotten = false);
                    kept.iter().for_each(|object| facts.objects[*object as usize].kept = true);
                }
            }
            Question::WaitAll if self.sessions[place].finale == Finale::WaitsForAll => {
                self.sessions[place].finale = Finale::Fetches;
            }
            _ => {}
        }
    }

    /// Sees its sessions through; whether there is nothing left to be done but closing them.
    pub fn finish(&mut self, truth: &mut Truth) -> bool {
        self.sessions.retain(|session| truth.sessions.get(&session.id).is_some_and(SessionFacts::is_open));
        for place in 0..self.sessions.len() {
            let Session { id, submitting, fetches, finale, .. } = self.sessions[place];
            let Some(facts) = truth.sessions.get(&id).cloned() else { continue };
            match finale {
                Finale::NotYet if submitting.is_none() => {
                    self.sessions[place].finale = Finale::WaitsForAll;
                    self.ask(Question::WaitAll, Some(id), Command::WaitAll { session: id }, truth);
                }
                Finale::Fetches if fetches == 0 => {
                    let kept = kept(&facts);
                    if kept.is_empty() || self.random.chance(500) {
                        self.sessions[place].finale = Finale::Unkept;
                        self.unkeep(id, kept, truth);
                    } else {
                        let there: Vec<u32> =
                            kept.into_iter().filter(|object| !is_cancelled(&facts, *object)).collect();
                        there.into_iter().for_each(|object| self.fetch(place, object, truth));
                    }
                }
                _ => {}
            }
        }
        !self.opening && self.sessions.iter().all(|session| session.finale >= Finale::Unkept)
    }

    /// Closes what is open; whether there was something.
    pub fn close_all(&mut self, truth: &mut Truth) -> bool {
        let open: Vec<SessionId> = self.sessions.iter().map(|session| session.id).collect();
        for (place, id) in open.iter().enumerate() {
            self.sessions[place].finale = Finale::Closes;
            self.ask(Question::Close, Some(*id), Command::CloseSession { session: *id }, truth);
        }
        self.sessions.clear();
        !open.is_empty()
    }
}

fn kept(facts: &SessionFacts) -> Vec<u32> {
    (0..).zip(&facts.objects).filter(|(_, object)| object.kept).map(|(number, _)| number).collect()
}

fn is_cancelled(facts: &SessionFacts, object: u32) -> bool {
    match facts.objects[object as usize].producer {
        NONE => false,
        producer => facts.tasks[producer as usize].cancelled,
    }
}
