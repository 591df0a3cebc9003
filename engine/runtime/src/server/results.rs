//! Results in groups: a client asks for the contents of many objects with one request, and is told of those that are finished together.

use super::client::UNANSWERED_MAX;
use super::driver::ServerDriver;
use super::group::{Group, part};
use super::parts::Done;
use super::requests::result_command;
use crate::content::ObjectContent;
use rain_data::{INLINE_BYTES_MAX, Object};
use rain_model::graph::{DataType, decode_column};
use rain_model::id::ClientId;
use rain_protocol::client::{Fetch, RequestError, Results, ResultsReply, error_frame, ok_frame, reply_frame, too_long};
use rain_server::{Effects, Event, Reply};
use rain_transport::Transport;
use rain_transport::clients::Clients;
use rain_transport::content::Content;
use std::io;
use std::sync::Arc;
use std::time::Instant;

/// Content above this size is for fetches, bytes.
const CONTENT_BYTES_MAX: u64 = 256 << 10;

impl<C: Clients, T: Transport<Arc<Object>>> ServerDriver<C, T> {
    /// A client wants the contents of many objects.
    pub(super) fn ask_for_results(&mut self, client: ClientId, id: u64, wanted: &Results) {
        let objects = match self.begin_group(client, id, wanted) {
            Ok(objects) => objects,
            Err(error) => return self.front.send(client, error_frame(id, &error).into()),
        };
        if objects.is_empty() {
            return self.front.send(client, ok_frame(id, &ResultsReply::default()).into());
        }
        let (now, mut effects) = (Instant::now(), Effects::new());
        for object in objects {
            let Some(facts) = self.clients.get_mut(&client) else { return };
            let (session, request) = (wanted.session, part(id, object));
            let fetch = Fetch { session, object, map: false, offset: 0, limit: None, direct: false };
            facts.fetches.insert(request, fetch);
            facts.unanswered += 1;
            if self.brings_contents {
                facts.bringing.want(session, object, request);
            }
            let command = result_command(session, object);
            self.handle_at(now, Event::Request { client, request, command }, &mut effects);
        }
    }

    /// Checks a request for results; returns the numbers of the objects, each once.
    fn begin_group(&mut self, client: ClientId, id: u64, wanted: &Results) -> Result<Vec<u32>, RequestError> {
        let Some(facts) = self.clients.get_mut(&client) else { return Ok(Vec::new()) };
        let mut objects: Vec<u32> =
            decode_column(&wanted.objects).map_err(|error| RequestError::request(error.to_string()))?;
        objects.sort_unstable();
        objects.dedup();
        if facts.unanswered.saturating_add(objects.len()) > UNANSWERED_MAX {
            return Err(RequestError::request(format!("more than {UNANSWERED_MAX} requests and results would wait")));
        }
        if facts.groups.contains_key(&id) {
            return Err(RequestError::request(format!("request {id} for results is not answered yet")));
        }
        if !objects.is_empty() {
            facts.groups.insert(id, Group::of(objects.len()));
        }
        Ok(objects)
    }

    /// The machine has answered for an object of a group.
    pub(super) fn take_result(
        &mut self,
        client: ClientId,
        group: u64,
        object: u32,
        reply: Reply<Arc<Object>>,
        fetch: Option<Fetch>,
    ) {
        match reply {
            Reply::Error(error) => self.add_result(client, group, |group| group.add_error(object, &error)),
            Reply::Object { content, .. } if content.data_type() == DataType::Blob => {
                if let Some(bytes) = content.inline_bytes().filter(|bytes| bytes.len() <= INLINE_BYTES_MAX) {
                    let bytes = bytes.to_vec();
                    self.forget_fetched(client, fetch);
                    return self.add_result(client, group, |group| group.add_content(object, bytes));
                }
                let Some(facts) = self.clients.get_mut(&client) else { return };
                if !self.brings_contents || content.size() > CONTENT_BYTES_MAX {
                    return self.add_result(client, group, |group| group.large.push(object));
                }
                // It has come from elsewhere, and would have to come again.
                facts.in_background += 1;
                self.background.run(move || Done::Result { client, group, object, content: read(&content) });
            }
            _ => self.add_result(client, group, |group| group.large.push(object)),
        }
    }

    /// Content for a group was read.
    pub(super) fn take_read_result(&mut self, client: ClientId, group: u64, object: u32, content: io::Result<Vec<u8>>) {
        self.add_result(client, group, |group| match content {
            Ok(content) => group.add_content(object, content),
            Err(error) => {
                let why = format!("object {object} cannot be read: {error}");
                group.add_error(object, &RequestError::request(why));
            }
        });
    }

    fn forget_fetched(&mut self, client: ClientId, fetch: Option<Fetch>) {
        if self.brings_contents
            && let (Some(fetch), Some(facts)) = (fetch, self.clients.get_mut(&client))
        {
            facts.fetched.forget(fetch.session, fetch.object);
        }
    }

    fn add_result(&mut self, client: ClientId, id: u64, add: impl FnOnce(&mut Group)) {
        let Some(group) = self.clients.get_mut(&client).and_then(|facts| facts.groups.get_mut(&id)) else { return };
        group.open = group.open.saturating_sub(1);
        add(group);
        if group.is_full() {
            self.told.remove(&(client, id));
            self.tell_group(client, id);
        } else {
            self.told.insert((client, id));
        }
    }

    /// Tells clients of all results that there are.
    pub(super) fn tell_results(&mut self) {
        while let Some((client, id)) = self.told.pop_first() {
            self.tell_group(client, id);
        }
    }

    fn tell_group(&mut self, client: ClientId, id: u64) {
        let Some(facts) = self.clients.get_mut(&client) else { return };
        let Some(group) = facts.groups.get_mut(&id) else { return };
        let reply = group.take_reply();
        let is_last = group.open == 0;
        if is_last {
            facts.groups.remove(&id);
        }
        let frame = reply_frame(if is_last { "ok" } else { "part" }, id, &reply);
        self.front.send(client, frame.unwrap_or_else(|error| error_frame(id, &too_long(&error))).into());
    }
}

fn read(object: &Arc<Object>) -> io::Result<Vec<u8>> {
    let content = ObjectContent::open(object)?;
    let mut bytes = vec![0; usize::try_from(content.length()).map_err(io::Error::other)?];
    content.read_at(0, &mut bytes)?;
    Ok(bytes)
}
