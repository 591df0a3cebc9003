//! Lanes: messages in order, on their way out until the other side has them, and on their way in until they are whole.
//!
//! What was not acknowledged stays, so that after a cut it is sent again, and nothing is lost or comes twice.

pub use crate::lane_in::LaneIn;
use crate::message::{ContentHead, MessageError, Told, held_bytes, map_contents};
use crate::payload::{Body, Outgoing, Payload, Source};
use crossbeam_channel::{Receiver, TryRecvError, bounded};
use rain_protocol::peer::{Message, ToGovernor};
use rain_transport::Wake;
use serde_bytes::ByteBuf;
use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// While the other side has not acknowledged so many bytes that were written, nothing more is written.
const UNACKNOWLEDGED_BYTES_MAX: usize = 64 << 20;
/// What a message costs besides what is counted, about. Bytes.
const MESSAGE_BYTES: usize = 256;

type Prepared = (Message<u32>, Vec<Outgoing>);

/// A message that is to be sent.
struct Item {
    state: State,
    /// What it holds in memory; content in mapped files costs none.
    bytes: usize,
}

enum State {
    /// It becomes bytes when its turn comes, so that what waits is not held twice.
    Queued(Box<dyn FnOnce() -> Result<Prepared, String> + Send>),
    /// Its content is being read.
    Waiting(Receiver<Result<Prepared, String>>),
    Ready(Box<Prepared>),
    Encoded {
        head: Vec<u8>,
        bodies: Vec<Arc<dyn Source>>,
    },
}

/// What goes out next.
pub enum Piece<'a> {
    /// The whole head of a message.
    Head(&'a [u8]),
    /// These bytes of a large content of the message whose head went before.
    Content { source: Arc<dyn Source>, range: Range<usize> },
}

/// The messages of one lane that go out.
#[derive(Default)]
pub struct LaneOut {
    items: VecDeque<Item>,
    /// The sum of what they hold, and of those that are written.
    bytes: usize,
    bytes_written: usize,
    /// Items before this one are written, but not acknowledged.
    next: usize,
    /// How far that one is written: its head, and bytes of which body.
    head_written: bool,
    body: usize,
    offset: usize,
    acknowledged: u64,
    told: Told,
    /// The directory that the receiver's store was made in.
    neighbour: Option<Arc<Path>>,
}

impl LaneOut {
    /// The receiver is on this machine, and its store was made in this directory.
    pub fn set_neighbour(&mut self, store: Arc<Path>) {
        self.neighbour = Some(store);
    }

    /// Takes a message; `wake` is called when content that took long to read is ready.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn push<D: Payload>(&mut self, message: Message<D>, wake: &Wake) -> Result<(), String> {
        let mut contents = Vec::new();
        let numbered = map_contents(message, |content| {
            contents.push(content);
            Ok(contents.len() as u32 - 1)
        })?;
        let neighbour = self.neighbour.clone();
        let bytes = MESSAGE_BYTES + held_bytes(&numbered) + contents.iter().map(D::held_bytes).sum::<usize>();
        let state = if contents.iter().any(D::is_slow_to_send) {
            let (done, waiting) = bounded(1);
            let wake = wake.clone();
            let work = move || {
                let _ = done.send(prepare(numbered, contents, neighbour.as_deref()));
                wake();
            };
            let spawned = std::thread::Builder::new().name("send-content".to_owned()).spawn(work);
            spawned.map_err(|error| error.to_string())?;
            State::Waiting(waiting)
        } else if contents.is_empty() {
            State::Ready(Box::new((numbered, Vec::new())))
        } else {
            State::Queued(Box::new(move || prepare(numbered, contents, neighbour.as_deref())))
        };
        self.bytes += bytes;
        self.items.push_back(Item { state, bytes });
        Ok(())
    }

    /// Bytes of memory that is held for what the other side has not acknowledged.
    pub fn held_bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is something that was not written.
    pub fn is_idle(&self) -> bool {
        self.next >= self.items.len()
    }

    /// Whether what comes next has to wait: its content is still being read, or the other side has to acknowledge first.
    pub fn is_waiting(&self) -> bool {
        match self.items.get(self.next) {
            None => false,
            Some(_) if !self.head_written && self.bytes_written > UNACKNOWLEDGED_BYTES_MAX => true,
            Some(item) => matches!(&item.state, State::Waiting(waiting) if waiting.is_empty()),
        }
    }

    /// Whether a message comes next whose content follows its head, and nothing of it was written.
    ///
    /// # Errors
    /// When its content cannot be read.
    pub fn is_large_next(&mut self) -> Result<bool, String> {
        if self.head_written || self.is_waiting() {
            return Ok(false);
        }
        self.make_ready()?;
        Ok(match self.items.get(self.next).map(|item| &item.state) {
            Some(State::Ready(prepared)) => prepared.1.iter().any(|outgoing| matches!(outgoing.body, Body::Large(_))),
            Some(State::Encoded { bodies, .. }) => !bodies.is_empty(),
            _ => false,
        })
    }

    /// Prepares the next message, if that can be done now.
    fn make_ready(&mut self) -> Result<(), String> {
        let Some(item) = self.items.get_mut(self.next) else { return Ok(()) };
        let prepared = match &mut item.state {
            State::Queued(_) => match std::mem::replace(&mut item.state, State::nothing()) {
                State::Queued(prepare) => prepare()?,
                _ => return Ok(()),
            },
            State::Waiting(waiting) => match waiting.try_recv() {
                Ok(prepared) => prepared?,
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) => return Err("content could not be read".to_owned()),
            },
            State::Ready(_) | State::Encoded { .. } => return Ok(()),
        };
        item.state = State::Ready(Box::new(prepared));
        Ok(())
    }

    /// What is to be written next, content in pieces of at most `bytes_max`; none when there is nothing, or it
    /// [has to wait](Self::is_waiting).
    ///
    /// # Errors
    /// When a message cannot be written.
    pub fn next_piece(&mut self, bytes_max: usize) -> Result<Option<Piece<'_>>, String> {
        if self.is_waiting() {
            return Ok(None);
        }
        self.make_ready()?;
        let Some(item) = self.items.get_mut(self.next) else { return Ok(None) };
        if let State::Ready(prepared) = &mut item.state {
            let (message, contents) = std::mem::replace(&mut **prepared, (no_message(), Vec::new()));
            let mut bodies = Vec::new();
            let heads = contents.into_iter().map(|outgoing| content_head(outgoing, &mut bodies)).collect();
            let head = self.told.write(message, heads).map_err(|error| error.to_string())?;
            let bytes = MESSAGE_BYTES + head.len();
            self.bytes = self.bytes + bytes - item.bytes;
            *item = Item { state: State::Encoded { head, bodies }, bytes };
        }
        let bytes = item.bytes;
        let State::Encoded { head, bodies } = &mut item.state else { return Ok(None) };
        let (body, start) = (self.body, self.offset);
        let piece = match bodies.get(body).filter(|_| self.head_written) {
            None => {
                self.head_written = true;
                Piece::Head(head)
            }
            Some(source) => {
                let length = usize::try_from(source.length()).unwrap_or(usize::MAX);
                let end = length.min(start.saturating_add(bytes_max));
                self.offset = end;
                if end >= length {
                    (self.body, self.offset) = (body + 1, 0);
                }
                Piece::Content { source: source.clone(), range: start..end }
            }
        };
        if self.body >= bodies.len() {
            self.next += 1;
            self.bytes_written += bytes;
            (self.head_written, self.body, self.offset) = (false, 0, 0);
        }
        Ok(Some(piece))
    }

    /// The content of which the last piece was given cannot be read: the rest of it is passed over.
    pub fn abandon_content(&mut self) {
        // At 0 that was the last piece, and something else comes next already.
        if self.offset == 0 {
            return;
        }
        (self.body, self.offset) = (self.body + 1, 0);
        if let Some(Item { state: State::Encoded { bodies, .. }, bytes }) = self.items.get(self.next)
            && self.body >= bodies.len()
        {
            self.next += 1;
            self.bytes_written += bytes;
            (self.head_written, self.body) = (false, 0);
        }
    }

    /// The other side has so many messages; how many more those are than before.
    ///
    /// # Errors
    /// When more is acknowledged than was written.
    pub fn acknowledge(&mut self, count: u64) -> Result<usize, MessageError> {
        let more = usize::try_from(count.saturating_sub(self.acknowledged)).unwrap_or(usize::MAX);
        if count < self.acknowledged || more > self.next {
            return Err(MessageError::Rule("it acknowledges what was not sent".to_owned()));
        }
        let bytes: usize = self.items.drain(..more).map(|item| item.bytes).sum();
        self.bytes -= bytes;
        self.bytes_written -= bytes;
        self.next -= more;
        self.acknowledged = count;
        Ok(more)
    }

    /// Forgets what is written, for carriers that lose nothing.
    pub fn forget_written(&mut self) {
        let bytes: usize = self.items.drain(..self.next).map(|item| item.bytes).sum();
        self.bytes -= bytes;
        self.bytes_written -= bytes;
        self.acknowledged += self.next as u64;
        self.next = 0;
    }

    /// Begins again after a cut, with the first message that the other side does not have.
    ///
    /// # Errors
    /// When more is acknowledged than was written.
    pub fn begin_again(&mut self, received: u64) -> Result<(), MessageError> {
        // It may be one that was written in part when the connection broke, but not one that was never begun.
        self.acknowledge(received)?;
        (self.next, self.head_written, self.body, self.offset) = (0, false, 0, 0);
        self.bytes_written = 0;
        Ok(())
    }
}

impl State {
    /// What stands for one that was taken out.
    fn nothing() -> Self {
        State::Ready(Box::new((no_message(), Vec::new())))
    }
}

/// What stands for a message that was taken out.
fn no_message() -> Message<u32> {
    Message::ToGovernor(ToGovernor::Stop)
}

/// Reads the contents of a message. One that cannot be read becomes the error that the receiver is told, or, of a submit, what tells
/// those who want it.
fn prepare<D: Payload>(message: Message<u32>, contents: Vec<D>, neighbour: Option<&Path>) -> Result<Prepared, String> {
    let is_submit = matches!(message, Message::ToGovernor(ToGovernor::Run(_)));
    let read_one = |content: &D| match content.outgoing(neighbour) {
        Err(error) if is_submit => content.outgoing_lost(error.to_string()),
        read => read,
    };
    let read: Vec<io::Result<Outgoing>> = contents.iter().map(read_one).collect();
    let mut outgoing = Vec::new();
    let mut read = read.into_iter();
    let message = map_contents(message, |_| {
        let content = read.next().ok_or("a content is missing")?.map_err(|error| error.to_string())?;
        outgoing.push(content);
        Ok(outgoing.len() as u32 - 1)
    })?;
    Ok((message, outgoing))
}

fn content_head(outgoing: Outgoing, bodies: &mut Vec<Arc<dyn Source>>) -> ContentHead {
    let about = ByteBuf::from(outgoing.about);
    match outgoing.body {
        Body::Small(bytes) => ContentHead { about, length: bytes.len() as u64, small: Some(ByteBuf::from(bytes)) },
        Body::Large(source) => {
            let length = source.length();
            bodies.push(source);
            ContentHead { about, length, small: None }
        }
    }
}
