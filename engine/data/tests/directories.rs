//! Directory objects and their archives.

use rain_data::{FileCopy, Object, Rights, Store, copy_tree};
use rain_model::graph::DataType;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use tar::{Builder, EntryType, Header};

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path()).unwrap();
    (dir, store)
}

fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).unwrap().next().is_none()
}

/// A directory with a file, a program, a nested file, an empty directory and links.
fn sample(at: &Path) {
    fs::create_dir_all(at.join("sub/deep")).unwrap();
    fs::create_dir(at.join("empty")).unwrap();
    fs::write(at.join("b.txt"), "bb").unwrap();
    fs::write(at.join("run.sh"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(at.join("run.sh"), Permissions::from_mode(0o775)).unwrap();
    fs::write(at.join("sub/deep/a"), "a").unwrap();
    symlink("../b.txt", at.join("sub/up")).unwrap();
    symlink("deep/a", at.join("sub/down")).unwrap();
}

fn check_sample(at: &Path) {
    assert_eq!(fs::read(at.join("b.txt")).unwrap(), b"bb");
    assert_eq!(fs::read(at.join("sub/up")).unwrap(), b"bb");
    assert_eq!(fs::read(at.join("sub/down")).unwrap(), b"a");
    assert!(is_empty(&at.join("empty")));
    for (name, mode) in [("b.txt", 0o400), ("run.sh", 0o500), ("sub/deep/a", 0o400), ("sub/deep", 0o500), ("", 0o500)] {
        assert_eq!(fs::metadata(at.join(name)).unwrap().mode() & 0o7777, mode, "{name}");
    }
}

fn adopted(dir: &Path, store: &Store) -> Object {
    sample(&dir.join("made"));
    store.adopt_dir(&dir.join("made"), &[]).unwrap()
}

#[test]
fn an_adopted_directory_is_protected_and_removed_with_its_object() {
    let (dir, store) = store();
    let object = adopted(dir.path(), &store);
    assert!(!dir.path().join("made").exists());
    assert_eq!((object.data_type(), object.size()), (DataType::Directory, 2 + 10 + 1));
    check_sample(object.file_path().unwrap());
    drop(object);
    assert!(is_empty(store.root()));
}

#[test]
fn an_archive_makes_the_same_directory_and_is_the_same_every_time() {
    let (dir, store) = store();
    let object = adopted(dir.path(), &store);
    let archive = object.contents().unwrap().to_vec();
    let copy = store.import_tar(&archive[..]).unwrap();
    check_sample(copy.file_path().unwrap());
    assert_eq!(copy.size(), object.size());
    assert_eq!(&*copy.contents().unwrap(), archive);
    drop((object, copy));
    assert!(is_empty(store.root()));
}

#[test]
fn long_names_survive_an_archive() {
    let (_dir, store) = store();
    let long = ["x".repeat(200), "y".repeat(200)].join("/");
    let object = store
        .build_dir(|root| {
            fs::create_dir_all(root.join(&long).parent().unwrap())?;
            fs::write(root.join(&long), "found")?;
            symlink(&long, root.join("link"))
        })
        .unwrap();
    let copy = store.import_tar(&object.contents().unwrap()[..]).unwrap();
    assert_eq!(fs::read(copy.file_path().unwrap().join("link")).unwrap(), b"found");
}

#[test]
fn an_empty_directory_has_an_archive() {
    let (_dir, store) = store();
    let object = store.build_dir(|_| Ok(())).unwrap();
    let copy = store.import_tar(&object.contents().unwrap()[..]).unwrap();
    assert!(is_empty(copy.file_path().unwrap()));
}

#[test]
fn copies_are_writable_or_share_files() {
    let (dir, store) = store();
    let object = adopted(dir.path(), &store);
    let from = object.file_path().unwrap();
    let (copied, linked) = (dir.path().join("copied"), dir.path().join("linked"));
    copy_tree(from, &copied, FileCopy::Copy, Rights::PRIVATE).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!((mode(&copied.join("b.txt")), mode(&copied.join("run.sh"))), (0o600, 0o700));
    assert_eq!(mode(&copied.join("sub/deep")), 0o700);
    fs::write(copied.join("b.txt"), "changed").unwrap();
    object.copy_out(&store, &linked, FileCopy::Link).unwrap();
    assert_eq!(fs::metadata(linked.join("b.txt")).unwrap().ino(), fs::metadata(from.join("b.txt")).unwrap().ino());
    drop(object);
    assert_eq!(fs::read(linked.join("b.txt")).unwrap(), b"bb");
}

#[test]
fn links_that_leave_and_special_files_are_refused_by_name() {
    let (dir, store) = store();
    let made = dir.path().join("made");
    let refused = |name: &str, make: &dyn Fn(&Path)| {
        fs::create_dir_all(made.join("sub")).unwrap();
        make(&made.join(name));
        let copy_error = store.copy_dir_in(&made, FileCopy::Copy).unwrap_err().to_string();
        let error = store.adopt_dir(&made, &[]).unwrap_err().to_string();
        assert_eq!(copy_error, error);
        assert!(error.contains(name), "{error}");
        assert!(!made.exists() && is_empty(store.root()));
        error
    };
    for (name, target) in
        [("link", ".."), ("sub/link", "/etc/passwd"), ("sub/link", "../../x"), ("sub/link", "sub/../../x")]
    {
        let error = refused(name, &|at| symlink(target, at).unwrap());
        assert!(error.contains("symbolic link") && error.contains(target), "{error}");
    }
    let error = refused("sub/pipe", &|at| nix::unistd::mkfifo(at, nix::sys::stat::Mode::S_IRWXU).unwrap());
    assert!(error.contains("named pipe"), "{error}");
}

fn header(kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(size);
    header
}

/// An entry whose name is written as it is, without the checks of the tar library.
fn raw_entry(builder: &mut Builder<Vec<u8>>, name: &str, kind: EntryType, link: &str, data: &[u8]) {
    let mut header = header(kind, data.len() as u64);
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
    if let Some(gnu) = header.as_gnu_mut() {
        gnu.realsize = *b"00000000000\0";
    }
    header.set_cksum();
    builder.append(&header, data).unwrap();
}

/// Name, kind and link target.
type RawEntry = (&'static str, EntryType, &'static str);

fn raw_archive(entries: &[RawEntry]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (name, kind, link) in entries {
        raw_entry(&mut builder, name, *kind, link, if *kind == EntryType::Regular { b"evil" } else { b"" });
    }
    builder.into_inner().unwrap()
}

#[test]
fn evil_archives_are_refused_and_leave_nothing() {
    use EntryType::{Block, Char, Directory, Fifo, GNUSparse, Link, Regular, Symlink};
    let (dir, store) = store();
    let cases: &[(&[RawEntry], &str, &str)] = &[
        (&[("/abs", Regular, "")], "/abs", "absolute"),
        (&[("../out", Regular, "")], "../out", "'..'"),
        (&[("a/../../out", Regular, "")], "a/../../out", "'..'"),
        (&[("../dir/", Directory, "")], "../dir", "'..'"),
        (&[("l", Symlink, "/etc/passwd")], "l", "leaves"),
        (&[("l", Symlink, "../x")], "l", "leaves"),
        (&[("d/l", Symlink, "../../x")], "d/l", "leaves"),
        (&[("d/l", Symlink, "x/../../..")], "d/l", "leaves"),
        (&[("d", Symlink, "."), ("d/f", Regular, "")], "d/f", "not a directory"),
        (&[("d/e/", Directory, ""), ("l", Symlink, "d/e"), ("l/f", Regular, "")], "l/f", "not a directory"),
        (&[("l", Symlink, "t"), ("l", Regular, "")], "l", "twice"),
        (&[("f", Regular, ""), ("f", Regular, "")], "f", "twice"),
        (&[("f", Regular, ""), ("f/", Directory, "")], "f", "not a directory"),
        (&[("h", Link, "/etc/passwd")], "h", "absolute"),
        (&[("h", Link, "../x")], "h", "'..'"),
        (&[("l", Symlink, "t"), ("h", Link, "l")], "h", "no earlier file"),
        (&[("dev", Char, "")], "dev", "not a file"),
        (&[("dev", Block, "")], "dev", "not a file"),
        (&[("pipe", Fifo, "")], "pipe", "not a file"),
        (&[("sparse", GNUSparse, "")], "sparse", "not a file"),
        (&[(".", Regular, "")], ".", "itself"),
    ];
    for (entries, name, why) in cases {
        let error = store.import_tar(&raw_archive(entries)[..]).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(why), "{entries:?}: {error}");
        assert!(is_empty(store.root()), "{entries:?}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn long_paths_and_broken_archives_are_refused() {
    let (_dir, store) = store();
    let mut builder = Builder::new(Vec::new());
    builder.append_data(&mut header(EntryType::Regular, 0), "x/".repeat(2000) + "f", io::empty()).unwrap();
    let error = store.import_tar(&builder.into_inner().unwrap()[..]).unwrap_err().to_string();
    assert!(error.contains("too long"), "{error}");

    let error = store.import_tar(&[0x55; 2000][..]).unwrap_err().to_string();
    assert!(error.contains("not a tar archive"), "{error}");

    let mut builder = Builder::new(Vec::new());
    builder.append_data(&mut header(EntryType::Regular, 5000), "big", &[1; 5000][..]).unwrap();
    let whole = builder.into_inner().unwrap();
    for length in [600, 1000, 3000] {
        let error = store.import_tar(&whole[..length]).unwrap_err().to_string();
        assert!(error.contains("big"), "{length}: {error}");
    }
    assert!(is_empty(store.root()));
}

#[test]
fn hard_links_inside_an_archive_are_kept() {
    let (_dir, store) = store();
    let archive = raw_archive(&[("d/f", EntryType::Regular, ""), ("h", EntryType::Link, "./d/f")]);
    let object = store.import_tar(&archive[..]).unwrap();
    assert_eq!(fs::read(object.file_path().unwrap().join("h")).unwrap(), b"evil");
}

#[test]
fn absolute_links_into_the_directory_become_relative() {
    let (dir, store) = store();
    let (made, other) = (dir.path().join("made"), dir.path().join("other name"));
    for copied in [true, false] {
        fs::create_dir_all(made.join("sub/deep")).unwrap();
        fs::write(made.join("a"), "found").unwrap();
        symlink(made.join("a"), made.join("top")).unwrap();
        symlink(made.join("a"), made.join("sub/deep/up")).unwrap();
        symlink(made.join("sub"), made.join("sub/here")).unwrap();
        symlink(&made, made.join("sub/root")).unwrap();
        symlink(&made, made.join("itself")).unwrap();
        symlink(made.join("nothing"), made.join("dangling")).unwrap();
        symlink("dangling too", made.join("relative")).unwrap();
        symlink("circle", made.join("circle")).unwrap();
        if copied {
            symlink(&made, &other).unwrap();
            symlink(other.join("a"), made.join("by other name")).unwrap();
        }
        let object =
            if copied { store.copy_dir_in(&made, FileCopy::Copy) } else { store.adopt_dir(&made, &[]) }.unwrap();
        let _ = fs::remove_dir_all(&made);
        let path = object.file_path().unwrap();
        for (name, target) in [
            ("top", "a"),
            ("sub/deep/up", "../../a"),
            ("sub/here", "../sub"),
            ("sub/root", ".."),
            ("itself", "."),
            ("dangling", "nothing"),
            ("relative", "dangling too"),
            ("circle", "circle"),
        ] {
            assert_eq!(fs::read_link(path.join(name)).unwrap(), Path::new(target), "{name}");
        }
        assert_eq!(fs::read(path.join("sub/root/itself/sub/deep/up")).unwrap(), b"found");
        assert_eq!(copied, path.join("by other name").exists());
        store.import_tar(&object.contents().unwrap()[..]).unwrap();
    }
}

#[test]
fn absolute_links_that_only_begin_in_the_directory_are_refused() {
    let (dir, store) = store();
    let made = dir.path().join("made");
    for target in ["made/../made/a", "made/../secret", "made2/a", "mad"] {
        fs::create_dir_all(made.join("sub")).unwrap();
        symlink(dir.path().join(target), made.join("sub/link")).unwrap();
        let error = store.adopt_dir(&made, &[]).unwrap_err().to_string();
        assert!(error.contains("sub/link") && error.contains("absolute"), "{error}");
    }
}
