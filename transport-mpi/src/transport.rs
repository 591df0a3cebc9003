//! An endpoint, as its owner sees it.

use crate::abort::Abort;
use crate::comm_thread::{CommThread, Command, FINALIZE_TIME_MAX};
use crate::endpoint::{ENDING_TIME_MAX, Endpoint, GOODBYE_TIME_MAX, Request, Shared, Told, Wiring, who};
use crossbeam_channel::{Receiver, Sender, unbounded};
use rain_io::IoThreads;
use rain_protocol::peer::Message;
use rain_transport::{Peer, Transport, TransportEvent, Wake};
use rain_wire::payload::Payload;
use std::path::PathBuf;
use std::sync::Arc;

/// An end of the transport over MPI. Dropping it says goodbye to the others, waits until all ranks do so, and finalizes
/// MPI; when others do not come to their end within some twenty seconds, all ranks are aborted.
pub struct MpiTransport<D: Payload> {
    me: Peer,
    requests: Sender<Request<D>>,
    events: Receiver<Told<D>>,
    shared: Arc<Shared>,
    thread: CommThread,
}

impl<D: Payload> MpiTransport<D> {
    pub(crate) fn start(
        thread: CommThread,
        rank: u32,
        neighbours: Vec<(u32, PathBuf)>,
        io: IoThreads,
        place: D::Place,
        wake: Wake,
    ) -> Self {
        let (requests, take_requests) = unbounded();
        let (tell, events) = unbounded();
        let shared = Arc::new(Shared::new(thread.signal.clone(), wake));
        let wiring =
            Wiring { requests: take_requests, own_requests: requests.clone(), events: tell, shared: shared.clone() };
        thread.command(Command::Become(Box::new(move |comm| {
            Endpoint::new(comm, &neighbours, &io, &place, wiring).run()
        })));
        Self { me: who(rank), requests, events, shared, thread }
    }

    /// What ends all ranks at once.
    pub fn abort_handle(&self) -> Abort {
        Abort(self.shared.signal.clone())
    }

    /// Called from now on when something has come.
    pub fn set_wake(&mut self, wake: Wake) {
        self.shared.set_wake(wake);
    }

    fn request(&self, request: Request<D>) {
        // An error means that the thread has ended, and with it all ranks.
        if self.requests.send(request).is_ok() {
            self.shared.signal.wake();
        }
    }
}

impl<D: Payload> Transport<D> for MpiTransport<D> {
    fn me(&self) -> Peer {
        self.me
    }

    fn send(&mut self, to: Peer, message: Message<D>) {
        self.request(Request::Send(to, message));
    }

    fn try_receive(&mut self) -> Option<TransportEvent<D>> {
        let (event, bytes) = self.events.try_recv().ok()?;
        self.shared.taken(bytes);
        Some(event)
    }
}

impl<D: Payload> Drop for MpiTransport<D> {
    fn drop(&mut self) {
        self.request(Request::Close);
        self.thread.wait_for_end(GOODBYE_TIME_MAX + 2 * ENDING_TIME_MAX + FINALIZE_TIME_MAX);
    }
}
