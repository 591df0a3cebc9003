//! The values of `--listen` and `--http-listen`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::ops::RangeInclusive;
use std::{fmt, io};

/// Where a server listens when nothing else is said.
pub const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7210);

/// Why an address cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("{option}={text}: give PORT, ADDRESS or ADDRESS:PORT, for example {option}={default}")]
    Form { option: &'static str, text: String, default: SocketAddr },
    #[error("{option}={text}: give PORT, ADDRESS:PORT or, for a range of ports, FIRST-LAST or ADDRESS:FIRST-LAST")]
    Range { option: &'static str, text: String },
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
    let default = SocketAddr::new(all_addresses(), DEFAULT_LISTEN.port());
    text.map_or(Ok(default), |text| parse_with("--listen", text, default))
}

/// What stands for all addresses of this machine: of IPv6, which takes IPv4 along, where the system has that.
fn all_addresses() -> IpAddr {
    let takes_ipv4_along =
        std::fs::read_to_string("/proc/sys/net/ipv6/bindv6only").is_ok_and(|text| text.trim() == "0");
    if takes_ipv4_along && TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok() {
        Ipv6Addr::UNSPECIFIED.into()
    } else {
        Ipv4Addr::UNSPECIFIED.into()
    }
}

/// An address, and the ports one of which is to be taken there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortRange {
    pub ip: IpAddr,
    pub ports: RangeInclusive<u16>,
}

impl From<SocketAddr> for PortRange {
    fn from(address: SocketAddr) -> Self {
        Self { ip: address.ip(), ports: address.port()..=address.port() }
    }
}

impl PortRange {
    /// Listens on the first port that is free.
    ///
    /// # Errors
    /// When none is, or the system refuses.
    pub fn listen(&self) -> io::Result<TcpListener> {
        let mut taken = io::Error::from(io::ErrorKind::AddrInUse);
        for port in self.ports.clone() {
            match TcpListener::bind((self.ip, port)) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => taken = error,
                other => return other,
            }
        }
        Err(taken)
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = SocketAddr::new(self.ip, *self.ports.start());
        if self.ports.start() == self.ports.end() {
            write!(f, "{first}")
        } else {
            write!(f, "{first}-{}", self.ports.end())
        }
    }
}

/// Where a governor is to listen for others: PORT, ADDRESS, ADDRESS:PORT, or a range PORT-PORT instead of the port.
///
/// # Errors
/// When it is no address, or names an unknown host.
pub fn parse_for_governor(option: &'static str, text: Option<&str>) -> Result<PortRange, AddressError> {
    let default = SocketAddr::new(all_addresses(), 0);
    let Some(text) = text else { return Ok(PortRange { ip: default.ip(), ports: 0..=0 }) };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // Names of hosts may have a `-`, too.
    let range = text
        .rsplit_once('-')
        .filter(|(first, last)| is_number(last) && is_number(first.rsplit(':').next().unwrap_or(first)));
    let (first, last) = range.unwrap_or((text, ""));
    let first = parse_with(option, first, default)?;
    let last = if last.is_empty() { Ok(first.port()) } else { last.parse() };
    match last {
        Ok(last) if first.port() <= last && (first.port() > 0 || last == 0) => {
            Ok(PortRange { ip: first.ip(), ports: first.port()..=last })
        }
        _ => Err(AddressError::Range { option, text: text.to_owned() }),
    }
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
    fn governors_take_ports_of_a_range() {
        let parsed = |text| parse_for_governor("--listen", Some(text)).map(|range| range.to_string());
        for (text, expected) in [
            ("127.0.0.1:7000-7100", "127.0.0.1:7000-7100"),
            ("[::1]:7000-7000", "[::1]:7000"),
            ("127.0.0.1", "127.0.0.1:0"),
            ("127.0.0.1:80", "127.0.0.1:80"),
        ] {
            assert_eq!(parsed(text).unwrap(), expected);
        }
        let any = parse_for_governor("--listen", Some("7000-7001")).unwrap();
        assert!(any.ip.is_unspecified() && any.ports == (7000..=7001));
        assert_eq!(parse_for_governor("--listen", None).unwrap().ports, 0..=0);
        for text in ["7100-7000", "7000-70000", "0-5", "7000-"] {
            let error = parsed(text).unwrap_err();
            assert!(
                matches!(
                    error,
                    AddressError::Range { .. } | AddressError::UnknownHost { .. } | AddressError::Form { .. }
                ),
                "{text}: {error}"
            );
        }
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let one = PortRange { ip: Ipv4Addr::LOCALHOST.into(), ports: port..=port };
        assert_eq!(one.listen().unwrap_err().kind(), io::ErrorKind::AddrInUse);
        if let Some(next) = port.checked_add(20) {
            let free = PortRange { ports: port..=next, ..one }.listen().unwrap();
            assert!(free.local_addr().unwrap().port() > port);
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
