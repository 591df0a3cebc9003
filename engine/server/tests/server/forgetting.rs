//! Giving back what is remembered of tasks that are over.

use crate::{Content, Harness, kind, submission};
use rain_model::graph::Column;
use rain_model::id::{NONE, SessionId};
use rain_protocol::peer::FromGovernor;
use rain_server::{Command, Event, Reply};

fn forget(session: SessionId, tasks: &[u32]) -> Command<Content> {
    Command::Forget { session, tasks: tasks.to_vec(), constants: Vec::new(), kinds: Vec::new() }
}

fn forgotten(h: &mut Harness, command: Command<Content>) -> Vec<u32> {
    let request = h.request(command);
    match h.take_reply(request) {
        Some(Reply::Forgotten { objects, .. }) => objects,
        other => panic!("{other:?}"),
    }
}

#[test]
fn outputs_that_are_kept_are_dropped_and_the_batch_goes_with_its_last_task() {
    let mut h = Harness::new(&[2]);
    let session = h.new_session();
    h.done(Command::Submit { session, submission: submission(&[(&[0], 1), (&[1], 2)], &[0], &[2]) });
    h.finish(0, session, &[0, 1], &[1, 2]);
    h.take_messages();
    assert_eq!(forgotten(&mut h, forget(session, &[1, 1])), [2]);
    assert_eq!(h.take_message_texts(), ["0: unpin [2]", "0: forget tasks [1] objects [2] batches [] kinds []"]);
    // The constant is of the same submit.
    assert_eq!(forgotten(&mut h, forget(session, &[0])), [1, 0]);
    assert_eq!(h.take_message_texts(), ["0: forget tasks [0] objects [1, 0] batches [0] kinds []"]);
    h.done(Command::WaitAll { session });
    h.assert_nothing_left();
}

#[test]
fn what_is_forgotten_is_refused_from_then_on() {
    let mut h = Harness::new(&[2]);
    let session = h.new_session();
    h.done(Command::Submit { session, submission: submission(&[(&[], 0), (&[], 1)], &[], &[0, 1]) });
    h.finish(0, session, &[0, 1], &[0, 1]);
    forgotten(&mut h, forget(session, &[0]));
    h.take_messages();
    let (tasks, objects) = (vec![1, 0], vec![0]);
    for command in [
        Command::Wait { session, tasks: tasks.clone(), objects: vec![] },
        Command::WaitSome { session, tasks: vec![], objects: objects.clone() },
        Command::Fetch { session, object: 0, direct: false },
        Command::Unkeep { session, objects: objects.clone() },
        Command::Cancel { session, tasks: tasks.clone() },
        Command::Info { session, tasks: tasks.clone(), objects: vec![] },
        Command::Info { session, tasks: vec![], objects },
        Command::Submit { session, submission: submission(&[(&[0], 2)], &[], &[]) },
        forget(session, &tasks),
    ] {
        let what = format!("{command:?}");
        let message = h.refused(command);
        assert!(message.contains("0") && message.contains("was forgotten"), "{what}: {message}");
    }
    h.handle(Event::ContentWanted { number: 5, session, object: 0 });
    assert!(format!("{:?}", h.actions.pop()).contains("is not here"));
    // Nothing of what was refused was done.
    h.done(Command::Wait { session, tasks: vec![1], objects: vec![1] });
    h.assert_nothing_left();
}

#[test]
fn only_what_is_over_and_known_is_forgotten() {
    let mut h = Harness::new(&[2]);
    let session = h.new_session();
    let tasks: [(&[u32], u32); 3] = [(&[0], 1), (&[], 2), (&[], NONE)];
    h.done(Command::Submit { session, submission: submission(&tasks, &[0], &[]) });
    h.finish(0, session, &[0], &[1]);
    h.take_messages();
    let with = |tasks: &[u32], constants: &[u32], kinds: &[u32]| Command::Forget {
        session,
        tasks: tasks.to_vec(),
        constants: constants.to_vec(),
        kinds: kinds.to_vec(),
    };
    for (command, expected) in [
        (with(&[0, 1], &[], &[]), "neither finished nor cancelled"),
        (with(&[7], &[], &[]), "task 7 does not exist"),
        (with(&[0], &[9], &[]), "object 9 does not exist"),
        (with(&[0], &[1], &[]), "object 1 is no constant: it is forgotten with task 0"),
        (with(&[0], &[], &[2]), "kind 2 does not exist"),
    ] {
        let message = h.refused(command);
        assert!(message.contains(expected), "{message:?} should say {expected:?}");
        h.assert_nothing_left();
    }
    // A cancelled task is over.
    let request = h.request(Command::Cancel { session, tasks: vec![1] });
    assert!(matches!(h.take_reply(request), Some(Reply::Some { .. })));
    assert_eq!(forgotten(&mut h, with(&[0, 1], &[0], &[1])), [0, 1, 2]);
    assert_eq!(
        h.take_message_texts(),
        ["0: cancel [1]", "0: forget tasks [0, 1] objects [0, 1, 2] batches [] kinds [1]"]
    );
    assert!(h.refused(with(&[], &[], &[1])).contains("kind 1 does not exist in session 1, or was forgotten"));
    // Reports that cross change nothing.
    h.finish(0, session, &[1], &[2]);
    h.finish(0, session, &[2], &[]);
    h.done(Command::WaitAll { session });
    h.assert_nothing_left();
}

#[test]
fn kinds_that_are_forgotten_are_not_used_again() {
    let mut h = Harness::new(&[2]);
    let session = h.new_session();
    h.done(Command::Submit { session, submission: submission(&[(&[], 0)], &[], &[]) });
    let kinds = Command::Forget { session, tasks: vec![], constants: vec![], kinds: vec![0, 1] };
    assert!(forgotten(&mut h, kinds).is_empty());
    let of_kind = |number: u32| {
        let mut submission = submission(&[(&[], 1), (&[], 2)], &[], &[]);
        (submission.kinds, submission.kind) = (vec![kind(1, 1)], Column::Each([2, number].into()));
        submission
    };
    for (number, expected) in [(1, "kind 1 was forgotten"), (3, "kind 3 does not exist")] {
        let message = h.refused(Command::Submit { session, submission: of_kind(number) });
        assert!(message.contains(expected), "{message}");
    }
    h.take_messages();
    // The numbers stay used.
    h.done(Command::Submit { session, submission: of_kind(2) });
    assert_eq!(h.take_message_texts(), ["0: run [1, 2] constants [] remote [] pins []"]);
    // A task that was submitted before is run.
    h.finish(0, session, &[0, 1, 2], &[0, 1, 2]);
    h.done(Command::WaitAll { session });
    h.assert_nothing_left();
}

#[test]
fn a_fetch_that_is_under_way_is_answered() {
    let mut h = Harness::new(&[2]);
    let session = h.new_session();
    h.done(Command::Submit { session, submission: submission(&[(&[], 0)], &[], &[0]) });
    h.finish(0, session, &[0], &[0]);
    let fetch = h.request(Command::Fetch { session, object: 0, direct: false });
    forgotten(&mut h, forget(session, &[0]));
    h.governor(0, FromGovernor::Fetched { ticket: 1, content: Ok(42) });
    match h.take_reply(fetch) {
        Some(Reply::Object { info, content }) => assert_eq!((info.size, content), (Some(7), 42)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_wait_for_several_tasks_ends_though_some_are_forgotten() {
    let mut h = Harness::new(&[2]);
    let session = h.new_session();
    h.done(Command::Submit { session, submission: submission(&[(&[], 0), (&[], 1), (&[], 2)], &[], &[1]) });
    let all = h.request(Command::Wait { session, tasks: vec![0, 1, 2], objects: vec![1] });
    h.finish(0, session, &[1], &[1]);
    forgotten(&mut h, forget(session, &[1]));
    h.finish(0, session, &[0], &[0]);
    forgotten(&mut h, forget(session, &[0]));
    assert!(h.take_reply(all).is_none());
    h.finish(0, session, &[2], &[2]);
    assert!(matches!(h.take_reply(all), Some(Reply::Done)));
}

#[test]
fn on_several_governors_a_forgotten_object_stays_until_its_last_reader_is_over() {
    let mut h = Harness::new(&[1, 1]);
    let session = h.new_session();
    h.done(Command::Submit { session, submission: submission(&[(&[], 0), (&[], 1)], &[], &[0, 1]) });
    h.take_messages();
    h.finish(0, session, &[0], &[0]);
    // It reads what is made, and what is not.
    h.done(Command::Submit { session, submission: submission(&[(&[0, 1], 2)], &[], &[]) });
    forgotten(&mut h, forget(session, &[0]));
    let told = "forget tasks [0] objects [0] batches [] kinds []";
    assert_eq!(h.take_message_texts(), [format!("0: {told}"), format!("1: {told}")]);
    h.finish(1, session, &[1], &[1]);
    let run = h.take_message_texts().pop();
    assert_eq!(run.as_deref(), Some("0: run [2] constants [] remote [(1, [1])] pins []"));
    h.finish(0, session, &[2], &[2]);
    assert_eq!(h.take_message_texts(), ["0: unpin [0]"]);
    forgotten(&mut h, forget(session, &[1, 2]));
    let told = "forget tasks [1, 2] objects [1, 2] batches [0, 2] kinds []";
    assert_eq!(h.take_message_texts(), ["0: unpin [1]", "1: unpin [1]", &format!("0: {told}"), &format!("1: {told}")]);
    h.assert_nothing_left();
}

#[test]
fn a_session_is_spread_after_it_has_forgotten_what_its_tasks_read() {
    let mut h = Harness::new(&[1]);
    let session = h.new_session();
    let many: Vec<(&[u32], u32)> = (0..3000).map(|object| (&[][..], object)).collect();
    h.done(Command::Submit { session, submission: submission(&many, &[], &[5, 2999]) });
    let all: Vec<u32> = (0..2999).collect();
    h.finish(0, session, &all, &all);
    // Task 3000 reads an object that is forgotten meanwhile and one that is not made.
    h.done(Command::Submit { session, submission: submission(&[(&[5, 2999], 3000)], &[], &[3000]) });
    forgotten(&mut h, forget(session, &all));
    h.governor(1, FromGovernor::Joined { cpus: 1, resources: Default::default() });
    h.done(Command::Submit { session, submission: submission(&[(&[3000], 3001)], &[], &[]) });
    h.take_messages();
    h.finish(0, session, &[2999, 3000], &[2999, 3000]);
    assert_eq!(h.take_message_texts(), ["0: run [3001] constants [] remote [] pins []"]);
    h.finish(0, session, &[3001], &[3001]);
    h.done(Command::WaitAll { session });
    h.take_messages();
    forgotten(&mut h, forget(session, &[2999, 3000, 3001]));
    assert_eq!(h.take_message_texts()[0], "0: unpin [2999, 3000]");
}

#[test]
fn tasks_that_are_given_back_after_they_were_forgotten_leave_no_claims() {
    let mut h = Harness::new(&[1]);
    let session = h.new_session();
    let tasks: Vec<(&[u32], u32)> = (0..4).map(|task| (&[0][..], task + 1)).collect();
    h.done(Command::Submit { session, submission: submission(&tasks, &[0], &[0]) });
    h.governor(1, FromGovernor::Joined { cpus: 1, resources: Default::default() });
    let texts = h.take_message_texts();
    assert!(texts.contains(&"0: give back 1".to_owned()), "{texts:?}");
    // It gives task 3 back, whose cancel and end cross with that.
    let request = h.request(Command::Cancel { session, tasks: vec![0, 1, 2, 3] });
    assert!(matches!(h.take_reply(request), Some(Reply::Some { .. })));
    forgotten(&mut h, forget(session, &[0, 1, 2, 3]));
    h.take_messages();
    h.governor(0, FromGovernor::GaveBack { session, tasks: vec![3] });
    // What it read, and what it would have made.
    assert_eq!(h.take_message_texts(), ["0: unpin [0, 4]"]);
}

#[test]
fn configurations_go_when_all_tasks_of_their_batch_are_over() {
    let mut h = Harness::new(&[2]);
    let session = h.new_session();
    let submit = |bytes: usize, first: u32| {
        let mut submission = submission(&[(&[], first), (&[], first + 1)], &[], &[]);
        submission.configs = [serde_bytes::ByteBuf::from(vec![1; bytes])].into();
        submission.config = Column::Same(0);
        Command::Submit { session, submission }
    };
    h.done(submit(1 << 20, 0));
    h.done(submit(10, 2));
    h.finish(0, session, &[1, 2, 3], &[1, 2, 3]);
    h.take_messages();
    h.finish(0, session, &[0], &[0]);
    // Few bytes are not worth a message.
    assert_eq!(h.take_message_texts(), ["0: drop configs [0]"]);
    h.assert_nothing_left();
}

#[test]
fn tasks_that_were_cancelled_before_a_governor_came_are_not_run() {
    for governors in [1, 2] {
        let mut h = Harness::new(&[]);
        let session = h.new_session();
        h.done(Command::Submit { session, submission: submission(&[(&[], 0), (&[], 1)], &[], &[0, 1]) });
        h.done(Command::Submit { session, submission: submission(&[(&[2], 3)], &[2], &[]) });
        let request = h.request(Command::Cancel { session, tasks: vec![0, 2] });
        assert!(matches!(h.take_reply(request), Some(Reply::Some { tasks, .. }) if tasks == [0, 2]));
        forgotten(&mut h, forget(session, &[2]));
        (0..governors)
            .for_each(|number| h.governor(number, FromGovernor::Joined { cpus: 1, resources: Default::default() }));
        h.done(Command::Submit { session, submission: submission(&[(&[], 4)], &[], &[]) });
        let texts: Vec<String> = h.take_message_texts().into_iter().filter(|text| text.contains("run [")).collect();
        let ran: String = texts.concat();
        assert!(ran.contains("run [1]") && ran.contains("run [3]"), "{texts:?}");
        assert!(!ran.contains("run [0") && !ran.contains("run [2"), "{texts:?}");
        for text in texts {
            let (governor, task) = if text.contains("run [1]") { (&text[..1], 1) } else { (&text[..1], 3) };
            h.finish(governor.parse().unwrap(), session, &[task], &[]);
        }
        h.done(Command::WaitAll { session });
        let request = h.request(Command::Status);
        match h.take_reply(request) {
            Some(Reply::Status(status)) => {
                assert!(status.governors.iter().all(|g| g.tasks_unfinished == 0), "{status:?}")
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn names_are_bounded_and_refusals_quote_little() {
    let mut h = Harness::new(&[2]);
    let long = "\u{1}".repeat(70_000);
    let message = h.refused(Command::NewSession { name: long.clone() });
    assert!(message.contains("has 70000 bytes, but 1024 at most") && message.len() < 2000, "{message}");
    let session = h.new_session();
    for (change, expected) in [
        (0, "the name of a kind of tasks has 70000 bytes"),
        (1, "is not of the form EXECUTOR/METHOD"),
        (2, "the type of a kind of tasks has 70002 bytes"),
    ] {
        let mut submission = submission(&[(&[], 0)], &[], &[]);
        match change {
            0 => submission.kinds[1].name = long.clone(),
            1 => submission.kinds[1].task_type = long.clone(),
            _ => submission.kinds[1].task_type = format!("a/{long}"),
        }
        let message = h.refused(Command::Submit { session, submission });
        assert!(message.contains(expected) && message.len() < 2000, "{message}");
    }
    h.assert_nothing_left();
}

#[test]
fn a_status_lists_so_many_sessions_and_counts_all() {
    let mut h = Harness::new(&[2]);
    for _ in 0..1003 {
        h.new_session();
    }
    let request = h.request(Command::Status);
    match h.take_reply(request) {
        Some(Reply::Status(status)) => assert_eq!((status.sessions.len(), status.sessions_open), (1000, 1003)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_tasks_read_that_have_not_had_their_turn_stays_when_it_is_unkept_or_forgotten() {
    for by_forgetting in [false, true] {
        let mut h = Harness::new(&[1, 1]);
        let session = h.new_session();
        h.done(Command::Submit { session, submission: submission(&[(&[0], NONE)], &[0], &[0]) });
        assert_eq!(h.take_message_texts(), ["0: open 1", "0: run [0] constants [0] remote [] pins [0]"]);
        // So many sessions wait for room that this one is not looked at.
        for _ in 0..20 {
            let other = h.new_session();
            h.done(Command::Submit { session: other, submission: submission(&[(&[][..], NONE); 100], &[], &[]) });
        }
        h.done(Command::Submit { session, submission: submission(&[(&[0], NONE)], &[], &[]) });
        h.take_messages();
        if by_forgetting {
            let command = Command::Forget { session, tasks: vec![], constants: vec![0], kinds: vec![] };
            assert_eq!(forgotten(&mut h, command), [0]);
        } else {
            h.done(Command::Unkeep { session, objects: vec![0] });
        }
        let told = h.take_message_texts();
        assert!(!told.iter().any(|text| text.contains("unpin")), "{told:?}");
        h.finish(0, session, &[0], &[]);
        let mut texts = h.take_message_texts();
        for other in 2..22 {
            h.done(Command::CloseSession { session: SessionId(other) });
            texts.extend(h.take_message_texts());
        }
        assert!(texts.contains(&"1: run [1] constants [0] remote [] pins [0]".to_owned()), "{texts:?}");
        assert!(!texts.iter().any(|text| text.contains("unpin")), "{texts:?}");
        h.finish(1, session, &[1], &[]);
        assert_eq!(h.take_message_texts(), ["0: unpin [0]", "1: unpin [0]"]);
    }
}
