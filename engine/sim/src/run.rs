//! The run of one seed.

use crate::context::Context;
use crate::faults::{FaultKind, Setup};
use crate::mutation::Mutation;
use crate::violation::{Verdict, Violation};
use crate::world::World;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How seeds are run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// A fault of the engine that is put back.
    pub mutation: Option<Mutation>,
    /// Kinds of faults that are left out.
    pub without: Vec<FaultKind>,
    /// Print all actions.
    pub prints: bool,
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Of all actions. Of a run in which something panicked 0.
    pub hash: u64,
    pub actions: u64,
    /// Tasks that clients have submitted, and virtual time, microseconds.
    pub tasks: usize,
    pub time: u64,
    pub violation: Option<Violation>,
}

/// Runs a seed.
pub fn run(seed: u64, options: &Options) -> Outcome {
    let setup = Setup::draw(seed, &options.without);
    if options.prints {
        println!("{setup:#?}");
    }
    let context = Context::new(seed, setup, options.mutation, options.prints);
    let whole = || {
        let mut world = World::new(seed, context);
        world.run();
        let context = world.context;
        Outcome {
            hash: context.trace.hash(),
            actions: context.trace.actions(),
            tasks: context.truth.sessions.values().map(|facts| facts.tasks.len()).sum(),
            time: context.now,
            violation: context.violation,
        }
    };
    catch_unwind(AssertUnwindSafe(whole)).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().cloned();
        let message = said.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let message = message.unwrap_or_else(|| "something panicked".to_owned());
        let violation = Violation { verdict: Verdict::Crash, checker: "panic", message };
        Outcome { hash: 0, actions: 0, tasks: 0, time: 0, violation: Some(violation) }
    })
}

/// The kinds of faults that a failing seed fails without, in the same way.
pub fn shrink(seed: u64, options: &Options) -> Vec<FaultKind> {
    let way = |options: &Options| run(seed, options).violation.map(|found| (found.verdict, found.checker));
    let wanted = way(options);
    let mut smaller = Options { prints: false, ..options.clone() };
    for kind in FaultKind::ALL {
        smaller.without.push(kind);
        if wanted.is_none() || way(&smaller) != wanted {
            smaller.without.pop();
        }
    }
    smaller.without
}
