//! Everything that happened, as a hash; and in words for whoever wants to read it.

use std::fmt::{self, Write};

/// The actions of a run so far.
#[derive(Debug)]
pub struct Trace {
    hash: Hasher,
    actions: u64,
    prints: bool,
}

/// FNV-1a over the text of the actions.
#[derive(Debug)]
struct Hasher(u64);

impl Write for Hasher {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Ok(())
    }
}

impl Trace {
    /// An empty one; `prints`: actions are printed, too.
    pub fn new(prints: bool) -> Self {
        Self { hash: Hasher(0xcbf2_9ce4_8422_2325), actions: 0, prints }
    }

    /// Notes an action at a time, microseconds.
    pub fn note(&mut self, now: u64, what: fmt::Arguments<'_>) {
        self.actions += 1;
        // A hasher takes every text.
        let _ = writeln!(self.hash, "{now} {what}");
        if self.prints {
            println!("{:>10}.{:06} {what}", now / 1_000_000, now % 1_000_000);
        }
    }

    /// The hash of all actions.
    pub fn hash(&self) -> u64 {
        self.hash.0
    }

    /// How many there were.
    pub fn actions(&self) -> u64 {
        self.actions
    }
}
