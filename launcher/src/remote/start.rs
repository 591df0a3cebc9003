//! `rain start` with governors on other machines: a server here, then a governor on each of them, through SSH or as a step
//! of a Slurm job.

use super::access::AccessFiles;
use super::error::RemoteError;
use super::role::ServerRole;
use super::srun;
use super::ssh;
use super::{governor, hosts, server};
use crate::address::AddressError;
use crate::cli::StartArgs;
use crate::client::ServerConnection;
use crate::end_time::EndPlan;
use crate::http::HttpPlan;
use crate::log_plan::LogPlan;
use crate::memory::MemoryPlan;
use crate::plan::{self, Governors, PlanError, StartPlan};
use crate::resources::ResourcePlan;
use crate::runtime_dir::{self, Access};
use crate::terminal::{complain, say};
use crate::{address, start, stop, supervisor};
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long the server may take to say which governors are in.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// Each that is not the right one costs a governor some seconds.
const OWN_ADDRESSES_MAX: usize = 4;

/// Whether this is a start with governors on other machines.
pub fn is_asked_for(args: &StartArgs) -> bool {
    !args.simple && args.local_governors.is_none() && (args.governor_host_file.is_some() != args.autoconf.is_some())
}

/// Starts the server and the governors; all of them are ready, or nothing is left.
///
/// # Errors
/// When something cannot be started; names the hosts.
pub fn run(args: &StartArgs) -> Result<bool, RemoteError> {
    if args.private {
        let instead = "leave it out, or use --foreground";
        return Err(PlanError::NotBuilt { option: "--private with remote governors", instead }.into());
    }
    let hosts = match (&args.governor_host_file, &args.autoconf) {
        (Some(path), _) => hosts::from_file(path)?,
        (None, Some(system)) => hosts::from_environment(system)?,
        (None, None) => return Err(PlanError::NoWay.into()),
    };
    match address::parse_for_governor("--governor-listen", args.governor_listen.as_deref()) {
        // Hosts may have names there that are not known here.
        Ok(_) | Err(AddressError::UnknownHost { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    if let Some(min) = args.min_governors.filter(|&min| min as usize > hosts.len()) {
        return Err(PlanError::TooFewHosts(min, hosts.len()).into());
    }
    let absolute = |option, path: &Option<PathBuf>| plan::absolute(option, path.as_deref());
    let plan = StartPlan {
        governors: Governors::Cpus(Vec::new()),
        listen: address::parse_for_server(args.at.listen.as_deref())?,
        log_dir: absolute("--logdir", &args.places.logdir)?,
        work_dir: absolute("--workdir", &args.places.workdir)?,
        memory: MemoryPlan::new(&args.places).map_err(PlanError::from)?,
        run_prefix: plan::run_prefix(args.runprefix.as_deref())?,
        executors: Vec::new(),
        resources: ResourcePlan::default(),
        reserve_cpu: false,
        pin: !args.no_pin,
        keep_capabilities: false,
        foreground: args.foreground,
        private: false,
        end: EndPlan::new(&args.end).map_err(PlanError::from)?,
        log: LogPlan::new(&args.log),
        http: Some(HttpPlan::new(args.at.http_listen.as_deref()).map_err(PlanError::from)?),
    };
    let role = ServerRole {
        access_files: AccessFiles::default(),
        ready_file: None,
        data_plain: args.data_plain,
        governor_timeout: None,
    };
    let (failure, step) = (Cell::new(None), RefCell::new(None));
    let started = server::start_server(plan, role, &|address, told| {
        let mut server = StartedServer { is_here: args.foreground, address, is_wanted: false };
        match start_governors(args, &hosts, address, told, &mut step.borrow_mut()) {
            Ok(()) => server.is_wanted = true,
            Err(error) => failure.set(Some(error)),
        }
    });
    match failure.take() {
        Some(error) => {
            if let Some(step) = &mut *step.borrow_mut() {
                step.end();
            }
            Err(error)
        }
        None => Ok(started?),
    }
}

/// The server that was started: it ends, and its governors with it, unless it `is_wanted`, whatever goes wrong with starting them.
struct StartedServer {
    /// This process is its supervisor, and is asked to end as by others.
    is_here: bool,
    address: SocketAddr,
    is_wanted: bool,
}

impl Drop for StartedServer {
    fn drop(&mut self) {
        if self.is_wanted {
            return;
        }
        if self.is_here {
            supervisor::ask_to_end();
        } else if let Err(stuck) = stop::run_here(self.address.port()) {
            complain(&stuck);
        }
    }
}

fn start_governors(
    args: &StartArgs,
    hosts: &[String],
    address: SocketAddr,
    told: &start::Told,
    step: &mut Option<srun::Step>,
) -> Result<(), RemoteError> {
    let directory = runtime_dir::server_path(&runtime_dir::root(), address.port());
    let access = runtime_dir::read_access(&directory)?.ok_or(RemoteError::NoServer)?;
    let way = Way::of(args);
    let command = governor_command(args, address, &access, way)?;
    let governors_in = || {
        let status = ServerConnection::open(&access, ANSWER_TIME_MAX).and_then(|mut server| server.status());
        status.ok().and_then(|status| Some(status["governors"].as_array()?.len())).unwrap_or(0)
    };
    let input = for_governors(access.clone())?;
    let given_up = || args.foreground && supervisor::is_asked_to_end();
    let started = match way {
        Way::Ssh => ssh::run_everywhere(hosts, &command, &input, &given_up),
        Way::Srun => {
            let log = told.log_dir.as_ref().unwrap_or(&directory).join("srun.log");
            let min = args.min_governors.map_or(hosts.len(), |min| min as usize);
            srun::Step::start(hosts, &command, &input, log)
                .and_then(|started| step.insert(started).wait_until_enough_are_in(min, &governors_in, &given_up))
        }
    };
    if given_up() {
        return Err(RemoteError::GivenUp);
    }
    let missing = started.err().unwrap_or_default();
    let in_count = hosts.len().saturating_sub(missing.len());
    if !missing.is_empty() && args.min_governors.is_none_or(|min| in_count < min as usize) {
        return Err(RemoteError::Hosts { missing, hint: loopback_hint(address, hosts) });
    }
    // Let in by the server's connections, the last ones may not be among its governors yet.
    let deadline = Instant::now() + ANSWER_TIME_MAX;
    while governors_in() < in_count && Instant::now() < deadline && !given_up() {
        std::thread::sleep(LOOK_AGAIN);
    }
    say(&announcement(address, hosts, &missing, told));
    Ok(())
}

fn announcement(address: SocketAddr, hosts: &[String], missing: &[ssh::HostError], told: &start::Told) -> String {
    let in_count = hosts.len().saturating_sub(missing.len());
    let of = if missing.is_empty() { String::new() } else { format!(" of {}", hosts.len()) };
    let version = env!("CARGO_PKG_VERSION");
    let mut text = format!("Rain {version} is ready on {address}: governors on {in_count}{of} hosts\n");
    for host in missing {
        text += &format!("  missing  {}\n", host.to_string().replace('\n', "\n           "));
    }
    if in_one_component(hosts) {
        text += "  note     this is a heterogeneous job: governors are on the nodes of its first component only; for all of them, set \
                 RAIN_SSH=ssh and give their names with --governor-host-file\n";
    }
    text + &told.details() + &format!("  stop it  {}\n", start::stop_command(address.port()))
}

/// Whether this is a job of several components, of which the batch system has told one.
fn in_one_component(hosts: &[String]) -> bool {
    let components = std::env::var("SLURM_HET_SIZE").ok().and_then(|size| size.parse::<usize>().ok()).unwrap_or(1);
    let first = std::env::var("SLURM_JOB_NODELIST_HET_GROUP_0").ok();
    components > 1 && first.and_then(|list| hosts::expand(&list)).is_some_and(|first| first == hosts)
}

/// What is wrong with a server that only its own machine can reach, if that is so.
fn loopback_hint(address: SocketAddr, hosts: &[String]) -> String {
    if !address.ip().is_loopback() || hosts.iter().all(|host| host == "localhost") {
        return String::new();
    }
    format!(
        "\nthe server listened on {}, which no other machine can reach: leave out the address of --listen, or give one of \
         this machine's in the network",
        address.ip()
    )
}

/// How governors are started.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Ssh,
    Srun,
}

impl Way {
    /// Slurm's own way within its jobs, unless the user has chosen SSH.
    fn of(args: &StartArgs) -> Self {
        let in_slurm = args.governor_host_file.is_none() && args.autoconf.as_deref() == Some("slurm");
        if in_slurm && std::env::var_os(ssh::VARIABLE).is_none() && srun::is_there() { Self::Srun } else { Self::Ssh }
    }

    /// The variable that has, on the other side, the address of this machine first.
    fn server_ip_variable(self) -> &'static str {
        match self {
            Self::Ssh => "SSH_CONNECTION",
            Self::Srun => "SLURM_LAUNCH_NODE_IPADDR",
        }
    }
}

/// The access file as a line, without what governors do not need.
fn for_governors(mut access: Access) -> Result<Vec<u8>, RemoteError> {
    access.dashboard = None;
    if let Some(tls) = &mut access.tls {
        tls.client = None;
    }
    let mut line = serde_json::to_vec(&access).map_err(|_| RemoteError::NoServer)?;
    line.push(b'\n');
    Ok(line)
}

/// Addresses of this machine in networks that others may be in, of the families in which the server listens.
fn own_addresses(listen: SocketAddr) -> impl Iterator<Item = IpAddr> {
    let interfaces = getifaddrs().into_iter().flatten();
    let up = interfaces.filter(|interface| interface.flags.contains(InterfaceFlags::IFF_UP));
    let found = up.filter_map(move |interface| {
        let address = interface.address?;
        let ip: IpAddr = match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
            (Some(v4), _) => v4.ip().into(),
            (_, Some(v6)) if listen.is_ipv6() && !v6.ip().is_unicast_link_local() => v6.ip().into(),
            _ => return None,
        };
        (!ip.is_loopback()).then_some(ip)
    });
    found.take(OWN_ADDRESSES_MAX)
}

/// What is run on each host, for a shell there.
fn governor_command(args: &StartArgs, address: SocketAddr, access: &Access, way: Way) -> Result<String, RemoteError> {
    let program = supervisor::own_program();
    let mut words = vec![text(&program)?, "governor".to_owned(), "--access=-".to_owned()];
    if way == Way::Ssh {
        words.push("--detach".to_owned());
    }
    if address.ip().is_unspecified() {
        let variable = way.server_ip_variable();
        words.extend([format!("--server-ip-from={variable}"), format!("server:{}", address.port())]);
        words.extend(own_addresses(address).map(|also| format!("--server-also={also}")));
    } else {
        words.push(address.to_string());
    }
    if args.reserve_cpu {
        words.push(format!("--reserve-beside={}:{}", governor::boot_id(), access.pid));
    }
    words.extend(args.governor_listen.iter().map(|listen| format!("--listen={listen}")));
    if args.no_pin {
        words.push("--no-pin".to_owned());
    }
    if plan::keeps_capabilities(args.keep_capabilities) {
        words.push("--keep-capabilities".to_owned());
    }
    let paths =
        [("--logdir", &args.places.logdir), ("--workdir", &args.places.workdir), ("--config", &args.governor_config)];
    for (option, path) in paths {
        if let Some(path) = plan::absolute(option, path.as_deref())? {
            words.push(format!("{option}={}", text(&path)?));
        }
    }
    words.extend(MemoryPlan::options(&args.places).map_err(PlanError::from)?);
    words.extend(ResourcePlan::options(&args.resources));
    if let Some(prefix) = &args.runprefix {
        words.push(format!("--runprefix={prefix}"));
    }
    let command = shlex::try_join(words.iter().map(String::as_str)).map_err(|_| RemoteError::NotText(program))?;
    // A step's shell stays, to tell how the governor has ended.
    let exec = if way == Way::Ssh { "exec " } else { "" };
    Ok(match &args.remote_init {
        Some(init) => format!("{init}\n{exec}{command}"),
        None => format!("{exec}{command}"),
    })
}

fn text(path: &Path) -> Result<String, RemoteError> {
    path.to_str().map(str::to_owned).ok_or_else(|| RemoteError::NotText(path.to_owned()))
}
