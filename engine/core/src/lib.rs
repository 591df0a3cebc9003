//! The pure part of Rain: task graphs, the server's and the governor's state machines, and the messages they speak.
//!
//! Nothing here opens a file or a socket, starts a thread or reads a clock: time comes in as an argument, events come in
//! and actions go out (sans I/O). Drivers in `rain-runtime` and the transports turn I/O into events and actions into I/O.

pub mod client;
pub mod cut;
pub mod executor;
pub mod governor;
pub mod graph;
pub mod id;
pub mod msgpack;
pub mod peer;
pub mod server;
