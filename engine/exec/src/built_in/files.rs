//! Blobs from and to files, and blobs put together.

use super::one_output;
use crate::call::{Outputs, Stop, TaskCall};
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use rain_core::graph::DataType;
use rain_data::{FileCopy, INLINE_BYTES_MAX, Object, Rights, copy_tree, remove_tree};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Puts blobs together.
pub(super) fn concat(call: &TaskCall<'_>) -> Outputs {
    let mut size = 0;
    for (number, input) in call.inputs.iter().enumerate() {
        if input.data_type() != DataType::Blob {
            return Err(format!("buildin/concat takes blobs, but input {number} is a directory").into());
        }
        size += input.size();
    }
    if size <= INLINE_BYTES_MAX as u64 {
        let mut bytes = Vec::with_capacity(size as usize);
        for input in call.inputs {
            bytes.extend_from_slice(&input.contents()?);
        }
        return one_output(call, Object::inline(bytes, None));
    }
    let mut file = call.store.new_file()?;
    for input in call.inputs {
        match (input.inline_bytes(), input.file_path()) {
            (None, Some(path)) => file.append_file(path)?,
            _ => file.write_all(&input.contents()?)?,
        }
        if (call.cancelled)() {
            return Err(Stop::Cancelled);
        }
    }
    one_output(call, file.finish()?)
}

/// Copies a file in.
pub(super) fn load(call: &TaskCall<'_>, path: &Path) -> Outputs {
    let object = call.store.copy_file_in(path).map_err(|error| match error.kind() {
        io::ErrorKind::IsADirectory => format!("cannot load {}: it is a directory, use load_dir", path.display()),
        _ => format!("cannot load {}: {error}", path.display()),
    })?;
    one_output(call, object)
}

/// Writes an object to a place outside of the store: whole, or not at all.
pub(super) fn store(call: &TaskCall<'_>, path: &Path) -> Outputs {
    let object = &call.inputs[0];
    let wrong = |why: &dyn std::fmt::Display| Stop::Failed(format!("cannot store to {}: {why}", path.display()));
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(wrong(&"it has no file name"));
    };
    match fs::metadata(parent) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => return Err(wrong(&format_args!("{} is not a directory", parent.display()))),
        Err(error) => return Err(wrong(&format_args!("{}: {error}", parent.display()))),
    }
    match (object.data_type(), fs::metadata(path)) {
        (DataType::Blob, Ok(metadata)) if metadata.is_dir() => return Err(wrong(&"it is an existing directory")),
        (DataType::Directory, Ok(_)) => {
            return Err(wrong(&"it exists already, and a directory does not replace anything"));
        }
        _ => {}
    }
    let temporary = Temporary::beside(parent, name);
    let written = match object.data_type() {
        DataType::Blob => write_blob(object, &temporary.path).and_then(|()| fs::rename(&temporary.path, path)),
        DataType::Directory => write_dir(call, object, &temporary.path)
            .and_then(|()| Ok(renameat2(AT_FDCWD, &temporary.path, AT_FDCWD, path, RenameFlags::RENAME_NOREPLACE)?)),
    };
    match written {
        Ok(()) => Ok(Vec::new()),
        Err(error) => Err(wrong(&error)),
    }
}

fn write_blob(object: &Object, path: &Path) -> io::Result<()> {
    let mut target = OpenOptions::new().write(true).create_new(true).open(path)?;
    match (object.inline_bytes(), object.file_path()) {
        (None, Some(source)) => io::copy(&mut File::open(source)?, &mut target).map(drop),
        _ => target.write_all(&object.contents()?),
    }
}

fn write_dir(call: &TaskCall<'_>, object: &Object, path: &Path) -> io::Result<()> {
    copy_tree(object.path(call.store)?, path, FileCopy::Copy, Rights::PUBLIC)
}

/// A path that is removed, if something is there, unless it was renamed away.
struct Temporary {
    path: PathBuf,
}

impl Temporary {
    fn beside(parent: &Path, name: &std::ffi::OsStr) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut hidden = OsString::from(format!(".rain-{}-{number}-", std::process::id()));
        // A long name with a prefix could be too long.
        if name.len() <= 200 {
            hidden.push(name);
        }
        Self { path: parent.join(hidden) }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = remove_tree(&self.path);
    }
}
