//! Inputs of tasks, which are files that tasks can reach: they are looked at before and after.

use rain_data::Object;
use std::fmt::Display;
use std::sync::Arc;

/// What is said of an input that cannot be given to a task.
pub(crate) fn unreadable(number: usize, why: &dyn Display) -> String {
    format!("input {number} cannot be read: {why}")
}

/// Makes sure that no input was changed since it was made.
pub(crate) fn check_before(inputs: &[Arc<Object>]) -> Result<(), String> {
    for (number, input) in inputs.iter().enumerate() {
        input.check().map_err(|error| unreadable(number, &error))?;
    }
    Ok(())
}

/// Makes sure that a task that has ended has not changed its inputs.
pub(crate) fn check_after(inputs: &[Arc<Object>]) -> Result<(), String> {
    match inputs.iter().position(|input| input.check().is_err()) {
        None => Ok(()),
        Some(number) => Err(format!(
            "input {number} was changed while this task ran: objects are immutable, and this one cannot be used any more; a program \
             may change a copy, which it gets with Input(..., write=True)"
        )),
    }
}
