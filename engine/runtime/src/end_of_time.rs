//! What a server does when the time of its batch job is nearly over: results that are kept are stored.

use crossbeam_channel::{Receiver, Sender, unbounded};
use rain_data::{Object, Store, export};
use rain_model::graph::DataType;
use rain_server::StoredResult;
use rain_transport::Wake;
use serde::Serialize;
use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long a server that is stopped may take to store results.
pub const STORE_TIME_MAX: Duration = Duration::from_secs(60);

/// The end of a server's time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EndOfTime {
    /// When work has to be over, seconds since 1970.
    pub end_of_work: Option<f64>,
    /// When what still runs is stopped, seconds since 1970.
    pub last_call: Option<f64>,
    /// Where kept results are stored then, and when the server is stopped before.
    pub results: Option<PathBuf>,
}

/// What is to be done when a time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    StoreResults,
    StopWork,
}

impl EndOfTime {
    /// What is due now, once; or how long nothing will be, if ever anything is.
    pub(crate) fn due(&mut self, now: f64) -> Result<Due, Option<Duration>> {
        let has_come = |at: &mut Option<f64>| at.take_if(|at| *at <= now).is_some();
        if has_come(&mut self.end_of_work) {
            return Ok(Due::StoreResults);
        }
        if has_come(&mut self.last_call) {
            return Ok(Due::StopWork);
        }
        let next = [self.end_of_work, self.last_call].into_iter().flatten().reduce(f64::min);
        Err(next.and_then(|at| Duration::try_from_secs_f64(at - now).ok()))
    }
}

type Stored = Box<StoredResult<Arc<Object>>>;

/// The thread that writes results, because the place for them may be slow.
pub(crate) struct ResultWriter {
    to_write: Sender<Stored>,
    /// One for each result that was dealt with.
    written: Receiver<()>,
}

impl ResultWriter {
    /// Starts the thread; `wake` is called after each result.
    pub(crate) fn start(directory: PathBuf, store: Arc<Store>, wake: Wake) -> io::Result<Self> {
        let (to_write, results) = unbounded::<Stored>();
        let (done, written) = unbounded();
        let mut places = Places { directory, sessions: HashMap::new() };
        std::thread::Builder::new().name("results".to_owned()).spawn(move || {
            for result in results {
                if let Err(error) = places.write(&result, &store) {
                    tracing::error!("object {} of {} is not stored: {error}", result.object.id, result.session);
                }
                if done.send(()).is_err() {
                    return;
                }
                wake();
            }
        })?;
        Ok(Self { to_write, written })
    }

    pub(crate) fn write(&self, result: Stored) {
        // The thread ends with this end of its channel only.
        let _ = self.to_write.send(result);
    }

    /// Whether one more was dealt with since the last call.
    pub(crate) fn take_written(&self) -> bool {
        self.written.try_recv().is_ok()
    }
}

/// Directories of sessions.
struct Places {
    directory: PathBuf,
    sessions: HashMap<u32, PathBuf>,
}

/// A line of `results.jsonl`.
#[derive(Serialize)]
struct Line<'a> {
    /// Absent when it could not be stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    object: u32,
    label: &'a str,
    task: u32,
    task_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<&'a str>,
    /// Bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    /// JSON text.
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
}

impl Places {
    fn write(&mut self, result: &Stored, store: &Store) -> io::Result<()> {
        let directory = self.of_session(result)?;
        let label = if result.label.is_empty() { String::new() } else { format!(".{}", result.label) };
        let file = plain_name(&format!("{}-{}{label}", result.object.id, result.task_name));
        let exported = match &result.content {
            // There is no time to wait for who reads from a pipe.
            Ok(content) => {
                export(content, store, &directory.join(&file), &|_| false).map_err(|error| error.to_string())
            }
            Err(why) => Err(why.clone()),
        };
        let content = result.content.as_ref().ok();
        let line = Line {
            file: exported.is_ok().then_some(&file),
            error: exported.as_ref().err().map(String::as_str),
            object: result.object.id,
            label: &result.label,
            task: result.task,
            task_name: &result.task_name,
            data_type: content.map(|content| match content.data_type() {
                DataType::Blob => "blob",
                DataType::Directory => "dir",
            }),
            content_type: content.and_then(|c| c.content_type()).or(result.object.content_type.as_deref()),
            size: content.map(|content| content.size()),
            user: result.object.user.as_deref(),
        };
        let mut text = serde_json::to_vec(&line)?;
        text.push(b'\n');
        OpenOptions::new().create(true).append(true).open(directory.join("results.jsonl"))?.write_all(&text)?;
        exported.map_err(io::Error::other)
    }

    /// A new directory for a session's results: its name, with a number if that is taken.
    fn of_session(&mut self, result: &Stored) -> io::Result<&Path> {
        let number = result.session.0;
        if !self.sessions.contains_key(&number) {
            let name = if result.session_name.is_empty() { "session" } else { &result.session_name };
            let made = make_new_directory(&self.directory, &plain_name(name))?;
            tracing::info!("kept results of {} are stored in {}", result.session, made.display());
            self.sessions.insert(number, made);
        }
        Ok(&self.sessions[&number])
    }
}

fn make_new_directory(parent: &Path, name: &str) -> io::Result<PathBuf> {
    fs::create_dir_all(parent)?;
    for number in 1u32.. {
        let path = parent.join(if number == 1 { name.to_owned() } else { format!("{name}.{number}") });
        match fs::create_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made.map(|()| path),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// A name that is good for a file everywhere.
fn plain_name(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let plain: String = text.chars().take(80).map(|c| if is_plain(c) { c } else { '_' }).collect();
    if plain.starts_with('.') { format!("_{plain}") } else { plain }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rain_model::id::SessionId;
    use rain_protocol::client::ObjectInfo;
    use std::sync::mpsc::channel;

    fn result(session: u32, object: u32, content: Result<Arc<Object>, String>) -> Stored {
        Box::new(StoredResult {
            session: SessionId(session),
            session_name: "a/b".to_owned(),
            object: ObjectInfo { id: object, ..ObjectInfo::default() },
            task: 7,
            task_name: "buildin/concat".to_owned(),
            label: "out".to_owned(),
            content,
        })
    }

    #[test]
    fn each_time_comes_once() {
        let mut end = EndOfTime { end_of_work: Some(10.0), last_call: Some(12.0), results: None };
        assert_eq!(end.due(9.0), Err(Some(Duration::from_secs(1))));
        assert_eq!(end.due(10.0), Ok(Due::StoreResults));
        assert_eq!(end.due(10.0), Err(Some(Duration::from_secs(2))));
        assert_eq!(end.due(13.0), Ok(Due::StopWork));
        assert_eq!(end.due(13.0), Err(None));
    }

    #[test]
    fn results_are_files_and_lines() {
        let top = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::create(&top.path().join("store")).unwrap());
        let results = top.path().join("new/results");
        fs::create_dir_all(results.join("a_b")).unwrap();
        let (ring, bell) = channel();
        let wake: Wake = Arc::new(move || ring.send(()).unwrap_or_default());
        let writer = ResultWriter::start(results.clone(), store.clone(), wake).unwrap();
        let tree = store.build_dir(|path| fs::write(path.join("f"), "in a tree")).unwrap();
        writer.write(result(1, 5, Ok(Arc::new(Object::inline(b"five".to_vec(), Some("text:utf-8"))))));
        writer.write(result(1, 6, Ok(Arc::new(tree))));
        writer.write(result(1, 8, Err("it is gone".to_owned())));
        for _ in 0..3 {
            bell.recv_timeout(std::time::Duration::from_secs(60)).unwrap();
            assert!(writer.take_written());
        }
        assert!(!writer.take_written());
        let place = results.join("a_b.2");
        assert_eq!(fs::read(place.join("5-buildin_concat.out")).unwrap(), b"five");
        assert_eq!(fs::read(place.join("6-buildin_concat.out/f")).unwrap(), b"in a tree");
        let lines = fs::read_to_string(place.join("results.jsonl")).unwrap();
        let lines: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0]["file"], "5-buildin_concat.out");
        assert_eq!(lines[0]["content_type"], "text:utf-8");
        assert_eq!((&lines[1]["data_type"], &lines[1]["task"]), (&"dir".into(), &7.into()));
        assert_eq!((&lines[2]["error"], &lines[2]["file"]), (&"it is gone".into(), &serde_json::Value::Null));
    }
}
