//! What programs and executors may do where Rain is run by root.
//!
//! Objects are files without the right to be written, which root ignores: `CAP_DAC_OVERRIDE`. So that a task cannot change its inputs by
//! mistake, what is started does not get this capability. It keeps `CAP_DAC_READ_SEARCH`, so that it can read everything.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};

/// See capabilities(7).
const CAP_DAC_OVERRIDE: u32 = 1;
const CAPABILITY_VERSION: u32 = 0x2008_0522;

static KEPT: AtomicBool = AtomicBool::new(false);
/// Whether something was started without the capability.
static LIMITED: AtomicBool = AtomicBool::new(false);

/// Said of a task that was refused what root may do elsewhere.
const HINT: &str = "inputs are read-only; a program gets a copy that it may change with Input(..., write=True). Tasks of root may not write \
                    to files of other users either, unless Rain is started with --keep-capabilities";

/// Lets what is started have all rights of this process.
pub fn keep_capabilities() {
    KEPT.store(true, Ordering::Relaxed);
}

thread_local! {
    static IS_LIMITED: Cell<bool> = const { Cell::new(false) };
}

/// Has programs that this thread starts from now on not get the capability; the thread itself keeps it. Without the right to do that,
/// as of users other than root, nothing happens.
pub(super) fn limit_children() {
    if IS_LIMITED.replace(true) || KEPT.load(Ordering::Relaxed) {
        return;
    }
    // SAFETY: numbers only.
    let dropped = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(CAP_DAC_OVERRIDE), 0, 0, 0) } == 0;
    if !dropped {
        return;
    }
    LIMITED.store(true, Ordering::Relaxed);
    // What is inheritable comes beside that.
    if let Err(error) = drop_inheritable() {
        tracing::warn!("programs that root's tasks start may write to their inputs: {error}");
    }
}

/// What a task is told beside its error `message`, if that may have to do with the missing capability; else none.
pub(crate) fn hint(message: &str) -> Option<&'static str> {
    let is_refusal = LIMITED.load(Ordering::Relaxed) && message.to_ascii_lowercase().contains("permission denied");
    is_refusal.then_some(HINT)
}

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

/// 32 capabilities.
#[repr(C)]
#[derive(Default, Clone, Copy)]
struct Sets {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

fn drop_inheritable() -> std::io::Result<()> {
    // 0 is this thread.
    let mut header = Header { version: CAPABILITY_VERSION, pid: 0 };
    let mut sets = [Sets::default(); 2];
    // SAFETY: of this version the system reads the header and fills in two sets.
    if unsafe { libc::syscall(libc::SYS_capget, &raw mut header, &raw mut sets) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    let bit = 1 << CAP_DAC_OVERRIDE;
    if sets[0].inheritable & bit == 0 {
        return Ok(());
    }
    sets[0].inheritable &= !bit;
    // SAFETY: as above; both are only read, but for the header's version.
    if unsafe { libc::syscall(libc::SYS_capset, &raw mut header, &raw const sets) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(())
}
