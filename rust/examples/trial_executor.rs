//! An executor for the tests with a real governor (`python/tests/server/test_own_executors.py`) and for the benchmarks.

use rain_task::{Executor, register_task};
use std::fs;
use std::io::Write;
use std::process::Command;
use std::thread;

fn add_good_tasks(executor: &mut Executor) {
    register_task!(executor, "hello", [I O], |_ctx, name, greeting| {
        write!(greeting, "Hello {}!", name.text()?)?;
        Ok(())
    });
    register_task!(executor, "nothing", [Is O], |_ctx, _inputs, _output| Ok(()));
    register_task!(executor, "sum", [I O], |_ctx, numbers, sum| {
        let total: u64 = numbers.values::<u64>()?.iter().sum();
        sum.set_bytes(total.to_string());
        sum.set_content_type("text");
        Ok(())
    });
    register_task!(executor, "range", [O], |ctx, range| {
        #[derive(serde::Deserialize)]
        struct Range {
            count: usize,
        }
        let Range { count } = ctx.config()?;
        for (number, value) in range.create_values::<u64>(count)?.iter_mut().enumerate() {
            *value = number as u64;
        }
        Ok(())
    });
    register_task!(executor, "split", [I O O O], |ctx, text, parts, count, same| {
        let directory = parts.create_directory()?;
        let mut lines = 0;
        for line in text.text()?.lines() {
            fs::write(directory.join(lines.to_string()), line)?;
            lines += 1;
        }
        ctx.debug(format_args!("split {lines} lines"));
        let asked: Option<serde_json::Value> = ctx.user()?;
        ctx.set_user(&serde_json::json!({"lines": lines, "asked": asked}))?;
        count.set_bytes(lines.to_string());
        count.set_content_type("json");
        count.set_user(&serde_json::json!({"unit": "lines"}))?;
        same.pass_on(text)?;
        Ok(())
    });
    register_task!(executor, "join", [I O], |_ctx, parts, joined| {
        let mut number = 0;
        while let Ok(part) = fs::read_to_string(parts.path()?.join(number.to_string())) {
            write!(joined, "{part};")?;
            number += 1;
        }
        Ok(())
    });
    register_task!(executor, "signals", [O], |ctx, status| {
        // SAFETY: there is a handler for it.
        unsafe { libc::raise(libc::SIGINT) };
        let program = Command::new("grep").args(["Sig", "/proc/self/status"]).output()?;
        ctx.debug(String::from_utf8(program.stdout)?);
        status.set_bytes(program.status.code().unwrap_or(-1).to_string());
        Ok(())
    });
    register_task!(executor, "chatter", [O], |ctx, pid| {
        // More than a message can have.
        let line = "d".repeat(1000);
        for _ in 0..300_000 {
            ctx.debug(&line);
        }
        pid.set_bytes(std::process::id().to_string());
        Ok(())
    });
    register_task!(executor, "attributes", [O], |ctx, output| {
        let text: String = ctx.config()?;
        let user: serde_json::Value = serde_json::from_str(&text)?;
        ctx.set_user(&user)?;
        output.set_user(&user)?;
        output.set_bytes("content");
        Ok(())
    });
    register_task!(executor, "same_path", [I O], |_ctx, input, output| {
        // Not moved away, though that is what becomes of other files.
        output.set_path(input.path()?)?;
        Ok(())
    });
    register_task!(executor, "part", [I O], |ctx, directory, output| {
        let name: String = ctx.config()?;
        output.set_path(directory.path()?.join(name))?;
        Ok(())
    });
    register_task!(executor, "pid", [O], |_ctx, pid| {
        pid.set_bytes(std::process::id().to_string());
        Ok(())
    });
}

fn add_bad_tasks(executor: &mut Executor) {
    register_task!(executor, "throw", [Is Os], |ctx, _inputs, _outputs| {
        ctx.debug("about to throw");
        Err("thrown on purpose".into())
    });
    register_task!(executor, "panic", [Is Os], |_ctx, _inputs, _outputs| panic!("panicked on purpose"));
    register_task!(executor, "panic_in_thread", [Is Os], |_ctx, _inputs, _outputs| {
        let worker = thread::Builder::new().name("worker".into()).spawn(|| panic!("panicked in a thread"))?;
        match worker.join() {
            Ok(()) => Ok(()),
            Err(payload) => std::panic::resume_unwind(payload),
        }
    });
    register_task!(executor, "two_outputs", [O O], |_ctx, _first, _second| Ok(()));
    register_task!(executor, "abort", [Is Os], |_ctx, _inputs, _outputs| {
        eprintln!("last words of abort");
        std::process::abort()
    });
    register_task!(executor, "exit", [Is Os], |_ctx, _inputs, _outputs| {
        println!("last words of exit");
        std::process::exit(3)
    });
}

fn main() {
    let mut executor = Executor::new("rust");
    add_good_tasks(&mut executor);
    add_bad_tasks(&mut executor);
    executor.run();
}
