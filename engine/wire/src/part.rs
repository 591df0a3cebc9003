//! One content of a message of which some has come.

use crate::buffers::Buffer;
use crate::checksum::Checksum;
use crate::payload::Incoming;
use rain_io::IoQueue;
use std::sync::{Arc, Mutex, PoisonError};

/// One content of a message.
pub(crate) struct Part<D> {
    sink: Sink<D>,
    /// Bytes that have not come.
    pub(crate) left: u64,
    /// Of content whose checksum is said.
    pub(crate) check: Option<Check>,
}

type Storing<D> = Result<Box<dyn Incoming<D>>, String>;

/// Where its bytes go.
enum Sink<D> {
    /// Into memory.
    Here(Box<dyn Incoming<D>>),
    /// To an I/O thread, in the order of its message's queue. The error is that of the first piece that could not be stored.
    There(Arc<Mutex<Storing<D>>>),
    /// Nowhere, for this reason.
    Nowhere(String),
}

/// What is known about content that came apart from its message.
#[derive(Default)]
pub(crate) struct Check {
    found: Checksum,
    /// What the checksum is to be, or why the sender could not read all of it.
    pub(crate) said: Option<Result<u64, String>>,
}

impl<D: 'static> Part<D> {
    /// A content of `length` bytes of which nothing has come; `apart` if its checksum will be said. What may wait for a disk is done in
    /// a queue, which [`does_io`](Self::does_io) asks for.
    pub(crate) fn new(incoming: Result<Box<dyn Incoming<D>>, String>, length: u64, apart: bool) -> Self {
        let sink = match incoming {
            Ok(incoming) if incoming.does_io() => Sink::There(Arc::new(Mutex::new(Ok(incoming)))),
            Ok(incoming) => Sink::Here(incoming),
            Err(why) => Sink::Nowhere(why),
        };
        Self { sink, left: length, check: apart.then(Check::default) }
    }

    /// Whether it is stored by I/O threads.
    pub(crate) fn does_io(&self) -> bool {
        matches!(self.sink, Sink::There(_))
    }

    /// Takes bytes, at most as many as are left, that need not be in a buffer; for content in memory.
    pub(crate) fn push(&mut self, piece: &[u8]) {
        self.count(piece);
        if let Sink::Here(incoming) = &mut self.sink
            && let Err(error) = incoming.push(piece)
        {
            self.sink = Sink::Nowhere(error.to_string());
        }
    }

    /// Takes bytes, at most as many as are left; those to be stored by an I/O thread go to `queue`.
    pub(crate) fn push_buffer(&mut self, piece: Buffer, queue: Option<&IoQueue>) {
        let (Sink::There(storing), Some(queue)) = (&self.sink, queue) else { return self.push(&piece) };
        let storing = storing.clone();
        self.count(&piece);
        queue.run(move || {
            let mut storing = storing.lock().unwrap_or_else(PoisonError::into_inner);
            if let Ok(into) = &mut *storing
                && let Err(error) = into.push(&piece)
            {
                *storing = Err(error.to_string());
            }
        });
    }

    fn count(&mut self, piece: &[u8]) {
        self.left -= piece.len() as u64;
        if let Some(check) = &mut self.check {
            check.found.update(piece);
        }
    }

    /// So many bytes, at most as many as are left, do not come, for this reason.
    pub(crate) fn spoil(&mut self, length: u64, why: String, queue: Option<&IoQueue>) {
        self.left -= length;
        if !matches!(self.sink, Sink::Nowhere(_)) {
            self.fail(why, queue);
        }
    }

    /// Whether it has come whole; an error when it is not what was sent.
    pub(crate) fn is_whole(&mut self, queue: Option<&IoQueue>) -> Result<bool, Mismatch> {
        match &self.check {
            _ if self.left > 0 => Ok(false),
            None => Ok(true),
            Some(Check { said: None, .. }) => Ok(false),
            Some(Check { said: Some(Ok(said)), found }) if *said == found.value() => Ok(true),
            Some(Check { said: Some(Err(why)), .. }) => {
                self.fail(why.clone(), queue);
                Ok(true)
            }
            Some(_) => Err(Mismatch),
        }
    }

    /// Gives it up.
    pub(crate) fn fail(&mut self, why: String, queue: Option<&IoQueue>) {
        let sink = std::mem::replace(&mut self.sink, Sink::Nowhere(why));
        if let (Sink::There(storing), Some(queue)) = (sink, queue) {
            // Removes a file, perhaps.
            queue.run(move || drop(storing));
        }
        self.check = None;
    }

    /// The content, once all has come and was stored.
    pub(crate) fn finish(self) -> Result<D, String> {
        let incoming = match self.sink {
            Sink::Here(incoming) => incoming,
            Sink::Nowhere(why) => return Err(why),
            Sink::There(storing) => {
                let mut storing = storing.lock().unwrap_or_else(PoisonError::into_inner);
                std::mem::replace(&mut *storing, Err("it was stored before".to_owned()))?
            }
        };
        incoming.finish().map_err(|error| error.to_string())
    }
}

/// Content that is not what was sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mismatch;
