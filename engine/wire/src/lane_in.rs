//! The messages of one lane that come in.

use crate::loan::Loan;
use crate::message::{Heard, MessageError, map_contents};
use crate::part::Part;
use crate::payload::Payload;
use crossbeam_channel::{Receiver, TryRecvError, bounded};
use rain_protocol::peer::{Message, ToGovernor};
use rain_transport::Wake;
use std::collections::VecDeque;
use std::io;

/// Bytes of heads that may come before content that travels apart from them has.
const LATER_BYTES_MAX: usize = 64 << 20;

/// A message of which some has come.
struct Partial<D> {
    message: Message<u32>,
    parts: Vec<Part<D>>,
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
}

impl<D: Payload> Default for LaneIn<D> {
    fn default() -> Self {
        Self {
            received: 0,
            partial: None,
            later: VecDeque::new(),
            later_bytes: 0,
            mismatched: None,
            route: String::new(),
            slots: VecDeque::new(),
            heard: Heard::default(),
        }
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
    pub fn head(&mut self, head: &[u8], place: &D::Place, wake: &Wake) -> Result<(), MessageError> {
        self.take_head(head, false, place, wake)
    }

    /// Takes the head of a message whose large contents come through [`fill`](Self::fill), and their checksums through
    /// [`checksum`](Self::checksum); either may be ahead of the other.
    ///
    /// # Errors
    /// When it is not a message, or comes at the wrong time.
    pub fn head_apart(&mut self, head: &[u8], place: &D::Place, wake: &Wake) -> Result<(), MessageError> {
        self.take_head(head, true, place, wake)
    }

    fn take_head(&mut self, head: &[u8], apart: bool, place: &D::Place, wake: &Wake) -> Result<(), MessageError> {
        match &self.partial {
            Some(partial) if partial.apart => self.put_off(Later::Head { head: head.to_vec(), apart }, head.len()),
            Some(_) => Err(MessageError::Rule("a message within another".to_owned())),
            None => {
                self.begin(head, apart, place)?;
                self.complete(place, wake)
            }
        }
    }

    fn begin(&mut self, head: &[u8], apart: bool, place: &D::Place) -> Result<(), MessageError> {
        let (message, contents) = self.heard.read(head)?;
        let parts = contents
            .into_iter()
            .map(|content| {
                let incoming = D::receive(place, &content.about, content.length).map_err(|error| error.to_string());
                let mut part = Part::new(incoming, content.length, apart && content.small.is_none());
                if let Some(small) = content.small {
                    if small.len() as u64 != content.length {
                        return Err(MessageError::Rule("content of another length than was said".to_owned()));
                    }
                    part.push(&small);
                }
                Ok(part)
            })
            .collect::<Result<Vec<_>, MessageError>>()?;
        self.partial = Some(Partial { message, parts, next: 0, apart });
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
    pub fn piece(&mut self, piece: &[u8], wake: &Wake) -> Result<(), MessageError> {
        self.waiting_part(piece.len())?.push(piece);
        self.finish_whole(wake)
    }

    /// Takes a piece of content with its memory, so that it need not be stored at once.
    ///
    /// # Errors
    /// When no content is waited for, or less of it.
    pub fn loan(&mut self, piece: Loan, wake: &Wake) -> Result<(), MessageError> {
        self.waiting_part(piece.len())?.loan(piece);
        self.finish_whole(wake)
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
    pub fn spoil(&mut self, length: Option<usize>, why: String, wake: &Wake) -> Result<(), MessageError> {
        let part = self.waiting_part(length.unwrap_or(1))?;
        part.spoil(length.map_or(part.left, |length| length as u64), why);
        self.finish_whole(wake)
    }

    /// Whether there are messages that `take_whole` has not given yet.
    pub fn holds_messages(&self) -> bool {
        !self.slots.is_empty()
    }

    fn waiting_part(&mut self, length: usize) -> Result<&mut Part<D>, MessageError> {
        let partial = self.partial.as_mut().filter(|partial| !partial.apart);
        let part = partial.and_then(|partial| partial.parts.get_mut(partial.next));
        part.filter(|part| length as u64 <= part.left && length > 0)
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
        place: &D::Place,
        wake: &Wake,
    ) -> Result<io::Result<usize>, MessageError> {
        let partial = self.partial.as_mut().filter(|partial| partial.apart);
        let part = partial.and_then(|partial| partial.parts.get_mut(partial.next));
        let Some(part) = part.filter(|part| part.left > 0) else { return Ok(Ok(0)) };
        let read = part.fill(read);
        if part.left == 0 {
            self.complete(place, wake)?;
        }
        Ok(read)
    }

    /// Takes the checksum of content that travels apart.
    ///
    /// # Errors
    /// When it is not that of what came: the message is to be sent again, after [`begin_again`](Self::begin_again). When that
    /// has happened to it before, its content is an error instead.
    pub fn checksum(&mut self, said: u64, place: &D::Place, wake: &Wake) -> Result<(), MessageError> {
        self.conclude(Ok(said), place, wake)
    }

    /// Takes the reason why content that travels apart, all of whose bytes come, is not what it should be.
    ///
    /// # Errors
    /// As [`checksum`](Self::checksum).
    pub fn spoil_apart(&mut self, why: String, place: &D::Place, wake: &Wake) -> Result<(), MessageError> {
        self.conclude(Err(why), place, wake)
    }

    fn conclude(&mut self, said: Result<u64, String>, place: &D::Place, wake: &Wake) -> Result<(), MessageError> {
        let Some(partial) = self.partial.as_mut().filter(|partial| partial.apart) else {
            return Err(MessageError::Rule("a checksum of nothing".to_owned()));
        };
        match partial.unsaid() {
            Some(unsaid) => *unsaid = Some(said),
            None => return self.put_off(Later::Checksum(said), size_of::<Later>()),
        }
        self.complete(place, wake)
    }

    /// Hands on the message that has come whole, and takes what was put off until then.
    fn complete(&mut self, place: &D::Place, wake: &Wake) -> Result<(), MessageError> {
        loop {
            self.finish_whole(wake)?;
            match (self.later.front(), &mut self.partial) {
                (Some(Later::Head { .. }), None) => {
                    if let Some(Later::Head { head, apart }) = self.later.pop_front() {
                        self.later_bytes -= head.len();
                        self.begin(&head, apart, place)?;
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

    fn finish_whole(&mut self, wake: &Wake) -> Result<(), MessageError> {
        let Some(partial) = &mut self.partial else { return Ok(()) };
        while let Some(part) = partial.parts.get_mut(partial.next) {
            match part.is_whole() {
                Ok(true) => partial.next += 1,
                Ok(false) => return Ok(()),
                Err(_) if self.mismatched != Some(self.received) => {
                    self.mismatched = Some(self.received);
                    return Err(MessageError::Checksum);
                }
                Err(_) => part.fail(format!("{}: {}, twice", self.route, MessageError::Checksum)),
            }
        }
        let Some(Partial { message, parts, .. }) = self.partial.take() else { return Ok(()) };
        self.received += 1;
        if !parts.iter().any(Part::is_slow) {
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

impl<D> Partial<D> {
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
