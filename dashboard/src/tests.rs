//! The pages as a browser, and as a stranger, gets them.

use super::*;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

const TOKEN: &str = "0123456789abcdef";

/// A server whose status is `{"answer": 42}`; its port.
fn start() -> u16 {
    let listener = listen("127.0.0.1:0".parse().unwrap(), false).unwrap();
    let port = listener.local_addr().unwrap().port();
    let page = serve(listener, TOKEN, Arc::new(|answer| answer("{\"answer\": 42}".to_owned()))).unwrap();
    assert_eq!(page, format!("http://127.0.0.1:{port}/?token={TOKEN}"));
    port
}

/// Sends a request with these header lines; status line and headers, and body.
fn request(port: u16, line: &str, headers: &[&str]) -> (String, String) {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let text = format!("{line} HTTP/1.1\r\nConnection: close\r\n{}\r\n\r\n", headers.join("\r\n"));
    socket.write_all(text.as_bytes()).unwrap();
    let mut reply = String::new();
    socket.read_to_string(&mut reply).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

#[test]
fn the_link_with_the_token_leads_to_the_page() {
    let port = start();
    let host = format!("Host: 127.0.0.1:{port}");
    let (head, _) = request(port, &format!("GET /?token={TOKEN}"), &[&host]);
    assert!(head.starts_with("HTTP/1.1 303") && head.contains("location: /\r\n"), "{head}");
    let cookie = head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"));
    let shown = format!("Cookie: other=1; {}", cookie.split(';').next().unwrap());
    let (head, body) = request(port, "GET /", &[&host, &shown]);
    assert!(head.starts_with("HTTP/1.1 200") && body.contains("<title>Rain</title>"), "{head}");
    assert!(head.contains("content-security-policy: default-src 'self'"));
    let (head, body) = request(port, "GET /api/status", &[&host, &shown]);
    assert!(head.starts_with("HTTP/1.1 200") && body.ends_with("{\"answer\": 42}"), "{head} {body}");
    let bearer = format!("Authorization: Bearer {TOKEN}");
    assert!(request(port, "GET /api/status", &["Host: localhost", &bearer]).0.starts_with("HTTP/1.1 200"));
}

#[test]
fn strangers_see_nothing() {
    let port = start();
    let host = format!("Host: 127.0.0.1:{port}");
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let cookie = format!("Cookie: rain-1={TOKEN}");
    for (line, headers, expected) in [
        ("GET /", vec![host.as_str()], "401"),
        ("GET /?token=wrong", vec![&host], "401"),
        ("GET /api/status", vec![&host], "401"),
        ("GET /api/status", vec![&host, "Authorization: Bearer 0123456789abcdee"], "401"),
        ("GET /api/status", vec![&host, &cookie], "401"),
        ("GET /api/status", vec!["Host: rain.example", &bearer], "403"),
        ("GET /api/status", vec![&bearer], "403"),
        ("GET /api/status", vec![&host, &bearer, "Origin: http://evil.example"], "403"),
        ("POST /api/status", vec![&host, &bearer], "405"),
        ("GET /etc/passwd", vec![&host, &bearer], "404"),
    ] {
        let (head, body) = request(port, line, &headers);
        assert!(head.starts_with(&format!("HTTP/1.1 {expected}")), "{line} {headers:?}: {head}");
        assert!(!body.contains("42"), "{line} {headers:?}");
    }
}

#[test]
fn a_taken_port_is_said_or_another_is_chosen() {
    let taken = listen("127.0.0.1:0".parse().unwrap(), false).unwrap();
    let address = taken.local_addr().unwrap();
    let refused = listen(address, false).unwrap_err().to_string();
    assert!(refused.contains(&format!("port {} of 127.0.0.1 is taken", address.port())), "{refused}");
    assert_ne!(listen(address, true).unwrap().local_addr().unwrap().port(), address.port());
}

#[test]
fn who_asks_and_reads_nothing_keeps_nobody_out_and_is_dropped() {
    let port = start();
    let line = format!("GET /x HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n").repeat(1000);
    let flood = || {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        socket.set_nonblocking(true).unwrap();
        while socket.write(line.as_bytes()).is_ok() {}
        socket
    };
    let mut held: Vec<TcpStream> = (0..CONNECTIONS_MAX).map(|_| flood()).collect();
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let (head, _) = request(port, "GET /api/status", &["Host: localhost", &bearer]);
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    // And the others go as well, without anybody who wants their places.
    let last = held.last_mut().unwrap();
    last.set_nonblocking(false).unwrap();
    last.set_write_timeout(Some(Duration::from_secs(30))).unwrap();
    while last.write(line.as_bytes()).is_ok() {}
    let ended = last.write(b"x").unwrap_err().kind();
    assert!([io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset].contains(&ended), "{ended}");
}

#[test]
fn connections_are_bounded_and_slow_ones_end() {
    let port = start();
    let held: Vec<TcpStream> =
        (0..CONNECTIONS_MAX + 20).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
    // All places are taken by those that say nothing, until they are given up.
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let (head, _) = request(port, "GET /api/status", &["Host: localhost", &bearer]);
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    drop(held);
}
