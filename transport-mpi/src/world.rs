//! MPI, on a thread of its own.

use crate::abort::Abort;
use crate::calls::{Comm, abort_all};
use crate::comm_thread::{CommThread, Command, FINALIZE_TIME_MAX};
use crate::error::MpiError;
use crate::signal::Signal;
use crate::transport::MpiTransport;
use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded, unbounded};
use mpi::environment::{Threading, Universe, initialize_with_threading, library_version};
use rain_io::IoThreads;
use rain_transport::Wake;
use rain_wire::payload::Payload;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

/// MPI, initialised on a thread of its own that makes all calls.
pub struct World {
    thread: Option<CommThread>,
    rank: u32,
    size: u32,
    library: String,
    io: IoThreads,
    /// Directories of the stores of ranks on this machine.
    neighbours: Vec<(u32, PathBuf)>,
}

struct Facts {
    rank: u32,
    size: u32,
    library: String,
}

impl World {
    /// Starts the thread and initialises MPI on it (`MPI_THREAD_FUNNELED`). Once a process.
    ///
    /// # Errors
    /// When there is no thread, MPI was initialised before, or it does not support threads.
    pub fn begin() -> Result<World, MpiError> {
        let (commands, take_commands) = unbounded();
        let (started, take_started) = bounded(1);
        let (running, ended) = bounded(0);
        let signal = Arc::new(Signal::new());
        let io = IoThreads::start(rain_io::THREADS_MAX)?;
        let shared = signal.clone();
        thread::Builder::new().name("mpi".to_owned()).spawn(move || {
            shared.settle();
            run(&take_commands, &started, &shared);
            drop::<Sender<()>>(running);
        })?;
        let Facts { rank, size, library } = take_started.recv().map_err(|_| MpiError::Ended)??;
        Ok(World {
            thread: Some(CommThread { commands, signal, ended }),
            rank,
            size,
            library,
            io,
            neighbours: Vec::new(),
        })
    }

    /// The number of this rank.
    pub fn rank(&self) -> u32 {
        self.rank
    }

    /// How many ranks there are.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// Name and version of the MPI library.
    pub fn library(&self) -> &str {
        &self.library
    }

    /// How many ranks the launcher says there are. A launcher of another MPI library than this program's starts several
    /// worlds of one rank each; then this differs from `size`.
    pub fn launcher_size() -> Option<u32> {
        // Those of Open MPI, of PMI (MPICH, Intel MPI), of a step of Slurm; the first that is there counts.
        let names = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"];
        names.iter().find_map(|name| std::env::var(name).ok()?.trim().parse().ok())
    }

    /// Gives each rank what all of them have, in the order of ranks. All ranks have to do this, as often as each other.
    ///
    /// # Errors
    /// When MPI fails, or all of it is more than 2 GiB.
    pub fn all_gather(&self, mine: Vec<u8>) -> Result<Vec<Vec<u8>>, MpiError> {
        let (reply, take_reply) = bounded(1);
        self.thread().command(Command::Gather(mine, reply));
        take_reply.recv().map_err(|_| MpiError::Ended)?
    }

    /// Says which other ranks are on this machine, and where their stores are, for `into_transport`: large content is then
    /// handed over as another name of the same file, where the file system can do that.
    pub fn set_neighbours(&mut self, neighbours: Vec<(u32, PathBuf)>) {
        self.neighbours = neighbours;
    }

    /// An end of the transport: the server's on rank 0, else that of governor `rank - 1`. All ranks have to do this.
    /// `place` is where received content goes; `wake` is called when something has come.
    pub fn into_transport<D: Payload>(mut self, place: D::Place, wake: Wake) -> MpiTransport<D> {
        let thread = self.thread.take().expect("only this function takes it, and all of the world with it");
        let neighbours = std::mem::take(&mut self.neighbours);
        MpiTransport::start(thread, self.rank, neighbours, self.io.clone(), place, wake)
    }

    /// What ends all ranks at once.
    pub fn abort_handle(&self) -> Abort {
        Abort(self.thread().signal.clone())
    }

    /// Finalizes MPI without ever having been a transport. All ranks have to do this; where one is missing, this process
    /// ends after a time.
    pub fn finish(self) {
        drop(self);
    }

    fn thread(&self) -> &CommThread {
        self.thread.as_ref().expect("only `into_transport` takes it, and all of the world with it")
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            thread.command(Command::Finish);
            thread.wait_for_end(FINALIZE_TIME_MAX);
        }
    }
}

fn initialise() -> Result<(Universe, Comm, Facts), MpiError> {
    let library = library_version().unwrap_or_else(|_| "unknown".to_owned());
    let library = library.lines().next().unwrap_or_default().trim_end_matches([' ', ',', '\0']).to_owned();
    let (universe, given) = initialize_with_threading(Threading::Funneled).ok_or(MpiError::Initialised)?;
    if given < Threading::Funneled {
        return Err(MpiError::Threads { library });
    }
    let comm = Comm::new(&universe)?;
    let facts = Facts { rank: comm.rank, size: comm.size, library };
    Ok((universe, comm, facts))
}

/// Ends all ranks where the thread panics; without it, its owner and the others would wait for ever.
struct PanicGuard;

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if thread::panicking() {
            abort_all(101);
        }
    }
}

/// What the thread does.
fn run(commands: &Receiver<Command>, started: &Sender<Result<Facts, MpiError>>, signal: &Signal) {
    let (_universe, comm) = match initialise() {
        Ok((universe, comm, facts)) => {
            let _ = started.send(Ok(facts));
            (universe, comm)
        }
        Err(error) => {
            let _ = started.send(Err(error));
            return;
        }
    };
    let _guard = PanicGuard;
    loop {
        if let Some(code) = signal.abort_asked() {
            abort_all(code);
        }
        match commands.try_recv() {
            Ok(Command::Gather(mine, reply)) => _ = reply.send(comm.all_gather(mine, signal)),
            Ok(Command::Become(endpoint)) => {
                if let Err(error) = endpoint(&comm) {
                    tracing::error!("{error}; ending all ranks");
                    abort_all(1);
                }
                // Finalizes.
                return;
            }
            Ok(Command::Finish) | Err(TryRecvError::Disconnected) => return,
            Err(TryRecvError::Empty) => thread::park(),
        }
    }
}
