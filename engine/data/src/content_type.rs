//! Content types: names for the format of an object's data, ordered from general to special.

/// Whether data of type `actual` may stand where `declared` was promised.
///
/// Everything is a sub-type of the unspecified type (none, or the empty name), and every type of itself. `text-ENC` is
/// a `text`, and a `text`, being UTF-8, is a `text-utf-8`. Longer paths are special cases of shorter ones: `mime/image/png`
/// of `mime/image` and of `mime/image/*`, `mime/text/csv; header=present` of `mime/text/csv`, `user/table/v2` of
/// `user/table`.
pub fn is_subtype(actual: Option<&str>, declared: Option<&str>) -> bool {
    let declared = declared.unwrap_or("");
    let actual = actual.unwrap_or("");
    if declared.is_empty() || actual == declared {
        return true;
    }
    if let Some(encoding) = declared.strip_prefix("text-") {
        return match actual.strip_prefix("text-") {
            Some(actual) => same_encoding(actual, encoding),
            None => actual == "text" && same_encoding(encoding, "utf-8"),
        };
    }
    if declared == "text" {
        return actual.len() > "text-".len() && actual.starts_with("text-");
    }
    let declared = declared.strip_suffix("/*").unwrap_or(declared);
    match actual.strip_prefix(declared) {
        Some(rest) if rest.starts_with('/') => rest.len() > 1,
        Some(rest) => declared.starts_with("mime/") && rest.trim_start().starts_with(';'),
        None => false,
    }
}

fn same_encoding(a: &str, b: &str) -> bool {
    let plain = |name: &str| name.chars().filter(|c| *c != '-' && *c != '_').collect::<String>();
    plain(a).eq_ignore_ascii_case(&plain(b))
}

#[cfg(test)]
mod tests {
    use super::is_subtype;

    #[test]
    fn anything_is_a_subtype_of_the_unspecified_type_and_of_itself() {
        for actual in [None, Some(""), Some("json"), Some("user/x")] {
            assert!(is_subtype(actual, None));
            assert!(is_subtype(actual, Some("")));
            assert!(is_subtype(actual, actual));
        }
        assert!(!is_subtype(None, Some("json")));
    }

    #[test]
    fn subtypes_are_more_special() {
        for (actual, declared) in [
            ("text-latin1", "text"),
            ("text-UTF8", "text-utf-8"),
            ("text", "text-utf-8"),
            ("mime/image/png", "mime"),
            ("mime/image/png", "mime/image"),
            ("mime/image/png", "mime/image/*"),
            ("mime/text/csv; header=present", "mime/text/csv"),
            ("user/table/v2", "user/table"),
        ] {
            assert!(is_subtype(Some(actual), Some(declared)), "{actual} of {declared}");
        }
        for (actual, declared) in [
            ("text", "text-latin1"),
            ("text-", "text"),
            ("textual", "text"),
            ("json", "text"),
            ("cloudpickle", "pickle"),
            ("mime/image/png", "mime/imag"),
            ("mime/image", "mime/image/png"),
            ("user/table", "user/tab"),
            ("user/table/", "user/table"),
        ] {
            assert!(!is_subtype(Some(actual), Some(declared)), "{actual} of {declared}");
        }
    }
}
