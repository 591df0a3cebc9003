//! The messages that Rain's parts speak: with clients (`client`), with executors (`executor`), between server and governors
//! (`peer`), what a server tells its event log (`log`), what tasks ask for (`resources`) and why they wait (`explain`), and the frames of the first two (`msgpack`).
//!
//! Pure: bytes come in and go out as arguments.

mod bounded;
pub mod client;
pub mod cut;
pub mod executor;
pub mod explain;
mod info;
pub mod log;
pub mod msgpack;
pub mod peer;
mod request_error;
pub mod resources;
