//! What the system sets limits to: the arguments and the environment that a program is started with.

use super::program::Program;
use nix::unistd::{SysconfVar, sysconf};
use rain_data::{ScratchDir, Store};
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;

/// Longest argument or variable, bytes: MAX_ARG_STRLEN of Linux, 32 pages with the final zero.
fn argument_bytes_max() -> usize {
    let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten().and_then(|bytes| usize::try_from(bytes).ok());
    32 * page.unwrap_or(4096) - 1
}

/// A command of the shell in a file, as it is too long for an argument. The file is outside of the program's directory.
pub(super) struct Script {
    pub(super) args: Vec<CString>,
    _directory: ScratchDir,
}

impl Script {
    /// A file in `store` for the command of `program`, if it needs one.
    pub(super) fn of(program: &Program<'_>, store: &Store) -> io::Result<Option<Self>> {
        let Some(command) = program.shell_command().filter(|command| command.len() > argument_bytes_max()) else {
            return Ok(None);
        };
        let directory = store.scratch_dir()?;
        let file = directory.path().join("command");
        fs::write(&file, command).map_err(|error| store.explain(error))?;
        // Read by a shell that was given a command, `$0` and `$#` are what they are for shorter ones.
        let mut read = b". '".to_vec();
        for byte in file.as_os_str().as_bytes() {
            match byte {
                b'\'' => read.extend(b"'\\''"),
                byte => read.push(*byte),
            }
        }
        read.push(b'\'');
        let mut args = program.args.clone();
        args.truncate(2);
        args.push(CString::new(read)?);
        Ok(Some(Self { args, _directory: directory }))
    }
}

/// Why the system takes neither the arguments nor the environment of a program, and what to do.
pub(super) fn why_too_long(program: &Program<'_>) -> String {
    const DO: &str = "write what is long into a file and give that to the program, as an input";
    let max = argument_bytes_max();
    let too_long = |length: &usize| *length > max;
    if let Some(number) = program.args.iter().position(|arg| too_long(&arg.count_bytes())) {
        let length = program.args[number].count_bytes();
        return format!(" (argument {number} has {length} bytes, and the system takes {max} in one at most: {DO})");
    }
    if let Some((name, length)) = program.environment.longest().filter(|(_, length)| too_long(length)) {
        return format!(
            " (the variable {:?} and its value have {length} bytes, and the system takes {max} at most: {DO})",
            name.to_string_lossy()
        );
    }
    let args: usize = program.args.iter().map(|arg| arg.count_bytes() + 1).sum();
    format!(
        " (its arguments have {args} bytes; together with the environment the system takes a quarter of the limit of the \
         stack, `ulimit -s`, and 6 MiB at most: {DO})"
    )
}
