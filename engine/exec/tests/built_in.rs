//! Built-in tasks that work on objects, files and directories.

mod fixture;

use fixture::{Fixture, assert_says, blob, bytes_of, directory, kind, output, text};
use rain_core::graph::DataType;
use rain_data::{INLINE_BYTES_MAX, Object};
use rain_exec::{TaskOutcome, check_built_in};
use serde::Serialize;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::sync::Arc;
use std::time::{Duration, Instant};

#[derive(Serialize)]
struct At<'a> {
    path: &'a str,
}

#[derive(Serialize)]
struct Seconds {
    seconds: f64,
}

#[derive(Serialize)]
struct Paths<'a> {
    paths: &'a [&'a str],
}

fn large(fixture: &Fixture, byte: u8) -> Arc<Object> {
    Arc::new(fixture.store.blob(vec![byte; INLINE_BYTES_MAX + 1], None).unwrap())
}

#[test]
fn noop_makes_empty_blobs_from_anything() {
    let fixture = Fixture::new();
    assert!(fixture.outputs("buildin/noop", &(), &[], &[]).is_empty());
    let specs = [blob(), output("typed", DataType::Blob, Some("json"))];
    let outputs = fixture.outputs("buildin/noop", &(), &[text("a"), fixture.tree(&[])], &specs);
    assert_eq!(outputs.iter().map(|object| object.size()).sum::<u64>(), 0);
    assert_eq!((outputs[0].content_type(), outputs[1].content_type()), (None, Some("json")));
    assert_says(&fixture.failure("buildin/noop", &(), &[], &[directory()]), &["makes a blob", "directory"]);
}

#[test]
fn unknown_types_are_named() {
    let fixture = Fixture::new();
    assert_says(&fixture.failure("buildin/fly", &(), &[], &[]), &["buildin/fly"]);
}

#[test]
fn concat_keeps_small_results_in_memory_and_large_ones_in_files() {
    let fixture = Fixture::new();
    let spec = output("out", DataType::Blob, Some("text"));
    let outputs =
        fixture.outputs("buildin/concat", &(), &[text("ab"), text(""), text("c")], std::slice::from_ref(&spec));
    assert_eq!((bytes_of(&outputs[0]), outputs[0].content_type()), (b"abc".to_vec(), Some("text")));
    assert!(outputs[0].inline_bytes().is_some() && fixture.stored().is_empty());

    let mut expected = vec![1; INLINE_BYTES_MAX + 1];
    expected.extend(b"mid");
    expected.extend([2; INLINE_BYTES_MAX + 1]);
    let inputs = [large(&fixture, 1), text("mid"), large(&fixture, 2)];
    let outputs = fixture.outputs("buildin/concat", &(), &inputs, &[spec]);
    assert!(outputs[0].inline_bytes().is_none());
    assert_eq!(bytes_of(&outputs[0]), expected);

    assert_eq!(fixture.outputs("buildin/concat", &(), &[], &[blob()])[0].size(), 0);
    let message = fixture.failure("buildin/concat", &(), &[text("a"), fixture.tree(&[])], &[blob()]);
    assert_says(&message, &["input 1 is a directory"]);
    assert_says(&fixture.failure("buildin/concat", &(), &[], &[blob(), blob()]), &["makes 1 outputs, but 2"]);
}

#[test]
fn load_copies_files_in() {
    let fixture = Fixture::new();
    for size in [3, INLINE_BYTES_MAX + 1] {
        let file = fixture.outside("data");
        fs::write(&file, vec![5; size]).unwrap();
        let spec = output("out", DataType::Blob, Some("text"));
        let outputs = fixture.outputs("buildin/load", &At { path: file.to_str().unwrap() }, &[], &[spec]);
        fs::write(&file, "changed").unwrap();
        assert_eq!(bytes_of(&outputs[0]), vec![5; size]);
        assert_eq!(outputs[0].content_type(), Some("text"));
    }
}

#[test]
fn load_says_what_is_wrong_with_a_path() {
    let fixture = Fixture::new();
    let load = |path: &str| fixture.failure("buildin/load", &At { path }, &[], &[blob()]);
    let load_dir = |path: &str| fixture.failure("buildin/load_dir", &At { path }, &[], &[directory()]);
    let file = fixture.outside("file");
    fs::write(&file, "").unwrap();
    assert_says(&load("some/file"), &["\"some/file\"", "not absolute"]);
    assert_says(&load_dir("some"), &["\"some\"", "not absolute"]);
    assert_says(&load(""), &["not absolute"]);
    assert_says(&load("/no/such/file"), &["/no/such/file", "No such file"]);
    assert_says(&load_dir("/no/such/dir"), &["/no/such/dir", "No such file"]);
    assert_says(&load("/usr"), &["/usr", "load_dir"]);
    assert_says(&load("/dev/null"), &["/dev/null", "not a regular file"]);
    assert_says(&load_dir(file.to_str().unwrap()), &["it is a file"]);
    assert_says(&fixture.failure("buildin/load", &At { path: "/x" }, &[text("")], &[blob()]), &["takes 0 inputs"]);
    assert_says(&fixture.failure("buildin/load", &At { path: "/x" }, &[], &[]), &["makes 1 outputs, but 0"]);
    assert_says(&fixture.failure("buildin/load", &At { path: "/x" }, &[], &[directory()]), &["makes a blob"]);
    assert_says(&fixture.failure("buildin/load_dir", &At { path: "/x" }, &[], &[blob()]), &["makes a directory"]);
    let message = fixture.failure("buildin/load", &Seconds { seconds: 1.0 }, &[], &[blob()]);
    assert_says(&message, &["buildin/load", "malformed"]);
    assert_says(&fixture.failure("buildin/load", &(), &[], &[blob()]), &["malformed"]);
    assert!(fixture.stored().is_empty());
}

#[test]
fn load_dir_copies_a_tree_and_refuses_links_that_leave() {
    let fixture = Fixture::new();
    let dir = fixture.outside("dir");
    fs::create_dir_all(dir.join("sub")).unwrap();
    fs::write(dir.join("sub/a"), "aaa").unwrap();
    symlink("sub/a", dir.join("link")).unwrap();
    let config = At { path: dir.to_str().unwrap() };
    let outputs = fixture.outputs("buildin/load_dir", &config, &[], &[directory()]);
    fs::write(dir.join("sub/a"), "b").unwrap();
    assert_eq!(outputs[0].size(), 3);
    assert_eq!(fs::read(outputs[0].file_path().unwrap().join("link")).unwrap(), b"aaa");
    drop(outputs);

    symlink("/etc", dir.join("sub/etc")).unwrap();
    let message = fixture.failure("buildin/load_dir", &config, &[], &[directory()]);
    assert_says(&message, &[dir.to_str().unwrap(), "sub/etc", "symbolic link"]);
    assert!(fixture.stored().is_empty());
}

#[test]
fn store_writes_whole_files() {
    let fixture = Fixture::new();
    let file = fixture.outside("result");
    for object in [text("first"), large(&fixture, 9), text("")] {
        let config = At { path: file.to_str().unwrap() };
        assert!(fixture.outputs("buildin/store", &config, std::slice::from_ref(&object), &[]).is_empty());
        assert_eq!(fs::read(&file).unwrap(), bytes_of(&object));
        assert_ne!(fs::metadata(&file).unwrap().mode() & 0o200, 0);
    }
    assert_eq!(fs::read_dir(fixture.dir.path()).unwrap().count(), 2, "no temporary file stays");
}

#[test]
fn store_writes_directories_that_may_be_changed() {
    let fixture = Fixture::new();
    let target = fixture.outside("result");
    let config = At { path: target.to_str().unwrap() };
    let tree = fixture.tree(&[("a/b", "c")]);
    assert!(fixture.outputs("buildin/store", &config, std::slice::from_ref(&tree), &[]).is_empty());
    fs::write(target.join("a/b"), "changed").unwrap();
    fs::write(target.join("a/new"), "").unwrap();
    let message = fixture.failure("buildin/store", &config, &[tree], &[]);
    assert_says(&message, &[target.to_str().unwrap(), "exists already"]);
    assert_eq!(fs::read_dir(fixture.dir.path()).unwrap().count(), 2, "no temporary directory stays");
}

#[test]
fn store_says_what_is_wrong_with_a_path() {
    let fixture = Fixture::new();
    let store = |path: &str| fixture.failure("buildin/store", &At { path }, &[text("x")], &[]);
    fs::write(fixture.outside("file"), "").unwrap();
    assert_says(&store("result"), &["\"result\"", "not absolute"]);
    assert_says(&store("/no/such/place"), &["/no/such", "No such file"]);
    assert_says(&store(fixture.dir.path().to_str().unwrap()), &["existing directory"]);
    assert_says(&store("/"), &["no file name"]);
    assert_says(&store(fixture.outside("file/x").to_str().unwrap()), &["not a directory"]);
    let config = At { path: "/x" };
    assert_says(&fixture.failure("buildin/store", &config, &[], &[]), &["takes 1 inputs, but was given 0"]);
    assert_says(&fixture.failure("buildin/store", &config, &[text("")], &[blob()]), &["makes 0 outputs"]);
}

#[test]
fn sleep_passes_its_input_on() {
    let fixture = Fixture::new();
    let input = text("x");
    for seconds in [0.0, 0.02] {
        let start = Instant::now();
        let outputs = fixture.outputs("buildin/sleep", &Seconds { seconds }, std::slice::from_ref(&input), &[blob()]);
        assert!(Arc::ptr_eq(&outputs[0], &input));
        assert!(start.elapsed() >= Duration::from_secs_f64(seconds));
    }
    let tree = fixture.tree(&[]);
    assert_eq!(fixture.outputs("buildin/sleep", &Seconds { seconds: 0.0 }, &[tree], &[directory()]).len(), 1);
}

#[test]
fn sleep_ends_when_it_is_stopped_and_only_then() {
    let fixture = Fixture::new();
    // A raised interrupt alone stops nothing.
    fixture.interrupt.raise();
    let outcome = fixture.run("buildin/sleep", &Seconds { seconds: 0.01 }, &[text("")], &[blob()]);
    assert!(matches!(outcome, TaskOutcome::Finished { .. }));
    std::thread::scope(|scope| {
        let sleeping =
            scope.spawn(|| fixture.run("buildin/sleep", &Seconds { seconds: 1e300 / 1e290 }, &[text("")], &[blob()]));
        fixture.stop();
        assert!(matches!(sleeping.join().unwrap(), TaskOutcome::Cancelled));
    });
}

#[test]
fn sleep_refuses_what_is_no_time() {
    let fixture = Fixture::new();
    for seconds in [-1.0, f64::NAN, f64::INFINITY, 1e300] {
        let message = fixture.failure("buildin/sleep", &Seconds { seconds }, &[text("")], &[blob()]);
        assert_says(&message, &["not a time to sleep"]);
    }
    let message = fixture.failure("buildin/sleep", &Seconds { seconds: 0.0 }, &[text("")], &[directory()]);
    assert_says(&message, &["is a blob, but was declared as a directory"]);
    let typed = Arc::new(Object::inline(Vec::new(), Some("json")));
    let spec = output("out", DataType::Blob, Some("text"));
    assert_says(&fixture.failure("buildin/sleep", &Seconds { seconds: 0.0 }, &[typed], &[spec]), &["json", "text"]);
    assert_says(&fixture.failure("buildin/sleep", &Seconds { seconds: 0.0 }, &[], &[blob()]), &["takes 1 inputs"]);
}

#[test]
fn directories_are_made_of_blobs_and_directories() {
    let fixture = Fixture::new();
    let inputs = [text("small"), large(&fixture, 4), fixture.tree(&[("x/y", "z")])];
    let config = Paths { paths: &["a/small.txt", "large", "a/tree/"] };
    let outputs = fixture.outputs("buildin/make_directory", &config, &inputs, &[directory()]);
    drop(inputs);
    let root = outputs[0].file_path().unwrap();
    assert_eq!(fs::read(root.join("a/small.txt")).unwrap(), b"small");
    assert_eq!(fs::read(root.join("large")).unwrap(), vec![4; INLINE_BYTES_MAX + 1]);
    assert_eq!(fs::read(root.join("a/tree/x/y")).unwrap(), b"z");
    for name in ["a/small.txt", "large", "a/tree/x/y"] {
        assert_eq!(fs::metadata(root.join(name)).unwrap().mode() & 0o7777, 0o400);
    }
    assert_eq!(outputs[0].size(), 5 + INLINE_BYTES_MAX as u64 + 1 + 1);
    assert_eq!(fixture.outputs("buildin/make_directory", &Paths { paths: &[] }, &[], &[directory()])[0].size(), 0);
}

#[test]
fn make_directory_refuses_bad_paths() {
    let fixture = Fixture::new();
    let make = |paths: &[&str]| {
        let inputs: Vec<_> = paths.iter().map(|_| text("")).collect();
        fixture.failure("buildin/make_directory", &Paths { paths }, &inputs, &[directory()])
    };
    assert_says(&make(&["/etc/x"]), &["/etc/x", "is absolute"]);
    assert_says(&make(&["a/../../x"]), &["a/../../x", "'..'"]);
    assert_says(&make(&[""]), &["is empty"]);
    assert_says(&make(&["."]), &["the directory itself"]);
    assert_says(&make(&["a", "b", "./a"]), &["\"a\" and \"./a\""]);
    assert_says(&make(&["a-b", "a/b", "a"]), &["\"a\" and \"a/b\""]);
    let message = fixture.failure("buildin/make_directory", &Paths { paths: &["a"] }, &[], &[directory()]);
    assert_says(&message, &["1 paths were given for 0 inputs"]);
    assert!(fixture.stored().is_empty());
}

#[test]
fn slices_are_files_and_directories() {
    let fixture = Fixture::new();
    let tree = fixture.tree(&[("a/b/c", "deep"), ("top", "t")]);
    let slice = |path: &str, spec| {
        fixture.outputs("buildin/slice_directory", &At { path }, std::slice::from_ref(&tree), &[spec]).remove(0)
    };
    assert_eq!(bytes_of(&slice("a/b/c", blob())), b"deep");
    assert_eq!(bytes_of(&slice("./top", output("out", DataType::Blob, Some("text")))), b"t");
    let part = slice("a/b/", directory());
    assert_eq!(fs::read(part.file_path().unwrap().join("c")).unwrap(), b"deep");
    assert!(Arc::ptr_eq(&slice("./", directory()), &tree));
    assert_eq!(part.size(), 4);

    let refused = |path: &str, spec| {
        fixture.failure("buildin/slice_directory", &At { path }, std::slice::from_ref(&tree), &[spec])
    };
    assert_says(&refused("a/x", blob()), &["a/x", "no such entry"]);
    assert_says(&refused("top/x", blob()), &["top/x"]);
    assert_says(&refused("a", blob()), &["end the path with '/'"]);
    assert_says(&refused("top/", directory()), &["take the '/' off"]);
    assert_says(&refused("../x", blob()), &["'..'"]);
    assert_says(&refused("/etc/passwd", blob()), &["is absolute"]);
    assert_says(&refused("a/", blob()), &["makes a directory"]);
    let message = fixture.failure("buildin/slice_directory", &At { path: "a" }, &[text("")], &[blob()]);
    assert_says(&message, &["its input is a blob"]);
}

#[test]
fn what_needs_no_input_is_checked_ahead() {
    let check = |task_type: &str, config: &At<'_>, inputs| {
        let kind = kind(task_type, config, &[blob()]);
        check_built_in(&kind, &kind.config, inputs)
    };
    assert_eq!(check("buildin/load", &At { path: "/x" }, 0), Ok(()));
    assert!(check("buildin/load", &At { path: "x" }, 0).is_err());
    assert!(check("buildin/slice_directory", &At { path: "x" }, 2).is_err());
}
