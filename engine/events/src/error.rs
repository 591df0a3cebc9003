//! What can be wrong with a log.

use crate::columns::BrokenColumn;
use rusqlite::ErrorCode;
use std::io;
use std::path::PathBuf;

/// Why a log cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("there is no event log at {}", .0.display())]
    Missing(PathBuf),
    #[error("this is no event log of Rain")]
    NotALog,
    #[error(
        "this event log has version {found}, but this release reads version {readable}: read it with the release that wrote it"
    )]
    OtherVersion { found: i64, readable: i64 },
    #[error("the event log is damaged: {0}")]
    Damaged(String),
    #[error("the event log is locked by another program")]
    Locked,
    #[error("the disk of the event log is full")]
    DiskFull,
    /// What was asked has no answer.
    #[error("{0}")]
    Request(String),
    #[error("the event log cannot be used: {0}")]
    Sqlite(#[source] rusqlite::Error),
    #[error("the event log cannot be used: {0}")]
    System(#[from] io::Error),
}

impl LogError {
    /// Whether the file could not be opened because of where it is.
    pub(crate) fn is_cannot_open(&self) -> bool {
        matches!(self, LogError::Sqlite(error)
            if matches!(error.sqlite_error_code(), Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly)))
    }

    /// Whether asking again later may help.
    pub fn is_passing(&self) -> bool {
        matches!(self, LogError::Locked)
    }
}

impl From<rusqlite::Error> for LogError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => LogError::NotALog,
            Some(ErrorCode::DatabaseCorrupt) => LogError::Damaged(error.to_string()),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => LogError::Locked,
            Some(ErrorCode::DiskFull) => LogError::DiskFull,
            // Tables or columns that are not there, or hold something else: somebody has changed them.
            Some(ErrorCode::Unknown) => LogError::Damaged(error.to_string()),
            _ => match error {
                rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::IntegralValueOutOfRange(..) => LogError::Damaged(error.to_string()),
                other => LogError::Sqlite(other),
            },
        }
    }
}

impl From<BrokenColumn> for LogError {
    fn from(error: BrokenColumn) -> Self {
        LogError::Damaged(error.to_string())
    }
}
