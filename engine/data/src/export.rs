//! Objects written to places outside of the store.

use crate::object::Object;
use crate::store::Store;
use crate::tree::{FileCopy, Rights, copy_tree, remove_tree};
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use rain_core::graph::DataType;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Writes an object to `path`, whole or not at all; a blob replaces a file, a directory replaces nothing.
///
/// # Errors
/// When there is no directory to write to, something else is in the place, or the system refuses.
pub fn export(object: &Object, store: &Store, path: &Path) -> io::Result<()> {
    let wrong = |why: String| Err(io::Error::other(why));
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return wrong("it has no file name".to_owned());
    };
    match fs::metadata(parent) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => return wrong(format!("{} is not a directory", parent.display())),
        Err(error) => return wrong(format!("{}: {error}", parent.display())),
    }
    match (object.data_type(), fs::metadata(path)) {
        (DataType::Blob, Ok(metadata)) if metadata.is_dir() => return wrong("it is an existing directory".to_owned()),
        (DataType::Directory, Ok(_)) => {
            return wrong("it exists already, and a directory does not replace anything".to_owned());
        }
        _ => {}
    }
    let temporary = Temporary::beside(parent, name);
    match object.data_type() {
        DataType::Blob => {
            write_blob(object, &temporary.path)?;
            fs::rename(&temporary.path, path)
        }
        DataType::Directory => {
            copy_tree(object.path(store)?, &temporary.path, FileCopy::Copy, Rights::PUBLIC)?;
            Ok(renameat2(AT_FDCWD, &temporary.path, AT_FDCWD, path, RenameFlags::RENAME_NOREPLACE)?)
        }
    }
}

fn write_blob(object: &Object, path: &Path) -> io::Result<()> {
    let mut target = OpenOptions::new().write(true).create_new(true).open(path)?;
    match (object.inline_bytes(), object.file_path()) {
        (None, Some(source)) => io::copy(&mut File::open(source)?, &mut target).map(drop),
        _ => target.write_all(&object.contents()?),
    }
}

/// A path that is removed, if something is there, unless it was renamed away.
struct Temporary {
    path: PathBuf,
}

impl Temporary {
    fn beside(parent: &Path, name: &OsStr) -> Self {
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
