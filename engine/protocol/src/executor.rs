//! Messages between a governor and an executor as they are on the wire (`docs/protocol.md`).

use crate::client::{WireKind, WireOutput};
use crate::cut::quoted;
use crate::msgpack::{FrameError, append_value, decode};
use rain_model::graph::Kind;
use serde::de::{self, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_bytes::{ByteBuf, Bytes};
use std::fmt;

/// What an executor says.
#[derive(Debug, Clone, PartialEq)]
pub enum FromExecutor {
    Register(Register),
    Done {
        call: u64,
        outputs: Vec<CallOutput>,
        info: CallInfo,
    },
    Fail {
        call: u64,
        failure: CallFailure,
    },
    /// Calls that have not begun and are given back. With a reason the process must not be given any others.
    Return {
        calls: Vec<u64>,
        reason: Option<String>,
    },
    /// A running call waits for other tasks: its cpus can be used until `Resume` or its answer.
    Lend {
        call: u64,
    },
    /// A call that has lent its cpus goes on.
    Resume {
        call: u64,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Register {
    pub version: u32,
    pub name: String,
    pub pid: u32,
}

/// Where the content of an output is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutputSource {
    Inline(Vec<u8>),
    /// A file or directory under the executor's directory.
    Path(String),
    /// The input with this number, passed on.
    Input(u32),
}

/// `[source, content type, user]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct CallOutput(pub OutputSource, pub Option<String>, pub Option<String>);

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallInfo {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub debug: Option<String>,
    /// `info.user`, JSON text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Written>,
}

/// Where a call's standard output and error begin and end in all that its process has written, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written(pub [(u64, u64); 2]);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallFailure {
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub debug: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Written>,
}

/// Where an executor finds the content of an input.
#[derive(Debug, Clone, Copy)]
pub enum InputSource<'a> {
    Inline(&'a [u8]),
    Path(&'a str),
}

/// `[source, content type, data type, size, object, user]`.
#[derive(Debug, Clone, Copy)]
pub struct CallInput<'a> {
    pub source: InputSource<'a>,
    pub content_type: Option<&'a str>,
    pub data_type: u8,
    pub size: u64,
    pub object: u32,
    pub user: Option<&'a str>,
}

#[derive(Debug, Clone, Serialize)]
pub struct CallExtra<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<&'a str>,
    pub governor: u32,
    pub outputs: u32,
    /// Number of the first task of the submit that the task came with.
    pub submit: u32,
}

impl Serialize for InputSource<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            InputSource::Inline(bytes) => serializer.serialize_bytes(bytes),
            InputSource::Path(path) => serializer.serialize_str(path),
        }
    }
}

impl Serialize for CallInput<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.source, self.content_type, self.data_type, self.size, self.object, self.user).serialize(serializer)
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

            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<OutputSource, E> {
                Ok(OutputSource::Inline(bytes))
            }

            fn visit_str<E: de::Error>(self, path: &str) -> Result<OutputSource, E> {
                Ok(OutputSource::Path(path.to_owned()))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<OutputSource, E> {
                u32::try_from(number).map(OutputSource::Input).map_err(|_| E::custom("no such input"))
            }
        }
        deserializer.deserialize_any(SourceVisitor)
    }
}

struct ExecutorFrame(FromExecutor);

impl<'de> Deserialize<'de> for ExecutorFrame {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FrameVisitor;
        impl<'de> Visitor<'de> for FrameVisitor {
            type Value = ExecutorFrame;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an executor's message")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<ExecutorFrame, A::Error> {
                let op: String = element(&mut seq)?;
                let message = match op.as_str() {
                    "register" => FromExecutor::Register(element(&mut seq)?),
                    "done" => FromExecutor::Done {
                        call: element(&mut seq)?,
                        outputs: element(&mut seq)?,
                        info: element(&mut seq)?,
                    },
                    "fail" => FromExecutor::Fail { call: element(&mut seq)?, failure: element(&mut seq)? },
                    "return" => FromExecutor::Return { calls: element(&mut seq)?, reason: element(&mut seq)? },
                    "lend" => FromExecutor::Lend { call: element(&mut seq)? },
                    "resume" => FromExecutor::Resume { call: element(&mut seq)? },
                    other => return Err(de::Error::custom(format!("unknown message {}", quoted(other)))),
                };
                if seq.next_element::<IgnoredAny>()?.is_some() {
                    return Err(de::Error::custom("too many elements"));
                }
                Ok(ExecutorFrame(message))
            }
        }
        deserializer.deserialize_seq(FrameVisitor)
    }
}

fn element<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(seq: &mut A) -> Result<T, A::Error> {
    seq.next_element()?.ok_or_else(|| de::Error::custom("too few elements"))
}

/// Reads the body of a frame from an executor.
pub fn decode_from_executor(bytes: &[u8]) -> Result<FromExecutor, FrameError> {
    decode::<ExecutorFrame>(bytes).map(|ExecutorFrame(message)| message)
}

fn append_frame<T: Serialize>(buffer: &mut Vec<u8>, message: &T) {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; 4]);
    append_value(buffer, message);
    let length = (buffer.len() - start - 4) as u32;
    buffer[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

/// Appends a `define` frame to `buffer`.
pub fn append_define(buffer: &mut Vec<u8>, kind_id: u64, kind: &Kind) {
    append_frame(buffer, &("define", kind_id, WireKind::from(kind)));
}

/// Appends a `forget` frame to `buffer`.
pub fn append_forget(buffer: &mut Vec<u8>, kind_ids: &[u64]) {
    append_frame(buffer, &("forget", kind_ids));
}

/// Appends a `lent` frame to `buffer`: nothing was sent after this call that is not ahead of this message.
pub fn append_lent(buffer: &mut Vec<u8>, call: u64) {
    append_frame(buffer, &("lent", call));
}

/// Appends a `call` frame to `buffer`; `task` is session and task number.
pub fn append_call(
    buffer: &mut Vec<u8>,
    call: u64,
    kind_id: u64,
    task: (u32, u32),
    config: Option<&[u8]>,
    inputs: &[CallInput<'_>],
    extra: &CallExtra<'_>,
) {
    append_frame(buffer, &("call", call, kind_id, task, config.map(Bytes::new), inputs, extra));
}

impl From<&Kind> for WireKind {
    fn from(kind: &Kind) -> WireKind {
        WireKind {
            task_type: kind.task_type.clone(),
            cpus: kind.cpus,
            name: kind.name.clone(),
            config: ByteBuf::from(kind.config.clone()),
            inputs: kind.inputs.clone(),
            outputs: kind
                .outputs
                .iter()
                .map(|o| WireOutput(o.label.clone(), o.data_type.code(), o.content_type.clone()))
                .collect(),
            retries: kind.retries,
            timeout: kind.timeout.map(|timeout| timeout.as_secs_f64()),
            priority: kind.priority,
            process: kind.process.clone(),
            // What it was given says the environment of its executor.
            resources: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::msgpack::encode_frame;

    #[test]
    fn outputs_are_told_apart_by_type() {
        let outputs =
            ((Bytes::new(b"x"), None::<String>, None::<String>), ("p", Some("text"), None::<String>), (3, (), ()));
        let frame = encode_frame(&("done", 1, outputs, CallInfo::default())).unwrap();
        let expected = FromExecutor::Done {
            call: 1,
            outputs: vec![
                CallOutput(OutputSource::Inline(b"x".to_vec()), None, None),
                CallOutput(OutputSource::Path("p".into()), Some("text".into()), None),
                CallOutput(OutputSource::Input(3), None, None),
            ],
            info: CallInfo::default(),
        };
        assert_eq!(decode_from_executor(&frame[4..]).unwrap(), expected);
    }
}
