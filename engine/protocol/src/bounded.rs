//! Lists whose length is bounded while they are decoded: an item takes more memory than its bytes in the frame.

use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

struct ListVisitor<T, const MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for ListVisitor<T, MAX> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MAX} items")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            if items.len() >= MAX {
                return Err(too_many(MAX));
            }
            items.push(item);
        }
        Ok(items)
    }
}

/// Decodes a list of at most `MAX` items.
///
/// # Errors
/// When it is longer.
pub(crate) fn list<'de, const MAX: usize, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    deserializer.deserialize_seq(ListVisitor::<T, MAX>(PhantomData))
}

struct TableVisitor<const MAX: usize>;

impl<'de, const MAX: usize> Visitor<'de> for TableVisitor<MAX> {
    type Value = BTreeMap<u32, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a map of at most {MAX} items")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut table = BTreeMap::new();
        while let Some((key, text)) = map.next_entry()? {
            if table.len() >= MAX {
                return Err(too_many(MAX));
            }
            table.insert(key, text);
        }
        Ok(table)
    }
}

/// Decodes a map of at most `MAX` items.
///
/// # Errors
/// When it is longer.
pub(crate) fn table<'de, const MAX: usize, D>(deserializer: D) -> Result<BTreeMap<u32, String>, D::Error>
where
    D: Deserializer<'de>,
{
    deserializer.deserialize_map(TableVisitor::<MAX>)
}

/// Decodes a list of lists whose items are bounded in all: `size` says how many an item has.
pub(crate) struct Nested<T> {
    pub(crate) items_max: usize,
    pub(crate) size: fn(&T) -> usize,
}

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for Nested<T> {
    type Value = Vec<T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<T>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Nested<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list with at most {} items in all", self.items_max)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
        let (mut list, mut count) = (Vec::new(), 0);
        while let Some(item) = seq.next_element()? {
            count += (self.size)(&item);
            if count > self.items_max {
                return Err(too_many(self.items_max));
            }
            list.push(item);
        }
        Ok(list)
    }
}

fn too_many<E: de::Error>(max: usize) -> E {
    E::custom(format_args!("a list of more than {max} items: submit in parts"))
}
