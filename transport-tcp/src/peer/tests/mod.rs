//! The transport alone, on loopback addresses.

pub(super) mod contents;
mod data_plain;
mod log;
mod proxy;
mod reach;
mod strangers;

use super::identity::{Cluster, Credentials, PeerTls};
use super::{ConnectError, Patience, TcpTransport, Terms};
use proxy::Proxy;
use rain_model::graph::{Batch, BatchKind, Column, Kind};
use rain_model::id::{GovernorId, SessionId};
use rain_protocol::peer::{BetweenGovernors, Forget, FromGovernor, Message, RemoteInput, Run, TaskSet, ToGovernor};
use rain_transport::{Peer, Transport, TransportEvent, Wake, check_transport};
use rain_wire::plain_bytes::UNREADABLE;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// Against hanging only.
const PATIENCE: Duration = Duration::from_secs(60);

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

fn join_as(
    authority: &str,
    credentials: &Credentials,
    server: SocketAddr,
) -> Result<(GovernorId, TcpTransport<Vec<u8>>), ConnectError> {
    TcpTransport::join(&[server], listener(), PeerTls::governor(authority, credentials).unwrap(), (), None)
}

fn join(cluster: &Cluster, server: SocketAddr) -> (GovernorId, TcpTransport<Vec<u8>>) {
    join_as(&cluster.authority, &cluster.governor, server).unwrap()
}

fn serve(cluster: &Cluster, wake: Wake) -> (SocketAddr, TcpTransport<Vec<u8>>) {
    serve_with(cluster, false, wake)
}

fn serve_with(cluster: &Cluster, data_plain: bool, wake: Wake) -> (SocketAddr, TcpTransport<Vec<u8>>) {
    serve_on(cluster, Terms { data_plain, ..Terms::default() }, wake)
}

fn serve_on(cluster: &Cluster, terms: Terms, wake: Wake) -> (SocketAddr, TcpTransport<Vec<u8>>) {
    let door = listener();
    let address = door.local_addr().unwrap();
    let tls = PeerTls::server(cluster).unwrap();
    (address, TcpTransport::serve(door, tls, (), None, terms, wake).unwrap())
}

/// Losses are found in seconds.
fn impatient() -> Terms {
    Terms { data_plain: false, patience: Patience::new(Duration::from_secs(8)) }
}

/// An end that can be waited at.
struct End {
    transport: TcpTransport<Vec<u8>>,
    bell: Receiver<()>,
}

impl End {
    fn new(mut transport: TcpTransport<Vec<u8>>) -> Self {
        let (ring, bell) = channel();
        transport.set_wake(Arc::new(move || ring.send(()).unwrap_or_default()));
        Self { transport, bell }
    }

    fn next(&mut self) -> TransportEvent<Vec<u8>> {
        loop {
            if let Some(event) = self.transport.try_receive() {
                return event;
            }
            self.bell.recv_timeout(PATIENCE).expect("an event");
        }
    }

    fn next_lost(&mut self) -> (Peer, String) {
        loop {
            if let TransportEvent::Lost { peer, why } = self.next() {
                return (peer, why);
            }
        }
    }
}

/// A server and a governor with a proxy between them.
struct Proxied {
    /// The server's own.
    address: SocketAddr,
    proxy: Proxy,
    server: End,
    governor: End,
}

impl Proxied {
    fn new(data_plain: bool) -> Self {
        Self::on(Terms { data_plain, ..Terms::default() })
    }

    fn on(terms: Terms) -> Self {
        let cluster = Cluster::new().unwrap();
        let (address, server) = serve_on(&cluster, terms, Arc::new(|| ()));
        let proxy = Proxy::new(address);
        let governor = End::new(join(&cluster, proxy.address).1);
        Self { address, proxy, server: End::new(server), governor }
    }
}

fn server_and_governors(count: usize) -> (Cluster, End, Vec<End>) {
    let cluster = Cluster::new().unwrap();
    let (address, server) = serve(&cluster, Arc::new(|| ()));
    let governors = (0..count).map(|_| End::new(join(&cluster, address).1)).collect();
    (cluster, End::new(server), governors)
}

const FIRST: Peer = Peer::Governor(GovernorId(0));

#[test]
fn conforms() {
    conforms_with(false);
}

#[test]
fn conforms_with_content_beside_tls() {
    conforms_with(true);
}

fn conforms_with(data_plain: bool) {
    check_transport(|(server_wake, governor_wakes)| {
        let cluster = Cluster::new().unwrap();
        let (address, server) = serve_with(&cluster, data_plain, server_wake);
        let mut ends = vec![server];
        for wake in governor_wakes {
            let (_, mut end) = join(&cluster, address);
            end.set_wake(wake);
            ends.push(end);
        }
        ends.into_iter().map(|end| move || end).collect()
    });
}

#[test]
fn content_that_cannot_be_read_harms_nothing_else() {
    for data_plain in [false, true] {
        let Proxied { proxy: _proxy, mut server, mut governor, .. } = Proxied::new(data_plain);
        let lengths = [100, 70_000, 3_000_000, 20_000_000];
        let content = |ticket: u64| {
            let mut content = vec![ticket as u8; lengths[ticket as usize / 2 % lengths.len()]];
            if ticket.is_multiple_of(2) {
                content.extend_from_slice(UNREADABLE);
            }
            content
        };
        for ticket in 0..16u64 {
            let fetched = FromGovernor::Fetched { ticket, content: Ok(content(ticket)) };
            governor.transport.send(Peer::Server, Message::FromGovernor(fetched));
        }
        for ticket in 0..16u64 {
            let found = next_fetched(&mut server);
            let why = "this test cannot be read".to_owned();
            let right = if ticket.is_multiple_of(2) { Err(why) } else { Ok(content(ticket)) };
            assert!(found == (ticket, right), "{ticket}: {:?}", found.1.map(|content| content.len()));
        }
        // A submit has no place for an error, so that the tasks get it.
        let batch = Arc::new(Batch::empty(0));
        let constants = vec![(1, content(0)), (2, content(1)), (3, content(2))];
        let (remote, pins, grants) = (Vec::new(), Vec::new(), Vec::new());
        let run = Run { session: SessionId(1), batch, tasks: TaskSet::All, constants, remote, pins, grants };
        server.transport.send(FIRST, Message::ToGovernor(ToGovernor::Run(run)));
        match governor.next() {
            TransportEvent::Message { message: Message::ToGovernor(ToGovernor::Run(run)), .. } => {
                let found: Vec<&[u8]> = run.constants.iter().map(|(_, content)| content.as_slice()).collect();
                assert!(found == [b"this test cannot be read", content(1).as_slice(), b"this test cannot be read"]);
            }
            other => panic!("unexpected {other:?}"),
        }
    }
}

/// Messages in both directions with so many bytes of content, while `trouble` is called after each that comes to the server.
fn check_messages(data_plain: bool, count: u64, length: fn(u64) -> usize, trouble: impl Fn(u64, &Proxy)) -> Proxy {
    let Proxied { proxy, mut server, mut governor, .. } = Proxied::new(data_plain);
    let content = |ticket: u64| vec![ticket as u8; length(ticket)];
    for ticket in 0..count {
        let fetched = FromGovernor::Fetched { ticket, content: Ok(content(ticket)) };
        governor.transport.send(Peer::Server, Message::FromGovernor(fetched));
        let fetch = ToGovernor::Fetch { session: SessionId(1), object: 0, ticket };
        server.transport.send(FIRST, Message::ToGovernor(fetch));
    }
    for expected in 0..count {
        assert_eq!(next_fetched(&mut server), (expected, Ok(content(expected))));
        trouble(expected, &proxy);
    }
    for expected in 0..count {
        match governor.next() {
            TransportEvent::Message { message: Message::ToGovernor(ToGovernor::Fetch { ticket, .. }), .. } => {
                assert_eq!(ticket, expected);
            }
            other => panic!("unexpected {other:?}"),
        }
    }
    proxy
}

fn next_fetched(server: &mut End) -> (u64, Result<Vec<u8>, String>) {
    match server.next() {
        TransportEvent::Message {
            message: Message::FromGovernor(FromGovernor::Fetched { ticket, content }), ..
        } => (ticket, content),
        other => panic!("unexpected {other:?}"),
    }
}

/// Every tenth is large, so that some are cut in the middle.
fn some_large(ticket: u64) -> usize {
    if ticket.is_multiple_of(10) { 2_000_000 } else { 10 }
}

#[test]
fn what_is_on_its_way_survives_short_cuts() {
    for data_plain in [false, true] {
        check_messages(data_plain, 600, some_large, |ticket, proxy| {
            if ticket % 100 == 50 {
                proxy.cut();
            }
        });
    }
}

#[test]
fn large_content_that_is_cut_in_the_middle_comes_once_and_whole() {
    for data_plain in [false, true] {
        let proxy = check_messages(
            data_plain,
            6,
            |ticket| if ticket == 0 { 10 } else { 8_000_000 },
            |ticket, proxy| {
                // From the second on, whichever way it goes.
                if ticket == 0 {
                    proxy.faults.cuts_left.store(5, Ordering::SeqCst);
                }
            },
        );
        assert_eq!(proxy.faults.cuts_left.load(Ordering::SeqCst), 0);
    }
}

#[test]
fn a_slow_wire_that_tears_everything_apart_changes_nothing() {
    for data_plain in [false, true] {
        check_messages(
            data_plain,
            40,
            |ticket| 3_000 * ticket as usize,
            |ticket, proxy| {
                if ticket == 0 {
                    proxy.faults.torn.store(true, Ordering::SeqCst);
                }
            },
        );
    }
}

#[test]
fn a_peer_that_falls_silent_is_lost() {
    let Proxied { proxy, mut server, mut governor, .. } = Proxied::on(impatient());
    proxy.faults.stalled.store(true, Ordering::SeqCst);
    let (peer, why) = server.next_lost();
    assert_eq!(peer, FIRST);
    assert!(why.contains("nothing was heard from it"), "{why}");
    assert_eq!(governor.next_lost().0, Peer::Server);
}

#[test]
fn a_governor_that_ends_is_lost_at_once_to_server_and_peers() {
    let (_cluster, mut server, mut governors) = server_and_governors(2);
    let last = governors.pop().unwrap();
    let mut first = governors.pop().unwrap();
    let want = BetweenGovernors::Want { session: SessionId(1), object: 3 };
    let second = Peer::Governor(GovernorId(1));
    let mut last = last;
    last.transport.send(FIRST, Message::BetweenGovernors(want));
    assert!(matches!(first.next(), TransportEvent::Message { from, .. } if from == second));
    drop(last);
    let (peer, why) = server.next_lost();
    assert!(peer == second && why.ends_with(": it has ended"), "{peer:?}: {why}");
    assert_eq!(first.next_lost().0, second);
    // Nobody knows it any more.
    first
        .transport
        .send(second, Message::BetweenGovernors(BetweenGovernors::Want { session: SessionId(1), object: 3 }));
    assert_eq!(first.next_lost().0, second);
    drop(server);
    assert_eq!(first.next_lost().0, Peer::Server);
}

/// Ten tasks of the last of these kinds.
fn batch(first: u32, kinds: &[BatchKind]) -> Arc<Batch> {
    let kind = Column::Same(kinds.len() as u32 - 1);
    Arc::new(Batch { count: 10, kinds: kinds.into(), kind, ..Batch::empty(first) })
}

fn kind(number: u32, name: &str) -> BatchKind {
    let kind = Kind { config: vec![1; 1000], ..Kind::new(name) };
    BatchKind { number, kind: Arc::new(kind) }
}

fn run(batch: &Arc<Batch>, task: u32) -> Message<Vec<u8>> {
    Message::ToGovernor(ToGovernor::Run(Run {
        session: SessionId(4),
        batch: batch.clone(),
        tasks: TaskSet::Some(vec![task]),
        constants: vec![(task, vec![7; 100_000 * (task as usize % 2)])],
        remote: vec![RemoteInput { object: 5, holders: vec![GovernorId(9), GovernorId(2)], transfer: 0 }],
        pins: vec![6],
        grants: Vec::new(),
    }))
}

fn assert_is_run(event: TransportEvent<Vec<u8>>, batch: &Arc<Batch>, task: u32) {
    match event {
        TransportEvent::Message { message: Message::ToGovernor(ToGovernor::Run(run)), .. } => {
            // What comes of the batch is this task alone.
            let ranges = run.tasks.ranges(&run.batch);
            assert!(ranges.iter().chain([&run.batch.tasks()]).all(|range| *range == (task..task + 1)), "{ranges:?}");
            assert_eq!(run.batch.kind(task), batch.kind(task));
            assert_eq!(run.batch.kind_index(task), batch.kind_index(task));
            assert_eq!(run.constants, [(task, vec![7; 100_000 * (task as usize % 2)])]);
            let remote = RemoteInput { object: 5, holders: vec![GovernorId(9), GovernorId(2)], transfer: 0 };
            assert_eq!((run.remote, run.pins), (vec![remote], vec![6]));
        }
        other => panic!("unexpected {other:?}"),
    }
}

#[test]
fn batches_and_kinds_that_are_told_once_come_back_whole() {
    let (_cluster, mut server, mut governors) = server_and_governors(1);
    let [a, b] = [kind(3, "a"), kind(7, "b")];
    let (first, second) = (batch(0, std::slice::from_ref(&a)), batch(10, &[a, b]));
    let sent = [(&first, 0), (&first, 1), (&second, 10), (&first, 2), (&second, 11)];
    for (batch, task) in sent {
        server.transport.send(FIRST, run(batch, task));
    }
    for (batch, task) in sent {
        assert_is_run(governors[0].next(), batch, task);
    }
}

#[test]
fn what_is_forgotten_is_told_anew() {
    let (_cluster, mut server, mut governors) = server_and_governors(1);
    let [a, b] = [kind(0, "a"), kind(1, "b")];
    let (first, second) = (batch(0, &[a.clone(), b.clone()]), batch(10, &[a, b]));
    let forget = Forget { session: 4, tasks: vec![0, 1], objects: vec![3], batches: vec![0], kinds: vec![1] };
    server.transport.send(FIRST, run(&first, 0));
    server.transport.send(FIRST, Message::ToGovernor(ToGovernor::Forget(forget.clone())));
    for batch in [&second, &first, &second] {
        server.transport.send(FIRST, run(batch, batch.first));
    }
    assert_is_run(governors[0].next(), &first, 0);
    match governors[0].next() {
        TransportEvent::Message { message: Message::ToGovernor(ToGovernor::Forget(came)), .. } => {
            assert_eq!(came, forget);
        }
        other => panic!("unexpected {other:?}"),
    }
    for batch in [&second, &first, &second] {
        assert_is_run(governors[0].next(), batch, batch.first);
    }
}
