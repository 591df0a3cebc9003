//! An executor with tasks for texts: split one in pieces, count the words of a piece, add counts up.

use rain_task::{Context, Executor, Input, Output, TaskResult, register_task};
use std::collections::BTreeMap;
use std::io::Write;

type Counts = BTreeMap<String, u64>;

/// A text -> as many pieces as outputs are declared, cut between lines.
fn split(ctx: &mut Context, text: &Input, pieces: &mut [Output]) -> TaskResult {
    let mut rest = text.bytes()?;
    let mut left = pieces.len();
    for piece in pieces {
        let wanted = rest.len() / left;
        let end = match rest[wanted..].iter().position(|byte| *byte == b'\n') {
            Some(line_end) if left > 1 => wanted + line_end + 1,
            _ => rest.len(),
        };
        piece.write_all(&rest[..end])?;
        rest = &rest[end..];
        left -= 1;
    }
    ctx.debug(format_args!("split {} bytes", text.len()));
    Ok(())
}

/// A text -> how often it has each word, as JSON.
fn count(_ctx: &mut Context, text: &Input, output: &mut Output) -> TaskResult {
    let mut counts = Counts::new();
    for word in text.text()?.split(|letter: char| !letter.is_alphabetic()).filter(|word| !word.is_empty()) {
        *counts.entry(word.to_lowercase()).or_default() += 1;
    }
    write_counts(&counts, output)
}

/// Counts -> their sum.
fn merge(_ctx: &mut Context, parts: &[Input], output: &mut Output) -> TaskResult {
    let mut sum = Counts::new();
    for part in parts {
        let counts: Counts = serde_json::from_slice(part.bytes()?)?;
        for (word, count) in counts {
            *sum.entry(word).or_default() += count;
        }
    }
    write_counts(&sum, output)
}

fn write_counts(counts: &Counts, output: &mut Output) -> TaskResult {
    serde_json::to_writer(&mut *output, counts)?;
    output.set_content_type("json");
    output.set_user(&serde_json::json!({"distinct": counts.len()}))?;
    Ok(())
}

fn executor() -> Executor {
    let mut executor = Executor::new("words");
    register_task!(executor, "split", [I Os], split);
    register_task!(executor, "count", [I O], count);
    register_task!(executor, "merge", [Is O], merge);
    executor
}

fn main() {
    executor().run();
}

#[cfg(test)]
mod tests {
    use super::executor;

    #[test]
    fn words_of_pieces_add_up_to_those_of_the_whole() {
        let text = "The rain in Spain\nstays mainly in\nthe plain. Über\n";
        let mut executor = executor();
        let pieces = executor.trial("split").input(text).output("1").output("2").output("3").run().unwrap();
        let joined: Vec<u8> = pieces.outputs.iter().flat_map(|piece| piece.bytes.clone()).collect();
        assert_eq!(joined, text.as_bytes());

        let counts: Vec<Vec<u8>> = pieces
            .outputs
            .iter()
            .map(|piece| executor.trial("count").input(&piece.bytes).output("counts").run().unwrap())
            .map(|mut answer| answer.outputs.remove(0).bytes)
            .collect();
        let merge = counts.iter().fold(executor.trial("merge"), |trial, part| trial.input(part)).output("sum");
        let sum = merge.run().unwrap();
        let whole = executor.trial("count").input(text).output("counts").run().unwrap();
        assert_eq!(sum.outputs, whole.outputs);
        let counts: super::Counts = serde_json::from_slice(&whole.outputs[0].bytes).unwrap();
        assert_eq!((counts["the"], counts["in"], counts["über"], counts.len()), (2, 2, 1, 8));
        assert_eq!(whole.outputs[0].user.as_deref(), Some(r#"{"distinct":8}"#));
    }
}
