//! Whether the process that writes a log still runs.

use std::fs;

/// This process: its number, when it was started (clock ticks since the system was), and which start of which system that is.
pub fn this() -> (u32, u64, String) {
    let pid = std::process::id();
    (pid, started(pid).unwrap_or_default(), boot())
}

/// Whether a process runs that said this of itself; `None`: it ran on another machine, or before this one was started.
pub fn runs(pid: u32, since: u64, boot_then: &str) -> Option<bool> {
    (boot() == boot_then).then(|| started(pid) == Some(since))
}

fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may have spaces in it. What follows is field 3; the start is field 22.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    (state != "Z").then(|| fields.nth(18)?.parse().ok())?
}

fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_runs_and_another_with_its_number_does_not() {
        let (pid, since, boot) = this();
        assert_eq!(runs(pid, since, &boot), Some(true));
        assert_eq!(runs(pid, since + 1, &boot), Some(false));
        assert_eq!(runs(pid, since, "another start"), None);
    }
}
