//! A recorded trace: arrivals as they were once, to be replayed. PURE: text in, calls out.
//!
//! One call a line: seconds since the beginning, then perhaps its hold time in seconds, then perhaps its trunk, with commas
//! between. Empty lines and lines that begin with `#` are skipped, and so is a first line that begins with a letter.

use crate::span::Span;

/// One call of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// When it came, in nanoseconds since the beginning.
    pub at: u64,
    /// How long it lasted; drawn where the trace does not say.
    pub hold: Option<u64>,
    /// Over which trunk; drawn where the trace does not say.
    pub trunk: Option<String>,
}

/// A line that is no call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: found `{found}`, expected {expected}")]
pub struct TraceError {
    /// Which line, from one.
    pub line: usize,
    /// What it holds.
    pub found: String,
    /// What is accepted.
    pub expected: &'static str,
}

const LINE: &str = "`seconds[,hold seconds[,trunk]]`, such as `0.125,32.5,carrier-a`";

/// Reads a trace. Calls come out in the order of their times.
///
/// # Errors
/// The first line that is no call.
pub fn parse(text: &str) -> Result<Vec<Recorded>, TraceError> {
    let mut calls = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        let heading = number == 0 && line.starts_with(|c: char| c.is_ascii_alphabetic());
        if line.is_empty() || line.starts_with('#') || heading {
            continue;
        }
        let wrong = || TraceError { line: number + 1, found: line.to_owned(), expected: LINE };
        let mut fields = line.split(',').map(str::trim);
        let at = fields.next().and_then(seconds).ok_or_else(wrong)?;
        let hold = match fields.next() {
            None | Some("") => None,
            Some(text) => Some(seconds(text).ok_or_else(wrong)?),
        };
        let trunk = fields.next().filter(|name| !name.is_empty()).map(str::to_owned);
        if fields.next().is_some() {
            return Err(wrong());
        }
        calls.push(Recorded { at, hold, trunk });
    }
    calls.sort_by_key(|call| call.at);
    Ok(calls)
}

fn seconds(text: &str) -> Option<u64> {
    Span::from_seconds(text.parse().ok()?).map(|span| span.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_read_with_what_the_trace_knows_of_them() {
        let calls = parse("at_s,hold_s,trunk\n# a quiet night\n0.5\n\n0.25,3\n0.75,,b\n1,2.5,a\n").unwrap();
        let call = |at, hold, trunk: Option<&str>| Recorded { at, hold, trunk: trunk.map(str::to_owned) };
        assert_eq!(
            calls,
            [
                call(250_000_000, Some(3_000_000_000), None),
                call(500_000_000, None, None),
                call(750_000_000, None, Some("b")),
                call(1_000_000_000, Some(2_500_000_000), Some("a")),
            ]
        );
    }

    #[test]
    fn a_line_that_is_no_call_is_named() {
        for wrong in ["x", "1,y", "-1", "1,2,a,b"] {
            let error = parse(&format!("0\n{wrong}\n")).unwrap_err();
            assert_eq!((error.line, error.found.as_str()), (2, wrong));
        }
    }
}
