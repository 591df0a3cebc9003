//! How much memory this process may use.

use std::fs;

/// Bytes of memory that this process may use: of the machine, of its control group, and of its own limit the least.
pub(crate) fn usable_bytes() -> u64 {
    let limits = [of_machine(), of_control_group(), of_process()];
    limits.into_iter().flatten().min().unwrap_or(u64::MAX)
}

fn of_machine() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// The limit of the innermost control group that has one; of groups in which this process is only as a part of another, nothing is
/// known here.
fn of_control_group() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    fs::read_to_string(format!("/sys/fs/cgroup{path}/memory.max")).ok()?.trim().parse().ok()
}

fn of_process() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/limits").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max address space"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_some_memory() {
        assert!(of_machine().is_some_and(|bytes| bytes > 64 << 20));
        assert!(usable_bytes() <= of_machine().unwrap());
    }
}
