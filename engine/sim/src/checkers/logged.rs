//! What the server tells its event log is enough to count by: a task is told to be finished once, and once more each time that it is told to
//! be run again.

use crate::violation::Violation;
use rain_protocol::log::LogEntry;
use std::collections::BTreeMap;

const NAME: &str = "logged";

/// How often each task of each session was told to be finished, and to be run again.
#[derive(Debug, Default)]
pub struct Logged(BTreeMap<(u32, u32), (u32, u32)>);

impl Logged {
    /// The server tells its log something.
    ///
    /// # Errors
    /// When a task is finished more often than it was to run.
    pub fn take(&mut self, entry: &LogEntry) -> Result<(), Violation> {
        match entry {
            LogEntry::Finished { finished, .. } => {
                for report in &finished.tasks {
                    let counts = self.0.entry((finished.session, report.task)).or_default();
                    counts.0 += 1;
                    if counts.0 > 1 + counts.1 {
                        let message = format!(
                            "task {}:{} is told to be finished {} times, and to be run again {} times",
                            finished.session, report.task, counts.0, counts.1
                        );
                        return Err(Violation::wrong(NAME, message));
                    }
                }
            }
            LogEntry::Repeated { session, tasks } => {
                for task in tasks {
                    let counts = self.0.entry((session.0, *task)).or_default();
                    counts.1 += 1;
                    if counts.1 > counts.0 {
                        let message = format!("task {}:{task} is told to be run again and was not finished", session.0);
                        return Err(Violation::wrong(NAME, message));
                    }
                }
            }
            LogEntry::SessionClosed { session } => {
                self.0.retain(|(of, _), _| *of != session.0);
            }
            _ => {}
        }
        Ok(())
    }
}
