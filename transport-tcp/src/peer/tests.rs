//! The transport alone, on loopback addresses.

use super::identity::{Cluster, PeerTls};
use super::{ConnectError, TcpTransport};
use rain_core::id::GovernorId;
use rain_transport::check_transport;
use std::net::{SocketAddr, TcpListener};

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

fn join(cluster: &Cluster, server: SocketAddr) -> Result<(GovernorId, TcpTransport<Vec<u8>>), ConnectError> {
    let tls = PeerTls::governor(&cluster.authority, &cluster.governor).unwrap();
    TcpTransport::join(&[server], listener(), tls, ())
}

#[test]
fn conforms() {
    check_transport(|(server_wake, governor_wakes)| {
        let cluster = Cluster::new().unwrap();
        let door = listener();
        let address = door.local_addr().unwrap();
        let tls = PeerTls::server(&cluster).unwrap();
        let mut ends = vec![TcpTransport::serve(door, tls, (), None, server_wake).unwrap()];
        for wake in governor_wakes {
            let (_, mut end) = join(&cluster, address).unwrap();
            end.set_wake(wake);
            ends.push(end);
        }
        ends.into_iter().map(|end| move || end).collect()
    });
}
