//! The server: which sessions there are, what they have submitted, where it runs, who waits for it.
//!
//! Sans I/O: `Server::handle` takes the time and an event, and appends the effects that follow from them (`reactor.rs`).

mod balance;
mod budget;
mod cancel;
mod cancelling;
mod counting;
mod edges;
mod effects;
mod event;
mod explain;
mod facts;
mod fair;
mod forget;
mod governors;
mod granting;
mod holders;
mod info;
mod ledger;
mod lineage;
mod logging;
mod outputs;
mod placer;
mod priority;
mod progress;
mod reactor;
mod ready;
mod records;
mod recovery;
mod requests;
mod results;
mod session;
mod shares;
mod status;
mod stored;
mod submission;
mod submit;
mod table;
mod waiting;
mod waits;
mod wanting;

pub use effects::{Action, Effects, Reply, StoredResult};
pub use event::{Command, Event, RequestId};
pub use governors::check_joining;
pub use reactor::Server;
pub use status::{GovernorStatus, ResourceStatus, SessionStatus, Status};
pub use submission::{CheckTask, NewConstant, Submission};
