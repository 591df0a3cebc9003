//! `rain`, which starts, stops and shows servers, and `rain-engine`, which is all of Rain as an MPI program ([`mpi`]).
//!
//! `rain start` checks what it was asked for ([`plan`]), takes the port and the runtime directory ([`start`]) and starts a
//! detached **supervisor** ([`supervisor`]), which starts the **engine** ([`engine`]): server and governors in one process.
//! The supervisor outlives the engine and leaves nothing behind; an engine whose supervisor is killed ends by itself ([`orphan`]).

mod address;
mod cli;
mod client;
mod client_command;
mod controlled;
mod cpu_claims;
mod cpu_groups;
mod dashboard_command;
mod descendants;
mod end_time;
mod end_watch;
mod engine;
mod engine_error;
mod engine_log;
mod explain;
mod file_system;
mod governor_config;
mod host_name;
mod http;
mod launch;
mod local;
mod log_args;
mod log_command;
mod log_place;
mod log_plan;
mod log_text;
mod memory;
#[cfg(feature = "mpi")]
pub mod mpi;
mod old_logs;
mod option_path;
mod orphan;
mod place_watch;
mod plan;
mod programs;
mod remote;
mod reports;
mod resources;
mod role;
mod runtime_dir;
mod seen;
mod seen_args;
mod seen_command;
mod shown;
mod signals;
mod sizes;
mod start;
mod status;
mod status_command;
mod stop;
mod stray_signals;
mod supervisor;
mod terminal;
mod top;
mod which_args;
mod which_server;
mod work_dir;

use clap::Parser;
use cli::{Cli, Command};
use nix::sys::stat::{Mode, umask};
use plan::StartPlan;
use std::fmt::Display;
use std::process::ExitCode;
use terminal::{complain, print};

/// The command line was wrong.
const USAGE: u8 = 2;

/// The program `rain`.
pub fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => run(cli.command),
        // Help and version are "errors" that go to standard output.
        Err(error) if !error.use_stderr() => printed(Ok::<_, &str>(error.render().to_string())),
        Err(error) => {
            let _ = error.print();
            ExitCode::from(error.exit_code().clamp(0, 255) as u8)
        }
    }
}

/// Lets the owner of new files and directories use them, whatever umask the caller has: what Rain makes is for itself.
fn keep_own_rights() {
    let mask = umask(Mode::all());
    umask(mask & (Mode::S_IRWXG | Mode::S_IRWXO));
}

fn run(command: Command) -> ExitCode {
    keep_own_rights();
    match command {
        Command::Start(args) if remote::start::is_asked_for(&args) => started(remote::start::run(&args)),
        Command::Start(args) => match StartPlan::new(&args) {
            Ok(plan) => ended(start::run(plan)),
            Err(error) => failed(&error, USAGE),
        },
        Command::Stop(args) => printed(stop::run(&args)),
        Command::Status(args) => printed(status_command::run(&args)),
        Command::Top(args) => ended(top::run(&args)),
        Command::Sessions(args) => printed(seen_command::sessions(&args)),
        Command::Tasks(args) => printed(seen_command::tasks(&args)),
        Command::Governors(args) => printed(seen_command::governors(&args)),
        Command::Explain(args) => printed(explain::run(&args)),
        Command::Dashboard(args) => match dashboard_command::run(&args) {
            Ok(never) => match never {},
            Err(error) => failed(&error, 1),
        },
        Command::Completions { shell } => printed(Ok::<_, &str>(cli::completions(shell))),
        Command::Log(args) => printed(log_command::run(&args)),
        Command::Trace(args) => ended(log_command::trace(&args)),
        Command::Report(args) => printed(log_command::report(&args)),
        Command::Server(args) => started(remote::run_server(&args)),
        Command::Governor(args) => started(remote::run_governor(&args)),
        Command::SupervisorProcess { launch_file } => ended(supervisor::run_detached(&launch_file)),
        // It has logged and reported its error.
        Command::EngineProcess { launch_file } => ExitCode::from(u8::from(engine::run(&launch_file).is_err())),
    }
}

fn started(result: Result<bool, remote::RemoteError>) -> ExitCode {
    match result {
        Err(error) if error.is_usage() => failed(&error, USAGE),
        other => ended(other),
    }
}

fn ended(result: Result<bool, impl Display>) -> ExitCode {
    match result {
        Ok(ended_well) => ExitCode::from(u8::from(!ended_well)),
        Err(error) => failed(&error, 1),
    }
}

fn printed(result: Result<String, impl Display>) -> ExitCode {
    match result {
        Ok(text) => match print(&text) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&format!("cannot write to standard output: {error}"), 1),
        },
        Err(error) => failed(&error, 1),
    }
}

fn failed(error: &dyn Display, code: u8) -> ExitCode {
    complain(error);
    ExitCode::from(code)
}
