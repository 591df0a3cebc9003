//! The messages of the executor protocol (`docs/protocol.md`, "Executors").

use serde::de::{self, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_bytes::Bytes;
use std::fmt;

/// Version of the protocol.
pub const PROTOCOL_VERSION: u32 = 1;
/// The length in front of a frame.
pub const FRAME_HEAD_BYTES: usize = 4;
/// Longest body of a frame.
pub const FRAME_BYTES_MAX: usize = 256 << 20;
/// Contents up to this size are sent in messages, larger ones as files.
pub const INLINE_BYTES_MAX: usize = 64 << 10;
/// Error and debug messages of a task; what is past it is left out.
pub const TEXT_BYTES_MAX: usize = 1 << 20;

/// What came is not what the protocol has.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// A frame has so many bytes.
    #[error("a frame of {0} bytes is too long")]
    TooLong(usize),
    /// The body of a frame is something else.
    #[error("not a message of the executor protocol: {0}")]
    Malformed(#[from] rmp_serde::decode::Error),
}

/// A blob, or a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataType {
    /// Bytes.
    Blob,
    /// A tree of files.
    Directory,
}

impl<'de> Deserialize<'de> for DataType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u8::deserialize(deserializer)? {
            0 => Ok(DataType::Blob),
            1 => Ok(DataType::Directory),
            other => Err(de::Error::custom(format!("{other} is not a data type"))),
        }
    }
}

impl Serialize for DataType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(u8::from(*self == DataType::Directory))
    }
}

/// What tasks of a kind have in common.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kind {
    /// EXECUTOR/METHOD.
    #[serde(rename = "type")]
    pub task_type: String,
    /// How many cpus a task has.
    pub cpus: u32,
    /// For people; may be empty.
    pub name: String,
    /// For calls without a configuration of their own; empty if there is none.
    #[serde(with = "serde_bytes")]
    pub config: Vec<u8>,
    /// Labels, of which there may be fewer than inputs; an empty one is none.
    pub inputs: Vec<String>,
    /// What the client declared, in order.
    pub outputs: Vec<OutputSpec>,
}

/// `[label, data type, content type]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputSpec(pub String, pub DataType, pub Option<String>);

/// Where the content of an input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source<'a> {
    /// In the message.
    Inline(&'a [u8]),
    /// In a read-only file or directory.
    Path(&'a str),
}

/// `[source, content type, data type, size, object id, user]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallInput<'a>(
    #[serde(borrow)] pub Source<'a>,
    pub Option<&'a str>,
    pub DataType,
    pub u64,
    pub u32,
    pub Option<&'a str>,
);

/// What a call says beside its inputs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallExtra<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    /// `spec.user` of the task, a JSON object as text.
    pub user: Option<&'a str>,
    /// The number of the governor.
    #[serde(default)]
    pub governor: u32,
    /// The number of the first output object in its session.
    #[serde(default)]
    pub outputs: u32,
    /// Number of the first task of the submit that the task came with.
    #[serde(default)]
    pub submit: u32,
}

/// A task to be run.
#[derive(Debug, Clone, PartialEq)]
pub struct Call<'a> {
    /// What the answer refers to.
    pub id: u64,
    /// The number under which its kind was defined.
    pub kind: u64,
    /// Session and number of the task.
    pub task: (u32, u32),
    /// Its configuration; without one, that of the kind counts.
    pub config: Option<&'a [u8]>,
    /// Its inputs, in order.
    pub inputs: Vec<CallInput<'a>>,
    /// What else it says.
    pub extra: CallExtra<'a>,
}

/// What a governor says.
#[derive(Debug, Clone, PartialEq)]
pub enum FromGovernor<'a> {
    /// Calls will refer to this kind by this number.
    Define(u64, Kind),
    /// No call will refer to these numbers of kinds any more.
    Forget(Vec<u64>),
    /// Run a task.
    Call(Call<'a>),
}

impl<'de: 'a, 'a> Deserialize<'de> for Source<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SourceVisitor;
        impl<'de> Visitor<'de> for SourceVisitor {
            type Value = Source<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("content or a path")
            }

            fn visit_borrowed_bytes<E: de::Error>(self, bytes: &'de [u8]) -> Result<Source<'de>, E> {
                Ok(Source::Inline(bytes))
            }

            fn visit_borrowed_str<E: de::Error>(self, path: &'de str) -> Result<Source<'de>, E> {
                Ok(Source::Path(path))
            }
        }
        deserializer.deserialize_any(SourceVisitor)
    }
}

impl Serialize for Source<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Source::Inline(bytes) => serializer.serialize_bytes(bytes),
            Source::Path(path) => serializer.serialize_str(path),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for FromGovernor<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FrameVisitor;
        impl<'de> Visitor<'de> for FrameVisitor {
            type Value = FromGovernor<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a governor's message")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<FromGovernor<'de>, A::Error> {
                let message = match element(&mut seq)? {
                    "call" => FromGovernor::Call(Call {
                        id: element(&mut seq)?,
                        kind: element(&mut seq)?,
                        task: element(&mut seq)?,
                        config: element::<Option<&Bytes>, _>(&mut seq)?.map(|bytes| &**bytes),
                        inputs: element(&mut seq)?,
                        extra: element(&mut seq)?,
                    }),
                    "define" => FromGovernor::Define(element(&mut seq)?, element(&mut seq)?),
                    "forget" => FromGovernor::Forget(element(&mut seq)?),
                    other => return Err(de::Error::custom(format!("unknown message {other:?}"))),
                };
                if seq.next_element::<IgnoredAny>()?.is_some() {
                    return Err(de::Error::custom("too many elements"));
                }
                Ok(message)
            }
        }
        deserializer.deserialize_seq(FrameVisitor)
    }
}

fn element<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(seq: &mut A) -> Result<T, A::Error> {
    seq.next_element()?.ok_or_else(|| de::Error::custom("too few elements"))
}

impl Serialize for FromGovernor<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            FromGovernor::Define(id, kind) => ("define", id, kind).serialize(serializer),
            FromGovernor::Forget(ids) => ("forget", ids).serialize(serializer),
            FromGovernor::Call(call) => {
                let config = call.config.map(Bytes::new);
                ("call", call.id, call.kind, call.task, config, &call.inputs, call.extra).serialize(serializer)
            }
        }
    }
}

/// The first message of an executor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Register<'a> {
    /// [`PROTOCOL_VERSION`].
    pub version: u32,
    /// The part of its task types before the slash.
    pub name: &'a str,
    /// Its process.
    pub pid: u32,
}

/// Where the content of an output is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutputSource {
    /// In the message.
    Inline(Vec<u8>),
    /// In a file or directory, which the governor moves away.
    Path(String),
    /// The input with this number.
    Input(u32),
}

/// `[source, content type, user]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallOutput(pub OutputSource, pub Option<String>, pub Option<String>);

impl Serialize for OutputSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            OutputSource::Inline(bytes) => serializer.serialize_bytes(bytes),
            OutputSource::Path(path) => serializer.serialize_str(path),
            OutputSource::Input(number) => serializer.serialize_u32(*number),
        }
    }
}

impl<'de> Deserialize<'de> for OutputSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SourceVisitor;
        impl Visitor<'_> for SourceVisitor {
            type Value = OutputSource;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("content, a path or the number of an input")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<OutputSource, E> {
                Ok(OutputSource::Inline(bytes.to_vec()))
            }

            fn visit_str<E: de::Error>(self, path: &str) -> Result<OutputSource, E> {
                Ok(OutputSource::Path(path.to_owned()))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<OutputSource, E> {
                u32::try_from(number).map(OutputSource::Input).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(SourceVisitor)
    }
}

/// Debug messages and `info.user` of an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallInfo {
    /// Messages, one a line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub debug: Option<String>,
    /// A JSON object as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// The answer to a call that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Why.
    pub message: String,
    /// Debug messages until then, one a line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub debug: Option<String>,
    /// `info.user`, a JSON object as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// What an executor says.
#[derive(Debug, Clone, PartialEq)]
pub enum FromExecutor<'a> {
    /// The first message.
    Register(Register<'a>),
    /// The call with this number is carried out.
    Done(u64, Vec<CallOutput>, CallInfo),
    /// The call with this number failed.
    Fail(u64, Failure),
}

impl Serialize for FromExecutor<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            FromExecutor::Register(register) => ("register", register).serialize(serializer),
            FromExecutor::Done(id, outputs, info) => ("done", id, outputs, info).serialize(serializer),
            FromExecutor::Fail(id, failure) => ("fail", id, failure).serialize(serializer),
        }
    }
}

/// Reads the body of a frame.
pub fn decode<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, FrameError> {
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(body);
    deserializer.set_max_depth(64);
    Ok(T::deserialize(&mut deserializer)?)
}

/// Appends `text` until `to` has [`TEXT_BYTES_MAX`] bytes; whether that is all of it.
pub(crate) fn append_bounded(to: &mut String, text: &str) -> bool {
    let left = TEXT_BYTES_MAX.saturating_sub(to.len());
    if text.len() <= left {
        to.push_str(text);
        return true;
    }
    let end = (0..=left).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    to.push_str(&text[..end]);
    false
}

/// Appends a whole frame.
pub fn append_frame<T: Serialize>(buffer: &mut Vec<u8>, message: &T) {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; FRAME_HEAD_BYTES]);
    let mut serializer = rmp_serde::Serializer::new(&mut *buffer).with_struct_map();
    // A Vec takes every write, and no message has a type that MessagePack lacks. Not on the wire, tuples are lists.
    message.serialize(&mut serializer).expect("serialising to memory");
    let length = (buffer.len() - start - FRAME_HEAD_BYTES) as u32;
    buffer[start..start + FRAME_HEAD_BYTES].copy_from_slice(&length.to_le_bytes());
}
