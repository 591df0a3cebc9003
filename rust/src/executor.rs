//! The executor: a loop that takes calls and answers them.

use crate::connection::Connection;
use crate::context::Context;
use crate::error::{ExecutorError, TaskResult};
use crate::input::{Input, InputPaths};
use crate::messages::{
    Call, CallInfo, CallOutput, FRAME_BYTES_MAX, FRAME_HEAD_BYTES, Failure, FromExecutor, FromGovernor, Kind,
    PROTOCOL_VERSION, Register, append_bounded, append_frame, decode,
};
use crate::output::Output;
use crate::panics;
use crate::workspace::Workspace;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Contents of outputs in one answer; what is past it goes as files.
const INLINE_BYTES_PER_ANSWER_MAX: usize = 4 << 20;

/// Bytes of an answer whose memory is kept for the next answer.
const KEPT_ANSWER_BYTES_MAX: usize = 1 << 20;

type TaskFunction = Box<dyn FnMut(&mut Context<'_>, &[Input<'_>], &mut [Output]) -> TaskResult>;

/// A program's tasks, which a governor can run.
pub struct Executor {
    name: String,
    tasks: BTreeMap<String, TaskFunction>,
    kinds: HashMap<u64, Kind>,
}

impl Executor {
    /// An executor without tasks. `name` is what the governor's configuration calls it.
    ///
    /// # Panics
    /// If the name is empty or has a `/`.
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        assert!(!name.is_empty() && !name.contains('/'), "{name:?} cannot be the name of an executor");
        Self { name, tasks: BTreeMap::new(), kinds: HashMap::new() }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Adds the task type NAME/`method`: a function of the context, all inputs and all outputs. See also
    /// [`register_task!`](crate::register_task), which gives them one by one.
    ///
    /// ```
    /// # use rain_task::Executor;
    /// let mut executor = Executor::new("example2");
    /// let mut calls = 0;
    /// executor.register("swap", move |ctx, inputs, outputs| {
    ///     calls += 1;
    ///     ctx.debug(format_args!("call {calls}"));
    ///     let [first, second] = inputs else { return Err("two inputs are needed".into()) };
    ///     outputs[0].pass_on(second)?;
    ///     outputs[1].pass_on(first)?;
    ///     Ok(())
    /// });
    /// # let answer = executor.trial("swap").input("a").input("b").output("b").output("a").run()?;
    /// # assert_eq!([answer.outputs[0].text(), answer.outputs[1].text()], ["b", "a"]);
    /// # assert_eq!(executor.trial("swap").run().unwrap_err().to_string(), "two inputs are needed");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// If there is a task of this name already.
    pub fn register(
        &mut self,
        method: impl Into<String>,
        function: impl FnMut(&mut Context<'_>, &[Input<'_>], &mut [Output]) -> TaskResult + 'static,
    ) -> &mut Self {
        let method = method.into();
        assert!(!method.is_empty(), "a task needs a name");
        let previous = self.tasks.insert(method.clone(), Box::new(function));
        assert!(previous.is_none(), "there is a task {method:?} already");
        self
    }

    /// Connects to the governor that started this program and runs tasks until it closes the connection. Ends the
    /// process if no governor started it, or if something goes wrong that is not a task's fault.
    pub fn run(mut self) {
        let Some(directory) = std::env::var_os("RAIN_EXECUTOR_DIR") else {
            eprintln!(
                "this is executor {:?} of Rain, which a governor starts: RAIN_EXECUTOR_DIR is not set",
                self.name
            );
            std::process::exit(2);
        };
        if cfg!(panic = "abort") {
            // This is in the log, of which the end is shown in the error of the task.
            eprintln!("executor {:?} is built with panic = \"abort\": a panic ends it, not just its task", self.name);
        }
        panics::watch();
        let served = take_socket()
            .map_err(ExecutorError::from)
            .and_then(|socket| self.serve(&UnixStream::from(socket), Path::new(&directory)));
        if let Err(error) = served {
            eprintln!("executor {:?} ends: {error}", self.name);
            std::process::exit(1);
        }
    }

    /// As [`run`](Executor::run), with a socket and a private directory.
    ///
    /// # Errors
    /// If the connection breaks or what comes is not the protocol.
    pub fn serve(&mut self, socket: &UnixStream, directory: &Path) -> Result<(), ExecutorError> {
        let workspace = Workspace::new(directory)
            .map_err(|error| ExecutorError::Directory { path: directory.to_owned(), error })?;
        let mut answer = Vec::new();
        let register = Register { version: PROTOCOL_VERSION, name: &self.name, pid: std::process::id() };
        append_frame(&mut answer, &FromExecutor::Register(register));
        let mut connection = Connection::new(socket);
        loop {
            match (&*socket).write_all(&answer) {
                // The governor has gone, and the next receive sees it.
                Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {}
                written => written?,
            }
            workspace.drop_old_inputs();
            answer.clear();
            // A buffer that was long once does not stay.
            answer.shrink_to(KEPT_ANSWER_BYTES_MAX);
            while answer.is_empty() {
                let Some(body) = connection.receive()? else { return Ok(()) };
                self.handle(body, &workspace, &mut answer)?;
            }
        }
    }

    /// Takes a message; if it is a call, its answer is appended to `answer`.
    pub(crate) fn handle(
        &mut self,
        body: &[u8],
        workspace: &Workspace,
        answer: &mut Vec<u8>,
    ) -> Result<(), ExecutorError> {
        match decode(body)? {
            FromGovernor::Call(call) => self.answer(&call, workspace, answer),
            FromGovernor::Define(id, kind) => drop(self.kinds.insert(id, kind)),
            FromGovernor::Forget(ids) => {
                for id in ids {
                    self.kinds.remove(&id);
                }
                workspace.forget_inputs();
            }
        }
        Ok(())
    }

    /// Carries out a call and appends its answer.
    fn answer(&mut self, call: &Call<'_>, workspace: &Workspace, answer: &mut Vec<u8>) {
        workspace.begin_call(call.task.0);
        let start = answer.len();
        let mut message = self.call(call, workspace);
        append_frame(answer, &message);
        let bytes = answer.len() - start - FRAME_HEAD_BYTES;
        if bytes > FRAME_BYTES_MAX {
            answer.truncate(start);
            // An error arrives, if need be without attributes that no message can hold.
            message = match message {
                FromExecutor::Fail(_, Failure { message, debug, .. }) => {
                    failure(call, &message, CallInfo { debug, user: None })
                }
                FromExecutor::Done(_, _, CallInfo { debug, .. }) => {
                    let text = format!(
                        "the answer of the task has {bytes} bytes, but at most {FRAME_BYTES_MAX} can be sent: attributes or \
                         content types are too long"
                    );
                    failure(call, &text, CallInfo { debug, user: None })
                }
                register => register,
            };
            append_frame(answer, &message);
        }
        workspace.end_call(matches!(message, FromExecutor::Done(..)));
    }

    fn call(&mut self, call: &Call<'_>, workspace: &Workspace) -> FromExecutor<'static> {
        let fail = |message: String, info| failure(call, &message, info);
        let Some(kind) = self.kinds.get(&call.kind) else {
            return fail(format!("kind {} of tasks was not defined", call.kind), CallInfo::default());
        };
        let method = kind.task_type.split_once('/').map_or(&*kind.task_type, |(_, method)| method);
        let Some(function) = self.tasks.get_mut(method) else {
            let known: Vec<String> = self.tasks.keys().map(|method| format!("{}/{method}", self.name)).collect();
            let task_type = &kind.task_type;
            let message = format!("executor {:?} has no task {task_type}; it has {}", self.name, known.join(", "));
            return fail(message, CallInfo::default());
        };
        let mut context = Context::new(kind, call, workspace);
        // What the task has is dropped in there too: that may panic.
        let ended = panics::caught(|| run_task(function, &mut context, kind, call, workspace));
        let info = std::mem::take(&mut context.info);
        match ended {
            Ok(Ok(outputs)) => FromExecutor::Done(call.id, outputs, info),
            Ok(Err(message)) | Err(message) => fail(message, info),
        }
    }
}

fn failure(call: &Call<'_>, text: &str, info: CallInfo) -> FromExecutor<'static> {
    let mut message = String::new();
    if !append_bounded(&mut message, text) {
        message += &format!("\n[the rest is left out: the message had {} bytes]", text.len());
    }
    FromExecutor::Fail(call.id, Failure { message, debug: info.debug, user: info.user })
}

impl std::fmt::Debug for Executor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tasks: Vec<&String> = self.tasks.keys().collect();
        f.debug_struct("Executor").field("name", &self.name).field("tasks", &tasks).finish_non_exhaustive()
    }
}

fn run_task(
    function: &mut TaskFunction,
    context: &mut Context<'_>,
    kind: &Kind,
    call: &Call<'_>,
    workspace: &Workspace,
) -> Result<Vec<CallOutput>, String> {
    let label = |number: usize| kind.inputs.get(number).map(String::as_str);
    let inputs: Vec<Input<'_>> = call
        .inputs
        .iter()
        .enumerate()
        .map(|(number, input)| Input::new(*input, number, label(number), workspace))
        .collect();
    let mut outputs: Vec<Output> =
        kind.outputs.iter().map(|spec| Output::new(spec.clone(), workspace.clone())).collect();
    function(context, &inputs, &mut outputs).map_err(|error| describe(&*error))?;
    let mut inline_left = INLINE_BYTES_PER_ANSWER_MAX;
    let paths = InputPaths::new(&inputs);
    let finished = outputs.into_iter().map(|output| output.finish(&paths, &mut inline_left));
    finished.collect::<Result<_, _>>().map_err(|error| describe(&error))
}

/// The text of an error, and of those that caused it. Many errors end with the text of their cause, which is then not
/// repeated.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if text != message && !text.ends_with(&format!(": {message}")) {
            // Writing to a string cannot fail.
            let _ = write!(text, "\ncaused by {message}");
        }
        cause = error.source();
    }
    text
}

/// Moves the governor's socket away from standard input, which becomes empty.
fn take_socket() -> io::Result<OwnedFd> {
    // SAFETY: descriptor 0 is open from the start of the process on: the governor gave it.
    let stdin = unsafe { BorrowedFd::borrow_raw(libc::STDIN_FILENO) };
    let socket = stdin.try_clone_to_owned()?;
    let null = std::fs::File::open("/dev/null")?;
    // SAFETY: both descriptors are open; nobody in this process owns descriptor 0.
    if unsafe { libc::dup2(std::os::fd::AsRawFd::as_raw_fd(&null.as_fd()), libc::STDIN_FILENO) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // Ctrl-C in a terminal goes to all processes there; when to end is the governor's decision. Programs that a task starts
    // would inherit an ignored signal, but not a handler.
    extern "C" fn do_nothing(_signal: libc::c_int) {}
    let handler: extern "C" fn(libc::c_int) = do_nothing;
    // SAFETY: the handler does nothing, so it may run at any instruction; interrupted calls are resumed.
    unsafe { libc::signal(libc::SIGINT, handler as libc::sighandler_t) };
    Ok(socket)
}
