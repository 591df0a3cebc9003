//! The graph, grouped by names.

use super::counts::{broken, with_ready};
use super::sessions::group_rows;
use super::task_rows::task_rows;
use crate::answers::{Counts, Graph, GraphEdge, GraphLevel, GraphNode, TaskState};
use crate::error::LogError;
use crate::log::{KindRow, Log, Reader};
use crate::questions::GraphQuery;
use rain_model::id::NONE;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Nodes of an answer at most.
const NODES_MAX: usize = 2000;

impl Log {
    /// The graph of a session: groups of names, or the tasks of one; `None` if there is none with this number.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn graph(&self, session: u32, query: &GraphQuery) -> Result<Option<Graph>, LogError> {
        let group = query.group.clone().unwrap_or_default();
        self.read(|reader| {
            if !reader.has_session(session)? {
                return Ok(None);
            }
            let kinds = reader.kinds(session)?;
            let mut inside: BTreeMap<u32, String> = BTreeMap::new();
            for (number, kind) in &kinds {
                let name = reader.string(kind.name)?;
                if below(&name, &group).is_some() {
                    inside.insert(*number, name.to_string());
                }
            }
            let names: HashSet<&String> = inside.values().collect();
            if !group.is_empty() && names.len() == 1 {
                return tasks_of(reader, session, &kinds, group, &inside).map(Some);
            }
            groups_of(reader, session, &kinds, group, &inside).map(Some)
        })
    }
}

/// What follows the name of a group in a name in it, "" for that name itself; `None`: it is not in the group.
fn below<'a>(name: &'a str, group: &str) -> Option<&'a str> {
    if group.is_empty() {
        return Some(name);
    }
    let rest = name.strip_prefix(group)?;
    if rest.is_empty() { Some("") } else { rest.strip_prefix('/') }
}

fn groups_of(
    reader: &mut Reader,
    session: u32,
    kinds: &HashMap<u32, KindRow>,
    group: String,
    inside: &BTreeMap<u32, String>,
) -> Result<Graph, LogError> {
    let child = |name: &str| {
        let rest = below(name, &group)?;
        let first = rest.split('/').next().unwrap_or_default();
        Some(if group.is_empty() || first.is_empty() {
            if first.is_empty() { group.clone() } else { first.to_owned() }
        } else {
            format!("{group}/{first}")
        })
    };
    let state = reader.state()?;
    let waiting: u64 = group_rows(reader, session)?.iter().map(|(_, counts, _)| counts.waiting).sum();
    let ready = if reader.is_open(session)? { super::counts::ready(reader, session, waiting)? } else { HashMap::new() };
    let mut nodes: BTreeMap<String, GraphNode> = BTreeMap::new();
    for (name, tally, time) in group_rows(reader, session)? {
        let text = reader.string(name)?;
        let Some(child) = child(&text) else { continue };
        let states = broken(with_ready(tally, ready.get(&name).copied().unwrap_or_default()), state);
        let node = nodes.entry(child.clone()).or_insert(GraphNode {
            id: 0,
            name: child.clone(),
            count: 0,
            states: Counts::default(),
            seconds: 0.0,
            leaf: true,
        });
        node.count += states.total();
        node.states.add(&states);
        node.seconds += time;
        node.leaf &= *text == *child;
    }
    let left_out = nodes.len().saturating_sub(NODES_MAX) as u64;
    let mut nodes: Vec<GraphNode> = nodes.into_values().take(NODES_MAX).collect();
    nodes.iter_mut().enumerate().for_each(|(id, node)| node.id = id as u32);
    let ids: HashMap<&str, u32> = nodes.iter().map(|node| (node.name.as_str(), node.id)).collect();
    let of_kind: HashMap<u32, u32> =
        inside.iter().filter_map(|(kind, name)| Some((*kind, *ids.get(child(name)?.as_str())?))).collect();
    let mut all = reader.edges.remove(&session).unwrap_or_default();
    reader.graph_rows(session, all.next(), |row| {
        all.add(&row, |kind| kinds.get(&kind).map_or(0, |kind| kind.outputs));
        Ok(true)
    })?;
    let mut edges: BTreeMap<(u32, u32), u64> = BTreeMap::new();
    for ((from, to), count) in all.iter() {
        if let (Some(from), Some(to)) = (of_kind.get(from), of_kind.get(to)) {
            *edges.entry((*from, *to)).or_default() += count;
        }
    }
    reader.edges.insert(session, all);
    let edges = edges.into_iter().map(|((from, to), count)| GraphEdge { from, to, count }).collect();
    Ok(Graph { level: GraphLevel::Groups, group, nodes, edges, left_out })
}

/// The first tasks of some kinds, and the edges between them.
fn tasks_of(
    reader: &mut Reader,
    session: u32,
    kinds: &HashMap<u32, KindRow>,
    group: String,
    inside: &BTreeMap<u32, String>,
) -> Result<Graph, LogError> {
    let mut tasks = Vec::new();
    let mut reads = Vec::new();
    let mut makers: HashMap<u32, u32> = HashMap::new();
    let mut count = 0u64;
    reader.graph_rows(session, 0, |row| {
        for (task, place, inputs) in row.iter() {
            let kind = row.kinds[place];
            if !inside.contains_key(&kind) {
                continue;
            }
            count += 1;
            if tasks.len() < NODES_MAX {
                tasks.push(task);
                reads.push((task, inputs.to_vec()));
                let first = row.first_outputs[place];
                if first != NONE {
                    let outputs = kinds.get(&kind).map_or(0, |kind| kind.outputs);
                    makers.extend((first..first.saturating_add(outputs)).map(|object| (object, task)));
                }
            }
        }
        Ok(tasks.len() < NODES_MAX)
    })?;
    let total: u64 = group_rows(reader, session)?
        .into_iter()
        .filter(|(name, _, _)| kinds.iter().any(|(number, kind)| kind.name == *name && inside.contains_key(number)))
        .map(|(_, counts, _)| counts.total())
        .sum();
    let mut edges: BTreeMap<(u32, u32), u64> = BTreeMap::new();
    for (to, inputs) in reads {
        for from in inputs.iter().filter_map(|input| makers.get(input)) {
            *edges.entry((*from, to)).or_default() += 1;
        }
    }
    let rows = task_rows(reader, session, kinds, &tasks)?;
    let nodes = rows.into_iter().map(|row| GraphNode {
        id: row.id,
        name: row.name,
        count: 1,
        states: one(row.state),
        seconds: row.seconds.unwrap_or_default(),
        leaf: true,
    });
    let edges = edges.into_iter().map(|((from, to), count)| GraphEdge { from, to, count }).collect();
    let left_out = total.max(count).saturating_sub(tasks.len() as u64);
    Ok(Graph { level: GraphLevel::Tasks, group, nodes: nodes.collect(), edges, left_out })
}

fn one(state: TaskState) -> Counts {
    let mut counts = Counts::default();
    match state {
        TaskState::Waiting => counts.waiting = 1,
        TaskState::Ready => counts.ready = 1,
        TaskState::Running => counts.running = 1,
        TaskState::Finished => counts.finished = 1,
        TaskState::Failed => counts.failed = 1,
        TaskState::Cancelled => counts.cancelled = 1,
        TaskState::Lost => counts.lost = 1,
    }
    counts
}
