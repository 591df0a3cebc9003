//! `rain status`.

use crate::cli::StatusArgs;
use crate::seen::Seen;
use crate::status::{LookupError, Summary, ago, cell, line, list, rows};
use rain_events::seconds_since_1970;
use serde_json::{Value, json};
use std::fmt::Write;

/// Asks the server for its status; the text to be printed.
///
/// # Errors
/// When there is no server or no answer.
pub fn run(args: &StatusArgs) -> Result<String, LookupError> {
    let mut seen = Seen::open(&args.which)?;
    let mut status = seen.status()?;
    // A server of an earlier release knows no such question.
    let page = seen.view("dashboard", &[]).map_or(Value::Null, |mut page| page["link"].take());
    if args.json {
        status["dashboard"] = page;
        return Ok(format!("{status}\n"));
    }
    Ok(table(&status) + &page.as_str().map(|page| format!("\nlook  {page}\n")).unwrap_or_default())
}

fn table(status: &Value) -> String {
    let mut text = format!("{}, clients: {}\n", Summary::new(status), cell(&status["clients"]));
    let governor_columns = [
        "id",
        "host",
        "cpus",
        "state",
        "tasks_waiting",
        "tasks_running",
        "tasks_unfinished",
        "tasks_finished",
        "resources",
    ];
    let governors: Vec<Value> = rows(status, "governors").iter().map(with_resources_in_words).collect();
    list(&mut text, "governor", &governors, &governor_columns);
    let now = seconds_since_1970();
    let lost = rows(status, "governors_lost").iter().map(|governor| {
        let mut row = governor.clone();
        row["reason"] = json!(governor["reason"].as_str().map(line));
        row["lost"] = json!(governor["lost"].as_f64().map(|lost| ago(now - lost)));
        row
    });
    list(&mut text, "lost governor", &lost.collect::<Vec<_>>(), &["id", "host", "lost", "reason"]);
    list(&mut text, "session", rows(status, "sessions"), &["id", "name", "client", "tasks", "finished", "state"]);
    let listed = rows(status, "sessions").len() as u64;
    if let Some(more) =
        status["sessions_open"].as_u64().and_then(|all| all.checked_sub(listed)).filter(|more| *more > 0)
    {
        let _ = writeln!(text, "and {more} more sessions");
    }
    if let Some(error) = status["event_log"]["error"].as_str() {
        let _ = writeln!(text, "no event log: {}", line(error));
    }
    text
}

/// A governor whose resources are one text: what is free of each, and how much there is.
fn with_resources_in_words(governor: &Value) -> Value {
    const GIBIBYTE: f64 = (1u64 << 30) as f64;
    let mut governor = governor.clone();
    let Some(resources) = governor["resources"].as_object() else { return governor };
    let word = |(name, resource): (&String, &Value)| {
        let [free, total] = ["free", "total"].map(|key| resource[key].as_f64().unwrap_or_default());
        if name == rain_model::resources::MEMORY {
            return format!("{name} {:.1}/{:.1} GiB", free / GIBIBYTE, total / GIBIBYTE);
        }
        format!("{name} {free}/{total}")
    };
    let words: Vec<String> = resources.iter().map(word).collect();
    governor["resources"] = format!("{} free", words.join(", ")).into();
    governor
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Value {
        json!({
            "pid": 7, "version": "0.1.0", "listen": "127.0.0.1:7210", "started": 1000.0, "clients": 1,
            "governors": [
                {"id": 0, "cpus": 4, "tasks_waiting": 1, "tasks_running": 2, "tasks_finished": 300},
                {"id": 1, "cpus": 2, "tasks_waiting": 0, "tasks_running": 0, "tasks_finished": 0}],
            "sessions": [{"id": 0, "name": "iris\u{1b}[2J", "client": 3, "tasks": 5, "finished": 2, "state": "open"}]
        })
    }

    #[test]
    fn the_table_is_aligned_and_safe_for_terminals() {
        let text = table(&example());
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("Rain 0.1.0 on 127.0.0.1:7210, pid 7, since "), "{text}");
        assert!(lines[0].ends_with("governors: 2, cpus: 6, clients: 1"), "{text}");
        assert_eq!(lines[2], "governor  cpus  waiting  running  finished");
        assert_eq!(lines[3], "0         4     1        2        300");
        assert_eq!(lines[6], "session  name      client  tasks  finished  state");
        assert_eq!(lines[7], "0        iris?[2J  3       5      2         open");
        assert_eq!(table(&json!({})).lines().count(), 1);
    }

    #[test]
    fn what_is_free_of_resources_is_shown() {
        let gpus = json!({"free": 0.5, "total": 2.0, "labels": ["0", "1"]});
        let memory = json!({"free": 1_610_612_736.0, "total": 4_294_967_296.0});
        let governor = json!({"id": 0, "cpus": 4, "resources": {"gpus": gpus, "memory": memory}});
        let text = table(&json!({"governors": [governor]}));
        assert_eq!(text.lines().nth(3).unwrap(), "0         4     gpus 0.5/2, memory 1.5/4.0 GiB free");
    }

    #[test]
    fn names_of_any_length_and_script_stay_in_their_column() {
        let session = |name: &str| json!({"id": 1, "name": name, "tasks": 5});
        let names = ["x".repeat(70_000), "漢字".to_owned(), "e\u{301}a\u{202e}b\nc".to_owned(), "plain".to_owned()];
        let sessions: Vec<Value> = names.iter().map(|name| session(name)).collect();
        let text = table(&json!({"sessions": sessions, "sessions_open": 1004}));
        let lines: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(lines[1], format!("1        {}…  5", "x".repeat(59)));
        assert_eq!(lines[2], format!("1        漢字{}  5", " ".repeat(56)));
        assert_eq!(lines[3], format!("1        e\u{301}a?b?c{}  5", " ".repeat(54)));
        assert_eq!(lines[4], format!("1        plain{}  5", " ".repeat(55)));
        assert_eq!(lines[5], "and 1000 more sessions");
    }

    #[test]
    fn lost_governors_are_named_with_their_machines_and_reasons() {
        let lost = json!({"id": 3, "host": "node3", "reason": "nothing was heard of it\nfor long", "lost": 0.0});
        let text = table(&json!({"governors": [{"id": 0, "host": "node0", "cpus": 4}], "governors_lost": [lost]}));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines[2], lines[3]), ("governor  host   cpus", "0         node0  4"));
        assert!(lines[5].starts_with("lost governor  host   lost"), "{text}");
        assert!(
            lines[6].starts_with("3              node3") && lines[6].ends_with("nothing was heard of it"),
            "{text}"
        );
    }
}
