//! What ranks tell each other before they begin: who they are, and whether they are ready. All of them begin, or all end and
//! one says why.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// What a rank tells all others, in a form that does not change from release to release: its release, its host, and the
/// rest, each on a line.
#[derive(Debug, Clone)]
pub struct Announcement<T> {
    pub version: String,
    pub host: String,
    /// What it needs to tell if it is ready, or why it is not.
    pub ready: Result<T, String>,
}

#[derive(Serialize, Deserialize)]
enum Ready<T> {
    Yes(T),
    No(String),
}

/// Why the ranks do not begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The first rank that is not ready.
    pub rank: u32,
    pub host: String,
    pub why: String,
    /// So many more are not.
    pub others: usize,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // One line: it stands among the output of many processes.
        let why: Vec<&str> = self.why.split_whitespace().collect();
        write!(f, "rank {} on {}: {}", self.rank, self.host, why.join(" "))?;
        match self.others {
            0 => Ok(()),
            1 => write!(f, " (and one more rank is not ready)"),
            count => write!(f, " (and {count} more ranks are not ready)"),
        }
    }
}

impl<T: Serialize> Announcement<T> {
    /// As bytes for the others.
    pub fn encode(&self) -> Vec<u8> {
        let ready = match &self.ready {
            Ok(facts) => serde_json::to_string(&Ready::Yes(facts)),
            Err(why) => serde_json::to_string(&Ready::<()>::No(why.clone())),
        };
        // What cannot be written cannot be read either, which is said then.
        let ready = ready.unwrap_or_default();
        format!("{}\n{}\n{ready}", line(&self.version), line(&self.host)).into_bytes()
    }
}

fn line(text: &str) -> String {
    text.replace('\n', " ")
}

/// What all ranks have announced, in their order, if all are ready.
///
/// # Errors
/// When one is not, or has another release than rank 0.
pub fn judge<T: DeserializeOwned>(announced: &[Vec<u8>]) -> Result<Vec<T>, Refusal> {
    let mut facts = Vec::new();
    let mut refusals = Vec::new();
    let mut first_version = None;
    for (rank, bytes) in announced.iter().enumerate() {
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.splitn(3, '\n');
        let mut next = || lines.next().unwrap_or_default();
        let (version, host, ready) = (next(), next(), next());
        let first = first_version.get_or_insert_with(|| version.to_owned());
        let read = match serde_json::from_str(ready) {
            _ if version != first.as_str() => {
                Err(format!("this is Rain {version}, but rank 0 is Rain {first}: use the same release on all ranks"))
            }
            Ok(Ready::Yes(facts)) => Ok(facts),
            Ok(Ready::No(why)) => Err(why),
            Err(error) => Err(format!("what it has told cannot be read: {error}")),
        };
        match read {
            Ok(found) => facts.push(found),
            Err(why) => refusals.push((rank as u32, host.to_owned(), why)),
        }
    }
    let others = refusals.len().saturating_sub(1);
    match refusals.into_iter().next() {
        None => Ok(facts),
        Some((rank, host, why)) => Err(Refusal { rank, host, why, others }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announced(version: &str, host: &str, ready: Result<u32, &str>) -> Vec<u8> {
        let ready = ready.map_err(str::to_owned);
        Announcement { version: version.to_owned(), host: host.to_owned(), ready }.encode()
    }

    #[test]
    fn when_all_are_ready_all_know_all() {
        assert_eq!(judge::<u32>(&[announced("1", "a", Ok(7)), announced("1", "b\nc", Ok(8))]), Ok(vec![7, 8]));
    }

    #[test]
    fn the_first_that_is_not_ready_is_named() {
        let all = [announced("1", "a", Ok(7)), announced("1", "b", Err("no\nroom")), announced("1", "c", Err("none"))];
        let refusal = judge::<u32>(&all).unwrap_err();
        assert_eq!(refusal.rank, 1);
        assert_eq!(refusal.to_string(), "rank 1 on b: no room (and one more rank is not ready)");
    }

    #[test]
    fn another_release_is_said_even_if_nothing_else_of_it_can_be_read() {
        let all = [announced("1", "a", Ok(7)), announced("1", "a", Ok(7)), b"2\nx\n?".to_vec()];
        let refusal = judge::<u32>(&all).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "rank 2 on x: this is Rain 2, but rank 0 is Rain 1: use the same release on all ranks"
        );
    }

    #[test]
    fn garbage_is_refused() {
        for garbage in [&b""[..], b"1", b"1\nh\n", b"1\nh\n{\"Yes\":\"x\"}", &[0xff, 0xfe]] {
            assert_eq!(judge::<u32>(&[announced("1", "a", Ok(7)), garbage.to_vec()]).unwrap_err().rank, 1);
        }
    }
}
