//! The tables of a log, and how one is opened.

use crate::error::LogError;
use rusqlite::{Connection, OpenFlags};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

/// The name of the log in a directory of logs.
pub const FILE_NAME: &str = "events.sqlite";
/// Of the tables below. A log of another version is refused.
pub const VERSION: i64 = 1;
/// Marks a database as a log of Rain ("Rain" in ASCII).
const APPLICATION: i64 = 0x5261_696e;
/// How long a reader waits for a moment in which it can read.
const READER_PATIENCE: Duration = Duration::from_millis(250);
/// How long the writer waits for others who hold a lock.
const WRITER_PATIENCE: Duration = Duration::from_secs(1);
/// Bytes of the file that is kept of what was written ahead.
const WAL_BYTES_KEPT: i64 = 16 << 20;

/// Times are microseconds since 1970, durations nanoseconds, sizes bytes, unless a column's name says otherwise.
const TABLES: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE strings (id INTEGER PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE sessions (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, client INTEGER NOT NULL, state TEXT NOT NULL, created INTEGER NOT NULL,
    closed INTEGER, error TEXT, error_task INTEGER, tasks INTEGER NOT NULL, finished INTEGER NOT NULL,
    failed INTEGER NOT NULL, cancelled INTEGER NOT NULL, lost INTEGER NOT NULL, running INTEGER NOT NULL,
    folded INTEGER NOT NULL, busy INTEGER NOT NULL, moved INTEGER NOT NULL, bytes INTEGER NOT NULL, objects INTEGER NOT NULL);
CREATE TABLE kinds (
    session INTEGER, number INTEGER, name INTEGER NOT NULL, type INTEGER NOT NULL, cpus INTEGER NOT NULL, outputs INTEGER NOT NULL,
    spec TEXT NOT NULL,
    PRIMARY KEY (session, number)) WITHOUT ROWID;
CREATE TABLE groups (
    session INTEGER, name INTEGER, tasks INTEGER NOT NULL, finished INTEGER NOT NULL, failed INTEGER NOT NULL,
    cancelled INTEGER NOT NULL, lost INTEGER NOT NULL, running INTEGER NOT NULL, busy INTEGER NOT NULL,
    PRIMARY KEY (session, name)) WITHOUT ROWID;
CREATE TABLE graph (
    id INTEGER PRIMARY KEY, session INTEGER NOT NULL, first INTEGER NOT NULL, count INTEGER NOT NULL,
    first_output INTEGER, last_output INTEGER, data BLOB NOT NULL);
CREATE INDEX graph_of_session ON graph (session, first);
CREATE TABLE chunks (
    id INTEGER PRIMARY KEY, session INTEGER NOT NULL, count INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
    start INTEGER NOT NULL, end INTEGER NOT NULL, longest INTEGER NOT NULL);
CREATE INDEX chunks_of_session ON chunks (session);
CREATE TABLE chunk_data (id INTEGER PRIMARY KEY, tasks BLOB NOT NULL);
CREATE TABLE chunk_summaries (id INTEGER PRIMARY KEY, summary BLOB NOT NULL);
CREATE TABLE folded (session INTEGER, first INTEGER, count INTEGER NOT NULL, PRIMARY KEY (session, first)) WITHOUT ROWID;
CREATE TABLE cancelled (
    session INTEGER, first INTEGER, count INTEGER NOT NULL, time INTEGER NOT NULL, PRIMARY KEY (session, first)) WITHOUT ROWID;
CREATE TABLE running (
    session INTEGER, task INTEGER, governor INTEGER NOT NULL, worker INTEGER NOT NULL, start INTEGER NOT NULL,
    PRIMARY KEY (session, task)) WITHOUT ROWID;
CREATE TABLE assigned (
    id INTEGER PRIMARY KEY, session INTEGER NOT NULL, time INTEGER NOT NULL, governor INTEGER NOT NULL,
    first INTEGER NOT NULL, last INTEGER NOT NULL, count INTEGER NOT NULL, tasks BLOB);
CREATE INDEX assigned_of_session ON assigned (session);
CREATE TABLE attempts (
    id INTEGER PRIMARY KEY, session INTEGER NOT NULL, task INTEGER NOT NULL, is_last INTEGER NOT NULL, time INTEGER NOT NULL,
    governor INTEGER NOT NULL, worker INTEGER, start INTEGER, duration INTEGER, message TEXT NOT NULL, debug TEXT, user TEXT,
    stdout TEXT, stderr TEXT);
CREATE INDEX attempts_of_task ON attempts (session, task);
CREATE TABLE details (
    session INTEGER, task INTEGER, debug TEXT, user TEXT, stdout TEXT, stderr TEXT, PRIMARY KEY (session, task)) WITHOUT ROWID;
CREATE TABLE objects (
    id INTEGER PRIMARY KEY, session INTEGER NOT NULL, count INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
    time INTEGER NOT NULL, bytes INTEGER NOT NULL, largest INTEGER NOT NULL, data BLOB NOT NULL);
CREATE INDEX objects_of_session ON objects (session);
CREATE TABLE moves (
    id INTEGER PRIMARY KEY, session INTEGER NOT NULL, time INTEGER NOT NULL, object INTEGER NOT NULL,
    source INTEGER NOT NULL, target INTEGER NOT NULL, bytes INTEGER NOT NULL);
CREATE INDEX moves_of_session ON moves (session, object);
CREATE TABLE governors (
    id INTEGER PRIMARY KEY, host TEXT NOT NULL, cpus INTEGER NOT NULL, joined INTEGER NOT NULL, lost INTEGER, why TEXT,
    state TEXT NOT NULL, tasks INTEGER NOT NULL, busy INTEGER NOT NULL);
CREATE TABLE samples (
    governor INTEGER, time INTEGER, load REAL NOT NULL, memory INTEGER NOT NULL, memory_budget INTEGER NOT NULL,
    net_in INTEGER NOT NULL, net_out INTEGER NOT NULL, disk_read INTEGER NOT NULL, disk_write INTEGER NOT NULL,
    running INTEGER NOT NULL, PRIMARY KEY (governor, time)) WITHOUT ROWID;
CREATE TABLE rates (
    width INTEGER, bucket INTEGER, finished INTEGER NOT NULL, failed INTEGER NOT NULL, running INTEGER NOT NULL,
    left INTEGER NOT NULL, PRIMARY KEY (width, bucket)) WITHOUT ROWID;
CREATE TABLE events (
    id INTEGER PRIMARY KEY, time INTEGER NOT NULL, kind TEXT NOT NULL, session INTEGER, task INTEGER, governor INTEGER,
    worker INTEGER, value INTEGER, text TEXT);
CREATE INDEX events_of_session ON events (session);
CREATE INDEX events_of_kind ON events (kind);
";

/// Memory for pages of the file that is written, KiB: the server's memory grows by it before it stands still.
const WRITER_CACHE_KIB: i64 = 512;

/// Makes the file of a new log.
///
/// # Errors
/// When there is something with that name, or the file cannot be written.
pub fn create(path: &Path) -> Result<Connection, LogError> {
    // SQLite would take an empty file that somebody else has just made.
    std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | no_mutex())?;
    connection.busy_timeout(WRITER_PATIENCE)?;
    connection.pragma_update(None, "page_size", 8192)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "journal_size_limit", WAL_BYTES_KEPT)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    connection.set_prepared_statement_cache_capacity(64);
    connection.execute_batch(&format!("BEGIN;{TABLES}COMMIT;"))?;
    connection.pragma_update(None, "application_id", APPLICATION)?;
    connection.pragma_update(None, "user_version", VERSION)?;
    Ok(connection)
}

/// Opens the log at `path` to be read. It may be written at the same time, and where its directory cannot be written to.
///
/// # Errors
/// When there is none, it is no log, or one of another version.
pub fn open(path: &Path) -> Result<Connection, LogError> {
    if !path.is_file() {
        return Err(LogError::Missing(path.to_owned()));
    }
    let connection = match try_open(&name_of(path, "mode=ro")) {
        // What was written ahead cannot be read without a file beside it; nobody makes one where nobody may write.
        Err(error) if error.is_cannot_open() => try_open(&name_of(path, "immutable=1"))?,
        opened => opened?,
    };
    Ok(connection)
}

fn try_open(name: &str) -> Result<Connection, LogError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | no_mutex();
    let connection = Connection::open_with_flags(name, flags)?;
    connection.busy_timeout(READER_PATIENCE)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.set_prepared_statement_cache_capacity(64);
    let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    if number("application_id")? != APPLICATION {
        return Err(LogError::NotALog);
    }
    match number("user_version")? {
        VERSION => Ok(connection),
        found => Err(LogError::OtherVersion { found, readable: VERSION }),
    }
}

/// The file as a URI, as SQLite has them.
fn name_of(path: &Path, query: &str) -> String {
    use std::os::unix::ffi::OsStrExt;
    let mut name = "file:".to_owned();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => name.push(char::from(*byte)),
            other => name.push_str(&format!("%{other:02x}")),
        }
    }
    format!("{name}?{query}")
}

fn no_mutex() -> OpenFlags {
    OpenFlags::SQLITE_OPEN_NO_MUTEX
}
