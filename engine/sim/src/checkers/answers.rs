//! Every request is answered exactly once.

use crate::truth::{Asked, Truth};
use crate::violation::Violation;
use rain_model::id::ClientId;
use rain_server::RequestId;

const NAME: &str = "answers";

/// A request is answered; what it was.
pub fn answered(truth: &mut Truth, client: ClientId, request: RequestId) -> Result<Asked, Violation> {
    let Some(asked) = truth.asked.get_mut(&(client, request)) else {
        return Err(Violation::wrong(NAME, format!("request {request} of {client} is answered and was never made")));
    };
    asked.answers += 1;
    if asked.answers > 1 {
        let message = format!("request {request} of {client} is answered again: {:?}", asked.what);
        return Err(Violation::wrong(NAME, message));
    }
    Ok(asked.clone())
}

/// At rest: nobody who is there waits for an answer.
pub fn at_rest(truth: &Truth) -> Result<(), Violation> {
    let waits = |((client, _), asked): &(&(ClientId, RequestId), &Asked)| {
        asked.answers == 0 && !truth.vanished.contains(client)
    };
    match truth.asked.iter().find(waits) {
        None => Ok(()),
        Some(((client, request), asked)) => {
            let (what, session) = (&asked.what, asked.session);
            let message = format!("request {request} of {client} is never answered: {what:?} in {session:?}");
            Err(Violation::stuck(NAME, message))
        }
    }
}
