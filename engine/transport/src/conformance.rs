//! What every transport must do, as one test that each backend's tests call.

use crate::{Peer, Transport, TransportEvent, Wake};
use rain_core::id::{GovernorId, SessionId};
use rain_core::peer::{BetweenGovernors, FromGovernor, Message, ToGovernor};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Barrier};
use std::time::Duration;

const GOVERNORS: usize = 3;
const MESSAGES: u64 = 2_000;
/// Against hanging only.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the conformance suite on a transport. `connect` takes the wakes of a server and of governors and returns builders
/// of the endpoints, the server's first; each is built and used on a thread of its own.
///
/// # Panics
/// When the transport does not conform.
pub fn check_transport<B, T>(connect: impl FnOnce((Wake, Vec<Wake>)) -> Vec<B>)
where
    B: FnOnce() -> T + Send + 'static,
    T: Transport<Vec<u8>>,
{
    let (wakes, bells): (Vec<Wake>, Vec<Receiver<()>>) = (0..=GOVERNORS)
        .map(|_| {
            let (ring, bell) = channel();
            let wake: Wake = Arc::new(move || ring.send(()).unwrap_or_default());
            (wake, bell)
        })
        .unzip();
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
            std::thread::spawn(move || {
                let mut end = Listener { transport: build(), bell };
                if number == 0 {
                    server(&mut end)
                } else {
                    governor(&mut end, number as u32 - 1)
                }
                everybody_heard.wait();
                if number == 0 {
                    // The server stays and is told of the loss of each governor.
                    let mut lost: Vec<Peer> = (0..GOVERNORS).map(|_| end.next_loss()).collect();
                    lost.sort();
                    assert_eq!(lost, (0..GOVERNORS as u32).map(|n| Peer::Governor(GovernorId(n))).collect::<Vec<_>>());
                    // Sending to the lost is dropped, not an error.
                    end.transport.send(lost[0], Message::ToGovernor(ToGovernor::Stop));
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("endpoint thread");
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
