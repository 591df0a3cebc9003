//! Which tasks an executor process may run.

use rain_exec::ExecutorSpec;
use rain_model::graph::Kind;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Executor name of Python tasks.
pub(super) const PYTHON: &str = "py";

/// Which executor processes may run a task.
#[derive(Clone, Debug)]
pub(crate) struct ExecutorKey {
    pub(super) spec: Arc<ExecutorSpec>,
    /// [`Kind::process`].
    pub(super) process: String,
    /// Libraries size their thread pools once, so a process runs tasks of one number of cpus.
    pub(super) cpus: u32,
    /// What its tasks are given beside cpus. Libraries look once at the GPUs that they may use, so a process has the same all its life.
    pub(super) granted: Option<Arc<Granted>>,
}

/// What tasks were given beside cpus, as their processes are told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Granted {
    /// Variables that say it.
    pub(crate) environment: Vec<(String, String)>,
    /// Names of indexed resources, and places.
    pub(crate) places: BTreeSet<(String, u32)>,
}

impl ExecutorKey {
    pub(crate) fn new(spec: Arc<ExecutorSpec>, kind: &Kind) -> Self {
        Self { spec, process: kind.process.clone(), cpus: kind.cpus, granted: None }
    }

    /// The key of executors for tasks that were given these cpus and resources.
    pub(crate) fn with_grant(&self, cpus: u32, granted: Arc<Granted>) -> Self {
        Self { cpus, granted: Some(granted), ..self.clone() }
    }

    /// Whether the executor itself ends what its tasks have started, before it answers.
    pub(crate) fn ends_its_children(&self) -> bool {
        self.spec.name == PYTHON
    }

    /// Cpus of a task.
    pub(crate) fn cpus(&self) -> u32 {
        self.cpus
    }

    /// The executor's name.
    pub(crate) fn name(&self) -> &str {
        &self.spec.name
    }
}

impl PartialEq for ExecutorKey {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.spec, &other.spec)
            && self.process == other.process
            && self.cpus == other.cpus
            && self.granted == other.granted
    }
}
