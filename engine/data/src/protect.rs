//! Directories that become objects: what is in them is checked, and made read-only.

use crate::copy;
use crate::entries::{inside, is_executable, read_only_mode, refuse, special_name};
use crate::paths::link_stays_inside;
use crate::writers;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{self, DirEntry, File, Metadata, OpenOptions, Permissions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// The directory that is or becomes an object.
pub(crate) struct Root<'a> {
    pub(crate) path: &'a Path,
    /// Where it was when its links were made.
    pub(crate) was: &'a Path,
}

impl Root<'_> {
    /// What a link to the absolute path `target` leads to inside of the directory, if it leads there.
    fn inside<'a>(&self, target: &'a Path) -> Option<&'a Path> {
        if let Ok(inside) = target.strip_prefix(self.was) {
            return Some(inside);
        }
        // The directory may have further names, by links above it.
        let id = |metadata: Metadata| (metadata.dev(), metadata.ino());
        let own = fs::metadata(self.path).map(id).ok()?;
        let outer = target.ancestors().find(|outer| fs::metadata(outer).is_ok_and(|metadata| id(metadata) == own))?;
        target.strip_prefix(outer).ok()
    }
}

/// Where the link at `path`, `depth` directories below the root, is to lead to, relative to its own directory: to `target`,
/// as it does, or to the same by a path that is not absolute. A link that could lead out of the tree is refused.
pub(crate) fn check_link<'a>(
    root: &Root<'_>,
    path: &Path,
    target: &'a Path,
    depth: usize,
) -> io::Result<Cow<'a, Path>> {
    if link_stays_inside(target.as_os_str(), depth) {
        return Ok(target.into());
    }
    if target.is_absolute()
        && let Some(inside) = root.inside(target)
    {
        let mut relative: PathBuf = std::iter::repeat_n("..", depth).collect();
        relative.push(inside);
        if relative.as_os_str().is_empty() {
            relative.push(".");
        }
        if link_stays_inside(relative.as_os_str(), depth) {
            return Ok(relative.into());
        }
    }
    let why = if target.is_absolute() { "an absolute path" } else { "a path that leaves the directory" };
    Err(refuse(
        inside(root.path, path),
        format_args!("is a symbolic link to {why}: {:?}", target.display().to_string()),
    ))
}

/// Who has made a directory that becomes an object.
pub(crate) enum Origin<'a> {
    /// This process; nobody else has seen it.
    Own,
    /// A task, whose processes may still have files of it open, or know them by other names.
    Task {
        /// Where it was when its links were made.
        was: &'a Path,
        /// What in it are files of objects, put there after the task, as paths below the directory.
        objects: &'a [PathBuf],
        /// Gives paths beside the directory that nothing else uses.
        new_path: &'a dyn Fn() -> PathBuf,
    },
}

/// What a directory holds, to find out later whether it has changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Sum of the sizes of the files, bytes.
    pub(crate) size: u64,
    pub(crate) entries: usize,
    /// Of all entries, in whatever order: their paths, and of files what changes with their content and their rights.
    digest: u64,
}

impl Summary {
    /// What the directory at `path` holds now.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let mut summary = Self::default();
        summary.add_level(path, path)?;
        Ok(summary)
    }

    fn add_level(&mut self, root: &Path, path: &Path) -> io::Result<()> {
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let (path, metadata) = (entry.path(), entry.metadata()?);
            self.add(inside(root, &path), &metadata, metadata.mode());
            if metadata.is_dir() {
                self.add_level(root, &path)?;
            }
        }
        Ok(())
    }

    /// Adds an entry whose rights are those of `mode` by now.
    fn add(&mut self, path: &Path, metadata: &Metadata, mode: u32) {
        let mut hasher = DefaultHasher::new();
        (path.as_os_str(), metadata.file_type().is_dir(), mode & RIGHTS).hash(&mut hasher);
        if !metadata.is_dir() {
            (metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec()).hash(&mut hasher);
        }
        if metadata.is_file() {
            self.size += metadata.len();
        }
        self.entries += 1;
        self.digest = self.digest.wrapping_add(hasher.finish());
    }
}

/// The bits of a mode that are rights.
const RIGHTS: u32 = 0o7777;

/// The mode of directories that are objects.
const READ_ONLY_DIRECTORY: u32 = 0o500;

/// Files with several names, by device and inode: the names that were found, and how many there are.
type Shared = BTreeMap<(u64, u64), (Vec<PathBuf>, u64)>;

struct Protecting<'a> {
    root: Root<'a>,
    origin: &'a Origin<'a>,
    summary: Summary,
    shared: Shared,
    /// From the root down.
    directories: Vec<PathBuf>,
}

/// Checks the directory at `path`, and makes it and all that is in it read-only. Files that others could still write to are replaced
/// by copies.
pub(crate) fn protect(path: &Path, origin: &Origin<'_>) -> io::Result<Summary> {
    let was = match origin {
        Origin::Own => path,
        Origin::Task { was, .. } => was,
    };
    let root = Root { path, was };
    let mut protecting =
        Protecting { root, origin, summary: Summary::default(), shared: BTreeMap::new(), directories: Vec::new() };
    protecting.level(path, 0)?;
    protecting.separate_shared()?;
    for directory in protecting.directories.iter().rev() {
        fs::set_permissions(directory, Permissions::from_mode(READ_ONLY_DIRECTORY))?;
        if directory != path {
            protecting.summary.add(inside(path, directory), &fs::symlink_metadata(directory)?, READ_ONLY_DIRECTORY);
        }
    }
    Ok(protecting.summary)
}

impl Protecting<'_> {
    fn level(&mut self, path: &Path, depth: usize) -> io::Result<()> {
        // A program may have left rights that keep even us from reading.
        fs::set_permissions(path, Permissions::from_mode(0o700))?;
        self.directories.push(path.to_owned());
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let file_type = entry.file_type()?;
            if file_type.is_dir() {
                self.level(&entry.path(), depth + 1)?;
            } else if file_type.is_symlink() {
                self.link(&entry.path(), depth)?;
            } else if file_type.is_file() {
                self.file(&entry)?;
            } else {
                return Err(refuse(inside(self.root.path, &entry.path()), format_args!("{}", special_name(file_type))));
            }
        }
        Ok(())
    }

    fn link(&mut self, path: &Path, depth: usize) -> io::Result<()> {
        if let Cow::Owned(relative) = check_link(&self.root, path, &fs::read_link(path)?, depth)? {
            fs::remove_file(path)?;
            symlink(relative, path)?;
        }
        let metadata = fs::symlink_metadata(path)?;
        self.summary.add(inside(self.root.path, path), &metadata, metadata.mode());
        Ok(())
    }

    fn file(&mut self, entry: &DirEntry) -> io::Result<()> {
        let path = entry.path();
        let is_trusted = match self.origin {
            Origin::Own => true,
            Origin::Task { objects, .. } => objects.iter().any(|object| path.starts_with(object)),
        };
        if is_trusted {
            let metadata = entry.metadata()?;
            let mode = read_only_mode(is_executable(&metadata));
            if metadata.mode() & RIGHTS != mode {
                fs::set_permissions(&path, Permissions::from_mode(mode))?;
            }
            self.summary.add(inside(self.root.path, &path), &metadata, mode);
            return Ok(());
        }
        let (file, metadata) = open_protected(&path)?;
        let mode = read_only_mode(is_executable(&metadata));
        if metadata.nlink() > 1 && writers::is_own(&metadata) {
            let (names, count) = self.shared.entry((metadata.dev(), metadata.ino())).or_default();
            names.push(path);
            *count = metadata.nlink();
            return Ok(());
        }
        let metadata = if writers::has_none(&file, &metadata) { metadata } else { self.replace(&file, &path)? };
        self.summary.add(inside(self.root.path, &path), &metadata, mode);
        Ok(())
    }

    /// Makes files of their own of those that have names outside of the directory.
    fn separate_shared(&mut self) -> io::Result<()> {
        for (names, count) in std::mem::take(&mut self.shared).into_values() {
            let Some((first, others)) = names.split_first() else { continue };
            let (file, metadata) = open_protected(first)?;
            let mode = read_only_mode(is_executable(&metadata));
            // All names are here, and nobody writes.
            let is_own = names.len() as u64 == count && writers::has_no_writer(&file);
            let metadata = if is_own { metadata } else { self.replace(&file, first)? };
            for name in others {
                if !is_own {
                    fs::remove_file(name)?;
                    fs::hard_link(first, name)?;
                }
                self.summary.add(inside(self.root.path, name), &metadata, mode);
            }
            self.summary.add(inside(self.root.path, first), &metadata, mode);
        }
        Ok(())
    }

    /// Puts a copy in the place of an open file.
    fn replace(&self, file: &File, path: &Path) -> io::Result<Metadata> {
        let Origin::Task { new_path, .. } = self.origin else { return file.metadata() };
        let beside = new_path();
        let mode = read_only_mode(is_executable(&file.metadata()?));
        let target = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
        let copied = copy::append(file, &target, 0)
            .and_then(|_| target.set_permissions(Permissions::from_mode(mode)))
            .and_then(|()| fs::rename(&beside, path));
        if let Err(error) = copied {
            let _ = fs::remove_file(&beside);
            return Err(error);
        }
        target.metadata()
    }
}

/// Opens a regular file and takes its rights to be written; what was known of it before. The rights of a file of another user stay.
pub(crate) fn open_protected(path: &Path) -> io::Result<(File, Metadata)> {
    // Not a link; and a named pipe would wait for a writer.
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
    let open = || OpenOptions::new().read(true).custom_flags(flags).open(path);
    let file = match open() {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let metadata = fs::symlink_metadata(path)?;
            if !metadata.is_file() {
                return Err(not_regular());
            }
            fs::set_permissions(path, Permissions::from_mode(read_only_mode(is_executable(&metadata))))?;
            open()?
        }
        Err(error) if matches!(error.raw_os_error(), Some(nix::libc::ELOOP | nix::libc::ENXIO)) => {
            return Err(not_regular());
        }
        opened => opened?,
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(not_regular());
    }
    let mode = read_only_mode(is_executable(&metadata));
    if metadata.mode() & RIGHTS != mode && writers::is_own(&metadata) {
        file.set_permissions(Permissions::from_mode(mode))?;
    }
    Ok((file, metadata))
}

fn not_regular() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")
}
