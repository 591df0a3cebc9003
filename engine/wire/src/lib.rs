//! Messages between server and governors as bytes, for transports that leave the process: a head a message (postcard, with
//! batches and kinds said once), small content in the head, large content after it in pieces.
//!
//! Nothing here knows what carries the bytes.

pub mod buffers;
pub mod checksum;
pub mod lane;
mod lane_in;
pub mod message;
mod part;
pub mod payload;
pub mod plain_bytes;
mod read_ahead;
mod slices;
