//! `rain explain`: why a task does not run, or where it does.

use crate::seen::Seen;
use crate::status::{LookupError, line};
use crate::which_args::WhichServer;
use clap::Args;
use rain_protocol::client::TasksOf;
use rain_protocol::explain::Explanation;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// Arguments of `rain explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The numbers of its session and its own, as messages and `rain log` show them
    #[arg(value_name = "SESSION:TASK")]
    pub task: TaskNumber,
    /// Print everything as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub which: WhichServer,
}

/// What is asked about: SESSION:TASK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskNumber {
    pub session: u32,
    pub task: u32,
}

impl std::str::FromStr for TaskNumber {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers =
            text.split_once(':').and_then(|(session, task)| Some((session.parse().ok()?, task.parse().ok()?)));
        let (session, task) = numbers.ok_or("a task is SESSION:TASK, two numbers as in 1:42")?;
        Ok(Self { session, task })
    }
}

#[derive(Serialize, Deserialize)]
struct Answer {
    tasks: Vec<Explanation>,
}

/// Asks the server; the text to be printed.
///
/// # Errors
/// When there is no server, or it does not know the task.
pub fn run(args: &ExplainArgs) -> Result<String, LookupError> {
    let TaskNumber { session, task } = args.task;
    let asked = TasksOf { session, tasks: ByteBuf::from(task.to_le_bytes()) };
    let answer: Answer = Seen::open(&args.which)?.ask("explain", &asked)?;
    Ok(if args.json { format!("{}\n", serde_json::to_value(&answer.tasks).unwrap_or_default()) } else { text(&answer) })
}

fn text(answer: &Answer) -> String {
    let mut text = String::new();
    for told in &answer.tasks {
        text.push_str(&format!("task {} is {}: {}", told.id, told.state, line(&told.why)));
        if let Some(waited) = told.waited {
            text.push_str(&format!(", for {waited:.1} s"));
        }
        if let (Some(start), "running") = (told.start_time, told.state.as_str()) {
            text.push_str(&format!(", for {:.1} s", (rain_events::seconds_since_1970() - start).max(0.0)));
        }
        let has: Vec<String> = told.has.iter().map(|(name, amount)| format!("{amount} {}", line(name))).collect();
        if !has.is_empty() {
            text.push_str(&format!("; it has {}", has.join(", ")));
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_numbers_of_their_session() {
        assert_eq!("3:14".parse(), Ok(TaskNumber { session: 3, task: 14 }));
        for wrong in ["3", "3:", "a:b", "3:14:15", "-1:2"] {
            assert!(wrong.parse::<TaskNumber>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_answer_is_a_sentence() {
        let told = Explanation {
            id: 4,
            state: "ready".into(),
            why: "it waits".into(),
            waited: Some(2.04),
            has: vec![("gpus".into(), 0.5)],
            ..Explanation::default()
        };
        assert_eq!(text(&Answer { tasks: vec![told] }), "task 4 is ready: it waits, for 2.0 s; it has 0.5 gpus\n");
    }
}
