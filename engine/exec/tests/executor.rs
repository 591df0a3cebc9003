//! Executors, played by a script.

mod fixture;

use fixture::{
    Fixture, assert_dies, assert_says, blob, bytes_of, directory, failed, finished, kind, one_task, output, text,
};
use rain_data::{INLINE_BYTES_MAX, Object};
use rain_exec::{
    ExecutorError, ExecutorEvent, ExecutorFault, ExecutorProcess, ExecutorSpec, TaskFailure, TaskOutcome, python_spec,
};
use rain_model::graph::{DataType, OutputSpec};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Only against hanging.
const LONG: Duration = Duration::from_secs(60);

fn spec(args: &[&str]) -> ExecutorSpec {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fake_executor.py");
    let command = ["python3".into(), script.into()].into_iter().chain(args.iter().map(Into::into)).collect();
    ExecutorSpec { name: "fake".into(), command, env: vec![("MARK".into(), "1".into())], start_timeout: LONG, warm: 0 }
}

/// The call that was answered.
#[track_caller]
fn answered(event: &ExecutorEvent) -> u64 {
    match event {
        ExecutorEvent::Answered { call, .. } => *call,
        other => panic!("not answered: {other:?}"),
    }
}

struct Talk {
    fixture: Fixture,
    executor: ExecutorProcess,
    next: u64,
}

impl Talk {
    fn new() -> Self {
        let fixture = Fixture::new();
        let executor = ExecutorProcess::start(&spec(&["good"]), &fixture.store, None, &[]).unwrap();
        Self { fixture, executor, next: 0 }
    }

    fn send(&mut self, method: &str, config: &impl Serialize, inputs: &[Arc<Object>], outputs: &[OutputSpec]) -> u64 {
        self.next += 1;
        let batch = one_task(kind(&format!("fake/{method}"), config, outputs), inputs.len());
        let (executor, id) = (&mut self.executor, self.next);
        self.fixture.with_call(&batch, inputs, |call| executor.send(id, id, call)).unwrap();
        id
    }

    fn wait(&mut self) -> Result<Vec<ExecutorEvent>, ExecutorError> {
        let mut answers = Vec::new();
        self.executor.wait(&self.fixture.interrupt, Some(LONG), &mut answers).map(|()| answers)
    }

    fn run(
        &mut self,
        method: &str,
        config: &impl Serialize,
        inputs: &[Arc<Object>],
        outputs: &[OutputSpec],
    ) -> TaskOutcome {
        let id = self.send(method, config, inputs, outputs);
        let mut events = self.wait().unwrap();
        assert_eq!((events.len(), self.executor.in_flight()), (1, 0));
        match events.remove(0) {
            ExecutorEvent::Answered { call, outcome } => {
                assert_eq!(call, id);
                outcome
            }
            other => panic!("not answered: {other:?}"),
        }
    }

    fn error(&mut self, method: &str) -> ExecutorError {
        let call = self.send(method, &(), &[], &[]);
        let error = self.wait().unwrap_err();
        assert_eq!(self.executor.take_in_flight(), [call]);
        assert_eq!(self.wait().unwrap_err().fault, error.fault, "a broken executor stays broken");
        assert_dies(self.executor.pid());
        error
    }
}

#[test]
fn calls_carry_everything_and_answers_become_objects() {
    let mut talk = Talk::new();
    let large = talk.fixture.store.blob(vec![b'l'; INLINE_BYTES_MAX + 1], None).unwrap();
    let typed = Object::inline(b"small".to_vec(), Some("text")).with_user(Some("[1]"));
    let inputs = [Arc::new(typed), Arc::new(large), talk.fixture.tree(&[("f", "x")])];
    let outputs = finished(talk.run("describe", &"configured", &inputs, &[blob()]));
    assert_eq!(outputs[0].content_type(), Some("text"));
    let expected = "[1, [7, 0], 'configured', ['inline', 'path', 'path'], [['text', 0, 5, 100, '[1]'], \
                    [None, 0, 65537, 101, None], [None, 1, 1, 102, None]], \
                    {'user': '{\"a\":1}', 'governor': 3, 'outputs': 500, 'submit': 0}]";
    assert_eq!(String::from_utf8(bytes_of(&outputs[0])).unwrap(), expected);
    assert!(talk.executor.is_registered());

    let outputs = finished(talk.run("echo", &(), &inputs[..2], &[blob(), blob()]));
    assert_eq!((outputs[0].size(), outputs[1].size()), (5, INLINE_BYTES_MAX as u64 + 1));
    assert!(outputs[0].inline_bytes().is_some() && outputs[1].inline_bytes().is_none());
}

#[test]
fn an_executor_works_in_its_directory_with_empty_input_and_leaves_nothing() {
    let mut talk = Talk::new();
    let outputs = finished(talk.run("where", &(), &[], &[blob()]));
    let place = String::from_utf8(bytes_of(&outputs[0])).unwrap();
    assert!(Path::new(place.trim_end()).starts_with(talk.fixture.store.root()), "{place}");
    let outputs = finished(talk.run("spawn", &(), &[], &[blob()]));
    let child = String::from_utf8(bytes_of(&outputs[0])).unwrap().parse().unwrap();
    assert!(fixture::is_alive(child));
    let pid = talk.executor.pid();
    drop(talk.executor);
    assert_dies(pid);
    assert_dies(child);
    assert!(talk.fixture.stored().is_empty());
}

#[test]
fn files_and_directories_are_moved_out_of_the_executors_directory() {
    let mut talk = Talk::new();
    for size in [4u64, INLINE_BYTES_MAX as u64 + 1] {
        let outputs = finished(talk.run("file", &BTreeMap::from([("size", size)]), &[], &[blob()]));
        assert_eq!(bytes_of(&outputs[0]), vec![b'f'; size as usize]);
    }
    let outputs = finished(talk.run("directory", &(), &[], &[directory()]));
    assert!(outputs[0].file_path().unwrap().join("sub/f").exists());
}

#[test]
fn paths_outside_of_the_directory_are_refused_and_the_executor_goes_on() {
    let mut talk = Talk::new();
    for path in ["/etc/passwd", "../..", "link/passwd", "link", ".", ""] {
        let message = failed(talk.run("path", &path, &[], &[blob()])).message;
        assert_says(&message, &["\"out\"", path, "not inside"]);
    }
    assert_says(&failed(talk.run("path", &"gone", &[], &[blob()])).message, &["\"gone\"", "No such file"]);
    assert!(Path::new("/etc/passwd").exists());
    let size = BTreeMap::from([("size", 1)]);
    assert_says(&failed(talk.run("file", &size, &[], &[directory()])).message, &["is a file, but was declared"]);
    assert_says(&failed(talk.run("directory", &(), &[], &[blob()])).message, &["is a directory, but was declared"]);
    assert_says(&failed(talk.run("typed", &(), &[], &[directory()])).message, &["content", "directory"]);
}

#[test]
fn inputs_are_passed_on_as_they_are() {
    #[derive(Serialize)]
    struct Pass<'a> {
        input: u32,
        content_type: Option<&'a str>,
        user: Option<&'a str>,
    }
    let mut talk = Talk::new();
    let large = Arc::new(talk.fixture.store.blob(vec![1; INLINE_BYTES_MAX + 1], None).unwrap());
    let inputs = [text(""), large.clone()];
    let plain = Pass { input: 1, content_type: None, user: None };
    match talk.run("pass", &plain, &inputs, &[blob()]) {
        TaskOutcome::Finished { outputs, notes } => {
            assert!(Arc::ptr_eq(&outputs[0], &large));
            assert_eq!((notes.debug.as_deref(), notes.user.as_deref()), (Some("said"), Some("{}")));
        }
        other => panic!("{other:?}"),
    }
    let outputs = finished(talk.run("pass", &plain, &inputs, &[output("o", DataType::Blob, Some("json"))]));
    assert_eq!((outputs[0].content_type(), outputs[0].file_path()), (Some("json"), large.file_path()));
    let named = Pass { content_type: Some("text"), user: Some("{}"), ..plain };
    let outputs = finished(talk.run("pass", &named, &inputs, &[blob()]));
    assert_eq!((outputs[0].content_type(), outputs[0].user()), (Some("text"), Some("{}")));
    assert_eq!(outputs[0].file_path(), large.file_path());
    let missing = Pass { input: 2, content_type: None, user: None };
    assert_says(&failed(talk.run("pass", &missing, &inputs, &[blob()])).message, &["no input 2"]);
    let message = failed(talk.run("pass", &missing, &inputs, &[blob(), blob()])).message;
    assert_says(&message, &["1 outputs, but 2 are declared"]);
}

#[test]
fn content_types_and_numbers_of_outputs_are_checked() {
    let mut talk = Talk::new();
    let text = [output("o", DataType::Blob, Some("text"))];
    let outputs = finished(talk.run("typed", &"text-latin1", &[], &text));
    assert_eq!((outputs[0].content_type(), outputs[0].user()), (Some("text-latin1"), Some("{\"u\":1}")));
    assert_eq!(finished(talk.run("typed", &(), &[], &text))[0].content_type(), Some("text"));
    assert_says(&failed(talk.run("typed", &"json", &[], &text)).message, &["\"o\"", "json", "\"text\""]);
    assert_eq!(finished(talk.run("outputs", &2, &[], &[blob(), blob()])).len(), 2);
    assert_says(&failed(talk.run("outputs", &3, &[], &[blob()])).message, &["3 outputs, but 1"]);
}

#[test]
fn failures_are_passed_on() {
    let mut talk = Talk::new();
    let failure = failed(talk.run("fail", &(), &[], &[]));
    assert_eq!(failure.message, "it failed");
    assert_eq!((failure.debug.as_deref(), failure.user.as_deref()), (Some("why"), Some("{}")));
}

#[test]
fn calls_that_have_not_begun_are_given_back() {
    let mut talk = Talk::new();
    let calls = [(); 3].map(|()| talk.send("return", &(), &[], &[]));
    let mut events = Vec::new();
    while talk.executor.in_flight() > 0 {
        talk.executor.wait(&talk.fixture.interrupt, Some(LONG), &mut events).unwrap();
    }
    assert_eq!(talk.executor.knows_from(2), Some(2));
    let returned = events.into_iter().flat_map(|event| match event {
        ExecutorEvent::Returned { calls, reason } => calls.into_iter().map(move |call| (call, reason.clone())),
        other => panic!("not returned: {other:?}"),
    });
    let reason = Some("it is used up".to_owned());
    assert!(returned.eq(calls.map(|call| (call, reason.clone()))));
    assert_eq!(Talk::new().error("return-another").fault, ExecutorFault::UnknownCall(1001));
}

#[test]
fn many_calls_are_in_flight_and_kinds_are_defined_once() {
    const CALLS: u64 = 2000;
    let mut talk = Talk::new();
    let batch = one_task(kind("fake/echo", &(), &[blob()]), 1);
    let input = [text(&"x".repeat(1000))];
    for round in 0..2 {
        for call in 0..CALLS {
            talk.fixture.with_call(&batch, &input, |c| talk.executor.send(call, 5, c)).unwrap();
        }
        let mut answers = Vec::new();
        while talk.executor.in_flight() > 0 {
            talk.executor.wait(&talk.fixture.interrupt, Some(LONG), &mut answers).unwrap();
        }
        assert!(answers.iter().map(answered).eq(0..CALLS), "round {round}");
        // The script fails on a second definition, unless it was told to forget the first.
        talk.executor.forget(5..=6);
    }
}

#[test]
fn an_executor_that_writes_without_reading_does_not_block_us() {
    const CALLS: u64 = 100;
    let fixture = Fixture::new();
    let mut executor = ExecutorProcess::start(&spec(&["deaf", &CALLS.to_string()]), &fixture.store, None, &[]).unwrap();
    let batch = one_task(kind("fake/echo", &(), &[blob()]), 1);
    let input = [text(&"x".repeat(50_000))];
    let mut answers = Vec::new();
    for call in 0..CALLS {
        fixture.with_call(&batch, &input, |c| executor.send(call, 1, c)).unwrap();
    }
    while executor.in_flight() > 0 {
        executor.wait(&fixture.interrupt, Some(LONG), &mut answers).unwrap();
    }
    assert_eq!(answers.len(), CALLS as usize);
}

#[test]
fn waiting_ends_with_the_interrupt_or_the_timeout() {
    let mut talk = Talk::new();
    talk.send("hang", &(), &[], &[]);
    assert!(talk.executor.wait_registered(&talk.fixture.interrupt, &|| false).unwrap());
    let mut answers = Vec::new();
    talk.executor.wait(&talk.fixture.interrupt, Some(Duration::from_millis(1)), &mut answers).unwrap();
    talk.fixture.interrupt.raise();
    let start = Instant::now();
    talk.executor.wait(&talk.fixture.interrupt, None, &mut answers).unwrap();
    assert!(start.elapsed() < LONG && !talk.fixture.interrupt.clear());
    assert!(answers.is_empty());
    talk.executor.kill();
    assert_dies(talk.executor.pid());
    assert_eq!(talk.wait().unwrap_err().fault, ExecutorFault::Ended);
    assert_eq!(talk.executor.in_flight(), 1);
}

#[test]
fn a_program_that_is_no_executor_is_told_by_what_it_wrote() {
    let fixture = Fixture::new();
    let command = ["sh", "-c", "echo to output; echo to error >&2; exit 3"].map(Into::into).to_vec();
    let mut other = ExecutorProcess::start(&ExecutorSpec { command, ..spec(&[]) }, &fixture.store, None, &[]).unwrap();
    let message = other.wait_registered(&fixture.interrupt, &|| false).unwrap_err().to_string();
    assert_says(&message, &["status 3 before it registered", "its stdout and stderr", "to output\nto error"]);
}

#[test]
fn registration_is_waited_for_until_cancelled() {
    let fixture = Fixture::new();
    let mut executor = ExecutorProcess::start(&spec(&["silent"]), &fixture.store, None, &[]).unwrap();
    fixture.stop();
    assert!(!executor.wait_registered(&fixture.interrupt, &|| true).unwrap());
    assert!(!executor.is_registered());
}

#[test]
fn answers_that_come_while_registration_is_waited_for_are_kept() {
    let mut talk = Talk::new();
    let call = talk.send("echo", &(), &[], &[]);
    assert!(talk.executor.wait_registered(&talk.fixture.interrupt, &|| false).unwrap());
    assert_eq!(answered(&talk.wait().unwrap()[0]), call);
}

#[test]
fn executors_that_start_wrongly_are_told_apart() {
    let start = |mode: &str, timeout| {
        let fixture = Fixture::new();
        let spec = ExecutorSpec { start_timeout: timeout, ..spec(&[mode]) };
        let mut executor = ExecutorProcess::start(&spec, &fixture.store, None, &[]).unwrap();
        let error = executor.wait_registered(&fixture.interrupt, &|| false).unwrap_err();
        assert_dies(executor.pid());
        drop(executor);
        assert!(fixture.stored().is_empty());
        error
    };
    let short = Duration::from_millis(50);
    assert_eq!(start("silent", short).fault, ExecutorFault::NotRegistered(short));
    let error = start("dies", LONG);
    assert_says(&error.to_string(), &["executor \"fake\"", "exited with status 1", "cannot import something"]);
    assert_eq!(start("name", LONG).fault, ExecutorFault::WrongName("other".into()));
    assert_eq!(start("version", LONG).fault, ExecutorFault::WrongVersion(9));
    assert_eq!(start("early", LONG).fault, ExecutorFault::NotRegisteredFirst);
    assert!(matches!(start("long", LONG).fault, ExecutorFault::BadMessage(_)));
}

#[test]
fn executors_that_cannot_be_started_say_so() {
    let fixture = Fixture::new();
    for (command, says) in [
        (vec![], "empty"),
        (vec!["no-such-executor"], "not found in PATH"),
        (vec!["/no/such/executor"], "No such file"),
        (vec!["a\0b"], "zero byte"),
    ] {
        let spec = ExecutorSpec { command: command.iter().map(Into::into).collect(), ..spec(&[]) };
        let error = ExecutorProcess::start(&spec, &fixture.store, None, &[]).unwrap_err();
        assert_says(&error.to_string(), &["cannot be started", says]);
    }
    assert!(fixture.stored().is_empty());
}

#[test]
fn executors_that_break_off_are_told_apart() {
    let error = Talk::new().error("exit").to_string();
    assert_says(&error, &["exited with status 7", "last words"]);
    assert_says(&Talk::new().error("kill").to_string(), &["killed by signal 9 (SIGKILL)"]);
    assert_eq!(Talk::new().error("close").fault, ExecutorFault::Closed);
    assert_says(&Talk::new().error("half").to_string(), &["exited with status 0"]);
}

#[test]
fn executors_that_break_the_protocol_are_told_apart() {
    assert_says(&Talk::new().error("garbage").to_string(), &["not a message of the protocol"]);
    assert_says(&Talk::new().error("oversized").to_string(), &["longer than"]);
    assert_eq!(Talk::new().error("unknown").fault, ExecutorFault::UnknownCall(1001));
    assert_eq!(Talk::new().error("again").fault, ExecutorFault::RegisteredTwice);
}

/// Its worker has other things to do than to wait whether it ends by itself.
#[test]
fn executors_that_break_off_and_live_on_are_ended_soon() {
    for method in ["lives closed", "lives garbled"] {
        let mut talk = Talk::new();
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("lives");
        talk.send(method, &path.to_str().unwrap(), &[], &[]);
        talk.wait().unwrap_err();
        assert_dies(talk.executor.pid());
        assert!(!path.exists(), "{method}: it had time to say that it lives");
    }
}

#[test]
fn a_chatty_executor_does_not_fill_the_store() {
    let mut talk = Talk::new();
    for _ in 0..600 {
        finished(talk.run("chatty", &20_000, &[], &[]));
    }
    for dir in talk.fixture.stored() {
        assert_eq!(std::fs::read_dir(dir).unwrap().count(), 0, "nothing of it is in a file");
    }
    // It does not say where its calls begin, so it is all that was written for this session.
    assert_says(&talk.error("exit").to_string(), &["...", "xxx", "last words"]);
}

#[test]
fn output_is_taken_while_a_call_writes() {
    let mut talk = Talk::new();
    let bytes = 64 << 20;
    finished(talk.run("chatty", &bytes, &[], &[]));
    assert_says(&talk.error("exit").to_string(), &["...xxx", "last words"]);
}

#[test]
fn errors_hold_the_output_of_their_own_call() {
    let mut talk = Talk::new();
    let calls = ["first", "second", "third"].map(|word| talk.send("says", &word, &[], &[]));
    let mut events = Vec::new();
    while talk.executor.in_flight() > 0 {
        talk.executor.wait(&talk.fixture.interrupt, Some(LONG), &mut events).unwrap();
    }
    assert!(events.iter().map(answered).eq(calls));
    let failures: Vec<TaskFailure> = events
        .into_iter()
        .map(|event| match event {
            ExecutorEvent::Answered { outcome, .. } => failed(outcome),
            other => panic!("not answered: {other:?}"),
        })
        .collect();
    let messages: Vec<&str> = failures.iter().map(|failure| &*failure.message).collect();
    let outputs = failures.iter().map(|failure| (&*failure.output.stdout, &*failure.output.stderr));
    assert!(outputs.eq([("first\n", "first!"), ("", ""), ("third\n", "third!")]));
    let end = "it failed\n\nThe end of its output:\n";
    assert_eq!(messages, [&*format!("{end}first\nfirst!"), "it failed", &*format!("{end}third\nthird!")]);
    finished(talk.run("chatty", &10, &[], &[]));
    talk.executor.begin_session();
    let error = talk.error("exit").to_string();
    assert!(error.ends_with("the end of its output:\nlast words") && !error.contains("xxx"), "{error}");
}

#[test]
fn attributes_that_are_no_json_objects_are_the_tasks_failure() {
    let mut talk = Talk::new();
    for (user, why) in [("[1]", "map"), ("1e999", "number"), ("{\"a\": \"\\ud800\"}", "escape"), ("{\"a\"", "EOF")] {
        let output = failed(talk.run("output-user", &user, &[], &[blob()])).message;
        assert_says(&output, &["info.user of output \"out\" is not a JSON object", why]);
        let info = failed(talk.run("info-user", &user, &[], &[])).message;
        assert_says(&info, &["info.user of the task is not a JSON object", why]);
        let failure = failed(talk.run("fail-user", &user, &[], &[]));
        assert_says(&failure.message, &["it failed\n", "info.user of the task is not a JSON object"]);
        assert_eq!(failure.user, None);
    }
    assert_eq!(finished(talk.run("output-user", &"{}", &[], &[blob()]))[0].user(), Some("{}"));
}

#[test]
fn a_call_lends_its_cpu_and_goes_on() {
    let mut talk = Talk::new();
    let calls = ["lend", "echo"].map(|method| talk.send(method, &(), &[], &[]));
    let mut events = talk.wait().unwrap();
    assert!(matches!(events[0], ExecutorEvent::Lent { call } if call == calls[0]), "{events:?}");
    talk.executor.lent(calls[0]);
    while talk.executor.in_flight() > 0 {
        talk.executor.wait(&talk.fixture.interrupt, Some(LONG), &mut events).unwrap();
    }
    // It reads up to the answer to its message, and gives back what was on its way.
    assert!(matches!(&events[1], ExecutorEvent::Returned { calls: given, reason: None } if given == &calls[1..]));
    assert!(matches!(events[2], ExecutorEvent::Resumed { call } if call == calls[0]));
    assert_eq!(answered(&events[3]), calls[0]);
    assert_eq!(events.len(), 4);
    assert_eq!(Talk::new().error("lend-another").fault, ExecutorFault::UnknownCall(1001));
}

#[test]
fn the_python_executor_is_a_module() {
    let spec = python_spec(Path::new("/venv/bin/python"));
    assert_eq!((spec.name.as_str(), spec.command.len()), ("py", 3));
    assert_eq!(spec.command[0], "/venv/bin/python");
    assert!(spec.env.is_empty());
    let spec = python_spec(Path::new("/venv/bin/python\n/a\n/b c"));
    assert_eq!(spec.command[0], "/venv/bin/python");
    let (name, value) = &spec.env[0];
    assert!(name == "PYTHONPATH" && value.to_str().unwrap().starts_with("/a:/b c"));
}
