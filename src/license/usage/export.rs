//! Use as rows, for people and their programs.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::Usage;
use crate::license::when::iso;
use crate::units::UnixMillis;

/// One sample of one tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageRow {
    /// The entitlement tag.
    pub tag: String,
    /// When the sample ended.
    pub ended_at: UnixMillis,
    /// The highest use of the 15 minutes before, in units.
    pub peak: u32,
    /// When that was.
    pub peak_at: UnixMillis,
}

impl Usage {
    /// Every sample that is kept, by tag, the oldest first.
    pub fn rows(&self) -> impl Iterator<Item = UsageRow> {
        self.tags.iter().flat_map(|(tag, of)| {
            of.samples.iter().map(|sample| UsageRow {
                tag: tag.clone(),
                ended_at: sample.ended_at(),
                peak: sample.peak,
                peak_at: sample.peak_at(),
            })
        })
    }
}

/// A cell of CSV (RFC 4180). What a spreadsheet would take for a formula gets an apostrophe before it.
fn cell(text: &str) -> String {
    let text = if text.starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

/// The rows as CSV with a heading; times in ISO 8601.
pub fn csv(rows: impl Iterator<Item = UsageRow>) -> String {
    let mut out = String::from("tag,ended_at,peak,peak_at\r\n");
    for row in rows {
        let (ended, peaked) = (iso(row.ended_at), iso(row.peak_at));
        let _ = write!(out, "{},{ended},{},{peaked}\r\n", cell(&row.tag), row.peak);
    }
    out
}

/// The rows as JSON, one object a line; times in milliseconds.
pub fn json_lines(rows: impl Iterator<Item = UsageRow>) -> String {
    let mut out = String::new();
    for row in rows {
        // A row of texts and numbers always has a JSON form.
        out.push_str(&serde_json::to_string(&row).unwrap_or_default());
        out.push('\n');
    }
    out
}
