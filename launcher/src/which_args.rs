//! What can be typed to name a server.

use clap::Args;
use std::path::PathBuf;

/// Which server is meant.
#[derive(Debug, Args)]
pub struct WhichServer {
    /// The server: HOST, HOST:PORT, or the PORT of one on this machine [default: $RAIN_SERVER, else port 7210 of this machine]
    #[arg(value_name = "HOST:PORT", conflicts_with = "listen")]
    pub server: Option<String>,
    /// The access file for a server on another machine [default: $RAIN_ACCESS]; -: standard input
    #[arg(long, value_name = "FILE")]
    pub access: Option<PathBuf>,
    /// Where a server on this machine listens: PORT, ADDRESS or ADDRESS:PORT [default: 127.0.0.1:7210]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
}
