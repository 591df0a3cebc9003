//! The golden frames of the client protocol (`tests/golden/client`), read and written by the server's side. Replies with
//! contents are tested where they are made (`rain-runtime`).

use rain_protocol::client::{
    Cancel, ErrorKind, Fetch, FetchHeader, Forget, Hello, HelloReply, Items, NewSession, ObjectInfo, Request,
    RequestError, Results, SessionRef, Submit, TaskInfo, TasksOf, Unkeep, Upload, View, Viewed, WatchRef, WatchStarted,
    WireKind, decode_request, error_frame, ok_frame, reply_frame,
};
use rain_protocol::resources::WireRequest;
use serde::Serialize;
use serde_bytes::ByteBuf;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/client")
}

fn golden(name: &str) -> Vec<u8> {
    let frame = fs::read(folder().join(format!("{name}.bin"))).unwrap();
    assert_eq!(u32::from_le_bytes(frame[..4].try_into().unwrap()) as usize, frame.len() - 4, "{name}");
    frame
}

/// The names of all requests in the index.
fn requests() -> Vec<String> {
    let index = fs::read_to_string(folder().join("index.tsv")).unwrap();
    let rows = index.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    rows.filter(|row| row[1] == "client").map(|row| row[0].trim_end_matches(".bin").to_owned()).collect()
}

fn column(numbers: &[u32]) -> ByteBuf {
    ByteBuf::from(numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>())
}

fn frame<T: Serialize>(op: &str, id: u64, body: &T) -> Vec<u8> {
    reply_frame(op, id, body).unwrap()
}

/// A request as a client sends it.
fn written(id: u64, request: &Request) -> Vec<u8> {
    let nothing = BTreeMap::<String, u32>::new();
    match request {
        Request::Hello(body) => frame("hello", id, body),
        Request::NewSession(body) => frame("new_session", id, body),
        Request::CloseSession(body) => frame("close_session", id, body),
        Request::Submit(body) => frame("submit", id, body),
        Request::Upload(body) => frame("upload", id, body),
        Request::Wait(body) => frame("wait", id, body),
        Request::WaitSome(body) => frame("wait_some", id, body),
        Request::WaitAll(body) => frame("wait_all", id, body),
        Request::Watch(body) => frame("watch", id, body),
        Request::WatchNext(body) => frame("watch_next", id, body),
        Request::Unwatch(body) => frame("unwatch", id, body),
        Request::Fetch(body) => frame("fetch", id, body),
        Request::Results(body) => frame("results", id, body),
        Request::Unkeep(body) => frame("unkeep", id, body),
        Request::Cancel(body) => frame("cancel", id, body),
        Request::Forget(body) => frame("forget", id, body),
        Request::Info(body) => frame("info", id, body),
        Request::Outputs(body) => frame("outputs", id, body),
        Request::Explain(body) => frame("explain", id, body),
        Request::Status => frame("status", id, &nothing),
        Request::View(body) => frame("view", id, body),
        Request::Stop => frame("stop", id, &nothing),
    }
}

/// Checks that a golden frame is read as this request; what a request has is in its `Debug` text.
fn assert_reads(name: &str, id: u64, expected: &Request) {
    let (found_id, found) = decode_request(&golden(name)[4..]).unwrap();
    assert_eq!((found_id, format!("{found:?}")), (id, format!("{expected:?}")), "{name}");
}

#[test]
fn requests_are_read_and_written_again() {
    let full: Vec<String> = requests().into_iter().filter(|name| !name.ends_with("-least")).collect();
    assert_eq!(full.len(), 22, "one of each request: {full:?}");
    for name in full {
        let expected = golden(&name);
        let (id, request) = decode_request(&expected[4..]).unwrap();
        assert_eq!(written(id, &request), expected, "{name}");
    }
}

#[test]
fn requests_are_read_as_the_index_says() {
    let items = |tasks: &[u32], objects: &[u32]| Items { session: 1, tasks: column(tasks), objects: column(objects) };
    let watch = WatchRef { session: 1, watch: 70000 };
    let upload = Upload { session: 1, object: 6, total: 10, offset: 6, data: ByteBuf::from(b"rain") };
    let fetch = Fetch { session: 1, object: 3, map: true, offset: 65536, limit: Some(1 << 20), direct: true };
    let forget = Forget { session: 1, tasks: column(&[0, 1]), objects: column(&[0]), kinds: column(&[1]) };
    assert_reads("new-session", 1, &Request::NewSession(NewSession { name: "golden".into() }));
    assert_reads("upload", 4, &Request::Upload(upload));
    assert_reads("wait", 5, &Request::Wait(items(&[0, 2], &[3])));
    assert_reads("wait-some", 6, &Request::WaitSome(items(&[0, 2], &[])));
    assert_reads("wait-all", 7, &Request::WaitAll(SessionRef { session: 1 }));
    assert_reads("watch", 8, &Request::Watch(items(&[1, 2], &[])));
    assert_reads("watch-next", 9, &Request::WatchNext(watch));
    assert_reads("unwatch", 10, &Request::Unwatch(watch));
    assert_reads("fetch", 11, &Request::Fetch(fetch));
    assert_reads("results", 24, &Request::Results(Results { session: 1, objects: column(&[2, 3, 4, 5]) }));
    assert_reads("unkeep", 16, &Request::Unkeep(Unkeep { session: 1, objects: column(&[3]) }));
    assert_reads("cancel", 17, &Request::Cancel(Cancel { session: 1, tasks: column(&[2]), waiting: true }));
    assert_reads("forget", 18, &Request::Forget(forget));
    assert_reads("info", 19, &Request::Info(items(&[1, 2], &[3])));
    let tasks = TasksOf { session: 1, tasks: column(&[1]) };
    assert_reads("explain", 24, &Request::Explain(tasks.clone()));
    assert_reads("outputs", 23, &Request::Outputs(tasks));
    assert_reads("status", 20, &Request::Status);
    assert_reads("view", 24, &Request::View(View { path: "sessions/1/tasks?state=failed".into() }));
    assert_reads("close-session", 21, &Request::CloseSession(SessionRef { session: 1 }));
    assert_reads("stop", 22, &Request::Stop);

    let (_, Request::Submit(submit)) = decode_request(&golden("submit")[4..]).unwrap() else { panic!("no submit") };
    let split = &submit.kinds[2];
    assert_eq!((submit.session, submit.count, submit.kinds.len()), (1, 3, 3));
    assert_eq!((split.cpus, split.retries, split.timeout, split.priority), (2, 1, Some(60.0), -1));
    let amounts = |request: &WireRequest| -> Vec<(String, f64)> {
        request.0.iter().map(|(name, amount)| (name.clone(), amount.0)).collect()
    };
    let first = [("gpus".to_owned(), 0.5), ("memory".to_owned(), 4_294_967_296.0)];
    assert_eq!(amounts(&split.resources[0]), first);
    assert_eq!(amounts(&split.resources[1]), [("licence".to_owned(), 2.0)]);
    assert_eq!(submit.user, BTreeMap::from([(1, r#"{"fold":3}"#.to_owned())]));
    assert_eq!(submit.consts[1].3.as_ref().map(|data| &data[..]), Some(&br#"{"to": "World"}"#[..]));
    assert_eq!((submit.config, submit.keep), (column(&[u32::MAX, 0, 1]), column(&[3, 5])));
}

#[test]
fn what_is_left_out_has_its_default() {
    let kind = WireKind {
        task_type: "buildin/noop".into(),
        cpus: 1,
        name: String::new(),
        config: ByteBuf::new(),
        inputs: vec![],
        outputs: vec![],
        retries: 0,
        timeout: None,
        priority: 0,
        process: String::new(),
        resources: vec![],
    };
    let submit = Submit {
        session: 1,
        kinds: vec![kind],
        count: 300,
        kind: column(&[3]),
        input_count: column(&[0]),
        inputs: ByteBuf::new(),
        first_output: column(&[u32::MAX]),
        configs: vec![],
        config: column(&[u32::MAX]),
        user: BTreeMap::new(),
        consts: vec![],
        keep: ByteBuf::new(),
    };
    let fetch = Fetch { session: 1, object: 3, map: false, offset: 0, limit: None, direct: false };
    let hello = Hello { version: 1, client: "go 1".into(), token: None, python: None };
    assert_eq!(requests().iter().filter(|name| name.ends_with("-least")).count(), 3);
    assert_reads("hello-least", 0, &Request::Hello(hello));
    assert_reads("submit-least", 3, &Request::Submit(Box::new(submit)));
    assert_reads("fetch-least", 12, &Request::Fetch(fetch));
}

#[test]
fn replies_are_written() {
    #[derive(Serialize)]
    struct Infos {
        tasks: Vec<TaskInfo>,
        objects: Vec<ObjectInfo>,
    }
    let finished = TaskInfo {
        id: 1,
        state: "finished".into(),
        governor: Some(0),
        start_time: Some(1_750_000_000.25),
        duration: Some(0.5),
        debug: Some("one\ntwo".into()),
        user: Some(r#"{"fold": 3}"#.into()),
        ..TaskInfo::default()
    };
    let waits = TaskInfo { id: 2, state: "waiting".into(), ..TaskInfo::default() };
    let object = ObjectInfo {
        id: 3,
        state: "finished".into(),
        size: Some(21),
        content_type: Some("text".into()),
        user: Some(r#"{"lines": 1}"#.into()),
        ..ObjectInfo::default()
    };
    let hello = HelloReply { version: 1, server: "0.1.0".into(), pid: 4242, governors: 1, cpus: 4, local: true };
    let header = FetchHeader { size: 21, length: 21, data_type: 0, content_type: Some("text".into()) };
    let infos = Infos { tasks: vec![finished, waits], objects: vec![object] };
    for (name, frame) in [
        ("hello-reply", ok_frame(0, &hello)),
        ("new-session-reply", ok_frame(1, &SessionRef { session: 1 })),
        ("watch-reply", ok_frame(8, &WatchStarted { watch: 70000 })),
        ("content-reply", ok_frame(15, &header)),
        ("info-reply", ok_frame(19, &infos)),
        ("view-reply", ok_frame(24, &Viewed { json: r#"{"tasks":[],"total":0,"next":null}"#.into() })),
    ] {
        assert_eq!(frame, golden(name), "{name}");
    }
}

#[test]
fn errors_are_written() {
    let task = RequestError {
        kind: ErrorKind::Task,
        message: "program ended with 1".into(),
        session: Some(1),
        task: Some(2),
        debug: Some("before".into()),
    };
    let request = RequestError { session: Some(1), ..RequestError::request("object 3 is not kept") };
    for (name, frame) in [
        ("error-task", error_frame(5, &task)),
        ("error-request", error_frame(12, &request)),
        ("error-protocol", error_frame(0, &RequestError::protocol("unknown op \"fly\""))),
    ] {
        assert_eq!(frame, golden(name), "{name}");
    }
}
