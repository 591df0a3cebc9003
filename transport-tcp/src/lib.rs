//! Rain's sockets, on mio: the server's front for clients, and the connections between server and governors. Beside them, content
//! that clients fetch from governors.

pub mod contents;
pub mod front;
mod log_budget;
pub mod peer;
mod tls_socket;
