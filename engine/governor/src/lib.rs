//! The governor: what it does with tasks and objects that the server sends, and what goes back.
//!
//! Sans I/O, and without threads and clocks of its own. `Reactor::handle` takes what happens to the governor: `Governor` decides
//! whom to tell what, the reactor changes the graphs of sessions and the queues of ready tasks, and what is left for the driver
//! comes out as effects. When a task runs is decided by workers, which take it out of the queues; `Session` and `Dialogue` say
//! what they do with it. Graphs and queues are behind the traits `Graph` and `Queues`: `rain-pool` has those for
//! threads, `plain` has others for simulations.

mod dialogue;
mod end_of_work;
mod event;
mod governor;
mod graph;
mod holdings;
mod link;
pub mod plain;
mod queues;
mod reactor;
mod retries;
mod session;
mod sessions;

pub use dialogue::{Dialogue, DialogueAction, DialogueEvent, Next};
pub use end_of_work::EndOfWork;
pub use event::{Action, Asker, Event, To};
pub use governor::Governor;
pub use graph::Graph;
pub use holdings::{Again, Hold, Holdings};
pub use queues::{Queueing, Queues};
pub use reactor::{Effect, Reactor};
pub use session::{Leave, Rest, Session};
pub use sessions::Sessions;
