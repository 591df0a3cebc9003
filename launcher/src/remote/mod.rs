//! Rain on several machines: `rain server`, `rain governor`, and what `rain start` does to start governors elsewhere.

pub mod access;
pub mod args;
pub mod engine;
mod error;
pub mod governor;
mod greeting;
mod hosts;
mod patience;
pub mod reach;
mod ready_file;
pub mod role;
mod server;
mod srun;
mod ssh;
pub mod start;
mod tls_access;

pub use error::RemoteError;
pub use governor::run as run_governor;
#[cfg(feature = "mpi")]
pub use ready_file::{clear_ready_file, write_ready_file};
pub use server::run as run_server;
#[cfg(feature = "mpi")]
pub use server::server_role;
