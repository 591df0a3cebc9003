//! Blobs from and to files, and blobs put together.

use super::config::shown;
use crate::call::{Outputs, Stop, TaskCall, one_output};
use crate::inputs::unreadable;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rain_data::{INLINE_BYTES_MAX, export};
use rain_model::graph::DataType;
use std::cell::Cell;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;

/// Between two tries to write to a named pipe that nobody reads, milliseconds.
const READER_WAIT_MS: u8 = 10;

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
        for (number, input) in call.inputs.iter().enumerate() {
            bytes.extend_from_slice(&input.contents().map_err(|error| unreadable(number, &error))?);
        }
        return one_output(call, call.store.blob(bytes, None)?);
    }
    let mut file = call.store.new_file()?;
    for (number, input) in call.inputs.iter().enumerate() {
        match input.inline_bytes() {
            Some(bytes) => file.write_all(bytes)?,
            None => {
                let wrong = |error| unreadable(number, &error);
                file.append_file(&input.open(call.store).map_err(wrong)?)?;
                input.check().map_err(wrong)?;
            }
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
        io::ErrorKind::IsADirectory => format!("cannot load {}: it is a directory, use load_dir", shown(path)),
        _ => format!("cannot load {}: {error}", shown(path)),
    })?;
    one_output(call, object)
}

/// Writes an object to a place outside of the store.
pub(super) fn store(call: &TaskCall<'_>, path: &Path) -> Outputs {
    let stopped = Cell::new(false);
    let wait = |target: Option<BorrowedFd<'_>>| {
        let mut fds = vec![PollFd::new(call.interrupt.fd(), PollFlags::POLLIN)];
        fds.extend(target.map(|target| PollFd::new(target, PollFlags::POLLOUT)));
        let timeout = if target.is_some() { PollTimeout::NONE } else { PollTimeout::from(READER_WAIT_MS) };
        // When it fails, it is called again.
        let _ = poll(&mut fds, timeout);
        stopped.set(fds[0].any().unwrap_or(false) && call.interrupted());
        !stopped.get()
    };
    match export(&call.inputs[0], call.store, path, &wait) {
        Ok(()) => Ok(Vec::new()),
        Err(_) if stopped.get() => Err(Stop::Cancelled),
        Err(error) => Err(Stop::Failed(format!("cannot store to {}: {error}", shown(path)))),
    }
}
