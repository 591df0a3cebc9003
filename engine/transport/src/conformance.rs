//! What every transport must do, as one test that each backend's tests call.

use crate::{Peer, Transport, TransportEvent, Wake};
use rain_model::id::{GovernorId, SessionId};
use rain_protocol::peer::{BetweenGovernors, FromGovernor, Message, ToGovernor};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Barrier};
use std::time::Duration;

/// How many governors the suite needs, besides the server.
pub const CONFORMANCE_GOVERNORS: usize = 3;
const GOVERNORS: usize = CONFORMANCE_GOVERNORS;
const MESSAGES: u64 = 2_000;
/// Against hanging only.
const PATIENCE: Duration = Duration::from_secs(60);

/// Hears the wakes of an endpoint.
pub struct Bell(Receiver<()>);

impl Bell {
    /// A bell, and the wake that rings it.
    pub fn new() -> (Wake, Bell) {
        let (ring, bell) = channel();
        (Arc::new(move || ring.send(()).unwrap_or_default()), Bell(bell))
    }
}

/// Runs the conformance suite on a transport whose endpoints are in one process. `connect` takes the wakes of a server and
/// of governors and returns builders of the endpoints, the server's first; each is built and used on a thread of its own.
///
/// # Panics
/// When the transport does not conform.
pub fn check_transport<B, T>(connect: impl FnOnce((Wake, Vec<Wake>)) -> Vec<B>)
where
    B: FnOnce() -> T + Send + 'static,
    T: Transport<Vec<u8>>,
{
    let (wakes, bells): (Vec<Wake>, Vec<Bell>) = (0..=GOVERNORS).map(|_| Bell::new()).unzip();
    let mut wakes = wakes.into_iter();
    let server_wake = wakes.next().expect("one wake more than governors");
    let builders = connect((server_wake, wakes.collect()));
    assert_eq!(builders.len(), GOVERNORS + 1, "one endpoint each");
    let everybody_heard = Arc::new(Barrier::new(GOVERNORS + 1));
    let threads: Vec<_> = builders
        .into_iter()
        .zip(bells)
        .enumerate()
        .map(|(number, (build, bell))| {
            let everybody_heard = everybody_heard.clone();
            std::thread::spawn(move || check_endpoint(number, build(), bell, || _ = everybody_heard.wait()))
        })
        .collect();
    for thread in threads {
        thread.join().expect("endpoint thread");
    }
}

/// The part of one endpoint in the conformance suite: number 0 is the server, number `n` governor `n - 1`. All of them are
/// to run at once, wherever they are. `bell` hears the endpoint's wakes; `everybody_heard` waits until all of them call it.
///
/// # Panics
/// When the transport does not conform.
pub fn check_endpoint<T>(number: usize, transport: T, bell: Bell, everybody_heard: impl FnOnce())
where
    T: Transport<Vec<u8>>,
{
    let mut end = Listener { transport, bell: bell.0 };
    if number == 0 {
        server(&mut end)
    } else {
        governor(&mut end, number as u32 - 1)
    }
    everybody_heard();
    if number == 0 {
        // The server stays and is told of the loss of each governor.
        let mut lost: Vec<Peer> = (0..GOVERNORS).map(|_| end.next_loss()).collect();
        lost.sort();
        assert_eq!(lost, (0..GOVERNORS as u32).map(|n| Peer::Governor(GovernorId(n))).collect::<Vec<_>>());
        // Sending to the lost is dropped, not an error.
        end.transport.send(lost[0], Message::ToGovernor(ToGovernor::Stop));
    }
}

struct Listener<T> {
    transport: T,
    bell: Receiver<()>,
}

impl<T: Transport<Vec<u8>>> Listener<T> {
    /// Sleeps until woken; a transport that does not wake its owner hangs here and fails.
    fn next_event(&mut self) -> TransportEvent<Vec<u8>> {
        loop {
            if let Some(event) = self.transport.try_receive() {
                return event;
            }
            self.bell.recv_timeout(PATIENCE).expect("a wake for what has come");
        }
    }

    fn next_loss(&mut self) -> Peer {
        loop {
            if let TransportEvent::Lost { peer, .. } = self.next_event() {
                return peer;
            }
        }
    }
}

fn payload(number: u64) -> Vec<u8> {
    // Every hundredth message is large, so that framing and partial writes are met.
    vec![number as u8; if number.is_multiple_of(100) { 300_000 } else { 10 }]
}

/// Numbered messages to everybody and from everybody: whole, once, in order.
fn server<T: Transport<Vec<u8>>>(end: &mut Listener<T>) {
    assert_eq!(end.transport.me(), Peer::Server);
    for number in 0..MESSAGES {
        for governor in 0..GOVERNORS as u32 {
            let message = ToGovernor::Fetch { session: SessionId(7), object: governor, ticket: number };
            end.transport.send(Peer::Governor(GovernorId(governor)), Message::ToGovernor(message));
        }
    }
    let mut next = [0u64; GOVERNORS];
    while next.iter().any(|next| *next < MESSAGES) {
        match end.next_event() {
            TransportEvent::Message {
                from: Peer::Governor(from),
                message: Message::FromGovernor(FromGovernor::Fetched { ticket, content }),
            } => {
                let expected = &mut next[from.0 as usize];
                assert_eq!(ticket, *expected, "order from {from}");
                assert_eq!(content, Ok(payload(ticket)));
                *expected += 1;
            }
            other => panic!("unexpected {other:?}"),
        }
    }
}

fn governor<T: Transport<Vec<u8>>>(end: &mut Listener<T>, me: u32) {
    assert_eq!(end.transport.me(), Peer::Governor(GovernorId(me)));
    let peer = (me + 1) % GOVERNORS as u32;
    for number in 0..MESSAGES {
        let message = FromGovernor::Fetched { ticket: number, content: Ok(payload(number)) };
        end.transport.send(Peer::Server, Message::FromGovernor(message));
        let object = number as u32;
        let content = Ok(payload(number));
        let message = BetweenGovernors::Object { session: SessionId(me), object, content };
        end.transport.send(Peer::Governor(GovernorId(peer)), Message::BetweenGovernors(message));
    }
    let left = (me + GOVERNORS as u32 - 1) % GOVERNORS as u32;
    let (mut from_server, mut from_peer) = (0, 0);
    while from_server < MESSAGES || from_peer < MESSAGES {
        match end.next_event() {
            TransportEvent::Message {
                from: Peer::Server,
                message: Message::ToGovernor(ToGovernor::Fetch { object, ticket, .. }),
            } => {
                assert_eq!((object, ticket), (me, from_server), "order from the server");
                from_server += 1;
            }
            TransportEvent::Message {
                from: Peer::Governor(GovernorId(from)),
                message: Message::BetweenGovernors(BetweenGovernors::Object { session, object, content }),
            } => {
                assert_eq!((from, session, u64::from(object)), (left, SessionId(left), from_peer), "order from a peer");
                assert_eq!(content, Ok(payload(from_peer)));
                from_peer += 1;
            }
            other => panic!("unexpected {other:?}"),
        }
    }
}
