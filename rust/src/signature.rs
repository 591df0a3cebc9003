//! What `register_task!` expands to.

use crate::context::Context;
use crate::error::Error;
use crate::input::Input;
use crate::output::Output;

/// The numbers of inputs and outputs that a function takes.
#[derive(Debug, Clone, Copy)]
pub struct Signature {
    inputs: usize,
    more_inputs: bool,
    outputs: usize,
    more_outputs: bool,
}

impl Signature {
    /// The signature that these letters describe. The macro has it made at compile time, so that a wrong one is an error of
    /// the compiler.
    ///
    /// # Panics
    /// If they are not in order: inputs before outputs, and `Is` and `Os` after what they are the rest of.
    pub const fn new(letters: &[&str]) -> Self {
        let mut signature = Self { inputs: 0, more_inputs: false, outputs: 0, more_outputs: false };
        // Constant functions have no iterators.
        let mut number = 0;
        while number < letters.len() {
            let Self { more_inputs, outputs, more_outputs, .. } = signature;
            match letters[number].as_bytes() {
                b"I" if !more_inputs && outputs == 0 && !more_outputs => signature.inputs += 1,
                b"Is" if !more_inputs && outputs == 0 && !more_outputs => signature.more_inputs = true,
                b"O" if !more_outputs => signature.outputs += 1,
                b"Os" if !more_outputs => signature.more_outputs = true,
                _ => panic!("a signature is like [I Is O Os]: inputs before outputs, Is and Os once and after I and O"),
            }
            number += 1;
        }
        signature
    }

    /// Whether a call has what is wanted.
    pub fn check(&self, ctx: &Context<'_>, inputs: &[Input<'_>], outputs: &[Output]) -> Result<(), Error> {
        let wrong = |what, wanted: usize, more, noun: &str, got| {
            let at_least = if more { "at least " } else { "" };
            let plural = if wanted == 1 { "" } else { "s" };
            let wanted = format!("{at_least}{wanted} {noun}{plural}");
            Err(Error::Numbers { task_type: ctx.task_type().to_owned(), what, wanted, got })
        };
        let (given, declared) = (inputs.len(), outputs.len());
        if given < self.inputs || (given > self.inputs && !self.more_inputs) {
            return wrong("takes", self.inputs, self.more_inputs, "input", format!("was given {given}"));
        }
        if declared < self.outputs || (declared > self.outputs && !self.more_outputs) {
            let verb = if declared == 1 { "is" } else { "are" };
            return wrong("makes", self.outputs, self.more_outputs, "output", format!("{declared} {verb} declared"));
        }
        Ok(())
    }
}

/// Takes the first input off; `check` has seen that there is one.
pub fn next_input<'s, 'a>(inputs: &mut &'s [Input<'a>]) -> &'s Input<'a> {
    let (first, rest) = inputs.split_first().expect("the number of inputs was checked");
    *inputs = rest;
    first
}

/// Takes the first output off; `check` has seen that there is one.
pub fn next_output<'s>(outputs: &mut &'s mut [Output]) -> &'s mut Output {
    let (first, rest) = std::mem::take(outputs).split_first_mut().expect("the number of outputs was checked");
    *outputs = rest;
    first
}
