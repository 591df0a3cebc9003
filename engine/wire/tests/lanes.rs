//! Lanes against each other, without a network between them.

use rain_io::IoThreads;
use rain_protocol::peer::{FromGovernor, Message};
use rain_wire::checksum::Checksum;
use rain_wire::lane::{LaneIn, LaneOut, Piece};
use rain_wire::message::MessageError;
use rain_wire::plain_bytes::UNREADABLE;
use std::sync::Arc;

const LENGTHS: [usize; 6] = [0, 10, 70_000, 100_000, 5, 3_000_000];

enum Sent {
    Head(Vec<u8>),
    Content(Vec<u8>),
    /// Why the rest of a content cannot be read, and how much that would be.
    Spoiled(String, usize),
}

fn lane_out(piece_bytes: usize) -> LaneOut {
    LaneOut::new(IoThreads::start(2).unwrap(), Arc::new(|| ()), piece_bytes)
}

fn lane_in() -> LaneIn<Vec<u8>> {
    LaneIn::new(IoThreads::start(2).unwrap(), (), Arc::new(|| ()))
}

fn content(number: usize) -> Vec<u8> {
    (0..LENGTHS[number]).map(|byte| (byte % 251 + number) as u8).collect()
}

fn push(out: &mut LaneOut, number: usize) {
    let fetched = FromGovernor::Fetched { ticket: number as u64, content: Ok(content(number)) };
    out.push(Message::FromGovernor(fetched)).unwrap();
}

/// All that can be written; content that is not read yet is waited for.
fn sent(out: &mut LaneOut) -> Vec<Sent> {
    let mut all = Vec::new();
    while !out.is_idle() {
        match out.next_piece().unwrap() {
            Some(Piece::Head(head)) => all.push(Sent::Head(head.to_vec())),
            Some(Piece::Content { bytes: Ok(bytes), length, .. }) => {
                assert_eq!(bytes.len(), length);
                all.push(Sent::Content(bytes.clone()));
                out.give_back(bytes);
            }
            Some(Piece::Content { bytes: Err(why), length, left }) => {
                all.push(Sent::Spoiled(why, length + left));
                out.abandon_content();
            }
            None => {
                if out.holds_back() {
                    return all;
                }
                std::thread::yield_now();
            }
        }
    }
    all
}

fn checksum(bytes: &[u8]) -> u64 {
    let mut checksum = Checksum::default();
    checksum.update(bytes);
    checksum.value()
}

/// What has come, when nothing more does.
fn taken(lane: &mut LaneIn<Vec<u8>>, count: usize) -> Vec<Result<Vec<u8>, String>> {
    let mut all = Vec::new();
    while all.len() < count {
        match lane.take_whole() {
            Some(Ok(Message::FromGovernor(FromGovernor::Fetched { ticket, content }))) => {
                assert_eq!(ticket, all.len() as u64);
                all.push(content);
            }
            Some(other) => panic!("unexpected {other:?}"),
            // Its thread stores it still.
            None => std::thread::yield_now(),
        }
    }
    assert!(lane.take_whole().is_none());
    all
}

fn fill_all(lane: &mut LaneIn<Vec<u8>>, mut bytes: &[u8]) -> Result<(), MessageError> {
    while lane.awaits_content() && !bytes.is_empty() {
        let read = lane.fill(|buffer| std::io::Read::read(&mut bytes, buffer))?;
        assert!(read.unwrap() > 0);
    }
    assert!(bytes.is_empty(), "more content than is waited for");
    Ok(())
}

#[test]
fn content_may_fall_behind_its_messages_and_the_other_way_round() {
    let mut out = lane_out(usize::MAX);
    (0..LENGTHS.len()).for_each(|number| push(&mut out, number));
    let all = sent(&mut out);
    assert!(out.is_idle() && out.held_bytes() > 0);
    // Heads and checksums first, as far as they are not content: and the other way round for each.
    for content_first in [false, true] {
        let mut lane = lane_in();
        let mut behind = Vec::new();
        for sent in &all {
            match sent {
                Sent::Head(head) => lane.head_apart(head).unwrap(),
                Sent::Content(bytes) if content_first => {
                    fill_all(&mut lane, bytes).unwrap();
                    lane.checksum(checksum(bytes)).unwrap();
                }
                Sent::Spoiled(..) => panic!("unreadable"),
                Sent::Content(bytes) => {
                    behind.extend_from_slice(bytes);
                    lane.checksum(checksum(bytes)).unwrap();
                }
            }
        }
        fill_all(&mut lane, &behind).unwrap();
        let right: Vec<_> = (0..LENGTHS.len()).map(|number| Ok(content(number))).collect();
        assert_eq!(taken(&mut lane, LENGTHS.len()), right);
        assert_eq!(lane.received(), LENGTHS.len() as u64);
    }
    assert_eq!(out.acknowledge(LENGTHS.len() as u64), Ok(LENGTHS.len()));
    assert_eq!(out.held_bytes(), 0);
}

/// Content that cannot be read beyond its middle.
fn unreadable(length: usize) -> Vec<u8> {
    [vec![7; length - UNREADABLE.len()].as_slice(), UNREADABLE].concat()
}

#[test]
fn content_that_cannot_be_read_is_an_error_of_its_message_alone() {
    let lengths = [10, 100_000, 5, 3_000_000, 100_000];
    let contents: Vec<Vec<u8>> = (0..10)
        .map(|n| if n % 2 == 0 { unreadable(10 + lengths[n / 2]) } else { content(n % LENGTHS.len()) })
        .collect();
    let is_right = |found: Vec<Result<Vec<u8>, String>>| {
        for (number, (found, content)) in found.iter().zip(&contents).enumerate() {
            match found {
                Err(why) => assert!(number % 2 == 0 && why == "this test cannot be read", "{number}: {why}"),
                Ok(found) => assert!(number % 2 == 1 && found == content, "{number}"),
            }
        }
    };
    let new_out = |piece_bytes| {
        let mut out = lane_out(piece_bytes);
        for (ticket, content) in contents.iter().enumerate() {
            let fetched = FromGovernor::Fetched { ticket: ticket as u64, content: Ok(content.clone()) };
            out.push(Message::FromGovernor(fetched)).unwrap();
        }
        out
    };
    for bytes_max in [1000, 40_000, 256 << 10, usize::MAX] {
        // Also after a cut in the middle of one.
        for cut in [usize::MAX, 0, 3, 100] {
            let (mut out, mut lane) = (new_out(bytes_max), lane_in());
            let mut all = sent(&mut out);
            assert!(out.is_idle());
            let again = all.len() > cut;
            all.truncate(cut);
            let mut take = |sent: &Sent| match sent {
                Sent::Head(head) => lane.head(head).unwrap(),
                Sent::Content(bytes) => lane.piece(bytes).unwrap(),
                Sent::Spoiled(why, _) => lane.spoil(None, why.clone()).unwrap(),
            };
            all.iter().for_each(&mut take);
            if again {
                out.begin_again(lane.received()).unwrap();
                lane.begin_again();
                let rest = sent(&mut out);
                for sent in &rest {
                    match sent {
                        Sent::Head(head) => lane.head(head).unwrap(),
                        Sent::Content(bytes) => lane.piece(bytes).unwrap(),
                        Sent::Spoiled(why, _) => lane.spoil(None, why.clone()).unwrap(),
                    }
                }
            }
            is_right(taken(&mut lane, contents.len()));
        }
    }
    // Apart from the messages all bytes come, whatever they are, before the reason or after it.
    for reason_first in [false, true] {
        let mut lane = lane_in();
        for sent in sent(&mut new_out(usize::MAX)) {
            match sent {
                Sent::Head(head) => lane.head_apart(&head).unwrap(),
                Sent::Content(bytes) => {
                    fill_all(&mut lane, &bytes).unwrap();
                    lane.checksum(checksum(&bytes)).unwrap();
                }
                Sent::Spoiled(why, length) if reason_first => {
                    lane.spoil_apart(why).unwrap();
                    fill_all(&mut lane, &vec![0; length]).unwrap();
                }
                Sent::Spoiled(why, length) => {
                    fill_all(&mut lane, &vec![0; length]).unwrap();
                    lane.spoil_apart(why).unwrap();
                }
            }
        }
        is_right(taken(&mut lane, contents.len()));
    }
}

#[test]
fn wrong_content_is_asked_for_again_once() {
    let mut lane = lane_in();
    lane.set_route("from here to there".to_owned());
    let mut out = lane_out(usize::MAX);
    push(&mut out, 1);
    for attempt in 0..2 {
        if attempt == 1 {
            out.begin_again(lane.received()).unwrap();
            lane.begin_again();
        } else {
            push(&mut out, 2);
        }
        for sent in sent(&mut out) {
            let done = match sent {
                Sent::Head(head) => lane.head_apart(&head),
                Sent::Spoiled(..) => panic!("unreadable"),
                Sent::Content(mut bytes) => {
                    let right = checksum(&bytes);
                    bytes[69_999] ^= 4;
                    fill_all(&mut lane, &bytes).and_then(|()| lane.checksum(right))
                }
            };
            match done {
                Err(error) => assert_eq!((attempt, error), (0, MessageError::Checksum)),
                Ok(()) => continue,
            }
        }
    }
    let found = taken_from(&mut lane, 1, 2);
    assert_eq!(found[0], (1, Ok(content(1))));
    let (ticket, error) = &found[1];
    let error = error.as_ref().unwrap_err();
    assert_eq!(*ticket, 2);
    assert!(error.starts_with("from here to there") && error.ends_with("twice"), "{error}");
}

fn taken_from(lane: &mut LaneIn<Vec<u8>>, first: u64, count: usize) -> Vec<(u64, Result<Vec<u8>, String>)> {
    let mut all = Vec::new();
    while all.len() < count {
        let Some(whole) = lane.take_whole() else {
            std::thread::yield_now();
            continue;
        };
        match whole {
            Ok(Message::FromGovernor(FromGovernor::Fetched { ticket, content })) => all.push((ticket, content)),
            other => panic!("unexpected {other:?}"),
        }
    }
    assert_eq!(all.first().map(|(ticket, _)| *ticket), Some(first));
    all
}

#[test]
fn nonsense_is_refused() {
    let mut out = lane_out(usize::MAX);
    push(&mut out, 2);
    let all = sent(&mut out);
    let Sent::Head(head) = &all[0] else { panic!("no head") };
    let mut lane = lane_in();
    let is_rule =
        |result: Result<(), MessageError>| assert!(matches!(result, Err(MessageError::Rule(_))), "{result:?}");
    is_rule(lane.checksum(1));
    is_rule(lane.piece(&[1]));
    assert!(!lane.awaits_content());
    lane.head_apart(head).unwrap();
    // Content that was to come apart.
    is_rule(lane.piece(&[1]));
    // What overtakes content is bounded.
    let large = vec![0; 1 << 20];
    let refused = (0..1000).find_map(|_| lane.head_apart(&large).err());
    assert!(matches!(refused, Some(MessageError::Rule(_))));
    assert!(matches!(out.acknowledge(2), Err(MessageError::Rule(_))));
}

#[test]
fn a_peer_that_acknowledges_nothing_is_not_written_to_for_ever() {
    let mut out = lane_out(usize::MAX);
    let mut pushed = 0;
    while pushed < 2000 {
        let fetched = FromGovernor::Fetched { ticket: pushed, content: Ok(vec![1; 60_000]) };
        out.push(Message::FromGovernor(fetched)).unwrap();
        pushed += 1;
    }
    assert!(out.held_bytes() > 2000 * 60_000);
    let written = sent(&mut out).len() as u64;
    assert!(written * 60_000 > 60 << 20 && written * 60_000 < 70 << 20, "{written}");
    assert!(out.is_waiting() && !out.is_idle());
    out.acknowledge(written).unwrap();
    assert!(!out.is_waiting());
    assert_eq!(out.next_piece().map(|piece| piece.is_some()), Ok(true));
    assert!(out.held_bytes() <= (2000 - written as usize) * 60_400);
}
