//! Tasks that ask for more than cpus: who is given what, who waits for whom, and what is said of it.

use crate::{CLIENT, Content, Harness, kind, submission};
use rain_model::graph::Column;
use rain_model::id::{GovernorId, NONE, SessionId};
use rain_model::resources::{Amount, Part, Request, Supplies, Supply};
use rain_protocol::peer::{FromGovernor, ToGovernor};
use rain_server::{Command, Event, Reply, Submission};
use std::time::Duration;

fn supplies(gpus: usize, licences: u64) -> Supplies {
    let labels: Vec<String> = (0..gpus).map(|label| label.to_string()).collect();
    let mut supplies = Supplies::from([("licence".to_owned(), Supply::Amount(Amount::whole(licences)))]);
    supplies.extend((gpus > 0).then(|| ("gpus".to_owned(), Supply::Indexed(labels))));
    supplies
}

/// A server with governors of so many cpus, GPUs and licences.
fn server(governors: &[(u32, usize, u64)]) -> Harness {
    let mut h = Harness::new(&[]);
    for (number, (cpus, gpus, licences)) in governors.iter().enumerate() {
        join(&mut h, number as u32, *cpus, supplies(*gpus, *licences));
    }
    h
}

fn join(h: &mut Harness, number: u32, cpus: u32, resources: Supplies) {
    h.governor(number, FromGovernor::Joined { cpus, resources });
}

fn request(cpus: u32, amounts: &[(&str, f64)]) -> Request {
    let amount = |(name, number): &(&str, f64)| ((*name).to_owned(), Amount::from_number(*number).unwrap());
    Request { cpus, amounts: amounts.iter().map(amount).collect() }
}

/// Tasks without inputs and outputs, each of a kind of its own with these alternatives.
fn tasks(session: SessionId, of: &[&[Request]]) -> Command<Content> {
    let plain: Vec<(&[u32], u32)> = of.iter().map(|_| (&[][..], NONE)).collect();
    let mut submission: Box<Submission<Content>> = submission(&plain, &[], &[]);
    submission.kinds = of.iter().map(|of| rain_model::graph::Kind { resources: of.to_vec(), ..kind(1, 0) }).collect();
    submission.kind = Column::Each((0..of.len() as u32).collect());
    Command::Submit { session, submission }
}

/// What was handed out: governor, task, and what it was given.
fn take_given(h: &mut Harness) -> Vec<(u32, u32, String)> {
    let mut given = Vec::new();
    for (governor, message) in h.take_messages() {
        if let ToGovernor::Run(run) = message {
            for (task, grant) in run.grants {
                let part = |(name, part): (&String, &Part)| match part {
                    Part::Amount(amount) => format!("{name} {amount}"),
                    Part::Indexed(places) => {
                        let places: Vec<String> =
                            places.iter().map(|(place, amount)| format!("{place}:{amount}")).collect();
                        format!("{name} {}", places.join(","))
                    }
                };
                let parts: Vec<String> = grant.parts.iter().map(part).collect();
                given.push((governor, task, format!("{} {}", grant.cpus, parts.join(" "))));
            }
        }
    }
    given
}

fn numbers(given: &[(u32, u32, String)]) -> Vec<u32> {
    given.iter().map(|(_, task, _)| *task).collect()
}

fn explained(h: &mut Harness, session: SessionId, task: u32) -> rain_protocol::explain::Explanation {
    let request = h.request(Command::Explain { session, tasks: vec![task] });
    match h.take_reply(request) {
        Some(Reply::Explanations(mut told)) => told.remove(0),
        other => panic!("no explanation: {other:?}"),
    }
}

#[test]
fn all_is_given_at_once_and_given_on_when_a_task_is_over() {
    let mut h = server(&[(8, 2, 3)]);
    let session = h.new_session();
    let both = [request(1, &[("gpus", 1.0), ("licence", 2.0)])];
    h.done(tasks(session, &[&both, &both, &[request(2, &[("licence", 1.0)])], &[request(1, &[("gpus", 0.5)])]]));
    // The second one has its GPU free, but not its licences; nobody after it is given what it waits for.
    assert_eq!(take_given(&mut h), [(0, 0, "1 gpus 0:1 licence 2".to_owned())]);
    let told = explained(&mut h, session, 1);
    assert_eq!((told.state.as_str(), told.place, told.lacks.len()), ("ready", Some(0), 1));
    let lack = &told.lacks[0];
    assert_eq!((lack.name.as_str(), lack.free, lack.total), ("licence", 1.0, 3.0));
    assert_eq!(lack.holders.iter().map(|holder| (holder.task, holder.amount)).collect::<Vec<_>>(), [(0, 2.0)]);
    assert!(told.why.contains("task 0 of session 1 has 2") && told.why.contains("the next"), "{}", told.why);
    h.finish(0, session, &[0], &[]);
    let given = take_given(&mut h);
    assert_eq!(given[0], (0, 1, "1 gpus 0:1 licence 2".to_owned()));
    assert_eq!(numbers(&given), [1, 2, 3]);
    assert_eq!((given[1].2.as_str(), given[2].2.as_str()), ("2 licence 1", "1 gpus 1:0.5"));
    h.finish(0, session, &[1, 2, 3], &[]);
    let request = h.request(Command::Status);
    let Some(Reply::Status(status)) = h.take_reply(request) else { panic!("no status") };
    let free: Vec<(f64, f64)> = status.governors[0].resources.values().map(|of| (of.free, of.total)).collect();
    assert_eq!(free, [(2.0, 2.0), (3.0, 3.0)]);
}

#[test]
fn a_wide_task_has_its_turn_before_those_that_came_after_it() {
    let mut h = server(&[(8, 4, 1)]);
    let (narrow, wide) = ([request(1, &[("gpus", 1.0)])], [request(1, &[("gpus", 4.0)])]);
    let (first, second) = (h.new_session(), h.new_session());
    h.done(tasks(first, &[&narrow, &narrow, &narrow]));
    assert_eq!(numbers(&take_given(&mut h)), [0, 1, 2]);
    h.done(tasks(second, &[&wide]));
    h.done(tasks(first, &[&narrow, &narrow]));
    assert_eq!(take_given(&mut h), []);
    h.finish(0, first, &[0], &[]);
    h.finish(0, first, &[1], &[]);
    assert_eq!(take_given(&mut h), []);
    h.finish(0, first, &[2], &[]);
    assert_eq!(take_given(&mut h), [(0, 0, "1 gpus 0:1,1:1,2:1,3:1".to_owned())]);
    h.finish(0, second, &[0], &[]);
    assert_eq!(numbers(&take_given(&mut h)), [3, 4]);
}

#[test]
fn the_first_alternative_that_fits_somewhere_is_taken() {
    let mut h = server(&[(4, 0, 2), (4, 1, 1)]);
    let session = h.new_session();
    let either = [request(1, &[("gpus", 1.0)]), request(2, &[("licence", 1.0)])];
    h.done(tasks(session, &[&either, &either]));
    let mut given = take_given(&mut h);
    given.sort_by_key(|(_, task, _)| *task);
    assert_eq!((given[0].0, given[0].2.as_str()), (1, "1 gpus 0:1"));
    assert_eq!(given[1].2, "2 licence 1");
}

#[test]
fn what_a_task_has_goes_with_it_whatever_way_it_ends() {
    let mut h = server(&[(8, 1, 1)]);
    let one = [request(1, &[("gpus", 1.0)])];
    let (first, second) = (h.new_session(), h.new_session());
    h.done(tasks(first, &[&one, &one, &one, &one]));
    h.done(tasks(second, &[&one]));
    assert_eq!(numbers(&take_given(&mut h)), [0]);
    let request = h.request(Command::Cancel { session: first, tasks: vec![0] });
    assert!(matches!(h.take_reply(request), Some(Reply::Some { .. })));
    // It was kept for the next one of its session.
    assert_eq!(numbers(&take_given(&mut h)), [1]);
    h.done(Command::CloseSession { session: first });
    assert_eq!(numbers(&take_given(&mut h)), [0]);
    h.handle(Event::ClientLost { client: CLIENT });
    let status = h.server.status();
    assert_eq!(status.governors[0].resources["gpus"].free, 1.0);
}

#[test]
fn what_nobody_has_is_refused_where_nobody_can_join_and_waits_elsewhere() {
    let mut h = server(&[(2, 1, 2)]);
    h.server.set_fixed();
    let session = h.new_session();
    for (asked, part) in [
        (request(1, &[("gpus", 2.0)]), "2 gpus, but the governor with most of it has 1"),
        (request(1, &[("gpu", 1.0)]), "which no governor has; there are cpus, gpus, licence"),
        (request(4, &[("gpus", 1.0)]), "4 cpus, but the largest governor has 2"),
    ] {
        let message = h.refused(tasks(session, &[&[asked]]));
        assert!(message.contains(part), "{message}");
    }
    let mut h = server(&[(2, 1, 2)]);
    let session = h.new_session();
    h.done(tasks(session, &[&[request(1, &[("gpus", 2.0)])], &[request(1, &[("gpus", 1.0)])]]));
    // The other one is not held up: there is no governor where it could be in the way.
    assert_eq!(numbers(&take_given(&mut h)), [1]);
    h.now = h.now + Duration::from_secs(7);
    let told = explained(&mut h, session, 0);
    assert!(told.why.starts_with("it waits for a governor: it asks for 2 gpus"), "{}", told.why);
    assert_eq!(told.waited, Some(7.0));
    join(&mut h, 1, 1, supplies(2, 1));
    assert_eq!(take_given(&mut h), [(1, 0, "1 gpus 0:1,1:1".to_owned())]);
    assert_eq!(explained(&mut h, session, 0).has, [("gpus".to_owned(), 2.0)]);
}

#[test]
fn governors_that_say_nonsense_are_refused() {
    let mut h = Harness::new(&[]);
    let twice = Supplies::from([("gpus".to_owned(), Supply::Indexed(vec!["0".into(), "0".into()]))]);
    join(&mut h, 0, 2, twice);
    join(&mut h, 1, 0, Supplies::new());
    let messages = h.take_message_texts();
    assert_eq!(
        messages,
        ["0: refused: \"gpus\" has the label \"0\" twice", "1: refused: a governor has at least one cpu"]
    );
    assert!(h.server.status().governors.is_empty());
}

#[test]
fn a_task_that_is_run_again_does_not_wait_for_one_that_waits_for_it() {
    let mut h = server(&[(2, 1, 1), (2, 1, 1)]);
    h.server.set_recovers();
    let session = h.new_session();
    let one = vec![request(1, &[("gpus", 1.0)])];
    // The second task reads what the first one makes; a third one holds up the only other GPU.
    let mut made: Box<Submission<Content>> = submission(&[(&[], 0), (&[0], 1)], &[], &[1]);
    made.kinds[1].resources = one.clone();
    h.done(Command::Submit { session, submission: made });
    let given = take_given(&mut h);
    assert_eq!(numbers(&given), [0]);
    let maker = given[0].0;
    // Of the kind that the session has.
    let mut blocking = submission(&[(&[], 2)], &[], &[]);
    blocking.kinds = Vec::new();
    h.done(Command::Submit { session, submission: blocking });
    let blocker = take_given(&mut h)[0].0;
    assert_ne!(maker, blocker);
    h.finish(maker, session, &[0], &[0]);
    assert_eq!(take_given(&mut h)[0].0, maker);
    // It has finished elsewhere, and is ready on the other one when that is free.
    h.handle(Event::GovernorLost { governor: GovernorId(maker), why: "gone".to_owned() });
    // The GPU of the only governor left is taken; what others may wait for is handed out all the same.
    let given = take_given(&mut h);
    assert!(given.iter().all(|(governor, ..)| *governor == blocker), "{given:?}");
    h.finish(blocker, session, &[2], &[2]);
    let mut left = given;
    left.extend(take_given(&mut h));
    assert_eq!(numbers(&left)[0], 0);
    h.finish(blocker, session, &[0], &[0]);
    left.extend(take_given(&mut h));
    assert_eq!(numbers(&left), [0, 1]);
}
