//! Built-in tasks that work on objects, files and directories.

mod fixture;

use fixture::{Fixture, assert_says, blob, bytes_of, directory, kind, output, text};
use rain_data::{INLINE_BYTES_MAX, Object};
use rain_exec::{TaskOutcome, check_built_in};
use rain_model::graph::DataType;
use serde::Serialize;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::Path;
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
fn make_directory_puts_objects_into_what_a_base_has() {
    let fixture = Fixture::new();
    let base = fixture.tree(&[("a/f", "1"), ("b", "2")]);
    let make = |paths: &[&str], inputs: &[Arc<Object>]| {
        fixture.outputs("buildin/make_directory", &Paths { paths }, inputs, &[directory()]).remove(0)
    };
    let made = make(&["a/g", "./", "c"], &[text("3"), base.clone(), base.clone()]);
    let root = made.file_path().unwrap();
    for (path, content) in [("a/f", "1"), ("a/g", "3"), ("b", "2"), ("c/a/f", "1"), ("c/b", "2")] {
        assert_eq!(fs::read_to_string(root.join(path)).unwrap(), content, "{path}");
    }
    assert_eq!(fs::read_dir(base.file_path().unwrap()).unwrap().count(), 2);
    assert_eq!(make(&["."], std::slice::from_ref(&base)).size(), base.size());
    let paths = Paths { paths: &[".", "a/f"] };
    let message = fixture.failure("buildin/make_directory", &paths, &[base, text("x")], &[directory()]);
    assert_says(&message, &["a/f is in the directory already"]);
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
    assert_says(&make(&["."]), &["the directory itself is a blob"]);
    assert_says(&make(&[".", "./"]), &["two objects are to be the directory itself"]);
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

#[test]
fn programs_stay_programs_on_their_way_through_built_in_tasks() {
    let fixture = Fixture::new();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let tree = |inputs: &[Arc<Object>]| {
        let config = Paths { paths: &["d/p"] };
        fixture.outputs("buildin/make_directory", &config, inputs, &[directory()]).remove(0)
    };
    for size in [10, INLINE_BYTES_MAX + 1] {
        for (given, kept, stored) in [(0o755, 0o500, 0o111), (0o644, 0o400, 0)] {
            let file = fixture.outside("program");
            fs::write(&file, vec![b'x'; size]).unwrap();
            fs::set_permissions(&file, Permissions::from_mode(given)).unwrap();
            let config = At { path: file.to_str().unwrap() };
            let loaded = fixture.outputs("buildin/load", &config, &[], &[blob()]);
            let made = tree(&loaded);
            assert_eq!(mode(&made.file_path().unwrap().join("d/p")), kept);
            let taken = fixture.outputs("buildin/slice_directory", &At { path: "d/p" }, &[made], &[blob()]);
            let again = tree(&taken);
            assert_eq!(mode(&again.file_path().unwrap().join("d/p")), kept);
            assert_eq!(mode(taken[0].path(&fixture.store).unwrap()), kept);
            let target = fixture.outside("stored");
            fixture.outputs("buildin/store", &At { path: target.to_str().unwrap() }, &taken, &[]);
            // The umask decides for whom else.
            assert_eq!((mode(&target) & 0o600, mode(&target) & 0o100), (0o600, stored & 0o100));
            fs::remove_file(target).unwrap();
        }
    }
}

#[test]
fn store_follows_links_and_keeps_rights() {
    let fixture = Fixture::new();
    let at = |name: &str| fixture.outside(name);
    let store = |name: &str| {
        let path = at(name);
        let config = At { path: path.to_str().unwrap() };
        assert!(fixture.outputs("buildin/store", &config, &[text("new")], &[]).is_empty());
    };
    fs::create_dir(at("sub")).unwrap();
    symlink("sub/target", at("link")).unwrap();
    symlink("link", at("link to link")).unwrap();
    symlink(at("sub/made"), at("dangling")).unwrap();
    for (name, target) in [("link to link", "sub/target"), ("link", "sub/target"), ("dangling", "sub/made")] {
        if target == "sub/target" {
            fs::write(at(target), "old").unwrap();
            fs::set_permissions(at(target), Permissions::from_mode(0o664)).unwrap();
        }
        store(name);
        assert!(fs::symlink_metadata(at(name)).unwrap().is_symlink(), "{name}");
        assert_eq!(fs::read(at(target)).unwrap(), b"new", "{name}");
        if target == "sub/target" {
            assert_eq!(fs::metadata(at(target)).unwrap().mode() & 0o7777, 0o664);
        }
    }
    for mode in [0o444, 0o751, 0o600, 0o4755] {
        fs::write(at("file"), "old").unwrap();
        fs::set_permissions(at("file"), Permissions::from_mode(mode)).unwrap();
        fs::hard_link(at("file"), at("second")).unwrap();
        store("file");
        assert_eq!(
            (fs::read(at("file")).unwrap(), fs::read(at("second")).unwrap()),
            (b"new".to_vec(), b"old".to_vec())
        );
        assert_eq!(fs::metadata(at("file")).unwrap().mode() & 0o7777, mode);
        fs::remove_file(at("second")).unwrap();
        fs::remove_file(at("file")).unwrap();
    }
    symlink("circle", at("circle")).unwrap();
    symlink("nowhere/x", at("astray")).unwrap();
    let fails = |name: &str| {
        let path = at(name);
        let config = At { path: path.to_str().unwrap() };
        fixture.failure("buildin/store", &config, &[text("new")], &[])
    };
    assert_says(&fails("circle"), &["symbolic links"]);
    assert_says(&fails("astray"), &["nowhere", "No such file"]);
    symlink("sub/tree", at("to tree")).unwrap();
    let path = at("to tree");
    let config = At { path: path.to_str().unwrap() };
    fixture.outputs("buildin/store", &config, &[fixture.tree(&[("a", "b")])], &[]);
    assert_eq!(fs::read(at("sub/tree/a")).unwrap(), b"b");
    assert!(fs::symlink_metadata(at("to tree")).unwrap().is_symlink());
}

#[test]
fn store_writes_into_devices_and_pipes_and_refuses_sockets() {
    let fixture = Fixture::new();
    let pipe = fixture.outside("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    symlink("/dev/null", fixture.outside("null")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(fixture.outside("socket")).unwrap();
    for object in [text("small"), large(&fixture, 9)] {
        let expected = bytes_of(&object);
        let (sender, receiver) = std::sync::mpsc::channel();
        let path = pipe.clone();
        let reader = std::thread::spawn(move || sender.send(fs::read(path).unwrap()).unwrap());
        let config = At { path: pipe.to_str().unwrap() };
        fixture.outputs("buildin/store", &config, std::slice::from_ref(&object), &[]);
        assert_eq!(receiver.recv().unwrap(), expected);
        reader.join().unwrap();
        assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());
        for name in ["/dev/null", fixture.outside("null").to_str().unwrap()] {
            fixture.outputs("buildin/store", &At { path: name }, std::slice::from_ref(&object), &[]);
            assert!(fs::metadata(name).unwrap().file_type().is_char_device());
        }
        let config = At { path: "/dev/full" };
        let message = fixture.failure("buildin/store", &config, std::slice::from_ref(&object), &[]);
        assert_says(&message, &["/dev/full", "No space left"]);
        let path = fixture.outside("socket");
        let config = At { path: path.to_str().unwrap() };
        assert_says(&fixture.failure("buildin/store", &config, &[object], &[]), &["it is a socket"]);
        assert!(fs::metadata(path).unwrap().file_type().is_socket());
    }
    let config = At { path: pipe.to_str().unwrap() };
    assert_says(&fixture.failure("buildin/store", &config, &[text("x")], &[]), &["nobody reads"]);
    assert_says(&fixture.failure("buildin/store", &config, &[fixture.tree(&[])], &[]), &["exists already"]);
    // Somebody who has it open but takes nothing.
    let _reader = fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&pipe).unwrap();
    let much = Arc::new(fixture.store.blob(vec![1; 4 << 20], None).unwrap());
    let outcome = std::thread::scope(|scope| {
        let storing = scope.spawn(|| fixture.run("buildin/store", &config, &[much], &[]));
        fixture.stop();
        storing.join().unwrap()
    });
    assert!(matches!(outcome, TaskOutcome::Cancelled), "{outcome:?}");
}

#[test]
fn paths_outside_need_not_be_text() {
    let fixture = Fixture::new();
    let outside = fixture.dir.path().as_os_str().as_bytes();
    let path = |name: &[u8]| serde_bytes::ByteBuf::from([outside, b"/", name].concat());
    let at = |name: &[u8]| BTreeMap::from([("path", path(name))]);
    let real = |name: &[u8]| std::path::PathBuf::from(OsStr::from_bytes(&path(name)));
    fs::create_dir(real(b"\xff dir")).unwrap();
    fs::write(real(b"\xff dir/\xfe file"), "content").unwrap();
    let loaded = fixture.outputs("buildin/load", &at(b"\xff dir/\xfe file"), &[], &[blob()]);
    assert_eq!(bytes_of(&loaded[0]), b"content");
    fixture.outputs("buildin/store", &at(b"\xfd stored"), &loaded, &[]);
    assert_eq!(fs::read(real(b"\xfd stored")).unwrap(), b"content");
    let tree = fixture.outputs("buildin/load_dir", &at(b"\xff dir"), &[], &[directory()]);
    assert!(tree[0].file_path().unwrap().join(OsStr::from_bytes(b"\xfe file")).exists());
    // Text as bytes is as good.
    fs::create_dir(fixture.outside("日本")).unwrap();
    assert_eq!(fixture.outputs("buildin/load_dir", &at("日本".as_bytes()), &[], &[directory()]).len(), 1);
    assert_says(&fixture.failure("buildin/load", &at(b"no\xff"), &[], &[blob()]), &["no\\xFF", "No such file"]);
    assert_says(&fixture.failure("buildin/load", &at(b"zero\0"), &[], &[blob()]), &["zero byte"]);
    let relative = BTreeMap::from([("path", serde_bytes::ByteBuf::from(&b"\xff"[..]))]);
    assert_says(&fixture.failure("buildin/load", &relative, &[], &[blob()]), &["\\xFF", "not absolute"]);
}
