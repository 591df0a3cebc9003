//! What a log can be asked.

use crate::error::LogError;
use serde::Deserialize;

/// Items of an answer when nothing else is said, and at most.
const LIMIT_DEFAULT: u32 = 100;
const LIMIT_MAX: u32 = 1000;

/// How many items an answer has.
pub(crate) fn limit(asked: Option<u32>) -> usize {
    asked.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX) as usize
}

/// The number that a cursor is.
pub(crate) fn cursor(after: Option<&String>) -> Result<Option<u64>, LogError> {
    let Some(text) = after else { return Ok(None) };
    let number = text.parse().ok().filter(|number| *number <= i64::MAX as u64);
    number.map(Some).ok_or_else(|| LogError::Request(format!("after={text:?} is not the `next` of an answer")))
}

/// A part of a list.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Page {
    pub state: Option<String>,
    pub limit: Option<u32>,
    pub after: Option<String>,
}

/// Which tasks. States, of which there may be several with commas between; a part of the name, or all names below a group when it ends
/// in `/`; a governor's number. `sort` is `id`, `started`, `seconds` or `name`, with `-` before it for the largest first.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskQuery {
    pub state: Option<String>,
    pub name: Option<String>,
    pub governor: Option<u32>,
    pub sort: Option<String>,
    pub limit: Option<u32>,
    pub after: Option<String>,
}

/// Which group is looked into; all tasks if `None`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GraphQuery {
    pub group: Option<String>,
}

/// Which objects come first: `-size`, `size`, `id` or `-made`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectQuery {
    pub sort: Option<String>,
    pub limit: Option<u32>,
    pub after: Option<String>,
}

/// A span of time, seconds since 1970, in so many points.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    pub from: Option<f64>,
    pub to: Option<f64>,
    pub points: Option<u32>,
}

/// The same, of one session.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ThroughputQuery {
    pub session: Option<u32>,
    pub from: Option<f64>,
    pub to: Option<f64>,
    pub points: Option<u32>,
}

/// A span of time in `width` columns.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamQuery {
    pub session: Option<u32>,
    pub from: Option<f64>,
    pub to: Option<f64>,
    pub width: Option<u32>,
}

/// Which events: of types with commas between, from a time on, seconds since 1970.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventQuery {
    pub session: Option<u32>,
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub from: Option<f64>,
    pub after: Option<String>,
    pub limit: Option<u32>,
}

/// A value, and how it is compared: `=` unless said otherwise.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Criterion<T> {
    pub value: T,
    #[serde(default)]
    pub mode: Mode,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Mode {
    #[serde(rename = "<")]
    Less,
    #[serde(rename = "<=")]
    AtMost,
    #[default]
    #[serde(rename = "=")]
    Equal,
    #[serde(rename = ">=")]
    AtLeast,
    #[serde(rename = ">")]
    Greater,
}

impl<T: PartialOrd> Criterion<T> {
    /// Whether something is as it asks.
    pub fn admits(&self, other: &T) -> bool {
        match self.mode {
            Mode::Less => *other < self.value,
            Mode::AtMost => *other <= self.value,
            Mode::Equal => *other == self.value,
            Mode::AtLeast => *other >= self.value,
            Mode::Greater => *other > self.value,
        }
    }
}

/// What the first Rain's dashboard asked; all that is given has to be so, and one of the types.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OldFilter {
    pub id: Option<Criterion<u64>>,
    pub event_types: Option<Vec<Criterion<String>>>,
    pub session: Option<Criterion<u32>>,
}
