//! The real `rain` binary, from outside.

mod command_line;
mod sandbox;
mod start_stop;
