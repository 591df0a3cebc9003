//! Panics in the process of a rank: one line in its log, for the last words of the rank are lines of the log.

use std::io::{self, Write};
use std::panic::{self, PanicHookInfo};
use std::sync::{Mutex, PoisonError};

static LAST: Mutex<Option<String>> = Mutex::new(None);

/// From now on a panic is one line on standard error.
pub fn say_in_one_line() {
    panic::set_hook(Box::new(|info| {
        let line = one_line(info);
        // Not `eprintln!`, which panics where standard error cannot be written.
        let _ = writeln!(io::stderr().lock(), "{line}");
        *LAST.lock().unwrap_or_else(PoisonError::into_inner) = Some(line);
    }));
}

/// The line of the latest panic.
pub fn latest() -> Option<String> {
    LAST.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn one_line(info: &PanicHookInfo<'_>) -> String {
    let payload = info.payload();
    let said = payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
    let said: Vec<&str> = said.unwrap_or("no message").split_whitespace().collect();
    let place = info.location().map(|place| format!(" at {}:{}", place.file(), place.line())).unwrap_or_default();
    let thread = std::thread::current();
    format!("thread {} panicked{place}: {}", thread.name().unwrap_or("without a name"), said.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_one_line_with_its_place() {
        say_in_one_line();
        let thread = std::thread::Builder::new().name("doomed".to_owned());
        let ended = thread.spawn(|| panic!("no\n  such {}", "luck")).unwrap().join();
        let line = latest();
        let _ = panic::take_hook();
        assert!(ended.is_err());
        let line = line.unwrap();
        assert!(line.starts_with("thread doomed panicked at ") && line.contains("panics.rs:"), "{line}");
        assert!(line.ends_with(": no such luck"), "{line}");
    }
}
