//! Numbers of bytes as people write them.

/// Splits a size into its number and what its unit stands for, as a power of two; `None` for the unit of a number without one. Units are B,
/// and K, M, G and T for powers of 1024, also as KB and KiB, in whatever case.
pub fn split_size(text: &str) -> Option<(&str, Option<u32>)> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim().to_ascii_lowercase();
    let power = match unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit) {
        "" if unit.is_empty() => None,
        "" if unit == "b" => Some(0),
        "k" => Some(10),
        "m" => Some(20),
        "g" => Some(30),
        "t" => Some(40),
        _ => return None,
    };
    Some((number, power))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_units_are_told_apart() {
        for (text, expected) in [
            ("256MiB", Some(("256", Some(20)))),
            (" 1.5 g", Some(("1.5", Some(30)))),
            ("2TB", Some(("2", Some(40)))),
            ("17", Some(("17", None))),
            ("4096B", Some(("4096", Some(0)))),
            ("", Some(("", None))),
            ("1iB", None),
            ("1e4G", None),
            ("-1G", None),
            ("1KBB", None),
        ] {
            assert_eq!(split_size(text), expected, "{text}");
        }
    }
}
