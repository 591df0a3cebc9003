//! `rain start`: finds out whether it can be done, starts the supervisor and waits until the server is ready.

use crate::client::ServerConnection;
use crate::launch::{Descriptors, LAUNCH_FILE, Launch, Report, Reports, make_inheritable, read_reports};
use crate::plan::StartPlan;
use crate::runtime_dir::{self, Claim, RuntimeDirError, ServerDir};
use crate::status::Summary;
use crate::supervisor::{self, Held};
use crate::terminal::say;
use nix::fcntl::OFlag;
use std::fmt::Write;
use std::io::{self, IsTerminal};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long a server that is in the way may take to say who it is.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(2);
/// Tries to find a free port that no server of another address has.
const FREE_PORT_TRIES: usize = 16;

/// Why nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{summary}\nstop it with `{stop}`, or choose another port with --listen=PORT (0: any free one)", stop = stop_command(*.port))]
    AlreadyRuns { summary: String, port: u16 },
    #[error("port {port} of {ip} is taken by another program: choose another port with --listen=PORT (0: any free one)", ip = .0.ip(), port = .0.port())]
    PortTaken(SocketAddr),
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, #[source] io::Error),
    #[error("cannot start {program}: {source}", program = .0.display(), source = .1)]
    Spawn(PathBuf, #[source] io::Error),
    #[error("cannot make a pipe: {0}")]
    Pipe(#[source] io::Error),
    #[error("it did not start: {reason}{}", log_hint(.log_dir.as_deref()))]
    NotReady { reason: String, log_dir: Option<PathBuf> },
    #[error("it was running, but {reason}{}", log_hint(.log_dir.as_deref()))]
    Failed { reason: String, log_dir: Option<PathBuf> },
    #[error(transparent)]
    RuntimeDir(#[from] RuntimeDirError),
}

fn log_hint(log_dir: Option<&Path>) -> String {
    log_dir.map(|directory| format!("\nits log is in {}", directory.display())).unwrap_or_default()
}

/// The command that stops the server on `port`.
pub fn stop_command(port: u16) -> String {
    if port == crate::address::DEFAULT_LISTEN.port() {
        "rain stop".to_owned()
    } else {
        format!("rain stop --listen={port}")
    }
}

/// Starts what was planned; whether it ended well, where it stays in the foreground.
///
/// # Errors
/// When it cannot be started.
pub fn run(plan: StartPlan) -> Result<bool, StartError> {
    let (listener, directory) = take_port(plan.listen)?;
    let address = listener.local_addr().map_err(|error| StartError::Listen(plan.listen, error))?;
    clean_up_after_dead_server(directory.path());
    let foreground = plan.foreground;
    let path = directory.path().to_owned();
    let make = |descriptors| Launch::new(plan, address, &path, descriptors);
    launch(make, foreground, listener, directory, &|told| say(&told.announcement(address)))
}

/// Starts a supervisor with a launch, here or detached; `ready` is told when the engine is.
///
/// # Errors
/// When it cannot be started, or fails.
pub fn launch(
    make: impl FnOnce(Descriptors) -> Launch,
    foreground: bool,
    listener: TcpListener,
    directory: ServerDir,
    ready: &dyn Fn(&Told),
) -> Result<bool, StartError> {
    let (read_end, write_end) = nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(|error| StartError::Pipe(error.into()))?;
    if foreground {
        in_foreground(make, listener, directory, read_end, write_end, ready)
    } else {
        detached(make, listener, directory, read_end, write_end, ready)
    }
}

fn detached(
    make: impl FnOnce(Descriptors) -> Launch,
    listener: TcpListener,
    directory: ServerDir,
    read_end: OwnedFd,
    write_end: OwnedFd,
    ready: &dyn Fn(&Told),
) -> Result<bool, StartError> {
    let path = directory.path().to_owned();
    let lock = directory.into_lock();
    let inheritable = |fd| make_inheritable(fd).map_err(StartError::Pipe);
    let descriptors = Descriptors {
        listener: inheritable(listener.as_fd())?,
        reports: inheritable(write_end.as_fd())?,
        lock: inheritable(lock.as_fd())?,
        ..Descriptors::default()
    };
    let launch = make(descriptors);
    let program = supervisor::own_program();
    let mut command = Command::new(&program);
    command.arg0("rain").arg("supervisor-process").arg(path.join(LAUNCH_FILE));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let spawned = launch
        .write()
        .map_err(StartError::from)
        .and_then(|()| command.spawn().map_err(|source| StartError::Spawn(program, source)));
    if let Err(error) = spawned {
        runtime_dir::remove(&path);
        return Err(error);
    }
    // Dropping it would unlock it, for the supervisor too.
    std::mem::forget(lock);
    drop((write_end, listener));

    let mut told = Told::default();
    for report in read_reports(read_end) {
        told.take(report);
        if told.ready {
            ready(&told);
            return Ok(true);
        }
        if told.failure.is_some() {
            break;
        }
    }
    // It is over when the supervisor has cleaned up; only then can this be tried again.
    wait_while_live(&path);
    Err(told.into_error())
}

fn wait_while_live(path: &Path) {
    let deadline = std::time::Instant::now() + Duration::from_secs(5);
    while runtime_dir::is_live(path) && std::time::Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn in_foreground(
    make: impl FnOnce(Descriptors) -> Launch,
    listener: TcpListener,
    directory: ServerDir,
    read_end: OwnedFd,
    write_end: OwnedFd,
    ready: &dyn Fn(&Told),
) -> Result<bool, StartError> {
    let launch = make(Descriptors::default());
    let _lock = directory.into_lock();
    let held = Held { listener: Some(listener.into()), reports: Reports::new(write_end) };
    let mut told = Told::default();
    let ended = supervisor::run_attached(launch, held, read_end, |report| {
        let was_ready = told.ready;
        told.take(report);
        if told.ready && !was_ready {
            ready(&told);
        }
    });
    if !told.ready || !ended.well {
        return Err(told.into_error());
    }
    Ok(true)
}

/// Takes the port and its directory; both are needed, for a server on another address has the same directory.
///
/// # Errors
/// When one of them is taken.
pub fn take_port(wanted: SocketAddr) -> Result<(TcpListener, ServerDir), StartError> {
    let root = runtime_dir::root();
    if wanted.port() != 0 {
        let directory = match ServerDir::claim(&root, wanted.port())? {
            Claim::Claimed(directory) => directory,
            Claim::Busy(path) => return Err(already_runs(&path, wanted.port())),
        };
        return match TcpListener::bind(wanted) {
            Ok(listener) => Ok((listener, directory)),
            Err(error) => {
                directory.remove();
                let taken = error.kind() == io::ErrorKind::AddrInUse;
                Err(if taken { StartError::PortTaken(wanted) } else { StartError::Listen(wanted, error) })
            }
        };
    }
    let failed = |error| StartError::Listen(wanted, error);
    // Kept until the end, so that the next try gets another port.
    let mut unusable = Vec::new();
    loop {
        let listener = TcpListener::bind(wanted).map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        match ServerDir::claim(&root, port)? {
            Claim::Claimed(directory) => return Ok((listener, directory)),
            Claim::Busy(path) if unusable.len() >= FREE_PORT_TRIES => return Err(already_runs(&path, port)),
            Claim::Busy(_) => unusable.push(listener),
        }
    }
}

fn already_runs(path: &Path, port: u16) -> StartError {
    let access = runtime_dir::read_access(path).ok().flatten();
    let summary = match &access {
        None => format!("a Rain server is just starting or stopping on port {port}"),
        Some(access) => {
            let status = ServerConnection::open(access, ANSWER_TIME_MAX).and_then(|mut server| server.status());
            match status {
                Ok(status) => format!("already running: {}", Summary::new(&status)),
                Err(error) => {
                    format!(
                        "already running: Rain {} on {}, pid {}, but {error}",
                        access.version, access.tcp, access.pid
                    )
                }
            }
        }
    };
    StartError::AlreadyRuns { summary, port }
}

/// Removes what a server has left whose supervisor was killed: its lock was free.
pub fn clean_up_after_dead_server(path: &Path) {
    if let Ok(launch) = Launch::read(&path.join(LAUNCH_FILE)) {
        launch.role.remove_files();
        launch.places.remove.iter().for_each(|path| crate::work_dir::remove_tree(path));
    }
    for name in ["access.json", "client.sock", LAUNCH_FILE] {
        let _ = std::fs::remove_file(path.join(name));
    }
}

/// What has been reported so far.
#[derive(Default)]
pub struct Told {
    pub log_dir: Option<PathBuf>,
    pub notes: Vec<String>,
    pub dashboard: Option<String>,
    ready: bool,
    pub pid: u32,
    governors: usize,
    pub cpus: usize,
    failure: Option<String>,
}

impl Told {
    pub fn take(&mut self, report: Report) {
        match report {
            Report::LogDir(path) => self.log_dir = Some(path),
            Report::Note(note) => self.notes.push(note),
            Report::Dashboard(page) => self.dashboard = Some(page),
            Report::Ready { pid, governors, cpus } => {
                self.ready = true;
                (self.pid, self.governors, self.cpus) = (pid, governors, cpus);
            }
            // The first one is the reason, the next are its consequences.
            Report::Failed(reason) => {
                self.failure.get_or_insert(reason);
            }
            // Said by ranks, which are not started here.
            Report::Serving { .. } | Report::Rank(_) | Report::SharedMemory(_) | Report::Spoken => {}
        }
    }

    pub fn announcement(&self, address: SocketAddr) -> String {
        let plural = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "Rain {} is ready on {address}: {} with {}, pid {}",
            env!("CARGO_PKG_VERSION"),
            plural(self.governors, "governor"),
            plural(self.cpus, "cpu"),
            self.pid
        );
        text += &self.details();
        let _ = writeln!(text, "  stop it  {}", stop_command(address.port()));
        text
    }

    /// A line for each thing that whoever starts it should know.
    pub fn details(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        for note in &self.notes {
            let _ = writeln!(text, "  note     {note}");
        }
        if let Some(log_dir) = &self.log_dir {
            let _ = writeln!(text, "  logs     {}", log_dir.display());
        }
        if let Some(page) = &self.dashboard {
            // With its token it is for the user's eyes: what is not a terminal may be a file that others read.
            let (open, token) = page.split_once("?token=").unwrap_or((page, ""));
            let _ = match io::stdout().is_terminal() || token.is_empty() {
                true => writeln!(text, "  look     {page}"),
                false => writeln!(text, "  look     {open} (`rain status` prints the whole address)"),
            };
        }
        text
    }

    fn into_error(self) -> StartError {
        let reason = self.failure.unwrap_or_else(|| "it ended without a word".to_owned());
        if self.ready {
            StartError::Failed { reason, log_dir: self.log_dir }
        } else {
            StartError::NotReady { reason, log_dir: self.log_dir }
        }
    }
}
