//! Connections of clients that come to a port of peers.

use super::connection::Connection;
use super::identity::CONTENT_PROTOCOL;
use crate::contents::ContentService;
use crate::front::{FrontSocket, TlsClients};

/// Where connections of clients go: to the server's front, and those that only fetch content to a service for that.
pub struct ClientDoor {
    front: Option<TlsClients>,
    contents: ContentService,
}

impl ClientDoor {
    /// For the server's port.
    pub fn of_server(front: TlsClients, contents: ContentService) -> Self {
        Self { front: Some(front), contents }
    }

    /// For a governor's port.
    pub fn of_governor(contents: ContentService) -> Self {
        Self { front: None, contents }
    }

    pub(super) fn hand_over(&self, connection: Connection) {
        let only_fetches = connection.tls.alpn_protocol() == Some(CONTENT_PROTOCOL);
        let (socket, tls, address, early) = connection.into_parts();
        match &self.front {
            Some(front) if !only_fetches => front.hand_over(FrontSocket::tls(socket, tls, address, early)),
            _ => self.contents.take(socket, tls, address, early),
        }
    }
}
