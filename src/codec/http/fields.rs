//! Collects a request's fields from its query and its body.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use smallvec::SmallVec;

use super::super::excerpt::Excerpt;
use super::value::Value;

/// The most ids in one request.
pub const IDS_MAX: usize = 1_000;

/// What is asked: the last word of the request's path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// `/v1/admit`
    Admit,
    /// `/v1/confirm`
    Confirm,
    /// `/v1/release`
    Release,
    /// `/v1/refresh`
    Refresh,
    /// `/v1/proxy`
    Proxy,
    /// `/v1/resync`
    Resync,
    /// `/v1/admin/calls/release`
    ReleaseCall,
}

impl Operation {
    /// Every operation.
    pub const ALL: [Self; 7] =
        [Self::Admit, Self::Confirm, Self::Release, Self::Refresh, Self::Proxy, Self::Resync, Self::ReleaseCall];

    /// Its path.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Admit => "/v1/admit",
            Self::Confirm => "/v1/confirm",
            Self::Release => "/v1/release",
            Self::Refresh => "/v1/refresh",
            Self::Proxy => "/v1/proxy",
            Self::Resync => "/v1/resync",
            Self::ReleaseCall => "/v1/admin/calls/release",
        }
    }

    /// The operation of this path.
    #[must_use]
    pub fn from_path(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| operation.path() == path)
    }

    /// The names of its fields.
    #[must_use]
    pub const fn fields(self) -> &'static [&'static str] {
        match self {
            Self::Admit => &[
                "id",
                "id_hex",
                "seq",
                "trunk",
                "tenant",
                "kind",
                "webrtc",
                "type",
                "units",
                "emergency",
                "priority",
                "ttl",
                "encrypted",
                "proxy",
                "deadline",
            ],
            Self::Confirm => &["id", "id_hex", "seq", "ttl"],
            Self::Release => &["id", "id_hex", "seq", "reason"],
            Self::Refresh => &["id", "id_hex", "ids", "ids_hex"],
            Self::Proxy => &["proxy", "epoch"],
            Self::Resync => &["op", "proxy", "token", "ids", "ids_hex"],
            Self::ReleaseCall => &["key", "id", "id_hex"],
        }
    }
}

/// A request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body<'a> {
    /// Empty.
    None,
    /// A JSON object.
    Json(&'a [u8]),
    /// `name=value&name=value`.
    Form(&'a [u8]),
}

/// A field that can't be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: found {found}; accepted is {accepted}")]
pub struct FieldError {
    /// Its name, or `body`.
    pub field: String,
    /// What was found.
    pub found: String,
    /// What is accepted.
    pub accepted: String,
}

impl FieldError {
    pub(super) fn new(field: &str, found: impl Into<String>, accepted: impl Into<String>) -> Self {
        Self { field: field.to_owned(), found: found.into(), accepted: accepted.into() }
    }
}

/// A request's fields, each known to the operation and said once; their values are not yet looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct Fields<'a> {
    pub(super) operation: Operation,
    values: SmallVec<[(&'static str, Value<'a>); 8]>,
}

impl<'a> Fields<'a> {
    /// Collects the fields of the query (without its `?`) and of the body.
    ///
    /// # Errors
    /// If the body isn't a JSON object, or a field is unknown, said twice, or not decodable.
    pub fn read(operation: Operation, query: &'a str, body: Body<'a>) -> Result<Self, FieldError> {
        let mut fields = Self { operation, values: SmallVec::new() };
        fields.read_form(query.as_bytes())?;
        match body {
            Body::None => {}
            Body::Form(bytes) => fields.read_form(bytes)?,
            Body::Json(bytes) => fields.read_json(bytes)?,
        }
        Ok(fields)
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value<'a>> {
        self.values.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    fn known(&self, name: &[u8]) -> Result<&'static str, FieldError> {
        let fields = self.operation.fields();
        fields.iter().copied().find(|known| known.as_bytes() == name).ok_or_else(|| {
            FieldError::new(
                &name.escape_ascii().to_string().chars().take(64).collect::<String>(),
                "a field of this name",
                format!("one of {}", fields.join(", ")),
            )
        })
    }

    fn put(&mut self, name: &'static str, value: Value<'a>) -> Result<(), FieldError> {
        if self.get(name).is_some() {
            return Err(FieldError::new(name, "the field twice", "the field once, in the query or in the body"));
        }
        let value = if matches!(name, "id_hex" | "ids_hex") { unhexed(name, value)? } else { value };
        self.values.push((name, value));
        Ok(())
    }

    fn read_form(&mut self, form: &'a [u8]) -> Result<(), FieldError> {
        let mut lists: SmallVec<[(&'static str, Vec<Value<'a>>); 2]> = SmallVec::new();
        for pair in form.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            let (name, value) = match memchr::memchr(b'=', pair) {
                Some(at) => {
                    let (name, value) = pair.split_at(at);
                    (name, value.get(1..).unwrap_or(&[]))
                }
                None => (pair, &[][..]),
            };
            let name = percent_decoded(name).ok_or_else(|| escape_error("query", name))?;
            let name = self.known(&name)?;
            let value = Value::Loose(percent_decoded(value).ok_or_else(|| escape_error(name, value))?);
            if !matches!(name, "ids" | "ids_hex") {
                self.put(name, value)?;
                continue;
            }
            match lists.iter_mut().find(|(known, _)| *known == name) {
                Some((_, list)) => list.push(value),
                None => lists.push((name, vec![value])),
            }
        }
        lists.into_iter().try_for_each(|(name, list)| self.put(name, Value::List(list)))
    }

    fn read_json(&mut self, body: &'a [u8]) -> Result<(), FieldError> {
        let mut deserializer = serde_json::Deserializer::from_slice(body);
        let mut refused = None;
        let read = Collect { fields: self, refused: &mut refused }.deserialize(&mut deserializer);
        if let Some(error) = refused {
            return Err(error);
        }
        read.and_then(|()| deserializer.end()).map_err(|error| {
            FieldError::new("body", format!("no JSON object ({error})"), "a JSON object such as {\"id\":\"...\"}")
        })
    }
}

/// Reads a JSON object into the fields; what a field is refused for stands in `refused`.
struct Collect<'f, 'a> {
    fields: &'f mut Fields<'a>,
    refused: &'f mut Option<FieldError>,
}

impl<'a> DeserializeSeed<'a> for Collect<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'a> Visitor<'a> for Collect<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut entries: A) -> Result<(), A::Error> {
        while let Some((name, value)) = entries.next_entry::<Key<'a>, Value<'a>>()? {
            let put = self.fields.known(name.0.as_bytes()).and_then(|name| self.fields.put(name, value));
            if let Err(error) = put {
                *self.refused = Some(error);
                return Err(serde::de::Error::custom("refused"));
            }
        }
        Ok(())
    }
}

/// A field's name, borrowed where it has no escapes.
struct Key<'a>(Cow<'a, str>);

impl<'de> serde::Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a field's name")
            }
            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(name)))
            }
            fn visit_str<E>(self, name: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(name.to_owned())))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

fn escape_error(field: &str, found: &[u8]) -> FieldError {
    FieldError::new(field, Excerpt::of(found).to_string(), "bytes as %xx with two hexadecimal digits")
}

/// Undoes `+` and `%xx`; `None` if a `%` isn't followed by two hexadecimal digits.
fn percent_decoded(text: &[u8]) -> Option<Cow<'_, [u8]>> {
    if memchr::memchr2(b'%', b'+', text).is_none() {
        return Some(Cow::Borrowed(text));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(byte) = rest.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => hex_digit(*rest.next()?)? << 4 | hex_digit(*rest.next()?)?,
            other => *other,
        });
    }
    Some(Cow::Owned(decoded))
}

const fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// The value with its hexadecimal digits replaced by the bytes that they stand for.
fn unhexed<'a>(name: &str, value: Value<'a>) -> Result<Value<'a>, FieldError> {
    match value {
        Value::Text(text) | Value::Loose(text) => {
            let bytes = unhex(&text).ok_or_else(|| {
                FieldError::new(name, Excerpt::of(&text).to_string(), "an even number of hexadecimal digits")
            })?;
            Ok(Value::Text(Cow::Owned(bytes)))
        }
        Value::List(items) => {
            items.into_iter().map(|item| unhexed(name, item)).collect::<Result<_, _>>().map(Value::List)
        }
        // Of no use for an id: refused where its meaning is sought.
        other @ (Value::Null | Value::Bool(_) | Value::Whole(_) | Value::Number(_) | Value::Object) => Ok(other),
    }
}

/// Bytes from hexadecimal digits.
fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(hex_digit(*high)? << 4 | hex_digit(*low)?)).collect()
}
