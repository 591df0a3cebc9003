//! Objects in memory and in files of a store.

use rain_data::{FileCopy, INLINE_BYTES_MAX, Object, Store, StoreError, export};
use rain_model::graph::DataType;
use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path()).unwrap();
    (dir, store)
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn small_objects_cost_little() {
    assert!(size_of::<Object>() <= 80, "{} bytes", size_of::<Object>());
}

#[test]
fn a_store_is_private_and_removes_itself_with_its_last_handle() {
    let (dir, store) = store();
    assert_eq!(fs::metadata(store.root()).unwrap().mode() & 0o7777, 0o700);
    let object = store.blob(vec![1; INLINE_BYTES_MAX + 1], None).unwrap();
    let other = store.clone();
    drop(store);
    assert!(object.file_path().unwrap().exists());
    drop(other);
    assert_eq!(names(dir.path()), [""; 0]);
    drop(object);
}

#[test]
fn a_directory_that_the_store_made_goes_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let work = dir.path().join("a/work");
    drop(Store::create(&work).unwrap());
    assert!(!work.exists() && dir.path().exists());
}

#[test]
fn a_store_needs_a_directory() {
    let file = tempfile::NamedTempFile::new().unwrap();
    assert!(matches!(Store::create(file.path()), Err(StoreError::NotADirectory(_))));
    let error = Store::create(&file.path().join("below")).unwrap_err().to_string();
    assert!(error.contains("below"), "{error}");
}

#[test]
fn size_decides_where_content_is() {
    let (_dir, store) = store();
    let small = store.blob(vec![7; INLINE_BYTES_MAX], Some("text")).unwrap();
    assert_eq!(small.inline_bytes().unwrap().len(), INLINE_BYTES_MAX);
    assert_eq!(small.file_path(), None);
    assert_eq!(small.content_type(), Some("text"));

    let content: Vec<u8> = (0..=INLINE_BYTES_MAX).map(|n| n as u8).collect();
    let large = store.blob(&content[..], None).unwrap();
    assert_eq!(large.inline_bytes(), None);
    assert_eq!((large.size(), large.data_type()), (content.len() as u64, DataType::Blob));
    assert_eq!(&*large.contents().unwrap(), content);
    let path = large.file_path().unwrap().to_owned();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o400);
    drop(large);
    assert!(!path.exists());
}

#[test]
fn an_inline_object_gets_one_file_however_many_ask() {
    let (_dir, store) = store();
    let object = Object::inline(b"hello".to_vec(), None);
    let paths: Vec<_> = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..8).map(|_| scope.spawn(|| object.path(&store).unwrap().to_owned())).collect();
        asking.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(paths.iter().all(|path| path == &paths[0]));
    assert_eq!(fs::read(&paths[0]).unwrap(), b"hello");
    assert_eq!(fs::metadata(&paths[0]).unwrap().mode() & 0o7777, 0o400);
    assert_eq!(names(store.root()).len(), 1);
    drop(object);
    assert_eq!(names(store.root()), [""; 0]);
}

#[test]
fn metadata_changes_share_the_content() {
    let (_dir, store) = store();
    for object in [store.blob(vec![1; INLINE_BYTES_MAX + 1], Some("a")).unwrap(), Object::inline(vec![1], Some("a"))] {
        let object = Arc::new(object.with_user(Some("{}")));
        assert!(Arc::ptr_eq(&object, &object.with_metadata(Some("a"), Some("{}"))));
        let other = object.with_metadata(Some("b"), None);
        assert_eq!((other.content_type(), other.user()), (Some("b"), None));
        assert_eq!(other.file_path(), object.file_path());
        drop(object);
        assert_eq!(other.contents().unwrap()[0], 1);
    }
    assert_eq!(names(store.root()), [""; 0]);
}

#[test]
fn empty_blobs_are_fine_everywhere() {
    let (dir, store) = store();
    let object = Object::inline(Vec::new(), None);
    assert_eq!(fs::read(object.path(&store).unwrap()).unwrap(), b"");
    let file = dir.path().join("empty");
    fs::write(&file, b"").unwrap();
    assert_eq!(store.adopt_file(&file).unwrap().contents().unwrap().len(), 0);
}

#[test]
fn adopted_files_leave_their_place() {
    let (dir, store) = store();
    for size in [10, INLINE_BYTES_MAX + 1] {
        let file = dir.path().join("made");
        fs::write(&file, vec![3; size]).unwrap();
        let object = store.adopt_file(&file).unwrap();
        assert!(!file.exists());
        assert_eq!(&*object.contents().unwrap(), vec![3; size]);
        assert_eq!(object.inline_bytes().is_some(), size <= INLINE_BYTES_MAX);
    }
}

#[test]
fn a_file_on_another_file_system_is_copied_and_removed() {
    let (dir, store) = store();
    let Ok(other) = tempfile::tempdir_in("/dev/shm") else { return };
    if fs::metadata(other.path()).unwrap().dev() == fs::metadata(dir.path()).unwrap().dev() {
        return;
    }
    let file = other.path().join("made");
    fs::write(&file, vec![3; INLINE_BYTES_MAX + 1]).unwrap();
    assert_eq!(store.adopt_file(&file).unwrap().size(), INLINE_BYTES_MAX as u64 + 1);
    let tree = other.path().join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("x"), b"x").unwrap();
    assert_eq!(store.adopt_dir(&tree, &[]).unwrap().size(), 1);
    assert_eq!(names(other.path()), [""; 0]);
}

#[test]
fn only_regular_files_are_blobs() {
    let (dir, store) = store();
    let pipe = dir.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    symlink("/etc/passwd", dir.path().join("link")).unwrap();
    for name in ["pipe", "link", "."] {
        assert!(store.adopt_file(&dir.path().join(name)).is_err(), "{name}");
    }
    assert!(store.copy_file_in(&pipe).unwrap_err().to_string().contains("not a regular file"));
    assert_eq!(store.copy_file_in(dir.path()).unwrap_err().kind(), io::ErrorKind::IsADirectory);
    assert_eq!(store.copy_file_in(&dir.path().join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert_eq!(names(store.root()), [""; 0]);
}

#[test]
fn files_whose_size_is_not_known_are_read_to_their_end() {
    let (_dir, store) = store();
    let object = store.copy_file_in(Path::new("/proc/self/status")).unwrap();
    assert!(object.contents().unwrap().starts_with(b"Name:"));
}

#[test]
fn an_unfinished_file_is_removed() {
    let (_dir, store) = store();
    let mut file = store.new_file().unwrap();
    file.write_all(b"half").unwrap();
    drop(file);
    assert_eq!(names(store.root()), [""; 0]);
}

#[test]
fn lack_of_space_says_where_and_what_to_do() {
    let (_dir, store) = store();
    let full = || io::Error::from_raw_os_error(nix::libc::ENOSPC);
    let twice = store.explain(store.explain(full()));
    for error in [full(), io::Error::new(full().kind(), "a/b: full"), twice] {
        let text = store.explain(error).to_string();
        assert!(text.starts_with("no space is left") && text.contains("--workdir"), "{text}");
        assert!(text.contains(store.root().to_str().unwrap()), "{text}");
    }
    let other = io::Error::from_raw_os_error(nix::libc::EIO);
    assert_eq!(store.explain(other).raw_os_error(), Some(nix::libc::EIO));
}

/// A store on a file system in memory, where there is one; elsewhere nothing is kept.
fn store_in_memory() -> Option<(tempfile::TempDir, Store)> {
    let dir = tempfile::tempdir_in("/dev/shm").ok()?;
    let store = Store::create(dir.path()).unwrap();
    Some((dir, store))
}

const FILLED: u64 = 3 << 20;

/// An object of a file that was filled by writing.
fn filled(store: &Store, byte: u8) -> Object {
    assert!(store.spare_file(FILLED).is_none());
    let path = store.new_file_path();
    fs::write(&path, vec![byte; FILLED as usize]).unwrap();
    store.adopt_filled(&path, FILLED, false).unwrap()
}

fn wait_until(mut what: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !what() {
        assert!(std::time::Instant::now() < deadline, "it does not happen");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

#[test]
fn memory_of_a_dropped_object_is_used_again() {
    let Some((_dir, store)) = store_in_memory() else { return };
    let object = filled(&store, 1);
    assert!(object.contents().unwrap().iter().all(|byte| *byte == 1));
    drop(object);
    let mut spare = None;
    wait_until(|| {
        spare = store.spare_file(FILLED - 5);
        spare.is_some()
    });
    let (mut spare, path) = spare.unwrap();
    io::Write::write_all(&mut spare, &[2; FILLED as usize - 5]).unwrap();
    drop(spare);
    let object = store.adopt_filled(&path, FILLED - 5, false).unwrap();
    let file = object.file_path().unwrap().to_owned();
    assert_eq!(fs::read(&file).unwrap(), vec![2; FILLED as usize - 5]);
    assert_eq!(*object.contents().unwrap(), vec![2; FILLED as usize - 5]);
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o400);
    drop(object);
    // Too small for the next, and removed in time.
    assert!(store.spare_file(FILLED).is_none());
    wait_until(|| names(store.root()).is_empty());
}

#[test]
fn memory_that_others_can_see_is_not_used_again() {
    let Some((dir, store)) = store_in_memory() else { return };
    let open = |object: &Object| fs::File::open(object.file_path().unwrap()).unwrap();
    let object = filled(&store, 3);
    let mut opened = open(&object);
    drop(object);
    wait_until(|| names(store.root()).is_empty());
    assert!(store.spare_file(FILLED).is_none());
    let mut found = Vec::new();
    io::Read::read_to_end(&mut opened, &mut found).unwrap();
    assert_eq!(found, vec![3; FILLED as usize]);
    let object = filled(&store, 4);
    let link = dir.path().join("link");
    fs::hard_link(object.file_path().unwrap(), &link).unwrap();
    drop(object);
    wait_until(|| names(store.root()).is_empty());
    assert!(store.spare_file(FILLED).is_none());
    assert_eq!(fs::read(&link).unwrap(), vec![4; FILLED as usize]);
    assert_eq!(fs::metadata(&link).unwrap().mode() & 0o7777, 0o400);
}

#[test]
fn a_blob_keeps_whether_it_may_be_executed() {
    let (dir, store) = store();
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
    for size in [10, INLINE_BYTES_MAX + 1] {
        for (given, kept) in [(0o755, 0o500), (0o100, 0o500), (0o644, 0o400), (0o611, 0o400)] {
            let file = dir.path().join("made");
            fs::write(&file, vec![b'x'; size]).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(given)).unwrap();
            let object = if given == 0o100 {
                store.adopt_file(&file).unwrap()
            } else {
                let copied = store.copy_file_in(&file).unwrap();
                let adopted = store.adopt_file(&file).unwrap();
                assert_eq!(copied.is_executable(), adopted.is_executable());
                copied
            };
            assert_eq!(
                (object.is_executable(), mode(object.path(&store).unwrap())),
                (kept == 0o500, kept),
                "{given:o}"
            );
            let same = Arc::new(object).with_metadata(Some("text"), None);
            assert_eq!(mode(same.path(&store).unwrap()), kept);
            for (files, copied) in [(FileCopy::Copy, kept | 0o200), (FileCopy::Link, kept)] {
                let copy = dir.path().join("copy");
                same.copy_out(&store, &copy, files).unwrap();
                assert_eq!(mode(&copy), copied, "{size} {given:o}");
                fs::remove_file(&copy).unwrap();
            }
        }
    }
    let mut file = store.new_file().unwrap();
    file.file().set_permissions(fs::Permissions::from_mode(0o700)).unwrap();
    file.write_all(&vec![b'x'; INLINE_BYTES_MAX + 1]).unwrap();
    assert!(!file.finish().unwrap().is_executable());
}

/// A file of 64 MiB with a byte at its beginning, some in the middle, and a hole at its end.
fn sparse_file(path: &Path) {
    let file = fs::File::create(path).unwrap();
    file.write_all_at(b"first", 0).unwrap();
    file.write_all_at(b"middle", 40 << 20).unwrap();
    file.set_len(64 << 20).unwrap();
}

fn check_sparse(path: &Path, start: u64) {
    let file = fs::File::open(path).unwrap();
    let metadata = file.metadata().unwrap();
    assert_eq!(metadata.len(), start + (64 << 20));
    assert!(metadata.blocks() * 512 < (2 << 20), "{} blocks", metadata.blocks());
    for (place, expected) in [(0, &b"first\0\0\0"[..]), (40 << 20, b"middle\0\0"), ((64 << 20) - 8, &[0; 8])] {
        let mut found = [1; 8];
        file.read_exact_at(&mut found, start + place).unwrap();
        assert_eq!(found, expected, "{place}");
    }
}

#[test]
fn files_with_holes_keep_them() {
    let (dir, store) = store();
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).unwrap();
    let sparse = tree.join("sparse");
    sparse_file(&sparse);
    if fs::metadata(&sparse).unwrap().blocks() * 512 >= (2 << 20) {
        // The file system has no holes.
        return;
    }
    let object = store.copy_file_in(&sparse).unwrap();
    check_sparse(object.file_path().unwrap(), 0);
    let copied = store.copy_dir_in(&tree, FileCopy::Copy).unwrap();
    check_sparse(&copied.file_path().unwrap().join("sparse"), 0);
    let (out, exported) = (dir.path().join("out"), dir.path().join("exported"));
    object.copy_out(&store, &out, FileCopy::Copy).unwrap();
    check_sparse(&out, 0);
    export(&object, &store, &exported, &|_| true).unwrap();
    check_sparse(&exported, 0);
    let mut joined = store.new_file().unwrap();
    joined.write_all(b"before").unwrap();
    joined.append_file(&fs::File::open(&sparse).unwrap()).unwrap();
    joined.write_all(b"after").unwrap();
    joined.append_file(&fs::File::open(&sparse).unwrap()).unwrap();
    let joined = joined.finish().unwrap();
    assert_eq!(joined.size(), 6 + 5 + (128 << 20));
    let mut end = [0; 5];
    let file = fs::File::open(joined.file_path().unwrap()).unwrap();
    file.read_exact_at(&mut end, 6 + (64 << 20)).unwrap();
    assert_eq!(&end, b"after");
    assert!(file.metadata().unwrap().blocks() * 512 < (2 << 20));
}
