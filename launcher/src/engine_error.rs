//! Why an engine could not start or ended.

use crate::local;
use crate::runtime_dir::RuntimeDirError;
use nix::errno::Errno;
use rain_topology::TopologyError;
use rain_transport_tcp::front::FrontError;
use std::io;
use std::path::PathBuf;

/// Why the engine could not start or ended.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("cannot read the launch file {path}: {source}")]
    LaunchFile { path: PathBuf, source: io::Error },
    #[error("the supervisor is gone")]
    Orphaned,
    #[error("cannot set up signals: {0}")]
    Signals(#[from] Errno),
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
    #[error(transparent)]
    Topology(#[from] TopologyError),
    #[error(transparent)]
    RuntimeDir(#[from] RuntimeDirError),
    #[error(transparent)]
    Identity(#[from] rain_transport_tcp::peer::identity::IdentityError),
    #[error(transparent)]
    Front(#[from] FrontError),
    #[error(transparent)]
    Http(#[from] crate::http::HttpError),
    #[error(transparent)]
    Warm(#[from] local::WarmError),
    #[error(transparent)]
    Runtime(#[from] local::RuntimeError),
    #[error("the server refuses this governor: {0}")]
    Refused(String),
    #[cfg(feature = "mpi")]
    #[error(transparent)]
    Rank(Box<dyn std::error::Error + Send + Sync>),
}
