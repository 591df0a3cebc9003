//! Paths inside a directory, as users and archives give them.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// Longest path inside a directory, bytes.
pub(crate) const PATH_BYTES_MAX: usize = 3072;
const NAME_BYTES_MAX: usize = 255;

/// Why a path cannot be used inside a directory; the path itself is the caller's to name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("is empty")]
    Empty,
    #[error("is absolute, but must be relative to the directory")]
    Absolute,
    #[error("contains '..', but must stay inside the directory")]
    Parent,
    #[error("contains a zero byte")]
    Zero,
    #[error("is too long")]
    TooLong,
}

/// Checks that `path` is relative and stays inside its directory whatever is there, and takes `.` and doubled or final
/// slashes out. The directory itself (`.`) gives an empty path.
pub fn relative_path(path: impl AsRef<OsStr>) -> Result<PathBuf, PathError> {
    let path = path.as_ref();
    let bytes = path.as_bytes();
    if bytes.is_empty() {
        return Err(PathError::Empty);
    }
    if bytes.len() > PATH_BYTES_MAX {
        return Err(PathError::TooLong);
    }
    if bytes.contains(&0) {
        return Err(PathError::Zero);
    }
    let mut clean = PathBuf::with_capacity(bytes.len());
    for component in Path::new(path).components() {
        match component {
            Component::Prefix(_) | Component::RootDir => return Err(PathError::Absolute),
            Component::ParentDir => return Err(PathError::Parent),
            Component::CurDir => {}
            Component::Normal(name) if name.len() > NAME_BYTES_MAX => return Err(PathError::TooLong),
            Component::Normal(name) => clean.push(name),
        }
    }
    Ok(clean)
}

/// Whether a symbolic link to `target`, in a directory `depth` levels below the root of a tree, stays in the tree
/// whatever other links of the same kind there are: leading `..` climb at most to the root, later ones are not allowed.
pub(crate) fn link_stays_inside(target: &OsStr, depth: usize) -> bool {
    if target.is_empty() || target.len() > PATH_BYTES_MAX {
        return false;
    }
    let mut climbed = 0;
    let mut descending = false;
    for component in Path::new(target).components() {
        match component {
            Component::Prefix(_) | Component::RootDir => return false,
            Component::CurDir => {}
            Component::Normal(_) => descending = true,
            Component::ParentDir if descending || climbed == depth => return false,
            Component::ParentDir => climbed += 1,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_paths_are_cleaned() {
        for (given, clean) in [("a", "a"), ("a/b/", "a/b"), ("./a//b/.", "a/b"), (".", ""), ("a..b/...", "a..b/...")] {
            assert_eq!(relative_path(given), Ok(PathBuf::from(clean)), "{given}");
        }
    }

    #[test]
    fn paths_that_leave_are_refused() {
        let long_name = "x".repeat(256);
        let long_path = "x/".repeat(PATH_BYTES_MAX);
        for (given, why) in [
            ("", PathError::Empty),
            ("/", PathError::Absolute),
            ("/etc/passwd", PathError::Absolute),
            ("..", PathError::Parent),
            ("a/../b", PathError::Parent),
            ("a\0b", PathError::Zero),
            (&long_name, PathError::TooLong),
            (&long_path, PathError::TooLong),
        ] {
            assert_eq!(relative_path(given), Err(why), "{given:?}");
        }
    }

    #[test]
    fn links_climb_only_at_their_start_and_only_to_the_root() {
        let ok = |target: &str, depth| link_stays_inside(OsStr::new(target), depth);
        assert!(ok("a", 0) && ok("../a", 1) && ok("../../a/b", 2) && ok("./a", 0) && ok("..", 1));
        assert!(!ok("", 0) && !ok("/a", 3) && !ok("..", 0) && !ok("../../a", 1) && !ok("a/../b", 5));
    }
}
