//! What checkers find.

use std::fmt;

/// In what way a run went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Something happened that must not.
    Wrong,
    /// Something does not happen that must.
    Stuck,
    /// A state machine has panicked.
    Crash,
}

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub verdict: Verdict,
    /// The checker that has found it.
    pub checker: &'static str,
    pub message: String,
}

impl Violation {
    /// Something happened that must not.
    pub fn wrong(checker: &'static str, message: String) -> Self {
        Self { verdict: Verdict::Wrong, checker, message }
    }

    /// Something does not happen that must.
    pub fn stuck(checker: &'static str, message: String) -> Self {
        Self { verdict: Verdict::Stuck, checker, message }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ({}): {}", self.verdict, self.checker, self.message)
    }
}
