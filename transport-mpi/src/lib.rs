//! Server and governors as the ranks of an MPI job: rank 0 is the server, rank `n` is governor `n - 1`.
//!
//! One thread of each rank makes all calls to MPI. `World` is that thread before the endpoints are made: who is there, what
//! all ranks tell each other at the start. `MpiTransport` is an end of the transport. `README.md` has the protocol.
//!
//! Without the feature `mpi` there is nothing in this crate, and it builds where there is no MPI.

#[cfg(feature = "mpi")]
mod abort;
#[cfg(feature = "mpi")]
mod calls;
#[cfg(feature = "mpi")]
mod endpoint;
#[cfg(feature = "mpi")]
mod idle;
#[cfg(feature = "mpi")]
mod intake;
#[cfg(feature = "mpi")]
mod link;
#[cfg(feature = "mpi")]
mod packet;
#[cfg(feature = "mpi")]
mod transport;
#[cfg(feature = "mpi")]
mod world;

#[cfg(feature = "mpi")]
pub use abort::Abort;
#[cfg(feature = "mpi")]
pub use intake::PIECE_BYTES;
#[cfg(feature = "mpi")]
pub use transport::MpiTransport;
#[cfg(feature = "mpi")]
pub use world::{MpiError, World};
