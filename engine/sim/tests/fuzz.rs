//! Damaged and random input for everything that decodes what comes from outside, and for the server's commands. Nothing may panic, and
//! nothing that is refused may leave something behind.
//!
//! `RAIN_FUZZ_SECONDS` says for how long each of the tests goes on (`make fuzz`), and `RAIN_FUZZ_SEED` from where.

use rain_data::Store;
use rain_io::IoThreads;
use rain_model::graph::{Column, DataType, decode_column, encode_column};
use rain_model::id::{ClientId, GovernorId, SessionId};
use rain_model::time::Time;
use rain_protocol::client::{self, Request, Submit, WireConst, WireKind, WireOutput, decode_request, reply_frame};
use rain_protocol::executor::{append_define, append_forget, append_lent, decode_from_executor};
use rain_protocol::msgpack::FrameBuffer;
use rain_protocol::peer::{Finished, FromGovernor, Message, ObjectReport, TaskReport};
use rain_server::{Action, Command, Effects, Event, Reply, RequestId, Server, Submission};
use rain_sim::random::Random;
use rain_wire::lane::{LaneIn, LaneOut, Piece};
use serde_bytes::ByteBuf;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Inputs of the short form, for each test.
const CASES: u64 = 3_000;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Calls `case` with one stream of numbers after the other; the number of a case that panics is printed.
fn each_case(name: &str, mut case: impl FnMut(&mut Random)) {
    struct Place<'a>(&'a str, u64);
    impl Drop for Place<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("{}: RAIN_FUZZ_SEED={}", self.0, self.1);
            }
        }
    }
    let (first, begin) = (variable("RAIN_FUZZ_SEED").unwrap_or(0), Instant::now());
    let limit = variable("RAIN_FUZZ_SECONDS").map(Duration::from_secs);
    let mut place = Place(name, first);
    loop {
        let goes_on = match limit {
            Some(limit) => begin.elapsed() < limit,
            None => place.1 < first + CASES,
        };
        if !goes_on {
            break;
        }
        case(&mut Random::child(place.1, name));
        place.1 += 1;
    }
    if limit.is_some() {
        println!("{name}: {} cases", place.1 - first);
    }
}

/// Damages bytes: some are changed, cut off, doubled, or replaced by what is special in the formats.
fn damage(random: &mut Random, bytes: &mut Vec<u8>) {
    for _ in 0..random.between(1, 6) {
        let at = random.below(bytes.len() as u64 + 1) as usize;
        match random.below(8) {
            0 => bytes.truncate(at),
            1 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            2 if at < bytes.len() => bytes[at] = random.draw() as u8,
            3 => {
                // Markers of MessagePack with lengths, and large numbers.
                let special: [&[u8]; 8] = [
                    &[0xdd, 0xff, 0xff, 0xff, 0xff],
                    &[0xc6, 0xff, 0xff, 0xff, 0x7f],
                    &[0xdf, 0x00, 0xff, 0xff, 0xff],
                    &[0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
                    &[0xcb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 1],
                    &[0xc0],
                    &[0x91; 80],
                    &[0xff; 10],
                ];
                let special = random.pick(&special).copied().unwrap_or_default();
                bytes.splice(at..at, special.iter().copied());
            }
            4 => {
                let end = at + random.below(20) as usize;
                bytes.drain(at..end.min(bytes.len()));
            }
            5 => {
                let copy = bytes[at..(at + random.below(30) as usize).min(bytes.len())].to_vec();
                bytes.splice(at..at, copy);
            }
            _ if at + 4 <= bytes.len() => {
                let number = [0, 1, u32::MAX, u32::MAX - 1, 1 << 31, 1 << 26, random.draw() as u32];
                let number = random.pick(&number).copied().unwrap_or_default();
                bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
            }
            _ => {}
        }
    }
}

fn numbers(random: &mut Random, most: u64) -> ByteBuf {
    let count = random.below(6);
    let absurd = random.chance(100);
    let numbers: Vec<u32> =
        (0..count).map(|_| if absurd { random.draw() as u32 } else { random.below(most) as u32 }).collect();
    encode_column(&numbers).into()
}

/// A submit of the right form; what it says may be absurd.
fn submit(random: &mut Random) -> Submit {
    let count = random.below(6) as u32;
    let output = |n: u64| WireOutput(format!("o{n}"), 0, None);
    let kind = |random: &mut Random| WireKind {
        task_type: ["buildin/noop", "py/call", "nothing", ""][random.below(4) as usize].to_owned(),
        cpus: random.below(4) as u32,
        name: "n".repeat(random.below(3) as usize),
        config: ByteBuf::new(),
        inputs: Vec::new(),
        outputs: (0..random.below(3)).map(output).collect(),
        retries: random.below(3) as u32,
        timeout: random.chance(100).then(|| [f64::NAN, -1.0, 0.0, 1.0, 1.8e19][random.below(5) as usize]),
        priority: random.draw() as i32,
        process: String::new(),
        resources: Vec::new(),
    };
    let column = |random: &mut Random| match random.below(3) {
        0 => numbers(random, 6),
        1 => ByteBuf::from(encode_column(&[random.below(3) as u32])),
        _ => ByteBuf::from(encode_column(&(0..count).map(|_| random.below(4) as u32).collect::<Vec<u32>>())),
    };
    let kinds = (0..random.below(3)).map(|_| kind(random)).collect();
    Submit {
        session: random.between(1, 3) as u32,
        kinds,
        count,
        kind: column(random),
        input_count: column(random),
        inputs: numbers(random, 8),
        first_output: column(random),
        configs: (0..random.below(3)).map(|_| ByteBuf::from(vec![0; 3])).collect(),
        config: ByteBuf::from(encode_column(&[if random.chance(800) { u32::MAX } else { 0 }])),
        user: BTreeMap::new(),
        consts: (0..random.below(3)).map(|n| WireConst(n as u32, 0, None, Some(ByteBuf::from(vec![1])))).collect(),
        keep: numbers(random, 8),
    }
}

/// A frame of what is short enough for one.
fn frame<T: serde::Serialize>(op: &str, id: u64, body: &T) -> Vec<u8> {
    reply_frame(op, id, body).expect("it is short")
}

/// A request of the right form.
fn request(random: &mut Random) -> Vec<u8> {
    let session = random.between(1, 3) as u32;
    let items = client::Items { session, tasks: numbers(random, 12), objects: numbers(random, 12) };
    let watch = client::WatchRef { session, watch: random.below(3) as u32 };
    match random.below(18) {
        0..4 => frame("submit", 1, &submit(random)),
        4 => frame("new_session", 1, &client::NewSession { name: "s".repeat(random.below(2000) as usize) }),
        5 => frame("close_session", 1, &client::SessionRef { session }),
        6 => frame("wait", 1, &items),
        7 => frame("wait_some", 1, &items),
        13 => frame("watch", 1, &items),
        14 => frame("watch_next", 1, &watch),
        15 => frame("unwatch", 1, &watch),
        16 => frame("outputs", 1, &client::TasksOf { session, tasks: items.tasks }),
        8 => frame("wait_all", 1, &client::SessionRef { session }),
        9 => frame("info", 1, &items),
        10 => frame("unkeep", 1, &client::Unkeep { session, objects: items.objects }),
        11 => frame("cancel", 1, &client::Cancel { session, tasks: items.tasks, waiting: random.chance(500) }),
        12 => {
            let forget =
                client::Forget { session, tasks: items.tasks, objects: items.objects, kinds: numbers(random, 3) };
            frame("forget", 1, &forget)
        }
        _ => {
            let object = random.below(9) as u32;
            let fetch = client::Fetch { session, object, map: false, offset: random.draw(), limit: None, direct: true };
            frame("fetch", 1, &fetch)
        }
    }
}

#[test]
fn requests_of_clients() {
    each_case("requests", |random| {
        let mut bytes = request(random);
        if random.chance(800) {
            damage(random, &mut bytes);
        }
        let _ = decode_request(bytes.get(4..).unwrap_or_default());
        let mut buffer = FrameBuffer::new();
        for part in bytes.chunks(1 + random.below(50) as usize) {
            buffer.extend(part);
            while let Ok(Some(body)) = buffer.next_frame(1 << 20) {
                let _ = decode_request(body);
            }
        }
    });
}

#[test]
fn messages_of_executors() {
    let valid: [Vec<u8>; 5] = [
        frame("done", 7, &vec![("data", b"x".to_vec())]),
        frame("fail", 7, &("message", "debug")),
        frame("register", 1, &("py", 1, 2)),
        frame("return", 7, &vec![1u64, 2]),
        frame("lend", 7, &()),
    ];
    each_case("executors", |random| {
        let mut frame = random.pick(&valid).cloned().unwrap_or_default();
        damage(random, &mut frame);
        let _ = decode_from_executor(frame.get(4..).unwrap_or_default());
    });
    // What goes the other way is not taken for an executor's word.
    let mut frames = Vec::new();
    append_forget(&mut frames, &[1, 2]);
    append_lent(&mut frames, 3);
    assert!(decode_from_executor(&frames[4..]).is_err());
    let kind = rain_model::graph::Kind::new("py/call");
    let mut define = Vec::new();
    append_define(&mut define, 1, &kind);
    assert!(decode_from_executor(&define[4..]).is_err());
}

#[test]
fn columns() {
    each_case("columns", |random| {
        let mut bytes = numbers(random, 100).into_vec();
        damage(random, &mut bytes);
        let rows = random.below(8) as usize;
        if let Ok(column) = Column::from_bytes(&bytes, rows) {
            (0..rows).for_each(|row| _ = column.get(row));
        }
        match decode_column::<Vec<u32>>(&bytes) {
            Ok(numbers) => assert_eq!(encode_column(&numbers), bytes),
            Err(_) => assert!(!bytes.len().is_multiple_of(4)),
        }
    });
}

#[test]
fn messages_between_server_and_governors() {
    let wake: rain_transport::Wake = Arc::new(|| ());
    let io = IoThreads::start(2).expect("two threads");
    each_case("lanes", |random| {
        let mut out = LaneOut::new(io.clone(), wake.clone(), 64);
        let finished = Finished {
            session: 1,
            tasks: vec![TaskReport { task: 3, duration: 0.5, start: 1.0 }],
            objects: vec![ObjectReport { object: 4, size: 5 }],
            ..Finished::default()
        };
        let fetched = FromGovernor::Fetched { ticket: 1, content: Ok(vec![7u8; random.below(100) as usize]) };
        let messages = [
            FromGovernor::Finished(finished),
            fetched,
            FromGovernor::Joined { cpus: 4, resources: Default::default() },
        ];
        for message in messages {
            out.push(Message::FromGovernor(message)).expect("it can be written");
        }
        let mut lane = LaneIn::<Vec<u8>>::new(io.clone(), (), wake.clone());
        // What is not read yet is waited for.
        while !out.is_idle() {
            let Ok(Some(piece)) = out.next_piece() else {
                std::thread::yield_now();
                continue;
            };
            let taken = match piece {
                Piece::Head(head) => {
                    let mut head = head.to_vec();
                    if random.chance(400) {
                        damage(random, &mut head);
                    }
                    lane.head(&head)
                }
                Piece::Content { bytes, .. } => {
                    let mut bytes = bytes.expect("it is in memory");
                    if random.chance(200) {
                        damage(random, &mut bytes);
                    }
                    lane.piece(&bytes)
                }
            };
            // The connection would end.
            if taken.is_err() {
                break;
            }
            while lane.take_whole().is_some() {}
        }
    });
}

#[test]
fn archives() {
    let dir = tempfile::tempdir().expect("a directory for the test");
    let store = Store::create(dir.path()).expect("a store");
    let archive = store
        .build_dir(|target| {
            std::fs::write(target.join("a"), "content")?;
            std::fs::create_dir(target.join("d"))?;
            std::fs::write(target.join("d/b"), "more")?;
            std::os::unix::fs::symlink("d/b", target.join("l"))
        })
        .and_then(|object| object.contents().map(|contents| contents.to_vec()))
        .expect("an archive");
    let mut random = Random::child(variable("RAIN_FUZZ_SEED").unwrap_or(0), "archives");
    let begin = Instant::now();
    let goes_on = |done: u64| match variable("RAIN_FUZZ_SECONDS") {
        Some(seconds) => begin.elapsed() < Duration::from_secs(seconds),
        None => done < CASES / 10,
    };
    let mut done = 0;
    while goes_on(done) {
        done += 1;
        let mut bytes = archive.clone();
        // Headers are where it matters, and their checksums would stop most of it.
        let header = 512 * random.below(bytes.len() as u64 / 512) as usize;
        let mut part = bytes[header..header + 512].to_vec();
        damage(&mut random, &mut part);
        part.resize(512, 0);
        part[148..156].fill(b' ');
        let sum: u32 = part.iter().map(|byte| u32::from(*byte)).sum();
        part[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        bytes[header..header + 512].copy_from_slice(&part);
        drop(store.import_tar(&bytes[..]));
        assert_eq!(std::fs::read_dir(store.root()).expect("the store").count(), 0, "case {done} leaves something");
        assert!(!dir.path().parent().is_some_and(|parent| parent.join("evil").exists()));
    }
}

/// A command as a driver makes it of a request.
fn command(request: Request) -> Option<Command<u64>> {
    let column = |bytes: &[u8]| decode_column::<Vec<u32>>(bytes).ok();
    let id = |session: u32| SessionId(session);
    Some(match request {
        Request::NewSession(new) => Command::NewSession { name: new.name },
        Request::CloseSession(of) => Command::CloseSession { session: id(of.session) },
        Request::Submit(submit) => {
            let session = id(submit.session);
            let submission = Submission::from_wire(*submit, |object, data_type, _, bytes| match data_type {
                DataType::Blob => Ok((bytes.map_or(0, |bytes| bytes.len() as u64), u64::from(object))),
                DataType::Directory => Err("no directory".to_owned()),
            });
            Command::Submit { session, submission: Box::new(submission.ok()?) }
        }
        Request::Wait(items) => {
            Command::Wait { session: id(items.session), tasks: column(&items.tasks)?, objects: column(&items.objects)? }
        }
        Request::WaitSome(items) => {
            let (tasks, objects) = (column(&items.tasks)?, column(&items.objects)?);
            Command::WaitSome { session: id(items.session), tasks, objects }
        }
        Request::Watch(items) => {
            let (tasks, objects) = (column(&items.tasks)?, column(&items.objects)?);
            Command::Watch { session: id(items.session), tasks, objects }
        }
        Request::WatchNext(of) => Command::WatchNext { session: id(of.session), watch: of.watch },
        Request::Unwatch(of) => Command::Unwatch { session: id(of.session), watch: of.watch },
        Request::WaitAll(of) => Command::WaitAll { session: id(of.session) },
        Request::Fetch(fetch) => {
            Command::Fetch { session: id(fetch.session), object: fetch.object, direct: fetch.direct }
        }
        Request::Unkeep(unkeep) => Command::Unkeep { session: id(unkeep.session), objects: column(&unkeep.objects)? },
        Request::Cancel(cancel) => {
            let (session, tasks) = (id(cancel.session), column(&cancel.tasks)?);
            match cancel.waiting {
                true => Command::CancelWaiting { session, tasks },
                false => Command::Cancel { session, tasks },
            }
        }
        Request::Forget(forget) => Command::Forget {
            session: id(forget.session),
            tasks: column(&forget.tasks)?,
            constants: column(&forget.objects)?,
            kinds: column(&forget.kinds)?,
        },
        Request::Info(items) => {
            Command::Info { session: id(items.session), tasks: column(&items.tasks)?, objects: column(&items.objects)? }
        }
        Request::Outputs(of) => Command::Outputs { session: id(of.session), tasks: column(&of.tasks)? },
        Request::Explain(of) => Command::Explain { session: id(of.session), tasks: column(&of.tasks)? },
        Request::Status => Command::Status,
        Request::Hello(_) | Request::Upload(_) | Request::Results(_) | Request::View(_) | Request::Stop => return None,
    })
}

#[test]
fn commands_of_clients() {
    each_case("commands", |random| {
        let mut server = Server::<u64>::new();
        let mut effects = Effects::new();
        let now = Time::default();
        let governors = random.below(3) as u32;
        for governor in 0..governors {
            let (cpus, resources) = (random.between(1, 3) as u32, Default::default());
            let message = FromGovernor::Joined { cpus, resources };
            server.handle(now, Event::Governor { governor: GovernorId(governor), message }, &mut effects);
        }
        for client in [ClientId(1), ClientId(2)] {
            server.handle(now, Event::ClientConnected { client, python: None }, &mut effects);
        }
        let mut answers: BTreeMap<RequestId, u32> = BTreeMap::new();
        let mut sent = 0;
        let mut take = |effects: &mut Effects<u64>| {
            for action in effects.drain() {
                if let Action::Reply { request, reply, .. } = action {
                    let count = answers.entry(request).or_default();
                    *count += 1;
                    assert_eq!(*count, 1, "request {request} is answered twice: {reply:?}");
                }
            }
        };
        for step in 0..random.between(1, 40) {
            let mut frame = if step == 0 {
                frame("new_session", 1, &client::NewSession { name: String::new() })
            } else {
                request(random)
            };
            if step > 0 && random.chance(300) {
                damage(random, &mut frame);
            }
            let Ok((_, request)) = decode_request(frame.get(4..).unwrap_or_default()) else { continue };
            let Some(command) = command(request) else { continue };
            sent += 1;
            let client = ClientId(random.between(1, 2));
            server.handle(now, Event::Request { client, request: sent, command }, &mut effects);
            take(&mut effects);
        }
        // Whoever waits hears of the end.
        for session in 1..10 {
            for client in [ClientId(1), ClientId(2)] {
                sent += 1;
                let command = Command::CloseSession { session: SessionId(session) };
                server.handle(now, Event::Request { client, request: sent, command }, &mut effects);
                take(&mut effects);
            }
        }
        let unanswered: Vec<RequestId> = (1..=sent).filter(|request| !answers.contains_key(request)).collect();
        assert!(unanswered.is_empty() || has_more_sessions(&mut server), "{unanswered:?} are not answered");
    });
}

/// Whether sessions are open that were not closed above.
fn has_more_sessions(server: &mut Server<u64>) -> bool {
    let mut effects = Effects::new();
    let event = Event::Request { client: ClientId(1), request: RequestId::MAX, command: Command::Status };
    server.handle(Time::default(), event, &mut effects);
    let open = effects.drain().find_map(|action| match action {
        Action::Reply { reply: Reply::Status(status), .. } => Some(!status.sessions.is_empty()),
        _ => None,
    });
    open.unwrap_or_default()
}
