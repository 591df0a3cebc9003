//! A server and governors, each with its state machine, whose messages arrive in random order between different pairs; the
//! pools are simulated by counting claims as the runtime does. Whatever the order: each task runs once, on its inputs, where
//! they are; nothing is sent twice or kept in the end.

use crate::{Harness, cases, submission};
use proptest::prelude::*;
use rain_governor::{Action, Asker, Event, Governor, To};
use rain_model::id::{GovernorId, NONE, ObjectIndex, SessionId, TaskIndex};
use rain_protocol::peer::{
    BetweenGovernors, Finished, Forget, FromGovernor, Message, ObjectReport, Run, TaskReport, TaskSet,
};
use rain_server::{Command, Event as ServerEvent, Reply};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Objects are reported with so many bytes: too many to come from their makers only.
const BYTES: u32 = 1 << 20;

/// A governor, and its pool in numbers.
#[derive(Default)]
struct Node {
    machine: Governor,
    claims: BTreeMap<ObjectIndex, i64>,
    there: BTreeSet<ObjectIndex>,
    /// Tasks that wait or are ready, with what they read and make.
    tasks: BTreeMap<TaskIndex, (Vec<ObjectIndex>, Vec<ObjectIndex>)>,
    cancelled: BTreeSet<TaskIndex>,
    /// Tasks and objects.
    forgotten: (BTreeSet<TaskIndex>, BTreeSet<ObjectIndex>),
    /// How often each object was sent to other governors.
    sent: BTreeMap<ObjectIndex, usize>,
}

impl Node {
    fn claim(&mut self, object: ObjectIndex) {
        *self.claims.entry(object).or_default() += 1;
    }

    fn release(&mut self, object: ObjectIndex) {
        let claims = self.claims.entry(object).or_default();
        assert!(*claims > 0, "object {object} is released more often than it was claimed");
        *claims -= 1;
        if *claims == 0 {
            self.there.remove(&object);
        }
    }

    fn supply(&mut self, object: ObjectIndex) {
        assert!(self.claims.get(&object).is_some_and(|claims| *claims > 0), "nobody has a claim on object {object}");
        assert!(self.there.insert(object), "object {object} is supplied twice");
        self.release(object);
    }

    /// As `link` of the runtime.
    fn link(&mut self, run: &Run<u64>) {
        run.constants.iter().for_each(|(object, _)| self.claim(*object));
        for input in &run.remote {
            self.claim(input.object);
            self.claim(input.object);
        }
        run.pins.iter().for_each(|object| self.claim(*object));
        let tasks: Vec<TaskIndex> = match &run.tasks {
            TaskSet::All => run.batch.tasks().collect(),
            TaskSet::Some(tasks) => tasks.clone(),
        };
        for task in tasks {
            assert!(!self.forgotten.0.contains(&task), "forgotten task {task} is to run");
            let (inputs, outputs) = (run.batch.inputs(task).to_vec(), run.batch.outputs(task).collect::<Vec<_>>());
            outputs.iter().chain(&inputs).for_each(|object| self.claim(*object));
            assert!(self.tasks.insert(task, (inputs, outputs)).is_none(), "task {task} is sent twice");
        }
        run.constants.iter().for_each(|(object, _)| self.supply(*object));
    }

    /// As the runtime does: a task that waits lets go of what it claims, one that is ready does so when its turn comes.
    fn cancel(&mut self, tasks: Vec<TaskIndex>) {
        let ready = self.ready();
        for task in tasks {
            if !ready.contains(&task)
                && let Some((inputs, outputs)) = self.tasks.remove(&task)
            {
                inputs.iter().chain(&outputs).for_each(|object| self.release(*object));
            }
            self.cancelled.insert(task);
        }
    }

    /// What is forgotten must not be named again, and all of it be given up at some time.
    fn forget(&mut self, forget: &Forget) {
        for task in &forget.tasks {
            let is_over = !self.tasks.contains_key(task) || self.cancelled.contains(task);
            assert!(is_over, "task {task} is forgotten before its time");
        }
        assert!(forget.tasks.iter().all(|task| self.forgotten.0.insert(*task)), "{forget:?} names a task twice");
        assert!(
            forget.objects.iter().all(|object| self.forgotten.1.insert(*object)),
            "{forget:?} names an object twice"
        );
    }

    fn ready(&self) -> Vec<TaskIndex> {
        let there = |inputs: &[ObjectIndex]| inputs.iter().all(|object| self.there.contains(object));
        self.tasks.iter().filter(|(_, (inputs, _))| there(inputs)).map(|(task, _)| *task).collect()
    }
}

/// One end of a queue of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Server,
    Governor(u32),
}

pub struct World {
    pub h: Harness,
    session: SessionId,
    nodes: Vec<Node>,
    /// Messages under way between two ends arrive in their order.
    queues: BTreeMap<(End, End), VecDeque<Message<u64>>>,
    pub ran: BTreeMap<TaskIndex, u32>,
    /// Where each object was made, or brought by the server.
    made: BTreeMap<ObjectIndex, u32>,
    /// Tasks that were given back.
    given_back: usize,
    forgotten_tasks: BTreeSet<TaskIndex>,
    forgotten_objects: BTreeSet<ObjectIndex>,
    /// Inputs that governors said they could not get.
    lost: Vec<String>,
    /// Whether governors that have not made an object may fail to pass it on.
    unreliable: bool,
}

impl World {
    pub fn new(cpus: &[u32]) -> Self {
        let mut h = Harness::new(cpus);
        let session = h.new_session();
        let nodes = cpus.iter().map(|_| Node::default()).collect();
        let (queues, ran, made) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self {
            h,
            session,
            nodes,
            queues,
            ran,
            made,
            given_back: 0,
            forgotten_tasks: BTreeSet::new(),
            forgotten_objects: BTreeSet::new(),
            lost: Vec::new(),
            unreliable: false,
        }
    }

    /// Forgets constants and those of these tasks that are not forgotten.
    fn forget(&mut self, constants: Vec<ObjectIndex>, tasks: Vec<TaskIndex>) {
        let constants = constants.into_iter().filter(|object| !self.forgotten_objects.contains(object)).collect();
        let tasks: Vec<TaskIndex> = tasks.into_iter().filter(|task| !self.forgotten_tasks.contains(task)).collect();
        let command = Command::Forget { session: self.session, tasks: tasks.clone(), constants, kinds: Vec::new() };
        let request = self.h.request(command);
        match self.h.take_reply(request) {
            Some(Reply::Forgotten { objects, .. }) => self.forgotten_objects.extend(objects),
            other => panic!("{other:?}"),
        }
        self.forgotten_tasks.extend(tasks);
        self.take_server_messages();
    }

    /// Asks for some tasks to be forgotten; all of them, as far as the server knows them to be over, are.
    fn forget_some(&mut self, draws: &mut impl Iterator<Item = usize>, count: u32) {
        let session = self.session;
        for task in (0..count).filter(|_| draws.next().is_some_and(|draw| draw.is_multiple_of(3))) {
            let info = self.h.request(Command::Info { session, tasks: vec![task], objects: vec![] });
            let is_over = match self.h.take_reply(info) {
                Some(Reply::Infos { tasks, .. }) => ["finished", "cancelled"].contains(&tasks[0].state.as_str()),
                Some(Reply::Error(error)) => {
                    assert!(error.message.contains("was forgotten") && self.forgotten_tasks.contains(&task));
                    continue;
                }
                other => panic!("{other:?}"),
            };
            if is_over {
                self.forget(Vec::new(), vec![task]);
            } else {
                let forget = Command::Forget { session, tasks: vec![task], constants: vec![], kinds: vec![] };
                assert!(self.h.refused(forget).contains("neither finished nor cancelled"));
            }
        }
    }

    fn send(&mut self, from: End, to: End, message: Message<u64>) {
        self.queues.entry((from, to)).or_default().push_back(message);
    }

    /// Puts what the server has said under way.
    pub fn take_server_messages(&mut self) {
        for (governor, message) in self.h.take_messages() {
            self.send(End::Server, End::Governor(governor), Message::ToGovernor(message));
        }
    }

    fn handle(&mut self, number: u32, event: Event<u64>, draw: usize) {
        let mut actions = Vec::new();
        self.nodes[number as usize].machine.handle(event, &mut actions);
        for action in actions {
            self.carry_out(number, action, draw);
        }
    }

    fn carry_out(&mut self, number: u32, action: Action<u64>, draw: usize) {
        let me = End::Governor(number);
        let node = &mut self.nodes[number as usize];
        match action {
            Action::Send { to: To::Server, message } => {
                if let Message::FromGovernor(FromGovernor::InputLost { object, why, .. }) = &message {
                    self.lost.push(format!("{object} on {number}: {why}"));
                }
                self.send(me, End::Server, message);
            }
            Action::Send { to: To::Governor(to), message } => {
                if let Message::BetweenGovernors(BetweenGovernors::Object { object, content: Ok(_), .. }) = &message {
                    *node.sent.entry(*object).or_default() += 1;
                }
                self.send(me, End::Governor(to.0), message);
            }
            Action::TakeBack { session, count } => {
                let ready = node.ready().into_iter().filter(|task| !node.cancelled.contains(task));
                let tasks: Vec<TaskIndex> = ready.take(count as usize).collect();
                // Their claims stay.
                tasks.iter().for_each(|task| _ = node.tasks.remove(task));
                self.given_back += tasks.len();
                self.handle(number, Event::TakenBack { session, tasks }, draw);
            }
            Action::CloseSession(_) => panic!("the session has failed, with lost inputs {:?}", self.lost),
            Action::OpenSession(_) => {}
            Action::Link(run) => {
                node.link(&run);
                self.made.extend(run.constants.iter().map(|(object, _)| (*object, number)));
            }
            Action::Supply { object, content, .. } => {
                assert_eq!(content, u64::from(object), "the content of another object");
                node.supply(object);
            }
            Action::Release { objects, .. } => objects.iter().for_each(|object| node.release(*object)),
            Action::CancelTasks { tasks, .. } => node.cancel(tasks),
            Action::Forget(forget) => node.forget(&forget),
            Action::DropConfigs { .. } => {}
            Action::CancelWaiting { session, ticket, mut tasks } => {
                tasks.retain(|task| self.ran.get(task) != Some(&number));
                node.cancel(tasks.clone());
                self.handle(number, Event::CancelledWaiting { session, ticket, tasks }, draw);
            }
            Action::SendObject { session, object, to: Asker::Governor(asker) } if !node.there.contains(&object) => {
                self.handle(number, Event::NotFound { session, object, asker }, draw);
            }
            Action::SendObject { session, object, to: Asker::Governor(to) | Asker::LateGovernor(to) } => {
                let is_maker = self.made.get(&object) == Some(&number);
                let fails = self.unreliable && !is_maker && draw.is_multiple_of(3);
                let content = if node.there.contains(&object) && !fails {
                    *node.sent.entry(object).or_default() += 1;
                    Ok(u64::from(object))
                } else {
                    Err("not there".to_owned())
                };
                let message = BetweenGovernors::Object { session, object, content };
                self.send(me, End::Governor(to.0), Message::BetweenGovernors(message));
            }
            other => panic!("unexpected {other:?}"),
        }
    }

    /// Lets one thing happen; false when nothing can.
    pub fn step(&mut self, draw: usize) -> bool {
        let queues: Vec<(End, End)> =
            self.queues.iter().filter(|(_, queue)| !queue.is_empty()).map(|(ends, _)| *ends).collect();
        let ready: Vec<(u32, TaskIndex)> = (0..)
            .zip(&self.nodes)
            .flat_map(|(number, node)| node.ready().into_iter().map(move |task| (number, task)))
            .collect();
        let choices = queues.len() + ready.len();
        if choices == 0 {
            return false;
        }
        match draw % choices {
            choice if choice < queues.len() => self.deliver(queues[choice], draw / choices),
            choice => self.run(ready[choice - queues.len()]),
        }
        true
    }

    fn deliver(&mut self, ends: (End, End), draw: usize) {
        let Some(message) = self.queues.get_mut(&ends).and_then(VecDeque::pop_front) else { return };
        match (ends, message) {
            ((End::Server, End::Governor(to)), Message::ToGovernor(message)) => {
                self.handle(to, Event::Server(message), draw);
            }
            ((End::Governor(from), End::Server), Message::FromGovernor(message)) => {
                self.h.handle(ServerEvent::Governor { governor: GovernorId(from), message });
                self.take_server_messages();
            }
            ((End::Governor(from), End::Governor(to)), Message::BetweenGovernors(message)) => {
                self.handle(to, Event::Peer { from: GovernorId(from), message }, draw);
            }
            (ends, message) => panic!("unexpected on {ends:?}: {message:?}"),
        }
    }

    fn run(&mut self, (number, task): (u32, TaskIndex)) {
        let node = &mut self.nodes[number as usize];
        let Some((inputs, outputs)) = node.tasks.remove(&task) else { return };
        if node.cancelled.contains(&task) {
            inputs.iter().chain(&outputs).for_each(|object| node.release(*object));
            return;
        }
        assert_eq!(self.ran.insert(task, number), None, "task {task} runs twice");
        for object in &outputs {
            self.made.insert(*object, number);
            node.supply(*object);
        }
        inputs.iter().for_each(|object| node.release(*object));
        let tasks = vec![TaskReport { task, duration: 0.5, start: 1.0 }];
        let objects = outputs.iter().map(|object| ObjectReport { object: *object, size: BYTES }).collect();
        let finished = Finished { session: self.session.0, tasks, objects, ..Finished::default() };
        self.handle(number, Event::Finished(finished), 0);
    }

    /// Lets everything happen that can.
    pub fn settle(&mut self, draws: &mut dyn Iterator<Item = usize>) {
        self.take_server_messages();
        while self.step(draws.next().unwrap_or(0)) {}
        self.assert_nobody_is_stuck();
    }

    /// Lets up to `at_most` things happen.
    fn steps(&mut self, draws: &mut impl Iterator<Item = usize>, at_most: usize) {
        for _ in 0..draws.next().unwrap_or(0) % at_most {
            self.step(draws.next().unwrap_or(0));
        }
    }

    /// Delivers all messages; whether there is a task that can run.
    fn deliver_all(&mut self, draws: &mut impl Iterator<Item = usize>) -> bool {
        loop {
            let waiting = self.queues.iter().find(|(_, queue)| !queue.is_empty()).map(|(ends, _)| *ends);
            let Some(ends) = waiting else { break };
            self.deliver(ends, draws.next().unwrap_or(0));
        }
        self.nodes.iter().any(|node| !node.ready().is_empty())
    }

    /// Another governor comes.
    fn join(&mut self, cpus: u32) {
        self.h.governor(self.nodes.len() as u32, FromGovernor::Joined { cpus, resources: Default::default() });
        self.nodes.push(Node::default());
        self.take_server_messages();
    }

    fn assert_nobody_is_stuck(&self) {
        let stuck: Vec<_> = self.nodes.iter().flat_map(|node| node.tasks.keys()).collect();
        assert!(stuck.is_empty(), "tasks {stuck:?} can never run");
    }

    /// What is claimed anywhere.
    fn claimed(&self) -> Vec<(u32, ObjectIndex)> {
        let claimed = |node: &Node| node.claims.iter().filter(|(_, n)| **n > 0).map(|(o, _)| *o).collect::<Vec<_>>();
        (0..).zip(&self.nodes).flat_map(|(n, node)| claimed(node).into_iter().map(move |object| (n, object))).collect()
    }
}

/// Pseudo-random numbers from a seed, so that a case needs few draws of proptest's.
pub fn random(mut seed: u64) -> impl Iterator<Item = usize> {
    std::iter::repeat_with(move || {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 33) as usize
    })
}

#[test]
fn a_large_object_is_passed_on_by_those_who_have_it() {
    let mut w = World::new(&[1; 12]);
    let session = w.session;
    let mut tasks: Vec<(&[u32], u32)> = vec![(&[], 0)];
    tasks.extend((1..40).map(|_| (&[0][..], NONE)));
    w.h.done(Command::Submit { session, submission: submission(&tasks, &[], &[]) });
    let all = w.h.request(Command::WaitAll { session });
    // What the server says comes first, so that everybody knows of a copy before being asked for it.
    w.settle(&mut std::iter::empty());
    assert!(matches!(w.h.take_reply(all), Some(Reply::Done)));
    let copies: Vec<usize> = w.nodes.iter().filter_map(|node| node.sent.get(&0)).copied().collect();
    assert_eq!(copies.iter().sum::<usize>(), 11, "each of the others has got it once");
    assert!(copies.iter().max() <= Some(&2) && copies.len() >= 6, "{copies:?}");
    assert_eq!(w.claimed(), []);
}

#[test]
fn late_governors_are_fed_with_tasks_that_have_not_begun() {
    let mut w = World::new(&[1]);
    let session = w.session;
    // Makers, and readers of several of them each.
    let inputs: Vec<Vec<u32>> = (0..60).map(|n| if n < 40 { vec![] } else { vec![n - 40, n - 30, n - 20] }).collect();
    let tasks: Vec<(&[u32], u32)> = inputs.iter().map(Vec::as_slice).zip(0..).collect();
    w.h.done(Command::Submit { session, submission: submission(&tasks, &[], &[59]) });
    let all = w.h.request(Command::WaitAll { session });
    let mut draws = random(5);
    w.take_server_messages();
    w.steps(&mut draws, 10);
    (0..3).for_each(|_| w.join(1));
    // Tasks take longer than messages.
    while w.deliver_all(&mut draws) {
        let busy: Vec<u32> = (0..4).filter(|number| !w.nodes[*number as usize].ready().is_empty()).collect();
        if let Some(number) = busy.get(draws.next().unwrap_or(0) % busy.len().max(1)) {
            let first = w.nodes[*number as usize].ready()[0];
            w.run((*number, first));
        }
    }
    w.assert_nobody_is_stuck();
    assert!(matches!(w.h.take_reply(all), Some(Reply::Done)));
    assert!(w.given_back >= 20, "only {} were given back", w.given_back);
    let used: BTreeSet<u32> = w.ran.values().copied().collect();
    assert_eq!(used, BTreeSet::from([0, 1, 2, 3]));
    w.h.done(Command::Unkeep { session, objects: vec![59] });
    w.settle(&mut draws);
    assert_eq!(w.claimed(), []);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(300), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_task_runs_once_whatever_the_order_of_messages(
        shape in proptest::collection::vec((proptest::collection::vec(any::<prop::sample::Index>(), 0..4), any::<bool>()), 1..60),
        second_submit in any::<prop::sample::Index>(),
        constants in 0u32..3,
        kept in proptest::collection::vec(any::<bool>(), 64),
        cpus in proptest::collection::vec(1u32..3, 1..6),
        at_first in 0usize..6,
        cancels in proptest::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..4),
        forgets in 0usize..4,
        unreliable in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let (first, late) = cpus.split_at(at_first.min(cpus.len()));
        let mut w = World::new(first);
        w.unreliable = unreliable;
        let session = w.session;
        let mut draws = random(seed);
        // Two submits: what the second reads of the first is kept.
        let split = second_submit.index(shape.len());
        let mut objects = constants;
        let mut tasks: Vec<(Vec<u32>, u32)> = Vec::new();
        let mut readable: Vec<u32> = (0..objects).collect();
        let mut objects_at_split = 0;
        for (number, (reads, makes)) in shape.iter().enumerate() {
            if number == split {
                readable.retain(|object| kept[*object as usize]);
                objects_at_split = objects;
            }
            let inputs = reads.iter().filter(|_| !readable.is_empty()).map(|r| readable[r.index(readable.len())]);
            tasks.push((inputs.collect(), if *makes { objects } else { NONE }));
            if *makes {
                readable.push(objects);
                objects += 1;
            }
        }
        let tasks: Vec<(&[u32], u32)> = tasks.iter().map(|(inputs, output)| (inputs.as_slice(), *output)).collect();
        let constants: Vec<u32> = (0..constants).collect();
        let keep: Vec<u32> = (0..objects).filter(|object| kept[*object as usize]).collect();
        let (keep_first, keep_second) = keep.split_at(keep.partition_point(|object| *object < objects_at_split));
        w.h.done(Command::Submit { session, submission: submission(&tasks[..split], &constants, keep_first) });
        w.take_server_messages();
        w.steps(&mut draws, 20);
        let (joined_before, joined_after) = late.split_at(late.len() / 2);
        joined_before.iter().for_each(|cpus| w.join(*cpus));
        w.steps(&mut draws, 20);
        w.h.done(Command::Submit { session, submission: submission(&tasks[split..], &[], keep_second) });
        w.take_server_messages();
        w.steps(&mut draws, 20);
        joined_after.iter().for_each(|cpus| w.join(*cpus));
        let mut unbegun = Vec::new();
        let mut cancelled: BTreeSet<u32> = BTreeSet::new();
        for (cancel, waiting) in &cancels {
            w.steps(&mut draws, 40);
            let chosen = vec![cancel.index(tasks.len()) as u32];
            let command = match waiting {
                true => Command::CancelWaiting { session, tasks: chosen },
                false => Command::Cancel { session, tasks: chosen },
            };
            let request = w.h.request(command);
            match w.h.take_reply(request) {
                Some(Reply::Some { tasks, .. }) => cancelled.extend(tasks),
                Some(Reply::Error(error)) if error.message.contains("was forgotten") => {}
                None if *waiting => unbegun.push(request),
                other => prop_assert!(false, "not answered at once: {:?}", other),
            }
            w.take_server_messages();
            for _ in 0..forgets {
                w.steps(&mut draws, 20);
                w.forget_some(&mut draws, tasks.len() as u32);
            }
        }
        let all = w.h.request(Command::WaitAll { session });
        w.take_server_messages();
        while w.step(draws.next().unwrap_or(0)) {}
        w.assert_nobody_is_stuck();
        if cancels.is_empty() {
            prop_assert_eq!(w.ran.len(), tasks.len());
        }
        for request in unbegun {
            match w.h.take_reply(request) {
                Some(Reply::Some { tasks, .. }) => {
                    prop_assert!(tasks.iter().all(|task| !w.ran.contains_key(task)), "{:?} ran", tasks);
                    cancelled.extend(tasks);
                }
                other => prop_assert!(false, "not answered: {:?}", other),
            }
        }
        for task in 0..tasks.len() as u32 {
            prop_assert!(cancelled.contains(&task) || w.ran.contains_key(&task), "task {} is lost", task);
        }
        match w.h.take_reply(all) {
            Some(Reply::Done) => {}
            other => prop_assert!(false, "not everything is over: {:?}", other),
        }
        let keep: Vec<u32> = keep.into_iter().filter(|object| !w.forgotten_objects.contains(object)).collect();
        if !keep.is_empty() {
            let (unkept, forgotten) = keep.split_at(keep.len() / 2);
            w.h.done(Command::Unkeep { session, objects: unkept.to_vec() });
            w.forget(forgotten.iter().copied().filter(|object| *object < constants.len() as u32).collect(), Vec::new());
        }
        w.forget(Vec::new(), (0..tasks.len() as u32).collect());
        w.take_server_messages();
        while w.step(0) {}
        prop_assert_eq!(w.claimed(), []);
        w.h.assert_nothing_left();
    }
}
