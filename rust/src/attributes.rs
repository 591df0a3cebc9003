//! `user` attributes of tasks and objects: JSON objects as text.

use crate::error::Error;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// The JSON form of `user`, which has to be an object that every reader of JSON takes. Numbers that are not finite become
/// `null`.
pub(crate) fn to_json<T: Serialize + ?Sized>(user: &T) -> Result<String, Error> {
    let wrong = |why: String| Error::Attributes(format!("have to be a JSON object: {why}"));
    let text = serde_json::to_string(user).map_err(|error| wrong(error.to_string()))?;
    // A value may write JSON of its own making, so the text is read as the governor will read it.
    match serde_json::from_str::<Map<String, Value>>(&text) {
        Ok(_) => Ok(text),
        Err(error) => Err(wrong(format!("{error}: {}", shortened(&text)))),
    }
}

/// The value that this JSON text stands for.
pub(crate) fn from_json<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|error| Error::Attributes(format!("are not the JSON that is expected: {error}")))
}

fn shortened(text: &str) -> String {
    const CHARS_MAX: usize = 100;
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::to_json;
    use serde::{Serialize, Serializer};

    /// Writes its text as it is, as `serde_json::value::RawValue` does.
    struct Raw(&'static str);

    impl Serialize for Raw {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serde_json::from_str::<Box<serde_json::value::RawValue>>(self.0).unwrap().serialize(serializer)
        }
    }

    #[test]
    fn attributes_are_objects_that_can_be_read() {
        assert_eq!(to_json(&serde_json::json!({"a": [1]})).unwrap(), r#"{"a":[1]}"#);
        assert_eq!(to_json(&Raw(r#"{"a": 1.5}"#)).unwrap(), r#"{"a": 1.5}"#);
        let wrong = |error: crate::Error| error.to_string();
        for other in [wrong(to_json(&[1, 2]).unwrap_err()), wrong(to_json(&"x").unwrap_err())] {
            assert!(other.starts_with("user attributes have to be a JSON object"), "{other}");
        }
        assert!(to_json(&()).is_err());
        for text in [r#"{"a": 1e999}"#, r#"{"a": "\ud800"}"#, r#"{"a": 1e999, "b": 0}"#] {
            assert!(to_json(&Raw(text)).is_err(), "{text}");
        }
    }
}
