//! Typed reading of JSON as the reference implementation reads it: keys match
//! without regard to case, unknown keys are passed over, and `null` is the same
//! as an absent key.
//!
//! Configurations in the field rely on this (`isgateway`, `MTU`), and serde
//! alone would silently ignore such keys. Errors name the key.
//!
//! ```
//! #[derive(serde::Deserialize)]
//! #[serde(default, rename_all = "camelCase")]
//! #[derive(Default)]
//! struct Keys { is_gateway: bool, mtu: u32 }
//!
//! let value = serde_json::json!({"isgateway": true, "MTU": 1400, "other": null});
//! let keys: Keys = cni::fold::read(&value).unwrap();
//! assert!(keys.is_gateway && keys.mtu == 1400);
//!
//! let wrong = serde_json::json!({"mtu": "big"});
//! let error = cni::fold::read::<Keys>(&wrong).err().unwrap();
//! assert_eq!(error.to_string(), r#""mtu": invalid type: string "big", expected u32"#);
//! ```

use std::fmt;

use serde::de::{self, DeserializeSeed, Visitor};
use serde_json::{Map, Value};

/// A value of the wrong shape, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadError {
    path: String,
    message: String,
}

impl ReadError {
    fn under(mut self, step: &str) -> Self {
        self.path = match self.path.as_str() {
            "" => step.to_owned(),
            path if path.starts_with('[') => format!("{step}{path}"),
            path => format!("{step}.{path}"),
        };
        self
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "\"{}\": {}", self.path, self.message)
        }
    }
}

impl std::error::Error for ReadError {}

impl de::Error for ReadError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        ReadError {
            path: String::new(),
            message: message.to_string(),
        }
    }
}

/// Reads `value` as a `T`.
///
/// # Errors
/// The first value that does not fit, with the path of keys that leads to it.
pub fn read<'de, T: de::Deserialize<'de>>(value: &'de Value) -> Result<T, ReadError> {
    T::deserialize(Folded(value))
}

/// Reads an object, as [`read`].
///
/// # Errors
/// As [`read`].
pub fn read_object<'de, T: de::Deserialize<'de>>(
    object: &'de Map<String, Value>,
) -> Result<T, ReadError> {
    T::deserialize(FoldedObject(object))
}

/// Looks `key` up: the exact spelling first, then any other case.
pub fn get<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    let found = object.get(key).or_else(|| {
        let mut entries = object.iter();
        entries.find_map(|(k, v)| k.eq_ignore_ascii_case(key).then_some(v))
    });
    found.filter(|value| !value.is_null())
}

struct Folded<'de>(&'de Value);

impl<'de> de::Deserializer<'de> for Folded<'de> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Number(value) => match (value.as_u64(), value.as_i64()) {
                (Some(value), _) => visitor.visit_u64(value),
                (None, Some(value)) => visitor.visit_i64(value),
                (None, None) => visitor.visit_f64(value.as_f64().unwrap_or(f64::NAN)),
            },
            Value::String(value) => visitor.visit_borrowed_str(value),
            Value::Array(values) => visitor.visit_seq(Elements(values.iter().enumerate())),
            Value::Object(object) => FoldedObject(object).deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        match self.0 {
            Value::Object(object) => FoldedObject(object).deserialize_struct(name, fields, visitor),
            // serde would also take an array as the fields in order.
            other => Err(de::Error::custom(format!(
                "invalid type: {other}, expected an object"
            ))),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.0
            .deserialize_enum(name, variants, visitor)
            .map_err(de::Error::custom)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

struct FoldedObject<'de>(&'de Map<String, Value>);

impl<'de> de::Deserializer<'de> for FoldedObject<'de> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_map(Entries::new(self.0, &[]))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_map(Entries::new(self.0, fields))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        option unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

struct Elements<'de>(std::iter::Enumerate<std::slice::Iter<'de, Value>>);

impl<'de> de::SeqAccess<'de> for Elements<'de> {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, ReadError> {
        let Some((index, value)) = self.0.next() else {
            return Ok(None);
        };
        let element = seed.deserialize(Folded(value));
        element
            .map(Some)
            .map_err(|e| e.under(&format!("[{index}]")))
    }
}

/// The entries of an object, under the names that the reader knows.
struct Entries<'de> {
    object: &'de Map<String, Value>,
    fields: &'static [&'static str],
    entries: serde_json::map::Iter<'de>,
    value: Option<(&'de str, &'de Value)>,
}

impl<'de> Entries<'de> {
    fn new(object: &'de Map<String, Value>, fields: &'static [&'static str]) -> Self {
        Entries {
            object,
            fields,
            entries: object.iter(),
            value: None,
        }
    }

    /// The name that the reader knows `key` by. Of two spellings of one name the
    /// exact one counts, or the first: serde refuses a field that comes twice.
    fn canonical(&self, key: &'de str) -> Option<&'de str> {
        if self.fields.is_empty() || self.fields.contains(&key) {
            return Some(key);
        }
        let field = self.fields.iter().find(|f| f.eq_ignore_ascii_case(key))?;
        let mut spellings = self.object.keys().filter(|k| k.eq_ignore_ascii_case(key));
        let chosen = match self.object.contains_key(*field) {
            true => *field == key,
            false => spellings.next().is_some_and(|first| first == key),
        };
        chosen.then_some(*field)
    }
}

impl<'de> de::MapAccess<'de> for Entries<'de> {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, ReadError> {
        while let Some((key, value)) = self.entries.next() {
            if value.is_null() && !self.fields.is_empty() {
                continue;
            }
            let Some(name) = self.canonical(key) else {
                continue;
            };
            self.value = Some((name, value));
            let name: de::value::BorrowedStrDeserializer<'_, ReadError> =
                de::value::BorrowedStrDeserializer::new(name);
            return seed.deserialize(name).map(Some);
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ReadError> {
        let Some((key, value)) = self.value.take() else {
            return Err(de::Error::custom("a value was asked for before its key"));
        };
        seed.deserialize(Folded(value)).map_err(|e| e.under(key))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(default, rename_all = "camelCase")]
    struct Outer {
        is_gateway: bool,
        ranges: Vec<Vec<Inner>>,
        labels: std::collections::BTreeMap<String, String>,
    }

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(default, rename_all = "camelCase")]
    struct Inner {
        range_start: Option<String>,
        bits: u8,
    }

    #[test]
    fn keys_fold_at_every_depth_but_not_in_maps() {
        let value = json!({
            "ISGATEWAY": true,
            "Ranges": [[{"rangestart": "a", "BITS": 3}]],
            "labels": {"Zone": "x"},
        });
        let outer: Outer = read(&value).unwrap();
        assert!(outer.is_gateway);
        assert_eq!(outer.ranges[0][0].range_start.as_deref(), Some("a"));
        assert_eq!(outer.ranges[0][0].bits, 3);
        assert_eq!(outer.labels["Zone"], "x");
    }

    #[test]
    fn the_exact_spelling_wins_over_others() {
        let value = json!({"isGateway": true, "isgateway": false, "ISGATEWAY": false});
        assert!(read::<Outer>(&value).unwrap().is_gateway);
        let value = json!({"ISGATEWAY": true, "isgateway": true});
        assert!(read::<Outer>(&value).unwrap().is_gateway);
    }

    #[test]
    fn errors_name_the_path() {
        let value = json!({"ranges": [[{}, {"bits": 300}]]});
        let error = read::<Outer>(&value).unwrap_err().to_string();
        assert!(
            error.starts_with("\"ranges[0][1].bits\": invalid value"),
            "{error}"
        );
        let value = json!([]);
        assert!(read::<Outer>(&value).is_err());
    }
}
