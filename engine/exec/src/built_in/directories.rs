//! Directories made, loaded and cut up.

use super::config::shown;
use super::plan::Slice;
use crate::call::{Outputs, TaskCall, one_output, pass_on};
use rain_data::FileCopy;
use rain_model::graph::DataType;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Copies a directory in.
pub(super) fn load_dir(call: &TaskCall<'_>, path: &Path) -> Outputs {
    let wrong = |why: &dyn std::fmt::Display| format!("cannot load {}: {why}", shown(path));
    match fs::metadata(path) {
        Err(error) => return Err(wrong(&error).into()),
        Ok(metadata) if !metadata.is_dir() => return Err(wrong(&"it is a file, use load").into()),
        Ok(_) => {}
    }
    let object = call.store.copy_dir_in(path, FileCopy::Copy).map_err(|error| wrong(&error))?;
    one_output(call, object)
}

/// Puts objects together in a directory.
pub(super) fn make_directory(call: &TaskCall<'_>, paths: &[PathBuf]) -> Outputs {
    let inputs = || paths.iter().zip(call.inputs);
    let base = inputs().find(|(path, _)| path.as_os_str().is_empty()).map(|(_, input)| input);
    if base.is_some_and(|input| input.data_type() != DataType::Directory) {
        return Err("buildin/make_directory: what is to be the directory itself is a blob".to_owned().into());
    }
    let object = call.store.build_dir(|root| {
        if let Some(base) = base {
            fs::remove_dir(root)?;
            base.copy_out(call.store, root, FileCopy::Link)?;
        }
        for (path, input) in inputs().filter(|(path, _)| !path.as_os_str().is_empty()) {
            let target = root.join(path);
            if base.is_some() && fs::symlink_metadata(&target).is_ok() {
                let text = format!("{} is in the directory already that the others are put into", shown(path));
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
            }
            if let Some(parent) = target.parent() {
                fs::create_dir_all(parent)?;
            }
            // Files of the store never change, so another name is as good as a copy.
            input.copy_out(call.store, &target, FileCopy::Link)?;
        }
        Ok(())
    })?;
    one_output(call, object)
}

/// Takes a file or a directory out of a directory.
pub(super) fn slice_directory(call: &TaskCall<'_>, slice: &Slice<'_>) -> Outputs {
    let input = &call.inputs[0];
    if input.data_type() != DataType::Directory {
        return Err("buildin/slice_directory takes a directory, but its input is a blob".to_owned().into());
    }
    if slice.path.as_os_str().is_empty() {
        return Ok(vec![pass_on(input, &call.kind().outputs[0], None, None)?]);
    }
    let wrong = |why: &dyn std::fmt::Display| format!("cannot take {:?} from the directory: {why}", slice.text);
    let path = input.path(call.store)?.join(&slice.path);
    let metadata = fs::metadata(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => wrong(&"there is no such entry"),
        _ => wrong(&error),
    })?;
    let object = match (metadata.is_dir(), slice.data_type) {
        (true, DataType::Directory) => call.store.copy_dir_in(&path, FileCopy::Link),
        (false, DataType::Blob) => call.store.copy_file_in(&path),
        (true, DataType::Blob) => return Err(wrong(&"it is a directory; end the path with '/' to take it").into()),
        (false, DataType::Directory) => return Err(wrong(&"it is a file; take the '/' off its path").into()),
    };
    one_output(call, object.map_err(|error| wrong(&error))?)
}
