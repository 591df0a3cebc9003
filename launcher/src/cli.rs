//! What can be typed; `plan` says what it means.

use crate::end_time::EndArgs;
use crate::explain::ExplainArgs;
use crate::log_args::{LogCommandArgs, ReportArgs, TraceArgs};
use crate::log_plan::LogArgs;
use crate::remote::args::{GovernorArgs, ListenArgs, PlaceArgs, ServerArgs};
use crate::resources::ResourceArgs;
use crate::seen_args::{GovernorsArgs, SessionsArgs, TasksArgs, TopArgs};
use crate::which_args::WhichServer;
use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use std::path::PathBuf;

/// Help is wrapped at so many columns.
const COLUMNS: usize = 80;

const AFTER_HELP: &str = "\
Examples:
  rain start --simple                        a server for this machine
  rain start --governor-host-file=hosts      one for the machines that `hosts` names
  rain start --autoconf=pbs                  one for the nodes of this PBS job
  rain status                                what it does
  rain stop node1:7210 --access=rain.access  end one on another machine

Environment:
  RAIN_SERVER=HOST:PORT   the server that is meant where none is given
  RAIN_ACCESS=FILE        the access file of a server on another machine
  RAIN_RUNTIME_DIR=DIR    where servers are found [default: /tmp/rain-UID]
  RAIN_SSH=COMMAND        instead of ssh, with options
  RAIN_LOG=LEVEL          what is logged: error, warn, info (default), debug, off
  RAIN_KEEP_CAPABILITIES=1  as --keep-capabilities

Exit status: 0 as asked; 1 it failed, and standard error says why; 2 the command
line was wrong, and nothing was done.";

/// The command line as it was typed.
#[derive(Debug, Parser)]
#[command(
    name = "rain",
    version,
    about = "Rain runs large graphs of tasks: it starts, stops and shows servers",
    disable_version_flag = true,
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = COLUMNS,
    after_help = AFTER_HELP
)]
pub struct Cli {
    /// Print the version
    #[arg(short = 'v', visible_short_alias = 'V', long = "version", action = ArgAction::Version)]
    version: Option<bool>,
    #[command(subcommand)]
    pub command: Command,
}

/// What is to be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a server and its governors; return when they are ready
    Start(Box<StartArgs>),
    /// Stop a server and its local governors
    Stop(WhichServer),
    /// Show what a server is doing
    Status(StatusArgs),
    /// Watch what a server does, in this terminal; q ends it
    Top(TopArgs),
    /// List the sessions of a server
    Sessions(SessionsArgs),
    /// List the tasks of a server
    Tasks(TasksArgs),
    /// List the governors of a server: their machines, and why they were lost
    Governors(GovernorsArgs),
    /// Say why a task does not run, or where it does
    Explain(ExplainArgs),
    /// Show the log of a run in a browser, also of one that is over or was broken off
    Dashboard(DashboardArgs),
    /// Print the completions for a shell, to be sourced by it
    Completions { shell: Shell },
    /// Tell what happened, from the event log of a server that runs or has ended
    Log(LogCommandArgs),
    /// Write an event log as a trace for ui.perfetto.dev
    Trace(TraceArgs),
    /// Write an event log as one page to send to somebody
    Report(ReportArgs),
    /// Run a server alone, which governors join
    Server(Box<ServerArgs>),
    /// Run a governor of a server, here or elsewhere
    Governor(Box<GovernorArgs>),
    /// The detached process that watches over an engine (started by `rain start`)
    #[command(hide = true)]
    SupervisorProcess { launch_file: PathBuf },
    /// The process that runs server and governors (started by the supervisor)
    #[command(hide = true)]
    EngineProcess { launch_file: PathBuf },
}

/// Arguments of `rain start`.
#[derive(Debug, Default, Args)]
pub struct StartArgs {
    /// Start a server and one governor with all cpus of this machine
    #[arg(long, help_heading = "What to start (exactly one)")]
    pub simple: bool,
    /// Start governors on this machine with so many cpus each, e.g. [4,4,2]
    #[arg(long, value_name = "CPUS", alias = "local-wokers", help_heading = "What to start (exactly one)")]
    pub local_governors: Option<String>,
    /// Start governors on the machines of this batch job: pbs (through SSH) or slurm (with srun)
    #[arg(long, value_name = "CONF", help_heading = "What to start (exactly one)")]
    pub autoconf: Option<String>,
    /// Start governors through SSH on the machines that the file names, one a line
    #[arg(long, value_name = "FILE", help_heading = "What to start (exactly one)")]
    pub governor_host_file: Option<PathBuf>,
    /// Where governors on other machines listen for each other and for clients: PORT, ADDRESS:PORT, or a range FIRST-LAST of ports that
    /// a firewall leaves open, of which each takes a free one [default: any free port]
    #[arg(long, value_name = "ADDRESS:PORT-PORT")]
    pub governor_listen: Option<String>,
    /// Be ready when so many governors are in, and name the machines without one, instead of giving up when one is missing
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub min_governors: Option<u32>,
    #[command(flatten)]
    pub at: ListenArgs,
    #[command(flatten)]
    pub places: PlaceArgs,
    #[command(flatten)]
    pub log: LogArgs,
    /// Command put before the rain program that does the work, e.g. "valgrind --tool=callgrind"
    #[arg(long, value_name = "CMD", allow_hyphen_values = true)]
    pub runprefix: Option<String>,
    /// TOML file with the executors of governors
    #[arg(long, value_name = "PATH")]
    pub governor_config: Option<PathBuf>,
    /// Shell commands to run on each remote machine first
    #[arg(long, value_name = "COMMANDS", allow_hyphen_values = true)]
    pub remote_init: Option<String>,
    /// Send large data from remote governors without encryption, for a network that you trust
    #[arg(long)]
    pub data_plain: bool,
    /// Leave one cpu to the server, on its machine
    #[arg(short = 'S')]
    pub reserve_cpu: bool,
    /// Let the system choose the cpus on which tasks run
    #[arg(long)]
    pub no_pin: bool,
    /// As root, let programs and functions write wherever root may, also to their inputs [also: RAIN_KEEP_CAPABILITIES=1]
    #[arg(long)]
    pub keep_capabilities: bool,
    /// Stay in the terminal; Ctrl-C stops everything
    #[arg(long)]
    pub foreground: bool,
    /// Stay in the foreground until standard input ends, and leave no logs (for a client's own server)
    #[arg(long, hide = true)]
    pub private: bool,
    #[command(flatten)]
    pub resources: ResourceArgs,
    #[command(flatten)]
    pub end: EndArgs,
}

/// What a shell is to source.
pub fn completions(shell: Shell) -> String {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "rain", &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// Arguments of `rain status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Print everything as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub which: WhichServer,
}

/// Arguments of `rain dashboard`.
#[derive(Debug, Args)]
pub struct DashboardArgs {
    /// The directory with the logs of the run (`--logdir`), or the event log itself
    pub logdir: PathBuf,
    /// Where browsers are served: PORT, ADDRESS or ADDRESS:PORT [default: 127.0.0.1:8080, or another port]
    #[arg(long, value_name = "ADDRESS")]
    pub http_listen: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_guides_command_lines_are_understood() {
        for line in [
            "rain start --simple",
            "rain start --local-governors=[4,4,2] --no-pin -S",
            "rain start --local-wokers=[4,4,2]",
            "rain start --simple --resource=licence=3 --resource gpus=[0,1] --gpus=none",
            "rain governor host --resource licence=3 --gpus none",
            "rain start -S --governor-host-file=my_hosts",
            "rain start --autoconf=pbs --remote-init=ls",
            "rain start --simple --listen=7210 --http-listen=8080 --logdir=l --workdir=w --governor-config=c",
            "rain stop --listen 7211",
            "rain status --json",
            "rain explain 1:42 --json node1:7211",
            "rain status node1:7211 --access=rain.access",
            "rain stop node1",
            "rain dashboard logs --http-listen=0",
            "rain server --listen=7210 --ready-file=r",
            "rain governor host:7210 --cpus=-1",
            "rain status 7211",
            "rain top node1:7210 --interval=0.5",
            "rain sessions --state=failed --json",
            "rain tasks 7211 --session=3 --state=failed,lost --name=main/ --governor=0 --sort=-seconds --limit=5",
            "rain governors --access=rain.access node1",
            "rain completions bash",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_ok(), "{line}");
        }
        let prefix = ["rain", "start", "--simple", "--runprefix=valgrind --tool=callgrind"];
        let Command::Start(args) = Cli::try_parse_from(prefix).unwrap().command else { panic!("not start") };
        assert_eq!(args.runprefix.as_deref(), Some("valgrind --tool=callgrind"));
    }
}
