//! How this machine fares, from `/proc`.

use rain_protocol::log::MachineSample;
use std::fs;
use std::time::Instant;

/// Bytes of a sector in `/proc/diskstats`, whatever the disk's own are.
const SECTOR: u64 = 512;

/// Sums since the machine was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sums {
    /// Clock ticks of all cpus, and of those those in which they worked.
    ticks: u64,
    busy: u64,
    net_in: u64,
    net_out: u64,
    disk_read: u64,
    disk_write: u64,
}

/// Takes samples of this machine.
#[derive(Debug, Default)]
pub struct Machine {
    before: Option<(Instant, Sums)>,
}

impl Machine {
    /// How it has fared since the last call; `None` at the first.
    pub fn sample(&mut self) -> Option<MachineSample> {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let sums = sums(&read("/proc/stat"), &read("/proc/net/dev"), &read("/proc/diskstats"));
        let (memory, memory_budget) = memory(&read("/proc/meminfo"));
        let now = Instant::now();
        let (then, before) = self.before.replace((now, sums))?;
        let seconds = (now - then).as_secs_f64().max(1e-3);
        let rate = |sum: u64, before: u64| sum.saturating_sub(before) as f64 / seconds;
        let ticks = sums.ticks.saturating_sub(before.ticks).max(1);
        Some(MachineSample {
            load: (sums.busy.saturating_sub(before.busy) as f64 / ticks as f64).clamp(0.0, 1.0),
            memory,
            memory_budget,
            net_in: rate(sums.net_in, before.net_in),
            net_out: rate(sums.net_out, before.net_out),
            disk_read: rate(sums.disk_read, before.disk_read),
            disk_write: rate(sums.disk_write, before.disk_write),
        })
    }
}

fn numbers(line: &str) -> Vec<u64> {
    line.split_ascii_whitespace().filter_map(|field| field.parse().ok()).collect()
}

fn sums(stat: &str, network: &str, disks: &str) -> Sums {
    let mut sums = Sums::default();
    let cpus = numbers(stat.lines().next().unwrap_or_default().trim_start_matches("cpu"));
    // user, nice, system, idle, waiting for disks, interrupts (two), taken by the host; guests are in user.
    sums.ticks = cpus.iter().take(8).sum();
    sums.busy = sums.ticks - cpus.iter().skip(3).take(2).sum::<u64>();
    for (name, values) in network.lines().filter_map(|line| line.split_once(':')) {
        let values = numbers(values);
        if name.trim() != "lo" && values.len() >= 9 {
            sums.net_in += values[0];
            sums.net_out += values[8];
        }
    }
    for line in disks.lines() {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        // Partitions and what lies over disks would count everything twice.
        if let Some(name) = fields.get(2)
            && is_disk(name)
            && let (Some(read), Some(written)) = (fields.get(5), fields.get(9))
        {
            sums.disk_read += SECTOR * read.parse::<u64>().unwrap_or_default();
            sums.disk_write += SECTOR * written.parse::<u64>().unwrap_or_default();
        }
    }
    sums
}

/// Whether a block device is a whole disk.
fn is_disk(name: &str) -> bool {
    let letters =
        |prefix: &str| name.strip_prefix(prefix).is_some_and(|rest| rest.chars().all(|c| c.is_ascii_lowercase()));
    letters("sd")
        || letters("vd")
        || letters("xvd")
        || (name.starts_with("nvme") && name.contains('n') && !name.contains('p'))
}

/// Bytes of memory that are in use, and that there are.
fn memory(meminfo: &str) -> (u64, u64) {
    let of = |key: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(key));
        1024 * line.and_then(|line| numbers(line).first().copied()).unwrap_or_default()
    };
    let all = of("MemTotal:");
    (all.saturating_sub(of("MemAvailable:")), all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_the_kernel_are_understood() {
        let stat = "cpu  100 20 30 800 50 1 2 3 0 0\ncpu0 1 2 3";
        let network = "Inter-|  Receive\n face |bytes\n    lo: 9 9 0 0 0 0 0 0 9 9 0 0 0 0 0 0\n  eth0: 500 4 0 0 0 0 0 0 700 5 0 0 0 0 0 0\n";
        let disks = "   8       0 sda 10 0 6 1 20 0 8 1 0 1 1\n   8       1 sda1 10 0 6 1 20 0 8 1 0 1 1\n 259 0 nvme0n1 1 0 2 0 1 0 4 0 0 0 0\n 259 1 nvme0n1p1 1 0 2 0 1 0 4 0 0 0 0\n 253 0 dm-0 1 0 2 0 1 0 4 0\n";
        let sums = sums(stat, network, disks);
        assert_eq!((sums.ticks, sums.busy, sums.net_in, sums.net_out), (1006, 156, 500, 700));
        assert_eq!((sums.disk_read, sums.disk_write), (512 * 8, 512 * 12));
        assert_eq!(memory("MemTotal:  100 kB\nMemFree: 1 kB\nMemAvailable:   60 kB\n"), (40 << 10, 100 << 10));
    }

    #[test]
    fn this_machine_has_a_sample_from_the_second_time_on() {
        let mut machine = Machine::default();
        assert!(machine.sample().is_none());
        let sample = machine.sample().unwrap();
        assert!(sample.load <= 1.0 && sample.memory <= sample.memory_budget && sample.memory_budget > 0, "{sample:?}");
    }
}
