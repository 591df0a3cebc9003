//! Why makespans cannot be computed.

use rain_planner::error::PlanError;
use std::path::PathBuf;
use thiserror::Error;

/// What was wrong with what was asked for.
#[derive(Debug, Error)]
pub enum MakespanError {
    #[error("{path}: cannot be read: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{0}: has no file that ends in .json; --graphs names a folder of graphs, or one graph")]
    NoGraphs(PathBuf),
    #[error("{path}: is no graph: {reason}")]
    Format { path: PathBuf, reason: String },
    #[error("{path}: {source}")]
    Graph { path: PathBuf, source: PlanError },
    #[error("cluster {name}: {source}")]
    Cluster { name: String, source: PlanError },
    #[error("{path}: cannot be written: {source}")]
    Write { path: PathBuf, source: std::io::Error },
    #[error("{path}: line {line}: {reason}")]
    Table { path: PathBuf, line: usize, reason: String },
}
