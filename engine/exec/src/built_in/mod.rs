//! Tasks that a governor runs itself.

mod config;
mod directories;
mod execute;
mod files;
mod plan;
mod sleep;

use crate::call::{Outputs, TaskCall, TaskOutcome};
use crate::inputs::check_before;
use plan::Plan;
use rain_data::Object;
use rain_model::graph::Kind;
use std::sync::Arc;

/// Bytes that are copied in well under a millisecond.
const QUICK_COPY_BYTES: u64 = 1 << 20;

/// Runs a `buildin/…` task on this thread.
pub fn run_built_in(call: &TaskCall<'_>) -> TaskOutcome {
    let plan = match Plan::parse(call.kind(), call.config(), call.inputs.len()) {
        Ok(plan) => plan,
        Err(message) => return Outputs::Err(message.into()).into(),
    };
    let reads_in_place = !matches!(plan, Plan::Noop | Plan::Sleep(_) | Plan::Concat);
    if reads_in_place && let Err(message) = check_before(call.inputs) {
        return Outputs::Err(message.into()).into();
    }
    match plan {
        Plan::Noop => noop(call),
        Plan::Concat => files::concat(call),
        Plan::Load(path) => files::load(call, path),
        Plan::LoadDir(path) => directories::load_dir(call, path),
        Plan::Store(path) => files::store(call, path),
        Plan::Sleep(duration) => sleep::sleep(call, duration),
        Plan::MakeDirectory(paths) => directories::make_directory(call, &paths),
        Plan::SliceDirectory(slice) => directories::slice_directory(call, &slice),
        Plan::Execute(mut program) => {
            program.add_variables(call.environment);
            return execute::execute(call, &program);
        }
    }
    .into()
}

/// Whether running the task may take long, a millisecond or more.
pub fn may_block(call: &TaskCall<'_>) -> bool {
    match call.kind().method() {
        "noop" => false,
        "concat" => call.inputs.iter().map(|input| input.size()).sum::<u64>() > QUICK_COPY_BYTES,
        "sleep" => !matches!(
            Plan::parse(call.kind(), call.config(), call.inputs.len()),
            Ok(Plan::Sleep(duration)) if duration.is_zero()
        ),
        _ => true,
    }
}

/// Says what is wrong with the configuration or the number of inputs or outputs of a `buildin/…` task, as far as that can
/// be said before its inputs are there. Running the task makes the same checks.
pub fn check_built_in(kind: &Kind, config: &[u8], inputs: usize) -> Result<(), String> {
    Plan::parse(kind, config, inputs).map(drop)
}

fn noop(call: &TaskCall<'_>) -> Outputs {
    let empty = |content_type: Option<&str>| Arc::new(Object::inline(Vec::new(), content_type));
    Ok(call.kind().outputs.iter().map(|output| empty(output.content_type.as_deref())).collect())
}
