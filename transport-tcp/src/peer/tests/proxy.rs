//! Something between two ends that does to connections what networks do.

use super::{PATIENCE, listener};
use crate::peer::plain::{GREETING_BYTES, MAGIC};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

const CUT_AFTER_BYTES: u64 = 5_000_000;

/// What is done to who connects, and what was seen of it.
pub(super) struct Faults {
    /// What comes is lost, as on a cut wire.
    pub(super) stalled: AtomicBool,
    /// What comes goes on in parts, some of them single bytes, and with pauses.
    pub(super) torn: AtomicBool,
    /// So many times still, everything is cut when some bytes of who connects have passed.
    pub(super) cuts_left: AtomicU64,
    passed: AtomicU64,
    /// So many pieces of content in plain connections still arrive with a bit flipped.
    pub(super) flips: AtomicU64,
    /// Plain connections are closed when content comes.
    pub(super) no_plain: AtomicBool,
    /// Bytes of who connects in plain connections.
    pub(super) plain_bytes: AtomicU64,
    /// What who connects has said, in TLS and in plain connections.
    pub(super) heard: Mutex<Vec<u8>>,
    pub(super) heard_plain: Mutex<Vec<u8>>,
    open: Mutex<Vec<TcpStream>>,
    /// How many connections have come.
    accepted: (Mutex<usize>, Condvar),
    closed: AtomicBool,
}

impl Faults {
    fn cut(&self) {
        for stream in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

pub(super) struct Proxy {
    pub(super) address: SocketAddr,
    pub(super) faults: Arc<Faults>,
}

impl Proxy {
    pub(super) fn new(target: SocketAddr) -> Self {
        let door = listener();
        let address = door.local_addr().unwrap();
        let faults = Arc::new(Faults {
            stalled: AtomicBool::new(false),
            torn: AtomicBool::new(false),
            cuts_left: AtomicU64::new(0),
            passed: AtomicU64::new(0),
            flips: AtomicU64::new(0),
            no_plain: AtomicBool::new(false),
            plain_bytes: AtomicU64::new(0),
            heard: Mutex::default(),
            heard_plain: Mutex::default(),
            open: Mutex::default(),
            accepted: Default::default(),
            closed: AtomicBool::new(false),
        });
        let of_thread = faults.clone();
        std::thread::spawn(move || {
            for near in door.incoming().map_while(Result::ok) {
                if of_thread.closed.load(Ordering::SeqCst) {
                    return;
                }
                *of_thread.accepted.0.lock().unwrap() += 1;
                of_thread.accepted.1.notify_all();
                let Ok(far) = TcpStream::connect(target) else { continue };
                for (from, to, from_near) in [(&near, &far, true), (&far, &near, false)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let faults = of_thread.clone();
                    std::thread::spawn(move || pump(from, to, from_near, &faults));
                }
                of_thread.open.lock().unwrap().extend([near, far]);
            }
        });
        Self { address, faults }
    }

    pub(super) fn cut(&self) {
        self.faults.cut();
    }

    /// Waits until so many connections have come.
    pub(super) fn wait_for_connection(&self, count: usize) {
        let (accepted, more) = &self.faults.accepted;
        let waited = more.wait_timeout_while(accepted.lock().unwrap(), PATIENCE, |accepted| *accepted < count);
        assert!(!waited.unwrap().1.timed_out(), "no connection {count}");
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.faults.closed.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        self.cut();
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, from_near: bool, faults: &Faults) {
    let mut buffer = vec![0; 1 << 16];
    let mut before: u64 = 0;
    let mut plain = false;
    while let Ok(count) = from.read(&mut buffer)
        && count > 0
    {
        let bytes = &mut buffer[..count];
        if from_near {
            plain |= before == 0 && bytes[0] == MAGIC[0];
            if plain && faults.no_plain.load(Ordering::SeqCst) {
                let _ = from.shutdown(Shutdown::Both);
                break;
            }
            hear(bytes, plain, before, faults);
            if faults.cuts_left.load(Ordering::SeqCst) > 0
                && faults.passed.fetch_add(count as u64, Ordering::SeqCst) > CUT_AFTER_BYTES
            {
                faults.passed.store(0, Ordering::SeqCst);
                faults.cuts_left.fetch_sub(1, Ordering::SeqCst);
                faults.cut();
            }
        }
        before += count as u64;
        if !faults.stalled.load(Ordering::SeqCst) && hand_on(bytes, &mut to, faults).is_err() {
            break;
        }
    }
    if !faults.stalled.load(Ordering::SeqCst) {
        let _ = to.shutdown(Shutdown::Both);
    }
}

fn hear(bytes: &mut [u8], plain: bool, before: u64, faults: &Faults) {
    if !plain {
        return faults.heard.lock().unwrap().extend_from_slice(bytes);
    }
    faults.plain_bytes.fetch_add(bytes.len() as u64, Ordering::SeqCst);
    faults.heard_plain.lock().unwrap().extend_from_slice(bytes);
    let flips = faults.flips.load(Ordering::SeqCst);
    if before + bytes.len() as u64 > GREETING_BYTES as u64 && flips > 0 {
        faults.flips.store(flips - 1, Ordering::SeqCst);
        bytes[bytes.len() - 1] ^= 1;
    }
}

fn hand_on(mut bytes: &[u8], to: &mut TcpStream, faults: &Faults) -> std::io::Result<()> {
    let mut step = 1;
    while faults.torn.load(Ordering::SeqCst) && bytes.len() > step {
        let (now, later) = bytes.split_at(step);
        to.write_all(now)?;
        bytes = later;
        // Longer and longer, so that it ends some time.
        step = (step * 2) % 9001;
        std::thread::sleep(Duration::from_micros(200));
    }
    to.write_all(bytes)
}
