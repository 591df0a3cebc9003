//! The page and the API as a browser, a program and a stranger get them.

use super::*;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const TOKEN: &str = "0123456789abcdef";

/// Answers with the question; knows the numbers below 7 only.
#[derive(Default)]
struct Echo {
    sequence: AtomicU64,
}

impl Views for Echo {
    fn answer(&self, question: Question, parameters: &str) -> Result<Option<String>, ViewError> {
        match (question, parameters) {
            (_, "wrong") => Err(ViewError::Request("no such parameter".to_owned())),
            (_, "gone") => Err(ViewError::Unavailable("nobody answers".to_owned())),
            (Question::Session(id) | Question::Samples(id) | Question::Task(1, id), _) if id >= 7 => Ok(None),
            (Question::Governors, _) => Ok(Some(json!({"governors": [{"id": 3}]}).to_string())),
            _ => Ok(Some(json!({"question": format!("{question:?}"), "parameters": parameters}).to_string())),
        }
    }

    fn filtered(&self, filter: &[u8]) -> Result<String, ViewError> {
        Ok(json!([{"filter": String::from_utf8_lossy(filter)}]).to_string())
    }

    fn sequence(&self) -> Result<u64, ViewError> {
        Ok(self.sequence.load(Ordering::Relaxed))
    }
}

/// Serves `views`; the port.
pub(crate) fn start_with(views: Arc<dyn Views>) -> u16 {
    let listener = listen("127.0.0.1:0".parse().unwrap(), false).unwrap();
    let port = listener.local_addr().unwrap().port();
    let page = serve(listener, TOKEN, views).unwrap();
    assert_eq!(page, format!("http://127.0.0.1:{port}/?token={TOKEN}"));
    port
}

fn start() -> u16 {
    start_with(Arc::new(Echo::default()))
}

/// A request with the token; the status and the body.
pub(crate) fn ask(port: u16, line: &str) -> (u16, String) {
    let (head, body) = request(port, line, &["Host: localhost", &format!("Authorization: Bearer {TOKEN}")]);
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body)
}

pub(crate) fn ask_json(port: u16, line: &str) -> (u16, Value) {
    let (status, body) = ask(port, line);
    (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{line}: {error}: {body}")))
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
    let (head, body) = request(port, "GET /api/v1/status", &[&host, &shown]);
    assert!(head.starts_with("HTTP/1.1 200") && body.contains("Status"), "{head} {body}");
    let bearer = format!("Authorization: Bearer {TOKEN}");
    assert!(request(port, "GET /api/v1/status", &["Host: localhost", &bearer]).0.starts_with("HTTP/1.1 200"));
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
        ("GET /api/v1/status", vec![&host], "401"),
        ("GET /api/v1/status", vec![&host, "Authorization: Bearer 0123456789abcdee"], "401"),
        ("GET /api/v1/status", vec![&host, &cookie], "401"),
        ("GET /api/v1/status", vec!["Host: rain.example", &bearer], "403"),
        ("GET /api/v1/status", vec![&bearer], "403"),
        ("GET /api/v1/status", vec![&host, &bearer, "Origin: http://evil.example"], "403"),
        ("POST /api/v1/status", vec![&host, &bearer], "405"),
        ("POST /api/v1/status", vec![&host], "401"),
        ("POST /events", vec![&host, "Content-Length: 0"], "401"),
        ("GET /metrics", vec![&host], "401"),
        ("GET /api/v1/live", vec![&host], "401"),
        ("GET /healthz", vec!["Host: rain.example"], "403"),
        ("GET /etc/passwd", vec![&host], "401"),
        ("GET /etc/passwd", vec![&host, &bearer], "404"),
    ] {
        let (head, body) = request(port, line, &headers);
        assert!(head.starts_with(&format!("HTTP/1.1 {expected}")), "{line} {headers:?}: {head}");
        assert!(!body.contains("Status"), "{line} {headers:?}");
        assert!(head.contains("content-security-policy: default-src 'self'"), "{line} {headers:?}: {head}");
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
    let (head, _) = request(port, "GET /api/v1/status", &["Host: localhost", &bearer]);
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
    let (head, _) = request(port, "GET /api/v1/status", &["Host: localhost", &bearer]);
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    drop(held);
}

#[test]
fn each_route_asks_its_question_with_its_parameters() {
    let port = start();
    for (path, question) in [
        ("sessions", "Sessions"),
        ("sessions/3", "Session(3)"),
        ("sessions/3/tasks", "Tasks(3)"),
        ("sessions/3/tasks/4", "Task(3, 4)"),
        ("sessions/3/graph", "Graph(3)"),
        ("sessions/3/objects", "Objects(3)"),
        ("governors/5/samples", "Samples(5)"),
        ("stream", "Stream"),
        ("throughput", "Throughput"),
        ("events", "Events"),
    ] {
        let (status, body) = ask_json(port, &format!("GET /api/v1/{path}?a=b%20c&d="));
        let parameters = if question.starts_with("Task(") { "" } else { "a=b%20c&d=" };
        assert_eq!((status, body), (200, json!({"question": question, "parameters": parameters})), "{path}");
    }
    assert_eq!(
        ask_json(port, "GET /api/v1/status"),
        (200, json!({"question": "Status", "parameters": "", "actions": []}))
    );
    assert_eq!(ask(port, "GET /healthz"), (200, "ok\n".to_owned()));
}

#[test]
fn what_is_wrong_is_said_in_json() {
    let port = start();
    for (line, status, code, message) in [
        ("GET /api/v1/sessions/9", 404, "not_found", "there is no such session"),
        ("GET /api/v1/sessions/1/tasks/9", 404, "not_found", "there is no such task"),
        ("GET /api/v1/governors/9/samples", 404, "not_found", "there is no such governor"),
        ("GET /api/v1/nothing", 404, "not_found", "there is no such path"),
        ("GET /api/v1/sessions?wrong", 400, "request", "no such parameter"),
        ("GET /api/v1/sessions?gone", 503, "unavailable", "nobody answers"),
        ("PUT /events", 405, "method", "other methods"),
        ("GET /api/v1/sessions/-1", 400, "request", "no number"),
        ("GET /api/v1/sessions/4294967296/graph", 400, "request", "no number"),
        ("GET /api/v1/sessions/1/tasks/x", 400, "request", "no number"),
        ("GET /api/v1/live?session=x", 400, "request", "session"),
    ] {
        let (found, body) = ask_json(port, line);
        assert_eq!((found, body["error"]["code"].as_str().unwrap()), (status, code), "{line}");
        assert!(body["error"]["message"].as_str().unwrap().contains(message), "{line}: {body}");
    }
}

/// Posts a filter with the token; the status and the body.
pub(crate) fn post_filter(port: u16, filter: &str) -> (u16, String) {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let length = filter.len();
    let head = format!(
        "POST /events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {TOKEN}\r\n\
         Content-Length: {length}\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).unwrap();
    // Refused before all of it was read, the rest cannot be sent.
    let _ = socket.write_all(filter.as_bytes());
    let mut reply = Vec::new();
    let _ = socket.read_to_end(&mut reply);
    let reply = String::from_utf8(reply).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[test]
fn filters_reach_the_views_and_are_bounded() {
    let port = start();
    let expected = json!([{"filter": "{\"event_types\": []}"}]).to_string();
    assert_eq!(post_filter(port, "{\"event_types\": []}"), (200, expected));
    assert_eq!(post_filter(port, &"x".repeat(65 << 10)).0, 413);
}

/// Lines of a stream of events.
fn open_live(port: u16, parameters: &str) -> impl Iterator<Item = String> + use<> {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let head = format!("GET /api/v1/live{parameters} HTTP/1.1\r\nHost: localhost\r\n{bearer}\r\n\r\n");
    socket.write_all(head.as_bytes()).unwrap();
    BufReader::new(socket).lines().map(|line| line.unwrap())
}

/// The number and the data of the next state.
fn next_state(lines: &mut impl Iterator<Item = String>) -> (u64, Value) {
    let mut of = |prefix: &str| lines.find_map(|line| line.strip_prefix(prefix).map(str::to_owned)).unwrap();
    assert_eq!(of("event: "), "state");
    let (first, second) = (of("id: "), of("data: "));
    (first.parse().unwrap(), serde_json::from_str(&second).unwrap())
}

#[test]
fn pages_are_told_at_once_and_when_something_changes() {
    let echo = Arc::new(Echo::default());
    echo.sequence.store(5, Ordering::Relaxed);
    let port = start_with(echo.clone());
    let mut lines = open_live(port, "?session=2");
    let mut other = open_live(port, "");
    let (sequence, state) = next_state(&mut lines);
    assert_eq!(sequence, 5);
    assert_eq!(state["status"], json!({"question": "Status", "parameters": "", "actions": []}));
    assert_eq!(state["governors"], json!([{"id": 3}]));
    assert_eq!(state["session"]["question"], "Session(2)");
    assert_eq!(state["resync"], false);
    assert_eq!(next_state(&mut other).1["session"], Value::Null);
    echo.sequence.store(6, Ordering::Relaxed);
    for lines in [&mut lines as &mut dyn Iterator<Item = String>, &mut other] {
        let mut lines = lines;
        while next_state(&mut lines).0 != 6 {}
    }
}

#[test]
fn the_description_has_all_routes_and_no_others() {
    let port = start();
    let described: Value = serde_json::from_str(&ask(port, "GET /api/v1/openapi.json").1).unwrap();
    let paths = described["paths"].as_object().unwrap();
    assert_eq!(paths.len(), 17);
    for (path, methods) in paths {
        for method in methods.as_object().unwrap().keys() {
            let asked = path.replace("{session}", "1").replace("{task}", "1").replace("{governor}", "1");
            // A stream of events has no end.
            let query = if path.ends_with("/live") { "?session=x" } else { "" };
            let (status, body) = ask(port, &format!("{} {asked}{query}", method.to_uppercase()));
            // A log does nothing that it is told.
            let is_control = matches!(method.as_str(), "delete") || path.ends_with("/cancel");
            assert!(status == if is_control { 409 } else { 200 } || status == 400, "{method} {path}: {status} {body}");
        }
    }
}

#[test]
fn a_server_without_a_log_shows_what_is_just_now() {
    let reply = json!({
        "pid": 7, "version": "0.1.0", "listen": "127.0.0.1:7210", "started": 1000.0, "clients": 1, "sessions_open": 2,
        "governors": [{"id": 0, "host": "node1", "cpus": 4, "tasks_unfinished": 9, "tasks_finished": 300}],
        "governors_lost": [{"id": 1, "host": "node2", "reason": "it hung up", "lost": 1010.0}],
        "sessions": [
            {"id": 0, "name": "iris", "client": 3, "tasks": 5, "finished": 2, "state": "open"},
            {"id": 1, "name": "", "client": 3, "tasks": 7, "finished": 7, "state": "failed"}],
    });
    let text = reply.to_string();
    let port = start_with(Arc::new(ServerViews::new(Arc::new(move |answer| answer(text.clone())))));
    let (_, status) = ask_json(port, "GET /api/v1/status");
    assert_eq!(status["tasks"]["waiting"], 3);
    assert_eq!(status["tasks"]["finished"], 9);
    assert_eq!(status["sessions"], json!({"open": 1, "failed": 1, "closed": 0}));
    assert_eq!((&status["cpus"], &status["log"], &status["state"]), (&json!(4), &Value::Null, &json!("running")));
    let (_, governors) = ask_json(port, "GET /api/v1/governors");
    assert_eq!(governors["governors"][0]["running"], 4);
    let lost = &governors["governors"][1];
    assert_eq!(
        (&lost["host"], &lost["state"], &lost["reason"]),
        (&json!("node2"), &json!("lost"), &json!("it hung up"))
    );
    let (_, sessions) = ask_json(port, "GET /api/v1/sessions");
    assert_eq!(sessions["sessions"][1]["name"], "iris");
    assert_eq!(ask_json(port, "GET /api/v1/sessions/1").1["state"], "failed");
    assert_eq!(ask_json(port, "GET /api/v1/sessions/2").0, 404);
    let (status, body) = ask_json(port, "GET /api/v1/sessions/0/tasks");
    assert_eq!(status, 503);
    assert!(body["error"]["message"].as_str().unwrap().contains("--event-log=off"), "{body}");
    let (_, metrics) = ask(port, "GET /metrics");
    assert!(metrics.contains("rain_tasks{state=\"finished\"} 9\n"), "{metrics}");
    assert!(metrics.contains("rain_governor_finished_tasks{governor=\"0\",host=\"node1\"} 300\n"), "{metrics}");
}
