//! The file of `--governor-config`: executors that governors can start, and what they have beside cpus.

use crate::programs;
use crate::resources::parse_amount;
use rain_model::resources::{Amount, ResourceError, Supplies, Supply, check_supplies};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::Spanned;

/// An executor that governors start when a task needs it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, Deserialize)]
pub struct ExecutorConfig {
    pub name: String,
    /// Absolute path of the program, and its arguments.
    pub command: Vec<String>,
    /// Added to the environment.
    pub env: BTreeMap<String, String>,
    /// How long it may take until it registers, if that is said.
    pub start_timeout: Option<Duration>,
    /// How many processes each governor starts before they are needed; they must register for Rain to start.
    pub warm: usize,
    /// Where it is written, for messages: `FILE:LINE`.
    pub place: String,
}

/// What is wrong with the file, and where.
#[derive(Debug, thiserror::Error)]
pub enum GovernorConfigError {
    #[error("--governor-config={path}: cannot read it: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path}:{line}: {problem}")]
    Content { path: PathBuf, line: usize, problem: Problem },
}

/// What is wrong at one place.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    #[error("{0}")]
    Toml(String),
    #[error("the name of executor {0:?} is empty or has a '/' in it")]
    Name(String),
    #[error("the name {0:?} is taken by Rain's own tasks")]
    Reserved(String),
    #[error("the command of executor {0:?} is empty")]
    NoCommand(String),
    #[error("the command of executor {0:?} has a quote that is not closed")]
    Quote(String),
    #[error("there is no program {program:?} for executor {executor:?}")]
    NoProgram { executor: String, program: String },
    #[error("environment variable {0:?} of an executor cannot have this name or value")]
    Environment(String),
    #[error("the start_timeout of executor {0:?} is not a number of seconds above 0")]
    StartTimeout(String),
    #[error("resource {0:?} is neither an amount above 0, as 3 or \"4GiB\", nor a list of labels")]
    Amount(String),
    #[error(transparent)]
    Resource(#[from] ResourceError),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    executors: BTreeMap<Spanned<String>, Entry>,
    #[serde(default)]
    resources: BTreeMap<Spanned<String>, Spanned<Resource>>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a resource is a number, a text as \"4GiB\", or a list of labels")]
enum Resource {
    Number(f64),
    Text(String),
    Labels(Vec<Label>),
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a label is a whole number or a text")]
enum Label {
    Number(u32),
    Text(String),
}

/// What the file says.
#[derive(Debug, Default, PartialEq)]
pub struct GovernorFile {
    pub executors: Vec<ExecutorConfig>,
    pub resources: Supplies,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    command: Spanned<Words>,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: BTreeMap<Spanned<String>, String>,
    /// Seconds.
    start_timeout: Option<Spanned<f64>>,
    #[serde(default)]
    warm: usize,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a command is a string, or a list of strings")]
enum Words {
    Line(String),
    List(Vec<String>),
}

/// Reads and checks the file; programs are looked up in PATH, or relative to the file.
///
/// # Errors
/// Says what is wrong, and in which line.
pub fn read(path: &Path) -> Result<GovernorFile, GovernorConfigError> {
    let unreadable = |source| GovernorConfigError::Read { path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let base = std::path::absolute(path).map_err(unreadable)?;
    let line = |offset: usize| text.get(..offset).unwrap_or(&text).matches('\n').count() + 1;
    let place = |offset: usize| format!("{}:{}", path.display(), line(offset));
    parse(&text, base.parent().unwrap_or(Path::new("/")), &place).map_err(|(offset, problem)| {
        GovernorConfigError::Content { path: path.to_owned(), line: line(offset), problem }
    })
}

fn parse(text: &str, base: &Path, place: &dyn Fn(usize) -> String) -> Result<GovernorFile, (usize, Problem)> {
    let file: File = toml::from_str(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        (offset, Problem::Toml(error.message().to_owned()))
    })?;
    let executors = file.executors.into_iter().map(|(name, entry)| check(&name, entry, base, place));
    let executors = executors.collect::<Result<_, _>>()?;
    let resources = file.resources.into_iter().map(|(name, resource)| check_resource(&name, resource));
    let resources: Supplies = resources.collect::<Result<_, _>>()?;
    check_supplies(&resources).map_err(|error| (0, error.into()))?;
    Ok(GovernorFile { executors, resources })
}

fn check_resource(name: &Spanned<String>, resource: Spanned<Resource>) -> Result<(String, Supply), (usize, Problem)> {
    let at = resource.span().start;
    let amount = |amount: Option<Amount>| {
        amount.map(Supply::Amount).ok_or_else(|| (at, Problem::Amount(name.get_ref().clone())))
    };
    let text = |label| match label {
        Label::Number(number) => number.to_string(),
        Label::Text(text) => text,
    };
    let supply = match resource.into_inner() {
        Resource::Number(number) => amount(Amount::from_number(number))?,
        Resource::Text(text) => amount(parse_amount(&text))?,
        Resource::Labels(labels) => Supply::Indexed(labels.into_iter().map(text).collect()),
    };
    let named = (name.get_ref().clone(), supply);
    check_supplies(&[named.clone()].into()).map_err(|error| (name.span().start, error.into()))?;
    Ok(named)
}

fn check(
    name: &Spanned<String>,
    entry: Entry,
    base: &Path,
    place: &dyn Fn(usize) -> String,
) -> Result<ExecutorConfig, (usize, Problem)> {
    let executor = name.get_ref().clone();
    let name_offset = name.span().start;
    if executor.is_empty() || executor.contains('/') {
        return Err((name_offset, Problem::Name(executor)));
    }
    if ["buildin", "py"].contains(&executor.as_str()) {
        return Err((name_offset, Problem::Reserved(executor)));
    }
    let offset = entry.command.span().start;
    let mut command = match entry.command.into_inner() {
        Words::Line(line) => shlex::split(&line).ok_or_else(|| (offset, Problem::Quote(executor.clone())))?,
        Words::List(words) => words,
    };
    let Some(program) = command.first().cloned() else { return Err((offset, Problem::NoCommand(executor))) };
    let found = programs::find(&program, base).and_then(|path| path.into_os_string().into_string().ok());
    match found {
        Some(path) => command[0] = path,
        None => return Err((offset, Problem::NoProgram { executor, program })),
    }
    command.extend(entry.args);
    let mut env = BTreeMap::new();
    for (key, value) in entry.env {
        let at = key.span().start;
        let key = key.into_inner();
        if key.is_empty() || key.contains(['=', '\0']) || value.contains('\0') {
            return Err((at, Problem::Environment(key)));
        }
        env.insert(key, value);
    }
    let start_timeout = match entry.start_timeout {
        None => None,
        Some(seconds) => match Duration::try_from_secs_f64(*seconds.get_ref()) {
            Ok(timeout) if !timeout.is_zero() => Some(timeout),
            _ => return Err((seconds.span().start, Problem::StartTimeout(executor))),
        },
    };
    let (warm, place) = (entry.warm, place(name_offset));
    Ok(ExecutorConfig { name: executor, command, env, start_timeout, warm, place })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Vec<ExecutorConfig>, String> {
        read_file(text).map(|file| file.executors)
    }

    fn read_file(text: &str) -> Result<GovernorFile, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("governor.toml");
        std::fs::write(&path, text).unwrap();
        read(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn commands_are_lines_or_lists() {
        let text = "[executors.a]\ncommand = \"sh -c 'x y'\"\nargs = [\"z\"]\n[executors.a.env]\nK = \"v\"\n\
                    [executors.b]\ncommand = [\"/bin/sh\", \"-e\"]\nstart_timeout = 1.5\nwarm = 2\n";
        let read = read_text(text).unwrap();
        assert_eq!(read.len(), 2);
        assert!(read[0].command[0].starts_with('/'));
        assert_eq!(read[0].command[1..], ["-c", "x y", "z"]);
        assert_eq!(read[0].env["K"], "v");
        assert_eq!(read[1].command, ["/bin/sh", "-e"]);
        assert_eq!([read[0].start_timeout, read[1].start_timeout], [None, Some(Duration::from_millis(1500))]);
        assert_eq!([read[0].warm, read[1].warm], [0, 2]);
        assert!(read[1].place.ends_with("governor.toml:6"), "{}", read[1].place);
        assert_eq!(read_text("").unwrap(), []);
    }

    #[test]
    fn resources_are_amounts_or_labels() {
        let text = "[resources]\nlicence = 3\nmemory = \"4GiB\"\nshare = 0.5\ngpus = [0, \"GPU-1\"]\n";
        let read = read_file(text).unwrap().resources;
        let totals: Vec<_> = read.iter().map(|(name, supply)| (name.as_str(), supply.total().number())).collect();
        assert_eq!(totals, [("gpus", 2.0), ("licence", 3.0), ("memory", 4294967296.0), ("share", 0.5)]);
        assert_eq!(read["gpus"], Supply::Indexed(vec!["0".into(), "GPU-1".into()]));
    }

    #[test]
    fn mistakes_are_said_with_their_line() {
        for (text, line, expected) in [
            ("[executors.a]\ncommand = \"sh\"\nspeed = 3\n", 3, "unknown field `speed`"),
            ("\n[executor.a]\ncommand = \"sh\"\n", 2, "unknown field `executor`"),
            ("[executors.a]\n\ncommand = \"/no/such/program x\"\n", 3, "no program \"/no/such/program\""),
            ("[executors.a]\ncommand = 3\n", 2, "string, or a list"),
            ("[executors.a]\ncommand = \"'sh\"\n", 2, "quote"),
            ("[executors.a]\ncommand = []\n", 2, "is empty"),
            ("[executors.\"a/b\"]\ncommand = \"sh\"\n", 1, "'/'"),
            ("[executors.buildin]\ncommand = \"sh\"\n", 1, "Rain's own"),
            ("[executors.a]\ncommand = \"sh\"\n[executors.a.env]\n\"A=B\" = \"c\"\n", 4, "A=B"),
            ("[executors.a]\ncommand = \"sh\"\nstart_timeout = -1\n", 3, "start_timeout"),
            ("[executors.a\n", 1, ""),
            ("[executors.a]\nargs = []\n", 1, "missing field `command`"),
            ("[resources]\nlicence = 0\n", 2, "above 0"),
            ("[resources]\ngpus = [0, 0]\n", 2, "twice"),
            ("[resources]\n\ncpus = 2\n", 3, "of their own"),
            ("[resources]\nlicence = true\n", 2, "a resource is"),
        ] {
            let message = read_text(text).expect_err(text);
            assert!(message.contains(&format!("governor.toml:{line}: ")) && message.contains(expected), "{message}");
        }
        assert!(read(Path::new("/no/such/file")).unwrap_err().to_string().contains("/no/such/file"));
    }
}
