//! Errors for lack of space.

use std::io;
use std::path::Path;

/// Turns an error for lack of space in the store at `root` into one that says where and what to do; others stay as they are, and so does what was
/// turned before.
pub(crate) fn explain_lack(root: &Path, error: io::Error) -> io::Error {
    // By kind, as errors that name an entry have no number any more.
    let lacks = match error.kind() {
        io::ErrorKind::StorageFull => "no space is left",
        io::ErrorKind::QuotaExceeded => "the disk quota is used up",
        _ => return error,
    };
    let text =
        format!("{lacks} in the working directory {}: free some, or start Rain with another --workdir", root.display());
    io::Error::new(error.kind(), text)
}
