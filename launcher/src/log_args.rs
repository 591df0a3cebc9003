//! What can be typed after `rain log`, `rain trace` and `rain report`.

use clap::Args;
use std::path::PathBuf;

/// Which tasks are listed.
#[derive(Debug, Default, Args)]
pub struct WhichTasks {
    /// List tasks of this session only
    #[arg(long, value_name = "NUMBER")]
    pub session: Option<u32>,
    /// List tasks that are: waiting, ready, running, finished, failed, cancelled or lost; several with commas between
    #[arg(long, value_name = "STATE")]
    pub state: Option<String>,
    /// List tasks with this in their names; with a slash at the end, those of that group
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
}

/// Arguments of `rain log`.
#[derive(Debug, Default, Args)]
pub struct LogCommandArgs {
    /// A directory of logs or an events.sqlite in one [default: the server that runs, or else the last that ran]
    #[arg(value_name = "LOGDIR")]
    pub place: Option<PathBuf>,
    #[command(flatten)]
    pub tasks: WhichTasks,
    /// List tasks of which something happened since then: 90s, 10m, 2h or 1d ago, or seconds since 1970
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// List what happened to sessions and governors, and failures, instead of tasks
    #[arg(long, conflicts_with_all = ["state", "name", "csv"])]
    pub events: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Print tasks as CSV
    #[arg(long, conflicts_with = "json")]
    pub csv: bool,
}

/// Arguments of `rain trace`.
#[derive(Debug, Default, Args)]
pub struct TraceArgs {
    /// A directory of logs or an events.sqlite in one [default: the server that runs, or else the last that ran]
    #[arg(value_name = "LOGDIR")]
    pub place: Option<PathBuf>,
    /// Of this session only
    #[arg(long, value_name = "NUMBER")]
    pub session: Option<u32>,
    /// Write to this file instead of standard output
    #[arg(short = 'o', long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Arguments of `rain report`.
#[derive(Debug, Default, Args)]
pub struct ReportArgs {
    /// A directory of logs or an events.sqlite in one [default: the server that runs, or else the last that ran]
    #[arg(value_name = "LOGDIR")]
    pub place: Option<PathBuf>,
    /// The page to be written
    #[arg(short = 'o', long, value_name = "FILE", default_value = "report.html")]
    pub output: PathBuf,
}
