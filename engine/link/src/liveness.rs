//! Whether a peer lives. Times count from any moment, which is the same for all of one link.

use crate::patience::Patience;
use std::time::Duration;

/// A peer for which more than this waits in memory is given up when none of it goes for some time.
pub const HELD_BYTES_MAX: usize = 256 << 20;

/// What is to be done about a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Nothing,
    /// Show the peer that this end lives.
    Ping,
    /// Give the connection up: nothing comes. The peer may come back.
    Silent(String),
    /// Give the peer up: it does not take what is sent to it.
    Stuck(String),
}

/// A link has no working connection.
#[derive(Debug)]
struct Cut {
    since: Duration,
    why: String,
    /// This end has given the connection up because nothing came, so that the peer may not know of it.
    silent: bool,
}

/// What is known of the peer of one link.
#[derive(Debug)]
pub struct Liveness {
    cut: Option<Cut>,
    was_greeted: bool,
    /// When something last came, and was last written, on the connection that there is.
    heard: Duration,
    wrote: Duration,
    /// When something of what waits for the peer was last written or acknowledged, or little waited.
    progress: Duration,
}

impl Liveness {
    /// Of a peer to which there has been no connection.
    pub fn new(now: Duration) -> Self {
        let cut = Some(Cut { since: now, why: "no connection".to_owned(), silent: false });
        Self { cut, was_greeted: false, heard: now, wrote: now, progress: now }
    }

    /// Whether there has been a working connection.
    pub fn was_greeted(&self) -> bool {
        self.was_greeted
    }

    /// A connection was begun.
    pub fn connect(&mut self, now: Duration) {
        (self.heard, self.wrote) = (now, now);
    }

    /// The connection works.
    pub fn greet(&mut self, now: Duration) {
        (self.cut, self.was_greeted) = (None, true);
        (self.heard, self.wrote, self.progress) = (now, now, now);
    }

    /// Something came at this time.
    pub fn heard(&mut self, at: Duration) {
        self.heard = self.heard.max(at);
    }

    /// Nothing was read on purpose, so that nothing can have come.
    pub fn paused(&mut self, now: Duration) {
        self.heard = now;
    }

    /// This end did nothing for so long until now, as when it is suspended: what it did not hear meanwhile says nothing of the peer.
    pub fn slept(&mut self, now: Duration, pause: Duration) {
        (self.heard, self.progress) = (now, now);
        if let Some(cut) = &mut self.cut {
            cut.since += pause;
        }
    }

    /// Something was written at this time; `progress`: it was of what waits for the peer. A ping is not.
    pub fn wrote(&mut self, at: Duration, progress: bool) {
        self.wrote = self.wrote.max(at);
        if progress {
            self.progress = self.progress.max(at);
        }
    }

    /// The peer has acknowledged something.
    pub fn acknowledged(&mut self, now: Duration) {
        self.progress = now;
    }

    /// The connection is gone; `silent` if this end has given it up because nothing came.
    pub fn cut(&mut self, now: Duration, why: String, silent: bool) {
        // Of who was never there, nothing can be lost.
        let silent = silent && self.was_greeted;
        self.cut.get_or_insert(Cut { since: now, why, silent });
    }

    /// What is to be done about the connection, while `held_bytes` wait for the peer; `writes` if something is being written anyway.
    pub fn tick(&mut self, now: Duration, patience: Patience, held_bytes: usize, writes: bool) -> Verdict {
        if held_bytes <= HELD_BYTES_MAX {
            self.progress = now;
        } else if now.saturating_sub(self.progress) > patience.stuck() {
            return Verdict::Stuck(format!("it does not take what is sent to it: {} MiB wait", held_bytes >> 20));
        }
        let silence = self.silence(patience);
        if now.saturating_sub(self.heard) > silence {
            return Verdict::Silent(format!("nothing was heard from it for {} s", silence.as_secs_f32()));
        }
        if self.cut.is_none() && !writes && now.saturating_sub(self.wrote) >= patience.ping() {
            return Verdict::Ping;
        }
        Verdict::Nothing
    }

    fn silence(&self, patience: Patience) -> Duration {
        if self.cut.is_none() { patience.silence() } else { patience.greeting() }
    }

    /// When `tick` has to be called about the connection, if nothing else happens.
    pub fn due(&self, now: Duration, patience: Patience, writes: bool) -> Duration {
        let silent = self.heard + self.silence(patience);
        let ping = if writes { now } else { self.wrote } + patience.ping();
        if self.cut.is_none() { silent.min(ping) } else { silent }
    }

    /// When the peer is lost, if it gets no working connection; none while it has one.
    pub fn lost_at(&self, patience: Patience) -> Option<Duration> {
        self.cut.as_ref().map(|cut| cut.since + cut.time(patience))
    }

    /// Why the peer is lost, if it is.
    pub fn lost(&self, now: Duration, patience: Patience) -> Option<String> {
        let cut = self.cut.as_ref().filter(|cut| now > cut.since + cut.time(patience))?;
        Some(format!("no connection to it for {} s: {}", cut.time(patience).as_secs_f32(), cut.why))
    }
}

impl Cut {
    /// How long the peer has to come back.
    fn time(&self, patience: Patience) -> Duration {
        if self.silent { patience.return_after_silence() } else { patience.return_after_closing() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MUCH: usize = HELD_BYTES_MAX + 1;

    /// A peer that has just connected, and when.
    fn peer() -> (Liveness, Duration) {
        let begin = 5 * SECOND;
        let mut liveness = Liveness::new(begin);
        liveness.connect(begin);
        liveness.greet(begin);
        (liveness, begin)
    }

    #[test]
    fn a_peer_that_is_silent_for_half_a_minute_and_comes_back_is_not_lost() {
        let (mut liveness, begin) = peer();
        let patience = Patience::default();
        assert_eq!(liveness.tick(begin + 15 * SECOND, patience, 0, true), Verdict::Nothing);
        let given_up = begin + 16 * SECOND;
        assert!(matches!(liveness.tick(given_up, patience, 0, true), Verdict::Silent(_)));
        liveness.cut(given_up, "silent".to_owned(), true);
        let back = begin + 40 * SECOND;
        assert_eq!(liveness.lost(back, patience), None);
        liveness.connect(back);
        liveness.greet(back);
        assert_eq!((liveness.lost_at(patience), liveness.lost(back + 100 * SECOND, patience)), (None, None));
    }

    #[test]
    fn a_peer_that_does_not_come_back_is_lost_sooner_when_it_has_closed_its_connection() {
        for (silent, seconds) in [(true, 45), (false, 10)] {
            let (mut liveness, begin) = peer();
            let patience = Patience::default();
            liveness.cut(begin, "gone".to_owned(), silent);
            // Attempts to connect that fail change nothing.
            liveness.connect(begin + 5 * SECOND);
            liveness.cut(begin + 6 * SECOND, "refused".to_owned(), !silent);
            let lost = begin + seconds * SECOND;
            assert_eq!((liveness.lost_at(patience), liveness.lost(lost, patience)), (Some(lost), None));
            assert!(liveness.lost(lost + SECOND, patience).is_some_and(|why| why.ends_with("gone")));
        }
    }

    #[test]
    fn a_peer_to_which_bytes_flow_is_not_stuck_however_long_a_message_takes() {
        let (mut liveness, begin) = peer();
        let patience = Patience::default();
        // One message that takes ten minutes, of which something goes every 30 s, and nothing is acknowledged.
        for seconds in (0..600).step_by(10) {
            let now = begin + seconds * SECOND;
            liveness.heard(now);
            liveness.wrote(now, seconds % 30 == 0);
            assert_eq!(liveness.tick(now, patience, MUCH, true), Verdict::Nothing, "after {seconds} s");
        }
    }

    #[test]
    fn a_peer_that_takes_nothing_but_pings_is_stuck() {
        let (mut liveness, begin) = peer();
        let patience = Patience::default();
        for seconds in 0..=60 {
            let now = begin + seconds * SECOND;
            liveness.heard(now);
            liveness.wrote(now, false);
            assert_ne!(liveness.tick(now, patience, MUCH, false), Verdict::Stuck(String::new()));
            assert!(!matches!(liveness.tick(now, patience, MUCH, true), Verdict::Stuck(_)), "after {seconds} s");
        }
        let now = begin + 61 * SECOND;
        liveness.heard(now);
        assert!(matches!(liveness.tick(now, patience, MUCH, true), Verdict::Stuck(_)));
        // Where little waits there is nothing to take.
        assert_eq!(liveness.tick(now, patience, 0, true), Verdict::Nothing);
    }

    #[test]
    fn a_link_that_is_not_read_on_purpose_cannot_be_silent() {
        let (mut liveness, begin) = peer();
        let patience = Patience::default();
        for seconds in 0..300 {
            let now = begin + seconds * SECOND;
            liveness.paused(now);
            assert_eq!(liveness.tick(now, patience, 0, true), Verdict::Nothing);
        }
        assert!(matches!(liveness.tick(begin + 320 * SECOND, patience, 0, true), Verdict::Silent(_)));
    }

    #[test]
    fn the_pause_of_this_end_is_no_silence_of_the_peer() {
        let (mut liveness, begin) = peer();
        let (patience, pause) = (Patience::default(), 3600 * SECOND);
        let awake = begin + pause;
        liveness.slept(awake, pause);
        assert_eq!(liveness.tick(awake + SECOND, patience, MUCH, true), Verdict::Nothing);
        assert!(matches!(liveness.tick(awake + 16 * SECOND, patience, 0, true), Verdict::Silent(_)));
        liveness.cut(awake + 16 * SECOND, "silent".to_owned(), true);
        liveness.slept(awake + 16 * SECOND + pause, pause);
        assert_eq!(liveness.lost_at(patience), Some(awake + 61 * SECOND + pause));
    }

    #[test]
    fn two_idle_ends_keep_each_other_alive_by_being_woken_when_something_is_due() {
        let patience = Patience::default();
        let (mut ends, begin) = ([peer().0, peer().0], 7 * SECOND);
        ends.iter_mut().for_each(|end| end.greet(begin));
        let (mut now, mut ticks) = (begin, 0);
        while now < begin + 300 * SECOND {
            now = ends.iter().map(|end| end.due(now, patience, false)).min().unwrap();
            ticks += 1;
            for end in 0..2 {
                match ends[end].tick(now, patience, 0, false) {
                    Verdict::Nothing => {}
                    Verdict::Ping => {
                        ends[end].wrote(now, false);
                        ends[1 - end].heard(now);
                    }
                    other => panic!("{other:?} after {:?}", now - begin),
                }
            }
        }
        assert_eq!(ticks, 300);
    }
}
