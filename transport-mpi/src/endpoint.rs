//! The thread of an endpoint: takes what its owner sends, looks at MPI, and says goodbye at the end.

use crate::calls::{Comm, Operation, abort_all};
use crate::error::MpiError;
use crate::idle::Idle;
use crate::intake::{Pieces, STREAM_TAG, Trouble};
use crate::link::{Link, Packets, Turn};
use crate::packet::PACKET_BYTES;
use crate::signal::Signal;
use crossbeam_channel::{Receiver, Sender};
use rain_io::IoThreads;
use rain_model::id::GovernorId;
use rain_protocol::peer::Message;
use rain_transport::{Peer, TransportEvent, Wake};
use rain_wire::payload::Payload;
use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Packets of any peer that may come while the thread does not look.
const PACKETS_AHEAD: usize = 8;
/// What the owner asks is carried out in such portions, so that others get on when it asks without end.
const REQUESTS_AT_ONCE: usize = 1 << 12;
/// With more messages than this not taken by the owner, or so many bytes, no more are read.
const UNTAKEN_MAX: usize = 1 << 14;
const UNTAKEN_BYTES_MAX: usize = 64 << 20;
/// When the owner has taken so many that no more than these are left, more are read.
const UNTAKEN_LOW: usize = UNTAKEN_MAX / 2;
/// How long the last messages may take at the end.
pub(crate) const GOODBYE_TIME_MAX: Duration = Duration::from_secs(2);
/// How long the other ranks may take to end, after this one has.
pub(crate) const ENDING_TIME_MAX: Duration = Duration::from_secs(20);

const ENDED: &str = "it has ended";

/// What the owner asks.
pub(crate) enum Request<D> {
    Send(Peer, Message<D>),
    /// A link has something that another thread has made ready.
    Look(u32),
    /// Say goodbye and end.
    Close,
}

/// State of the owner and of the thread.
pub(crate) struct Shared {
    pub(crate) signal: Arc<Signal>,
    /// Events that the owner has not taken, and the bytes of their heads.
    untaken: AtomicUsize,
    untaken_bytes: AtomicUsize,
    /// Nothing is read until the owner has taken some.
    wants_room: AtomicBool,
    owner: Mutex<Wake>,
}

impl Shared {
    pub(crate) fn new(signal: Arc<Signal>, wake: Wake) -> Self {
        Self {
            signal,
            untaken: AtomicUsize::new(0),
            untaken_bytes: AtomicUsize::new(0),
            wants_room: AtomicBool::new(false),
            owner: Mutex::new(wake),
        }
    }

    /// Calls another wake from now on.
    pub(crate) fn set_wake(&self, wake: Wake) {
        *self.owner.lock().unwrap_or_else(PoisonError::into_inner) = wake;
        // For what has come already.
        self.wake_owner();
    }

    fn wake_owner(&self) {
        (self.owner.lock().unwrap_or_else(PoisonError::into_inner))();
    }

    fn told(&self, bytes: usize) {
        self.untaken.fetch_add(1, Ordering::SeqCst);
        self.untaken_bytes.fetch_add(bytes, Ordering::SeqCst);
    }

    /// The owner has taken an event.
    pub(crate) fn taken(&self, bytes: usize) {
        let left = self.untaken.fetch_sub(1, Ordering::SeqCst) - 1;
        let bytes_left = self.untaken_bytes.fetch_sub(bytes, Ordering::SeqCst) - bytes;
        let few = left <= UNTAKEN_LOW && bytes_left <= UNTAKEN_BYTES_MAX / 2;
        if few && self.wants_room.swap(false, Ordering::SeqCst) {
            self.signal.wake();
        }
    }

    fn is_full(&self) -> bool {
        let full = || {
            self.untaken.load(Ordering::SeqCst) >= UNTAKEN_MAX
                || self.untaken_bytes.load(Ordering::SeqCst) >= UNTAKEN_BYTES_MAX
        };
        if full() {
            self.wants_room.store(true, Ordering::SeqCst);
        }
        full()
    }
}

/// An event, and the bytes of its message's head.
pub(crate) type Told<D> = (TransportEvent<D>, usize);

/// The two ends of what an endpoint and its owner have between them.
pub(crate) struct Wiring<D> {
    pub(crate) requests: Receiver<Request<D>>,
    pub(crate) own_requests: Sender<Request<D>>,
    pub(crate) events: Sender<Told<D>>,
    pub(crate) shared: Arc<Shared>,
}

/// How far an endpoint is with ending.
enum Closing {
    No,
    /// What was sent goes out.
    Flush(Instant),
    /// The goodbyes go out, and what is under way.
    Bye(Instant),
    /// The others end.
    Others(Instant, Operation<()>),
    Done,
}

pub(crate) struct Endpoint<'a, D: Payload> {
    comm: &'a Comm,
    wiring: Wiring<D>,
    links: Vec<Link<D>>,
    /// Links that may have something to do.
    active: BTreeSet<u32>,
    /// Where packets of any peer come, in the order in which MPI fills them.
    listening: VecDeque<Operation<Vec<u8>>>,
    packets: Packets,
    sending: Pieces,
    receiving: Pieces,
    closing: Closing,
    /// Something was told that the owner was not woken for.
    told: bool,
}

/// Who a rank is.
pub(crate) fn who(rank: u32) -> Peer {
    rank.checked_sub(1).map_or(Peer::Server, |governor| Peer::Governor(GovernorId(governor)))
}

fn rank_of(peer: Peer) -> u32 {
    match peer {
        Peer::Server => 0,
        Peer::Governor(GovernorId(governor)) => governor.saturating_add(1),
    }
}

impl<'a, D: Payload> Endpoint<'a, D> {
    pub(crate) fn new(
        comm: &'a Comm,
        neighbours: &[(u32, PathBuf)],
        io: &IoThreads,
        place: &D::Place,
        wiring: Wiring<D>,
    ) -> Self {
        let mut links: Vec<Link<D>> = (0..comm.size)
            .map(|rank| {
                let (requests, shared) = (wiring.own_requests.clone(), wiring.shared.clone());
                let wake: Wake = Arc::new(move || {
                    // An error means that the endpoint has ended.
                    let _ = requests.send(Request::Look(rank));
                    shared.signal.wake();
                });
                Link::new(rank, io, place, &wake)
            })
            .collect();
        for (rank, store) in neighbours {
            if let Some(link) = links.get_mut(*rank as usize) {
                link.set_neighbour(store);
            }
        }
        Self {
            comm,
            wiring,
            links,
            active: BTreeSet::new(),
            listening: VecDeque::new(),
            packets: Packets::default(),
            sending: Pieces::default(),
            receiving: Pieces::default(),
            closing: Closing::No,
            told: false,
        }
    }

    /// Runs until the owner closes it, and all ranks have come to their end.
    ///
    /// # Errors
    /// When MPI fails or others do not come to their end; the owner has then been told that all peers are lost, and has
    /// closed its end.
    pub(crate) fn run(mut self) -> Result<(), MpiError> {
        let run = self.run_on();
        if let Err(error) = &run {
            let why = error.to_string();
            for rank in 0..self.comm.size {
                self.lose(rank, &why);
            }
            self.wiring.shared.wake_owner();
            // The owner may have something to bring in order before all ranks end.
            let mut open = matches!(self.closing, Closing::No);
            while open {
                if matches!(self.wiring.requests.recv_timeout(Duration::from_millis(100)), Ok(Request::Close)) {
                    open = false;
                }
                self.abort_if_asked();
            }
        }
        run
    }

    fn abort_if_asked(&self) {
        if let Some(code) = self.wiring.shared.signal.abort_asked() {
            abort_all(code);
        }
    }

    fn run_on(&mut self) -> Result<(), MpiError> {
        for _ in 0..PACKETS_AHEAD {
            self.listen()?;
        }
        let mut idle = Idle::new();
        while !matches!(self.closing, Closing::Done) {
            self.abort_if_asked();
            let mut moved = self.take_requests();
            moved |= self.take_packets()?;
            for rank in std::mem::take(&mut self.active) {
                moved |= self.turn(rank)?;
            }
            if std::mem::take(&mut self.told) {
                self.wiring.shared.wake_owner();
            }
            moved |= self.go_on_closing()?;
            if moved {
                idle.end();
            } else {
                idle.wait();
            }
        }
        self.listening.drain(..).for_each(Operation::cancel);
        self.links.iter_mut().for_each(Link::cancel);
        Ok(())
    }

    fn listen(&mut self) -> Result<(), MpiError> {
        let mut packet = self.packets.take();
        packet.resize(PACKET_BYTES, 0);
        self.listening.push_back(self.comm.receive(packet, None, STREAM_TAG)?);
        Ok(())
    }

    fn take_requests(&mut self) -> bool {
        let mut moved = false;
        for request in self.wiring.requests.try_iter().take(REQUESTS_AT_ONCE).collect::<Vec<_>>() {
            moved = true;
            match request {
                Request::Send(to, message) => self.send(to, message),
                Request::Look(rank) => _ = self.active.insert(rank),
                Request::Close => {
                    self.closing = Closing::Flush(Instant::now());
                    self.active.extend(0..self.comm.size);
                }
            }
        }
        moved
    }

    fn send(&mut self, to: Peer, message: Message<D>) {
        let rank = rank_of(to);
        if rank == self.comm.rank {
            return;
        }
        let Some(link) = self.links.get_mut(rank as usize) else { return };
        match link.push(message) {
            Ok(()) => _ = self.active.insert(rank),
            Err(why) => self.break_off(rank, &why),
        }
    }

    fn take_packets(&mut self) -> Result<bool, MpiError> {
        let mut moved = false;
        while let Some(listening) = self.listening.front_mut()
            && let Some((packet, arrived)) = listening.poll()?
        {
            self.listening.pop_front();
            self.listen()?;
            if let Some(link) = self.links.get_mut(arrived.from as usize) {
                link.take_packet(packet, arrived.length);
                self.active.insert(arrived.from);
            }
            moved = true;
        }
        Ok(moved)
    }

    fn turn(&mut self, rank: u32) -> Result<bool, MpiError> {
        let Some(link) = self.links.get_mut(rank as usize) else { return Ok(false) };
        let mut turn = Turn {
            comm: self.comm,
            packets: &mut self.packets,
            sending: &mut self.sending,
            receiving: &mut self.receiving,
        };
        let wiring = &self.wiring;
        let told = &mut self.told;
        let mut tell = |message: Message<D>, size: usize| {
            *told = true;
            wiring.shared.told(size);
            let event = TransportEvent::Message { from: who(rank), message };
            // An error means that the owner is gone, which it says by a request, too.
            let _ = wiring.events.send((event, size));
            !wiring.shared.is_full()
        };
        let ends = !matches!(self.closing, Closing::No);
        let room = link.lost || ends || !wiring.shared.is_full();
        let turned = link.turn(&mut turn, &mut tell, room);
        let moved = match turned {
            Ok(moved) => moved,
            Err(Trouble::Mpi(error)) => return Err(error),
            Err(Trouble::Peer(why)) => {
                link.turn_deaf();
                self.break_off(rank, &why);
                true
            }
        };
        let link = &mut self.links[rank as usize];
        if let Some(why) = link.ending().map(str::to_owned) {
            self.lose(rank, &why);
        }
        let ending = self.has_said_goodbye();
        let link = &mut self.links[rank as usize];
        if link.known && !link.said_bye && (link.lost || ending) {
            link.say_bye(self.comm, ENDED)?;
        }
        if link.is_active() {
            self.active.insert(rank);
        }
        Ok(moved)
    }

    fn has_said_goodbye(&self) -> bool {
        matches!(self.closing, Closing::Bye(_) | Closing::Others(..) | Closing::Done)
    }

    /// Tells the owner that a peer is gone.
    fn lose(&mut self, rank: u32, why: &str) {
        let Some(link) = self.links.get_mut(rank as usize) else { return };
        if rank == self.comm.rank || std::mem::replace(&mut link.lost, true) {
            return;
        }
        link.drop_unsent();
        self.told = true;
        self.wiring.shared.told(0);
        let _ = self.wiring.events.send((TransportEvent::Lost { peer: who(rank), why: why.to_owned() }, 0));
    }

    /// Gives up a peer with which one cannot go on.
    fn break_off(&mut self, rank: u32, why: &str) {
        tracing::warn!("rank {rank} is given up: {why}");
        self.lose(rank, why);
        if let Some(link) = self.links.get_mut(rank as usize) {
            link.complaint = Some(why.to_owned());
        }
        // It is told in its link's turn.
        self.active.insert(rank);
    }

    /// Ends step by step; whether there was one.
    fn go_on_closing(&mut self) -> Result<bool, MpiError> {
        match &mut self.closing {
            Closing::No | Closing::Done => Ok(false),
            Closing::Flush(since) => {
                let late = since.elapsed() > GOODBYE_TIME_MAX;
                if !late && !self.links.iter().all(Link::is_flushed) {
                    return Ok(false);
                }
                self.closing = Closing::Bye(Instant::now());
                let server = self.comm.rank == 0;
                for (rank, link) in self.links.iter_mut().enumerate() {
                    let other = rank as u32 != self.comm.rank;
                    if other && (link.known || rank == 0 || server) {
                        link.say_bye(self.comm, ENDED)?;
                        self.active.insert(rank as u32);
                    }
                }
                Ok(true)
            }
            Closing::Bye(since) => {
                if since.elapsed() > ENDING_TIME_MAX {
                    return Err(late());
                }
                if !self.links.iter().all(Link::is_quiet) {
                    return Ok(false);
                }
                self.closing = Closing::Others(Instant::now(), self.comm.barrier()?);
                Ok(true)
            }
            Closing::Others(since, barrier) => {
                if since.elapsed() > ENDING_TIME_MAX {
                    return Err(late());
                }
                let done = barrier.poll()?.is_some();
                if done {
                    self.closing = Closing::Done;
                }
                Ok(done)
            }
        }
    }
}

fn late() -> MpiError {
    MpiError::Late(ENDING_TIME_MAX)
}
