//! Measures the transport between ranks on one machine, and prints JSON.
//!
//!     cargo build --release -p rain-transport-mpi --features mpi --example mpi_speed
//!     target/release/examples/mpi_speed [ROUNDS]
//!
//! starts `mpirun` (`MPIRUN`) with three ranks, a server and two governors, alternately for two kinds of jobs: `plain` is
//! what MPI alone does, in pieces of the same size; `objects` is what the transport does, with objects from a store in
//! `RAIN_MPI_SPEED_DIRECTORY` (default: `/dev/shm`). Bandwidths are in bytes a second, times in seconds.

use mpi::environment::{Threading, initialize_with_threading};
use mpi::request::{LocalScope, WaitGuard, scope};
use mpi::traits::{Communicator, Destination, Source};
use rain_data::{Object, Store};
use rain_model::id::{GovernorId, SessionId};
use rain_protocol::peer::{BetweenGovernors, FromGovernor, Message};
use rain_transport::{Peer, Transport, TransportEvent, Wake};
use rain_transport_mpi::{MpiTransport, PIECE_BYTES, World};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

const OBJECT_BYTES: usize = 256 << 20;
const RANKS: usize = 3;
const WINDOW: usize = 4;

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("plain") => plain(),
        Some("objects") => objects(),
        rounds => launch(rounds.map_or(5, |rounds| rounds.parse().expect("ROUNDS is a number"))),
    }
}

// The side that launches -----------------------------------------------------------------------------------------------

fn launch(rounds: usize) {
    let mut found: Vec<Value> = Vec::new();
    for _ in 0..rounds {
        let mut round = run("plain");
        let more = run("objects");
        if let (Some(round), Value::Object(more)) = (round.as_object_mut(), more) {
            round.extend(more);
        }
        found.push(round);
    }
    let keys: Vec<String> = found[0].as_object().map(|first| first.keys().cloned().collect()).unwrap_or_default();
    let mut result = json!({ "rounds": rounds, "piece_bytes": PIECE_BYTES, "object_bytes": OBJECT_BYTES });
    for key in keys {
        let of = |round: &Value| round[&key].as_f64();
        result[&key] = match of(&found[0]) {
            Some(_) => json!(median(found.iter().filter_map(of).collect())),
            None => found[0][&key].clone(),
        };
    }
    for whole in ["ping_pong", "window"] {
        let part = result["object_bandwidth"].as_f64().zip(result[format!("{whole}_bandwidth")].as_f64());
        result[format!("object_part_of_{whole}")] = json!(part.map(|(object, whole)| object / whole));
    }
    println!("{}", serde_json::to_string_pretty(&result).unwrap_or_default());
}

fn run(what: &str) -> Value {
    let launcher = std::env::var("MPIRUN").unwrap_or_else(|_| "mpirun".to_owned());
    let output = Command::new(launcher)
        .args(["-n", &RANKS.to_string()])
        .arg(std::env::current_exe().expect("this program has a path"))
        .arg(what)
        .env("OMPI_ALLOW_RUN_AS_ROOT", "1")
        .env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")
        .env("OMPI_MCA_rmaps_base_oversubscribe", "1")
        .stderr(Stdio::inherit())
        .output()
        .expect("the launcher of MPI (MPIRUN)");
    assert!(output.status.success(), "the job failed: {}", output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find(|line| line.starts_with('{')).expect("a line of JSON");
    serde_json::from_str(line).expect("JSON")
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

// MPI alone ------------------------------------------------------------------------------------------------------------

fn plain() {
    let (universe, _) = initialize_with_threading(Threading::Funneled).expect("MPI");
    let world = universe.world();
    let rank = world.rank();
    let mut from = vec![1u8; OBJECT_BYTES];
    let mut to = vec![2u8; OBJECT_BYTES];
    if rank == 0 {
        // The results come from rank 1; this one is silent, as an idle server would be.
        let (results, _) = world.process_at_rank(1).receive_vec::<f64>();
        println!(
            "{}",
            json!({
                "ping_pong_bandwidth": results[0],
                "window_bandwidth": results[1],
                "window_bandwidth_large_memory": results[2],
                "ping_pong_latency": results[3],
            })
        );
        return;
    }
    let other = world.process_at_rank(3 - rank);
    let pieces = OBJECT_BYTES / PIECE_BYTES;
    let mut results = Vec::new();
    // One piece there and back, always the same memory.
    let mut times = Vec::new();
    for _ in 0..7 {
        let start = Instant::now();
        for _ in 0..pieces / 2 {
            if rank == 1 {
                other.send(&from[..PIECE_BYTES]);
                other.receive_into(&mut to[..PIECE_BYTES]);
            } else {
                other.receive_into(&mut to[..PIECE_BYTES]);
                other.send(&from[..PIECE_BYTES]);
            }
        }
        times.push(OBJECT_BYTES as f64 / start.elapsed().as_secs_f64());
    }
    results.push(median(times));
    // Several pieces under way: always the same memory, then all of an object's.
    for large in [false, true] {
        let mut times = Vec::new();
        for _ in 0..7 {
            let start = Instant::now();
            for window in 0..pieces / WINDOW {
                let first = if large { window * WINDOW * PIECE_BYTES } else { 0 };
                let range = first..first + WINDOW * PIECE_BYTES;
                scope(|scope| {
                    let (from, to) = (&mut from[range.clone()], &mut to[range.clone()]);
                    if rank == 1 {
                        let sends: Vec<WaitGuard<'_, _, &LocalScope>> = from
                            .chunks(PIECE_BYTES)
                            .map(|piece| WaitGuard::from(other.immediate_send(scope, piece)))
                            .collect();
                        drop(sends);
                    } else {
                        let receives: Vec<WaitGuard<'_, _, &LocalScope>> = to
                            .chunks_mut(PIECE_BYTES)
                            .map(|piece| WaitGuard::from(other.immediate_receive_into(scope, piece)))
                            .collect();
                        drop(receives);
                    }
                });
            }
            if rank == 1 {
                let _: (u8, _) = other.receive();
            } else {
                other.send(&1u8);
            }
            times.push(OBJECT_BYTES as f64 / start.elapsed().as_secs_f64());
        }
        results.push(median(times));
    }
    let start = Instant::now();
    const TURNS: u32 = 5_000;
    for _ in 0..TURNS {
        if rank == 1 {
            other.send(&1u8);
            let _: (u8, _) = other.receive();
        } else {
            let _: (u8, _) = other.receive();
            other.send(&1u8);
        }
    }
    results.push(start.elapsed().as_secs_f64() / f64::from(TURNS) / 2.0);
    if rank == 1 {
        world.process_at_rank(0).send(&results[..]);
    }
}

// The transport --------------------------------------------------------------------------------------------------------

type Content = Arc<Object>;

struct End {
    transport: MpiTransport<Content>,
    bell: Receiver<()>,
}

impl End {
    fn next(&mut self) -> Message<Content> {
        loop {
            match self.transport.try_receive() {
                Some(TransportEvent::Message { message, .. }) => return message,
                Some(TransportEvent::Lost { peer, why }) => panic!("{peer:?} is lost: {why}"),
                None => self.bell.recv_timeout(Duration::from_secs(60)).expect("an event"),
            }
        }
    }

    fn say(&mut self, to: Peer, number: u32) {
        let word = BetweenGovernors::Want { session: SessionId(1), object: number };
        self.transport.send(to, Message::BetweenGovernors(word));
    }

    fn hear(&mut self, expected: u32) {
        match self.next() {
            Message::BetweenGovernors(BetweenGovernors::Want { object, .. }) if object == expected => {}
            other => panic!("unexpected {other:?}"),
        }
    }
}

/// Seconds of cpu that this process has used.
fn cpu_time() -> f64 {
    // SAFETY: fills a plain structure, for which zeroes are fine.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

/// The part of a core that an end uses when there is nothing to do.
fn idle_part() -> f64 {
    let (start, used) = (Instant::now(), cpu_time());
    std::thread::sleep(Duration::from_secs(2));
    (cpu_time() - used) / start.elapsed().as_secs_f64()
}

fn objects() {
    let world = World::begin().expect("MPI");
    let directory = std::env::var("RAIN_MPI_SPEED_DIRECTORY").map_or_else(|_| PathBuf::from("/dev/shm"), PathBuf::from);
    let store = Arc::new(Store::create(&directory).expect("a store"));
    let (ring, bell) = channel();
    let wake: Wake = Arc::new(move || ring.send(()).unwrap_or_default());
    let (rank, library) = (world.rank(), world.library().to_owned());
    let mut end = End { transport: world.into_transport(store.clone(), wake), bell };
    let other = Peer::Governor(GovernorId(2 - rank.max(1)));
    match rank {
        0 => {
            let idle = idle_part();
            let mut results = json!({ "library": library, "idle_part_of_a_core": idle });
            let Message::FromGovernor(FromGovernor::Fetched { content: Ok(text), .. }) = end.next() else {
                panic!("the results come")
            };
            let text = text.inline_bytes().map(<[u8]>::to_vec).unwrap_or_default();
            let measured: Value = serde_json::from_slice(&text).expect("JSON");
            if let (Some(results), Value::Object(measured)) = (results.as_object_mut(), measured) {
                results.extend(measured);
            }
            println!("{results}");
            for governor in 0..2 {
                end.say(Peer::Governor(GovernorId(governor)), 99);
            }
        }
        1 => {
            let results = sender(&mut end, &store, other).to_string();
            let content = Ok(Arc::new(Object::inline(results.into_bytes(), None)));
            end.transport.send(Peer::Server, Message::FromGovernor(FromGovernor::Fetched { ticket: 1, content }));
            end.hear(99);
        }
        _ => {
            receiver(&mut end, other);
            end.hear(99);
        }
    }
}

const OBJECTS: u32 = 9;
const WORDS: u32 = 200_000;
const TURNS: u32 = 3_000;

fn object_of(store: &Store, bytes: usize, number: u8) -> Content {
    let object = store.blob(vec![number; bytes], None).expect("a blob");
    Arc::new(object)
}

/// Makes sure that all bytes of an object are this one.
fn check(object: &Content, byte: u8) {
    let reader = object.reader().expect("content");
    let mut piece = vec![0; 1 << 20];
    for offset in (0..reader.length()).step_by(piece.len()) {
        reader.read_at(offset, &mut piece).expect("content");
        assert!(piece.iter().all(|found| *found == byte));
    }
}

fn sender(end: &mut End, store: &Store, other: Peer) -> Value {
    std::thread::sleep(Duration::from_millis(2500));
    let mut bandwidths = Vec::new();
    for number in 0..OBJECTS {
        let object = object_of(store, OBJECT_BYTES, number as u8);
        // Looked at, as after a task that made it.
        check(&object, number as u8);
        let start = Instant::now();
        let message = BetweenGovernors::Object { session: SessionId(1), object: number, content: Ok(object) };
        end.transport.send(other, Message::BetweenGovernors(message));
        end.hear(number);
        bandwidths.push(OBJECT_BYTES as f64 / start.elapsed().as_secs_f64());
    }
    let small = object_of(store, 300_000, 1);
    let start = Instant::now();
    for number in 0..500 {
        let content = Ok(small.clone());
        let message = BetweenGovernors::Object { session: SessionId(1), object: number, content };
        end.transport.send(other, Message::BetweenGovernors(message));
    }
    end.hear(500);
    let medium = 500.0 * 300_000.0 / start.elapsed().as_secs_f64();
    let start = Instant::now();
    for number in 0..WORDS {
        end.say(other, number);
    }
    end.hear(WORDS);
    let rate = f64::from(WORDS) / start.elapsed().as_secs_f64();
    let mut times = Vec::new();
    for number in 0..TURNS {
        let start = Instant::now();
        end.say(other, number);
        end.hear(number);
        times.push(start.elapsed().as_secs_f64() / 2.0);
    }
    let mut rare = Vec::new();
    for number in 0..100 {
        std::thread::sleep(Duration::from_millis(10));
        let start = Instant::now();
        end.say(other, number);
        end.hear(number);
        rare.push(start.elapsed().as_secs_f64() / 2.0);
    }
    let first = bandwidths[0];
    let best = bandwidths.iter().copied().fold(0.0, f64::max);
    json!({
        "object_bandwidth": median(bandwidths),
        "object_bandwidth_best": best,
        "object_bandwidth_first": first,
        "object_300k_bandwidth": medium,
        "messages_per_second": rate,
        "latency": median(times),
        "latency_after_10_ms_of_silence": median(rare),
    })
}

fn receiver(end: &mut End, other: Peer) {
    std::thread::sleep(Duration::from_millis(2500));
    for expected in 0..OBJECTS {
        match end.next() {
            Message::BetweenGovernors(BetweenGovernors::Object { object, content: Ok(content), .. }) => {
                assert_eq!((object, content.size()), (expected, OBJECT_BYTES as u64));
                end.say(other, expected);
                check(&content, expected as u8);
            }
            message => panic!("unexpected {message:?}"),
        }
    }
    for _ in 0..500 {
        end.next();
    }
    end.say(other, 500);
    for number in 0..WORDS {
        end.hear(number);
    }
    end.say(other, WORDS);
    for number in (0..TURNS).chain(0..100) {
        end.hear(number);
        end.say(other, number);
    }
}
