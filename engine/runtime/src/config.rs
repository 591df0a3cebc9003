//! How a governor is set up.

use rain_data::Memory;
use rain_exec::ExecutorSpec;
use rain_model::resources::Supplies;
use rain_topology::CpuId;
use std::path::PathBuf;
use std::sync::Arc;

/// How a governor is set up.
#[derive(Clone, Debug)]
pub struct GovernorConfig {
    /// The cpu that each worker is pinned to; `None`: not pinned. Its length is the number of workers.
    pub cpus: Vec<Option<CpuId>>,
    /// What it has beside cpus.
    pub resources: Supplies,
    /// Directory for objects; made, and removed at the end.
    pub workdir: PathBuf,
    /// What objects take is a part of this.
    pub memory: Arc<Memory>,
    /// Executors beside Python's.
    pub executors: Vec<ExecutorSpec>,
    /// Interpreter for Python tasks whose client asks for none.
    pub python: PathBuf,
    /// How many Python executors are started ahead.
    pub prestart: usize,
}
