//! The thread that does for executor processes what no task should wait for: starting them ahead, ending them, and noticing that
//! idle ones have ended.

use super::keeper::{ROUND, Step};
use super::key::ExecutorKey;
use super::running::Running;
use super::shared::Shared;
use rain_exec::{ExecutorProcess, ExecutorSpec, Interrupt};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

/// An idle process with more memory is large.
const LARGE_BYTES: u64 = 256 << 20;

/// Starts the thread, which begins with starting these executors; those with a key are for tasks of it only.
pub(super) fn start(shared: &Arc<Shared>, ahead: Vec<(Arc<ExecutorSpec>, Option<Arc<ExecutorKey>>)>) -> io::Result<()> {
    let interrupt = Interrupt::new()?;
    let own = shared.clone();
    let thread = std::thread::Builder::new().name("executors".to_owned()).spawn(move || {
        for (spec, key) in ahead {
            start_ahead(&own, &spec, key);
        }
        keep(&own, &interrupt);
    })?;
    *shared.keeper.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
    Ok(())
}

fn keep(shared: &Shared, interrupt: &Interrupt) {
    let mut round_at = Instant::now() + ROUND;
    loop {
        match shared.keeper.next_step(round_at) {
            Step::ShutDown(ending) => return drop(ending),
            Step::End(ending) => {
                let mut ending = ending;
                ending.iter_mut().for_each(|running| running.process.ask_to_end());
                ending.iter_mut().for_each(|running| running.process.finish());
            }
            Step::Look => {
                let over = shared.idle().take_over(|running| running.is_over(interrupt));
                drop(over);
            }
            Step::Restock(spec) => {
                let is_wanted = |shared: &Shared| {
                    !shared.keeper.lock().shut_down && shared.idle().unused(&spec) < shared.keeper.unused_max
                };
                while is_wanted(shared) && start_ahead(shared, &spec, None) {}
            }
            Step::Round => {
                round_at = Instant::now() + ROUND;
                let used = shared.keeper.lock().used.clone();
                let over = shared.idle().take_expired(Instant::now(), used.as_ref(), is_large);
                drop(over);
                let over = shared.idle().take_over(|running| running.is_over(interrupt));
                drop(over);
            }
        }
    }
}

/// Starts a process before it is needed; false if that did not work.
fn start_ahead(shared: &Shared, spec: &Arc<ExecutorSpec>, key: Option<Arc<ExecutorKey>>) -> bool {
    let process = match ExecutorProcess::start(spec, &shared.store, key.as_ref().map(|key| key.cpus), &shared.ungranted)
    {
        Ok(process) => Running::new(process),
        Err(error) => {
            tracing::warn!("executor {:?} could not be started ahead: {error}", spec.name);
            return false;
        }
    };
    let now = Instant::now();
    match key {
        None => shared.idle().add_unused(spec.clone(), now, process),
        Some(key) => {
            let excess = shared.idle().put(key, 0, now, process);
            drop(excess);
        }
    }
    true
}

fn is_large(running: &Running) -> bool {
    let path = PathBuf::from(format!("/proc/{}/status", running.process.pid()));
    let status = std::fs::read_to_string(path).unwrap_or_default();
    let kibibytes =
        status.lines().find_map(|line| line.strip_prefix("RssAnon:")?.trim().strip_suffix(" kB")?.parse().ok());
    kibibytes.is_some_and(|kibibytes: u64| kibibytes << 10 > LARGE_BYTES)
}
