//! What a log tells, as text, JSON and CSV.

use crate::status::{self, cell};
use rain_events::answers::{Event, TaskRow};
use rain_events::questions::{EventQuery, Page, TaskQuery};
use rain_events::{Log, LogError};
use serde::Serialize;
use serde_json::{Value, json};
use std::fmt::Write;

/// Failed and longest tasks that a summary names, and groups of each session.
const NAMED: u32 = 10;
/// Sessions of which a summary tells more than that they were.
const SESSIONS_TOLD: usize = 20;
/// Columns of a task.
const COLUMNS: [&str; 12] = [
    "session",
    "id",
    "name",
    "kind",
    "state",
    "governor",
    "slot",
    "submitted",
    "started",
    "finished",
    "seconds",
    "error_line",
];

/// A value as JSON text.
pub fn json(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

/// The numbers of all sessions, the oldest first.
///
/// # Errors
/// When the log cannot be read.
pub fn session_numbers(log: &Log) -> Result<Vec<u32>, LogError> {
    let mut numbers: Vec<u32> =
        all_sessions(log)?.iter().filter_map(|session| session["id"].as_u64()).map(|id| id as u32).collect();
    numbers.reverse();
    Ok(numbers)
}

/// All sessions, the newest first.
fn all_sessions(log: &Log) -> Result<Vec<Value>, LogError> {
    let mut sessions = Vec::new();
    let mut after = None;
    loop {
        let page = log.sessions(&Page { limit: Some(1000), after, ..Page::default() })?;
        sessions.extend(page.sessions.into_iter().map(|session| json!(session)));
        after = page.next;
        if after.is_none() {
            return Ok(sessions);
        }
    }
}

/// What there is to be said of the whole.
///
/// # Errors
/// When the log cannot be read.
pub fn summary(log: &Log) -> Result<Value, LogError> {
    let status = log.status()?;
    let mut sessions = all_sessions(log)?;
    for session in sessions.iter_mut().take(SESSIONS_TOLD) {
        let id = session["id"].as_u64().unwrap_or_default() as u32;
        let detail = log.session(id)?;
        session["groups"] = detail.map_or(Value::Null, |detail| json!(detail.groups));
        let list = |query: TaskQuery| -> Result<Value, LogError> {
            Ok(log.tasks(id, &query)?.map_or(Value::Null, |tasks| json!(tasks.tasks)))
        };
        let failed = TaskQuery { state: Some("failed".to_owned()), limit: Some(NAMED), ..TaskQuery::default() };
        session["failed_tasks"] = list(failed)?;
        let longest = TaskQuery { sort: Some("-seconds".to_owned()), limit: Some(NAMED), ..TaskQuery::default() };
        session["longest_tasks"] = list(longest)?;
    }
    Ok(json!({"status": status, "sessions": sessions, "governors": log.governors()?.governors}))
}

/// A summary for people.
pub fn shown(summary: &Value) -> String {
    let status = &summary["status"];
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    let mut text = String::new();
    let began = status["server"]["started"].as_f64().unwrap_or_default();
    let end = status["server"]["ended"].as_f64().or(status["time"].as_f64()).unwrap_or_default();
    let _ = writeln!(
        text,
        "{}\nRain {} on {}, {}, for {:.1} s; governors: {}, cpus: {}",
        cell(&status["log"]["path"]),
        cell(&status["server"]["version"]),
        cell(&status["server"]["address"]),
        match status["state"].as_str() {
            Some("running") => "runs",
            Some("finished") => "has ended in order",
            _ => "has ended without a word",
        },
        (end - began).max(0.0),
        number(&status["governors"]),
        number(&status["cpus"])
    );
    let tasks = &status["tasks"];
    let states = ["waiting", "ready", "running", "finished", "failed", "cancelled", "lost"];
    let counts = states.iter().map(|state| (state, number(&tasks[state]))).filter(|(_, count)| *count > 0);
    let counts: Vec<String> = counts.map(|(state, count)| format!("{count} {state}")).collect();
    let _ = writeln!(text, "tasks: {}", if counts.is_empty() { "none".to_owned() } else { counts.join(", ") });
    for (key, what) in [
        ("dropped_samples", "samples of machines were left out, as too much happened"),
        ("folded_tasks", "tasks have only their numbers in the log"),
        ("removed_sessions", "old sessions were removed, as the log may not be larger"),
    ] {
        let count = number(&status["log"][key]);
        if count > 0 {
            let _ = writeln!(text, "{count} {what}");
        }
    }
    for session in summary["sessions"].as_array().into_iter().flatten() {
        let _ = write!(
            text,
            "\nsession {} {}: {}, {:.3} s of work",
            session["id"],
            cell(&session["name"]),
            cell(&session["state"]),
            session["seconds"].as_f64().unwrap_or_default()
        );
        text.push('\n');
        if let Some(error) = session["error"].as_str() {
            let _ = writeln!(text, "  {}", status::line(error));
        }
        let rows: Vec<Value> = session["groups"]
            .as_array()
            .into_iter()
            .flatten()
            .take(NAMED as usize)
            .map(|group| {
                let mut row = group["tasks"].clone();
                row["name"] = group["name"].clone();
                row["seconds"] = json!(rounded(group["seconds"].as_f64()));
                row
            })
            .collect();
        let columns = ["name", "finished", "failed", "cancelled", "running", "ready", "waiting", "lost", "seconds"];
        status::list(&mut text, "tasks", &rows, &columns);
        for (key, what) in [("failed_tasks", "failed"), ("longest_tasks", "longest")] {
            let rows: Vec<Value> = session[key].as_array().cloned().unwrap_or_default();
            let rows: Vec<Value> = rows.iter().map(short).collect();
            if !rows.is_empty() {
                let _ = write!(text, "\n{what}:");
                status::list(
                    &mut text,
                    "task",
                    &rows,
                    &["id", "name", "kind", "governor", "slot", "seconds", "error_line"],
                );
            }
        }
    }
    let governors = summary["governors"].as_array().cloned().unwrap_or_default();
    status::list(&mut text, "governor", &governors, &["id", "host", "state", "cpus", "tasks", "reason"]);
    text
}

fn rounded(seconds: Option<f64>) -> Option<f64> {
    seconds.map(|seconds| (seconds * 1e6).round() / 1e6)
}

/// A task with its times rounded.
pub fn short(task: &Value) -> Value {
    let mut task = task.clone();
    for key in ["submitted", "ready", "assigned", "started", "finished", "seconds"] {
        task[key] = json!(rounded(task[key].as_f64()));
    }
    task
}

/// Tasks as values, each with its session.
pub fn task_values(rows: &[(u32, TaskRow)]) -> Vec<Value> {
    let value = |(session, task): &(u32, TaskRow)| {
        let mut value = json!(task);
        value["session"] = json!(session);
        value
    };
    rows.iter().map(value).collect()
}

/// Tasks for people.
pub fn task_table(rows: &[(u32, TaskRow)]) -> String {
    let values: Vec<Value> = task_values(rows).iter().map(short).collect();
    let mut text = String::new();
    status::list(&mut text, "task", &values, &COLUMNS);
    let _ = writeln!(text, "{}{} tasks", if rows.is_empty() { "" } else { "\n" }, rows.len());
    text
}

/// Tasks as CSV (RFC 4180), with a line of names.
pub fn csv(rows: &[(u32, TaskRow)]) -> String {
    let mut text = COLUMNS.join(",") + "\r\n";
    for value in task_values(rows) {
        let fields: Vec<String> = COLUMNS
            .iter()
            .map(|column| match &value[*column] {
                Value::Null => String::new(),
                Value::String(text) => quoted(text),
                other => other.to_string(),
            })
            .collect();
        text += &fields.join(",");
        text += "\r\n";
    }
    text
}

fn quoted(text: &str) -> String {
    if text.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

/// What happened, of a session or all, since then.
///
/// # Errors
/// When the log cannot be read.
pub fn events(log: &Log, session: Option<u32>, since: Option<f64>) -> Result<Vec<Event>, LogError> {
    let mut events = Vec::new();
    let mut query = EventQuery { session, from: since, limit: Some(1000), ..EventQuery::default() };
    loop {
        let page = log.events(&query)?;
        events.extend(page.events);
        query.after = page.next;
        if query.after.is_none() {
            return Ok(events);
        }
    }
}

/// Events for people.
pub fn event_table(events: &[Event]) -> String {
    let values: Vec<Value> = events.iter().map(|event| json!(event)).collect();
    let mut text = String::new();
    status::list(&mut text, "event", &values, &["id", "time", "type", "session", "task", "governor", "value", "text"]);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use rain_events::made_up::{self, Plan};

    #[test]
    fn hostile_names_do_not_steer_the_terminal_nor_break_rows() {
        let directory = tempfile::tempdir().unwrap();
        made_up::write(&directory.path().join(rain_events::FILE_NAME), &Plan { tasks: 40, ..Plan::default() }).unwrap();
        let log = Log::open(directory.path()).unwrap();
        let text = shown(&summary(&log).unwrap());
        assert!(text.contains("ZeroDivisionError") && text.contains("main/training"), "{text}");
        let tasks = log.tasks(4, &TaskQuery::default()).unwrap().unwrap().tasks;
        let rows: Vec<(u32, TaskRow)> = tasks.into_iter().map(|task| (4, task)).collect();
        let table = task_table(&rows);
        for text in [&text, &table, &event_table(&events(&log, None, None).unwrap())] {
            assert!(text.chars().all(|c| c == '\n' || !c.is_control()) && !text.contains('\u{202e}'), "{text:?}");
        }
        let csv = csv(&rows);
        assert!(csv.starts_with("session,id,name,") && csv.matches("\r\n").count() == 7, "{csv}");
        assert_eq!(session_numbers(&log).unwrap(), [1, 2, 3, 4, 5]);
    }
}
