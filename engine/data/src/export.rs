//! Objects written to places outside of the store.

use crate::copy;
use crate::object::Object;
use crate::removal::remove_tree;
use crate::store::Store;
use crate::tree::{DirTree, FileCopy, Rights, copy_tree};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use rain_model::graph::DataType;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long the reader of a named pipe is waited for.
const READER_TIME_MAX: Duration = Duration::from_secs(5);
/// Links that lead to links, after which Linux gives up.
const LINKS_MAX: usize = 40;
const PIECE_BYTES: usize = 64 << 10;

/// Waits until the descriptor can be written to, or without one for some milliseconds; false if there is no time for it.
pub type WaitToWrite<'a> = dyn Fn(Option<BorrowedFd<'_>>) -> bool + 'a;

/// Writes an object to `path`, of which links are followed. A blob becomes a file, whole or not at all; it replaces a
/// regular file, whose rights it keeps, and is written into what is a device or a named pipe. A directory replaces nothing.
///
/// # Errors
/// When there is no directory to write to, something else is in the place, nobody reads the named pipe, `wait` has no time,
/// or the system refuses.
pub fn export(object: &Object, store: &Store, path: &Path, wait: &WaitToWrite<'_>) -> io::Result<()> {
    let wrong = |why: &str| Err(io::Error::other(why));
    check_parent(path)?;
    let found = match fs::metadata(path) {
        Ok(metadata) => Some(metadata),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    match (object.data_type(), found) {
        (DataType::Blob, None) => write_beside(object, store, &link_target(path)?, None),
        (DataType::Blob, Some(metadata)) => {
            let kind = metadata.file_type();
            if kind.is_file() {
                write_beside(object, store, &path.canonicalize()?, Some(&metadata))
            } else if kind.is_dir() {
                wrong("it is an existing directory")
            } else if kind.is_fifo() || kind.is_char_device() || kind.is_block_device() {
                write_into(object, store, path, wait)
            } else {
                wrong("it is a socket, to which no content can be written")
            }
        }
        (DataType::Directory, None) => {
            let target = link_target(path)?;
            let temporary = Temporary::beside(&target)?;
            copy_tree(object.path(store)?, &temporary.path, FileCopy::Copy, Rights::PUBLIC)?;
            object.as_tree().map_or(Ok(()), DirTree::check_all)?;
            Ok(renameat2(AT_FDCWD, &temporary.path, AT_FDCWD, &target, RenameFlags::RENAME_NOREPLACE)?)
        }
        (DataType::Directory, Some(_)) => wrong("it exists already, and a directory does not replace anything"),
    }
}

/// Says what is wrong with the directory that `path` is in; returns it.
fn check_parent(path: &Path) -> io::Result<(&Path, &OsStr)> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::other("it has no file name"));
    };
    match fs::metadata(parent) {
        Ok(metadata) if metadata.is_dir() => Ok((parent, name)),
        Ok(_) => Err(io::Error::other(format!("{} is not a directory", parent.display()))),
        Err(error) => Err(io::Error::other(format!("{}: {error}", parent.display()))),
    }
}

/// Where links lead in the end, though nothing is there; `path` itself if it is none.
fn link_target(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        let Ok(target) = fs::read_link(&path) else { return Ok(path) };
        path.pop();
        path.push(target);
    }
    Err(Errno::ELOOP.into())
}

/// Puts a blob at `target`, instead of the regular file that was `found` there.
fn write_beside(object: &Object, store: &Store, target: &Path, found: Option<&Metadata>) -> io::Result<()> {
    let temporary = Temporary::beside(target)?;
    let mode = match found {
        // Others are to see it when it has its owner.
        Some(_) => 0o600,
        None => Rights::PUBLIC.file_mode(object.is_executable()),
    };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary.path)?;
    match object.inline_bytes() {
        Some(bytes) => file.write_all(bytes)?,
        None => {
            copy::append(&object.open(store)?, &file, 0)?;
            object.check()?;
        }
    }
    if let Some(found) = found {
        // A file that is not ours may be replaced where its directory is ours, but not given away.
        let given = fchown(&file, Some(found.uid()), Some(found.gid())).is_ok();
        let kept_bits = if given { 0o7777 } else { 0o777 };
        file.set_permissions(Permissions::from_mode(found.mode() & kept_bits))?;
    }
    fs::rename(&temporary.path, target)
}

/// Writes a blob into a device or a named pipe.
fn write_into(object: &Object, store: &Store, path: &Path, wait: &WaitToWrite<'_>) -> io::Result<()> {
    let mut target = open_to_write(path, wait)?;
    if target.metadata()?.is_file() {
        return Err(io::Error::other("it has become a file while it was opened"));
    }
    if let Some(bytes) = object.inline_bytes() {
        return write_waiting(&mut target, bytes, wait);
    }
    let mut source = object.open(store)?;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match source.read(&mut piece)? {
            0 => return object.check(),
            length => write_waiting(&mut target, &piece[..length], wait)?,
        }
    }
}

/// Opens a device or a named pipe, whose reader may come a little later.
fn open_to_write(path: &Path, wait: &WaitToWrite<'_>) -> io::Result<File> {
    let begin = Instant::now();
    loop {
        let flags = nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY;
        match OpenOptions::new().write(true).custom_flags(flags).open(path) {
            Err(error) if error.raw_os_error() == Some(Errno::ENXIO as i32) => {
                if begin.elapsed() >= READER_TIME_MAX || !fs::metadata(path)?.file_type().is_fifo() {
                    let why = "nobody reads from it: a named pipe takes content while another process has it open";
                    return Err(io::Error::new(error.kind(), why));
                }
                if !wait(None) {
                    return Err(stopped());
                }
            }
            opened => return opened,
        }
    }
}

fn write_waiting(target: &mut File, mut bytes: &[u8], wait: &WaitToWrite<'_>) -> io::Result<()> {
    while !bytes.is_empty() {
        match target.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(length) => bytes = &bytes[length..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if !wait(Some(target.as_fd())) {
                    return Err(stopped());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                return Err(io::Error::new(error.kind(), "who read from it has stopped before the end of the content"));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn stopped() -> io::Error {
    io::Error::other("it was stopped while it waited for who reads from it")
}

/// A path that is removed, if something is there, unless it was renamed away.
struct Temporary {
    path: PathBuf,
}

impl Temporary {
    /// A hidden name in the same directory.
    fn beside(target: &Path) -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let (parent, name) = check_parent(target)?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut hidden = OsString::from(format!(".rain-{}-{number}-", std::process::id()));
        // A long name with a prefix could be too long.
        if name.len() <= 200 {
            hidden.push(name);
        }
        Ok(Self { path: parent.join(hidden) })
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = remove_tree(&self.path);
    }
}
