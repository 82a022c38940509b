//! A page of text: headings, lines of a name and a value, tables. Every value is made printable.

use std::fmt::Write;

use crate::cli::text::{Lean, printable, table};

/// A page in the making.
#[derive(Debug, Default)]
pub(super) struct Sheet(String);

/// How wide the names of a section's lines are.
const NAME_WIDTH: usize = 28;

impl Sheet {
    /// A line as it is.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        let _ = writeln!(self.0, "{}", printable(text));
        self
    }

    /// A heading, with a blank line before it.
    pub(super) fn heading(&mut self, text: &str) -> &mut Self {
        let _ = writeln!(self.0, "\n{}", printable(text));
        self
    }

    /// A section's line.
    pub(super) fn line(&mut self, name: &str, value: &str) -> &mut Self {
        let name = format!("{}:", printable(name));
        let _ = writeln!(self.0, "  {name:<NAME_WIDTH$} {}", printable(value));
        self
    }

    /// A section's line, if there is something to say.
    pub(super) fn line_if(&mut self, name: &str, value: Option<&str>) -> &mut Self {
        if let Some(value) = value {
            self.line(name, value);
        }
        self
    }

    /// A line of the footer.
    pub(super) fn foot(&mut self, name: &str, value: &str) -> &mut Self {
        let _ = writeln!(self.0, "{name:<8} {}", printable(value));
        self
    }

    /// Rows under a heading, set in.
    pub(super) fn table(&mut self, columns: &[(&str, Lean)], rows: &[Vec<String>]) -> &mut Self {
        let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| printable(cell)).collect()).collect();
        for line in table(columns, &rows).lines() {
            let _ = writeln!(self.0, "  {line}");
        }
        self
    }

    pub(super) fn blank(&mut self) -> &mut Self {
        self.0.push('\n');
        self
    }

    pub(super) fn done(self) -> String {
        self.0
    }
}
