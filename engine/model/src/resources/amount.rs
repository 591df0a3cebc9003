//! How much of a resource, in ten-thousandths.

use serde::{Deserialize, Serialize};
use std::fmt;

/// An amount of a resource. Fractions are whole numbers of ten-thousandths, so that what is taken and given back adds up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Amount(u64);

const PARTS: u64 = 10_000;
/// Numbers above this are not exact as those of the protocol; as bytes it is a pebibyte.
const WHOLE_MAX: u64 = 1 << 50;

impl Amount {
    pub const ZERO: Amount = Amount(0);
    pub const ONE: Amount = Amount(PARTS);
    /// The largest amount that anybody asks for or has.
    pub const MAX: Amount = Amount(WHOLE_MAX * PARTS);

    /// A whole number of a resource, at most [`Amount::MAX`].
    pub fn whole(number: u64) -> Amount {
        Amount(number.min(WHOLE_MAX) * PARTS)
    }

    /// The amount nearest to a number; `None` if that is not above 0, or no amount is near it.
    pub fn from_number(number: f64) -> Option<Amount> {
        let parts = (number * PARTS as f64).round();
        (parts >= 1.0 && parts <= Amount::MAX.0 as f64).then_some(Amount(parts as u64))
    }

    /// The amount as a number.
    pub fn number(self) -> f64 {
        self.0 as f64 / PARTS as f64
    }

    /// The whole number in it.
    pub fn wholes(self) -> u64 {
        self.0 / PARTS
    }

    /// What is beyond the whole number.
    pub fn fraction(self) -> Amount {
        Amount(self.0 % PARTS)
    }

    /// The sum, at most what can be said.
    #[must_use]
    pub fn plus(self, other: Amount) -> Amount {
        Amount(self.0.saturating_add(other.0))
    }

    /// The difference, `None` below 0.
    pub fn minus(self, other: Amount) -> Option<Amount> {
        self.0.checked_sub(other.0).map(Amount)
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.fraction() == Amount::ZERO {
            return write!(f, "{}", self.wholes());
        }
        let text = format!("{}.{:04}", self.wholes(), self.0 % PARTS);
        f.write_str(text.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_amounts_and_back() {
        for (number, text) in
            [(0.5, "0.5"), (1.0, "1"), (2.25, "2.25"), (0.0001, "0.0001"), (17_179_869_184.0, "17179869184")]
        {
            let amount = Amount::from_number(number).unwrap();
            assert_eq!((amount.number(), amount.to_string()), (number, text.to_owned()));
        }
        for number in [0.0, -1.0, 0.00001, f64::NAN, f64::INFINITY, 1e18] {
            assert_eq!(Amount::from_number(number), None, "{number}");
        }
        let third = Amount::from_number(1.0 / 3.0).unwrap();
        assert_eq!(third.plus(third).plus(third).plus(Amount(1)), Amount::ONE);
        assert_eq!((Amount::ONE.minus(third).map(Amount::number), third.minus(Amount::ONE)), (Some(0.6667), None));
        assert_eq!(Amount::whole(u64::MAX), Amount::MAX);
    }
}
