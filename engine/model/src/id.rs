//! Identifiers. Tasks and objects are numbered densely within their session, so that tables are arrays.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($int:ty), $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $int);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

id!(
    /// A session of a client; never reused while a server lives.
    SessionId(u32), "session "
);
id!(
    /// A governor, in the order in which they joined.
    GovernorId(u32), "governor "
);
id!(
    /// A client connection; never reused while a server lives.
    ClientId(u64), "client "
);

/// Index of a task within its session.
pub type TaskIndex = u32;
/// Index of a data object within its session.
pub type ObjectIndex = u32;
/// "No such item" in columns of indices.
pub const NONE: u32 = u32::MAX;

/// A task: its session and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskId {
    pub session: SessionId,
    pub index: TaskIndex,
}

/// A data object: its session and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectId {
    pub session: SessionId,
    pub index: ObjectIndex,
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "task {}:{}", self.session.0, self.index)
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "object {}:{}", self.session.0, self.index)
    }
}
