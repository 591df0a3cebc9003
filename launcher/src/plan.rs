//! What `rain start` was asked for, checked: everything that can be said before anything is started is said here.

use crate::address::{self, AddressError};
use crate::cli::StartArgs;
use crate::end_time::{EndError, EndPlan};
use crate::governor_config::{self, ExecutorConfig, GovernorConfigError, GovernorFile};
use crate::http::HttpPlan;
use crate::log_plan::LogPlan;
use crate::memory::{MemoryError, MemoryPlan};
use crate::option_path::{self, PathError};
use crate::programs;
use crate::resources::{ResourcePlan, ResourcePlanError};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// What to start.
#[derive(Debug, Clone, PartialEq)]
pub struct StartPlan {
    pub governors: Governors,
    pub listen: SocketAddr,
    pub log_dir: Option<PathBuf>,
    pub work_dir: Option<PathBuf>,
    pub memory: MemoryPlan,
    /// Program (absolute) and arguments.
    pub run_prefix: Vec<String>,
    pub executors: Vec<ExecutorConfig>,
    pub resources: ResourcePlan,
    pub reserve_cpu: bool,
    pub pin: bool,
    /// What tasks start has all rights of root, where this is root.
    pub keep_capabilities: bool,
    pub foreground: bool,
    /// Ends with its standard input, and keeps its logs only as long as it runs.
    pub private: bool,
    pub end: EndPlan,
    /// Absent where nobody could look.
    pub http: Option<HttpPlan>,
    pub log: LogPlan,
}

/// Which governors to start.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Governors {
    /// One with all cpus.
    Simple,
    /// One with so many cpus each.
    Cpus(Vec<usize>),
}

/// More cpus than this in one machine are a slip of the pen.
const CPUS_MAX: usize = 4096;

/// Why nothing can be started as it was asked.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error(
        "say what to start: --simple for one governor with all cpus of this machine, --local-governors=[4,4,2] for \
         governors with so many cpus each, or --governor-host-file=FILE for governors on other machines"
    )]
    NoWay,
    #[error("{0} and {1} exclude each other: give exactly one of them")]
    TwoWays(&'static str, &'static str),
    #[error("--remote-init is for governors on other machines: use it with --governor-host-file or --autoconf")]
    RemoteInit,
    #[error("--data-plain is for governors on other machines: use it with --governor-host-file or --autoconf")]
    DataPlain,
    #[error("--governor-listen is for governors on other machines: use it with --governor-host-file or --autoconf")]
    GovernorListen,
    #[error("--min-governors is for governors on other machines: use it with --governor-host-file or --autoconf")]
    MinGovernors,
    #[error("--min-governors={0}: there are only {1} machines to start governors on")]
    TooFewHosts(u32, usize),
    #[error("{option} is not built yet: {instead}")]
    NotBuilt { option: &'static str, instead: &'static str },
    #[error("--local-governors={0}: give the number of cpus of each governor, for example --local-governors=[4,4,2]")]
    Governors(String),
    #[error("--local-governors={0}: that is more than {CPUS_MAX} cpus")]
    TooManyCpus(String),
    #[error("--runprefix={0:?}: {1}")]
    RunPrefix(String, &'static str),
    #[error("--runprefix: there is no program {0:?} (its path, or its name in PATH)")]
    RunPrefixProgram(String),
    #[error(transparent)]
    Memory(#[from] MemoryError),
    #[error(transparent)]
    Path(#[from] PathError),
    #[error(transparent)]
    End(#[from] EndError),
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error(transparent)]
    Resources(#[from] ResourcePlanError),
    #[error(transparent)]
    GovernorConfig(#[from] GovernorConfigError),
}

impl StartPlan {
    /// Checks what was typed.
    ///
    /// # Errors
    /// Names the option that is wrong, and what to do.
    pub fn new(args: &StartArgs) -> Result<Self, PlanError> {
        let governors = governors(args)?;
        if args.remote_init.is_some() {
            return Err(PlanError::RemoteInit);
        }
        if args.data_plain {
            return Err(PlanError::DataPlain);
        }
        if args.governor_listen.is_some() {
            return Err(PlanError::GovernorListen);
        }
        if args.min_governors.is_some() {
            return Err(PlanError::MinGovernors);
        }
        let file = args.governor_config.as_deref().map_or(Ok(GovernorFile::default()), governor_config::read)?;
        Ok(Self {
            governors,
            listen: args.at.listen.as_deref().map_or(Ok(address::DEFAULT_LISTEN), address::parse)?,
            log_dir: absolute("--logdir", args.places.logdir.as_deref())?,
            work_dir: absolute("--workdir", args.places.workdir.as_deref())?,
            memory: MemoryPlan::new(&args.places)?,
            run_prefix: run_prefix(args.runprefix.as_deref())?,
            executors: file.executors,
            resources: ResourcePlan::new(&args.resources, file.resources)?,
            reserve_cpu: args.reserve_cpu,
            pin: !args.no_pin,
            keep_capabilities: keeps_capabilities(args.keep_capabilities),
            foreground: args.foreground || args.private,
            private: args.private,
            end: EndPlan::new(&args.end)?,
            log: if args.private && args.at.http_listen.is_none() { LogPlan::off() } else { LogPlan::new(&args.log) },
            http: http(args.at.http_listen.as_deref(), args.private)?,
        })
    }
}

/// Whether the option, or the variable that stands for it, asks for that.
pub fn keeps_capabilities(option: bool) -> bool {
    option || std::env::var_os("RAIN_KEEP_CAPABILITIES").is_some_and(|value| !value.is_empty() && value != "0")
}

/// A private server is shown only where that was asked for.
fn http(listen: Option<&str>, private: bool) -> Result<Option<HttpPlan>, AddressError> {
    let wanted = listen.is_some() || !private;
    wanted.then(|| HttpPlan::new(listen)).transpose()
}

fn governors(args: &StartArgs) -> Result<Governors, PlanError> {
    let ways = [
        ("--simple", args.simple),
        ("--local-governors", args.local_governors.is_some()),
        ("--autoconf", args.autoconf.is_some()),
        ("--governor-host-file", args.governor_host_file.is_some()),
    ];
    let mut given = ways.into_iter().filter(|(_, given)| *given).map(|(option, _)| option);
    let Some(way) = given.next() else { return Err(PlanError::NoWay) };
    if let Some(other) = given.next() {
        return Err(PlanError::TwoWays(way, other));
    }
    match (way, &args.local_governors) {
        ("--simple", _) => Ok(Governors::Simple),
        (_, Some(text)) => Ok(Governors::Cpus(cpu_counts(text)?)),
        // Planned elsewhere (`remote::start`).
        (_, None) => Err(PlanError::NoWay),
    }
}

fn cpu_counts(text: &str) -> Result<Vec<usize>, PlanError> {
    let inner = text.trim();
    let inner = inner.strip_prefix('[').map_or(Some(inner), |rest| rest.strip_suffix(']'));
    let counts: Option<Vec<usize>> =
        inner.and_then(|inner| inner.split(',').map(|count| count.trim().parse().ok().filter(|&c| c > 0)).collect());
    let counts = counts.ok_or_else(|| PlanError::Governors(text.to_owned()))?;
    if counts.iter().fold(0usize, |sum, &count| sum.saturating_add(count)) > CPUS_MAX {
        return Err(PlanError::TooManyCpus(text.to_owned()));
    }
    Ok(counts)
}

/// Makes the path of an option absolute.
///
/// # Errors
/// When there is no current directory.
pub fn absolute(option: &'static str, path: Option<&Path>) -> Result<Option<PathBuf>, PlanError> {
    Ok(option_path::absolute(option, path)?)
}

/// Splits the value of `--runprefix`, and finds its program.
///
/// # Errors
/// When it has none, or there is no such program.
pub fn run_prefix(text: Option<&str>) -> Result<Vec<String>, PlanError> {
    let Some(text) = text else { return Ok(Vec::new()) };
    let wrong = |why| PlanError::RunPrefix(text.to_owned(), why);
    let mut words = shlex::split(text).ok_or_else(|| wrong("a quote is not closed"))?;
    let program = words.first().cloned().ok_or_else(|| wrong("it names no command"))?;
    let found = std::env::current_dir().ok().and_then(|here| programs::find(&program, &here));
    let path = found.and_then(|path| path.into_os_string().into_string().ok());
    words[0] = path.ok_or(PlanError::RunPrefixProgram(program))?;
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    fn plan(arguments: &str) -> Result<StartPlan, String> {
        let line = format!("rain start {arguments}");
        let words = shlex::split(&line).unwrap();
        let Command::Start(args) = Cli::try_parse_from(words).unwrap().command else { panic!("not start") };
        StartPlan::new(&args).map_err(|error| error.to_string())
    }

    #[test]
    fn the_two_local_ways_are_planned() {
        let simple = plan("--simple").unwrap();
        assert_eq!(simple.governors, Governors::Simple);
        assert_eq!(simple.listen, address::DEFAULT_LISTEN);
        assert!(simple.pin && !simple.reserve_cpu && !simple.foreground);
        for text in ["[4,4,2]", "4,4,2", "[ 4, 4 ,2 ]"] {
            let planned = plan(&format!("--local-governors='{text}' -S --no-pin --foreground --listen=7215")).unwrap();
            assert_eq!(planned.governors, Governors::Cpus(vec![4, 4, 2]));
            assert!(!planned.pin && planned.reserve_cpu && planned.foreground);
            assert_eq!(planned.listen.port(), 7215);
        }
        assert_eq!(plan("--local-wokers=[1]").unwrap().governors, Governors::Cpus(vec![1]));
    }

    #[test]
    fn paths_become_absolute() {
        let planned = plan("--simple --workdir=w --logdir=/l").unwrap();
        assert_eq!(planned.work_dir, Some(std::env::current_dir().unwrap().join("w")));
        assert_eq!(planned.log_dir, Some(PathBuf::from("/l")));
    }

    #[test]
    fn a_run_prefix_is_split_and_found() {
        let planned = plan("--simple --runprefix='env \"A=b c\"'").unwrap();
        assert!(planned.run_prefix[0].starts_with('/') && planned.run_prefix[0].ends_with("/env"));
        assert_eq!(planned.run_prefix[1..], ["A=b c"]);
    }

    #[test]
    fn wrong_options_are_named_with_what_to_do() {
        for (arguments, expected) in [
            ("", "--simple"),
            ("--listen=7211", "--local-governors"),
            ("--simple --local-governors=[1]", "--simple and --local-governors exclude each other"),
            ("--simple --autoconf=pbs", "--simple and --autoconf"),
            ("--simple --data-plain", "--data-plain is for governors on other machines"),
            ("--simple --governor-listen=7000-7100", "--governor-listen is for governors on other machines"),
            ("--simple --min-governors=2", "--min-governors is for governors on other machines"),
            ("--simple --remote-init=x", "--remote-init is for governors on other machines"),
            ("--simple --http-listen=8080x:", "--http-listen=8080x:: give PORT, ADDRESS or ADDRESS:PORT"),
            ("--local-governors=[]", "--local-governors=[]: give the number"),
            ("--local-governors=[4,0]", "give the number"),
            ("--local-governors=[4,4", "give the number"),
            ("--local-governors=[-1]", "give the number"),
            ("--local-governors=[4000,4000]", "more than 4096"),
            ("--simple --listen=x:y", "--listen=x:y"),
            ("--simple --runprefix=''", "no command"),
            ("--simple --runprefix='\"a'", "quote"),
            ("--simple --runprefix=no-such-program-here", "no program"),
            ("--simple --governor-config=/no/such/file", "/no/such/file"),
        ] {
            let message = plan(arguments).expect_err(arguments);
            assert!(message.contains(expected), "{arguments}: {message}");
        }
    }
}
