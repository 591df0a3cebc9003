//! Write tasks of Rain, a task-graph engine, in Rust: a program with functions that a governor runs.
//!
//! ```no_run
//! use rain_task::{Executor, register_task};
//! use std::io::Write;
//!
//! fn main() {
//!     let mut executor = Executor::new("example2");
//!     // One input, one output
//!     register_task!(executor, "hello", [I O], |_ctx, name, greeting| {
//!         write!(greeting, "Hello {}!", name.text()?)?;
//!         Ok(())
//!     });
//!     executor.run();
//! }
//! ```
//!
//! The governor is told of the program in its configuration, and a client calls the task as `example2/hello`:
//!
//! ```toml
//! [executors.example2]
//! command = "/path/to/the/program"
//! ```
//!
//! ```python
//! class Hello(Task):
//!     TASK_TYPE = "example2/hello"
//!
//!     def __init__(self, obj):
//!         super().__init__(inputs=(obj,), outputs=1)
//! ```
//!
//! # What a task gets
//! - [`Context`]: the task's number, configuration and attributes, debug messages;
//! - [`Input`]s: content without a copy as bytes, text or values, directories as paths, labels and attributes;
//! - [`Output`]s, as many as the client declared: written as to a file, in place in memory, as a directory, or by passing
//!   an input on.
//!
//! [`register_task!`] takes a function with a signature and checks the numbers of inputs and outputs;
//! [`Executor::register`] takes one that gets all of them as slices. Both may be closures with state of their own.
//!
//! # Errors
//! A task fails with what it returns as `Err`, which may be anything that is an error, or a text (`Err("why".into())`);
//! a panic fails the task too, and the executor goes on. The message has the place of the panic, also if it was in another thread. A
//! program that is built with `panic = "abort"` ends at a panic instead, and is started again for the next task; it says so when it
//! starts, and the error of the task has the end of its log. What a task prints goes to the executor's log, whose end is
//! shown if it dies.
//!
//! # Tests
//! [`Executor::trial`] runs a task without a governor:
//!
//! ```
//! use rain_task::{Executor, register_task};
//!
//! let mut executor = Executor::new("numbers");
//! register_task!(executor, "sum", [Is O], |ctx, inputs, sum| {
//!     let mut total = 0.0;
//!     for input in inputs {
//!         total += input.values::<f64>()?.iter().sum::<f64>();
//!     }
//!     ctx.debug(format_args!("{} inputs", inputs.len()));
//!     sum.set_bytes(total.to_string());
//!     sum.set_content_type("text");
//!     Ok(())
//! });
//!
//! let answer = executor.trial("sum").input(1.5f64.to_ne_bytes()).input(2f64.to_ne_bytes()).output("sum").run()?;
//! assert_eq!(answer.outputs[0].text(), "3.5");
//! assert_eq!(answer.debug.as_deref(), Some("2 inputs"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![warn(missing_docs)]

mod attributes;
mod connection;
mod context;
mod error;
mod executor;
mod input;
mod messages;
mod output;
mod panics;
mod plain;
#[doc(hidden)]
pub mod signature;
mod trial;
mod workspace;

pub use context::Context;
pub use error::{Error, ExecutorError, TaskResult};
pub use executor::Executor;
pub use input::Input;
pub use messages::DataType;
pub use output::Output;
pub use plain::Plain;
pub use trial::{Trial, TrialAnswer, TrialError, TrialInput, TrialOutput};

/// The messages of the protocol, for the tests with the golden frames.
#[doc(hidden)]
pub mod protocol {
    pub use crate::messages::*;
}

/// Registers a function with a signature: `register_task!(executor, "method", [I O], function)`.
///
/// The letters are the parameters after the [`Context`], first inputs and then outputs:
///
/// | letter | parameter | |
/// |---|---|---|
/// | `I` | `&Input` | one input |
/// | `Is` | `&[Input]` | all further inputs |
/// | `O` | `&mut Output` | one output |
/// | `Os` | `&mut [Output]` | all further outputs |
///
/// They come in this order, `Is` and `Os` once at most. Anything else does not compile:
///
/// ```compile_fail,E0080
/// # let mut executor = rain_task::Executor::new("x");
/// rain_task::register_task!(executor, "wrong", [O I], |_ctx, _output, _input| Ok(()));
/// ```
///
/// A call with other numbers of inputs or outputs fails with a message that says so. The function returns
/// [`TaskResult`]; it may be a closure, whose parameters need no types.
///
/// ```
/// use rain_task::{Context, Executor, Input, Output, TaskResult, register_task};
/// use std::io::Write;
///
/// fn interleave(_ctx: &mut Context, separator: &Input, parts: &[Input], whole: &mut Output) -> TaskResult {
///     for (number, part) in parts.iter().enumerate() {
///         if number > 0 {
///             whole.write_all(separator.bytes()?)?;
///         }
///         whole.write_all(part.bytes()?)?;
///     }
///     Ok(())
/// }
///
/// let mut executor = Executor::new("text");
/// register_task!(executor, "interleave", [I Is O], interleave);
/// register_task!(executor, "length", [I O], |_ctx, text, length| {
///     length.set_bytes(text.len().to_string());
///     Ok(())
/// });
///
/// let answer = executor.trial("interleave").input(", ").input("a").input("b").output("whole").run()?;
/// assert_eq!(answer.outputs[0].text(), "a, b");
/// let wrong = executor.trial("length").output("length").run().unwrap_err();
/// assert_eq!(wrong.to_string(), "text/length takes 1 input, but was given 0");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[macro_export]
macro_rules! register_task {
    ($executor:expr, $method:expr, [$($letter:ident)*], $function:expr $(,)?) => {
        $crate::register_task!(@ { $executor, $method, [$($letter)*], $function }
            inputs outputs ctx [$($letter)*] [] [] [])
    };
    (@ $all:tt $inputs:ident $outputs:ident $ctx:ident [I $($rest:ident)*] [$($types:tt)*] [$($takes:tt)*] [$($args:ident)*]) => {
        $crate::register_task!(@ $all $inputs $outputs $ctx [$($rest)*]
            [$($types)* &$crate::Input<'_>,]
            [$($takes)* let arg = $crate::signature::next_input(&mut $inputs);]
            [$($args)* arg])
    };
    (@ $all:tt $inputs:ident $outputs:ident $ctx:ident [Is $($rest:ident)*] [$($types:tt)*] [$($takes:tt)*] [$($args:ident)*]) => {
        $crate::register_task!(@ $all $inputs $outputs $ctx [$($rest)*]
            [$($types)* &[$crate::Input<'_>],]
            [$($takes)* let arg = ::std::mem::take(&mut $inputs);]
            [$($args)* arg])
    };
    (@ $all:tt $inputs:ident $outputs:ident $ctx:ident [O $($rest:ident)*] [$($types:tt)*] [$($takes:tt)*] [$($args:ident)*]) => {
        $crate::register_task!(@ $all $inputs $outputs $ctx [$($rest)*]
            [$($types)* &mut $crate::Output,]
            [$($takes)* let arg = $crate::signature::next_output(&mut $outputs);]
            [$($args)* arg])
    };
    (@ $all:tt $inputs:ident $outputs:ident $ctx:ident [Os $($rest:ident)*] [$($types:tt)*] [$($takes:tt)*] [$($args:ident)*]) => {
        $crate::register_task!(@ $all $inputs $outputs $ctx [$($rest)*]
            [$($types)* &mut [$crate::Output],]
            [$($takes)* let arg = ::std::mem::take(&mut $outputs);]
            [$($args)* arg])
    };
    (@ { $executor:expr, $method:expr, [$($letter:ident)*], $function:expr }
        $inputs:ident $outputs:ident $ctx:ident [] [$($types:tt)*] [$($takes:tt)*] [$($args:ident)*]) => {{
        // Gives the parameters of a closure their types.
        fn typed<F: FnMut(&mut $crate::Context<'_>, $($types)*) -> $crate::TaskResult>(function: F) -> F {
            function
        }
        let mut function = typed($function);
        const SIGNATURE: $crate::signature::Signature =
            $crate::signature::Signature::new(&[$(stringify!($letter)),*]);
        $executor.register($method, move |$ctx, $inputs, $outputs| {
            SIGNATURE.check($ctx, $inputs, $outputs)?;
            #[allow(unused_mut, unused_variables)]
            let (mut $inputs, mut $outputs) = ($inputs, $outputs);
            $($takes)*
            function($ctx, $($args),*)
        });
    }};
}
