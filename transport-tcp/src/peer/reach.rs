//! How messages find a way to a governor: over the connection that one of the two has made; where one of them cannot be connected to,
//! the other one does that.

use super::endpoint::{Endpoint, SERVER, key, name};
use super::link::LinkKey;
use super::wire::{Record, record};
use rain_model::id::GovernorId;
use rain_transport::{Peer, Place};
use rain_wire::payload::Payload;
use std::net::SocketAddr;

impl<D: Payload> Endpoint<D> {
    /// The link for messages to this peer, which is made for the first one to a governor. None if there cannot be one.
    pub(super) fn way_to(&mut self, peer: Peer) -> Option<LinkKey> {
        let [out, incoming] = [true, false].map(|out| LinkKey { peer, out });
        // What was once chosen is chosen again, or messages would overtake each other.
        if self.links.contains_key(&out) {
            return Some(out);
        }
        // Content without encryption goes from who connects, so that each connects if it can.
        if self.links.get(&incoming).is_some_and(|link| !self.data_plain || link.has_taken_over) {
            return Some(incoming);
        }
        let (Some(Peer::Governor(_)), Peer::Governor(governor)) = (self.me, peer) else { return None };
        let way = key(governor, true);
        self.insert_link(way);
        self.ask_where(governor);
        Some(way)
    }

    fn ask_where(&mut self, governor: GovernorId) {
        self.urge_server(&record(Record::Where, &governor));
    }

    fn urge_server(&mut self, record: &[u8]) -> bool {
        self.active.insert(SERVER);
        self.links.get_mut(&SERVER).is_some_and(|server| server.urge(record))
    }

    /// Asks for the places that are not known: the answers may have been lost with a connection.
    pub(super) fn ask_again(&mut self) {
        let is_unlocated = |key: &LinkKey| match key.peer {
            Peer::Governor(governor) if key.out => Some(governor),
            _ => None,
        };
        let unlocated: Vec<GovernorId> = self
            .links
            .iter()
            .filter(|(_, link)| link.addresses.is_empty())
            .filter_map(|(key, _)| is_unlocated(key))
            .collect();
        unlocated.into_iter().for_each(|governor| self.ask_where(governor));
    }

    /// The server says where a governor is that was asked for.
    pub(super) fn located(&mut self, governor: GovernorId, place: Option<Place>) {
        let out = key(governor, true);
        let address = place.and_then(|place| self.address_of(place));
        let Some(link) = self.links.get_mut(&out).filter(|link| !link.was_greeted()) else { return };
        match address {
            Some(address) if link.addresses.is_empty() => {
                link.addresses = vec![address];
                self.dial(out);
            }
            Some(_) => {}
            None => self.lose(out, "the server does not know it any more".to_owned()),
        }
    }

    fn address_of(&self, place: Place) -> Option<SocketAddr> {
        let server = self.links.get(&SERVER).and_then(|link| link.connection.as_ref()).map(|c| c.address.ip());
        Some(SocketAddr::new(place.ip.or(server)?, place.port))
    }

    /// A governor cannot be connected to: what there is for it goes over a connection that it has made or, when the server has asked
    /// it to, will make.
    pub(super) fn go_another_way(&mut self, unreachable: LinkKey, why: &str) {
        let Peer::Governor(governor) = unreachable.peer else { return };
        if self.take_over_unreachable(unreachable.peer) {
            return;
        }
        if self.links.get(&unreachable).is_none_or(|link| link.summoned) {
            return;
        }
        let asked = self.urge_server(&record(Record::Unreachable, &governor));
        let Some(link) = self.links.get_mut(&unreachable) else { return };
        link.summoned = asked;
        if asked {
            let address = link.addresses.first().map(SocketAddr::to_string).unwrap_or_default();
            tracing::warn!(
                "{} cannot connect to {governor} at {address} ({why}): {governor} is asked to",
                name(self.me)
            );
        }
    }

    /// Moves what waits on a link that never had a connection to the one that the peer has made; whether there was one.
    pub(super) fn take_over_unreachable(&mut self, peer: Peer) -> bool {
        let [out, incoming] = [true, false].map(|out| LinkKey { peer, out });
        let made = self.links.get(&incoming).is_some_and(|link| link.was_greeted());
        let waits = |link: &&super::link::Link<D>| !link.was_greeted() && link.connection.is_none() && link.tries > 0;
        if !made || self.links.get(&out).filter(waits).is_none() {
            return false;
        }
        if let (Some(waiting), Some(link)) = (self.links.remove(&out), self.links.get_mut(&incoming)) {
            link.take_over(waiting);
        }
        self.active.remove(&out);
        self.active.insert(incoming);
        true
    }

    /// For the server: the governor of link `of` cannot connect to this one.
    pub(super) fn summon(&mut self, of: LinkKey, governor: GovernorId) {
        let Peer::Governor(asker) = of.peer else { return };
        let place = self.shared.places().get(&asker).copied();
        let summoned = place.is_some_and(|place| {
            let link = self.links.get_mut(&key(governor, true));
            link.is_some_and(|link| link.urge(&record(Record::Summon, &(asker, place))))
        });
        tracing::warn!("{asker} cannot connect to {governor}: {governor} is asked to connect to {asker}");
        if summoned {
            self.active.insert(key(governor, true));
        } else if let Some(link) = self.links.get_mut(&of) {
            link.urge(&record(Record::Address, &(governor, None::<Place>)));
            self.active.insert(of);
        }
    }

    /// Connects to a governor that has something for this one and cannot connect to it.
    pub(super) fn summoned(&mut self, governor: GovernorId, place: Place) {
        let out = key(governor, true);
        let Some(address) = self.address_of(place) else { return };
        if self.links.contains_key(&out) || self.links.contains_key(&key(governor, false)) {
            return;
        }
        self.insert_link(out).addresses = vec![address];
        self.dial(out);
    }
}
