//! Lanes: messages in order, on their way out until the other side has them, and on their way in until they are whole.
//!
//! What was not acknowledged stays, so that after a cut it is sent again, and nothing is lost or comes twice. What may wait for a disk is
//! done by I/O threads: content is opened shortly before its turn, and read a few pieces ahead.

pub use crate::lane_in::LaneIn;
use crate::message::{ContentHead, MessageError, Told, held_bytes, map_contents};
use crate::payload::{Body, Outgoing, Payload};
use crate::read_ahead::{Read, ReadAhead};
use crate::slices::Slices;
use crossbeam_channel::{Receiver, TryRecvError, bounded};
use rain_io::IoThreads;
use rain_protocol::peer::{Message, ToGovernor};
use rain_transport::Wake;
use rain_transport::content::Content;
use serde_bytes::ByteBuf;
use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// While the other side has not acknowledged so many bytes that were written, nothing more is written.
const UNACKNOWLEDGED_BYTES_MAX: usize = 64 << 20;
/// What a message costs besides what is counted, about. Bytes.
const MESSAGE_BYTES: usize = 256;
/// The contents of so many messages are opened before it is their turn.
const OPEN_AHEAD: usize = 8;

type Prepared = (Message<u32>, Vec<Outgoing>);
type Prepare = Box<dyn FnOnce() -> Result<Prepared, String> + Send>;

/// A message that is to be sent.
struct Item {
    state: State,
    /// What it holds in memory; content in files costs none.
    bytes: usize,
}

enum State {
    /// Its content is in memory, and becomes bytes when its turn comes, so that what waits is not held twice.
    InMemory(Prepare),
    /// An I/O thread has to open its content.
    Closed(Prepare),
    /// One does.
    Opening(Receiver<Result<Prepared, String>>),
    Ready(Box<Prepared>),
    Encoded {
        head: Vec<u8>,
        bodies: Vec<Arc<dyn Content>>,
    },
}

/// What goes out next.
pub enum Piece<'a> {
    /// The whole head of a message.
    Head(&'a [u8]),
    /// So many bytes of a large content of the message whose head went before, or why they cannot be read; and how many of that content
    /// come after them. The memory is to be [given back](LaneOut::give_back).
    Content { bytes: Result<Vec<u8>, String>, length: usize, left: usize },
}

/// The messages of one lane that go out.
pub struct LaneOut {
    io: IoThreads,
    wake: Wake,
    items: VecDeque<Item>,
    /// The sum of what they hold, and of those that are written.
    bytes: usize,
    bytes_written: usize,
    /// Items before this one are written, but not acknowledged.
    next: usize,
    /// The contents of items before this one have been opened or are being opened.
    opened: usize,
    /// How far the next one is written: its head, and bytes of which body.
    head_written: bool,
    body: usize,
    offset: usize,
    reading: ReadAhead,
    acknowledged: u64,
    told: Told,
    slices: Slices,
    /// The directory that the receiver's store was made in.
    neighbour: Option<Arc<Path>>,
}

impl LaneOut {
    /// A lane whose large content goes in pieces of at most `piece_bytes`. `io` opens and reads it; `wake` is called when that is done.
    pub fn new(io: IoThreads, wake: Wake, piece_bytes: usize) -> Self {
        Self {
            reading: ReadAhead::new(&io, wake.clone(), piece_bytes),
            io,
            wake,
            items: VecDeque::new(),
            bytes: 0,
            bytes_written: 0,
            next: 0,
            opened: 0,
            head_written: false,
            body: 0,
            offset: 0,
            acknowledged: 0,
            told: Told::default(),
            slices: Slices::default(),
            neighbour: None,
        }
    }

    /// The receiver is on this machine, and its store was made in this directory.
    pub fn set_neighbour(&mut self, store: Arc<Path>) {
        self.neighbour = Some(store);
    }

    /// Takes a message.
    ///
    /// # Errors
    /// When it has more contents than it can.
    pub fn push<D: Payload>(&mut self, message: Message<D>) -> Result<(), String> {
        let mut contents = Vec::new();
        let numbered = map_contents(message, |content| {
            contents.push(content);
            Ok(contents.len() as u32 - 1)
        })?;
        let mut messages = self.slices.cut(numbered).into_iter();
        // Contents belong to the last one.
        let last = messages.next_back();
        for message in messages {
            self.push_item(message, Vec::<D>::new());
        }
        if let Some(last) = last {
            self.push_item(last, contents);
        }
        self.open_ahead();
        Ok(())
    }

    fn push_item<D: Payload>(&mut self, message: Message<u32>, contents: Vec<D>) {
        let neighbour = self.neighbour.clone();
        let bytes = MESSAGE_BYTES + held_bytes(&message) + contents.iter().map(D::held_bytes).sum::<usize>();
        let state = if contents.is_empty() {
            State::Ready(Box::new((message, Vec::new())))
        } else {
            let in_memory = contents.iter().all(D::is_in_memory);
            let prepare: Prepare = Box::new(move || prepare(message, contents, neighbour.as_deref()));
            if in_memory { State::InMemory(prepare) } else { State::Closed(prepare) }
        };
        self.bytes += bytes;
        self.items.push_back(Item { state, bytes });
    }

    /// Has the contents of the next messages opened.
    fn open_ahead(&mut self) {
        self.opened = self.opened.max(self.next);
        let end = self.items.len().min(self.next + OPEN_AHEAD);
        while self.opened < end {
            let Some(item) = self.items.get_mut(self.opened) else { return };
            self.opened += 1;
            if !matches!(item.state, State::Closed(_)) {
                continue;
            }
            let (done, opening) = bounded(1);
            let State::Closed(prepare) = std::mem::replace(&mut item.state, State::Opening(opening)) else { continue };
            let wake = self.wake.clone();
            self.io.run(move || {
                let _ = done.send(prepare());
                wake();
            });
        }
    }

    /// Drops all messages that were not acknowledged.
    pub fn clear(&mut self) {
        self.drop_elsewhere(self.items.len());
        self.reading.begin_again();
        (self.bytes, self.bytes_written, self.next, self.opened) = (0, 0, 0, 0);
        (self.head_written, self.body, self.offset) = (false, 0, 0);
    }

    /// Drops the first messages; their contents where files may be removed with them.
    fn drop_elsewhere(&mut self, count: usize) {
        let holds_files = |item: &Item| match &item.state {
            State::Encoded { bodies, .. } => !bodies.is_empty(),
            State::Closed(_) | State::Opening(_) => true,
            State::InMemory(_) | State::Ready(_) => false,
        };
        let dropped: Vec<Item> = self.items.drain(..count).filter(holds_files).collect();
        if !dropped.is_empty() {
            self.io.run(move || drop(dropped));
        }
    }

    /// Bytes of memory that is held for what the other side has not acknowledged.
    pub fn held_bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is something that was not written.
    pub fn is_idle(&self) -> bool {
        self.next >= self.items.len()
    }

    /// Whether what comes next has to wait: its content is not opened or read yet, or the other side has to acknowledge first.
    pub fn is_waiting(&self) -> bool {
        match self.items.get(self.next) {
            None => false,
            Some(_) if self.head_written => self.reading.is_waiting(),
            Some(_) if self.holds_back() => true,
            Some(item) => matches!(&item.state, State::Opening(opening) if opening.is_empty()),
        }
    }

    /// Whether nothing more is written until the other side has acknowledged some of what was.
    pub fn holds_back(&self) -> bool {
        self.bytes_written > UNACKNOWLEDGED_BYTES_MAX
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
        self.open_ahead();
        let Some(item) = self.items.get_mut(self.next) else { return Ok(()) };
        let prepared = match &mut item.state {
            State::InMemory(_) => match std::mem::replace(&mut item.state, State::nothing()) {
                State::InMemory(prepare) => prepare()?,
                _ => return Ok(()),
            },
            State::Opening(opening) => match opening.try_recv() {
                Ok(prepared) => prepared?,
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) => return Err("content could not be read".to_owned()),
            },
            State::Closed(_) | State::Ready(_) | State::Encoded { .. } => return Ok(()),
        };
        item.state = State::Ready(Box::new(prepared));
        Ok(())
    }

    /// What is to be written next; none when there is nothing, or it [has to wait](Self::is_waiting).
    ///
    /// # Errors
    /// When a message cannot be written.
    pub fn next_piece(&mut self) -> Result<Option<Piece<'_>>, String> {
        if !self.head_written {
            if self.is_waiting() {
                return Ok(None);
            }
            self.make_ready()?;
            self.encode_next()?;
        }
        let Some(State::Encoded { bodies, .. }) = self.items.get(self.next).map(|item| &item.state) else {
            return Ok(None);
        };
        self.reading.go_on(bodies);
        if !self.head_written {
            let item = self.next;
            if bodies.is_empty() {
                self.finish_item();
            } else {
                self.head_written = true;
            }
            return Ok(match self.items.get(item).map(|item| &item.state) {
                Some(State::Encoded { head, .. }) => Some(Piece::Head(head)),
                _ => None,
            });
        }
        let Some(Read { bytes, range }) = self.reading.next() else { return Ok(None) };
        let length =
            bodies.get(self.body).map_or(range.end, |source| usize::try_from(source.length()).unwrap_or(usize::MAX));
        let left = length.saturating_sub(range.end);
        (self.offset, self.body) = if left == 0 { (0, self.body + 1) } else { (range.end, self.body) };
        if self.body < bodies.len() {
            self.reading.go_on(bodies);
        } else {
            self.finish_item();
        }
        Ok(Some(Piece::Content { bytes, length: range.len(), left }))
    }

    /// Makes bytes of the next message, if it is ready.
    fn encode_next(&mut self) -> Result<(), String> {
        let Some(item) = self.items.get_mut(self.next) else { return Ok(()) };
        let State::Ready(prepared) = &mut item.state else { return Ok(()) };
        let (message, contents) = std::mem::replace(&mut **prepared, (no_message(), Vec::new()));
        let mut bodies = Vec::new();
        let heads = contents.into_iter().map(|outgoing| content_head(outgoing, &mut bodies)).collect();
        let head = self.told.write(message, heads).map_err(|error| error.to_string())?;
        let bytes = MESSAGE_BYTES + head.len();
        self.bytes = self.bytes + bytes - item.bytes;
        *item = Item { state: State::Encoded { head, bodies }, bytes };
        Ok(())
    }

    /// The next message is written whole.
    fn finish_item(&mut self) {
        self.bytes_written += self.items.get(self.next).map_or(0, |item| item.bytes);
        self.next += 1;
        (self.head_written, self.body, self.offset) = (false, 0, 0);
        self.reading.begin_again();
    }

    /// Gives back the memory of a piece of content, to be used for another one.
    pub fn give_back(&mut self, bytes: Vec<u8>) {
        self.reading.give_back(bytes);
    }

    /// The content of which the last piece was given cannot be read: the rest of it is passed over.
    pub fn abandon_content(&mut self) {
        // At 0 that was the last piece, and something else comes next already.
        if self.offset == 0 {
            return;
        }
        self.reading.skip(self.body);
        (self.body, self.offset) = (self.body + 1, 0);
        if let Some(Item { state: State::Encoded { bodies, .. }, .. }) = self.items.get(self.next)
            && self.body >= bodies.len()
        {
            self.finish_item();
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
        self.forget(more);
        Ok(more)
    }

    /// Forgets what is written, for carriers that lose nothing.
    pub fn forget_written(&mut self) {
        self.forget(self.next);
    }

    fn forget(&mut self, count: usize) {
        let bytes: usize = self.items.range(..count).map(|item| item.bytes).sum();
        self.bytes -= bytes;
        self.bytes_written -= bytes;
        self.next -= count;
        self.opened = self.opened.saturating_sub(count);
        self.acknowledged += count as u64;
        self.drop_elsewhere(count);
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
        self.reading.begin_again();
        Ok(())
    }
}

impl Drop for LaneOut {
    fn drop(&mut self) {
        self.drop_elsewhere(self.items.len());
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

fn content_head(outgoing: Outgoing, bodies: &mut Vec<Arc<dyn Content>>) -> ContentHead {
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
