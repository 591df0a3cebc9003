//! Figures for Prometheus, in its text format.

use serde_json::Value;
use std::fmt::Write;

/// One measure: its name, type, description, and where the status has it.
const OF_STATUS: [(&str, &str, &str, &str); 8] = [
    ("rain_governors", "gauge", "Governors that are alive", "/governors"),
    ("rain_cpus", "gauge", "Cpus of all governors", "/cpus"),
    ("rain_sessions_open", "gauge", "Sessions that are open", "/sessions/open"),
    ("rain_tasks_per_second", "gauge", "Tasks finished a second, over the last seconds", "/rate"),
    ("rain_start_time_seconds", "gauge", "When the server started, seconds since 1970", "/server/started"),
    ("rain_log_bytes", "gauge", "Bytes of the event log", "/log/bytes"),
    ("rain_log_dropped_samples_total", "counter", "Samples that the log left out under load", "/log/dropped_samples"),
    ("rain_log_folded_tasks_total", "counter", "Finished tasks that the log has only counted", "/log/folded_tasks"),
];

/// A measure of each governor: its name, description, and the field.
const OF_GOVERNORS: [(&str, &str, &str); 7] = [
    ("rain_governor_cpus", "Cpus of the governor", "cpus"),
    ("rain_governor_running_tasks", "Tasks that run there", "running"),
    ("rain_governor_load_ratio", "Part of its processors that is busy", "load"),
    ("rain_governor_memory_bytes", "Memory in use there", "memory"),
    ("rain_governor_memory_budget_bytes", "Memory that it may use", "memory_budget"),
    ("rain_governor_spilled_bytes", "Data written to disk for lack of memory", "spilled"),
    ("rain_governor_finished_tasks", "Tasks finished there", "tasks"),
];

/// A value of a label: quotes, backslashes and line ends are escaped.
fn label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// The page `/metrics`, from the answers for the status and the governors.
pub(crate) fn page(status: &Value, governors: &Value) -> String {
    let mut text = String::new();
    head(&mut text, "rain_tasks", "gauge", "Tasks by state");
    for (state, count) in status["tasks"].as_object().into_iter().flatten() {
        let _ = writeln!(text, "rain_tasks{{state=\"{}\"}} {count}", label(state));
    }
    for (name, kind, help, at) in OF_STATUS {
        if let Some(value) = status.pointer(at).filter(|value| value.is_number()) {
            head(&mut text, name, kind, help);
            let _ = writeln!(text, "{name} {value}");
        }
    }
    let alive: Vec<&Value> = governors["governors"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|governor| governor["state"] == "alive" || governor["state"] == "suspect")
        .collect();
    for (name, help, field) in OF_GOVERNORS {
        let measured: Vec<&&Value> = alive.iter().filter(|governor| governor[field].is_number()).collect();
        if measured.is_empty() {
            continue;
        }
        head(&mut text, name, "gauge", help);
        for governor in measured {
            let host = label(governor["host"].as_str().unwrap_or_default());
            let _ = writeln!(text, "{name}{{governor=\"{}\",host=\"{host}\"}} {}", governor["id"], governor[field]);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn hosts_cannot_add_lines_and_what_is_not_known_is_left_out() {
        let status = json!({"tasks": {"finished": 7, "running": 1}, "cpus": 4, "rate": 2.5, "log": null});
        let governors = json!({"governors": [
            {"id": 0, "host": "a\"b\\c\nd", "state": "alive", "cpus": 4, "load": null},
            {"id": 1, "host": "gone", "state": "lost", "cpus": 4},
        ]});
        let expected = "\
            # HELP rain_tasks Tasks by state\n# TYPE rain_tasks gauge\n\
            rain_tasks{state=\"finished\"} 7\nrain_tasks{state=\"running\"} 1\n\
            # HELP rain_cpus Cpus of all governors\n# TYPE rain_cpus gauge\nrain_cpus 4\n\
            # HELP rain_tasks_per_second Tasks finished a second, over the last seconds\n\
            # TYPE rain_tasks_per_second gauge\nrain_tasks_per_second 2.5\n\
            # HELP rain_governor_cpus Cpus of the governor\n# TYPE rain_governor_cpus gauge\n\
            rain_governor_cpus{governor=\"0\",host=\"a\\\"b\\\\c\\nd\"} 4\n";
        assert_eq!(page(&status, &governors), expected);
    }
}
