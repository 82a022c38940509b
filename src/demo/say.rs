//! Where the demo speaks: steps as they are done, then the table; the summary last. With a summary for machines, standard
//! output is for that alone, and everything else goes to standard error.

use std::io::{self, IsTerminal, Write};

use crate::cli::Failure;

/// How the demo is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// A table that is drawn again in its place.
    Table,
    /// A line each second.
    Lines,
    /// Steps and errors alone.
    Quiet,
}

/// Writes for a person.
#[derive(Debug)]
pub(super) struct Say {
    to_stderr: bool,
    pub(super) look: Look,
    /// Lines of the table that stand above the cursor.
    drawn: usize,
}

impl Say {
    pub(super) fn new(machine: bool, headless: bool) -> Self {
        let terminal = if machine { io::stderr().is_terminal() } else { io::stdout().is_terminal() };
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let look = match (headless, terminal && !dumb) {
            (true, _) => Look::Quiet,
            (false, true) => Look::Table,
            (false, false) => Look::Lines,
        };
        Self { to_stderr: machine, look, drawn: 0 }
    }

    /// Writes a text as it is. Below a table, if one was drawn.
    ///
    /// # Errors
    /// If nobody reads any more.
    pub(super) fn text(&mut self, text: &str) -> Result<(), Failure> {
        self.drawn = 0;
        Ok(self.write(text)?)
    }

    /// One step, and what became of it.
    ///
    /// # Errors
    /// If nobody reads any more.
    pub(super) fn step(&mut self, who: &str, what: &str) -> Result<(), Failure> {
        self.text(&format!("  {who:<8} {what}\n"))
    }

    /// Draws a table where the last one stands.
    ///
    /// # Errors
    /// If nobody reads any more.
    pub(super) fn redraw(&mut self, table: &str) -> Result<(), Failure> {
        let up = if self.drawn > 0 { format!("\x1b[{}A", self.drawn) } else { String::new() };
        // Each line ends the one that stood there, and none goes on in the next where the terminal is narrow.
        let text = format!("{up}\x1b[?7l{}\x1b[?7h", table.replace('\n', "\x1b[K\n"));
        self.drawn = table.lines().count();
        Ok(self.write(&text)?)
    }

    fn write(&self, text: &str) -> io::Result<()> {
        if self.to_stderr {
            io::stderr().lock().write_all(text.as_bytes())
        } else {
            let mut out = io::stdout().lock();
            out.write_all(text.as_bytes())?;
            out.flush()
        }
    }
}
