//! Where the tasks of a known graph should run, and in which order: a model of governors and links, a fast replay of a plan in it, list
//! scheduling, and a search that improves plans for as long as it is let.
//!
//! Times are seconds, sizes are bytes. There is no clock here: who asks for a plan says when it is enough.

pub mod cluster;
pub mod error;
pub mod flows;
pub mod graph;
pub mod kinds;
pub mod learned;
pub mod list;
pub mod machine;
pub mod moves;
pub mod online;
pub mod partition;
pub mod plan;
pub mod random;
pub mod search;
