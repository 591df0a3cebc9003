//! `rain log`, `rain trace` and `rain report`: what an event log tells, of a server that runs, has ended or broke off.

use crate::address;
use crate::log_args::{LogCommandArgs, ReportArgs, TraceArgs};
use crate::log_place::{self, PlaceError};
use crate::log_text;
use rain_events::answers::TaskRow;
use rain_events::questions::TaskQuery;
use rain_events::seconds_since_1970;
use rain_events::{Log, LogError};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Why nothing is told of a log.
#[derive(Debug, thiserror::Error)]
pub enum LogCommandError {
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error("{}: {source}", path.display())]
    Log { path: PathBuf, source: LogError },
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot write to standard output: {0}")]
    Print(#[source] io::Error),
    #[error("--since={0}: give 90s, 10m, 2h or 1d for that long ago, or seconds since 1970")]
    Since(String),
    #[error("there is no session {0} in {path}", path = .1.display())]
    Session(u32, PathBuf),
}

/// An open log, and where it is for errors.
struct Opened {
    log: Log,
}

impl Opened {
    fn find(place: Option<&Path>) -> Result<Self, LogCommandError> {
        let path = log_place::find(place, address::DEFAULT_LISTEN.port())?;
        let log = Log::open(&path).map_err(|source| LogCommandError::Log { path, source })?;
        Ok(Self { log })
    }

    fn ask<T>(&self, answer: Result<T, LogError>) -> Result<T, LogCommandError> {
        answer.map_err(|source| LogCommandError::Log { path: self.log.path().to_owned(), source })
    }
}

/// `rain log`; the text to be printed.
///
/// # Errors
/// When there is no log that can be read, or no such session, state or time.
pub fn run(args: &LogCommandArgs) -> Result<String, LogCommandError> {
    let opened = Opened::find(args.place.as_deref())?;
    let since = args.since.as_deref().map(time).transpose()?;
    if args.events {
        return events(&opened, args.tasks.session, since, args.json);
    }
    let lists = args.csv
        || args.tasks.session.is_some()
        || args.tasks.state.is_some()
        || args.tasks.name.is_some()
        || since.is_some();
    if lists {
        return tasks(&opened, args, since);
    }
    let summary = opened.ask(log_text::summary(&opened.log))?;
    Ok(if args.json { log_text::json(&summary) } else { log_text::shown(&summary) })
}

fn tasks(opened: &Opened, args: &LogCommandArgs, since: Option<f64>) -> Result<String, LogCommandError> {
    let sessions = match args.tasks.session {
        Some(session) => vec![session],
        None => opened.ask(log_text::session_numbers(&opened.log))?,
    };
    let mut rows: Vec<(u32, TaskRow)> = Vec::new();
    for session in sessions {
        let mut after = None;
        loop {
            let query = TaskQuery {
                state: args.tasks.state.clone(),
                name: args.tasks.name.clone(),
                limit: Some(1000),
                after,
                ..TaskQuery::default()
            };
            let page = opened.ask(opened.log.tasks(session, &query))?;
            let Some(page) = page else {
                return Err(LogCommandError::Session(session, opened.log.path().to_owned()));
            };
            let latest = |task: &TaskRow| task.finished.or(task.started).unwrap_or(task.submitted);
            let recent = page.tasks.into_iter().filter(|task| since.is_none_or(|since| latest(task) >= since));
            rows.extend(recent.map(|task| (session, task)));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    Ok(match (args.json, args.csv) {
        (true, _) => log_text::json(&log_text::task_values(&rows)),
        (_, true) => log_text::csv(&rows),
        _ => log_text::task_table(&rows),
    })
}

fn events(opened: &Opened, session: Option<u32>, since: Option<f64>, as_json: bool) -> Result<String, LogCommandError> {
    let events = opened.ask(log_text::events(&opened.log, session, since))?;
    Ok(if as_json { log_text::json(&events) } else { log_text::event_table(&events) })
}

/// `rain trace`.
///
/// # Errors
/// When there is no log that can be read, no such session, or nothing can be written.
pub fn trace(args: &TraceArgs) -> Result<bool, LogCommandError> {
    let opened = Opened::find(args.place.as_deref())?;
    match &args.output {
        Some(path) => {
            let file = File::create(path).map_err(|source| LogCommandError::Write { path: path.clone(), source })?;
            opened.ask(opened.log.write_trace(args.session, &mut BufWriter::new(file)))?;
        }
        None => {
            let mut out = BufWriter::new(io::stdout().lock());
            match opened.log.write_trace(args.session, &mut out) {
                Err(LogError::System(error)) if error.kind() == io::ErrorKind::BrokenPipe => {}
                Err(LogError::System(error)) => return Err(LogCommandError::Print(error)),
                written => opened.ask(written)?,
            }
        }
    }
    Ok(true)
}

/// `rain report`; what is said then.
///
/// # Errors
/// When there is no log that can be read, or the page cannot be written.
pub fn report(args: &ReportArgs) -> Result<String, LogCommandError> {
    let opened = Opened::find(args.place.as_deref())?;
    let page = opened.ask(opened.log.report())?;
    let write = || File::create(&args.output)?.write_all(page.as_bytes());
    write().map_err(|source| LogCommandError::Write { path: args.output.clone(), source })?;
    Ok(format!("{}\n", args.output.display()))
}

/// A time that was typed, seconds since 1970.
fn time(text: &str) -> Result<f64, LogCommandError> {
    let wrong = || LogCommandError::Since(text.to_owned());
    let number = |digits: &str| digits.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
    let unit = match text.char_indices().last().ok_or_else(wrong)? {
        (end, 's') => Some((end, 1.0)),
        (end, 'm') => Some((end, 60.0)),
        (end, 'h') => Some((end, 3600.0)),
        (end, 'd') => Some((end, 86_400.0)),
        _ => None,
    };
    match unit {
        None => number(text).ok_or_else(wrong),
        Some((end, unit)) => Ok(seconds_since_1970() - number(&text[..end]).ok_or_else(wrong)? * unit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let now = time("0s").unwrap();
        assert_eq!(time("1000.5").unwrap(), 1000.5);
        assert!((now - time("2h").unwrap() - 7200.0).abs() < 60.0);
        for wrong in ["", "h", "-3m", "yesterday", "1 h"] {
            assert!(matches!(time(wrong), Err(LogCommandError::Since(_))), "{wrong}");
        }
    }
}
