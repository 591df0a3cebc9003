//! External programs.

mod fixture;

use fixture::{Fixture, assert_says, blob, bytes_of, directory, failed, finished, output, text};
use rain_data::{INLINE_BYTES_MAX, Object};
use rain_exec::TaskOutcome;
use rain_model::graph::{DataType, OutputSpec};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

#[derive(Serialize, Default)]
struct Execute<'a> {
    args: Vec<&'a str>,
    shell: bool,
    inputs: Vec<Option<Input<'a>>>,
    stdin: Option<u32>,
    outputs: Vec<Output<'a>>,
    env: BTreeMap<&'a str, &'a str>,
}

#[derive(Serialize)]
struct Input<'a> {
    path: &'a str,
    write: bool,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Output<'a> {
    Path { path: &'a str },
    Stdout { stdout: bool },
    Nothing {},
}

const STDOUT: Output<'static> = Output::Stdout { stdout: true };

fn shell(command: &str) -> Execute<'_> {
    Execute { args: vec![command], shell: true, ..Execute::default() }
}

impl<'a> Execute<'a> {
    fn link(mut self, path: &'a str) -> Self {
        self.inputs.push(Some(Input { path, write: false }));
        self
    }

    fn write(mut self, path: &'a str) -> Self {
        self.inputs.push(Some(Input { path, write: true }));
        self
    }

    fn out(mut self, path: &'a str) -> Self {
        self.outputs.push(Output::Path { path });
        self
    }

    fn stdout(mut self) -> Self {
        self.outputs.push(STDOUT);
        self
    }

    fn run(&self, fixture: &Fixture, inputs: &[Arc<Object>], outputs: &[OutputSpec]) -> TaskOutcome {
        fixture.run("buildin/execute", self, inputs, outputs)
    }

    fn stdout_of(self, fixture: &Fixture, inputs: &[Arc<Object>]) -> String {
        let outputs = finished(self.stdout().run(fixture, inputs, &[blob()]));
        String::from_utf8(bytes_of(&outputs[0])).unwrap()
    }

    fn fails(&self, inputs: &[Arc<Object>], outputs: &[OutputSpec]) -> String {
        failed(self.run(&Fixture::new(), inputs, outputs)).message
    }
}

#[test]
fn a_program_runs_in_an_empty_directory_without_input() {
    let fixture = Fixture::new();
    for _ in 0..3 {
        assert_eq!(shell("ls -A; cat; touch left; mkdir -p d/e; chmod 0 d").stdout_of(&fixture, &[]), "");
    }
    let args = Execute { args: vec!["printf", "%s|", "a b", "", "$HOME"], ..Execute::default() };
    assert_eq!(args.stdout_of(&fixture, &[]), "a b||$HOME|");
    let path = shell("pwd -P").stdout_of(&fixture, &[]);
    assert!(path.starts_with(fixture.store.root().to_str().unwrap()), "{path}");
}

#[test]
fn nothing_stays_in_the_store_but_an_empty_sandbox() {
    let fixture = Fixture::new();
    for command in ["true", "touch x", "exit 3", "mkdir -m 0 d"] {
        shell(command).run(&fixture, &[], &[]);
        let stored = fixture.stored();
        assert!(stored.len() <= 1, "{command}: {stored:?}");
        assert!(stored.iter().all(|path| fs::read_dir(path).unwrap().next().is_none()), "{command}");
    }
}

#[test]
fn inputs_are_links_or_copies() {
    let fixture = Fixture::new();
    let large = Arc::new(fixture.store.blob(vec![b'x'; INLINE_BYTES_MAX + 1], None).unwrap());
    let tree = fixture.tree(&[("f", "in tree")]);
    let inputs = [text("linked"), text("copied"), large, tree.clone(), tree];
    let command = "cat in/a; readlink in/a >/dev/null && echo ' link'; echo more >>b; cat b; wc -c <c; \
                   cat d/f; echo ' '; echo new >>e/f; echo >e/g; cat e/f; stat -Lc %a in/a d d/f";
    let config = shell(command).link("in/a").write("b").write("c").link("./d/").write("e");
    assert_eq!(
        config.stdout_of(&fixture, &inputs),
        "linked link\ncopiedmore\n65537\nin tree \nin treenew\n400\n700\n400\n"
    );
    assert_eq!(bytes_of(&inputs[1]), b"copied");
    assert_eq!(fs::read(inputs[3].file_path().unwrap().join("f")).unwrap(), b"in tree");
}

#[test]
fn an_input_may_be_put_into_a_copied_directory() {
    let fixture = Fixture::new();
    let config = shell("cat d/f d/x/y").link("d/x/y").write("d");
    assert_eq!(config.stdout_of(&fixture, &[text("inner"), fixture.tree(&[("f", "outer ")])]), "outer inner");
    let message = shell("true").link("d/x").link("d").fails(&[text(""), fixture.tree(&[])], &[]);
    assert_says(&message, &["inputs 1 and 0 are in each other's way"]);
}

#[test]
fn standard_input_and_output() {
    let fixture = Fixture::new();
    let config = Execute { args: vec!["tr", "a-z", "A-Z"], inputs: vec![None], stdin: Some(0), ..Execute::default() };
    assert_eq!(config.stdout_of(&fixture, &[text("shout")]), "SHOUT");
    let large = Arc::new(fixture.store.blob(vec![b'x'; 3 * INLINE_BYTES_MAX], None).unwrap());
    let spec = output("out", DataType::Blob, Some("text"));
    let config = Execute { inputs: vec![None], stdin: Some(0), ..shell("cat >/dev/stdout") }.stdout();
    let outputs = finished(config.run(&fixture, &[large], &[spec]));
    assert_eq!((outputs[0].size(), outputs[0].content_type()), (3 * INLINE_BYTES_MAX as u64, Some("text")));
    assert!(outputs[0].inline_bytes().is_none());
}

#[test]
fn outputs_are_moved_out() {
    let fixture = Fixture::new();
    let command = "mkdir -p o/d/e; printf small >o/s; head -c 100000 /dev/zero >big; printf x >o/d/e/x; printf out";
    let config = shell(command).out("o/s").stdout().out("big").out("o/d/");
    let spec = |label, content_type| output(label, DataType::Blob, content_type);
    let specs = [spec("s", Some("text")), spec("std", None), spec("big", None), directory()];
    let outputs = finished(config.run(&fixture, &[], &specs));
    assert_eq!((bytes_of(&outputs[0]), outputs[0].content_type()), (b"small".to_vec(), Some("text")));
    assert_eq!(bytes_of(&outputs[1]), b"out");
    assert_eq!((outputs[2].size(), outputs[2].inline_bytes()), (100_000, None));
    assert_eq!(fs::read(outputs[3].file_path().unwrap().join("e/x")).unwrap(), b"x");
}

#[test]
fn a_missing_output_is_named_with_what_is_there() {
    let message = shell("touch a; mkdir d; touch d/b").out("result").fails(&[], &[blob()]);
    assert_says(&message, &["\"out\"", "'result'", "a, d/, d/b"]);
    assert_says(&shell("true").out("x/y").fails(&[], &[blob()]), &["'x/y'", "made no files"]);
    let message = shell("for i in $(seq 50); do touch $i; done").out("x").fails(&[], &[blob()]);
    assert_says(&message, &["..."]);
}

#[test]
fn outputs_of_the_wrong_type_are_refused() {
    assert_says(&shell("mkdir x").out("x").fails(&[], &[blob()]), &["'x' is a directory, but a file was declared"]);
    assert_says(&shell("touch x").out("x").fails(&[], &[directory()]), &["'x' is a file, but a directory"]);
    assert_says(&shell("mkfifo x").out("x").fails(&[], &[blob()]), &["'x'", "not a regular file"]);
    assert_says(&shell("mkdir x; ln -s /etc x/l").out("x").fails(&[], &[directory()]), &["symbolic link"]);
}

#[test]
fn links_as_outputs() {
    let fixture = Fixture::new();
    let input = text("input");
    let config = shell("ln -s in out").link("in").out("out");
    let outputs = finished(config.run(&fixture, std::slice::from_ref(&input), &[blob()]));
    assert!(Arc::ptr_eq(&outputs[0], &input));
    let outputs = finished(shell("true").link("in").out("in").run(&fixture, std::slice::from_ref(&input), &[blob()]));
    assert!(Arc::ptr_eq(&outputs[0], &input));

    let outputs = finished(shell("echo 1 >a; ln -s a b").out("a").out("b").run(&fixture, &[], &[blob(), blob()]));
    assert_eq!(bytes_of(&outputs[0]), b"1\n");

    let tree = fixture.tree(&[("d/f", "deep")]);
    let config = shell("ln -s in/d/f f; ln -s in/d d").link("in").out("f").out("d");
    let outputs = finished(config.run(&fixture, &[tree], &[blob(), directory()]));
    assert_eq!(bytes_of(&outputs[0]), b"deep");
    assert_eq!(outputs[1].size(), 4);

    let message = shell("ln -s /etc/passwd x").out("x").fails(&[], &[blob()]);
    assert_says(&message, &["/etc/passwd", "outside"]);
    let message = shell("ln -s /etc d").out("d/passwd").fails(&[], &[blob()]);
    assert_says(&message, &["/etc/passwd", "outside"]);
    assert_says(&shell("ln -s . x").out("x").fails(&[], &[directory()]), &["outside"]);
    assert_says(&shell("ln -s x x").out("x").fails(&[], &[blob()]), &["'x'"]);
}

#[test]
fn inputs_inside_of_an_output_directory_become_part_of_it() {
    let fixture = Fixture::new();
    let large = Arc::new(fixture.store.blob(vec![b'x'; INLINE_BYTES_MAX + 1], None).unwrap());
    let config = shell("touch o/new").link("o/blob").link("o/tree").out("o");
    let outputs = finished(config.run(&fixture, &[large.clone(), fixture.tree(&[("f", "t")])], &[directory()]));
    drop(large);
    let root = outputs[0].file_path().unwrap();
    assert_eq!(fs::read(root.join("blob")).unwrap().len(), INLINE_BYTES_MAX + 1);
    assert_eq!(fs::read(root.join("tree/f")).unwrap(), b"t");
}

#[test]
fn directories_are_mapped_as_directories_and_outputs_may_be_taken_from_them() {
    let fixture = Fixture::new();
    let large = "x".repeat(INLINE_BYTES_MAX + 1);
    let tree = fixture.tree(&[("f", large.as_str()), ("a/g", "t")]);
    let inputs = [tree.clone()];
    let config = shell("find d -type f | sort; touch d/a/new").link("d").stdout().out("d/f").out("d/a");
    let outputs = finished(config.run(&fixture, &inputs, &[blob(), blob(), directory()]));
    assert_eq!(bytes_of(&outputs[0]), b"d/a/g\nd/f\n");
    assert_eq!(bytes_of(&outputs[1]), large.as_bytes());
    assert!(outputs[2].file_path().unwrap().join("new").exists());
    // The input has what it had.
    let root = tree.file_path().unwrap();
    assert_eq!(fs::read_to_string(root.join("f")).unwrap(), large);
    assert_eq!(fs::read_dir(root.join("a")).unwrap().count(), 1);
}

#[test]
fn failures_say_how_the_program_ended_and_what_it_said() {
    let message = shell("echo it broke >&2; exit 42").fails(&[], &[]);
    assert_says(&message, &["status 42", "it broke", "echo it broke"]);
    assert_says(&shell("kill -SEGV $$").fails(&[], &[]), &["signal 11 (SIGSEGV)", "nothing"]);
    let message = shell("seq 100000 >&2; echo the end >&2; false").fails(&[], &[]);
    assert_says(&message, &["...", "99999\n100000\nthe end"]);
    assert!(message.len() < 9000, "{} bytes", message.len());
}

#[test]
fn programs_that_cannot_start_say_why() {
    let fixture = Fixture::new();
    let start = |program| Execute { args: vec![program], ..Execute::default() }.fails(&[], &[]);
    assert_says(&start("no-such-program"), &["\"no-such-program\"", "not found in PATH", "/bin"]);
    assert_says(&start("/no/such/program"), &["\"/no/such/program\"", "No such file"]);
    assert_says(&start("./here"), &["\"./here\"", "task's own directory"]);
    assert_says(&start("/etc/passwd"), &["Permission denied", "executed"]);
    assert_says(&start("/"), &["Permission denied"]);
    assert_says(&start(""), &["empty"]);
    let config = Execute { args: vec!["./x"], ..Execute::default() }.write("x");
    assert_says(&config.fails(&[text("#!/bin/sh\n")], &[]), &["Permission denied"]);
    let script = fixture.outside("script");
    let make = |content: &str| {
        fs::write(&script, content).unwrap();
        fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    };
    make("#!/no/such/interpreter\n");
    let path = format!("{}:/bin", fixture.dir.path().display());
    let by_path =
        || Execute { args: vec!["script"], env: BTreeMap::from([("PATH", path.as_str())]), ..Execute::default() };
    assert_says(&by_path().fails(&[], &[]), &["interpreter"]);
    make("no script");
    assert_says(&start(script.to_str().unwrap()), &["#!"]);
    make("#!/bin/sh\necho $0 $1");
    assert_says(&by_path().stdout_of(&fixture, &[]), &["/script"]);
}

#[test]
fn the_environment_is_inherited_and_added_to() {
    let fixture = Fixture::new();
    let config = Execute { env: BTreeMap::from([("A", "1=2"), ("HOME", "/h")]), ..shell("echo $A $HOME $PATH") };
    let path = std::env::var("PATH").unwrap();
    assert_eq!(config.stdout_of(&fixture, &[]), format!("1=2 /h {path}\n"));
    for name in ["", "a=b", "a\0"] {
        let config = Execute { env: BTreeMap::from([(name, "x")]), ..shell("true") };
        assert_says(&config.fails(&[], &[]), &["environment"]);
    }
}

#[test]
fn bad_configurations_are_refused() {
    let bad = |config: Execute<'_>, inputs: &[Arc<Object>], outputs: &[OutputSpec], says: &str| {
        assert_says(&config.fails(inputs, outputs), &["buildin/execute", says]);
    };
    bad(Execute::default(), &[], &[], "no program");
    bad(Execute { args: vec!["a", "b"], shell: true, ..Execute::default() }, &[], &[], "one string");
    bad(Execute { args: vec!["a", "b\0"], ..Execute::default() }, &[], &[], "zero byte");
    bad(shell("true"), &[text("")], &[], "0 inputs where they go, but there are 1");
    bad(shell("true").link("x"), &[], &[], "1 inputs where they go, but there are 0");
    bad(shell("true").link("/x"), &[text("")], &[], "absolute");
    bad(shell("true").link("../x"), &[text("")], &[], "'..'");
    bad(shell("true").link("."), &[text("")], &[], "itself");
    bad(shell("true").link("x").write("x"), &[text(""), text("")], &[], "each other's way");
    bad(shell("true").out("/x"), &[], &[blob()], "absolute");
    bad(shell("true").out("a/../../x"), &[], &[blob()], "'..'");
    bad(shell("true").out("x"), &[], &[], "1 outputs where they come from, but 0");
    bad(shell("true").out("x").out("x/y"), &[], &[blob(), blob()], "inside of the other");
    bad(shell("true").stdout().stdout(), &[], &[blob(), blob()], "more than one");
    bad(shell("true").stdout(), &[], &[directory()], "is a directory");
    bad(Execute { outputs: vec![Output::Nothing {}], ..shell("true") }, &[], &[blob()], "either a path or");
    bad(Execute { stdin: Some(0), ..shell("true") }, &[], &[], "there are 0 inputs");
    let fixture = Fixture::new();
    let config = Execute { inputs: vec![None], stdin: Some(0), ..shell("true") };
    assert_says(&config.fails(&[fixture.tree(&[])], &[]), &["cannot be the standard input"]);
    assert_says(&fixture.failure("buildin/execute", &"text", &[], &[]), &["malformed"]);
    assert_says(&fixture.failure("buildin/execute", &(), &[], &[]), &["malformed"]);
}

#[test]
fn a_program_that_a_task_made_can_be_run() {
    let fixture = Fixture::new();
    for pad in [0, INLINE_BYTES_MAX + 1] {
        let make =
            format!("printf '#!/bin/sh\\necho I run; exit 0\\n' >p; head -c {pad} /dev/zero >>p; chmod 755 p; cp p q");
        let outputs = finished(shell(&make).out("p").run(&fixture, &[], &[blob()]));
        assert!(outputs[0].is_executable());
        let run = || Execute { args: vec!["./p"], ..Execute::default() };
        assert_eq!(run().link("p").stdout_of(&fixture, &outputs), "I run\n");
        assert_eq!(run().write("p").stdout_of(&fixture, &outputs), "I run\n");
        let rights = shell("stat -Lc %a p q").link("p").write("q");
        assert_eq!(rights.stdout_of(&fixture, &[outputs[0].clone(), outputs[0].clone()]), "500\n700\n");
        let listing = Execute { args: vec!["stat", "-Lc", "%a", "p"], ..Execute::default() };
        let printed = finished(shell("cat p").link("p").stdout().run(&fixture, &outputs, &[blob()]));
        assert!(!printed[0].is_executable());
        assert_eq!(listing.link("p").stdout_of(&fixture, &printed), "400\n");
    }
}

#[test]
fn a_long_command_of_the_shell_runs_from_a_file() {
    let fixture = Fixture::new();
    let words = "word ".repeat(40_000);
    let command = format!("ls -A; echo \"$0 $#\"; cat; for i in {words}; do :; done; echo it\\'s {words} | wc -w");
    for command in [command.as_str(), "ls -A; echo \"$0 $#\"; cat; echo 40001"] {
        let config = Execute { inputs: vec![None], stdin: Some(0), ..shell(command) };
        assert_eq!(config.stdout_of(&fixture, &[text("input\n")]), "/bin/sh 0\ninput\n40001\n");
        let failing = format!("{command} >/dev/null; exit 7");
        assert_says(&shell(&failing).fails(&[], &[]), &["exited with status 7"]);
    }
    assert!(fixture.stored().len() <= 1);
}

#[test]
fn what_is_too_long_for_the_system_is_named() {
    let long = "x".repeat(200 << 10);
    let message = Execute { args: vec!["printf", "a", &long], ..Execute::default() }.fails(&[], &[]);
    assert_says(&message, &["argument 2 has 204800 bytes", "131071", "as an input"]);
    let message = Execute { env: BTreeMap::from([("BIG", long.as_str())]), ..shell("true") }.fails(&[], &[]);
    assert_says(&message, &["\"BIG\"", "204804 bytes", "131071", "as an input"]);
    let mut args = vec!["echo"];
    args.extend([&long[..100 << 10]; 100]);
    let message = Execute { args, ..Execute::default() }.fails(&[], &[]);
    assert_says(&message, &["10240105 bytes", "ulimit -s", "as an input"]);
}

#[test]
fn a_program_that_does_not_find_a_file_or_leaves_some_is_told_of_its_directory() {
    let message = shell("cat data.csv").fails(&[], &[]);
    assert_says(&message, &["data.csv", "No such file", "a directory of its own", "as inputs"]);
    assert!(!shell("echo other >&2; false").fails(&[], &[]).contains("directory"));
    let fixture = Fixture::new();
    let debug = |config: Execute<'_>, inputs: &[Arc<Object>], outputs: &[OutputSpec]| {
        let TaskOutcome::Finished { notes, .. } = config.run(&fixture, inputs, outputs) else { panic!("it failed") };
        notes.debug
    };
    let said = debug(shell("touch b a; mkdir d; touch d/x"), &[], &[]).unwrap();
    assert!(said.ends_with(": \"a\", \"b\", \"d\""), "{said}");
    assert!(debug(shell("touch $(seq 9)").stdout(), &[], &[blob()]).unwrap().ends_with(", ..."));
    assert_eq!(debug(shell("true"), &[], &[]), None);
    assert_eq!(debug(shell("touch o x").out("o"), &[], &[blob()]), None);
    let config = shell("echo more >>in; touch d/x").write("in").write("d/y");
    assert_eq!(debug(config, &[text("a"), text("b")], &[]), None);
}

#[test]
fn absolute_links_into_an_output_directory_become_relative() {
    let fixture = Fixture::new();
    let config =
        shell("mkdir -p d/s; echo 42 >d/a; ln -s $PWD/d/a d/b; ln -s \"$PWD/d/a\" d/s/c; ln -s no d/dangling").out("d");
    let outputs = finished(config.run(&fixture, &[], &[directory()]));
    let shown = shell("cat d/b d/s/c; readlink d/b d/s/c d/dangling").link("d").stdout_of(&fixture, &outputs);
    assert_eq!(shown, "42\n42\na\n../a\nno\n");
}

#[test]
fn what_a_program_writes_and_is_no_output_is_kept() {
    let fixture = Fixture::new();
    let run = |config: Execute<'_>, outputs: &[OutputSpec]| match config.run(&fixture, &[], outputs) {
        TaskOutcome::Finished { notes, .. } => [notes.output.stdout, notes.output.stderr],
        TaskOutcome::Failed(failure) => [failure.output.stdout, failure.output.stderr],
        TaskOutcome::Cancelled => panic!("cancelled"),
    };
    assert_eq!(run(shell("echo one; echo two >&2; echo three"), &[]), ["one\nthree\n", "two\n"]);
    assert_eq!(run(shell("echo one; echo two >&2; exit 3"), &[]), ["one\n", "two\n"]);
    assert_eq!(run(shell("echo one; echo two >&2").stdout(), &[blob()]), ["", "two\n"]);
    assert_eq!(run(shell("true"), &[]), ["", ""]);
    let [stdout, stderr] = run(shell("seq 1000000; seq 1000000 >&2"), &[]);
    for written in [stdout, stderr] {
        assert!(written.starts_with("...") && written.ends_with("\n999999\n1000000\n"));
        assert_eq!(written.len(), (64 << 10) + 3);
    }
}

#[test]
fn what_lives_on_writes_into_no_later_tasks_output() {
    let fixture = Fixture::new();
    let ready = fixture.outside("ready");
    nix::unistd::mkfifo(&ready, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let ready = ready.display();
    // It ends when nobody reads what it writes.
    let survivor = "for i in $(seq 5000); do echo strange; echo strange >&2; sleep 0.001; done";
    let command = format!("env -u RAIN_TASK setsid bash -c 'echo >{ready}; {survivor}' & read -r _ <{ready}");
    let run = |command: &str| match shell(command).run(&fixture, &[], &[]) {
        TaskOutcome::Finished { notes, .. } => [notes.output.stdout, notes.output.stderr],
        other => panic!("{other:?}"),
    };
    run(&command);
    for _ in 0..20 {
        assert_eq!(run("sleep 0.005; echo own"), ["own\n", ""]);
    }
}
