//! A whole run: one server, its governors and clients, in virtual time.

use crate::checkers::logged::Logged;
use crate::checkers::{answers, bounds, claims, cpus, once, replies, resources, rest, wakeups};
use crate::client::Client;
use crate::content::Data;
use crate::context::Context;
use crate::driving;
use crate::faults::{LOST_AFTER, UNREACHABLE_AFTER};
use crate::governor;
use crate::mutation::Mutation;
use crate::network::Network;
use crate::node::{Arrived, Node, since_beginning};
use crate::resources::{all, draw_supplies};
use crate::schedule::{End, Fault, Happening, MILLI, SECOND, Time};
use crate::truth::{Question, SessionFacts};
use crate::violation::Violation;
use crate::worker;
use rain_governor::Graph;
use rain_model::id::{ClientId, GovernorId, SessionId};
use rain_model::resources::Supplies;
use rain_protocol::peer::{FromGovernor, Message};
use rain_server::{Action, Command, Effects, Event, Reply, RequestId, Server};
use std::collections::{BTreeMap, BTreeSet};

/// See above.
pub struct World {
    pub context: Context,
    server: Server<Data>,
    nodes: BTreeMap<u32, Node>,
    network: Network,
    clients: BTreeMap<ClientId, Client>,
    next_governor: u32,
    seed: u64,
    /// Governors that are given up when the server hears of it.
    dying: BTreeSet<u32>,
    /// Whether sessions are being closed.
    closing: bool,
    /// What the server has told its event log.
    logged: Logged,
}

impl World {
    /// At the beginning of the run of a seed.
    pub fn new(seed: u64, context: Context) -> Self {
        let mut world = Self {
            context,
            server: Server::new(),
            nodes: BTreeMap::new(),
            network: Network::new(seed),
            clients: BTreeMap::new(),
            next_governor: 0,
            seed,
            dying: BTreeSet::new(),
            closing: false,
            logged: Logged::default(),
        };
        world.server.set_logged();
        if world.context.setup.recovers {
            world.server.set_recovers();
        }
        for cpus in world.context.setup.cpus.clone() {
            world.join(cpus);
        }
        for number in 0..world.context.setup.clients {
            let mut client = Client::new(seed, number, &world.context.setup);
            let (id, delay) = (client.id, client.thinks(20 * MILLI));
            world.clients.insert(id, client);
            world.handle(Event::ClientConnected { client: id, python: None });
            world.context.after(delay, Happening::ClientTurn { client: id });
        }
        for (at, fault) in world.context.setup.faults.clone() {
            world.context.schedule.add(at, Happening::Fault(fault));
        }
        world.context.schedule.add(world.context.setup.heals, Happening::Heal);
        world
    }

    /// Lets everything happen until the system is at rest, or a rule is broken.
    pub fn run(&mut self) {
        while self.context.violation.is_none() {
            match self.context.schedule.pop() {
                Some((at, happening)) => {
                    self.context.now = at;
                    self.happen(happening);
                    self.send_what_was_said();
                    self.check_step(happening);
                }
                None if !self.closing => {
                    self.check_rest();
                    self.close_sessions();
                }
                None => {
                    self.check_end();
                    return;
                }
            }
        }
    }

    fn check_step(&mut self, happening: Happening) {
        let (now, heals) = (self.context.now, self.context.setup.heals);
        self.context.check(rest::in_time(now, heals));
        let governor = match happening {
            Happening::GovernorTurn { governor }
            | Happening::WorkerTurn { governor, .. }
            | Happening::WorkEnds { governor, .. }
            | Happening::ExecutorSays { governor, .. }
            | Happening::LimitReached { governor, .. }
            | Happening::Interrupt { governor, .. } => governor,
            _ => return,
        };
        if let Some(node) = self.nodes.get(&governor) {
            self.context.check(claims::check(node));
            self.context.check(cpus::check(node));
            self.context.check(resources::check(node));
            self.context.check(wakeups::check(node));
            self.context.check(bounds::node(&self.context.truth, node));
        }
    }

    fn check_rest(&mut self) {
        self.context.note(format_args!("at rest"));
        self.context.check(answers::at_rest(&self.context.truth));
        self.context.check(once::at_rest(&self.context.truth, &self.nodes));
        self.context.check(rest::at_rest(&self.nodes));
        self.context.check(claims::at_rest(&self.context.truth, &self.nodes));
        self.context.check(resources::at_rest(&self.nodes, &self.server.status()));
        if self.context.violation.is_some() {
            self.note_what_waits();
        }
    }

    /// Notes what the server says of tasks that are not over.
    fn note_what_waits(&mut self) {
        let now = rain_model::time::Time::new(since_beginning(self.context.now));
        for (session, facts) in self.context.truth.sessions.clone() {
            let open =
                (0..).zip(&facts.tasks).filter(|(_, task)| task.ended == 0 && !task.cancelled && !task.forgotten);
            for (task, _) in open {
                let mut effects = Effects::new();
                let command = Command::Explain { session, tasks: vec![task] };
                let event = Event::Request { client: facts.client, request: RequestId::MAX, command };
                self.server.handle(now, event, &mut effects);
                effects.drain().for_each(|said| self.context.note(format_args!("{session} {task}: {said:?}")));
            }
        }
    }

    fn close_sessions(&mut self) {
        self.closing = true;
        for client in self.clients.values_mut() {
            client.close_all(&mut self.context.truth);
        }
        self.send_requests();
        if self.context.schedule.is_empty() {
            self.check_end();
        }
    }

    /// At the end nothing is left anywhere.
    fn check_end(&mut self) {
        self.context.check(answers::at_rest(&self.context.truth));
        self.context.check(rest::at_rest(&self.nodes));
        self.context.check(claims::at_rest(&self.context.truth, &self.nodes));
        self.context.check(resources::at_rest(&self.nodes, &self.server.status()));
    }

    fn join(&mut self, cpus: u32) {
        let supplies = match self.context.setup.resources {
            true => draw_supplies(self.seed, self.next_governor),
            false => Supplies::new(),
        };
        self.join_with(cpus, supplies);
    }

    fn join_with(&mut self, cpus: u32, supplies: Supplies) {
        let number = self.next_governor;
        self.next_governor += 1;
        let node = Node::new(number, cpus, supplies.clone(), &mut self.context);
        if self.context.has(Mutation::LostGang) {
            node.queues.withdraw_nothing();
        }
        self.nodes.insert(number, node);
        let message = Message::FromGovernor(FromGovernor::Joined { cpus, resources: supplies });
        self.context.outbox.push((End::Governor(number), End::Server, message));
        self.send_what_was_said();
    }

    /// The thread or the worker of a governor that something happens to, unless that is put off.
    fn node(&mut self, governor: u32, happening: Happening) -> Option<&mut Node> {
        let node = self.nodes.get_mut(&governor)?;
        let is_written = matches!(happening, Happening::WorkEnds { .. } | Happening::ExecutorSays { .. });
        let until = if is_written { node.stopped_until.max(node.stalled_until) } else { node.stopped_until };
        if until > self.context.now {
            self.context.schedule.add(until, happening);
            return None;
        }
        self.nodes.get_mut(&governor)
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Deliver { from, to } => self.deliver(from, to),
            Happening::GovernorTurn { governor } => {
                if self.node(governor, happening).is_some()
                    && let Some(node) = self.nodes.get_mut(&governor)
                {
                    governor::turn(node, &mut self.context);
                }
            }
            Happening::WorkerTurn { governor, worker } => {
                if self.node(governor, happening).is_some()
                    && let Some(node) = self.nodes.get_mut(&governor)
                {
                    worker::turn(node, worker, &mut self.context);
                }
            }
            Happening::WorkEnds { governor, worker, serial, timed_out } => {
                if let Some(node) = self.at_it(governor, worker, serial, happening) {
                    worker::work_ends(&mut *node.0, worker, timed_out, node.1);
                }
            }
            Happening::ExecutorSays { governor, worker, serial, said } => {
                if let Some(node) = self.at_it(governor, worker, serial, happening) {
                    driving::executor_says(&mut *node.0, worker, said, node.1);
                }
            }
            Happening::LimitReached { governor, worker, serial } => {
                if let Some(node) = self.at_it(governor, worker, serial, happening) {
                    driving::hear(&mut *node.0, worker, node.1);
                }
            }
            Happening::Interrupt { governor, worker } => {
                if self.node(governor, happening).is_some()
                    && let Some(node) = self.nodes.get_mut(&governor)
                {
                    worker::interrupt(node, worker, &mut self.context);
                }
            }
            Happening::GovernorLost { governor } => self.governor_lost(governor),
            Happening::PeerLost { governor, peer } => {
                if let Some(node) = self.nodes.get_mut(&governor) {
                    node.arrived.push_back(Arrived::PeerLost { peer });
                    node.ring(&mut self.context);
                }
            }
            Happening::ClientTurn { client } => self.client_turn(client),
            Happening::Request { client } => self.request(client),
            Happening::Fault(fault) => self.fault(fault),
            Happening::Heal => self.heal(),
        }
    }

    /// The governor of a worker that is still at what it began as `serial`.
    fn at_it(
        &mut self,
        governor: u32,
        worker: usize,
        serial: u64,
        happening: Happening,
    ) -> Option<(&mut Node, &mut Context)> {
        let is_at_it = self.nodes.get(&governor)?.workers[worker].serial == serial;
        if !is_at_it {
            return None;
        }
        self.node(governor, happening)?;
        Some((self.nodes.get_mut(&governor)?, &mut self.context))
    }

    fn deliver(&mut self, from: End, to: End) {
        let Some(message) = self.network.deliver(from, to, &mut self.context) else { return };
        match (from, to, message) {
            (End::Governor(governor), End::Server, Message::FromGovernor(message)) => {
                if let FromGovernor::Joined { cpus, .. } = &message {
                    self.context.truth.known_cpus.insert(governor, Some(*cpus));
                }
                self.context.note(format_args!("server hears from {governor}: {message:?}"));
                self.handle(Event::Governor { governor: GovernorId(governor), message });
            }
            (End::Server, End::Governor(to), Message::ToGovernor(message)) => self.arrive(to, Arrived::Server(message)),
            (End::Governor(from), End::Governor(to), Message::BetweenGovernors(message)) => {
                self.arrive(to, Arrived::Peer { from, message });
            }
            (from, to, message) => {
                let message = format!("{from:?} says to {to:?} what is not for it: {message:?}");
                self.context.broken(Violation::wrong("replies", message));
            }
        }
    }

    fn arrive(&mut self, governor: u32, arrived: Arrived) {
        if let Some(node) = self.nodes.get_mut(&governor) {
            node.arrived.push_back(arrived);
            node.ring(&mut self.context);
        }
    }

    fn send_what_was_said(&mut self) {
        for (from, to, message) in std::mem::take(&mut self.context.outbox) {
            self.network.send(from, to, message, &mut self.context);
        }
    }

    /// Tells the server something, and takes what it says.
    fn handle(&mut self, event: Event<Data>) {
        let mut effects = Effects::new();
        self.server.handle(rain_model::time::Time::new(since_beginning(self.context.now)), event, &mut effects);
        for entry in effects.drain_log() {
            if let Err(violation) = self.logged.take(&entry) {
                self.context.broken(violation);
            }
        }
        for action in effects.drain() {
            match action {
                Action::Send { governor, message } => {
                    self.context.outbox.push((End::Server, End::Governor(governor.0), message));
                }
                Action::Reply { client, request, reply } => self.reply(client, request, &reply),
                Action::StoreResult(_) | Action::Content { .. } => {
                    let message = format!("the server does what nobody has asked for: {action:?}");
                    self.context.broken(Violation::wrong("replies", message));
                }
            }
        }
        if self.server.has_more() {
            self.handle(Event::Continue);
        }
    }

    fn reply(&mut self, client: ClientId, request: RequestId, reply: &Reply<Data>) {
        self.context.note(format_args!("server answers {client} {request}: {reply:?}"));
        let asked = match answers::answered(&mut self.context.truth, client, request) {
            Ok(asked) => asked,
            Err(violation) => return self.context.broken(violation),
        };
        if let Reply::Session(id) = reply {
            let facts = SessionFacts {
                client,
                closed: false,
                failed: false,
                excuses: BTreeSet::new(),
                tasks: Vec::new(),
                objects: Vec::new(),
            };
            self.context.truth.sessions.insert(*id, facts);
        }
        let nodes = &self.nodes;
        let has_holder = |session: SessionId, object: u32, governors: &[GovernorId]| {
            // One that is gone, and whose end the server has not heard of, counts: the client then asks again.
            let has = |governor: &GovernorId| {
                nodes.get(&governor.0).is_none_or(|node| {
                    node.session(session.0).is_some_and(|session| session.graph.share(object).is_some())
                })
            };
            governors.iter().any(has)
        };
        let found = replies::check(&mut self.context.truth, &asked, reply, has_holder);
        self.context.check(found);
        if let Some(client) = self.clients.get_mut(&client) {
            client.take(&asked, reply, &mut self.context.truth);
            client.go_on(&mut self.context.truth);
            if self.context.healed && !self.closing {
                let delay = client.thinks(10 * MILLI);
                self.context.after(delay, Happening::ClientTurn { client: client.id });
            }
        }
        self.send_requests();
    }

    fn client_turn(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        if self.closing {
            return;
        }
        if self.context.healed {
            client.finish(&mut self.context.truth);
        } else if client.steps > 0 {
            client.steps -= 1;
            client.act(&mut self.context.truth);
            let delay = client.thinks(self.context.setup.think);
            self.context.after(delay, Happening::ClientTurn { client: id });
        }
        self.send_requests();
    }

    fn send_requests(&mut self) {
        for client in self.clients.values_mut() {
            for _ in 0..std::mem::take(&mut client.made) {
                // In their order, because there is one happening a request.
                self.context.after(50, Happening::Request { client: client.id });
            }
        }
    }

    fn request(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let Some((request, command)) = client.under_way.pop_front() else { return };
        let asked = self.context.truth.asked.get(&(id, request));
        let session = asked.and_then(|asked| asked.session);
        if asked.is_some_and(|asked| matches!(asked.what, Question::Close))
            && let Some(facts) = session.and_then(|session| self.context.truth.sessions.get_mut(&session))
        {
            facts.closed = true;
        }
        let what = asked.map(|asked| format!("{:?}", asked.what)).unwrap_or_default();
        self.context.note(format_args!("{id} asks {request} in {session:?}: {what}"));
        self.handle(Event::Request { client: id, request, command });
    }

    fn governor_lost(&mut self, governor: u32) {
        if !self.dying.remove(&governor) {
            return;
        }
        self.network.end(End::Governor(governor), true);
        self.context.note(format_args!("the server loses governor {governor}"));
        self.context.truth.known_cpus.insert(governor, None);
        self.excuse_loss("a governor was lost");
        self.context.truth.losses += 1;
        self.handle(Event::GovernorLost { governor: GovernorId(governor), why: "gone".to_owned() });
    }

    /// Sessions that do not recover may fail for this reason.
    fn excuse_loss(&mut self, why: &'static str) {
        if !self.context.setup.recovers {
            self.context.truth.excuse_all(why);
        }
    }

    /// The governor that a fault names, of those that are there.
    fn chosen(&self, number: u32) -> Option<u32> {
        let there: Vec<u32> = self.nodes.keys().copied().collect();
        let place = (number as usize).checked_rem(there.len())?;
        there.get(place).copied()
    }

    fn fault(&mut self, fault: Fault) {
        self.context.note(format_args!("{fault:?}"));
        let now = self.context.now;
        match fault {
            Fault::Cut { governor, lasts } => {
                let Some(governor) = self.chosen(governor) else { return };
                self.network.cut(End::Server, End::Governor(governor), now + lasts);
                if lasts >= LOST_AFTER {
                    self.end_governor(governor, LOST_AFTER);
                }
            }
            Fault::PeerCut { governors: (a, b), lasts } => {
                let (Some(a), Some(b)) = (self.chosen(a), self.chosen(b)) else { return };
                if a == b {
                    return;
                }
                self.network.cut(End::Governor(a), End::Governor(b), now + lasts);
                if lasts >= LOST_AFTER {
                    self.part(a, b);
                }
            }
            Fault::OneWay { from, to } => {
                let (Some(from), Some(to)) = (self.chosen(from), self.chosen(to)) else { return };
                if from != to {
                    self.excuse_loss("a governor cannot be reached");
                    self.block(from, to);
                }
            }
            Fault::Stop { governor, lasts } => self.change(governor, |node| node.stopped_until = now + lasts),
            Fault::Slow { governor, factor } => self.change(governor, |node| node.slowness = factor),
            Fault::DiskStall { governor, lasts } => self.change(governor, |node| node.stalled_until = now + lasts),
            Fault::DiskFull { governor, lasts } => self.change(governor, |node| node.full_until = now + lasts),
            Fault::Kill { governor } => {
                let delay = self.context.turns.below(8 * SECOND);
                if let Some(governor) = self.chosen(governor) {
                    self.end_governor(governor, delay);
                }
            }
            Fault::Join { cpus } => self.join(cpus),
            Fault::ClientVanishes { client } => {
                let client = ClientId(client.into());
                if self.clients.remove(&client).is_some() {
                    self.context.truth.vanished.insert(client);
                    for facts in self.context.truth.sessions.values_mut().filter(|facts| facts.client == client) {
                        facts.closed = true;
                    }
                    self.handle(Event::ClientLost { client });
                }
            }
        }
    }

    fn change(&mut self, governor: u32, change: impl FnOnce(&mut Node)) {
        if let Some(node) = self.chosen(governor).and_then(|governor| self.nodes.get_mut(&governor)) {
            change(node);
        }
    }

    /// Two governors lose each other for as long as there are faults.
    fn part(&mut self, a: u32, b: u32) {
        self.excuse_loss("a governor cannot be reached");
        self.network.drop_between(End::Governor(a), End::Governor(b));
        self.block(a, b);
        self.block(b, a);
        for (governor, peer) in [(a, b), (b, a)] {
            self.context.after(UNREACHABLE_AFTER, Happening::PeerLost { governor, peer });
        }
    }

    fn block(&mut self, from: u32, to: u32) {
        self.network.block(from, to);
        // What cannot be answered any more is found out by whoever asked.
        if self.network.is_blocked(to, from) {
            self.network.drop_between(End::Governor(from), End::Governor(to));
            for (governor, peer) in [(from, to), (to, from)] {
                self.context.after(UNREACHABLE_AFTER, Happening::PeerLost { governor, peer });
            }
        }
    }

    /// A governor's process ends; the server and its peers find out after a time.
    fn end_governor(&mut self, governor: u32, found_out: Time) {
        if self.nodes.remove(&governor).is_none() {
            return;
        }
        self.network.end(End::Governor(governor), false);
        self.dying.insert(governor);
        self.excuse_loss("a governor was lost");
        self.context.after(found_out, Happening::GovernorLost { governor });
        for other in self.nodes.keys().copied().collect::<Vec<u32>>() {
            let delay = self.context.turns.below(found_out + 1);
            self.context.after(delay, Happening::PeerLost { governor: other, peer: governor });
        }
    }

    fn heal(&mut self) {
        self.context.note(format_args!("everything heals"));
        self.context.healed = true;
        self.network.heal();
        for node in self.nodes.values_mut() {
            node.slowness = 1;
            node.stopped_until = 0;
            node.stalled_until = 0;
            node.full_until = 0;
        }
        let most = self.context.setup.cpus.iter().copied().max().unwrap_or(1);
        let everything = if self.context.setup.resources { all() } else { Supplies::new() };
        if !self.nodes.values().any(|node| node.cpus >= most && node.supplies == everything) {
            self.join_with(most, everything);
        }
        for client in self.clients.values().map(|client| client.id).collect::<Vec<_>>() {
            self.context.after(1, Happening::ClientTurn { client });
        }
    }
}
