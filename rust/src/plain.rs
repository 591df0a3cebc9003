//! Types that are nothing but bytes.

use std::borrow::Cow;
use std::mem::{align_of, size_of};

/// A type whose bytes may be any, so that bytes can be viewed as a slice of it, and the other way round: numbers and arrays
/// of them. With the feature `bytemuck`, all types that are `bytemuck::Pod`, which can be derived:
///
/// ```
/// # #[cfg(feature = "bytemuck")] {
/// # use rain_task::{Executor, register_task};
/// #[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
/// #[repr(C)]
/// struct Point {
///     x: f32,
///     y: f32,
/// }
///
/// # let mut executor = Executor::new("x");
/// register_task!(executor, "mirror", [I O], |_ctx, points, mirrored| {
///     let points = points.values::<Point>()?;
///     for (to, from) in mirrored.create_values::<Point>(points.len())?.iter_mut().zip(&*points) {
///         *to = Point { x: -from.x, ..*from };
///     }
///     Ok(())
/// });
/// # let points = [1f32, 2.0, 3.0, 4.0].map(f32::to_ne_bytes).concat();
/// # let answer = executor.trial("mirror").input(points).output("").run().unwrap();
/// # assert_eq!(answer.outputs[0].bytes, [-1f32, 2.0, -3.0, 4.0].map(f32::to_ne_bytes).concat());
/// # }
/// ```
///
/// # Safety
/// Every pattern of bytes has to be a value, and no byte of a value may be padding.
pub unsafe trait Plain: Copy + 'static {}

// SAFETY: this is what Pod asks for, too.
#[cfg(feature = "bytemuck")]
unsafe impl<T: bytemuck::Pod> Plain for T {}

#[cfg(not(feature = "bytemuck"))]
macro_rules! plain {
    ($($number:ty)*) => {
        $(
            // SAFETY: a primitive number without padding, of which all patterns are values.
            unsafe impl Plain for $number {}
        )*
    };
}
#[cfg(not(feature = "bytemuck"))]
plain!(u8 i8 u16 i16 u32 i32 u64 i64 u128 i128 usize isize f32 f64);

// SAFETY: an array has the elements one after the other, without padding.
#[cfg(not(feature = "bytemuck"))]
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {}

/// The bytes as values: in place, or copied if they are not aligned for T. `None` if they are not whole values.
pub(crate) fn values<T: Plain>(bytes: &[u8]) -> Option<Cow<'_, [T]>> {
    let size = size_of::<T>();
    if size == 0 || !bytes.len().is_multiple_of(size) {
        return None;
    }
    let count = bytes.len() / size;
    let start = bytes.as_ptr();
    if start.addr().is_multiple_of(align_of::<T>()) {
        // SAFETY: `count` values of T fill `bytes`, which is aligned for T; all patterns of bytes are values of T.
        return Some(Cow::Borrowed(unsafe { std::slice::from_raw_parts(start.cast::<T>(), count) }));
    }
    let mut copy = Vec::<T>::with_capacity(count);
    // SAFETY: the copy has room for `count` values, which are all written, and cannot overlap with `bytes`.
    unsafe {
        std::ptr::copy_nonoverlapping(start, copy.as_mut_ptr().cast::<u8>(), bytes.len());
        copy.set_len(count);
    }
    Some(Cow::Owned(copy))
}

/// Bytes that begin at a page as values; a rest that is not a whole value is left out.
pub(crate) fn values_mut<T: Plain>(bytes: &mut [u8]) -> &mut [T] {
    // SAFETY: all patterns of bytes are values of T, and the other way round.
    let (before, values, _) = unsafe { bytes.align_to_mut::<T>() };
    debug_assert!(before.is_empty());
    values
}

#[cfg(test)]
mod tests {
    use super::values;
    use std::borrow::Cow;

    #[test]
    fn values_are_the_same_at_every_alignment() {
        let numbers = [1u64, u64::MAX, 7];
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_ne_bytes()).collect();
        let mut borrowed = 0;
        for shift in 0..8 {
            let shifted = [&vec![0; shift], &bytes[..]].concat();
            let read = values::<u64>(&shifted[shift..]).unwrap();
            assert_eq!(*read, numbers);
            borrowed += usize::from(matches!(read, Cow::Borrowed(_)));
        }
        assert!(borrowed >= 1);
        assert!(values::<u64>(&bytes[1..]).is_none());
        assert!(values::<u64>(&[]).unwrap().is_empty());
        assert_eq!(*values::<[u8; 3]>(b"abcdef").unwrap(), [*b"abc", *b"def"]);
    }
}
