//! Which server a command line means: one of this user on this machine, or one that is reached over the network.

use crate::address::{self, AddressError};
use crate::client_command::SERVER_VARIABLE;
use crate::remote::access;
use crate::remote::reach::{ReachError, Server};
use crate::runtime_dir;
use crate::which_args::WhichServer;
use std::net::{IpAddr, UdpSocket};

/// A server that is meant.
pub enum Meant {
    /// On this machine, at this port.
    Here(u16),
    Elsewhere(Server),
}

/// Why it is not known which server is meant, or how to get in.
#[derive(Debug, thiserror::Error)]
pub enum WhichError {
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error(transparent)]
    Reach(#[from] ReachError),
}

impl Meant {
    /// What was typed, else what RAIN_SERVER names, else the default port of this machine.
    ///
    /// # Errors
    /// When it is no address, or there is no access file for a server on another machine.
    pub fn find(which: &WhichServer) -> Result<Self, WhichError> {
        if let Some(listen) = &which.listen {
            return Ok(Self::Here(address::parse(listen)?.port()));
        }
        let named = std::env::var(SERVER_VARIABLE).ok().filter(|text| !text.is_empty());
        let Some(text) = which.server.clone().or(named) else {
            return Ok(Self::Here(address::DEFAULT_LISTEN.port()));
        };
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(Self::Here(address::parse(&text)?.port()));
        }
        let addresses = address::parse_server(&text)?;
        let has_access =
            which.access.is_some() || std::env::var_os(access::VARIABLE).is_some_and(|path| !path.is_empty());
        if let Some(first) = addresses.first().filter(|first| is_of_this_machine(first.ip())) {
            let lives = runtime_dir::is_live(&runtime_dir::server_path(&runtime_dir::root(), first.port()));
            // With an access file and nobody here, it is the near end of a tunnel.
            if which.access.is_none() && (lives || !has_access) {
                return Ok(Self::Here(first.port()));
            }
        }
        Ok(Self::Elsewhere(Server::find(&text, which.access.as_deref())?))
    }
}

/// Whether an address is one of this machine's own: only those can be bound.
fn is_of_this_machine(ip: IpAddr) -> bool {
    UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_this_machine_are_known() {
        assert!(is_of_this_machine("127.0.0.1".parse().unwrap()) && is_of_this_machine("127.0.0.7".parse().unwrap()));
        // For documentation, so nobody's.
        assert!(!is_of_this_machine("192.0.2.1".parse().unwrap()));
    }
}
