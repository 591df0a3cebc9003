//! Memory for content that has come: used again, as memory that is new costs about as much as a copy into it.

use crossbeam_channel::{Receiver, Sender, unbounded};
use rain_transport::Wake;
use std::ops::Deref;

/// Hands out memory and gets it back. How much may be out at a time is for its owner to say, see [`out`](Self::out).
pub struct Buffers {
    out: usize,
    give_back: Sender<Vec<u8>>,
    given_back: Receiver<Vec<u8>>,
    wake: Wake,
}

impl Buffers {
    /// None are out; `wake` is called whenever one has come back.
    pub fn new(wake: Wake) -> Self {
        let (give_back, given_back) = unbounded();
        Self { out: 0, give_back, given_back, wake }
    }

    /// Hands out the first `length` bytes of `memory`.
    pub fn hand_out(&mut self, memory: Vec<u8>, length: usize) -> Buffer {
        self.out += 1;
        let length = length.min(memory.len());
        Buffer { memory, length, give_back: self.give_back.clone(), wake: self.wake.clone() }
    }

    /// How many were not taken back.
    pub fn out(&self) -> usize {
        self.out
    }

    /// Takes back memory that somebody has given back; none if nobody has.
    pub fn take_back(&mut self) -> Option<Vec<u8>> {
        let memory = self.given_back.try_recv().ok()?;
        self.out -= 1;
        Some(memory)
    }
}

/// Memory with a piece of content, which goes back to its owner when it is dropped, by any thread.
pub struct Buffer {
    memory: Vec<u8>,
    length: usize,
    give_back: Sender<Vec<u8>>,
    wake: Wake,
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[..self.length]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // An error means that its owner receives nothing any more.
        let _ = self.give_back.send(std::mem::take(&mut self.memory));
        (self.wake)();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn memory_comes_back_once_and_wakes_its_owner() {
        let woken = Arc::new(AtomicUsize::new(0));
        let count = woken.clone();
        let mut buffers = Buffers::new(Arc::new(move || _ = count.fetch_add(1, Ordering::SeqCst)));
        let handed_out = [(1, 3), (2, 9)].map(|(byte, length)| buffers.hand_out(vec![byte; 5], length));
        assert_eq!([&handed_out[0][..], &handed_out[1][..]], [&[1; 3][..], &[2; 5][..]]);
        assert!(buffers.take_back().is_none());
        assert_eq!((buffers.out(), woken.load(Ordering::SeqCst)), (2, 0));
        drop(handed_out);
        assert_eq!((buffers.out(), woken.load(Ordering::SeqCst)), (2, 2));
        assert_eq!(buffers.take_back(), Some(vec![1; 5]));
        assert_eq!(buffers.take_back(), Some(vec![2; 5]));
        assert!(buffers.out() == 0 && buffers.take_back().is_none());
    }

    #[test]
    fn buffers_may_outlive_their_owner_and_come_back_from_elsewhere() {
        let mut buffers = Buffers::new(Arc::new(|| ()));
        let buffer = buffers.hand_out(vec![3], 1);
        std::thread::spawn(move || drop(buffer)).join().unwrap();
        assert_eq!(buffers.take_back(), Some(vec![3]));
        let buffer = buffers.hand_out(vec![4], 1);
        drop(buffers);
        assert_eq!(buffer[..], [4]);
    }
}
