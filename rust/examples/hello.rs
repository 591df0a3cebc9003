//! The executor of the guide to executors (`docs/executors.md`).

use rain_task::{Context, Executor, Input, Output, TaskResult, register_task};
use std::io::Write;

fn hello(_ctx: &mut Context, name: &Input, greeting: &mut Output) -> TaskResult {
    write!(greeting, "Hello {}!", name.text()?)?;
    Ok(())
}

fn main() {
    let mut executor = Executor::new("example2");
    // One input, one output; Is and Os stand for all further ones.
    register_task!(executor, "hello", [I O], hello);
    executor.run();
}
