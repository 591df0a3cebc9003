//! A task begins when all that it reads is there, and is what a sequential run would read.

use crate::content::Content;
use crate::graph::Graph;
use crate::truth::Truth;
use crate::violation::Violation;
use rain_governor::Session;
use rain_model::graph::Batch;

const NAME: &str = "inputs";

/// What a task that begins reads.
pub fn read(truth: &Truth, session: &Session<Graph>, batch: &Batch, task: u32) -> Result<Vec<Content>, Violation> {
    let number = session.number;
    let mut read = Vec::new();
    for object in batch.inputs(task) {
        let expected = truth.expected(number, *object);
        let found = session.graph.value(*object);
        match found {
            Some(content) if Some(content) == expected => read.push(content),
            found => {
                let message = format!(
                    "task {number}:{task} begins, and its input object {object} is {found:?} instead of {expected:?}"
                );
                return Err(Violation::wrong(NAME, message));
            }
        }
    }
    Ok(read)
}
