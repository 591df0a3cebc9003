//! Finding programs in `PATH`, once a program and thread.

use nix::unistd::{AccessFlags, access};
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const REMEMBERED_MAX: usize = 256;

thread_local! {
    static FOUND: RefCell<HashMap<OsString, CString>> = RefCell::new(HashMap::new());
}

/// Why a program cannot be started by its name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LookupError {
    #[error("program {name:?} was not found in PATH ({path})")]
    NotFound { name: String, path: String },
    #[error("{0:?} may not be executed: it lacks execute permission")]
    NotExecutable(String),
    #[error("program name {0:?} contains a zero byte or is empty")]
    BadName(String),
}

/// The path to execute for `name`: itself if it has a slash, else the first executable file of that name in
/// `added_path`, or in this process's `PATH`.
pub(crate) fn find_program(name: &OsStr, added_path: Option<&OsStr>) -> Result<CString, LookupError> {
    let bad = || LookupError::BadName(name.to_string_lossy().into_owned());
    if name.as_bytes().contains(&b'/') {
        return CString::new(name.as_bytes()).map_err(|_| bad());
    }
    if name.is_empty() || name.as_bytes().contains(&0) {
        return Err(bad());
    }
    if let Some(path) = added_path {
        return search(name, path);
    }
    FOUND.with_borrow_mut(|found| {
        if let Some(program) = found.get(name) {
            return Ok(program.clone());
        }
        let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
        let program = search(name, &path)?;
        if found.len() >= REMEMBERED_MAX {
            found.clear();
        }
        found.insert(name.to_owned(), program.clone());
        Ok(program)
    })
}

/// Forgets where `name` was found; true if it was known.
pub(crate) fn forget_program(name: &OsStr) -> bool {
    FOUND.with_borrow_mut(|found| found.remove(name).is_some())
}

fn search(name: &OsStr, path: &OsStr) -> Result<CString, LookupError> {
    let mut not_executable = None;
    // Relative entries would be relative to the program's own, empty directory.
    for dir in std::env::split_paths(path).filter(|dir| dir.is_absolute()) {
        let candidate = dir.join(name);
        if !candidate.is_file() {
            continue;
        }
        if is_executable(&candidate)
            && let Ok(found) = CString::new(candidate.as_os_str().as_bytes())
        {
            return Ok(found);
        }
        not_executable.get_or_insert(candidate);
    }
    Err(match not_executable {
        Some(file) => LookupError::NotExecutable(file.display().to_string()),
        None => LookupError::NotFound {
            name: name.to_string_lossy().into_owned(),
            path: path.to_string_lossy().into_owned(),
        },
    })
}

fn is_executable(path: &Path) -> bool {
    access(path, AccessFlags::X_OK).is_ok()
}
