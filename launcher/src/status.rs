//! Finding servers, and what is said of them in a terminal.

use crate::client::{AskError, ServerConnection};
use crate::remote::reach::ReachError;
use crate::runtime_dir::{self, Access, RuntimeDirError};
use crate::which_server::WhichError;
use serde_json::Value;
use std::fmt::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long an answer may take.
pub const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

/// Longest text in a table, characters.
const CELL_CHARS_MAX: usize = 60;

/// Why a running server cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    #[error("no Rain server of yours runs on port {port} of this machine (looked for in {root}; one elsewhere needs HOST:PORT and --access=FILE){others}", root = .root.display())]
    NotRunning { port: u16, root: PathBuf, others: OtherPorts },
    #[error("the server on port {0} is just starting or stopping")]
    NotReady(u16),
    #[error("{0} (pid {1})")]
    Ask(#[source] AskError, u32),
    #[error(transparent)]
    Reach(#[from] ReachError),
    #[error(transparent)]
    Which(#[from] WhichError),
    #[error(transparent)]
    RuntimeDir(#[from] RuntimeDirError),
}

/// Where servers do run.
#[derive(Debug)]
pub struct OtherPorts(Vec<u16>);

impl fmt::Display for OtherPorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ports: Vec<String> = self.0.iter().map(u16::to_string).collect();
        match ports.as_slice() {
            [] => f.write_str("; start one with `rain start --simple`"),
            [port] => write!(f, "; there is one on port {port}: use --listen={port}"),
            ports => write!(f, "; there are some on the ports {}: use --listen=PORT", ports.join(", ")),
        }
    }
}

/// A server that runs.
pub struct Found {
    pub access: Access,
    pub directory: PathBuf,
}

/// Finds the server of this user at a port of this machine.
///
/// # Errors
/// When there is none.
pub fn find(port: u16) -> Result<Found, LookupError> {
    find_in(&runtime_dir::root(), port)
}

fn find_in(root: &Path, port: u16) -> Result<Found, LookupError> {
    let directory = runtime_dir::server_path(root, port);
    if !runtime_dir::is_live(&directory) {
        let others = OtherPorts(runtime_dir::live_ports(root));
        return Err(LookupError::NotRunning { port, root: root.to_owned(), others });
    }
    let access = runtime_dir::read_access(&directory)?.ok_or(LookupError::NotReady(port))?;
    Ok(Found { access, directory })
}

/// What the server at a port of this machine says of itself.
///
/// # Errors
/// When there is no server or no answer.
pub fn ask(port: u16) -> Result<Value, LookupError> {
    let found = find(port)?;
    let asked = ServerConnection::open(&found.access, ANSWER_TIME_MAX).and_then(|mut server| server.status());
    asked.map_err(|error| LookupError::Ask(error, found.access.pid))
}

/// The first line of a text, with nothing in it that steers a terminal.
pub fn line(text: &str) -> String {
    text.lines().next().unwrap_or_default().replace(|c| !is_shown(c), "?")
}

/// A server in one line.
pub struct Summary<'a> {
    status: &'a Value,
    now_s: f64,
}

impl<'a> Summary<'a> {
    pub fn new(status: &'a Value) -> Self {
        Self { status, now_s: rain_events::seconds_since_1970() }
    }
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |key: &str| self.status[key].as_str().unwrap_or("?").to_owned();
        let governors = rows(self.status, "governors");
        let cpus: u64 = governors.iter().filter_map(|governor| governor["cpus"].as_u64()).sum();
        write!(f, "Rain {} on {}, pid {}", text("version"), text("listen"), cell(&self.status["pid"]))?;
        if let Some(started) = self.status["started"].as_f64() {
            write!(f, ", since {}", ago(self.now_s - started))?;
        }
        write!(f, ", governors: {}, cpus: {cpus}", governors.len())
    }
}

/// An age for people.
pub fn ago(seconds: f64) -> String {
    duration(seconds) + " ago"
}

/// A length of time for people.
pub fn duration(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as u64;
    match (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, s) => format!("{s} s"),
        (0, 0, m, s) => format!("{m} min {s} s"),
        (0, h, m, _) => format!("{h} h {m} min"),
        (d, h, _, _) => format!("{d} d {h} h"),
    }
}

/// Bytes for people.
pub fn bytes(bytes: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let step = (0..units.len() - 1).find(|step| bytes < 1024f64.powi(*step as i32 + 1)).unwrap_or(units.len() - 1);
    let number = bytes / 1024f64.powi(step as i32);
    if step == 0 || number >= 100.0 {
        format!("{number:.0} {}", units[step])
    } else {
        format!("{number:.1} {}", units[step])
    }
}

/// What a status has under this key.
pub fn rows<'a>(status: &'a Value, key: &str) -> &'a [Value] {
    status[key].as_array().map_or(&[], Vec::as_slice)
}

/// A value in a table.
pub fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => {
            let mut text = text.chars();
            // What a client calls itself must not steer the terminal, nor turn the direction of writing.
            let mut shown: String =
                text.by_ref().take(CELL_CHARS_MAX).map(|c| if is_shown(c) { c } else { '?' }).collect();
            if text.next().is_some() {
                shown.pop();
                shown.push('…');
            }
            shown
        }
        other => other.to_string(),
    }
}

/// Whether a character takes its place in a line and nothing else happens.
fn is_shown(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// How many columns of a terminal a text takes: East Asian characters and emoji take two, combining ones none.
fn width(text: &str) -> usize {
    let of = |c: char| match c as u32 {
        0x300..=0x36f
        | 0x483..=0x489
        | 0x591..=0x5bd
        | 0x610..=0x61a
        | 0x64b..=0x65f
        | 0x20d0..=0x20ff
        | 0xfe00..=0xfe0f => 0,
        0x1100..=0x115f | 0x2e80..=0x303e | 0x3041..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff | 0xfe30..=0xfe6f => 2,
        0xff00..=0xff60 | 0xffe0..=0xffe6 | 0x1f300..=0x1f64f | 0x1f680..=0x1f9ff | 0x20000..=0x3fffd => 2,
        _ => 1,
    };
    text.chars().map(of).sum()
}

/// A table of those columns that the rows have.
pub fn list(text: &mut String, title: &str, rows: &[Value], columns: &[&str]) {
    let columns = columns.iter().filter(|column| rows.iter().any(|row| !row[**column].is_null()));
    let table: Vec<Vec<String>> = columns
        .map(|column| {
            let head = if *column == "id" { title.to_owned() } else { column.trim_start_matches("tasks_").to_owned() };
            std::iter::once(head).chain(rows.iter().map(|row| cell(&row[*column]))).collect()
        })
        .collect();
    if table.is_empty() {
        return;
    }
    text.push('\n');
    for line in 0..=rows.len() {
        let cells = table.iter().map(|column| {
            let room = column.iter().map(|cell| width(cell)).max().unwrap_or(0);
            format!("{}{}", column[line], " ".repeat(room - width(&column[line])))
        });
        let _ = writeln!(text, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        for (seconds, expected) in [
            (-3.0, "0 s ago"),
            (59.9, "59 s ago"),
            (61.0, "1 min 1 s ago"),
            (7300.0, "2 h 1 min ago"),
            (180_000.0, "2 d 2 h ago"),
        ] {
            assert_eq!(ago(seconds), expected);
        }
    }

    #[test]
    fn what_does_not_run_is_said_with_what_does() {
        let root = tempfile::tempdir().unwrap();
        let message = |port| find_in(root.path(), port).err().unwrap().to_string();
        let looked = format!(
            "no Rain server of yours runs on port 1 of this machine (looked for in {}; one elsewhere needs HOST:PORT and --access=FILE)",
            root.path().display()
        );
        assert_eq!(message(1), format!("{looked}; start one with `rain start --simple`"));
        let runtime_dir::Claim::Claimed(_held) = runtime_dir::ServerDir::claim(root.path(), 2).unwrap() else {
            panic!("busy")
        };
        assert!(message(1).ends_with("there is one on port 2: use --listen=2"));
        assert!(message(2).contains("starting or stopping"));
    }
}
