//! The messages of one lane that come in.

use crate::buffers::{Buffer, Buffers};
use crate::message::{Heard, MessageError, map_contents};
use crate::part::Part;
use crate::payload::Payload;
use crossbeam_channel::{Receiver, TryRecvError, bounded};
use rain_io::{IoQueue, IoThreads};
use rain_protocol::peer::{Message, ToGovernor};
use rain_transport::Wake;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes of heads that may come before content that travels apart from them has.
const LATER_BYTES_MAX: usize = 64 << 20;
/// Bytes of a buffer: small enough to be in the cache when it is stored.
const BUFFER_BYTES: usize = 256 << 10;
/// With so many buffers not stored, or so many messages not handed on, nothing is to be read.
const BUFFERS_MAX: usize = 16;
const MESSAGES_MAX: usize = 64;

/// A message of which some has come.
struct Partial<D> {
    message: Message<u32>,
    parts: Vec<Part<D>>,
    /// What I/O threads do for it, if they do something.
    queue: Option<IoQueue>,
    /// The first part that has not come whole.
    next: usize,
    /// Its large contents come apart from it.
    apart: bool,
}

/// What has overtaken content that travels apart.
enum Later {
    Head {
        head: Vec<u8>,
        apart: bool,
    },
    /// Or why the sender could not read the content.
    Checksum(Result<u64, String>),
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
    io: IoThreads,
    place: D::Place,
    wake: Wake,
    received: u64,
    partial: Option<Partial<D>>,
    later: VecDeque<Later>,
    later_bytes: usize,
    /// The message whose content had another checksum than was said.
    mismatched: Option<u64>,
    /// From where to where, for errors.
    route: String,
    slots: VecDeque<Slot<D>>,
    heard: Heard,
    /// Content that waits to be stored.
    buffers: Buffers,
    /// Memory of those that came back, as long as a message is being received.
    free: Vec<Vec<u8>>,
    /// Nothing is read until some have come back.
    wants_buffers: Arc<AtomicBool>,
}

impl<D: Payload> LaneIn<D> {
    /// A lane to which nothing has come. `io` stores content at `place`; `wake` is called when that is done, or room for more is there.
    pub fn new(io: IoThreads, place: D::Place, wake: Wake) -> Self {
        let wants_buffers = Arc::new(AtomicBool::new(false));
        let (wanted, wake_reader) = (wants_buffers.clone(), wake.clone());
        let came_back: Wake = Arc::new(move || {
            if wanted.swap(false, Ordering::SeqCst) {
                wake_reader();
            }
        });
        Self {
            io,
            place,
            wake,
            received: 0,
            partial: None,
            later: VecDeque::new(),
            later_bytes: 0,
            mismatched: None,
            route: String::new(),
            slots: VecDeque::new(),
            heard: Heard::default(),
            buffers: Buffers::new(came_back),
            free: Vec::new(),
            wants_buffers,
        }
    }

    /// Whether nothing is to be read, as enough waits to be stored; `wake` is called when that has changed. What comes all the same is
    /// taken.
    pub fn is_full(&mut self) -> bool {
        if self.holds_many_messages() {
            return true;
        }
        if self.has_buffers_out() {
            self.wants_buffers.store(true, Ordering::SeqCst);
            // One may have come back meanwhile, without a wake.
            return self.has_buffers_out();
        }
        false
    }

    /// Whether many messages wait for one whose content is being stored.
    fn holds_many_messages(&self) -> bool {
        let is_storing = |slot: &Slot<D>| matches!(slot, Slot::Waiting(whole) if whole.is_empty());
        self.slots.len() >= MESSAGES_MAX && self.slots.front().is_some_and(is_storing)
    }

    fn has_buffers_out(&mut self) -> bool {
        while let Some(memory) = self.buffers.take_back() {
            if self.free.len() < BUFFERS_MAX && memory.len() == BUFFER_BYTES {
                self.free.push(memory);
            }
        }
        self.buffers.out() >= BUFFERS_MAX
    }

    fn take_memory(&mut self) -> Vec<u8> {
        self.has_buffers_out();
        self.free.pop().unwrap_or_else(|| vec![0; BUFFER_BYTES])
    }

    /// How many messages have come.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Forgets what had come in part before a cut; it comes again.
    pub fn begin_again(&mut self) {
        if let Some(partial) = self.partial.take() {
            partial.discard();
        }
        self.later.clear();
        self.later_bytes = 0;
    }

    /// Says from where to where messages go, for errors about content that travels apart from them.
    pub fn set_route(&mut self, route: String) {
        self.route = route;
    }

    /// Takes the head of a message.
    ///
    /// # Errors
    /// When it is not a message, or comes within another one.
    pub fn head(&mut self, head: &[u8]) -> Result<(), MessageError> {
        self.take_head(head, false)
    }

    /// Takes the head of a message whose large contents come through [`fill`](Self::fill), and their checksums through
    /// [`checksum`](Self::checksum); either may be ahead of the other.
    ///
    /// # Errors
    /// When it is not a message, or comes at the wrong time.
    pub fn head_apart(&mut self, head: &[u8]) -> Result<(), MessageError> {
        self.take_head(head, true)
    }

    fn take_head(&mut self, head: &[u8], apart: bool) -> Result<(), MessageError> {
        match &self.partial {
            Some(partial) if partial.apart => self.put_off(Later::Head { head: head.to_vec(), apart }, head.len()),
            Some(_) => Err(MessageError::Rule("a message within another".to_owned())),
            None => {
                self.begin(head, apart)?;
                self.complete()
            }
        }
    }

    fn begin(&mut self, head: &[u8], apart: bool) -> Result<(), MessageError> {
        let (message, contents) = self.heard.read(head)?;
        let mut smalls = Vec::new();
        let mut parts = Vec::new();
        for content in contents {
            let incoming = D::receive(&self.place, &content.about, content.length).map_err(|error| error.to_string());
            if content.small.as_ref().is_some_and(|small| small.len() as u64 != content.length) {
                return Err(MessageError::Rule("content of another length than was said".to_owned()));
            }
            parts.push(Part::new(incoming, content.length, apart && content.small.is_none()));
            smalls.push(content.small);
        }
        let queue = parts.iter().any(Part::does_io).then(|| self.io.queue());
        for (part, small) in parts.iter_mut().zip(smalls) {
            match small {
                Some(small) if part.does_io() => {
                    let length = small.len();
                    part.push_buffer(self.buffers.hand_out(small.into_vec(), length), queue.as_ref());
                }
                Some(small) => part.push(&small),
                None => {}
            }
        }
        self.partial = Some(Partial { message, parts, queue, next: 0, apart });
        Ok(())
    }

    fn put_off(&mut self, later: Later, bytes: usize) -> Result<(), MessageError> {
        self.later_bytes += bytes;
        if self.later_bytes > LATER_BYTES_MAX {
            return Err(MessageError::Rule("more than its content may fall behind".to_owned()));
        }
        self.later.push_back(later);
        Ok(())
    }

    /// Takes a piece of content.
    ///
    /// # Errors
    /// When no content is waited for, or less of it.
    pub fn piece(&mut self, piece: &[u8]) -> Result<(), MessageError> {
        if !self.waiting_part(piece.len())?.0.does_io() {
            self.waiting_part(piece.len())?.0.push(piece);
            return self.finish_whole();
        }
        for piece in piece.chunks(BUFFER_BYTES) {
            let mut memory = self.take_memory();
            memory[..piece.len()].copy_from_slice(piece);
            let buffer = self.buffers.hand_out(memory, piece.len());
            let (part, queue) = self.waiting_part(piece.len())?;
            part.push_buffer(buffer, queue);
        }
        self.finish_whole()
    }

    /// Takes a piece of content with its memory, so that it need not be stored at once.
    ///
    /// # Errors
    /// When no content is waited for, or less of it.
    pub fn buffer(&mut self, piece: Buffer) -> Result<(), MessageError> {
        let (part, queue) = self.waiting_part(piece.len())?;
        part.push_buffer(piece, queue);
        self.finish_whole()
    }

    /// How much of each content of the message whose head came last has still to come, in bytes. None when the message is whole.
    pub fn missing(&self) -> Vec<u64> {
        let parts = self.partial.iter().flat_map(|partial| &partial.parts).filter(|part| part.left > 0);
        parts.map(|part| part.left).collect()
    }

    /// The next piece of content, of this length or (none) all that is left of it, does not come, as the sender cannot read it. The
    /// message comes with this error instead of the content.
    ///
    /// # Errors
    /// When no content is waited for, or less of it.
    pub fn spoil(&mut self, length: Option<usize>, why: String) -> Result<(), MessageError> {
        let (part, queue) = self.waiting_part(length.unwrap_or(1))?;
        part.spoil(length.map_or(part.left, |length| length as u64), why, queue);
        self.finish_whole()
    }

    /// Whether there are messages that `take_whole` has not given yet.
    pub fn holds_messages(&self) -> bool {
        !self.slots.is_empty()
    }

    fn waiting_part(&mut self, length: usize) -> Result<(&mut Part<D>, Option<&IoQueue>), MessageError> {
        let partial = self.partial.as_mut().filter(|partial| !partial.apart);
        let part = partial.and_then(|partial| Some((partial.parts.get_mut(partial.next)?, partial.queue.as_ref())));
        part.filter(|(part, _)| length as u64 <= part.left && length > 0)
            .ok_or_else(|| MessageError::Rule("content that nothing was said about".to_owned()))
    }

    /// Whether content is waited for that travels apart from its message.
    pub fn awaits_content(&self) -> bool {
        let partial = self.partial.as_ref().filter(|partial| partial.apart);
        partial.and_then(|partial| partial.parts.get(partial.next)).is_some_and(|part| part.left > 0)
    }

    /// Lets `read` put bytes of content that travels apart into a buffer; how many that were, 0 also when none are waited
    /// for.
    ///
    /// # Errors
    /// Those of `read`; and what [`checksum`](Self::checksum) gives.
    pub fn fill(
        &mut self,
        read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> Result<io::Result<usize>, MessageError> {
        if !self.awaits_content() {
            return Ok(Ok(0));
        }
        let mut memory = self.take_memory();
        let Some(partial) = &mut self.partial else { return Ok(Ok(0)) };
        let Some(part) = partial.parts.get_mut(partial.next) else { return Ok(Ok(0)) };
        let most = usize::try_from(part.left).unwrap_or(usize::MAX).min(BUFFER_BYTES);
        let count = match read(&mut memory[..most]) {
            Ok(count) => count.min(most),
            Err(error) => {
                self.free.push(memory);
                return Ok(Err(error));
            }
        };
        part.push_buffer(self.buffers.hand_out(memory, count), partial.queue.as_ref());
        if part.left == 0 {
            self.complete()?;
        }
        Ok(Ok(count))
    }

    /// Takes the checksum of content that travels apart.
    ///
    /// # Errors
    /// When it is not that of what came: the message is to be sent again, after [`begin_again`](Self::begin_again). When that
    /// has happened to it before, its content is an error instead.
    pub fn checksum(&mut self, said: u64) -> Result<(), MessageError> {
        self.conclude(Ok(said))
    }

    /// Takes the reason why content that travels apart, all of whose bytes come, is not what it should be.
    ///
    /// # Errors
    /// As [`checksum`](Self::checksum).
    pub fn spoil_apart(&mut self, why: String) -> Result<(), MessageError> {
        self.conclude(Err(why))
    }

    fn conclude(&mut self, said: Result<u64, String>) -> Result<(), MessageError> {
        let Some(partial) = self.partial.as_mut().filter(|partial| partial.apart) else {
            return Err(MessageError::Rule("a checksum of nothing".to_owned()));
        };
        match partial.unsaid() {
            Some(unsaid) => *unsaid = Some(said),
            None => return self.put_off(Later::Checksum(said), size_of::<Later>()),
        }
        self.complete()
    }

    /// Hands on the message that has come whole, and takes what was put off until then.
    fn complete(&mut self) -> Result<(), MessageError> {
        loop {
            self.finish_whole()?;
            match (self.later.front(), &mut self.partial) {
                (Some(Later::Head { .. }), None) => {
                    if let Some(Later::Head { head, apart }) = self.later.pop_front() {
                        self.later_bytes -= head.len();
                        self.begin(&head, apart)?;
                    }
                }
                (Some(Later::Checksum(said)), Some(partial)) => match partial.unsaid() {
                    Some(unsaid) => {
                        *unsaid = Some(said.clone());
                        self.later.pop_front();
                        self.later_bytes -= size_of::<Later>();
                    }
                    None => return Ok(()),
                },
                (Some(Later::Checksum(_)), None) => {
                    return Err(MessageError::Rule("a checksum of nothing".to_owned()));
                }
                _ => return Ok(()),
            }
        }
    }

    fn finish_whole(&mut self) -> Result<(), MessageError> {
        let Some(partial) = &mut self.partial else { return Ok(()) };
        while let Some(part) = partial.parts.get_mut(partial.next) {
            let queue = partial.queue.as_ref();
            match part.is_whole(queue) {
                Ok(true) => partial.next += 1,
                Ok(false) => return Ok(()),
                Err(_) if self.mismatched != Some(self.received) => {
                    self.mismatched = Some(self.received);
                    return Err(MessageError::Checksum);
                }
                Err(_) => part.fail(format!("{}: {}, twice", self.route, MessageError::Checksum), queue),
            }
        }
        let Some(Partial { message, parts, queue, .. }) = self.partial.take() else { return Ok(()) };
        self.received += 1;
        self.free.clear();
        let Some(queue) = queue else {
            self.slots.push_back(Slot::Ready(Box::new(finish(message, parts))));
            return Ok(());
        };
        let (done, waiting) = bounded(1);
        let wake = self.wake.clone();
        queue.run(move || {
            let _ = done.send(finish(message, parts));
            wake();
        });
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

impl<D: Payload> Drop for LaneIn<D> {
    fn drop(&mut self) {
        if let Some(partial) = self.partial.take() {
            partial.discard();
        }
        // Files are removed with them, perhaps.
        let slots = std::mem::take(&mut self.slots);
        if slots.iter().any(|slot| matches!(slot, Slot::Waiting(_))) {
            self.io.run(move || drop(slots));
        }
    }
}

impl<D: Payload> Partial<D> {
    /// Drops it where what was stored of it may be removed.
    fn discard(self) {
        if let Some(queue) = self.queue {
            let parts = self.parts;
            queue.run(move || drop(parts));
        }
    }

    /// Where the checksum of the part that is being received belongs, if it was not said.
    fn unsaid(&mut self) -> Option<&mut Option<Result<u64, String>>> {
        let check = self.parts.get_mut(self.next).and_then(|part| part.check.as_mut())?;
        check.said.is_none().then_some(&mut check.said)
    }
}

/// The message with its contents. Instead of one that a submit brings and that did not come, its tasks get one that tells why; other
/// messages can say so themselves.
fn finish<D: Payload>(message: Message<u32>, parts: Vec<Part<D>>) -> Whole<D> {
    let is_submit = matches!(message, Message::ToGovernor(ToGovernor::Run(_)));
    let mut parts: Vec<Option<Part<D>>> = parts.into_iter().map(Some).collect();
    map_contents(message, |number| {
        let part = parts.get_mut(number as usize).and_then(Option::take).ok_or("a content is missing")?;
        match part.finish() {
            Err(why) if is_submit => Ok(D::lost(why)),
            finished => finished,
        }
    })
}
