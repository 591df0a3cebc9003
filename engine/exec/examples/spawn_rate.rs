//! How many programs a second `buildin/execute` runs, against `xargs`.
//!
//!     cargo run --release -p rain-exec --example spawn_rate [tasks] [threads] [repeats]

use rain_data::Store;
use rain_exec::{Interrupt, TaskCall, TaskOutcome, run_built_in};
use rain_model::graph::{Batch, BatchKind, Kind};
use rain_model::id::{GovernorId, SessionId, TaskId};
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

fn batch(count: u32) -> Batch {
    // {"args": ["/bin/true"]}
    let config = b"\x81\xa4args\x91\xa9/bin/true".to_vec();
    let kind = Kind { config, ..Kind::new("buildin/execute") };
    Batch { count, kinds: Arc::new([BatchKind { number: 0, kind: Arc::new(kind) }]), ..Batch::empty(0) }
}

fn rain(count: u32, threads: usize, store: &Store) -> f64 {
    let (batch, next) = (batch(count), AtomicU32::new(0));
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let interrupt = Interrupt::new().expect("eventfd");
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count {
                        break;
                    }
                    let outcome = run_built_in(&TaskCall {
                        task: TaskId { session: SessionId(0), index },
                        governor: GovernorId(0),
                        batch: &batch,
                        inputs: &[],
                        store,
                        interrupt: &interrupt,
                        cancelled: &|| false,
                        environment: &[],
                    });
                    assert!(matches!(outcome, TaskOutcome::Finished { .. }), "{outcome:?}");
                }
            });
        }
    });
    start.elapsed().as_secs_f64()
}

fn xargs(count: u32, threads: usize) -> f64 {
    let start = Instant::now();
    let mut child = Command::new("xargs")
        .args([&format!("-P{threads}"), "-n1", "/bin/true"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("xargs");
    let lines: String = (0..count).map(|number| format!("{number}\n")).collect();
    child.stdin.take().expect("piped").write_all(lines.as_bytes()).expect("xargs reads");
    assert!(child.wait().expect("xargs ends").success());
    start.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let arg = |place, default| std::env::args().nth(place).and_then(|text| text.parse().ok()).unwrap_or(default);
    let (count, threads, repeats) = (arg(1, 2000u32), arg(2, 2u32) as usize, arg(3, 5u32));
    let dir = if std::path::Path::new("/dev/shm").is_dir() { "/dev/shm".into() } else { std::env::temp_dir() };
    let store = Store::create(&dir).expect("store");
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..repeats {
        theirs.push(xargs(count, threads));
        ours.push(rain(count, threads, &store));
    }
    let (ours, theirs) = (median(ours), median(theirs));
    let each = |seconds: f64| seconds / f64::from(count) * 1e6;
    println!("{count} x /bin/true on {threads} threads, medians of {repeats}:");
    println!("  xargs {theirs:.3} s ({:.0} us each), rain {ours:.3} s ({:.0} us each)", each(theirs), each(ours));
    println!("  ratio {:.3}", ours / theirs);
}
