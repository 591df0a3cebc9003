//! What can be typed after `rain top`, `rain sessions`, `rain tasks` and `rain governors`.

use crate::log_args::WhichTasks;
use crate::which_args::WhichServer;
use clap::Args;

/// Arguments of `rain top`.
#[derive(Debug, Args)]
pub struct TopArgs {
    #[command(flatten)]
    pub which: WhichServer,
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = seconds)]
    pub interval: f64,
}

/// Arguments of `rain sessions`.
#[derive(Debug, Args)]
pub struct SessionsArgs {
    #[command(flatten)]
    pub which: WhichServer,
    /// List sessions that are: open, failed or closed
    #[arg(long, value_name = "STATE")]
    pub state: Option<String>,
    /// List so many at most, the newest
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `rain tasks`.
#[derive(Debug, Args)]
pub struct TasksArgs {
    #[command(flatten)]
    pub which: WhichServer,
    #[command(flatten)]
    pub tasks: WhichTasks,
    /// List tasks that this governor has run or runs
    #[arg(long, value_name = "NUMBER")]
    pub governor: Option<u32>,
    /// In this order within a session: id, started, seconds or name; with - before it the other way round
    #[arg(long, value_name = "ORDER", allow_hyphen_values = true)]
    pub sort: Option<String>,
    /// List so many at most
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `rain governors`.
#[derive(Debug, Args)]
pub struct GovernorsArgs {
    #[command(flatten)]
    pub which: WhichServer,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

fn seconds(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|seconds| (0.1..=3600.0).contains(seconds));
    number.ok_or_else(|| format!("{text:?} is no number of seconds from 0.1 to 3600"))
}
