//! The transport under a launcher: each test starts this program again, as the ranks of a job.
//!
//! `MPIRUN` names the launcher; it has to be of the MPI library that this was built with.

use rain_data::{Object, Store};
use rain_model::id::{GovernorId, SessionId};
use rain_protocol::peer::{BetweenGovernors, FromGovernor, Message, ToGovernor};
use rain_transport::{Bell, CONFORMANCE_GOVERNORS, Peer, Transport, TransportEvent, Wake, check_endpoint};
use rain_transport_mpi::{MpiTransport, World};
use std::io::Read;
use std::ops::Range;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Against hanging only.
const PATIENCE: Duration = Duration::from_secs(120);
/// What the ranks do, and a directory for them.
const SCENARIO: &str = "RAIN_MPI_TEST_SCENARIO";
const DIRECTORY: &str = "RAIN_MPI_TEST_DIRECTORY";
/// Beginning of the names of files that ranks leave there in the end.
const PASSED: &str = "passed-";

// The side that launches -----------------------------------------------------------------------------------------------

struct Job {
    /// How many ranks came to their end.
    passed: usize,
    status: ExitStatus,
    output: String,
}

/// Jobs one after the other: each has more ranks than the machine may have cpus.
static TURN: Mutex<()> = Mutex::new(());

fn launch(ranks: u32, scenario: &str) -> Job {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = tempfile::tempdir().unwrap();
    let launcher = std::env::var("MPIRUN").unwrap_or_else(|_| "mpirun".to_owned());
    let mut command = Command::new(launcher);
    command
        .args(["-n", &ranks.to_string()])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "rank", "--ignored", "--nocapture"])
        .env(SCENARIO, scenario)
        .env(DIRECTORY, directory.path())
        // Of Open MPI; others do not look at them.
        .env("OMPI_ALLOW_RUN_AS_ROOT", "1")
        .env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")
        .env("OMPI_MCA_rmaps_base_oversubscribe", "1")
        // Sockets and session files of Open MPI have long names there.
        .env("TMPDIR", directory.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // One group, so that all of it can be ended.
        .process_group(0);
    let mut child = command.spawn().expect("the launcher of MPI (MPIRUN)");
    let group = child.id() as i32;
    let streams: [Box<dyn Read + Send>; 2] =
        [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
    let readers = streams.map(|mut stream| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = stream.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        })
    });
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            // SAFETY: a group that was made for this child, which has not been waited for.
            unsafe { libc::kill(-group, libc::SIGKILL) };
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let output = readers.map(|reader| reader.join().unwrap()).concat();
    assert_ne!(status.signal(), Some(libc::SIGKILL), "{scenario} with {ranks} ranks hung:\n{output}");
    // Lines of ranks can run into each other: files cannot.
    let names = std::fs::read_dir(directory.path()).unwrap().flatten().map(|entry| entry.file_name());
    let passed = names.filter(|name| name.to_string_lossy().starts_with(PASSED)).count();
    Job { status, output, passed }
}

/// All ranks have to end well.
fn run(ranks: u32, scenario: &str) {
    let job = launch(ranks, scenario);
    assert!(job.status.success() && job.passed == ranks as usize, "{scenario} with {ranks} ranks:\n{}", job.output);
}

#[test]
fn conforms() {
    run(CONFORMANCE_GOVERNORS as u32 + 1, "conformance");
}

#[test]
fn a_world_says_what_it_is() {
    for ranks in [1, 2, 4, 8] {
        run(ranks, "gather");
    }
}

#[test]
fn all_to_all_with_large_and_small_content() {
    for ranks in [1, 2, 4, 8] {
        run(ranks, "all_to_all");
    }
}

#[test]
fn objects_go_from_store_to_store_and_their_memory_is_used_again() {
    run(3, "stores");
}

#[test]
fn a_governor_that_ends_is_lost_to_the_others() {
    run(4, "one_ends");
}

#[test]
fn an_owner_that_takes_nothing_stops_its_peers_not_their_memory() {
    run(2, "slow_owner");
}

#[test]
fn messages_in_flight_at_the_end_do_not_keep_anybody() {
    run(3, "end_amidst");
}

#[test]
fn an_abort_ends_all_ranks_with_its_code() {
    let job = launch(4, "abort");
    assert!(!job.status.success(), "{}", job.output);
    assert!(!job.output.contains("1 passed"), "{}", job.output);
    // Hydra gives the code of a rank that was killed.
    if job.output.contains("MPI_ABORT was invoked") {
        assert_eq!(job.status.code(), Some(7), "{}", job.output);
    }
}

#[test]
fn a_rank_that_dies_ends_all() {
    let job = launch(4, "die");
    assert!(!job.status.success(), "{}", job.output);
    assert!(!job.output.contains("1 passed"), "{}", job.output);
}

// The side that is launched ---------------------------------------------------------------------------------------------

/// Not a test by itself: one rank of a job.
#[test]
#[ignore = "started by the tests"]
fn rank() {
    let Ok(scenario) = std::env::var(SCENARIO) else { return };
    let world = World::begin().unwrap();
    let passed = PathBuf::from(std::env::var_os(DIRECTORY).unwrap()).join(format!("{PASSED}{}", world.rank()));
    match &*scenario {
        "conformance" => conformance(world),
        "gather" => gather(world),
        "all_to_all" => all_to_all(world),
        "stores" => stores(world),
        "one_ends" => one_ends(world),
        "slow_owner" => slow_owner(world),
        "end_amidst" => end_amidst(world),
        "abort" => abort(world),
        "die" => die(world),
        other => panic!("no scenario {other}"),
    }
    std::fs::write(passed, b"").unwrap();
}

/// Waits until these ranks are here, without MPI.
fn meet(name: &str, rank: u32, ranks: Range<u32>) {
    let directory = PathBuf::from(std::env::var_os(DIRECTORY).unwrap());
    std::fs::write(directory.join(format!("{name}-{rank}")), b"").unwrap();
    let deadline = Instant::now() + PATIENCE / 2;
    while !ranks.clone().all(|rank| directory.join(format!("{name}-{rank}")).exists()) {
        assert!(Instant::now() < deadline, "not all ranks came to {name}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

struct End {
    transport: MpiTransport<Vec<u8>>,
    bell: Receiver<()>,
    rank: u32,
    size: u32,
}

impl End {
    fn new(world: World) -> Self {
        let (ring, bell) = channel();
        let (rank, size) = (world.rank(), world.size());
        let wake: Wake = Arc::new(move || ring.send(()).unwrap_or_default());
        Self { transport: world.into_transport((), wake), bell, rank, size }
    }

    fn next(&mut self) -> TransportEvent<Vec<u8>> {
        loop {
            if let Some(event) = self.transport.try_receive() {
                return event;
            }
            self.bell.recv_timeout(PATIENCE / 2).expect("an event");
        }
    }

    fn peers(&self) -> Vec<Peer> {
        (0..self.size).filter(|rank| *rank != self.rank).map(peer).collect()
    }

    fn meet(&self, name: &str) {
        meet(name, self.rank, 0..self.size);
    }
}

fn peer(rank: u32) -> Peer {
    rank.checked_sub(1).map_or(Peer::Server, |governor| Peer::Governor(GovernorId(governor)))
}

fn conformance(world: World) {
    let (wake, bell) = Bell::new();
    let (rank, size) = (world.rank(), world.size());
    let transport = world.into_transport((), wake);
    check_endpoint(rank as usize, transport, bell, || meet("heard", rank, 0..size));
}

fn gather(world: World) {
    assert_eq!(World::launcher_size(), Some(world.size()));
    assert!(!world.library().is_empty());
    for round in 0..3 {
        let of = |rank: u32| vec![rank as u8; (rank as usize * 1000 + round) % 5000];
        let all = world.all_gather(of(world.rank())).unwrap();
        assert_eq!(all, (0..world.size()).map(of).collect::<Vec<_>>());
    }
    let all = world.all_gather(Vec::new()).unwrap();
    assert_eq!(all, vec![Vec::<u8>::new(); world.size() as usize]);
    world.finish();
}

fn content(from: u32, to: u32, number: u32) -> Vec<u8> {
    // Empty, in the head, just in a piece, of several pieces, with a short last one.
    let lengths = [0, 100, 65_536, 65_537, 1 << 20, 3 * (1 << 20) + 17, 30];
    let length = lengths[(from + 2 * to + number) as usize % lengths.len()];
    (0..length).map(|index: usize| (index as u32 ^ (from * 7 + to * 31 + number)) as u8).collect()
}

fn object(from: u32, to: u32, number: u32) -> Message<Vec<u8>> {
    let content = Ok(content(from, to, number));
    if to == 0 {
        return Message::FromGovernor(FromGovernor::Fetched { ticket: u64::from(number), content });
    }
    Message::BetweenGovernors(BetweenGovernors::Object { session: SessionId(from), object: number, content })
}

fn word(from: u32, number: u32) -> Message<Vec<u8>> {
    Message::BetweenGovernors(BetweenGovernors::Want { session: SessionId(from), object: number })
}

/// Everybody sends content and many small messages to everybody; each kind comes whole, once, in order.
fn all_to_all(world: World) {
    const OBJECTS: u32 = 14;
    const WORDS: u32 = 3_000;
    let mut end = End::new(world);
    let (me, size) = (end.rank, end.size);
    for number in 0..WORDS {
        for to in (0..size).filter(|to| *to != me) {
            end.transport.send(peer(to), word(me, number));
            if number % (WORDS / OBJECTS) == 0 && number / (WORDS / OBJECTS) < OBJECTS {
                end.transport.send(peer(to), object(me, to, number / (WORDS / OBJECTS)));
            }
        }
    }
    let mut objects = vec![0; size as usize];
    let mut words = vec![0; size as usize];
    let all = |counts: &[u32], wanted| counts.iter().enumerate().all(|(n, count)| n as u32 == me || *count == wanted);
    while !(all(&objects, OBJECTS) && all(&words, WORDS)) {
        let TransportEvent::Message { from, message } = end.next() else { panic!("nobody ends yet") };
        let from = (0..size).find(|rank| peer(*rank) == from).unwrap();
        let (number, found) = match message {
            Message::BetweenGovernors(BetweenGovernors::Want { session, object }) => {
                assert_eq!((session, object), (SessionId(from), words[from as usize]));
                words[from as usize] += 1;
                continue;
            }
            Message::BetweenGovernors(BetweenGovernors::Object { object, content, .. }) => (object, content),
            Message::FromGovernor(FromGovernor::Fetched { ticket, content }) => (ticket as u32, content),
            other => panic!("unexpected {other:?}"),
        };
        assert_eq!(number, objects[from as usize]);
        assert!(found == Ok(content(from, me, number)), "content {number} from {from}");
        objects[from as usize] += 1;
    }
    end.meet("all");
}

/// Governors send each other objects out of their stores, which are dropped now and then.
fn stores(world: World) {
    const OBJECTS: u32 = 40;
    // In memory, if that is possible, where memory is used again.
    let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let store = Arc::new(Store::create(directory.path()).unwrap());
    let (ring, bell) = channel();
    let (rank, size) = (world.rank(), world.size());
    let wake: Wake = Arc::new(move || ring.send(()).unwrap_or_default());
    let mut transport: MpiTransport<Arc<Object>> = world.into_transport(store.clone(), wake);
    let bytes = |from: u32, number: u32| {
        let length = [70_000, 1_500_000, 9_000_001, 4_000_000, 10][number as usize % 5];
        (0..length).map(|index: u32| (index ^ (index >> 9) ^ (number * 16 + from)) as u8).collect::<Vec<u8>>()
    };
    let other = peer(3 - rank.clamp(1, 2));
    let mut kept = Vec::new();
    for number in (0..OBJECTS).filter(|_| rank > 0) {
        let content = Ok(Arc::new(store.blob(bytes(rank, number), Some("text")).unwrap()));
        let message = BetweenGovernors::Object { session: SessionId(1), object: number, content };
        transport.send(other, Message::BetweenGovernors(message));
        // Each waits for the other's, so that what is dropped can be used for the next.
        let content = loop {
            match transport.try_receive() {
                Some(TransportEvent::Message {
                    message: Message::BetweenGovernors(BetweenGovernors::Object { object, content, .. }),
                    ..
                }) => {
                    assert_eq!(object, number);
                    break content.unwrap();
                }
                Some(other) => panic!("unexpected {other:?}"),
                None => bell.recv_timeout(PATIENCE / 2).expect("an event"),
            }
        };
        assert_eq!(content.content_type(), Some("text"));
        assert!(*content.contents().unwrap() == bytes(3 - rank, number), "object {number}");
        if content.size() > 1 << 20 {
            let file = std::fs::read(content.path(&store).unwrap()).unwrap();
            assert!(file == bytes(3 - rank, number), "file of object {number}");
        }
        if number % 7 == 0 {
            kept.push((number, content));
        }
    }
    for (number, content) in &kept {
        assert!(*content.contents().unwrap() == bytes(3 - rank, *number), "object {number}, later");
    }
    meet("stored", rank, 0..size);
}

/// The last governor ends; the server is told, and whoever it had to do with, and who then sends to it.
fn one_ends(world: World) {
    let mut end = End::new(world);
    let last = end.size - 1;
    if end.rank == last {
        end.transport.send(peer(1), word(last, 1));
        end.meet("sent");
        drop(end);
        return;
    }
    if end.rank == 1 {
        assert!(matches!(end.next(), TransportEvent::Message { from, .. } if from == peer(last)));
    }
    end.meet("sent");
    if end.rank == 2 {
        // It has not heard of it so far.
        end.transport.send(peer(last), word(2, 5));
    }
    let TransportEvent::Lost { peer: lost, why } = end.next() else { panic!("nothing is sent") };
    assert_eq!((lost, &*why), (peer(last), "it has ended"));
    // Dropped.
    end.transport.send(peer(last), word(end.rank, 6));
    meet("lost", end.rank, 0..last);
    if end.rank == 0 {
        // Those that stay go on.
        end.transport.send(peer(1), Message::ToGovernor(ToGovernor::Stop));
    } else if end.rank == 1 {
        let next = end.next();
        assert!(matches!(&next, TransportEvent::Message { from: Peer::Server, .. }), "{next:?}");
    }
}

fn resident_bytes() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// 600 MB of small content, of which the receiver takes nothing for a while.
fn slow_owner(world: World) {
    const MESSAGES: u64 = 10_000;
    const LENGTH: usize = 60_000;
    let mut end = End::new(world);
    if end.rank == 1 {
        for ticket in 0..MESSAGES {
            let content = Ok(vec![ticket as u8; LENGTH]);
            end.transport.send(Peer::Server, Message::FromGovernor(FromGovernor::Fetched { ticket, content }));
        }
        end.meet("sent");
        end.meet("taken");
        return;
    }
    end.meet("sent");
    let before = resident_bytes();
    // So much comes at once, and then nothing more.
    let mut last = 0;
    let mut steady = 0;
    while steady < 10 {
        std::thread::sleep(Duration::from_millis(50));
        let now = resident_bytes();
        steady = if now == last { steady + 1 } else { 0 };
        last = now;
    }
    let grown = last.saturating_sub(before);
    assert!(grown < 200 << 20, "{grown} bytes were received that nobody took");
    for expected in 0..MESSAGES {
        match end.next() {
            TransportEvent::Message {
                message: Message::FromGovernor(FromGovernor::Fetched { ticket, content }),
                ..
            } => {
                assert_eq!((ticket, content), (expected, Ok(vec![expected as u8; LENGTH])));
            }
            other => panic!("unexpected {other:?}"),
        }
    }
    end.meet("taken");
}

/// All send much and end without waiting for what others send.
fn end_amidst(world: World) {
    let mut end = End::new(world);
    for number in 0..50 {
        for to in end.peers() {
            let content = Ok(vec![1; 5_000_000]);
            let message = BetweenGovernors::Object { session: SessionId(1), object: number, content };
            end.transport.send(to, Message::BetweenGovernors(message));
            end.transport.send(to, word(end.rank, number));
        }
    }
    if end.rank == 1 {
        end.next();
    }
}

fn abort(world: World) {
    let mut end = End::new(world);
    if end.rank == 2 {
        let abort = end.transport.abort_handle();
        std::thread::spawn(move || abort.abort(7));
    }
    end.next();
}

fn die(world: World) {
    let mut end = End::new(world);
    if end.rank == 2 {
        // SAFETY: ends this process.
        unsafe { libc::raise(libc::SIGKILL) };
    }
    end.next();
}
