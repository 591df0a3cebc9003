//! What a task reads.

use crate::attributes;
use crate::error::Error;
use crate::messages::{CallInput, DataType, Source};
use crate::plain::{self, Plain};
use crate::workspace::{Workspace, file_error};
use memmap2::Mmap;
use serde::de::DeserializeOwned;
use std::borrow::Cow;
use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::mem::size_of;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// An input of a task. Large contents are mapped into memory when they are first asked for, and never copied.
#[derive(Debug)]
pub struct Input<'a> {
    message: CallInput<'a>,
    number: usize,
    label: Option<&'a str>,
    workspace: &'a Workspace,
    map: OnceLock<Arc<Mmap>>,
    path: OnceLock<PathBuf>,
}

impl<'a> Input<'a> {
    pub(crate) fn new(message: CallInput<'a>, number: usize, label: Option<&'a str>, workspace: &'a Workspace) -> Self {
        let label = label.filter(|label| !label.is_empty());
        Self { message, number, label, workspace, map: OnceLock::new(), path: OnceLock::new() }
    }

    /// The content of a blob.
    ///
    /// # Errors
    /// If it is a directory, or the file cannot be mapped.
    pub fn bytes(&self) -> Result<&[u8], Error> {
        let path = match self.message.0 {
            Source::Inline(bytes) => return Ok(bytes),
            Source::Path(_) if self.is_directory() => return Err(Error::IsDirectory(self.number)),
            Source::Path(path) => path,
        };
        if self.map.get().is_none() {
            let map = self.workspace.map_input(Path::new(path), self.object_id())?;
            // Another thread may have been faster; both maps are of the same file.
            let _ = self.map.set(map);
        }
        Ok(self.map.get().map_or(&[], |map| &map[..]))
    }

    /// The content of a blob of UTF-8 text.
    ///
    /// # Errors
    /// As [`Input::bytes`], and if it is not UTF-8.
    pub fn text(&self) -> Result<&str, Error> {
        std::str::from_utf8(self.bytes()?).map_err(|error| Error::NotText { number: self.number, error })
    }

    /// The content of a blob as numbers in the machine's own format. Nothing is copied but a small content that is not
    /// aligned for `T`.
    ///
    /// # Errors
    /// As [`Input::bytes`], and if it is not a whole number of values.
    pub fn values<T: Plain>(&self) -> Result<Cow<'_, [T]>, Error> {
        let bytes = self.bytes()?;
        plain::values(bytes).ok_or(Error::NotValues {
            number: self.number,
            bytes: bytes.len(),
            value_bytes: size_of::<T>(),
        })
    }

    /// A read-only file or directory with the content. A small blob is written there first.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn path(&self) -> Result<&Path, Error> {
        let bytes = match self.message.0 {
            Source::Path(path) => return Ok(Path::new(path)),
            Source::Inline(bytes) => bytes,
        };
        if self.path.get().is_none() {
            // As files of large inputs are: not to be written.
            let (path, mut file) = self.workspace.new_file(0o400)?;
            file.write_all(bytes).map_err(file_error(&path))?;
            // Another thread may have been faster; both files are removed after the call.
            let _ = self.path.set(path);
        }
        Ok(self.path.get().map_or(Path::new(""), PathBuf::as_path))
    }

    /// Bytes of a blob; for a directory the sum of its files.
    pub fn len(&self) -> u64 {
        self.message.3
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Blob or directory.
    pub fn data_type(&self) -> DataType {
        self.message.2
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.data_type() == DataType::Directory
    }

    /// The content type, if it has one.
    pub fn content_type(&self) -> Option<&'a str> {
        self.message.1
    }

    /// The label that the client gave it, if any.
    pub fn label(&self) -> Option<&'a str> {
        self.label
    }

    /// Its place among the inputs.
    pub fn number(&self) -> usize {
        self.number
    }

    /// The number of the data object in its session.
    pub fn object_id(&self) -> u32 {
        self.message.4
    }

    /// `info.user` of the data object as JSON text.
    pub fn user_json(&self) -> Option<&'a str> {
        self.message.5
    }

    /// `info.user` of the data object.
    ///
    /// # Errors
    /// If it is not a `T`.
    pub fn user<T: DeserializeOwned>(&self) -> Result<Option<T>, Error> {
        self.user_json().map(attributes::from_json).transpose()
    }
}

/// The real paths of a call's inputs.
pub(crate) struct InputPaths<'i, 'a> {
    inputs: &'i [Input<'a>],
    numbers: OnceLock<HashMap<PathBuf, usize>>,
}

impl<'i, 'a> InputPaths<'i, 'a> {
    pub(crate) fn new(inputs: &'i [Input<'a>]) -> Self {
        Self { inputs, numbers: OnceLock::new() }
    }

    /// The number of the input whose file or directory is at this real path.
    ///
    /// # Errors
    /// If a small input was written to a file there, which then was changed: that change would be lost.
    pub(crate) fn number_at(&self, real: &Path) -> Result<Option<usize>, Error> {
        let Some(number) = self.numbers.get_or_init(|| self.real_paths()).get(real).copied() else { return Ok(None) };
        match self.inputs[number].message.0 {
            Source::Inline(bytes) if fs::read(real).map_err(file_error(real))? != bytes => {
                Err(Error::InputChanged { number, path: real.to_owned() })
            }
            _ => Ok(Some(number)),
        }
    }

    fn real_paths(&self) -> HashMap<PathBuf, usize> {
        let mut numbers = HashMap::new();
        for (number, input) in self.inputs.iter().enumerate() {
            let path = match input.message.0 {
                Source::Path(path) => Path::new(path).canonicalize().ok(),
                // Its directory has no links in its path.
                Source::Inline(_) => input.path.get().cloned(),
            };
            if let Some(path) = path {
                numbers.entry(path).or_insert(number);
            }
        }
        numbers
    }
}
