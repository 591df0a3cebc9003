//! External programs, each in a directory of its own.

mod outputs;
mod program;
mod sandbox;

pub(super) use program::Program;

use crate::call::{Outputs, Stop, TaskCall};
use crate::process::{Child, Ending, Launch, LookupError, Tail, dev_null, find_program, forget_program};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rain_core::graph::DataType;
use rain_data::NewFile;
use sandbox::Sandbox;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

/// How much of a program's standard error goes into messages.
const STDERR_BYTES_MAX: usize = 8 * 1024;

/// Runs a program.
pub(super) fn execute(call: &TaskCall<'_>, program: &Program<'_>) -> Outputs {
    let sandbox = Sandbox::take(call.store).map_err(|error| format!("cannot prepare a directory: {error}"))?;
    sandbox.map_inputs(call, program)?;
    let stdin = open_stdin(call, program)?;
    let mut stdout = match program.stdout {
        Some(_) => Some(call.store.new_file()?),
        None => None,
    };
    let mut child = start(program, &sandbox, stdin.as_ref(), stdout.as_mut())?;
    let mut stderr = Tail::new(STDERR_BYTES_MAX);
    wait(call, &child, &sandbox, &mut stderr)?;
    let ending = child.finish();
    sandbox.read_stderr(&mut stderr);
    if ending != Ending::Exited(0) {
        let (name, stderr) = (program.shown(), stderr.into_text());
        return Err(if stderr.is_empty() {
            format!("program {name} {ending} and wrote nothing to its standard error")
        } else {
            format!("program {name} {ending}; its standard error:\n{stderr}")
        }
        .into());
    }
    let outputs = outputs::collect(call, program, &sandbox, stdout)?;
    sandbox.give_back(program);
    Ok(outputs)
}

fn open_stdin(call: &TaskCall<'_>, program: &Program<'_>) -> Result<Option<File>, Stop> {
    let Some(number) = program.stdin else { return Ok(None) };
    let object = &call.inputs[number];
    if object.data_type() != DataType::Blob {
        return Err(format!("input {number} is a directory, which cannot be the standard input").into());
    }
    Ok(Some(File::open(object.path(call.store)?)?))
}

fn start(
    program: &Program<'_>,
    sandbox: &Sandbox,
    stdin: Option<&File>,
    stdout: Option<&mut NewFile<'_>>,
) -> Result<Child, Stop> {
    let wrong = |why: &dyn std::fmt::Display| format!("program {} cannot be started: {why}", program.shown());
    let null = dev_null().map_err(|error| wrong(&format_args!("/dev/null: {error}")))?;
    let stdout = stdout.map(|file| &*file.file());
    let standard: [BorrowedFd<'_>; 3] =
        [stdin.map_or(null, AsFd::as_fd), stdout.map_or(null, AsFd::as_fd), sandbox.stderr()];
    let name = OsStr::from_bytes(program.args[0].as_bytes());
    let added_path = program.environment.added_path();
    let mut again = true;
    loop {
        let path = find_program(name, added_path.as_deref()).map_err(|error: LookupError| error.to_string())?;
        let launch = Launch {
            program: &path,
            args: &program.args,
            environment: &program.environment,
            directory: sandbox.fd(),
            descriptors: &standard,
        };
        let error = match launch.start() {
            Ok(child) => return Ok(child),
            Err(error) => error,
        };
        let hint = match error.raw_os_error().map(Errno::from_raw) {
            // It may have moved since it was found.
            Some(Errno::ENOENT | Errno::EACCES) if again && forget_program(name) => {
                again = false;
                continue;
            }
            Some(Errno::ENOENT) if sandbox.has(&path) => " (the interpreter that its first line names is missing)",
            Some(Errno::ENOENT) => " (a name with '/' is looked for in the task's own directory, one without in PATH)",
            Some(Errno::EACCES) => " (it must be a file that may be executed)",
            Some(Errno::ENOEXEC) => " (neither a binary for this machine nor a script that begins with '#!')",
            _ => "",
        };
        return Err(wrong(&format_args!("{error}{hint}")).into());
    }
}

/// Waits for the child's end. Its process group is killed by dropping it.
fn wait(call: &TaskCall<'_>, child: &Child, sandbox: &Sandbox, stderr: &mut Tail) -> Result<(), Stop> {
    let ready = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| !events.is_empty());
    loop {
        let mut fds =
            [child.pidfd(), call.interrupt.fd(), sandbox.stderr_end()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => {}
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(io::Error::from(errno).into()),
        }
        let [ended, interrupted, said] = fds.each_ref().map(ready);
        if ended {
            return Ok(());
        }
        if interrupted && call.interrupted() {
            return Err(Stop::Cancelled);
        }
        if said {
            sandbox.read_stderr(stderr);
        }
    }
}
