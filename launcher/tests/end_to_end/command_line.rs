//! What the real binary says to command lines that start nothing.

use crate::sandbox::{Sandbox, names, text};
use std::process::Stdio;

#[test]
fn version_and_help() {
    let sandbox = Sandbox::new();
    for option in ["-v", "-V", "--version"] {
        let output = sandbox.rain(&[option]);
        assert!(output.status.success());
        assert_eq!(text(&output.stdout), format!("rain {}\n", env!("CARGO_PKG_VERSION")));
    }
    for option in ["-h", "--help", "help"] {
        let output = sandbox.rain(&[option]);
        assert!(output.status.success());
        let help = text(&output.stdout);
        assert!(help.contains("start") && !help.contains("engine-process"), "{help}");
        assert!(help.contains("Examples:") && help.contains("RAIN_SERVER") && help.contains("Exit status:"), "{help}");
    }
    assert!(text(&sandbox.rain(&["start", "--help"]).stdout).contains("--local-governors"));
    assert!(!text(&sandbox.rain(&["start", "--help"]).stdout).contains("local-wokers"));
    for command in ["start", "stop", "status", "server", "governor"] {
        let help = text(&sandbox.rain(&["help", command]).stdout);
        assert_eq!(help, text(&sandbox.rain(&[command, "--help"]).stdout));
        let long = help.lines().find(|line| line.chars().count() > 80);
        assert_eq!(long, None);
    }
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
        assert!(
            said.contains("no Rain server of yours runs on port 7")
                && said.contains("looked for in ")
                && said.lines().count() == 1,
            "{said}"
        );
    }
    assert!(!sandbox.runtime_dir().exists());
}

#[test]
fn a_server_is_named_in_the_same_way_everywhere() {
    let sandbox = Sandbox::new();
    let port = sandbox.started(&["--local-governors=[1]", "--no-pin"]);
    let named = format!("localhost:{port}");
    for arguments in [vec!["status", &port], vec!["status", &named], vec!["status", "--listen", &port]] {
        let output = sandbox.rain(&arguments);
        assert!(output.status.success() && text(&output.stdout).contains(&port), "{}", text(&output.stderr));
    }
    let status = sandbox.command(&["status", "--json"]).env("RAIN_SERVER", &named).output().unwrap();
    assert!(status.status.success(), "{}", text(&status.stderr));
    let wrong = text(&sandbox.rain(&["status", "localhost:1"]).stderr);
    let looked = format!("on port 1 of this machine (looked for in {};", sandbox.runtime_dir().display());
    assert!(wrong.contains(&looked) && wrong.contains(&format!("there is one on port {port}")), "{wrong}");
    let stopped = sandbox.command(&["stop"]).env("RAIN_SERVER", &named).output().unwrap();
    assert!(stopped.status.success(), "{}", text(&stopped.stderr));
    sandbox.assert_nothing_is_left();
}

#[test]
fn what_cannot_be_printed_is_an_error() {
    let sandbox = Sandbox::new();
    for arguments in [&["--help"][..], &["help", "start"], &["--version"], &["completions", "bash"]] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = sandbox.command(arguments).stdout(full).stderr(Stdio::piped()).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(text(&output.stderr).contains("cannot write to standard output"), "{}", text(&output.stderr));
    }
}

#[test]
fn shells_are_told_how_to_complete() {
    let sandbox = Sandbox::new();
    for shell in ["bash", "zsh", "fish"] {
        let output = sandbox.rain(&["completions", shell]);
        let script = text(&output.stdout);
        assert!(
            output.status.success() && script.contains("governor-host-file") && script.contains("status"),
            "{script}"
        );
    }
    let script = sandbox.path("rain.bash");
    std::fs::write(&script, sandbox.rain(&["completions", "bash"]).stdout).unwrap();
    let ask = "source \"$0\"; COMP_WORDS=(rain st); COMP_CWORD=1; _rain rain st rain; echo \"${COMPREPLY[*]}\"";
    let output = std::process::Command::new("bash").args(["-c", ask]).arg(&script).output().unwrap();
    let said = text(&output.stdout);
    let words: std::collections::BTreeSet<&str> = said.split_whitespace().collect();
    assert_eq!(words.into_iter().collect::<Vec<_>>(), ["start", "status", "stop"], "{}", text(&output.stderr));
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
