//! The front against well-behaved and hostile peers, over real sockets.

mod output;

use super::*;
use rain_protocol::client::{ErrorKind, Hello, Request, Submit, decode_request, ok_frame, reply_frame};
use rain_protocol::msgpack::{FRAME_BYTES_MAX, FRAME_BYTES_MAX_BEFORE_HELLO, decode};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::thread;

const TOKEN: &str = "00112233445566778899aabbccddeeff";
const PATIENCE: Duration = Duration::from_secs(20);

struct Fixture {
    front: ClientFront,
    address: std::net::SocketAddr,
    directory: tempfile::TempDir,
    /// Events that came and were not asked for yet.
    events: VecDeque<FrontEvent>,
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let socket_path = Some(directory.path().join("client.sock"));
        let front = ClientFront::new(FrontConfig { tcp: Some(listener), socket_path, token: TOKEN.into() }).unwrap();
        Self { front, address, directory, events: VecDeque::new() }
    }

    fn tcp(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn unix(&self) -> UnixStream {
        let stream = UnixStream::connect(self.directory.path().join("client.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn turn(&mut self, timeout: Duration) {
        self.front.poll(Some(timeout)).unwrap();
        self.events.extend(std::iter::from_fn(|| self.front.next_event()));
    }

    /// Turns until an event is there.
    fn next(&mut self) -> FrontEvent {
        let deadline = Instant::now() + PATIENCE;
        while self.events.is_empty() {
            assert!(Instant::now() < deadline, "no event came");
            self.turn(Duration::from_millis(50));
        }
        self.events.pop_front().unwrap()
    }

    /// Turns until there is an event, and leaves those behind it where they are.
    fn front_event(&mut self) -> FrontEvent {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(event) = self.front.next_event() {
                return event;
            }
            assert!(Instant::now() < deadline, "no event came");
            self.front.poll(Some(Duration::from_millis(50))).unwrap();
        }
    }

    /// Runs the front while `client` does its part on another thread.
    fn during<T: Send>(&mut self, client: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let client = scope.spawn(client);
            let deadline = Instant::now() + PATIENCE;
            while !client.is_finished() {
                assert!(Instant::now() < deadline, "the client waits for something that does not come");
                self.turn(Duration::from_millis(5));
            }
            client.join().unwrap()
        })
    }

    fn connect_unix(&mut self) -> (UnixStream, ClientId) {
        let mut stream = self.unix();
        let reply = self.during(|| {
            stream.write_all(&hello(None)).unwrap();
            read_frame(&mut stream)
        });
        assert_eq!(head(&reply), ("ok".to_owned(), 0));
        let FrontEvent::Connected { client, local: true, .. } = self.next() else { panic!("not connected") };
        (stream, client)
    }

    fn expect_nothing(&mut self) {
        for _ in 0..3 {
            self.turn(Duration::from_millis(5));
        }
        assert!(self.events.is_empty(), "{:?}", self.events);
    }
}

fn hello(token: Option<&str>) -> Vec<u8> {
    hello_of(PROTOCOL_VERSION, token)
}

fn hello_of(version: u32, token: Option<&str>) -> Vec<u8> {
    let token = token.map(str::to_owned);
    reply_frame("hello", 0, &Hello { version, client: "test 1".into(), token, python: Some("/usr/bin/python3".into()) })
        .unwrap()
}

fn read_frame(stream: &mut dyn Stream) -> Vec<u8> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut body = vec![0; u32::from_le_bytes(length) as usize];
    stream.read_exact(&mut body).unwrap();
    body
}

fn head(body: &[u8]) -> (String, u64) {
    let (head, id, _): (String, u64, serde::de::IgnoredAny) = decode(body).unwrap();
    (head, id)
}

/// Reads an error and then the end of the stream.
fn read_refusal(stream: &mut dyn Stream) -> String {
    let body = read_frame(stream);
    let (head, _, error): (String, u64, RequestError) = decode(&body).unwrap();
    assert_eq!(head, "error");
    assert_eq!(error.kind, ErrorKind::Protocol);
    assert_eq!(stream.read(&mut [0; 16]).unwrap(), 0);
    error.message
}

fn status_request(id: u64) -> Vec<u8> {
    reply_frame("status", id, &std::collections::BTreeMap::<String, u32>::new()).unwrap()
}

#[test]
fn a_client_connects_asks_and_leaves_over_both_sockets() {
    let mut fixture = Fixture::new();
    let greeting = HelloReply { version: 1, server: "x".into(), pid: 7, governors: 3, cpus: 10, local: false };
    fixture.front.set_greeting(greeting);
    let address = fixture.address;
    let streams: [Box<dyn Stream>; 2] = [Box::new(fixture.tcp()), Box::new(fixture.unix())];
    for (stream, local) in streams.into_iter().zip([false, true]) {
        let mut stream = stream;
        let reply = fixture.during(|| {
            stream.write_all(&hello(Some(TOKEN))).unwrap();
            stream.write_all(&status_request(9)).unwrap();
            read_frame(&mut stream)
        });
        let (head, id, reply): (String, u64, HelloReply) = decode(&reply).unwrap();
        assert_eq!((head.as_str(), id, reply.governors, reply.cpus, reply.local), ("ok", 0, 3, 10, local));
        let FrontEvent::Connected { client, local: is_local, python, name } = fixture.next() else {
            panic!("not connected to {address}")
        };
        assert_eq!((is_local, python.as_deref(), name.as_str()), (local, Some("/usr/bin/python3"), "test 1"));
        let request = fixture.next();
        assert!(matches!(request, FrontEvent::Request { client: c, id: 9, request: Request::Status } if c == client));
        fixture.front.send(client, ok_frame(9, &0).into());
        fixture.turn(Duration::ZERO);
        assert_eq!(self::head(&read_frame(&mut stream)), ("ok".to_owned(), 9));
        drop(stream);
        assert!(matches!(fixture.next(), FrontEvent::Closed { client: c } if c == client));
        fixture.front.send(client, ok_frame(10, &0).into());
        fixture.expect_nothing();
    }
    assert!(fixture.front.connections.is_empty());
}

#[test]
fn the_waker_wakes() {
    let mut fixture = Fixture::new();
    let wake = fixture.front.wake();
    thread::spawn(move || wake());
    assert!(matches!(fixture.next(), FrontEvent::Woken));
    fixture.expect_nothing();
}

#[test]
fn a_bad_handshake_is_refused_with_a_reason() {
    let relative_python = Hello { version: 1, client: "c".into(), token: None, python: Some("python3".into()) };
    let cases: [(bool, Vec<u8>, &str); 8] = [
        (true, hello(None), "token"),
        (true, hello(Some("")), "token"),
        (true, hello(Some("00112233445566778899aabbccddeefg")), "token"),
        (true, hello(Some(&TOKEN[1..])), "token"),
        (false, hello_of(2, None), "version 1, the client version 2"),
        (false, status_request(1), "must be hello"),
        (false, reply_frame("hello", 0, &relative_python).unwrap(), "absolute"),
        (true, reply_frame("stop", 1, &std::collections::BTreeMap::<String, u32>::new()).unwrap(), "must be hello"),
    ];
    let mut fixture = Fixture::new();
    for (tcp, first, expected) in cases {
        let mut stream: Box<dyn Stream> = if tcp { Box::new(fixture.tcp()) } else { Box::new(fixture.unix()) };
        let message = fixture.during(|| {
            stream.write_all(&first).unwrap();
            read_refusal(&mut stream)
        });
        assert!(message.contains(expected), "{message}");
        drop(stream);
        fixture.expect_nothing();
    }
    assert!(fixture.front.connections.is_empty());
    assert!(fixture.front.ungreeted.iter().chain([&fixture.front.lingering]).all(VecDeque::is_empty));
}

#[test]
fn garbage_is_refused_on_both_sockets_before_and_after_the_handshake() {
    let garbage: [Vec<u8>; 6] = [
        b"GET / HTTP/1.1\r\nHost: localhost:7210\r\n\r\n".to_vec(),
        vec![0xff; 64],
        vec![0; 64],
        [&5u32.to_le_bytes()[..], b"\x93\xa5hello"].concat(),
        [&8u32.to_le_bytes()[..], &[0xdd, 0xff, 0xff, 0xff, 0xff, 0xc6, 0xff, 0xff]].concat(),
        [&100_000u32.to_le_bytes()[..], &vec![0x91; 100_000]].concat(),
    ];
    let mut fixture = Fixture::new();
    let (_bystander, bystander) = fixture.connect_unix();
    for bytes in garbage {
        for greeted in [false, true] {
            for tcp in [false, true] {
                let mut stream: Box<dyn Stream> = if tcp { Box::new(fixture.tcp()) } else { Box::new(fixture.unix()) };
                fixture.during(|| {
                    if greeted {
                        stream.write_all(&hello(Some(TOKEN))).unwrap();
                        assert_eq!(head(&read_frame(&mut stream)).0, "ok");
                    }
                    stream.write_all(&bytes).unwrap();
                    read_refusal(&mut stream)
                });
                if greeted {
                    let FrontEvent::Connected { client, .. } = fixture.next() else { panic!("not connected") };
                    assert!(matches!(fixture.next(), FrontEvent::Closed { client: c } if c == client));
                }
                drop(stream);
                fixture.expect_nothing();
            }
        }
    }
    assert_eq!(fixture.front.connections.keys().collect::<Vec<_>>(), [&bystander]);
}

#[test]
fn an_oversized_frame_is_refused_by_its_header() {
    let mut fixture = Fixture::new();
    let mut stream = fixture.tcp();
    let message = fixture.during(|| {
        stream.write_all(&(FRAME_BYTES_MAX_BEFORE_HELLO as u32 + 1).to_le_bytes()).unwrap();
        read_refusal(&mut stream)
    });
    assert!(message.contains("65537 bytes"), "{message}");

    let (mut stream, client) = fixture.connect_unix();
    let message = fixture.during(|| {
        // One byte at a time, so that the header is completed in the frame's own buffer.
        for byte in (FRAME_BYTES_MAX as u32 + 1).to_le_bytes() {
            stream.write_all(&[byte]).unwrap();
            thread::sleep(Duration::from_millis(10));
        }
        read_refusal(&mut stream)
    });
    assert!(message.contains("268435457 bytes"), "{message}");
    assert!(matches!(fixture.next(), FrontEvent::Closed { client: c } if c == client));
}

#[test]
fn a_refused_peer_that_goes_on_sending_still_reads_why() {
    let mut fixture = Fixture::new();
    let mut stream = fixture.tcp();
    let message = fixture.during(|| {
        stream.write_all(&u32::MAX.to_le_bytes()).unwrap();
        stream.write_all(&vec![7; 3 << 20]).unwrap();
        read_refusal(&mut stream)
    });
    assert!(message.contains("longer than"), "{message}");
}

#[test]
fn a_half_sent_frame_costs_its_bytes_only_and_nobody_waits_for_it() {
    let mut fixture = Fixture::new();
    let (mut half, half_id) = fixture.connect_unix();
    half.write_all(&(200u32 << 20).to_le_bytes()).unwrap();
    half.write_all(&[0x93, 1, 2, 3]).unwrap();
    fixture.expect_nothing();
    assert!(fixture.front.connections[&half_id].inbox_capacity() <= 16 << 10);
    let (mut other, _) = fixture.connect_unix();
    other.write_all(&status_request(1)).unwrap();
    assert!(matches!(fixture.next(), FrontEvent::Request { id: 1, .. }));
    drop(half);
    assert!(matches!(fixture.next(), FrontEvent::Closed { client } if client == half_id));
}

#[test]
fn frames_come_out_whole_however_they_are_cut() {
    let mut fixture = Fixture::new();
    let (mut stream, _) = fixture.connect_unix();
    let bytes: Vec<u8> = (0..20).flat_map(status_request).collect();
    for cut in [1, 3, 5, 7, 64, bytes.len()] {
        fixture.during(|| {
            for piece in bytes.chunks(cut) {
                stream.write_all(piece).unwrap();
                thread::yield_now();
            }
        });
        for expected in 0..20 {
            assert!(matches!(fixture.next(), FrontEvent::Request { id, .. } if id == expected));
        }
    }
    fixture.expect_nothing();
}

#[test]
fn a_large_submit_arrives_and_a_small_client_is_served_meanwhile() {
    let mut fixture = Fixture::new();
    let (mut stream, _) = fixture.connect_unix();
    let (mut small, small_id) = fixture.connect_unix();
    let (_, Request::Submit(mut submit)) =
        decode_request(&reply_frame("submit", 1, &std::collections::BTreeMap::from([("session", 1)])).unwrap()[4..])
            .unwrap()
    else {
        panic!("not a submit")
    };
    submit.inputs = serde_bytes::ByteBuf::from((0..30 << 20).map(|i| i as u8).collect::<Vec<_>>());
    let frame = reply_frame::<Submit>("submit", 5, &submit).unwrap();
    small.write_all(&status_request(6)).unwrap();
    let start = Instant::now();
    fixture.during(|| stream.write_all(&frame).unwrap());
    let mut order = Vec::new();
    while order.len() < 2 {
        match fixture.next() {
            FrontEvent::LargeRequest { frame, .. } => {
                let (id, Request::Submit(received)) = decode_request(&frame[4..]).unwrap() else { panic!("no submit") };
                assert!(received.inputs == submit.inputs);
                order.push(id);
            }
            FrontEvent::Request { client, id, .. } => {
                assert_eq!(client, small_id);
                order.push(id);
            }
            _ => {}
        }
    }
    println!("30 MiB submit read in {:?}", start.elapsed());
    assert_eq!(order, [6, 5]);
}

#[test]
fn a_client_that_dies_with_output_waiting_is_reported_once() {
    let mut fixture = Fixture::new();
    let (stream, client) = fixture.connect_unix();
    fixture.front.send(client, vec![7u8; 80 << 20].into());
    fixture.turn(Duration::ZERO);
    drop(stream);
    fixture.front.send(client, vec![7u8; 1 << 20].into());
    assert!(matches!(fixture.next(), FrontEvent::Closed { client: c } if c == client));
    fixture.expect_nothing();
}

#[test]
fn silent_connections_are_few_and_do_not_keep_others_out() {
    let mut fixture = Fixture::new();
    let mut silent: Vec<UnixStream> = Vec::new();
    for _ in 0..UNGREETED_CONNECTIONS_MAX + 20 {
        silent.push(fixture.unix());
        fixture.turn(Duration::ZERO);
    }
    fixture.expect_nothing();
    assert_eq!(fixture.front.connections.len(), UNGREETED_CONNECTIONS_MAX);
    assert_eq!(silent[0].read(&mut [0; 1]).unwrap(), 0);
    let (_stream, _) = fixture.connect_unix();
}

#[test]
fn a_silent_connection_is_dropped_after_a_while_and_no_timer_is_left() {
    let mut fixture = Fixture::new();
    let mut silent = fixture.tcp();
    fixture.expect_nothing();
    assert!(fixture.front.wait_time(None).is_some_and(|wait| wait <= HANDSHAKE_TIME_MAX + Duration::from_millis(1)));
    let (overdue, _) = &mut fixture.front.ungreeted[Listener::Tcp as usize][0];
    *overdue = Instant::now();
    fixture.expect_nothing();
    assert_eq!(silent.read(&mut [0; 1]).unwrap(), 0);
    assert_eq!(fixture.front.wait_time(None), None);
    let (_stream, _) = fixture.connect_unix();
    assert_eq!(fixture.front.wait_time(None), None);
}

#[test]
fn a_second_hello_is_refused() {
    let mut fixture = Fixture::new();
    let (mut stream, client) = fixture.connect_unix();
    let message = fixture.during(|| {
        stream.write_all(&hello(None)).unwrap();
        read_refusal(&mut stream)
    });
    assert!(message.contains("before"));
    assert!(matches!(fixture.next(), FrontEvent::Closed { client: c } if c == client));
}

#[test]
fn what_is_queued_gets_away_at_stop_and_the_socket_is_removed() {
    let mut fixture = Fixture::new();
    let (mut stream, client) = fixture.connect_unix();
    let (_idle, idle) = fixture.connect_unix();
    fixture.front.send(client, vec![7u8; 8 << 20].into());
    fixture.front.send(idle, vec![7u8; 8 << 20].into());
    let reader = thread::spawn(move || {
        let mut received = Vec::new();
        stream.read_to_end(&mut received).unwrap();
        received.len()
    });
    // The second client reads nothing: this does not wait for it for ever.
    fixture.front.flush_and_close(Duration::from_millis(300));
    assert_eq!(reader.join().unwrap(), 8 << 20);
    assert!(!fixture.directory.path().join("client.sock").exists());
    assert!(TcpStream::connect(fixture.address).is_err());
}

#[test]
fn another_user_is_refused_on_the_unix_socket() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: only root can become somebody else");
        return;
    }
    let mut fixture = Fixture::new();
    let path = fixture.directory.path().join("client.sock");
    let open = |path: &std::path::Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode));
    open(fixture.directory.path(), 0o755).unwrap();
    open(&path, 0o666).unwrap();
    let script = "import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); \
                  sys.stdout.buffer.write(b''.join(iter(lambda: s.recv(4096), b'')))";
    let mut command = std::process::Command::new("python3");
    std::os::unix::process::CommandExt::uid(&mut command, 65534);
    command.args(["-c", script]).arg(&path).current_dir("/");
    let output = fixture.during(|| command.output().unwrap());
    let (head, _, error): (String, u64, RequestError) = decode(&output.stdout[4..]).unwrap();
    assert_eq!((head.as_str(), error.kind), ("error", ErrorKind::Protocol));
    assert!(error.message.contains("another user"));
    fixture.expect_nothing();
}
