//! Orders: what others than a session's client do to it. Each is carried out as a request of the session's client, whose reply goes to whoever
//! has given the order.

use rain_data::Object;
use rain_model::id::ClientId;
use rain_protocol::client::RequestError;
use rain_server::{Reply, RequestId};
use std::collections::HashMap;
use std::sync::Arc;

type OrderAnswer = Box<dyn FnOnce(Result<Vec<u32>, RequestError>) + Send>;

/// Orders that are not carried out yet. Their requests are numbered from above, clients number theirs from below.
#[derive(Default)]
pub(super) struct Orders {
    waiting: HashMap<(ClientId, RequestId), OrderAnswer>,
    given: RequestId,
}

impl Orders {
    /// Notes who is to be told of an order; the number that its request has.
    pub(super) fn add(&mut self, client: ClientId, answer: OrderAnswer) -> RequestId {
        let request = RequestId::MAX - self.given;
        self.given += 1;
        self.waiting.insert((client, request), answer);
        request
    }

    /// Passes on the reply to a request if it is that of an order, and gives it back otherwise.
    #[inline]
    pub(super) fn pass_on(
        &mut self,
        client: ClientId,
        request: RequestId,
        reply: Reply<Arc<Object>>,
    ) -> Option<Reply<Arc<Object>>> {
        if self.waiting.is_empty() {
            return Some(reply);
        }
        let Some(answer) = self.waiting.remove(&(client, request)) else { return Some(reply) };
        answer(match reply {
            Reply::Some { tasks, .. } => Ok(tasks),
            Reply::Error(error) => Err((*error).clone()),
            _ => Ok(Vec::new()),
        });
        None
    }

    /// A client is gone with its sessions, and gets no replies any more.
    pub(super) fn forget(&mut self, client: ClientId) {
        self.waiting.retain(|(of, _), _| *of != client);
    }
}
