//! Tasks that write to their inputs: they cannot, or fail, and nobody reads what they have written.

mod fixture;

use fixture::{Fixture, assert_says, blob, bytes_of, failed, finished, kind, one_task, output, text};
use rain_data::{INLINE_BYTES_MAX, Object};
use rain_exec::{TaskOutcome, run_built_in};
use rain_model::graph::{DataType, OutputSpec};
use serde::Serialize;
use std::sync::Arc;

#[derive(Serialize)]
struct Execute<'a> {
    args: [&'a str; 3],
    inputs: Vec<Input<'a>>,
    outputs: Vec<Output>,
}

#[derive(Serialize)]
struct Input<'a> {
    path: &'a str,
    write: bool,
}

#[derive(Serialize)]
struct Output {
    stdout: bool,
}

/// Runs a command of the shell that has the input at `in`, and whose standard output is an output.
fn run(fixture: &Fixture, command: &str, input: &Arc<Object>, write: bool) -> TaskOutcome {
    let config = Execute {
        args: ["sh", "-c", command],
        inputs: vec![Input { path: "in", write }],
        outputs: vec![Output { stdout: true }],
    };
    fixture.run("buildin/execute", &config, std::slice::from_ref(input), &[blob()])
}

/// Inputs of all kinds: in memory, in a file, and a directory, with the path of what can be changed in them.
fn inputs(fixture: &Fixture) -> Vec<(Arc<Object>, &'static str)> {
    let large = Arc::new(fixture.store.blob(vec![b'x'; 2 * INLINE_BYTES_MAX], None).unwrap());
    vec![(text("small"), "in"), (large, "in"), (fixture.tree(&[("d/f", "in a tree")]), "in/d/f")]
}

#[test]
fn inputs_cannot_be_written_to_by_root_either() {
    let fixture = Fixture::new();
    for (input, path) in inputs(&fixture) {
        let before = input.contents().unwrap().into_owned();
        for command in [format!("echo bad >>{path}"), format!(": >{path}"), format!("cp /bin/sh {path}")] {
            let message = failed(run(&fixture, &command, &input, false)).message;
            assert_says(&message, &["ermission denied"]);
            assert_eq!(message.contains("--keep-capabilities"), nix::unistd::geteuid().is_root(), "{message}");
            input.check().unwrap();
            assert_eq!(*input.contents().unwrap(), before);
        }
        let outputs =
            finished(run(&fixture, &format!("chmod +w {path}; echo more >>{path}; cat {path} | wc -c"), &input, true));
        assert!(!bytes_of(&outputs[0]).is_empty());
        assert_eq!(*input.contents().unwrap(), before);
    }
}

#[test]
fn a_task_that_changes_an_input_fails_and_nobody_reads_it() {
    let fixture = Fixture::new();
    for (input, path) in inputs(&fixture) {
        let is_small = input.inline_bytes().is_some();
        let outcome = run(&fixture, &format!("chmod u+w {path}; echo bad >>{path}; echo fine"), &input, false);
        assert_says(&failed(outcome).message, &["input 0 was changed while this task ran", "immutable", "write=True"]);
        let message = failed(run(&fixture, "cat in", &input, false)).message;
        assert_says(&message, &["input 0 cannot be read", "objects are immutable"]);
        // What is in memory is as it was.
        assert_eq!(input.contents().is_ok(), is_small);
        if input.data_type() == DataType::Blob {
            let specs = [output("out", DataType::Blob, None)];
            let both = [input.clone(), Arc::new(fixture.store.blob(vec![b'y'; 100_000], None).unwrap())];
            match fixture.run("buildin/concat", &(), &both, &specs) {
                TaskOutcome::Finished { outputs, .. } => {
                    assert!(is_small && bytes_of(&outputs[0]).starts_with(b"smallyyy"))
                }
                outcome => assert_says(&failed(outcome).message, &["input 0 cannot be read", "objects are immutable"]),
            }
        }
        let target = fixture.outside("stored");
        let stored =
            fixture.run("buildin/store", &Path { path: target.to_str().unwrap() }, &[input], &[] as &[OutputSpec]);
        assert_says(&failed(stored).message, &["objects are immutable"]);
        assert!(!target.exists());
    }
}

#[derive(Serialize)]
struct Path<'a> {
    path: &'a str,
}

#[test]
fn a_program_that_fails_and_has_changed_an_input_tells_both() {
    let fixture = Fixture::new();
    let input = Arc::new(fixture.store.blob(vec![b'x'; 2 * INLINE_BYTES_MAX], None).unwrap());
    let message = failed(run(&fixture, "chmod u+w in; : >in; echo broken >&2; exit 7", &input, false)).message;
    assert_says(&message, &["status 7", "broken", "input 0 was changed"]);
    let input = Arc::new(fixture.store.blob(vec![b'x'; 2 * INLINE_BYTES_MAX], None).unwrap());
    let message = failed(run(&fixture, "rm $(readlink in)", &input, false)).message;
    assert_says(&message, &["input 0 was changed"]);
    assert_says(&failed(run(&fixture, "true", &input, false)).message, &["input 0 cannot be read", "is gone"]);
}

#[test]
fn who_keeps_an_output_open_does_not_change_it() {
    let fixture = Fixture::new();
    // It lives on, as it says so, and writes once the lifeline is there to be read.
    let go = fixture.outside("go");
    nix::unistd::mkfifo(&go, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let survivor =
        format!("{{ read -r line <{go}; echo late >&3; echo late >&4; echo done >{go}; }}", go = go.display());
    let command = format!(
        "head -c 200000 /dev/zero >out; exec 3>>out; head -c 200000 /dev/zero; exec 4>&1; \
         env -u RAIN_TASK setsid --wait sh -c '{survivor} &' >/dev/null 2>&1 </dev/null"
    );
    let config = Survivor {
        args: ["bash", "-c", &command],
        outputs: vec![Place::Path { path: "out" }, Place::Stdout { stdout: true }],
    };
    let batch = one_task(kind("buildin/execute", &config, &[blob(), blob()]), 0);
    let outputs = finished(fixture.with_call(&batch, &[], run_built_in));
    std::fs::write(&go, "\n").unwrap();
    assert_eq!(std::fs::read_to_string(&go).unwrap(), "done\n");
    for output in outputs {
        assert_eq!(bytes_of(&output), vec![0; 200_000]);
        output.check().unwrap();
    }
}

#[derive(Serialize)]
struct Survivor<'a> {
    args: [&'a str; 3],
    outputs: Vec<Place<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Place<'a> {
    Path { path: &'a str },
    Stdout { stdout: bool },
}
