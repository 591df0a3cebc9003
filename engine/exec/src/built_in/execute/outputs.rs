//! What a program has made.

use super::program::Program;
use super::sandbox::Sandbox;
use crate::call::{Outputs, TaskCall};
use rain_data::{FileCopy, NewFile, Object};
use rain_model::graph::{DataType, OutputSpec};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How many names a message about a missing output lists.
const LISTED_MAX: usize = 20;

/// Takes the outputs out of the sandbox.
pub(super) fn collect(
    call: &TaskCall<'_>,
    program: &Program<'_>,
    sandbox: &Sandbox,
    mut stdout: Option<NewFile<'_>>,
) -> Outputs {
    let mut outputs = vec![None; program.outputs.len()];
    for number in take_order(program, sandbox) {
        let spec = &call.kind().outputs[number];
        let object = match &program.outputs[number] {
            Some(path) => take_output(call, program, sandbox, path, spec)
                .map_err(|why| format!("output {:?} of program {}: {why}", spec.label, program.shown()))?,
            None => match stdout.take() {
                Some(file) => Arc::new(file.finish()?.with_content_type(spec.content_type.as_deref())),
                None => return Err("there is no standard output to take".to_owned().into()),
            },
        };
        outputs[number] = Some(object);
    }
    Ok(outputs.into_iter().flatten().collect())
}

/// Links come before what they may lead to is taken away.
fn take_order(program: &Program<'_>, sandbox: &Sandbox) -> Vec<usize> {
    let mut order: Vec<usize> = (0..program.outputs.len()).collect();
    if order.len() > 1 {
        let is_link = |path: &Path| fs::symlink_metadata(sandbox.path().join(path)).is_ok_and(|m| m.is_symlink());
        order.sort_by_cached_key(|number| !program.outputs[*number].as_deref().is_some_and(is_link));
    }
    order
}

fn take_output(
    call: &TaskCall<'_>,
    program: &Program<'_>,
    sandbox: &Sandbox,
    path: &Path,
    spec: &OutputSpec,
) -> Result<Arc<Object>, String> {
    let shown = path.display();
    let full = sandbox.path().join(path);
    let metadata = match fs::symlink_metadata(&full) {
        Ok(metadata) => metadata,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Err(format!("there is no '{shown}'; {}", listing(sandbox.path())));
        }
        Err(error) => return Err(format!("'{shown}': {error}")),
    };
    let content_type = spec.content_type.as_deref();
    // Both the entry and the directories above it may be links that the program made.
    if metadata.is_symlink() || path.components().count() > 1 {
        let real = full.canonicalize().map_err(|error| format!("'{shown}' is a link to nothing: {error}"))?;
        if let Some(input) = call.inputs.iter().find(|input| input.is_at(&real)) {
            crate::call::check_data_type(input, spec)?;
            return Ok(input.with_metadata(content_type, input.user()));
        }
        if real != full {
            return copy_linked(call, sandbox, &real, spec).map_err(|why| format!("'{shown}' {why}"));
        }
    }
    check_type(metadata.is_dir(), spec).map_err(|why| format!("'{shown}' {why}"))?;
    let object = if metadata.is_dir() {
        let objects = own_inputs_inside(call, program, sandbox, path).map_err(|error| format!("'{shown}': {error}"))?;
        call.store.adopt_dir(&full, &objects)
    } else {
        call.store.adopt_file(&full)
    };
    let object = object.map_err(|error| format!("'{shown}': {error}"))?;
    Ok(Arc::new(object.with_content_type(content_type)))
}

fn check_type(is_dir: bool, spec: &OutputSpec) -> Result<(), &'static str> {
    match (is_dir, spec.data_type) {
        (true, DataType::Blob) => Err("is a directory, but a file was declared"),
        (false, DataType::Directory) => Err("is a file, but a directory was declared"),
        _ => Ok(()),
    }
}

/// An object with the content that a link leads to: something in the sandbox or in an input.
fn copy_linked(call: &TaskCall<'_>, sandbox: &Sandbox, real: &Path, spec: &OutputSpec) -> Result<Arc<Object>, String> {
    let in_input = call.inputs.iter().any(|input| real.ancestors().any(|above| input.is_at(above)));
    if !in_input && (!real.starts_with(sandbox.path()) || real == sandbox.path()) {
        return Err(format!("is a link to {}, which is outside of the task's directory", real.display()));
    }
    let is_dir = fs::metadata(real).map_err(|error| error.to_string())?.is_dir();
    check_type(is_dir, spec)?;
    let object = if is_dir { call.store.copy_dir_in(real, FileCopy::Copy) } else { call.store.copy_file_in(real) };
    let object = object.map_err(|error| format!(": {error}"))?;
    Ok(Arc::new(object.with_content_type(spec.content_type.as_deref())))
}

/// Replaces the links by which inputs were mapped into an output directory with their content; where that is.
fn own_inputs_inside(
    call: &TaskCall<'_>,
    program: &Program<'_>,
    sandbox: &Sandbox,
    output: &Path,
) -> io::Result<Vec<PathBuf>> {
    let mut objects = Vec::new();
    for number in &program.input_order {
        let Some(mapping) = &program.inputs[*number] else { continue };
        let full = sandbox.path().join(&mapping.path);
        if mapping.write || !mapping.path.starts_with(output) {
            continue;
        }
        let source = call.inputs[*number].path(call.store)?;
        if fs::read_link(&full).is_ok_and(|target| target == source) {
            fs::remove_file(&full)?;
            call.inputs[*number].copy_out(call.store, &full, FileCopy::Link)?;
            objects.push(full);
        }
    }
    Ok(objects)
}

fn listing(directory: &Path) -> String {
    let mut names = Vec::new();
    list(directory, Path::new(""), &mut names);
    if names.is_empty() {
        return "the program made no files".into();
    }
    names.sort();
    let more = if names.len() > LISTED_MAX { ", ..." } else { "" };
    names.truncate(LISTED_MAX);
    format!("there are: {}{more}", names.join(", "))
}

fn list(directory: &Path, name: &Path, names: &mut Vec<String>) {
    // What cannot be read is not listed: this is for a message about something else.
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        if names.len() > LISTED_MAX {
            return;
        }
        let name = name.join(entry.file_name());
        if entry.file_type().is_ok_and(|file_type| file_type.is_dir()) {
            names.push(format!("{}/", name.display()));
            list(&entry.path(), &name, names);
        } else {
            names.push(name.display().to_string());
        }
    }
}
