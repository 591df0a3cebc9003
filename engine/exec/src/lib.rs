//! How a worker thread of a governor runs tasks: built-in tasks in place, programs and executors as child processes.
//!
//! A worker is a cpu slot; everything here blocks its worker, in `poll`, until there is something to do. An
//! [`Interrupt`] ends the waiting when the task is to be stopped.

mod built_in;
mod call;
mod executor;
mod inputs;
mod interrupt;
mod process;

pub use built_in::{check_built_in, may_block, run_built_in};
pub use call::{TaskCall, TaskFailure, TaskNotes, TaskOutcome};
pub use executor::{ExecutorError, ExecutorEvent, ExecutorFault, ExecutorProcess, ExecutorSpec, python_spec};
pub use interrupt::Interrupt;
pub use process::{LeftOut, keep_capabilities, leave_out_variables, set_reaper};
