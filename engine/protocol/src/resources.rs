//! What tasks ask for, as clients say it.

use crate::bounded;
use rain_model::resources::NAMES_MAX;
use serde::{Deserialize, Serialize};

/// Resources that a task asks for at once: names and amounts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WireRequest(#[serde(deserialize_with = "bounded::list::<NAMES_MAX, _, _>")] pub Vec<(String, WireAmount)>);

/// A number, whole or not.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct WireAmount(pub f64);

impl Serialize for WireAmount {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let whole = self.0 as u64;
        if whole as f64 == self.0 { serializer.serialize_u64(whole) } else { serializer.serialize_f64(self.0) }
    }
}
