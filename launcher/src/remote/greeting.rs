//! What a governor that was started through SSH says to the one who starts it. Login scripts print what they like before that, and
//! may end the shell, or start another one, before there is a governor: only what the governor itself has said counts.

use crate::terminal;

/// On standard error: what follows is said by the governor.
const BEGINS: &str = "rain-governor-begins";
/// On standard output: it reads the access file from its standard input now. Before, what is sent could be run by a shell.
pub const ASKS: &str = "rain-governor-asks-for-access";
/// On standard output: the server has let it in.
pub const READY: &str = "rain-governor-is-ready";

/// Says that the governor begins, and asks for the access file.
pub fn begin() {
    terminal::complain_plainly(BEGINS);
    terminal::say(&format!("{ASKS}\n"));
}

/// Says that the server has let it in.
pub fn ready() {
    terminal::say(&format!("{READY}\n"));
}

/// Whether a greeting is among the lines that came.
pub fn is_in(heard: &[u8], greeting: &str) -> bool {
    heard.split(|byte| *byte == b'\n').any(|line| line.trim_ascii() == greeting.as_bytes())
}

/// What the governor has said on standard error, if it has begun; else all that was said there, and false.
pub fn of_the_governor(said: &[u8]) -> (String, bool) {
    let said = String::from_utf8_lossy(said);
    let after = said.split_once(BEGINS).map(|(_, after)| after);
    (after.unwrap_or(&said).trim().to_owned(), after.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_login_scripts_say_is_told_from_what_the_governor_says() {
        assert!(is_in(b"Welcome to node2\nrain-governor-is-ready\r\n", READY));
        assert!(!is_in(b"rain-governor-is-ready-not\n", READY));
        let (said, is_of_the_governor) = of_the_governor(b"****\nrain-governor-begins\nrain: cannot listen\n");
        assert_eq!((said.as_str(), is_of_the_governor), ("rain: cannot listen", true));
        let (said, is_of_the_governor) = of_the_governor(b"bash: rain: not found\n");
        assert_eq!((said.as_str(), is_of_the_governor), ("bash: rain: not found", false));
    }
}
