//! Sessions share governors, and no task keeps others from cpus that it cannot use.

use crate::{Content, Harness, kind, submission};
use rain_model::graph::Column;
use rain_model::id::{NONE, SessionId};
use rain_protocol::peer::{Finished, FromGovernor, TaskReport, TaskSet, ToGovernor};
use rain_server::{Command, Submission};
use std::collections::{BTreeMap, VecDeque};

/// Tasks without inputs and outputs, of kinds with these cpus and priorities.
fn tasks(session: SessionId, of: &[(u32, i32)]) -> Command<Content> {
    let plain: Vec<(&[u32], u32)> = of.iter().map(|_| (&[][..], NONE)).collect();
    let mut submission: Box<Submission<Content>> = submission(&plain, &[], &[]);
    let mut kinds = of.to_vec();
    kinds.sort_unstable();
    kinds.dedup();
    let place = |of: &(u32, i32)| kinds.binary_search(of).expect("it is among them") as u32;
    submission.kind = Column::Each(of.iter().map(place).collect());
    submission.kinds = kinds
        .iter()
        .map(|(cpus, priority)| {
            let mut kind = kind(*cpus, 0);
            kind.priority = *priority;
            kind
        })
        .collect();
    Command::Submit { session, submission }
}

/// What governors were given, in order.
fn take_runs(h: &mut Harness) -> Vec<(u32, SessionId, u32)> {
    let mut given = Vec::new();
    for (governor, message) in h.take_messages() {
        if let ToGovernor::Run(run) = message {
            let tasks: Vec<u32> = match run.tasks {
                TaskSet::All => run.batch.tasks().collect(),
                TaskSet::Some(tasks) => tasks,
            };
            given.extend(tasks.into_iter().map(|task| (governor, run.session, task)));
        }
    }
    given
}

fn finish_after(h: &mut Harness, (governor, session, task): (u32, SessionId, u32), seconds: f32) {
    let tasks = vec![TaskReport { task, duration: seconds, start: 1.0 }];
    h.governor(governor, FromGovernor::Finished(Finished { session: session.0, tasks, ..Finished::default() }));
}

/// Finishes what is given, oldest first, each task of a session after so many seconds; the sessions in the order in which
/// their tasks were handed out.
fn run_all(h: &mut Harness, seconds: &BTreeMap<SessionId, f32>) -> Vec<SessionId> {
    let (mut order, mut queue) = (Vec::new(), VecDeque::new());
    loop {
        let given = take_runs(h);
        order.extend(given.iter().map(|(_, session, _)| *session));
        queue.extend(given);
        let Some(next) = queue.pop_front() else { return order };
        finish_after(h, next, seconds[&next.1]);
    }
}

#[test]
fn a_session_that_comes_later_gets_as_much_time() {
    let mut h = Harness::new(&[2, 2]);
    let [a, b] = [h.new_session(), h.new_session()];
    h.done(tasks(a, &[(1, 0); 3000]));
    h.done(tasks(b, &[(1, 0); 200]));
    let order = run_all(&mut h, &BTreeMap::from([(a, 1.0), (b, 1.0)]));
    assert_eq!(order.len(), 3200);
    let last_of_b = order.iter().rposition(|session| *session == b).expect("it ran");
    assert!(last_of_b < 450, "the last of 200 tasks was handed out as number {last_of_b}");
}

#[test]
fn time_is_shared_and_not_tasks() {
    let mut h = Harness::new(&[4, 4]);
    let [long, short] = [h.new_session(), h.new_session()];
    h.done(tasks(long, &[(1, 0); 400]));
    h.done(tasks(short, &[(1, 0); 600]));
    let order = run_all(&mut h, &BTreeMap::from([(long, 0.4), (short, 0.1)]));
    let last_of_short = order.iter().rposition(|session| *session == short).expect("it ran");
    let long_before = order[..last_of_short].iter().filter(|session| **session == long).count();
    // 150, and those that were handed out before anybody knew how long they take.
    assert!(
        (140..200).contains(&long_before),
        "{long_before} tasks of 0.4 s beside 600 of 0.1 s, {last_of_short} in all"
    );
}

#[test]
fn a_wide_task_at_the_head_keeps_no_governor_from_narrow_ones() {
    let mut h = Harness::new(&[4, 1]);
    let session = h.new_session();
    let of: Vec<(u32, i32)> = (0..40).map(|task| (if task < 20 { 4 } else { 1 }, 0)).collect();
    h.done(tasks(session, &of));
    let given = take_runs(&mut h);
    let on = |governor: u32| given.iter().filter(|given| given.0 == governor).map(|given| given.2).collect::<Vec<_>>();
    assert_eq!((on(0), on(1)), ((0..16).collect(), (20..24).collect()));
    // A wide one is next where there is room for it.
    finish_after(&mut h, (0, session, 0), 10.0);
    (1..9).for_each(|task| finish_after(&mut h, (0, session, task), 10.0));
    assert_eq!(take_runs(&mut h), [(0, session, 16)]);
}

#[test]
fn tasks_of_high_priority_are_handed_out_first() {
    let mut h = Harness::new(&[1, 1]);
    let session = h.new_session();
    let of: Vec<(u32, i32)> = (0..20).map(|task| (1, if task >= 15 { 5 } else { 0 })).collect();
    h.done(tasks(session, &of));
    let mut first: Vec<u32> = take_runs(&mut h).into_iter().map(|given| given.2).collect();
    first.sort_unstable();
    assert_eq!(first, [0, 1, 2, 15, 16, 17, 18, 19]);
}

#[test]
fn a_task_that_is_raised_while_it_waits_goes_before_others() {
    let mut h = Harness::new(&[1, 1]);
    let session = h.new_session();
    let plain: Vec<(&[u32], u32)> = (0..20).map(|task| (&[][..], task)).collect();
    let keep: Vec<u32> = (0..20).collect();
    h.done(Command::Submit { session, submission: submission(&plain, &[], &keep) });
    let given: Vec<u32> = take_runs(&mut h).into_iter().map(|given| given.2).collect();
    assert!(!given.contains(&19), "{given:?}");
    let mut urgent = submission(&[(&[19], NONE)], &[], &[]);
    urgent.kinds[0].priority = 7;
    urgent.kind = Column::Same(2);
    h.done(Command::Submit { session, submission: urgent });
    assert!(take_runs(&mut h).is_empty());
    finish_after(&mut h, (0, session, given[0]), 0.0025);
    assert_eq!(take_runs(&mut h), [(0, session, 19), (0, session, 20)], "with what waits for it");
}

#[test]
fn tasks_that_come_one_after_another_go_to_one_governor() {
    let mut h = Harness::new(&[4; 4]);
    let session = h.new_session();
    h.done(tasks(session, &[(1, 0); 4000]));
    let mut ranges = 0;
    for (_, message) in h.take_messages() {
        if let ToGovernor::Run(run) = message {
            ranges += run.tasks.ranges(&run.batch).len();
        }
    }
    assert!(ranges <= 12, "64 tasks are in {ranges} ranges");
}

#[test]
fn a_turn_hands_out_a_bounded_number_of_tasks_and_goes_on() {
    let mut h = Harness::new(&[10_000; 2]);
    let session = h.new_session();
    h.done(tasks(session, &[(1, 0); 50_000]));
    let mut given = take_runs(&mut h).len();
    assert!(given < 12_000 && h.server.has_more(), "{given}");
    let mut turns = 0;
    while h.server.has_more() {
        h.handle(rain_server::Event::Continue);
        let more = take_runs(&mut h).len();
        assert!(more < 12_000, "{more}");
        given += more;
        turns += 1;
    }
    assert_eq!(given, 50_000);
    assert!(turns >= 4);
}
