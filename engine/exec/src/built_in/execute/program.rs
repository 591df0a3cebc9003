//! What is to be executed, read from a task's configuration.

use crate::built_in::config::{checked_path, overlap, read_config};
use crate::process::{Environment, c_string};
use rain_model::graph::{DataType, Kind};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ffi::{CString, OsStr};
use std::path::PathBuf;

/// A program and how it meets the task's inputs and outputs.
#[derive(Debug)]
pub(in crate::built_in) struct Program<'a> {
    /// Never empty.
    pub(super) args: Vec<CString>,
    pub(super) environment: Environment,
    /// Where each input is mapped, if anywhere.
    pub(super) inputs: Vec<Option<Mapping>>,
    /// Inputs that are mapped, outer directories before what is inside of them.
    pub(super) input_order: Vec<usize>,
    pub(super) stdin: Option<usize>,
    /// The path of each output; `None` is the standard output.
    pub(super) outputs: Vec<Option<PathBuf>>,
    /// The output that is the standard output.
    pub(super) stdout: Option<usize>,
    /// The command for the shell, or the name of the program.
    command: &'a str,
    shell: bool,
}

/// How an input is mapped to a file or directory.
#[derive(Debug)]
pub(super) struct Mapping {
    pub(super) path: PathBuf,
    /// As a copy that may be changed.
    pub(super) write: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config<'a> {
    #[serde(borrow)]
    args: Vec<&'a str>,
    #[serde(default)]
    shell: bool,
    #[serde(default, borrow)]
    inputs: Vec<Option<InputConfig<'a>>>,
    #[serde(default)]
    stdin: Option<u32>,
    #[serde(default, borrow)]
    outputs: Vec<OutputConfig<'a>>,
    #[serde(default, borrow)]
    env: BTreeMap<&'a str, &'a str>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InputConfig<'a> {
    path: &'a str,
    #[serde(default)]
    write: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OutputConfig<'a> {
    #[serde(default)]
    path: Option<&'a str>,
    #[serde(default)]
    stdout: bool,
}

impl<'a> Program<'a> {
    pub(in crate::built_in) fn parse(kind: &Kind, config: &'a [u8], inputs: usize) -> Result<Self, String> {
        let config: Config<'a> = read_config(kind, config)?;
        let wrong = |why: String| format!("{}: {why}", kind.task_type);
        let (mapped, input_order) = parse_inputs(kind, &config.inputs, inputs)?;
        let stdin = config.stdin.map(|number| number as usize);
        if let Some(number) = stdin.filter(|number| *number >= inputs) {
            return Err(wrong(format!("input {number} is to be the standard input, but there are {inputs} inputs")));
        }
        let outputs = parse_outputs(kind, &config.outputs)?;
        let stdout = outputs.iter().position(Option::is_none);
        let (args, command) = parse_args(&config).map_err(wrong)?;
        let mut environment = Environment::default();
        for (name, value) in &config.env {
            if !environment.add(OsStr::new(name), OsStr::new(value)) {
                return Err(wrong(format!("{name:?} cannot be a variable of the environment with this value")));
            }
        }
        environment.limit_threads(kind.cpus);
        Ok(Self {
            args,
            environment,
            inputs: mapped,
            input_order,
            stdin,
            outputs,
            stdout,
            command,
            shell: config.shell,
        })
    }

    /// Adds variables to the environment, which can be variables.
    pub(in crate::built_in) fn add_variables(&mut self, variables: &[(String, String)]) {
        for (name, value) in variables {
            let is_added = self.environment.add(OsStr::new(name), OsStr::new(value));
            debug_assert!(is_added, "{name} cannot be a variable");
        }
    }

    /// The command, if it is the shell that runs it.
    pub(super) fn shell_command(&self) -> Option<&'a str> {
        self.shell.then_some(self.command)
    }

    /// Whether no file that the program makes is an output.
    pub(super) fn makes_no_files(&self) -> bool {
        self.outputs.iter().all(Option::is_none)
    }

    /// How messages call the program.
    pub(super) fn shown(&self) -> String {
        const CHARS_MAX: usize = 200;
        if self.command.chars().count() <= CHARS_MAX {
            return format!("{:?}", self.command);
        }
        format!("{:?}...", self.command.chars().take(CHARS_MAX).collect::<String>())
    }

    /// Whether the program neither reads nor makes files that Rain knows of.
    pub(super) fn is_without_files(&self) -> bool {
        self.input_order.is_empty() && self.makes_no_files()
    }
}

fn parse_args<'a>(config: &Config<'a>) -> Result<(Vec<CString>, &'a str), String> {
    let Some(command) = config.args.first() else { return Err("no program is given".into()) };
    let argument = |text: &str| c_string(text).ok_or_else(|| format!("argument {text:?} contains a zero byte"));
    if !config.shell {
        let args = config.args.iter().map(|arg| argument(arg)).collect::<Result<_, _>>()?;
        return Ok((args, command));
    }
    if config.args.len() != 1 {
        return Err(format!("the shell takes one string, but {} were given", config.args.len()));
    }
    Ok((vec![c"/bin/sh".into(), c"-c".into(), argument(command)?], command))
}

fn parse_inputs(
    kind: &Kind,
    configs: &[Option<InputConfig<'_>>],
    inputs: usize,
) -> Result<(Vec<Option<Mapping>>, Vec<usize>), String> {
    if configs.len() != inputs {
        let given = configs.len();
        return Err(format!("{}: it is said for {given} inputs where they go, but there are {inputs}", kind.task_type));
    }
    let mut mapped: Vec<Option<Mapping>> = Vec::with_capacity(inputs);
    for config in configs {
        mapped.push(match config {
            Some(config) => Some(Mapping { path: entry_path(kind, config.path)?, write: config.write }),
            None => None,
        });
    }
    let mut order: Vec<usize> = (0..inputs).filter(|number| mapped[*number].is_some()).collect();
    let path = |number: usize| mapped[number].as_ref().map(|mapping| &mapping.path);
    order.sort_by(|a, b| path(*a).cmp(&path(*b)));
    for pair in order.windows(2) {
        let (Some(outer), Some(inner)) = (&mapped[pair[0]], &mapped[pair[1]]) else { continue };
        // Something may be put into a directory only if that is a copy.
        if outer.path == inner.path || (!outer.write && inner.path.starts_with(&outer.path)) {
            return Err(format!(
                "{}: inputs {} and {} are in each other's way at {:?}",
                kind.task_type,
                pair[0],
                pair[1],
                inner.path.display().to_string()
            ));
        }
    }
    Ok((mapped, order))
}

fn parse_outputs(kind: &Kind, configs: &[OutputConfig<'_>]) -> Result<Vec<Option<PathBuf>>, String> {
    let wrong = |why: String| Err(format!("{}: {why}", kind.task_type));
    if configs.len() != kind.outputs.len() {
        let (given, declared) = (configs.len(), kind.outputs.len());
        return wrong(format!("it is said for {given} outputs where they come from, but {declared} are declared"));
    }
    let mut outputs = Vec::with_capacity(configs.len());
    for (config, spec) in configs.iter().zip(&kind.outputs) {
        outputs.push(match (config.path, config.stdout) {
            (Some(path), false) => Some(entry_path(kind, path)?),
            (None, true) if spec.data_type == DataType::Directory => {
                return wrong(format!("output {:?} is a directory, but is to be the standard output", spec.label));
            }
            (None, true) => None,
            _ => return wrong(format!("output {:?} must be either a path or the standard output", spec.label)),
        });
    }
    if outputs.iter().filter(|output| output.is_none()).count() > 1 {
        return wrong("more than one output is to be the standard output".into());
    }
    let paths: Vec<&PathBuf> = outputs.iter().flatten().collect();
    if let Some((outer, inner)) = overlap(&paths) {
        let (outer, inner) = (paths[outer].display().to_string(), paths[inner].display().to_string());
        return wrong(format!("outputs {outer:?} and {inner:?} are the same, or one is inside of the other"));
    }
    Ok(outputs)
}

/// A path of something inside of the program's directory.
fn entry_path(kind: &Kind, text: &str) -> Result<PathBuf, String> {
    let path = checked_path(kind, text)?;
    if path.as_os_str().is_empty() {
        return Err(format!("{}: path {text:?} is the task's directory itself", kind.task_type));
    }
    Ok(path)
}
