//! How much an event or an alarm matters.

use std::fmt;

use serde::Serialize;

/// How much it matters, in the words of ITU-T X.733, with `Info` for what is no fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Nothing is wrong.
    Info,
    /// Something will go wrong if nobody acts.
    Warning,
    /// Some calls are refused, or would not survive a restart.
    Major,
    /// New calls are refused, or soon will be.
    Critical,
}

impl Severity {
    /// All of them, from the mildest on.
    pub const ALL: &'static [Self] = &[Self::Info, Self::Warning, Self::Major, Self::Critical];

    /// Its name in JSON, metrics and text.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Major => "major",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
