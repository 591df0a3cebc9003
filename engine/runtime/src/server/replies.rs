//! Bodies of replies to clients.

use super::machines::{LostGovernor, Machines};
use crate::content::ObjectContent;
use crate::facts::ProcessFacts;
use rain_data::{INLINE_BYTES_MAX, Object, Store};
use rain_events::answers::LogStatus;
use rain_model::graph::DataType;
use rain_model::id::{GovernorId, TaskIndex};
use rain_protocol::client::{
    Fetch, ObjectInfo, RequestError, TaskInfo, content_head, error_body, error_frame, error_head, ok_frame, too_long,
};
use rain_protocol::explain::Explanation;
use rain_protocol::msgpack::FRAME_BYTES_MAX;
use rain_protocol::peer::TaskOutput;
use rain_server::{GovernorStatus, SessionStatus, Status};
use rain_transport::clients::{ReplyFrame, Rest};
use rain_transport::content::Content;
use serde::Serialize;
use serde_bytes::Bytes;
use std::sync::Arc;

/// Content sent in one reply unless the client asks for less, bytes.
const FETCH_BYTES_MAX: usize = 64 << 20;

#[derive(Serialize)]
pub(super) struct StatusReply<'a> {
    #[serde(flatten)]
    process: &'a ProcessFacts,
    governors: Vec<GovernorReply>,
    governors_lost: Vec<LostGovernor>,
    clients: u64,
    sessions_open: u64,
    sessions: Vec<SessionStatus>,
    /// `None`: there is no event log.
    event_log: Option<LogStatus>,
}

#[derive(Serialize)]
struct GovernorReply {
    #[serde(flatten)]
    governor: GovernorStatus,
    /// Its machine, "" if that is not known.
    host: String,
}

impl<'a> StatusReply<'a> {
    pub(super) fn new(
        process: &'a ProcessFacts,
        server: Status,
        machines: &Machines,
        event_log: Option<LogStatus>,
    ) -> Self {
        let Status { governors, clients, sessions_open, sessions } = server;
        let with_host = |governor: GovernorStatus| GovernorReply {
            host: machines.host(GovernorId(governor.id)).to_owned(),
            governor,
        };
        let governors = governors.into_iter().map(with_host).collect();
        Self { process, governors, governors_lost: machines.all_lost(), clients, sessions_open, sessions, event_log }
    }
}

/// Frames of errors. Whoever waits when a session fails gets the same error, which may be long: it is written once.
#[derive(Default)]
pub(super) struct ErrorFrames {
    last: Option<(Arc<RequestError>, Arc<[u8]>)>,
}

impl ErrorFrames {
    /// The reply to a request that has failed.
    pub(super) fn frame(&mut self, request: u64, error: Arc<RequestError>) -> ReplyFrame {
        let body = match &self.last {
            Some((last, body)) if Arc::ptr_eq(last, &error) => body.clone(),
            _ => error_body(&error).into(),
        };
        self.last = Some((error, body.clone()));
        ReplyFrame { head: error_head(request, body.len()), rest: Rest::Shared(body) }
    }
}

#[derive(Serialize)]
pub(super) struct Empty {}

#[derive(Serialize)]
pub(super) struct SomeReply<'a> {
    pub(super) tasks: &'a Bytes,
    pub(super) objects: &'a Bytes,
}

#[derive(Serialize)]
pub(super) struct InfoReply {
    pub(super) tasks: Vec<TaskInfo>,
    pub(super) objects: Vec<ObjectInfo>,
}

/// What becomes of tasks.
#[derive(Serialize)]
pub(super) struct ExplainReply {
    pub(super) tasks: Vec<Explanation>,
}

/// What tasks have written, `[[task, stdout, stderr]]`, of so many of those that were asked for.
#[derive(Serialize)]
pub(super) struct OutputsReply {
    outputs: Vec<(TaskIndex, String, String)>,
    count: u32,
}

impl OutputsReply {
    pub(super) fn new(outputs: Vec<(TaskIndex, TaskOutput)>, count: u32) -> Self {
        Self { outputs: outputs.into_iter().map(|(task, of)| (task, of.stdout, of.stderr)).collect(), count }
    }
}

/// Where a client can fetch the content that it wants, beside the server: from governors, `[[IP address or nil, port]]`.
#[derive(Serialize)]
pub(super) struct ElsewhereReply<'a> {
    pub(super) info: &'a ObjectInfo,
    pub(super) at: Vec<(Option<String>, u16)>,
}

#[derive(Serialize)]
struct FetchReply<'a> {
    size: u64,
    data_type: u8,
    content_type: Option<&'a str>,
    info: &'a ObjectInfo,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
}

/// A fetch whose content is here.
pub(super) struct ObjectReply {
    pub(super) id: u64,
    pub(super) info: ObjectInfo,
    pub(super) object: Arc<Object>,
    pub(super) fetch: Fetch,
    /// The client may be answered with a path.
    pub(super) local: bool,
}

/// What a client is answered, and whether it has the whole object then.
pub(super) struct Answer {
    pub(super) frame: ReplyFrame,
    pub(super) is_all: bool,
}

impl ObjectReply {
    /// Whether the answer is made in no time: the content is in memory.
    pub(super) fn is_quick(&self) -> bool {
        self.object.data_type() == DataType::Blob
            && self.object.inline_bytes().is_some_and(|bytes| bytes.len() <= INLINE_BYTES_MAX)
    }

    /// The answer; an error if the content cannot be read.
    pub(super) fn answer(&self, store: &Store) -> Answer {
        self.try_answer(store).unwrap_or_else(|error| {
            let why = format!("object {} cannot be read: {error}", self.info.id);
            Answer { frame: error_frame(self.id, &RequestError::request(why)).into(), is_all: false }
        })
    }

    fn try_answer(&self, store: &Store) -> std::io::Result<Answer> {
        let Self { id, info, object, fetch, local } = self;
        let reply = FetchReply {
            size: object.size(),
            data_type: object.data_type().code(),
            content_type: object.content_type().or(info.content_type.as_deref()),
            info,
            data: None,
            path: None,
        };
        let large = object.size() > INLINE_BYTES_MAX as u64 || object.data_type() == DataType::Directory;
        if *local && fetch.map && large {
            object.check()?;
            let path = object.path(store)?;
            if let Some(path) = path.to_str() {
                let frame = ok_frame(*id, &FetchReply { path: Some(path), ..reply }).into();
                return Ok(Answer { frame, is_all: false });
            }
        }
        let content = ObjectContent::open(object)?;
        let length = usize::try_from(content.length()).map_err(std::io::Error::other)?;
        let range = fetch.range(length, FETCH_BYTES_MAX, FRAME_BYTES_MAX / 2);
        let is_all = range.end == length;
        let size = content.length();
        if range.len() <= INLINE_BYTES_MAX {
            let mut bytes = vec![0; range.len()];
            content.read_at(range.start as u64, &mut bytes)?;
            let frame = ok_frame(*id, &FetchReply { size, data: Some(Bytes::new(&bytes)), ..reply }).into();
            return Ok(Answer { frame, is_all });
        }
        let body = FetchReply { size, data: Some(Bytes::new(&[])), ..reply };
        let frame = match content_head(*id, &body, range.len() as u64) {
            Ok(head) => {
                let range = range.start as u64..range.end as u64;
                ReplyFrame { head, rest: Rest::Content(Arc::new(content), range) }
            }
            Err(error) => error_frame(*id, &too_long(&error)).into(),
        };
        Ok(Answer { frame, is_all })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rain_protocol::client::{ErrorKind, ResultsReply, reply_frame};
    use rain_protocol::explain::{Lack, ResourceHolder};
    use serde_bytes::ByteBuf;

    /// A golden frame of the client protocol.
    fn golden(name: &str) -> Vec<u8> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/client");
        std::fs::read(format!("{folder}/{name}.bin")).unwrap()
    }

    fn info(id: u32, size: u64) -> ObjectInfo {
        ObjectInfo { id, state: "finished".into(), size: Some(size), ..ObjectInfo::default() }
    }

    #[test]
    fn replies_are_the_golden_frames() {
        let text = Some("text".to_owned());
        let user = Some(r#"{"lines": 1}"#.to_owned());
        let blob = ObjectInfo { content_type: text, user, ..info(3, 21) };
        let content = br#"Hello {"to": "World"}"#;
        let fetched = FetchReply {
            size: 21,
            data_type: 0,
            content_type: Some("text"),
            info: &blob,
            data: Some(Bytes::new(content)),
            path: None,
        };
        let large = info(4, 5_000_000_000);
        let path = FetchReply {
            size: 5_000_000_000,
            data_type: 1,
            content_type: None,
            info: &large,
            data: None,
            path: Some("/rain/work/4"),
        };
        let at = vec![(Some("10.0.0.2".to_owned()), 41000), (None, 41001)];
        let (zero, two) = (0u32.to_le_bytes(), 2u32.to_le_bytes());
        let holder = ResourceHolder { session: 1, task: 1, amount: 1.0 };
        let lack =
            Lack { governor: 0, name: "gpus".into(), wanted: 0.5, free: 0.25, total: 2.0, holders: vec![holder] };
        let explained = Explanation {
            id: 2,
            state: "ready".into(),
            why: "it waits for resources".into(),
            waited: Some(2.5),
            place: Some(3),
            lacks: vec![lack],
            ..Explanation::default()
        };
        let written = TaskOutput { stdout: "fold 3\n".to_owned(), stderr: "...end".to_owned() };
        let of = |numbers: &[u32]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>();
        let part = ResultsReply { results: vec![(2, ByteBuf::from(content.to_vec()))], ..ResultsReply::default() };
        let cancelled = RequestError {
            kind: ErrorKind::Cancelled,
            session: Some(1),
            task: Some(2),
            ..RequestError::request("task 2 (example2/split) was cancelled")
        };
        let errors = vec![(ByteBuf::from(of(&[4, 5])), cancelled)];
        let rest = ResultsReply { large: of(&[3]), errors, ..ResultsReply::default() };
        let some = |tasks| SomeReply { tasks: Bytes::new(tasks), objects: Bytes::new(&[]) };
        for (name, frame) in [
            ("done-reply", ok_frame(2, &Empty {})),
            ("wait-some-reply", ok_frame(6, &some(&zero))),
            ("fetch-reply", ok_frame(12, &fetched)),
            ("fetch-reply-path", ok_frame(13, &path)),
            ("fetch-reply-at", ok_frame(14, &ElsewhereReply { info: &info(4, 300_000), at })),
            ("cancel-reply", ok_frame(17, &some(&two))),
            ("results-part", reply_frame("part", 24, &part).unwrap()),
            ("results-reply", ok_frame(24, &rest)),
            ("explain-reply", ok_frame(24, &ExplainReply { tasks: vec![explained] })),
            ("outputs-reply", ok_frame(23, &OutputsReply::new(vec![(1, written)], 1))),
        ] {
            assert_eq!(frame, golden(name), "{name}");
        }
    }
}
