//! How the server and the governors reach each other: one trait, one conformance suite, a backend a file. And how the server reaches
//! its clients ([`clients`]).

pub mod clients;
mod conformance;
pub mod content;
mod in_process;

pub use conformance::{Bell, CONFORMANCE_GOVERNORS, check_endpoint, check_transport};
pub use in_process::{InProcessEndpoint, connect_in_process};

use rain_model::id::GovernorId;
use rain_protocol::peer::Message;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// One end of the connections: the server's, or a governor's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Peer {
    Server,
    Governor(GovernorId),
}

/// What a transport tells its owner.
#[derive(Debug)]
pub enum TransportEvent<D> {
    Message {
        from: Peer,
        message: Message<D>,
    },
    /// The peer is gone; nothing more comes from it, and what is sent to it is dropped.
    Lost {
        peer: Peer,
        why: String,
    },
}

/// Where a governor listens; `ip` is absent when it is the server's machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub ip: Option<IpAddr>,
    pub port: u16,
}

/// An endpoint. It lives on one thread, and wakes that thread when something has come.
///
/// Messages between the same two endpoints arrive whole, once, in the order in which they were sent, until one of them
/// ends; sending never waits for the receiver.
pub trait Transport<D> {
    /// Who this endpoint is.
    fn me(&self) -> Peer;

    /// Queues a message. To a peer that is gone or unknown it is dropped: `Lost` tells.
    fn send(&mut self, to: Peer, message: Message<D>);

    /// The next event, if one has come.
    fn try_receive(&mut self) -> Option<TransportEvent<D>>;

    /// For the server: where clients can fetch content from a governor, if they can.
    fn place_of(&self, _governor: GovernorId) -> Option<Place> {
        None
    }
}

/// Called when something has come for an endpoint, from any thread.
pub type Wake = std::sync::Arc<dyn Fn() + Send + Sync>;
