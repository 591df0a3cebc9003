//! Clients that are sent much, and read little.

use super::*;
use rain_transport::clients::Rest;
use rain_transport::content::Content;

#[test]
fn a_client_that_does_not_read_is_not_read_from() {
    let mut fixture = Fixture::new();
    let (mut stream, client) = fixture.connect_unix();
    let chunk = vec![7u8; 1 << 20];
    for _ in 0..70 {
        fixture.front.send(client, chunk.clone().into());
    }
    stream.write_all(&status_request(1)).unwrap();
    fixture.expect_nothing();
    fixture.during(|| {
        let mut received = vec![0; 70 << 20];
        stream.read_exact(&mut received).unwrap();
        assert!(received.iter().all(|&byte| byte == 7));
    });
    assert!(matches!(fixture.next(), FrontEvent::Request { id: 1, .. }));
    assert!(fixture.front.connections[&client].outbox.is_empty());
}

#[test]
fn requests_wait_while_the_answers_to_others_do() {
    const REQUESTS: u64 = 100;
    let mut fixture = Fixture::new();
    let (mut stream, client) = fixture.connect_unix();
    let requests: Vec<u8> = (0..REQUESTS).flat_map(status_request).collect();
    stream.write_all(&requests).unwrap();
    let answer = vec![7; 1 << 20];
    // All of them have come, and each is answered as soon as it is handed out.
    let mut answered = 0;
    let mut answer_all = |fixture: &mut Fixture| {
        fixture.front.poll(Some(Duration::from_millis(5))).unwrap();
        while let Some(event) = fixture.front.next_event() {
            assert!(matches!(event, FrontEvent::Request { id, .. } if id == answered));
            fixture.front.send(client, ok_frame(answered, &serde_bytes::Bytes::new(&answer)).into());
            answered += 1;
        }
        assert!(fixture.front.waiting_bytes(client) <= OUTPUT_BYTES_HIGH + (2 << 20));
        answered
    };
    for _ in 0..5 {
        assert!(answer_all(&mut fixture) < REQUESTS / 2);
    }
    let reader = thread::spawn(move || {
        for id in 0..REQUESTS {
            assert_eq!(head(&read_frame(&mut stream)), ("ok".to_owned(), id));
        }
        stream
    });
    let deadline = Instant::now() + PATIENCE;
    while !reader.is_finished() {
        assert!(Instant::now() < deadline, "the answers do not come");
        answer_all(&mut fixture);
    }
    let _stream = reader.join().unwrap();
    assert_eq!(answer_all(&mut fixture), REQUESTS);
}

#[test]
fn a_client_that_is_held_is_not_listened_to() {
    let mut fixture = Fixture::new();
    let (mut stream, client) = fixture.connect_unix();
    let (mut other, _) = fixture.connect_unix();
    stream.write_all(&[status_request(1), status_request(2)].concat()).unwrap();
    assert!(matches!(fixture.front_event(), FrontEvent::Request { id: 1, .. }));
    fixture.front.hold(client);
    other.write_all(&status_request(3)).unwrap();
    assert!(matches!(fixture.next(), FrontEvent::Request { id: 3, .. }));
    fixture.expect_nothing();
    fixture.front.go_on(client);
    assert!(matches!(fixture.next(), FrontEvent::Request { id: 2, .. }));
    fixture.front.hold(client);
    fixture.front.refuse(client, 2, RequestError::protocol("no"));
    assert_eq!(fixture.during(|| read_refusal(&mut stream)), "no");
    assert!(matches!(fixture.next(), FrontEvent::Closed { client: c } if c == client));
}

/// Content that counts what was read of it.
struct Counting {
    bytes: Vec<u8>,
    read: std::sync::atomic::AtomicUsize,
    /// Reading from here on fails.
    broken_at: usize,
}

impl Content for Counting {
    fn length(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let end = offset as usize + into.len();
        if end > self.broken_at {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        into.copy_from_slice(&self.bytes[offset as usize..end]);
        self.read.fetch_add(into.len(), std::sync::atomic::Ordering::SeqCst);
        Ok(())
    }
}

impl Counting {
    fn new(length: usize, broken_at: usize) -> Arc<Self> {
        let bytes = (0..length).map(|place| (place % 251) as u8).collect();
        Arc::new(Self { bytes, read: Default::default(), broken_at })
    }

    fn read(&self) -> usize {
        self.read.load(std::sync::atomic::Ordering::SeqCst)
    }
}

#[test]
fn content_is_read_when_its_turn_comes_and_not_before() {
    const LENGTH: usize = 40 << 20;
    let mut fixture = Fixture::new();
    let (mut stream, client) = fixture.connect_unix();
    let content = Counting::new(LENGTH, LENGTH);
    let range = 1000..LENGTH as u64 - 1000;
    for head in [vec![1; 10], vec![2; 100_000]] {
        let rest = Rest::Content(content.clone(), range.clone());
        fixture.front.send(client, ReplyFrame { head, rest });
    }
    fixture.front.send(client, vec![3; 5].into());
    assert_eq!(fixture.front.waiting_bytes(client), 100_015 + 2 * (range.end - range.start));
    for _ in 0..200 {
        fixture.turn(Duration::ZERO);
    }
    // What nobody reads is in the socket, and a piece or two of memory.
    assert!(content.read() < LENGTH / 4, "{} bytes were read", content.read());
    let body = &content.bytes[1000..LENGTH - 1000];
    let expected = [&[1; 10][..], body, &[2; 100_000], body, &[3; 5]].concat();
    let received = fixture.during(|| {
        let mut received = vec![0; expected.len()];
        stream.read_exact(&mut received).unwrap();
        received
    });
    assert!(received == expected);
    assert_eq!(content.read(), 2 * body.len());
    assert_eq!(fixture.front.waiting_bytes(client), 0);
    fixture.expect_nothing();
}

#[test]
fn content_that_cannot_be_read_any_more_ends_its_connection_only() {
    let mut fixture = Fixture::new();
    let (_bystander, bystander) = fixture.connect_unix();
    let (mut stream, client) = fixture.connect_unix();
    let rest = Rest::Content(Counting::new(4 << 20, 1 << 20), 0..4 << 20);
    fixture.front.send(client, ReplyFrame { head: vec![1; 10], rest });
    let received = fixture.during(|| {
        let mut received = Vec::new();
        stream.read_to_end(&mut received).unwrap();
        received
    });
    assert_eq!(received.len(), 10 + (1 << 20));
    assert!(matches!(fixture.next(), FrontEvent::Closed { client: c } if c == client));
    assert_eq!(fixture.front.connections.keys().collect::<Vec<_>>(), [&bystander]);
}
