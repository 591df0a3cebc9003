//! What clients may ask for at once.

use crate::{Harness, submission};
use rain_model::graph::Column;
use rain_model::id::NONE;
use rain_protocol::peer::{FromGovernor, TaskDetails, TaskOutput};
use rain_server::{Command, Reply};

#[test]
fn tasks_and_objects_have_a_budget_for_a_client_and_in_all() {
    let mut h = Harness::new(&[2]);
    h.server.set_items_max(1_000_000);
    let session = h.new_session();
    let submit = |session, count| {
        let mut many = submission(&[], &[], &[]);
        many.count = count;
        (many.kind, many.input_count, many.first_output) = (Column::Same(0), Column::Same(0), Column::Same(NONE));
        Command::Submit { session, submission: many }
    };
    h.done(submit(session, 400_000));
    let refused = h.refused(submit(session, 100_001));
    assert!(refused.contains("of one client") && refused.contains("500000"), "{refused}");
    h.done(submit(session, 100_000));
    let other = h.new_session();
    assert!(h.refused(submit(other, 70_000)).contains("of one client"));
    let refused = h.refused(submit(other, 600_000));
    assert!(refused.contains("of all clients") && refused.contains("1000000"), "{refused}");
    // A session that is closed has none.
    h.done(Command::CloseSession { session });
    h.done(submit(other, 500_000));
}

#[test]
fn info_of_many_or_long_items_comes_in_parts() {
    const ITEMS: u32 = 1 << 14;
    let mut h = Harness::new(&[2]);
    let session = h.new_session();
    let tasks: Vec<(&[u32], u32)> = (0..ITEMS).map(|object| (&[][..], object)).collect();
    h.done(Command::Submit { session, submission: submission(&tasks, &[], &[]) });
    let mut ask = |tasks: Vec<u32>, objects: Vec<u32>| {
        let request = h.request(Command::Info { session, tasks, objects });
        match h.take_reply(request) {
            Some(Reply::Infos { tasks, objects }) => (tasks, objects),
            other => panic!("{other:?}"),
        }
    };
    let (tasks, objects) = ask((0..ITEMS - 3).collect(), (0..10).collect());
    assert!(tasks.iter().map(|task| task.id).eq(0..ITEMS - 3));
    assert!(objects.iter().map(|object| object.id).eq(0..3));
    let (tasks, objects) = ask(vec![7; ITEMS as usize + 1], vec![1]);
    assert_eq!((tasks.len(), objects.len()), (ITEMS as usize, 0));

    // Long texts: at least one item, and no more than fit.
    let details = (0..4)
        .map(|task| TaskDetails { task, debug: Some("x".repeat(3 << 20)), user: None, output: TaskOutput::default() })
        .collect();
    let tasks = (0..4).map(|task| rain_protocol::peer::TaskReport { task, duration: 0.25, start: 12.0 }).collect();
    let finished = rain_protocol::peer::Finished { session: session.0, tasks, details, ..Default::default() };
    h.governor(0, FromGovernor::Finished(finished));
    let mut ask = |tasks: Vec<u32>| {
        let request = h.request(Command::Info { session, tasks, objects: vec![5] });
        match h.take_reply(request) {
            Some(Reply::Infos { tasks, objects }) => {
                (tasks.iter().map(|task| task.id).collect::<Vec<_>>(), objects.len())
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(ask(vec![0, 1, 2]), (vec![0], 0));
    assert_eq!(ask(vec![9, 1, 2, 10]), (vec![9, 1], 0));
    assert_eq!(ask(vec![3, 9]), (vec![3, 9], 1));
}
