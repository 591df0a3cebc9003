//! Objects take no more memory than they may: the rest is on a disk, and read from there.

use rain_data::{FileCopy, Memory, MemoryUse, Object, Store};
use std::fs::{self, File, Permissions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const SIZE: usize = 1 << 20;

/// A store in memory with room for so many objects of `SIZE`, and where the rest goes. None where there is no file system in memory.
struct Bounded {
    store: Store,
    disk: PathBuf,
    _directories: [tempfile::TempDir; 2],
}

fn bounded(objects: usize) -> Option<Bounded> {
    let memory = tempfile::tempdir_in("/dev/shm").ok()?;
    let disk = tempfile::tempdir().unwrap();
    let root = disk.path().join("beyond");
    let bound = Memory::with_budget((objects * SIZE) as u64, Some(root.clone()));
    let store = Store::create_within(&memory.path().join("store"), bound).unwrap();
    Some(Bounded { store, disk: root, _directories: [memory, disk] })
}

fn content(number: usize) -> Vec<u8> {
    vec![number as u8; SIZE]
}

fn made(store: &Store, number: usize) -> Arc<Object> {
    Arc::new(store.blob(content(number), Some("text:utf-8")).unwrap())
}

fn is_on_disk(object: &Object) -> bool {
    fs::symlink_metadata(object.file_path().unwrap()).unwrap().is_symlink()
}

fn read(object: &Arc<Object>) -> Vec<u8> {
    let reader = object.reader().unwrap();
    let mut bytes = vec![0; reader.length() as usize];
    reader.read_at(0, &mut bytes).unwrap();
    bytes
}

#[test]
fn what_was_used_longest_ago_goes_first() {
    let Some(Bounded { store, disk, _directories }) = bounded(3) else { return };
    let mut objects: Vec<Arc<Object>> = (0..3).map(|number| made(&store, number)).collect();
    assert!(!disk.exists() && !objects.iter().any(|object| is_on_disk(object)));
    drop(objects[0].open(&store).unwrap());
    objects.push(made(&store, 3));
    assert_eq!(objects.iter().map(|object| is_on_disk(object)).collect::<Vec<_>>(), [false, true, false, false]);
    let three = 3 * SIZE as u64;
    assert_eq!(store.memory().usage(), MemoryUse { used: three, budget: Some(three), on_disk: SIZE as u64 });
    objects.push(made(&store, 4));
    // The paths that were asked for count as uses, but not those that say what is where.
    assert_eq!(fs::read_dir(&disk).unwrap().count(), 2);
    for (number, object) in objects.iter().enumerate() {
        assert!(read(object) == content(number) && object.contents().unwrap() == content(number));
        assert_eq!(fs::read(object.path(&store).unwrap()).unwrap(), content(number));
        object.check().unwrap();
        assert_eq!(fs::metadata(object.file_path().unwrap()).unwrap().mode() & 0o777, 0o400);
        let copy = store.root().join("copy");
        object.copy_out(&store, &copy, FileCopy::Link).unwrap();
        assert_eq!(fs::read(&copy).unwrap(), content(number));
        fs::remove_file(&copy).unwrap();
    }
    let paths: Vec<PathBuf> = objects.iter().map(|object| object.file_path().unwrap().to_owned()).collect();
    let reals: Vec<PathBuf> = paths.iter().map(|path| path.canonicalize().unwrap()).collect();
    assert!(objects.iter().zip(&reals).all(|(object, real)| object.is_at(real)));
    drop(objects);
    assert_eq!(store.memory().usage(), MemoryUse { used: 0, budget: Some(three), on_disk: 0 });
    assert_eq!(fs::read_dir(&disk).unwrap().count(), 0);
    assert!(!paths.iter().any(|path| fs::symlink_metadata(path).is_ok()));
    drop(store);
    assert!(!disk.exists());
}

#[test]
fn what_somebody_reads_stays() {
    let Some(Bounded { store, _directories, .. }) = bounded(2) else { return };
    let read_now = made(&store, 0);
    let mut open = File::open(read_now.file_path().unwrap()).unwrap();
    let others: Vec<Arc<Object>> = (1..4).map(|number| made(&store, number)).collect();
    assert_eq!(others.iter().filter(|object| is_on_disk(object)).count(), 2);
    assert!(!is_on_disk(&read_now));
    let mut bytes = Vec::new();
    open.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, content(0));
    drop(open);
    let last = [made(&store, 4), made(&store, 5)];
    assert!(is_on_disk(&read_now) && !last.iter().any(|object| is_on_disk(object)));
    assert_eq!(read(&read_now), content(0));
}

#[test]
fn small_content_is_on_the_disk_when_there_is_no_room() {
    let Some(Bounded { store, disk, _directories }) = bounded(1) else { return };
    let objects: Vec<Arc<Object>> =
        (0..64).map(|number| Arc::new(store.blob(vec![number; 32 << 10], None).unwrap())).collect();
    assert_eq!(objects.iter().filter(|object| object.inline_bytes().is_some()).count(), 32);
    let MemoryUse { used, on_disk, .. } = store.memory().usage();
    assert_eq!((used, on_disk), (SIZE as u64, SIZE as u64));
    assert!(objects.iter().enumerate().all(|(number, object)| read(object) == vec![number as u8; 32 << 10]));
    assert!(objects.iter().all(|object| object.path(&store).is_ok()));
    // What is smaller than its file's records would be is not worth it.
    assert!(store.blob(vec![1; 100], None).unwrap().inline_bytes().is_some());
    drop(objects);
    assert_eq!((store.memory().usage().used, fs::read_dir(&disk).unwrap().count()), (0, 0));
}

#[test]
fn a_directory_is_on_the_disk_when_nothing_else_can_go_there() {
    let Some(Bounded { store, disk, _directories }) = bounded(2) else { return };
    let blob = made(&store, 7);
    let tree = |count: usize| {
        store.build_dir(|path| {
            (0..count).try_for_each(|number| fs::write(path.join(number.to_string()), content(number)))?;
            std::os::unix::fs::symlink("0", path.join("link"))?;
            fs::set_permissions(path.join("0"), Permissions::from_mode(0o700))
        })
    };
    let small = Arc::new(tree(1).unwrap());
    assert!(!is_on_disk(&blob));
    let large = Arc::new(tree(3).unwrap());
    assert!(is_on_disk(&blob));
    assert!(large.file_path().unwrap().starts_with(&disk) && !small.file_path().unwrap().starts_with(&disk));
    let root = large.path(&store).unwrap();
    assert!((0..3).all(|number| fs::read(root.join(number.to_string())).unwrap() == content(number)));
    assert_eq!(fs::read_link(root.join("link")).unwrap(), Path::new("0"));
    assert_eq!(fs::metadata(root.join("0")).unwrap().mode() & 0o777, 0o500);
    large.check().unwrap();
    let again = store.import_tar(&large.contents().unwrap()[..]).unwrap();
    assert_eq!(again.size(), large.size());
    drop((blob, small, large, again));
    assert_eq!((store.memory().usage().used, fs::read_dir(&disk).unwrap().count()), (0, 0));
}

#[test]
fn content_that_was_changed_on_the_disk_is_an_error() {
    let Some(Bounded { store, _directories, .. }) = bounded(1) else { return };
    let (first, _second) = (made(&store, 0), made(&store, 1));
    let real = first.file_path().unwrap().canonicalize().unwrap();
    fs::set_permissions(&real, Permissions::from_mode(0o600)).unwrap();
    fs::write(&real, "other").unwrap();
    let error = first.contents().unwrap_err().to_string();
    assert!(error.contains("was changed"), "{error}");
    assert!(first.check().is_err());
}

#[test]
fn content_that_was_changed_in_memory_stays_an_error() {
    let Some(Bounded { store, _directories, .. }) = bounded(1) else { return };
    let first = made(&store, 0);
    let path = first.file_path().unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
    fs::write(path, content(9)).unwrap();
    let second = made(&store, 1);
    assert!(first.contents().is_err() && first.check().is_err());
    assert_eq!(read(&second), content(1));
}

#[test]
fn a_disk_that_takes_nothing_is_an_error_of_who_makes_more() {
    let Some(memory) = tempfile::tempdir_in("/dev/shm").ok() else { return };
    let disk = tempfile::tempdir().unwrap();
    let bound = Memory::with_budget(2 * SIZE as u64, Some(disk.path().join("not/there")));
    let store = Store::create_within(&memory.path().join("store"), bound).unwrap();
    let kept = [made(&store, 0), made(&store, 1)];
    let error = store.blob(content(2), None).unwrap_err().to_string();
    for part in ["2097152 bytes", "not", "--memory", "--spill-dir"] {
        assert!(error.contains(part), "{error}");
    }
    assert!(kept.iter().enumerate().all(|(number, object)| read(object) == content(number)));
    assert_eq!(store.memory().usage().used, 2 * SIZE as u64);
}

#[test]
fn threads_that_make_and_read_get_what_was_made() {
    const THREADS: usize = 4;
    const EACH: usize = 40;
    let Some(Bounded { store, disk, _directories }) = bounded(8) else { return };
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let store = &store;
            scope.spawn(move || {
                let mut objects: Vec<Arc<Object>> = Vec::new();
                for number in 0..EACH {
                    objects.push(made(store, thread * EACH + number));
                    // Another place each time, far and near.
                    let back = (number * 7) % objects.len();
                    assert!(read(&objects[back]) == content(thread * EACH + back), "{back} of {thread}");
                    objects[back].check().unwrap();
                    let used = store.memory().usage().used;
                    assert!(used <= ((8 + 2 * THREADS) * SIZE) as u64, "{used}");
                }
            });
        }
    });
    assert_eq!(store.memory().usage().used, 0);
    assert_eq!(fs::read_dir(&disk).unwrap().count(), 0);
}
