//! Content of which some has come: it is put in its place by a thread of its own if it is much, so that receiving and
//! storing, which each copy every byte, go on at the same time.

use crate::checksum::Checksum;
use crate::payload::Incoming;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::io;

/// Content of so many bytes has a thread that stores it.
const THREAD_FROM_BYTES: u64 = 1 << 20;
/// So many pieces may wait for that thread; then receiving waits for it.
const PIECES_WAITING_MAX: usize = 16;
/// Bytes of a piece that is read straight into its buffer: small enough to be in the cache when it is stored.
const BUFFER_BYTES: usize = 256 << 10;

/// A part of a message: one content.
pub(crate) struct Part<D> {
    place: Place<D>,
    /// Bytes that have not come.
    pub(crate) left: u64,
    /// Of content whose checksum is said.
    pub(crate) check: Option<Check>,
}

/// What is known about content that came apart from its message.
#[derive(Default)]
pub(crate) struct Check {
    found: Checksum,
    pub(crate) said: Option<u64>,
}

enum Place<D> {
    Here(Result<Box<dyn Incoming<D>>, String>),
    Thread(Storing<D>),
}

/// The end of the thread that stores a content; it drops it if it hears no `Finish`.
struct Storing<D> {
    orders: Sender<Order>,
    used: Receiver<Box<[u8]>>,
    done: Receiver<Result<D, String>>,
}

enum Order {
    /// So many bytes of this buffer.
    Piece(Box<[u8]>, usize),
    Finish,
}

impl<D: Send + 'static> Part<D> {
    /// A content of `length` bytes of which nothing has come; `apart` if its checksum will be said.
    pub(crate) fn new(incoming: Result<Box<dyn Incoming<D>>, String>, length: u64, apart: bool) -> Self {
        let place = match incoming {
            Ok(incoming) if length >= THREAD_FROM_BYTES => Place::start(incoming),
            incoming => Place::Here(incoming),
        };
        Self { place, left: length, check: apart.then(Check::default) }
    }

    /// Takes bytes, at most as many as are left.
    pub(crate) fn push(&mut self, piece: &[u8]) {
        self.left -= piece.len() as u64;
        match &mut self.place {
            Place::Here(incoming) => push(incoming, piece),
            Place::Thread(storing) => {
                for piece in piece.chunks(BUFFER_BYTES) {
                    let mut buffer = storing.buffer();
                    if let Some(to) = buffer.get_mut(..piece.len()) {
                        to.copy_from_slice(piece);
                    }
                    storing.order(Order::Piece(buffer, piece.len()));
                }
            }
        }
        if let Some(check) = &mut self.check {
            check.found.update(piece);
        }
    }

    /// Lets `read` put bytes into a buffer, at most as many as are left; how many that were.
    pub(crate) fn fill(&mut self, read: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(BUFFER_BYTES);
        let mut buffer = match &self.place {
            Place::Thread(storing) => storing.buffer(),
            Place::Here(_) => vec![0; most].into_boxed_slice(),
        };
        let room = buffer.get_mut(..most).unwrap_or_default();
        let count = read(room)?.min(most);
        let piece = buffer.get(..count).unwrap_or_default();
        self.left -= count as u64;
        if let Some(check) = &mut self.check {
            check.found.update(piece);
        }
        match &mut self.place {
            Place::Here(incoming) => push(incoming, piece),
            Place::Thread(storing) => storing.order(Order::Piece(buffer, count)),
        }
        Ok(count)
    }

    /// Whether it has come whole; an error when it is not what was sent.
    pub(crate) fn is_whole(&self) -> Result<bool, Mismatch> {
        match &self.check {
            _ if self.left > 0 => Ok(false),
            None => Ok(true),
            Some(Check { said: None, .. }) => Ok(false),
            Some(Check { said: Some(said), found }) if *said == found.value() => Ok(true),
            Some(_) => Err(Mismatch),
        }
    }

    /// Gives it up.
    pub(crate) fn fail(&mut self, why: String) {
        self.place = Place::Here(Err(why));
        self.check = None;
    }

    /// Whether `finish` may take long.
    pub(crate) fn is_slow(&self) -> bool {
        match &self.place {
            Place::Here(incoming) => incoming.as_ref().is_ok_and(|incoming| incoming.is_slow()),
            Place::Thread(_) => true,
        }
    }

    /// The content, once all has come.
    pub(crate) fn finish(self) -> Result<D, String> {
        match self.place {
            Place::Here(incoming) => incoming?.finish().map_err(|error| error.to_string()),
            Place::Thread(mut storing) => {
                storing.order(Order::Finish);
                storing.done.recv().map_err(|_| "content could not be stored".to_owned())?
            }
        }
    }
}

/// Content that is not what was sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mismatch;

fn push<D>(incoming: &mut Result<Box<dyn Incoming<D>>, String>, piece: &[u8]) {
    if let Ok(into) = incoming
        && let Err(error) = into.push(piece)
    {
        *incoming = Err(error.to_string());
    }
}

impl<D: Send + 'static> Place<D> {
    fn start(incoming: Box<dyn Incoming<D>>) -> Self {
        let (orders, todo) = bounded(PIECES_WAITING_MAX);
        let (free, used) = bounded(PIECES_WAITING_MAX + 2);
        let (told, done) = bounded(1);
        let (hand_over, handed) = bounded(1);
        let work = move || {
            if let Ok(incoming) = handed.recv() {
                store(incoming, &todo, &free, &told);
            }
        };
        match std::thread::Builder::new().name("store-content".to_owned()).spawn(work) {
            Ok(_) => {
                // The thread waits for exactly this.
                let _ = hand_over.send(incoming);
                Place::Thread(Storing { orders, used, done })
            }
            // Without a thread it only takes longer.
            Err(_) => Place::Here(Ok(incoming)),
        }
    }
}

fn store<D>(
    incoming: Box<dyn Incoming<D>>,
    todo: &Receiver<Order>,
    free: &Sender<Box<[u8]>>,
    told: &Sender<Result<D, String>>,
) {
    let mut incoming = Ok(incoming);
    while let Ok(order) = todo.recv() {
        match order {
            Order::Piece(buffer, length) => {
                push(&mut incoming, buffer.get(..length).unwrap_or_default());
                // One too many is dropped.
                let _ = free.try_send(buffer);
            }
            Order::Finish => {
                let _ = told.send(incoming.and_then(|incoming| incoming.finish().map_err(|error| error.to_string())));
                return;
            }
        }
    }
}

impl<D> Storing<D> {
    fn buffer(&self) -> Box<[u8]> {
        self.used.try_recv().unwrap_or_else(|_| vec![0; BUFFER_BYTES].into_boxed_slice())
    }

    fn order(&mut self, order: Order) {
        // An error means that the thread has panicked: then nothing is done either.
        let _ = self.orders.send(order);
    }
}
