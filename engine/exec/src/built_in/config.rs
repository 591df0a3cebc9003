//! Configurations of built-in tasks, and the paths in them.

use rain_data::relative_path;
use rain_model::graph::Kind;
use serde::Deserialize;
use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// Reads a configuration.
pub(super) fn read_config<'a, T: Deserialize<'a>>(kind: &Kind, config: &'a [u8]) -> Result<T, String> {
    rmp_serde::from_slice(config).map_err(|error| format!("{}: malformed configuration: {error}", kind.task_type))
}

/// A relative path of a configuration, clean.
pub(super) fn checked_path(kind: &Kind, text: &str) -> Result<PathBuf, String> {
    relative_path(text).map_err(|why| format!("{}: path {text:?} {why}", kind.task_type))
}

/// How messages write a path: bytes that are not text are escaped.
pub(super) fn shown(path: &Path) -> Cow<'_, str> {
    path.to_str().map_or_else(|| format!("{path:?}").into(), Cow::from)
}

/// Two of the paths of which one is the other, or inside of it: the outer one first.
pub(super) fn overlap<P: AsRef<Path>>(paths: &[P]) -> Option<(usize, usize)> {
    if paths.len() < 2 {
        return None;
    }
    let mut order: Vec<usize> = (0..paths.len()).collect();
    // Paths compare by component, so what is inside of a path comes right behind it.
    order.sort_by(|a, b| paths[*a].as_ref().cmp(paths[*b].as_ref()));
    order.windows(2).find(|pair| paths[pair[1]].as_ref().starts_with(paths[pair[0]].as_ref())).map(|p| (p[0], p[1]))
}
