//! A place of its own for the real binary: runtime, working and log directory, and who runs in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Against hanging only.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `found` finds something; `missing` says what was not there.
pub fn wait_for<T>(mut found: impl FnMut() -> Option<T>, missing: impl FnOnce() -> String) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = found() {
            return found;
        }
        if Instant::now() >= deadline {
            panic!("{}", missing());
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until something is so; `missing` says what is not.
pub fn wait_until(mut holds: impl FnMut() -> bool, missing: impl FnOnce() -> String) {
    wait_for(|| holds().then_some(()), missing);
}

pub struct Sandbox {
    directory: tempfile::TempDir,
}

impl Sandbox {
    pub fn new() -> Self {
        let sandbox = Self { directory: tempfile::tempdir().unwrap() };
        fs::create_dir(sandbox.work_dir()).unwrap();
        sandbox
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn runtime_dir(&self) -> PathBuf {
        self.path("run")
    }

    pub fn work_dir(&self) -> PathBuf {
        self.path("work")
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rain"));
        command.args(arguments).env("RAIN_RUNTIME_DIR", self.runtime_dir()).stdin(Stdio::null());
        command
    }

    pub fn rain(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn start_arguments(&self, listen: &str, more: &[&str]) -> Vec<String> {
        let mut arguments = vec!["start".to_owned(), format!("--listen={listen}")];
        arguments.push(format!("--workdir={}", self.work_dir().display()));
        arguments.push(format!("--logdir={}", self.path("log").display()));
        arguments.extend(more.iter().map(|&argument| argument.to_owned()));
        arguments
    }

    /// `rain start` with this sandbox's directories.
    pub fn start(&self, listen: &str, more: &[&str]) -> Output {
        let arguments = self.start_arguments(listen, more);
        self.rain(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    pub fn spawn_start(&self, more: &[&str]) -> Child {
        let arguments = self.start_arguments("0", more);
        let mut command = self.command(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Starts a server on a free port, and gives the port.
    pub fn started(&self, more: &[&str]) -> String {
        let output = self.start("0", more);
        assert!(output.status.success(), "{}", text(&output.stderr));
        self.port()
    }

    /// The port of the only server.
    pub fn port(&self) -> String {
        let mut entries: Vec<String> = names(&self.runtime_dir());
        entries.retain(|name| name.starts_with("server-"));
        assert_eq!(entries.len(), 1, "{entries:?}");
        entries[0].strip_prefix("server-").unwrap().to_owned()
    }

    pub fn status(&self, port: &str) -> serde_json::Value {
        let output = self.rain(&["status", "--json", "--listen", port]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Waits until a server has so many governors; its status then.
    pub fn await_governors(&self, port: &str, count: usize) -> serde_json::Value {
        let with_all = |status: &serde_json::Value| status["governors"].as_array().unwrap().len() == count;
        wait_for(|| Some(self.status(port)).filter(with_all), || format!("not {count} governors"))
    }

    pub fn engine_pid(&self, port: &str) -> i32 {
        let path = self.runtime_dir().join(format!("server-{port}/access.json"));
        let access: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        access["pid"].as_i64().unwrap() as i32
    }

    pub fn supervisor_pid(&self, port: &str) -> i32 {
        let path = self.runtime_dir().join(format!("server-{port}/lock"));
        fs::read_to_string(path).unwrap().trim().parse().unwrap()
    }

    /// All processes that were started in this sandbox: they have its runtime directory in their environment.
    pub fn processes(&self) -> Vec<(i32, String)> {
        let mark = format!("RAIN_RUNTIME_DIR={}\0", self.runtime_dir().display());
        let pids = names(Path::new("/proc")).into_iter().filter_map(|name| name.parse::<i32>().ok());
        let ours = pids.filter(|pid| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            *pid != std::process::id() as i32 && text(&environment).contains(&mark)
        });
        ours.map(|pid| (pid, text(&fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()).replace('\0', " ")))
            .collect()
    }

    /// Waits until no process and no file but the log is left.
    pub fn assert_nothing_is_left(&self) {
        let left = || (self.processes(), names(&self.runtime_dir()), names(&self.work_dir()));
        wait_until(|| left() == (Vec::new(), Vec::new(), Vec::new()), || format!("left: {:?}", left()));
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        for (pid, _) in self.processes() {
            signal(pid, "KILL");
        }
    }
}

pub fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn signal(pid: i32, name: &str) {
    let _ = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).stderr(Stdio::null()).status();
}
