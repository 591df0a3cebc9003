//! Who does not belong to the cluster, and who does not behave.

use super::super::door::WAITING_CONNECTIONS_MAX;
use super::super::wire::{Hello, PEER_VERSION, Purpose, RECORD_HEADER_BYTES, Record, record};
use super::proxy::Proxy;
use super::*;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

fn why_refused(authority: &str, credentials: &Credentials, server: SocketAddr) -> String {
    match join_as(authority, credentials, server) {
        Err(error) => error.to_string(),
        Ok((id, _)) => panic!("{id} was let in"),
    }
}

#[test]
fn strangers_are_refused() {
    log::keep();
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
    replayed.set_read_timeout(Some(PATIENCE)).unwrap();
    let _ = replayed.write_all(&proxy.faults.heard.lock().unwrap());
    let mut answer = Vec::new();
    let _ = replayed.read_to_end(&mut answer);
    log::expect(&[&format!("peer={}", replayed.local_addr().unwrap()), "refused a connection"]);
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
    governor.send(Peer::Server, Message::FromGovernor(FromGovernor::Joined { cpus: 3, resources: Default::default() }));
    match server.next() {
        TransportEvent::Message { from, message: Message::FromGovernor(FromGovernor::Joined { cpus: 3, .. }) } => {
            assert_eq!(from, Peer::Governor(id));
        }
        other => panic!("unexpected {other:?}"),
    }
}

#[test]
fn a_scan_of_the_port_is_no_trouble() {
    let cluster = Cluster::new().unwrap();
    for data_plain in [false, true] {
        let (address, server) = serve_with(&cluster, data_plain, Arc::new(|| ()));
        let proxy = Proxy::new(address);
        let (_, mut known) = join(&cluster, proxy.address);
        let hello = proxy.faults.heard.lock().unwrap()[..400].to_vec();
        for number in 0..1000 {
            let mut stream = TcpStream::connect(address).unwrap();
            let said = match number % 4 {
                0 => &[][..],
                // Half of a handshake that began well.
                1 => &hello[..number % hello.len()],
                2 => b"GET / HTTP/1.1\r\n\r\n",
                _ => b"rain",
            };
            let _ = stream.write_all(said);
            if number % 8 < 4 {
                // Gone with a reset instead of a proper end.
                let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
                nix::sys::socket::setsockopt(&stream, nix::sys::socket::sockopt::Linger, &linger).unwrap();
            }
        }
        let mut server = End::new(server);
        known
            .send(Peer::Server, Message::FromGovernor(FromGovernor::Joined { cpus: 3, resources: Default::default() }));
        assert!(matches!(server.next(), TransportEvent::Message { from, .. } if from == FIRST));
        assert_eq!(join(&cluster, address).0, GovernorId(1));
    }
}

/// A governor that has been let in and pings as it should, but reads nothing.
fn deaf_governor(cluster: &Cluster, server: SocketAddr, until: Arc<AtomicBool>) -> std::thread::JoinHandle<()> {
    let mut tls = PeerTls::governor(&cluster.authority, &cluster.governor).unwrap().dial(true).unwrap();
    let mut socket = TcpStream::connect(server).unwrap();
    let purpose = Purpose::Join { listen: "127.0.0.1:1".parse().unwrap(), host: "far-away".to_owned() };
    let hello = Hello { version: PEER_VERSION, purpose, received: [0; 2] };
    let mut write = move |bytes: &[u8], welcome: bool| -> std::io::Result<()> {
        tls.writer().write_all(bytes)?;
        while tls.wants_write() || tls.is_handshaking() {
            tls.complete_io(&mut socket)?;
        }
        while welcome && tls.reader().read(&mut [0; RECORD_HEADER_BYTES]).is_err() {
            tls.read_tls(&mut socket)?;
            tls.process_new_packets().map_err(std::io::Error::other)?;
        }
        Ok(())
    };
    write(&record(Record::Hello, &hello), true).unwrap();
    std::thread::spawn(move || {
        while !until.load(Ordering::SeqCst) && write(&record(Record::Ping, &()), false).is_ok() {
            std::thread::sleep(Duration::from_millis(200));
        }
    })
}

#[test]
fn a_peer_that_reads_nothing_costs_bounded_memory_and_is_given_up() {
    let cluster = Cluster::new().unwrap();
    let (address, server) = serve_on(&cluster, impatient(), Arc::new(|| ()));
    let mut server = End::new(server);
    let over = Arc::new(AtomicBool::new(false));
    let deaf = deaf_governor(&cluster, address, over.clone());
    // A bit more than may wait.
    let batch = Arc::new(Batch { count: 4_400, ..(*batch(0, &[kind(0, "a")])).clone() });
    for task in 0..4_400 {
        let run = Run {
            session: SessionId(4),
            batch: batch.clone(),
            tasks: TaskSet::Some(vec![task]),
            constants: vec![(task, vec![7; 62 << 10])],
            remote: Vec::new(),
            pins: Vec::new(),
            grants: Vec::new(),
        };
        server.transport.send(FIRST, Message::ToGovernor(ToGovernor::Run(run)));
    }
    let (peer, why) = server.next_lost();
    assert_eq!(peer, FIRST);
    assert!(why.starts_with("far-away: it does not take what is sent to it: 2"), "{why}");
    over.store(true, Ordering::SeqCst);
    deaf.join().unwrap();
}
