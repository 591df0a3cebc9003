//! Linux's affinity calls, for any number of cpus.

use crate::cpu::{CpuId, TopologyError};
use std::io;

/// Masks are grown up to this many cpus when the system says that they are too short.
const CPUS_MAX: usize = 1 << 16;
const BITS: usize = u64::BITS as usize;

/// The cpus that the calling thread may use, in the order of their numbers.
pub(crate) fn current() -> io::Result<Vec<CpuId>> {
    let mut words = vec![0u64; 1024 / BITS];
    loop {
        let bytes = size_of_val(words.as_slice());
        // SAFETY: the mask is ours and has the length that is told; 0 is the calling thread.
        if unsafe { libc::sched_getaffinity(0, bytes, words.as_mut_ptr().cast()) } == 0 {
            return Ok(cpus_of(&words));
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::EINVAL) || words.len() * BITS >= CPUS_MAX {
            return Err(error);
        }
        words = vec![0; words.len() * 2];
    }
}

/// Lets the calling thread, and what it starts from now on, run on `cpus` only.
///
/// # Errors
/// When there are no such cpus, or this process may not use them.
pub fn pin_current_thread(cpus: &[CpuId]) -> Result<(), TopologyError> {
    pin(0, cpus, || "a thread".to_owned())
}

/// Lets all threads of another process, and what they start from now on, run on `cpus` only.
///
/// # Errors
/// When there are no such cpus or no such process, or it is somebody else's.
pub fn pin_process(pid: u32, cpus: &[CpuId]) -> Result<(), TopologyError> {
    let what = || format!("process {pid}");
    let main = match libc::pid_t::try_from(pid) {
        Ok(main) if main > 0 => main,
        _ => return Err(pin_error(what(), cpus, io::Error::from_raw_os_error(libc::ESRCH))),
    };
    // First the one that starts the others.
    pin(main, cpus, what)?;
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    for thread in threads.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(|thread| *thread != main)
    {
        // One that has ended meanwhile runs nowhere.
        let _ = pin(thread, cpus, what);
    }
    Ok(())
}

fn pin(pid: libc::pid_t, cpus: &[CpuId], what: impl Fn() -> String) -> Result<(), TopologyError> {
    let highest = cpus.iter().map(|cpu| cpu.0).max().ok_or(TopologyError::NoCpus)?;
    if highest >= CPUS_MAX {
        return Err(pin_error(what(), cpus, io::Error::from_raw_os_error(libc::EINVAL)));
    }
    let mut words = vec![0u64; highest / BITS + 1];
    for cpu in cpus {
        words[cpu.0 / BITS] |= 1 << (cpu.0 % BITS);
    }
    let bytes = size_of_val(words.as_slice());
    // SAFETY: the mask is valid for reads of the length that is told.
    if unsafe { libc::sched_setaffinity(pid, bytes, words.as_ptr().cast()) } == 0 {
        Ok(())
    } else {
        Err(pin_error(what(), cpus, io::Error::last_os_error()))
    }
}

fn pin_error(what: String, cpus: &[CpuId], source: io::Error) -> TopologyError {
    TopologyError::Pin { what, cpus: cpus.iter().map(|cpu| cpu.0).collect(), source }
}

fn cpus_of(words: &[u64]) -> Vec<CpuId> {
    let bits = words.iter().enumerate();
    bits.flat_map(|(i, word)| (0..BITS).filter(move |bit| word >> bit & 1 == 1).map(move |bit| CpuId(i * BITS + bit)))
        .collect()
}
