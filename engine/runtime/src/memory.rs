//! How much memory this process may use.

use std::fs;

/// Bytes of memory that this process may use: of the machine, of its control groups, and of its own limit the least.
pub(crate) fn usable_bytes() -> u64 {
    let limits = [rain_topology::memory_bytes(), of_process()];
    limits.into_iter().flatten().min().unwrap_or(u64::MAX)
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
        assert!((64 << 20..=rain_topology::memory_bytes().unwrap()).contains(&usable_bytes()));
    }
}
