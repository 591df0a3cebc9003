//! What is to happen, in virtual time.

use rain_model::id::ClientId;
use std::collections::BTreeMap;

/// Microseconds since the beginning of a run.
pub type Time = u64;

/// A millisecond.
pub const MILLI: Time = 1_000;
/// A second.
pub const SECOND: Time = 1_000_000;

/// One end of links.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    Server,
    Governor(u32),
}

/// What an executor says of the call that it is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    Finished,
    Failed,
    /// The executor has ended, and with it its calls.
    Died,
    /// The executor gives all calls back; `used_up`: it will not take any more.
    Returned {
        used_up: bool,
    },
}

/// What something wrong is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection of a governor to the server is down for so long.
    Cut {
        governor: u32,
        lasts: Time,
    },
    /// The connection between two governors is cut.
    PeerCut {
        governors: (u32, u32),
        lasts: Time,
    },
    /// The first of two governors cannot connect to the second, until everything heals.
    OneWay {
        from: u32,
        to: u32,
    },
    /// All threads of a governor stand still for so long.
    Stop {
        governor: u32,
        lasts: Time,
    },
    /// Everything that a governor does takes so many times as long, until everything heals.
    Slow {
        governor: u32,
        factor: u64,
    },
    Kill {
        governor: u32,
    },
    Join {
        cpus: u32,
    },
    /// What a governor's workers write takes until the stall is over.
    DiskStall {
        governor: u32,
        lasts: Time,
    },
    /// Nothing can be written on a governor for so long.
    DiskFull {
        governor: u32,
        lasts: Time,
    },
    ClientVanishes {
        client: u32,
    },
}

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening {
    /// The next message of a link arrives.
    Deliver {
        from: End,
        to: End,
    },
    /// A governor's thread takes one event.
    GovernorTurn {
        governor: u32,
    },
    /// A worker that is awake looks for something to do.
    WorkerTurn {
        governor: u32,
        worker: usize,
    },
    /// A built-in task comes to its end, if it is still the one that began as `serial`.
    WorkEnds {
        governor: u32,
        worker: usize,
        serial: u64,
        timed_out: bool,
    },
    /// The executor of a worker says something, if it is still at the call that began as `serial`.
    ExecutorSays {
        governor: u32,
        worker: usize,
        serial: u64,
        said: Said,
    },
    /// The time of the call `serial` is over.
    LimitReached {
        governor: u32,
        worker: usize,
        serial: u64,
    },
    /// Something was cancelled that a worker may be at.
    Interrupt {
        governor: u32,
        worker: usize,
    },
    /// The server's end of a governor's connection is given up.
    GovernorLost {
        governor: u32,
    },
    /// A governor's connection to a peer is given up.
    PeerLost {
        governor: u32,
        peer: u32,
    },
    /// A client does something.
    ClientTurn {
        client: ClientId,
    },
    /// The next request of a client arrives at the server.
    Request {
        client: ClientId,
    },
    Fault(Fault),
    /// The end of all faults.
    Heal,
}

/// Everything that is to happen, in order of time; what is for the same time, in the order in which it was said.
#[derive(Debug, Default)]
pub struct Schedule {
    at: BTreeMap<(Time, u64), Happening>,
    said: u64,
}

impl Schedule {
    /// Has something happen at a time.
    pub fn add(&mut self, at: Time, happening: Happening) {
        self.said += 1;
        self.at.insert((at, self.said), happening);
    }

    /// The next thing, and when it happens.
    pub fn pop(&mut self) -> Option<(Time, Happening)> {
        self.at.pop_first().map(|((time, _), happening)| (time, happening))
    }

    /// How much is to happen.
    pub fn len(&self) -> usize {
        self.at.len()
    }

    /// Whether nothing is to happen any more.
    pub fn is_empty(&self) -> bool {
        self.at.is_empty()
    }
}
