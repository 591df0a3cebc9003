//! A file that is filled with content as it comes: by the thread that receives it, or by one of its own, so that receiving
//! and storing go on at the same time.

use crate::loan::Loan;
use crossbeam_channel::{Sender, unbounded};
use std::fs::File;
use std::io::{self, Write};
use std::thread::JoinHandle;

/// A file and who writes it.
pub(crate) enum Filling {
    Here(File),
    Elsewhere(Writer),
    /// It could not be written; the error was given.
    Failed,
}

/// A thread that writes.
pub(crate) struct Writer {
    pieces: Sender<Loan>,
    thread: JoinHandle<io::Result<File>>,
}

fn failed() -> io::Error {
    io::Error::other("it could not be written before")
}

impl Filling {
    /// Appends a piece.
    pub(crate) fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        match self {
            Filling::Here(file) => file.write_all(piece),
            Filling::Elsewhere(_) => self.stop()?.write_all(piece),
            Filling::Failed => Err(failed()),
        }
    }

    /// Appends a piece, on another thread. The lender bounds how much waits there, by what it lends.
    pub(crate) fn write_loan(&mut self, piece: Loan) -> io::Result<()> {
        if matches!(self, Filling::Here(_))
            && let Filling::Here(file) = std::mem::replace(self, Filling::Failed)
        {
            *self = Filling::Elsewhere(Writer::start(file)?);
        }
        let Filling::Elsewhere(writer) = self else { return Err(failed()) };
        if writer.pieces.send(piece).is_ok() {
            return Ok(());
        }
        // The thread has ended, for which there is a reason.
        self.stop().and(Err(failed()))
    }

    /// Waits for the other thread.
    fn stop(&mut self) -> io::Result<&mut File> {
        *self = match std::mem::replace(self, Filling::Failed) {
            Filling::Elsewhere(Writer { pieces, thread }) => {
                drop(pieces);
                Filling::Here(thread.join().unwrap_or_else(|_| Err(failed()))?)
            }
            other => other,
        };
        match self {
            Filling::Here(file) => Ok(file),
            _ => Err(failed()),
        }
    }

    /// The file, once all of it is written.
    pub(crate) fn finish(mut self) -> io::Result<File> {
        self.stop()?;
        let Filling::Here(file) = self else { return Err(failed()) };
        Ok(file)
    }
}

impl Writer {
    fn start(mut file: File) -> io::Result<Self> {
        let (pieces, take_pieces) = unbounded::<Loan>();
        let thread = std::thread::Builder::new().name("store-content".to_owned()).spawn(move || {
            for piece in take_pieces {
                file.write_all(&piece)?;
            }
            Ok(file)
        })?;
        Ok(Self { pieces, thread })
    }
}
