//! What people read: tables, ages, times. Whatever came over a network is made printable first, so that a call's id
//! cannot steer a terminal.

use std::fmt::Write;

use crate::units::UnixMillis;

/// A text that came from elsewhere, without characters that a terminal would obey.
pub(super) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        // Beside control characters, those that turn the direction of writing.
        let hidden =
            matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
        if c.is_control() || hidden {
            let _ = write!(out, "{}", c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// The same, cut to so many characters.
pub(super) fn cut(text: &str, chars_max: usize) -> String {
    let text = printable(text);
    if text.chars().count() <= chars_max {
        return text;
    }
    let mut short: String = text.chars().take(chars_max.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// `2m 13s`: the two largest units.
pub(super) fn span(seconds: u64) -> String {
    let units = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (unit, size) in units {
        let count = rest / size;
        rest %= size;
        if count > 0 || (unit == "s" && parts.is_empty()) {
            parts.push(format!("{count}{unit}"));
        } else if !parts.is_empty() {
            // `2h 5s` would read as if minutes had been forgotten.
            break;
        }
        if parts.len() == 2 {
            break;
        }
    }
    parts.join(" ")
}

/// How long ago that was.
pub(super) fn age(then: u64, now: UnixMillis) -> String {
    span(now.0.saturating_sub(then) / 1_000)
}

/// `2026-11-21 20:10:07 UTC`.
pub(super) fn time(unix_ms: u64) -> String {
    let stamp = i64::try_from(unix_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    stamp.map_or_else(|| "?".to_owned(), |stamp| stamp.strftime("%F %T UTC").to_string())
}

/// A number with its thousands apart: `1 234 567`.
pub(super) fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// Which way a column's entries lean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lean {
    Left,
    Right,
}

/// Rows under a heading, columns two blanks apart.
pub(super) fn table(columns: &[(&str, Lean)], rows: &[Vec<String>]) -> String {
    let width = |place: usize, title: &str| {
        let cells = rows.iter().filter_map(|row| row.get(place)).map(|cell| cell.chars().count());
        cells.chain([title.chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = columns.iter().enumerate().map(|(place, (title, _))| width(place, title)).collect();
    let heading: Vec<String> = columns.iter().map(|(title, _)| (*title).to_owned()).collect();
    let mut out = String::new();
    for row in std::iter::once(&heading).chain(rows) {
        let mut line = String::new();
        for ((cell, width), (_, lean)) in row.iter().zip(&widths).zip(columns) {
            let _ = match lean {
                Lean::Left => write!(line, "{cell:<width$}  "),
                Lean::Right => write!(line, "{cell:>width$}  "),
            };
        }
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_names_its_two_largest_units() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (133, "2m 13s"),
            (3_600, "1h"),
            (3_605, "1h"),
            (43_260, "12h 1m"),
            (90_061, "1d 1h"),
            (7_776_000, "90d"),
        ] {
            assert_eq!(span(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn a_calls_id_cannot_steer_a_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\r\n\u{202e}c"), "a\\u{1b}[2Jb\\u{d}\\u{a}\\u{202e}c");
        assert_eq!(cut("0123456789", 5), "0123…");
        assert_eq!(cut("äöü", 3), "äöü");
    }

    #[test]
    fn numbers_and_times_read_easily() {
        assert_eq!([0, 12, 999, 1_000, 1_234_567].map(number), ["0", "12", "999", "1 000", "1 234 567"]);
        assert_eq!(time(1_700_000_000_000), "2023-11-14 22:13:20 UTC");
    }
}
