//! What clients ask, as commands for the state machine.

use super::uploads::{Pieces, Uploads};
use rain_data::{INLINE_BYTES_MAX, Object, Store};
use rain_model::graph::{DataType, decode_column};
use rain_model::id::SessionId;
use rain_protocol::client::{Fetch, Request, RequestError, Submit, decode_request};
use rain_protocol::msgpack::HEADER_BYTES;
use rain_server::{Command, Submission};
use std::sync::{Arc, Mutex, PoisonError};

/// A request, as far as it was dealt with on another thread.
pub(super) enum Prepared {
    Request(Request),
    Submit(Result<Command<Arc<Object>>, RequestError>),
}

/// Decodes a frame that takes long, and prepares what is in it.
///
/// # Errors
/// When the frame is none of the protocol.
pub(super) fn prepare(frame: &[u8], uploads: &Mutex<Uploads>, store: &Store) -> Result<(u64, Prepared), RequestError> {
    let body = frame.get(HEADER_BYTES..).unwrap_or_default();
    let (id, request) = decode_request(body).map_err(|error| RequestError::protocol(error.to_string()))?;
    let prepared = match request {
        Request::Submit(submit) => Prepared::Submit(prepare_submit(*submit, uploads, store)),
        request => Prepared::Request(request),
    };
    Ok((id, prepared))
}

/// Whether a submit brings content that takes long to store.
pub(super) fn is_slow(submit: &Submit) -> bool {
    let is_large = |data: &[u8]| data.len() > INLINE_BYTES_MAX;
    submit.consts.iter().any(|constant| {
        constant.1 == DataType::Directory.code() || constant.3.as_ref().is_none_or(|data| is_large(data))
    })
}

/// Makes a command of a submit; its content goes to the store.
///
/// # Errors
/// When it does not have the right form, or its content cannot be stored.
pub(super) fn prepare_submit(
    submit: Submit,
    uploads: &Mutex<Uploads>,
    store: &Store,
) -> Result<Command<Arc<Object>>, RequestError> {
    let session = submit.session;
    let mut uploads = uploads.lock().unwrap_or_else(PoisonError::into_inner);
    let submission = Submission::from_wire(submit, |object, data_type, content_type, data| {
        let pieces = data.map(Pieces::from).or_else(|| uploads.take(session, object));
        let pieces = pieces.ok_or("has no content, and none was uploaded before")?;
        let object = pieces.store(store, data_type, content_type)?;
        Ok((object.size(), Arc::new(object)))
    })?;
    Ok(Command::Submit { session: SessionId(session), submission: Box::new(submission) })
}

/// The command for a fetch.
pub(super) fn fetch_command(fetch: &Fetch, local: bool) -> Command<Arc<Object>> {
    let direct = fetch.direct && fetch.offset == 0 && !local;
    Command::Fetch { session: SessionId(fetch.session), object: fetch.object, direct }
}

/// The command for one of many results: of a large one it is enough to know that it is there.
pub(super) fn result_command(session: u32, object: u32) -> Command<Arc<Object>> {
    Command::Fetch { session: SessionId(session), object, direct: true }
}

/// The command for a request that concerns nobody but the state machine.
///
/// # Errors
/// When a column is none, or the request is one that the driver deals with.
pub(super) fn plain_command(request: Request) -> Result<Command<Arc<Object>>, RequestError> {
    let column = |bytes: &[u8]| decode_column(bytes).map_err(|e| RequestError::request(e.to_string()));
    Ok(match request {
        Request::NewSession(new) => Command::NewSession { name: new.name },
        Request::CloseSession(session) => Command::CloseSession { session: SessionId(session.session) },
        Request::Wait(items) => Command::Wait {
            session: SessionId(items.session),
            tasks: column(&items.tasks)?,
            objects: column(&items.objects)?,
        },
        Request::WaitSome(items) => Command::WaitSome {
            session: SessionId(items.session),
            tasks: column(&items.tasks)?,
            objects: column(&items.objects)?,
        },
        Request::Watch(items) => Command::Watch {
            session: SessionId(items.session),
            tasks: column(&items.tasks)?,
            objects: column(&items.objects)?,
        },
        Request::WatchNext(of) => Command::WatchNext { session: SessionId(of.session), watch: of.watch },
        Request::Unwatch(of) => Command::Unwatch { session: SessionId(of.session), watch: of.watch },
        Request::WaitAll(session) => Command::WaitAll { session: SessionId(session.session) },
        Request::Unkeep(unkeep) => {
            Command::Unkeep { session: SessionId(unkeep.session), objects: column(&unkeep.objects)? }
        }
        Request::Cancel(cancel) => {
            let (session, tasks) = (SessionId(cancel.session), column(&cancel.tasks)?);
            if cancel.waiting { Command::CancelWaiting { session, tasks } } else { Command::Cancel { session, tasks } }
        }
        Request::Forget(forget) => Command::Forget {
            session: SessionId(forget.session),
            tasks: column(&forget.tasks)?,
            constants: column(&forget.objects)?,
            kinds: column(&forget.kinds)?,
        },
        Request::Info(items) => Command::Info {
            session: SessionId(items.session),
            tasks: column(&items.tasks)?,
            objects: column(&items.objects)?,
        },
        Request::Outputs(of) => Command::Outputs { session: SessionId(of.session), tasks: column(&of.tasks)? },
        Request::Explain(of) => Command::Explain { session: SessionId(of.session), tasks: column(&of.tasks)? },
        Request::Status => Command::Status,
        Request::Hello(_) => return Err(RequestError::protocol("a second hello")),
        Request::Submit(_)
        | Request::Upload(_)
        | Request::Fetch(_)
        | Request::Results(_)
        | Request::View(_)
        | Request::Stop => {
            return Err(RequestError::protocol("not a request for the state machine"));
        }
    })
}
