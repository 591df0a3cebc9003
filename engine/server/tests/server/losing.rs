//! Governors that are lost cost those who had something there.

use crate::{Harness, submission};
use rain_model::id::{GovernorId, NONE};
use rain_protocol::peer::FromGovernor;
use rain_server::{Command, Event, Reply};

fn lose(h: &mut Harness, number: u32) {
    h.handle(Event::GovernorLost { governor: GovernorId(number), why: "cut".into() });
}

/// Whether a session goes on.
fn goes_on(h: &mut Harness, session: rain_model::id::SessionId) -> bool {
    let request = h.request(Command::Info { session, tasks: vec![], objects: vec![] });
    match h.take_reply(request) {
        Some(Reply::Infos { .. }) => true,
        Some(Reply::Error(error)) if error.message.contains("was lost (cut)") => false,
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_has_neither_tasks_nor_objects_there_goes_on() {
    let mut h = Harness::new(&[1, 1]);
    let session = h.new_session();
    let tasks: Vec<(&[u32], u32)> = (0..8).map(|task| (&[][..], task)).collect();
    h.done(Command::Submit { session, submission: submission(&tasks, &[], &[]) });
    h.finish(0, session, &(0..8).collect::<Vec<_>>(), &[]);
    h.finish(1, session, &(0..8).collect::<Vec<_>>(), &[]);
    h.done(Command::WaitAll { session });
    lose(&mut h, 1);
    assert!(goes_on(&mut h, session));
    h.take_messages();
    // It is not told of anything.
    h.done(Command::Submit { session, submission: submission(&[(&[], 8)], &[], &[]) });
    assert_eq!(h.take_message_texts(), ["0: run [8] constants [] remote [] pins []"]);
    h.finish(0, session, &[8], &[8]);
    h.done(Command::CloseSession { session });
    assert_eq!(h.take_message_texts(), ["0: close 1"]);
}

#[test]
fn tasks_and_sole_copies_that_are_needed_are_missed() {
    // What is kept, whether something waits for it, who is lost, and whether the session goes on.
    for (keep, reads, lost, expected) in [
        (&[][..], false, 0, true),
        (&[0][..], false, 0, false),
        (&[0][..], false, 1, true),
        (&[][..], true, 0, false),
        (&[][..], true, 1, false),
    ] {
        let mut h = Harness::new(&[1, 1]);
        let session = h.new_session();
        let mut tasks: Vec<(&[u32], u32)> = vec![(&[], 0), (&[], 1)];
        if reads {
            tasks.push((&[0, 1], NONE));
        }
        h.done(Command::Submit { session, submission: submission(&tasks, &[], keep) });
        h.finish(0, session, &[0], &[0]);
        if !reads {
            h.finish(1, session, &[1], &[1]);
        }
        lose(&mut h, lost);
        assert_eq!(goes_on(&mut h, session), expected, "keep {keep:?}, reads {reads}, lost {lost}");
    }
}

#[test]
fn a_copy_elsewhere_is_enough_and_is_fetched_then() {
    let mut h = Harness::new(&[1, 1]);
    let session = h.new_session();
    h.done(Command::Submit { session, submission: submission(&[(&[], 0), (&[], 1)], &[], &[0, 1]) });
    h.finish(0, session, &[0], &[0]);
    h.finish(1, session, &[1], &[1]);
    // Both go to both.
    h.done(Command::Submit { session, submission: submission(&[(&[0, 1], 2), (&[0, 1], 3)], &[], &[]) });
    h.finish(0, session, &[2], &[2]);
    h.finish(1, session, &[3], &[3]);
    h.take_messages();
    let fetch = h.request(Command::Fetch { session, object: 0, direct: false });
    assert_eq!(h.take_message_texts(), ["0: fetch 0"]);
    lose(&mut h, 0);
    assert_eq!(h.take_message_texts(), ["1: fetch 0"]);
    assert!(goes_on(&mut h, session));
    h.governor(1, FromGovernor::Fetched { ticket: 2, content: Ok(42) });
    assert!(matches!(h.take_reply(fetch), Some(Reply::Object { content: 42, .. })));
    lose(&mut h, 1);
    assert!(!goes_on(&mut h, session));
}

#[test]
fn a_constant_that_the_server_has_is_sent_again() {
    let mut h = Harness::new(&[1, 1]);
    let session = h.new_session();
    h.done(Command::Submit { session, submission: submission(&[(&[0], 1)], &[0], &[0]) });
    assert_eq!(h.take_message_texts(), ["0: open 1", "0: run [0] constants [0] remote [] pins [0]"]);
    h.finish(0, session, &[0], &[1]);
    lose(&mut h, 0);
    h.done(Command::Submit { session, submission: submission(&[(&[0], 2)], &[], &[]) });
    assert_eq!(h.take_message_texts(), ["1: open 1", "1: run [1] constants [0] remote [] pins [0]"]);
    h.assert_nothing_left();
}

#[test]
fn a_question_to_one_that_is_lost_is_answered() {
    let mut h = Harness::new(&[1, 1]);
    let session = h.new_session();
    h.done(Command::Submit { session, submission: submission(&[(&[], 0), (&[], 1)], &[], &[]) });
    let cancel = h.request(Command::CancelWaiting { session, tasks: vec![1] });
    // Its end crosses with the question.
    h.finish(1, session, &[1], &[1]);
    assert!(h.take_reply(cancel).is_none());
    lose(&mut h, 1);
    assert!(matches!(h.take_reply(cancel), Some(Reply::Some { tasks, .. }) if tasks.is_empty()));
    assert!(goes_on(&mut h, session));
}

#[test]
fn a_number_can_be_used_again_and_old_news_changes_nothing() {
    let mut h = Harness::new(&[1]);
    let session = h.new_session();
    lose(&mut h, 0);
    assert_eq!(h.server.incarnation_of(GovernorId(0)), None);
    h.governor(0, FromGovernor::Lending { tasks: 5 });
    h.governor(0, FromGovernor::Joined { cpus: 2, resources: Default::default() });
    assert_eq!(h.server.incarnation_of(GovernorId(0)), Some(1));
    h.done(Command::Submit { session, submission: submission(&[(&[], 0)], &[], &[]) });
    assert_eq!(h.take_message_texts(), ["0: open 1", "0: run [0] constants [] remote [] pins []"]);
    // The loss of the one before was not noticed.
    h.governor(0, FromGovernor::Joined { cpus: 3, resources: Default::default() });
    assert!(h.refused(Command::WaitAll { session }).contains("another one has joined under its number"));
    let status = h.server.status();
    assert_eq!((status.governors.len(), status.governors[0].cpus, status.governors[0].tasks_unfinished), (1, 3, 0));
}

#[test]
fn a_silent_governor_gets_nothing_new_until_it_is_heard_of() {
    let mut h = Harness::new(&[1, 1]);
    let session = h.new_session();
    h.handle(Event::GovernorSilent { governor: GovernorId(0) });
    let tasks: Vec<(&[u32], u32)> = vec![(&[], NONE); 6];
    h.done(Command::Submit { session, submission: submission(&tasks, &[], &[]) });
    let texts = h.take_message_texts();
    assert_eq!(texts, ["1: open 1", "1: run [0, 1, 2, 3, 4, 5] constants [] remote [] pins []"]);
    h.handle(Event::GovernorHeard { governor: GovernorId(0) });
    assert_eq!(h.take_message_texts(), ["1: give back 1"]);
    h.governor(1, FromGovernor::GaveBack { session, tasks: vec![5] });
    assert_eq!(h.take_message_texts(), ["0: open 1", "0: run [5] constants [] remote [] pins []"]);
}

#[test]
fn what_governors_say_of_tasks_that_are_not_theirs_changes_nothing() {
    let mut h = Harness::new(&[1, 1]);
    let session = h.new_session();
    h.done(Command::Submit { session, submission: submission(&[(&[], 0), (&[], 1)], &[], &[]) });
    h.finish(1, session, &[0, 77], &[0, 99]);
    h.governor(1, FromGovernor::Started { session, task: 0, worker: 0, start: 1.0 });
    h.governor(0, FromGovernor::GaveBack { session, tasks: vec![1, 500] });
    let request = h.request(Command::Info { session, tasks: vec![0, 1], objects: vec![] });
    match h.take_reply(request) {
        Some(Reply::Infos { tasks, .. }) => assert!(tasks.iter().all(|task| task.state == "waiting"), "{tasks:?}"),
        other => panic!("{other:?}"),
    }
    // Numbers that do not exist are no reason to end.
    h.governor(1, FromGovernor::Withheld { session, tasks: vec![4_000_000_000, 5] });
    assert!(goes_on(&mut h, session));
}

#[test]
fn a_lost_input_fails_its_session_unless_nobody_needs_it_any_more() {
    for cancelled in [false, true] {
        let mut h = Harness::new(&[1, 1]);
        let session = h.new_session();
        let tasks: [(&[u32], u32); 4] = [(&[], 0), (&[], 1), (&[0, 1], 2), (&[0, 1], 3)];
        h.done(Command::Submit { session, submission: submission(&tasks, &[], &[]) });
        h.finish(0, session, &[0], &[0]);
        h.finish(1, session, &[1], &[1]);
        if cancelled {
            h.request(Command::Cancel { session, tasks: vec![2, 3] });
        }
        h.governor(0, FromGovernor::InputLost { session, object: 1, transfer: 0, why: "from governor 1: gone".into() });
        if cancelled {
            h.done(Command::WaitAll { session });
        } else {
            let message = h.refused(Command::WaitAll { session });
            let expected = "a task failed on governor 0: input object 1 could not be brought from governor 1: gone";
            assert_eq!(message, expected);
        }
    }
}

#[test]
fn a_lost_governor_fails_the_sessions_that_used_it() {
    let mut h = Harness::new(&[1]);
    let (used, unused) = (h.new_session(), h.new_session());
    h.done(Command::Submit { session: used, submission: submission(&[(&[], 0)], &[], &[]) });
    h.take_messages();
    let wait = h.request(Command::WaitAll { session: used });
    h.handle(Event::GovernorLost { governor: GovernorId(0), why: "cut".into() });
    match h.take_reply(wait) {
        Some(Reply::Error(error)) => assert!(error.message.contains("governor 0 was lost (cut)"), "{error:?}"),
        other => panic!("{other:?}"),
    }
    assert!(h.take_messages().is_empty(), "nothing is said to one that is gone");
    // The other one waits for a governor.
    h.done(Command::Submit { session: unused, submission: submission(&[(&[], 0)], &[], &[]) });
    assert_eq!(h.take_message_texts(), [] as [&str; 0]);
    h.governor(1, FromGovernor::Joined { cpus: 1, resources: Default::default() });
    assert_eq!(h.take_message_texts(), ["1: open 2", "1: run [0] constants [] remote [] pins []"]);
    h.assert_nothing_left();
}
