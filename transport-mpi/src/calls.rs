//! The calls to MPI: sends and receives that own their memory, and what all ranks do together.
//!
//! All of it belongs to the thread that initialised MPI; `Comm` and `Operation` cannot leave it.

use crate::error::MpiError;
use crate::idle::Idle;
use crate::signal::{Signal, end_process};
use mpi::environment::Universe;
use mpi::ffi;
use mpi::traits::{AsRaw, Communicator};
use std::ffi::{c_char, c_int};
use std::marker::PhantomData;
use std::mem::MaybeUninit;

/// What MPI gives for success.
const SUCCESS: c_int = 0;

/// Turns the code that a call gave into an error.
fn check(call: &'static str, code: c_int) -> Result<(), MpiError> {
    if code == SUCCESS {
        return Ok(());
    }
    let mut text = vec![0u8; ffi::MPI_MAX_ERROR_STRING as usize + 1];
    let mut length: c_int = 0;
    // SAFETY: the buffer has room for the longest text of the library, and `length` is written.
    unsafe { ffi::MPI_Error_string(code, text.as_mut_ptr().cast::<c_char>(), &mut length) };
    text.truncate(usize::try_from(length).unwrap_or_default());
    Err(MpiError::Call { call, why: String::from_utf8_lossy(&text).into_owned() })
}

fn count(length: usize) -> Result<c_int, MpiError> {
    c_int::try_from(length).map_err(|_| MpiError::TooLong(length))
}

/// Ends all ranks.
pub(crate) fn abort_all(code: i32) -> ! {
    // SAFETY: `MPI_Abort` may be called at any time by the thread that makes the calls; the communicator is MPI's own.
    unsafe { ffi::MPI_Abort(ffi::RSMPI_COMM_WORLD, code) };
    end_process(code)
}

/// Memory that is read by a send.
///
/// # Safety
/// `bytes` gives the same memory until the value is dropped, also when the value is moved, and nobody writes to it.
pub(crate) unsafe trait Sent {
    fn bytes(&self) -> &[u8];
}

/// Memory that is written by a receive.
///
/// # Safety
/// `memory` gives the same writable memory until the value is dropped, also when the value is moved, and nobody else
/// reads or writes it.
pub(crate) unsafe trait Received {
    fn memory(&mut self) -> (*mut u8, usize);
}

// SAFETY: the bytes of a vector are on the heap, and the vector is not touched while an operation owns it.
unsafe impl Sent for Vec<u8> {
    fn bytes(&self) -> &[u8] {
        self
    }
}

// SAFETY: as above; the vector's length says how much of it there is.
unsafe impl Received for Vec<u8> {
    fn memory(&mut self) -> (*mut u8, usize) {
        (self.as_mut_ptr(), self.len())
    }
}

/// Who sent what has come, and how many bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrived {
    pub(crate) from: u32,
    pub(crate) length: usize,
}

/// A call under way, and the memory that it uses.
pub(crate) struct Operation<M> {
    call: &'static str,
    request: ffi::MPI_Request,
    memory: Option<M>,
}

impl<M> Operation<M> {
    /// Whether it is done; then its memory comes back.
    pub(crate) fn poll(&mut self) -> Result<Option<(M, Arrived)>, MpiError> {
        let mut done: c_int = 0;
        let mut status = MaybeUninit::<ffi::MPI_Status>::zeroed();
        // SAFETY: the request is one that MPI gave, and is set to null once it is done, which is allowed here, too.
        check(self.call, unsafe { ffi::MPI_Test(&mut self.request, &mut done, status.as_mut_ptr()) })?;
        if done == 0 {
            return Ok(None);
        }
        let mut length: c_int = 0;
        // SAFETY: `MPI_Test` has filled the status, which is plain data.
        let status = unsafe { status.assume_init() };
        // SAFETY: a status from MPI, and a type of the library.
        unsafe { ffi::MPI_Get_count(&status, ffi::RSMPI_UINT8_T, &mut length) };
        let arrived = Arrived {
            from: u32::try_from(status.MPI_SOURCE).unwrap_or_default(),
            length: usize::try_from(length).unwrap_or_default(),
        };
        Ok(self.memory.take().map(|memory| (memory, arrived)))
    }

    /// Waits without burning a core.
    fn wait(mut self, signal: &Signal) -> Result<M, MpiError> {
        let idle = Idle::new();
        loop {
            if let Some((memory, _)) = self.poll()? {
                return Ok(memory);
            }
            if let Some(code) = signal.abort_asked() {
                abort_all(code);
            }
            idle.wait();
        }
    }

    /// Gives up a receive for which nothing has come.
    pub(crate) fn cancel(mut self) {
        if self.memory.is_none() {
            return;
        }
        // SAFETY: the request is active, so it can be cancelled; a receive that is cancelled ends locally.
        let cancelled = unsafe { ffi::MPI_Cancel(&mut self.request) } == SUCCESS;
        // SAFETY: as above. Status ignored is a constant of the library.
        if cancelled && unsafe { ffi::MPI_Wait(&mut self.request, ffi::RSMPI_STATUS_IGNORE) } == SUCCESS {
            self.memory = None;
        }
    }
}

impl<M> Drop for Operation<M> {
    fn drop(&mut self) {
        // MPI still uses it: memory that is lost is better than memory that is written by surprise.
        std::mem::forget(self.memory.take());
    }
}

/// All ranks of the job.
pub(crate) struct Comm {
    raw: ffi::MPI_Comm,
    pub(crate) rank: u32,
    pub(crate) size: u32,
    /// Only the thread that made it may use it.
    _thread: PhantomData<*const ()>,
}

impl Comm {
    pub(crate) fn new(universe: &Universe) -> Result<Self, MpiError> {
        let world = universe.world();
        let raw = world.as_raw();
        // SAFETY: a live communicator and a constant of the library; errors then come back as codes.
        check("MPI_Comm_set_errhandler", unsafe { ffi::MPI_Comm_set_errhandler(raw, ffi::RSMPI_ERRORS_RETURN) })?;
        Ok(Self { raw, rank: world.rank() as u32, size: world.size() as u32, _thread: PhantomData })
    }

    /// Begins to send.
    pub(crate) fn send<M: Sent>(&self, memory: M, to: u32, tag: i32) -> Result<Operation<M>, MpiError> {
        let mut request = MaybeUninit::uninit();
        let bytes = memory.bytes();
        let length = count(bytes.len())?;
        let start = bytes.as_ptr().cast();
        // SAFETY: the memory stays as it is until the operation is done (`Sent`); the operation owns it.
        let code = unsafe {
            ffi::MPI_Isend(start, length, ffi::RSMPI_UINT8_T, to as c_int, tag, self.raw, request.as_mut_ptr())
        };
        check("MPI_Isend", code)?;
        // SAFETY: the call succeeded, and has made a request.
        Ok(Operation { call: "MPI_Isend", request: unsafe { request.assume_init() }, memory: Some(memory) })
    }

    /// Begins to receive, from one rank or from any.
    pub(crate) fn receive<M: Received>(
        &self,
        mut memory: M,
        from: Option<u32>,
        tag: i32,
    ) -> Result<Operation<M>, MpiError> {
        let mut request = MaybeUninit::uninit();
        let (start, length) = memory.memory();
        let length = count(length)?;
        // SAFETY: a constant of the library.
        let any = unsafe { ffi::RSMPI_ANY_SOURCE };
        let from = from.map_or(any, |from| from as c_int);
        // SAFETY: nobody else uses the memory until the operation is done (`Received`); the operation owns it.
        let code = unsafe {
            ffi::MPI_Irecv(start.cast(), length, ffi::RSMPI_UINT8_T, from, tag, self.raw, request.as_mut_ptr())
        };
        check("MPI_Irecv", code)?;
        // SAFETY: the call succeeded, and has made a request.
        Ok(Operation { call: "MPI_Irecv", request: unsafe { request.assume_init() }, memory: Some(memory) })
    }

    /// Begins a barrier of all ranks.
    pub(crate) fn barrier(&self) -> Result<Operation<()>, MpiError> {
        let mut request = MaybeUninit::uninit();
        // SAFETY: a live communicator; all ranks do this once, at their end.
        check("MPI_Ibarrier", unsafe { ffi::MPI_Ibarrier(self.raw, request.as_mut_ptr()) })?;
        // SAFETY: the call succeeded, and has made a request.
        Ok(Operation { call: "MPI_Ibarrier", request: unsafe { request.assume_init() }, memory: Some(()) })
    }

    /// Gives each rank what all of them have.
    pub(crate) fn all_gather(&self, mine: Vec<u8>, signal: &Signal) -> Result<Vec<Vec<u8>>, MpiError> {
        let lengths =
            self.gather_parts((mine.len() as u64).to_le_bytes().to_vec(), &vec![8; self.size as usize], signal)?;
        let lengths: Vec<usize> = lengths
            .iter()
            .map(|bytes| u64::from_le_bytes(<[u8; 8]>::try_from(&bytes[..]).unwrap_or_default()) as usize)
            .collect();
        self.gather_parts(mine, &lengths, signal)
    }

    fn gather_parts(&self, mine: Vec<u8>, lengths: &[usize], signal: &Signal) -> Result<Vec<Vec<u8>>, MpiError> {
        let total = lengths.iter().sum();
        count(total)?;
        if total == 0 {
            // Open MPI takes this for an error; all ranks come here.
            return Ok(vec![Vec::new(); lengths.len()]);
        }
        let counts = lengths.iter().map(|length| count(*length)).collect::<Result<Vec<_>, _>>()?;
        let starts: Vec<c_int> =
            counts.iter().scan(0, |next, count| Some(std::mem::replace(next, *next + count))).collect();
        let mut request = MaybeUninit::uninit();
        let mine_count = count(mine.len())?;
        let mut all = vec![0u8; total];
        let (from, to) = (mine.as_ptr().cast(), all.as_mut_ptr().cast());
        // SAFETY: all of these vectors are owned by the operation until it is done; counts and starts describe `all`.
        let code = unsafe {
            ffi::MPI_Iallgatherv(
                from,
                mine_count,
                ffi::RSMPI_UINT8_T,
                to,
                counts.as_ptr(),
                starts.as_ptr(),
                ffi::RSMPI_UINT8_T,
                self.raw,
                request.as_mut_ptr(),
            )
        };
        check("MPI_Iallgatherv", code)?;
        // SAFETY: the call succeeded, and has made a request.
        let request = unsafe { request.assume_init() };
        let operation = Operation { call: "MPI_Iallgatherv", request, memory: Some((mine, all, counts, starts)) };
        let (_, all, _, _) = operation.wait(signal)?;
        let mut rest = &all[..];
        Ok(lengths
            .iter()
            .map(|length| {
                let (part, later) = rest.split_at(*length);
                rest = later;
                part.to_vec()
            })
            .collect())
    }
}
