//! Which faults a run has: each seed first draws how often each kind happens, then when it does.

use crate::random::Random;
use crate::schedule::{Fault, MILLI, SECOND, Time};

/// Kinds of faults that can be left out of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum FaultKind {
    Cuts,
    PeerCuts,
    OneWay,
    Stops,
    Slow,
    Kills,
    Joins,
    DiskStalls,
    DiskFull,
    Vanishing,
    /// Executors that die, hang, answer late or give calls back.
    Executors,
    /// Tasks that fail or hang by themselves.
    Tasks,
    /// Cancels, in both forms.
    Cancels,
    Delays,
}

impl FaultKind {
    /// All of them.
    pub const ALL: [FaultKind; 14] = [
        FaultKind::Cuts,
        FaultKind::PeerCuts,
        FaultKind::OneWay,
        FaultKind::Stops,
        FaultKind::Slow,
        FaultKind::Kills,
        FaultKind::Joins,
        FaultKind::DiskStalls,
        FaultKind::DiskFull,
        FaultKind::Vanishing,
        FaultKind::Executors,
        FaultKind::Tasks,
        FaultKind::Cancels,
        FaultKind::Delays,
    ];
}

/// A connection that is down for longer is given up.
pub const LOST_AFTER: Time = 10 * SECOND;
/// When somebody hears that a peer cannot be reached.
pub const UNREACHABLE_AFTER: Time = 4 * SECOND;

/// How a run is set up. Rates are a thousandth each.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Cpus of the governors that are there from the beginning.
    pub cpus: Vec<u32>,
    /// Tasks ask for more than cpus, and governors have it.
    pub resources: bool,
    pub clients: u32,
    /// Sessions go on when governors are lost.
    pub recovers: bool,
    /// How much each client does.
    pub steps: u32,
    /// Longest time between two things that a client does.
    pub think: Time,
    /// Longest delay of a message.
    pub delay: Time,
    /// How often an executor dies at a call, gives its calls back, or answers late.
    pub dies: u64,
    pub returns: u64,
    pub late: u64,
    /// How often a task fails at first, hangs at first, or fails for good.
    pub fails: u64,
    pub hangs: u64,
    pub fails_for_good: u64,
    /// How much of what clients do is cancelling.
    pub cancels: u64,
    /// When everything heals.
    pub heals: Time,
    /// What happens before, and when.
    pub faults: Vec<(Time, Fault)>,
}

impl Setup {
    /// Draws the set-up of a seed, without some kinds of faults.
    pub fn draw(seed: u64, without: &[FaultKind]) -> Self {
        let mut random = Random::child(seed, "setup");
        let governors = random.between(1, 4);
        let cpus: Vec<u32> = (0..governors).map(|_| random.between(1, 4) as u32).collect();
        let heals = random.between(SECOND / 2, 8 * SECOND);
        let clients = random.between(1, 3) as u32;
        // Each kind of fault is there in some of the runs only, and there at a rate of its own.
        let mut rate = |kind: FaultKind, most: u64| {
            let (is_on, drawn) = (random.chance(400), random.between(1, most));
            if is_on && !without.contains(&kind) { drawn } else { 0 }
        };
        let delay = MILLI / 10 + rate(FaultKind::Delays, 30) * MILLI;
        let (dies, returns, late) =
            (rate(FaultKind::Executors, 80), rate(FaultKind::Executors, 100), rate(FaultKind::Executors, 100));
        let (fails, hangs, fails_for_good) =
            (rate(FaultKind::Tasks, 150), rate(FaultKind::Tasks, 60), rate(FaultKind::Tasks, 8));
        let cancels = rate(FaultKind::Cancels, 300);
        let mut setup = Self {
            clients,
            recovers: Random::child(seed, "recovery").chance(900),
            steps: random.between(4, 30) as u32,
            think: random.between(1, 300) * MILLI,
            delay,
            dies,
            returns,
            late,
            fails,
            hangs,
            fails_for_good,
            cancels,
            heals,
            faults: Vec::new(),
            resources: Random::child(seed, "resources").chance(400),
            cpus,
        };
        setup.draw_faults(seed, without);
        setup
    }

    fn draw_faults(&mut self, seed: u64, without: &[FaultKind]) {
        let governors = self.cpus.len() as u64 + 2;
        for kind in FaultKind::ALL {
            let mut random = Random::child(seed, &format!("{kind:?}"));
            let is_rare = matches!(kind, FaultKind::Vanishing);
            let most = if random.chance(if is_rare { 150 } else { 350 }) { random.between(1, 4) } else { 0 };
            for _ in 0..most {
                let at = random.below(self.heals);
                let governor = random.below(governors) as u32;
                let other = random.below(governors) as u32;
                let short = random.between(10 * MILLI, 4 * SECOND);
                let long = random.between(LOST_AFTER, 2 * LOST_AFTER);
                let is_long = random.chance(100);
                let lasts = if is_long { long } else { short };
                let fault = match kind {
                    FaultKind::Cuts => Fault::Cut { governor, lasts },
                    FaultKind::PeerCuts => Fault::PeerCut { governors: (governor, other), lasts },
                    FaultKind::OneWay => Fault::OneWay { from: governor, to: other },
                    FaultKind::Stops => Fault::Stop { governor, lasts: short },
                    FaultKind::Slow => Fault::Slow { governor, factor: random.between(2, 100) },
                    FaultKind::Kills => Fault::Kill { governor },
                    FaultKind::Joins => Fault::Join { cpus: random.between(1, 4) as u32 },
                    FaultKind::DiskStalls => Fault::DiskStall { governor, lasts: short },
                    FaultKind::DiskFull => Fault::DiskFull { governor, lasts: short },
                    FaultKind::Vanishing => Fault::ClientVanishes { client: random.below(3) as u32 },
                    FaultKind::Executors | FaultKind::Tasks | FaultKind::Cancels | FaultKind::Delays => continue,
                };
                if !without.contains(&kind) {
                    self.faults.push((at, fault));
                }
            }
        }
    }
}
