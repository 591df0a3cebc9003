//! Server and governors as the ranks of an MPI job: rank 0 is the server, rank `n` is governor `n - 1`.
//!
//! One thread of each rank makes all calls to MPI. `World` is that thread before the endpoints are made: who is there, what
//! all ranks tell each other at the start. `MpiTransport` is an end of the transport. `README.md` has the protocol.
//!
//! Without the feature `mpi` there is nothing in this crate, and it builds where there is no MPI.

#![cfg(feature = "mpi")]

mod abort;
mod calls;
mod comm_thread;
mod endpoint;
mod error;
mod idle;
mod intake;
mod link;
mod packet;
mod signal;
mod transport;
mod world;

pub use abort::Abort;
pub use error::MpiError;
pub use intake::PIECE_BYTES;
pub use transport::MpiTransport;
pub use world::World;
