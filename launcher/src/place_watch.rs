//! Notices that directories of a running engine are removed by others: login managers empty `/dev/shm` and `/run/user/UID` when the last
//! login of a user ends, and `/tmp` is swept. An engine without them can do nothing right, so it says so and ends.

use crate::launch::Launch;
use crate::local::Stop;
use crate::role::Role;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How often to look where the system does not tell.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// Files that nobody has touched for days are swept out of `/tmp`; those of an engine are touched this often.
const TOUCH_AGAIN: Duration = Duration::from_secs(6 * 3600);

/// Has `stop` stop the engine when a directory that it needs is gone.
///
/// # Errors
/// When the system gives no thread.
pub fn start(launch: &Launch, stop: Stop) -> io::Result<()> {
    let needed = Needed::of(launch);
    std::thread::Builder::new().name("places".to_owned()).spawn(move || watch(&needed, &stop)).map(|_| ())
}

/// A directory that is needed. It is held open, so that one which was removed is told from one that was only moved.
struct Place {
    path: PathBuf,
    directory: File,
}

impl Place {
    fn open(path: &Path) -> Option<Self> {
        let directory = File::options().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(path).ok()?;
        Some(Self { path: path.to_owned(), directory })
    }

    fn is_removed(&self) -> bool {
        match self.directory.metadata() {
            Ok(metadata) => metadata.nlink() == 0,
            // As network file systems say it.
            Err(error) => error.raw_os_error() == Some(libc::ESTALE),
        }
    }
}

/// Directories that are needed, and what to say of one that is gone.
struct Needed {
    work_dirs: Vec<Place>,
    /// Where others find the server.
    runtime_dir: Option<Place>,
}

impl Needed {
    fn of(launch: &Launch) -> Self {
        let is_found_there = matches!(launch.role, Role::Local | Role::Server(_));
        let server = is_found_there.then_some(&launch.places.server_work_dir);
        Self {
            work_dirs: launch.places.work_dirs.iter().chain(server).filter_map(|path| Place::open(path)).collect(),
            runtime_dir: Some(&launch.directory).filter(|_| is_found_there).and_then(|path| Place::open(path)),
        }
    }

    fn all(&self) -> impl Iterator<Item = &PathBuf> {
        self.work_dirs.iter().chain(&self.runtime_dir).map(|place| &place.path)
    }

    /// What is wrong, if something is.
    fn trouble(&self) -> Option<String> {
        if let Some(gone) = self.work_dirs.iter().find(|place| place.is_removed()) {
            let advice =
                "`loginctl enable-linger` keeps what you have in /dev/shm, --workdir=DIR chooses another place";
            return Some(format!("the working directory {} was removed, so Rain ends ({advice})", gone.path.display()));
        }
        let gone = self.runtime_dir.as_ref().filter(|place| place.is_removed())?;
        let advice = "RAIN_RUNTIME_DIR names another place";
        Some(format!(
            "the directory {}, where clients look for this server, was removed, so Rain ends ({advice})",
            gone.path.display()
        ))
    }

    fn touch(&self) {
        for path in self.all() {
            let files = fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
            for path in files.chain([path.clone()]) {
                // Of a socket nothing can be opened; it is in use, which is seen.
                let _ = File::open(path).and_then(|file| file.set_modified(SystemTime::now()));
            }
        }
    }
}

fn watch(needed: &Needed, stop: &Stop) {
    let told = notice(needed);
    let mut touched = SystemTime::now();
    loop {
        match &told {
            Some(told) => {
                let mut polled = [PollFd::new(told.as_fd(), PollFlags::POLLIN)];
                let _ = poll(&mut polled, PollTimeout::try_from(TOUCH_AGAIN).unwrap_or(PollTimeout::MAX));
                let _ = told.read_events();
            }
            None => std::thread::sleep(LOOK_AGAIN),
        }
        if let Some(trouble) = needed.trouble() {
            tracing::error!("{trouble}");
            stop.request();
            return;
        }
        if touched.elapsed().is_ok_and(|age| age >= TOUCH_AGAIN / 2) {
            touched = SystemTime::now();
            needed.touch();
        }
    }
}

/// Tells of what is removed in the parents of directories that are needed; `None` where the system has no more of that to give.
fn notice(needed: &Needed) -> Option<Inotify> {
    let told = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).ok()?;
    let flags = AddWatchFlags::IN_DELETE | AddWatchFlags::IN_MOVED_FROM | AddWatchFlags::IN_DELETE_SELF;
    for parent in needed.all().filter_map(|path| path.parent()).map(Path::to_owned) {
        told.add_watch(&parent, flags).ok()?;
    }
    Some(told)
}
