//! `rain-engine`: an MPI program of which rank 0 is the server and each other rank a governor; one rank alone is both.
//!
//! What `mpirun` starts is the rank's **supervisor**, as for other ways to start Rain; the process that it starts in turn is
//! the rank for MPI, with the environment that `mpirun` has given to its parent ([`rank`]). Before ranks begin, they tell each
//! other whether they are ready ([`agreement`]) and divide the cpus of their nodes ([`cpus`]).

mod agreement;
mod cpus;
mod last_words;
mod panics;
pub(crate) mod rank;
mod rank_governor;
pub(crate) mod role;
mod server;
pub(crate) mod shared_memory;
mod voice;

use crate::end_time::EndPlan;
use crate::governor_config::GovernorFile;
use crate::http::HttpPlan;
use crate::launch::{Descriptors, Launch, Report, Reports, make_inheritable};
use crate::log_plan::LogPlan;
use crate::memory::MemoryPlan;
use crate::plan::{self, Governors, PlanError, StartPlan};
use crate::remote::args::EngineArgs;
use crate::remote::role::{CpuCount, Role};
use crate::remote::{self, RemoteError, governor};
use crate::resources::ResourcePlan;
use crate::runtime_dir::RuntimeDirError;
use crate::start::Told;
use crate::supervisor::{self, Held};
use crate::terminal::{self, complain, say};
use crate::{address, engine, governor_config};
use clap::{ArgAction, Parser, Subcommand};
use last_words::LastWords;
use nix::fcntl::OFlag;
use role::RankRole;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;

/// Announced to the other ranks instead of this release, to try what they say to it.
const VERSION_VARIABLE: &str = "RAIN_ENGINE_VERSION";

/// The command line of `rain-engine`.
#[derive(Debug, Parser)]
#[command(
    name = "rain-engine",
    version,
    about = "Rain as an MPI program, to be started by mpirun or srun: rank 0 is the server, the other ranks are governors",
    disable_version_flag = true,
    disable_help_subcommand = true,
    args_conflicts_with_subcommands = true
)]
struct Cli {
    /// Print the version
    #[arg(short = 'v', long = "version", action = ArgAction::Version)]
    version: Option<bool>,
    #[command(flatten)]
    args: EngineArgs,
    #[command(subcommand)]
    process: Option<Process>,
}

#[derive(Debug, Subcommand)]
enum Process {
    /// The process that is the rank (started by its supervisor)
    #[command(hide = true)]
    EngineProcess { launch_file: PathBuf },
}

/// The program `rain-engine`.
pub fn main() -> ExitCode {
    terminal::set_program("rain-engine");
    match Cli::try_parse() {
        // It has logged and reported its error.
        Ok(Cli { process: Some(Process::EngineProcess { launch_file }), .. }) => {
            ExitCode::from(u8::from(engine::run(&launch_file).is_err()))
        }
        Ok(cli) => supervise(&cli.args, None),
        Err(error) if error.use_stderr() => {
            let text = error.to_string();
            supervise(&EngineArgs::default(), text.lines().next().map(|line| line.replace("error: ", "")))
        }
        // Help or version, which is enough to hear once.
        Err(error) => {
            if role::expected_rank().unwrap_or(0) == 0 {
                let _ = error.print();
            }
            ExitCode::SUCCESS
        }
    }
}

/// Runs a rank until it ends. What is wrong on one rank is not said here but told to the others, so that all end and one
/// of them says it.
fn supervise(args: &EngineArgs, wrong: Option<String>) -> ExitCode {
    let planned = match wrong {
        Some(wrong) => Err(wrong),
        None => plan(args).map_err(|error| error.to_string()),
    };
    let planned = planned.or_else(|wrong| {
        let (plan, role) = plan(&EngineArgs::default()).map_err(|error| error.to_string())?;
        Ok((plan, RankRole { unready: Some(wrong), ..role }))
    });
    let ended = planned.and_then(|(plan, role)| run(plan, role).map_err(|error| error.to_string()));
    ended.unwrap_or_else(|error: String| {
        complain(&error);
        ExitCode::FAILURE
    })
}

/// What was typed, checked; without what only the server, or only one host, can tell.
fn plan(args: &EngineArgs) -> Result<(StartPlan, RankRole), RemoteError> {
    let absolute = |option, path: &Option<PathBuf>| plan::absolute(option, path.as_deref());
    let listen = match (&args.run, &args.serving.at.listen) {
        // Nobody else needs to know the port, and other jobs may be on this node.
        (Some(_), None) => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0),
        (_, listen) => address::parse_for_server(listen.as_deref())?,
    };
    let role = RankRole {
        version: std::env::var(VERSION_VARIABLE).unwrap_or_else(|_| env!("CARGO_PKG_VERSION").to_owned()),
        expected_rank: role::expected_rank(),
        listen,
        server: remote::server_role(&args.serving, None, false)?,
        run: args.run.clone(),
        cpus: CpuCount::parse(&args.worker.cpus).ok_or_else(|| RemoteError::Cpus(args.worker.cpus.clone()))?,
        unready: None,
    };
    let is_server = role.expected_rank.unwrap_or(0) == 0;
    let http_listen = args.serving.at.http_listen.as_deref();
    // With a command nobody hears where it is shown, unless that was chosen.
    let is_shown = args.run.is_none() || http_listen.is_some();
    let file = args.worker.config.as_deref().map_or(Ok(GovernorFile::default()), governor_config::read)?;
    let plan = StartPlan {
        governors: Governors::Simple,
        listen,
        log_dir: absolute("--logdir", &args.places.logdir)?,
        work_dir: absolute("--workdir", &args.places.workdir)?,
        memory: MemoryPlan::new(&args.places).map_err(PlanError::from)?,
        run_prefix: Vec::new(),
        executors: file.executors,
        resources: ResourcePlan::new(&args.worker.resources, file.resources).map_err(PlanError::from)?,
        reserve_cpu: false,
        pin: !args.worker.no_pin,
        keep_capabilities: plan::keeps_capabilities(args.worker.keep_capabilities),
        foreground: true,
        private: false,
        // Of the server's rank only: it tells the others.
        end: if is_server { EndPlan::new(&args.serving.end).map_err(PlanError::from)? } else { EndPlan::default() },
        log: LogPlan::new(&args.serving.log),
        http: if is_shown { Some(HttpPlan::new(http_listen).map_err(PlanError::from)?) } else { None },
    };
    Ok((plan, role))
}

/// Why a rank has no supervisor.
#[derive(Debug, thiserror::Error)]
enum SuperviseError {
    #[error(transparent)]
    RuntimeDir(#[from] RuntimeDirError),
    #[error("cannot make a pipe: {0}")]
    Pipe(#[source] io::Error),
}

fn run(plan: StartPlan, role: RankRole) -> Result<ExitCode, SuperviseError> {
    let directory = governor::claim_directory("rank")?;
    let (read_end, write_end) =
        nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(|error| SuperviseError::Pipe(error.into()))?;
    let voice = io::stderr().as_fd().try_clone_to_owned().map_err(SuperviseError::Pipe)?;
    let voice_number = make_inheritable(voice.as_fd()).map_err(SuperviseError::Pipe)?;
    let descriptors = Descriptors { voice: voice_number, ..Descriptors::default() };
    let (server, run) = (role.server.clone(), role.run.is_some());
    let listen = plan.listen;
    let launch =
        Launch { role: Role::Rank(Box::new(role)), ..Launch::new(plan, listen, directory.path(), descriptors) };
    let _lock = directory.into_lock();
    let held = Held { listener: None, reports: Reports::new(write_end) };
    let mut told = Told::default();
    let mut last_words = LastWords::new(&launch);
    let (mut serving, mut shared_memory) = (None, Vec::new());
    let ended = supervisor::run_attached(launch, held, read_end, |report| {
        last_words.take(&report);
        match &report {
            Report::Serving { listen, .. } => serving = Some(*listen),
            Report::SharedMemory(files) => shared_memory.clone_from(files),
            Report::Ready { .. } => {
                told.take(report);
                if let Some(listen) = serving {
                    if !run {
                        say(&told.announcement(listen));
                    }
                    remote::write_ready_file(server.ready_file.as_deref());
                }
                return;
            }
            _ => {}
        }
        told.take(report);
    });
    shared_memory.iter().for_each(|path| _ = std::fs::remove_file(path));
    if serving.is_some() {
        server.access_files.remove();
        server.ready_file.as_ref().map(std::fs::remove_file);
    }
    if let Some(asked) = ended.asked {
        std::thread::sleep(role::ASKED_TIME_MIN.saturating_sub(asked.elapsed()));
        return Ok(ExitCode::SUCCESS);
    }
    Ok(match (ended.command, ended.well) {
        (Some(code), _) if code != 0 => ExitCode::from(code),
        // Its server was there to its end.
        (Some(_), true) => ExitCode::SUCCESS,
        (None, true) if !run || serving.is_none() => ExitCode::SUCCESS,
        // The server was stopped before the command had ended by itself.
        _ => ExitCode::FAILURE,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn planned(line: &str) -> Result<(StartPlan, RankRole), String> {
        let cli = Cli::try_parse_from(shlex::split(&format!("rain-engine {line}")).unwrap()).unwrap();
        plan(&cli.args).map_err(|error| error.to_string())
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn with_a_command_the_port_is_a_free_one_of_this_machine() {
        let everywhere = planned("").unwrap().1.listen;
        assert!(everywhere.ip().is_unspecified() && everywhere.port() == 7210);
        assert_eq!(planned("--run 'python x.py'").unwrap().1.listen.to_string(), "127.0.0.1:0");
        let chosen = planned("--run x --listen=7211").unwrap().1.listen;
        assert!(chosen.ip().is_unspecified() && chosen.port() == 7211);
    }

    #[test]
    fn wrong_options_are_named() {
        for (line, expected) in [
            ("--cpus=0", "--cpus=0"),
            ("--listen=x:y", "--listen=x:y"),
            ("--config=/no/such/file", "/no/such/file"),
            ("--http-listen=8080x:", "--http-listen=8080x:"),
            ("--end-time=never", "--end-time=never"),
        ] {
            let message = planned(line).unwrap_err();
            assert!(message.contains(expected), "{line}: {message}");
        }
    }
}
