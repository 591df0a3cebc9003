//! The task graph as it is submitted: kinds of tasks, and batches of tasks in columns.

mod batch;
mod batches;
mod column;
mod kind;

pub use batch::{Batch, BatchKind, Offsets};
pub use batches::Batches;
pub use column::{Column, ColumnError, decode_column, encode_column};
pub use kind::{BUILT_IN, DataType, Kind, OutputSpec};
