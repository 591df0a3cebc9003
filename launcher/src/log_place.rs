//! Which event log is meant.

use crate::runtime_dir::{self, RuntimeDirError};
use crate::status;
use rain_events::FILE_NAME;
use std::fs;
use std::path::{Path, PathBuf};

/// Why there is no log to be read.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    #[error("there is no event log in {}: name a directory that has an {FILE_NAME}, or the file itself", .0.display())]
    None(PathBuf),
    #[error("no server of yours runs and none has left an event log: name the directory of one")]
    Nowhere,
    #[error(transparent)]
    RuntimeDir(#[from] RuntimeDirError),
}

/// The log at `place`: a file, a directory of logs, or one of such directories, of which the latest counts. Without a place, the log of the
/// server that runs on `port`, else the latest of those that ran.
///
/// # Errors
/// When there is none.
pub fn find(place: Option<&Path>, port: u16) -> Result<PathBuf, PlaceError> {
    if let Some(place) = place {
        return in_place(place).ok_or_else(|| PlaceError::None(place.to_owned()));
    }
    if let Some(path) = of_running(port) {
        return Ok(path);
    }
    let logs = runtime_dir::private_tmp_dir()?.join("logs");
    latest_below(&logs).ok_or(PlaceError::Nowhere)
}

fn in_place(place: &Path) -> Option<PathBuf> {
    if place.is_file() {
        return Some(place.to_owned());
    }
    let own = place.join(FILE_NAME);
    if own.is_file() { Some(own) } else { latest_below(place) }
}

fn latest_below(directory: &Path) -> Option<PathBuf> {
    let logs = fs::read_dir(directory).ok()?.filter_map(|entry| Some(entry.ok()?.path().join(FILE_NAME)));
    logs.filter_map(|path| Some((fs::metadata(&path).ok()?.modified().ok()?, path))).max().map(|(_, path)| path)
}

/// The log of the server that runs on a port of this machine, if it has one.
fn of_running(port: u16) -> Option<PathBuf> {
    let status = status::ask(port).ok()?;
    status["event_log"]["path"].as_str().map(PathBuf::from).filter(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_found_in_its_directory_and_below() {
        let root = tempfile::tempdir().unwrap();
        let log = root.path().join("server-host-1").join(FILE_NAME);
        assert!(matches!(find(Some(root.path()), 1), Err(PlaceError::None(_))));
        fs::create_dir(log.parent().unwrap()).unwrap();
        fs::write(&log, "").unwrap();
        for place in [root.path(), log.parent().unwrap(), log.as_path()] {
            assert_eq!(find(Some(place), 1).unwrap(), log);
        }
    }
}
