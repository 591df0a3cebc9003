//! `rain sessions`, `rain tasks` and `rain governors`: what a server that runs does, as tables or JSON.

use crate::log_text::{json, short};
use crate::seen::Seen;
use crate::seen_args::{GovernorsArgs, SessionsArgs, TasksArgs};
use crate::status::{LookupError, ago, bytes, duration, line, list};
use rain_events::seconds_since_1970;
use serde_json::{Value, json};
use std::fmt::Write;

/// Items of an answer, at most.
const PAGE: u32 = 1000;
const TASK_COLUMNS: [&str; 9] = ["id", "session", "name", "kind", "state", "governor", "slot", "seconds", "error_line"];

/// The items under `key` of one answer after the other, until there are `limit`, and whether there are more. `path` has been given the
/// parameters that are to be had each time.
fn pages(
    seen: &mut Seen,
    path: &str,
    key: &str,
    limit: usize,
    parameters: &[(&str, Option<String>)],
) -> Result<(Vec<Value>, Option<u64>), LookupError> {
    let mut items = Vec::new();
    let mut total = None;
    let mut after = None;
    while items.len() < limit {
        let left = u32::try_from(limit - items.len()).unwrap_or(PAGE).min(PAGE);
        let mut asked = parameters.to_vec();
        asked.extend([("limit", Some(left.to_string())), ("after", after.clone())]);
        let mut answer = seen.view(path, &asked)?;
        total = total.or(answer["total"].as_u64());
        if let Value::Array(some) = answer[key].take() {
            items.extend(some);
        }
        after = answer["next"].as_str().map(str::to_owned);
        if after.is_none() {
            total = total.or(Some(items.len() as u64));
            break;
        }
    }
    Ok((items, total))
}

/// What is said below a list.
fn shown_of(shown: usize, total: Option<u64>, what: &str) -> String {
    match total {
        Some(1) if shown == 1 => format!("\n1 {}\n", what.trim_end_matches('s')),
        Some(total) if total == shown as u64 => format!("{}{shown} {what}\n", if shown > 0 { "\n" } else { "" }),
        Some(total) => format!("\n{shown} of {total} {what}: --limit=N lists more\n"),
        None => format!("\nthe first {shown} {what}: --limit=N lists more\n"),
    }
}

/// `rain sessions`; the text to be printed.
///
/// # Errors
/// When there is no server or no good answer.
pub fn sessions(args: &SessionsArgs) -> Result<String, LookupError> {
    let mut seen = Seen::open(&args.which)?;
    let state = [("state", args.state.clone())];
    let (sessions, total) = pages(&mut seen, "sessions", "sessions", args.limit as usize, &state)?;
    if args.json {
        return Ok(json(&json!({"sessions": sessions, "total": total})));
    }
    let now = seconds_since_1970();
    let rows: Vec<Value> = sessions.iter().map(|session| session_row(session, now)).collect();
    let mut text = String::new();
    let columns =
        ["id", "name", "state", "waiting", "ready", "running", "finished", "failed", "cancelled", "begun", "error"];
    list(&mut text, "session", &rows, &columns);
    text += &shown_of(sessions.len(), total, "sessions");
    Ok(text.trim_start_matches('\n').to_owned())
}

/// A session with its counts beside it.
pub fn session_row(session: &Value, now_s: f64) -> Value {
    let mut row = session.clone();
    if let Value::Object(counts) = session["tasks"].clone() {
        counts.into_iter().for_each(|(state, count)| row[state] = count);
    }
    row["age"] = json!(session["created"].as_f64().map(|created| duration(now_s - created)));
    row["begun"] = json!(session["created"].as_f64().map(|created| ago(now_s - created)));
    row["error"] = json!(session["error"].as_str().map(line));
    row
}

/// `rain tasks`; the text to be printed.
///
/// # Errors
/// When there is no server, no such session, or no good answer.
pub fn tasks(args: &TasksArgs) -> Result<String, LookupError> {
    let mut seen = Seen::open(&args.which)?;
    let sessions = match args.tasks.session {
        Some(session) => vec![u64::from(session)],
        None => {
            let (sessions, _) = pages(&mut seen, "sessions", "sessions", usize::MAX, &[])?;
            sessions.iter().filter_map(|session| session["id"].as_u64()).collect()
        }
    };
    let parameters = [
        ("state", args.tasks.state.clone()),
        ("name", args.tasks.name.clone()),
        ("governor", args.governor.map(|governor| governor.to_string())),
        ("sort", args.sort.clone()),
    ];
    let limit = args.limit as usize;
    let mut rows: Vec<Value> = Vec::new();
    let mut total = Some(0);
    for session in sessions {
        let path = format!("sessions/{session}/tasks");
        // Past the limit, the sessions that are left are counted only.
        let left = limit.saturating_sub(rows.len());
        let (tasks, count) = pages(&mut seen, &path, "tasks", left.max(1), &parameters)?;
        total = total.zip(count).map(|(all, of_session)| all + of_session);
        rows.extend(tasks.into_iter().take(left).map(|mut task| {
            task["session"] = json!(session);
            task
        }));
        if rows.len() >= limit && total.is_none() {
            break;
        }
    }
    if args.json {
        return Ok(json(&json!({"tasks": rows, "total": total})));
    }
    let shown: Vec<Value> = rows.iter().map(short).collect();
    let mut text = String::new();
    list(&mut text, "task", &shown, &TASK_COLUMNS);
    text += &shown_of(rows.len(), total, "tasks");
    Ok(text.trim_start_matches('\n').to_owned())
}

/// `rain governors`; the text to be printed.
///
/// # Errors
/// When there is no server or no good answer.
pub fn governors(args: &GovernorsArgs) -> Result<String, LookupError> {
    let mut seen = Seen::open(&args.which)?;
    let answer = seen.view("governors", &[])?;
    if args.json {
        return Ok(json(&answer));
    }
    let rows: Vec<Value> = answer["governors"].as_array().into_iter().flatten().map(governor_row).collect();
    let mut text = String::new();
    let columns = ["id", "host", "state", "cpus", "running", "load", "memory", "tasks", "reason"];
    list(&mut text, "governor", &rows, &columns);
    text += &shown_of(rows.len(), Some(rows.len() as u64), "governors");
    Ok(text.trim_start_matches('\n').to_owned())
}

/// A governor with its figures as people read them.
pub fn governor_row(governor: &Value) -> Value {
    let mut row = governor.clone();
    row["load"] = json!(governor["load"].as_f64().map(|load| format!("{:.0} %", load * 100.0)));
    row["memory"] = json!(governor["memory"].as_f64().map(bytes));
    row["reason"] = json!(governor["reason"].as_str().map(line));
    row
}

/// Appends how many tasks there are of each state that has some.
pub fn counts(text: &mut String, tasks: &Value) {
    let states = ["running", "ready", "waiting", "finished", "failed", "skipped", "cancelled", "lost"];
    let some = states.iter().filter_map(|state| Some((state, tasks[state].as_u64().filter(|count| *count > 0)?)));
    let some: Vec<String> = some.map(|(state, count)| format!("{count} {state}")).collect();
    let _ = write!(text, "{}", if some.is_empty() { "none".to_owned() } else { some.join(", ") });
}
