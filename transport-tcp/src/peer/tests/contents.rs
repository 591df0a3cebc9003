//! Clients that fetch content from governors themselves.

use super::super::ClientDoor;
use super::super::identity::{CLIENT_PROTOCOL, CONTENT_PROTOCOL, PEER_PROTOCOL, content_connection};
use super::*;
use crate::contents::{CONTENT_CONNECTIONS_MAX, ContentService};
use rain_model::graph::DataType;
use rain_protocol::client::{Fetch, FetchHeader, NewSession, RequestError, reply_frame};
use rain_protocol::msgpack::decode;
use rain_transport::clients::{Contents, Found};
use rain_transport::content::Content;
use rustls::{ClientConnection, StreamOwned};
use std::io::{self, Read, Write};
use std::net::TcpStream;

const LENGTH: usize = 3 << 20;

/// Object 7 of session 1, and no other.
pub(in crate::peer) struct OneObject;

struct Numbers(Vec<u8>);

impl Content for Numbers {
    fn length(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        into.copy_from_slice(&self.0[offset as usize..][..into.len()]);
        Ok(())
    }
}

fn content() -> Vec<u8> {
    (0..LENGTH).map(|place| (place % 251) as u8).collect()
}

impl Contents for OneObject {
    fn find(&self, fetch: &Fetch) -> Result<Found, RequestError> {
        if (fetch.session, fetch.object) != (1, 7) {
            return Err(RequestError::request(format!("object {} is not here", fetch.object)));
        }
        let content = Arc::new(Numbers(content()));
        Ok(Found { data_type: DataType::Blob, content_type: Some("text".to_owned()), content })
    }
}

/// A server, a governor with content, and where the governor listens.
fn governor(cluster: &Cluster) -> (TcpTransport<Vec<u8>>, TcpTransport<Vec<u8>>, SocketAddr) {
    let (server, transport) = serve(cluster, Arc::new(|| ()));
    let door = listener();
    let address = door.local_addr().unwrap();
    let tls = PeerTls::governor(&cluster.authority, &cluster.governor).unwrap();
    let clients = ClientDoor::of_governor(ContentService::new(Arc::new(OneObject)));
    let (id, governor) = TcpTransport::join(&[server], door, tls, (), Some(clients)).unwrap();
    let place = transport.place_of(id).unwrap();
    assert_eq!((place.ip, place.port), (None, address.port()));
    (transport, governor, address)
}

type Client = StreamOwned<ClientConnection, TcpStream>;

fn connect_as(authority: &str, credentials: &Credentials, protocol: &[u8], address: SocketAddr) -> Client {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    StreamOwned::new(content_connection(authority, credentials, protocol).unwrap(), socket)
}

fn connect(cluster: &Cluster, address: SocketAddr) -> Client {
    connect_as(&cluster.authority, &cluster.client, CONTENT_PROTOCOL, address)
}

fn request(object: u32, offset: u64, limit: Option<u64>) -> Vec<u8> {
    reply_frame("fetch", 5, &Fetch { session: 1, object, map: false, offset, limit, direct: false }).unwrap()
}

fn frame(client: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    client.read_exact(&mut length)?;
    let mut frame = vec![0; u32::from_le_bytes(length) as usize];
    client.read_exact(&mut frame).map(|()| frame)
}

fn fetched(client: &mut impl Read) -> io::Result<(FetchHeader, Vec<u8>)> {
    let frame = frame(client)?;
    let (kind, id, header): (String, u64, FetchHeader) = decode(&frame).map_err(io::Error::other)?;
    assert_eq!((kind.as_str(), id), ("ok", 5));
    let mut bytes = vec![0; header.length as usize];
    client.read_exact(&mut bytes).map(|()| (header, bytes))
}

fn error(client: &mut impl Read) -> String {
    let (kind, _, error): (String, u64, RequestError) = decode(&frame(client).unwrap()).unwrap();
    assert_eq!(kind, "error");
    error.message
}

#[test]
fn a_client_gets_what_it_asks_for() {
    let cluster = Cluster::new().unwrap();
    let (_server, _governor, address) = governor(&cluster);
    let mut client = connect(&cluster, address);
    // Together, and so perhaps before the governor has let it in.
    client.write_all(&[request(7, 0, None), request(3, 0, None), request(7, 1_000_000, Some(10))].concat()).unwrap();
    let (header, bytes) = fetched(&mut client).unwrap();
    assert_eq!((header.size, header.content_type.as_deref()), (LENGTH as u64, Some("text")));
    assert!(bytes == content());
    assert_eq!(error(&mut client), "object 3 is not here");
    let (header, bytes) = fetched(&mut client).unwrap();
    assert_eq!((header.size, &bytes[..]), (LENGTH as u64, &content()[1_000_000..1_000_010]));
    for (offset, limit, length) in [(u64::MAX, None, 0), (0, Some(u64::MAX), LENGTH), (LENGTH as u64 - 1, Some(5), 1)] {
        client.write_all(&request(7, offset, limit)).unwrap();
        assert_eq!(fetched(&mut client).unwrap().1.len(), length);
    }
    client.write_all(&reply_frame("new_session", 5, &NewSession { name: String::new() }).unwrap()).unwrap();
    assert!(error(&mut client).contains("only fetch"));
}

#[test]
fn nobody_else_gets_anything() {
    log::keep();
    let cluster = Cluster::new().unwrap();
    let other = Cluster::new().unwrap();
    let (_server, _governor, address) = governor(&cluster);
    let strangers = [
        (&cluster.authority, &cluster.governor, CONTENT_PROTOCOL, Some("a governor's credentials")),
        (&cluster.authority, &cluster.client, PEER_PROTOCOL, Some("a client's credentials")),
        (&cluster.authority, &cluster.client, CLIENT_PROTOCOL, None),
        (&cluster.authority, &cluster.server, CONTENT_PROTOCOL, None),
        (&cluster.authority, &other.client, CONTENT_PROTOCOL, None),
        (&other.authority, &other.client, CONTENT_PROTOCOL, None),
    ];
    for (authority, credentials, protocol, why) in strangers {
        let mut stranger = connect_as(authority, credentials, protocol, address);
        let near = stranger.sock.local_addr().unwrap();
        let _ = stranger.write_all(&request(7, 0, None));
        let mut answer = Vec::new();
        let _ = stranger.read_to_end(&mut answer);
        // At most the word that it is refused.
        assert!(answer.len() < 200, "{} bytes", answer.len());
        log::expect(&[&format!("peer={near}"), "refused a connection", why.unwrap_or_default()]);
    }
    connect(&cluster, address).write_all(&request(7, 0, None)).unwrap();
}

#[test]
fn clients_cost_a_bounded_number_of_connections_and_bytes() {
    let cluster = Cluster::new().unwrap();
    let (_server, governor, address) = governor(&cluster);
    let mut long = connect(&cluster, address);
    long.write_all(&u32::MAX.to_le_bytes()).unwrap();
    assert!(frame(&mut long).is_err());
    drop(long);
    let mut clients: Vec<Client> = Vec::new();
    // The one before may still be counted.
    while clients.len() <= CONTENT_CONNECTIONS_MAX {
        let mut client = connect(&cluster, address);
        client.write_all(&request(7, 0, Some(1))).unwrap();
        if fetched(&mut client).is_err() {
            break;
        }
        clients.push(client);
    }
    assert!((CONTENT_CONNECTIONS_MAX - 1..=CONTENT_CONNECTIONS_MAX).contains(&clients.len()), "{}", clients.len());
    // All of them end with the governor.
    drop(governor);
    for mut client in clients {
        assert!(frame(&mut client).is_err());
    }
}
