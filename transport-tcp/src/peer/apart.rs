//! What is written of messages whose content goes through the plain connection.

use super::connection::Batch;
use super::plain::{Plain, PlainError};
use super::wire::Record;
use rain_wire::lane::{LaneOut, Piece};

/// Bytes of heads that are written ahead of content that travels apart from them.
pub(super) const AHEAD_BYTES_MAX: usize = 8 << 20;

/// Writes the head of a message whose content goes through the plain connection, or begins its content; whether it did.
pub(super) fn write_apart(
    out: &mut LaneOut,
    plain: &mut Plain,
    ahead_bytes: &mut usize,
    batch: &mut Batch<'_>,
) -> Result<bool, String> {
    if plain.is_busy() || *ahead_bytes > AHEAD_BYTES_MAX {
        return Ok(false);
    }
    match out.next_piece()? {
        Some(Piece::Head(head)) => {
            *ahead_bytes += head.len();
            batch.record(Record::HeadApart, head).map(|()| true)
        }
        Some(Piece::Content { bytes, length, left }) => {
            let free = plain.give(bytes, length, left);
            out.give_back(free);
            Ok(true)
        }
        None => Ok(false),
    }
}

/// Writes the content that is being sent through the plain connection, up to `left` bytes; what [`Plain::send`] says of one that is written
/// whole.
pub(super) fn write_plain(
    out: &mut LaneOut,
    plain: &mut Plain,
    left: &mut usize,
) -> Result<Option<Result<u64, String>>, PlainError> {
    loop {
        if plain.wants_piece() {
            // Within a content nothing else comes, and reading is no message's error.
            let Ok(Some(Piece::Content { bytes, length, left })) = out.next_piece() else { return Ok(None) };
            let free = plain.give(bytes, length, left);
            out.give_back(free);
        }
        let done = plain.send(left)?;
        if done.is_some() || !plain.wants_piece() {
            return Ok(done);
        }
    }
}
