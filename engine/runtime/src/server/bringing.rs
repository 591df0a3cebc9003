//! Objects that governors elsewhere are asked for, because a client fetches them: a few at a time, so that a client that asks for
//! much and reads little does not fill the server's store.

use rain_model::id::GovernorId;
use rain_server::RequestId;
use std::collections::{BTreeSet, HashMap, VecDeque};

/// Bytes that are on their way to a client at the same time, through governor and server; one object may be larger.
const ON_THE_WAY_BYTES_MAX: u64 = 64 << 20;

/// A question to a governor that waits for its turn.
pub(super) struct Question<M> {
    pub(super) governor: GovernorId,
    pub(super) message: M,
    pub(super) request: RequestId,
    /// What it makes the governor send.
    pub(super) bytes: u64,
}

/// The questions for one client.
pub(super) struct Bringing<M> {
    /// Session, object and request of fetches that no question was asked for.
    wanted: BTreeSet<(u32, u32, RequestId)>,
    waiting: VecDeque<Question<M>>,
    /// Bytes by request.
    asked: HashMap<RequestId, u64>,
    asked_bytes: u64,
}

impl<M> Default for Bringing<M> {
    fn default() -> Self {
        Self { wanted: BTreeSet::new(), waiting: VecDeque::new(), asked: HashMap::new(), asked_bytes: 0 }
    }
}

impl<M> Bringing<M> {
    /// The client fetches an object.
    pub(super) fn want(&mut self, session: u32, object: u32, request: RequestId) {
        self.wanted.insert((session, object, request));
    }

    /// The fetch that a question for this object is for, if it is for one.
    pub(super) fn take_wanted(&mut self, session: u32, object: u32) -> Option<RequestId> {
        let of_object = (session, object, 0)..=(session, object, RequestId::MAX);
        let wanted = *self.wanted.range(of_object).next()?;
        self.wanted.remove(&wanted);
        Some(wanted.2)
    }

    pub(super) fn push(&mut self, question: Question<M>) {
        self.waiting.push_back(question);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The next question that may be asked while so many bytes wait to be written to the client.
    pub(super) fn next(&mut self, waiting_bytes: u64, is_open: impl Fn(RequestId) -> bool) -> Option<(GovernorId, M)> {
        let first = self.waiting.front()?;
        let on_the_way = self.asked_bytes.saturating_add(waiting_bytes);
        if on_the_way > 0 && on_the_way.saturating_add(first.bytes) > ON_THE_WAY_BYTES_MAX {
            return None;
        }
        let question = self.waiting.pop_front()?;
        // The request may have been answered with an error meanwhile, and its answer is dropped.
        if is_open(question.request) {
            self.asked_bytes += question.bytes;
            self.asked_bytes -= self.asked.insert(question.request, question.bytes).unwrap_or(0);
        }
        Some((question.governor, question.message))
    }

    /// A request was answered: what was asked for has come, or will not.
    pub(super) fn answered(&mut self, session: u32, object: u32, request: RequestId) {
        self.wanted.remove(&(session, object, request));
        self.asked_bytes -= self.asked.remove(&request).unwrap_or(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_for_the_fetches_of_their_object() {
        let mut bringing: Bringing<()> = Bringing::default();
        for (session, object, request) in [(1, 5, 10), (1, 5, 11), (2, 5, 12), (1, 6, 13)] {
            bringing.want(session, object, request);
        }
        bringing.answered(1, 6, 13);
        let of =
            [(1, 5), (1, 5), (1, 5), (1, 6), (2, 5)].map(|(session, object)| bringing.take_wanted(session, object));
        assert_eq!(of, [Some(10), Some(11), None, None, Some(12)]);
    }

    #[test]
    fn as_much_is_asked_for_as_may_be_on_its_way() {
        let mut bringing = Bringing::default();
        let ask = |request, bytes| Question { governor: GovernorId(1), message: request, request, bytes };
        for (request, mib) in [(1, 1000), (2, 1), (3, 40), (4, 40), (5, 0)] {
            bringing.push(ask(request, mib << 20));
        }
        let mut next = |waiting: u64, answered: &[RequestId]| {
            answered.iter().for_each(|request| bringing.answered(1, 1, *request));
            std::iter::from_fn(|| bringing.next(waiting, |request| request != 6).map(|(_, message)| message))
                .collect::<Vec<_>>()
        };
        // One object is asked for however large it is, and nothing beside it.
        assert_eq!(next(1, &[]), [0; 0]);
        assert_eq!(next(0, &[]), [1]);
        assert_eq!(next(0, &[]), [0; 0]);
        assert_eq!(next(0, &[1, 77]), [2, 3]);
        // What the client has not read counts.
        assert_eq!(next(60 << 20, &[3]), [0; 0]);
        assert_eq!(next(1 << 20, &[]), [4, 5]);
        assert_eq!(next(0, &[2, 4, 5]), [0; 0]);
        bringing.push(ask(6, 1 << 30));
        assert_eq!(bringing.next(0, |request| request != 6).map(|(_, message)| message), Some(6));
        assert_eq!((bringing.asked_bytes, bringing.asked.len()), (0, 0));
    }
}
