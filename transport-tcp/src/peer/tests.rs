//! The transport alone, on loopback addresses.

use super::door::WAITING_CONNECTIONS_MAX;
use super::identity::{Cluster, Credentials, PeerTls};
use super::{ConnectError, TcpTransport};
use rain_core::graph::{Batch, Column, Kind, Offsets};
use rain_core::id::{GovernorId, NONE, SessionId};
use rain_core::peer::{BetweenGovernors, FromGovernor, Message, Run, TaskSet, ToGovernor};
use rain_transport::{Peer, Transport, TransportEvent, Wake, check_transport};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

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
    TcpTransport::join(&[server], listener(), PeerTls::governor(authority, credentials).unwrap(), ())
}

fn join(cluster: &Cluster, server: SocketAddr) -> (GovernorId, TcpTransport<Vec<u8>>) {
    join_as(&cluster.authority, &cluster.governor, server).unwrap()
}

fn serve(cluster: &Cluster, wake: Wake) -> (SocketAddr, TcpTransport<Vec<u8>>) {
    let door = listener();
    let address = door.local_addr().unwrap();
    (address, TcpTransport::serve(door, PeerTls::server(cluster).unwrap(), (), None, false, wake).unwrap())
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

fn server_and_governors(count: usize) -> (Cluster, End, Vec<End>) {
    let cluster = Cluster::new().unwrap();
    let (address, server) = serve(&cluster, Arc::new(|| ()));
    let governors = (0..count).map(|_| End::new(join(&cluster, address).1)).collect();
    (cluster, End::new(server), governors)
}

const FIRST: Peer = Peer::Governor(GovernorId(0));

#[test]
fn conforms() {
    check_transport(|(server_wake, governor_wakes)| {
        let cluster = Cluster::new().unwrap();
        let (address, server) = serve(&cluster, server_wake);
        let mut ends = vec![server];
        for wake in governor_wakes {
            let (_, mut end) = join(&cluster, address);
            end.set_wake(wake);
            ends.push(end);
        }
        ends.into_iter().map(|end| move || end).collect()
    });
}

/// Something between two ends that cuts connections, or lets nothing through.
struct Proxy {
    address: SocketAddr,
    open: Arc<Mutex<Vec<TcpStream>>>,
    stalled: Arc<AtomicBool>,
    closed: Arc<AtomicBool>,
    /// What who connects has said.
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Proxy {
    fn new(target: SocketAddr) -> Self {
        let door = listener();
        let address = door.local_addr().unwrap();
        let open: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
        let (stalled, closed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (kept, stall, close) = (open.clone(), stalled.clone(), closed.clone());
        let heard: Arc<Mutex<Vec<u8>>> = Arc::default();
        let hear = heard.clone();
        std::thread::spawn(move || {
            for near in door.incoming().map_while(Result::ok) {
                if close.load(Ordering::SeqCst) {
                    return;
                }
                let far = TcpStream::connect(target).unwrap();
                for (from, to, from_near) in [(&near, &far, true), (&far, &near, false)] {
                    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let (stall, hear) = (stall.clone(), hear.clone());
                    std::thread::spawn(move || {
                        let mut buffer = vec![0; 1 << 16];
                        while let Ok(count) = from.read(&mut buffer)
                            && count > 0
                        {
                            if from_near {
                                hear.lock().unwrap().extend_from_slice(&buffer[..count]);
                            }
                            // What has come is lost, as on a cut wire.
                            if !stall.load(Ordering::SeqCst) && to.write_all(&buffer[..count]).is_err() {
                                break;
                            }
                        }
                        if !stall.load(Ordering::SeqCst) {
                            let _ = to.shutdown(Shutdown::Both);
                        }
                    });
                }
                kept.lock().unwrap().extend([near, far]);
            }
        });
        Self { address, open, stalled, closed, heard }
    }

    fn cut(&self) {
        for stream in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        self.cut();
    }
}

#[test]
fn what_is_on_its_way_survives_short_cuts() {
    const MESSAGES: u64 = 600;
    let cluster = Cluster::new().unwrap();
    let (address, server) = serve(&cluster, Arc::new(|| ()));
    let proxy = Proxy::new(address);
    let mut server = End::new(server);
    let mut governor = End::new(join(&cluster, proxy.address).1);
    // Every tenth is large, so that some are cut in the middle.
    let content = |ticket: u64| vec![ticket as u8; if ticket.is_multiple_of(10) { 2_000_000 } else { 10 }];
    for ticket in 0..MESSAGES {
        let fetched = FromGovernor::Fetched { ticket, content: Ok(content(ticket)) };
        governor.transport.send(Peer::Server, Message::FromGovernor(fetched));
        let fetch = ToGovernor::Fetch { session: SessionId(1), object: 0, ticket };
        server.transport.send(FIRST, Message::ToGovernor(fetch));
    }
    for expected in 0..MESSAGES {
        match server.next() {
            TransportEvent::Message {
                message: Message::FromGovernor(FromGovernor::Fetched { ticket, content: c }),
                ..
            } => {
                assert_eq!((ticket, c), (expected, Ok(content(expected))));
            }
            other => panic!("unexpected {other:?}"),
        }
        if expected % 100 == 50 {
            proxy.cut();
        }
    }
    for expected in 0..MESSAGES {
        match governor.next() {
            TransportEvent::Message { message: Message::ToGovernor(ToGovernor::Fetch { ticket, .. }), .. } => {
                assert_eq!(ticket, expected);
            }
            other => panic!("unexpected {other:?}"),
        }
    }
}

#[test]
fn a_peer_that_falls_silent_is_lost() {
    let cluster = Cluster::new().unwrap();
    let (address, server) = serve(&cluster, Arc::new(|| ()));
    let proxy = Proxy::new(address);
    let mut server = End::new(server);
    let mut governor = End::new(join(&cluster, proxy.address).1);
    proxy.stalled.store(true, Ordering::SeqCst);
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
    assert_eq!((peer, why.as_str()), (second, "it has ended"));
    assert_eq!(first.next_lost().0, second);
    // Nobody knows it any more.
    first
        .transport
        .send(second, Message::BetweenGovernors(BetweenGovernors::Want { session: SessionId(1), object: 3 }));
    assert_eq!(first.next_lost().0, second);
    drop(server);
    assert_eq!(first.next_lost().0, Peer::Server);
}

fn batch(first: u32, kinds: &Arc<Vec<Arc<Kind>>>) -> Arc<Batch> {
    Arc::new(Batch {
        first,
        count: 10,
        kinds: kinds.clone(),
        kind: Column::Same(kinds.len() as u32 - 1),
        input_offsets: Offsets::Every(0),
        inputs: Vec::new(),
        first_output: Column::Same(NONE),
        configs: Vec::new(),
        config: Column::Same(NONE),
        user: Default::default(),
    })
}

fn kind(name: &str) -> Arc<Kind> {
    Arc::new(Kind {
        task_type: name.to_owned(),
        cpus: 1,
        name: String::new(),
        config: vec![1; 1000],
        inputs: Vec::new(),
        outputs: Vec::new(),
        retries: 0,
        timeout: None,
        priority: 0,
    })
}

#[test]
fn batches_and_kinds_that_are_told_once_come_back_whole() {
    let (_cluster, mut server, mut governors) = server_and_governors(1);
    let one = Arc::new(vec![kind("a")]);
    let two = Arc::new(vec![one[0].clone(), kind("b")]);
    let (first, second) = (batch(0, &one), batch(10, &two));
    let sent = [(&first, 0), (&first, 1), (&second, 10), (&first, 2), (&second, 11)];
    for (batch, task) in sent {
        let run = Run {
            session: SessionId(4),
            batch: batch.clone(),
            tasks: TaskSet::Some(vec![task]),
            constants: vec![(task, vec![7; 100_000 * (task as usize % 2)])],
            remote: vec![(5, GovernorId(9))],
            pins: vec![6],
        };
        server.transport.send(FIRST, Message::ToGovernor(ToGovernor::Run(run)));
    }
    for (batch, task) in sent {
        match governors[0].next() {
            TransportEvent::Message { message: Message::ToGovernor(ToGovernor::Run(run)), .. } => {
                assert_eq!(run.tasks, TaskSet::Some(vec![task]));
                assert_eq!((run.batch.first, run.batch.kind(task)), (batch.first, batch.kind(task)));
                assert_eq!(run.constants, [(task, vec![7; 100_000 * (task as usize % 2)])]);
                assert_eq!((run.remote, run.pins), (vec![(5, GovernorId(9))], vec![6]));
            }
            other => panic!("unexpected {other:?}"),
        }
    }
}

fn why_refused(authority: &str, credentials: &Credentials, server: SocketAddr) -> String {
    match join_as(authority, credentials, server) {
        Err(error) => error.to_string(),
        Ok((id, _)) => panic!("{id} was let in"),
    }
}

#[test]
fn strangers_are_refused() {
    let cluster = Cluster::new().unwrap();
    let (address, server) = serve(&cluster, Arc::new(|| ()));
    let other = Cluster::new().unwrap();
    // Another cluster's, and this cluster's authority with another's certificate.
    assert!(why_refused(&other.authority, &other.governor, address).contains("certificate"));
    why_refused(&cluster.authority, &other.governor, address);
    // Good for something else.
    assert!(why_refused(&cluster.authority, &cluster.client, address).contains("a client's credentials"));
    // A server that takes its own kind for a governor would take them for good.
    why_refused(&cluster.authority, &cluster.server, address);
    // Expired, on either side.
    let past = SystemTime::now() - Duration::from_secs(3600);
    let old = Cluster::lasting(past, Duration::from_secs(60)).unwrap();
    let (old_address, _old_server) = serve(&old, Arc::new(|| ()));
    assert!(why_refused(&old.authority, &old.governor, old_address).contains("xpired"));
    // What a good governor has said, said again by somebody else.
    let proxy = Proxy::new(address);
    let (_, governor) = join(&cluster, proxy.address);
    drop(governor);
    let mut server = End::new(server);
    assert_eq!(server.next_lost().0, FIRST);
    let mut replayed = TcpStream::connect(address).unwrap();
    let _ = replayed.write_all(&proxy.heard.lock().unwrap());
    let mut answer = Vec::new();
    let _ = replayed.read_to_end(&mut answer);
    // Nobody has come: the next number is the next governor's.
    assert_eq!(join(&cluster, address).0, GovernorId(1));
    drop(server);
}

#[test]
fn crowds_at_the_door_do_not_keep_governors_out() {
    let cluster = Cluster::new().unwrap();
    let (address, server) = serve(&cluster, Arc::new(|| ()));
    let mut server = End::new(server);
    // Half-open ones, some that say little, some that say nonsense.
    let mut crowd = Vec::new();
    for number in 0..2 * WAITING_CONNECTIONS_MAX {
        let mut stream = TcpStream::connect(address).unwrap();
        let said: &[u8] = match number % 3 {
            0 => b"",
            1 => &[22, 3, 1, 2],
            _ => &[0xa5; 3000],
        };
        let _ = stream.write_all(said);
        crowd.push(stream);
    }
    let (id, mut governor) = join(&cluster, address);
    governor.send(Peer::Server, Message::FromGovernor(FromGovernor::Joined { cpus: 3 }));
    match server.next() {
        TransportEvent::Message { from, message: Message::FromGovernor(FromGovernor::Joined { cpus: 3 }) } => {
            assert_eq!(from, Peer::Governor(id));
        }
        other => panic!("unexpected {other:?}"),
    }
}
