//! Panics of tasks, made into errors.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::thread::{self, ThreadId};

/// Panics that are remembered; a task whose threads all panic needs no more of them.
const REMEMBERED_MAX: usize = 16;

/// A panic as the hook saw it, in whatever thread.
#[derive(Debug, Clone)]
struct Seen {
    number: u64,
    thread: ThreadId,
    /// Of the thread; empty if it has none.
    name: String,
    /// File, line and column.
    place: String,
    text: String,
}

#[derive(Debug)]
struct Log {
    /// How many panics there were so far.
    count: u64,
    last: VecDeque<Seen>,
}

static LOG: Mutex<Log> = Mutex::new(Log { count: 0, last: VecDeque::new() });

fn log() -> MutexGuard<'static, Log> {
    // Nothing in here is left half done by a panic.
    LOG.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `action`; a panic becomes its text. If `watch` was called, it has its place, also when it came from another thread
/// (as with rayon), and the panics of other threads meanwhile, which may be its reason, are added.
pub(crate) fn caught<T>(action: impl FnOnce() -> T) -> Result<T, String> {
    let before = log().count;
    // A task that panicked may leave its own state in disorder; what the executor has is not touched by it.
    catch_unwind(AssertUnwindSafe(action)).map_err(|payload| {
        let seen: Vec<Seen> = log().last.iter().filter(|panic| panic.number >= before).cloned().collect();
        describe(text_of(&*payload), &seen)
    })
}

/// The message for a panic with this text, given those that were seen since the task began.
fn describe(text: &str, seen: &[Seen]) -> String {
    let here = thread::current().id();
    // A panic that was caught and goes on in this thread does not pass the hook here: its text shows which it was.
    let same =
        |of_here: bool| seen.iter().rev().find(move |panic| panic.text == text && (panic.thread == here) == of_here);
    let this = same(true).or_else(|| same(false));
    let mut message = match this {
        Some(panic) if panic.thread == here => format!("panicked at {}: {text}", panic.place),
        Some(panic) => format!("{} panicked at {}: {text}", named(panic), panic.place),
        None => format!("panicked: {text}"),
    };
    let told = this.map(|panic| panic.number);
    for panic in seen.iter().filter(|panic| panic.thread != here && Some(panic.number) != told) {
        message += &format!("\n{} panicked at {}: {}", named(panic), panic.place, panic.text);
    }
    message
}

fn named(panic: &Seen) -> String {
    match &*panic.name {
        "" => "another thread".to_owned(),
        name => format!("thread {name:?}"),
    }
}

fn text_of(payload: &(dyn Any + Send)) -> &str {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (None, Some(text)) => text,
        _ => "with a non-string payload",
    }
}

/// From now on the place of each panic is known; the hook that was there is called too.
pub(crate) fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = take_hook();
        set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
            remember(info);
            previous(info);
        }));
    });
}

fn remember(info: &PanicHookInfo<'_>) {
    let current = thread::current();
    let mut log = log();
    let panic = Seen {
        number: log.count,
        thread: current.id(),
        name: current.name().unwrap_or_default().to_owned(),
        place: info.location().map(ToString::to_string).unwrap_or_default(),
        text: text_of(info.payload()).to_owned(),
    };
    log.count += 1;
    if log.last.len() == REMEMBERED_MAX {
        log.last.pop_front();
    }
    log.last.push_back(panic);
}

#[cfg(test)]
mod tests {
    use super::{caught, watch};
    use std::panic::{panic_any, resume_unwind};
    use std::thread;

    fn message(action: impl FnOnce()) -> String {
        watch();
        caught(action).unwrap_err()
    }

    #[test]
    fn panics_have_their_places() {
        let own = message(|| panic!("own {}", 1));
        assert!(own.starts_with("panicked at ") && own.contains("src/panics.rs:") && own.contains(": own 1"), "{own}");
        let strange = message(|| panic_any(7));
        assert!(strange.contains(": with a non-string payload"), "{strange}");
    }

    #[test]
    fn panics_of_other_threads_have_theirs() {
        let named = |name: &str, text: &'static str| {
            thread::Builder::new().name(name.to_owned()).spawn(move || panic!("{text}")).unwrap().join().unwrap_err()
        };
        // As rayon hands them on.
        let handed_on = message(|| resume_unwind(named("worker 7", "handed on")));
        assert!(handed_on.starts_with("thread \"worker 7\" panicked at "), "{handed_on}");
        assert!(handed_on.lines().next().unwrap().ends_with(": handed on"), "{handed_on}");
        // What the thread panicked of is lost in the text of the new panic.
        let joined = message(|| {
            named("worker 8", "the reason");
            panic!("a thread has died");
        });
        let (first, others) = joined.split_once('\n').unwrap();
        assert!(first.starts_with("panicked at ") && first.ends_with(": a thread has died"), "{joined}");
        let reason = others.lines().find(|line| line.starts_with("thread \"worker 8\" panicked at ")).unwrap();
        assert!(reason.ends_with(": the reason"), "{joined}");
        // Panics of earlier tasks are not told again.
        let later = message(|| panic!("later"));
        assert!(!later.contains("the reason"), "{later}");
        // One that the task dealt with is no error.
        watch();
        assert_eq!(caught(|| drop(named("worker 9", "dealt with"))), Ok(()));
    }
}
