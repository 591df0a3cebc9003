//! `rain-bench spill`: objects beyond the memory that they may take, which go to a disk, beside what `dd` writes there.

use crate::row::{Row, print};
use rain_data::{Memory, Store};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

const MIB: usize = 1 << 20;
/// Objects that have room in memory.
const ROOM: usize = 4;

/// So many MiB in objects of each size, so many times, in turns with `dd`.
pub fn measure(memory: &Path, disk: &Path, mebibytes: usize, runs: usize) {
    for size in [1, 16] {
        let count = (mebibytes / size).max(1);
        let (mut spilled, mut ratios) = (Vec::new(), Vec::new());
        for _ in 0..runs {
            let seconds = spill(memory, disk, count, size * MIB);
            spilled.push(seconds * 1e3);
            ratios.push(seconds / dd(disk, count * size));
        }
        for (what, runs, unit) in [("", spilled, "ms"), (", beside dd", ratios, "times")] {
            print(&Row::median(format!("{} MiB spilled in objects of {size} MiB{what}", count * size), unit, runs));
        }
    }
}

/// Seconds that it takes to move so many objects of these many bytes. Making them is not in it.
fn spill(memory: &Path, disk: &Path, count: usize, bytes: usize) -> f64 {
    let place = disk.join(format!("rain-bench-spill-{}", std::process::id()));
    let bound = Memory::with_budget((ROOM * bytes) as u64, Some(place));
    let store = Store::create_within(memory, bound).expect("a store");
    let content = vec![7; bytes];
    let mut objects = Vec::new();
    let mut spent = 0.0;
    // With room enough nothing is moved, so that what is left is what a move costs.
    let free = Store::create(memory).expect("a store");
    for _ in 0..count + ROOM {
        let before = Instant::now();
        objects.push(Arc::new(store.blob(content.as_slice(), None).expect("room")));
        let bound = before.elapsed();
        let before = Instant::now();
        drop(free.blob(content.as_slice(), None).expect("room"));
        spent += (bound.as_secs_f64() - before.elapsed().as_secs_f64()).max(0.0);
    }
    assert_eq!(store.memory().usage().on_disk, (count * bytes) as u64, "all but those that have room");
    spent
}

/// Seconds that `dd` takes for so many MiB.
fn dd(disk: &Path, mebibytes: usize) -> f64 {
    let file = disk.join(format!("rain-bench-dd-{}", std::process::id()));
    let mut command = Command::new("dd");
    command.args(["if=/dev/zero", "bs=1M"]).arg(format!("count={mebibytes}")).arg(format!("of={}", file.display()));
    let before = Instant::now();
    let done = command.stderr(Stdio::null()).status().expect("dd");
    let spent = before.elapsed().as_secs_f64();
    assert!(done.success(), "dd cannot write to {}", file.display());
    std::fs::remove_file(file).expect("what dd has written");
    spent
}
