//! Paths that options name.

use std::path::{Path, PathBuf};

/// A path that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{option}={path}: {source}", path = .path.display())]
pub struct PathError {
    pub option: &'static str,
    pub path: PathBuf,
    pub source: std::io::Error,
}

/// Makes the path of an option absolute.
///
/// # Errors
/// When there is no current directory.
pub fn absolute(option: &'static str, path: Option<&Path>) -> Result<Option<PathBuf>, PathError> {
    let failed = |path: &Path, source| PathError { option, path: path.to_owned(), source };
    path.map(|path| std::path::absolute(path).map_err(|source| failed(path, source))).transpose()
}
