//! The real `rain` binary, from outside.

mod command_line;
mod remote;
mod sandbox;
mod srun;
mod ssh;
mod start_stop;
mod surroundings;
