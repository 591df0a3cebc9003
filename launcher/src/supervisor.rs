//! The process that outlives the engine: it starts it, hands signals on, and whatever way the engine ends, kills what the
//! engine has left behind and removes its directories.
//!
//! It stays single-threaded, for a child that asked to die with its parent dies with the *thread* that started it.

use crate::client_command::ClientCommand;
use crate::descendants;
use crate::host_name::host_name;
use crate::launch::{Launch, NO_DESCRIPTOR, Report, Reports, adopt, make_inheritable, read_reports};
use crate::old_logs;
use crate::remote::role::Role;
use crate::runtime_dir::{self, Claim, RuntimeDirError, ServerDir};
use crate::stray_signals::{self, NOT_MEANT};
use crate::work_dir;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How long the engine may take to stop once the command beside it has ended.
const LAST_STOP_TIME_MAX: Duration = Duration::from_secs(8);
/// How long the command beside an engine that has ended may take to notice.
const COMMAND_GRACE: Duration = Duration::from_secs(1);

/// Why the engine could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    #[error("cannot read the launch file {path}: {source}")]
    LaunchFile { path: PathBuf, source: io::Error },
    #[error("cannot make the log directory {path}: {source}")]
    LogDir { path: PathBuf, source: io::Error },
    #[error("cannot make the working directory: {0}")]
    WorkDir(#[source] io::Error),
    #[error("cannot start the engine {program}: {source}")]
    Spawn { program: String, source: io::Error },
    #[error("cannot set up signals: {0}")]
    Signals(#[from] Errno),
    #[error(transparent)]
    RuntimeDir(#[from] RuntimeDirError),
}

/// The descriptors that the supervisor holds until it ends.
pub struct Held {
    pub listener: Option<OwnedFd>,
    pub reports: Reports,
}

/// How it ended.
#[derive(Debug, Default)]
pub struct Ended {
    /// The engine has ended well.
    pub well: bool,
    /// When somebody outside has asked it to.
    pub asked: Option<Instant>,
    /// Exit status of the command beside the engine, as shells count it.
    #[cfg_attr(not(feature = "mpi"), expect(dead_code, reason = "only `rain-engine` runs commands"))]
    pub command: Option<u8>,
}

/// The supervisor as a detached process of its own; whether the engine ended well.
///
/// # Errors
/// When the launch file is unusable; other errors are reported through the pipe.
pub fn run_detached(launch_file: &Path) -> Result<bool, SupervisorError> {
    let unusable = |source| SupervisorError::LaunchFile { path: launch_file.to_owned(), source };
    let launch = Launch::read(launch_file).map_err(unusable)?;
    let listener = adopt(launch.descriptors.listener).map_err(unusable)?;
    let reports = adopt(launch.descriptors.reports).map_err(unusable)?;
    // Held to the end of the process, and by no other.
    std::mem::forget(adopt(launch.descriptors.lock).map_err(unusable)?);
    let _ = nix::unistd::setsid();
    if launch.run_prefix.is_empty() {
        // A prefix's program may write its results to where it is started.
        let _ = std::env::set_current_dir("/");
    }
    Ok(run(launch, Held { listener: Some(listener), reports: Reports::new(reports) }, None).well)
}

/// The supervisor within `rain start --foreground`: `told` is given what the engine reports.
pub fn run_attached(launch: Launch, held: Held, reports: OwnedFd, mut told: impl FnMut(Report)) -> Ended {
    run(launch, held, Some((reports, &mut told)))
}

type Listener<'a> = Option<(OwnedFd, &'a mut dyn FnMut(Report))>;

/// Asks the supervisor that this process is to end, as a signal from outside does.
pub fn ask_to_end() {
    // A process may always send signals to itself.
    let _ = kill(Pid::this(), Signal::SIGTERM);
}

/// Whether the supervisor that this process is was asked to end, and has not looked yet.
pub fn is_asked_to_end() -> bool {
    // SAFETY: the call fills in the set that it is given, for which all-zero is a valid value.
    let pending = unsafe {
        let mut pending: libc::sigset_t = std::mem::zeroed();
        libc::sigpending(&mut pending);
        SigSet::from_sigset_t_unchecked(pending)
    };
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().any(|signal| pending.contains(signal))
}

fn run(mut launch: Launch, mut held: Held, mut listener: Listener<'_>) -> Ended {
    let mut ended = Ended::default();
    let mut serving = None;
    let result = prepare(&mut launch, &mut held).and_then(|log| Ok((start(&launch, &log)?, log)));
    let failure = match result {
        Ok((mut engine, log)) => {
            let status = engine.watch(&launch, &mut listener);
            let well = status == WaitStatus::Exited(engine.pid, 0);
            if !well {
                write_to_log(log, &format!("the engine {}", described(status)));
            }
            ended = Ended { well, asked: engine.asked, command: engine.await_command() };
            serving = engine.serving.take();
            format!("the engine {}", described(status))
        }
        Err(error) => error.to_string(),
    };
    if let Some((pipe, told)) = &mut listener {
        // Now, and not when everything is removed: whoever started this may not wait for that.
        while is_readable(pipe)
            && let Some(report) = read_report(pipe)
        {
            if let Some(Report::Serving { directory, .. }) = &report {
                serving = Some(directory.clone());
            }
            report.into_iter().for_each(&mut *told);
        }
        if ended.asked.is_some() || ended.well {
            // As it should, or whoever has asked knows.
            told(Report::Spoken);
        }
        told(Report::Failed(failure));
    } else {
        // Not heard by anyone once the engine was ready.
        let _ = held.reports.send(&Report::Failed(failure));
    }
    descendants::kill_all();
    clean_up(&launch);
    if let Some(directory) = serving {
        remove_server_dir(&directory);
    }
    if let Some((pipe, told)) = listener {
        drop(held.reports);
        read_reports(pipe).for_each(told);
    }
    ended
}

/// Writes a line to the engine's log, which the engine itself could not write.
fn write_to_log(log: File, error: &str) {
    let subscriber = tracing_subscriber::fmt().with_ansi(false).log_internal_errors(false);
    let subscriber = subscriber.with_writer(Mutex::new(log)).finish();
    tracing::subscriber::with_default(subscriber, || tracing::error!("{error}"));
}

fn is_readable(pipe: &OwnedFd) -> bool {
    let mut polled = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
    poll(&mut polled, PollTimeout::ZERO).is_ok_and(|count| count > 0)
}

/// Removes what a server has in the file system.
pub fn clean_up(launch: &Launch) {
    launch.role.remove_files();
    launch.places.remove.iter().for_each(|path| work_dir::remove_tree(path));
    runtime_dir::remove(&launch.directory);
}

/// Removes the directory that an engine had taken for its port, unless somebody else has it by now.
pub fn remove_server_dir(path: &Path) {
    let name = path.file_name().and_then(|name| name.to_str());
    if let (Some(root), Some(name), true) = (path.parent(), name, path.is_dir())
        && let Ok(Claim::Claimed(directory)) = ServerDir::claim_named(root, name)
    {
        directory.remove();
    }
}

/// Makes the directories and opens the log.
fn prepare(launch: &mut Launch, held: &mut Held) -> Result<File, SupervisorError> {
    launch.supervisor_pid = Some(std::process::id());
    runtime_dir::write_supervisor_pid(&launch.directory, std::process::id())?;
    let log = match open_log(launch) {
        Ok((directory, log)) => {
            launch.log_dir = Some(directory.clone());
            let _ = held.reports.send(&Report::LogDir(directory));
            log
        }
        Err(error) => {
            launch.role.excuse(error)?;
            OpenOptions::new().append(true).open("/dev/null").map_err(SupervisorError::WorkDir)?
        }
    };
    let made = work_dir::make(launch.work_dir.as_deref(), launch.listen.port(), launch.governor_count());
    match made.map_err(SupervisorError::WorkDir) {
        Ok(mut places) => {
            let place = places.work_dirs.first().unwrap_or(&places.server_work_dir);
            for note in work_dir::notes(&places).into_iter().chain(launch.memory.notes(place)) {
                let _ = held.reports.send(&Report::Note(note));
            }
            match launch.memory.choose_disk().map_err(SupervisorError::WorkDir) {
                Ok(disk) => {
                    places.remove.extend(disk.clone());
                    places.spill_dir = disk;
                }
                Err(error) => {
                    places.remove.iter().for_each(|path| work_dir::remove_tree(path));
                    launch.role.excuse(error)?;
                }
            }
            launch.places = places;
        }
        Err(error) => launch.role.excuse(error)?,
    }
    // Read by the engine, and by the next start on this port should this process be killed.
    let inherited = |fd| make_inheritable(fd).map_err(SupervisorError::WorkDir);
    launch.descriptors.listener = match &held.listener {
        Some(listener) => inherited(listener.as_fd())?,
        None => NO_DESCRIPTOR,
    };
    launch.descriptors.reports = inherited(held.reports.as_fd())?;
    launch.write()?;
    Ok(log)
}

fn open_log(launch: &Launch) -> Result<(PathBuf, File), SupervisorError> {
    let directory = match &launch.log_dir {
        Some(path) => path.clone(),
        None => default_log_dir(&launch.role)?,
    };
    let failed = |source| SupervisorError::LogDir { path: directory.clone(), source };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(failed)?;
    let path = directory.join(format!("{}.log", launch.role.log_name(launch.log_dir.is_some())));
    let log = OpenOptions::new().append(true).create(true).mode(0o600).open(path).map_err(failed)?;
    Ok((directory, log))
}

fn default_log_dir(role: &Role) -> Result<PathBuf, RuntimeDirError> {
    let host = host_name();
    let logs = runtime_dir::private_tmp_dir()?.join("logs");
    old_logs::remove(&logs, &host);
    Ok(logs.join(role.log_directory(&host)))
}

struct Engine {
    pid: Pid,
    signals: SignalFd,
    asked: Option<Instant>,
    /// The directory of the port at which this rank serves.
    serving: Option<PathBuf>,
    command: ClientCommand,
}

fn start(launch: &Launch, log: &File) -> Result<Engine, SupervisorError> {
    // From now on whoever loses its parent among our descendants becomes our child.
    prctl::set_child_subreaper(true)?;
    let mut handled = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGCHLD]);
    handled.extend(NOT_MEANT);
    // Ignored, it was by who started this: nohup.
    if !stray_signals::is_ignored(Signal::SIGHUP) {
        handled.add(Signal::SIGHUP);
    }
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&handled), None)?;
    let signals = SignalFd::with_flags(&handled, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;

    let program = own_program();
    let mut words = launch.run_prefix.iter().map(PathBuf::from).chain([program]);
    let first = words.next().unwrap_or_default();
    let mut command = Command::new(&first);
    command.args(words).arg("engine-process").arg(launch.path()).stdin(Stdio::null()).process_group(0);
    if launch.run_prefix.is_empty() {
        command.arg0("rain");
    }
    let failed = |source| SupervisorError::Spawn { program: first.display().to_string(), source };
    command.stdout(log.try_clone().map_err(failed)?).stderr(log.try_clone().map_err(failed)?);
    // SAFETY: both calls are plain system calls, which may be made between fork and exec.
    unsafe {
        command.pre_exec(move || {
            prctl::set_pdeathsig(Signal::SIGKILL)?;
            Ok(sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?)
        });
    }
    let child = command.spawn().map_err(failed)?;
    let command = ClientCommand::new(launch.role.command());
    Ok(Engine { pid: Pid::from_raw(child.id() as i32), signals, asked: None, serving: None, command })
}

/// This program, for starting it again.
pub fn own_program() -> PathBuf {
    let own = std::env::current_exe().ok().filter(|path| path.is_file());
    own.unwrap_or_else(|| PathBuf::from("/proc/self/exe"))
}

impl Engine {
    /// Waits for the end of the engine, handing signals on.
    fn watch(&mut self, launch: &Launch, listener: &mut Listener<'_>) -> WaitStatus {
        let stop_time_max = launch.role.stop_time_max() + launch.end.storing_time_max();
        let mut stop_deadline: Option<Instant> = None;
        let input = io::stdin();
        loop {
            if let Some(status) = self.reap() {
                return status;
            }
            if self.command.has_ended() && stop_deadline.is_none() {
                self.signal(launch, Signal::SIGTERM);
                stop_deadline = Some(Instant::now() + LAST_STOP_TIME_MAX);
            }
            let wait = match stop_deadline {
                None => PollTimeout::NONE,
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        self.signal(launch, Signal::SIGKILL);
                    }
                    PollTimeout::try_from(left + Duration::from_millis(20)).unwrap_or(PollTimeout::MAX)
                }
            };
            let mut polled = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
            if let Some((pipe, _)) = &*listener {
                polled.push(PollFd::new(pipe.as_fd(), PollFlags::POLLIN));
            }
            let reports = polled.len() - 1;
            if launch.until_input_ends && stop_deadline.is_none() {
                polled.push(PollFd::new(input.as_fd(), PollFlags::POLLIN));
            }
            let _ = poll(&mut polled, wait);
            let happened = |index: usize| polled.get(index).and_then(PollFd::any).unwrap_or(false);
            let (reported, ended) = (reports > 0 && happened(1), happened(reports + 1));
            drop(polled);
            if ended {
                // Nothing is ever written there: whoever started this is gone.
                self.signal(launch, Signal::SIGTERM);
                stop_deadline = Some(Instant::now() + stop_time_max);
            }
            if let (true, Some((pipe, told))) = (reported, &mut *listener) {
                match read_report(pipe) {
                    Some(Some(report)) => {
                        self.take(&report, stop_deadline.is_some());
                        told(report);
                    }
                    Some(None) => {}
                    None => *listener = None,
                }
            }
            while let Ok(Some(signal)) = self.signals.read_signal() {
                let is = |other: Signal| signal.ssi_signo == other as u32;
                if is(Signal::SIGCHLD) || NOT_MEANT.into_iter().any(is) {
                    continue;
                }
                // Asked a second time, it is meant.
                let urgent = self.asked.is_some();
                self.asked.get_or_insert_with(Instant::now);
                self.command.signal(Signal::SIGTERM);
                self.signal(launch, if urgent { Signal::SIGKILL } else { Signal::SIGTERM });
                let deadline = Instant::now() + stop_time_max;
                stop_deadline = Some(stop_deadline.map_or(deadline, |earlier| earlier.min(deadline)));
            }
        }
    }

    /// Takes the exit statuses of all children that have ended; the engine's, if it is among them.
    fn reap(&mut self) -> Option<WaitStatus> {
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => return None,
                Ok(status) if status.pid() == Some(self.pid) => return Some(status),
                Ok(status) => self.command.take_status(status),
                Err(Errno::EINTR) => {}
                // No child at all: it ended and somebody else took its status.
                Err(_) => return Some(WaitStatus::Exited(self.pid, 1)),
            }
        }
    }

    /// What a report means for the processes here.
    fn take(&mut self, report: &Report, stopping: bool) {
        match report {
            Report::Serving { directory, listen } => {
                self.command.serve_at(directory, *listen);
                self.serving = Some(directory.clone());
            }
            Report::Ready { .. } if !stopping && self.serving.is_some() => self.command.start(),
            _ => {}
        }
    }

    /// Waits a little for the end of the command, now that the engine has ended; its exit status.
    fn await_command(&mut self) -> Option<u8> {
        let deadline = Instant::now() + COMMAND_GRACE;
        while self.command.is_running() && Instant::now() < deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut polled = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
            let _ = poll(&mut polled, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
            while let Ok(Some(_)) = self.signals.read_signal() {}
            while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG))
                && status != WaitStatus::StillAlive
            {
                self.command.take_status(status);
            }
        }
        self.command.exit_status()
    }

    fn signal(&self, launch: &Launch, signal: Signal) {
        let _ = kill(self.pid, signal);
        // A prefix's program may have started the engine as a child and not hand signals on.
        if !launch.run_prefix.is_empty()
            && let Ok(Some(access)) = runtime_dir::read_access(&launch.directory)
            && let Ok(pid) = i32::try_from(access.pid)
            && pid != self.pid.as_raw()
        {
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }
}

/// Reads one report, if it can be read; `None` when no more come.
fn read_report(pipe: &OwnedFd) -> Option<Option<Report>> {
    let mut line = Vec::new();
    let mut byte = [0];
    loop {
        match nix::unistd::read(pipe.as_fd(), &mut byte) {
            Ok(1) if byte[0] == b'\n' => return Some(serde_json::from_slice(&line).ok()),
            Ok(1) => line.push(byte[0]),
            Err(Errno::EINTR) => {}
            _ => return None,
        }
    }
}

fn described(status: WaitStatus) -> String {
    match status {
        WaitStatus::Exited(_, code) => format!("ended with exit code {code}"),
        WaitStatus::Signaled(_, signal, _) => format!("was killed by {signal}"),
        other => format!("ended: {other:?}"),
    }
}
