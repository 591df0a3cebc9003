//! What can be typed after `rain server` and `rain governor`.

use clap::Args;
use std::path::PathBuf;

/// Arguments of `rain server`.
#[derive(Debug, Default, Args)]
pub struct ServerArgs {
    /// Where it listens: PORT, ADDRESS or ADDRESS:PORT; port 0 takes a free one [default: 0.0.0.0:7210]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// Where it listens for browsers (not built yet)
    #[arg(long, value_name = "ADDRESS")]
    pub http_listen: Option<String>,
    /// Directory for log files [default: /tmp/rain-UID/logs/server-HOST-PID]
    #[arg(long, value_name = "DIR")]
    pub logdir: Option<PathBuf>,
    /// Directory for data on its way to and from clients [default: a memory file system]
    #[arg(long, value_name = "DIR")]
    pub workdir: Option<PathBuf>,
    /// File to be written, with the line "ready", once clients and governors can connect
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
    /// Send large data from governors without encryption, for a network that you trust
    #[arg(long)]
    pub data_plain: bool,
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
    /// Directory for log files [default: /tmp/rain-UID/logs/governor-HOST-PID]
    #[arg(long, value_name = "DIR")]
    pub logdir: Option<PathBuf>,
    /// Directory for data [default: a memory file system]
    #[arg(long, value_name = "DIR")]
    pub workdir: Option<PathBuf>,
    /// File to be written, with the line "ready", once the server has let it in
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
    /// TOML file with the executors
    #[arg(long, value_name = "PATH")]
    pub config: Option<PathBuf>,
    /// The server's access file [default: $RAIN_ACCESS, or that of a server of yours on this machine]; -: standard input
    #[arg(long, value_name = "FILE")]
    pub access: Option<PathBuf>,
    /// Let the system choose the cpus on which tasks run
    #[arg(long)]
    pub no_pin: bool,
    /// Return when it is in, and leave it running (for `rain start`)
    #[arg(long, hide = true)]
    pub detach: bool,
    /// The server is on the machine from which this was started through SSH (for `rain start`)
    #[arg(long, hide = true)]
    pub server_is_ssh_client: bool,
    /// One cpu less on this machine: BOOT-ID:PID of the server (for `rain start -S`)
    #[arg(long, hide = true)]
    pub reserve_beside: Option<String>,
    /// Command put before the program that does the work (for `rain start`)
    #[arg(long, hide = true, allow_hyphen_values = true)]
    pub runprefix: Option<String>,
}
