//! `rain server`.

use super::access::AccessFiles;
use super::args::{ServerArgs, ServingArgs};
use super::error::RemoteError;
use super::ready_file::{clear_ready_file, write_ready_file};
use super::role::{Role, ServerRole};
use crate::address;
use crate::end_time::EndPlan;
use crate::http::HttpPlan;
use crate::launch::Launch;
use crate::log_plan::LogPlan;
use crate::memory::MemoryPlan;
use crate::plan::{self, Governors, PlanError, StartPlan};
use crate::resources::ResourcePlan;
use crate::start;
use crate::terminal::say;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Runs a server in the foreground until it is stopped; whether it ended well.
///
/// # Errors
/// When it cannot be started.
pub fn run(args: &ServerArgs) -> Result<bool, RemoteError> {
    let absolute = |option, path: &Option<PathBuf>| plan::absolute(option, path.as_deref());
    let mut role = server_role(&args.serving, args.governor_access.as_deref(), args.data_plain)?;
    role.governor_timeout = args.governor_timeout.map(|seconds| Duration::from_secs(seconds.into()));
    let plan = StartPlan {
        governors: Governors::Cpus(Vec::new()),
        listen: address::parse_for_server(args.serving.at.listen.as_deref())?,
        log_dir: absolute("--logdir", &args.places.logdir)?,
        work_dir: absolute("--workdir", &args.places.workdir)?,
        memory: MemoryPlan::new(&args.places).map_err(PlanError::from)?,
        run_prefix: Vec::new(),
        executors: Vec::new(),
        resources: ResourcePlan::default(),
        reserve_cpu: false,
        pin: false,
        keep_capabilities: false,
        foreground: true,
        private: false,
        end: EndPlan::new(&args.serving.end).map_err(PlanError::from)?,
        log: LogPlan::new(&args.serving.log),
        http: Some(HttpPlan::new(args.serving.at.http_listen.as_deref()).map_err(PlanError::from)?),
    };
    clear_ready_file(role.ready_file.as_deref())?;
    Ok(start_server(plan, role.clone(), &|address, told| {
        say(&announcement(address, told));
        write_ready_file(role.ready_file.as_deref());
    })?)
}

/// What was typed about how a server is reached.
///
/// # Errors
/// When it cannot be done so.
pub fn server_role(
    args: &ServingArgs,
    governor_access: Option<&Path>,
    data_plain: bool,
) -> Result<ServerRole, PlanError> {
    Ok(ServerRole {
        access_files: AccessFiles {
            all: plan::absolute("--access", args.access.as_deref())?,
            clients: plan::absolute("--client-access", args.client_access.as_deref())?,
            governors: plan::absolute("--governor-access", governor_access)?,
        },
        ready_file: plan::absolute("--ready-file", args.ready_file.as_deref())?,
        data_plain,
        governor_timeout: None,
    })
}

/// Starts a server alone, as the plan says.
///
/// # Errors
/// When it cannot be started.
pub fn start_server(
    plan: StartPlan,
    role: ServerRole,
    ready: &dyn Fn(SocketAddr, &start::Told),
) -> Result<bool, start::StartError> {
    let (listener, directory) = start::take_port(plan.listen)?;
    let address = listener.local_addr().map_err(|error| start::StartError::Listen(plan.listen, error))?;
    start::clean_up_after_dead_server(directory.path());
    let (foreground, path) = (plan.foreground, directory.path().to_owned());
    let make = |descriptors| Launch { role: Role::Server(role), ..Launch::new(plan, address, &path, descriptors) };
    start::launch(make, foreground, listener, directory, &|told| ready(address, told))
}

fn announcement(address: SocketAddr, told: &start::Told) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "Rain {} server is ready on {address}, pid {}", env!("CARGO_PKG_VERSION"), told.pid);
    text += &told.details();
    let directory = crate::runtime_dir::server_path(&crate::runtime_dir::root(), address.port());
    let _ = writeln!(text, "  access   {}", directory.join("access.json").display());
    let _ = writeln!(text, "  stop it  {}", start::stop_command(address.port()));
    text
}
