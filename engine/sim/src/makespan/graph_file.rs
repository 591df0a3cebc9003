//! Graphs in files: one JSON object each, `{"tasks": [{"duration_s", "cpus", "inputs": [object id], "outputs": [{"id", "size_bytes"}]}]}`.

use crate::makespan::error::MakespanError;
use rain_planner::graph::{Graph, Task};
use rain_planner::kinds::{number, structural};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[derive(Deserialize)]
struct GraphRecord {
    tasks: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct TaskRecord {
    duration_s: f64,
    cpus: u32,
    inputs: Vec<u64>,
    outputs: Vec<ObjectRecord>,
    /// What the task is an instance of; without it, its place in the graph tells.
    kind: Option<String>,
}

#[derive(Deserialize)]
struct ObjectRecord {
    id: u64,
    size_bytes: f64,
}

/// A graph and what its file is called.
#[derive(Debug)]
pub struct NamedGraph {
    pub name: String,
    pub path: PathBuf,
    pub graph: Graph,
}

/// The graphs of a folder, by name, or of one file.
///
/// # Errors
/// Names the first file that cannot be read or is no graph.
pub fn read_graphs(path: &Path) -> Result<Vec<NamedGraph>, MakespanError> {
    let unreadable = |source| MakespanError::Read { path: path.to_owned(), source };
    if path.is_file() {
        return Ok(vec![read_graph(path)?]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.path();
        if file.extension().is_some_and(|extension| extension == "json") {
            files.push(file);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(MakespanError::NoGraphs(path.to_owned()));
    }
    files.iter().map(|file| read_graph(file)).collect()
}

fn read_graph(path: &Path) -> Result<NamedGraph, MakespanError> {
    let text = std::fs::read_to_string(path).map_err(|source| MakespanError::Read { path: path.to_owned(), source })?;
    let tasks = parse(&text).map_err(|reason| MakespanError::Format { path: path.to_owned(), reason })?;
    let graph = Graph::new(&tasks).map_err(|source| MakespanError::Graph { path: path.to_owned(), source })?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok(NamedGraph { name, path: path.to_owned(), graph })
}

/// The tasks of a graph's text, with objects numbered as they come.
fn parse(text: &str) -> Result<Vec<Task>, String> {
    let record: GraphRecord = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if record.tasks.is_empty() {
        return Err("it has no tasks".to_owned());
    }
    let mut records = Vec::with_capacity(record.tasks.len());
    for (task, value) in record.tasks.into_iter().enumerate() {
        let record: TaskRecord = serde_json::from_value(value).map_err(|error| format!("task {task}: {error}"))?;
        records.push(record);
    }
    let mut numbers = BTreeMap::new();
    for (task, record) in records.iter().enumerate() {
        for output in &record.outputs {
            let object = numbers.len();
            if numbers.insert(output.id, object).is_some() {
                return Err(format!("task {task}: object {} is made twice", output.id));
            }
        }
    }
    let named: Vec<Option<&str>> = records.iter().map(|record| record.kind.as_deref()).collect();
    let kinds = if named.iter().all(Option::is_some) { Some(number(&named)) } else { None };
    let mut tasks = Vec::with_capacity(records.len());
    for (task, record) in records.iter().enumerate() {
        let object = |id: &u64| numbers.get(id).copied().ok_or(format!("task {task}: no task makes object {id}"));
        tasks.push(Task {
            duration: record.duration_s,
            cpus: record.cpus,
            inputs: record.inputs.iter().map(object).collect::<Result<_, _>>()?,
            outputs: record.outputs.iter().map(|output| output.size_bytes).collect(),
            kind: 0,
        });
    }
    let kinds = kinds.unwrap_or_else(|| structural(&tasks));
    tasks.iter_mut().zip(kinds).for_each(|(task, kind)| task.kind = kind);
    Ok(tasks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_graph_is_said() {
        let reason = |text: &str| parse(text).expect_err(text);
        assert!(reason("{").contains("EOF"), "{}", reason("{"));
        assert!(reason("{}").contains("missing field `tasks`"));
        assert_eq!(reason(r#"{"tasks": []}"#), "it has no tasks");
        let task = |text: &str| reason(&format!(r#"{{"tasks": [{text}]}}"#));
        assert_eq!(task(r#"{"cpus": 1, "inputs": [], "outputs": []}"#), "task 0: missing field `duration_s`");
        assert_eq!(task(r#"{"duration_s": 1, "inputs": [], "outputs": []}"#), "task 0: missing field `cpus`");
        assert!(
            task(r#"{"duration_s": 1, "cpus": -1, "inputs": [], "outputs": []}"#).starts_with("task 0: invalid value")
        );
        assert_eq!(
            task(r#"{"duration_s": 1, "cpus": 1, "inputs": [7], "outputs": []}"#),
            "task 0: no task makes object 7"
        );
        let twice = r#"{"duration_s": 1, "cpus": 1, "inputs": [], "outputs": [{"id": 3, "size_bytes": 1}]}"#;
        assert_eq!(task(&format!("{twice}, {twice}")), "task 1: object 3 is made twice");
    }

    #[test]
    fn objects_are_numbered_as_they_come() {
        let text = r#"{"tasks": [
            {"duration_s": 1.5, "cpus": 2, "inputs": [9], "outputs": []},
            {"duration_s": 2, "cpus": 1, "inputs": [], "outputs": [{"id": 9, "size_bytes": 0}], "expected_s": 3}]}"#;
        let tasks = parse(text).expect("a graph");
        assert_eq!((tasks[0].inputs.as_slice(), tasks[1].outputs.as_slice()), ([0].as_slice(), [0.0].as_slice()));
        let graph = Graph::new(&tasks).expect("it has no circle");
        assert_eq!((graph.order(), graph.size(0)), ([1, 0].as_slice(), 1.0));
    }
}
