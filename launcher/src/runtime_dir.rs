//! The private directory of a server: `server-PORT` with its access file (`docs/protocol.md`, "Access file").
//!
//! Beside `access.json` and `client.sock` it holds `lock`, which the supervisor keeps locked as long as anything of the
//! server is left (so a directory whose lock is free is a dead server's), and `launch.json`, which names what to clean up.

use crate::remote::access::TlsAccess;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use std::env;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const ACCESS_FILE: &str = "access.json";
const LOCK_FILE: &str = "lock";
/// Linux's bound for the path of a Unix socket, with the byte that ends it.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Why a runtime directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeDirError {
    #[error("{0} belongs to user {1}, not to you: it is not safe to use; set RAIN_RUNTIME_DIR to a directory of yours")]
    Owner(PathBuf, u32),
    #[error("{0} is open to other users (mode {1:03o}): it is not safe to use; run `chmod go-rwx {dir}`", dir = .0.display())]
    Mode(PathBuf, u32),
    #[error("{0} is not a directory")]
    NotADirectory(PathBuf),
    #[error("{0} is in use by another process: set RAIN_RUNTIME_DIR to a directory that no other machine has")]
    Taken(PathBuf),
    #[error("{0} is too long for the path of a socket: set RAIN_RUNTIME_DIR to a shorter one")]
    TooLong(PathBuf),
    #[error("cannot {what} {path}: {source}")]
    Io { what: &'static str, path: PathBuf, source: io::Error },
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RuntimeDirError {
    let path = path.to_owned();
    move |source| RuntimeDirError::Io { what, path, source }
}

/// What a client needs to connect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    pub pid: u32,
    pub version: String,
    pub tcp: String,
    pub socket: PathBuf,
    pub token: String,
    /// For connections over the network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsAccess>,
    /// Where browsers are shown what the server does; with a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dashboard: Option<String>,
}

/// `/tmp/rain-UID`.
pub fn tmp_dir() -> PathBuf {
    PathBuf::from(format!("/tmp/rain-{}", nix::unistd::geteuid()))
}

/// The directory of all servers of this user, whether it is there or not.
pub fn root() -> PathBuf {
    let chosen = env::var_os("RAIN_RUNTIME_DIR").filter(|value| !value.is_empty());
    // Not XDG_RUNTIME_DIR, which is removed at the end of a login, while servers go on, and is another one in each kind of login.
    chosen.and_then(|path| std::path::absolute(path).ok()).unwrap_or_else(tmp_dir)
}

/// Makes a directory that only this user can open, or checks that it is one (`looseness`: mode bits that are refused).
fn private_dir(path: &Path, looseness: u32) -> Result<(), RuntimeDirError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(io_error("make", path)(error)),
    }
    check_private(path, looseness)
}

fn check_private(path: &Path, looseness: u32) -> Result<(), RuntimeDirError> {
    // Not following links: in /tmp somebody else could have put one.
    let metadata = fs::symlink_metadata(path).map_err(io_error("look at", path))?;
    if !metadata.is_dir() {
        return Err(RuntimeDirError::NotADirectory(path.to_owned()));
    }
    if metadata.uid() != nix::unistd::geteuid().as_raw() {
        return Err(RuntimeDirError::Owner(path.to_owned(), metadata.uid()));
    }
    if metadata.mode() & looseness != 0 {
        return Err(RuntimeDirError::Mode(path.to_owned(), metadata.mode() & 0o777));
    }
    Ok(())
}

/// Makes or checks `/tmp/rain-UID`.
///
/// # Errors
/// When it is not this user's alone.
pub fn private_tmp_dir() -> Result<PathBuf, RuntimeDirError> {
    let path = tmp_dir();
    private_dir(&path, 0o022)?;
    Ok(path)
}

/// A server's directory that this process (and those that inherit the lock) may fill.
#[derive(Debug)]
pub struct ServerDir {
    path: PathBuf,
    lock: Flock<File>,
}

/// Whether a server's directory could be taken.
#[derive(Debug)]
pub enum Claim {
    Claimed(ServerDir),
    /// A server that lives has it.
    Busy(PathBuf),
}

impl ServerDir {
    /// Takes the directory for `port` under `root`; what a dead server left in it is there still.
    ///
    /// # Errors
    /// When a directory is not private or cannot be made.
    pub fn claim(root: &Path, port: u16) -> Result<Claim, RuntimeDirError> {
        Self::claim_named(root, &server_name(port))
    }

    /// Takes the directory `name` under `root`.
    ///
    /// # Errors
    /// When a directory is not private or cannot be made.
    pub fn claim_named(root: &Path, name: &str) -> Result<Claim, RuntimeDirError> {
        if let Some(parent) = root.parent() {
            fs::create_dir_all(parent).map_err(io_error("make", parent))?;
        }
        private_dir(root, 0o022)?;
        let path = root.join(name);
        if path.join("client.sock").as_os_str().len() > SOCKET_PATH_BYTES_MAX {
            return Err(RuntimeDirError::TooLong(path));
        }
        loop {
            private_dir(&path, 0o077)?;
            let lock_path = path.join(LOCK_FILE);
            let mut options = OpenOptions::new();
            options.create(true).truncate(false).read(true).write(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
            let file = match options.open(&lock_path) {
                Ok(file) => file,
                // The server that had it has just removed it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(io_error("open", &lock_path)(error)),
            };
            let lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => lock,
                Err((_, nix::errno::Errno::EWOULDBLOCK)) => return Ok(Claim::Busy(path)),
                Err((_, error)) => return Err(io_error("lock", &lock_path)(error.into())),
            };
            let ours = lock.metadata().map_err(io_error("look at", &lock_path))?;
            if fs::symlink_metadata(&lock_path).is_ok_and(|there| there.ino() == ours.ino()) {
                return Ok(Claim::Claimed(Self { path, lock }));
            }
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The lock, to be inherited by the supervisor. It is held until all processes that have it ended.
    pub fn into_lock(self) -> Flock<File> {
        self.lock
    }

    /// Removes the directory with all that is in it.
    pub fn remove(self) {
        remove(&self.path);
    }
}

/// The directory of the server on `port`.
pub fn server_path(root: &Path, port: u16) -> PathBuf {
    root.join(server_name(port))
}

fn server_name(port: u16) -> String {
    format!("server-{port}")
}

/// Removes a server's directory; its lock goes last, so that nobody takes a directory that is half removed.
pub fn remove(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_name() != LOCK_FILE {
            let _ = fs::remove_file(entry.path());
        }
    }
    let _ = fs::remove_file(path.join(LOCK_FILE));
    let _ = fs::remove_dir(path);
}

/// Ports of the servers that live, as far as their directories tell.
pub fn live_ports(root: &Path) -> Vec<u16> {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    let ports = entries.filter_map(|entry| entry.file_name().to_str()?.strip_prefix("server-")?.parse().ok());
    let mut ports: Vec<u16> = ports.filter(|&port| is_live(&server_path(root, port))).collect();
    ports.sort_unstable();
    ports
}

/// Whether somebody holds the lock of a server's directory.
pub fn is_live(path: &Path) -> bool {
    let Ok(file) = File::open(path.join(LOCK_FILE)) else { return false };
    matches!(Flock::lock(file, FlockArg::LockSharedNonblock), Err((_, nix::errno::Errno::EWOULDBLOCK)))
}

/// The pid that the supervisor wrote into its lock.
pub fn supervisor_pid(path: &Path) -> Option<i32> {
    let mut text = String::new();
    File::open(path.join(LOCK_FILE)).ok()?.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok().filter(|&pid| pid > 1)
}

/// Writes the pid of a supervisor into the lock file.
///
/// # Errors
/// When it cannot be written.
pub fn write_supervisor_pid(path: &Path, pid: u32) -> Result<(), RuntimeDirError> {
    let path = path.join(LOCK_FILE);
    // Not replaced by another file, for the lock is on this one.
    fs::write(&path, format!("{pid}\n")).map_err(io_error("write", &path))
}

/// Writes a file that only this user can read, at once as a whole.
///
/// # Errors
/// When it cannot be written.
pub fn write_private(directory: &Path, name: &str, content: &[u8]) -> Result<(), RuntimeDirError> {
    let (path, draft) = (directory.join(name), directory.join(format!(".{name}.draft")));
    let write = || {
        let _ = fs::remove_file(&draft);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        file.write_all(content)?;
        fs::rename(&draft, &path)
    };
    write().map_err(io_error("write", &path))
}

/// Writes the access file.
///
/// # Errors
/// When it cannot be written.
pub fn write_access(directory: &Path, access: &Access) -> Result<(), RuntimeDirError> {
    let text = serde_json::to_string(access).map_err(|error| io_error("write", directory)(error.into()))?;
    write_private(directory, ACCESS_FILE, text.as_bytes())
}

/// Reads the access file of a server; `None` when there is none.
///
/// # Errors
/// When the directory or the file cannot be trusted or read.
pub fn read_access(directory: &Path) -> Result<Option<Access>, RuntimeDirError> {
    let path = directory.join(ACCESS_FILE);
    match check_private(directory, 0o077) {
        Err(RuntimeDirError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
        checked => checked?,
    }
    match fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|error| io_error("read", &path)(error.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error("read", &path)(error)),
    }
}

/// A new secret: 32 random bytes, in hexadecimal.
///
/// # Errors
/// When the system gives no random bytes.
pub fn new_token() -> Result<String, RuntimeDirError> {
    let path = Path::new("/dev/urandom");
    let mut bytes = [0u8; 32];
    File::open(path).and_then(|mut file| file.read_exact(&mut bytes)).map_err(io_error("read", path))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The access record of a server that is about to listen.
pub fn access(address: SocketAddr, directory: &Path, token: String) -> Access {
    Access {
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        tcp: address.to_string(),
        socket: directory.join("client.sock"),
        token,
        tls: None,
        dashboard: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn claimed(claim: Claim) -> ServerDir {
        match claim {
            Claim::Claimed(directory) => directory,
            Claim::Busy(path) => panic!("{path:?} is busy"),
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn a_directory_is_claimed_by_one_and_free_again_when_it_ends() {
        let root = tempfile::tempdir().unwrap();
        let first = claimed(ServerDir::claim(root.path(), 7210).unwrap());
        assert_eq!(mode(first.path()), 0o700);
        assert!(matches!(ServerDir::claim(root.path(), 7210).unwrap(), Claim::Busy(_)));
        assert!(matches!(ServerDir::claim(root.path(), 7211).unwrap(), Claim::Claimed(_)));
        assert_eq!(live_ports(root.path()), [7210]);
        write_supervisor_pid(first.path(), std::process::id()).unwrap();
        assert_eq!(supervisor_pid(first.path()), Some(std::process::id() as i32));
        let path = first.path().to_owned();
        drop(first);
        assert!(!is_live(&path));
        claimed(ServerDir::claim(root.path(), 7210).unwrap()).remove();
        assert!(!path.exists());
    }

    #[test]
    fn the_access_file_is_private_and_comes_back() {
        let root = tempfile::tempdir().unwrap();
        let directory = claimed(ServerDir::claim(root.path(), 1).unwrap());
        assert_eq!(read_access(directory.path()).unwrap(), None);
        let access = access("127.0.0.1:1".parse().unwrap(), directory.path(), new_token().unwrap());
        assert_eq!(access.token.len(), 64);
        assert_ne!(access.token, new_token().unwrap());
        write_access(directory.path(), &access).unwrap();
        write_access(directory.path(), &access).unwrap();
        assert_eq!(mode(&directory.path().join(ACCESS_FILE)), 0o600);
        assert_eq!(read_access(directory.path()).unwrap(), Some(access));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }

    #[test]
    fn loose_foreign_and_linked_directories_are_refused() {
        let root = tempfile::tempdir().unwrap();
        let loose = server_path(root.path(), 1);
        fs::create_dir(&loose).unwrap();
        fs::set_permissions(&loose, fs::Permissions::from_mode(0o750)).unwrap();
        assert!(matches!(ServerDir::claim(root.path(), 1), Err(RuntimeDirError::Mode(_, 0o750))));
        assert!(matches!(read_access(&loose), Err(RuntimeDirError::Mode(..))));
        symlink("/tmp", server_path(root.path(), 2)).unwrap();
        assert!(matches!(ServerDir::claim(root.path(), 2), Err(RuntimeDirError::NotADirectory(_))));
        fs::write(server_path(root.path(), 3), "").unwrap();
        assert!(matches!(ServerDir::claim(root.path(), 3), Err(RuntimeDirError::NotADirectory(_))));
        if nix::unistd::geteuid().is_root() {
            fs::create_dir(server_path(root.path(), 4)).unwrap();
            std::os::unix::fs::chown(server_path(root.path(), 4), Some(65534), None).unwrap();
            assert!(matches!(ServerDir::claim(root.path(), 4), Err(RuntimeDirError::Owner(_, 65534))));
        }
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(ServerDir::claim(root.path(), 5), Err(RuntimeDirError::Mode(_, 0o777))));
    }

    #[test]
    fn a_path_too_long_for_a_socket_is_said() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("d".repeat(100));
        assert!(matches!(ServerDir::claim(&deep, 1), Err(RuntimeDirError::TooLong(_))));
    }
}
