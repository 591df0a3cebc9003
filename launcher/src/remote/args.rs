//! What can be typed after `rain server` and `rain governor`.

use crate::cli::{Directories, Running, ServerAddresses};
use clap::Args;
use std::path::PathBuf;

/// Arguments of `rain server`.
#[derive(Debug, Default, Args)]
pub struct ServerArgs {
    #[command(flatten)]
    pub server: ServerAddresses,
    #[command(flatten)]
    pub directories: Directories,
    /// File to be written, with the line "ready", once clients and governors can connect
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
    /// Write a copy of the access file here, for clients and governors of other machines
    #[arg(long, value_name = "FILE")]
    pub access: Option<PathBuf>,
    /// Write an access file that is good for clients only
    #[arg(long, value_name = "FILE")]
    pub client_access: Option<PathBuf>,
    /// Write an access file that is good for governors only
    #[arg(long, value_name = "FILE")]
    pub governor_access: Option<PathBuf>,
}

/// Arguments of `rain governor`.
#[derive(Debug, Default, Args)]
pub struct GovernorArgs {
    /// Where the server listens; the port is 7210 unless another one is given
    #[arg(value_name = "SERVER_ADDRESS[:PORT]")]
    pub server: String,
    /// How many cpus it has: a number, all but so many (-N), or `detect`
    #[arg(long, value_name = "N", default_value = "detect", allow_hyphen_values = true)]
    pub cpus: String,
    /// Where it listens for other governors: PORT, ADDRESS or ADDRESS:PORT [default: 0.0.0.0:0]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    #[command(flatten)]
    pub directories: Directories,
    #[command(flatten)]
    pub running: Running,
    /// File to be written, with the line "ready", once the server has let it in
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
    /// TOML file with the executors
    #[arg(long, value_name = "PATH")]
    pub config: Option<PathBuf>,
    /// The server's access file [default: $RAIN_ACCESS, or that of a server of yours on this machine]; -: standard input
    #[arg(long, value_name = "FILE")]
    pub access: Option<PathBuf>,
    /// Return when it is in, and leave it running (for `rain start`)
    #[arg(long, hide = true)]
    pub detach: bool,
    /// The server is on the machine from which this was started through SSH (for `rain start`)
    #[arg(long, hide = true)]
    pub server_is_ssh_client: bool,
    /// One cpu less on this machine: BOOT-ID:PID of the server (for `rain start -S`)
    #[arg(long, hide = true)]
    pub reserve_beside: Option<String>,
}
