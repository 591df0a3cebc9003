//! A thread that frees what takes long to free: the objects of a session that was closed are files, maybe a million of them.

use crossbeam_channel::{Sender, unbounded};
use std::any::Any;
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

/// Something to be dropped.
type Rest = Box<dyn Any + Send>;

/// Drops things on a thread of its own.
#[derive(Default)]
pub(crate) struct Reaper(Mutex<State>);

#[derive(Default)]
enum State {
    #[default]
    Unused,
    Running(Sender<Rest>, JoinHandle<()>),
    Finished,
}

impl Reaper {
    /// Drops this soon; at once if the system gives no thread, and after `finish`.
    pub(crate) fn take(&self, rest: impl Any + Send) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, State::Unused) {
            let (sender, rests) = unbounded::<Rest>();
            let reap = move || rests.into_iter().for_each(drop);
            if let Ok(thread) = std::thread::Builder::new().name("reaper".to_owned()).spawn(reap) {
                *state = State::Running(sender, thread);
            }
        }
        if let State::Running(sender, _) = &*state {
            // The thread ends with the sender only.
            let _ = sender.send(Box::new(rest));
        }
    }

    /// Waits until all of it was dropped, and ends the thread.
    pub(crate) fn finish(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let running = std::mem::replace(&mut *state, State::Finished);
        drop(state);
        if let State::Running(sender, thread) = running {
            drop(sender);
            // A panic there has been reported by the panic hook.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{SyncSender, sync_channel};

    struct Slow(SyncSender<()>);

    impl Drop for Slow {
        fn drop(&mut self) {
            self.0.send(()).unwrap();
        }
    }

    #[test]
    fn what_takes_long_to_drop_holds_nobody_up_and_is_dropped_in_the_end() {
        let reaper = Reaper::default();
        let (begun, wait) = sync_channel(0);
        // The first one is not dropped before somebody listens.
        (0..3).for_each(|_| reaper.take(Slow(begun.clone())));
        (0..3).for_each(|_| wait.recv().unwrap());
        reaper.finish();
        reaper.finish();
    }
}
