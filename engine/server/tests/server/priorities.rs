//! Tasks have the priorities of those that need what they make.

use crate::{Content, Harness, kind, submission};
use rain_model::graph::Column;
use rain_model::id::{NONE, SessionId};
use rain_protocol::peer::FromGovernor;
use rain_server::Command;

/// A submit of tasks with these priorities, inputs and outputs.
fn submit(session: SessionId, first_kind: u32, tasks: &[(i32, &[u32], u32)], keep: &[u32]) -> Command<Content> {
    let plain: Vec<(&[u32], u32)> = tasks.iter().map(|(_, inputs, output)| (*inputs, *output)).collect();
    let mut submission = submission(&plain, &[], keep);
    let of_task = |(priority, _, output): &(i32, &[u32], u32)| {
        let mut kind = kind(1, usize::from(*output != NONE));
        kind.priority = *priority;
        kind
    };
    submission.kinds = tasks.iter().map(of_task).collect();
    submission.kind = Column::Each((first_kind..first_kind + tasks.len() as u32).collect());
    Command::Submit { session, submission }
}

#[test]
fn what_a_task_waits_for_has_its_priority() {
    let mut h = Harness::new(&[2]);
    let session = h.new_session();
    // 0 and 1 make what 2 reads; 3 reads that, with a high priority; 4 with a low one.
    let tasks: &[(i32, &[u32], u32)] = &[(0, &[], 0), (20, &[], 1), (-1, &[0, 1], 2), (9, &[2], 3), (-5, &[2], NONE)];
    h.done(submit(session, 0, tasks, &[]));
    let texts = h.take_message_texts();
    assert_eq!(texts[..2], ["0: open 1", "0: raise [(0, 9), (2, 9)]"]);
    assert_eq!(texts.len(), 3);
    h.assert_nothing_left();
}

#[test]
fn a_later_submit_raises_what_is_not_over() {
    let mut h = Harness::new(&[2]);
    let session = h.new_session();
    let tasks: &[(i32, &[u32], u32)] = &[(0, &[], 0), (0, &[0], 1), (0, &[], 2)];
    h.done(submit(session, 0, tasks, &[1, 2]));
    assert_eq!(h.take_message_texts().len(), 2, "without priorities there is nothing to be raised");
    h.finish(0, session, &[2], &[2]);
    h.done(submit(session, 3, &[(4, &[1, 2], NONE)], &[]));
    assert_eq!(h.take_message_texts()[0], "0: raise [(0, 4), (1, 4)]");
    h.done(submit(session, 4, &[(4, &[1], NONE), (3, &[1], NONE)], &[]));
    assert!(h.take_message_texts().iter().all(|text| !text.contains("raise")));
    h.done(submit(session, 6, &[(7, &[1], NONE)], &[]));
    assert_eq!(h.take_message_texts()[0], "0: raise [(0, 7), (1, 7)]");
}

#[test]
fn on_several_governors_each_is_told_of_its_own() {
    let mut h = Harness::new(&[1, 1]);
    let session = h.new_session();
    h.done(submit(session, 0, &[(0, &[], 0), (0, &[], 1), (5, &[0, 1], 2), (8, &[2], NONE)], &[]));
    let texts = h.take_message_texts();
    let raises: Vec<&str> = texts.iter().map(String::as_str).filter(|text| text.contains("raise")).collect();
    assert_eq!(raises, ["0: raise [(0, 8)]", "1: raise [(1, 8)]"]);
    h.finish(0, session, &[0], &[0]);
    h.finish(1, session, &[1], &[1]);
    assert!(h.take_message_texts().iter().any(|text| text.contains("raise [(2, 8)]")));
    h.governor(0, FromGovernor::Started { session, task: 2, worker: 0, start: 1.0 });
}
