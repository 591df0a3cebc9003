//! Executors from the other end of their socket, and in trials.

use rain_task::protocol::{Call, CallExtra, CallInput, FromGovernor, Kind, OutputSpec, Source, append_frame, decode};
use rain_task::{Context, DataType, Executor, ExecutorError, Input, Output, TaskResult, TrialInput, register_task};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;

fn hello(_ctx: &mut Context, name: &Input, greeting: &mut Output) -> TaskResult {
    write!(greeting, "Hello {}!", name.text()?)?;
    Ok(())
}

fn define(id: u64, task_type: &str) -> FromGovernor<'static> {
    let kind = Kind {
        task_type: task_type.into(),
        cpus: 1,
        name: String::new(),
        config: Vec::new(),
        inputs: Vec::new(),
        outputs: vec![OutputSpec("output".into(), DataType::Blob, None)],
    };
    FromGovernor::Define(id, kind)
}

fn call(id: u64, kind: u64, content: &[u8]) -> FromGovernor<'_> {
    let input = CallInput(Source::Inline(content), None, DataType::Blob, content.len() as u64, 17, None);
    FromGovernor::Call(Call { id, kind, task: (1, 2), config: None, inputs: vec![input], extra: CallExtra::default() })
}

fn read_frame(stream: &mut UnixStream) -> Vec<u8> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut body = vec![0; u32::from_le_bytes(length) as usize];
    stream.read_exact(&mut body).unwrap();
    body
}

/// Serves an executor in another thread while `governor` has its socket.
fn serve(
    make: impl FnOnce() -> Executor + Send + 'static,
    governor: impl FnOnce(&mut UnixStream),
) -> Result<(), ExecutorError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let served = thread::spawn(move || make().serve(&theirs, &path));
    let (operation, register): (String, serde_json::Value) = decode(&read_frame(&mut ours)).unwrap();
    assert_eq!(operation, "register");
    assert_eq!(register["version"], 1);
    assert_eq!(register["pid"], std::process::id());
    governor(&mut ours);
    drop(ours);
    let result = served.join().unwrap();
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    result
}

fn greeter() -> Executor {
    let mut executor = Executor::new("greeter");
    register_task!(executor, "hello", [I O], hello);
    executor
}

#[test]
fn many_calls_in_one_write_are_answered_in_order() {
    let served = serve(greeter, |stream| {
        let mut frames = Vec::new();
        append_frame(&mut frames, &define(7, "greeter/hello"));
        let contents: Vec<String> = (0..1000u64).map(|number| "x".repeat(number as usize)).collect();
        for (number, content) in contents.iter().enumerate() {
            append_frame(&mut frames, &call(number as u64, 7, content.as_bytes()));
        }
        let mut writer = stream.try_clone().unwrap();
        let sender = thread::spawn(move || {
            for piece in frames.chunks(10_007) {
                writer.write_all(piece).unwrap();
            }
        });
        for number in 0..1000 {
            let body = read_frame(stream);
            assert!(body.len() > number);
            type Done<'a> = (&'a str, u64, Vec<(&'a [u8], (), ())>, serde_json::Value);
            let (operation, id, outputs, _): Done<'_> = decode(&body).unwrap();
            assert_eq!((operation, id), ("done", number as u64));
            assert_eq!(outputs[0].0, format!("Hello {}!", "x".repeat(number)).as_bytes());
        }
        sender.join().unwrap();
    });
    served.unwrap();
}

#[test]
fn what_is_not_known_is_said() {
    serve(greeter, |stream| {
        let mut ask = |messages: &[FromGovernor<'_>]| {
            let mut frames = Vec::new();
            messages.iter().for_each(|message| append_frame(&mut frames, message));
            stream.write_all(&frames).unwrap();
            let (operation, _, failure): (String, u64, serde_json::Value) = decode(&read_frame(stream)).unwrap();
            assert_eq!(operation, "fail");
            failure["message"].as_str().unwrap().to_owned()
        };
        assert_eq!(ask(&[call(1, 7, b"")]), "kind 7 of tasks was not defined");
        assert_eq!(
            ask(&[define(7, "greeter/bye"), call(1, 7, b"")]),
            "executor \"greeter\" has no task greeter/bye; it has greeter/hello"
        );
        let forgotten = [define(8, "greeter/hello"), FromGovernor::Forget(vec![8]), call(2, 8, b"")];
        assert_eq!(ask(&forgotten), "kind 8 of tasks was not defined");
    })
    .unwrap();
}

#[test]
fn bad_frames_end_the_executor() {
    let sent = |bytes: &'static [u8]| serve(greeter, move |stream| stream.write_all(bytes).unwrap());
    assert!(sent(b"\xff\xff\xff\x7f").unwrap_err().to_string().contains("too long"));
    assert!(sent(b"\x07\0\0\0\x91\xa5start").unwrap_err().to_string().contains("start"));
    // The governor may go in the middle of a frame.
    sent(b"\x07\0\0\0\x91").unwrap();
}

#[test]
fn signatures_are_checked() {
    let mut executor = Executor::new("x");
    register_task!(executor, "none", [], |_ctx| Ok(()));
    register_task!(executor, "all", [I I Is O Os], |_ctx, a, b, more, c, rest| {
        let inputs: Vec<&str> = [a, b].into_iter().chain(more).map(|i| i.text()).collect::<Result<_, _>>()?;
        c.set_bytes(inputs.join("+"));
        for (number, output) in rest.iter_mut().enumerate() {
            write!(output, "{number}")?;
        }
        Ok(())
    });
    let mut count = 0;
    register_task!(executor, "count", [O], move |_ctx, total| {
        count += 1;
        total.set_bytes(count.to_string());
        Ok(())
    });
    assert!(executor.trial("none").run().unwrap().outputs.is_empty());
    let answer = executor.trial("all").input("1").input("2").input("3").output("").output("").output("").run().unwrap();
    let texts: Vec<&str> = answer.outputs.iter().map(|output| output.text()).collect();
    assert_eq!(texts, ["1+2+3", "0", "1"]);
    let mut message = |inputs: usize, outputs: usize| {
        let mut trial = executor.trial("all");
        for _ in 0..inputs {
            trial = trial.input("");
        }
        for _ in 0..outputs {
            trial = trial.output("");
        }
        trial.run().unwrap_err().to_string()
    };
    assert_eq!(message(1, 1), "x/all takes at least 2 inputs, but was given 1");
    assert_eq!(message(2, 0), "x/all makes at least 1 output, but 0 are declared");
    let wrong = executor.trial("none").output("a").run().unwrap_err().to_string();
    assert_eq!(wrong, "x/none makes 0 outputs, but 1 is declared");
    executor.trial("count").output("").run().unwrap();
    assert_eq!(executor.trial("count").output("").run().unwrap().outputs[0].text(), "2");
}

#[test]
fn attributes_go_both_ways() {
    #[derive(Deserialize)]
    struct Wishes {
        colour: String,
    }
    let mut executor = Executor::new("x");
    register_task!(executor, "show", [I O], |ctx, input, output| {
        let wishes: Option<Wishes> = ctx.user()?;
        let steps: Vec<u32> = ctx.config()?;
        let colour = wishes.map_or_else(|| "no".into(), |wishes| wishes.colour);
        ctx.debug("one");
        ctx.debug(format_args!("two {}", ctx.task_type()));
        assert!(ctx.set_user(&[1, 2]).unwrap_err().to_string().contains("a JSON object"));
        ctx.set_user(&BTreeMap::from([("steps", [1, 2])]))?;
        output.pass_on(input)?;
        output.set_content_type("json");
        let shown = (colour, steps, input.label(), input.content_type(), input.len());
        assert!(output.set_user(&shown).is_err());
        output.set_user(&serde_json::json!({"shown": shown}))?;
        Ok(())
    });
    let answer = executor
        .trial("show")
        .with_input(TrialInput::blob("[]").label("given").content_type("text"))
        .output("same")
        .config(&[3, 4])
        .user(r#"{"colour": "red"}"#)
        .run()
        .unwrap();
    assert_eq!(answer.debug.unwrap(), "one\ntwo x/show");
    assert_eq!(answer.user.unwrap(), r#"{"steps":[1,2]}"#);
    let output = &answer.outputs[0];
    assert_eq!((output.text(), output.content_type.as_deref()), ("[]", Some("json")));
    assert_eq!(output.user.as_deref(), Some(r#"{"shown":["red",[3,4],"given","text",2]}"#));
    let wrong = executor.trial("show").input("").output("").config(&1).user("[").run().unwrap_err();
    assert!(wrong.to_string().contains("JSON"), "{wrong}");
}

#[test]
fn long_texts_are_cut_and_long_answers_are_errors() {
    let mut executor = Executor::new("x");
    register_task!(executor, "debug", [], |ctx| {
        let line = "d".repeat(1000);
        for _ in 0..3000 {
            ctx.debug(&line);
        }
        if ctx.config()? { Err(format!("ř{}", "e".repeat(3 << 20)).into()) } else { Ok(()) }
    });
    register_task!(executor, "exact", [], |ctx| {
        ctx.debug("d".repeat((1 << 20) - 1) + "ř");
        Ok(())
    });
    register_task!(executor, "answer", [O], |_ctx, output| {
        output.set_content_type("t".repeat(256 << 20));
        Ok(())
    });
    let note = "\n[further debug messages are left out]";
    let debug = executor.trial("debug").config(&false).run().unwrap().debug.unwrap();
    assert_eq!(debug.len(), (1 << 20) + note.len());
    assert!(debug.ends_with(note));
    let failed = executor.trial("debug").config(&true).run().unwrap_err();
    let rain_task::TrialError::Failed { message, debug: failed_debug, .. } = failed else { panic!("{failed}") };
    let rest = "\n[the rest is left out: the message had 3145730 bytes]";
    assert_eq!(message.len(), (1 << 20) + rest.len());
    assert!(message.ends_with(rest));
    assert_eq!(failed_debug.unwrap(), debug);
    let exact = executor.trial("exact").run().unwrap().debug.unwrap();
    assert_eq!(exact, "d".repeat((1 << 20) - 1) + note);
    let long = executor.trial("answer").output("").run().unwrap_err().to_string();
    assert!(long.contains("but at most 268435456 can be sent"), "{}", &long[..100]);
}

#[test]
fn contents_are_files_and_directories_too() {
    let mut executor = Executor::new("x");
    register_task!(executor, "double", [I O], |_ctx, input, output| {
        let numbers = input.values::<u32>()?;
        for (to, from) in output.create_values::<u32>(numbers.len())?.iter_mut().zip(&*numbers) {
            *to = 2 * from;
        }
        Ok(())
    });
    register_task!(executor, "large", [O], |_ctx, output| {
        for number in 0..100_000 {
            writeln!(output, "{number}")?;
        }
        Ok(())
    });
    register_task!(executor, "copy", [I O], |ctx, directory, output| {
        let to = output.create_directory()?;
        for entry in fs::read_dir(directory.path()?)? {
            let entry = entry?;
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
        assert!(directory.bytes().is_err());
        fs::write(ctx.new_path(), "left over")?;
        Ok(())
    });
    register_task!(executor, "move", [I O], |ctx, input, output| {
        let path = ctx.new_path();
        fs::write(&path, fs::read(input.path()?)?)?;
        output.set_path(path)?;
        Ok(())
    });

    let directory = tempfile::tempdir().unwrap();
    let numbers: Vec<u32> = (0..100_000).collect();
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_ne_bytes()).collect();
    let file = directory.path().join("numbers");
    fs::write(&file, &bytes).unwrap();
    let doubled = executor.trial("double").path_input(&file).output("").run().unwrap();
    let expected: Vec<u8> = numbers.iter().flat_map(|number| (2 * number).to_ne_bytes()).collect();
    assert_eq!(doubled.outputs[0].bytes, expected);
    let nothing = executor.trial("double").input("").output("").run().unwrap();
    assert_eq!(nothing.outputs[0].bytes, b"");
    let wrong = executor.trial("double").input("123").output("").run().unwrap_err();
    assert_eq!(wrong.to_string(), "input 0 has 3 bytes, which are not whole values of 4 bytes");

    let large = executor.trial("large").output("").run().unwrap();
    assert_eq!(large.outputs[0].text().lines().count(), 100_000);
    let copied = executor.trial("copy").path_input(directory.path()).output_directory("").run().unwrap();
    assert_eq!(copied.outputs[0].files, [("numbers".to_owned(), bytes)]);
    let moved = executor.trial("move").input("content").output("").run().unwrap();
    assert_eq!(moved.outputs[0].text(), "content");

    let wrong = executor.trial("copy").path_input(directory.path()).output("tiles").run().unwrap_err();
    assert_eq!(wrong.to_string(), "output \"tiles\" is declared as a blob");
    let wrong = executor.trial("large").output_directory("tiles").run().unwrap_err();
    assert_eq!(wrong.to_string(), "output \"tiles\" is declared as a directory");
}

#[test]
fn paths_of_inputs_pass_the_inputs_on() {
    let other = tempfile::tempdir().unwrap();
    let file = other.path().join("file");
    fs::write(&file, "content").unwrap();
    let mut executor = Executor::new("x");
    register_task!(executor, "same", [I O], |ctx, input, output| {
        // By another name than the governor's.
        let link = ctx.new_path();
        std::os::unix::fs::symlink(input.path()?, &link)?;
        output.set_path(link)?;
        Ok(())
    });
    register_task!(executor, "changed", [I O], |_ctx, input, output| {
        let path = input.path()?;
        fs::remove_file(path)?;
        fs::write(path, "changed")?;
        output.set_path(path)?;
        Ok(())
    });
    register_task!(executor, "part", [I O], |_ctx, input, output| {
        output.set_path(input.path()?.join("file"))?;
        Ok(())
    });
    let elsewhere = file.clone();
    register_task!(executor, "elsewhere", [O], move |_ctx, output| {
        output.set_path(&elsewhere)?;
        Ok(())
    });
    register_task!(executor, "own_directory", [O], |ctx, output| {
        output.set_path(ctx.new_path().parent().unwrap())?;
        Ok(())
    });

    assert_eq!(executor.trial("same").path_input(&file).output("").run().unwrap().outputs[0].text(), "content");
    assert_eq!(executor.trial("same").input("small").output("").run().unwrap().outputs[0].text(), "small");
    let tree = executor.trial("same").path_input(other.path()).output_directory("").run().unwrap();
    assert_eq!(tree.outputs[0].files, [("file".to_owned(), b"content".to_vec())]);
    let changed = executor.trial("changed").input("small").output("").run().unwrap_err().to_string();
    assert!(changed.starts_with("input 0 was written to at "), "{changed}");
    let part = executor.trial("part").path_input(other.path()).output("").run().unwrap_err().to_string();
    let elsewhere = executor.trial("elsewhere").output("").run().unwrap_err().to_string();
    for error in [part, elsewhere] {
        assert!(error.contains("/file is not inside of ") && error.contains("new_path()"), "{error}");
    }
    let error = executor.trial("own_directory").output_directory("").run().unwrap_err().to_string();
    assert!(error.contains(" is not inside of "), "{error}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "content");
}

#[test]
fn errors_and_panics_are_failures_of_the_task() {
    #[derive(Debug, thiserror::Error)]
    #[error("outside")]
    struct Outside(#[from] std::num::ParseIntError);

    let mut executor = Executor::new("x");
    register_task!(executor, "parse", [I O], |ctx, number, _output| {
        ctx.debug("before");
        let number: i32 = number.text()?.parse().map_err(Outside)?;
        assert!(number != 13, "13 is no good number");
        if number == 0 { Err("zero".into()) } else { Ok(()) }
    });
    let mut message = |text: &str| executor.trial("parse").input(text).output("").run().unwrap_err().to_string();
    assert_eq!(message("0"), "zero");
    assert_eq!(message("x"), "outside\ncaused by invalid digit found in string");
    assert!(message("13").starts_with("panicked") && message("13").ends_with("13 is no good number"));
    let error = executor.trial("parse").input(b"\xff").output("").run().unwrap_err();
    let rain_task::TrialError::Failed { message, debug, .. } = error else { panic!("{error}") };
    assert!(message.starts_with("input 0 is not UTF-8 text"), "{message}");
    assert_eq!(debug.as_deref(), Some("before"));
    executor.trial("parse").input("1").output("").run().unwrap();
}

#[test]
fn causes_are_told_once_and_none_is_left_out() {
    /// Texts, each of which has the next one as its cause.
    #[derive(Debug)]
    struct Chain(Vec<&'static str>);

    impl std::fmt::Display for Chain {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(self.0[0])
        }
    }

    impl std::error::Error for Chain {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            let rest = self.0[1..].to_vec();
            // A test may leak a little.
            (!rest.is_empty()).then(|| &*Box::leak(Box::new(Chain(rest))) as _)
        }
    }

    let mut executor = Executor::new("x");
    register_task!(executor, "chain", [], |ctx| {
        let texts: Vec<String> = ctx.config()?;
        Err(Chain(texts.into_iter().map(|text| &*text.leak()).collect()).into())
    });
    register_task!(executor, "missing", [O], |_ctx, output| Ok(output.set_path("/no/such/file")?));
    register_task!(executor, "config", [], |ctx| Ok(ctx.config::<u8>().map(drop)?));
    let mut message = |texts: &[&str]| executor.trial("chain").config(texts).run().unwrap_err().to_string();
    assert_eq!(message(&["12 files failed", "2"]), "12 files failed\ncaused by 2");
    assert_eq!(message(&["reading a: no such file", "no such file"]), "reading a: no such file");
    assert_eq!(message(&["same", "same", "other"]), "same\ncaused by other");
    // Errors of the tasklib tell all in one.
    let missing = executor.trial("missing").output("").run().unwrap_err().to_string();
    assert_eq!(missing, "/no/such/file: No such file or directory (os error 2)");
    let config = executor.trial("config").config("text").run().unwrap_err().to_string();
    assert!(config.starts_with("the configuration is not what the task expects: ") && !config.contains("caused by"));
}

#[test]
fn trials_are_as_with_a_governor() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("inner")).unwrap();
    fs::write(directory.path().join("a"), "123").unwrap();
    fs::write(directory.path().join("inner/b"), "45").unwrap();
    let mut executor = Executor::new("x");
    register_task!(executor, "show", [I I O Os], |ctx, tree, input, shown, rest| {
        let numbers = [ctx.session_id(), ctx.task_id(), ctx.governor(), ctx.first_output_id(), ctx.cpus()];
        let objects = [tree.object_id(), input.object_id()];
        let declared = shown.declared_content_type().map(str::to_owned);
        let user: Option<serde_json::Value> = input.user()?;
        write!(shown, "{numbers:?} {objects:?} {} {} {declared:?} {user:?}", ctx.name(), tree.len())?;
        rest[0].pass_on(input)?;
        rest[1].pass_on(input)?;
        rest[1].set_content_type("text");
        Ok(())
    });
    let input = TrialInput::blob("[]").content_type("json").user(r#"{"a": 1}"#);
    let path = directory.path();
    fn trial<'a>(executor: &'a mut Executor, path: &std::path::Path, input: TrialInput) -> rain_task::Trial<'a> {
        let trial = executor.trial("show").path_input(path).with_input(input);
        trial.typed_output("shown", "text-latin1").output("same").output("changed")
    }
    let answer = trial(&mut executor, path, input.clone()).run().unwrap();
    assert_eq!(
        answer.outputs[0].text(),
        r#"[0, 0, 0, 2, 1] [0, 1]  5 Some("text-latin1") Some(Object {"a": Number(1)})"#
    );
    let types: Vec<Option<&str>> = answer.outputs.iter().map(|output| output.content_type.as_deref()).collect();
    assert_eq!(types, [Some("text-latin1"), Some("json"), Some("text")]);
    let users: Vec<Option<&str>> = answer.outputs.iter().map(|output| output.user.as_deref()).collect();
    assert_eq!(users, [None, Some(r#"{"a": 1}"#), Some(r#"{"a": 1}"#)]);

    let set = trial(&mut executor, path, input.object_id(9))
        .ids(3, 4)
        .governor(5)
        .first_output_id(6)
        .cpus(7)
        .name("me")
        .run()
        .unwrap();
    assert!(set.outputs[0].text().starts_with("[3, 4, 5, 6, 7] [0, 9] me 5 "), "{}", set.outputs[0].text());
}

#[test]
fn written_outputs_are_buffered_and_whole() {
    let mut executor = Executor::new("x");
    register_task!(executor, "lines", [O], |ctx, output| {
        let (count, flush): (u32, bool) = ctx.config()?;
        let mut written = 0;
        for number in 0..count {
            let line = format!("{number}\n");
            output.write_all(line.as_bytes())?;
            written += line.len() as u64;
        }
        if flush {
            let place = ctx.new_path();
            let bytes = || -> std::io::Result<u64> {
                let files = fs::read_dir(place.parent().unwrap())?;
                files.map(|file| Ok(file?.metadata()?.len())).sum()
            };
            assert!(bytes()? < written, "each line went to the file by itself");
            output.flush()?;
            assert_eq!(bytes()?, written);
        }
        Ok(())
    });
    for (count, flush) in [(10u32, false), (12_000, false), (100_000, false), (100_000, true)] {
        let answer = executor.trial("lines").config(&(count, flush)).output("").run().unwrap();
        let expected: String = (0..count).map(|number| format!("{number}\n")).collect();
        assert!(answer.outputs[0].text() == expected, "{count}");
    }
}
