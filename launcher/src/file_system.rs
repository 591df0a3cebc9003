//! What is known of places in the file system, and names there.

use crate::host_name::host_name;
use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, access};
use std::fs;
use std::io::Read;
use std::path::Path;

/// Bytes that are free for the user in the file system of `path`.
pub fn free_bytes(path: &Path) -> u64 {
    statvfs(path).map_or(0, |stat| stat.blocks_available().saturating_mul(stat.fragment_size()))
}

/// Whether this user may make files in the directory `path`.
pub fn may_write(path: &Path) -> bool {
    access(path, AccessFlags::W_OK | AccessFlags::X_OK).is_ok()
}

/// A name that no other process uses, on other machines that have the same directory neither.
pub fn unique_name() -> String {
    format!("{}-{}-{}", host_name(), std::process::id(), unique())
}

/// What no other directory of this process, nor one of an earlier process of its number, has in its name.
fn unique() -> String {
    let mut bytes = [0; 4];
    let filled = fs::File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut bytes));
    // Without it, the other parts of the name have to do; making the directory fails where they do not.
    if filled.is_ok() { format!("{:08x}", u32::from_le_bytes(bytes)) } else { "0".to_owned() }
}
