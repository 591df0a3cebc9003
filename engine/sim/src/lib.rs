//! The engine in one process and in virtual time: the real state machines of server and governors, with a network, disks, executors
//! and clients that fail as a seed says. Everything that happens follows from the seed.

pub mod checkers;
pub mod client;
pub mod content;
pub mod context;
mod driving;
pub mod faults;
mod governor;
pub mod graph;
pub mod makespan;
pub mod mutation;
pub mod network;
pub mod node;
pub mod queues;
pub mod random;
mod resources;
pub mod run;
pub mod schedule;
mod settling;
pub mod shared_queues;
pub mod sweep;
mod taking;
pub mod trace;
pub mod truth;
pub mod violation;
mod worker;
pub mod workload;
pub mod world;
