//! Times that state machines are told.

use std::ops::Add;
use std::time::Duration;

/// A moment on a clock that never goes back, as the time since some moment of the driver's choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(Duration);

impl Time {
    /// The moment so long after the one that the driver has chosen.
    pub const fn new(since_start: Duration) -> Self {
        Self(since_start)
    }

    /// How long before this moment `earlier` was; zero when it was not.
    pub fn since(self, earlier: Time) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Time {
    type Output = Time;

    fn add(self, duration: Duration) -> Time {
        Time(self.0.saturating_add(duration))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_ordered_and_have_distances() {
        let second = Duration::from_secs(1);
        let (early, late) = (Time::new(second), Time::new(second) + 2 * second);
        assert!(early < late);
        assert_eq!((late.since(early), early.since(late)), (2 * second, Duration::ZERO));
        assert_eq!(late + Duration::MAX, Time::new(Duration::MAX));
    }
}
