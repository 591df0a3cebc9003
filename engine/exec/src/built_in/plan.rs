//! What a built-in task is to do, read from its kind and configuration, with every check that needs no input.

use super::config::{checked_path, overlap, read_config};
use super::execute::Program;
use crate::call::data_type_name;
use rain_model::graph::{DataType, Kind};
use serde::Deserialize;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A built-in task whose configuration is sound.
#[derive(Debug)]
pub(super) enum Plan<'a> {
    Noop,
    Concat,
    Load(&'a Path),
    LoadDir(&'a Path),
    Store(&'a Path),
    Sleep(Duration),
    /// A clean relative path for each input; that of a directory whose entries the new one is to have is empty.
    MakeDirectory(Vec<PathBuf>),
    SliceDirectory(Slice<'a>),
    Execute(Box<Program<'a>>),
}

/// What is taken out of a directory.
#[derive(Debug)]
pub(super) struct Slice<'a> {
    /// As the user wrote it.
    pub(super) text: &'a str,
    pub(super) path: PathBuf,
    /// The path ended with a slash.
    pub(super) data_type: DataType,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PathConfig<'a> {
    path: &'a str,
}

/// A path outside of Rain is text, or bytes where it cannot be text.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OuterPathConfig<'a> {
    path: &'a [u8],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SleepConfig {
    seconds: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PathsConfig<'a> {
    #[serde(borrow)]
    paths: Vec<&'a str>,
}

impl<'a> Plan<'a> {
    pub(super) fn parse(kind: &'a Kind, config: &'a [u8], inputs: usize) -> Result<Plan<'a>, String> {
        let counts = |expected_inputs, outputs| check_counts(kind, inputs, expected_inputs, outputs);
        match kind.method() {
            "noop" => {
                check_output_types(kind, DataType::Blob)?;
                Ok(Plan::Noop)
            }
            "concat" => {
                counts(None, 1)?;
                check_output_types(kind, DataType::Blob)?;
                Ok(Plan::Concat)
            }
            "load" => {
                counts(Some(0), 1)?;
                check_output_types(kind, DataType::Blob)?;
                Ok(Plan::Load(absolute_path(kind, config)?))
            }
            "load_dir" => {
                counts(Some(0), 1)?;
                check_output_types(kind, DataType::Directory)?;
                Ok(Plan::LoadDir(absolute_path(kind, config)?))
            }
            "store" => {
                counts(Some(1), 0)?;
                Ok(Plan::Store(absolute_path(kind, config)?))
            }
            "sleep" => {
                counts(Some(1), 1)?;
                let SleepConfig { seconds } = read_config(kind, config)?;
                let duration = Duration::try_from_secs_f64(seconds)
                    .map_err(|_| format!("{}: {seconds} is not a time to sleep, in seconds", kind.task_type))?;
                Ok(Plan::Sleep(duration))
            }
            "make_directory" => {
                counts(None, 1)?;
                check_output_types(kind, DataType::Directory)?;
                let PathsConfig { paths } = read_config(kind, config)?;
                directory_paths(kind, &paths, inputs).map(Plan::MakeDirectory)
            }
            "slice_directory" => {
                counts(Some(1), 1)?;
                let PathConfig { path: text } = read_config(kind, config)?;
                let path = checked_path(kind, text)?;
                let data_type = if text.ends_with('/') { DataType::Directory } else { DataType::Blob };
                check_output_types(kind, data_type)?;
                Ok(Plan::SliceDirectory(Slice { text, path, data_type }))
            }
            "execute" => Program::parse(kind, config, inputs).map(|program| Plan::Execute(Box::new(program))),
            _ => Err(format!("there is no built-in task type {:?}", kind.task_type)),
        }
    }
}

fn check_counts(kind: &Kind, inputs: usize, expected_inputs: Option<usize>, outputs: usize) -> Result<(), String> {
    if let Some(expected) = expected_inputs
        && inputs != expected
    {
        return Err(format!("{} takes {expected} inputs, but was given {inputs}", kind.task_type));
    }
    if kind.outputs.len() != outputs {
        let declared = kind.outputs.len();
        return Err(format!("{} makes {outputs} outputs, but {declared} are declared", kind.task_type));
    }
    Ok(())
}

fn check_output_types(kind: &Kind, data_type: DataType) -> Result<(), String> {
    match kind.outputs.iter().find(|output| output.data_type != data_type) {
        None => Ok(()),
        Some(output) => Err(format!(
            "{} makes a {}, but its output {:?} is declared as a {}",
            kind.task_type,
            data_type_name(data_type),
            output.label,
            data_type_name(output.data_type)
        )),
    }
}

fn absolute_path<'a>(kind: &Kind, config: &'a [u8]) -> Result<&'a Path, String> {
    let OuterPathConfig { path } = read_config(kind, config)?;
    let path = Path::new(OsStr::from_bytes(path));
    if path.as_os_str().as_bytes().contains(&0) {
        return Err(format!("{}: path {path:?} contains a zero byte", kind.task_type));
    }
    if !path.is_absolute() {
        return Err(format!(
            "{}: path {path:?} is not absolute, but governors work in directories of their own",
            kind.task_type
        ));
    }
    Ok(path)
}

fn directory_paths(kind: &Kind, texts: &[&str], inputs: usize) -> Result<Vec<PathBuf>, String> {
    if texts.len() != inputs {
        let given = texts.len();
        return Err(format!("{}: {given} paths were given for {inputs} inputs", kind.task_type));
    }
    let paths = texts.iter().map(|text| checked_path(kind, text)).collect::<Result<Vec<_>, _>>()?;
    let is_base = |path: &PathBuf| path.as_os_str().is_empty();
    if paths.iter().filter(|path| is_base(path)).count() > 1 {
        return Err(format!("{}: two objects are to be the directory itself", kind.task_type));
    }
    // Everything else lies in the base.
    let places: Vec<usize> = (0..paths.len()).filter(|place| !is_base(&paths[*place])).collect();
    let inside: Vec<&Path> = places.iter().map(|place| paths[*place].as_path()).collect();
    if let Some((a, b)) = overlap(&inside) {
        let (a, b) = (texts[places[a]], texts[places[b]]);
        return Err(format!("{}: {a:?} and {b:?} are in each other's way", kind.task_type));
    }
    Ok(paths)
}
