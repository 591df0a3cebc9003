//! Links between server and governors: messages arrive late and in order; connections are cut, cannot be made, and are given up.

use crate::checkers::bounds;
use crate::content::Data;
use crate::context::Context;
use crate::faults::UNREACHABLE_AFTER;
use crate::mutation::Mutation;
use crate::random::Random;
use crate::schedule::{End, Happening, Time};
use rain_protocol::peer::{BetweenGovernors, Message};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Messages from one end to another.
#[derive(Debug, Default)]
struct Link {
    messages: VecDeque<Message<Data>>,
    /// When the last of them arrives.
    last: Time,
}

/// All links of a run.
#[derive(Debug)]
pub struct Network {
    links: BTreeMap<(End, End), Link>,
    /// Until when the connection of two ends is down.
    down: BTreeMap<(End, End), Time>,
    /// Governors that cannot connect to others.
    blocked: BTreeSet<(u32, u32)>,
    /// Ends that are gone.
    gone: BTreeSet<End>,
    delays: Random,
}

fn pair(a: End, b: End) -> (End, End) {
    (a.min(b), a.max(b))
}

impl Network {
    /// Without links.
    pub fn new(seed: u64) -> Self {
        Self {
            links: BTreeMap::new(),
            down: BTreeMap::new(),
            blocked: BTreeSet::new(),
            gone: BTreeSet::new(),
            delays: Random::child(seed, "network"),
        }
    }

    /// Puts a message under way. Governors answer over the connection that they were asked on when they cannot make one.
    pub fn send(&mut self, from: End, to: End, message: Message<Data>, context: &mut Context) {
        if self.gone.contains(&to) || self.gone.contains(&from) {
            // Whoever speaks to a governor that is gone cannot connect.
            if let (End::Governor(governor), End::Governor(peer)) = (from, to)
                && !self.gone.contains(&from)
            {
                context.after(UNREACHABLE_AFTER, Happening::PeerLost { governor, peer });
            }
            return;
        }
        if let (End::Governor(governor), End::Governor(peer)) = (from, to)
            && self.blocked.contains(&(governor, peer))
        {
            let is_answer = matches!(message, Message::BetweenGovernors(BetweenGovernors::Object { .. }));
            let can_answer = !self.blocked.contains(&(peer, governor)) && !context.has(Mutation::DroppedReply);
            if !(is_answer && can_answer) {
                context.note(format_args!("{from:?} cannot reach {to:?}"));
                context.after(UNREACHABLE_AFTER, Happening::PeerLost { governor, peer });
                // An answer that goes nowhere: whoever has asked finds out that the connection is gone.
                if is_answer && !context.has(Mutation::DroppedReply) {
                    context.after(UNREACHABLE_AFTER, Happening::PeerLost { governor: peer, peer: governor });
                }
                return;
            }
        }
        let delay = 1 + self.delays.below(context.setup.delay);
        let link = self.links.entry((from, to)).or_default();
        link.last = link.last.max(context.now + delay);
        link.messages.push_back(message);
        let (at, messages) = (link.last, link.messages.len());
        context.schedule.add(at, Happening::Deliver { from, to });
        context.truth.most_under_way = context.truth.most_under_way.max(messages);
        let found = bounds::link(&context.truth, messages);
        context.check(found);
    }

    /// The next message of a link, if it arrives now.
    pub fn deliver(&mut self, from: End, to: End, context: &mut Context) -> Option<Message<Data>> {
        if let Some(until) = self.down.get(&pair(from, to)).copied() {
            if until > context.now {
                context.schedule.add(until, Happening::Deliver { from, to });
                return None;
            }
            self.down.remove(&pair(from, to));
        }
        let message = self.links.get_mut(&(from, to))?.messages.pop_front()?;
        (!self.gone.contains(&to)).then_some(message)
    }

    /// A connection is down until some time.
    pub fn cut(&mut self, a: End, b: End, until: Time) {
        self.down.insert(pair(a, b), until);
    }

    /// A governor cannot connect to another one from now on.
    pub fn block(&mut self, from: u32, to: u32) {
        self.blocked.insert((from, to));
    }

    /// Whether that is so.
    pub fn is_blocked(&self, from: u32, to: u32) -> bool {
        self.blocked.contains(&(from, to))
    }

    /// Whatever two ends have for each other is lost.
    pub fn drop_between(&mut self, a: End, b: End) {
        for ends in [(a, b), (b, a)] {
            if let Some(link) = self.links.get_mut(&ends) {
                link.messages.clear();
            }
        }
    }

    /// An end is gone: nothing reaches it; `deaf`: nor is anything heard that it has said.
    pub fn end(&mut self, end: End, deaf: bool) {
        self.gone.insert(end);
        if deaf {
            for (_, link) in self.links.iter_mut().filter(|((from, _), _)| *from == end) {
                link.messages.clear();
            }
        }
    }

    /// All connections work from now on.
    pub fn heal(&mut self) {
        self.down.clear();
        self.blocked.clear();
    }
}
