//! The command of a client that runs beside an engine and ends with it: `rain-engine --run`.

use crate::programs;
use crate::remote::access;
use crate::terminal::complain;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;
use std::env;
use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Tells the Python client which server to connect to: HOST:PORT.
pub const SERVER_VARIABLE: &str = "RAIN_SERVER";
/// What shells say when a command cannot be started.
const NOT_STARTED: u8 = 127;
/// What shells add to the number of the signal that has ended a command.
const BY_SIGNAL: i32 = 128;

/// Why a command cannot be run.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    #[error("--run={0:?}: a quote is not closed")]
    Quote(String),
    #[error("--run={0:?} names no command")]
    Empty(String),
    #[error("--run: there is no program {0:?} here (its path, or its name in PATH)")]
    NoProgram(String),
}

/// Splits a command as a shell does, and finds its program.
///
/// # Errors
/// When it has none, or there is no such program.
pub fn words(text: &str) -> Result<(PathBuf, Vec<String>), CommandError> {
    let words = shlex::split(text).ok_or_else(|| CommandError::Quote(text.to_owned()))?;
    let (name, arguments) = words.split_first().ok_or_else(|| CommandError::Empty(text.to_owned()))?;
    let found = env::current_dir().ok().and_then(|here| programs::find(name, &here));
    Ok((found.ok_or_else(|| CommandError::NoProgram(name.clone()))?, arguments.to_vec()))
}

/// Whether a variable says which process of an MPI program one is: of no use to what a rank starts, and in the way of MPI
/// programs among it.
pub fn is_of_a_rank(name: &OsStr) -> bool {
    const PREFIXES: [&str; 16] = [
        "OMPI_COMM_WORLD_",
        "OMPI_UNIVERSE_",
        "OMPI_MCA_ess",
        "OMPI_MCA_orte_",
        "OMPI_MCA_pmix",
        "OMPI_MCA_initial_wdir",
        "OMPI_APP_CTX_",
        "OMPI_NUM_APP_CTX",
        "OMPI_FIRST_RANKS",
        "OMPI_COMMAND",
        "OMPI_ARGV",
        "OMPI_FILE_LOCATION",
        "PMIX_",
        "PMI_",
        "PMI2_",
        "MPI_LOCAL",
    ];
    name.to_str().is_some_and(|name| PREFIXES.iter().any(|prefix| name.starts_with(prefix)))
}

/// The command, and how far it is.
#[derive(Debug, Default)]
pub struct ClientCommand {
    text: Option<String>,
    environment: Vec<(&'static str, OsString)>,
    state: State,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    NotStarted,
    Running(Pid),
    Ended(u8),
}

impl ClientCommand {
    /// A command that is not started yet; `None`: there is none.
    pub fn new(text: Option<&str>) -> Self {
        Self { text: text.map(str::to_owned), ..Self::default() }
    }

    /// Its server listens there, and has this directory.
    pub fn serve_at(&mut self, directory: &Path, listen: SocketAddr) {
        let access_file = directory.join("access.json").into_os_string();
        let server = format!("localhost:{}", listen.port()).into();
        self.environment = vec![(SERVER_VARIABLE, server), (access::VARIABLE, access_file)];
    }

    /// Starts it, if there is one; that it cannot be started is said, and ends it.
    pub fn start(&mut self) {
        let Some(text) = self.text.as_deref().filter(|_| self.state == State::NotStarted) else { return };
        let spawned = words(text).map_err(|error| error.to_string()).and_then(|(program, arguments)| {
            let mut command = Command::new(&program);
            command.args(arguments).envs(self.environment.iter().map(|(name, value)| (name, value)));
            for (name, _) in env::vars_os().filter(|(name, _)| is_of_a_rank(name)) {
                command.env_remove(name);
            }
            // SAFETY: both calls are plain system calls, which may be made between fork and exec.
            unsafe {
                command.pre_exec(|| {
                    prctl::set_pdeathsig(Signal::SIGKILL)?;
                    Ok(sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?)
                });
            }
            command.spawn().map_err(|error| format!("--run: cannot start {}: {error}", program.display()))
        });
        self.state = match spawned {
            Ok(child) => State::Running(Pid::from_raw(child.id() as i32)),
            Err(error) => {
                complain(&error);
                State::Ended(NOT_STARTED)
            }
        };
    }

    /// Takes the exit status of a child, if it is this one's.
    pub fn take_status(&mut self, status: WaitStatus) {
        let State::Running(pid) = self.state else { return };
        let code = match status {
            WaitStatus::Exited(ended, code) if ended == pid => code,
            WaitStatus::Signaled(ended, signal, _) if ended == pid => BY_SIGNAL + signal as i32,
            _ => return,
        };
        self.state = State::Ended(code.clamp(0, 255) as u8);
    }

    pub fn is_running(&self) -> bool {
        matches!(self.state, State::Running(_))
    }

    pub fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended(_))
    }

    /// As shells count it, once it has ended.
    pub fn exit_status(&self) -> Option<u8> {
        if let State::Ended(code) = self.state { Some(code) } else { None }
    }

    pub fn signal(&self, signal: Signal) {
        if let State::Running(pid) = self.state {
            let _ = kill(pid, signal);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_split_and_found() {
        let (program, arguments) = words("sh -c 'exit 3'").unwrap();
        assert!(program.is_absolute() && program.ends_with("sh"));
        assert_eq!(arguments, ["-c", "exit 3"]);
        assert_eq!(words("a 'b"), Err(CommandError::Quote("a 'b".to_owned())));
        assert_eq!(words(" "), Err(CommandError::Empty(" ".to_owned())));
        assert_eq!(words("no-such-program-here x"), Err(CommandError::NoProgram("no-such-program-here".to_owned())));
    }

    #[test]
    fn exit_statuses_are_those_of_shells() {
        let pid = Pid::from_raw(7);
        for (status, code) in [
            (WaitStatus::Exited(pid, 0), Some(0)),
            (WaitStatus::Exited(pid, 42), Some(42)),
            (WaitStatus::Signaled(pid, Signal::SIGKILL, false), Some(137)),
            (WaitStatus::Exited(Pid::from_raw(8), 1), None),
        ] {
            let mut command = ClientCommand { state: State::Running(pid), ..ClientCommand::default() };
            command.take_status(status);
            assert_eq!(command.exit_status(), code);
        }
    }

    #[test]
    fn what_names_a_rank_is_known() {
        for name in ["OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_FD", "OMPI_MCA_ess_base_vpid"] {
            assert!(is_of_a_rank(OsStr::new(name)), "{name}");
        }
        for name in ["PATH", "OMPI_MCA_btl", "SLURM_JOB_ID", "TMPDIR"] {
            assert!(!is_of_a_rank(OsStr::new(name)), "{name}");
        }
    }
}
