//! Content of objects on its way to clients.

use crate::{Harness, submission};
use rain_model::id::{GovernorId, NONE, SessionId};
use rain_protocol::peer::{FromGovernor, Message, ToGovernor};
use rain_server::{Action, Command, Event, Reply};

#[test]
fn a_fetch_waits_for_its_object_and_carries_its_info() {
    let mut h = Harness::new(&[2]);
    let session = h.new_session();
    h.done(Command::Submit { session, submission: submission(&[(&[], 0)], &[], &[0]) });
    h.take_messages();
    let fetch = h.request(Command::Fetch { session, object: 0, direct: false });
    assert!(h.take_messages().is_empty());
    h.finish(0, session, &[0], &[0]);
    assert_eq!(h.take_message_texts(), ["0: fetch 0"]);
    h.governor(0, FromGovernor::Fetched { ticket: 1, content: Ok(42) });
    match h.take_reply(fetch) {
        Some(Reply::Object { info, content }) => assert_eq!((info.size, content), (Some(7), 42)),
        other => panic!("{other:?}"),
    }
    h.done(Command::Unkeep { session, objects: vec![0] });
    assert_eq!(h.take_message_texts(), ["0: unpin [0]"]);
    assert!(h.refused(Command::Fetch { session, object: 0, direct: false }).contains("not kept"));
    assert!(h.refused(Command::Unkeep { session, objects: vec![0] }).contains("not kept"));
    h.assert_nothing_left();
}

#[test]
fn a_client_that_fetches_itself_hears_who_has_large_content() {
    for governors in [1, 5] {
        let mut h = Harness::new(&vec![1; governors]);
        let session = h.new_session();
        // 0 is large and 1 is small; one task after the other for each governor reads 0.
        let mut tasks: Vec<(&[u32], u32)> = vec![(&[], 0), (&[0], 1)];
        tasks.extend(std::iter::repeat_n((&[0, 1][..], NONE), governors));
        h.done(Command::Submit { session, submission: submission(&tasks, &[], &[0, 1]) });
        let direct = |object| Command::Fetch { session, object, direct: true };
        let waits = h.request(direct(0));
        h.finish_with(0, session, &[0], &[0], 10 << 20);
        h.finish(0, session, &[1], &[1]);
        h.take_messages();
        let now = h.request(direct(0));
        for (request, count) in [(waits, 1), (now, governors.min(3))] {
            match h.take_reply(request) {
                Some(Reply::Holders { info, governors }) => {
                    assert_eq!((info.size, governors[0]), (Some(10 << 20), GovernorId(0)));
                    assert_eq!(governors.len(), count);
                }
                other => panic!("{other:?}"),
            }
        }
        // Small content comes from the server, and so does all to who asks for that.
        h.request(direct(1));
        h.request(Command::Fetch { session, object: 0, direct: false });
        assert_eq!(h.take_message_texts(), ["0: fetch 1", "0: fetch 0"]);
        // What is not kept any more is nowhere.
        h.done(Command::Unkeep { session, objects: vec![0] });
        assert!(h.refused(direct(0)).contains("not kept"));
    }
}

#[test]
fn a_constant_can_be_fetched_before_any_governor_has_it() {
    // With no governor; and with two, of which none has the constant while its reader waits for the other tasks.
    for cpus in [&[][..], &[1, 1]] {
        let mut h = Harness::new(cpus);
        let session = h.new_session();
        h.done(Command::Submit { session, submission: submission(&[(&[], 1), (&[], 2), (&[0, 1, 2], 3)], &[0], &[0]) });
        h.take_messages();
        for (object, direct) in [(0, false), (0, true)] {
            let fetch = h.request(Command::Fetch { session, object, direct });
            match h.take_reply(fetch) {
                Some(Reply::Object { info, content }) => assert_eq!((info.size, content), (Some(3), u64::from(object))),
                other => panic!("{other:?}"),
            }
        }
        h.handle(Event::ContentWanted { number: 4, session, object: 0 });
        assert!(matches!(h.actions.pop(), Some(Action::Content { number: 4, content: Ok(0) })));
        h.assert_nothing_left();
    }
}

#[test]
fn content_is_brought_for_clients_with_connections_of_their_own() {
    let mut h = Harness::new(&[1]);
    let (session, other) = (h.new_session(), h.new_session());
    for session in [session, other] {
        h.done(Command::Submit { session, submission: submission(&[(&[], 0), (&[], 1), (&[], 2)], &[], &[0, 2]) });
        h.finish(0, session, &[0, 1], &[0, 1]);
    }
    h.take_messages();
    let want = |h: &mut Harness, number, session, object| {
        h.handle(Event::ContentWanted { number, session, object });
        match h.actions.pop() {
            Some(Action::Content { number: said, content: Err(error) }) if said == number => error.message,
            Some(Action::Send { message: Message::ToGovernor(ToGovernor::Fetch { ticket, .. }), .. }) => {
                ticket.to_string()
            }
            other => panic!("{other:?}"),
        }
    };
    // Neither what was not kept, nor what is not finished, nor what is not there.
    for (session, object) in [(session, 1), (session, 2), (session, 9), (SessionId(77), 0)] {
        assert!(want(&mut h, 5, session, object).contains("is not here"));
    }
    let found = |h: &mut Harness| match h.actions.pop() {
        Some(Action::Content { number, content }) => (number, content.map_err(|error| error.message)),
        other => panic!("{other:?}"),
    };
    let ticket = want(&mut h, 6, session, 0).parse().unwrap();
    h.governor(0, FromGovernor::Fetched { ticket, content: Ok(42) });
    assert_eq!(found(&mut h), (6, Ok(42)));
    let ticket = want(&mut h, 7, session, 0).parse().unwrap();
    h.governor(0, FromGovernor::Fetched { ticket, content: Err("it is gone".into()) });
    assert_eq!(found(&mut h), (7, Err("object 0 cannot be fetched: it is gone".into())));
    // Its session ends meanwhile.
    want(&mut h, 8, session, 0);
    h.done(Command::CloseSession { session });
    h.take_messages();
    assert_eq!(found(&mut h).0, 8);
    want(&mut h, 9, other, 0);
    h.handle(Event::GovernorLost { governor: GovernorId(0), why: "test".into() });
    let (number, why) = found(&mut h);
    assert!(number == 9 && why.unwrap_err().contains("was lost"));
    h.take_messages();
    h.assert_nothing_left();
}
