//! `rain server` and `rain governor` through the real binary, on loopback addresses.

use crate::sandbox::{Sandbox, names, signal, text, wait_until};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

/// A program that stays in the foreground, and the first line that it has printed.
struct Foreground {
    child: Child,
    first_line: String,
}

impl Foreground {
    /// Starts it, and waits until it says something or ends.
    fn start(sandbox: &Sandbox, arguments: &[&str]) -> Self {
        let mut command = sandbox.command(arguments);
        command.arg(format!("--workdir={}", sandbox.work_dir().display()));
        command.arg(format!("--logdir={}", sandbox.path("log").display()));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut first_line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut first_line).unwrap();
        Self { child, first_line }
    }

    fn is_ready(&self) -> bool {
        self.first_line.contains("is ready")
    }

    /// The pid of the process that does the work.
    fn engine_pid(&self) -> i32 {
        self.first_line.trim().rsplit("pid ").next().unwrap().parse().unwrap()
    }

    /// Waits for its end; what it said on standard error.
    fn end(mut self) -> String {
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        self.child.wait().unwrap();
        said
    }
}

fn server(sandbox: &Sandbox, more: &[&str]) -> (Foreground, String) {
    let server = Foreground::start(sandbox, &[&["server", "--listen=127.0.0.1:0"], more].concat());
    assert!(server.is_ready(), "{}", server.end());
    let port = sandbox.port();
    (server, port)
}

fn governor(sandbox: &Sandbox, port: &str, more: &[&str]) -> Foreground {
    let address = format!("127.0.0.1:{port}");
    Foreground::start(sandbox, &[&["governor", &address, "--cpus=1", "--no-pin"], more].concat())
}

fn log(sandbox: &Sandbox, name: &str) -> String {
    fs::read_to_string(sandbox.path("log").join(name)).unwrap()
}

fn await_log(sandbox: &Sandbox, expected: &str) {
    let read = || log(sandbox, "server.log");
    wait_until(|| read().contains(expected), || format!("no {expected:?} in {}", read()));
}

#[test]
fn governors_join_a_server_and_end_with_it() {
    let sandbox = Sandbox::new();
    let ready = sandbox.path("ready");
    let ready_option = format!("--ready-file={}", ready.display());
    let (server, port) = server(&sandbox, &[&ready_option]);
    let first = governor(&sandbox, &port, &[]);
    let second = governor(&sandbox, &port, &[]);
    assert!(first.is_ready() && second.is_ready());
    sandbox.await_governors(&port, 2);
    wait_until(|| ready.exists(), || "no ready file".to_owned());
    assert_eq!(fs::read_to_string(&ready).unwrap(), "ready\n");
    assert!(sandbox.rain(&["stop", "--listen", &port]).status.success());
    for ended in [server, first, second] {
        assert_eq!(ended.end(), "");
    }
    assert!(!ready.exists(), "the next job would take it for its own server's");
    sandbox.assert_nothing_is_left();
}

#[test]
fn a_killed_governor_is_noticed_and_leaves_nothing() {
    let sandbox = Sandbox::new();
    let (server, port) = server(&sandbox, &[]);
    let first = governor(&sandbox, &port, &[]);
    let second = governor(&sandbox, &port, &[]);
    sandbox.await_governors(&port, 2);
    signal(first.engine_pid(), "KILL");
    assert!(first.end().contains("SIGKILL"));
    sandbox.await_governors(&port, 1);
    let host = text(&Command::new("hostname").output().unwrap().stdout);
    let said = log(&sandbox, "server.log");
    assert!(said.contains(&format!("governor 0 is lost: {}: ", host.trim())), "{said}");
    // Its supervisor killed: it ends, too, and removes what it has.
    signal(second.child.id() as i32, "KILL");
    second.end();
    sandbox.await_governors(&port, 0);
    let directories = || names(&sandbox.runtime_dir()).iter().filter(|name| name.starts_with("governor-")).count();
    wait_until(|| directories() == 0, || "it has left its directory".to_owned());
    let second = governor(&sandbox, &port, &[]);
    sandbox.await_governors(&port, 1);
    // Both killed: nobody is left to remove anything.
    signal(second.engine_pid(), "STOP");
    signal(second.child.id() as i32, "KILL");
    signal(second.engine_pid(), "KILL");
    second.end();
    sandbox.await_governors(&port, 0);
    // The next one cleans up after it.
    let third = governor(&sandbox, &port, &[]);
    sandbox.await_governors(&port, 1);
    assert_eq!(directories(), 1);
    assert!(sandbox.rain(&["stop", "--listen", &port]).status.success());
    server.end();
    third.end();
    sandbox.assert_nothing_is_left();
}

#[test]
fn a_governor_whose_server_is_killed_ends() {
    let sandbox = Sandbox::new();
    let (server, port) = server(&sandbox, &[]);
    let governor = governor(&sandbox, &port, &[]);
    sandbox.await_governors(&port, 1);
    signal(server.engine_pid(), "KILL");
    server.end();
    governor.end();
    sandbox.assert_nothing_is_left();
}

fn private(path: &Path, text: &str) -> PathBuf {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    path.to_owned()
}

#[test]
fn who_has_no_good_access_file_is_not_let_in() {
    let sandbox = Sandbox::new();
    let (clients, governors) = (sandbox.path("clients"), sandbox.path("governors"));
    let options =
        [format!("--client-access={}", clients.display()), format!("--governor-access={}", governors.display())];
    let (first, port) = server(&sandbox, &[&options[0], &options[1]]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&clients), mode(&governors)), (0o600, 0o600));

    let other = Sandbox::new();
    let refused = |access: &Path| {
        let option = format!("--access={}", access.display());
        let governor = governor(&other, &port, &[&option]);
        assert!(!governor.is_ready(), "{}", governor.first_line);
        governor.end()
    };
    // None at all.
    let governor = governor(&other, &port, &[]);
    assert!(!governor.is_ready());
    assert!(governor.end().contains("--access=FILE"));
    assert!(refused(Path::new("/no/such/file")).contains("/no/such/file"));
    assert!(refused(&clients).contains("not one for governors"));
    // A client's credentials in the place of a governor's.
    let mut access: serde_json::Value = serde_json::from_slice(&fs::read(&clients).unwrap()).unwrap();
    access["tls"]["governor"] = access["tls"]["client"].clone();
    let forged = private(&other.path("forged"), &access.to_string());
    let said = refused(&forged);
    assert!(said.contains("a client's credentials"), "{said}");
    await_log(&sandbox, "client's credentials, but wants to be a governor peer=127.0.0.1:");
    // Of another cluster.
    let third = Sandbox::new();
    let (foreign, _) = server(&third, &[&format!("--access={}", third.path("all").display())]);
    let said = refused(&third.path("all"));
    assert!(said.contains("certificate"), "{said}");
    // Open to others.
    fs::set_permissions(&governors, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(refused(&governors).contains("open to other users"));
    fs::set_permissions(&governors, fs::Permissions::from_mode(0o600)).unwrap();
    // Plain text.
    let mut plain = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
    plain.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!text(&answer).contains("rain"));
    await_log(&sandbox, "InvalidContentType");
    assert_eq!(sandbox.status(&port)["governors"], serde_json::json!([]));
    assert!(!log(&sandbox, "server.log").contains("comes from"));

    assert!(sandbox.rain(&["stop", "--listen", &port]).status.success());
    let other_port = third.port();
    assert!(third.rain(&["stop", "--listen", &other_port]).status.success());
    first.end();
    foreign.end();
    assert!(!clients.exists() && !governors.exists());
    for sandbox in [&sandbox, &other, &third] {
        sandbox.assert_nothing_is_left();
    }
}

#[test]
fn a_server_is_shown_and_stopped_from_another_machine() {
    let sandbox = Sandbox::new();
    let (clients, governors) = (sandbox.path("clients"), sandbox.path("governors"));
    let options =
        [format!("--client-access={}", clients.display()), format!("--governor-access={}", governors.display())];
    let (server, port) = server(&sandbox, &[&options[0], &options[1]]);
    let governor = governor(&sandbox, &port, &[]);
    sandbox.await_governors(&port, 1);
    // Nothing of the server is in this one's directories.
    let other = Sandbox::new();
    let address = format!("127.0.0.1:{port}");
    let with = |path: &Path| format!("--access={}", path.display());
    let said = |arguments: &[&str]| {
        let output = other.rain(arguments);
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
        text(&output.stderr)
    };
    assert!(said(&["status", &address]).contains("--access=FILE"));
    assert!(said(&["stop", &address, &with(&governors)]).contains("not one for clients"));
    let foreign = Sandbox::new();
    let (third, third_port) = self::server(&foreign, &[&with(&foreign.path("all"))]);
    assert!(said(&["stop", &address, &with(&foreign.path("all"))]).contains("do not belong together"));
    assert!(said(&["status", "127.0.0.1:1", &with(&clients)]).contains("127.0.0.1:1: Connection refused"));
    assert!(said(&["status", "no-such-host.invalid", &with(&clients)]).contains("no such host"));

    let shown = other.rain(&["status", &address, "--json", &with(&clients)]);
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown["governors"].as_array().unwrap().len(), 1);
    let mut named = other.command(&["status", &address]);
    let named = named.env("RAIN_ACCESS", &clients).output().unwrap();
    assert!(text(&named.stdout).contains("governors: 1"), "{}", text(&named.stderr));
    let stopped = other.rain(&["stop", &address, &with(&clients)]);
    assert!(stopped.status.success(), "{}", text(&stopped.stderr));
    assert_eq!(text(&stopped.stdout), format!("Rain on {address} has stopped\n"));
    // Nobody listens there any more.
    assert!(TcpStream::connect(&address).is_err());
    assert_eq!((server.end(), governor.end()), (String::new(), String::new()));
    sandbox.assert_nothing_is_left();
    assert!(foreign.rain(&["stop", "--listen", &third_port]).status.success());
    third.end();
}

#[test]
fn a_server_of_this_machine_is_asked_without_the_network() {
    let sandbox = Sandbox::new();
    let port = sandbox.started(&["--local-governors=[1]", "--no-pin"]);
    let output = sandbox.rain(&["status", &format!("127.0.0.1:{port}")]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let access = format!("--access={}", sandbox.runtime_dir().join(format!("server-{port}/access.json")).display());
    let output = sandbox.rain(&["status", &format!("127.0.0.1:{port}"), &access]);
    assert!(text(&output.stderr).contains("its own machine only"), "{}", text(&output.stderr));
    assert!(sandbox.rain(&["stop", "--listen", &port]).status.success());
    sandbox.assert_nothing_is_left();
}

#[test]
fn a_governor_says_which_warm_executor_does_not_register() {
    let sandbox = Sandbox::new();
    let (server, port) = server(&sandbox, &[]);
    let file = sandbox.path("governor.toml");
    fs::write(&file, "[executors.a]\ncommand = \"sh -c 'echo words >&2; exit 3'\"\nwarm = 1\n").unwrap();
    let refused = governor(&sandbox, &port, &[&format!("--config={}", file.display())]);
    assert!(!refused.is_ready());
    let said = refused.end();
    assert!(said.contains("governor.toml:1: ") && said.contains("words"), "{said}");
    assert!(sandbox.rain(&["stop", "--listen", &port]).status.success());
    server.end();
    sandbox.assert_nothing_is_left();
}

#[test]
fn a_governor_waits_for_its_server_if_it_is_told_to() {
    let sandbox = Sandbox::new();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (address, access) = (format!("127.0.0.1:{port}"), sandbox.path("access"));
    let access = format!("--access={}", access.display());
    let no_wait = sandbox.rain(&["governor", &address, &access]);
    assert_eq!(no_wait.status.code(), Some(1));
    assert!(
        text(&no_wait.stderr).contains("There is no") || text(&no_wait.stderr).contains("access file"),
        "{}",
        text(&no_wait.stderr)
    );
    let mut early = sandbox.command(&["governor", &address, "--cpus=1", "--no-pin", "--wait=60", &access]);
    early.arg(format!("--workdir={}", sandbox.work_dir().display()));
    early.arg(format!("--logdir={}", sandbox.path("log").display()));
    let mut early = early.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let server = Foreground::start(&sandbox, &["server", &format!("--listen={address}"), &access]);
    assert!(server.is_ready(), "{}", server.end());
    let mut said = String::new();
    BufReader::new(early.stdout.as_mut().unwrap()).read_line(&mut said).unwrap();
    assert!(said.contains("is ready"), "{said}");
    sandbox.await_governors(&port.to_string(), 1);
    assert!(sandbox.rain(&["stop", "--listen", &port.to_string()]).status.success());
    assert!(early.wait().unwrap().success());
    assert_eq!(server.end(), "");
    sandbox.assert_nothing_is_left();
}

#[test]
fn governors_come_over_both_families_and_listen_where_they_are_told_to() {
    let sandbox = Sandbox::new();
    let server = Foreground::start(&sandbox, &["server", "--listen=0"]);
    assert!(server.is_ready(), "{}", server.end());
    let port = sandbox.port();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let range = format!("--listen=127.0.0.1:{free}-{}", free.saturating_add(30));
    let first = governor(&sandbox, &port, &[&range]);
    assert!(first.is_ready(), "{}", first.end());
    assert!((free..=free.saturating_add(30)).any(|port| TcpStream::connect(("127.0.0.1", port)).is_ok()));
    let ends = [first];
    if TcpListener::bind("[::1]:0").is_ok() {
        let second = Foreground::start(&sandbox, &["governor", &format!("[::1]:{port}"), "--cpus=1", "--no-pin"]);
        assert!(second.is_ready(), "{}", second.end());
        sandbox.await_governors(&port, 2);
        assert!(sandbox.rain(&["stop", "--listen", &port]).status.success());
        assert_eq!(second.end(), "");
    } else {
        assert!(sandbox.rain(&["stop", "--listen", &port]).status.success());
    }
    for end in ends.into_iter().chain([server]) {
        assert_eq!(end.end(), "");
    }
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap();
    let (server, port) = self::server(&sandbox, &[]);
    let refused = governor(&sandbox, &port, &[&format!("--listen={taken}-{}", taken.port())]);
    assert!(!refused.is_ready());
    assert!(refused.end().contains(&format!("cannot listen on {taken}: ")));
    assert!(sandbox.rain(&["stop", "--listen", &port]).status.success());
    assert_eq!(server.end(), "");
    sandbox.assert_nothing_is_left();
}

#[test]
fn what_is_suspended_and_resumed_goes_on() {
    let sandbox = Sandbox::new();
    let (server, port) = server(&sandbox, &["--governor-timeout=4"]);
    let governor = governor(&sandbox, &port, &[]);
    let before = sandbox.await_governors(&port, 1);
    let processes = [server.engine_pid(), governor.engine_pid()];
    processes.iter().for_each(|&pid| signal(pid, "STOP"));
    // Longer than a governor may be silent.
    thread::sleep(Duration::from_secs(7));
    processes.iter().for_each(|&pid| signal(pid, "CONT"));
    // And long enough for the loss to be noticed.
    thread::sleep(Duration::from_secs(3));
    assert_eq!(sandbox.status(&port)["governors"][0]["id"], before["governors"][0]["id"]);
    let said = log(&sandbox, "server.log");
    assert!(said.contains("did not run for") && !said.contains("lost") && !said.contains("is back"), "{said}");
    assert!(sandbox.rain(&["stop", "--listen", &port]).status.success());
    assert_eq!((server.end(), governor.end()), (String::new(), String::new()));
    sandbox.assert_nothing_is_left();
}
