//! Finding programs: those that are named by the user, and the Python that belongs to this Rain.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// The absolute path of the program that `name` means: a path relative to `base` if it has a `/`, else looked up in
/// PATH. `None` when there is no such program.
pub fn find(name: &str, base: &Path) -> Option<PathBuf> {
    if name.is_empty() {
        None
    } else if name.contains('/') {
        Some(base.join(name)).filter(|path| is_program(path))
    } else {
        in_path(OsStr::new(name), &env::var_os("PATH")?)
    }
}

/// The interpreter to start Python executors with ahead of time, before a client has said which it uses.
pub fn python() -> Option<PathBuf> {
    let typed = env::args_os().next().map(PathBuf::from);
    python_from(typed.as_deref(), env::var_os("VIRTUAL_ENV").as_deref(), &env::var_os("PATH").unwrap_or_default())
}

/// `typed` is the path of this program as it was called: not resolved, for in a virtual environment it is a link.
fn python_from(typed: Option<&Path>, virtual_env: Option<&OsStr>, path: &OsStr) -> Option<PathBuf> {
    let called = typed.and_then(|typed| {
        let has_directory = typed.parent().is_some_and(|parent| !parent.as_os_str().is_empty());
        if has_directory { std::path::absolute(typed).ok() } else { in_path(typed.as_os_str(), path) }
    });
    let beside = called.as_deref().and_then(Path::parent).map(|directory| directory.join("python3"));
    let in_environment = virtual_env.map(|directory| Path::new(directory).join("bin/python"));
    let in_checkout = env::current_exe().ok().and_then(|real| {
        let root = real.parent()?.parent()?.parent()?;
        Some(root.join(".venv/bin/python"))
    });
    let first = [beside, in_environment, in_checkout].into_iter().flatten().find(|candidate| is_program(candidate));
    first.or_else(|| in_path(OsStr::new("python3"), path))
}

fn in_path(name: &OsStr, path: &OsStr) -> Option<PathBuf> {
    let candidates = env::split_paths(path).filter(|directory| directory.is_absolute()).map(|d| d.join(name));
    candidates.into_iter().find(|candidate| is_program(candidate))
}

fn is_program(path: &Path) -> bool {
    path.is_file() && nix::unistd::access(path, nix::unistd::AccessFlags::X_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn program(path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "#!/bin/sh\n").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn programs_are_found_by_path_and_by_name() {
        let directory = tempfile::tempdir().unwrap();
        program(&directory.path().join("bin/tool"));
        fs::write(directory.path().join("bin/text"), "").unwrap();
        assert_eq!(find("bin/tool", directory.path()), Some(directory.path().join("bin/tool")));
        assert!(find("sh", directory.path()).is_some_and(|path| path.is_absolute()));
        for name in ["bin/text", "bin", "bin/none", "", "no-such-program-here"] {
            assert_eq!(find(name, directory.path()), None, "{name}");
        }
    }

    #[test]
    fn the_python_beside_the_called_link_comes_first() {
        let directory = tempfile::tempdir().unwrap();
        let (venv, other, system) =
            (directory.path().join("venv"), directory.path().join("other"), directory.path().join("usr/bin"));
        program(&venv.join("bin/python3"));
        program(&other.join("bin/python"));
        program(&system.join("python3"));
        program(&directory.path().join("target/release/rain"));
        symlink(directory.path().join("target/release/rain"), venv.join("bin/rain")).unwrap();
        let called = venv.join("bin/rain");
        let path = env::join_paths([venv.join("bin"), system.clone()]).unwrap();
        let beside = Some(venv.join("bin/python3"));
        assert_eq!(python_from(Some(&called), Some(other.as_os_str()), &path), beside);
        assert_eq!(python_from(Some(Path::new("rain")), None, &path), beside);
        let real = directory.path().join("target/release/rain");
        let in_other = Some(other.join("bin/python"));
        assert_eq!(python_from(Some(&real), Some(other.as_os_str()), system.as_os_str()), in_other);
    }
}
