//! How much memory objects may take, and where what is beyond it goes: what was said, and what is found on the machine.

use crate::file_system::{free_bytes, may_write, unique_name};
use crate::option_path::{PathError, absolute};
use crate::remote::args::PlaceArgs;
use crate::sizes::split_size;
use nix::unistd::geteuid;
use rain_data::{Memory, is_in_memory};
use serde::{Deserialize, Serialize};
use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The part of the memory of a machine, or of a control group, that objects take at most, in hundredths: tasks need the rest.
const MEMORY_PART: u64 = 60;
/// The part of what is free in a file system in memory that objects take at most, in hundredths: what tasks write is there before it is an
/// object.
const FILE_SYSTEM_PART: u64 = 80;
/// A smaller budget is a slip of the pen, bytes.
const BUDGET_MIN: u64 = 1 << 20;

/// What was said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryPlan {
    /// Bytes; none: as much as suits the machine.
    budget: Option<u64>,
    disk: Option<PathBuf>,
}

/// What is wrong with what was said.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    #[error(
        "--memory={0}: say how much memory objects may take, with its unit, as 512MiB, 16GiB or 1.5G; at least 1MiB"
    )]
    Size(String),
    #[error("--spill-dir={}: its name is not UTF-8, so it cannot be told to other machines", .0.display())]
    NotText(PathBuf),
    #[error(transparent)]
    Path(#[from] PathError),
}

impl MemoryPlan {
    /// Checks what was typed.
    ///
    /// # Errors
    /// Names the option that is wrong.
    pub fn new(args: &PlaceArgs) -> Result<Self, MemoryError> {
        let budget = args.memory.as_deref().map(|text| {
            let bytes = parse_bytes(text).filter(|bytes| *bytes >= BUDGET_MIN);
            bytes.ok_or_else(|| MemoryError::Size(text.to_owned()))
        });
        Ok(Self { budget: budget.transpose()?, disk: absolute("--spill-dir", args.spill_dir.as_deref())? })
    }

    /// What was typed, as options of `rain governor`.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn options(args: &PlaceArgs) -> Result<Vec<String>, MemoryError> {
        let plan = Self::new(args)?;
        let memory = plan.budget.map(|bytes| format!("--memory={bytes}B"));
        let text =
            |path: PathBuf| path.into_os_string().into_string().map_err(|path| MemoryError::NotText(path.into()));
        let disk = plan.disk.map(text).transpose()?.map(|path| format!("--spill-dir={path}"));
        Ok(memory.into_iter().chain(disk).collect())
    }

    /// Chooses a directory for what is beyond the budget, which is not made yet: none where no disk is found.
    ///
    /// # Errors
    /// When the one that was said cannot be used.
    pub fn choose_disk(&self) -> io::Result<Option<PathBuf>> {
        let name = format!("rain-{}-spill-{}", geteuid(), unique_name());
        if let Some(chosen) = &self.disk {
            let wrong = |why: String| io::Error::other(format!("--spill-dir={}: {why}", chosen.display()));
            fs::create_dir_all(chosen).map_err(|error| wrong(error.to_string()))?;
            if !may_write(chosen) {
                return Err(wrong("you may not write there".to_owned()));
            }
            if is_in_memory(chosen) {
                return Err(wrong("that is a file system in memory: name a directory on a disk".to_owned()));
            }
            return Ok(Some(chosen.join(name)));
        }
        let usual = env::var_os("TMPDIR").map(PathBuf::from).filter(|path| path.is_absolute());
        let places = usual.into_iter().chain(["/var/tmp", "/tmp"].map(PathBuf::from));
        let mut disks = places.filter(|path| path.is_dir() && may_write(path) && !is_in_memory(path));
        Ok(disks.next().map(|path| path.join(name)))
    }

    /// The memory for objects below `work_dir`, of one of so many governors of this machine.
    pub fn memory(&self, work_dir: &Path, disk: Option<PathBuf>, governors: usize) -> Arc<Memory> {
        let whole = || {
            let machine = rain_topology::memory_bytes().map(|bytes| bytes / 100 * MEMORY_PART);
            let files = is_in_memory(work_dir).then(|| free_bytes(work_dir) / 100 * FILE_SYSTEM_PART);
            let least = machine.into_iter().chain(files).min();
            least.map_or(u64::MAX, |bytes| (bytes / governors.max(1) as u64).max(BUDGET_MIN))
        };
        let budget = self.budget.unwrap_or_else(whole);
        tracing::info!(budget, disk = disk.as_ref().map(|path| path.display().to_string()), "memory for objects");
        Memory::with_budget(budget, disk)
    }

    /// What users should know about it.
    pub fn notes(&self, work_dir: &Path) -> Vec<String> {
        let Some(budget) = self.budget.filter(|_| is_in_memory(work_dir)) else { return Vec::new() };
        let free = free_bytes(work_dir);
        if budget <= free {
            return Vec::new();
        }
        vec![format!(
            "--memory allows objects more than the {} MiB that are free in {}: --workdir=DIR chooses another place",
            free >> 20,
            work_dir.display()
        )]
    }
}

/// A number of bytes with its unit.
fn parse_bytes(text: &str) -> Option<u64> {
    let (number, power) = split_size(text)?;
    let bytes = number.parse::<f64>().ok()? * 2f64.powi(power? as i32);
    (bytes.is_finite() && bytes < u64::MAX as f64).then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn sizes_have_units() {
        for (text, expected) in [
            ("256MiB", Some(256 << 20)),
            ("1.5g", Some(3 << 29)),
            ("2 TB", Some(2 << 40)),
            ("4096B", Some(4096)),
            ("17", None),
            ("1.2.3M", None),
            ("-1G", None),
            ("MiB", None),
            ("1e400G", None),
            ("5parsecs", None),
            ("", None),
        ] {
            assert_eq!(parse_bytes(text), expected, "{text}");
        }
        let plan = |text: &str| MemoryPlan::new(&PlaceArgs { memory: Some(text.to_owned()), ..PlaceArgs::default() });
        assert_eq!(plan("1MiB").unwrap().budget, Some(1 << 20));
        for wrong in ["0", "1KiB", "much", "99999999999T"] {
            assert!(plan(wrong).unwrap_err().to_string().contains(wrong), "{wrong}");
        }
    }

    #[test]
    fn what_is_said_can_be_passed_on() {
        let args =
            PlaceArgs { memory: Some("1.5GiB".to_owned()), spill_dir: Some("/scratch".into()), ..PlaceArgs::default() };
        let options = MemoryPlan::options(&args).unwrap();
        assert_eq!(options, ["--memory=1610612736B", "--spill-dir=/scratch"]);
        assert_eq!(MemoryPlan::options(&PlaceArgs::default()).unwrap(), [""; 0]);
        let odd = PathBuf::from(std::ffi::OsStr::from_bytes(b"/scratch\xff"));
        let args = PlaceArgs { spill_dir: Some(odd), ..PlaceArgs::default() };
        assert!(matches!(MemoryPlan::options(&args), Err(MemoryError::NotText(_))));
    }

    #[test]
    fn a_disk_is_a_directory_that_is_not_in_memory() {
        let directory = tempfile::tempdir().unwrap();
        let chosen = MemoryPlan { disk: Some(directory.path().join("new")), ..MemoryPlan::default() };
        if !is_in_memory(directory.path()) {
            let path = chosen.choose_disk().unwrap().unwrap();
            assert!(path.starts_with(directory.path().join("new")) && !path.exists());
            assert_ne!(chosen.choose_disk().unwrap().unwrap(), path);
        }
        if let Ok(memory) = tempfile::tempdir_in("/dev/shm") {
            let chosen = MemoryPlan { disk: Some(memory.path().to_owned()), ..MemoryPlan::default() };
            let message = chosen.choose_disk().unwrap_err().to_string();
            assert!(message.contains("--spill-dir=") && message.contains("in memory"), "{message}");
        }
        fs::write(directory.path().join("file"), "").unwrap();
        let chosen = MemoryPlan { disk: Some(directory.path().join("file")), ..MemoryPlan::default() };
        assert!(chosen.choose_disk().is_err());
    }

    #[test]
    fn without_a_word_it_suits_the_machine() {
        let directory = tempfile::tempdir().unwrap();
        let budget = |governors| {
            let memory = MemoryPlan::default().memory(directory.path(), None, governors);
            memory.usage().budget.unwrap()
        };
        let machine = rain_topology::memory_bytes().unwrap();
        assert!(budget(1) <= machine / 100 * MEMORY_PART && budget(1) >= BUDGET_MIN);
        assert!(budget(2) <= budget(1));
    }
}
