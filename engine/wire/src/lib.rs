//! Messages between server and governors as bytes, for transports that leave the process: a head a message (postcard, with
//! batches and kinds said once), small content in the head, large content after it in pieces.
//!
//! Nothing here knows what carries the bytes.

mod filling;
pub mod lane;
pub mod message;
pub mod payload;
