//! A stream with TLS on it, whose handshake is over.

use std::io::{self, IoSlice, Read, Write};

/// Reads and writes as its stream does: without waiting, or until the stream's time is over.
pub(crate) struct TlsSocket<S> {
    pub(crate) stream: S,
    tls: rustls::Connection,
    /// Plain bytes that have come before, and how many of them were taken.
    early: Vec<u8>,
    early_taken: usize,
}

impl<S: Read + Write> TlsSocket<S> {
    /// `pending_max`: encrypted bytes that wait for the system, at most; `early`: what has come, decrypted.
    pub(crate) fn new(stream: S, mut tls: rustls::Connection, pending_max: usize, early: Vec<u8>) -> Self {
        tls.set_buffer_limit(Some(pending_max));
        Self { stream, tls, early, early_taken: 0 }
    }

    /// Reads plain bytes; 0 is the end of the stream.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let early = self.early.get(self.early_taken..).unwrap_or_default();
        if !early.is_empty() {
            let count = early.len().min(buffer.len());
            buffer[..count].copy_from_slice(&early[..count]);
            self.early_taken += count;
            return Ok(count);
        }
        self.early = Vec::new();
        loop {
            match self.tls.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                read => return read,
            }
            match self.tls.read_tls(&mut self.stream) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            self.tls.process_new_packets().map_err(io::Error::other)?;
            self.flush()?;
        }
    }

    /// Takes what there is room for.
    pub(crate) fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.flush()?;
        if self.tls.wants_write() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let written = self.tls.writer().write_vectored(slices)?;
        self.flush()?;
        Ok(written)
    }

    /// Writes what the system takes now.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut self.stream) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub(crate) fn has_output(&self) -> bool {
        self.tls.wants_write()
    }

    /// Tells the other side that nothing more comes, as far as this can be done now.
    pub(crate) fn say_end(&mut self) {
        self.tls.send_close_notify();
        let _ = self.flush();
    }
}
