//! Executors: processes that run tasks of one type family, one after another, and are reused.

mod answer;
mod error;
mod launch;
mod log;
mod process;
mod spec;

pub use answer::ExecutorEvent;
pub use error::{ExecutorError, ExecutorFault};
pub use process::ExecutorProcess;
pub use spec::{ExecutorSpec, python_spec};
