//! The thread that writes a log, and what can be wrong with its file.

use rain_events::answers::LogState;
use rain_events::questions::{EventQuery, TaskQuery};
use rain_events::{EventLog, FILE_NAME, Log, LogError, LogHandle, Recorder, ServerFacts};
use rain_model::graph::{Batch, BatchKind, Kind};
use rain_model::id::{ClientId, GovernorId, SessionId};
use rain_protocol::log::LogEntry;
use rain_protocol::peer::{Finished, ObjectReport, TaskReport};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const LIMIT: u64 = 1 << 30;
const SESSION: SessionId = SessionId(1);
/// Generous: only a hang takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

fn facts() -> ServerFacts {
    ServerFacts { started: 1000.0, version: "0".to_owned(), ..ServerFacts::default() }
}

fn opened(number: u32) -> LogEntry {
    LogEntry::SessionOpened { session: SessionId(number), name: format!("session {number}"), client: ClientId(1) }
}

fn submitted(session: SessionId, count: u32) -> LogEntry {
    let kinds: Arc<[BatchKind]> = [BatchKind { number: 0, kind: Arc::new(Kind::new("buildin/noop")) }].into();
    LogEntry::Submitted { session, batch: Arc::new(Batch { kinds, count, ..Batch::empty(0) }), constants: Vec::new() }
}

fn finished(session: SessionId, tasks: std::ops::Range<u32>) -> LogEntry {
    let objects = tasks.clone().map(|task| ObjectReport { object: task, size: task }).collect();
    // Times that do not fit into few bytes.
    let spread = |task: u32| f64::from(task.wrapping_mul(2_654_435_761) >> 8) / 1e4;
    let tasks = tasks.map(|task| TaskReport { task, duration: spread(task) as f32, start: 1000.0 + spread(task) });
    let finished = Finished { session: session.0, tasks: tasks.collect(), objects, ..Finished::default() };
    LogEntry::Finished { governor: GovernorId(0), finished }
}

#[test]
fn what_was_lost_and_made_again_is_counted_once() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = EventLog::start(directory.path(), LIMIT, facts(), false).unwrap();
    log.note(1001.0, opened(1));
    log.note(1002.0, submitted(SESSION, 100));
    log.note(1003.0, finished(SESSION, 0..60));
    log.note(1004.0, LogEntry::Lost { session: SESSION, governor: GovernorId(0), tasks: (60..80).collect() });
    log.note(1004.0, LogEntry::Repeated { session: SESSION, tasks: (0..50).collect() });
    log.note(1005.0, finished(SESSION, 0..50));
    log.note(1006.0, finished(SESSION, 60..100));
    log.note(1007.0, LogEntry::SessionClosed { session: SESSION });
    drop(log);
    let log = Log::open(directory.path()).unwrap();
    let tasks = log.status().unwrap().tasks;
    assert_eq!((tasks.finished, tasks.cancelled, tasks.open()), (100, 0, 0));
    for sort in ["id", "-seconds", "started", "name"] {
        let query = TaskQuery { sort: Some(sort.into()), limit: Some(1000), ..TaskQuery::default() };
        let mut ids: Vec<u32> = log.tasks(1, &query).unwrap().unwrap().tasks.iter().map(|task| task.id).collect();
        ids.sort_unstable();
        assert!(ids.into_iter().eq(0..100), "{sort}");
    }
    let lost = EventQuery { kind: Some("TaskLost".into()), ..EventQuery::default() };
    let values: Vec<Option<u64>> = log.events(&lost).unwrap().events.iter().map(|event| event.value).collect();
    assert_eq!(values, [Some(20), Some(50)]);
}

fn until(mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "it does not come about");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn error_of(handle: &LogHandle) -> String {
    until(|| handle.status().error.is_some());
    handle.status().error.unwrap_or_default()
}

#[test]
fn what_is_noted_is_read_while_it_is_written_and_after() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = EventLog::start(directory.path(), LIMIT, facts(), false).unwrap();
    log.note(1001.0, opened(1));
    log.note(1002.0, submitted(SESSION, 5000));
    log.note(1003.0, finished(SESSION, 0..3000));
    log.flush();
    until(|| {
        let read = Log::open(directory.path()).and_then(|log| log.status());
        read.is_ok_and(|status| status.tasks.finished == 3000 && status.tasks.ready == 2000)
    });
    let reader = Log::open(directory.path()).unwrap();
    assert_eq!(reader.status().unwrap().state, LogState::Running);
    log.note(1004.0, finished(SESSION, 3000..5000));
    log.note(1005.0, LogEntry::SessionClosed { session: SESSION });
    drop(log);
    // A reader that was open before sees the rest, too.
    let status = reader.status().unwrap();
    assert_eq!((status.state, status.tasks.finished, status.sessions.closed), (LogState::Finished, 5000, 1));
    assert_eq!(reader.tasks(1, &TaskQuery::default()).unwrap().unwrap().total, Some(5000));
    drop(reader);
    let mut log = EventLog::start(directory.path(), LIMIT, facts(), false).unwrap();
    log.note(1001.0, opened(7));
    drop(log);
    let sessions = |name: &str| {
        let log = Log::open(&directory.path().join(name)).unwrap();
        log.sessions(&Default::default()).unwrap().sessions.iter().map(|session| session.id).collect::<Vec<_>>()
    };
    assert_eq!((sessions(FILE_NAME), sessions("events-1.sqlite")), (vec![7], vec![1]));
}

#[test]
fn a_log_that_another_server_writes_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let mut one = EventLog::start(directory.path(), LIMIT, facts(), false).unwrap();
    one.note(1.0, opened(1));
    one.flush();
    until(|| Log::open(directory.path()).and_then(|log| log.sequence()).is_ok_and(|sequence| sequence > 0));
    let other = EventLog::start(directory.path(), LIMIT, facts(), false).unwrap();
    assert!(error_of(&other.handle()).contains("another server"));
    drop(other);
    drop(one);
    assert_eq!(Log::open(directory.path()).unwrap().status().unwrap().state, LogState::Finished);
}

#[test]
fn a_directory_that_is_not_there_is_said_and_nothing_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = EventLog::start(&directory.path().join("none"), LIMIT, facts(), false).unwrap();
    assert!(error_of(&log.handle()).contains("No such file"));
    for _ in 0..10_000 {
        log.note(1.0, finished(SESSION, 0..1000));
        log.flush();
    }
}

#[test]
fn a_lock_of_somebody_else_is_waited_for_and_said() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = EventLog::start(directory.path(), LIMIT, facts(), false).unwrap();
    log.note(1.0, opened(1));
    log.flush();
    until(|| Log::open(directory.path()).and_then(|log| log.sequence()).is_ok_and(|sequence| sequence > 0));
    let lock = rusqlite::Connection::open(directory.path().join(FILE_NAME)).unwrap();
    lock.busy_timeout(PATIENCE).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    log.note(2.0, opened(2));
    log.flush();
    assert!(error_of(&log.handle()).contains("locked"));
    lock.execute_batch("ROLLBACK").unwrap();
    until(|| log.handle().status().error.is_none());
    drop(lock);
    drop(log);
    assert_eq!(Log::open(directory.path()).unwrap().status().unwrap().sessions.open, 2);
}

#[test]
fn the_oldest_sessions_go_when_the_log_is_too_large() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE_NAME);
    let limit = 2 << 20;
    let mut recorder = Recorder::create(&path, limit, &facts()).unwrap();
    for session in 1..=40 {
        recorder.begin().unwrap();
        recorder.take(f64::from(session), opened(session)).unwrap();
        recorder.take(f64::from(session), submitted(SessionId(session), 20_000)).unwrap();
        recorder.take(f64::from(session), finished(SessionId(session), 0..20_000)).unwrap();
        recorder.take(f64::from(session), LogEntry::SessionClosed { session: SessionId(session) }).unwrap();
        for _ in 0..16 {
            recorder.commit().unwrap();
            recorder.begin().unwrap();
        }
        recorder.commit().unwrap();
        assert!(recorder.bytes().unwrap() <= limit, "{session}");
    }
    recorder.end(100.0).unwrap();
    let log = Log::open(&path).unwrap();
    let status = log.status().unwrap();
    let sessions = log.sessions(&Default::default()).unwrap().sessions;
    assert_eq!(sessions[0].id, 40);
    assert_eq!(status.log.removed_sessions + sessions.len() as u64, 40);
    assert!(sessions.len() < 30 && sessions.iter().all(|session| session.id > 10), "{}", sessions.len());
    let first = sessions.last().unwrap().id;
    let events = log.events(&EventQuery { limit: Some(1000), ..Default::default() }).unwrap().events;
    assert!(events.iter().all(|event| event.session.is_none_or(|session| session >= first)));
}

#[test]
fn of_one_large_session_the_oldest_tasks_keep_their_numbers() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE_NAME);
    let limit = 2 << 20;
    let mut recorder = Recorder::create(&path, limit, &facts()).unwrap();
    recorder.begin().unwrap();
    recorder.take(1.0, opened(1)).unwrap();
    recorder.take(1.0, submitted(SESSION, 400_000)).unwrap();
    for part in 0..40 {
        let entry = match finished(SESSION, part * 10_000..(part + 1) * 10_000) {
            LogEntry::Finished { governor, finished } => {
                LogEntry::Finished { governor, finished: Finished { objects: Vec::new(), ..finished } }
            }
            other => other,
        };
        recorder.take(1.0, entry).unwrap();
        for _ in 0..16 {
            recorder.commit().unwrap();
            recorder.begin().unwrap();
        }
    }
    recorder.commit().unwrap();
    assert!(recorder.bytes().unwrap() <= limit);
    recorder.end(2.0).unwrap();
    let log = Log::open(&path).unwrap();
    let status = log.status().unwrap();
    assert_eq!(status.tasks.finished, 400_000);
    assert!(status.log.folded_tasks > 100_000 && status.log.folded_tasks < 400_000, "{}", status.log.folded_tasks);
    let finished = TaskQuery { state: Some("finished".into()), limit: Some(1), ..TaskQuery::default() };
    assert_eq!(log.tasks(1, &finished).unwrap().unwrap().total, Some(400_000));
}

#[test]
fn a_log_that_was_cut_or_changed_is_an_error_and_no_panic() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE_NAME);
    let mut recorder = Recorder::create(&path, LIMIT, &facts()).unwrap();
    recorder.begin().unwrap();
    recorder.take(1.0, opened(1)).unwrap();
    recorder.take(1.0, submitted(SESSION, 20_000)).unwrap();
    recorder.take(1.0, finished(SESSION, 0..20_000)).unwrap();
    recorder.commit().unwrap();
    recorder.end(2.0).unwrap();
    let whole = std::fs::read(&path).unwrap();
    let ask_all = |path: &Path| -> Result<(), LogError> {
        let log = Log::open(path)?;
        log.status()?;
        log.session(1)?;
        log.tasks(1, &TaskQuery::default())?;
        log.stream(&Default::default())?;
        log.graph(1, &Default::default())?;
        log.objects(1, &Default::default())?;
        log.report()?;
        log.write_trace(None, &mut Vec::new())
    };
    ask_all(&path).unwrap();
    let mut errors = 0;
    for part in 0..20 {
        let cut = directory.path().join(format!("cut-{part}"));
        std::fs::write(&cut, &whole[..whole.len() * part / 20]).unwrap();
        errors += usize::from(ask_all(&cut).is_err());
        let mut changed = whole.clone();
        let from = 100 + (whole.len() - 200) * part / 20;
        changed[from..from + 64].iter_mut().for_each(|byte| *byte ^= 0x5a);
        std::fs::write(&cut, changed).unwrap();
        let _ = ask_all(&cut);
    }
    assert!(errors >= 18, "{errors} of 20 cut logs were refused");
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.execute_batch("ALTER TABLE sessions DROP COLUMN moved; DROP TABLE chunk_data").unwrap();
    drop(connection);
    assert!(matches!(ask_all(&path), Err(LogError::Damaged(_))));
}
