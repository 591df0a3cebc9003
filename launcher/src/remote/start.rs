//! `rain start` with governors on other machines: a server here, then a governor on each of them through SSH.

use super::access::AccessFiles;
use super::role::ServerRole;
use super::ssh::{self, HostError};
use super::{RemoteError, governor, hosts, server};
use crate::cli::StartArgs;
use crate::plan::{self, Governors, PlanError, StartPlan};
use crate::runtime_dir::{self, Access};
use crate::terminal::{complain, say};
use crate::{address, start, stop, supervisor};
use std::cell::Cell;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Whether this is a start with governors on other machines.
pub fn is_asked_for(args: &StartArgs) -> bool {
    !args.simple && args.local_governors.is_none() && (args.governor_host_file.is_some() != args.autoconf.is_some())
}

/// Starts the server and the governors; all of them are ready, or nothing is left.
///
/// # Errors
/// When something cannot be started; names the hosts.
pub fn run(args: &StartArgs) -> Result<bool, RemoteError> {
    if args.http_listen.is_some() {
        let instead = "there is no dashboard yet; leave it out and use `rain status`";
        return Err(PlanError::NotBuilt { option: "--http-listen", instead }.into());
    }
    if args.foreground || args.private {
        let instead = "leave it out, or start `rain server` and `rain governor` by hand";
        return Err(PlanError::NotBuilt { option: "--foreground with remote governors", instead }.into());
    }
    let hosts = match (&args.governor_host_file, &args.autoconf) {
        (Some(path), _) => hosts::from_file(path)?,
        (None, Some(system)) => hosts::from_environment(system)?,
        (None, None) => return Err(PlanError::NoWay.into()),
    };
    let absolute = |option, path: &Option<PathBuf>| plan::absolute(option, path.as_deref());
    let plan = StartPlan {
        governors: Governors::Cpus(Vec::new()),
        listen: address::parse_for_server(args.listen.as_deref())?,
        log_dir: absolute("--logdir", &args.logdir)?,
        work_dir: absolute("--workdir", &args.workdir)?,
        run_prefix: plan::run_prefix(args.runprefix.as_deref())?,
        executors: Vec::new(),
        reserve_cpu: false,
        pin: !args.no_pin,
        foreground: false,
        private: false,
    };
    let bound = Cell::new(plan.listen);
    let role = ServerRole { access_files: AccessFiles::default(), ready_file: None, data_plain: args.data_plain };
    server::start_server(plan, role, &|address, _| bound.set(address))?;
    let address = bound.get();
    let started = start_governors(args, &hosts, address);
    if let Err(error) = started {
        // Its governors end with it.
        if let Err(stuck) = stop::run(Some(&address.port().to_string())) {
            complain(&stuck);
        }
        return Err(error);
    }
    let version = env!("CARGO_PKG_VERSION");
    say(&format!(
        "Rain {version} is ready on {address}: governors on {} hosts\n  stop it  {}\n",
        hosts.len(),
        start::stop_command(address.port())
    ));
    Ok(true)
}

fn start_governors(args: &StartArgs, hosts: &[String], address: SocketAddr) -> Result<(), RemoteError> {
    let directory = runtime_dir::server_path(&runtime_dir::root(), address.port());
    let access = runtime_dir::read_access(&directory)?.ok_or(RemoteError::NoServer)?;
    let command = governor_command(args, address, &access)?;
    ssh::run_everywhere(hosts, &command, &for_governors(access)?).map_err(RemoteError::Hosts)
}

/// The access file as a line, without what governors do not need.
fn for_governors(mut access: Access) -> Result<Vec<u8>, RemoteError> {
    if let Some(tls) = &mut access.tls {
        tls.client = None;
    }
    let mut line = serde_json::to_vec(&access).map_err(|_| RemoteError::NoServer)?;
    line.push(b'\n');
    Ok(line)
}

/// What is run on each host, for a shell there.
fn governor_command(args: &StartArgs, address: SocketAddr, access: &Access) -> Result<String, RemoteError> {
    let program = supervisor::own_program();
    let mut words = vec![text(&program)?, "governor".to_owned(), "--detach".to_owned(), "--access=-".to_owned()];
    if address.ip().is_unspecified() {
        words.extend(["--server-is-ssh-client".to_owned(), format!("server:{}", address.port())]);
    } else {
        words.push(address.to_string());
    }
    if args.reserve_cpu {
        words.push(format!("--reserve-beside={}:{}", governor::boot_id(), access.pid));
    }
    if args.no_pin {
        words.push("--no-pin".to_owned());
    }
    let paths = [("--logdir", &args.logdir), ("--workdir", &args.workdir), ("--config", &args.governor_config)];
    for (option, path) in paths {
        if let Some(path) = plan::absolute(option, path.as_deref())? {
            words.push(format!("{option}={}", text(&path)?));
        }
    }
    if let Some(prefix) = &args.runprefix {
        words.push(format!("--runprefix={prefix}"));
    }
    let command = shlex::try_join(words.iter().map(String::as_str)).map_err(|_| RemoteError::NotText(program))?;
    Ok(match &args.remote_init {
        Some(init) => format!("{init}\nexec {command}"),
        None => format!("exec {command}"),
    })
}

fn text(path: &Path) -> Result<String, RemoteError> {
    path.to_str().map(str::to_owned).ok_or_else(|| RemoteError::NotText(path.to_owned()))
}

/// One line for each host.
pub fn shown(failed: &[HostError]) -> String {
    let lines: Vec<String> =
        failed.iter().map(|error| format!("  {}", error.to_string().replace('\n', "\n    "))).collect();
    lines.join("\n")
}
