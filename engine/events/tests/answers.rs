//! What a log of a run that never was answers.

use rain_events::answers::{GraphLevel, LogState, TaskState};
use rain_events::made_up::{self, Plan};
use rain_events::questions::{
    EventQuery, GraphQuery, ObjectQuery, OldFilter, Page, Range, StreamQuery, TaskQuery, ThroughputQuery,
};
use rain_events::{Log, LogError};
use tempfile::TempDir;

fn log(plan: &Plan) -> (TempDir, Log) {
    let directory = tempfile::tempdir().unwrap();
    made_up::write(&directory.path().join(rain_events::FILE_NAME), plan).unwrap();
    let log = Log::open(directory.path()).unwrap();
    (directory, log)
}

#[test]
fn the_whole_is_told_at_a_glance() {
    let (_directory, log) = log(&Plan::default());
    let status = log.status().unwrap();
    assert_eq!((status.state, status.governors, status.cpus), (LogState::Finished, 2, 8));
    assert_eq!((status.sessions.open, status.sessions.failed, status.sessions.closed), (1, 1, 3));
    assert_eq!((status.tasks.finished, status.tasks.failed), (3000 + 1 + 5, 1));
    assert_eq!(status.tasks.cancelled, 2 + 10 + 1);
    assert_eq!(status.tasks.open(), 0);
    assert!(status.sequence > 50 && status.log.bytes > 10_000, "{status:?}");
}

#[test]
fn sessions_come_newest_first_and_in_pages() {
    let (_directory, log) = log(&Plan::default());
    let all = log.sessions(&Page::default()).unwrap();
    assert_eq!(all.sessions.iter().map(|session| session.id).collect::<Vec<_>>(), [5, 4, 3, 2, 1]);
    let first = log.sessions(&Page { limit: Some(2), ..Page::default() }).unwrap();
    let rest = log.sessions(&Page { limit: Some(5), after: first.next.clone(), ..Page::default() }).unwrap();
    assert_eq!([first.sessions, rest.sessions].concat(), all.sessions);
    let failed = log.sessions(&Page { state: Some("failed".to_owned()), ..Page::default() }).unwrap();
    assert_eq!(failed.sessions.len(), 1);
    assert!(failed.sessions[0].error.as_ref().unwrap().contains("ZeroDivisionError"));
    assert!(matches!(log.sessions(&Page { state: Some("x".into()), ..Page::default() }), Err(LogError::Request(_))));
    assert!(matches!(log.sessions(&Page { after: Some("x".into()), ..Page::default() }), Err(LogError::Request(_))));
}

#[test]
fn groups_of_names_add_up() {
    let (_directory, log) = log(&Plan::default());
    let session = log.session(1).unwrap().unwrap();
    let groups: Vec<(&str, u32, u64)> =
        session.groups.iter().map(|group| (group.name.as_str(), group.depth, group.tasks.finished)).collect();
    assert_eq!(
        groups,
        [
            ("main", 1, 3000),
            ("main/load", 2, 1500),
            ("main/score", 2, 750),
            ("main/training", 2, 750),
            ("main/training/fold1", 3, 750)
        ]
    );
    assert!((session.session.seconds - session.groups[0].seconds).abs() < 1e-6);
    assert!(session.session.bytes > 3000 * 8);
    assert!(log.session(99).unwrap().is_none());
}

#[test]
fn tasks_are_filtered_sorted_and_paged() {
    let (_directory, log) = log(&Plan::default());
    let ask = |query: TaskQuery| log.tasks(1, &query).unwrap().unwrap();
    let all = ask(TaskQuery::default());
    assert_eq!((all.total, all.tasks.len(), all.next.as_deref()), (Some(3000), 100, Some("100")));
    let task = &all.tasks[7];
    assert_eq!((task.id, task.name.as_str(), task.kind.as_str()), (7, "main/load", "buildin/load"));
    assert_eq!((task.state, task.attempts), (TaskState::Finished, 1));
    assert!(task.submitted <= task.ready.unwrap() && task.started.unwrap() < task.finished.unwrap());
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page =
            ask(TaskQuery { name: Some("main/training/".into()), limit: Some(200), after, ..Default::default() });
        assert_eq!(page.total, Some(750));
        seen.extend(page.tasks.iter().map(|task| task.id));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, (1500..2250).collect::<Vec<_>>());
    let longest = ask(TaskQuery { sort: Some("-seconds".into()), limit: Some(20), ..Default::default() });
    let seconds: Vec<f64> = longest.tasks.iter().map(|task| task.seconds.unwrap()).collect();
    assert!(seconds.is_sorted_by(|a, b| a >= b) && seconds[0] > 0.07, "{seconds:?}");
    let on_one = ask(TaskQuery { governor: Some(1), limit: Some(1000), ..Default::default() });
    assert!(on_one.tasks.iter().all(|task| task.governor == Some(1)));
    let on_both = on_one.total.unwrap() + ask(TaskQuery { governor: Some(0), ..Default::default() }).total.unwrap();
    assert_eq!(on_both, 3000);
    let failed =
        log.tasks(2, &TaskQuery { state: Some("failed,cancelled".into()), ..Default::default() }).unwrap().unwrap();
    let states: Vec<_> = failed.tasks.iter().map(|task| (task.id, task.state)).collect();
    assert_eq!(states, [(1, TaskState::Failed), (2, TaskState::Cancelled), (3, TaskState::Cancelled)]);
    let last = ask(TaskQuery { sort: Some("-id".into()), limit: Some(1), ..Default::default() });
    assert_eq!(last.tasks[0].id, 2999);
    let wrong = TaskQuery { state: Some("odd".into()), ..Default::default() };
    assert!(matches!(log.tasks(1, &wrong), Err(LogError::Request(_))));
    assert!(log.tasks(99, &TaskQuery::default()).unwrap().is_none());
}

#[test]
fn a_task_is_told_whole() {
    let (_directory, log) = log(&Plan::default());
    let task = log.task(1, 1600).unwrap().unwrap();
    assert_eq!(task.inputs.iter().map(|input| input.task).collect::<Vec<_>>(), [Some(200), Some(201)]);
    assert_eq!((task.outputs[0].object, task.outputs[0].state.as_str()), (1600, "made"));
    assert_eq!(task.outputs[0].label.as_deref(), Some("out"));
    assert!(task.consumers.contains(&2350), "{:?}", task.consumers);
    assert_eq!(task.spec["task_type"], "py/train");
    let makers = [200, 201].map(|maker| log.task(1, maker).unwrap().unwrap().row.finished.unwrap());
    assert!((task.row.ready.unwrap() - makers[0].max(makers[1])).abs() < 1e-3);
    let failed = log.task(2, 1).unwrap().unwrap();
    assert_eq!((failed.row.state, failed.row.attempts, failed.history.len()), (TaskState::Failed, 2, 2));
    assert!(failed.error.unwrap().contains("line 12, in divide"));
    assert_eq!(failed.debug.as_deref(), Some("a = 1, b = 0"));
    assert_eq!(failed.history[0].governor, Some(0));
    assert!(log.task(1, 3000).unwrap().is_none() && log.task(9, 0).unwrap().is_none());
}

#[test]
fn the_graph_has_groups_and_in_them_tasks() {
    let (_directory, log) = log(&Plan::default());
    let graph = |group: &str| log.graph(1, &GraphQuery { group: Some(group.to_owned()) }).unwrap().unwrap();
    let top = graph("");
    assert_eq!((top.level, top.nodes.len(), top.nodes[0].name.as_str()), (GraphLevel::Groups, 1, "main"));
    assert_eq!((top.nodes[0].count, top.edges[0].count, top.nodes[0].leaf), (3000, 2250, false));
    let main = graph("main");
    let names: Vec<&str> = main.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["main/load", "main/score", "main/training"]);
    let edges: Vec<_> = main.edges.iter().map(|edge| (edge.from, edge.to, edge.count)).collect();
    assert_eq!(edges, [(0, 2, 1500), (2, 1, 750)]);
    let tasks = graph("main/load");
    assert_eq!((tasks.level, tasks.nodes.len(), tasks.left_out), (GraphLevel::Tasks, 1500, 0));
    // Asked again, the edges are the same.
    assert_eq!(graph("main"), main);
}

#[test]
fn objects_come_largest_first() {
    let (_directory, log) = log(&Plan::default());
    let objects = log.objects(1, &ObjectQuery::default()).unwrap().unwrap();
    assert_eq!((objects.total, objects.objects.len()), (3000, 100));
    assert!(objects.objects.is_sorted_by(|a, b| a.size >= b.size));
    assert_eq!(objects.objects[0].task, Some(objects.objects[0].id));
    let by_id = log.objects(1, &ObjectQuery { sort: Some("id".into()), ..Default::default() }).unwrap().unwrap();
    assert_eq!(by_id.objects[3].id, 3);
    assert!(by_id.objects[3].governors.contains(&1));
}

#[test]
fn the_stream_has_all_tasks_however_wide_it_is() {
    let (_directory, log) = log(&Plan::default());
    for width in [1, 7, 300, 4000] {
        let stream =
            log.stream(&StreamQuery { width: Some(width), session: Some(1), ..Default::default() }).unwrap().unwrap();
        assert_eq!(stream.slots.len(), 8);
        for slot in &stream.slots {
            let bars = &slot.bars;
            assert!(bars.iter().all(|bar| bar.0 <= bar.1 && bar.1 < width && bar.7 <= 100), "{width}: {bars:?}");
            assert!(bars.is_sorted_by(|a, b| a.1 < b.0), "{width}: bars overlap");
        }
        let names: Vec<&str> = stream.names.iter().map(String::as_str).collect();
        assert!(names.iter().all(|name| name.starts_with("main/")), "{names:?}");
    }
    let one = log.stream(&StreamQuery { width: Some(1), session: Some(1), ..Default::default() }).unwrap().unwrap();
    assert_eq!(one.slots.iter().map(|slot| slot.bars[0].4).sum::<u64>(), 3000);
    assert_eq!(one.transfers[0].bars, [(0, 0, 50 * 4096, 50)]);
    let failed = log.stream(&StreamQuery { session: Some(2), ..Default::default() }).unwrap().unwrap();
    assert!(failed.slots.iter().flat_map(|slot| &slot.bars).any(|bar| bar.3 == 2));
    let wrong = StreamQuery { from: Some(9.0), to: Some(3.0), ..Default::default() };
    assert!(matches!(log.stream(&wrong), Err(LogError::Request(_))));
}

#[test]
fn throughput_adds_up() {
    let (_directory, log) = log(&Plan::default());
    for points in [1, 10, 300] {
        let all = log.throughput(&ThroughputQuery { points: Some(points), ..Default::default() }).unwrap().unwrap();
        assert_eq!(all.finished.iter().sum::<u64>(), 3006, "{points}");
        assert_eq!(all.failed.iter().sum::<u64>(), 1);
        assert!(all.times.len() <= points as usize + 1);
        let query = ThroughputQuery { points: Some(points), session: Some(1), ..Default::default() };
        let one = log.throughput(&query).unwrap().unwrap();
        assert_eq!(one.finished.iter().sum::<u64>(), 3000, "{points}");
        let ran: f64 = one.running.iter().map(|running| running.unwrap() * one.step).sum();
        assert!((ran - log.session(1).unwrap().unwrap().session.seconds).abs() < 0.1, "{points}: {ran}");
    }
}

#[test]
fn governors_and_their_machines_are_told() {
    let (_directory, log) = log(&Plan::default());
    let governors = log.governors().unwrap().governors;
    assert_eq!((governors.len(), governors[1].host.as_str(), governors[1].state.as_str()), (2, "node1", "left"));
    assert_eq!(governors.iter().map(|governor| governor.tasks).sum::<u64>(), 3006);
    let samples = log.samples(0, &Range { points: Some(10), ..Default::default() }).unwrap().unwrap();
    assert!(samples.times.len() == 10 && samples.memory.iter().flatten().all(|memory| *memory > 2e9));
    assert!(samples.memory.iter().flatten().count() > 5, "{samples:?}");
    assert!(log.samples(7, &Range::default()).unwrap().is_none());
}

#[test]
fn events_are_listed_and_filtered() {
    let (_directory, log) = log(&Plan::default());
    let all = log.events(&EventQuery::default()).unwrap();
    assert_eq!(all.events.first().map(|event| event.kind.as_str()), Some("ServerStarted"));
    assert_eq!(all.events.last().map(|event| event.kind.as_str()), Some("ServerEnded"));
    let failed = EventQuery { kind: Some("TaskFailed,SessionFailed".into()), session: Some(2), ..Default::default() };
    assert_eq!(log.events(&failed).unwrap().events.len(), 2);
    let mut query =
        EventQuery { kind: Some("TaskFinished".into()), session: Some(1), limit: Some(1000), ..Default::default() };
    let mut count = 0;
    loop {
        let page = log.events(&query).unwrap();
        count += page.events.len();
        query.after = page.next;
        if query.after.is_none() {
            break;
        }
    }
    assert_eq!(count, 3000);
    let old: OldFilter = serde_json::from_value(serde_json::json!({
        "event_types": [{"value": "SessionNew", "mode": "="}, {"value": "SessionClosed", "mode": "="}],
        "session": {"value": 2, "mode": "<"}
    }))
    .unwrap();
    let events = log.filtered(&old).unwrap();
    assert_eq!(events.len(), 2);
    assert_eq!((&events[0].event["type"], &events[0].event["session"]), (&"SessionNew".into(), &1.into()));
}

#[test]
fn hostile_names_come_back_as_they_were() {
    let (_directory, log) = log(&Plan::default());
    let tasks = log.tasks(4, &TaskQuery::default()).unwrap().unwrap();
    for (task, name) in tasks.tasks.iter().zip(made_up::HOSTILE_NAMES) {
        assert_eq!(task.name, name);
    }
    assert_eq!(tasks.tasks[5].name.len(), 1000);
    assert!(log.graph(4, &GraphQuery::default()).unwrap().unwrap().nodes.len() >= 5);
    assert!(log.session(4).unwrap().unwrap().session.name.contains("DROP TABLE"));
}

#[test]
fn a_log_that_broke_off_is_read_and_says_so() {
    let (_directory, log) = log(&Plan { ends: false, ..Plan::default() });
    // Its writer was this process, which runs: but for that it would be broken.
    let status = log.status().unwrap();
    assert_eq!((status.state, status.tasks.running, status.tasks.ready), (LogState::Running, 1, 2));
    let running = log.tasks(5, &TaskQuery { state: Some("running".into()), ..Default::default() }).unwrap().unwrap();
    assert_eq!(running.tasks.iter().map(|task| task.id).collect::<Vec<_>>(), [1]);
    let ready = log.tasks(5, &TaskQuery { state: Some("ready".into()), ..Default::default() }).unwrap().unwrap();
    assert_eq!(ready.tasks.iter().map(|task| task.id).collect::<Vec<_>>(), [0, 2]);
}
