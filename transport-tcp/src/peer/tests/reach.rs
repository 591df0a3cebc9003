//! Governors that cannot connect to each other, or are not heard for a while.

use super::*;

const SECOND: Peer = Peer::Governor(GovernorId(1));

/// A server and two governors; nobody can connect to the second one.
fn with_unreachable(data_plain: bool) -> (End, End, End) {
    let cluster = Cluster::new().unwrap();
    let (address, server) = serve_with(&cluster, data_plain, Arc::new(|| ()));
    let first = End::new(join(&cluster, address).1);
    // The others look for it on the server's address.
    let hidden = TcpListener::bind("127.0.0.2:0").unwrap();
    let tls = PeerTls::governor(&cluster.authority, &cluster.governor).unwrap();
    let (id, second) = TcpTransport::join(&[address], hidden, tls, (), None).unwrap();
    assert_eq!(Peer::Governor(id), SECOND);
    (End::new(server), first, End::new(second))
}

fn want(object: u32) -> Message<Vec<u8>> {
    Message::BetweenGovernors(BetweenGovernors::Want { session: SessionId(1), object })
}

fn object(object: u32, content: Vec<u8>) -> Message<Vec<u8>> {
    Message::BetweenGovernors(BetweenGovernors::Object { session: SessionId(1), object, content: Ok(content) })
}

fn assert_wants(end: &mut End, asker: Peer, expected: u32) {
    match end.next() {
        TransportEvent::Message { from, message: Message::BetweenGovernors(BetweenGovernors::Want { object, .. }) } => {
            assert_eq!((from, object), (asker, expected));
        }
        other => panic!("unexpected {other:?}"),
    }
}

fn assert_gets(end: &mut End, giver: Peer, expected: u32, length: usize) {
    match end.next() {
        TransportEvent::Message {
            from,
            message: Message::BetweenGovernors(BetweenGovernors::Object { object, content, .. }),
        } => {
            assert_eq!((from, object), (giver, expected));
            assert!(content == Ok(vec![7; length]));
        }
        other => panic!("unexpected {other:?}"),
    }
}

#[test]
fn an_answer_goes_back_on_the_connection_that_the_question_came_on() {
    for data_plain in [false, true] {
        check_answers_to_unreachable(data_plain);
    }
}

fn check_answers_to_unreachable(data_plain: bool) {
    let (_server, mut first, mut second) = with_unreachable(data_plain);
    for number in 0..50 {
        second.transport.send(FIRST, want(number));
    }
    for number in 0..50 {
        assert_wants(&mut first, SECOND, number);
        first.transport.send(SECOND, object(number, vec![7; 100_000]));
    }
    (0..50).for_each(|number| assert_gets(&mut second, FIRST, number, 100_000));
    // And questions the other way.
    first.transport.send(SECOND, want(3));
    assert_wants(&mut second, FIRST, 3);
}

#[test]
fn who_cannot_be_connected_to_is_asked_to_connect() {
    for data_plain in [false, true] {
        check_answers_of_unreachable(data_plain);
    }
}

fn check_answers_of_unreachable(data_plain: bool) {
    let (_server, mut first, mut second) = with_unreachable(data_plain);
    for number in 0..50 {
        first.transport.send(SECOND, want(number));
    }
    for number in 0..50 {
        assert_wants(&mut second, FIRST, number);
        second.transport.send(FIRST, object(number, vec![7; 2_000_000]));
    }
    (0..50).for_each(|number| assert_gets(&mut first, SECOND, number, 2_000_000));
}

#[test]
fn governors_that_ask_each_other_at_once_both_get_answers() {
    for _ in 0..20 {
        let (_cluster, _server, mut governors) = server_and_governors(2);
        let mut second = governors.pop().unwrap();
        let mut first = governors.pop().unwrap();
        first.transport.send(SECOND, want(1));
        second.transport.send(FIRST, want(2));
        assert_wants(&mut first, SECOND, 2);
        assert_wants(&mut second, FIRST, 1);
        first.transport.send(SECOND, object(2, vec![7; 300_000]));
        second.transport.send(FIRST, object(1, vec![7; 300_000]));
        assert_gets(&mut first, SECOND, 1, 300_000);
        assert_gets(&mut second, FIRST, 2, 300_000);
    }
}

#[test]
fn a_governor_that_is_gone_when_it_is_asked_to_connect_is_lost() {
    let (_server, mut first, second) = with_unreachable(false);
    drop(second);
    first.transport.send(SECOND, want(1));
    assert_eq!(first.next_lost().0, SECOND);
}

#[test]
fn a_peer_that_is_silent_for_a_while_is_not_lost() {
    let Proxied { proxy, mut server, mut governor, .. } = Proxied::on(impatient());
    proxy.faults.stalled.store(true, Ordering::SeqCst);
    for ticket in 0..5 {
        let fetched = FromGovernor::Fetched { ticket, content: Ok(vec![7; 10]) };
        governor.transport.send(Peer::Server, Message::FromGovernor(fetched));
    }
    // It has given the first connection up and made another one.
    proxy.wait_for_connection(2);
    proxy.faults.stalled.store(false, Ordering::SeqCst);
    for ticket in 0..5 {
        assert_eq!(next_fetched(&mut server), (ticket, Ok(vec![7; 10])));
    }
}
