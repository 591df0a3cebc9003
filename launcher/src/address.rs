//! The values of `--listen` and `--http-listen`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};

/// Where a server listens when nothing else is said.
pub const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7210);

/// Why an address cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("{option}={text}: give PORT, ADDRESS or ADDRESS:PORT, for example {option}={default}")]
    Form { option: &'static str, text: String, default: SocketAddr },
    #[error("{option}={text}: no such host is known")]
    UnknownHost { option: &'static str, text: String },
    #[error("{0}: give ADDRESS or ADDRESS:PORT of the server")]
    ServerForm(String),
    #[error("{0}: no such host is known")]
    UnknownServer(String),
}

/// Reads PORT, ADDRESS or ADDRESS:PORT.
///
/// # Errors
/// When it is none of them or names an unknown host.
pub fn parse(text: &str) -> Result<SocketAddr, AddressError> {
    parse_with("--listen", text, DEFAULT_LISTEN)
}

/// Where a server for governors elsewhere is to listen.
///
/// # Errors
/// When it is no address, or names an unknown host.
pub fn parse_for_server(text: Option<&str>) -> Result<SocketAddr, AddressError> {
    let default = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), DEFAULT_LISTEN.port());
    text.map_or(Ok(default), |text| parse_with("--listen", text, default))
}

/// Where a governor is to listen for others.
///
/// # Errors
/// When it is no address, or names an unknown host.
pub fn parse_for_governor(text: Option<&str>) -> Result<SocketAddr, AddressError> {
    let default = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
    text.map_or(Ok(default), |text| parse_with("--listen", text, default))
}

/// Where a server elsewhere may listen, IPv4 first; all have one port.
///
/// # Errors
/// When it is not ADDRESS[:PORT], or names an unknown host.
pub fn parse_server(text: &str) -> Result<Vec<SocketAddr>, AddressError> {
    if let Ok(ip) = text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, DEFAULT_LISTEN.port())]);
    }
    let with_port = match text.rsplit_once(':') {
        Some((_, port)) if port.parse::<u16>().is_ok() => text.to_owned(),
        Some(_) => return Err(AddressError::ServerForm(text.to_owned())),
        None => format!("{text}:{}", DEFAULT_LISTEN.port()),
    };
    let unknown = || AddressError::UnknownServer(text.to_owned());
    let mut found: Vec<SocketAddr> = with_port.to_socket_addrs().map_err(|_| unknown())?.collect();
    found.sort_by_key(SocketAddr::is_ipv6);
    if found.is_empty() { Err(unknown()) } else { Ok(found) }
}

/// Reads the value of an option; what it does not say is taken from `default`.
///
/// # Errors
/// When it is no address, or names an unknown host.
pub fn parse_with(option: &'static str, text: &str, default: SocketAddr) -> Result<SocketAddr, AddressError> {
    let form = || AddressError::Form { option, text: text.to_owned(), default };
    let unknown = || AddressError::UnknownHost { option, text: text.to_owned() };
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let port = text.parse().map_err(|_| form())?;
        return Ok(SocketAddr::new(default.ip(), port));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(address);
    }
    if let Ok(ip) = text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, default.port()));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().map_err(|_| form())?),
        None => (text, default.port()),
    };
    if host.is_empty() || !host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)) {
        return Err(form());
    }
    let mut found: Vec<SocketAddr> = (host, port).to_socket_addrs().map_err(|_| unknown())?.collect();
    found.sort_by_key(SocketAddr::is_ipv6);
    found.first().copied().ok_or_else(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_are_read() {
        for (text, expected) in [
            ("7211", "127.0.0.1:7211"),
            ("0", "127.0.0.1:0"),
            ("127.0.0.2", "127.0.0.2:7210"),
            ("127.0.0.2:80", "127.0.0.2:80"),
            ("localhost", "127.0.0.1:7210"),
            ("localhost:99", "127.0.0.1:99"),
            ("::1", "[::1]:7210"),
            ("[::1]:5", "[::1]:5"),
        ] {
            assert_eq!(parse(text).unwrap().to_string(), expected);
        }
    }

    #[test]
    fn what_is_no_address_is_said() {
        for text in ["", "70000", "host:", ":80", "127.0.0.1:x", "a b", "-1"] {
            assert!(matches!(parse(text), Err(AddressError::Form { .. } | AddressError::UnknownHost { .. })), "{text}");
        }
    }

    #[test]
    fn servers_elsewhere_are_found() {
        for (text, expected) in [
            ("10.0.0.1", "10.0.0.1:7210"),
            ("10.0.0.1:80", "10.0.0.1:80"),
            ("localhost:99", "127.0.0.1:99"),
            ("::1", "[::1]:7210"),
            ("[::1]:5", "[::1]:5"),
        ] {
            assert_eq!(parse_server(text).unwrap()[0].to_string(), expected);
        }
        assert!(matches!(parse_server("host:x"), Err(AddressError::ServerForm(_))));
        assert!(matches!(parse_server("no-such-host.invalid"), Err(AddressError::UnknownServer(_))));
    }
}
