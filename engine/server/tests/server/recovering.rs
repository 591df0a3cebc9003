//! Governors that are lost: tasks run elsewhere, and what is needed is made again, and nothing else.

use crate::{Harness, submission};
use rain_model::id::{GovernorId, NONE, SessionId};
use rain_protocol::peer::{FromGovernor, TaskSet, ToGovernor};
use rain_server::{Action, Command, Event, Reply, RequestId};
use std::time::{Duration, Instant};

fn lose(h: &mut Harness, number: u32) {
    h.handle(Event::GovernorLost { governor: GovernorId(number), why: "cut".into() });
}

fn new(cpus: &[u32]) -> Harness {
    let mut h = Harness::new(&[]);
    h.server.set_recovers();
    for (number, cpus) in cpus.iter().enumerate() {
        h.governor(number as u32, FromGovernor::Joined { cpus: *cpus, resources: Default::default() });
    }
    h
}

#[test]
fn the_log_is_told_which_tasks_run_again_and_which_of_them_were_finished() {
    let mut h = new(&[1, 1]);
    h.server.set_logged();
    let session = h.new_session();
    h.done(Command::Submit { session, submission: submission(&[(&[], 0), (&[0], 1), (&[1], 2)], &[], &[2]) });
    let governor = runs(&mut h)[0].1;
    h.finish(governor, session, &[0], &[0]);
    h.log.clear();
    lose(&mut h, governor);
    let told: Vec<String> = h.log.drain(..).map(|entry| format!("{entry:?}")).collect();
    assert!(told[0].starts_with("GovernorLost"), "{told:?}");
    assert!(told[1].starts_with("Lost") && told[1].ends_with("tasks: [1, 2] }"), "{told:?}");
    assert!(told[2].starts_with("Repeated") && told[2].ends_with("tasks: [0] }"), "{told:?}");
    assert_eq!(told.len(), 3, "{told:?}");
    assert_eq!(run_all(&mut h, session), [0, 1, 2]);
}

/// The tasks that governors were told to run since the last call, in ascending order, each with its governor.
fn runs(h: &mut Harness) -> Vec<(u32, u32)> {
    let mut runs = Vec::new();
    for (governor, message) in h.take_messages() {
        if let ToGovernor::Run(run) = message {
            let tasks = match &run.tasks {
                TaskSet::All => run.batch.tasks().collect(),
                TaskSet::Some(tasks) => tasks.clone(),
            };
            runs.extend(tasks.into_iter().map(|task| (task, governor)));
        }
    }
    runs.sort_unstable();
    runs
}

/// Has everything finished that governors are told to run, each task with the object of its number; what ran, in order.
fn run_all(h: &mut Harness, session: SessionId) -> Vec<u32> {
    let mut all = Vec::new();
    loop {
        let next = runs(h);
        if next.is_empty() {
            return all;
        }
        for (task, governor) in next {
            all.push(task);
            h.finish(governor, session, &[task], &[task]);
        }
    }
}

fn fetch(h: &mut Harness, session: SessionId, object: u32) -> RequestId {
    h.request(Command::Fetch { session, object, direct: false })
}

/// The governor that is asked for an object, which it gives.
fn give(h: &mut Harness, object: u32) -> Option<u32> {
    let asked = h.take_messages().into_iter().find_map(|(governor, message)| match message {
        ToGovernor::Fetch { object: asked, ticket, .. } if asked == object => Some((governor, ticket)),
        _ => None,
    });
    let (governor, ticket) = asked?;
    h.governor(governor, FromGovernor::Fetched { ticket, content: Ok(u64::from(object)) });
    Some(governor)
}

/// Each task reads the object of the one before it.
fn chain(h: &mut Harness, session: SessionId, length: u32, keep: &[u32]) {
    let inputs: Vec<Vec<u32>> = (0..length).map(|task| task.checked_sub(1).into_iter().collect()).collect();
    let tasks: Vec<(&[u32], u32)> = (0..).zip(&inputs).map(|(task, inputs)| (&inputs[..], task)).collect();
    h.done(Command::Submit { session, submission: submission(&tasks, &[], keep) });
}

#[test]
fn a_whole_batch_runs_on_the_next_governor() {
    let mut h = new(&[1]);
    let session = h.new_session();
    chain(&mut h, session, 5, &[4]);
    assert_eq!(runs(&mut h).len(), 5);
    h.finish(0, session, &[0, 1], &[0, 1]);
    let wait = h.request(Command::Wait { session, tasks: vec![1], objects: vec![] });
    assert!(matches!(h.take_reply(wait), Some(Reply::Done)));
    lose(&mut h, 0);
    assert_eq!(runs(&mut h), []);
    let all = h.request(Command::WaitAll { session });
    h.governor(3, FromGovernor::Joined { cpus: 1, resources: Default::default() });
    // What was made there is lost with it.
    assert_eq!(run_all(&mut h, session), [0, 1, 2, 3, 4]);
    assert!(matches!(h.take_reply(all), Some(Reply::Done)));
    // What comes of the lost one is old.
    h.finish(0, session, &[2], &[2]);
    h.done(Command::CloseSession { session });
}

#[test]
fn only_what_is_needed_is_made_again() {
    let mut h = new(&[1]);
    let session = h.new_session();
    // Tasks 5 and 6 read what 2 makes; 7 nobody needs.
    let tasks: Vec<(&[u32], u32)> =
        vec![(&[], 0), (&[0], 1), (&[1], 2), (&[], 3), (&[3], 4), (&[2], 5), (&[2], 6), (&[], 7)];
    h.done(Command::Submit { session, submission: submission(&tasks, &[], &[5, 6]) });
    assert_eq!(run_all(&mut h, session), [0, 1, 2, 3, 4, 5, 6, 7]);
    let fetched = fetch(&mut h, session, 5);
    assert_eq!(give(&mut h, 5), Some(0));
    assert!(matches!(h.take_reply(fetched), Some(Reply::Object { .. })));
    lose(&mut h, 0);
    h.done(Command::WaitAll { session });
    h.governor(1, FromGovernor::Joined { cpus: 1, resources: Default::default() });
    assert_eq!(run_all(&mut h, session), [0, 1, 2, 6]);
    // What was fetched is made again only for whoever asks for it once more.
    let fetched = fetch(&mut h, session, 5);
    assert_eq!(run_all_but_fetches(&mut h, session), [0, 1, 2, 5]);
    assert_eq!(give(&mut h, 5), None, "it was given while tasks ran");
    assert!(matches!(h.take_reply(fetched), Some(Reply::Object { content: 5, .. })));
    h.done(Command::CloseSession { session });
}

/// The same as `run_all`; objects that are asked for are given.
fn run_all_but_fetches(h: &mut Harness, session: SessionId) -> Vec<u32> {
    let mut all = Vec::new();
    loop {
        let messages = h.take_messages();
        if messages.is_empty() {
            return all;
        }
        for (governor, message) in messages {
            match message {
                ToGovernor::Run(run) => {
                    let TaskSet::Some(tasks) = run.tasks else { panic!("a whole batch") };
                    for task in tasks {
                        all.push(task);
                        h.finish(governor, session, &[task], &[task]);
                    }
                }
                ToGovernor::Fetch { object, ticket, .. } => {
                    h.governor(governor, FromGovernor::Fetched { ticket, content: Ok(u64::from(object)) });
                }
                _ => {}
            }
        }
    }
}

#[test]
fn a_copy_that_has_come_is_enough_and_one_that_has_not_is_none() {
    for has_come in [true, false] {
        let mut h = new(&[1, 1]);
        let session = h.new_session();
        h.done(Command::Submit { session, submission: submission(&[(&[], 0)], &[], &[0]) });
        let made_on = runs(&mut h)[0].1;
        h.finish(made_on, session, &[0], &[0]);
        let readers: Vec<(&[u32], u32)> = vec![(&[0], 1), (&[0], 2)];
        h.done(Command::Submit { session, submission: submission(&readers, &[], &[1, 2]) });
        let given = runs(&mut h);
        assert_eq!(given.len(), 2);
        let other = 1 - made_on;
        if has_come {
            h.governor(other, FromGovernor::Arrived { session, object: 0, transfer: 1 });
        }
        lose(&mut h, made_on);
        let again: Vec<u32> = runs(&mut h).into_iter().map(|(task, _)| task).collect();
        assert_eq!(again.contains(&0), !has_come, "{again:?}");
        // An old answer does not matter.
        h.governor(other, FromGovernor::InputLost { session, object: 0, transfer: 1, why: "gone".into() });
        assert_eq!(fetch_is_answered(&mut h, session), has_come);
    }
}

/// Whether a fetch of object 0 goes to a governor at once.
fn fetch_is_answered(h: &mut Harness, session: SessionId) -> bool {
    fetch(h, session, 0);
    give(h, 0).is_some()
}

#[test]
fn who_cannot_reach_a_holder_gets_the_object_through_the_server() {
    let mut h = new(&[1, 1]);
    let session = h.new_session();
    h.done(Command::Submit { session, submission: submission(&[(&[], 0)], &[], &[0]) });
    let made_on = runs(&mut h)[0].1;
    h.finish(made_on, session, &[0], &[0]);
    let readers: Vec<(&[u32], u32)> = vec![(&[0], 1), (&[0], 2)];
    h.done(Command::Submit { session, submission: submission(&readers, &[], &[]) });
    h.take_messages();
    let other = 1 - made_on;
    h.governor(other, FromGovernor::InputLost { session, object: 0, transfer: 1, why: "no way".into() });
    assert_eq!(give(&mut h, 0), Some(made_on));
    let passed_on = h.take_messages().into_iter().any(|(governor, message)| {
        matches!(message, ToGovernor::Run(run) if governor == other && run.constants == [(0, 0)] && run.pins == [0])
    });
    assert!(passed_on);
}

#[test]
fn what_is_forgotten_stays_as_long_as_it_takes() {
    let mut h = new(&[1, 1]);
    let session = h.new_session();
    h.done(Command::Submit { session, submission: submission(&[(&[1], 0)], &[1], &[0]) });
    let (task, governor) = runs(&mut h)[0];
    h.finish(governor, session, &[task], &[0]);
    h.done(Command::Submit { session, submission: submission(&[(&[0], 2)], &[], &[2]) });
    let (task, governor) = runs(&mut h)[0];
    h.finish(governor, session, &[task], &[2]);
    let forget = h.request(Command::Forget { session, tasks: vec![0], constants: vec![], kinds: vec![] });
    assert!(matches!(h.take_reply(forget), Some(Reply::Forgotten { .. })));
    assert!(h.refused(Command::Info { session, tasks: vec![0], objects: vec![] }).contains("was forgotten"));
    h.take_messages();
    lose(&mut h, governor);
    let again = runs(&mut h);
    assert_eq!(again.iter().map(|(task, _)| *task).collect::<Vec<_>>(), [0, 1]);
    let elsewhere = again[0].1;
    assert_ne!(elsewhere, governor);
    h.finish(elsewhere, session, &[0, 1], &[0, 2]);
    fetch(&mut h, session, 2);
    assert_eq!(give(&mut h, 2), Some(elsewhere));
    // With the last one that is kept all of it goes.
    h.done(Command::Unkeep { session, objects: vec![2] });
    h.done(Command::CloseSession { session });
}

#[test]
fn a_cancel_of_what_is_made_again_does_nothing() {
    let mut h = new(&[1]);
    let session = h.new_session();
    chain(&mut h, session, 3, &[2]);
    assert_eq!(run_all(&mut h, session), [0, 1, 2]);
    lose(&mut h, 0);
    let cancel = h.request(Command::Cancel { session, tasks: vec![0, 1, 2] });
    assert!(matches!(h.take_reply(cancel), Some(Reply::Some { tasks, .. }) if tasks.is_empty()));
    let info = h.request(Command::Info { session, tasks: vec![0], objects: vec![2] });
    match h.take_reply(info) {
        Some(Reply::Infos { tasks, .. }) => assert_eq!(tasks[0].state, "finished"),
        other => panic!("{other:?}"),
    }
    h.governor(1, FromGovernor::Joined { cpus: 1, resources: Default::default() });
    assert_eq!(run_all(&mut h, session), [0, 1, 2]);
}

#[test]
fn many_tasks_and_objects_are_decided_on_soon() {
    const COUNT: u32 = 100_000;
    let mut h = new(&[8]);
    let session = h.new_session();
    let inputs: Vec<Vec<u32>> =
        (0..COUNT).map(|task| (task % 10 > 0).then(|| task - 1).into_iter().collect()).collect();
    let tasks: Vec<(&[u32], u32)> = (0..).zip(&inputs).map(|(task, inputs)| (&inputs[..], task)).collect();
    let keep: Vec<u32> = (0..COUNT).filter(|task| task % 10 == 9).collect();
    h.done(Command::Submit { session, submission: submission(&tasks, &[], &keep) });
    let half: Vec<u32> = (0..COUNT / 2).collect();
    h.finish(0, session, &half, &half);
    h.take_messages();
    let start = Instant::now();
    lose(&mut h, 0);
    let took = start.elapsed();
    // Generous: this is what nobody waits for any more.
    assert!(took < Duration::from_secs(30), "{took:?}");
    println!("the loss of a governor with {COUNT} tasks and objects: {took:?}");
    h.governor(1, FromGovernor::Joined { cpus: 8, resources: Default::default() });
    while h.server.has_more() {
        h.handle(Event::Continue);
    }
    assert!(h.actions.iter().any(|action| matches!(action, Action::Send { .. })));
}

/// What a wait for everything is answered, which is an error.
fn error(h: &mut Harness, wait: RequestId) -> String {
    match h.take_reply(wait) {
        Some(Reply::Error(error)) => error.message.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_task_that_kills_its_governors_is_failed() {
    let mut h = new(&[1]);
    let session = h.new_session();
    chain(&mut h, session, 2, &[1]);
    let wait = h.request(Command::WaitAll { session });
    for number in 0..3 {
        assert_eq!(runs(&mut h).len(), 2);
        h.governor(number, FromGovernor::Started { session, task: 0, worker: 0, start: 1.0 });
        lose(&mut h, number);
        if number < 2 {
            h.governor(number + 1, FromGovernor::Joined { cpus: 1, resources: Default::default() });
        }
    }
    let message = error(&mut h, wait);
    assert!(message.contains("governor 2 was lost (cut)") && message.contains("3 governors in turn"), "{message}");
}

#[test]
fn a_store_that_may_have_run_is_not_run_twice() {
    let mut h = new(&[1]);
    let session = h.new_session();
    let mut two = submission(&[(&[], 0), (&[0], NONE)], &[], &[]);
    two.kinds[0].task_type = "buildin/store".to_owned();
    h.done(Command::Submit { session, submission: two });
    let wait = h.request(Command::WaitAll { session });
    h.finish(0, session, &[0], &[0]);
    lose(&mut h, 0);
    let message = error(&mut h, wait);
    assert!(message.contains("buildin/store") && message.contains("not run twice"), "{message}");
}
