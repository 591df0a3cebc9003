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
    /// The signature that these letters describe.
    ///
    /// # Panics
    /// If they are not in order: inputs before outputs, and `Is` and `Os` after what they are the rest of.
    pub fn new(letters: &[&str]) -> Self {
        let order = |letter: &&str| ["I", "Is", "O", "Os"].iter().position(|known| known == letter);
        let in_order = letters.is_sorted_by_key(order);
        let count = |wanted: &str| letters.iter().filter(|letter| **letter == wanted).count();
        assert!(in_order && count("Is") <= 1 && count("Os") <= 1, "a signature is like [I Is O Os], not {letters:?}");
        Self { inputs: count("I"), more_inputs: count("Is") == 1, outputs: count("O"), more_outputs: count("Os") == 1 }
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
