//! The file that says that a server or a governor is ready.

use super::error::RemoteError;
use std::fs;
use std::io;
use std::path::Path;

/// Removes the ready file of an earlier run.
///
/// # Errors
/// When it is there and cannot be removed.
pub fn clear_ready_file(path: Option<&Path>) -> Result<(), RemoteError> {
    match path.map(|path| (path, fs::remove_file(path))) {
        Some((path, Err(error))) if error.kind() != io::ErrorKind::NotFound => {
            Err(RemoteError::ReadyFile(path.to_owned(), error))
        }
        _ => Ok(()),
    }
}

/// Writes the ready file, at once as a whole.
pub fn write_ready_file(path: Option<&Path>) {
    let Some(path) = path else { return };
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}", std::process::id()));
    let written = fs::write(&draft, "ready\n").and_then(|()| fs::rename(&draft, path));
    if let Err(error) = written {
        let _ = fs::remove_file(&draft);
        crate::terminal::complain(&RemoteError::ReadyFile(path.to_owned(), error));
    }
}
