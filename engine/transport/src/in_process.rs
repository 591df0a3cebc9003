//! Server and governors as threads of one process: messages are moved, never serialised.

use crate::{Peer, Transport, TransportEvent, Wake};
use crossbeam_channel::{Receiver, Sender, unbounded};
use rain_model::id::GovernorId;
use rain_protocol::peer::Message;
use std::collections::BTreeMap;

/// An end of the in-process transport.
pub struct InProcessEndpoint<D> {
    me: Peer,
    inbox: Receiver<TransportEvent<D>>,
    others: BTreeMap<Peer, (Sender<TransportEvent<D>>, Wake)>,
}

/// Connects a server and `wakes.1.len()` governors, each with each; `wakes` are called for what comes to the server and
/// to each governor.
pub fn connect_in_process<D>(wakes: (Wake, Vec<Wake>)) -> (InProcessEndpoint<D>, Vec<InProcessEndpoint<D>>) {
    let peers = (0..wakes.1.len() as u32).map(|number| Peer::Governor(GovernorId(number)));
    let peers: Vec<Peer> = std::iter::once(Peer::Server).chain(peers).collect();
    let wakes: Vec<Wake> = std::iter::once(wakes.0).chain(wakes.1).collect();
    let (senders, inboxes): (Vec<_>, Vec<_>) = peers.iter().map(|_| unbounded()).unzip();
    let directory: BTreeMap<Peer, (Sender<TransportEvent<D>>, Wake)> =
        peers.iter().copied().zip(senders.into_iter().zip(wakes)).collect();
    let mut endpoints = peers.into_iter().zip(inboxes).map(|(me, inbox)| {
        let others =
            directory.iter().filter(|(peer, _)| **peer != me).map(|(peer, end)| (*peer, end.clone())).collect();
        InProcessEndpoint { me, inbox, others }
    });
    let server = endpoints.next().expect("the server is the first peer");
    (server, endpoints.collect())
}

impl<D> Transport<D> for InProcessEndpoint<D> {
    fn me(&self) -> Peer {
        self.me
    }

    fn send(&mut self, to: Peer, message: Message<D>) {
        if let Some((sender, wake)) = self.others.get(&to) {
            // An error means that the receiver has ended; it said so itself.
            let _ = sender.send(TransportEvent::Message { from: self.me, message });
            wake();
        }
    }

    fn try_receive(&mut self) -> Option<TransportEvent<D>> {
        let event = self.inbox.try_recv().ok()?;
        if let TransportEvent::Lost { peer, .. } = &event {
            self.others.remove(peer);
        }
        Some(event)
    }
}

impl<D> Drop for InProcessEndpoint<D> {
    fn drop(&mut self) {
        for (sender, wake) in self.others.values() {
            let _ = sender.send(TransportEvent::Lost { peer: self.me, why: "it has ended".to_owned() });
            wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conforms() {
        crate::check_transport(|wakes| {
            let (server, governors) = connect_in_process(wakes);
            std::iter::once(server).chain(governors).map(|end| move || end).collect()
        });
    }
}
