//! What others are given of a log: traces and pages.

use rain_events::Log;
use rain_events::made_up::{self, Plan};
use serde_json::Value;
use std::collections::HashMap;

fn log() -> (tempfile::TempDir, Log) {
    let directory = tempfile::tempdir().unwrap();
    made_up::write(&directory.path().join(rain_events::FILE_NAME), &Plan::default()).unwrap();
    let log = Log::open(directory.path()).unwrap();
    (directory, log)
}

#[test]
fn a_trace_has_each_task_on_the_track_of_its_slot_and_none_overlap() {
    let (_directory, log) = log();
    let mut bytes = Vec::new();
    log.write_trace(None, &mut bytes).unwrap();
    let trace: Value = serde_json::from_slice(&bytes).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let slices: Vec<&Value> = events.iter().filter(|event| event["ph"] == "X").collect();
    assert_eq!(slices.len(), 3000 + 5 + 1 + 2);
    let mut tracks: HashMap<(u64, u64), Vec<(f64, f64)>> = HashMap::new();
    for slice in slices.iter().filter(|slice| slice["args"]["session"] == 1) {
        let track = (slice["pid"].as_u64().unwrap(), slice["tid"].as_u64().unwrap());
        tracks.entry(track).or_default().push((slice["ts"].as_f64().unwrap(), slice["dur"].as_f64().unwrap()));
    }
    assert_eq!(tracks.len(), 8);
    for times in tracks.values_mut() {
        times.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert!(times.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0 + 2.0), "tasks of a slot overlap");
    }
    assert!(events.iter().any(|event| event["name"] == "thread_name" && event["args"]["name"] == "worker 3"));
    assert!(events.iter().any(|event| event["ph"] == "C" && event["name"] == "cpu"));
    let mut one = Vec::new();
    log.write_trace(Some(4), &mut one).unwrap();
    let trace: Value = serde_json::from_slice(&one).unwrap();
    assert_eq!(trace["traceEvents"].as_array().unwrap().iter().filter(|event| event["ph"] == "X").count(), 5);
    assert!(log.write_trace(Some(77), &mut one).is_err());
}

#[test]
fn a_page_shows_names_as_they_are_and_asks_nobody() {
    let (_directory, log) = log();
    let page = log.report().unwrap();
    assert!(page.contains("ZeroDivisionError: division by zero") && page.contains("line 12, in divide"));
    assert!(page.contains("iris &lt;cross validation&gt;") && page.contains("&lt;script&gt;alert(1)&lt;"));
    for wrong in ["<script", "<img", "\u{1b}", "\u{202e}", "http://", "https://", "src=", "href="] {
        let found = page.matches(wrong).count();
        let shown = page.matches("&lt;img src=x").count();
        assert_eq!(found, if wrong == "src=" { shown } else { 0 }, "{wrong}");
    }
    assert_eq!(page.matches("<svg").count(), 2);
}
