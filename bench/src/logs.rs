//! The event log alone: how quickly it is written, how large it is, and how long questions take.

use crate::row::{Row, print};
use rain_events::made_up::{self, Plan};
use rain_events::questions::{
    EventQuery, GraphQuery, ObjectQuery, Page, Range, StreamQuery, TaskQuery, ThroughputQuery,
};
use rain_events::{EventLog, FILE_NAME, Log, ServerFacts};
use std::path::Path;
use std::time::{Instant, SystemTime};

/// Bytes that the log of a measurement may take.
const BYTES_MAX: u64 = 8 << 30;

/// The time of day, seconds since 1970.
pub fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs_f64()
}

/// Begins a log in a directory that is made.
pub fn start(directory: &Path) -> EventLog {
    std::fs::create_dir_all(directory).expect("a directory for the log");
    let server = ServerFacts { started: now(), ..ServerFacts::default() };
    EventLog::start(directory, BYTES_MAX, server, true).expect("a thread for the log")
}

/// Writes a log of about so many tasks, and asks it everything.
pub fn measure(tasks: u32) {
    let directory = std::env::temp_dir().join(format!("rain-bench-logs-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory for the log");
    let path = directory.join(FILE_NAME);
    let plan = Plan { tasks, governors: 4, cpus: 8, duration: 0.01, ..Plan::default() };
    let start = Instant::now();
    made_up::write(&path, &plan).expect("the log is written");
    let seconds = start.elapsed().as_secs_f64();
    let bytes = std::fs::metadata(&path).expect("the log is there").len();
    let row = |what: &str, value, unit| print(&Row::one(format!("event log, {tasks} tasks: {what}"), value, unit));
    row("finished tasks written a second", f64::from(tasks) / seconds, "1/s");
    row("bytes a finished task", bytes as f64 / f64::from(tasks), "B");
    let log = Log::open(&path).expect("the log is read");
    let ask = |what: &str, question: &dyn Fn()| {
        for which in ["first", "second"] {
            let start = Instant::now();
            question();
            row(&format!("{what} ({which} time)"), start.elapsed().as_secs_f64() * 1e3, "ms");
        }
    };
    let good = "the log is read";
    let task_query = |change: &dyn Fn(&mut TaskQuery)| {
        let mut query = TaskQuery::default();
        change(&mut query);
        drop(log.tasks(1, &query).expect(good));
    };
    ask("status", &|| drop(log.status().expect(good)));
    ask("sessions", &|| drop(log.sessions(&Page::default()).expect(good)));
    ask("session", &|| drop(log.session(1).expect(good)));
    ask("tasks", &|| task_query(&|_| {}));
    ask("tasks from the middle", &|| task_query(&|query| query.after = Some((tasks / 2).to_string())));
    ask("tasks of a name", &|| task_query(&|query| query.name = Some("main/score".into())));
    ask("failed tasks", &|| task_query(&|query| query.state = Some("failed".into())));
    ask("finished tasks of a governor", &|| task_query(&|query| query.governor = Some(2)));
    ask("longest tasks", &|| task_query(&|query| query.sort = Some("-seconds".into())));
    ask("task", &|| drop(log.task(1, tasks / 2 + 5).expect(good)));
    ask("graph", &|| drop(log.graph(1, &GraphQuery { group: Some("main".into()) }).expect(good)));
    ask("graph of tasks", &|| drop(log.graph(1, &GraphQuery { group: Some("main/load".into()) }).expect(good)));
    ask("objects", &|| drop(log.objects(1, &ObjectQuery::default()).expect(good)));
    ask("governors", &|| drop(log.governors().expect(good)));
    ask("samples", &|| drop(log.samples(0, &Range::default()).expect(good)));
    ask("stream", &|| drop(log.stream(&StreamQuery::default()).expect(good)));
    let part = StreamQuery { from: Some(plan.start + 10.0), to: Some(plan.start + 20.0), ..StreamQuery::default() };
    ask("stream of ten seconds", &|| drop(log.stream(&part).expect(good)));
    ask("throughput", &|| drop(log.throughput(&ThroughputQuery::default()).expect(good)));
    let one = ThroughputQuery { session: Some(1), ..ThroughputQuery::default() };
    ask("throughput of a session", &|| drop(log.throughput(&one).expect(good)));
    ask("events", &|| drop(log.events(&EventQuery::default()).expect(good)));
    let _ = std::fs::remove_dir_all(directory);
}
