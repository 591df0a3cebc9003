//! What everything in a simulation shares: the time, what is to happen, what has happened.

use crate::content::Data;
use crate::faults::Setup;
use crate::mutation::Mutation;
use crate::random::Random;
use crate::schedule::{End, Happening, Schedule, Time};
use crate::trace::Trace;
use crate::truth::Truth;
use crate::violation::Violation;
use rain_protocol::peer::Message;
use std::fmt;

/// See above.
pub struct Context {
    pub now: Time,
    pub schedule: Schedule,
    pub truth: Truth,
    pub trace: Trace,
    pub setup: Setup,
    pub mutation: Option<Mutation>,
    /// Whether all faults are over.
    pub healed: bool,
    /// Messages that were said and are not on a link yet.
    pub outbox: Vec<(End, End, Message<Data>)>,
    /// The first rule that was broken.
    pub violation: Option<Violation>,
    /// Draws of workers and governors' threads.
    pub turns: Random,
    /// Draws of executors.
    pub executors: Random,
}

impl Context {
    /// At the beginning of the run of a seed.
    pub fn new(seed: u64, setup: Setup, mutation: Option<Mutation>, prints: bool) -> Self {
        Self {
            now: 0,
            schedule: Schedule::default(),
            truth: Truth::default(),
            trace: Trace::new(prints),
            setup,
            mutation,
            healed: false,
            outbox: Vec::new(),
            violation: None,
            turns: Random::child(seed, "turns"),
            executors: Random::child(seed, "executors"),
        }
    }

    /// Whether this fault was put back.
    pub fn has(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    /// Has something happen after a time.
    pub fn after(&mut self, delay: Time, happening: Happening) {
        self.schedule.add(self.now + delay, happening);
    }

    /// Notes what happens.
    pub fn note(&mut self, what: fmt::Arguments<'_>) {
        self.trace.note(self.now, what);
    }

    /// A rule was broken; the first one is kept.
    pub fn broken(&mut self, violation: Violation) {
        self.note(format_args!("{violation}"));
        self.violation.get_or_insert(violation);
    }

    /// Takes what a checker has found.
    pub fn check(&mut self, found: Result<(), Violation>) {
        if let Err(violation) = found {
            self.broken(violation);
        }
    }
}
