//! Removing what is protected against changes.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// Removes a file or a whole directory, whatever rights its directories have.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.is_dir() => return fs::remove_file(path),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    // Killed programs may still be adding a file while they die.
    let mut tries = 10;
    loop {
        unprotect(path);
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty && tries > 0 => tries -= 1,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            result => return result,
        }
    }
}

fn unprotect(path: &Path) {
    // What cannot be changed here will make the removal fail, with a better message.
    if fs::metadata(path).is_ok_and(|metadata| metadata.mode() & 0o700 != 0o700) {
        let _ = fs::set_permissions(path, Permissions::from_mode(0o700));
    }
    let Ok(entries) = fs::read_dir(path) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|file_type| file_type.is_dir()) {
            unprotect(&entry.path());
        }
    }
}
