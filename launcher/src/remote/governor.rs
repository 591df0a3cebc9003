//! `rain governor`.

use super::access;
use super::args::GovernorArgs;
use super::error::RemoteError;
use super::greeting;
use super::patience;
use super::ready_file::{clear_ready_file, write_ready_file};
use super::role::{CpuCount, GovernorRole, Role};
use crate::address::{self, DEFAULT_LISTEN};
use crate::end_time::EndPlan;
use crate::governor_config::{self, GovernorFile};
use crate::host_name::host_name;
use crate::launch::Launch;
use crate::log_plan::LogPlan;
use crate::memory::MemoryPlan;
use crate::plan::{self, Governors, PlanError, StartPlan};
use crate::resources::ResourcePlan;
use crate::runtime_dir::{self, Claim, ServerDir};
use crate::start;
use crate::terminal::say;
use std::fmt::Write;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Runs a governor until its server is gone or ends it; whether it ended well.
///
/// # Errors
/// When it cannot be started, or the server does not let it in.
pub fn run(args: &GovernorArgs) -> Result<bool, RemoteError> {
    if args.detach {
        greeting::begin();
    }
    let (server, port) = server_addresses(args)?;
    let mut cpus = CpuCount::parse(&args.worker.cpus).ok_or_else(|| RemoteError::Cpus(args.worker.cpus.clone()))?;
    if cpus == CpuCount::AllBut(0) && args.reserve_beside.as_deref().is_some_and(is_here) {
        cpus = CpuCount::AllBut(1);
    }
    let wait = Duration::from_secs(args.wait.into());
    let (access_path, access) = patience::find_access(args.access.as_deref(), port, wait)?;
    let (authority, credentials) = access::for_governor(&access_path, access)?;
    let absolute = |option, path: &Option<PathBuf>| plan::absolute(option, path.as_deref());
    let role = GovernorRole {
        server,
        authority,
        credentials: (&credentials).into(),
        cpus,
        ready_file: absolute("--ready-file", &args.ready_file)?,
        wait,
    };
    let listen = address::parse_for_governor("--listen", args.listen.as_deref())?;
    let file = args.worker.config.as_deref().map_or(Ok(GovernorFile::default()), governor_config::read)?;
    let plan = StartPlan {
        governors: Governors::Simple,
        listen: SocketAddr::new(listen.ip, *listen.ports.start()),
        log_dir: absolute("--logdir", &args.places.logdir)?,
        work_dir: absolute("--workdir", &args.places.workdir)?,
        memory: MemoryPlan::new(&args.places).map_err(PlanError::from)?,
        run_prefix: plan::run_prefix(args.runprefix.as_deref())?,
        executors: file.executors,
        resources: ResourcePlan::new(&args.worker.resources, file.resources).map_err(PlanError::from)?,
        reserve_cpu: false,
        pin: !args.worker.no_pin,
        keep_capabilities: plan::keeps_capabilities(args.worker.keep_capabilities),
        foreground: !args.detach,
        private: false,
        end: EndPlan::default(),
        log: LogPlan::off(),
        http: None,
    };
    clear_ready_file(role.ready_file.as_deref())?;
    let failed = |error| RemoteError::Listen(listen.clone(), error);
    let listener = listen.listen().map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let directory = claim_directory("governor")?;
    let (foreground, path, ready_file) = (plan.foreground, directory.path().to_owned(), role.ready_file.clone());
    let make = |descriptors| Launch { role: Role::Governor(role), ..Launch::new(plan, address, &path, descriptors) };
    let (server, detach) = (args.server.clone(), args.detach);
    Ok(start::launch(make, foreground, listener, directory, &|told| {
        say(&announcement(&server, told));
        write_ready_file(ready_file.as_deref());
        if detach {
            greeting::ready();
        }
    })?)
}

fn announcement(server: &str, told: &start::Told) -> String {
    let mut text = String::new();
    let version = env!("CARGO_PKG_VERSION");
    // Writing to a String cannot fail.
    let plural = if told.cpus == 1 { "" } else { "s" };
    let _ = writeln!(text, "Rain {version} governor of {server} is ready: {} cpu{plural}, pid {}", told.cpus, told.pid);
    text += &told.details();
    text
}

/// Where the server may listen, and its port.
fn server_addresses(args: &GovernorArgs) -> Result<(Vec<SocketAddr>, u16), RemoteError> {
    let text = args.server.as_str();
    if let Some(variable) = &args.server_ip_from {
        let port = text.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or(DEFAULT_LISTEN.port());
        let value = std::env::var(variable).ok();
        let ip = value.as_ref().and_then(|value| value.split(' ').next()?.parse::<IpAddr>().ok());
        let ip = ip.ok_or_else(|| RemoteError::NoServerIp(variable.clone()))?;
        // That may be a machine between the two, so the others are tried after it.
        let mut ips = vec![ip];
        ips.extend(args.server_also.iter().filter(|also| **also != ip));
        return Ok((ips.into_iter().map(|ip| SocketAddr::new(ip, port)).collect(), port));
    }
    let found = address::parse_server(text)?;
    let port = found.first().map_or(DEFAULT_LISTEN.port(), SocketAddr::port);
    Ok((found, port))
}

/// Which boot of which machine this is.
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// Whether the process BOOT-ID:PID is a Rain on this machine.
fn is_here(text: &str) -> bool {
    let Some((boot, pid)) = text.split_once(':') else { return false };
    let name = pid.parse::<u32>().ok().and_then(|pid| fs::read_to_string(format!("/proc/{pid}/comm")).ok());
    !boot.is_empty() && boot == boot_id() && name.is_some_and(|name| name.trim() == "rain")
}

/// Takes the runtime directory of this process, `kind`-HOST-PID: machines may share the directory that it is in. Before that it
/// removes those that governors, or ranks, of this machine have left whose supervisors were killed: their locks are free.
///
/// # Errors
/// When it cannot be made, or another process has it.
pub fn claim_directory(kind: &str) -> Result<ServerDir, runtime_dir::RuntimeDirError> {
    let kind = format!("{kind}-{}-", host_name());
    clean_up_after_dead(&kind);
    match ServerDir::claim_named(&runtime_dir::root(), &format!("{kind}{}", std::process::id()))? {
        Claim::Claimed(directory) => Ok(directory),
        Claim::Busy(path) => Err(runtime_dir::RuntimeDirError::Taken(path)),
    }
}

fn clean_up_after_dead(kind: &str) {
    let root = runtime_dir::root();
    for entry in fs::read_dir(&root).into_iter().flatten().flatten() {
        let name = entry.file_name().into_string().unwrap_or_default();
        let path = entry.path();
        // One whose process lives is just being taken by it.
        let pid = name.strip_prefix(kind).and_then(|pid| pid.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
            && !runtime_dir::is_live(&path)
            && let Ok(Claim::Claimed(directory)) = ServerDir::claim_named(&root, &name)
        {
            start::clean_up_after_dead_server(&path);
            directory.remove();
        }
    }
}
