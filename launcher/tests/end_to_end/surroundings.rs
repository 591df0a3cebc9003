//! What batch systems, terminals and full disks do to a server that runs.

use crate::sandbox::{Sandbox, names, signal, text, wait_until};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

#[test]
fn a_log_that_cannot_be_written_ends_nothing_and_is_told() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("log")).unwrap();
    symlink("/dev/full", sandbox.path("log/server.log")).unwrap();
    let started = sandbox.start("0", &["--local-governors=[1]", "--no-pin"]);
    assert!(started.status.success(), "{}", text(&started.stderr));
    let said = text(&started.stdout);
    assert!(said.contains(&format!("the log in {} cannot be written", sandbox.path("log").display())), "{said}");
    let port = sandbox.port();
    assert_eq!(sandbox.status(&port)["governors"].as_array().unwrap().len(), 1);
    assert!(sandbox.rain(&["stop", "--listen", &port]).status.success());
    sandbox.assert_nothing_is_left();
}

#[test]
fn signals_that_batch_systems_send_to_everything_end_nothing() {
    let sandbox = Sandbox::new();
    let port = sandbox.started(&["--local-governors=[1]", "--no-pin"]);
    let names = ["USR1", "USR2", "ALRM", "XCPU"];
    for pid in [sandbox.supervisor_pid(&port), sandbox.engine_pid(&port)] {
        names.iter().for_each(|name| signal(pid, name));
    }
    let log = || fs::read_to_string(sandbox.path("log/server.log")).unwrap();
    let all_are_told = || names.iter().all(|name| log().contains(&format!("SIG{name}")));
    wait_until(all_are_told, || format!("not all signals are in the log: {}", log()));
    assert_eq!(sandbox.status(&port)["governors"].as_array().unwrap().len(), 1);
    assert!(sandbox.rain(&["stop", "--listen", &port]).status.success());
    sandbox.assert_nothing_is_left();
}

#[test]
fn a_server_under_nohup_outlives_its_terminal() {
    let sandbox = Sandbox::new();
    let rain = sandbox.command(&["server", "--listen=127.0.0.1:0", "--ready-file"]);
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' HUP; exec \"$0\" \"$@\""]).arg(rain.get_program()).args(rain.get_args());
    shell.arg(sandbox.path("ready")).env("RAIN_RUNTIME_DIR", sandbox.runtime_dir());
    shell.arg(format!("--workdir={}", sandbox.work_dir().display()));
    shell.arg(format!("--logdir={}", sandbox.path("log").display()));
    let mut server = shell.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    wait_until(|| sandbox.path("ready").exists(), || "it is not ready".to_owned());
    let port = sandbox.port();
    signal(server.id() as i32, "HUP");
    signal(sandbox.engine_pid(&port), "HUP");
    assert_eq!(sandbox.status(&port)["governors"].as_array().unwrap().len(), 0);
    assert!(sandbox.rain(&["stop", "--listen", &port]).status.success());
    assert!(server.wait().unwrap().success());
    sandbox.assert_nothing_is_left();
}

#[test]
fn directories_that_are_removed_are_noticed() {
    let sandbox = Sandbox::new();
    let log = || fs::read_to_string(sandbox.path("log/server.log")).unwrap_or_default();
    let port = sandbox.started(&["--local-governors=[1]", "--no-pin"]);
    let names = names(&sandbox.work_dir());
    let governor = names.iter().find(|name| name.starts_with("governor-0-")).unwrap();
    fs::remove_dir_all(sandbox.work_dir().join(governor)).unwrap();
    wait_until(|| log().contains("the working directory"), || format!("not noticed: {}", log()));
    assert!(log().contains(governor.as_str()) && log().contains("loginctl enable-linger"), "{}", log());
    sandbox.assert_nothing_is_left();
    assert_eq!(sandbox.rain(&["stop", "--listen", &port]).status.code(), Some(1));
    let port = sandbox.started(&["--local-governors=[1]", "--no-pin"]);
    fs::remove_dir_all(sandbox.runtime_dir().join(format!("server-{port}"))).unwrap();
    wait_until(
        || log().contains("where clients look for this server, was removed"),
        || format!("not noticed: {}", log()),
    );
    sandbox.assert_nothing_is_left();
}

/// The cpus on which the threads of a process may run, each once, as the system writes them.
fn cpus_of_threads(pid: i32) -> BTreeSet<String> {
    let threads = names(Path::new(&format!("/proc/{pid}/task")));
    let allowed = threads.iter().filter_map(|thread| {
        let status = fs::read_to_string(format!("/proc/{pid}/task/{thread}/status")).ok()?;
        Some(status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?.trim().to_owned())
    });
    allowed.collect()
}

#[test]
fn no_two_servers_bind_their_tasks_to_the_same_cpus() {
    let there = thread::available_parallelism().unwrap().get();
    let started = |option: &str| {
        let sandbox = Sandbox::new();
        let started = sandbox.start("0", &[option]);
        assert!(started.status.success(), "{}", text(&started.stderr));
        let port = sandbox.port();
        let cpus = cpus_of_threads(sandbox.engine_pid(&port));
        (sandbox, port, text(&started.stdout).contains("shared and not pinned"), cpus)
    };
    let [first, second] = [0, 1].map(|_| started("--simple"));
    // Servers of other tests may have claimed the cpus before the first one.
    assert!(second.2, "both have them: {:?} {:?}", first.3, second.3);
    assert_eq!(second.3.len(), 1, "threads are bound: {:?}", second.3);
    if there > 1 {
        let part = started("--local-governors=[1]");
        assert_eq!(part.3, second.3, "which cpus are free is not known");
        assert!(part.0.rain(&["stop", "--listen", &part.1]).status.success());
    }
    for (sandbox, port, _, _) in [first, second] {
        assert!(sandbox.rain(&["stop", "--listen", &port]).status.success());
        sandbox.assert_nothing_is_left();
    }
}

#[test]
fn a_server_ends_by_itself_after_the_end_of_its_time() {
    let sandbox = Sandbox::new();
    sandbox.started(&["--local-governors=[1]", "--no-pin", "--end-time=+3"]);
    sandbox.assert_nothing_is_left();
    let log = fs::read_to_string(sandbox.path("log/server.log")).unwrap();
    assert!(log.contains("the time of this server is over"), "{log}");
}
