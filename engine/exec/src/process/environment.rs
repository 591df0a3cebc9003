//! The environment of child processes.

use super::tree::VARIABLE;
use std::ffi::{CStr, CString, OsStr, OsString, c_char};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::OnceLock;

/// Says what a task was given of a governor's resources.
const RESOURCES: &str = "RAIN_RESOURCES";

/// Environment of a child: this process's, as it was when the first child was started, and additions.
#[derive(Debug, Default)]
pub(crate) struct Environment {
    added: Vec<(OsString, CString)>,
}

/// Whether a child is not to have a variable of this process.
pub type LeftOut = fn(&OsStr) -> bool;

static LEFT_OUT: OnceLock<LeftOut> = OnceLock::new();

/// Keeps variables of this process from all children; of no use once the first child was started.
pub fn leave_out_variables(left_out: LeftOut) {
    // Set a second time it is the same program that sets it.
    let _ = LEFT_OUT.set(left_out);
}

fn inherited() -> &'static [(OsString, CString)] {
    static INHERITED: OnceLock<Vec<(OsString, CString)>> = OnceLock::new();
    INHERITED.get_or_init(|| {
        // A child has a directory of its own, so these would lie; each child has its own value of `VARIABLE`; and what a task was given
        // in which this program runs is not what its children are given.
        let lies = |name: &OsStr| name == "PWD" || name == "OLDPWD" || name == VARIABLE || name == RESOURCES;
        std::env::vars_os()
            .filter(|(name, _)| !lies(name) && !LEFT_OUT.get().is_some_and(|left_out| left_out(name)))
            .filter_map(|(name, value)| entry(&name, &value).map(|entry| (name, entry)))
            .collect()
    })
}

fn entry(name: &OsStr, value: &OsStr) -> Option<CString> {
    if name.is_empty() || name.as_bytes().contains(&b'=') {
        return None;
    }
    CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()).ok()
}

impl Environment {
    /// Adds a variable, instead of an inherited one of this name; false if it cannot be one.
    #[must_use]
    pub(crate) fn add(&mut self, name: &OsStr, value: &OsStr) -> bool {
        let Some(entry) = entry(name, value) else { return false };
        if name == VARIABLE {
            // Who is started by a task, as a Rain within it, may pass on what it has.
            return true;
        }
        self.added.retain(|(known, _)| known != name);
        self.added.push((name.to_owned(), entry));
        true
    }

    /// Adds a variable unless there is one of this name, inherited or added.
    pub(crate) fn add_default(&mut self, name: &str, value: &str) {
        let is_there = |known: &OsString| known == name;
        if !inherited().iter().any(|(known, _)| is_there(known)) && !self.added.iter().any(|(known, _)| is_there(known))
        {
            self.added.extend(entry(OsStr::new(name), OsStr::new(value)).map(|entry| (name.into(), entry)));
        }
    }

    /// The `PATH` that was added, if any.
    pub(crate) fn added_path(&self) -> Option<OsString> {
        let (_, entry) = self.added.iter().find(|(name, _)| name == "PATH")?;
        Some(OsString::from_vec(entry.as_bytes()["PATH=".len()..].to_vec()))
    }

    /// The name of the longest variable that was added, and the bytes of the whole entry.
    pub(crate) fn longest(&self) -> Option<(&OsStr, usize)> {
        let sizes = self.added.iter().map(|(name, entry)| (name.as_os_str(), entry.count_bytes()));
        sizes.max_by_key(|(_, length)| *length)
    }

    /// Pointers to the entries and to `entry`, as `exec` wants them; valid as long as both.
    pub(super) fn pointers(&self, entry: &CStr) -> Vec<*const c_char> {
        let inherited = inherited();
        let mut pointers = Vec::with_capacity(inherited.len() + self.added.len() + 2);
        let replaced = |name: &OsString| self.added.iter().any(|(added, _)| added == name);
        pointers.extend(inherited.iter().filter(|(name, _)| !replaced(name)).map(|(_, entry)| entry.as_ptr()));
        pointers.extend(self.added.iter().map(|(_, entry)| entry.as_ptr()));
        pointers.extend([entry.as_ptr(), std::ptr::null()]);
        pointers
    }
}
