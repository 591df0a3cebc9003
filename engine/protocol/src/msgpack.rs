//! Frames: a little-endian `u32` length and one MessagePack value (`docs/protocol.md`).

use crate::cut::cut_owned;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

/// Version of the client and executor protocols.
pub const PROTOCOL_VERSION: u32 = 1;
/// Longest body before the handshake, bytes.
pub const FRAME_BYTES_MAX_BEFORE_HELLO: usize = 64 * 1024;
/// Longest body after the handshake, bytes.
pub const FRAME_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Bytes of a frame's length, which comes before its body.
pub const HEADER_BYTES: usize = 4;

/// Longest text that says what is wrong with a message, which may quote it; bytes.
const WHY_BYTES_MAX: usize = 1 << 10;

/// A frame or message that cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("a frame of {length} bytes is longer than the {max} bytes allowed here")]
    TooLong { length: usize, max: usize },
    #[error("the frame is not the expected MessagePack message: {0}")]
    Malformed(String),
}

/// The length that a frame's header says, at most `max` bytes.
///
/// # Errors
/// `TooLong`.
pub fn body_length(header: [u8; HEADER_BYTES], max: usize) -> Result<usize, FrameError> {
    let length = u32::from_le_bytes(header) as usize;
    if length > max { Err(FrameError::TooLong { length, max }) } else { Ok(length) }
}

/// Writes its length into the header of a frame, which has room for it, and of which `rest` bytes follow in other memory.
///
/// # Errors
/// `TooLong` when nobody takes such a frame.
pub fn finish_frame(frame: &mut [u8], rest: u64) -> Result<(), FrameError> {
    let length = (frame.len() - HEADER_BYTES).saturating_add(usize::try_from(rest).unwrap_or(usize::MAX));
    if length > FRAME_BYTES_MAX {
        return Err(FrameError::TooLong { length, max: FRAME_BYTES_MAX });
    }
    // The longest frame has fewer than 2^32 bytes.
    frame[..HEADER_BYTES].copy_from_slice(&(length as u32).to_le_bytes());
    Ok(())
}

/// Encodes `value` (structs as maps) as a whole frame, length included.
///
/// # Errors
/// `TooLong` when nobody takes such a frame.
pub fn encode_frame<T: Serialize>(value: &T) -> Result<Vec<u8>, FrameError> {
    let mut frame = vec![0; HEADER_BYTES];
    append_value(&mut frame, value);
    finish_frame(&mut frame, 0)?;
    Ok(frame)
}

/// Appends `value` in MessagePack (structs as maps) to `buffer`.
pub fn append_value<T: Serialize>(buffer: &mut Vec<u8>, value: &T) {
    let mut serializer = rmp_serde::Serializer::new(buffer).with_struct_map();
    // A Vec takes every write and our messages have no type that MessagePack lacks.
    value.serialize(&mut serializer).expect("serialising to memory");
}

/// Decodes one MessagePack value that must fill `bytes`.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, FrameError> {
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(bytes);
    deserializer.set_max_depth(64);
    let value = T::deserialize(&mut deserializer)
        .map_err(|e| FrameError::Malformed(cut_owned(e.to_string(), WHY_BYTES_MAX)))?;
    // The reader does not tell where it stands; only an empty rest has no next marker.
    match IgnoredAny::deserialize(&mut deserializer) {
        Err(rmp_serde::decode::Error::InvalidMarkerRead(_)) => {}
        _ => return Err(FrameError::Malformed("bytes left over after the message".to_owned())),
    }
    Ok(value)
}

/// Splits frames off the front of a growing buffer.
#[derive(Debug, Default)]
pub struct FrameBuffer {
    bytes: Vec<u8>,
    start: usize,
}

impl FrameBuffer {
    /// An empty buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds bytes that came from the peer.
    pub fn extend(&mut self, bytes: &[u8]) {
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Takes the body of the next whole frame out; `None` until it has come whole.
    ///
    /// # Errors
    /// `TooLong` as soon as the length of a frame above `max` bytes is known.
    pub fn next_frame(&mut self, max: usize) -> Result<Option<&[u8]>, FrameError> {
        let pending = &self.bytes[self.start..];
        let Some(header) = pending.first_chunk::<HEADER_BYTES>() else { return Ok(self.wait_for_more()) };
        let length = body_length(*header, max)?;
        if pending.len() < HEADER_BYTES + length {
            return Ok(self.wait_for_more());
        }
        let body = self.start + HEADER_BYTES..self.start + HEADER_BYTES + length;
        self.start = body.end;
        Ok(Some(&self.bytes[body]))
    }

    fn wait_for_more(&mut self) -> Option<&[u8]> {
        self.bytes.drain(..self.start);
        self.start = 0;
        if self.bytes.is_empty() && self.bytes.capacity() > 1 << 20 {
            self.bytes = Vec::new();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_whole_however_they_are_cut() {
        let stream: Vec<u8> = ["a", "bc", ""].iter().flat_map(|text| encode_frame(text).unwrap()).collect();
        for cut in 1..stream.len() {
            let mut buffer = FrameBuffer::new();
            let mut seen: Vec<String> = Vec::new();
            for piece in stream.chunks(cut) {
                buffer.extend(piece);
                while let Some(body) = buffer.next_frame(100).unwrap() {
                    seen.push(decode(body).unwrap());
                }
            }
            assert_eq!(seen, ["a", "bc", ""]);
        }
    }

    #[test]
    fn a_frame_that_nobody_takes_is_not_made() {
        let mut frame = vec![0; 4];
        assert_eq!(finish_frame(&mut frame, FRAME_BYTES_MAX as u64), Ok(()));
        assert_eq!(frame, (FRAME_BYTES_MAX as u32).to_le_bytes());
        for rest in [FRAME_BYTES_MAX as u64 + 1, 1 << 32, u64::MAX] {
            let length = rest as usize;
            assert_eq!(finish_frame(&mut frame, rest), Err(FrameError::TooLong { length, max: FRAME_BYTES_MAX }));
        }
    }

    #[test]
    fn a_long_frame_is_refused_by_its_header() {
        let mut buffer = FrameBuffer::new();
        buffer.extend(&101u32.to_le_bytes());
        assert_eq!(buffer.next_frame(100), Err(FrameError::TooLong { length: 101, max: 100 }));
    }

    #[test]
    fn left_over_bytes_and_deep_nesting_are_errors() {
        assert!(decode::<u32>(&[1, 2]).is_err());
        let nested = vec![0x91; 100_000];
        assert!(decode::<serde::de::IgnoredAny>(&nested).is_err());
    }
}
