//! The task graph as it is submitted: kinds of tasks, and batches of tasks in columns.

mod batch;
mod column;
mod kind;

pub use batch::{Batch, Constant, Offsets};
pub use column::{Column, ColumnError, decode_column, encode_column};
pub use kind::{BUILT_IN, DataType, Kind, OutputSpec};
