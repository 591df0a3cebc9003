//! What is in directories that become objects, or are copied.

use std::ffi::OsString;
use std::fs::{self, FileType, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// An error that names the entry of a tree it is about.
pub(crate) fn refuse(entry: &Path, why: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{:?} {why}", entry.display().to_string()))
}

/// An error of the system, with the name of the entry it is about.
pub(crate) fn name_entry(entry: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{:?}: {error}", entry.display().to_string()))
}

/// What an entry that is neither file, directory nor link is called.
pub(crate) fn special_name(file_type: FileType) -> &'static str {
    if file_type.is_fifo() {
        "is a named pipe"
    } else if file_type.is_socket() {
        "is a socket"
    } else {
        "is a device"
    }
}

/// A path below `root`, as seen from there.
pub(crate) fn inside<'a>(root: &Path, path: &'a Path) -> &'a Path {
    path.strip_prefix(root).unwrap_or(path)
}

/// The entries of a directory by name, so that whatever is made from them is the same every time.
pub(crate) fn sorted_entries(path: &Path) -> io::Result<Vec<(OsString, Metadata)>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        entries.push((entry.file_name(), entry.metadata()?));
    }
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(entries)
}

/// Whether the owner of a file may execute it: all that an object keeps of the rights of its files.
pub(crate) fn is_executable(metadata: &Metadata) -> bool {
    metadata.mode() & 0o100 != 0
}

/// The mode of files that are objects.
pub(crate) fn read_only_mode(executable: bool) -> u32 {
    if executable { 0o500 } else { 0o400 }
}
