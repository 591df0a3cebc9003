//! What tasks do in a simulation, and what comes of it: enough to compute every result without the engine.

use crate::random::mix;
use std::sync::Arc;

/// The content of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    pub value: u64,
    /// Bytes.
    pub size: u32,
}

/// How contents are held by server, governors and messages.
pub type Data = Arc<Content>;

/// What a task does, which its configuration says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Makes results of tasks differ.
    pub nonce: u32,
    /// How long it takes, microseconds.
    pub micros: u32,
    /// How many of its attempts fail before one succeeds.
    pub failures: u32,
    /// How many of its attempts never end by themselves.
    pub hangs: u32,
    /// Bytes of each of its outputs.
    pub size: u32,
}

impl Plan {
    /// As a task's configuration.
    pub fn encode(&self) -> Vec<u8> {
        let numbers = [self.nonce, self.micros, self.failures, self.hangs, self.size];
        numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    /// From a task's configuration; `None` when that is not one.
    pub fn decode(bytes: &[u8]) -> Option<Plan> {
        let mut numbers = bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        let mut number = || numbers.next();
        let plan = Plan { nonce: number()?, micros: number()?, failures: number()?, hangs: number()?, size: number()? };
        (bytes.len() == 20).then_some(plan)
    }

    /// Output number `index` of a task that reads these.
    pub fn output(&self, inputs: impl IntoIterator<Item = Content>, index: u32) -> Content {
        let read = inputs.into_iter().fold(mix(u64::from(self.nonce)), |hash, input| mix(hash ^ input.value));
        Content { value: mix(read ^ (u64::from(index) << 32)), size: self.size }
    }
}
