//! One field's value, as JSON or a query says it.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::super::excerpt::Excerpt;

/// A value before its meaning is known.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    Whole(u64),
    /// A number that is negative, has a fraction, or is beyond 64 bits.
    Number(f64),
    /// A JSON string.
    Text(Cow<'a, [u8]>),
    /// What a query or form says: text that may stand for anything.
    Loose(Cow<'a, [u8]>),
    List(Vec<Value<'a>>),
    Object,
}

impl Value<'_> {
    /// What it is, for an error.
    pub(super) fn found(&self) -> String {
        match self {
            Self::Null => "null".into(),
            Self::Bool(value) => value.to_string(),
            Self::Whole(value) => value.to_string(),
            Self::Number(value) => format!("the number {value}"),
            Self::Text(text) => format!("the string {}", Excerpt::of(text)),
            Self::Loose(text) => Excerpt::of(text).to_string(),
            Self::List(items) => format!("a list of {}", items.len()),
            Self::Object => "an object".into(),
        }
    }

    /// As a whole number. JSON has but one kind of number: 5.0 is 5.
    pub(super) fn whole(&self) -> Option<u64> {
        match self {
            Self::Whole(value) => Some(*value),
            Self::Number(value) if value.fract() == 0.0 => value.to_string().parse().ok(),
            Self::Loose(text) if !text.is_empty() && text.iter().all(u8::is_ascii_digit) => {
                std::str::from_utf8(text).ok()?.parse().ok()
            }
            Self::Null
            | Self::Bool(_)
            | Self::Number(_)
            | Self::Text(_)
            | Self::Loose(_)
            | Self::List(_)
            | Self::Object => None,
        }
    }

    /// As a flag.
    pub(super) fn flag(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            Self::Loose(text) => match &**text {
                b"" | b"1" | b"true" => Some(true),
                b"0" | b"false" => Some(false),
                _ => None,
            },
            Self::Null | Self::Whole(_) | Self::Number(_) | Self::Text(_) | Self::List(_) | Self::Object => None,
        }
    }

    /// As bytes.
    pub(super) fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Text(text) | Self::Loose(text) => Some(text),
            Self::Null | Self::Bool(_) | Self::Whole(_) | Self::Number(_) | Self::List(_) | Self::Object => None,
        }
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Value::Whole(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        // Only negative numbers come this way.
        Ok(u64::try_from(value).map_or_else(|_| Value::Number(value.to_string().parse().unwrap_or(-1.0)), Value::Whole))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Value::Number(value))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Value::Text(Cow::Borrowed(value.as_bytes())))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Value::Text(Cow::Owned(value.as_bytes().to_vec())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element::<Value<'de>>()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Value::Object)
    }
}

impl<'de> Deserialize<'de> for Value<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}
