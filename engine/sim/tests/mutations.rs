//! The simulator bites: faults that this engine once had, or could have, are put in, one at a time, and each is found within 1,000 seeds.

use rain_sim::mutation::Mutation;
use rain_sim::run::Options;
use rain_sim::sweep::find;

/// Whether a mutation is found by one of these checkers, in a run that is right without it.
fn assert_found(mutation: Mutation, checkers: &[&str]) {
    let options = Options { mutation: Some(mutation), ..Options::default() };
    let (seed, violation) = find(0..1_000, &options).unwrap_or_else(|| panic!("{mutation:?} is not found"));
    assert!(checkers.contains(&violation.checker), "seed {seed} with {mutation:?}: {violation}");
}

#[test]
fn a_lost_wake_up_is_found() {
    assert_found(Mutation::LostWake, &["wakeups"]);
}

#[test]
fn workers_that_gather_for_a_cancelled_task_are_found() {
    assert_found(Mutation::LostGang, &["wakeups", "rest", "once", "answers"]);
}

#[test]
fn a_dropped_answer_between_governors_is_found() {
    assert_found(Mutation::DroppedReply, &["answers", "once"]);
}

#[test]
fn a_worker_that_waits_for_nothing_is_found() {
    assert_found(Mutation::EmptyWait, &["rest", "answers", "once"]);
}

#[test]
fn inputs_of_cancelled_tasks_that_are_kept_are_found() {
    assert_found(Mutation::KeptInputs, &["claims"]);
}

#[test]
fn tasks_that_begin_with_what_others_have_are_found() {
    assert_found(Mutation::EarlyBegin, &["resources"]);
}
