//! Which machines to start governors on: a host file, or what a batch system says.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// More machines than this are a slip of the pen.
const HOSTS_MAX: usize = 10_000;

/// Why it is not known where to start governors.
#[derive(Debug, thiserror::Error)]
pub enum HostsError {
    #[error("{path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path}:{line}: not a name of a host: {text:?}")]
    Name { path: PathBuf, line: usize, text: String },
    #[error("{0} names no host")]
    None(String),
    #[error("--autoconf={name}: {variable} is not set; is this a {name} job?")]
    NoJob { name: &'static str, variable: &'static str },
    #[error("SLURM_JOB_NODELIST={0:?} cannot be read")]
    NodeList(String),
    #[error("--autoconf={0}: there are pbs and slurm")]
    Unknown(String),
}

/// Reads a host file: a host (what ssh takes) a line; empty lines and what follows a `#` are left out. A host that is named more than
/// once, as batch systems do it for each of its cpus, is there once.
///
/// # Errors
/// When it cannot be read, or has a line that is no host.
pub fn from_file(path: &Path) -> Result<Vec<String>, HostsError> {
    let text = fs::read_to_string(path).map_err(|source| HostsError::Read { path: path.to_owned(), source })?;
    let mut hosts = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let host = line.split('#').next().unwrap_or_default().trim();
        if host.is_empty() {
            continue;
        }
        // Nothing that ssh would take as an option.
        let good = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._@:[]%".contains(&byte));
        if !good || host.starts_with('-') {
            let text = host.to_owned();
            return Err(HostsError::Name { path: path.to_owned(), line: index + 1, text });
        }
        hosts.push(host.to_owned());
    }
    if hosts.is_empty() { Err(HostsError::None(path.display().to_string())) } else { Ok(each_once(hosts)) }
}

/// The machines of the batch job that this runs in, each once.
///
/// # Errors
/// When this is no such job.
pub fn from_environment(system: &str) -> Result<Vec<String>, HostsError> {
    match system {
        "pbs" => {
            let variable = "PBS_NODEFILE";
            let path = env::var_os(variable).ok_or(HostsError::NoJob { name: "pbs", variable })?;
            from_file(Path::new(&path))
        }
        "slurm" => {
            let variable = "SLURM_JOB_NODELIST";
            let list = env::var(variable).map_err(|_| HostsError::NoJob { name: "slurm", variable })?;
            expand(&list).map(each_once).ok_or(HostsError::NodeList(list))
        }
        other => Err(HostsError::Unknown(other.to_owned())),
    }
}

fn each_once(hosts: Vec<String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    hosts.into_iter().filter(|host| seen.insert(host.clone())).collect()
}

/// Expands Slurm's short form, such as `n[01-03,7],login`.
pub fn expand(list: &str) -> Option<Vec<String>> {
    let mut hosts = Vec::new();
    for item in split_outside_brackets(list)? {
        let mut names = vec![String::new()];
        let mut rest = item;
        while let Some((before, after)) = rest.split_once('[') {
            let (ranges, after) = after.split_once(']')?;
            let numbers = expand_ranges(ranges)?;
            if names.len() * numbers.len() > HOSTS_MAX {
                return None;
            }
            names = names.iter().flat_map(|name| numbers.iter().map(move |n| format!("{name}{before}{n}"))).collect();
            rest = after;
        }
        names.iter_mut().for_each(|name| name.push_str(rest));
        hosts.extend(names);
    }
    let good = |host: &String| {
        !host.is_empty()
            && !host.starts_with('-')
            && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
    };
    (!hosts.is_empty() && hosts.iter().all(good)).then_some(hosts)
}

fn split_outside_brackets(list: &str) -> Option<Vec<&str>> {
    let (mut items, mut start, mut inside) = (Vec::new(), 0, false);
    for (index, byte) in list.bytes().enumerate() {
        match byte {
            b'[' if inside => return None,
            b'[' => inside = true,
            b']' if !inside => return None,
            b']' => inside = false,
            b',' if !inside => {
                items.push(&list[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    items.push(&list[start..]);
    (!inside).then_some(items)
}

/// Expands `01-03,7` to numbers with their zeros.
fn expand_ranges(ranges: &str) -> Option<Vec<String>> {
    let mut numbers = Vec::new();
    for range in ranges.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (from, to): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        if from > to || to - from >= HOSTS_MAX as u64 {
            return None;
        }
        numbers.extend((from..=to).map(|number| format!("{number:0width$}", width = first.len())));
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slurms_short_form_is_expanded() {
        assert_eq!(expand("n[01-03,7],login").unwrap(), ["n01", "n02", "n03", "n7", "login"]);
        assert_eq!(expand("r[1-2]c[8-9]x").unwrap(), ["r1c8x", "r1c9x", "r2c8x", "r2c9x"]);
        for text in ["", "n[", "n]", "n[a-b]", "n[3-1]", "n[[1]]", "-o", "n[1-99999999]", "a,,b", "a b"] {
            assert_eq!(expand(text), None, "{text}");
        }
    }

    #[test]
    fn a_host_file_has_one_host_a_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hosts");
        fs::write(&path, "# ours\nuser@one.example\n\n  two # the second\n10.0.0.1\n").unwrap();
        assert_eq!(from_file(&path).unwrap(), ["user@one.example", "two", "10.0.0.1"]);
        fs::write(&path, "node1\nnode1\nnode2\nnode1\n").unwrap();
        assert_eq!(from_file(&path).unwrap(), ["node1", "node2"]);
        fs::write(&path, "one\n-oProxyCommand=x\n").unwrap();
        assert!(from_file(&path).unwrap_err().to_string().contains("hosts:2"));
        fs::write(&path, "# nothing\n").unwrap();
        assert!(from_file(&path).unwrap_err().to_string().contains("names no host"));
    }
}
