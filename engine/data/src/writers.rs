//! Whether somebody can still write to a file.

use std::fs::{File, Metadata};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;

/// See fcntl(2).
const F_SETSIG: libc::c_int = 10;

fn set_lease(file: &File, lease: libc::c_int) -> bool {
    // SAFETY: a live descriptor, and numbers.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, lease) == 0 }
}

/// Takes a lease and gives it back; false if the system does not give it.
fn is_leased(file: &File, lease: libc::c_int) -> bool {
    // Who opens the file for writing meanwhile has the system send a signal to this process: one that is ignored, and not SIGIO,
    // which would end it.
    // SAFETY: a live descriptor, and numbers.
    let is_safe = unsafe { libc::fcntl(file.as_raw_fd(), F_SETSIG, libc::SIGURG) == 0 };
    is_safe && set_lease(file, lease) && set_lease(file, libc::F_UNLCK)
}

/// Whether it is certain that nobody has the file, which is open for reading, open or mapped for writing. File systems that cannot
/// tell (NFS) count as if somebody had.
pub(crate) fn has_no_writer(file: &File) -> bool {
    // The system gives this lease only then.
    is_leased(file, libc::F_RDLCK)
}

/// Whether it is certain that nobody can write to the file, which is open for reading and has no right to be written: nobody does, it
/// has no other name, and is ours.
pub(crate) fn has_none(file: &File, metadata: &Metadata) -> bool {
    metadata.nlink() == 1 && is_own(metadata) && has_no_writer(file)
}

/// Whether it is certain that nobody but this descriptor has the file open or mapped.
pub(crate) fn has_no_other_user(file: &File) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.nlink() == 1) && is_leased(file, libc::F_WRLCK)
}

/// Whether the file belongs to the user of this process. Another owner may give it rights again.
pub(crate) fn is_own(metadata: &Metadata) -> bool {
    metadata.uid() == nix::unistd::geteuid().as_raw()
}
