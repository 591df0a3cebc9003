//! What the server's driver sends: answers to clients, and messages to governors.

use super::bringing::Question;
use super::client::Client;
use super::driver::ServerDriver;
use super::parts::Done;
use super::replies::{
    Answer, ElsewhereReply, Empty, ExplainReply, InfoReply, ObjectReply, OutputsReply, SomeReply, StatusReply,
};
use rain_data::Object;
use rain_model::graph::encode_column;
use rain_model::id::{ClientId, GovernorId};
use rain_protocol::client::{Fetch, ObjectInfo, RequestError, SessionRef, WatchStarted, error_frame, ok_frame};
use rain_protocol::peer::{Message, ToGovernor};
use rain_server::{Reply, RequestId};
use rain_transport::clients::Clients;
use rain_transport::{Peer, Transport};
use serde_bytes::Bytes;
use std::sync::Arc;
use std::time::Instant;

impl<C: Clients, T: Transport<Arc<Object>>> ServerDriver<C, T> {
    /// The state machine has answered a request, which may have been a fetch.
    pub(super) fn answered(&mut self, client: ClientId, request: RequestId) -> Option<Fetch> {
        let facts = self.clients.get_mut(&client)?;
        facts.unanswered = facts.unanswered.saturating_sub(1);
        let fetch = facts.fetches.remove(&request)?;
        if self.brings_contents {
            facts.bringing.answered(fetch.session, fetch.object, request);
        }
        Some(fetch)
    }

    /// Sends a message to a governor; a question for an object that a client fetches has to wait for its turn.
    pub(super) fn send(&mut self, now: Instant, governor: GovernorId, message: Message<Arc<Object>>) {
        self.log.hand_out(now, governor, &message, &self.machine);
        if self.brings_contents
            && let Message::ToGovernor(ToGovernor::Fetch { session, object, .. }) = &message
            && let Some(client) = self.sessions.get(&session.0)
            && let Some(facts) = self.clients.get_mut(client)
            && let Some(request) = facts.bringing.take_wanted(session.0, *object)
        {
            let bytes = self.machine.size_of(*session, *object);
            facts.bringing.push(Question { governor, message, request, bytes });
            self.bringing.insert(*client);
            return;
        }
        self.transport.send(Peer::Governor(governor), message);
    }

    /// Asks governors for what clients fetch, as far as these take what they have asked for before.
    pub(super) fn bring(&mut self) {
        self.bringing.retain(|client| {
            let Some(Client { bringing, fetches, .. }) = self.clients.get_mut(client) else { return false };
            let waiting = self.front.waiting_bytes(*client);
            while let Some((governor, message)) = bringing.next(waiting, |request| fetches.contains_key(&request)) {
                self.transport.send(Peer::Governor(governor), message);
            }
            !bringing.is_empty()
        });
    }

    pub(super) fn reply(&mut self, client: ClientId, id: u64, reply: Reply<Arc<Object>>, fetch: Option<Fetch>) {
        let frame = match reply {
            Reply::Done => ok_frame(id, &Empty {}),
            Reply::Watch { number } => ok_frame(id, &WatchStarted { watch: number }),
            Reply::Session(session) => {
                if let Some(facts) = self.clients.get_mut(&client) {
                    facts.sessions.insert(session.0);
                    self.sessions.insert(session.0, client);
                }
                ok_frame(id, &SessionRef { session: session.0 })
            }
            Reply::Some { tasks, objects } => {
                let (tasks, objects) = (encode_column(&tasks), encode_column(&objects));
                ok_frame(id, &SomeReply { tasks: Bytes::new(&tasks), objects: Bytes::new(&objects) })
            }
            Reply::Holders { info, governors } => {
                let places = governors.iter().filter_map(|governor| self.transport.place_of(*governor));
                let at = places.map(|place| (place.ip.map(|ip| ip.to_string()), place.port)).collect();
                ok_frame(id, &ElsewhereReply { info: &info, at })
            }
            Reply::Forgotten { session, objects } => {
                if self.brings_contents
                    && let Some(facts) = self.clients.get_mut(&client)
                {
                    objects.iter().for_each(|object| facts.fetched.forget(session.0, *object));
                }
                ok_frame(id, &Empty {})
            }
            Reply::Infos { tasks, objects } => ok_frame(id, &InfoReply { tasks, objects }),
            Reply::Outputs { outputs, count } => ok_frame(id, &OutputsReply::new(outputs, count)),
            Reply::Explanations(tasks) => ok_frame(id, &ExplainReply { tasks }),
            Reply::Status(server) => {
                ok_frame(id, &StatusReply::new(&self.facts, server, &self.machines, self.log.status()))
            }
            Reply::Error(error) => error_frame(id, &error),
            Reply::Object { info, content } => match fetch {
                Some(fetch) => return self.send_object(client, id, info, content, fetch),
                None => error_frame(id, &RequestError::request("not a fetch")),
            },
        };
        self.front.send(client, frame.into());
    }

    /// Answers a fetch; what takes long for that is done on another thread.
    pub(super) fn send_object(
        &mut self,
        client: ClientId,
        id: u64,
        info: ObjectInfo,
        object: Arc<Object>,
        fetch: Fetch,
    ) {
        let Some(facts) = self.clients.get_mut(&client) else { return };
        let reply = ObjectReply { id, info, object, fetch, local: facts.local };
        if reply.is_quick() {
            let answer = reply.answer(&self.store);
            return self.send_answer(client, fetch, answer);
        }
        if self.brings_contents {
            facts.fetched.hold(fetch.session, reply.info.clone(), reply.object.clone());
        }
        facts.in_background += 1;
        let store = self.store.clone();
        self.background.run(move || Done::Object { client, fetch, answer: reply.answer(&store) });
    }

    pub(super) fn send_answer(&mut self, client: ClientId, fetch: Fetch, answer: Answer) {
        if answer.is_all
            && let Some(facts) = self.clients.get_mut(&client)
        {
            facts.fetched.forget(fetch.session, fetch.object);
        }
        self.front.send(client, answer.frame);
    }
}
