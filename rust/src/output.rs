//! What a task makes.

use crate::attributes;
use crate::error::Error;
use crate::input::{Input, InputPaths};
use crate::messages::{CallOutput, DataType, INLINE_BYTES_MAX, OutputSource, OutputSpec};
use crate::plain::{self, Plain};
use crate::workspace::{Workspace, file_error};
use memmap2::MmapMut;
use serde::Serialize;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::mem::size_of;
use std::path::{Path, PathBuf};

#[derive(Debug, Default)]
enum Content {
    #[default]
    None,
    Memory(Vec<u8>),
    /// What was written had no place in a message any more.
    Written(PathBuf, BufWriter<File>),
    InPlace(PathBuf, Option<MmapMut>),
    Path(PathBuf),
    Input(u32),
}

/// An output of a task, as the client declared it: a blob that is written as to a file ([`Write`]) or set at once, or a
/// directory. A blob to which nothing was written is empty.
#[derive(Debug)]
pub struct Output {
    spec: OutputSpec,
    content: Content,
    content_type: Option<String>,
    user: Option<String>,
    workspace: Workspace,
}

impl Output {
    pub(crate) fn new(spec: OutputSpec, workspace: Workspace) -> Self {
        Self { spec, content: Content::None, content_type: None, user: None, workspace }
    }

    /// The label that the client gave it; may be empty.
    pub fn label(&self) -> &str {
        &self.spec.0
    }

    /// What it was declared as.
    pub fn data_type(&self) -> DataType {
        self.spec.1
    }

    /// The content type that was declared, if any.
    pub fn declared_content_type(&self) -> Option<&str> {
        self.spec.2.as_deref()
    }

    /// Says of what type the content is; it has to be a sub-type of the declared one.
    pub fn set_content_type(&mut self, content_type: impl Into<String>) {
        self.content_type = Some(content_type.into());
    }

    /// Sets `info.user` of the data object to anything whose JSON form is an object: a structure, a map,
    /// `serde_json::json!({...})`.
    ///
    /// # Errors
    /// If its JSON form is anything else.
    pub fn set_user<T: Serialize + ?Sized>(&mut self, user: &T) -> Result<(), Error> {
        self.user = Some(attributes::to_json(user)?);
        Ok(())
    }

    /// Makes these bytes the content, instead of what was written before.
    pub fn set_bytes(&mut self, bytes: impl Into<Vec<u8>>) {
        self.content = Content::Memory(bytes.into());
    }

    /// Makes the content a file of `size` bytes, which is mapped into memory to be written in place.
    ///
    /// # Errors
    /// If there is no space for it.
    pub fn create(&mut self, size: usize) -> Result<&mut [u8], Error> {
        let (path, file) = self.workspace.new_file(0o600)?;
        allocate(&file, size).map_err(file_error(&path))?;
        let map = if size == 0 {
            None
        } else {
            // SAFETY: the file is new and known to nobody else.
            Some(unsafe { MmapMut::map_mut(&file) }.map_err(file_error(&path))?)
        };
        self.content = Content::InPlace(path, map);
        match &mut self.content {
            Content::InPlace(_, Some(map)) => Ok(&mut map[..]),
            _ => Ok(&mut []),
        }
    }

    /// As [`Output::create`], for `count` numbers in the machine's own format.
    ///
    /// # Errors
    /// If there is no space for them.
    pub fn create_values<T: Plain>(&mut self, count: usize) -> Result<&mut [T], Error> {
        self.create(count.saturating_mul(size_of::<T>())).map(plain::values_mut)
    }

    /// Makes the output a new directory, which is to be filled.
    ///
    /// # Errors
    /// If it was not declared as a directory.
    pub fn create_directory(&mut self) -> Result<PathBuf, Error> {
        self.check(DataType::Directory)?;
        let path = self.workspace.new_directory()?;
        self.content = Content::Path(path.clone());
        Ok(path)
    }

    /// Uses an existing file or directory of the working directory as the output; it is moved away after the task. The
    /// path of an input passes that input on and leaves its file alone.
    ///
    /// One that is elsewhere fails the task at its end, as it is nobody's to take: copy it to a
    /// [`new_path`](crate::Context::new_path) first.
    ///
    /// # Errors
    /// If there is none, or it is not what was declared.
    pub fn set_path(&mut self, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = path.as_ref();
        let is_dir = path.metadata().map_err(file_error(path))?.is_dir();
        self.check(if is_dir { DataType::Directory } else { DataType::Blob })?;
        self.content = Content::Path(std::path::absolute(path).map_err(file_error(path))?);
        Ok(())
    }

    /// Passes an input on as it is, without a copy.
    ///
    /// # Errors
    /// If it is not of the declared data type.
    pub fn pass_on(&mut self, input: &Input<'_>) -> Result<(), Error> {
        self.check(input.data_type())?;
        self.content = Content::Input(input.number() as u32);
        Ok(())
    }

    fn check(&self, data_type: DataType) -> Result<(), Error> {
        let declared = match self.data_type() {
            declared if declared == data_type => return Ok(()),
            DataType::Blob => "blob",
            DataType::Directory => "directory",
        };
        Err(Error::WrongDataType { label: self.spec.0.clone(), declared })
    }

    /// As the answer has it. `inline_left`: how many bytes may still be in the message itself.
    pub(crate) fn finish(self, inputs: &InputPaths<'_, '_>, inline_left: &mut usize) -> Result<CallOutput, Error> {
        let content_bytes = !matches!(self.content, Content::Path(_) | Content::Input(_));
        if content_bytes && self.spec.1 == DataType::Directory {
            return Err(match self.content {
                Content::None => Error::NotMade(self.spec.0),
                _ => Error::WrongDataType { label: self.spec.0, declared: "directory" },
            });
        }
        let source = match self.content {
            Content::None => OutputSource::Inline(Vec::new()),
            Content::Memory(bytes) if bytes.len() <= INLINE_BYTES_MAX.min(*inline_left) => {
                *inline_left -= bytes.len();
                OutputSource::Inline(bytes)
            }
            Content::Memory(bytes) => {
                let (path, mut file) = self.workspace.new_file(0o600)?;
                file.write_all(&bytes).map_err(file_error(&path))?;
                taken(&self.workspace, path)?
            }
            Content::Written(path, mut file) => {
                file.flush().map_err(file_error(&path))?;
                taken(&self.workspace, path)?
            }
            Content::InPlace(path, _) => taken(&self.workspace, path)?,
            Content::Path(path) => {
                let real = path.canonicalize().map_err(file_error(&path))?;
                match inputs.number_at(&real)? {
                    Some(number) => OutputSource::Input(number as u32),
                    None => taken(&self.workspace, real)?,
                }
            }
            Content::Input(number) => OutputSource::Input(number),
        };
        Ok(CallOutput(source, self.content_type, self.user))
    }
}

fn taken(workspace: &Workspace, real: PathBuf) -> Result<OutputSource, Error> {
    workspace.take(&real)?;
    match real.into_os_string().into_string() {
        Ok(path) => Ok(OutputSource::Path(path)),
        Err(path) => Err(Error::File {
            path: path.into(),
            error: io::Error::new(io::ErrorKind::InvalidInput, "the path is not UTF-8"),
        }),
    }
}

/// Gives a file its size and its space now, so that writing to the mapping cannot meet a full file system.
fn allocate(file: &File, size: usize) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let size = libc::off_t::try_from(size).map_err(|_| io::ErrorKind::FileTooLarge)?;
    if size == 0 {
        return Ok(());
    }
    // SAFETY: a plain call on a file that is open.
    match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, size) } {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

impl Write for Output {
    /// Appends to what was written or given to [`Output::set_bytes`]. Fails if the content was made by
    /// [`create`](Output::create), [`create_directory`](Output::create_directory), [`set_path`](Output::set_path) or
    /// [`pass_on`](Output::pass_on). What is past 64 KiB goes to a file through a buffer: an error of that file may come at a
    /// later write, or fails the task at its end.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if matches!(self.content, Content::None) {
            self.content = Content::Memory(Vec::new());
        }
        if let Content::Memory(content) = &mut self.content
            && content.len() + bytes.len() > INLINE_BYTES_MAX
        {
            let (path, mut file) = self.workspace.new_file(0o600).map_err(io::Error::other)?;
            file.write_all(content)?;
            self.content = Content::Written(path, BufWriter::with_capacity(INLINE_BYTES_MAX, file));
        }
        match &mut self.content {
            Content::Memory(content) => content.write(bytes),
            Content::Written(_, file) => file.write(bytes),
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "this output was not made by writing")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.content {
            Content::Written(_, file) => file.flush(),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Content, Output};
    use crate::input::InputPaths;
    use crate::messages::{DataType, OutputSpec};
    use crate::workspace::Workspace;
    use std::fs::File;
    use std::io::{BufWriter, Write};

    #[test]
    fn an_error_of_the_last_bytes_is_reported() {
        let directory = tempfile::tempdir().unwrap();
        let workspace = Workspace::new(directory.path()).unwrap();
        let mut output = Output::new(OutputSpec("output".into(), DataType::Blob, None), workspace.clone());
        let (path, _) = workspace.new_file(0o600).unwrap();
        // Opened to be read, so that nothing can be written.
        let file = File::open(&path).unwrap();
        output.content = Content::Written(path.clone(), BufWriter::new(file));
        output.write_all(b"kept in the buffer").unwrap();
        let error = output.finish(&InputPaths::new(&[]), &mut 0).unwrap_err().to_string();
        assert!(error.starts_with(path.to_str().unwrap()), "{error}");
    }
}
