//! The process of an executor, and the conversation with it.

use super::answer::{ExecutorEvent, InFlight, Places};
use super::launch::{Launched, cannot_start, launch};
use super::log::{Log, shown};
use super::{ExecutorError, ExecutorFault, ExecutorSpec};
use crate::Interrupt;
use crate::call::{TaskCall, TaskFailure, TaskNotes};
use crate::inputs::check_before;
use crate::process::{Child, Ending};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, Shutdown, recv, send, shutdown};
use rain_data::{INLINE_BYTES_MAX, ScratchDir, Store};
use rain_protocol::executor::{
    CallExtra, CallFailure, CallInfo, CallInput, FromExecutor, InputSource, Written, append_call, append_define,
    append_forget, append_lent, decode_from_executor,
};
use rain_protocol::msgpack::{FRAME_BYTES_MAX, FRAME_BYTES_MAX_BEFORE_HELLO, FrameBuffer, PROTOCOL_VERSION};
use rain_protocol::peer::TaskOutput;
use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// Content of inputs in one call; what is past it goes as paths.
const INLINE_BYTES_PER_CALL_MAX: usize = 4 * 1024 * 1024;
const RECEIVE_BYTES: usize = 64 * 1024;
/// How long an executor that is asked to end, or is about to, may take.
const END_TIMEOUT: Duration = Duration::from_secs(1);
/// How long one that has closed its connection may take until it is about to end.
const CLOSED_TIMEOUT: Duration = Duration::from_millis(50);

/// What a look at everything that may happen has found.
struct Polled {
    /// The socket has something to read, or was closed.
    readable: bool,
    /// The process has ended.
    ended: bool,
    interrupted: bool,
    /// Something was written to standard output, and to error.
    written: [bool; 2],
}

/// A running executor. Dropping it kills it with everything it has started, and removes its directory.
#[derive(Debug)]
pub struct ExecutorProcess {
    name: String,
    // Before the directory, so that nobody uses that any more when it is removed.
    child: Child,
    socket: OwnedFd,
    log: Log,
    directory: ScratchDir,
    store: Store,
    registered: bool,
    started: Instant,
    start_timeout: Duration,
    outgoing: Vec<u8>,
    /// How much of `outgoing` was sent.
    sent: usize,
    incoming: FrameBuffer,
    receive_buffer: Box<[u8]>,
    /// Ids of kinds that the executor knows.
    defined: BTreeSet<u64>,
    in_flight: VecDeque<InFlight>,
    /// What came while only the registration was waited for.
    early: Vec<ExecutorEvent>,
    broken: Option<ExecutorError>,
}

impl ExecutorProcess {
    /// Starts an executor, for tasks of so many cpus if this is known already; it registers later.
    pub fn start(
        spec: &ExecutorSpec,
        store: &Store,
        cpus: Option<u32>,
        granted: &[(String, String)],
    ) -> Result<Self, ExecutorError> {
        if store.root().to_str().is_none() {
            return Err(cannot_start(spec, "the path of the working directory is not UTF-8"));
        }
        let directory = store.scratch_dir().map_err(|error| cannot_start(spec, error))?;
        let Launched { child, socket, log } = launch(spec, &directory, cpus, granted)?;
        Ok(Self {
            name: spec.name.clone(),
            child,
            socket,
            log,
            directory,
            store: store.clone(),
            registered: false,
            started: Instant::now(),
            start_timeout: spec.start_timeout,
            outgoing: Vec::new(),
            sent: 0,
            incoming: FrameBuffer::new(),
            receive_buffer: vec![0; RECEIVE_BYTES].into_boxed_slice(),
            defined: BTreeSet::new(),
            in_flight: VecDeque::new(),
            early: Vec::new(),
            broken: None,
        })
    }

    /// The executor's process id.
    pub fn pid(&self) -> u32 {
        self.child.pid().as_raw().unsigned_abs()
    }

    /// Whether the executor was seen to be ready.
    pub fn is_registered(&self) -> bool {
        self.registered
    }

    /// Number of calls that were sent and are not answered.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// The call that the executor is at, if any.
    pub fn first_in_flight(&self) -> Option<u64> {
        self.in_flight.front().map(|in_flight| in_flight.call)
    }

    /// Takes out the ids of the calls that were sent and are not answered, in the order they were sent.
    pub fn take_in_flight(&mut self) -> Vec<u64> {
        self.in_flight.drain(..).map(|in_flight| in_flight.call).collect()
    }

    /// Waits until the executor is ready; false if `cancelled` said so first.
    pub fn wait_registered(
        &mut self,
        interrupt: &Interrupt,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<bool, ExecutorError> {
        while !self.registered {
            let mut events = std::mem::take(&mut self.early);
            let waited = self.converse(interrupt, None, &mut events, true);
            self.early = events;
            waited?;
            if !self.registered && cancelled() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Puts a call in line; it goes out with the next `wait` or `flush`. With an error nothing was put in line, and the
    /// task has failed.
    pub fn send(&mut self, call_id: u64, kind_id: u64, call: &TaskCall<'_>) -> Result<(), TaskFailure> {
        let (batch, task) = (call.batch, call.task.index);
        let failed = |message| TaskFailure { message, ..TaskFailure::default() };
        check_before(call.inputs).map_err(failed)?;
        let inputs = call_inputs(call).map_err(|error| failed(error.to_string()))?;
        let extra = CallExtra {
            user: batch.user(task),
            governor: call.governor.0,
            outputs: batch.outputs(task).start,
            submit: batch.first,
        };
        if self.defined.insert(kind_id) {
            append_define(&mut self.outgoing, kind_id, call.kind());
        }
        let ids = (call.task.session.0, task);
        append_call(&mut self.outgoing, call_id, kind_id, ids, batch.own_config(task), &inputs, &extra);
        self.in_flight.push_back(InFlight { call: call_id, kind: call.kind().clone(), inputs: call.inputs.to_vec() });
        Ok(())
    }

    /// The first kind from `kind_id` on that the executor knows.
    pub fn knows_from(&self, kind_id: u64) -> Option<u64> {
        self.defined.range(kind_id..).next().copied()
    }

    /// How many kinds the executor knows.
    pub fn kinds_known(&self) -> usize {
        self.defined.len()
    }

    /// Lets the executor forget kinds that will not be used again.
    pub fn forget(&mut self, kind_ids: RangeInclusive<u64>) {
        let known: Vec<u64> = self.defined.range(kind_ids).copied().collect();
        if !known.is_empty() {
            self.defined.retain(|id| known.binary_search(id).is_err());
            append_forget(&mut self.outgoing, &known);
        }
    }

    /// The same for those kinds of which `is_over` says so.
    pub fn forget_if(&mut self, is_over: impl Fn(u64) -> bool) {
        let over: Vec<u64> = self.defined.iter().copied().filter(|id| is_over(*id)).collect();
        if !over.is_empty() {
            self.defined.retain(|id| over.binary_search(id).is_err());
            append_forget(&mut self.outgoing, &over);
        }
    }

    /// Calls of another session follow: what was written to standard output and error before is none of theirs.
    pub fn begin_session(&mut self) {
        self.log.begin_session();
    }

    /// Tells the executor that its call has lent its cpus, so that no other call is on its way to it.
    pub fn lent(&mut self, call: u64) {
        append_lent(&mut self.outgoing, call);
    }

    /// Sends as much of what is in line as the executor takes without blocking.
    pub fn flush(&mut self) -> Result<(), ExecutorError> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        while self.sent < self.outgoing.len() {
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            match send(self.socket.as_raw_fd(), &self.outgoing[self.sent..], flags) {
                Ok(length) => self.sent += length,
                Err(Errno::EAGAIN) => return Ok(()),
                Err(Errno::EINTR) => {}
                // It has ended; its last answers may still be there to read, and then the end is seen there.
                Err(Errno::EPIPE | Errno::ECONNRESET) => break,
                Err(errno) => return Err(self.fail(ExecutorFault::Connection(errno.to_string()))),
            }
        }
        self.outgoing.clear();
        self.outgoing.shrink_to(RECEIVE_BYTES);
        self.sent = 0;
        Ok(())
    }

    /// Sends what is in line and waits until the executor has said something, the interrupt is raised (and taken down), or
    /// `timeout` is over. Everything that it has said is appended to `events`.
    pub fn wait(
        &mut self,
        interrupt: &Interrupt,
        timeout: Option<Duration>,
        events: &mut Vec<ExecutorEvent>,
    ) -> Result<(), ExecutorError> {
        if !self.early.is_empty() {
            events.append(&mut self.early);
            return self.flush();
        }
        self.converse(interrupt, timeout, events, false)
    }

    fn converse(
        &mut self,
        interrupt: &Interrupt,
        timeout: Option<Duration>,
        events: &mut Vec<ExecutorEvent>,
        until_registered: bool,
    ) -> Result<(), ExecutorError> {
        let end = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let events_before = events.len();
        loop {
            self.flush()?;
            let Polled { readable, ended, interrupted, written } = self.poll(interrupt, end)?;
            for pipe in [0, 1] {
                if written[pipe] {
                    self.log.take(pipe, &mut self.receive_buffer);
                }
            }
            if readable || ended {
                let open = self.receive(events)?;
                // Events first: the end shows again at the next call.
                if (!open || ended) && events.len() == events_before {
                    return Err(self.fail(if ended { ExecutorFault::Ended } else { ExecutorFault::Closed }));
                }
                if events.len() > events_before || (until_registered && self.registered) {
                    return Ok(());
                }
            }
            if interrupted {
                interrupt.clear();
                return Ok(());
            }
            if !self.registered && self.started.elapsed() >= self.start_timeout {
                return Err(self.fail(ExecutorFault::NotRegistered(self.start_timeout)));
            }
            if end.is_some_and(|end| Instant::now() >= end) {
                return Ok(());
            }
        }
    }

    fn poll(&mut self, interrupt: &Interrupt, end: Option<Instant>) -> Result<Polled, ExecutorError> {
        let start_end = if self.registered { None } else { self.started.checked_add(self.start_timeout) };
        let end = [end, start_end].into_iter().flatten().min();
        let timeout = match end {
            None => PollTimeout::NONE,
            Some(end) => {
                // Up to the next millisecond, so that a wait does not end early and turn in circles.
                let left = end.saturating_duration_since(Instant::now()) + Duration::from_micros(999);
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
            }
        };
        let mut wanted = PollFlags::POLLIN;
        wanted.set(PollFlags::POLLOUT, self.sent < self.outgoing.len());
        let [stdout, stderr] = self.log.pipes();
        let mut fds = [
            PollFd::new(self.socket.as_fd(), wanted),
            PollFd::new(self.child.pidfd(), PollFlags::POLLIN),
            PollFd::new(interrupt.fd(), PollFlags::POLLIN),
            PollFd::new(stdout, PollFlags::POLLIN),
            PollFd::new(stderr, PollFlags::POLLIN),
        ];
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(self.fail(ExecutorFault::Connection(errno.to_string()))),
        }
        let events = fds.each_ref().map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
        Ok(Polled {
            readable: events[0].intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR),
            ended: !events[1].is_empty(),
            interrupted: !events[2].is_empty(),
            written: [events[3], events[4]].map(|events| events.contains(PollFlags::POLLIN)),
        })
    }

    /// Reads everything that has come; false if the executor has closed the connection.
    fn receive(&mut self, events: &mut Vec<ExecutorEvent>) -> Result<bool, ExecutorError> {
        loop {
            let length = match recv(self.socket.as_raw_fd(), &mut self.receive_buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(0) => return Ok(false),
                Ok(length) => length,
                Err(Errno::EAGAIN) => return Ok(true),
                Err(Errno::EINTR) => continue,
                Err(Errno::ECONNRESET) => return Ok(false),
                Err(errno) => return Err(self.fail(ExecutorFault::Connection(errno.to_string()))),
            };
            self.incoming.extend(&self.receive_buffer[..length]);
            self.take_messages(events)?;
            if length < self.receive_buffer.len() {
                return Ok(true);
            }
        }
    }

    fn take_messages(&mut self, events: &mut Vec<ExecutorEvent>) -> Result<(), ExecutorError> {
        loop {
            let max = if self.registered { FRAME_BYTES_MAX } else { FRAME_BYTES_MAX_BEFORE_HELLO };
            let message = match self.incoming.next_frame(max) {
                Ok(None) => break,
                Ok(Some(body)) => decode_from_executor(body),
                Err(error) => Err(error),
            };
            match message {
                Ok(message) => self.take_message(message, events).map_err(|fault| self.fail(fault))?,
                Err(error) => return Err(self.fail(ExecutorFault::BadMessage(error))),
            }
        }
        Ok(())
    }

    fn take_message(&mut self, message: FromExecutor, events: &mut Vec<ExecutorEvent>) -> Result<(), ExecutorFault> {
        match message {
            FromExecutor::Register(_) if self.registered => return Err(ExecutorFault::RegisteredTwice),
            FromExecutor::Register(register) if register.version != PROTOCOL_VERSION => {
                return Err(ExecutorFault::WrongVersion(register.version));
            }
            FromExecutor::Register(register) if register.name != self.name => {
                return Err(ExecutorFault::WrongName(register.name));
            }
            FromExecutor::Register(_) => self.registered = true,
            _ if !self.registered => return Err(ExecutorFault::NotRegisteredFirst),
            FromExecutor::Done { call, outputs, info } => {
                let in_flight = self.take_call(call)?;
                let CallInfo { debug, user, output } = info;
                let notes = TaskNotes { debug, user, output: self.output(output) };
                let places = Places { store: &self.store, directory: self.directory.path() };
                events.push(ExecutorEvent::Answered { call, outcome: in_flight.finish(outputs, notes, &places) });
            }
            FromExecutor::Fail { call, failure } => {
                let in_flight = self.take_call(call)?;
                let CallFailure { mut message, debug, user, output } = failure;
                let output = self.output(output);
                let written = shown(&output);
                if !written.is_empty() {
                    message = format!("{message}\n\nThe end of its output:\n{written}");
                }
                let failure = TaskFailure { message, debug, user, output };
                events.push(ExecutorEvent::Answered { call, outcome: in_flight.fail(failure) });
            }
            FromExecutor::Return { calls, reason } => {
                for call in &calls {
                    self.take_call(*call)?;
                }
                events.push(ExecutorEvent::Returned { calls, reason });
            }
            FromExecutor::Lend { call } => {
                self.check_runs(call)?;
                events.push(ExecutorEvent::Lent { call });
            }
            FromExecutor::Resume { call } => {
                self.check_runs(call)?;
                events.push(ExecutorEvent::Resumed { call });
            }
        }
        Ok(())
    }

    fn take_call(&mut self, call: u64) -> Result<InFlight, ExecutorFault> {
        // Calls are answered in order, so this is the first one.
        let place = self.in_flight.iter().position(|in_flight| in_flight.call == call);
        place.and_then(|place| self.in_flight.remove(place)).ok_or(ExecutorFault::UnknownCall(call))
    }

    /// Kills everything that the executor has started, but not the executor itself: what its calls have left running.
    pub fn end_started(&mut self) {
        self.child.end_started();
    }

    /// Calls begin in the order in which they were sent, so the first one is the only one that can run.
    fn check_runs(&self, call: u64) -> Result<(), ExecutorFault> {
        if self.first_in_flight() == Some(call) { Ok(()) } else { Err(ExecutorFault::UnknownCall(call)) }
    }

    /// What a call has written, if its executor says where that is.
    fn output(&mut self, written: Option<Written>) -> TaskOutput {
        written.map(|written| self.log.output(written)).unwrap_or_default()
    }

    /// Tells the executor to end by itself, by closing its connection.
    pub fn ask_to_end(&mut self) {
        // Not connected any more when it has ended already.
        let _ = shutdown(self.socket.as_raw_fd(), Shutdown::Both);
    }

    /// Waits a moment for an executor that was asked to end, and ends what is left of it. One that has started something
    /// that is meant to live on has to end by itself.
    pub fn finish(&mut self) {
        self.ends_within(END_TIMEOUT);
        self.child.finish();
    }

    /// Kills the executor and everything it started.
    pub fn kill(&mut self) {
        self.child.finish();
    }

    /// Ends the executor for what it did, and keeps the error for later calls.
    fn fail(&mut self, fault: ExecutorFault) -> ExecutorError {
        let ended_itself = match fault {
            ExecutorFault::Ended => true,
            // The system closes the connection of a process that is about to end: how it ends is worth waiting for. One that lives on
            // is not: its worker could do something else.
            ExecutorFault::Closed => {
                self.ends_within(CLOSED_TIMEOUT) || (self.child.is_ending() && self.ends_within(END_TIMEOUT))
            }
            _ => self.ends_within(Duration::ZERO),
        };
        let ending = self.child.finish();
        let fault = if ended_itself && fault == ExecutorFault::Closed { ExecutorFault::Ended } else { fault };
        let error = ExecutorError {
            name: self.name.clone(),
            fault,
            ending: (ended_itself && ending != Ending::Unknown).then(|| ending.to_string()),
            log: shown(&self.log.last_words()),
            registered: self.registered,
        };
        self.broken = Some(error.clone());
        error
    }

    fn ends_within(&self, timeout: Duration) -> bool {
        let mut fds = [PollFd::new(self.child.pidfd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::ZERO);
        poll(&mut fds, timeout).is_ok_and(|ready| ready > 0)
    }
}

fn call_inputs<'a>(call: &TaskCall<'a>) -> io::Result<Vec<CallInput<'a>>> {
    let mut inline_bytes = 0;
    let ids = call.batch.inputs(call.task.index);
    let mut inputs = Vec::with_capacity(call.inputs.len());
    for (number, object) in call.inputs.iter().enumerate() {
        let source = match object.inline_bytes() {
            Some(bytes)
                if bytes.len() <= INLINE_BYTES_MAX && inline_bytes + bytes.len() <= INLINE_BYTES_PER_CALL_MAX =>
            {
                inline_bytes += bytes.len();
                InputSource::Inline(bytes)
            }
            _ => InputSource::Path(object.path(call.store)?.to_str().ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidInput, "the path of the working directory is not UTF-8")
            })?),
        };
        inputs.push(CallInput {
            source,
            content_type: object.content_type(),
            data_type: object.data_type().code(),
            size: object.size(),
            object: ids.get(number).copied().unwrap_or(rain_model::id::NONE),
            user: object.user(),
        });
    }
    Ok(inputs)
}
