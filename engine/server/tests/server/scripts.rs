//! One situation a test.

use crate::{CLIENT, Harness, kind, submission};
use rain_model::id::NONE;
use rain_protocol::client::ErrorKind;
use rain_protocol::peer::{
    Failure, Finished, FromGovernor, ObjectDetails, TaskDetails, TaskOutput, TaskReport, ToGovernor,
};
use rain_server::{Command, Event, Reply};

#[test]
fn one_governor_gets_a_submit_whole_before_anything_is_ready() {
    let mut h = Harness::new(&[2]);
    let session = h.new_session();
    h.done(Command::Submit { session, submission: submission(&[(&[0], 1), (&[1], 2)], &[0], &[2]) });
    assert_eq!(h.take_message_texts(), ["0: open 1", "0: run [0, 1] constants [0] remote [] pins [2]"]);
    let wait = h.request(Command::WaitAll { session });
    h.finish(0, session, &[0], &[1]);
    assert!(h.take_reply(wait).is_none());
    h.finish(0, session, &[1], &[2]);
    assert!(matches!(h.take_reply(wait), Some(Reply::Done)));
    h.done(Command::CloseSession { session });
    assert_eq!(h.take_message_texts(), ["0: close 1"]);
    h.assert_nothing_left();
}

#[test]
fn waits_end_when_their_items_do() {
    let mut h = Harness::new(&[2]);
    let session = h.new_session();
    let tasks: [(&[u32], u32); 3] = [(&[], 0), (&[], 1), (&[0, 1], 2)];
    h.done(Command::Submit { session, submission: submission(&tasks, &[], &[]) });
    h.take_messages();
    let first = h.request(Command::Wait { session, tasks: vec![0], objects: vec![] });
    let both = h.request(Command::Wait { session, tasks: vec![1], objects: vec![0] });
    let some = h.request(Command::WaitSome { session, tasks: vec![2], objects: vec![1, 0] });
    h.finish(0, session, &[0], &[0]);
    assert!(matches!(h.take_reply(first), Some(Reply::Done)));
    assert!(h.take_reply(both).is_none());
    match h.take_reply(some) {
        Some(Reply::Some { tasks, objects }) => assert_eq!((tasks, objects), (vec![], vec![0])),
        other => panic!("{other:?}"),
    }
    h.finish(0, session, &[1], &[1]);
    assert!(matches!(h.take_reply(both), Some(Reply::Done)));
    h.done(Command::Wait { session, tasks: vec![0, 1], objects: vec![1] });
    h.done(Command::Wait { session, tasks: vec![], objects: vec![] });
    h.assert_nothing_left();
}

#[test]
fn a_failed_task_fails_its_session_alone() {
    let mut h = Harness::new(&[2]);
    let (bad, good) = (h.new_session(), h.new_session());
    for session in [bad, good] {
        h.done(Command::Submit { session, submission: submission(&[(&[], 0), (&[], 1)], &[], &[0]) });
    }
    h.take_messages();
    let waits = [
        h.request(Command::WaitAll { session: bad }),
        h.request(Command::Wait { session: bad, tasks: vec![1], objects: vec![] }),
        h.request(Command::Fetch { session: bad, object: 0, direct: false }),
    ];
    let failure = Failure { message: "boom".into(), debug: Some("a = 1".into()), ..Failure::default() };
    h.governor(0, FromGovernor::Failed { session: bad, task: 1, failure });
    for wait in waits {
        match h.take_reply(wait) {
            Some(Reply::Error(error)) => {
                assert_eq!((error.kind, error.task), (ErrorKind::Task, Some(1)));
                assert_eq!(error.message, "task 1 (buildin/noop) failed on governor 0: boom");
                assert_eq!(error.debug.as_deref(), Some("a = 1"));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(h.take_message_texts(), ["0: close 1"]);
    assert!(h.refused(Command::WaitAll { session: bad }).contains("boom"));
    assert!(h.refused(Command::Info { session: bad, tasks: vec![0], objects: vec![] }).contains("boom"));
    // Late news of the failed session changes nothing.
    h.finish(0, bad, &[0], &[0]);
    h.done(Command::CloseSession { session: bad });
    let wait = h.request(Command::WaitAll { session: good });
    h.finish(0, good, &[0, 1], &[0, 1]);
    assert!(matches!(h.take_reply(wait), Some(Reply::Done)));
    h.assert_nothing_left();
}

#[test]
fn a_lost_client_ends_its_sessions() {
    let mut h = Harness::new(&[2]);
    let session = h.new_session();
    h.done(Command::Submit { session, submission: submission(&[(&[], NONE)], &[], &[]) });
    h.request(Command::WaitAll { session });
    h.take_messages();
    h.handle(Event::ClientLost { client: CLIENT });
    assert_eq!(h.take_message_texts(), ["0: close 1"]);
}

#[test]
fn bad_submits_are_refused_whole_and_the_session_goes_on() {
    let mut h = Harness::new(&[2]);
    let session = h.new_session();
    h.done(Command::Submit { session, submission: submission(&[(&[], 0), (&[], 1)], &[], &[0]) });
    h.take_messages();
    type Case<'a> = (&'a [(&'a [u32], u32)], &'a [u32], &'a [u32], &'a str);
    let cases: &[Case] = &[
        (&[(&[3], 2), (&[2], 3)], &[], &[], "cycle"),
        (&[(&[2], 2)], &[], &[], "cycle"),
        (&[(&[9], 2)], &[], &[], "object 9, which does not exist"),
        (&[(&[1], 2)], &[], &[], "not kept"),
        (&[(&[], 2), (&[], 2)], &[], &[], "second producer"),
        (&[(&[], 0)], &[], &[], "second producer"),
        (&[(&[], 2)], &[2], &[], "second producer"),
        (&[(&[], 5)], &[], &[], "out of order"),
        (&[(&[], 2)], &[], &[0], "keep() comes before submit()"),
        (&[(&[], 2)], &[], &[7], "object 7 does not exist"),
    ];
    for (tasks, constants, keep, expected) in cases {
        let message = h.refused(Command::Submit { session, submission: submission(tasks, constants, keep) });
        assert!(message.contains(expected), "{message:?} should say {expected:?}");
        h.assert_nothing_left();
    }
    let mut wide = submission(&[(&[], 2)], &[], &[]);
    wide.kinds[1] = kind(3, 1);
    let message = h.refused(Command::Submit { session, submission: wide });
    assert!(message.contains("3 cpus, but the largest governor has 2"), "{message}");
    let mut unknown = submission(&[(&[], 2)], &[], &[]);
    unknown.kind = rain_model::graph::Column::Same(77);
    assert!(h.refused(Command::Submit { session, submission: unknown }).contains("kind 77 does not exist"));
    let mut short = submission(&[(&[0], 2)], &[], &[]);
    short.inputs = Default::default();
    assert!(h.refused(Command::Submit { session, submission: short }).contains("add up to 1"));
    // What was refused used up no numbers.
    h.done(Command::Submit { session, submission: submission(&[(&[0], 2)], &[], &[]) });
    assert_eq!(h.take_message_texts(), ["0: run [2] constants [] remote [] pins []"]);
    h.assert_nothing_left();
}

#[test]
fn a_built_in_task_that_cannot_run_is_refused_with_its_number() {
    let mut h = Harness::new(&[2]);
    h.server = std::mem::take(&mut h.server).with_check(|kind, config, inputs| {
        let good = config == b"good" && inputs < 2 && kind.method() == "noop";
        if good { Ok(()) } else { Err(format!("{} with {inputs} inputs", kind.task_type)) }
    });
    let session = h.new_session();
    let submit = |h: &mut Harness, config: &[u8], tasks: &[(&[u32], u32)], foreign: bool| {
        let mut submission = submission(tasks, &[0], &[0]);
        for kind in &mut submission.kinds {
            kind.config = config.to_vec();
            if foreign {
                kind.task_type = "py/run".into();
            }
        }
        let request = h.request(Command::Submit { session, submission });
        match h.take_reply(request) {
            Some(Reply::Error(error)) => Err((error.task, error.message.clone())),
            Some(Reply::Done) => Ok(()),
            other => panic!("{other:?}"),
        }
    };
    let expected = |task, inputs| Err((Some(task), format!("buildin/noop with {inputs} inputs")));
    assert_eq!(submit(&mut h, b"bad", &[(&[], 1), (&[], 2)], false), expected(0, 0));
    assert_eq!(submit(&mut h, b"good", &[(&[], 1), (&[0], 2), (&[0, 1], 3)], false), expected(2, 2));
    // What an executor runs is its own business.
    assert_eq!(submit(&mut h, b"bad", &[(&[], 1), (&[0, 1], 2)], true), Ok(()));
    h.take_messages();
    // A task may have a configuration of its own, and kinds stay.
    let mut own = submission(&[(&[0], NONE), (&[0], NONE)], &[], &[]);
    own.kinds = vec![kind(1, 0)];
    own.kind = rain_model::graph::Column::Same(2);
    own.configs = [serde_bytes::ByteBuf::from(*b"good"), serde_bytes::ByteBuf::from(*b"bad")].into();
    own.config = rain_model::graph::Column::Each([0, 1].into());
    let request = h.request(Command::Submit { session, submission: own });
    match h.take_reply(request) {
        Some(Reply::Error(error)) => assert_eq!(error.task, Some(3)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn strangers_and_unknown_things_are_refused() {
    let mut h = Harness::new(&[2]);
    let session = h.new_session();
    h.handle(Event::ClientConnected { client: rain_model::id::ClientId(2), python: None });
    let event =
        Event::Request { client: rain_model::id::ClientId(2), request: 900, command: Command::WaitAll { session } };
    h.handle(event);
    assert!(matches!(h.take_reply(900), Some(Reply::Error(_))));
    for command in [
        Command::Wait { session, tasks: vec![0], objects: vec![] },
        Command::WaitSome { session, tasks: vec![], objects: vec![4] },
        Command::Fetch { session, object: 1, direct: false },
        Command::Unkeep { session, objects: vec![1] },
        Command::Info { session, tasks: vec![3], objects: vec![] },
    ] {
        assert!(h.refused(command).contains("does not exist"));
    }
    h.assert_nothing_left();
}

#[test]
fn info_tells_what_governors_reported() {
    let mut h = Harness::new(&[2]);
    let session = h.new_session();
    h.done(Command::Submit { session, submission: submission(&[(&[], 0)], &[], &[]) });
    h.take_messages();
    let finished = rain_protocol::peer::Finished {
        worker: 0,
        session: session.0,
        tasks: vec![rain_protocol::peer::TaskReport { task: 0, duration: 0.25, start: 12.0 }],
        objects: vec![rain_protocol::peer::ObjectReport { object: 0, size: 9 }],
        details: vec![TaskDetails {
            task: 0,
            debug: Some("hi".into()),
            user: Some("{}".into()),
            output: TaskOutput::default(),
        }],
        object_details: vec![ObjectDetails { object: 0, size: 9, content_type: Some("text".into()), user: None }],
    };
    h.governor(0, FromGovernor::Finished(finished));
    let request = h.request(Command::Info { session, tasks: vec![0], objects: vec![0] });
    match h.take_reply(request) {
        Some(Reply::Infos { tasks, objects }) => {
            assert_eq!(tasks[0].state, "finished");
            assert_eq!((tasks[0].start_time, tasks[0].duration), (Some(12.0), Some(0.25)));
            assert_eq!((tasks[0].governor, tasks[0].debug.as_deref()), (Some(0), Some("hi")));
            assert_eq!((objects[0].state.as_str(), objects[0].size), ("removed", Some(9)));
            assert_eq!(objects[0].content_type.as_deref(), Some("text"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn several_governors_share_ready_tasks_and_a_chain_stays_together() {
    let mut h = Harness::new(&[1, 1]);
    let session = h.new_session();
    // Two chains of three.
    let tasks: [(&[u32], u32); 6] = [(&[], 0), (&[0], 1), (&[1], 2), (&[], 3), (&[3], 4), (&[4], 5)];
    h.done(Command::Submit { session, submission: submission(&tasks, &[], &[2]) });
    assert_eq!(
        h.take_message_texts(),
        [
            "0: open 1",
            "1: open 1",
            "0: run [0, 1, 2] constants [] remote [] pins [0, 1, 2]",
            "1: run [3, 4, 5] constants [] remote [] pins [3, 4]",
        ]
    );
    h.finish(0, session, &[0, 1], &[0, 1]);
    assert_eq!(h.take_message_texts(), ["0: unpin [0]"]);
    h.assert_nothing_left();
}

#[test]
fn an_object_made_elsewhere_is_named_with_its_holder() {
    let mut h = Harness::new(&[1, 1]);
    let session = h.new_session();
    // Both roots feed both consumers, so that one input of each is remote.
    let tasks: [(&[u32], u32); 4] = [(&[], 0), (&[], 1), (&[0, 1], 2), (&[0, 1], 3)];
    h.done(Command::Submit { session, submission: submission(&tasks, &[], &[]) });
    h.take_messages();
    h.finish(0, session, &[0], &[0]);
    h.finish(1, session, &[1], &[1]);
    let texts = h.take_message_texts();
    assert_eq!(
        texts,
        ["0: run [2] constants [] remote [(1, [1])] pins []", "1: run [3] constants [] remote [(0, [0])] pins []",]
    );
    h.finish(0, session, &[2], &[2]);
    assert!(h.take_messages().is_empty());
    h.finish(1, session, &[3], &[3]);
    assert_eq!(h.take_message_texts(), ["0: unpin [0, 1]", "1: unpin [0, 1]"]);
    h.assert_nothing_left();
}

#[test]
fn a_session_that_waits_for_governors_is_spread_over_those_that_come() {
    let mut h = Harness::new(&[]);
    let session = h.new_session();
    let tasks: Vec<(&[u32], u32)> = vec![(&[], NONE); 8];
    h.done(Command::Submit { session, submission: submission(&tasks, &[], &[]) });
    assert!(h.take_messages().is_empty());
    h.governor(0, FromGovernor::Joined { cpus: 1, resources: Default::default() });
    assert_eq!(h.take_message_texts(), ["0: open 1", "0: run [0, 1, 2, 3] constants [] remote [] pins []"]);
    h.governor(1, FromGovernor::Joined { cpus: 1, resources: Default::default() });
    assert_eq!(h.take_message_texts(), ["1: open 1", "1: run [4, 5, 6, 7] constants [] remote [] pins []"]);
    h.assert_nothing_left();
}

#[test]
fn later_submits_of_a_session_go_to_governors_that_have_come_since() {
    let mut h = Harness::new(&[1]);
    let session = h.new_session();
    h.done(Command::Submit { session, submission: submission(&[(&[0], 1), (&[1], 2), (&[], 3)], &[0], &[1, 2]) });
    h.finish(0, session, &[0], &[1]);
    h.take_messages();
    h.governor(1, FromGovernor::Joined { cpus: 1, resources: Default::default() });
    assert_eq!(h.take_message_texts(), ["0: give back 1"]);
    h.governor(0, FromGovernor::GaveBack { session, tasks: vec![] });
    // 1 and 2 are still with governor 0: what 3 reads is there, what 4 reads is not made yet, 5 reads nothing.
    h.done(Command::Submit { session, submission: submission(&[(&[1], 4), (&[2], 5), (&[], 6)], &[], &[]) });
    assert_eq!(h.take_message_texts(), ["1: open 1", "1: run [3, 5] constants [] remote [(1, [0])] pins []"]);
    h.finish(0, session, &[1, 2], &[2, 3]);
    assert_eq!(h.take_message_texts(), ["0: run [4] constants [] remote [] pins []"]);
    h.finish(1, session, &[3, 5], &[4, 6]);
    h.finish(0, session, &[4], &[5]);
    h.done(Command::WaitAll { session });
    assert!(h.take_messages().is_empty());
    h.done(Command::Unkeep { session, objects: vec![1, 2] });
    assert_eq!(h.take_message_texts(), ["0: unpin [1, 2]", "1: unpin [1]"]);
    h.assert_nothing_left();
}

#[test]
fn tasks_that_have_not_begun_are_taken_back_for_an_idle_governor() {
    let mut h = Harness::new(&[1]);
    let session = h.new_session();
    // 0 and 1 read a constant; 2 reads what they make, and 3 the constant and what 1 makes.
    let tasks: [(&[u32], u32); 4] = [(&[0], 1), (&[0], 2), (&[1, 2], 3), (&[0, 2], 4)];
    h.done(Command::Submit { session, submission: submission(&tasks, &[0], &[3]) });
    h.take_messages();
    h.governor(1, FromGovernor::Joined { cpus: 1, resources: Default::default() });
    assert_eq!(h.take_message_texts(), ["0: give back 1"]);
    // The claim of task 1 on the constant is the server's now; the one that it had as the maker of object 2 goes.
    h.governor(0, FromGovernor::GaveBack { session, tasks: vec![1] });
    assert_eq!(
        h.take_message_texts(),
        ["0: unpin [2]", "1: open 1", "1: run [1] constants [] remote [(0, [0])] pins [2]"]
    );
    // Those that wait for what it makes have stayed, and get it.
    h.finish(1, session, &[1], &[2]);
    assert_eq!(h.take_message_texts(), ["0: run [] constants [] remote [(2, [1])] pins []", "0: give back 1"]);
    h.finish(0, session, &[0], &[1]);
    assert!(h.take_messages().is_empty());
    // The server has a claim on what 3 reads already.
    h.governor(0, FromGovernor::GaveBack { session, tasks: vec![3] });
    assert_eq!(h.take_message_texts(), ["0: unpin [0, 2, 4]", "1: run [3] constants [] remote [] pins []"]);
    h.finish(1, session, &[3], &[4]);
    assert_eq!(h.take_message_texts(), ["0: unpin [0]", "1: unpin [0]"]);
    h.finish(0, session, &[2], &[3]);
    assert_eq!(h.take_message_texts(), ["0: unpin [2]", "1: unpin [2]"]);
    h.done(Command::WaitAll { session });
    h.done(Command::Unkeep { session, objects: vec![3] });
    assert_eq!(h.take_message_texts(), ["0: unpin [3]"]);
    h.assert_nothing_left();
}

#[test]
fn a_task_that_was_cancelled_while_it_was_given_back_is_over() {
    let mut h = Harness::new(&[1]);
    let session = h.new_session();
    h.done(Command::Submit { session, submission: submission(&[(&[0], 1), (&[0], 2), (&[], 3)], &[0], &[]) });
    h.take_messages();
    h.governor(1, FromGovernor::Joined { cpus: 1, resources: Default::default() });
    assert_eq!(h.take_message_texts(), ["0: give back 1"]);
    h.request(Command::Cancel { session, tasks: vec![1] });
    assert_eq!(h.take_message_texts(), ["0: cancel [1]"]);
    h.governor(0, FromGovernor::GaveBack { session, tasks: vec![1] });
    assert_eq!(h.take_message_texts(), ["0: unpin [0, 2]"]);
    h.finish(0, session, &[0, 2], &[1, 3]);
    h.done(Command::WaitAll { session });
    assert!(h.take_messages().is_empty());
}

#[test]
fn what_only_its_giver_can_run_goes_back_once() {
    let mut h = Harness::new(&[2]);
    let session = h.new_session();
    let tasks: [(&[u32], u32); 4] = [(&[], NONE); 4];
    let mut wide = submission(&tasks, &[], &[]);
    wide.kinds[0] = kind(2, 0);
    h.done(Command::Submit { session, submission: wide });
    h.take_messages();
    h.governor(1, FromGovernor::Joined { cpus: 1, resources: Default::default() });
    assert_eq!(h.take_message_texts(), ["0: give back 1"]);
    h.governor(0, FromGovernor::GaveBack { session, tasks: vec![3] });
    assert_eq!(h.take_message_texts(), ["0: run [3] constants [] remote [] pins []"]);
    h.finish(0, session, &[0], &[]);
    assert_eq!(h.take_message_texts(), ["0: give back 1"]);
    h.governor(0, FromGovernor::GaveBack { session, tasks: vec![] });
    assert!(h.take_messages().is_empty());
}

#[test]
fn a_task_that_is_too_wide_for_all_waits_for_a_governor_and_others_do_not_wait_behind_it() {
    let mut h = Harness::new(&[]);
    let session = h.new_session();
    let mut wide = submission(&[(&[], NONE), (&[], 0)], &[], &[]);
    wide.kinds[0] = kind(4, 0);
    h.done(Command::Submit { session, submission: wide });
    h.governor(0, FromGovernor::Joined { cpus: 2, resources: Default::default() });
    assert_eq!(h.take_message_texts(), ["0: open 1", "0: run [1] constants [] remote [] pins []"]);
    h.finish(0, session, &[1], &[0]);
    assert!(h.take_messages().is_empty());
    h.governor(1, FromGovernor::Joined { cpus: 4, resources: Default::default() });
    assert_eq!(h.take_message_texts(), ["1: open 1", "1: run [0] constants [] remote [] pins []"]);
    h.assert_nothing_left();
}

#[test]
fn cancelling_takes_followers_along_and_leaves_the_rest() {
    for cpus in [&[2][..], &[1, 1]] {
        let mut h = Harness::new(cpus);
        let session = h.new_session();
        // 0 -> 1 -> 2, 3 alone, 4 reads both.
        let tasks: [(&[u32], u32); 5] = [(&[], 0), (&[0], 1), (&[1], 2), (&[], 3), (&[2, 3], 4)];
        h.done(Command::Submit { session, submission: submission(&tasks, &[], &[2, 3]) });
        h.take_messages();
        let fetch = h.request(Command::Fetch { session, object: 2, direct: false });
        let wait = h.request(Command::Wait { session, tasks: vec![0, 4], objects: vec![] });
        let some = h.request(Command::WaitSome { session, tasks: vec![2], objects: vec![] });
        let all = h.request(Command::WaitAll { session });
        h.finish(0, session, &[0], &[0]);
        let cancel = h.request(Command::Cancel { session, tasks: vec![0, 1] });
        match h.take_reply(cancel) {
            Some(Reply::Some { tasks, .. }) => assert_eq!(tasks, [1, 2, 4]),
            other => panic!("{other:?}"),
        }
        for request in [fetch, wait] {
            match h.take_reply(request) {
                Some(Reply::Error(error)) => {
                    assert_eq!(error.kind, ErrorKind::Cancelled);
                    assert!(error.message.ends_with("was cancelled"), "{error:?}");
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(matches!(h.take_reply(some), Some(Reply::Some { tasks, .. }) if tasks == [2]));
        let told: Vec<String> = h.take_message_texts().into_iter().filter(|text| text.contains("cancel")).collect();
        if cpus.len() == 1 {
            assert_eq!(told, ["0: cancel [1, 2, 4]"]);
        }
        // News of a task that was cancelled meanwhile changes nothing.
        h.finish(0, session, &[1], &[1]);
        assert!(h.take_reply(all).is_none());
        let governor = u32::from(cpus.len() == 2);
        h.finish(governor, session, &[3], &[3]);
        assert!(matches!(h.take_reply(all), Some(Reply::Done)));
        let request = h.request(Command::Info { session, tasks: vec![1, 3], objects: vec![] });
        match h.take_reply(request) {
            Some(Reply::Infos { tasks, .. }) => {
                let states: Vec<&str> = tasks.iter().map(|task| task.state.as_str()).collect();
                assert_eq!(states, ["cancelled", "finished"]);
            }
            other => panic!("{other:?}"),
        }
        h.done(Command::Submit { session, submission: submission(&[(&[3], 5)], &[], &[]) });
    }
}

#[test]
fn only_what_has_not_begun_is_cancelled_where_that_is_asked_for() {
    let mut h = Harness::new(&[2]);
    let session = h.new_session();
    let tasks: [(&[u32], u32); 4] = [(&[], 0), (&[], 1), (&[1], 2), (&[], 3)];
    h.done(Command::Submit { session, submission: submission(&tasks, &[], &[2]) });
    h.take_messages();
    h.finish(0, session, &[3], &[3]);
    let fetch = h.request(Command::Fetch { session, object: 2, direct: false });
    let cancel = h.request(Command::CancelWaiting { session, tasks: vec![0, 1, 3] });
    let messages = h.take_messages();
    let [(0, ToGovernor::CancelWaiting { ticket, tasks, .. })] = messages.as_slice() else { panic!("{messages:?}") };
    assert_eq!(tasks, &[0, 1]);
    assert!(h.take_reply(cancel).is_none() && h.take_reply(fetch).is_none());
    h.governor(0, FromGovernor::CancelledWaiting { session, ticket: *ticket, tasks: vec![1] });
    assert!(matches!(h.take_reply(cancel), Some(Reply::Some { tasks, .. }) if tasks == [1, 2]));
    assert!(matches!(h.take_reply(fetch), Some(Reply::Error(error)) if error.kind == ErrorKind::Cancelled));
    assert_eq!(h.take_message_texts(), ["0: cancel [1, 2]"]);
    // What is over, or was cancelled before, is not asked for.
    let again = h.request(Command::CancelWaiting { session, tasks: vec![1, 3] });
    assert!(matches!(h.take_reply(again), Some(Reply::Some { tasks, .. }) if tasks.is_empty()));
    let text = h.refused(Command::CancelWaiting { session, tasks: vec![4] });
    assert!(text.contains("task 4 does not exist"), "{text}");
    h.assert_nothing_left();
}

#[test]
fn tasks_without_a_governor_have_not_begun() {
    let mut h = Harness::new(&[]);
    let session = h.new_session();
    h.done(Command::Submit { session, submission: submission(&[(&[], 0), (&[], 1)], &[], &[]) });
    let cancel = h.request(Command::CancelWaiting { session, tasks: vec![1] });
    assert!(matches!(h.take_reply(cancel), Some(Reply::Some { tasks, .. }) if tasks == [1]));
    h.assert_nothing_left();
}

#[test]
fn the_end_of_a_session_answers_who_cancels() {
    for fails in [false, true] {
        let mut h = Harness::new(&[2]);
        let session = h.new_session();
        h.done(Command::Submit { session, submission: submission(&[(&[], 0)], &[], &[]) });
        let cancel = h.request(Command::CancelWaiting { session, tasks: vec![0] });
        if fails {
            h.governor(0, FromGovernor::Failed { session, task: 0, failure: Failure::default() });
        } else {
            h.done(Command::CloseSession { session });
        }
        assert!(matches!(h.take_reply(cancel), Some(Reply::Error(_))));
        h.take_messages();
        h.governor(0, FromGovernor::CancelledWaiting { session, ticket: 1, tasks: vec![0] });
        h.assert_nothing_left();
    }
}

#[test]
fn a_task_that_reads_a_cancelled_object_is_refused() {
    let mut h = Harness::new(&[2]);
    let session = h.new_session();
    h.done(Command::Submit { session, submission: submission(&[(&[], 0)], &[], &[0]) });
    h.request(Command::Cancel { session, tasks: vec![0] });
    let message = h.refused(Command::Submit { session, submission: submission(&[(&[0], 1)], &[], &[]) });
    assert!(message.contains("task 0 was cancelled"), "{message}");
}

#[test]
fn a_long_task_is_seen_to_run() {
    let mut h = Harness::new(&[2]);
    let session = h.new_session();
    h.done(Command::Submit { session, submission: submission(&[(&[], 0)], &[], &[]) });
    h.governor(0, FromGovernor::Started { session, task: 0, worker: 0, start: 5.0 });
    let request = h.request(Command::Info { session, tasks: vec![0], objects: vec![] });
    match h.take_reply(request) {
        Some(Reply::Infos { tasks, .. }) => {
            assert_eq!((tasks[0].state.as_str(), tasks[0].start_time, tasks[0].duration), ("running", Some(5.0), None));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_tasks_have_written_is_told_also_when_their_session_has_failed() {
    let mut h = Harness::new(&[2]);
    let session = h.new_session();
    h.done(Command::Submit { session, submission: submission(&[(&[], NONE), (&[], NONE), (&[], NONE)], &[], &[]) });
    let output = |text: &str| TaskOutput { stdout: text.to_owned(), stderr: format!("{text}!") };
    let details = vec![TaskDetails { task: 1, output: output("one"), ..TaskDetails::default() }];
    let tasks =
        vec![TaskReport { task: 1, duration: 0.0, start: 0.0 }, TaskReport { task: 0, duration: 0.0, start: 0.0 }];
    h.governor(0, FromGovernor::Finished(Finished { session: session.0, tasks, details, ..Finished::default() }));
    let told = |h: &mut Harness, tasks: &[u32]| {
        let request = h.request(Command::Outputs { session, tasks: tasks.to_vec() });
        match h.take_reply(request) {
            Some(Reply::Outputs { outputs, count }) => (outputs, count),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(told(&mut h, &[0, 1, 2]), (vec![(1, output("one"))], 3));
    assert!(h.refused(Command::Outputs { session, tasks: vec![3] }).contains("task 3 does not exist"));
    let failure = Failure { message: "no".to_owned(), output: output("two"), ..Failure::default() };
    h.governor(0, FromGovernor::Failed { session, task: 2, failure });
    assert_eq!(told(&mut h, &[2, 0, 1]), (vec![(2, output("two")), (1, output("one"))], 3));
    h.done(Command::CloseSession { session });
    h.refused(Command::Outputs { session, tasks: vec![1] });
}
