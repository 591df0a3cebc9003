//! Finding out that a file is not any more as it was when it became an object.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;

/// What changes when a file is written to, or its rights are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    size: u64,
    inode: u64,
    /// How many names it has.
    names: u64,
    mode: u32,
    /// When its content was changed, nanoseconds since 1970.
    modified: i64,
    /// When anything about it was changed: also its rights, its names or who has it.
    changed: i64,
}

fn nanoseconds(seconds: i64, rest: i64) -> i64 {
    seconds.wrapping_mul(1_000_000_000).wrapping_add(rest)
}

impl Stamp {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self {
            size: metadata.size(),
            inode: metadata.ino(),
            names: metadata.nlink(),
            mode: metadata.mode(),
            modified: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            changed: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether somebody has changed the file, which is as `now` says, since this was made.
    pub(crate) fn is_outdated(&self, now: &Stamp) -> bool {
        let content = |stamp: &Stamp| (stamp.size, stamp.inode, stamp.mode, stamp.modified);
        // A file that another governor on this machine has, too, or a directory object, gets and loses names and is renamed.
        let is_sole = self.names == 1 && now.names == 1;
        content(self) != content(now) || (is_sole && self.changed != now.changed)
    }

    /// When the content was changed last, nanoseconds since 1970.
    pub(crate) fn modified(&self) -> i64 {
        self.modified
    }
}

/// The error for who wants to read a file that was changed.
pub(crate) fn changed() -> io::Error {
    let text =
        "its content was changed after it was made: a task has written to an input, though objects are immutable";
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// The error for a file that cannot be looked at.
pub(crate) fn missing(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::NotFound => {
            let text = "its file is gone: a task has removed an input, though objects are immutable";
            io::Error::new(error.kind(), text)
        }
        _ => error,
    }
}
