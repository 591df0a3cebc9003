//! Watches: a client is told of tasks and objects as they are over, each once.

use crate::{Content, Harness, submission};
use rain_model::id::SessionId;
use rain_server::{Command, Reply};

fn session_of(h: &mut Harness, count: u32) -> SessionId {
    let session = h.new_session();
    let tasks: Vec<(&[u32], u32)> = (0..count).map(|task| (&[][..], task)).collect();
    let keep: Vec<u32> = (0..count).collect();
    h.done(Command::Submit { session, submission: submission(&tasks, &[], &keep) });
    h.take_messages();
    session
}

fn watch(h: &mut Harness, session: SessionId, tasks: &[u32], objects: &[u32]) -> u32 {
    let request = h.request(Command::Watch { session, tasks: tasks.to_vec(), objects: objects.to_vec() });
    match h.take_reply(request) {
        Some(Reply::Watch { number }) => number,
        other => panic!("{other:?}"),
    }
}

fn news(reply: Option<Reply<Content>>) -> (Vec<u32>, Vec<u32>) {
    match reply {
        Some(Reply::Some { tasks, objects }) => (tasks, objects),
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_item_is_told_once_as_it_is_over() {
    let mut h = Harness::new(&[2]);
    let session = session_of(&mut h, 5);
    h.finish(0, session, &[3], &[3]);
    let number = watch(&mut h, session, &[0, 1, 3, 3], &[2, 3]);
    let next = |h: &mut Harness| h.request(Command::WatchNext { session, watch: number });
    let first = next(&mut h);
    assert_eq!(news(h.take_reply(first)), (vec![3], vec![3]));
    let second = next(&mut h);
    assert!(h.take_reply(second).is_none());
    assert!(h.refused(Command::WatchNext { session, watch: number }).contains("is asked already"));
    h.finish(0, session, &[4, 1], &[4, 1]);
    assert_eq!(news(h.take_reply(second)), (vec![1], vec![]));
    // What is over while nobody asks is told then. A cancelled task is over.
    h.finish(0, session, &[2], &[2]);
    h.request(Command::Cancel { session, tasks: vec![0] });
    h.actions.clear();
    let third = next(&mut h);
    assert_eq!(news(h.take_reply(third)), (vec![0], vec![2]));
    let message = h.refused(Command::WatchNext { session, watch: number });
    assert!(message.contains("is over"), "{message}");
    assert!(h.refused(Command::WatchNext { session, watch: 9 }).contains("does not exist"));
    h.assert_nothing_left();
}

#[test]
fn watches_end_when_they_are_told_to_and_with_their_session() {
    let mut h = Harness::new(&[2]);
    let session = session_of(&mut h, 3);
    let [one, other] = [watch(&mut h, session, &[0, 1], &[]), watch(&mut h, session, &[0], &[2])];
    let ended = h.request(Command::WatchNext { session, watch: one });
    h.done(Command::Unwatch { session, watch: one });
    h.done(Command::Unwatch { session, watch: one });
    assert!(matches!(h.take_reply(ended), Some(Reply::Error(error)) if error.message.contains("was ended")));
    let next = h.request(Command::WatchNext { session, watch: other });
    h.finish(0, session, &[0], &[0]);
    assert_eq!(news(h.take_reply(next)), (vec![0], vec![]));
    let next = h.request(Command::WatchNext { session, watch: other });
    h.done(Command::CloseSession { session });
    assert!(matches!(h.take_reply(next), Some(Reply::Error(error)) if error.message.contains("was closed")));
}

#[test]
fn a_watch_of_nothing_is_over_and_their_number_has_a_bound() {
    let mut h = Harness::new(&[2]);
    let session = session_of(&mut h, 1);
    let number = watch(&mut h, session, &[], &[]);
    let next = h.request(Command::WatchNext { session, watch: number });
    assert_eq!(news(h.take_reply(next)), (vec![], vec![]));
    for _ in 0..1024 {
        watch(&mut h, session, &[0], &[]);
    }
    let message = h.refused(Command::Watch { session, tasks: vec![0], objects: vec![] });
    assert!(message.contains("has 1024 watches already"), "{message}");
    assert!(h.refused(Command::Watch { session, tasks: vec![7], objects: vec![] }).contains("task 7 does not exist"));
}
