//! How much memory objects take, and where content goes that is beyond the bound: to a disk, what was used longest ago first.

use crate::removal::remove_tree;
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Smaller content stays in memory and is not counted: a file of its own would take more.
pub(crate) const COUNTED_BYTES_MIN: usize = 4 << 10;
/// Files that somebody has open are passed over; after so many of them whoever needs room goes on without it.
const BUSY_MAX: usize = 256;
/// Files that are gone and still in the order, beyond twice those that are not.
const GONE_MAX: usize = 1024;

/// The memory of the stores of a process. Content counts while it is in memory: bytes of this process, and files of stores whose file
/// system is in memory.
#[derive(Debug, Default)]
pub struct Memory {
    budget: Option<Budget>,
    used: AtomicU64,
    on_disk: AtomicU64,
    /// Counts uses of files.
    clock: AtomicU64,
    order: Mutex<BinaryHeap<Reverse<Candidate>>>,
    /// How many files there are of which the order tells.
    files: AtomicUsize,
}

/// A bound, and where to go with what is beyond it.
#[derive(Debug)]
struct Budget {
    bytes: u64,
    /// None: everything stays in memory.
    disk: Option<Disk>,
}

/// A private directory on a disk, made when something first goes there.
#[derive(Debug)]
struct Disk {
    root: PathBuf,
    made: AtomicBool,
    making: Mutex<()>,
    next: AtomicU64,
}

/// How memory is used, bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// Of content in memory.
    pub used: u64,
    /// What content may use; none: without bound.
    pub budget: Option<u64>,
    /// Of content that was put on the disk for lack of memory, and is still needed.
    pub on_disk: u64,
}

/// Content in memory that may go to a disk.
pub(crate) trait Movable: Send + Sync + std::fmt::Debug {
    /// When it was used last, as [`Memory::tick`] counts.
    fn used_at(&self) -> u64;

    /// Notes that it is used now.
    fn is_used(&self);

    /// Moves it to `path` on the disk, where nothing is; false, and nothing is changed, while somebody reads it.
    ///
    /// # Errors
    /// When the disk does not take it.
    fn move_to(&self, path: PathBuf) -> io::Result<bool>;
}

/// A file that may go to the disk.
#[derive(Debug)]
struct Candidate {
    used_at: u64,
    file: Weak<dyn Movable>,
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.used_at == other.used_at
    }
}

impl Eq for Candidate {}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.used_at.cmp(&other.used_at)
    }
}

impl Memory {
    /// At most `bytes` of content are in memory, as far as something can be moved away: beyond that content goes to a directory `disk`,
    /// which is made for it and removed with this, or nowhere without one.
    pub fn with_budget(bytes: u64, disk: Option<PathBuf>) -> Arc<Self> {
        let disk = disk.map(|root| Disk {
            root,
            made: AtomicBool::new(false),
            making: Mutex::new(()),
            next: AtomicU64::new(0),
        });
        Arc::new(Self { budget: Some(Budget { bytes, disk }), ..Self::default() })
    }

    /// How much is used now.
    pub fn usage(&self) -> MemoryUse {
        MemoryUse {
            used: self.used.load(Relaxed),
            budget: self.budget.as_ref().map(|budget| budget.bytes),
            on_disk: self.on_disk.load(Relaxed),
        }
    }

    fn disk(&self) -> Option<(u64, &Disk)> {
        let budget = self.budget.as_ref()?;
        Some((budget.bytes, budget.disk.as_ref()?))
    }

    /// Whether so many bytes more are within the bound.
    pub(crate) fn has_room(&self, bytes: u64) -> bool {
        let budget = self.budget.as_ref().map_or(u64::MAX, |budget| budget.bytes);
        self.used.load(Relaxed).saturating_add(bytes) <= budget
    }

    /// A new time of use: later ones are greater.
    pub(crate) fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Relaxed)
    }

    fn order(&self) -> MutexGuard<'_, BinaryHeap<Reverse<Candidate>>> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a file in memory go to the disk when there is not room enough.
    pub(crate) fn add(&self, file: &Arc<dyn Movable>) {
        if self.disk().is_none() {
            return;
        }
        let mut order = self.order();
        order.push(Reverse(Candidate { used_at: file.used_at(), file: Arc::downgrade(file) }));
        if order.len() > 2 * self.files.load(Relaxed) + GONE_MAX {
            order.retain(|Reverse(candidate)| candidate.file.strong_count() > 0);
        }
    }

    /// Takes the file out of the order that was used longest ago.
    fn take_oldest(&self) -> Option<Arc<dyn Movable>> {
        let mut order = self.order();
        while let Some(Reverse(Candidate { used_at, file })) = order.pop() {
            let Some(file) = file.upgrade() else { continue };
            let last_used = file.used_at();
            if last_used == used_at {
                return Some(file);
            }
            // Should this be its last owner: the end of a file does not lock the order.
            order.push(Reverse(Candidate { used_at: last_used, file: Arc::downgrade(&file) }));
        }
        None
    }

    /// Moves files to the disk until there is room for so many bytes more, as far as that can be. Content that somebody reads stays.
    ///
    /// # Errors
    /// When the disk takes no more.
    pub(crate) fn make_room(&self, bytes: u64) -> io::Result<()> {
        let Some((_, disk)) = self.disk() else { return Ok(()) };
        let mut busy = Vec::new();
        let mut result = Ok(());
        while !self.has_room(bytes) && busy.len() < BUSY_MAX {
            let Some(file) = self.take_oldest() else { break };
            match disk.new_path().and_then(|path| file.move_to(path)) {
                Ok(true) => {}
                Ok(false) => busy.push(file),
                Err(error) => {
                    busy.push(file);
                    result = Err(self.explain(error));
                    break;
                }
            }
        }
        for file in busy {
            file.is_used();
            self.add(&file);
        }
        result
    }

    /// A path on the disk for content for which there is no room in memory; none where it has to stay in memory all the same.
    ///
    /// # Errors
    /// When the directory there cannot be made.
    pub(crate) fn place_on_disk(&self) -> io::Result<Option<PathBuf>> {
        self.disk().map(|(_, disk)| disk.new_path()).transpose()
    }

    /// Turns an error of the disk into one that says where and what to do.
    pub(crate) fn explain(&self, error: io::Error) -> io::Error {
        let Some((bytes, disk)) = self.disk() else { return error };
        let text = format!(
            "the memory for objects, {bytes} bytes, is used up, and what is beyond it cannot be written to {}: {error}; free some space \
             there, or start Rain with more --memory or another --spill-dir",
            disk.root.parent().unwrap_or(&disk.root).display()
        );
        io::Error::new(error.kind(), text)
    }
}

impl Disk {
    fn new_path(&self) -> io::Result<PathBuf> {
        if !self.made.load(Relaxed) {
            let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
            if !self.made.load(Relaxed) {
                DirBuilder::new().mode(0o700).create(&self.root)?;
                self.made.store(true, Relaxed);
            }
        }
        Ok(self.root.join(self.next.fetch_add(1, Relaxed).to_string()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.made.load(Relaxed)
            && let Err(error) = remove_tree(&self.root)
        {
            tracing::warn!("cannot remove {}: {error}", self.root.display());
        }
    }
}

/// Content in memory, counted as long as this exists.
#[derive(Debug)]
pub(crate) struct Counted {
    memory: Arc<Memory>,
    bytes: u64,
    is_file: bool,
}

impl Counted {
    pub(crate) fn new(memory: &Arc<Memory>, bytes: u64) -> Self {
        memory.used.fetch_add(bytes, Relaxed);
        Self { memory: memory.clone(), bytes, is_file: false }
    }

    /// Of a file that has a place in the order.
    pub(crate) fn of_file(memory: &Arc<Memory>, bytes: u64) -> Self {
        memory.files.fetch_add(1, Relaxed);
        let mut counted = Self::new(memory, bytes);
        counted.is_file = true;
        counted
    }

    pub(crate) fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.memory.used.fetch_sub(self.bytes, Relaxed);
        if self.is_file {
            self.memory.files.fetch_sub(1, Relaxed);
        }
    }
}

/// Content on the disk for lack of memory, removed with this.
#[derive(Debug)]
pub(crate) struct OnDisk {
    memory: Arc<Memory>,
    bytes: u64,
    path: Box<Path>,
}

impl OnDisk {
    /// Takes over what is at `path`.
    pub(crate) fn new(memory: &Arc<Memory>, bytes: u64, path: PathBuf) -> Self {
        memory.on_disk.fetch_add(bytes, Relaxed);
        Self { memory: memory.clone(), bytes, path: path.into_boxed_path() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for OnDisk {
    fn drop(&mut self) {
        self.memory.on_disk.fetch_sub(self.bytes, Relaxed);
        // The whole directory may be gone already.
        let _ = remove_tree(&self.path);
    }
}
