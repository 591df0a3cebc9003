//! Lanes: messages in order, on their way out until the other side has them, and on their way in until they are whole.
//!
//! What was not acknowledged stays, so that after a cut it is sent again, and nothing is lost or comes twice.

use crate::message::{ContentHead, Heard, MessageError, Told, map_contents};
use crate::payload::{Body, Incoming, Loan, Outgoing, Payload, Room, Source};
use crossbeam_channel::{Receiver, TryRecvError, bounded};
use rain_core::peer::Message;
use rain_transport::Wake;
use serde_bytes::ByteBuf;
use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// A peer that leaves more messages than this unread is given up.
const MESSAGES_WAITING_MAX: usize = 1 << 22;

type Prepared = (Message<u32>, Vec<Outgoing>);

/// A message that is to be sent.
enum Item {
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
    Content { source: &'a Arc<dyn Source>, range: Range<usize> },
}

/// The messages of one lane that go out.
#[derive(Default)]
pub struct LaneOut {
    items: VecDeque<Item>,
    /// Items before this one are written, but not acknowledged.
    next: usize,
    /// How far that one is written: its head, and bytes of which body.
    head_written: bool,
    body: usize,
    offset: usize,
    acknowledged: u64,
    told: Told,
}

impl LaneOut {
    /// Takes a message; `wake` is called when content that took long to read is ready.
    ///
    /// # Errors
    /// When too much waits already, or the system gives no thread.
    pub fn push<D: Payload>(&mut self, message: Message<D>, wake: &Wake) -> Result<(), String> {
        if self.items.len() >= MESSAGES_WAITING_MAX {
            return Err("it does not take what is sent to it".to_owned());
        }
        let mut contents = Vec::new();
        let numbered = map_contents(message, |content| {
            contents.push(content);
            Ok(contents.len() as u32 - 1)
        })?;
        if !contents.iter().any(D::is_slow_to_send) {
            self.items.push_back(Item::Ready(Box::new(prepare(numbered, contents)?)));
            return Ok(());
        }
        let (done, waiting) = bounded(1);
        let wake = wake.clone();
        let work = move || {
            let _ = done.send(prepare(numbered, contents));
            wake();
        };
        std::thread::Builder::new().name("send-content".to_owned()).spawn(work).map_err(|error| error.to_string())?;
        self.items.push_back(Item::Waiting(waiting));
        Ok(())
    }

    /// Whether there is something that was not written.
    pub fn is_idle(&self) -> bool {
        self.next >= self.items.len()
    }

    /// Whether the next message's content is still being read.
    pub fn is_waiting(&self) -> bool {
        matches!(self.items.get(self.next), Some(Item::Waiting(waiting)) if waiting.is_empty())
    }

    /// What is to be written next, content in pieces of at most `bytes_max`; none when there is nothing, or its content is
    /// still being read.
    ///
    /// # Errors
    /// When a message cannot be written.
    pub fn next_piece(&mut self, bytes_max: usize) -> Result<Option<Piece<'_>>, String> {
        let Some(item) = self.items.get_mut(self.next) else { return Ok(None) };
        if let Item::Waiting(waiting) = item {
            match waiting.try_recv() {
                Ok(prepared) => *item = Item::Ready(Box::new(prepared?)),
                Err(TryRecvError::Empty) => return Ok(None),
                Err(TryRecvError::Disconnected) => return Err("content could not be read".to_owned()),
            }
        }
        if let Item::Ready(prepared) = item {
            let (message, contents) = std::mem::replace(&mut **prepared, (no_message(), Vec::new()));
            let mut bodies = Vec::new();
            let heads = contents.into_iter().map(|outgoing| content_head(outgoing, &mut bodies)).collect();
            let head = self.told.write(message, heads).map_err(|error| error.to_string())?;
            *item = Item::Encoded { head, bodies };
        }
        let Item::Encoded { head, bodies } = item else { return Ok(None) };
        let (body, start) = (self.body, self.offset);
        let piece = match bodies.get(body).filter(|_| self.head_written) {
            None => {
                self.head_written = true;
                Piece::Head(head)
            }
            Some(source) => {
                let length = source.bytes().len();
                let end = length.min(start + bytes_max);
                self.offset = end;
                if end >= length {
                    (self.body, self.offset) = (body + 1, 0);
                }
                Piece::Content { source, range: start..end }
            }
        };
        if self.body >= bodies.len() {
            self.next += 1;
            (self.head_written, self.body, self.offset) = (false, 0, 0);
        }
        Ok(Some(piece))
    }

    /// The other side has so many messages.
    ///
    /// # Errors
    /// When more is acknowledged than was written.
    pub fn acknowledge(&mut self, count: u64) -> Result<(), MessageError> {
        let more = usize::try_from(count.saturating_sub(self.acknowledged)).unwrap_or(usize::MAX);
        if count < self.acknowledged || more > self.next {
            return Err(MessageError::Rule("it acknowledges what was not sent".to_owned()));
        }
        self.items.drain(..more);
        self.next -= more;
        self.acknowledged = count;
        Ok(())
    }

    /// Forgets what is written, for carriers that lose nothing.
    pub fn forget_written(&mut self) {
        self.items.drain(..self.next);
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
        Ok(())
    }
}

/// What stands for a message that was taken out.
fn no_message() -> Message<u32> {
    Message::ToGovernor(rain_core::peer::ToGovernor::Stop)
}

/// Reads the contents of a message. One that cannot be read becomes the error that the receiver is told.
fn prepare<D: Payload>(message: Message<u32>, contents: Vec<D>) -> Result<Prepared, String> {
    let read: Vec<io::Result<Outgoing>> = contents.into_iter().map(D::into_outgoing).collect();
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
            let length = source.bytes().len() as u64;
            bodies.push(source);
            ContentHead { about, length, small: None }
        }
    }
}

/// Content of which some has come.
struct Part<D> {
    incoming: Result<Box<dyn Incoming<D>>, String>,
    left: u64,
}

impl<D> Part<D> {
    fn push(&mut self, length: usize, push: impl FnOnce(&mut dyn Incoming<D>) -> io::Result<()>) {
        self.left -= length as u64;
        if let Ok(incoming) = &mut self.incoming
            && let Err(error) = push(incoming.as_mut())
        {
            self.incoming = Err(error.to_string());
        }
    }

    fn finish(self) -> Result<D, String> {
        self.incoming?.finish().map_err(|error| error.to_string())
    }
}

/// A message of which some has come.
struct Partial<D> {
    message: Message<u32>,
    parts: Vec<Part<D>>,
    /// The first part that has not come whole.
    next: usize,
}

type Whole<D> = Result<Message<D>, String>;

/// A message that has come whole.
enum Slot<D> {
    Ready(Box<Whole<D>>),
    /// Its content is being put in its place.
    Waiting(Receiver<Whole<D>>),
}

/// The messages of one lane that come in.
pub struct LaneIn<D: Payload> {
    received: u64,
    partial: Option<Partial<D>>,
    slots: VecDeque<Slot<D>>,
    heard: Heard,
}

impl<D: Payload> Default for LaneIn<D> {
    fn default() -> Self {
        Self { received: 0, partial: None, slots: VecDeque::new(), heard: Heard::default() }
    }
}

impl<D: Payload> LaneIn<D> {
    /// How many messages have come.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Forgets what had come in part before a cut; it comes again.
    pub fn begin_again(&mut self) {
        self.partial = None;
    }

    /// How much of each content of the message whose head came last has still to come, in bytes, and memory for it if there is
    /// some; pieces of content with memory are put there, and said to be `placed`. None when the message is whole.
    pub fn missing(&mut self) -> Vec<(u64, Option<Arc<dyn Room>>)> {
        let parts = self.partial.iter_mut().flat_map(|partial| &mut partial.parts).filter(|part| part.left > 0);
        parts.map(|part| (part.left, part.incoming.as_mut().ok().and_then(|incoming| incoming.room()))).collect()
    }

    /// The next piece of content was put into its memory.
    ///
    /// # Errors
    /// When no content is waited for, or less of it.
    pub fn placed(&mut self, length: usize, wake: &Wake) -> Result<(), MessageError> {
        self.waiting_part(length)?.push(length, |_| Ok(()));
        self.complete(wake)
    }

    /// Whether there are messages that `take_whole` has not given yet.
    pub fn holds_messages(&self) -> bool {
        !self.slots.is_empty()
    }

    /// Takes the head of a message.
    ///
    /// # Errors
    /// When it is not a message, or comes within another one.
    pub fn head(&mut self, head: &[u8], place: &D::Place, wake: &Wake) -> Result<(), MessageError> {
        if self.partial.is_some() {
            return Err(MessageError::Rule("a message within another".to_owned()));
        }
        let (message, contents) = self.heard.read(head)?;
        let parts = contents
            .into_iter()
            .map(|content| {
                let incoming = D::receive(place, &content.about, content.length).map_err(|error| error.to_string());
                let mut part = Part { incoming, left: content.length };
                if let Some(small) = content.small {
                    if small.len() as u64 != content.length {
                        return Err(MessageError::Rule("content of another length than was said".to_owned()));
                    }
                    part.push(small.len(), |incoming| incoming.push(&small));
                }
                Ok(part)
            })
            .collect::<Result<Vec<_>, MessageError>>()?;
        self.partial = Some(Partial { message, parts, next: 0 });
        self.complete(wake)
    }

    /// Takes a piece of content.
    ///
    /// # Errors
    /// When no content is waited for, or less of it.
    pub fn piece(&mut self, piece: &[u8], wake: &Wake) -> Result<(), MessageError> {
        self.waiting_part(piece.len())?.push(piece.len(), |incoming| incoming.push(piece));
        self.complete(wake)
    }

    /// Takes a piece of content with its memory, so that it need not be stored at once.
    ///
    /// # Errors
    /// When no content is waited for, or less of it.
    pub fn loan(&mut self, piece: Loan, wake: &Wake) -> Result<(), MessageError> {
        self.waiting_part(piece.len())?.push(piece.len(), |incoming| incoming.push_loan(piece));
        self.complete(wake)
    }

    fn waiting_part(&mut self, length: usize) -> Result<&mut Part<D>, MessageError> {
        let part = self.partial.as_mut().and_then(|partial| partial.parts.get_mut(partial.next));
        part.filter(|part| length as u64 <= part.left && length > 0)
            .ok_or_else(|| MessageError::Rule("content that nothing was said about".to_owned()))
    }

    fn complete(&mut self, wake: &Wake) -> Result<(), MessageError> {
        let Some(partial) = &mut self.partial else { return Ok(()) };
        while partial.parts.get(partial.next).is_some_and(|part| part.left == 0) {
            partial.next += 1;
        }
        if partial.next < partial.parts.len() {
            return Ok(());
        }
        let Some(Partial { message, parts, .. }) = self.partial.take() else { return Ok(()) };
        self.received += 1;
        let slow = parts.iter().any(|part| part.incoming.as_ref().is_ok_and(|incoming| incoming.is_slow()));
        if !slow {
            self.slots.push_back(Slot::Ready(Box::new(finish(message, parts))));
            return Ok(());
        }
        let (done, waiting) = bounded(1);
        let wake = wake.clone();
        let work = move || {
            let _ = done.send(finish(message, parts));
            wake();
        };
        let spawned = std::thread::Builder::new().name("take-content".to_owned()).spawn(work);
        spawned.map_err(|error| MessageError::Rule(format!("cannot start a thread: {error}")))?;
        self.slots.push_back(Slot::Waiting(waiting));
        Ok(())
    }

    /// The next message, if it is whole; an error when its content could not be put in its place.
    pub fn take_whole(&mut self) -> Option<Result<Message<D>, String>> {
        let whole = match self.slots.front()? {
            Slot::Ready(_) => None,
            Slot::Waiting(waiting) => match waiting.try_recv() {
                Ok(whole) => Some(whole),
                Err(TryRecvError::Empty) => return None,
                Err(TryRecvError::Disconnected) => Some(Err("content could not be stored".to_owned())),
            },
        };
        match (self.slots.pop_front()?, whole) {
            (Slot::Ready(ready), _) => Some(*ready),
            (Slot::Waiting(_), whole) => whole,
        }
    }
}

fn finish<D: Payload>(message: Message<u32>, parts: Vec<Part<D>>) -> Whole<D> {
    let mut parts: Vec<Option<Part<D>>> = parts.into_iter().map(Some).collect();
    map_contents(message, |number| {
        let part = parts.get_mut(number as usize).and_then(Option::take).ok_or("a content is missing")?;
        part.finish()
    })
}
