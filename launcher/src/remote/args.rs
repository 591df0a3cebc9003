//! What can be typed after `rain server`, `rain governor` and `rain-engine`.

use crate::end_time::EndArgs;
use crate::log_plan::LogArgs;
use crate::resources::ResourceArgs;
use clap::Args;
use std::net::IpAddr;
use std::path::PathBuf;

/// Where files go.
#[derive(Debug, Default, Args)]
pub struct PlaceArgs {
    /// Directory for log files [default: one below /tmp/rain-UID/logs]
    #[arg(long, value_name = "DIR")]
    pub logdir: Option<PathBuf>,
    /// Directory for data [default: a memory file system, or $TMPDIR]
    #[arg(long, value_name = "DIR")]
    pub workdir: Option<PathBuf>,
    /// How much memory data may take there, e.g. 16GiB: what is beyond it goes to --spill-dir [default: 60 % of what the machine or the
    /// job has]
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<String>,
    /// Directory on a disk for data for which there is not enough memory [default: one in $TMPDIR, /var/tmp or /tmp]
    #[arg(long, value_name = "DIR")]
    pub spill_dir: Option<PathBuf>,
}

/// Where a server listens.
#[derive(Debug, Default, Args)]
pub struct ListenArgs {
    /// Where the server listens: PORT, ADDRESS or ADDRESS:PORT; port 0 takes a free one [default: port 7210 of all
    /// addresses; with governors on this machine only, 127.0.0.1:7210]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// Where the server listens for browsers: PORT, ADDRESS or ADDRESS:PORT [default: 127.0.0.1:8080, or another port
    /// if that is taken]
    #[arg(long, value_name = "ADDRESS")]
    pub http_listen: Option<String>,
}

/// How a server is reached, and until when.
#[derive(Debug, Default, Args)]
pub struct ServingArgs {
    #[command(flatten)]
    pub at: ListenArgs,
    /// File to be written, with the line "ready", once clients and governors can connect
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
    /// Write a copy of the access file here, for clients and governors of other machines
    #[arg(long, value_name = "FILE")]
    pub access: Option<PathBuf>,
    /// Write an access file that is good for clients only
    #[arg(long, value_name = "FILE")]
    pub client_access: Option<PathBuf>,
    #[command(flatten)]
    pub log: LogArgs,
    #[command(flatten)]
    pub end: EndArgs,
}

/// What a governor works with.
#[derive(Debug, Args)]
pub struct WorkerArgs {
    /// How many cpus it has: a number, all but so many (-N), or `detect`
    #[arg(long, value_name = "N", default_value = DETECT, allow_hyphen_values = true)]
    pub cpus: String,
    /// TOML file with the executors
    #[arg(long, value_name = "PATH")]
    pub config: Option<PathBuf>,
    /// Let the system choose the cpus on which tasks run
    #[arg(long)]
    pub no_pin: bool,
    /// As root, let programs and functions write wherever root may, also to their inputs [also: RAIN_KEEP_CAPABILITIES=1]
    #[arg(long)]
    pub keep_capabilities: bool,
    #[command(flatten)]
    pub resources: ResourceArgs,
}

const DETECT: &str = "detect";

impl Default for WorkerArgs {
    fn default() -> Self {
        let resources = ResourceArgs::default();
        Self { cpus: DETECT.to_owned(), config: None, no_pin: false, keep_capabilities: false, resources }
    }
}

/// Arguments of `rain server`.
#[derive(Debug, Default, Args)]
pub struct ServerArgs {
    #[command(flatten)]
    pub serving: ServingArgs,
    /// Write an access file that is good for governors only
    #[arg(long, value_name = "FILE")]
    pub governor_access: Option<PathBuf>,
    /// Send large data from governors without encryption, for a network that you trust
    #[arg(long)]
    pub data_plain: bool,
    /// A governor that nothing was heard from for so long is lost [default: 60]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    pub governor_timeout: Option<u32>,
    #[command(flatten)]
    pub places: PlaceArgs,
}

/// Arguments of `rain governor`.
#[derive(Debug, Default, Args)]
pub struct GovernorArgs {
    /// Where the server listens; the port is 7210 unless another one is given
    #[arg(value_name = "SERVER_ADDRESS[:PORT]")]
    pub server: String,
    #[command(flatten)]
    pub worker: WorkerArgs,
    /// Where it listens for other governors: PORT, ADDRESS or ADDRESS:PORT; FIRST-LAST instead of PORT takes a free one of these
    /// [default: all addresses, any free port]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    #[command(flatten)]
    pub places: PlaceArgs,
    /// How long to wait for a server that is not there yet, or whose access file is not [default: 0]
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub wait: u32,
    /// File to be written, with the line "ready", once the server has let it in
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
    /// The server's access file [default: $RAIN_ACCESS, or that of a server of yours on this machine]; -: standard input
    #[arg(long, value_name = "FILE")]
    pub access: Option<PathBuf>,
    /// Return when it is in, and leave it running (for `rain start`)
    #[arg(long, hide = true)]
    pub detach: bool,
    /// The server is at the IP address with which this environment variable begins (for `rain start`)
    #[arg(long, hide = true, value_name = "VARIABLE")]
    pub server_ip_from: Option<String>,
    /// More addresses of the server, tried when it is not there (for `rain start`)
    #[arg(long, hide = true, value_name = "ADDRESSES", value_delimiter = ',')]
    pub server_also: Vec<IpAddr>,
    /// One cpu less on this machine: BOOT-ID:PID of the server (for `rain start -S`)
    #[arg(long, hide = true)]
    pub reserve_beside: Option<String>,
    /// Command put before the program that does the work (for `rain start`)
    #[arg(long, hide = true, allow_hyphen_values = true)]
    pub runprefix: Option<String>,
}

/// Arguments of `rain-engine`.
#[cfg(feature = "mpi")]
#[derive(Debug, Default, Args)]
pub struct EngineArgs {
    /// Command to run beside the server once all ranks are ready, e.g. "python workflow.py"; `rain.client.Client()` in it
    /// connects to this server, and its end ends the job. The server then listens on a free port of 127.0.0.1, unless
    /// --listen says something else
    #[arg(long, value_name = "COMMAND", allow_hyphen_values = true)]
    pub run: Option<String>,
    #[command(flatten)]
    pub serving: ServingArgs,
    #[command(flatten)]
    pub worker: WorkerArgs,
    #[command(flatten)]
    pub places: PlaceArgs,
}
