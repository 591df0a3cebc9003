//! The content of files, copied with its holes.

use nix::errno::Errno;
use nix::unistd::{Whence, lseek};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;

/// Bytes of a block as `stat` counts them, whatever the file system's are.
const BLOCK_BYTES: u64 = 512;

/// Appends the whole content of `source` to `target`, which ends at `end`; returns where it ends then. It is copied inside
/// of the kernel where the file systems can, and what takes no room in `source` takes none in `target`.
pub(crate) fn append(source: &File, target: &File, end: u64) -> io::Result<u64> {
    let metadata = source.metadata()?;
    let size = metadata.len();
    (&*source).seek(SeekFrom::Start(0))?;
    (&*target).seek(SeekFrom::Start(end))?;
    // Files of pseudo file systems say that they are empty, so what is read decides about their size.
    if metadata.blocks().saturating_mul(BLOCK_BYTES) >= size {
        return Ok(end + io::copy(&mut &*source, &mut &*target)?);
    }
    let mut place = 0;
    while let Some(data) = next_data(source, place)? {
        (&*source).seek(SeekFrom::Start(data.start))?;
        (&*target).seek(SeekFrom::Start(end + data.start))?;
        let length = data.end - data.start;
        let copied = io::copy(&mut source.take(length), &mut &*target)?;
        place = data.start + copied;
        if copied < length {
            // It has become shorter.
            break;
        }
    }
    let size = size.max(place).min(source.metadata()?.len().max(place));
    // A hole at the end.
    if target.metadata()?.len() < end + size {
        target.set_len(end + size)?;
    }
    (&*target).seek(SeekFrom::Start(end + size))?;
    Ok(end + size)
}

/// Where the next data of a file is, from `place` on; none where there are only holes to its end.
fn next_data(file: &File, place: u64) -> io::Result<Option<std::ops::Range<u64>>> {
    let from = i64::try_from(place).map_err(io::Error::other)?;
    let start = match lseek(file, from, Whence::SeekData) {
        Ok(start) => start,
        Err(Errno::ENXIO) => return Ok(None),
        // The file system does not tell.
        Err(Errno::EINVAL | Errno::EOPNOTSUPP) => from,
        Err(errno) => return Err(errno.into()),
    };
    let end = match lseek(file, start, Whence::SeekHole) {
        Ok(end) => end,
        Err(Errno::ENXIO) => return Ok(None),
        Err(Errno::EINVAL | Errno::EOPNOTSUPP) => lseek(file, 0, Whence::SeekEnd)?,
        Err(errno) => return Err(errno.into()),
    };
    let [start, end] = [start, end].map(u64::try_from);
    match (start, end) {
        (Ok(start), Ok(end)) if end > start => Ok(Some(start..end)),
        _ => Ok(None),
    }
}
