//! Tar archives of directories: how they travel.

use crate::blob::BlobFile;
use crate::entries::{is_executable, refuse, sorted_entries};
use crate::paths::{PATH_BYTES_MAX, link_stays_inside, relative_path};
use crate::stamp::changed;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use tar::{Builder, Entry, EntryType, Header};

/// Writes the archive of the directory `tree` into a file beside it.
pub(crate) fn write_beside(tree: &Path) -> io::Result<(BlobFile, Metadata)> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut name = tree.as_os_str().to_owned();
    name.push(format!(".tar{}", NEXT.fetch_add(1, Ordering::Relaxed)));
    let path = PathBuf::from(name);
    let file = OpenOptions::new().write(true).create_new(true).mode(0o400).open(&path)?;
    let mut writer = BufWriter::with_capacity(1 << 16, &file);
    let written = write(tree, &mut writer).and_then(|()| writer.flush()).and_then(|()| file.metadata());
    match written {
        Ok(metadata) => Ok((BlobFile::new(path, &metadata), metadata)),
        Err(error) => {
            let _ = fs::remove_file(&path);
            Err(error)
        }
    }
}

/// So many bytes of a file, or an error: whoever reads the archive takes what follows for the next entry.
struct Exactly<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Exactly<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = self.inner.read(&mut buffer[..length])?;
        if read == 0 && length > 0 {
            return Err(changed());
        }
        self.left -= read as u64;
        Ok(read)
    }
}

/// Writes the archive of the directory `tree`: entries by name, and nothing in it that depends on when or by whom.
fn write(tree: &Path, writer: impl Write) -> io::Result<()> {
    let mut builder = Builder::new(writer);
    write_level(tree, Path::new(""), &mut builder)?;
    builder.into_inner()?;
    Ok(())
}

fn write_level<W: Write>(dir: &Path, name: &Path, builder: &mut Builder<W>) -> io::Result<()> {
    for (file_name, metadata) in sorted_entries(dir)? {
        let (path, name) = (dir.join(&file_name), name.join(&file_name));
        let mut header = Header::new_gnu();
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(0);
        if metadata.is_dir() {
            header.set_entry_type(EntryType::Directory);
            header.set_mode(0o755);
            let mut with_slash = name.as_os_str().to_owned();
            with_slash.push("/");
            builder.append_data(&mut header, with_slash, io::empty())?;
            write_level(&path, &name, builder)?;
        } else if metadata.is_symlink() {
            header.set_entry_type(EntryType::Symlink);
            header.set_mode(0o777);
            builder.append_link(&mut header, &name, fs::read_link(&path)?)?;
        } else {
            header.set_entry_type(EntryType::Regular);
            header.set_mode(if is_executable(&metadata) { 0o755 } else { 0o644 });
            header.set_size(metadata.len());
            builder.append_data(&mut header, &name, Exactly { inner: File::open(&path)?, left: metadata.len() })?;
        }
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Made {
    Directory,
    File,
    Link,
}

/// Unpacks an archive into the empty directory `target`.
///
/// Everything that was unpacked is remembered, so that no entry can be written through a link of an earlier one.
pub(crate) fn unpack(reader: impl Read, target: &Path) -> io::Result<()> {
    let mut archive = tar::Archive::new(reader);
    let mut made = HashMap::new();
    for entry in archive.entries()? {
        let mut entry = entry.map_err(not_an_archive)?;
        let raw = PathBuf::from(OsStr::from_bytes(&entry.path_bytes()));
        let name = relative_path(&raw).map_err(|why| refuse(&raw, why))?;
        unpack_entry(&mut entry, &raw, &name, target, &mut made)?;
    }
    Ok(())
}

fn not_an_archive(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("not a tar archive: {error}"))
}

fn unpack_entry<R: Read>(
    entry: &mut Entry<'_, R>,
    raw: &Path,
    name: &Path,
    target: &Path,
    made: &mut HashMap<PathBuf, Made>,
) -> io::Result<()> {
    let kind = entry.header().entry_type();
    let path = target.join(name);
    if kind == EntryType::Directory {
        return make_dirs(name, raw, target, made);
    }
    if name.as_os_str().is_empty() {
        return Err(refuse(raw, "names the directory itself, but is not a directory"));
    }
    if let Some(parent) = name.parent() {
        make_dirs(parent, raw, target, made)?;
    }
    if made.contains_key(name) {
        return Err(refuse(raw, "comes twice in the archive"));
    }
    let named = |error: io::Error| refuse(raw, format_args!("cannot be unpacked: {error}"));
    match kind {
        EntryType::Regular | EntryType::Continuous => {
            let mode = 0o600 | (entry.header().mode().map_err(named)? & 0o100);
            let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path)?;
            let size = entry.size();
            let copied = io::copy(entry, &mut file).map_err(|error| match error.raw_os_error() {
                // The disk's fault, not the archive's, and for the store to explain.
                Some(_) => error,
                None => named(error),
            })?;
            if copied != size {
                return Err(refuse(raw, "is cut off in the archive"));
            }
            made.insert(name.to_owned(), Made::File);
        }
        EntryType::Symlink => {
            let link = link_target(entry, raw)?;
            let depth = name.components().count() - 1;
            if !link_stays_inside(link.as_os_str(), depth) {
                return Err(refuse(raw, format_args!("is a link that leaves the directory: {:?}", shown(&link))));
            }
            symlink(&link, &path)?;
            made.insert(name.to_owned(), Made::Link);
        }
        EntryType::Link => {
            let link = link_target(entry, raw)?;
            let source = relative_path(&link)
                .map_err(|why| refuse(raw, format_args!("is a link to {:?}, which {why}", shown(&link))))?;
            if made.get(&source) != Some(&Made::File) {
                return Err(refuse(raw, format_args!("is a link to {:?}, which is no earlier file", shown(&link))));
            }
            fs::hard_link(target.join(source), &path)?;
            made.insert(name.to_owned(), Made::File);
        }
        _ => return Err(refuse(raw, "is not a file, a directory or a link")),
    }
    Ok(())
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn link_target<R: Read>(entry: &Entry<'_, R>, raw: &Path) -> io::Result<PathBuf> {
    match entry.link_name_bytes() {
        Some(bytes) if bytes.len() <= PATH_BYTES_MAX => Ok(PathBuf::from(OsStr::from_bytes(&bytes))),
        Some(_) => Err(refuse(raw, "is a link to a path that is too long")),
        None => Err(refuse(raw, "is a link to nothing")),
    }
}

/// Makes the directories of `name` that are not there yet; all are directories that came from this archive.
fn make_dirs(name: &Path, raw: &Path, target: &Path, made: &mut HashMap<PathBuf, Made>) -> io::Result<()> {
    match made.get(name) {
        _ if name.as_os_str().is_empty() => return Ok(()),
        Some(Made::Directory) => return Ok(()),
        Some(_) => return Err(refuse(raw, "is inside of something that is not a directory")),
        None => {}
    }
    if let Some(parent) = name.parent() {
        make_dirs(parent, raw, target, made)?;
    }
    fs::create_dir(target.join(name))?;
    made.insert(name.to_owned(), Made::Directory);
    Ok(())
}
