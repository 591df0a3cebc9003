//! Content beside TLS: who may bring it, and that it is never wrong.

use super::super::plain::{GREETING_BYTES, MAGIC};
use super::*;
use std::io::{Read, Write};
use std::net::TcpStream;

const LENGTHS: [usize; 5] = [0, 10, 70_000, 3_000_001, 20_000_000];

fn length(ticket: u64) -> usize {
    LENGTHS[ticket as usize % LENGTHS.len()]
}

#[test]
fn large_content_goes_beside_tls_and_nothing_else_does() {
    let proxy = check_messages(true, 20, length, |_, _| ());
    let large: usize = (0..20).map(length).filter(|&length| length > 65_536).sum();
    assert_eq!(proxy.faults.plain_bytes.load(Ordering::SeqCst), (GREETING_BYTES + large) as u64);
    let proxy = check_messages(false, 20, length, |_, _| ());
    assert_eq!(proxy.faults.plain_bytes.load(Ordering::SeqCst), 0);
}

#[test]
fn governors_send_each_other_content_beside_tls() {
    let cluster = Cluster::new().unwrap();
    let (address, server) = serve_with(&cluster, true, Arc::new(|| ()));
    let mut governors: Vec<End> = (0..2).map(|_| End::new(join(&cluster, address).1)).collect();
    let second = Peer::Governor(GovernorId(1));
    for object in 0..20 {
        let content = Ok(vec![object as u8; length(u64::from(object))]);
        let message = BetweenGovernors::Object { session: SessionId(1), object, content };
        governors[0].transport.send(second, Message::BetweenGovernors(message));
    }
    for expected in 0..20 {
        match governors[1].next() {
            TransportEvent::Message {
                message: Message::BetweenGovernors(BetweenGovernors::Object { object, content, .. }),
                ..
            } => assert_eq!((object, content), (expected, Ok(vec![expected as u8; length(u64::from(expected))]))),
            other => panic!("unexpected {other:?}"),
        }
    }
    drop(server);
}

/// A server, a proxy that flips bits of so many pieces of content, and what comes of three contents.
fn with_flips(flips: u64) -> Vec<Result<Vec<u8>, String>> {
    let Proxied { proxy, mut server, mut governor, .. } = Proxied::new(true);
    proxy.faults.flips.store(flips, Ordering::SeqCst);
    let mut found = Vec::new();
    for ticket in 0..3 {
        let fetched = FromGovernor::Fetched { ticket, content: Ok(vec![ticket as u8; 100_000]) };
        governor.transport.send(Peer::Server, Message::FromGovernor(fetched));
        let (came, content) = next_fetched(&mut server);
        assert_eq!(came, ticket);
        if content.is_err() {
            proxy.faults.flips.store(0, Ordering::SeqCst);
        }
        found.push(content);
    }
    found
}

#[test]
fn content_that_was_changed_on_its_way_comes_again() {
    let right: Vec<Result<Vec<u8>, String>> = (0..3).map(|ticket| Ok(vec![ticket; 100_000])).collect();
    assert_eq!(with_flips(1), right);
}

#[test]
fn content_that_is_changed_each_time_is_an_error_that_names_both_ends() {
    let found = with_flips(u64::MAX);
    let error = found[0].as_ref().unwrap_err();
    for part in ["from governor 0 (127.0.0.1:", "to the server (127.0.0.1:", "another checksum", "twice"] {
        assert!(error.contains(part), "{error}");
    }
    // Nothing else suffers.
    assert_eq!(found[1..], [Ok(vec![1; 100_000]), Ok(vec![2; 100_000])]);
}

/// What somebody gets who opens a plain connection and says this; the server is to close it, and to log who it was.
fn check_refused(server: SocketAddr, said: &[u8], why: &str) {
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(said).unwrap();
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
    log::expect(&[&format!("peer={}", stream.local_addr().unwrap()), why]);
}

#[test]
fn a_pass_is_good_once() {
    log::keep();
    let Proxied { address, proxy, mut server, mut governor } = Proxied::new(true);
    let guess = [MAGIC.as_slice(), &[7; 32]].concat();
    check_refused(address, &guess, "a pass that is not good");
    let mut send = |ticket| {
        let fetched = FromGovernor::Fetched { ticket, content: Ok(vec![ticket as u8; 100_000]) };
        governor.transport.send(Peer::Server, Message::FromGovernor(fetched));
        assert_eq!(next_fetched(&mut server), (ticket, Ok(vec![ticket as u8; 100_000])));
    };
    send(0);
    let used = proxy.faults.heard_plain.lock().unwrap()[..GREETING_BYTES].to_vec();
    assert!(used.starts_with(&MAGIC));
    check_refused(address, &used, "a pass that is not good");
    // Content that follows at once is not looked at.
    check_refused(address, &[used, vec![9; 1 << 16]].concat(), "a pass that is not good");
    check_refused(address, b"rather something else, forty bytes of it....", "neither TLS nor Rain");
    send(1);
}

#[test]
fn without_the_option_nothing_comes_in_without_tls() {
    log::keep();
    let cluster = Cluster::new().unwrap();
    let (address, _server) = serve(&cluster, Arc::new(|| ()));
    check_refused(address, &[MAGIC.as_slice(), &[7; 32]].concat(), "refused a connection");
    join(&cluster, address);
}

#[test]
fn content_goes_through_tls_when_plain_connections_break_each_time() {
    let Proxied { proxy, mut server, mut governor, .. } = Proxied::new(true);
    // Each plain connection is cut after its greeting.
    proxy.faults.no_plain.store(true, Ordering::SeqCst);
    let fetched = FromGovernor::Fetched { ticket: 3, content: Ok(vec![3; 30_000_000]) };
    governor.transport.send(Peer::Server, Message::FromGovernor(fetched));
    assert_eq!(next_fetched(&mut server), (3, Ok(vec![3; 30_000_000])));
}
