//! Which cpus of this machine are a Rain's own, so that no two bind their tasks to the same cpu while another one is idle.
//!
//! A claim is a name among the system's abstract sockets, which goes with its process, needs no file, and is seen by all users (within
//! a network namespace).

use rain_topology::CpuId;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Claims cpus until the end of this process; false, and nothing is claimed, when another process has one of them, or the system gives
/// no sockets.
pub fn claim(cpus: impl IntoIterator<Item = CpuId>) -> bool {
    match cpus.into_iter().map(claim_one).collect::<io::Result<Vec<_>>>() {
        Ok(claims) => {
            claims.into_iter().for_each(std::mem::forget);
            true
        }
        Err(_) => false,
    }
}

fn claim_one(cpu: CpuId) -> io::Result<UnixDatagram> {
    UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(format!("rain-cpu-{}", cpu.0))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_is_claimed_once() {
        // No machine has these.
        let [one, two, three] = [1, 2, 3].map(|n| CpuId(1_000_000 + 10 * std::process::id() as usize + n));
        assert!(claim([one, two]));
        assert!(!claim([three, two]));
        assert!(claim([three]), "what could not be claimed as a whole is free");
    }
}
