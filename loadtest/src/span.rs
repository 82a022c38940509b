//! Times: an instant is nanoseconds since the run began, a [`Span`] is a length of time as people write it.

use std::fmt;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::num;

/// Nanoseconds in one second.
pub const SECOND: u64 = 1_000_000_000;
/// Nanoseconds in one millisecond.
pub const MILLISECOND: u64 = 1_000_000;

/// A length of time in nanoseconds. Written as a number of seconds (`1.5`) or with its unit (`"20us"`, `"300ms"`, `"2s"`, `"5m"`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Span(pub u64);

/// The longest one: a week.
const LONGEST_SECONDS: f64 = 7.0 * 86_400.0;
const ACCEPTED: &str =
    "seconds as a number (1.5), or a time with its unit (\"20us\", \"300ms\", \"2s\", \"5m\"), up to a week";

impl Span {
    /// So many seconds. `None` for what is negative, not a number, or longer than a week.
    #[must_use]
    pub fn from_seconds(seconds: f64) -> Option<Self> {
        (0.0..=LONGEST_SECONDS).contains(&seconds).then(|| Self(num::whole(seconds * 1e9)))
    }

    /// As seconds.
    #[must_use]
    pub fn seconds(self) -> f64 {
        num::float(self.0) / 1e9
    }

    /// Reads a text.
    ///
    /// # Errors
    /// What would have been accepted.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
        let (number, unit) = text.split_at(unit_at);
        let factor = match unit {
            "us" => 1e-6,
            "ms" => 1e-3,
            "" | "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            _ => return Err(format!("`{text}`: expected {ACCEPTED}")),
        };
        let seconds = number.trim().parse::<f64>().map_err(|_| format!("`{text}`: expected {ACCEPTED}"))?;
        Self::from_seconds(seconds * factor).ok_or_else(|| format!("`{text}`: expected {ACCEPTED}"))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = num::float(self.0);
        match self.0 {
            0 => write!(f, "0 s"),
            1..1_000_000 => write!(f, "{} us", three(nanos / 1e3)),
            1_000_000..1_000_000_000 => write!(f, "{} ms", three(nanos / 1e6)),
            _ => write!(f, "{} s", three(nanos / 1e9)),
        }
    }
}

/// Three figures, no more.
fn three(value: f64) -> String {
    if value >= 100.0 {
        format!("{value:.0}")
    } else if value >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.seconds())
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Seen;
        impl Visitor<'_> for Seen {
            type Value = Span;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(ACCEPTED)
            }
            fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<Span, E> {
                Span::from_seconds(seconds).ok_or_else(|| E::invalid_value(de::Unexpected::Float(seconds), &self))
            }
            fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Span, E> {
                let whole =
                    u64::try_from(seconds).map_err(|_| E::invalid_value(de::Unexpected::Signed(seconds), &self))?;
                self.visit_u64(whole)
            }
            fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Span, E> {
                self.visit_f64(num::float(seconds))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                Span::parse(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_and_without_a_unit() {
        for (text, nanos) in [
            ("20us", 20_000),
            ("300ms", 300_000_000),
            ("2 s", 2 * SECOND),
            ("1.5", 1_500_000_000),
            ("5m", 300 * SECOND),
        ] {
            assert_eq!(Span::parse(text), Ok(Span(nanos)), "{text}");
        }
        for text in ["", "s", "-1s", "2 days", "9999h", "nan"] {
            assert!(Span::parse(text).is_err_and(|error| error.contains("300ms")), "{text}");
        }
    }

    #[test]
    fn times_are_shown_with_three_figures() {
        assert_eq!(
            [Span(0), Span(1_234), Span(56_700_000), Span(890 * MILLISECOND), Span(12 * SECOND)]
                .map(|span| span.to_string()),
            ["0 s", "1.23 us", "56.7 ms", "890 ms", "12.0 s"]
        );
    }
}
