//! What the real binary says to command lines that start nothing.

use crate::sandbox::{Sandbox, names, text};
use std::process::Stdio;

#[test]
fn version_and_help() {
    let sandbox = Sandbox::new();
    for option in ["-v", "--version"] {
        let output = sandbox.rain(&[option]);
        assert!(output.status.success());
        assert_eq!(text(&output.stdout), format!("rain {}\n", env!("CARGO_PKG_VERSION")));
    }
    for option in ["-h", "--help"] {
        let output = sandbox.rain(&[option]);
        assert!(output.status.success());
        let help = text(&output.stdout);
        assert!(help.contains("start") && !help.contains("engine-process"), "{help}");
    }
    assert!(text(&sandbox.rain(&["start", "--help"]).stdout).contains("--local-governors"));
    assert!(!text(&sandbox.rain(&["start", "--help"]).stdout).contains("local-wokers"));
}

#[test]
fn wrong_command_lines_end_with_2_and_start_nothing() {
    let sandbox = Sandbox::new();
    let cases: [(&[&str], &str); 11] = [
        (&[], "Usage"),
        (&["fly"], "fly"),
        (&["server", "--http-listen=8080x:"], "--http-listen=8080x:"),
        (&["governor", "localhost:7210", "--cpus=0"], "--cpus=0"),
        (&["start"], "--simple"),
        (&["start", "--simple", "--local-governors=[1]"], "exclude"),
        (&["start", "--simple", "--http-listen=8080x:"], "--http-listen=8080x:"),
        (&["start", "--autoconf=loadleveler"], "there are pbs and slurm"),
        (&["start", "--governor-host-file=/no/such/file"], "/no/such/file"),
        (&["start", "--simple", "--governor-config=/no/such/file"], "/no/such/file"),
        (&["start", "--simple", "--speed=9"], "--speed"),
    ];
    for (arguments, expected) in cases {
        let output = sandbox.rain(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).contains(expected), "{arguments:?}: {}", text(&output.stderr));
        assert!(output.stdout.is_empty());
    }
    assert!(names(&sandbox.runtime_dir()).is_empty());
}

#[test]
fn when_nothing_runs_it_is_said_in_one_line() {
    let sandbox = Sandbox::new();
    for arguments in [&["status"][..], &["stop"], &["status", "--json", "--listen=7999"]] {
        let output = sandbox.rain(arguments);
        assert_eq!(output.status.code(), Some(1));
        let said = text(&output.stderr);
        assert!(said.contains("no Rain server of yours runs on port 7") && said.lines().count() == 1, "{said}");
    }
    assert!(!sandbox.runtime_dir().exists());
}

#[test]
fn a_closed_standard_output_is_no_error() {
    let sandbox = Sandbox::new();
    let mut child = sandbox.command(&["--help"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn hidden_commands_refuse_files_that_are_no_launch_files() {
    let sandbox = Sandbox::new();
    for command in ["supervisor-process", "engine-process"] {
        assert_eq!(sandbox.rain(&[command, "/dev/null"]).status.code(), Some(1));
    }
}
