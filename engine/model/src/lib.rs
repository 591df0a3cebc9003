//! What everything else speaks of: numbers of sessions, tasks and objects (`id`), task graphs in columns (`graph`), resources
//! (`resources`), and times (`time`).
//!
//! Pure: nothing here opens a file or a socket, starts a thread or reads a clock.

pub mod graph;
pub mod id;
pub mod resources;
pub mod time;
