//! Long texts in short: what people write and programs say has no bound, and goes into logs, errors and tables.

use std::borrow::Cow;

/// Longest text that an error quotes, bytes.
const QUOTE_BYTES_MAX: usize = 200;

fn floor(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// At most about `bytes_max` bytes of a text: both of its ends, with how much was left out between them.
pub fn cut(text: &str, bytes_max: usize) -> Cow<'_, str> {
    if text.len() <= bytes_max {
        return Cow::Borrowed(text);
    }
    let head = floor(text, bytes_max / 2);
    let tail = floor(text, text.len() - bytes_max / 2);
    Cow::Owned(format!("{}\n[... {} bytes left out ...]\n{}", &text[..head], tail - head, &text[tail..]))
}

/// The same of a text that is owned.
pub fn cut_owned(text: String, bytes_max: usize) -> String {
    if text.len() <= bytes_max { text } else { cut(&text, bytes_max).into_owned() }
}

/// A text as an error quotes it: its beginning, with special characters escaped.
pub fn quoted(text: &str) -> String {
    if text.len() <= QUOTE_BYTES_MAX {
        return format!("{text:?}");
    }
    let head = floor(text, QUOTE_BYTES_MAX);
    format!("{:?}... ({} bytes)", &text[..head], text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_of_a_long_text_stay() {
        assert_eq!(cut("short", 5), "short");
        let long = format!("begin {} end", "é".repeat(10_000));
        let short = cut(&long, 1001);
        assert!(short.starts_with("begin é") && short.ends_with("é end"), "{short}");
        assert!(short.contains("[... 19010 bytes") && short.len() < 1100, "{} bytes: {short}", short.len());
        assert_eq!(cut_owned(long.clone(), 1001), short);
    }

    #[test]
    fn quotes_are_short_and_on_one_line() {
        assert_eq!(quoted("a\nb"), "\"a\\nb\"");
        let text = quoted(&"\u{1}".repeat(64 << 10));
        assert!(text.ends_with("... (65536 bytes)") && text.len() < 1300, "{text}");
    }
}
