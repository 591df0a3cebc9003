//! `rain start` within a Slurm job: with a script in place of srun, which runs all tasks here. `make test-batch` has the
//! real one.

use crate::sandbox::{Sandbox, text};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;

const SRUN: &str = r#"#!/bin/bash
printf '%s\n' "$@" >"$0.called"
echo "options: ${SLURM_CPUS_PER_TASK-unset} ${SLURM_NTASKS_PER_GPU-unset} ${SLURM_NTASKS_PER_TRES-unset}" >>"$0.called"
if [ -e "${0%/bin/srun}/refuses" ]; then
    echo "srun: error: no such allocation" >&2
    exit 1
fi
for argument; do
    case $argument in --nodelist=*) nodes=${argument#*=} ;; esac
done
input=$(cat)
task=0
for node in ${nodes//,/ }; do
    export SLURMD_NODENAME=$node SLURM_LAUNCH_NODE_IPADDR=127.0.0.1
    sh -c "${!#}" <<<"$input" > >(sed -u "s/^/ $task: /") 2>&1 &
    task=$((task + 1))
done
wait
"#;

fn start(sandbox: &Sandbox, init: &str) -> Output {
    let directory = sandbox.path("bin");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("srun"), SRUN).unwrap();
    fs::set_permissions(directory.join("srun"), fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = sandbox.command(&["start", "--listen=0", "--autoconf=slurm", "--no-pin", "--remote-init", init]);
    command.arg(format!("--workdir={}", sandbox.work_dir().display()));
    command.arg(format!("--logdir={}", sandbox.path("log").display()));
    let path = std::env::var("PATH").unwrap();
    command.env("PATH", format!("{}:{path}", directory.display())).env_remove("RAIN_SSH");
    command.env("SLURM_JOB_NODELIST", "n[08-09]").env("SLURM_CPUS_PER_TASK", "1");
    command.env("SLURM_NTASKS_PER_GPU", "1").env("SLURM_NTASKS_PER_TRES", "gres:gpu:1");
    command.output().unwrap()
}

#[test]
fn governors_are_tasks_of_a_step_and_end_with_the_server() {
    let sandbox = Sandbox::new();
    let marks = sandbox.path("marks");
    let started = start(&sandbox, &format!("echo $SLURMD_NODENAME >>{}", marks.display()));
    assert!(started.status.success(), "{}", text(&started.stderr));
    assert!(text(&started.stdout).contains("governors on 2 hosts"), "{}", text(&started.stdout));
    let port = sandbox.port();
    assert_eq!(sandbox.status(&port)["governors"].as_array().unwrap().len(), 2);
    let called = fs::read_to_string(sandbox.path("bin/srun.called")).unwrap();
    let options: Vec<&str> = called.lines().take_while(|line| *line != "sh").collect();
    for wanted in ["--overlap", "--nodes=2", "--ntasks=2", "--nodelist=n08,n09", "--cpu-bind=none"] {
        assert!(options.contains(&wanted), "{wanted}: {called}");
    }
    assert!(called.ends_with("options: unset unset unset\n"), "{called}");
    let mut nodes: Vec<String> = fs::read_to_string(marks).unwrap().lines().map(str::to_owned).collect();
    nodes.sort();
    assert_eq!(nodes, ["n08", "n09"]);
    assert!(sandbox.rain(&["stop", "--listen", &port]).status.success());
    sandbox.assert_nothing_is_left();
}

#[test]
fn a_node_that_fails_is_named_and_nothing_stays() {
    let sandbox = Sandbox::new();
    let started = start(&sandbox, "[ $SLURMD_NODENAME = n08 ] || { echo no such module; exit 3; }");
    assert_eq!(started.status.code(), Some(1));
    let said = text(&started.stderr);
    assert!(said.contains("  n09: no such module\n") && !said.contains("  n08: "), "{said}");
    sandbox.assert_nothing_is_left();
}

#[test]
fn what_srun_says_is_told_when_there_is_no_step() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.path("refuses"), "").unwrap();
    let started = start(&sandbox, "true");
    assert_eq!(started.status.code(), Some(1));
    let said = text(&started.stderr);
    let wanted =
        "  srun: it ended with exit status: 1, before all governors were in\n    srun: error: no such allocation\n";
    assert!(said.contains(wanted), "{said}");
    sandbox.assert_nothing_is_left();
}
