//! The golden frames of `tests/golden`, read and written by the tasklib's side and by the engine's.

use rain_model::graph::{DataType as EngineDataType, Kind as EngineKind, OutputSpec as EngineOutputSpec};
use rain_protocol::executor as engine;
use rain_task::DataType;
use rain_task::protocol::{
    Call, CallExtra, CallInfo, CallInput, CallOutput, Failure, FromExecutor, FromGovernor, Kind, OutputSource,
    OutputSpec, Register, Source, append_frame, decode,
};
use std::fmt::Write;
use std::path::PathBuf;

const SESSION: u64 = 1 << 32;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/golden")
}

fn golden(name: &str) -> Vec<u8> {
    let frame = std::fs::read(folder().join(format!("{name}.bin"))).unwrap();
    assert_eq!(u32::from_le_bytes(*frame.first_chunk().unwrap()) as usize, frame.len() - 4);
    frame
}

fn config() -> Vec<u8> {
    #[derive(serde::Serialize)]
    struct Config {
        sigma: f64,
        steps: [i32; 2],
        name: &'static str,
    }
    rmp_serde::to_vec_named(&Config { sigma: 1.5, steps: [-1, 300], name: "ř" }).unwrap()
}

fn kinds() -> [Kind; 2] {
    let hello = Kind {
        task_type: "example1/hello".into(),
        cpus: 1,
        name: String::new(),
        config: Vec::new(),
        inputs: Vec::new(),
        outputs: vec![OutputSpec("output".into(), DataType::Blob, None)],
    };
    let filter = Kind {
        task_type: "example1/filter".into(),
        cpus: 4,
        name: "images/filter".into(),
        config: config(),
        inputs: vec!["image".into(), "masks".into()],
        outputs: vec![
            OutputSpec("result".into(), DataType::Blob, Some("json".into())),
            OutputSpec("tiles".into(), DataType::Directory, None),
        ],
    };
    [hello, filter]
}

fn calls(config: &[u8]) -> [(&'static str, Call<'_>); 3] {
    let world = CallInput(Source::Inline(b"World"), None, DataType::Blob, 5, 17, None);
    let image = CallInput(
        Source::Path("/rain/work/41"),
        Some("image/pgm"),
        DataType::Blob,
        64 << 20,
        40,
        Some(r#"{"taken": "today"}"#),
    );
    let masks = CallInput(Source::Path("/rain/work/42"), None, DataType::Directory, 5_000_000_000, 300, None);
    let simple = Call {
        id: 3,
        kind: SESSION,
        task: (1, 3),
        config: None,
        inputs: vec![world],
        extra: CallExtra { user: None, governor: 0, outputs: 20, submit: 3 },
    };
    let full = Call {
        id: 70_000,
        kind: SESSION + 1,
        task: (1, 70_000),
        config: Some(config),
        inputs: vec![image, masks],
        extra: CallExtra { user: Some(r#"{"mode": 7}"#), governor: 2, outputs: 70_001, submit: 65_536 },
    };
    let empty = Call { id: 0, task: (1, 0), inputs: Vec::new(), extra: CallExtra::default(), ..simple.clone() };
    [("call", simple), ("call-full", full), ("call-empty", empty)]
}

#[test]
fn the_tasklib_reads_and_writes_what_governors_send() {
    let config = config();
    let [hello, filter] = kinds();
    let mut messages = vec![
        ("define", FromGovernor::Define(SESSION, hello)),
        ("define-full", FromGovernor::Define(SESSION + 1, filter)),
        ("forget", FromGovernor::Forget(vec![SESSION, SESSION + 1])),
    ];
    messages.extend(calls(&config).map(|(name, call)| (name, FromGovernor::Call(call))));
    for (name, message) in messages {
        let expected = golden(name);
        assert_eq!(decode::<FromGovernor<'_>>(&expected[4..]).unwrap(), message, "{name}");
        let mut written = Vec::new();
        append_frame(&mut written, &message);
        assert_eq!(written, expected, "{name}");
    }
}

#[test]
fn the_engine_writes_what_governors_send() {
    let engine_kinds = kinds().map(|kind| EngineKind {
        resources: Vec::new(),
        task_type: kind.task_type,
        cpus: kind.cpus,
        name: kind.name,
        config: kind.config,
        inputs: kind.inputs,
        outputs: kind
            .outputs
            .into_iter()
            .map(|OutputSpec(label, data_type, content_type)| EngineOutputSpec {
                label,
                data_type: match data_type {
                    DataType::Blob => EngineDataType::Blob,
                    DataType::Directory => EngineDataType::Directory,
                },
                content_type,
            })
            .collect(),
        retries: 0,
        timeout: None,
        priority: 0,
        process: String::new(),
    });
    for (name, id, kind) in [("define", SESSION, &engine_kinds[0]), ("define-full", SESSION + 1, &engine_kinds[1])] {
        let mut written = Vec::new();
        engine::append_define(&mut written, id, kind);
        assert_eq!(written, golden(name), "{name}");
    }
    let mut written = Vec::new();
    engine::append_forget(&mut written, &[SESSION, SESSION + 1]);
    assert_eq!(written, golden("forget"));
    written.clear();
    engine::append_lent(&mut written, 3);
    assert_eq!(written, golden("lent"));

    for (name, call) in calls(&config()) {
        let inputs: Vec<engine::CallInput<'_>> = call
            .inputs
            .iter()
            .map(|&CallInput(source, content_type, data_type, size, object, user)| engine::CallInput {
                source: match source {
                    Source::Inline(bytes) => engine::InputSource::Inline(bytes),
                    Source::Path(path) => engine::InputSource::Path(path),
                },
                content_type,
                data_type: u8::from(data_type == DataType::Directory),
                size,
                object,
                user,
            })
            .collect();
        let CallExtra { user, governor, outputs, submit } = call.extra;
        let extra = engine::CallExtra { user, governor, outputs, submit };
        let mut written = Vec::new();
        engine::append_call(&mut written, call.id, call.kind, call.task, call.config, &inputs, &extra);
        assert_eq!(written, golden(name), "{name}");
    }
}

fn answers() -> Vec<(&'static str, FromExecutor<'static>)> {
    let some = |text: &str| Some(text.to_owned());
    let failure = |message: String, debug, user| Failure { message, debug, user };
    vec![
        ("register", FromExecutor::Register(Register { version: 1, name: "example1", pid: 4242 })),
        (
            "done",
            FromExecutor::Done(
                3,
                vec![CallOutput(OutputSource::Inline(b"Hello World!".into()), None, None)],
                CallInfo::default(),
            ),
        ),
        (
            "done-full",
            FromExecutor::Done(
                70_000,
                vec![
                    CallOutput(OutputSource::Inline(b"{}".into()), some("json"), some(r#"{"kept": true}"#)),
                    CallOutput(OutputSource::Path("/rain/work/exec/out-1".into()), None, None),
                    CallOutput(OutputSource::Input(1), None, None),
                ],
                CallInfo { debug: some("first line\nsecond line"), user: some(r#"{"pixels": 12}"#) },
            ),
        ),
        ("done-empty", FromExecutor::Done(0, Vec::new(), CallInfo::default())),
        ("fail", FromExecutor::Fail(3, failure("example1/hello takes 1 input, but was given 2".into(), None, None))),
        (
            "fail-full",
            FromExecutor::Fail(70_000, failure("ř".repeat(200), some("before"), some(r#"{"steps": [1, 2]}"#))),
        ),
    ]
}

#[test]
fn the_tasklib_writes_what_executors_send() {
    for (name, message) in answers() {
        let mut written = Vec::new();
        append_frame(&mut written, &message);
        assert_eq!(written, golden(name), "{name}");
    }
}

#[test]
fn the_engine_reads_what_executors_send() {
    for (name, message) in answers() {
        let expected = match message {
            FromExecutor::Register(Register { version, name, pid }) => {
                engine::FromExecutor::Register(engine::Register { version, name: name.into(), pid })
            }
            FromExecutor::Done(call, outputs, CallInfo { debug, user }) => engine::FromExecutor::Done {
                call,
                outputs: outputs
                    .into_iter()
                    .map(|CallOutput(source, content_type, user)| {
                        let source = match source {
                            OutputSource::Inline(bytes) => engine::OutputSource::Inline(bytes),
                            OutputSource::Path(path) => engine::OutputSource::Path(path),
                            OutputSource::Input(number) => engine::OutputSource::Input(number),
                        };
                        engine::CallOutput(source, content_type, user)
                    })
                    .collect(),
                info: engine::CallInfo { debug, user, output: None },
            },
            FromExecutor::Fail(call, Failure { message, debug, user }) => {
                engine::FromExecutor::Fail { call, failure: engine::CallFailure { message, debug, user, output: None } }
            }
        };
        assert_eq!(engine::decode_from_executor(&golden(name)[4..]).unwrap(), expected, "{name}");
    }
}

/// Messages that the tasklib never sends.
fn messages_of_other_executors() -> Vec<(&'static str, engine::FromExecutor)> {
    let reason = Some("module helper has changed".to_owned());
    let output = Some(engine::Written([(10, 70_000), (0, 3)]));
    let failure = engine::CallFailure { message: "no".into(), debug: None, user: None, output };
    vec![
        ("return", engine::FromExecutor::Return { calls: vec![3, 70_000], reason: None }),
        ("return-last", engine::FromExecutor::Return { calls: vec![70_001], reason }),
        ("lend", engine::FromExecutor::Lend { call: 3 }),
        ("resume", engine::FromExecutor::Resume { call: 3 }),
        ("fail-output", engine::FromExecutor::Fail { call: 3, failure }),
    ]
}

#[test]
fn the_engine_reads_what_other_executors_send() {
    for (name, expected) in messages_of_other_executors() {
        assert_eq!(engine::decode_from_executor(&golden(name)[4..]).unwrap(), expected, "{name}");
    }
}

/// The value at the front of `bytes` as `index.tsv` has it: JSON, with bytes in hexadecimal.
struct Notation(String);

impl<'de> serde::Deserialize<'de> for Notation {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Shown;
        impl<'de> serde::de::Visitor<'de> for Shown {
            type Value = Notation;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a value of the protocol")
            }

            fn visit_unit<E>(self) -> Result<Notation, E> {
                Ok(Notation("null".into()))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Notation, E> {
                Ok(Notation(number.to_string()))
            }

            fn visit_str<E>(self, text: &str) -> Result<Notation, E> {
                Ok(Notation(serde_json::to_string(text).unwrap()))
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Notation, E> {
                let mut text = "h'".to_owned();
                for byte in bytes {
                    write!(text, "{byte:02x}").unwrap();
                }
                Ok(Notation(text + "'"))
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Notation, A::Error> {
                let mut parts = Vec::new();
                while let Some(Notation(part)) = seq.next_element()? {
                    parts.push(part);
                }
                Ok(Notation(format!("[{}]", parts.join(", "))))
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Notation, A::Error> {
                let mut parts = Vec::new();
                while let Some((Notation(key), Notation(value))) = map.next_entry()? {
                    parts.push(format!("{key}: {value}"));
                }
                Ok(Notation(format!("{{{}}}", parts.join(", "))))
            }
        }
        deserializer.deserialize_any(Shown)
    }
}

#[test]
fn all_frames_are_as_the_index_says() {
    let index = std::fs::read_to_string(folder().join("index.tsv")).unwrap();
    let mut seen = 0;
    for line in index.lines() {
        let columns: Vec<&str> = line.split('\t').collect();
        let frame = golden(columns[0].strip_suffix(".bin").unwrap());
        assert_eq!(decode::<Notation>(&frame[4..]).unwrap().0, columns[3], "{}", columns[0]);
        seen += 1;
    }
    assert_eq!(seen, answers().len() + messages_of_other_executors().len() + 7);
}

#[test]
fn damaged_frames_are_refused_and_do_no_harm() {
    for name in ["define-full", "forget", "call", "call-full"] {
        let frame = golden(name);
        let body = &frame[4..];
        for length in 0..body.len() {
            assert!(decode::<FromGovernor<'_>>(&body[..length]).is_err(), "{name}: {length}");
        }
        for at in 0..body.len() {
            for byte in [0x00, 0x7f, 0x80, 0x9f, 0xbf, 0xc0, 0xc1, 0xc6, 0xcf, 0xd3, 0xdb, 0xdd, 0xdf, 0xff] {
                let mut bad = body.to_vec();
                bad[at] = byte;
                // What it says does not matter.
                let _ = decode::<FromGovernor<'_>>(&bad);
            }
        }
    }
}
