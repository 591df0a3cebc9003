//! When the time of a server is over: what was asked for, or what the batch system says.

use crate::option_path::{PathError, absolute};
use clap::Args;
use rain_events::seconds_since_1970 as now;
use rain_runtime::end_of_time::{EndOfTime, STORE_TIME_MAX};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Part of the time left that is kept for storing results and ending, unless another is asked for, and its bound in
/// seconds.
const MARGIN_PART: f64 = 0.05;
const MARGIN_MAX: f64 = 60.0;
/// How long the batch system may take to answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

/// Options about the end of a server's time.
#[derive(Debug, Clone, Default, Args)]
pub struct EndArgs {
    /// When this server's time is over: auto (what PBS or Slurm say), none, +SECONDS from now, or seconds since 1970.
    /// Tasks that would not be finished by then are not begun [default: auto]
    #[arg(long, value_name = "TIME")]
    pub end_time: Option<String>,
    /// Work is over so long before the end [default: a twentieth of the time left, at most 60]
    #[arg(long, value_name = "SECONDS")]
    pub end_margin: Option<f64>,
    /// Directory where results that are kept are stored when the time is over, or the server is stopped before
    #[arg(long, value_name = "DIR")]
    pub results_dir: Option<PathBuf>,
}

/// The end of a server's time, and where results go.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct EndPlan {
    /// Seconds since 1970.
    end: Option<f64>,
    /// Seconds before it.
    margin: f64,
    /// Who says so, "" if the user did.
    source: String,
    results: Option<PathBuf>,
}

/// Why the end is not known, or nothing can be stored.
#[derive(Debug, thiserror::Error)]
pub enum EndError {
    #[error("--end-time={0}: give auto, none, +SECONDS from now, or seconds since 1970")]
    Time(String),
    #[error("--end-time={0}: that is over already")]
    Past(String),
    #[error("--end-margin={0}: give a number of seconds, 0 or more")]
    Margin(f64),
    #[error("--results-dir={path}: cannot write there: {source}", path = .0.display(), source = .1)]
    Results(PathBuf, #[source] std::io::Error),
    #[error(transparent)]
    Path(#[from] PathError),
}

impl EndPlan {
    /// Finds out what was asked for; makes the directory for results.
    ///
    /// # Errors
    /// Names the option that is wrong.
    pub fn new(args: &EndArgs) -> Result<Self, EndError> {
        let now = now();
        let (end, source) = match args.end_time.as_deref().unwrap_or("auto") {
            "none" => (None, String::new()),
            "auto" => match from_batch_system(now) {
                Some((end, system)) => (Some(end), system.to_owned()),
                None => (None, String::new()),
            },
            text => {
                let wrong = || EndError::Time(text.to_owned());
                let (start, number) = text.strip_prefix('+').map_or((0.0, text), |rest| (now, rest));
                let seconds: f64 = number.parse().map_err(|_| wrong())?;
                let end = start + seconds;
                if !end.is_finite() {
                    return Err(wrong());
                }
                if end <= now {
                    return Err(EndError::Past(text.to_owned()));
                }
                (Some(end), String::new())
            }
        };
        let left = end.map_or(0.0, |end| end - now);
        let margin = match args.end_margin {
            Some(margin) if !margin.is_finite() || margin < 0.0 => return Err(EndError::Margin(margin)),
            Some(margin) => margin,
            None => (left * MARGIN_PART).clamp(0.0, MARGIN_MAX),
        };
        let results = absolute("--results-dir", args.results_dir.as_deref())?;
        if let Some(path) = &results {
            check_writable(path).map_err(|error| EndError::Results(path.clone(), error))?;
        }
        Ok(Self { end, margin, source, results })
    }

    /// In the runtime's terms.
    pub fn for_runtime(&self) -> EndOfTime {
        EndOfTime {
            end_of_work: self.end.map(|end| end - self.margin),
            last_call: self.end.map(|end| end - self.margin / 2.0),
            results: self.results.clone(),
        }
    }

    /// How much of the time is left, if there is an end of it.
    pub fn left(&self) -> Option<Duration> {
        self.end.map(|end| Duration::try_from_secs_f64(end - now()).unwrap_or_default())
    }

    /// Asks the batch system, if it was one that had said it, whether the end is later now.
    pub fn is_extended(&mut self) -> bool {
        let later = if self.source.is_empty() { None } else { from_squeue(now()) };
        let later = later.filter(|later| *later > now() + 1.0);
        self.end = later.or(self.end);
        later.is_some()
    }

    /// How much longer stopping may take than without a place for results.
    pub fn storing_time_max(&self) -> Duration {
        self.results.as_ref().map_or(Duration::ZERO, |_| STORE_TIME_MAX)
    }

    /// A line about it for whoever starts the server.
    pub fn note(&self) -> Option<String> {
        let end = self.end?;
        let says = if self.source.is_empty() { String::new() } else { format!(" ({})", self.source) };
        let (left, margin) = ((end - now()).max(0.0), self.margin);
        Some(format!("the time is over in {left:.0} s{says}; work ends {margin:.0} s before"))
    }
}

fn check_writable(directory: &Path) -> std::io::Result<()> {
    fs::create_dir_all(directory)?;
    let probe = directory.join(format!(".rain-{}", std::process::id()));
    fs::OpenOptions::new().write(true).create_new(true).open(&probe)?;
    fs::remove_file(probe)
}

/// When the batch job of this process ends, seconds since 1970, and which system says so.
fn from_batch_system(now: f64) -> Option<(f64, &'static str)> {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    if let Some(job) = variable("SLURM_JOB_ID") {
        if let Some(end) = variable("SLURM_JOB_END_TIME").and_then(|text| text.parse().ok()) {
            return Some((end, "Slurm"));
        }
        return Some((time_left(&job).map(|left| now + left)?, "Slurm"));
    }
    let job = variable("PBS_JOBID")?;
    let wall_time = variable("PBS_WALLTIME").or_else(|| wall_time_of(&output_of("qstat", &["-f", &job])?));
    let seconds = duration(&wall_time?)?;
    let started = start_of_job(&format!("PBS_JOBID={job}"))?;
    Some((started + seconds, "PBS"))
}

/// When the Slurm job of this process ends as Slurm has it now, seconds since 1970.
fn from_squeue(now: f64) -> Option<f64> {
    let job = std::env::var("SLURM_JOB_ID").ok()?;
    Some(now + time_left(&job)?)
}

/// How many seconds Slurm leaves to a job.
fn time_left(job: &str) -> Option<f64> {
    duration(output_of("squeue", &["-h", "-j", job, "-o", "%L"])?.trim())
}

/// What `qstat -f` says of the time that a job may take.
fn wall_time_of(listing: &str) -> Option<String> {
    let line = listing.lines().find_map(|line| line.trim().strip_prefix("Resource_List.walltime"));
    line.map(|rest| rest.trim_start_matches([' ', '=']).trim().to_owned())
}

/// Seconds of `SECONDS`, `MM:SS`, `HH:MM:SS` or `DAYS-HH:MM:SS`; none of `UNLIMITED` and the like.
fn duration(text: &str) -> Option<f64> {
    let (days, rest) = match text.split_once('-') {
        Some((days, rest)) => (days.parse::<u32>().ok()?, rest),
        None => (0, text),
    };
    let parts: Vec<u32> = rest.split(':').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    if parts.len() > 3 {
        return None;
    }
    let seconds = parts.iter().fold(0.0, |sum, part| sum * 60.0 + f64::from(*part));
    Some(f64::from(days) * 86_400.0 + seconds)
}

/// What a command of the batch system prints, if it is there and answers in time.
fn output_of(program: &str, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    let patience = Instant::now() + ANSWER_TIME_MAX;
    // Its output is a few lines and fits into the pipe.
    while child.try_wait().ok()?.is_none() {
        if Instant::now() > patience {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let output = child.wait_with_output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// When the first process of this job on this machine was started, seconds since 1970: the oldest ancestor of this one
/// that has `mark` in its environment.
fn start_of_job(mark: &str) -> Option<f64> {
    let mut pid = std::process::id();
    let mut started = None;
    while pid > 1 {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let is_of_job = environment.split(|byte| *byte == 0).any(|entry| entry == mark.as_bytes());
        // This process may have been given the variable without its parent having it: it counts in any case.
        if !is_of_job && started.is_some() {
            break;
        }
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name before the parenthesis may contain anything.
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        let ticks: f64 = fields.get(19)?.parse().ok()?;
        started = Some(boot_time()? + ticks / ticks_per_second()?);
        pid = fields.get(1)?.parse().ok()?;
    }
    started
}

fn boot_time() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

fn ticks_per_second() -> Option<f64> {
    nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok().flatten().map(|ticks| ticks as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_of_both_systems_are_understood() {
        for (text, expected) in [
            ("90", Some(90.0)),
            ("02:30", Some(150.0)),
            ("01:00:00", Some(3600.0)),
            ("2-00:00:01", Some(172_801.0)),
            ("UNLIMITED", None),
            ("NOT_SET", None),
            ("", None),
            ("1:2:3:4", None),
        ] {
            assert_eq!(duration(text), expected, "{text}");
        }
        let listing = "Job Id: 7\n    Job_Name = x\n    Resource_List.walltime = 00:10:00\n";
        assert_eq!(wall_time_of(listing).as_deref(), Some("00:10:00"));
    }

    #[test]
    fn a_job_starts_with_its_oldest_process() {
        let started = start_of_job("NOBODY_HAS_THIS=1").unwrap();
        assert!(started <= now() && started > now() - 86_400.0, "this process: {started}");
    }

    #[test]
    fn wrong_times_are_named() {
        let plan = |time: &str, margin| {
            let args = EndArgs { end_time: Some(time.to_owned()), end_margin: margin, results_dir: None };
            EndPlan::new(&args)
        };
        for (time, margin, expected) in [
            ("tomorrow", None, "--end-time=tomorrow: give auto"),
            ("+inf", None, "give auto"),
            ("1000", None, "over already"),
            ("+-1", None, "over already"),
            ("+10", Some(-1.0), "--end-margin=-1: give a number"),
        ] {
            assert!(plan(time, margin).unwrap_err().to_string().contains(expected), "{time}");
        }
        assert_eq!(plan("none", None).unwrap(), EndPlan::default());
        let half = plan("+600", None).unwrap();
        assert_eq!(half.margin, 30.0);
        assert!(half.left().is_some_and(|left| (590..=600).contains(&left.as_secs())));
        let end = half.for_runtime().end_of_work.unwrap() - now();
        assert!((560.0..=570.0).contains(&end), "{end}");
        assert_eq!(plan("+36000", None).unwrap().margin, 60.0);
    }
}
