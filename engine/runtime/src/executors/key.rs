//! Which tasks an executor process may run.

use rain_exec::ExecutorSpec;
use rain_model::graph::Kind;
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
}

impl ExecutorKey {
    pub(crate) fn new(spec: Arc<ExecutorSpec>, kind: &Kind) -> Self {
        Self { spec, process: kind.process.clone(), cpus: kind.cpus }
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
        Arc::ptr_eq(&self.spec, &other.spec) && self.process == other.process && self.cpus == other.cpus
    }
}
