//! Memory that is lent to those who store content, and comes back to receive more: memory that is new costs about as much
//! as a copy into it.

use crossbeam_channel::{Receiver, Sender, unbounded};
use rain_transport::Wake;
use std::ops::Deref;

/// Lends memory. How much may be out at a time is for its owner to say, see [`lent`](Self::lent).
pub struct Lender {
    lent: usize,
    give_back: Sender<Vec<u8>>,
    given_back: Receiver<Vec<u8>>,
    wake: Option<Wake>,
}

impl Lender {
    /// A lender that has lent nothing; `wake` is called whenever something was given back.
    pub fn new(wake: Option<Wake>) -> Self {
        let (give_back, given_back) = unbounded();
        Self { lent: 0, give_back, given_back, wake }
    }

    /// Lends the first `length` bytes of `memory`.
    pub fn lend(&mut self, memory: Vec<u8>, length: usize) -> Loan {
        self.lent += 1;
        let length = length.min(memory.len());
        Loan { memory, length, give_back: self.give_back.clone(), wake: self.wake.clone() }
    }

    /// How many loans were not taken back.
    pub fn lent(&self) -> usize {
        self.lent
    }

    /// Takes back what somebody has given back; none if nobody has.
    pub fn take_back(&mut self) -> Option<Vec<u8>> {
        let memory = self.given_back.try_recv().ok()?;
        self.lent -= 1;
        Some(memory)
    }

    /// Waits until there is something to take back; none if nothing is lent.
    pub fn wait_back(&mut self) -> Option<Vec<u8>> {
        if self.lent == 0 {
            return None;
        }
        let memory = self.given_back.recv().ok()?;
        self.lent -= 1;
        Some(memory)
    }
}

/// Memory with a piece of content, which is given back to its lender when it is dropped, by any thread.
pub struct Loan {
    memory: Vec<u8>,
    length: usize,
    give_back: Sender<Vec<u8>>,
    wake: Option<Wake>,
}

impl Deref for Loan {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[..self.length]
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        // An error means that its lender receives nothing any more.
        let _ = self.give_back.send(std::mem::take(&mut self.memory));
        if let Some(wake) = &self.wake {
            wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn memory_comes_back_once_and_wakes_its_lender() {
        let woken = Arc::new(AtomicUsize::new(0));
        let count = woken.clone();
        let mut lender = Lender::new(Some(Arc::new(move || _ = count.fetch_add(1, Ordering::SeqCst))));
        let loans = [(1, 3), (2, 9)].map(|(byte, length)| lender.lend(vec![byte; 5], length));
        assert_eq!([&loans[0][..], &loans[1][..]], [&[1; 3][..], &[2; 5][..]]);
        assert!(lender.take_back().is_none());
        assert_eq!((lender.lent(), woken.load(Ordering::SeqCst)), (2, 0));
        drop(loans);
        assert_eq!((lender.lent(), woken.load(Ordering::SeqCst)), (2, 2));
        assert_eq!(lender.take_back(), Some(vec![1; 5]));
        assert_eq!(lender.wait_back(), Some(vec![2; 5]));
        assert_eq!(lender.lent(), 0);
        assert!(lender.take_back().is_none() && lender.wait_back().is_none());
    }

    #[test]
    fn loans_may_outlive_their_lender_and_come_back_from_elsewhere() {
        let mut lender = Lender::new(None);
        let loan = lender.lend(vec![3], 1);
        let storing = std::thread::spawn(move || drop(loan));
        assert_eq!(lender.wait_back(), Some(vec![3]));
        storing.join().unwrap();
        let loan = lender.lend(vec![4], 1);
        drop(lender);
        assert_eq!(loan[..], [4]);
    }
}
