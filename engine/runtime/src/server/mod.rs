//! The server's thread and what it is made of.

mod answering;
mod background;
mod bringing;
mod client;
mod driver;
mod fetched;
mod group;
mod logging;
mod machines;
mod ordering;
mod orders;
mod parts;
mod replies;
mod requests;
mod results;
mod turn;
mod uploads;

pub(crate) use driver::ServerDriver;
pub(crate) use parts::ServerParts;
