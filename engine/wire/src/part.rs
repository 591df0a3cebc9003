//! Content of which some has come. Much of it is stored by another thread than the one that receives it (see
//! [`Incoming::push_loan`]), so that receiving and storing, which each copy every byte, go on at the same time.

use crate::checksum::Checksum;
use crate::loan::{Lender, Loan};
use crate::payload::Incoming;
use std::io;

/// Content of so many bytes is lent for storing.
const LEND_FROM_BYTES: u64 = 1 << 20;
/// So many buffers may wait to be stored; then receiving waits.
const BUFFERS_MAX: usize = 16;
/// Bytes of a buffer: small enough to be in the cache when it is stored.
const BUFFER_BYTES: usize = 256 << 10;

/// A part of a message: one content.
pub(crate) struct Part<D> {
    incoming: Result<Box<dyn Incoming<D>>, String>,
    /// Bytes that have not come.
    pub(crate) left: u64,
    /// Of content whose checksum is said.
    pub(crate) check: Option<Check>,
    /// For content that is lent for storing.
    buffers: Option<Lender>,
}

/// What is known about content that came apart from its message.
#[derive(Default)]
pub(crate) struct Check {
    found: Checksum,
    /// What the checksum is to be, or why the sender could not read all of it.
    pub(crate) said: Option<Result<u64, String>>,
}

/// A buffer to receive into; waits for one when there are too many already.
fn take_buffer(buffers: &mut Lender) -> Vec<u8> {
    let back = match buffers.take_back() {
        None if buffers.lent() >= BUFFERS_MAX => buffers.wait_back(),
        back => back,
    };
    back.unwrap_or_else(|| vec![0; BUFFER_BYTES])
}

impl<D> Part<D> {
    /// A content of `length` bytes of which nothing has come; `apart` if its checksum will be said.
    pub(crate) fn new(incoming: Result<Box<dyn Incoming<D>>, String>, length: u64, apart: bool) -> Self {
        let buffers = (length >= LEND_FROM_BYTES).then(|| Lender::new(None));
        Self { incoming, left: length, check: apart.then(Check::default), buffers }
    }

    /// Takes bytes, at most as many as are left.
    pub(crate) fn push(&mut self, piece: &[u8]) {
        if let Some(check) = &mut self.check {
            check.found.update(piece);
        }
        self.left -= piece.len() as u64;
        let Some(buffers) = &mut self.buffers else {
            return store(&mut self.incoming, |incoming| incoming.push(piece));
        };
        for piece in piece.chunks(BUFFER_BYTES) {
            let mut buffer = take_buffer(buffers);
            buffer[..piece.len()].copy_from_slice(piece);
            let loan = buffers.lend(buffer, piece.len());
            store(&mut self.incoming, |incoming| incoming.push_loan(loan));
        }
    }

    /// Takes bytes with their memory, at most as many as are left.
    pub(crate) fn loan(&mut self, piece: Loan) {
        self.left -= piece.len() as u64;
        store(&mut self.incoming, |incoming| incoming.push_loan(piece));
    }

    /// So many bytes, at most as many as are left, do not come, for this reason.
    pub(crate) fn spoil(&mut self, length: u64, why: String) {
        self.left -= length;
        if self.incoming.is_ok() {
            self.fail(why);
        }
    }

    /// Lets `read` put bytes into a buffer, at most as many as are left; how many that were.
    pub(crate) fn fill(&mut self, read: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(BUFFER_BYTES);
        let mut buffer = self.buffers.as_mut().map_or_else(|| vec![0; most], take_buffer);
        let count = match read(&mut buffer[..most]) {
            Ok(count) => count.min(most),
            Err(error) => {
                if let Some(buffers) = &mut self.buffers {
                    drop(buffers.lend(buffer, 0));
                }
                return Err(error);
            }
        };
        self.left -= count as u64;
        if let Some(check) = &mut self.check {
            check.found.update(&buffer[..count]);
        }
        match &mut self.buffers {
            None => store(&mut self.incoming, |incoming| incoming.push(&buffer[..count])),
            Some(buffers) => {
                let loan = buffers.lend(buffer, count);
                store(&mut self.incoming, |incoming| incoming.push_loan(loan));
            }
        }
        Ok(count)
    }

    /// Whether it has come whole; an error when it is not what was sent.
    pub(crate) fn is_whole(&mut self) -> Result<bool, Mismatch> {
        match &self.check {
            _ if self.left > 0 => Ok(false),
            None => Ok(true),
            Some(Check { said: None, .. }) => Ok(false),
            Some(Check { said: Some(Ok(said)), found }) if *said == found.value() => Ok(true),
            Some(Check { said: Some(Err(why)), .. }) => {
                self.fail(why.clone());
                Ok(true)
            }
            Some(_) => Err(Mismatch),
        }
    }

    /// Gives it up.
    pub(crate) fn fail(&mut self, why: String) {
        self.incoming = Err(why);
        self.check = None;
    }

    /// Whether `finish` may take long.
    pub(crate) fn is_slow(&self) -> bool {
        self.incoming.as_ref().is_ok_and(|incoming| incoming.is_slow())
    }

    /// The content, once all has come.
    pub(crate) fn finish(self) -> Result<D, String> {
        self.incoming?.finish().map_err(|error| error.to_string())
    }
}

/// Content that is not what was sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mismatch;

/// Stores a piece; what comes after a failure is dropped.
fn store<D>(
    incoming: &mut Result<Box<dyn Incoming<D>>, String>,
    push: impl FnOnce(&mut dyn Incoming<D>) -> io::Result<()>,
) {
    if let Ok(into) = incoming
        && let Err(error) = push(into.as_mut())
    {
        *incoming = Err(error.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keeps what it is lent until the next piece comes.
    struct Slow(Option<Loan>, u64);

    impl Incoming<u64> for Slow {
        fn push(&mut self, piece: &[u8]) -> io::Result<()> {
            self.1 += piece.len() as u64;
            Ok(())
        }

        fn push_loan(&mut self, piece: Loan) -> io::Result<()> {
            self.push(&piece)?;
            self.0 = Some(piece);
            Ok(())
        }

        fn is_slow(&self) -> bool {
            false
        }

        fn finish(self: Box<Self>) -> io::Result<u64> {
            Ok(self.1)
        }
    }

    #[test]
    fn reads_that_fail_cost_no_buffers() {
        let length = 4 << 20;
        let mut part = Part::new(Ok(Box::new(Slow(None, 0)) as Box<dyn Incoming<u64>>), length, true);
        while part.left > 0 {
            for _ in 0..BUFFERS_MAX {
                let failed = part.fill(|_| Err(io::ErrorKind::WouldBlock.into()));
                assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::WouldBlock);
            }
            assert!(part.fill(|room| Ok(room.len())).unwrap() > 0);
        }
        assert_eq!(part.finish(), Ok(length));
    }
}
