//! Nothing to link with: this crate holds tests of the repository as a whole. `tidy.rs` checks the rules for the sources.
