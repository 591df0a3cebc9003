//! Panics of tasks, made into errors.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs `action`; a panic becomes its text, with its place if `watch` was called.
pub(crate) fn caught<T>(action: impl FnOnce() -> T) -> Result<T, String> {
    PLACE.take();
    // A task that panicked may leave its own state in disorder; what the executor has is not touched by it.
    catch_unwind(AssertUnwindSafe(action)).map_err(|payload| {
        let text = text_of(&*payload);
        match PLACE.take() {
            Some(place) => format!("panicked at {place}: {text}"),
            None => format!("panicked: {text}"),
        }
    })
}

fn text_of(payload: &(dyn Any + Send)) -> &str {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (None, Some(text)) => text,
        _ => "with a value that is no text",
    }
}

/// From now on the place of each panic is known; the hook that was there is called too.
pub(crate) fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = take_hook();
        set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
            PLACE.set(info.location().map(ToString::to_string));
            previous(info);
        }));
    });
}
