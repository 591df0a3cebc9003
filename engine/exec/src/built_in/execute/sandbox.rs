//! The directory that a program runs in.

use super::program::{Mapping, Program};
use crate::call::{Stop, TaskCall};
use crate::process::Tail;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::{Whence, lseek, pipe2, read};
use rain_data::{FileCopy, Object, ScratchDir, Store};
use rain_model::graph::DataType;
use std::cell::RefCell;
use std::ffi::{CStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

/// How many left files are named.
const NAMED_MAX: usize = 5;

thread_local! {
    /// The thread's last sandbox, if it was left as it was found.
    static IDLE: RefCell<Option<Sandbox>> = const { RefCell::new(None) };
}

/// An empty directory, and pipes for standard output and error. They are kept for the thread's next program when this one left
/// nothing behind, as most short ones do.
#[derive(Debug)]
pub(super) struct Sandbox {
    scratch: ScratchDir,
    directory: File,
    pub(super) stdout: Pipe,
    pub(super) stderr: Pipe,
}

/// A pipe into which a program writes.
#[derive(Debug)]
pub(super) struct Pipe {
    /// Does not block.
    reader: OwnedFd,
    /// Stays open here, so that the end of a child is seen once, by its pidfd, and not before by a hang-up.
    writer: OwnedFd,
}

impl Pipe {
    fn new() -> io::Result<Self> {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
        nix::fcntl::fcntl(&reader, nix::fcntl::FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(Self { reader, writer })
    }

    /// Where the program writes.
    pub(super) fn writer(&self) -> BorrowedFd<'_> {
        self.writer.as_fd()
    }

    /// Readable when something was written.
    pub(super) fn reader(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }

    /// Reads what was written.
    pub(super) fn read(&self, tail: &mut Tail) {
        let mut buffer = [0; 4096];
        // A survivor that writes without end must not keep us here; a pipe holds 64 KiB.
        for _ in 0..32 {
            match read(&self.reader, &mut buffer) {
                Ok(0) => return,
                Ok(length) => {
                    tail.push(&buffer[..length]);
                    if length < buffer.len() {
                        return;
                    }
                }
                Err(Errno::EINTR) => {}
                Err(_) => return,
            }
        }
    }
}

impl Sandbox {
    /// An empty directory in `store`.
    pub(super) fn take(store: &Store) -> io::Result<Self> {
        if let Some(sandbox) = IDLE.take()
            && sandbox.path().parent() == Some(store.root())
        {
            return Ok(sandbox);
        }
        let scratch = store.scratch_dir()?;
        let directory = File::open(scratch.path())?;
        Ok(Self { scratch, directory, stdout: Pipe::new()?, stderr: Pipe::new()? })
    }

    /// Keeps the sandbox for the next program, or removes it with what is in it. If nothing of that could become an output,
    /// returns a line about it. `was_alone`: the program has started nothing that may still write into the pipes.
    pub(super) fn give_back(mut self, program: &Program<'_>, was_alone: bool) -> Option<String> {
        // What was not asked for is rare; then a fresh directory is as good.
        if !program.is_without_files() {
            for number in &program.input_order {
                if let Some(mapping) = &program.inputs[*number]
                    && !mapping.write
                {
                    let _ = fs::remove_file(self.path().join(&mapping.path));
                }
            }
        }
        if self.is_empty() {
            if !was_alone {
                let (Ok(stdout), Ok(stderr)) = (Pipe::new(), Pipe::new()) else { return None };
                (self.stdout, self.stderr) = (stdout, stderr);
            }
            // A thread that is ending has no place for it any more.
            let _ = IDLE.try_with(|idle| idle.replace(Some(self)));
            return None;
        }
        if program.makes_no_files() { self.describe_rest(program) } else { None }
    }

    /// Names what a program has made, besides its inputs.
    fn describe_rest(&self, program: &Program<'_>) -> Option<String> {
        let top = |path: &Path| path.components().next().map(|name| name.as_os_str().to_owned());
        let inputs: Vec<OsString> = program.inputs.iter().flatten().filter_map(|mapping| top(&mapping.path)).collect();
        let entries = fs::read_dir(self.path()).ok()?;
        let names = entries.flatten().map(|entry| entry.file_name()).filter(|name| !inputs.contains(name));
        let mut names: Vec<String> = names.take(NAMED_MAX + 1).map(|name| format!("{name:?}")).collect();
        if names.is_empty() {
            return None;
        }
        names.sort();
        let more = if names.len() > NAMED_MAX { ", ..." } else { "" };
        names.truncate(NAMED_MAX);
        let names = names.join(", ");
        Some(format!("removed with the directory of the task, as they are no outputs of it: {names}{more}"))
    }

    pub(super) fn path(&self) -> &Path {
        self.scratch.path()
    }

    /// The open directory.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Whether there is a file at `program`, as the program's process sees it.
    pub(super) fn has(&self, program: &CStr) -> bool {
        let path = Path::new(std::ffi::OsStr::from_bytes(program.to_bytes()));
        self.path().join(path).exists()
    }

    fn is_empty(&self) -> bool {
        if lseek(&self.directory, 0, Whence::SeekSet).is_err() {
            return false;
        }
        // Room for the longest name, so that an entry that is there is seen.
        let mut buffer = [0u8; 1024];
        loop {
            // SAFETY: the kernel writes at most as many bytes as the buffer has.
            let length = unsafe {
                libc::syscall(libc::SYS_getdents64, self.directory.as_raw_fd(), buffer.as_mut_ptr(), buffer.len())
            };
            match usize::try_from(length) {
                Ok(0) => return true,
                Ok(length) if holds_only_dots(&buffer[..length.min(buffer.len())]) => {}
                _ => return false,
            }
        }
    }

    /// Puts the inputs at their places.
    pub(super) fn map_inputs(&self, call: &TaskCall<'_>, program: &Program<'_>) -> Result<(), Stop> {
        for number in &program.input_order {
            let Some(mapping) = &program.inputs[*number] else { continue };
            self.map_input(call.store, &call.inputs[*number], mapping).map_err(|error| {
                format!("input {number} cannot be put at {:?}: {error}", mapping.path.display().to_string())
            })?;
        }
        Ok(())
    }

    fn map_input(&self, store: &Store, object: &Object, mapping: &Mapping) -> io::Result<()> {
        let target = self.path().join(&mapping.path);
        if mapping.path.components().count() > 1
            && let Some(parent) = target.parent()
        {
            fs::create_dir_all(parent)?;
        }
        if mapping.write {
            return object.copy_out(store, &target, FileCopy::Copy);
        }
        match object.data_type() {
            DataType::Blob => symlink(object.path(store)?, &target),
            // A real directory, so that `find`, `tar` and `cp -r` see into it; its files are further names of the object's.
            DataType::Directory => object.copy_out(store, &target, FileCopy::Link),
        }
    }
}

/// Whether directory entries, as the kernel gives them, are only `.` and `..`.
fn holds_only_dots(mut entries: &[u8]) -> bool {
    // struct linux_dirent64: inode and offset of 8 bytes each, length of 2, type of 1, name with a final zero.
    const LENGTH_AT: usize = 16;
    const NAME_AT: usize = 19;
    while let (Some(length), Some(name)) = (entries.get(LENGTH_AT..LENGTH_AT + 2), entries.get(NAME_AT..)) {
        if !(name.starts_with(b".\0") || name.starts_with(b"..\0")) {
            return false;
        }
        match entries.get(usize::from(u16::from_ne_bytes([length[0], length[1]]))..) {
            Some(rest) if rest.len() < entries.len() => entries = rest,
            _ => return false,
        }
    }
    entries.is_empty()
}
