//! What an executor and everything that it starts write to standard output and error: two pipes, of which only the end is kept.
//!
//! Nothing of it is in a file, so it cannot fill a file system, and whoever writes faster than the governor reads, waits.
//!
//! So that a task's output is what its own call has written, places are counted in bytes from the process's start. An executor
//! finds out where it is from a page that it shares with the governor: what the governor has taken out of each pipe, and what is
//! still in it.

use crate::process::end_text;
use memmap2::MmapRaw;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::{ftruncate, pipe2, read};
use rain_protocol::executor::Written;
use rain_protocol::peer::{OUTPUT_BYTES_MAX, TaskOutput};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering, fence};

/// The environment variable that names the descriptor of the shared page.
pub(super) const PAGE_VARIABLE: &str = "RAIN_EXECUTOR_LOG";
/// The descriptor that it has in the executor.
pub(super) const PAGE_DESCRIPTOR: i32 = 3;

const PAGE_BYTES: usize = 4096;
/// Bytes of each pipe that are kept: more than a task's output may have, as calls that are sent ahead may have written before an
/// answer is heard.
const KEPT_BYTES: usize = 128 * 1024;
/// How much goes into messages, of each pipe.
const SHOWN_BYTES: usize = 4 * 1024;
/// What is read at the end of a session or process: all that a pipe may hold that was made larger.
const LAST_BYTES_MAX: u64 = 4 << 20;

/// Numbers in the shared page. Those of the second pipe come after those of the first one.
#[derive(Clone, Copy)]
enum Slot {
    /// Bytes that the governor has taken out of the pipe.
    Taken = 0,
    /// Where the call began that the executor is at; written by the executor.
    Begun = 1,
    /// Odd while the governor is between taking bytes out and counting them.
    Moving = 2,
}

/// How many they are for each pipe.
const SLOTS: usize = 3;

/// The governor's end of one pipe.
#[derive(Debug)]
struct Stream {
    pipe: OwnedFd,
    /// Where its numbers begin in the page.
    first_slot: usize,
    /// The last bytes that were taken.
    kept: Vec<u8>,
    taken: u64,
    /// What was written before is of other sessions.
    since: u64,
}

/// The governor's ends of an executor's standard output and error.
#[derive(Debug)]
pub(super) struct Log {
    streams: [Stream; 2],
    page: MmapRaw,
}

/// What the executor gets: the other ends of the pipes for standard output and error, and the shared page.
pub(super) struct TheirEnds {
    pub(super) output: [OwnedFd; 2],
    pub(super) page: OwnedFd,
}

impl Stream {
    /// A pipe, and its other end.
    fn new(number: usize) -> io::Result<(Self, OwnedFd)> {
        let (pipe, output) = pipe2(OFlag::O_CLOEXEC)?;
        fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok((Self { pipe, first_slot: SLOTS * number, kept: Vec::new(), taken: 0, since: 0 }, output))
    }

    fn slot<'a>(&self, page: &'a MmapRaw, slot: Slot) -> &'a AtomicU64 {
        // SAFETY: the page is mapped for as long as `page` lives, is aligned, and has room for the slots of two pipes; other
        // processes change it, which is what atomics are for.
        unsafe { &*page.as_mut_ptr().cast::<AtomicU64>().add(self.first_slot + slot as usize) }
    }

    /// Takes what there is, at most as much as `buffer` holds; returns how much.
    fn take(&mut self, page: &MmapRaw, buffer: &mut [u8]) -> usize {
        let moving = self.slot(page, Slot::Moving).load(Ordering::Relaxed);
        self.slot(page, Slot::Moving).store(moving.wrapping_add(1), Ordering::Relaxed);
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
        self.slot(page, Slot::Taken).store(self.taken, Ordering::SeqCst);
        self.slot(page, Slot::Moving).store(moving.wrapping_add(2), Ordering::SeqCst);
        self.kept.extend_from_slice(&buffer[..count]);
        if self.kept.len() > 2 * KEPT_BYTES {
            self.kept.drain(..self.kept.len() - KEPT_BYTES);
        }
        count
    }

    /// Takes what was written up to `end`.
    fn take_up_to(&mut self, page: &MmapRaw, end: u64) {
        let mut buffer = vec![0; if self.taken < end { KEPT_BYTES } else { 0 }];
        while self.taken < end && self.take(page, &mut buffer) > 0 {}
    }

    /// The end of what was written from `start` to `end`, at most so many bytes.
    fn text(&self, (start, end): (u64, u64), bytes_max: usize) -> String {
        // Whatever an executor says, these are places in what is kept.
        let first_kept = self.taken - self.kept.len() as u64;
        let end = end.clamp(first_kept, self.taken);
        let from = start.max(self.since).min(end);
        let shown = from.max(end.saturating_sub(bytes_max as u64)).max(first_kept);
        end_text(&self.kept[(shown - first_kept) as usize..(end - first_kept) as usize], shown > from)
    }
}

impl Log {
    pub(super) fn new() -> io::Result<(Self, TheirEnds)> {
        let page = memfd_create(c"rain-log", MFdFlags::MFD_CLOEXEC)?;
        ftruncate(&page, PAGE_BYTES as i64)?;
        let map = MmapRaw::map_raw(&page)?;
        let ((stdout, to_stdout), (stderr, to_stderr)) = (Stream::new(0)?, Stream::new(1)?);
        Ok((Self { streams: [stdout, stderr], page: map }, TheirEnds { output: [to_stdout, to_stderr], page }))
    }

    /// Each is readable when there is something to take.
    pub(super) fn pipes(&self) -> [BorrowedFd<'_>; 2] {
        self.streams.each_ref().map(|stream| stream.pipe.as_fd())
    }

    /// Takes what there is in one of the pipes, at most as much as `buffer` holds.
    pub(super) fn take(&mut self, pipe: usize, buffer: &mut [u8]) {
        self.streams[pipe].take(&self.page, buffer);
    }

    /// Another session begins: forgets what was written so far.
    pub(super) fn begin_session(&mut self) {
        for stream in &mut self.streams {
            // A process that was left behind may write all the time.
            stream.take_up_to(&self.page, stream.taken + LAST_BYTES_MAX);
            stream.since = stream.taken;
            stream.kept = Vec::new();
        }
    }

    /// What was written at these places.
    pub(super) fn output(&mut self, Written(places): Written) -> TaskOutput {
        let [stdout, stderr] = [0, 1].map(|number| {
            let stream = &mut self.streams[number];
            stream.take_up_to(&self.page, places[number].1);
            stream.text(places[number], OUTPUT_BYTES_MAX)
        });
        TaskOutput { stdout, stderr }
    }

    /// The end of what the last call of a process that has ended wrote.
    pub(super) fn last_words(&mut self) -> TaskOutput {
        let [stdout, stderr] = [0, 1].map(|number| {
            let stream = &mut self.streams[number];
            stream.take_up_to(&self.page, stream.taken + LAST_BYTES_MAX);
            let begun = stream.slot(&self.page, Slot::Begun).load(Ordering::Acquire);
            stream.text((begun, stream.taken), OUTPUT_BYTES_MAX)
        });
        TaskOutput { stdout, stderr }
    }
}

/// The end of a task's output, for messages.
pub(super) fn shown(output: &TaskOutput) -> String {
    let mut text = String::new();
    for written in [&output.stdout, &output.stderr] {
        let written = written.trim_end();
        if written.is_empty() {
            continue;
        }
        if !text.is_empty() {
            text.push('\n');
        }
        let first = written.len().saturating_sub(SHOWN_BYTES);
        text.push_str(&end_text(&written.as_bytes()[first..], first > 0));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::unistd::write;

    fn output(log: &mut Log, places: [(u64, u64); 2]) -> [String; 2] {
        let TaskOutput { stdout, stderr } = log.output(Written(places));
        [stdout, stderr]
    }

    fn begin(log: &Log, places: [u64; 2]) {
        for (stream, place) in log.streams.iter().zip(places) {
            stream.slot(&log.page, Slot::Begun).store(place, Ordering::Release);
        }
    }

    #[test]
    fn an_output_is_of_its_own_call() {
        let (mut log, theirs) = Log::new().unwrap();
        let [stdout, stderr] = &theirs.output;
        write(stdout, b"before\n").unwrap();
        log.take(0, &mut [0; 4]);
        write(stdout, b"first\nsecond\n").unwrap();
        write(stderr, b"wrong\n").unwrap();
        assert_eq!(output(&mut log, [(7, 13), (0, 0)]), ["first\n", ""]);
        assert_eq!(output(&mut log, [(13, 20), (0, 6)]), ["second\n", "wrong\n"]);
        begin(&log, [7, 0]);
        assert_eq!(shown(&log.last_words()), "first\nsecond\nwrong");
        begin(&log, [13, 6]);
        assert_eq!(shown(&log.last_words()), "second");
        begin(&log, [20, 6]);
        assert_eq!(shown(&log.last_words()), "");
        // Places that an executor makes up are ones of what is kept.
        assert_eq!(output(&mut log, [(30, 50), (50, 30)]), ["", ""]);
        assert_eq!(output(&mut log, [(0, u64::MAX), (0, 0)])[0], "before\nfirst\nsecond\n");
        write(stdout, b"of this session").unwrap();
        log.begin_session();
        write(stdout, b", and of that one").unwrap();
        assert_eq!(output(&mut log, [(0, 100), (0, 100)]), [", and of that one", ""]);
    }

    #[test]
    fn only_the_end_is_kept_and_shown() {
        let (mut log, theirs) = Log::new().unwrap();
        let stdout = &theirs.output[0];
        let mut written = 0;
        while written < 5 * KEPT_BYTES as u64 {
            written += write(stdout, &[b'x'; 4096]).unwrap() as u64;
            log.take(0, &mut [0; 65_536]);
        }
        assert!(log.streams[0].kept.len() <= 2 * KEPT_BYTES);
        written += write(stdout, "ä end\n".as_bytes()).unwrap() as u64;
        let all = log.output(Written([(0, written), (0, 0)]));
        assert!(all.stdout.starts_with("...xxx") && all.stdout.ends_with("xä end\n"), "{}", all.stdout.len());
        assert_eq!(all.stdout.len(), OUTPUT_BYTES_MAX + 3);
        assert_eq!(shown(&all).len(), SHOWN_BYTES + 3);
        // Cut within a character.
        let start = written - "ä end\n".len() as u64 + 1 - OUTPUT_BYTES_MAX as u64;
        let cut = log.output(Written([(start - 10, start + OUTPUT_BYTES_MAX as u64), (0, 0)]));
        assert!(cut.stdout.starts_with("...x"));
        let text = TaskOutput { stdout: format!("ä{}", "y".repeat(SHOWN_BYTES - 1)), stderr: String::new() };
        assert_eq!(shown(&text), format!("...{}", "y".repeat(SHOWN_BYTES - 1)));
    }

    #[test]
    fn the_end_of_a_process_that_has_ended_is_there() {
        let (mut log, theirs) = Log::new().unwrap();
        write(&theirs.output[1], b"last").unwrap();
        drop(theirs);
        assert_eq!([log.last_words().stderr, log.last_words().stderr], ["last", "last"]);
    }
}
