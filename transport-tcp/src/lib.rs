//! Rain's sockets, on mio: for now the server's front for clients (Unix socket and loopback TCP).

pub mod front;
