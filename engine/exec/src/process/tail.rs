//! The end of what a program says.

/// Keeps the last bytes of a stream.
#[derive(Debug)]
pub(crate) struct Tail {
    bytes: Vec<u8>,
    kept_bytes: usize,
    cut: bool,
}

impl Tail {
    /// Keeps the last `kept_bytes` bytes.
    pub(crate) fn new(kept_bytes: usize) -> Self {
        Self { bytes: Vec::new(), kept_bytes, cut: false }
    }

    /// Adds the next bytes of the stream.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        if self.bytes.len() > 2 * self.kept_bytes {
            self.cut_front();
        }
    }

    fn cut_front(&mut self) {
        let excess = self.bytes.len().saturating_sub(self.kept_bytes);
        self.cut |= excess > 0;
        self.bytes.drain(..excess);
    }

    /// The end of the stream as text, at most so many bytes of it, beginning with "..." if something was before it.
    pub(crate) fn text(&self, bytes_max: usize) -> String {
        let first = self.bytes.len().saturating_sub(bytes_max.min(self.kept_bytes));
        end_text(&self.bytes[first..], self.cut || first > 0)
    }
}

/// The end of a stream as text, beginning with "..." if something was before it.
pub(crate) fn end_text(bytes: &[u8], is_cut: bool) -> String {
    // A character that was cut in two would become a replacement character.
    let broken = bytes.iter().take(3).take_while(|byte| is_cut && **byte & 0xc0 == 0x80).count();
    let text = String::from_utf8_lossy(&bytes[broken..]);
    if is_cut { format!("...{text}") } else { text.into_owned() }
}

#[cfg(test)]
mod tests {
    use super::Tail;

    #[test]
    fn only_the_end_is_kept() {
        let mut tail = Tail::new(4);
        assert_eq!(tail.text(10), "");
        tail.push(b"abcd");
        assert_eq!([tail.text(10), tail.text(2)], ["abcd", "...cd"]);
        tail.push("äbcdef\n".as_bytes());
        assert_eq!([tail.text(10), tail.text(2)], ["...def\n", "...f\n"]);
        let mut tail = Tail::new(2);
        tail.push("xäb".as_bytes());
        assert_eq!(tail.text(10), "...b");
    }
}
