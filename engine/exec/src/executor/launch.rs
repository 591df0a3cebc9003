//! Starting the process of an executor.

use super::log::{Log, PAGE_DESCRIPTOR, PAGE_VARIABLE, TheirEnds};
use super::{ExecutorError, ExecutorFault, ExecutorSpec};
use crate::process::{Child, Environment, Launch, c_string, find_program};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use rain_data::ScratchDir;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

/// A process that was started, and the governor's ends of what leads to it.
pub(super) struct Launched {
    pub(super) child: Child,
    pub(super) socket: OwnedFd,
    pub(super) log: Log,
}

/// Starts a process in `directory`, for tasks of so many cpus if this is known, with variables that say what else they were given.
pub(super) fn launch(
    spec: &ExecutorSpec,
    directory: &ScratchDir,
    cpus: Option<u32>,
    granted: &[(String, String)],
) -> Result<Launched, ExecutorError> {
    let wrong = |error: io::Error| cannot_start(spec, error);
    let environment = environment(spec, directory, cpus, granted)?;
    let Some(name) = spec.command.first() else { return Err(cannot_start(spec, "its command is empty")) };
    let program = if name.as_bytes().contains(&b'/') {
        // The child is in its own directory when it is executed.
        let absolute = std::path::absolute(name).map_err(wrong)?;
        c_string(&absolute).ok_or_else(|| cannot_start(spec, "its command contains a zero byte"))?
    } else {
        find_program(name, environment.added_path().as_deref()).map_err(|error| cannot_start(spec, error))?
    };
    let args = spec
        .command
        .iter()
        .map(|arg| c_string(arg).ok_or_else(|| cannot_start(spec, "its command contains a zero byte")))
        .collect::<Result<Vec<_>, _>>()?;
    let home = File::open(directory.path()).map_err(wrong)?;
    let (socket, theirs) = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)
        .map_err(|errno| wrong(errno.into()))?;
    let (log, TheirEnds { output, page }) = Log::new().map_err(wrong)?;
    let child = Launch {
        program: &program,
        args: &args,
        environment: &environment,
        directory: home.as_fd(),
        descriptors: &[theirs.as_fd(), output[0].as_fd(), output[1].as_fd(), page.as_fd()],
    }
    .start()
    .map_err(|error| cannot_start(spec, format_args!("{}: {error}", program.to_string_lossy())))?;
    Ok(Launched { child, socket, log })
}

fn environment(
    spec: &ExecutorSpec,
    directory: &ScratchDir,
    cpus: Option<u32>,
    granted: &[(String, String)],
) -> Result<Environment, ExecutorError> {
    let page = OsString::from(PAGE_DESCRIPTOR.to_string());
    let own: [(&OsStr, &OsStr); 2] =
        [("RAIN_EXECUTOR_DIR".as_ref(), directory.path().as_os_str()), (PAGE_VARIABLE.as_ref(), &page)];
    let mut environment = Environment::default();
    for (name, value) in spec
        .env
        .iter()
        .map(|(name, value)| (name.as_os_str(), value.as_os_str()))
        .chain(own)
        .chain(granted.iter().map(|(name, value)| (name.as_ref(), value.as_ref())))
    {
        if !environment.add(name, value) {
            return Err(cannot_start(spec, format_args!("{name:?} cannot be a variable with this value")));
        }
    }
    if let Some(cpus) = cpus {
        environment.limit_threads(cpus);
    }
    Ok(environment)
}

/// An executor that did not start.
pub(super) fn cannot_start(spec: &ExecutorSpec, why: impl std::fmt::Display) -> ExecutorError {
    ExecutorError {
        name: spec.name.clone(),
        fault: ExecutorFault::Start(why.to_string()),
        ending: None,
        log: String::new(),
        registered: false,
    }
}
