//! Messages between clients and the server as they are on the wire (`docs/protocol.md`).

use crate::bounded::{self, Nested};
use crate::cut::{cut, quoted};
pub use crate::info::{ObjectInfo, TaskInfo};
use crate::msgpack::{FrameError, HEADER_BYTES, append_value, decode, encode_frame, finish_frame};
pub use crate::request_error::{ErrorKind, RequestError};
use crate::resources::WireRequest;
use rain_model::graph::DataType;
use rain_model::resources::ALTERNATIVES_MAX;
use serde::de::{self, DeserializeSeed, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_bytes::ByteBuf;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

/// Longest text in an error, bytes.
const ERROR_TEXT_BYTES_MAX: usize = 1 << 20;

/// Inputs, and outputs, of a kind that are named or declared, at most.
pub const LABELS_MAX: usize = 1 << 20;
/// What a kind counts, beside its inputs and outputs,
const KIND_COUNT: usize = 8;
/// for this bound on a submit.
pub const KINDS_AND_LABELS_MAX: usize = 1 << 21;
/// Configurations of a submit.
pub const CONFIGS_MAX: usize = 1 << 23;
/// Tasks of a submit that have attributes of users.
pub const USERS_MAX: usize = 1 << 22;
/// Constants of a submit.
pub const CONSTS_MAX: usize = 1 << 22;

/// What a client asks.
#[derive(Debug, Clone)]
pub enum Request {
    Hello(Hello),
    NewSession(NewSession),
    CloseSession(SessionRef),
    Submit(Box<Submit>),
    Upload(Upload),
    Wait(Items),
    WaitSome(Items),
    WaitAll(SessionRef),
    /// Begin a watch of these items.
    Watch(Items),
    /// Tell which items of a watch are over and were not told.
    WatchNext(WatchRef),
    /// End a watch.
    Unwatch(WatchRef),
    Fetch(Fetch),
    /// Give the contents of these objects as they are finished, in groups.
    Results(Results),
    Unkeep(Unkeep),
    Cancel(Cancel),
    Forget(Forget),
    Info(Items),
    Outputs(TasksOf),
    Explain(TasksOf),
    Status,
    View(View),
    Stop,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Hello {
    pub version: u32,
    pub client: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Absolute path of the interpreter for this client's Python tasks; in further lines directories that it is told of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub python: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NewSession {
    #[serde(default)]
    pub name: String,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct SessionRef {
    pub session: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Submit {
    pub session: u32,
    #[serde(default, deserialize_with = "kinds")]
    pub kinds: Vec<WireKind>,
    #[serde(default)]
    pub count: u32,
    #[serde(default)]
    pub kind: ByteBuf,
    #[serde(default)]
    pub input_count: ByteBuf,
    #[serde(default)]
    pub inputs: ByteBuf,
    #[serde(default)]
    pub first_output: ByteBuf,
    #[serde(default, deserialize_with = "bounded::list::<CONFIGS_MAX, _, _>")]
    pub configs: Vec<ByteBuf>,
    #[serde(default)]
    pub config: ByteBuf,
    #[serde(default, deserialize_with = "bounded::table::<USERS_MAX, _>")]
    pub user: BTreeMap<u32, String>,
    #[serde(default, deserialize_with = "bounded::list::<CONSTS_MAX, _, _>")]
    pub consts: Vec<WireConst>,
    #[serde(default)]
    pub keep: ByteBuf,
}

/// A kind of task, in a submit and in an executor's `define`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WireKind {
    #[serde(rename = "type")]
    pub task_type: String,
    #[serde(default = "one")]
    pub cpus: u32,
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub config: ByteBuf,
    #[serde(default, deserialize_with = "bounded::list::<LABELS_MAX, _, _>")]
    pub inputs: Vec<String>,
    #[serde(default, deserialize_with = "bounded::list::<LABELS_MAX, _, _>")]
    pub outputs: Vec<WireOutput>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub retries: u32,
    /// Seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<f64>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub priority: i32,
    /// Tasks of kinds with different ones are not run by the same executor process.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub process: String,
    /// What a task asks for, the first of these that fits.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "bounded::list::<ALTERNATIVES_MAX, _, _>"
    )]
    pub resources: Vec<WireRequest>,
}

fn kinds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<WireKind>, D::Error> {
    let size = |kind: &WireKind| {
        let resources: usize = kind.resources.iter().map(|request| 1 + request.0.len()).sum();
        KIND_COUNT + kind.inputs.len() + kind.outputs.len() + resources
    };
    Nested { items_max: KINDS_AND_LABELS_MAX, size }.deserialize(deserializer)
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn one() -> u32 {
    1
}

/// `[label, data type, content type]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct WireOutput(pub String, pub u8, pub Option<String>);

impl Serialize for WireOutput {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.0, self.1, &self.2).serialize(serializer)
    }
}

/// `[object, data type, content type, data]`.
#[derive(Debug, Clone, Deserialize)]
pub struct WireConst(pub u32, pub u8, pub Option<String>, pub Option<ByteBuf>);

impl Serialize for WireConst {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.0, self.1, &self.2, &self.3).serialize(serializer)
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Upload {
    pub session: u32,
    pub object: u32,
    pub total: u64,
    pub offset: u64,
    pub data: ByteBuf,
}

/// Tasks and objects of a session; the columns are little-endian `u32`s.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Items {
    pub session: u32,
    #[serde(default)]
    pub tasks: ByteBuf,
    #[serde(default)]
    pub objects: ByteBuf,
}

/// Tasks of a session; the column is little-endian `u32`s.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TasksOf {
    pub session: u32,
    pub tasks: ByteBuf,
}

/// A question of the HTTP API, asked without HTTP.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct View {
    /// What follows `/api/v1/` in the address, with parameters.
    pub path: String,
}

/// The reply to `view`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Viewed {
    /// What the API answers, JSON text.
    pub json: String,
}

/// A watch of a session.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct WatchRef {
    pub session: u32,
    pub watch: u32,
}

/// The reply to `watch`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct WatchStarted {
    pub watch: u32,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Fetch {
    pub session: u32,
    pub object: u32,
    /// The client can open paths that the server names.
    #[serde(default)]
    pub map: bool,
    #[serde(default)]
    pub offset: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// The client would rather hear which governors have large content than get it from the server.
    #[serde(default)]
    pub direct: bool,
}

impl Fetch {
    /// Which of `length` bytes it asks for, where at most `most` can be had at once; `None` in `limit` asks for `usual`.
    pub fn range(&self, length: usize, usual: usize, most: usize) -> Range<usize> {
        let index = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let start = index(self.offset).min(length);
        let count = self.limit.map_or(usual, index).min(most);
        start..start.saturating_add(count).min(length)
    }
}

/// Objects of a session whose contents are wanted; the column is little-endian `u32`s.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Results {
    pub session: u32,
    pub objects: ByteBuf,
}

/// A reply to `results`: what has become of some of the objects.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ResultsReply {
    /// Objects with their contents.
    pub results: Vec<(u32, ByteBuf)>,
    /// Finished objects that are too large for this reply: the client fetches them, one by one.
    #[serde(with = "serde_bytes")]
    pub large: Vec<u8>,
    /// Objects that will not be there, and why: all those of a column for the same reason.
    pub errors: Vec<(ByteBuf, RequestError)>,
}

/// What a governor says of the content that a client fetches from it, ahead of the bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchHeader {
    /// All of the content, bytes.
    pub size: u64,
    /// How many of them follow.
    pub length: u64,
    /// Code of the data type.
    pub data_type: u8,
    pub content_type: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Unkeep {
    pub session: u32,
    pub objects: ByteBuf,
}

/// What the client will not name again; the columns are little-endian `u32`s.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Forget {
    pub session: u32,
    #[serde(default)]
    pub tasks: ByteBuf,
    /// Constants.
    #[serde(default)]
    pub objects: ByteBuf,
    #[serde(default)]
    pub kinds: ByteBuf,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cancel {
    pub session: u32,
    pub tasks: ByteBuf,
    /// Leave tasks alone that have begun.
    #[serde(default)]
    pub waiting: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HelloReply {
    pub version: u32,
    pub server: String,
    pub pid: u32,
    pub governors: u32,
    pub cpus: u32,
    pub local: bool,
}

impl WireOutput {
    /// The declared data type, if its number is known.
    pub fn data_type(&self) -> Option<DataType> {
        DataType::from_code(self.1)
    }
}

struct RequestFrame(u64, Request);

impl<'de> Deserialize<'de> for RequestFrame {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FrameVisitor;
        impl<'de> Visitor<'de> for FrameVisitor {
            type Value = RequestFrame;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a request [op, id, body]")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<RequestFrame, A::Error> {
                let op: String = seq.next_element()?.ok_or_else(|| de::Error::custom("no op"))?;
                let id: u64 = seq.next_element()?.ok_or_else(|| de::Error::custom("no request id"))?;
                let request = match op.as_str() {
                    "hello" => Request::Hello(body(&mut seq)?),
                    "new_session" => Request::NewSession(body(&mut seq)?),
                    "close_session" => Request::CloseSession(body(&mut seq)?),
                    "submit" => Request::Submit(Box::new(body(&mut seq)?)),
                    "upload" => Request::Upload(body(&mut seq)?),
                    "wait" => Request::Wait(body(&mut seq)?),
                    "wait_some" => Request::WaitSome(body(&mut seq)?),
                    "wait_all" => Request::WaitAll(body(&mut seq)?),
                    "watch" => Request::Watch(body(&mut seq)?),
                    "watch_next" => Request::WatchNext(body(&mut seq)?),
                    "unwatch" => Request::Unwatch(body(&mut seq)?),
                    "fetch" => Request::Fetch(body(&mut seq)?),
                    "results" => Request::Results(body(&mut seq)?),
                    "unkeep" => Request::Unkeep(body(&mut seq)?),
                    "cancel" => Request::Cancel(body(&mut seq)?),
                    "forget" => Request::Forget(body(&mut seq)?),
                    "info" => Request::Info(body(&mut seq)?),
                    "outputs" => Request::Outputs(body(&mut seq)?),
                    "explain" => Request::Explain(body(&mut seq)?),
                    "status" => body::<IgnoredAny, A>(&mut seq).map(|_| Request::Status)?,
                    "view" => Request::View(body(&mut seq)?),
                    "stop" => body::<IgnoredAny, A>(&mut seq).map(|_| Request::Stop)?,
                    other => return Err(de::Error::custom(format!("unknown op {}", quoted(other)))),
                };
                if seq.next_element::<IgnoredAny>()?.is_some() {
                    return Err(de::Error::custom("more than three elements"));
                }
                Ok(RequestFrame(id, request))
            }
        }
        deserializer.deserialize_seq(FrameVisitor)
    }
}

fn body<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(seq: &mut A) -> Result<T, A::Error> {
    seq.next_element()?.ok_or_else(|| de::Error::custom("no body"))
}

/// Reads a request frame's body: the request id and the request.
pub fn decode_request(bytes: &[u8]) -> Result<(u64, Request), FrameError> {
    decode::<RequestFrame>(bytes).map(|RequestFrame(id, request)| (id, request))
}

/// A whole frame `["ok", id, body]`; an error if it would be longer than a frame may be.
pub fn ok_frame<T: Serialize>(id: u64, body: &T) -> Vec<u8> {
    reply_frame("ok", id, body).unwrap_or_else(|error| error_frame(id, &too_long(&error)))
}

/// A whole frame `["error", id, error]`.
pub fn error_frame(id: u64, error: &RequestError) -> Vec<u8> {
    let body = error_body(error);
    [error_head(id, body.len()), body].concat()
}

/// The body of an error, which may be that of several frames. Texts of any length become short enough.
pub fn error_body(error: &RequestError) -> Vec<u8> {
    let short = |text: &str| cut(text, ERROR_TEXT_BYTES_MAX).into_owned();
    let mut body = Vec::new();
    if error.message.len().max(error.debug.as_ref().map_or(0, String::len)) <= ERROR_TEXT_BYTES_MAX {
        append_value(&mut body, error);
    } else {
        let (message, debug) = (short(&error.message), error.debug.as_deref().map(short));
        append_value(&mut body, &RequestError { message, debug, ..*error });
    }
    body
}

/// The beginning of a frame `["error", id, error]`, whose rest is an `error_body` of so many bytes.
pub fn error_head(id: u64, body_bytes: usize) -> Vec<u8> {
    let mut head = vec![0; HEADER_BYTES];
    append_value(&mut head, &("error", id));
    // An array of three elements, of which the last follows.
    head[HEADER_BYTES] = 0x93;
    finish_frame(&mut head, body_bytes as u64).expect("texts in errors are cut");
    head
}

/// The beginning of a frame `["ok", id, body]`, whose body ends with content of `length` bytes that follow. `body` has an empty
/// byte string there.
///
/// # Errors
/// `TooLong` when nobody takes such a frame.
pub fn content_head<T: Serialize>(id: u64, body: &T, length: u64) -> Result<Vec<u8>, FrameError> {
    const EMPTY: [u8; 2] = [0xc4, 0];
    const BIN_32: u8 = 0xc6;
    let mut head = vec![0; HEADER_BYTES];
    append_value(&mut head, &("ok", id, body));
    debug_assert!(head.ends_with(&EMPTY), "the content is the last value");
    head.truncate(head.len() - EMPTY.len());
    head.push(BIN_32);
    head.extend_from_slice(&(length as u32).to_be_bytes());
    finish_frame(&mut head, length)?;
    Ok(head)
}

/// A whole frame `[head, id, body]`; requests and replies have the same shape.
///
/// # Errors
/// `TooLong` when nobody takes such a frame.
pub fn reply_frame<T: Serialize>(head: &str, id: u64, body: &T) -> Result<Vec<u8>, FrameError> {
    encode_frame(&(head, id, body))
}

/// What is answered instead of a reply that is longer than a frame may be.
pub fn too_long(error: &FrameError) -> RequestError {
    RequestError::request(format!("the answer is too long ({error}): ask for less at once"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_with_its_id() {
        let frame = reply_frame("new_session", 5, &NewSession { name: "x".into() }).unwrap();
        let (id, request) = decode_request(&frame[4..]).unwrap();
        assert_eq!(id, 5);
        assert!(matches!(request, Request::NewSession(NewSession { name }) if name == "x"));
    }

    #[test]
    fn an_error_in_two_parts_is_a_whole_frame() {
        let error = RequestError { debug: Some("words".into()), ..RequestError::request("x".repeat(1000)) };
        for id in [0, 200, 1 << 40] {
            let body = error_body(&error);
            let frame = reply_frame("error", id, &error).unwrap();
            assert_eq!([error_head(id, body.len()), body].concat(), frame);
            assert_eq!(error_frame(id, &error), frame);
        }
    }

    #[test]
    fn what_is_too_long_becomes_an_error_that_says_so() {
        let error = |frame: &[u8]| decode::<(String, u64, RequestError)>(&frame[4..]).unwrap();
        let long = serde_bytes::ByteBuf::from(vec![0; crate::msgpack::FRAME_BYTES_MAX]);
        let (head, id, why) = error(&ok_frame(7, &long));
        assert_eq!((head.as_str(), id, why.kind), ("error", 7, ErrorKind::Request));
        assert!(why.message.contains("ask for less"), "{}", why.message);
        let (_, _, why) = error(&error_frame(7, &RequestError::request("x".repeat(300 << 20))));
        assert!(why.message.contains("left out") && why.message.len() < 2 << 20, "{} bytes", why.message.len());
    }

    #[test]
    fn a_beginning_and_its_content_are_a_whole_frame() {
        #[derive(Serialize, Deserialize)]
        struct Body {
            size: u64,
            data: ByteBuf,
        }
        let content = vec![7; 100_000];
        let head = content_head(3, &Body { size: 5, data: ByteBuf::new() }, content.len() as u64).unwrap();
        let whole = reply_frame("ok", 3, &Body { size: 5, data: ByteBuf::from(content.clone()) }).unwrap();
        assert!([head, content].concat() == whole);
        assert!(content_head(3, &Body { size: 5, data: ByteBuf::new() }, 1 << 32).is_err());
    }

    #[test]
    fn lists_are_bounded_while_they_are_decoded() {
        let submit = |kinds: Vec<Vec<u8>>, configs: usize| {
            let mut frame = vec![0x93];
            append_value(&mut frame, &"submit");
            frame.extend([1, 0x83]);
            append_value(&mut frame, &("session", 1u32));
            frame.remove(frame.len() - 10);
            append_value(&mut frame, &"kinds");
            frame.push(0xdd);
            frame.extend((kinds.len() as u32).to_be_bytes());
            kinds.iter().for_each(|kind| frame.extend(kind));
            append_value(&mut frame, &"configs");
            frame.push(0xdd);
            frame.extend((configs as u32).to_be_bytes());
            frame.extend([0xc4, 0].repeat(configs));
            decode_request(&frame)
        };
        let kind = |labels: usize| {
            let mut kind = vec![0x82];
            append_value(&mut kind, &"type");
            append_value(&mut kind, &"a");
            append_value(&mut kind, &"inputs");
            kind.push(0xdd);
            kind.extend((labels as u32).to_be_bytes());
            kind.extend(vec![0xa0; labels]);
            kind
        };
        let (_, Request::Submit(taken)) = submit(vec![kind(LABELS_MAX), kind(2)], 3).unwrap() else { panic!() };
        assert_eq!((taken.kinds.len(), taken.kinds[0].inputs.len(), taken.configs.len()), (2, LABELS_MAX, 3));
        for (kinds, configs) in [
            (vec![kind(LABELS_MAX + 1)], 0),
            (vec![kind(LABELS_MAX), kind(LABELS_MAX)], 0),
            (vec![kind(0); KINDS_AND_LABELS_MAX / KIND_COUNT + 1], 0),
            (vec![], CONFIGS_MAX + 1),
        ] {
            let error = submit(kinds, configs).unwrap_err().to_string();
            assert!(error.contains("submit in parts"), "{error}");
        }
    }

    #[test]
    fn unknown_ops_and_garbage_are_errors() {
        for frame in [reply_frame("fly", 1, &()), reply_frame("wait", 1, &"text")].map(Result::unwrap) {
            assert!(decode_request(&frame[4..]).is_err());
        }
        for garbage in [&b""[..], b"\x00", b"\xff\xff\xff", b"GET / HTTP/1.1\r\n\r\n"] {
            assert!(decode_request(garbage).is_err());
        }
    }
}
