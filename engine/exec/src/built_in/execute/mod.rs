//! External programs, each in a directory of its own.

mod limits;
mod outputs;
mod program;
mod sandbox;

pub(super) use program::Program;

use crate::call::{Stop, TaskCall, TaskFailure, TaskNotes, TaskOutcome};
use crate::inputs::{check_after, unreadable};
use crate::process::{Child, Ending, Launch, LookupError, Tail, dev_null, find_program, forget_program, rights_hint};
use limits::{Script, why_too_long};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rain_data::{NewFile, Object};
use rain_model::graph::DataType;
use rain_protocol::peer::{OUTPUT_BYTES_MAX, TaskOutput};
use sandbox::Sandbox;
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How much of a program's standard error goes into messages.
const STDERR_BYTES_MAX: usize = 8 * 1024;

/// How long a program that was just written may look as if it were still being written.
const BUSY_TIME_MAX: Duration = Duration::from_secs(2);

/// What is said of a program that has not found a file.
const HINT_NOT_FOUND: &str = "it ran in a directory of its own, where nothing is but its inputs: give it files as inputs, or \
                              by their absolute paths on the governor's machine";

/// What a program has written, but for a standard output that is an output of its task.
struct Said {
    stdout: Tail,
    stderr: Tail,
}

/// Runs a program.
pub(super) fn execute(call: &TaskCall<'_>, program: &Program<'_>) -> TaskOutcome {
    let mut said = Said { stdout: Tail::new(OUTPUT_BYTES_MAX), stderr: Tail::new(OUTPUT_BYTES_MAX) };
    let result = run(call, program, &mut said);
    let [stdout, stderr] = [said.stdout, said.stderr].map(|tail| tail.text(OUTPUT_BYTES_MAX));
    let output = TaskOutput { stdout, stderr };
    match result {
        Ok((outputs, debug)) => {
            TaskOutcome::Finished { outputs, notes: TaskNotes { debug, output, ..TaskNotes::default() } }
        }
        Err(Stop::Failed(message)) => TaskOutcome::Failed(TaskFailure { message, output, ..TaskFailure::default() }),
        Err(Stop::Cancelled) => TaskOutcome::Cancelled,
    }
}

/// The outputs of a program, and what is to be said of files that it has left.
fn run(
    call: &TaskCall<'_>,
    program: &Program<'_>,
    said: &mut Said,
) -> Result<(Vec<Arc<Object>>, Option<String>), Stop> {
    let sandbox = Sandbox::take(call.store).map_err(|error| format!("cannot prepare a directory: {error}"))?;
    sandbox.map_inputs(call, program)?;
    let stdin = open_stdin(call, program)?;
    let mut stdout = match program.stdout {
        Some(_) => Some(call.store.new_file()?),
        None => None,
    };
    let script = Script::of(program, call.store)?;
    let args = script.as_ref().map_or(&program.args, |script| &script.args);
    let mut child = start(program, args, &sandbox, stdin.as_ref(), stdout.as_mut())?;
    let waited = wait(call, &child, &sandbox, said);
    let ending = child.finish();
    sandbox.stdout.read(&mut said.stdout);
    sandbox.stderr.read(&mut said.stderr);
    waited?;
    let unchanged = check_after(call.inputs);
    if ending != Ending::Exited(0) {
        let (name, stderr) = (program.shown(), said.stderr.text(STDERR_BYTES_MAX));
        let stderr = stderr.trim_end();
        let message = if stderr.is_empty() {
            format!("program {name} {ending} and wrote nothing to its standard error")
        } else {
            let not_found = stderr.contains("No such file or directory").then_some(HINT_NOT_FOUND);
            let hint = not_found.or_else(|| rights_hint(stderr)).map(|hint| format!("\n({hint})")).unwrap_or_default();
            format!("program {name} {ending}; its standard error:\n{stderr}{hint}")
        };
        let changed = unchanged.err().map(|why| format!("\n({why})")).unwrap_or_default();
        return Err(format!("{message}{changed}").into());
    }
    unchanged?;
    let outputs = outputs::collect(call, program, &sandbox, stdout)?;
    let left = sandbox.give_back(program, child.was_alone());
    Ok((outputs, left))
}

fn open_stdin(call: &TaskCall<'_>, program: &Program<'_>) -> Result<Option<File>, Stop> {
    let Some(number) = program.stdin else { return Ok(None) };
    let object = &call.inputs[number];
    if object.data_type() != DataType::Blob {
        return Err(format!("input {number} is a directory, which cannot be the standard input").into());
    }
    Ok(Some(object.open(call.store).map_err(|error| unreadable(number, &error))?))
}

fn start(
    program: &Program<'_>,
    args: &[CString],
    sandbox: &Sandbox,
    stdin: Option<&File>,
    stdout: Option<&mut NewFile<'_>>,
) -> Result<Child, Stop> {
    let wrong = |why: &dyn std::fmt::Display| format!("program {} cannot be started: {why}", program.shown());
    let null = dev_null().map_err(|error| wrong(&format_args!("/dev/null: {error}")))?;
    let stdout = stdout.map(|file| &*file.file());
    let standard: [BorrowedFd<'_>; 3] =
        [stdin.map_or(null, AsFd::as_fd), stdout.map_or(sandbox.stdout.writer(), AsFd::as_fd), sandbox.stderr.writer()];
    let name = OsStr::from_bytes(program.args[0].as_bytes());
    let added_path = program.environment.added_path();
    let mut again = true;
    let started = Instant::now();
    loop {
        let path = find_program(name, added_path.as_deref()).map_err(|error: LookupError| error.to_string())?;
        let launch = Launch {
            program: &path,
            args,
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
            // Until it executes its program, a child that another thread starts has open what was open here when it was
            // started: this file perhaps, which was then being written.
            Some(Errno::ETXTBSY) if started.elapsed() < BUSY_TIME_MAX => {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
            Some(Errno::E2BIG) => &why_too_long(program),
            Some(Errno::ENOENT) if sandbox.has(&path) => " (the interpreter that its first line names is missing)",
            Some(Errno::ENOENT) => " (a name with '/' is looked for in the task's own directory, one without in PATH)",
            Some(Errno::EACCES) => " (it must be a file that may be executed)",
            Some(Errno::ENOEXEC) => " (neither a binary for this machine nor a script that begins with '#!')",
            _ => "",
        };
        return Err(wrong(&format_args!("{error}{hint}")).into());
    }
}

/// Waits for the child's end. It is killed, with all that it has started, by dropping it.
fn wait(call: &TaskCall<'_>, child: &Child, sandbox: &Sandbox, said: &mut Said) -> Result<(), Stop> {
    let ready = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| !events.is_empty());
    loop {
        let mut fds = [child.pidfd(), call.interrupt.fd(), sandbox.stdout.reader(), sandbox.stderr.reader()]
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => {}
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(io::Error::from(errno).into()),
        }
        let [ended, interrupted, stdout, stderr] = fds.each_ref().map(ready);
        if ended {
            return Ok(());
        }
        if interrupted && call.interrupted() {
            return Err(Stop::Cancelled);
        }
        if stdout {
            sandbox.stdout.read(&mut said.stdout);
        }
        if stderr {
            sandbox.stderr.read(&mut said.stderr);
        }
    }
}
