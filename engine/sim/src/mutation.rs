//! Faults of the engine that are put back on purpose, to show that the checkers find them.

/// A fault that this engine once had, or could have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mutation {
    /// Tasks that a supplied constant makes ready while others are linked are queued, and nobody is woken for them.
    LostWake,
    /// Workers go on gathering for a task of several cpus that was cancelled, or whose session was closed.
    LostGang,
    /// What cannot be delivered to a governor that asked for an object is dropped, and nobody is told.
    DroppedReply,
    /// A worker waits for its executor when the only call could not be sent.
    EmptyWait,
    /// Tasks that are cancelled while they wait keep their claims on what they read.
    KeptInputs,
    /// Tasks begin with what they were given, though others that were to be stopped still have it.
    EarlyBegin,
}

impl Mutation {
    /// All of them.
    pub const ALL: [Mutation; 6] = [
        Mutation::LostWake,
        Mutation::LostGang,
        Mutation::DroppedReply,
        Mutation::EmptyWait,
        Mutation::KeptInputs,
        Mutation::EarlyBegin,
    ];
}
