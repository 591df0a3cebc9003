//! The records that server and governors write to each other.

use super::plain::Pass;
use rain_link::Patience;
use rain_model::id::GovernorId;
use rain_wire::message::MessageError;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// Both ends must have the same.
pub(super) const PEER_VERSION: u32 = 6;
/// A record: its kind, and the length of what follows.
pub(super) const RECORD_HEADER_BYTES: usize = 5;
/// Longest record before the handshake.
pub(super) const GREETING_BYTES_MAX: usize = 4 << 10;
/// Longest record after it.
pub(super) const RECORD_BYTES_MAX: usize = 1 << 30;

/// Why a peer is not listened to any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum WireError {
    #[error("a record of {length} bytes, more than {max}")]
    TooLong { length: usize, max: usize },
    #[error("a record of unknown kind {0}")]
    Kind(u8),
    #[error("a record that cannot be read: {0}")]
    Record(#[from] postcard::Error),
    #[error(transparent)]
    Message(#[from] MessageError),
    #[error("{0}")]
    Rule(String),
}

/// Kinds of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Record {
    Hello = 0,
    Welcome = 1,
    Refused = 2,
    /// The connection is alive.
    Ping = 3,
    /// How many messages of each lane have come.
    Ack = 4,
    /// The peer ends.
    Bye = 5,
    /// Where is this governor? (To the server.)
    Where = 6,
    Address = 7,
    /// The beginning of a message, and a piece of its content, in one lane or the other.
    Head0 = 8,
    Head1 = 9,
    Piece0 = 10,
    Piece1 = 11,
    /// The beginning of a message of lane 1 whose large content comes through the plain connection, and its checksum.
    HeadApart = 12,
    Checksum = 13,
    /// The rest of a content does not come, in one lane or the other, as it cannot be read: the reason.
    Spoiled0 = 14,
    Spoiled1 = 15,
    /// The same of content whose bytes go through the plain connection, all of them, but have no meaning: instead of the checksum.
    SpoiledApart = 16,
    /// This governor cannot be reached: it is to connect itself. (To the server.)
    Unreachable = 17,
    /// Connect to this governor, which is at this place and cannot connect itself. (From the server.)
    Summon = 18,
}

impl Record {
    pub(super) fn from_code(code: u8) -> Result<Self, WireError> {
        use Record::*;
        let all = [
            Hello,
            Welcome,
            Refused,
            Ping,
            Ack,
            Bye,
            Where,
            Address,
            Head0,
            Head1,
            Piece0,
            Piece1,
            HeadApart,
            Checksum,
            Spoiled0,
            Spoiled1,
            SpoiledApart,
            Unreachable,
            Summon,
        ];
        all.get(usize::from(code)).copied().ok_or(WireError::Kind(code))
    }
}

/// Appends a record.
pub(super) fn append_record(kind: Record, body: &[u8], to: &mut Vec<u8>) {
    append_header(kind, body.len(), to);
    to.extend_from_slice(body);
}

/// Appends what goes before the body of a record.
pub(super) fn append_header(kind: Record, length: usize, to: &mut Vec<u8>) {
    to.push(kind as u8);
    to.extend_from_slice(&(length as u32).to_le_bytes());
}

/// A record with a value in it.
pub(super) fn record<T: Serialize>(kind: Record, value: &T) -> Vec<u8> {
    let mut made = Vec::new();
    // Writing to memory cannot fail.
    append_record(kind, &postcard::to_allocvec(value).unwrap_or_default(), &mut made);
    made
}

pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, WireError> {
    Ok(postcard::from_bytes(body)?)
}

/// How many messages of each lane have come.
pub(super) type Received = [u64; 2];

/// The first record of who connects.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) version: u32,
    pub(super) purpose: Purpose,
    pub(super) received: Received,
}

/// What a connection between peers is for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Purpose {
    /// A new governor, which listens for other governors, on a host of this name.
    Join { listen: SocketAddr, host: String },
    /// A governor whose connection was cut.
    Return { governor: GovernorId, pass: u64 },
    /// Messages of one governor to another.
    Deliver { from: GovernorId, to: GovernorId },
}

/// The answer to it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Welcome {
    /// The governor's own.
    pub(super) governor: GovernorId,
    /// What it shows when it returns.
    pub(super) pass: u64,
    pub(super) received: Received,
    /// For a plain connection beside this one, if content is to travel so.
    pub(super) plain: Option<Pass>,
    /// What clients show, as bytes, when the server lets a governor in.
    pub(super) client: Option<Vec<u8>>,
    pub(super) patience: Patience,
}
