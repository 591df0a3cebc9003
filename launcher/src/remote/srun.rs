//! Starting governors in a Slurm job: a step with one task on each of its nodes, which lasts as long as the governors.
//!
//! Slurm ends what a step's task has started together with it, so governors stay in the foreground there.

use super::ssh::HostError;
use crate::programs;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long it may take until all governors are in.
const START_TIME_MAX: Duration = Duration::from_secs(60);
/// How long the step may take to end.
const END_TIME_MAX: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Tells of a task that has ended badly: this, the node, and the exit status.
const ENDED: &str = "rain-governor-ended";
/// Tells governors that they are tasks of Rain's own step.
pub const STEP_VARIABLE: &str = "RAIN_STEP";
/// Options of the job that srun would apply to the step: with them a task would get only some of the job's cpus, memory or GPUs on its
/// node, or srun would find that they contradict the options that are given here.
const OPTIONS_OF_THE_JOB: [&str; 11] = [
    "SLURM_CPUS_PER_TASK",
    "SRUN_CPUS_PER_TASK",
    "SLURM_EXACT",
    "SLURM_NTASKS_PER_GPU",
    "SLURM_NTASKS_PER_TRES",
    "SLURM_NTASKS_PER_CORE",
    "SLURM_NTASKS_PER_SOCKET",
    "SLURM_GPUS_PER_TASK",
    "SLURM_TRES_PER_TASK",
    "SLURM_CPUS_PER_GPU",
    "SLURM_DISTRIBUTION",
];

/// Whether a variable tells of Rain's own step: tasks that call srun or mpirun would take it for theirs.
pub fn is_of_the_step(name: &OsStr) -> bool {
    const PREFIXES: [&str; 17] = [
        "SLURM_STEP",
        "SLURM_SRUN_",
        "SLURM_CPU_BIND",
        "SLURM_MPI_TYPE",
        "SLURM_PMI",
        "SLURM_NTASKS",
        "SLURM_NPROCS",
        "SLURM_PROCID",
        "SLURM_LOCALID",
        "SLURM_GTIDS",
        "SLURM_TASK_PID",
        "SLURM_TASKS_PER_NODE",
        "SLURM_DISTRIBUTION",
        "SLURM_LAUNCH_NODE_IPADDR",
        "SLURM_OVERCOMMIT",
        "SLURM_KILL_BAD_EXIT",
        "SLURM_WAIT",
    ];
    name.to_str().is_some_and(|name| PREFIXES.iter().any(|prefix| name.starts_with(prefix)))
}

/// Whether srun can be called.
pub fn is_there() -> bool {
    programs::find("srun", Path::new("/")).is_some()
}

/// The step with the governors; it goes on when this is dropped.
pub struct Step {
    srun: Child,
    log: PathBuf,
    nodes: usize,
}

impl Step {
    /// Runs `command`, for a shell, on all nodes, with `input` as its standard input. What it says goes to the file `log`.
    ///
    /// # Errors
    /// When srun cannot be called, or the file cannot be written.
    pub fn start(nodes: &[String], command: &str, input: &[u8], log: PathBuf) -> Result<Self, Vec<HostError>> {
        let srun = spawn(nodes, command, input, &log).map_err(|error| whole_step(error.to_string()))?;
        Ok(Self { srun, log, nodes: nodes.len() })
    }

    /// Waits until `governors_in` says that as many governors are in as there are nodes, or nothing more is to be expected, or it is
    /// `given_up`.
    ///
    /// # Errors
    /// What is wrong, with the nodes, one for each governor that is missing where at least `min` are in.
    pub fn wait_until_enough_are_in(
        &mut self,
        min: usize,
        governors_in: &dyn Fn() -> usize,
        given_up: &dyn Fn() -> bool,
    ) -> Result<(), Vec<HostError>> {
        let deadline = Instant::now() + START_TIME_MAX;
        while governors_in() < self.nodes && !given_up() {
            // First this, for a step that has ended says nothing any more.
            let ended = self.srun.try_wait().map_err(|error| whole_step(error.to_string()))?;
            let said = fs::read(&self.log).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default();
            let failed = failures(&said);
            let enough = governors_in() >= min;
            let hopeless = failed.len() > self.nodes.saturating_sub(min);
            if hopeless || (!failed.is_empty() && governors_in() + failed.len() >= self.nodes) {
                return Err(failed);
            }
            if let Some(status) = ended {
                return Err(whole_step(format!("it ended with {status}, before all governors were in\n{said}")));
            }
            if Instant::now() >= deadline && enough {
                return Err(self.missing(failed, governors_in()));
            }
            if Instant::now() >= deadline {
                let (missing, nodes) = (self.nodes.saturating_sub(governors_in()), self.nodes);
                let seconds = START_TIME_MAX.as_secs();
                return Err(whole_step(format!("{missing} of {nodes} governors are not in after {seconds} s\n{said}")));
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }

    /// Those that have failed, and as many more as are not in.
    fn missing(&self, mut failed: Vec<HostError>, governors_in: usize) -> Vec<HostError> {
        let silent = self.nodes.saturating_sub(governors_in + failed.len());
        let why = || format!("not in after {} s; see {}", START_TIME_MAX.as_secs(), self.log.display());
        failed.extend((0..silent).map(|_| HostError { host: "a node".to_owned(), why: why() }));
        failed
    }

    /// Waits until it has ended because the server is gone; makes it end when that takes too long.
    pub fn end(&mut self) {
        if !self.ends_in_time()
            && let Ok(pid) = i32::try_from(self.srun.id())
        {
            // Killed by a signal that it cannot catch, it would leave the step behind.
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            self.ends_in_time();
        }
    }

    fn ends_in_time(&mut self) -> bool {
        let deadline = Instant::now() + END_TIME_MAX;
        while matches!(self.srun.try_wait(), Ok(None)) {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        true
    }
}

fn whole_step(why: String) -> Vec<HostError> {
    vec![HostError { host: "srun".to_owned(), why: why.trim_end().to_owned() }]
}

fn spawn(nodes: &[String], command: &str, input: &[u8], log: &Path) -> io::Result<Child> {
    let output = File::create(log)?;
    let mut srun = Command::new("srun");
    // Beside other steps of the job; when a node fails, or a governor ends, the others go on.
    srun.args(["--overlap", "--no-kill", "--wait=0", "--kill-on-bad-exit=0"]);
    // The environment of the job, all cpus of each node, no MPI.
    srun.args(["--export=ALL", "--cpu-bind=none", "--mpi=none", "--job-name=rain", "--label"]);
    srun.args([format!("--nodes={}", nodes.len()), format!("--ntasks={}", nodes.len())]);
    srun.args(["--ntasks-per-node=1".to_owned(), format!("--nodelist={}", nodes.join(","))]);
    for variable in OPTIONS_OF_THE_JOB {
        srun.env_remove(variable);
    }
    srun.env(STEP_VARIABLE, "1");
    let told =
        format!("trap 'status=$?; [ $status = 0 ] || echo \"{ENDED} $SLURMD_NODENAME $status\"' EXIT\n{command}");
    srun.args(["sh", "-c", &told]);
    srun.stdin(Stdio::piped()).stdout(output.try_clone()?).stderr(output);
    // Ctrl-C in the terminal is not for it.
    let mut child = srun.process_group(0).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // Small enough for the pipe; that srun has ended already is said by itself.
        let _ = stdin.write_all(input);
    }
    Ok(child)
}

/// The nodes whose task has ended badly, with what it said: lines are marked with the number of the task.
fn failures(said: &str) -> Vec<HostError> {
    let labelled = || said.lines().filter_map(|line| line.split_once(": ")).map(|(task, text)| (task.trim(), text));
    let ended = labelled().filter_map(|(task, text)| {
        let (host, status) = text.strip_prefix(ENDED)?.trim().split_once(' ')?;
        Some((task, host, status))
    });
    ended
        .map(|(task, host, status)| {
            let of_task = labelled().filter(|(by, text)| *by == task && !text.starts_with(ENDED));
            let lines: Vec<&str> = of_task.map(|(_, text)| text).collect();
            let why = if lines.is_empty() { format!("exit status {status}") } else { lines.join("\n") };
            HostError { host: host.to_owned(), why }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tells_of_the_step_is_known() {
        for name in ["SLURM_STEP_ID", "SLURM_STEPID", "SLURM_PROCID", "SLURM_CPU_BIND_LIST", "SLURM_NTASKS"] {
            assert!(is_of_the_step(OsStr::new(name)), "{name}");
        }
        for name in ["SLURM_JOB_ID", "SLURM_JOB_NODELIST", "SLURM_CPUS_ON_NODE", "PATH"] {
            assert!(!is_of_the_step(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn what_tasks_say_is_told_with_their_nodes() {
        let said = " 0: Rain governor is ready\n11: rain: no such file\n11: really\n11: rain-governor-ended n12 1\n\
                    srun: error: n12: task 11: Exited with exit code 1\n 3: rain-governor-ended n4 127\n";
        let failed: Vec<String> = failures(said).iter().map(ToString::to_string).collect();
        assert_eq!(failed, ["n12: rain: no such file\nreally", "n4: exit status 127"]);
        assert!(failures("0: all is well\nsrun: step created\n").is_empty());
    }
}
