//! What batch systems, terminals and full disks do to a server that runs.

use crate::sandbox::{Sandbox, signal, text, wait_until};
use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

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
