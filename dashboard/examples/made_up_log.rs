//! Writes an event log of a run that never was, for looking at pages: `made_up_log DIRECTORY [TASKS]`.

use rain_events::made_up::{Plan, write};
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let directory = PathBuf::from(arguments.next().ok_or("usage: made_up_log DIRECTORY [TASKS]")?);
    let mut plan = Plan::default();
    if let Some(tasks) = arguments.next() {
        plan.tasks = tasks.to_string_lossy().parse()?;
    }
    std::fs::create_dir_all(&directory)?;
    write(&directory.join(rain_events::FILE_NAME), &plan)?;
    Ok(())
}
