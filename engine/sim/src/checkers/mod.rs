//! What must hold in every run: each rule is a file.

pub mod answers;
pub mod bounds;
pub mod claims;
pub mod cpus;
pub mod inputs;
pub mod logged;
pub mod once;
pub mod replies;
pub mod resources;
pub mod rest;
pub mod wakeups;
