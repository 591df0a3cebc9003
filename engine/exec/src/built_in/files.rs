//! Blobs from and to files, and blobs put together.

use super::one_output;
use crate::call::{Outputs, Stop, TaskCall};
use rain_core::graph::DataType;
use rain_data::{INLINE_BYTES_MAX, Object, export};
use std::io;
use std::path::Path;

/// Puts blobs together.
pub(super) fn concat(call: &TaskCall<'_>) -> Outputs {
    let mut size = 0;
    for (number, input) in call.inputs.iter().enumerate() {
        if input.data_type() != DataType::Blob {
            return Err(format!("buildin/concat takes blobs, but input {number} is a directory").into());
        }
        size += input.size();
    }
    if size <= INLINE_BYTES_MAX as u64 {
        let mut bytes = Vec::with_capacity(size as usize);
        for input in call.inputs {
            bytes.extend_from_slice(&input.contents()?);
        }
        return one_output(call, Object::inline(bytes, None));
    }
    let mut file = call.store.new_file()?;
    for input in call.inputs {
        match (input.inline_bytes(), input.file_path()) {
            (None, Some(path)) => file.append_file(path)?,
            _ => file.write_all(&input.contents()?)?,
        }
        if (call.cancelled)() {
            return Err(Stop::Cancelled);
        }
    }
    one_output(call, file.finish()?)
}

/// Copies a file in.
pub(super) fn load(call: &TaskCall<'_>, path: &Path) -> Outputs {
    let object = call.store.copy_file_in(path).map_err(|error| match error.kind() {
        io::ErrorKind::IsADirectory => format!("cannot load {}: it is a directory, use load_dir", path.display()),
        _ => format!("cannot load {}: {error}", path.display()),
    })?;
    one_output(call, object)
}

/// Writes an object to a place outside of the store: whole, or not at all.
pub(super) fn store(call: &TaskCall<'_>, path: &Path) -> Outputs {
    match export(&call.inputs[0], call.store, path) {
        Ok(()) => Ok(Vec::new()),
        Err(error) => Err(Stop::Failed(format!("cannot store to {}: {error}", path.display()))),
    }
}
