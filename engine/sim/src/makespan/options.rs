//! What `rain-sim makespan` is asked for.

use clap::{Args, ValueEnum};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// How many governors, and of how many cpus each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    pub governors: usize,
    pub cpus: u32,
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text
            .split_once('x')
            .and_then(|(governors, cpus)| Some(Self { governors: governors.parse().ok()?, cpus: cpus.parse().ok()? }));
        match parsed {
            Some(shape) if (1..=1024).contains(&shape.governors) && (1..=65_536).contains(&shape.cpus) => Ok(shape),
            _ => Err("GOVERNORSxCPUS is wanted, as 8x4: 1 to 1024 governors, of 1 to 65536 cpus each".to_owned()),
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "{}x{}", self.governors, self.cpus)
    }
}

fn above_zero(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number > 0.0 => Ok(number),
        _ => Err("a number above zero is wanted".to_owned()),
    }
}

fn zero_or_more(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number >= 0.0 => Ok(number),
        _ => Err("a number of zero or more is wanted".to_owned()),
    }
}

/// Who decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scheduler {
    /// The planner: list schedules, then a search, with durations and sizes known
    Plan,
    /// Tasks are placed as they become ready; durations and sizes are only known from tasks that have finished
    Learned,
    /// One list schedule, with durations and sizes known
    List,
    /// Each task anywhere
    Random,
}

impl Scheduler {
    /// How many runs of it there are; those that no seed changes run once.
    pub fn seeds(self, asked: u64) -> u64 {
        if matches!(self, Self::List | Self::Learned) { 1 } else { asked }
    }

    /// Its name in tables.
    pub fn name(self, seed: u64) -> String {
        match self {
            Self::Plan => format!("rain-s{seed}"),
            Self::Learned => "rain-learned".to_owned(),
            Self::List => "rain-list".to_owned(),
            Self::Random => format!("random-s{seed}"),
        }
    }
}

/// Options of the command.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// A folder of graphs, or one graph (engine/sim/README.md has the format)
    #[arg(long, value_name = "DIR")]
    pub graphs: PathBuf,
    /// Clusters, as GOVERNORSxCPUS
    #[arg(long, value_delimiter = ',', default_value = "8x4,32x4,16x8")]
    pub clusters: Vec<Shape>,
    /// MiB a second, of each governor's link in each direction
    #[arg(long, value_delimiter = ',', default_value = "128,1024", value_parser = above_zero)]
    pub bandwidth: Vec<f64>,
    /// Who decides
    #[arg(long, value_delimiter = ',', value_enum, default_value = "plan")]
    pub scheduler: Vec<Scheduler>,
    /// Runs of each scheduler that draws
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub seeds: u64,
    /// Seconds that the planner may take for each plan
    #[arg(long, value_name = "SECONDS", default_value = "0.3", value_parser = above_zero)]
    pub plan_time: f64,
    /// Plans that the planner may replay for each plan, instead of a time: gives the same result on each machine
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub replays: Option<u64>,
    /// Searches side by side [default: one for each cpu; 2 with --replays]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub chains: Option<u64>,
    /// With `learned`, how long a task may wait for the governor that a division of the graph gives it, in parts of the transfer that this
    /// saves; 0 for no division
    #[arg(long, value_name = "NUMBER", default_value_t = 1.0, value_parser = zero_or_more)]
    pub patience: f64,
    /// Where the rows go; without it they are printed
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
    /// A table with the columns graph, cluster, bandwidth_mib_s and best_known_s to compare with
    #[arg(long, value_name = "FILE")]
    pub best: Option<PathBuf>,
}
