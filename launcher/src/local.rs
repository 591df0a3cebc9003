//! The seam between launcher and engine: what the launcher knows, in the runtime's terms.

use crate::governor_config::ExecutorConfig;
use crate::launch::Launch;
use rain_data::{Memory, Store, StoreError};
use rain_events::EventLog;
use rain_exec::{ExecutorError, ExecutorProcess, ExecutorSpec, Interrupt};
use rain_model::resources::Supplies;
use rain_runtime::GovernorConfig;
use rain_runtime::end_of_time::EndOfTime;
use rain_runtime::local::{LocalConfig, run_local};
use rain_runtime::questions::{ContentRequests, OrderRequests, StatusRequests, View};
use rain_topology::CpuId;
use rain_transport_tcp::front::ClientFront;
use std::ffi::OsString;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use rain_runtime::local::{RuntimeError, Stop};

/// How long an executor of the user's may take until it registers.
const EXECUTOR_START_TIME_MAX: Duration = Duration::from_secs(60);
/// What Python tasks run with when neither their client nor the launcher knows better.
const ANY_PYTHON: &str = "python3";

/// Server and local governors to be run.
pub struct LocalPlan {
    pub governors: Vec<GovernorPlan>,
    pub server_work_dir: PathBuf,
    /// For objects of the server and of all governors.
    pub memory: Arc<Memory>,
    pub executors: Vec<ExecutorConfig>,
    pub listen: String,
    pub python: Option<PathBuf>,
    pub end: EndOfTime,
    pub status: StatusRequests,
    pub view: View,
    pub orders: OrderRequests,
    pub contents: ContentRequests,
    pub log: Option<EventLog>,
}

/// A governor to be run.
pub struct GovernorPlan {
    /// One for each worker; `None`: not pinned.
    pub cpus: Vec<Option<CpuId>>,
    /// What it has beside cpus.
    pub resources: Supplies,
    pub work_dir: PathBuf,
}

/// Runs until `stop`, or a client, stops it; `ready` is called when clients are served.
///
/// # Errors
/// When the parts cannot be started or fail.
pub fn run(plan: LocalPlan, front: ClientFront, stop: Stop, ready: impl FnOnce()) -> Result<(), RuntimeError> {
    let executors: Vec<ExecutorSpec> = plan.executors.into_iter().map(executor).collect();
    // Started ahead only where it is known which Python will be asked for, and no more than can start at once.
    let machine_cpus = std::thread::available_parallelism().map_or(1, NonZero::get);
    let prestart_max = if plan.python.is_some() { machine_cpus.div_ceil(plan.governors.len().max(1)) } else { 0 };
    let python = plan.python.unwrap_or_else(|| ANY_PYTHON.into());
    let governors = plan.governors.into_iter().map(|governor| GovernorConfig {
        prestart: governor.cpus.len().min(prestart_max),
        cpus: governor.cpus,
        resources: governor.resources,
        workdir: governor.work_dir,
        memory: plan.memory.clone(),
        executors: executors.clone(),
        python: python.clone(),
    });
    let config = LocalConfig {
        governors: governors.collect(),
        workdir: plan.server_work_dir,
        memory: plan.memory.clone(),
        version: env!("CARGO_PKG_VERSION"),
        listen: plan.listen,
        end: plan.end,
        status: plan.status,
        view: plan.view,
        orders: plan.orders,
        contents: plan.contents,
        log: plan.log,
    };
    run_local(config, front, stop, ready)
}

/// An executor that is to be kept warm and does not start.
#[derive(Debug, thiserror::Error)]
pub enum WarmError {
    #[error("{place}: {source}")]
    Executor { place: String, source: Box<ExecutorError> },
    #[error("cannot try the executors: {0}")]
    Store(#[from] StoreError),
    #[error("cannot try the executors: {0}")]
    System(#[from] std::io::Error),
}

/// Starts each executor that is to be kept warm once, so that one that cannot be is said before Rain is ready.
///
/// # Errors
/// The first that does not register, with its place in the configuration.
pub fn try_warm_executors(executors: &[ExecutorConfig], directory: &Path) -> Result<(), WarmError> {
    let warm: Vec<&ExecutorConfig> = executors.iter().filter(|config| config.warm > 0).collect();
    if warm.is_empty() {
        return Ok(());
    }
    let store = Store::create(directory)?;
    let interrupt = Interrupt::new()?;
    let at = |config: &ExecutorConfig| {
        let place = config.place.clone();
        move |source| WarmError::Executor { place, source: Box::new(source) }
    };
    let start = |config: &ExecutorConfig| {
        ExecutorProcess::start(&executor(config.clone()), &store, None, &[]).map_err(at(config))
    };
    let mut started = warm.iter().map(|config| start(config)).collect::<Result<Vec<_>, _>>()?;
    for (process, config) in started.iter_mut().zip(&warm) {
        process.wait_registered(&interrupt, &|| false).map_err(at(config))?;
    }
    Ok(())
}

/// The settings of a governor in a process of its own, on a machine with so many of them.
pub fn governor(launch: &Launch, cpus: Vec<Option<CpuId>>, work_dir: PathBuf, governors: usize) -> GovernorConfig {
    let machine_cpus = std::thread::available_parallelism().map_or(1, NonZero::get);
    GovernorConfig {
        prestart: if launch.prestart_python.is_some() { cpus.len().min(machine_cpus) } else { 0 },
        resources: launch.resources.supplies(&[cpus.len()], 0),
        cpus,
        workdir: work_dir,
        memory: launch.memory(governors),
        executors: launch.executors.iter().cloned().map(executor).collect(),
        python: launch.prestart_python.clone().unwrap_or_else(|| ANY_PYTHON.into()),
    }
}

fn executor(config: ExecutorConfig) -> ExecutorSpec {
    ExecutorSpec {
        name: config.name,
        command: config.command.into_iter().map(OsString::from).collect(),
        env: config.env.into_iter().map(|(key, value)| (key.into(), value.into())).collect(),
        warm: config.warm,
        start_timeout: config.start_timeout.unwrap_or(EXECUTOR_START_TIME_MAX),
    }
}
