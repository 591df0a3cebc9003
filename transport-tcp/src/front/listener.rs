//! The ways that connections come to a front.

/// Which queue of connections without a handshake a connection stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listener {
    Tcp = 0,
    Unix = 1,
    /// Clients that another thread has let in.
    Tls = 2,
}
