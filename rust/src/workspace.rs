//! The executor's private directory, and the files of the inputs that are in memory.

use crate::error::Error;
use memmap2::Mmap;
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Debug)]
struct MappedInput {
    path: PathBuf,
    session: u32,
    object: u32,
    used_in_call: u64,
    map: Arc<Mmap>,
}

#[derive(Debug, Default)]
struct State {
    paths: u64,
    calls: u64,
    session: u32,
    mapped_in_call: bool,
    inputs: Vec<MappedInput>,
    /// Paths that were given out in this call, and whether they became outputs.
    made: HashMap<PathBuf, bool>,
}

/// A handle; clones are of the same directory.
#[derive(Debug, Clone)]
pub(crate) struct Workspace {
    directory: Arc<PathBuf>,
    state: Arc<Mutex<State>>,
}

pub(crate) fn file_error(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |error| Error::File { path, error }
}

fn remove_quietly(path: &Path) {
    // What cannot be removed now goes with the directory of the executor.
    let is_dir = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
    let _ = if is_dir { fs::remove_dir_all(path) } else { fs::remove_file(path) };
}

impl Workspace {
    /// Links in the path of `directory` are followed once, here.
    pub(crate) fn new(directory: &Path) -> io::Result<Self> {
        Ok(Self { directory: Arc::new(directory.canonicalize()?), state: Arc::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here is left half done by a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until `end_call`, a call of this session runs.
    pub(crate) fn begin_call(&self, session: u32) {
        let mut state = self.state();
        state.calls += 1;
        state.session = session;
        state.mapped_in_call = false;
    }

    /// Removes what was made and did not become an output, or all of it.
    pub(crate) fn end_call(&self, outputs_were_taken: bool) {
        let mut state = self.state();
        for (path, taken) in state.made.drain() {
            if !taken || !outputs_were_taken {
                remove_quietly(&path);
            }
        }
    }

    /// Lets go of inputs that the last call did not use, if it mapped others. That takes time: after the answer.
    pub(crate) fn drop_old_inputs(&self) {
        let mut state = self.state();
        // The next task often reads the same large inputs, so the last ones stay.
        if std::mem::take(&mut state.mapped_in_call) {
            let call = state.calls;
            state.inputs.retain(|input| input.used_in_call == call);
        }
    }

    /// Lets go of inputs that are still in memory.
    pub(crate) fn forget_inputs(&self) {
        self.state().inputs.clear();
    }

    pub(crate) fn new_path(&self) -> PathBuf {
        let mut state = self.state();
        state.paths += 1;
        let path = self.directory.join(format!("out-{}", state.paths));
        state.made.insert(path.clone(), false);
        path
    }

    pub(crate) fn new_file(&self, mode: u32) -> Result<(PathBuf, File), Error> {
        let path = self.new_path();
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(mode).open(&path);
        let file = file.map_err(file_error(&path))?;
        Ok((path, file))
    }

    pub(crate) fn new_directory(&self) -> Result<PathBuf, Error> {
        let path = self.new_path();
        fs::create_dir(&path).map_err(file_error(&path))?;
        Ok(path)
    }

    /// The content of an input's file; stays in memory as long as calls use it.
    pub(crate) fn map_input(&self, path: &Path, object: u32) -> Result<Arc<Mmap>, Error> {
        let mut state = self.state();
        let (call, session) = (state.calls, state.session);
        let known = state.inputs.iter_mut().find(|i| i.object == object && i.session == session && i.path == path);
        if let Some(input) = known {
            input.used_in_call = call;
            return Ok(input.map.clone());
        }
        let file = File::open(path).map_err(file_error(path))?;
        // SAFETY: data objects are immutable: the governor gives out files that nobody writes and that stay during the
        // call; a mapping that is kept longer keeps the file's content.
        let map = Arc::new(unsafe { Mmap::map(&file) }.map_err(file_error(path))?);
        state.mapped_in_call = true;
        state.inputs.push(MappedInput { path: path.into(), session, object, used_in_call: call, map: map.clone() });
        Ok(map)
    }

    /// Keeps what is at this real path after the call, as an output that the governor moves away.
    ///
    /// # Errors
    /// If it is not inside of the directory: then it is nobody's to take.
    pub(crate) fn take(&self, real: &Path) -> Result<(), Error> {
        if !real.starts_with(&*self.directory) || real == *self.directory {
            return Err(Error::NotInside { path: real.to_owned(), directory: self.directory.to_path_buf() });
        }
        self.state().made.insert(real.to_owned(), true);
        Ok(())
    }
}
