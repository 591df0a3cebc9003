//! `rain start` with governors on other machines: an sshd of the test's own, with throw-away keys.

use crate::sandbox::{Sandbox, signal, text, wait_until};
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;

struct Sshd {
    child: Child,
}

impl Sshd {
    /// An sshd on a free loopback port, and an ssh configuration that knows it as `here`.
    fn start(sandbox: &Sandbox) -> Self {
        let directory = sandbox.path("ssh");
        fs::create_dir(&directory).unwrap();
        for name in ["host", "user"] {
            let mut keygen = Command::new("ssh-keygen");
            keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(directory.join(name));
            assert!(keygen.status().unwrap().success());
        }
        // As root it insists on this directory.
        if nix::unistd::geteuid().is_root() {
            fs::create_dir_all("/run/sshd").unwrap();
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let at = |name: &str| directory.join(name).display().to_string();
        let server = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPidFile none\n\
             PermitRootLogin yes\nPasswordAuthentication no\nSetEnv RAIN_RUNTIME_DIR={}\n",
            at("host"),
            at("user.pub"),
            sandbox.runtime_dir().display()
        );
        fs::write(directory.join("sshd_config"), server).unwrap();
        let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let client = format!(
            "Host here there\nHostName 127.0.0.1\nPort {port}\nHost refused\nHostName 127.0.0.1\nPort {unused}\nHost *\n\
             IdentityFile {}\nIdentitiesOnly yes\nUserKnownHostsFile {}\nStrictHostKeyChecking no\nLogLevel ERROR\n",
            at("user"),
            at("known_hosts")
        );
        fs::write(directory.join("ssh_config"), client).unwrap();
        let mut child = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(directory.join("sshd_config"))
            .stderr(Stdio::piped())
            .spawn()
            .expect("sshd, of the Debian package openssh-server");
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        assert!(lines.by_ref().map_while(Result::ok).any(|line| line.contains("Server listening")));
        thread::spawn(move || lines.for_each(drop));
        Self { child }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(sandbox: &Sandbox, hosts: &str, more: &[&str]) -> Output {
    let file = sandbox.path("hosts");
    fs::write(&file, hosts).unwrap();
    let option = format!("--governor-host-file={}", file.display());
    start_with(sandbox, &[&[option.as_str()], more].concat(), &[])
}

fn start_with(sandbox: &Sandbox, options: &[&str], environment: &[(&str, &Path)]) -> Output {
    let mut command = start_command(sandbox, options);
    command.envs(environment.iter().map(|(name, value)| (name, value.as_os_str())));
    command.output().unwrap()
}

fn start_command(sandbox: &Sandbox, options: &[&str]) -> Command {
    let mut command = sandbox.command(&["start", "--listen=127.0.0.1:0"]);
    command.args(options).env("RAIN_SSH", format!("ssh -F {}", sandbox.path("ssh/ssh_config").display()));
    command.arg(format!("--workdir={}", sandbox.work_dir().display()));
    command.arg(format!("--logdir={}", sandbox.path("log").display()));
    command
}

#[test]
fn governors_are_started_through_ssh_and_stopped_with_the_server() {
    let sandbox = Sandbox::new();
    let sshd = Sshd::start(&sandbox);
    let marker = sandbox.path("marker");
    let init = format!("--remote-init=echo was here > {}", marker.display());
    let started = start(&sandbox, "here\nthere # and twice\nhere\n", &["--no-pin", "-S", &init]);
    assert!(started.status.success(), "{}", text(&started.stderr));
    assert!(text(&started.stdout).contains("governors on 2 hosts"), "{}", text(&started.stdout));
    assert_eq!(fs::read_to_string(marker).unwrap(), "was here\n");
    let port = sandbox.port();
    let status = sandbox.await_governors(&port, 2);
    // The server is on the same machine, which leaves one cpu to it.
    let there = thread::available_parallelism().unwrap().get();
    assert_eq!(status["governors"][0]["cpus"], (there - 1).max(1));
    assert!(sandbox.rain(&["stop", "--listen", &port]).status.success());
    drop(sshd);
    sandbox.assert_nothing_is_left();
}

#[test]
fn a_prefix_is_put_before_the_server_and_every_governor() {
    let sandbox = Sandbox::new();
    let sshd = Sshd::start(&sandbox);
    let (prefix, marker) = (sandbox.path("prefix"), sandbox.path("marker"));
    let script = format!("#!/bin/sh\necho \"$1 $4\" >> {}\nshift\nexec \"$@\"\n", marker.display());
    fs::write(&prefix, script).unwrap();
    fs::set_permissions(&prefix, fs::Permissions::from_mode(0o755)).unwrap();
    // Words in quotes go through two shells.
    let option = format!("--runprefix={} 'two words'", prefix.display());
    let started = start(&sandbox, "here\nthere\n", &["--no-pin", &option]);
    assert!(started.status.success(), "{}", text(&started.stderr));
    let port = sandbox.port();
    sandbox.await_governors(&port, 2);
    let said = fs::read_to_string(marker).unwrap();
    assert_eq!(said.lines().count(), 3, "{said}");
    assert!(said.lines().all(|line| line.starts_with("two words ") && line.ends_with("/launch.json")), "{said}");
    assert!(sandbox.rain(&["stop", "--listen", &port]).status.success());
    drop(sshd);
    sandbox.assert_nothing_is_left();
}

#[test]
fn a_host_that_cannot_be_reached_is_named_and_nothing_stays() {
    let sandbox = Sandbox::new();
    let sshd = Sshd::start(&sandbox);
    let started = start(&sandbox, "here\nrefused\nno-such-host.invalid\n", &["--no-pin"]);
    assert_eq!(started.status.code(), Some(1));
    let said = text(&started.stderr);
    assert!(said.contains("refused: ") && said.contains("Connection refused"), "{said}");
    assert!(said.contains("no-such-host.invalid: ") && !said.contains("  here: "), "{said}");
    drop(sshd);
    sandbox.assert_nothing_is_left();
}

#[test]
fn in_the_foreground_a_signal_ends_server_and_governors() {
    for name in ["INT", "TERM"] {
        let sandbox = Sandbox::new();
        let sshd = Sshd::start(&sandbox);
        fs::write(sandbox.path("hosts"), "here\nthere\n").unwrap();
        let hosts = format!("--governor-host-file={}", sandbox.path("hosts").display());
        let mut command = start_command(&sandbox, &[&hosts, "--foreground", "--no-pin"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("governors on 2 hosts"), "{line}");
        let port = sandbox.port();
        sandbox.await_governors(&port, 2);
        assert!(child.try_wait().unwrap().is_none());
        signal(child.id() as i32, name);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        drop(sshd);
        sandbox.assert_nothing_is_left();
    }
}

#[test]
fn in_the_foreground_nothing_stays_when_hosts_fail_or_the_start_is_interrupted() {
    let sandbox = Sandbox::new();
    let sshd = Sshd::start(&sandbox);
    let started = start(&sandbox, "here\nrefused\n", &["--no-pin", "--foreground"]);
    assert_eq!(started.status.code(), Some(1));
    assert!(text(&started.stderr).contains("refused: "), "{}", text(&started.stderr));
    sandbox.assert_nothing_is_left();
    // Its commands on the host never end; then it is asked to end.
    let marker = sandbox.path("marker");
    let init = format!("--remote-init=echo > {}; exec sleep 1000", marker.display());
    let hosts = format!("--governor-host-file={}", sandbox.path("hosts").display());
    fs::write(sandbox.path("hosts"), "here\n").unwrap();
    let mut command = start_command(&sandbox, &[&hosts, "--foreground", "--no-pin", &init]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until(|| marker.exists(), || "it has not come to the host".to_owned());
    signal(child.id() as i32, "TERM");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("interrupted"), "{}", text(&output.stderr));
    drop(sshd);
    // What runs on a host that was given up is not Rain's; it is ended here.
    let sleeps = sandbox.processes().into_iter().filter(|(_, command)| command.contains("sleep 1000"));
    sleeps.for_each(|(pid, _)| signal(pid, "KILL"));
    sandbox.assert_nothing_is_left();
}

#[test]
fn a_host_that_hangs_is_given_up() {
    let sandbox = Sandbox::new();
    let sshd = Sshd::start(&sandbox);
    // It takes connections, and never says anything.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = sandbox.path("ssh/ssh_config");
    let known = fs::read_to_string(&config).unwrap();
    let port = silent.local_addr().unwrap().port();
    fs::write(&config, format!("Host hangs\nHostName 127.0.0.1\nPort {port}\n{known}")).unwrap();
    let started = start(&sandbox, "here\nhangs\n", &["--no-pin"]);
    assert_eq!(started.status.code(), Some(1));
    let said = text(&started.stderr);
    assert!(said.contains("  hangs: ") && said.contains("timed out") && !said.contains("  here: "), "{said}");
    drop(sshd);
    sandbox.assert_nothing_is_left();
}

#[test]
fn a_batch_job_says_where_to_start() {
    let sandbox = Sandbox::new();
    let sshd = Sshd::start(&sandbox);
    let nodes = sandbox.path("nodes");
    fs::write(&nodes, "here\nhere\nhere\n").unwrap();
    for (system, variable, value) in
        [("pbs", "PBS_NODEFILE", nodes.as_path()), ("slurm", "SLURM_JOB_NODELIST", Path::new("here"))]
    {
        let autoconf = format!("--autoconf={system}");
        let started = start_with(&sandbox, &[&autoconf, "--no-pin"], &[(variable, value)]);
        assert!(started.status.success(), "{}", text(&started.stderr));
        let port = sandbox.port();
        sandbox.await_governors(&port, 1);
        assert!(sandbox.rain(&["stop", "--listen", &port]).status.success());
        sandbox.assert_nothing_is_left();
    }
    drop(sshd);
}

/// A program in place of ssh, which runs what it is asked to in a shell here that begins with what the file HOST.rc says.
fn instead_of_ssh(sandbox: &Sandbox) -> String {
    let program = sandbox.path("instead-of-ssh");
    let script = "#!/bin/bash\nhost=${@: -2:1}\nexport SSH_CONNECTION='127.0.0.1 1 127.0.0.1 22'\n\
                  rc=$(cat \"${0%/*}/$host.rc\" 2>/dev/null)\nexec bash -c \"$rc\n${@: -1}\"\n";
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    program.display().to_string()
}

fn start_without_ssh(sandbox: &Sandbox, hosts: &str, more: &[&str]) -> Output {
    fs::write(sandbox.path("hosts"), hosts).unwrap();
    let option = format!("--governor-host-file={}", sandbox.path("hosts").display());
    let mut command = start_command(sandbox, &[&[option.as_str(), "--no-pin"], more].concat());
    command.env("RAIN_SSH", instead_of_ssh(sandbox)).output().unwrap()
}

#[test]
fn login_scripts_that_get_in_the_way_are_told_with_their_hosts() {
    let sandbox = Sandbox::new();
    let banner = "for i in $(seq 30); do echo '* banner *' >&2; done\n";
    for (host, script) in [
        ("good", banner.to_owned() + "echo Welcome"),
        ("leaves", "exit 0".to_owned()),
        ("fails", banner.to_owned() + "exit 3"),
        ("refuses", banner.to_owned() + "umask 777; export RAIN_RUNTIME_DIR=/proc/rain"),
    ] {
        fs::write(sandbox.path(&format!("{host}.rc")), script).unwrap();
    }
    let started = start_without_ssh(&sandbox, "good\nleaves\nfails\n", &[]);
    assert_eq!(started.status.code(), Some(1));
    let said = text(&started.stderr);
    assert!(said.contains("  leaves: ssh has ended well and no governor is there: a login script"), "{said}");
    assert!(said.contains("  fails: ended with exit status: 3 before the governor was started\n"), "{said}");
    assert!(!said.contains("  good: ") && said.matches("* banner *").count() <= 10, "{said}");
    sandbox.assert_nothing_is_left();
    let started = start_without_ssh(&sandbox, "good\nrefuses\n", &[]);
    let said = text(&started.stderr);
    let expected = "  refuses: rain: cannot make /proc/rain";
    assert!(said.contains(expected) && !said.contains("banner"), "{said}");
    sandbox.assert_nothing_is_left();
}

#[test]
fn what_a_shell_on_a_host_reads_is_not_the_access_file() {
    let sandbox = Sandbox::new();
    let read = sandbox.path("read");
    // The input ends only when ssh does.
    fs::write(sandbox.path("reads.rc"), format!("timeout 2 cat >{}; exit 4", read.display())).unwrap();
    let started = start_without_ssh(&sandbox, "reads\n", &[]);
    assert_eq!(started.status.code(), Some(1));
    assert!(text(&started.stderr).contains("  reads: ended with exit status: 4"), "{}", text(&started.stderr));
    assert_eq!(fs::read_to_string(read).unwrap(), "");
    sandbox.assert_nothing_is_left();
}

#[test]
fn enough_governors_are_enough_where_that_was_said() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.path("bad.rc"), "exit 3").unwrap();
    let started = start_without_ssh(&sandbox, "good\nbad\nfine\n", &["--min-governors=2"]);
    assert!(started.status.success(), "{}", text(&started.stderr));
    let said = text(&started.stdout);
    assert!(said.contains("governors on 2 of 3 hosts\n  missing  bad: ended with exit status: 3"), "{said}");
    let port = sandbox.port();
    assert_eq!(sandbox.status(&port)["governors"].as_array().unwrap().len(), 2);
    assert!(sandbox.rain(&["stop", "--listen", &port]).status.success());
    sandbox.assert_nothing_is_left();
    let started = start_without_ssh(&sandbox, "good\nbad\n", &["--min-governors=2"]);
    assert_eq!(started.status.code(), Some(1));
    assert!(text(&started.stderr).contains("  bad: "), "{}", text(&started.stderr));
    sandbox.assert_nothing_is_left();
    let started = start_without_ssh(&sandbox, "good\nbad\n", &["--min-governors=3"]);
    assert_eq!(started.status.code(), Some(2));
    assert!(text(&started.stderr).contains("there are only 2 machines"), "{}", text(&started.stderr));
}

#[test]
fn many_hosts_are_started_with_few_descriptors_and_processes() {
    let sandbox = Sandbox::new();
    let hosts: String = (0..300).map(|number| format!("host{number}\n")).collect();
    fs::write(sandbox.path("hosts"), hosts).unwrap();
    let option = format!("--governor-host-file={}", sandbox.path("hosts").display());
    let command = start_command(&sandbox, &[&option]);
    // Each host is a failure: what counts is that all are tried, and how many at a time.
    let program = sandbox.path("instead-of-ssh");
    let script = "#!/bin/bash\necho $(ls -d \"${0%/*}\"/at.* 2>/dev/null | wc -l) >>\"${0%/*}/counts\"\n: >\"${0%/*}/at.$$\"\n\
                  sleep 0.05\nrm \"${0%/*}/at.$$\"\nexit 9\n";
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -n 256; exec \"$0\" \"$@\""]).arg(command.get_program()).args(command.get_args());
    shell.env("RAIN_RUNTIME_DIR", sandbox.runtime_dir()).env("RAIN_SSH", &program).stdin(Stdio::null());
    let started = shell.output().unwrap();
    assert_eq!(started.status.code(), Some(1));
    let said = text(&started.stderr);
    assert_eq!(said.matches(": ended with exit status: 9").count(), 300, "{said}");
    let counts = fs::read_to_string(sandbox.path("counts")).unwrap();
    let counts: Vec<usize> = counts.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(counts.len(), 300);
    assert!(counts.iter().all(|&count| count < 64), "{counts:?}");
    sandbox.assert_nothing_is_left();
}
