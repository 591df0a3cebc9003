//! Directories for the data of governors.

use crate::file_system::{free_bytes, may_write, unique_name};
use crate::launch::Places;
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::geteuid;
use std::env;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

const MEMORY_FILE_SYSTEM: &str = "/dev/shm";
/// With less room than this it is used only where the usual place for temporary files has not more. Containers have 64 MiB.
const MEMORY_BYTES_MIN: u64 = 1 << 30;

/// With less room than this for data, users are told.
const ROOM_BYTES_MIN: u64 = 256 << 20;

/// Makes private directories for the server and for each governor.
///
/// # Errors
/// When one cannot be made; what was made by then is removed again.
pub fn make(chosen: Option<&Path>, port: u16, governors: usize) -> io::Result<Places> {
    let name = unique_name();
    let (parent, suffix) = match chosen {
        Some(chosen) => {
            fs::create_dir_all(chosen).map_err(naming(chosen))?;
            (chosen.to_owned(), format!("-{name}"))
        }
        None => {
            let base = default_parent().join(format!("rain-{}-{port}-{name}", geteuid()));
            private(&base)?;
            (base, String::new())
        }
    };
    let server_work_dir = parent.join(format!("server{suffix}"));
    let work_dirs: Vec<_> = (0..governors).map(|i| parent.join(format!("governor-{i}{suffix}"))).collect();
    let all: Vec<_> = work_dirs.iter().chain([&server_work_dir]).cloned().collect();
    for (made, path) in all.iter().enumerate() {
        if let Err(error) = private(path) {
            all[..made].iter().for_each(|path| remove_tree(path));
            if chosen.is_none() {
                remove_tree(&parent);
            }
            return Err(error);
        }
    }
    let remove = if chosen.is_some() { all } else { vec![parent] };
    Ok(Places { server_work_dir, work_dirs, spill_dir: None, remove })
}

fn naming(path: &Path) -> impl FnOnce(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn private(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path).map_err(naming(path))
}

fn default_parent() -> PathBuf {
    let memory = Path::new(MEMORY_FILE_SYSTEM);
    let usual = env::var_os("TMPDIR").map(PathBuf::from).filter(|path| path.is_absolute() && path.is_dir());
    let usual = usual.unwrap_or_else(|| PathBuf::from("/tmp"));
    if may_write(memory) && has_room(free_bytes(memory), free_bytes(&usual)) {
        return memory.to_owned();
    }
    usual
}

/// Whether the memory file system has enough room, or as much as the place that would be taken instead.
fn has_room(in_memory: u64, elsewhere: u64) -> bool {
    in_memory >= MEMORY_BYTES_MIN || (in_memory > 0 && in_memory >= elsewhere)
}

/// What users should know about the places for data.
pub fn notes(places: &Places) -> Vec<String> {
    let place = places.work_dirs.first().unwrap_or(&places.server_work_dir);
    let Ok(stat) = statvfs(place.as_path()) else { return Vec::new() };
    let mut notes = Vec::new();
    if stat.flags().contains(FsFlags::ST_NOEXEC) {
        notes.push(format!(
            "programs in {} cannot be run, as its file system is mounted noexec; where tasks make programs, choose another place \
             with --workdir=DIR",
            place.display()
        ));
    }
    let free = free_bytes(place);
    if free < ROOM_BYTES_MIN {
        let (place, free) = (place.display(), free >> 20);
        notes.push(format!("only {free} MiB are free for data in {place}: --workdir=DIR chooses another place"));
    }
    notes
}

/// Removes a directory with everything in it, also what is write-protected.
pub fn remove_tree(path: &Path) {
    if let Err(error) = fs::remove_dir_all(path)
        && error.kind() == io::ErrorKind::PermissionDenied
    {
        make_removable(path);
        let _ = fs::remove_dir_all(path);
    }
}

fn make_removable(path: &Path) {
    let _ = fs::set_permissions(path, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            make_removable(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host_name::host_name;

    #[test]
    fn each_governor_gets_a_private_directory() {
        let directory = tempfile::tempdir().unwrap();
        let chosen = directory.path().join("not/there/yet");
        let Places { server_work_dir, work_dirs, remove, .. } = make(Some(&chosen), 7210, 2).unwrap();
        assert_eq!(remove.len(), 3);
        assert!(remove.contains(&server_work_dir) && work_dirs.iter().all(|path| remove.contains(path)));
        let name = work_dirs[1].file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with(&format!("governor-1-{}-{}-", host_name(), std::process::id())), "{name}");
        assert!(work_dirs.iter().all(|path| fs::metadata(path).unwrap().permissions().mode() & 0o777 == 0o700));
        // As on another machine that has the same directory, host name and process number.
        let again = make(Some(&chosen), 7210, 1).unwrap();
        assert_ne!(again.work_dirs[0], work_dirs[0]);
        fs::write(directory.path().join("file"), "").unwrap();
        let message = make(Some(&directory.path().join("file/below")), 7210, 1).unwrap_err().to_string();
        assert!(message.contains("file/below"), "{message}");
    }

    #[test]
    fn a_small_memory_file_system_is_used_only_where_there_is_nothing_better() {
        for (in_memory, elsewhere, expected) in
            [(8 << 30, 1 << 40, true), (64 << 20, 12 << 30, false), (64 << 20, 1 << 20, true), (0, 0, false)]
        {
            assert_eq!(has_room(in_memory, elsewhere), expected, "{in_memory} {elsewhere}");
        }
    }

    #[test]
    fn the_default_is_one_directory_to_remove() {
        let Places { work_dirs, remove, .. } = make(None, 1, 2).unwrap();
        assert!(work_dirs.iter().all(|path| path.is_dir() && path.starts_with(&remove[0])));
        let protected = work_dirs[0].join("object");
        fs::create_dir(&protected).unwrap();
        fs::write(protected.join("file"), "x").unwrap();
        fs::set_permissions(&protected, fs::Permissions::from_mode(0o500)).unwrap();
        remove.iter().for_each(|path| remove_tree(path));
        assert!(!remove[0].exists());
    }
}
