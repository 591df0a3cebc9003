//! What an executor and everything that it starts write to standard output and error: a pipe, of which only the end is kept.
//!
//! Nothing of it is in a file, so it cannot fill a file system, and whoever writes faster than the governor reads, waits.
//!
//! So that an error holds only what its own call has written, places are counted in bytes from the process's start. An executor
//! finds out where it is from a page that it shares with the governor: what the governor has taken out of the pipe, and what is
//! still in it.

use memmap2::MmapRaw;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::{ftruncate, pipe2, read};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering, fence};

/// The environment variable that names the descriptor of the shared page.
pub(super) const PAGE_VARIABLE: &str = "RAIN_EXECUTOR_LOG";
/// The descriptor that it has in the executor.
pub(super) const PAGE_DESCRIPTOR: i32 = 3;

const PAGE_BYTES: usize = 4096;
/// Bytes that are kept: more than is shown, as calls that are sent ahead may have written before a failure is heard of.
const KEPT_BYTES: usize = 64 * 1024;
/// How much goes into messages.
const SHOWN_BYTES: u64 = 4 * 1024;
/// What is read at the end of a session or process: all that a pipe may hold that was made larger.
const LAST_BYTES_MAX: u64 = 4 << 20;

/// Numbers in the shared page.
#[derive(Clone, Copy)]
enum Slot {
    /// Bytes that the governor has taken out of the pipe.
    Taken = 0,
    /// Where the call began that the executor is at; written by the executor.
    Begun = 1,
    /// Odd while the governor is between taking bytes out and counting them.
    Moving = 2,
}

/// The governor's end of an executor's standard output and error.
#[derive(Debug)]
pub(super) struct Log {
    pipe: OwnedFd,
    page: MmapRaw,
    /// The last bytes that were taken.
    kept: Vec<u8>,
    taken: u64,
    /// What was written before is of other sessions.
    since: u64,
}

/// What the executor gets: the pipe's other end, and the shared page.
pub(super) struct TheirEnds {
    pub(super) output: OwnedFd,
    pub(super) page: OwnedFd,
}

impl Log {
    pub(super) fn new() -> io::Result<(Self, TheirEnds)> {
        let page = memfd_create(c"rain-log", MFdFlags::MFD_CLOEXEC)?;
        ftruncate(&page, PAGE_BYTES as i64)?;
        let (pipe, output) = pipe2(OFlag::O_CLOEXEC)?;
        fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let map = MmapRaw::map_raw(&page)?;
        Ok((Self { pipe, page: map, kept: Vec::new(), taken: 0, since: 0 }, TheirEnds { output, page }))
    }

    /// Readable when there is something to take.
    pub(super) fn pipe(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    fn slot(&self, slot: Slot) -> &AtomicU64 {
        // SAFETY: the page is mapped for as long as `self`, is aligned, and has room for all slots; other processes change it,
        // which is what atomics are for.
        unsafe { &*self.page.as_mut_ptr().cast::<AtomicU64>().add(slot as usize) }
    }

    /// Takes what there is, at most as much as `buffer` holds; returns how much.
    pub(super) fn take(&mut self, buffer: &mut [u8]) -> usize {
        let moving = self.slot(Slot::Moving).load(Ordering::Relaxed);
        self.slot(Slot::Moving).store(moving.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let count = loop {
            match read(&self.pipe, buffer) {
                Ok(count) => break count,
                Err(Errno::EINTR) => {}
                // Nothing there, or nobody can write any more.
                Err(_) => break 0,
            }
        };
        self.taken += count as u64;
        self.slot(Slot::Taken).store(self.taken, Ordering::SeqCst);
        self.slot(Slot::Moving).store(moving.wrapping_add(2), Ordering::SeqCst);
        self.kept.extend_from_slice(&buffer[..count]);
        if self.kept.len() > 2 * KEPT_BYTES {
            self.kept.drain(..self.kept.len() - KEPT_BYTES);
        }
        count
    }

    /// Takes what was written up to `end`.
    fn take_up_to(&mut self, end: u64) {
        let mut buffer = vec![0; KEPT_BYTES];
        while self.taken < end && self.take(&mut buffer) > 0 {}
    }

    /// Another session begins: forgets what was written so far.
    pub(super) fn begin_session(&mut self) {
        // A process that was left behind may write all the time.
        self.take_up_to(self.taken + LAST_BYTES_MAX);
        self.since = self.taken;
        self.kept = Vec::new();
    }

    /// The end of what was written from `start` to `end`.
    pub(super) fn between(&mut self, start: u64, end: u64) -> String {
        self.take_up_to(end);
        self.text(start, end)
    }

    /// The end of what the last call of a process that has ended wrote.
    pub(super) fn last_words(&mut self) -> String {
        self.take_up_to(self.taken + LAST_BYTES_MAX);
        let begun = self.slot(Slot::Begun).load(Ordering::Acquire);
        self.text(begun, self.taken)
    }

    fn text(&self, start: u64, end: u64) -> String {
        // Whatever an executor says, these are places in what is kept.
        let first_kept = self.taken - self.kept.len() as u64;
        let end = end.clamp(first_kept, self.taken);
        let from = start.max(self.since).min(end);
        let shown = from.max(end.saturating_sub(SHOWN_BYTES)).max(first_kept);
        let bytes = &self.kept[(shown - first_kept) as usize..(end - first_kept) as usize];
        let is_cut = shown > from;
        // A character that was cut in two would become a replacement character.
        let broken = bytes.iter().take(3).take_while(|byte| is_cut && **byte & 0xc0 == 0x80).count();
        let text = String::from_utf8_lossy(&bytes[broken..]);
        format!("{}{}", if is_cut { "..." } else { "" }, text.trim_end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::unistd::write;

    #[test]
    fn an_error_holds_the_end_of_its_own_output() {
        let (mut log, theirs) = Log::new().unwrap();
        write(&theirs.output, b"before\n").unwrap();
        log.begin_session();
        write(&theirs.output, b"first\nsecond\n").unwrap();
        assert_eq!(log.between(0, 13), "first");
        assert_eq!(log.between(13, 20), "second");
        assert_eq!(log.between(20, 20), "");
        assert_eq!(log.between(25, 3), "");
        assert_eq!(log.between(u64::MAX, u64::MAX), "");
        assert_eq!(log.last_words(), "first\nsecond");
        log.slot(Slot::Begun).store(13, Ordering::SeqCst);
        assert_eq!(log.last_words(), "second");
        log.slot(Slot::Begun).store(u64::MAX, Ordering::SeqCst);
        assert_eq!(log.last_words(), "");
        assert_eq!(log.slot(Slot::Taken).load(Ordering::SeqCst), 20);
    }

    #[test]
    fn much_output_is_taken_and_little_is_kept() {
        let (mut log, theirs) = Log::new().unwrap();
        let mut buffer = vec![0; 4096];
        let mut written = 0u64;
        for _ in 0..1000 {
            written += write(&theirs.output, &[b'x'; 4096]).unwrap() as u64;
            log.take(&mut buffer);
        }
        assert!(log.kept.len() <= 2 * KEPT_BYTES && log.kept.capacity() <= 4 * KEPT_BYTES);
        write(&theirs.output, "ä end\n".as_bytes()).unwrap();
        // The last four KiB begin in the middle of a character.
        let end = written + 7;
        assert_eq!(log.between(0, end), format!("...{}ä end", "x".repeat(4096 - 7)));
        assert_eq!(log.between(0, written), format!("...{}", "x".repeat(4096)));
        assert_eq!(log.between(0, 100), "...", "it is not kept any more");
        assert_eq!(log.taken, end);
    }

    #[test]
    fn the_end_of_a_pipe_is_no_error() {
        let (mut log, theirs) = Log::new().unwrap();
        write(&theirs.output, b"last").unwrap();
        drop(theirs);
        assert_eq!(log.last_words(), "last");
        assert_eq!(log.last_words(), "last");
    }
}
