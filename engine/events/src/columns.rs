//! Numbers as few bytes: each column is one number, a step, or the differences of neighbours.

/// All numbers are the same: one follows.
const SAME: u8 = 0;
/// Each number is the one before and a step: the first number and the step follow.
const STEP: u8 = 1;
/// The differences of neighbours follow.
const DELTAS: u8 = 2;
/// Numbers of a column at most: a damaged one must not take all memory.
const NUMBERS_MAX: usize = 1 << 26;

/// A column that is shorter than its reader expects, or of a form that it does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a column of numbers is cut or has an unknown form")]
pub struct BrokenColumn;

/// Appends a number: seven bits a byte, the lowest first.
pub fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Appends a column, whose length its reader knows.
pub fn put_column<T: Copy + Into<u64>>(out: &mut Vec<u8>, numbers: &[T]) {
    let first = numbers.first().map_or(0, |number| (*number).into());
    let step = numbers.get(1).map_or(0, |second| (*second).into().wrapping_sub(first));
    let is_step = numbers.windows(2).all(|pair| pair[1].into().wrapping_sub(pair[0].into()) == step);
    if is_step {
        out.push(if step == 0 { SAME } else { STEP });
        put_number(out, first);
        if step != 0 {
            put_number(out, zigzag(step));
        }
        return;
    }
    out.push(DELTAS);
    let mut before = 0;
    for number in numbers {
        let number = (*number).into();
        put_number(out, zigzag(number.wrapping_sub(before)));
        before = number;
    }
}

/// A difference as a number that is small when the difference is.
fn zigzag(difference: u64) -> u64 {
    let signed = difference as i64;
    ((signed << 1) ^ (signed >> 63)) as u64
}

fn unzigzag(number: u64) -> u64 {
    (number >> 1) ^ (number & 1).wrapping_neg()
}

/// Reads what `put_number` and `put_column` have written.
pub struct Columns<'a>(pub &'a [u8]);

impl Columns<'_> {
    /// The next number.
    ///
    /// # Errors
    /// When the bytes end in it, or it has more than 64 bits.
    #[inline]
    pub fn number(&mut self) -> Result<u64, BrokenColumn> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or(BrokenColumn)?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if *byte < 0x80 {
                return Ok(number);
            }
        }
        Err(BrokenColumn)
    }

    /// The next number, which has 32 bits.
    ///
    /// # Errors
    /// When it is cut or larger.
    pub fn small(&mut self) -> Result<u32, BrokenColumn> {
        u32::try_from(self.number()?).map_err(|_| BrokenColumn)
    }

    /// The next column, which has `count` numbers.
    ///
    /// # Errors
    /// When the bytes end in it.
    pub fn column(&mut self, count: usize, mut each: impl FnMut(u64)) -> Result<(), BrokenColumn> {
        if count > NUMBERS_MAX {
            return Err(BrokenColumn);
        }
        let (form, rest) = self.0.split_first().ok_or(BrokenColumn)?;
        self.0 = rest;
        match *form {
            DELTAS => {
                let mut number = 0u64;
                for _ in 0..count {
                    number = number.wrapping_add(unzigzag(self.number()?));
                    each(number);
                }
            }
            form @ (SAME | STEP) => {
                let mut number = self.number()?;
                let step = if form == STEP { unzigzag(self.number()?) } else { 0 };
                for _ in 0..count {
                    each(number);
                    number = number.wrapping_add(step);
                }
            }
            _ => return Err(BrokenColumn),
        }
        Ok(())
    }

    /// The next column, which has `count` numbers of 32 bits.
    ///
    /// # Errors
    /// When the bytes end in it.
    pub fn small_column(&mut self, count: usize) -> Result<Vec<u32>, BrokenColumn> {
        let mut numbers = Vec::with_capacity(count.min(1 << 20));
        self.column(count, |number| numbers.push(number as u32))?;
        Ok(numbers)
    }

    /// The next column, which has `count` numbers.
    ///
    /// # Errors
    /// When the bytes end in it.
    pub fn large_column(&mut self, count: usize) -> Result<Vec<u64>, BrokenColumn> {
        let mut numbers = Vec::with_capacity(count.min(1 << 20));
        self.column(count, |number| numbers.push(number))?;
        Ok(numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let cases: [&[u64]; 7] =
            [&[], &[7], &[5, 5, 5], &[9, 8, 7], &[0, 10, 20], &[3, u64::MAX, 0, 1 << 40], &[1, 2, 4]];
        for numbers in cases {
            let mut bytes = Vec::new();
            put_number(&mut bytes, 300);
            put_column(&mut bytes, numbers);
            let mut columns = Columns(&bytes);
            assert_eq!(columns.number(), Ok(300));
            assert_eq!(columns.large_column(numbers.len()).as_deref(), Ok(numbers));
            assert!(columns.0.is_empty());
        }
    }

    #[test]
    fn what_is_cut_or_unknown_is_refused() {
        let mut bytes = Vec::new();
        put_column(&mut bytes, &[1u32, 500, 3]);
        for length in 0..bytes.len() {
            assert_eq!(Columns(&bytes[..length]).small_column(3), Err(BrokenColumn), "{length}");
        }
        assert_eq!(Columns(&[9, 1]).small_column(1), Err(BrokenColumn));
        assert_eq!(Columns(&[0xff; 12]).number(), Err(BrokenColumn));
    }

    #[test]
    fn neighbours_take_a_byte() {
        let numbers: Vec<u32> = (0..1000).map(|i| 1_000_000 + i * 3 + i % 2).collect();
        let mut bytes = Vec::new();
        put_column(&mut bytes, &numbers);
        assert!(bytes.len() < 1010, "{}", bytes.len());
    }
}
