//! What a supervisor says of a rank whose process has died without a word.

use crate::launch::{Launch, Report};
use crate::terminal::complain;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// So much of the end of the log is looked at, bytes.
const TAIL_BYTES: u64 = 4 << 10;
/// So many lines of it are said.
const LINES_MAX: usize = 3;
/// And so much of them, characters.
const CHARACTERS_MAX: usize = 600;

/// Collects what there will be to say.
pub struct LastWords {
    rank: Option<u32>,
    log_name: String,
    log_dir: Option<PathBuf>,
    /// What earlier runs have written into the same log, bytes.
    log_start: u64,
    spoken: bool,
}

impl LastWords {
    /// Of the rank that is about to start.
    pub fn new(launch: &Launch) -> Self {
        let log_name = format!("{}.log", launch.role.log_name(false));
        let log = launch.log_dir.as_ref().map(|directory| directory.join(&log_name));
        let log_start = log.and_then(|path| path.metadata().ok()).map_or(0, |metadata| metadata.len());
        Self { rank: None, log_name, log_dir: None, log_start, spoken: false }
    }

    /// Hears a report, and speaks when it is that of a death of which nothing was said yet.
    pub fn take(&mut self, report: &Report) {
        match report {
            Report::LogDir(path) => self.log_dir = Some(path.clone()),
            Report::Rank(rank) => self.rank = Some(*rank),
            Report::Spoken => self.spoken = true,
            Report::Failed(how) if !self.spoken => {
                self.spoken = true;
                complain(&self.obituary(how));
            }
            _ => {}
        }
    }

    fn obituary(&self, how: &str) -> String {
        let host = crate::host_name::host_name();
        let name = match self.rank {
            Some(rank) => format!("rank {rank} on {host}"),
            None => format!("a rank on {host}"),
        };
        let Some(directory) = &self.log_dir else { return format!("{name}: {how}") };
        let words = tail(&directory.join(&self.log_name), self.log_start);
        let words = if words.is_empty() { String::new() } else { format!("; its last words: {words}") };
        format!("{name} {how}{words}; logs in {}", directory.display())
    }
}

/// The last lines of a log, as one; nothing if it cannot be read.
fn tail(path: &Path, start: u64) -> String {
    let read = || {
        let mut file = File::open(path)?;
        let end = file.metadata()?.len();
        file.seek(SeekFrom::Start(start.max(end.saturating_sub(TAIL_BYTES)).min(end)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        std::io::Result::Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let said = lines[lines.len().saturating_sub(LINES_MAX)..].join(" | ");
    let skipped = said.chars().count().saturating_sub(CHARACTERS_MAX);
    said.chars().skip(skipped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_log_is_one_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rank-2.log");
        std::fs::write(&path, "an earlier run\none\n\ntwo\n three \nfour\n").unwrap();
        assert_eq!(tail(&path, 0), "two | three | four");
        assert_eq!(tail(&path, 15), "two | three | four");
        std::fs::write(&path, "an earlier run\none\n").unwrap();
        assert_eq!(tail(&path, 15), "one");
        assert_eq!(tail(&path, 500), "");
        std::fs::write(&path, format!("x\n{}", "y".repeat(9000))).unwrap();
        assert_eq!(tail(&path, 0), "y".repeat(CHARACTERS_MAX));
        assert_eq!(tail(&directory.path().join("none"), 0), "");
    }

    #[test]
    fn a_death_is_said_with_its_place() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("rank-2.log"), "thread x panicked\n").unwrap();
        let mut words =
            LastWords { rank: None, log_name: "rank-2.log".to_owned(), log_dir: None, log_start: 0, spoken: true };
        words.take(&Report::LogDir(directory.path().to_owned()));
        words.take(&Report::Rank(2));
        let said = words.obituary("was killed by signal 9");
        let host = crate::host_name::host_name();
        let logs = directory.path().display();
        assert_eq!(
            said,
            format!("rank 2 on {host} was killed by signal 9; its last words: thread x panicked; logs in {logs}")
        );
    }
}
