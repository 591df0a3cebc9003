//! The end of a server's time.

use crate::{Harness, submission};
use rain_model::id::SessionId;
use rain_model::time::Time;
use rain_protocol::client::ErrorKind;
use rain_protocol::peer::{FromGovernor, ToGovernor};
use rain_server::{Action, Command, Event, Reply, RequestId, StoredResult};
use std::time::Duration;

/// Results that are to be stored since the last call.
fn take_results(h: &mut Harness) -> Vec<StoredResult<u64>> {
    let (results, rest) =
        std::mem::take(&mut h.actions).into_iter().partition(|action| matches!(action, Action::StoreResult(_)));
    h.actions = rest;
    let unwrap = |action| match action {
        Action::StoreResult(result) => *result,
        other => panic!("no result: {other:?}"),
    };
    Vec::into_iter(results).map(unwrap).collect()
}

fn cancelled(h: &mut Harness, request: RequestId) -> String {
    match h.take_reply(request) {
        Some(Reply::Error(error)) if error.kind == ErrorKind::Cancelled => error.message.clone(),
        other => panic!("not cancelled: {other:?}"),
    }
}

#[test]
fn governors_are_told_the_end_when_they_join() {
    let mut h = Harness::new(&[]);
    h.server.set_end_of_work(Time::new(Duration::from_secs(1234)));
    h.governor(0, FromGovernor::Joined { cpus: 2, resources: Default::default() });
    assert_eq!(h.take_message_texts(), ["0: end of work in 1234s"]);
    // As long as there is left, and no time of day: the clocks of machines differ.
    h.now = Time::new(Duration::from_secs(1000));
    h.governor(1, FromGovernor::Joined { cpus: 2, resources: Default::default() });
    h.now = Time::new(Duration::from_secs(2000));
    h.governor(2, FromGovernor::Joined { cpus: 2, resources: Default::default() });
    assert_eq!(h.take_message_texts(), ["1: end of work in 234s", "2: end of work in 0ns"]);
}

#[test]
fn tasks_without_time_end_like_cancelled_ones_and_say_why() {
    for cpus in [&[2][..], &[1, 1]] {
        let mut h = Harness::new(cpus);
        let session = h.new_session();
        let tasks: [(&[u32], u32); 4] = [(&[], 0), (&[0], 1), (&[], 2), (&[2], 3)];
        h.done(Command::Submit { session, submission: submission(&tasks, &[], &[1, 3]) });
        h.take_messages();
        let all = h.request(Command::WaitAll { session });
        let follower = h.request(Command::Wait { session, tasks: vec![], objects: vec![1] });
        h.governor(0, FromGovernor::Withheld { session, tasks: vec![0] });
        assert!(cancelled(&mut h, follower).contains("end of this server's time"));
        assert!(h.take_reply(all).is_none(), "other tasks still run");
        let holder = if cpus.len() == 1 { 0 } else { 1 };
        h.finish(holder, session, &[2, 3], &[2, 3]);
        assert_eq!(
            cancelled(&mut h, all),
            "of 4 tasks 2 could not be finished before the end of this server's time, and did not run"
        );
        let fetch = h.request(Command::Fetch { session, object: 3, direct: false });
        assert!(h.take_message_texts().contains(&format!("{holder}: fetch 3")));
        assert!(h.take_reply(fetch).is_none());
    }
}

/// What a governor is asked to send, with tickets.
fn take_fetches(h: &mut Harness) -> Vec<(u32, u64)> {
    let fetch = |(_, message)| match message {
        ToGovernor::Fetch { object, ticket, .. } => Some((object, ticket)),
        _ => None,
    };
    h.take_messages().into_iter().filter_map(fetch).collect()
}

/// Fifteen tasks, each with an output; all but the last are kept, and the first twelve are finished.
fn session_with_results(h: &mut Harness) -> SessionId {
    let session = h.new_session();
    let tasks: Vec<(&[u32], u32)> = (0..15).map(|object| (&[][..], object)).collect();
    let kept: Vec<u32> = (0..14).collect();
    h.done(Command::Submit { session, submission: submission(&tasks, &[], &kept) });
    let finished: Vec<u32> = (0..12).collect();
    h.finish(0, session, &finished, &finished);
    h.take_messages();
    session
}

#[test]
fn kept_results_are_stored_a_few_at_a_time_and_later_ones_too() {
    let mut h = Harness::new(&[2]);
    let session = session_with_results(&mut h);
    h.handle(Event::StoreResults);
    h.handle(Event::StoreResults);
    let mut stored = Vec::new();
    let mut fetches = take_fetches(&mut h);
    assert_eq!(fetches.len(), 8);
    h.finish(0, session, &[12, 14], &[12, 14]);
    while let Some((object, ticket)) = fetches.pop() {
        let content = if object == 3 { Err("gone".to_owned()) } else { Ok(u64::from(object) * 10) };
        h.governor(0, FromGovernor::Fetched { ticket, content });
        for result in take_results(&mut h) {
            assert!(!h.server.results_are_stored());
            stored.push((result.object.id, result.task, result.content));
            h.handle(Event::ResultStored);
        }
        fetches.extend(take_fetches(&mut h));
        assert!(fetches.len() <= 8);
    }
    stored.sort_by_key(|(object, ..)| *object);
    let expected: Vec<_> =
        (0..13).map(|n| (n, n, if n == 3 { Err("gone".to_owned()) } else { Ok(u64::from(n) * 10) })).collect();
    assert_eq!(stored, expected);
    assert!(h.server.results_are_stored());
    h.finish(0, session, &[13], &[13]);
    assert!(matches!(take_fetches(&mut h)[..], [(13, _)]));
}

#[test]
fn a_closed_session_has_no_results_left() {
    let mut h = Harness::new(&[2]);
    let session = session_with_results(&mut h);
    h.handle(Event::StoreResults);
    let fetches = take_fetches(&mut h);
    h.done(Command::CloseSession { session });
    assert!(h.server.results_are_stored());
    h.take_messages();
    for (_, ticket) in fetches {
        h.governor(0, FromGovernor::Fetched { ticket, content: Ok(1) });
    }
    assert!(take_results(&mut h).is_empty());
    h.assert_nothing_left();
}

#[test]
fn a_session_that_was_left_for_want_of_time_stays_until_its_results_are_here() {
    let mut h = Harness::new(&[2]);
    h.server.set_results_wanted();
    let session = session_with_results(&mut h);
    h.governor(0, FromGovernor::Withheld { session, tasks: vec![12] });
    h.take_messages();
    h.handle(Event::ClientLost { client: crate::CLIENT });
    let messages = h.take_messages();
    let texts: Vec<String> = messages.iter().map(|(_, message)| crate::describe(message)).collect();
    assert!(texts.contains(&"cancel [13, 14]".to_owned()) && !texts.contains(&"close 1".to_owned()), "{texts:?}");
    let ticket = |(_, message): (u32, ToGovernor<u64>)| match message {
        ToGovernor::Fetch { ticket, .. } => Some(ticket),
        _ => None,
    };
    let mut tickets: Vec<u64> = messages.into_iter().filter_map(ticket).collect();
    let mut stored = 0;
    while let Some(next) = tickets.pop() {
        assert!(!h.take_message_texts().contains(&"0: close 1".to_owned()));
        h.governor(0, FromGovernor::Fetched { ticket: next, content: Ok(1) });
        stored += take_results(&mut h).len();
        if stored < 12 {
            h.handle(Event::ResultStored);
            tickets.extend(take_fetches(&mut h).into_iter().map(|(_, ticket)| ticket));
        }
    }
    assert_eq!(stored, 12);
    assert_eq!(h.take_message_texts(), ["0: close 1"]);
    h.assert_nothing_left();
}

#[test]
fn what_runs_to_the_end_is_stopped_and_its_waits_are_told() {
    let mut h = Harness::new(&[2]);
    let session = h.new_session();
    h.done(Command::Submit { session, submission: submission(&[(&[], 0), (&[0], 1)], &[], &[1]) });
    let fetch = h.request(Command::Fetch { session, object: 1, direct: false });
    h.take_messages();
    h.handle(Event::TimeIsOver);
    assert!(cancelled(&mut h, fetch).contains("end of this server's time"));
    assert_eq!(h.take_message_texts(), ["0: cancel [0, 1]"]);
}
