//! Objects stay as they were made, whoever still has their files, or give an error.

use rain_data::{DirTree, FileCopy, INLINE_BYTES_MAX, Object, Store};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

const SIZE: usize = 3 * INLINE_BYTES_MAX;

/// Stores on the file systems that there are, for they differ in what they tell of changes.
fn stores() -> Vec<(tempfile::TempDir, Store)> {
    let places = [tempfile::tempdir().ok(), tempfile::tempdir_in("/dev/shm").ok()];
    let stores = places.into_iter().flatten().map(|dir| {
        let store = Store::create(&dir.path().join("store")).unwrap();
        (dir, store)
    });
    stores.collect()
}

fn text_of(error: &io::Error) -> String {
    error.to_string()
}

/// A file that is written to after it has become an object: how, and by what.
type Writer = (&'static str, fn(&Path) -> Box<dyn FnMut()>);

fn append(mut file: File) -> Box<dyn FnMut()> {
    Box::new(move || {
        file.seek(SeekFrom::End(0)).unwrap();
        file.write_all(b"more").unwrap();
        file.set_len(10).unwrap();
        file.write_all_at(b"other", 0).unwrap();
    })
}

/// Maps a file for writing.
struct Mapping(*mut libc::c_void, usize);

impl Mapping {
    fn new(file: &File, length: usize) -> Self {
        use std::os::fd::AsRawFd;
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a mapping of its own, which nothing else refers to.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), length, rights, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        assert_ne!(start, libc::MAP_FAILED);
        Self(start, length)
    }

    fn write(&mut self, byte: u8) {
        // SAFETY: it is mapped for writing and has the file's whole length.
        unsafe { std::ptr::write_bytes(self.0.cast::<u8>(), byte, self.1) };
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it was mapped so.
        unsafe { libc::munmap(self.0, self.1) };
    }
}

const WRITERS: [Writer; 3] = [
    ("an open descriptor", |path| append(OpenOptions::new().write(true).open(path).unwrap())),
    ("a mapping", |path| {
        let mut mapping = Mapping::new(&OpenOptions::new().read(true).write(true).open(path).unwrap(), SIZE);
        Box::new(move || mapping.write(b'm'))
    }),
    ("another name", |path| {
        let other = path.with_file_name("other");
        fs::hard_link(path, &other).unwrap();
        Box::new(move || {
            let _ = fs::set_permissions(&other, Permissions::from_mode(0o600));
            append(OpenOptions::new().write(true).open(&other).unwrap())();
            fs::remove_file(&other).unwrap();
        })
    }),
];

#[test]
fn who_can_still_write_to_a_file_does_not_change_its_object() {
    for (dir, store) in stores() {
        for (name, writer) in WRITERS {
            let made = dir.path().join("made");
            fs::write(&made, vec![b'x'; SIZE]).unwrap();
            let mut write = writer(&made);
            let object = Arc::new(store.adopt_file(&made).unwrap());
            assert!(!made.exists());
            write();
            assert_eq!(object.contents().unwrap(), vec![b'x'; SIZE], "{name}");
            object.check().unwrap();
            drop(write);

            let tree = dir.path().join("tree");
            fs::create_dir_all(tree.join("sub")).unwrap();
            fs::write(tree.join("sub/made"), vec![b'x'; SIZE]).unwrap();
            let mut write = writer(&tree.join("sub/made"));
            // The other name is to be outside.
            let outside = dir.path().join("other");
            if tree.join("sub/other").exists() {
                fs::rename(tree.join("sub/other"), &outside).unwrap();
                write = Box::new(move || {
                    fs::set_permissions(&outside, Permissions::from_mode(0o600)).unwrap();
                    append(OpenOptions::new().write(true).open(&outside).unwrap())();
                    fs::remove_file(&outside).unwrap();
                });
            }
            let object = store.adopt_dir(&tree, &[]).unwrap();
            write();
            let found = object.file_path().unwrap().join("sub/made");
            assert_eq!(fs::read(&found).unwrap(), vec![b'x'; SIZE], "{name}, in a directory");
            assert_eq!(fs::metadata(&found).unwrap().mode() & 0o7777, 0o400);
            object.check().unwrap();
        }
        let mut file = store.new_file().unwrap();
        let mut other = file.file().try_clone().unwrap();
        file.write_all(&vec![b'x'; SIZE]).unwrap();
        let object = file.finish().unwrap();
        other.write_all(b"more").unwrap();
        other.set_len(10).unwrap();
        assert_eq!(object.contents().unwrap(), vec![b'x'; SIZE], "standard output");
        drop(object);
        assert_eq!(fs::read_dir(store.root()).unwrap().count(), 0);
    }
}

#[test]
fn a_file_that_nobody_else_has_is_not_copied() {
    for (dir, store) in stores() {
        let made = dir.path().join("made");
        fs::write(&made, vec![b'x'; SIZE]).unwrap();
        let reader = File::open(&made).unwrap();
        let object = store.adopt_file(&made).unwrap();
        let inode = |path: &Path| fs::metadata(path).unwrap().ino();
        assert_eq!(reader.metadata().unwrap().ino(), inode(object.file_path().unwrap()));
        let tree = dir.path().join("tree");
        fs::create_dir(&tree).unwrap();
        fs::write(tree.join("a"), vec![b'x'; SIZE]).unwrap();
        fs::hard_link(tree.join("a"), tree.join("b")).unwrap();
        let before = inode(&tree.join("a"));
        let object = store.adopt_dir(&tree, &[]).unwrap();
        let path = object.file_path().unwrap();
        assert_eq!([inode(&path.join("a")), inode(&path.join("b"))], [before; 2]);
    }
}

#[test]
fn names_that_files_of_a_directory_share_outside_of_it_are_cut() {
    for (dir, store) in stores() {
        let tree = dir.path().join("tree");
        fs::create_dir_all(tree.join("sub")).unwrap();
        fs::write(tree.join("a"), b"one").unwrap();
        fs::set_permissions(tree.join("a"), Permissions::from_mode(0o700)).unwrap();
        for name in ["tree/sub/b", "outside"] {
            fs::hard_link(tree.join("a"), dir.path().join(name)).unwrap();
        }
        let object = store.adopt_dir(&tree, &[]).unwrap();
        let path = object.file_path().unwrap();
        fs::set_permissions(dir.path().join("outside"), Permissions::from_mode(0o600)).unwrap();
        fs::write(dir.path().join("outside"), b"two").unwrap();
        for name in ["a", "sub/b"] {
            assert_eq!(fs::read(path.join(name)).unwrap(), b"one");
            let metadata = fs::metadata(path.join(name)).unwrap();
            assert_eq!((metadata.nlink(), metadata.mode() & 0o7777), (2, 0o500));
        }
        object.check().unwrap();
    }
}

/// A way to change what is at a path, and its name.
type Change = (&'static str, fn(&Path));

/// Ways to change an object's file as its owner can.
fn changes() -> [Change; 5] {
    fn writable(path: &Path) -> File {
        let mode = fs::metadata(path).unwrap().mode();
        fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
        let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
        fs::set_permissions(path, Permissions::from_mode(mode & 0o7777)).unwrap();
        file
    }
    [
        ("shorter", |path| writable(path).set_len(10).unwrap()),
        ("longer", |path| writable(path).write_all_at(b"x", SIZE as u64).unwrap()),
        ("other bytes", |path| writable(path).write_all_at(b"other", 0).unwrap()),
        ("written through a mapping", |path| Mapping::new(&writable(path), SIZE).write(b'y')),
        ("removed", |path| fs::remove_file(path).unwrap()),
    ]
}

#[test]
fn a_changed_file_is_an_error_wherever_it_is_read() {
    for (dir, store) in stores() {
        for (name, change) in changes() {
            let object = Arc::new(store.blob(vec![b'x'; SIZE], None).unwrap());
            object.check().unwrap();
            let reader = object.reader().unwrap();
            let mut piece = [0; 1000];
            reader.read_at(SIZE as u64 - 1000, &mut piece).unwrap();
            change(object.file_path().unwrap());
            for text in [
                text_of(&object.check().unwrap_err()),
                text_of(&object.contents().unwrap_err()),
                text_of(&object.reader().unwrap_err()),
                text_of(&object.open(&store).unwrap_err()),
                text_of(&object.copy_out(&store, &dir.path().join("copy"), FileCopy::Link).unwrap_err()),
                text_of(&object.add_name(&dir.path().join("name")).unwrap_err()),
            ] {
                assert!(text.contains("objects are immutable"), "{name}: {text}");
            }
            let _ = fs::remove_file(dir.path().join("copy"));
            // One that was opened before finds out at the end.
            let last = reader.read_at(SIZE as u64 - 1000, &mut piece);
            assert!(last.is_err() || name == "removed", "{name}");
            assert!(!dir.path().join("name").exists());
        }
        let small = Object::inline(b"small".to_vec(), None);
        change_small(small.path(&store).unwrap());
        assert!(small.check().is_err());
        assert_eq!(&*small.contents().unwrap(), b"small");
    }
}

fn change_small(path: &Path) {
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
    fs::write(path, b"other").unwrap();
}

#[test]
fn a_changed_directory_is_an_error() {
    let changes: [Change; 6] = [
        ("content", |path| change_small(&path.join("sub/a"))),
        ("gone", |path| fs::remove_file(path.join("sub/a")).unwrap()),
        ("more", |path| fs::write(path.join("sub/b"), b"b").unwrap()),
        ("another name", |path| fs::rename(path.join("sub/a"), path.join("sub/c")).unwrap()),
        ("rights", |path| fs::set_permissions(path.join("sub/a"), Permissions::from_mode(0o500)).unwrap()),
        ("another link", |path| {
            fs::remove_file(path.join("link")).unwrap();
            std::os::unix::fs::symlink("sub/b", path.join("link")).unwrap();
        }),
    ];
    for (dir, store) in stores() {
        for (name, change) in changes {
            for many in [false, true] {
                let tree = dir.path().join("tree");
                fs::create_dir_all(tree.join("sub")).unwrap();
                fs::write(tree.join("sub/a"), b"a").unwrap();
                std::os::unix::fs::symlink("sub/a", tree.join("link")).unwrap();
                if many {
                    (0..200).for_each(|number| fs::write(tree.join(number.to_string()), b"x").unwrap());
                }
                let object = Arc::new(store.adopt_dir(&tree, &[]).unwrap());
                object.check().unwrap();
                object.as_tree().unwrap().check_all().unwrap();
                let path = object.file_path().unwrap();
                for place in ["", "sub"] {
                    fs::set_permissions(path.join(place), Permissions::from_mode(0o700)).unwrap();
                }
                change(path);
                for place in ["", "sub"] {
                    fs::set_permissions(path.join(place), Permissions::from_mode(0o500)).unwrap();
                }
                assert_eq!(object.check().is_ok(), many, "{name}: large ones are looked at when they are read");
                let errors = [object.as_tree().map(DirTree::check_all).unwrap(), object.reader().map(drop)];
                for error in errors {
                    assert!(text_of(&error.unwrap_err()).contains("objects are immutable"), "{name}");
                }
            }
        }
    }
}

#[test]
fn names_that_the_engine_itself_makes_are_no_changes() {
    for (dir, store) in stores() {
        let object = Arc::new(store.blob(vec![b'x'; SIZE], None).unwrap());
        for _ in 0..2 {
            let name = store.outer().join("handed-over");
            object.add_name(&name).unwrap();
            let other = store.adopt_shared(&name, SIZE as u64, object.modified().unwrap(), false).unwrap();
            let linked = dir.path().join("linked");
            object.copy_out(&store, &linked, FileCopy::Link).unwrap();
            let tree = store.build_dir(|root| object.copy_out(&store, &root.join("x"), FileCopy::Link)).unwrap();
            for checked in [&*object, &other, &tree] {
                checked.check().unwrap();
            }
            fs::remove_file(linked).unwrap();
            object.check().unwrap();
            drop(tree);
            other.check().unwrap();
            drop(other);
            assert_eq!(object.contents().unwrap(), vec![b'x'; SIZE]);
        }
        // Another file in its place.
        let name = store.outer().join("handed-over");
        fs::write(&name, vec![b'y'; SIZE]).unwrap();
        assert!(store.adopt_shared(&name, SIZE as u64, object.modified().unwrap(), false).is_err());
        assert!(!name.exists());
    }
}

#[test]
fn lost_content_tells_why() {
    let (_dir, store) = stores().remove(0);
    let object = Arc::new(Object::lost(rain_model::graph::DataType::Blob, "it fell down".to_owned()));
    let other = object.with_metadata(Some("text"), None);
    for error in [
        object.check().unwrap_err(),
        other.contents().unwrap_err(),
        object.reader().unwrap_err(),
        object.path(&store).unwrap_err(),
        object.open(&store).unwrap_err(),
    ] {
        assert_eq!(text_of(&error), "it fell down");
    }
}
