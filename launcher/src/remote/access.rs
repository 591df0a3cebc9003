//! Access files: who has one may connect over the network.

pub use super::tls_access::{Pair, TlsAccess};
use crate::runtime_dir::{self, Access, RuntimeDirError};
use rain_transport_tcp::peer::identity::Credentials;
use serde::{Deserialize, Serialize};
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Names an access file for programs that are given none.
pub const VARIABLE: &str = "RAIN_ACCESS";
/// More than this is no access file.
const BYTES_MAX: u64 = 1 << 20;

/// Copies of the access file that were asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessFiles {
    pub all: Option<PathBuf>,
    pub clients: Option<PathBuf>,
    pub governors: Option<PathBuf>,
}

impl AccessFiles {
    /// Writes them; what they do not need is left out.
    ///
    /// # Errors
    /// When one cannot be written.
    pub fn write(&self, access: &Access) -> Result<(), RuntimeDirError> {
        let only = |keep_client: bool, keep_governor: bool| {
            let mut access = access.clone();
            access.dashboard = access.dashboard.filter(|_| keep_client);
            if let Some(tls) = &mut access.tls {
                tls.client = tls.client.take().filter(|_| keep_client);
                tls.governor = tls.governor.take().filter(|_| keep_governor);
            }
            access
        };
        let wanted = [(&self.all, true, true), (&self.clients, true, false), (&self.governors, false, true)];
        for (path, client, governor) in wanted {
            if let Some(path) = path {
                write(path, &only(client, governor))?;
            }
        }
        Ok(())
    }

    /// Removes them: they open nothing any more.
    pub fn remove(&self) {
        for path in [&self.all, &self.clients, &self.governors].into_iter().flatten() {
            let _ = fs::remove_file(path);
        }
    }
}

fn write(path: &Path, access: &Access) -> Result<(), RuntimeDirError> {
    let failed = |source| RuntimeDirError::Io { what: "write", path: path.to_owned(), source };
    let text = serde_json::to_string(access).map_err(|error| failed(error.into()))?;
    let name = path.file_name().ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
    let mut draft_name = std::ffi::OsString::from(format!(".{}-", std::process::id()));
    draft_name.push(name);
    let draft = path.with_file_name(draft_name);
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        file.write_all(text.as_bytes())?;
        fs::rename(&draft, path)
    })();
    written.map_err(|error| {
        let _ = fs::remove_file(&draft);
        failed(error)
    })
}

/// Why there is no access to a server.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    #[error(
        "no access file for the server: give --access=FILE or set {VARIABLE} (the server's is {0} on its machine, and \
         `rain server --access=FILE` writes a copy)"
    )]
    None(PathBuf),
    #[error("the access file {path} cannot be read: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("the access file {0} is open to other users (mode {1:03o}): run `chmod go-rwx` on it")]
    Mode(PathBuf, u32),
    #[error("the access file {0} belongs to user {1}, not to you")]
    Owner(PathBuf, u32),
    #[error("{0} is not an access file: {1}")]
    Form(PathBuf, serde_json::Error),
    #[error("the access file {0} is not one for governors")]
    NotForGovernors(PathBuf),
    #[error("the server of the access file {0} can be reached from its own machine only; leave the address out there")]
    OneMachine(PathBuf),
    #[error("the access file {0} is not one for clients")]
    NotForClients(PathBuf),
    #[error(transparent)]
    RuntimeDir(#[from] RuntimeDirError),
}

/// The access file for the server on `port`: `chosen` (`-`: the first line of standard input), else the one that the
/// environment names, else the one of a server of this user on this machine.
///
/// # Errors
/// When there is none, or it is not private.
pub fn find(chosen: Option<&Path>, port: u16) -> Result<(PathBuf, Access), AccessError> {
    let named = std::env::var_os(VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from);
    match chosen.map(Path::to_owned).or(named) {
        Some(path) if path == Path::new("-") => {
            let mut line = Vec::new();
            read_line(&mut line).map_err(|source| AccessError::Io { path: path.clone(), source })?;
            let access = serde_json::from_slice(&line).map_err(|error| AccessError::Form(path.clone(), error))?;
            Ok((PathBuf::from("standard input"), access))
        }
        Some(path) => {
            let access = read(&path)?;
            Ok((path, access))
        }
        None => {
            let directory = runtime_dir::server_path(&runtime_dir::root(), port);
            let path = directory.join("access.json");
            match runtime_dir::read_access(&directory)? {
                Some(access) => Ok((path, access)),
                None => Err(AccessError::None(path)),
            }
        }
    }
}

fn read_line(line: &mut Vec<u8>) -> io::Result<()> {
    use std::io::BufRead;
    io::stdin().lock().take(BYTES_MAX).read_until(b'\n', line).map(|_| ())
}

fn read(path: &Path) -> Result<Access, AccessError> {
    let failed = |source| AccessError::Io { path: path.to_owned(), source };
    let mut file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.uid() != nix::unistd::geteuid().as_raw() {
        return Err(AccessError::Owner(path.to_owned(), metadata.uid()));
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(AccessError::Mode(path.to_owned(), metadata.mode() & 0o777));
    }
    let mut text = Vec::new();
    Read::by_ref(&mut file).take(BYTES_MAX).read_to_end(&mut text).map_err(failed)?;
    serde_json::from_slice(&text).map_err(|error| AccessError::Form(path.to_owned(), error))
}

/// What a client needs of an access file: the authority, and its credentials.
///
/// # Errors
/// When the file is one for governors only, or of a server that only its own machine can reach.
pub fn for_client(path: &Path, access: Access) -> Result<(String, Credentials), AccessError> {
    let tls = access.tls.ok_or_else(|| AccessError::OneMachine(path.to_owned()))?;
    let client = tls.client.ok_or_else(|| AccessError::NotForClients(path.to_owned()))?;
    Ok((tls.authority, client.into()))
}

/// What a governor needs of an access file.
///
/// # Errors
/// When the file is one for clients only, or of a server that takes no governors.
pub fn for_governor(path: &Path, access: Access) -> Result<(String, Credentials), AccessError> {
    let none = || AccessError::NotForGovernors(path.to_owned());
    let tls = access.tls.ok_or_else(none)?;
    let governor = tls.governor.ok_or_else(none)?;
    Ok((tls.authority, governor.into()))
}
