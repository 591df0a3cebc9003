//! Many seeds, on all cpus.

use crate::run::{Options, Outcome, run};
use crate::violation::Violation;
use rayon::prelude::*;
use std::ops::Range;

/// What came of many runs.
#[derive(Clone, Debug, Default)]
pub struct Swept {
    pub seeds: u64,
    pub actions: u64,
    pub tasks: u64,
    /// Virtual time, microseconds.
    pub time: u64,
    /// By ascending seed.
    pub failed: Vec<(u64, Violation)>,
}

impl Swept {
    fn of(seed: u64, outcome: Outcome) -> Self {
        let Outcome { actions, tasks, time, violation, .. } = outcome;
        let failed = violation.into_iter().map(|violation| (seed, violation)).collect();
        Self { seeds: 1, actions, tasks: tasks as u64, time, failed }
    }

    fn with(mut self, other: Self) -> Self {
        self.seeds += other.seeds;
        self.actions += other.actions;
        self.tasks += other.tasks;
        self.time += other.time;
        self.failed.extend(other.failed);
        self
    }
}

/// Runs all these seeds; `failed` hears of each that fails as soon as it does.
pub fn sweep(seeds: Range<u64>, options: &Options, failed: impl Fn(u64, &Violation) + Sync) -> Swept {
    let one = |seed| {
        let outcome = run(seed, options);
        if let Some(violation) = &outcome.violation {
            failed(seed, violation);
        }
        Swept::of(seed, outcome)
    };
    let mut swept = seeds.into_par_iter().map(one).reduce(Swept::default, Swept::with);
    swept.failed.sort_by_key(|(seed, _)| *seed);
    swept
}

/// One of these seeds that fails as they are run, and does not without the fault that is put back.
pub fn find(seeds: Range<u64>, options: &Options) -> Option<(u64, Violation)> {
    let sound = Options { mutation: None, ..options.clone() };
    seeds.into_par_iter().find_map_any(|seed| {
        let violation = run(seed, options).violation?;
        run(seed, &sound).violation.is_none().then_some((seed, violation))
    })
}
