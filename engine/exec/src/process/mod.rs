//! Child processes: how they start, how their end is seen, and that none of them stays.

mod child;
mod environment;
mod lookup;
mod rights;
mod spawn;
mod table;
mod tail;
mod threads;
mod tree;

pub(crate) use child::{Child, Ending};
pub(crate) use environment::Environment;
pub use environment::{LeftOut, leave_out_variables};
pub(crate) use lookup::{LookupError, find_program, forget_program};
pub(crate) use rights::hint as rights_hint;
pub use rights::keep_capabilities;
pub(crate) use spawn::{Launch, c_string, dev_null};
pub(crate) use tail::{Tail, end_text};
pub use tree::set_reaper;
