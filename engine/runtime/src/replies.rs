//! Bodies of replies to clients.

use crate::server::ProcessFacts;
use rain_data::{INLINE_BYTES_MAX, Object, Store};
use rain_model::graph::DataType;
use rain_protocol::client::{Fetch, ObjectInfo, TaskInfo, ok_frame};
use rain_protocol::msgpack::FRAME_BYTES_MAX;
use rain_server::{RequestId, Status};
use serde::Serialize;
use serde_bytes::Bytes;
use std::sync::Arc;

/// Content sent in one reply unless the client asks for less, bytes.
const FETCH_BYTES_MAX: usize = 64 << 20;

#[derive(Serialize)]
pub(crate) struct StatusReply<'a> {
    #[serde(flatten)]
    pub(crate) process: &'a ProcessFacts,
    #[serde(flatten)]
    pub(crate) server: Status,
}

#[derive(Serialize)]
pub(crate) struct Empty {}

#[derive(Serialize)]
pub(crate) struct SomeReply<'a> {
    pub(crate) tasks: &'a Bytes,
    pub(crate) objects: &'a Bytes,
}

#[derive(Serialize)]
pub(crate) struct InfoReply {
    pub(crate) tasks: Vec<TaskInfo>,
    pub(crate) objects: Vec<ObjectInfo>,
}

/// Where a client can fetch the content that it wants, beside the server: from governors, `[[IP address or nil, port]]`.
#[derive(Serialize)]
pub(crate) struct ElsewhereReply<'a> {
    pub(crate) info: &'a ObjectInfo,
    pub(crate) at: Vec<(Option<String>, u16)>,
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

/// The reply to a fetch, and whether the client then needs the object no more.
pub(crate) fn object_frame(
    id: RequestId,
    info: &ObjectInfo,
    object: &Arc<Object>,
    fetch: Fetch,
    local: bool,
    store: &Store,
) -> std::io::Result<(Vec<u8>, bool)> {
    let reply = FetchReply {
        size: object.size(),
        data_type: object.data_type().code(),
        content_type: object.content_type().or(info.content_type.as_deref()),
        info,
        data: None,
        path: None,
    };
    let large = object.size() > INLINE_BYTES_MAX as u64 || object.data_type() == DataType::Directory;
    if local && fetch.map && large {
        object.check()?;
        let path = object.path(store)?;
        if let Some(path) = path.to_str() {
            return Ok((ok_frame(id, &FetchReply { path: Some(path), ..reply }), false));
        }
    }
    let reader = object.reader()?;
    let length = usize::try_from(reader.length()).map_err(std::io::Error::other)?;
    let range = fetch.range(length, FETCH_BYTES_MAX, FRAME_BYTES_MAX / 2);
    let is_rest = range.end == length;
    let mut bytes = vec![0; range.len()];
    reader.read_at(range.start as u64, &mut bytes)?;
    let reply = FetchReply { size: reader.length(), data: Some(Bytes::new(&bytes)), ..reply };
    Ok((ok_frame(id, &reply), is_rest))
}
