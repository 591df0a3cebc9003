//! What the API answers from logs, against its own description.

use super::*;
use crate::live_views::LiveViews;
use crate::server_views::ServerViews;
use crate::tests::{ask, ask_json, post_filter, start_with};
use rain_events::made_up::{self, HOSTILE_NAMES};
use rain_events::{EventLog, ServerFacts};
use serde_json::{Value, json};
use std::sync::Arc;

/// Serves a log that was made up; the directory goes with the first.
fn start_made_up(ends: bool) -> (tempfile::TempDir, u16) {
    let directory = tempfile::tempdir().unwrap();
    let plan = made_up::Plan { ends, ..made_up::Plan::default() };
    made_up::write(&directory.path().join(rain_events::FILE_NAME), &plan).unwrap();
    let port = start_with(Arc::new(LogViews::new(directory.path().to_owned())));
    (directory, port)
}

/// Why a value is not as a schema of the description says, if it is not.
fn unlike(whole: &Value, schema: &Value, value: &Value, at: &str) -> Option<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        return unlike(whole, whole.pointer(&reference[1..]).unwrap(), value, at);
    }
    if let Some(any) = schema["anyOf"].as_array() {
        let found: Vec<String> = any.iter().map_while(|one| unlike(whole, one, value, at)).collect();
        return (found.len() == any.len()).then(|| found.join(", or "));
    }
    let is = |kind: &str| match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("{other}"),
    };
    let fits = match &schema["type"] {
        Value::Null => true,
        Value::String(kind) => is(kind),
        kinds => kinds.as_array().unwrap().iter().any(|kind| is(kind.as_str().unwrap())),
    };
    if !fits {
        return Some(format!("{at} is {value}, not {}", schema["type"]));
    }
    if schema["enum"].as_array().is_some_and(|allowed| !allowed.contains(value)) {
        return Some(format!("{at} is {value}, none of {}", schema["enum"]));
    }
    if let Some(list) = value.as_array() {
        if schema["minItems"].as_u64().is_some_and(|length| list.len() as u64 != length) {
            return Some(format!("{at} has {} items", list.len()));
        }
        return list
            .iter()
            .enumerate()
            .find_map(|(index, one)| unlike(whole, &schema["items"], one, &format!("{at}[{index}]")));
    }
    let missing =
        schema["required"].as_array().into_iter().flatten().find(|key| value.get(key.as_str().unwrap()).is_none());
    if let Some(key) = missing {
        return Some(format!("{at} has no {key}"));
    }
    let properties = schema["properties"].as_object().into_iter().flatten();
    properties.filter_map(|(key, of)| unlike(whole, of, value.get(key)?, &format!("{at}.{key}"))).next()
}

#[test]
fn answers_are_as_described() {
    for ends in [true, false] {
        let (_directory, port) = start_made_up(ends);
        let whole: Value = serde_json::from_str(&ask(port, "GET /api/v1/openapi.json").1).unwrap();
        let ids: Vec<u64> = ask_json(port, "GET /api/v1/sessions").1["sessions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|session| session["id"].as_u64().unwrap())
            .collect();
        assert_eq!(ids.len(), 5);
        for (path, methods) in whole["paths"].as_object().unwrap() {
            let schema = &methods["get"]["responses"]["200"]["content"]["application/json"]["schema"];
            if schema.is_null() {
                continue;
            }
            for id in &ids {
                for task in [0, 1, 7] {
                    let asked = path
                        .replace("{session}", &id.to_string())
                        .replace("{governor}", "0")
                        .replace("{task}", &task.to_string());
                    let (status, answer) = ask_json(port, &format!("GET {asked}"));
                    if status == 404 && path.ends_with("{task}") {
                        continue;
                    }
                    assert_eq!(status, 200, "{asked}: {answer}");
                    assert_eq!(unlike(&whole, schema, &answer, &asked), None);
                }
            }
        }
        let (_, status) = ask_json(port, "GET /api/v1/status");
        // Who has written it, this process, still runs.
        assert_eq!(status["state"], if ends { "finished" } else { "running" });
    }
}

#[test]
fn a_failed_session_and_its_task_are_found() {
    let (_directory, port) = start_made_up(true);
    let (_, failed) = ask_json(port, "GET /api/v1/sessions?state=failed");
    let [session] = failed["sessions"].as_array().unwrap().as_slice() else { panic!("{failed}") };
    let (_, rows) = ask_json(port, &format!("GET /api/v1/sessions/{}/tasks?state=failed", session["id"]));
    assert_eq!(rows["tasks"].as_array().unwrap().len(), 1, "{rows}");
    let row = &rows["tasks"][0];
    let (_, task) = ask_json(port, &format!("GET /api/v1/sessions/{}/tasks/{}", session["id"], row["id"]));
    assert!(task["error"].as_str().unwrap().contains("Traceback"), "{task}");
    assert!(task["error"].as_str().unwrap().contains(row["error_line"].as_str().unwrap()), "{task} {row}");
}

#[test]
fn lists_go_on_where_they_ended_and_each_task_comes_once() {
    let (_directory, port) = start_made_up(true);
    let (_, sessions) = ask_json(port, "GET /api/v1/sessions");
    let large =
        sessions["sessions"].as_array().unwrap().iter().max_by_key(|one| one["tasks"]["finished"].as_u64()).unwrap();
    let mut seen = Vec::new();
    let mut after = String::new();
    loop {
        let (_, page) = ask_json(port, &format!("GET /api/v1/sessions/{}/tasks?limit=1000{after}", large["id"]));
        seen.extend(page["tasks"].as_array().unwrap().iter().map(|task| task["id"].as_u64().unwrap()));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    let all: u64 = large["tasks"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(seen, (0..all).collect::<Vec<u64>>());
}

#[test]
fn names_come_as_they_were_given() {
    let (_directory, port) = start_made_up(true);
    let (_, body) = ask(port, "GET /api/v1/sessions");
    let names: Vec<String> = serde_json::from_str::<Value>(&body).unwrap()["sessions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|session| session["name"].as_str().unwrap().to_owned())
        .collect();
    assert!(names.contains(&HOSTILE_NAMES.concat()), "{names:?}");
}

#[test]
fn what_is_asked_wrongly_is_refused_and_the_log_goes_on() {
    let (_directory, port) = start_made_up(true);
    for (line, message) in [
        ("sessions?limit=x", "parameter"),
        ("sessions?colour=red", "colour"),
        ("sessions/0/tasks?state=blue", "blue"),
        ("sessions/0/tasks?sort=colour", "colour"),
        ("sessions/0/tasks?after=x", "x"),
        ("stream?from=x", "parameter"),
    ] {
        let (status, answer) = ask_json(port, &format!("GET /api/v1/{line}"));
        assert_eq!(status, 400, "{line}: {answer}");
        assert!(answer["error"]["message"].as_str().unwrap().contains(message), "{line}: {answer}");
    }
    assert_eq!(ask_json(port, "GET /api/v1/sessions/4000000000").0, 404);
    assert_eq!(ask_json(port, "GET /api/v1/sessions/4000000000/tasks").0, 404);
    assert_eq!(ask_json(port, "GET /api/v1/governors/4000000000/samples").0, 404);
    assert_eq!(ask_json(port, "GET /api/v1/status").0, 200);
}

#[test]
fn a_server_whose_log_cannot_be_written_is_shown_all_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("no directory");
    std::fs::write(&file, "a file").unwrap();
    let facts = ServerFacts { name: String::new(), version: "0.1.0".to_owned(), address: "a".to_owned(), started: 1.0 };
    let log = EventLog::start(&file, 1 << 30, facts, false).unwrap();
    let reply =
        json!({"version": "0.1.0", "listen": "a", "started": 1.0, "governors": [], "sessions_open": 0, "sessions": []});
    let server = ServerViews::new(Arc::new(move |answer| answer(reply.to_string())));
    let port = start_with(Arc::new(LiveViews::new(log.handle(), server)));
    while log.handle().status().error.is_none() {
        std::thread::yield_now();
    }
    let (status, answer) = ask_json(port, "GET /api/v1/status");
    assert_eq!((status, &answer["server"]["address"]), (200, &json!("a")));
    assert_eq!(answer["log"]["error"].as_str(), log.handle().status().error.as_deref());
    let (status, answer) = ask_json(port, "GET /api/v1/sessions/0/tasks");
    assert_eq!((status, &answer["error"]["code"]), (503, &json!("unavailable")));
}

#[test]
fn a_server_that_writes_its_log_is_shown_from_it() {
    let directory = tempfile::tempdir().unwrap();
    let facts = ServerFacts { name: String::new(), version: "0.1.0".to_owned(), address: "a".to_owned(), started: 1.0 };
    let log = EventLog::start(directory.path(), 1 << 30, facts, false).unwrap();
    let server = ServerViews::new(Arc::new(|_| panic!("the log has the answer")));
    let views = LiveViews::new(log.handle(), server);
    while views.log.check().is_err() {
        std::thread::yield_now();
    }
    let port = start_with(Arc::new(views));
    let (status, answer) = ask_json(port, "GET /api/v1/status");
    assert_eq!((status, &answer["state"], &answer["log"]["error"]), (200, &json!("running"), &Value::Null));
}

#[test]
fn filters_of_the_first_rain_are_understood() {
    let (_directory, port) = start_made_up(true);
    let filter =
        json!({"event_types": [{"value": "SessionNew", "mode": "="}, {"value": "SessionClosed", "mode": "="}]});
    let (status, events) = post_filter(port, &filter.to_string());
    assert_eq!(status, 200, "{events}");
    let events: Vec<Value> = serde_json::from_str(&events).unwrap();
    let types: Vec<&str> = events.iter().map(|event| event["event"]["type"].as_str().unwrap()).collect();
    assert_eq!(types.iter().filter(|name| **name == "SessionNew").count(), 5);
    assert!(types.iter().all(|name| ["SessionNew", "SessionClosed"].contains(name)), "{types:?}");
    assert!(
        events
            .iter()
            .all(|event| event["id"].is_u64() && event["event"]["session"].is_u64() && event["time"].is_string())
    );
    for wrong in ["", "[]", "{\"colour\": 1}", "{\"session\": {\"value\": \"x\"}}"] {
        let (status, answer) = post_filter(port, wrong);
        assert_eq!(status, 400, "{wrong}: {answer}");
    }
}

#[test]
fn a_log_that_cannot_be_read_is_said_and_read_once_it_can_be() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join(rain_events::FILE_NAME);
    let views = LogViews::new(directory.path().to_owned());
    assert!(matches!(views.check(), Err(LogError::Missing(_))));
    let port = start_with(Arc::new(views));
    let message = |line: &str| {
        let (status, answer) = ask_json(port, line);
        assert_eq!(status, 503, "{answer}");
        answer["error"]["message"].as_str().unwrap().to_owned()
    };
    assert!(message("GET /api/v1/status").contains("there is no event log"));
    std::fs::write(
        &file,
        "no log at all, but as long as the head of one is in any case: 100 bytes and some more, so that it is read"
            .repeat(9),
    )
    .unwrap();
    assert!(message("GET /api/v1/status").contains("no event log of Rain"));
    std::fs::remove_file(&file).unwrap();
    made_up::write(&file, &made_up::Plan::default()).unwrap();
    assert_eq!(ask_json(port, "GET /api/v1/status").0, 200);
}
