//! Starting, looking at, stopping and killing servers through the real binary.

use crate::sandbox::{PATIENCE, Sandbox, names, signal, text, wait_until};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn a_server_starts_answers_and_stops() {
    let sandbox = Sandbox::new();
    let output = sandbox.start("0", &["--local-governors=[1,1]"]);
    let said = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let port = sandbox.port();
    assert!(said.contains(&format!("127.0.0.1:{port}")) && said.contains("2 governors with 2 cpus"), "{said}");
    assert!(said.contains(&format!("rain stop --listen={port}")), "{said}");
    assert!(said.contains(&sandbox.path("log").display().to_string()), "{said}");
    assert_eq!(names(&sandbox.work_dir()).len(), 3);

    let status = sandbox.status(&port);
    assert_eq!(status["pid"], sandbox.engine_pid(&port));
    assert_eq!(status["listen"], format!("127.0.0.1:{port}"));
    assert_eq!(status["governors"].as_array().unwrap().len(), 2);
    let table = text(&sandbox.rain(&["status", "--listen", &port]).stdout);
    assert!(table.contains("governor  host"), "{table}");

    let elsewhere = text(&sandbox.rain(&["status", "--listen=1"]).stderr);
    assert!(elsewhere.contains(&format!("port {port}")), "{elsewhere}");

    let stopped = sandbox.rain(&["stop", "--listen", &port]);
    assert!(stopped.status.success(), "{}", text(&stopped.stderr));
    // Nothing to wait for: it is all gone when `rain stop` returns.
    assert_eq!(sandbox.processes(), []);
    sandbox.assert_nothing_is_left();
    assert_eq!(names(&sandbox.path("log")), ["events.sqlite", "server.log"]);
    assert_eq!(sandbox.rain(&["stop", "--listen", &port]).status.code(), Some(1));
}

#[test]
fn a_umask_that_takes_everything_takes_nothing_from_the_owner() {
    let sandbox = Sandbox::new();
    let rain = sandbox.command(&["start", "--simple", "--listen=0"]);
    let mut shell = Command::new("sh");
    shell.args(["-c", "umask 777; exec \"$0\" \"$@\""]).arg(rain.get_program()).args(rain.get_args());
    shell.env("RAIN_RUNTIME_DIR", sandbox.runtime_dir()).arg(format!("--workdir={}", sandbox.work_dir().display()));
    let started = shell.stdin(Stdio::null()).output().unwrap();
    assert!(started.status.success(), "{}", text(&started.stderr));
    let port = sandbox.port();
    let status = fs::read_to_string(format!("/proc/{}/status", sandbox.engine_pid(&port))).unwrap();
    assert!(status.contains("Umask:\t0077\n"), "{status}");
    assert!(sandbox.rain(&["stop", "--listen", &port]).status.success());
    sandbox.assert_nothing_is_left();
}

#[test]
fn the_runtime_directory_is_private_and_the_default_work_dir_in_memory() {
    let sandbox = Sandbox::new();
    let started = sandbox.rain(&["start", "--simple", "--listen=0", "--no-pin"]);
    assert!(started.status.success(), "{}", text(&started.stderr));
    let port = sandbox.port();
    let directory = sandbox.runtime_dir().join(format!("server-{port}"));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&sandbox.runtime_dir()), mode(&directory)), (0o700, 0o700));
    assert_eq!((mode(&directory.join("access.json")), mode(&directory.join("client.sock"))), (0o600, 0o600));
    let host = text(&Command::new("hostname").output().unwrap().stdout);
    let name = format!("-{port}-{}-{}-", host.trim(), sandbox.supervisor_pid(&port));
    let memory = Path::new("/dev/shm");
    let count = || names(memory).iter().filter(|entry| entry.starts_with("rain-") && entry.contains(&name)).count();
    if memory.is_dir() {
        assert_eq!(count(), 1);
    }
    assert!(sandbox.rain(&["stop", "--listen", &port]).status.success());
    assert_eq!(count(), 0);
    sandbox.assert_nothing_is_left();
}

#[test]
fn a_second_start_says_what_runs_already() {
    let sandbox = Sandbox::new();
    let port = sandbox.started(&["--simple"]);
    for listen in [port.clone(), format!("127.0.0.2:{port}")] {
        let second = sandbox.start(&listen, &["--simple"]);
        assert_eq!(second.status.code(), Some(1));
        let said = text(&second.stderr);
        let pid = format!("pid {}", sandbox.engine_pid(&port));
        assert!(said.contains("already running") && said.contains(&pid) && said.contains("since"), "{said}");
    }
    assert_eq!(sandbox.status(&port)["governors"].as_array().unwrap().len(), 1);
    assert!(sandbox.rain(&["stop", "--listen", &port]).status.success());
    sandbox.assert_nothing_is_left();
    let again = sandbox.start(&port, &["--simple"]);
    assert!(again.status.success(), "{}", text(&again.stderr));
    assert!(sandbox.rain(&["stop", "--listen", &port]).status.success());
}

#[test]
fn a_port_of_another_program_is_said_to_be_taken() {
    let sandbox = Sandbox::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let output = sandbox.start(&listener.local_addr().unwrap().port().to_string(), &["--simple"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("taken by another program"), "{}", text(&output.stderr));
    sandbox.assert_nothing_is_left();
}

#[test]
fn more_cpus_than_there_are_still_work() {
    let sandbox = Sandbox::new();
    let output = sandbox.start("0", &["--local-wokers=[400,400,200]"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("shared and not pinned"), "{}", text(&output.stdout));
    assert!(sandbox.rain(&["stop", "--listen", &sandbox.port()]).status.success());
    sandbox.assert_nothing_is_left();
}

#[test]
fn whatever_is_signalled_nothing_is_left() {
    let cases =
        [("engine", "KILL"), ("engine", "TERM"), ("supervisor", "TERM"), ("supervisor", "INT"), ("supervisor", "KILL")];
    for (who, name) in cases {
        let sandbox = Sandbox::new();
        let port = sandbox.started(&["--simple"]);
        let pid = if who == "engine" { sandbox.engine_pid(&port) } else { sandbox.supervisor_pid(&port) };
        signal(pid, name);
        sandbox.assert_nothing_is_left();
    }
}

#[test]
fn when_engine_and_supervisor_are_killed_the_next_start_cleans_up() {
    let sandbox = Sandbox::new();
    let port = sandbox.started(&["--simple"]);
    let (engine, supervisor) = (sandbox.engine_pid(&port), sandbox.supervisor_pid(&port));
    // Stopped first: it must not do what the supervisor does when it is alone.
    signal(engine, "STOP");
    signal(supervisor, "KILL");
    signal(engine, "KILL");
    wait_until(|| sandbox.processes().is_empty(), || format!("{:?}", sandbox.processes()));
    assert_eq!(sandbox.rain(&["status", "--listen", &port]).status.code(), Some(1));
    let left = names(&sandbox.work_dir());
    let again = sandbox.start(&port, &["--simple"]);
    assert!(again.status.success(), "{}", text(&again.stderr));
    assert!(names(&sandbox.work_dir()).iter().all(|name| !left.contains(name)));
    assert!(sandbox.rain(&["stop", "--listen", &port]).status.success());
    sandbox.assert_nothing_is_left();
}

#[test]
fn orphans_of_the_engine_are_ended_too() {
    let sandbox = Sandbox::new();
    let prefix = sandbox.path("prefix");
    // Two that went their own ways, as far as a process can, and an engine that is not the supervisor's child.
    let script = "#!/bin/sh\nsetsid sleep 1000 &\n(trap '' TERM HUP; sleep 1001 & sleep 1002) &\n\"$@\"\n";
    fs::write(&prefix, script).unwrap();
    fs::set_permissions(&prefix, fs::Permissions::from_mode(0o755)).unwrap();
    let option = format!("--runprefix={}", prefix.display());
    for end in ["stop", "TERM", "KILL"] {
        let port = sandbox.started(&["--simple", &option]);
        // The script starts them beside the engine, which may be ready first.
        let begun = Instant::now();
        while sandbox.processes().iter().filter(|(_, line)| line.contains("sleep 100")).count() < 3 {
            assert!(begun.elapsed() < PATIENCE, "{:?}", sandbox.processes());
            thread::yield_now();
        }
        match end {
            "stop" => assert!(sandbox.rain(&["stop", "--listen", &port]).status.success()),
            "TERM" => signal(sandbox.supervisor_pid(&port), "TERM"),
            _ => signal(sandbox.engine_pid(&port), "KILL"),
        }
        sandbox.assert_nothing_is_left();
    }
}

#[test]
fn in_the_foreground_an_interrupt_stops_everything() {
    for name in ["INT", "TERM", "HUP"] {
        let sandbox = Sandbox::new();
        let mut child = sandbox.spawn_start(&["--simple", "--foreground"]);
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("is ready on 127.0.0.1:"), "{line}");
        signal(child.id() as i32, name);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{name}: {}", text(&output.stderr));
        assert_eq!(sandbox.processes(), []);
        sandbox.assert_nothing_is_left();
    }
}

#[test]
fn a_start_that_fails_says_why_and_leaves_nothing() {
    let sandbox = Sandbox::new();
    let file = sandbox.path("file");
    fs::write(&file, "").unwrap();
    let work_dir = format!("--workdir={}", file.display());
    for foreground in [&[][..], &["--foreground"]] {
        let arguments = [&["start", "--simple", "--listen=0", &work_dir], foreground].concat();
        let output = sandbox.rain(&arguments);
        assert_eq!(output.status.code(), Some(1));
        let said = text(&output.stderr);
        assert!(said.contains("working directory") && said.contains(&file.display().to_string()), "{said}");
        let broken = [&["start", "--simple", "--listen=0", "--runprefix=false"], foreground].concat();
        let output = sandbox.rain(&broken);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains("ended with exit code 1"), "{}", text(&output.stderr));
        sandbox.assert_nothing_is_left();
    }
}

#[test]
fn a_warm_executor_that_does_not_register_is_said_with_its_line() {
    let sandbox = Sandbox::new();
    let file = sandbox.path("governor.toml");
    let config = |command: &str| {
        fs::write(&file, format!("\n[executors.a]\ncommand = {command}\nstart_timeout = 0.1\nwarm = 1\n")).unwrap();
        format!("--governor-config={}", file.display())
    };
    for (command, expected) in [("\"sleep 1000\"", "did not register"), ("\"sh -c 'echo words >&2; exit 3'\"", "words")]
    {
        let output = sandbox.start("0", &["--simple", &config(command)]);
        assert_eq!(output.status.code(), Some(1));
        let said = text(&output.stderr);
        assert!(said.contains("governor.toml:2: ") && said.contains(expected), "{said}");
        assert_eq!(sandbox.processes(), []);
    }
}

#[test]
fn giving_up_on_a_start_ends_it() {
    let sandbox = Sandbox::new();
    // What is started stands at a named pipe until the test closes it.
    let pipe = sandbox.path("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let prefix = format!("--runprefix=sh -c 'read line <{}; exec \"$@\"' sh", pipe.display());
    let mut child = sandbox.spawn_start(&["--simple", &prefix]);
    let open = || fs::OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(&pipe).ok();
    let mut writer = open();
    wait_until(
        || {
            writer = writer.take().or_else(open);
            writer.is_some()
        },
        || "nobody reads the pipe".to_owned(),
    );
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!sandbox.processes().is_empty());
    drop(writer);
    sandbox.assert_nothing_is_left();
}

#[test]
fn a_daemon_keeps_no_standard_stream_open() {
    let sandbox = Sandbox::new();
    // `output` reads to the end of both pipes: it would wait for a daemon that had them.
    let start = Instant::now();
    let port = sandbox.started(&["--simple"]);
    assert!(start.elapsed() < PATIENCE);
    let child = sandbox.command(&["stop", "--listen", &port]).stdout(Stdio::null()).status().unwrap();
    assert!(child.success());
    sandbox.assert_nothing_is_left();
}

/// So many times a second the threads of an idle server may wake, all of them together.
const WAITS_A_SECOND_MAX: u64 = 20;

#[test]
fn an_idle_server_uses_no_cpu() {
    let sandbox = Sandbox::new();
    let port = sandbox.started(&["--simple"]);
    let rain = [sandbox.engine_pid(&port), sandbox.supervisor_pid(&port)];
    // How often its threads wait for something. That does not depend on how busy the machine is, and cpu time does.
    let waits = || rain.iter().map(|pid| waits(*pid)).sum::<u64>();
    // Until what a start does is over: whoever goes on without a pause never comes to this.
    wait_until(
        || {
            let before = waits();
            thread::sleep(Duration::from_secs(1));
            waits() - before <= WAITS_A_SECOND_MAX && rain.iter().all(|pid| sleeps(*pid))
        },
        || "it never comes to rest".to_owned(),
    );
    assert!(sandbox.rain(&["stop", "--listen", &port]).status.success());
}

/// What `/proc` says of each thread of a process.
fn thread_states(pid: i32) -> Vec<String> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    threads.filter_map(|thread| fs::read_to_string(thread.path().join("status")).ok()).collect()
}

fn waits(pid: i32) -> u64 {
    let states = thread_states(pid);
    let counts = states.iter().filter_map(|state| state.split("\nvoluntary_ctxt_switches:").nth(1));
    counts.map(|rest| rest.split_whitespace().next().unwrap().parse::<u64>().unwrap()).sum()
}

fn sleeps(pid: i32) -> bool {
    thread_states(pid).iter().all(|state| state.contains("\nState:\tS"))
}
