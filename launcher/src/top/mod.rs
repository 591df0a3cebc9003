//! `rain top`: what a server does, in a terminal, until somebody has seen enough.
//!
//! A thread asks the server; the one of the terminal draws what came last and takes keys, so that a slow answer holds no key up.

mod draw;
mod signal_restore;
mod snapshot;

use crate::seen::Seen;
use crate::seen_args::TopArgs;
use crate::status::LookupError;
use draw::draw;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use signal_restore::restore_at_signals;
use snapshot::{Chosen, Snapshot};
use std::io::{self, IsTerminal};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long to wait for a key before looking whether something new has come.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// What is looked at again after a key, so that the answer seems to come at once.
const AT_ONCE: Duration = Duration::from_millis(20);

/// Why there is nothing to be seen.
#[derive(Debug, thiserror::Error)]
pub enum TopError {
    #[error(
        "`rain top` draws on a terminal, and {0} is none here: `rain status`, `rain sessions`, `rain tasks` and `rain governors` \
         print the same, with --json for programs"
    )]
    NoTerminal(&'static str),
    #[error(transparent)]
    Lookup(#[from] LookupError),
    #[error("cannot draw on this terminal: {0}")]
    Terminal(#[from] io::Error),
}

type Look = Result<Snapshot, LookupError>;

/// Draws until `q` is typed.
///
/// # Errors
/// When there is no terminal, no server, or the server ends.
pub fn run(args: &TopArgs) -> Result<bool, TopError> {
    for (is_terminal, name) in
        [(io::stdin().is_terminal(), "standard input"), (io::stdout().is_terminal(), "standard output")]
    {
        if !is_terminal {
            return Err(TopError::NoTerminal(name));
        }
    }
    // Before there is another thread, which would take the signals.
    restore_at_signals()?;
    let mut seen = Seen::open(&args.which)?;
    let chosen = Arc::new(Mutex::new(Chosen::default()));
    let first = Snapshot::take(&mut seen, Chosen::default())?;
    let (looks, come) = mpsc::channel();
    let (wanted, wants) = mpsc::channel();
    let (interval, shared) = (Duration::from_secs_f64(args.interval), chosen.clone());
    std::thread::Builder::new()
        .name("looks".to_owned())
        .spawn(move || look(seen, &shared, interval, &wants, &looks))?;
    let mut terminal = ratatui::try_init()?;
    let ended = watch(&mut terminal, first, &come, &chosen, &wanted);
    ratatui::restore();
    ended.map(|()| true)
}

/// Asks again and again, and at once when somebody wants that, until nobody listens or there is no answer.
fn look(mut seen: Seen, chosen: &Mutex<Chosen>, interval: Duration, wants: &Receiver<()>, looks: &Sender<Look>) {
    loop {
        match wants.recv_timeout(interval) {
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
            Ok(()) => {
                std::thread::sleep(AT_ONCE);
                wants.try_iter().for_each(drop);
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {}
        }
        let asked = *chosen.lock().unwrap_or_else(PoisonError::into_inner);
        let look = Snapshot::take(&mut seen, asked);
        let is_last = look.is_err();
        if looks.send(look).is_err() || is_last {
            return;
        }
    }
}

fn watch(
    terminal: &mut ratatui::DefaultTerminal,
    mut shown: Snapshot,
    come: &Receiver<Look>,
    chosen: &Mutex<Chosen>,
    wanted: &Sender<()>,
) -> Result<(), TopError> {
    let mut since = Instant::now();
    terminal.draw(|frame| draw(frame, &shown, since.elapsed()))?;
    loop {
        let mut is_new = false;
        if event::poll(LOOK_AGAIN)? {
            is_new = true;
            if let Event::Key(key) = event::read()?
                && key.kind != KeyEventKind::Release
            {
                let Some(choose) = meaning(key) else { return Ok(()) };
                let mut asked = chosen.lock().unwrap_or_else(PoisonError::into_inner);
                *asked = choose(&shown, *asked);
                drop(asked);
                // Who asks may have ended, and has said why.
                let _ = wanted.send(());
            }
        }
        while let Ok(look) = come.try_recv() {
            (shown, since, is_new) = (look?, Instant::now(), true);
        }
        // An answer that does not come is told, too.
        if is_new || since.elapsed() > snapshot::LATE {
            terminal.draw(|frame| draw(frame, &shown, since.elapsed()))?;
        }
    }
}

/// What a key does to what is chosen; `None`: it ends all.
fn meaning(key: KeyEvent) -> Option<fn(&Snapshot, Chosen) -> Chosen> {
    let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
    Some(match key.code {
        KeyCode::Char('q') | KeyCode::Esc => return None,
        KeyCode::Char('c') if is_control => return None,
        KeyCode::Char('j') | KeyCode::Down => |shown, _| shown.neighbour(1),
        KeyCode::Char('k') | KeyCode::Up => |shown, _| shown.neighbour(-1),
        KeyCode::Char('l') | KeyCode::Right => |_, asked| asked.further(1),
        KeyCode::Char('h') | KeyCode::Left => |_, asked| asked.further(-1),
        _ => |_, asked| asked,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_end_it_or_choose() {
        let key = |code| KeyEvent::new(code, KeyModifiers::NONE);
        for ends in
            [key(KeyCode::Char('q')), key(KeyCode::Esc), KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)]
        {
            assert!(meaning(ends).is_none(), "{ends:?}");
        }
        let deeper = meaning(key(KeyCode::Right)).unwrap()(&Snapshot::default(), Chosen::default());
        assert_eq!(deeper, Chosen::default().further(1));
        let same = meaning(key(KeyCode::Char('x'))).unwrap()(&Snapshot::default(), deeper);
        assert_eq!(same, deeper);
    }
}
