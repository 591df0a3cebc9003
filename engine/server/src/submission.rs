//! A submit as it comes from a client, before it is checked.

use rain_model::graph::{Column, ColumnError, DataType, Kind, OutputSpec, decode_column};
use rain_model::id::{ObjectIndex, TaskIndex};
use rain_model::resources::{Amount, CPUS, Request, check_alternatives};
use rain_protocol::client::{RequestError, Submit};
use rain_protocol::cut::quoted;
use rain_protocol::resources::{WireAmount, WireRequest};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Says what is wrong with a built-in task, from its kind, its configuration and the number of its inputs.
pub type CheckTask = fn(&Kind, &[u8], usize) -> Result<(), String>;

/// A submit in memory; `D` is how the driver holds content.
#[derive(Debug)]
pub struct Submission<D> {
    pub kinds: Vec<Kind>,
    pub count: u32,
    pub kind: Column,
    pub input_count: Column,
    pub inputs: Arc<[ObjectIndex]>,
    pub first_output: Column,
    pub configs: Arc<[serde_bytes::ByteBuf]>,
    pub config: Column,
    pub user: BTreeMap<TaskIndex, String>,
    pub constants: Vec<NewConstant<D>>,
    pub keep: Vec<ObjectIndex>,
}

/// An object whose content comes with the submit.
#[derive(Debug)]
pub struct NewConstant<D> {
    pub object: ObjectIndex,
    pub content_type: Option<String>,
    /// Bytes.
    pub size: u64,
    pub data: D,
}

impl<D> Submission<D> {
    /// Reads the columns of a wire submit. `content` turns the content of a constant into what the driver holds:
    /// object, data type, content type, bytes (`None`: uploaded before) → size in bytes and handle.
    ///
    /// # Errors
    /// What does not have the form that `docs/protocol.md` asks for, and the errors of `content`.
    pub fn from_wire(
        wire: Submit,
        mut content: impl FnMut(ObjectIndex, DataType, Option<&str>, Option<Vec<u8>>) -> Result<(u64, D), String>,
    ) -> Result<Self, RequestError> {
        let rows = wire.count as usize;
        let column = |name: &str, bytes: &[u8]| {
            if rows == 0 && bytes.is_empty() {
                return Ok(Column::Same(0));
            }
            Column::from_bytes(bytes, rows).map_err(|e| bad_column(name, &e))
        };
        let kinds = wire.kinds.into_iter().map(kind_from_wire).collect::<Result<Vec<Kind>, RequestError>>()?;
        let mut constants = Vec::with_capacity(wire.consts.len());
        for constant in wire.consts {
            let object = constant.0;
            let data_type = data_type(constant.1)?;
            let (size, data) = content(object, data_type, constant.2.as_deref(), constant.3.map(|b| b.into_vec()))
                .map_err(|why| RequestError::request(format!("constant object {object}: {why}")))?;
            constants.push(NewConstant { object, content_type: constant.2, size, data });
        }
        Ok(Self {
            kinds,
            count: wire.count,
            kind: column("kind", &wire.kind)?,
            input_count: column("input_count", &wire.input_count)?,
            inputs: decode_column(&wire.inputs).map_err(|e| bad_column("inputs", &e))?,
            first_output: column("first_output", &wire.first_output)?,
            configs: wire.configs.into(),
            config: column("config", &wire.config)?,
            user: wire.user,
            constants,
            keep: decode_column(&wire.keep).map_err(|e| bad_column("keep", &e))?,
        })
    }
}

fn bad_column(name: &str, error: &ColumnError) -> RequestError {
    RequestError::request(format!("submit: {name}: {error}"))
}

fn data_type(code: u8) -> Result<DataType, RequestError> {
    DataType::from_code(code).ok_or_else(|| RequestError::request(format!("submit: unknown data type {code}")))
}

fn kind_from_wire(wire: rain_protocol::client::WireKind) -> Result<Kind, RequestError> {
    let outputs = wire
        .outputs
        .into_iter()
        .map(|output| Ok(OutputSpec { data_type: data_type(output.1)?, label: output.0, content_type: output.2 }))
        .collect::<Result<_, RequestError>>()?;
    let timeout = wire
        .timeout
        .map(|seconds| {
            Duration::try_from_secs_f64(seconds).ok().filter(|timeout| !timeout.is_zero()).ok_or_else(|| {
                RequestError::request(format!("submit: a timeout of {seconds} s is not a positive time"))
            })
        })
        .transpose()?;
    let (cpus, resources) = resources_from_wire(wire.cpus, wire.resources)?;
    Ok(Kind {
        task_type: wire.task_type,
        cpus,
        name: wire.name,
        config: wire.config.into_vec(),
        inputs: wire.inputs,
        outputs,
        retries: wire.retries,
        timeout,
        priority: wire.priority,
        process: wire.process,
        resources,
    })
}

/// The least number of cpus of all alternatives, and these.
fn resources_from_wire(cpus: u32, wire: Vec<WireRequest>) -> Result<(u32, Vec<Request>), RequestError> {
    let refuse = |why: String| Err(RequestError::request(format!("submit refused: {why}")));
    let mut alternatives = Vec::with_capacity(wire.len());
    for WireRequest(pairs) in wire {
        let mut request = Request { cpus, amounts: BTreeMap::new() };
        for (name, WireAmount(number)) in pairs {
            if name == CPUS {
                let is_count = number.fract() == 0.0 && (1.0..=f64::from(u32::MAX)).contains(&number);
                if !is_count {
                    return refuse(format!("a task takes a whole number of cpus, 1 at least, not {number}"));
                }
                request.cpus = number as u32;
                continue;
            }
            let Some(amount) = Amount::from_number(number) else {
                return refuse(format!("there cannot be {number} of the resource {}", quoted(&name)));
            };
            if request.amounts.insert(name.clone(), amount).is_some() {
                return refuse(format!("the resource {} is said twice", quoted(&name)));
            }
        }
        alternatives.push(request);
    }
    check_alternatives(&alternatives).map_err(|error| RequestError::request(format!("submit refused: {error}")))?;
    let cpus = alternatives.iter().map(|request| request.cpus).min().unwrap_or(cpus);
    if alternatives.iter().all(|request| request.amounts.is_empty() && request.cpus == cpus) {
        // As a task that asks for cpus alone.
        alternatives.clear();
    }
    Ok((cpus, alternatives))
}
