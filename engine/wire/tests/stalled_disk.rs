//! Lanes whose content goes to a disk that does not answer for a while.

use rain_io::IoThreads;
use rain_protocol::peer::{FromGovernor, Message};
use rain_transport::content::Content;
use rain_wire::lane::{LaneIn, LaneOut, Piece};
use rain_wire::payload::{Body, Incoming, Outgoing, Payload};
use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// Against hanging only.
const PATIENCE: Duration = Duration::from_secs(60);

/// A disk, which answers when it is told to.
#[derive(Clone, Default)]
struct Disk(Arc<(Mutex<bool>, Condvar)>);

impl Disk {
    fn wait(&self) {
        let (answers, told) = &*self.0;
        drop(told.wait_while(answers.lock().unwrap(), |answers| !*answers).unwrap());
    }

    fn answer(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }
}

/// Content on the disk.
#[derive(Clone)]
struct OnDisk(Disk, Vec<u8>);

impl Content for OnDisk {
    fn length(&self) -> u64 {
        self.1.len() as u64
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.0.wait();
        into.copy_from_slice(&self.1[offset as usize..][..into.len()]);
        Ok(())
    }
}

impl Payload for OnDisk {
    type Place = Disk;

    fn is_in_memory(&self) -> bool {
        false
    }

    fn held_bytes(&self) -> usize {
        0
    }

    fn outgoing(&self, _: Option<&Path>) -> io::Result<Outgoing> {
        self.0.wait();
        Ok(Outgoing { about: Vec::new(), body: Body::Large(Arc::new(self.clone())) })
    }

    fn outgoing_lost(&self, why: String) -> io::Result<Outgoing> {
        Ok(Outgoing { about: Vec::new(), body: Body::Small(why.into_bytes()) })
    }

    fn lost(why: String) -> Self {
        OnDisk(Disk::default(), why.into_bytes())
    }

    fn receive(place: &Disk, _: &[u8], _: u64) -> io::Result<Box<dyn Incoming<Self>>> {
        Ok(Box::new(OnDisk(place.clone(), Vec::new())))
    }
}

impl Incoming<OnDisk> for OnDisk {
    fn push(&mut self, piece: &[u8]) -> io::Result<()> {
        self.0.wait();
        self.1.extend_from_slice(piece);
        Ok(())
    }

    fn does_io(&self) -> bool {
        true
    }

    fn finish(self: Box<Self>) -> io::Result<OnDisk> {
        Ok(*self)
    }
}

struct Ends {
    disk: Disk,
    out: LaneOut,
    lane: LaneIn<OnDisk>,
    /// Hears the wakes of both.
    woken: Receiver<()>,
}

impl Ends {
    fn new() -> Self {
        let (ring, woken) = channel();
        let wake: rain_transport::Wake = Arc::new(move || ring.send(()).unwrap_or_default());
        let [sender, receiver] = [0; 2].map(|_| IoThreads::start(2).unwrap());
        let disk = Disk::default();
        let out = LaneOut::new(sender, wake.clone(), 100_000);
        Self { out, lane: LaneIn::new(receiver, disk.clone(), wake), disk, woken }
    }

    fn push(&mut self, ticket: u64, content: OnDisk) {
        self.out.push(Message::FromGovernor(FromGovernor::Fetched { ticket, content: Ok(content) })).unwrap();
    }

    /// Sends what can be sent, as long as there is room for it; nothing here waits for the disk.
    fn turn(&mut self) {
        while !self.lane.is_full() {
            match self.out.next_piece().unwrap() {
                None => return,
                Some(Piece::Head(head)) => self.lane.head(head).unwrap(),
                Some(Piece::Content { bytes, .. }) => {
                    let bytes = bytes.unwrap();
                    self.lane.piece(&bytes).unwrap();
                    self.out.give_back(bytes);
                }
            }
        }
    }

    /// The next message, which may have to be woken for.
    fn next(&mut self) -> (u64, Vec<u8>) {
        loop {
            self.turn();
            if let Some(whole) = self.lane.take_whole() {
                match whole.unwrap() {
                    Message::FromGovernor(FromGovernor::Fetched { ticket, content }) => {
                        return (ticket, content.unwrap().1);
                    }
                    _ => panic!("another message"),
                }
            }
            self.woken.recv_timeout(PATIENCE).expect("a wake");
        }
    }
}

#[test]
fn a_disk_that_does_not_answer_stops_reading_and_nothing_else() {
    let mut ends = Ends::new();
    let fast = Disk::default();
    fast.answer();
    let content = |ticket: u64| vec![ticket as u8; 150_000];
    for ticket in 0..100 {
        ends.push(ticket, OnDisk(fast.clone(), content(ticket)));
    }
    // It is the receiver's disk that does not answer: some is taken, and then no more.
    while !ends.lane.is_full() {
        ends.turn();
        if !ends.lane.is_full() {
            ends.woken.recv_timeout(PATIENCE).expect("a wake");
        }
    }
    let taken = ends.lane.received();
    assert!((1..100).contains(&taken), "{taken} messages");
    assert!(ends.lane.take_whole().is_none());
    ends.disk.answer();
    for ticket in 0..100 {
        assert_eq!(ends.next(), (ticket, content(ticket)));
    }
}

#[test]
fn content_on_a_disk_that_does_not_answer_makes_nobody_wait_who_sends() {
    let mut ends = Ends::new();
    ends.disk.answer();
    let slow = Disk::default();
    for ticket in 0..100 {
        ends.push(ticket, OnDisk(slow.clone(), vec![ticket as u8; 250_000]));
    }
    ends.turn();
    assert!(ends.out.is_waiting() && !ends.out.is_idle() && ends.lane.received() == 0);
    slow.answer();
    for ticket in 0..100 {
        assert_eq!(ends.next(), (ticket, vec![ticket as u8; 250_000]));
    }
    assert!(ends.out.is_idle());
}
