//! Starting a child with `posix_spawn`.
//!
//! `std::process::Command` copies the whole environment for every child and, with a `PATH` of the child's own, forks;
//! a fork copies the page tables of the whole server. `posix_spawn` shares memory with the child until it executes.

use super::tree::new_entry;
use super::{Child, Environment, rights};
use nix::unistd::Pid;
use std::ffi::{CStr, CString, OsStr, c_char};
use std::fs::{File, OpenOptions};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::OnceLock;

/// What to start and with what descriptors.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    pub(crate) program: &'a CStr,
    pub(crate) args: &'a [CString],
    pub(crate) environment: &'a Environment,
    /// The directory to work in.
    pub(crate) directory: BorrowedFd<'a>,
    /// Standard input, output and error, and further descriptors from 3 on.
    pub(crate) descriptors: &'a [BorrowedFd<'a>],
}

/// The null device, for reading and writing.
pub(crate) fn dev_null() -> io::Result<BorrowedFd<'static>> {
    static NULL: OnceLock<File> = OnceLock::new();
    if let Some(file) = NULL.get() {
        return Ok(file.as_fd());
    }
    let file = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    Ok(NULL.get_or_init(|| file).as_fd())
}

/// An argument for a program; `None` if it contains a zero byte.
pub(crate) fn c_string(text: impl AsRef<OsStr>) -> Option<CString> {
    CString::new(text.as_ref().as_bytes()).ok()
}

fn check(code: i32) -> io::Result<()> {
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(code)) }
}

struct FileActions(libc::posix_spawn_file_actions_t);

impl FileActions {
    fn new() -> io::Result<Self> {
        let mut actions = MaybeUninit::uninit();
        // SAFETY: the call initialises what it is given.
        check(unsafe { libc::posix_spawn_file_actions_init(actions.as_mut_ptr()) })?;
        // SAFETY: it succeeded.
        Ok(Self(unsafe { actions.assume_init() }))
    }
}

impl Drop for FileActions {
    fn drop(&mut self) {
        // SAFETY: initialised in `new`, destroyed once.
        unsafe { libc::posix_spawn_file_actions_destroy(&mut self.0) };
    }
}

struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    /// A session of its own, no blocked signals, and all signals as they are by default, whatever those who started Rain have ignored.
    fn new() -> io::Result<Self> {
        let mut raw = MaybeUninit::uninit();
        // SAFETY: the call initialises what it is given.
        check(unsafe { libc::posix_spawnattr_init(raw.as_mut_ptr()) })?;
        // SAFETY: it succeeded.
        let mut attributes = Self(unsafe { raw.assume_init() });
        let flags = i32::from(libc::POSIX_SPAWN_SETSID) | libc::POSIX_SPAWN_SETSIGMASK | libc::POSIX_SPAWN_SETSIGDEF;
        let mut signals = MaybeUninit::uninit();
        // SAFETY: `attributes` is initialised; `signals` is initialised by sigemptyset before it is read, and is a set of bits.
        unsafe {
            check(libc::posix_spawnattr_setflags(&mut attributes.0, flags as libc::c_short))?;
            libc::sigemptyset(signals.as_mut_ptr());
            check(libc::posix_spawnattr_setsigmask(&mut attributes.0, signals.as_ptr()))?;
            // Not `sigfillset`: it leaves out signals that the C library uses, and `posix_spawn` has those ignored then.
            signals.as_mut_ptr().write_bytes(0xff, 1);
            check(libc::posix_spawnattr_setsigdefault(&mut attributes.0, signals.as_ptr()))?;
        }
        Ok(attributes)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised in `new`, destroyed once.
        unsafe { libc::posix_spawnattr_destroy(&mut self.0) };
    }
}

impl Launch<'_> {
    /// Starts the child as the leader of a session.
    pub(crate) fn start(&self) -> io::Result<Child> {
        rights::limit_children();
        let mut actions = FileActions::new()?;
        // SAFETY: the actions are initialised, and the descriptors are open as they are borrowed.
        unsafe {
            check(libc::posix_spawn_file_actions_addfchdir_np(&mut actions.0, self.directory.as_raw_fd()))?;
            for (number, fd) in (0..).zip(self.descriptors) {
                check(libc::posix_spawn_file_actions_adddup2(&mut actions.0, fd.as_raw_fd(), number))?;
            }
        }
        let attributes = Attributes::new()?;
        let args: Vec<*const c_char> = self.args.iter().map(|arg| arg.as_ptr()).chain([std::ptr::null()]).collect();
        let entry = new_entry();
        let environment = self.environment.pointers(&entry);
        let mut pid = 0;
        // SAFETY: both arrays end with a null pointer and point to strings that `self` keeps; nothing of them is
        // written to, whatever the signature says; the actions and attributes are initialised.
        check(unsafe {
            libc::posix_spawn(
                &mut pid,
                self.program.as_ptr(),
                &actions.0,
                &attributes.0,
                args.as_ptr().cast(),
                environment.as_ptr().cast(),
            )
        })?;
        Child::new(Pid::from_raw(pid), entry)
    }
}
