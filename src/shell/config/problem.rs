//! What is wrong with a configuration: where it stands, which key, what was found, what is accepted. All problems are told
//! at once, not one per attempt.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// The configuration file, at this line.
    File {
        /// As it was given.
        path: Arc<PathBuf>,
        /// From 1 on; 0 for the file as a whole.
        line: usize,
    },
    /// An environment variable.
    Environment {
        /// Its name.
        variable: String,
    },
    /// A command line flag.
    Flag {
        /// Its name, such as `--set` or `--data-dir`.
        flag: String,
    },
    /// A command, such as `callgate license count N`; kept in the state directory.
    Override,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line: 0 } => path.display().fmt(f),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment { variable } => write!(f, "environment {variable}"),
            Self::Flag { flag } => write!(f, "flag {flag}"),
            Self::Override => f.write_str("override (callgate license)"),
        }
    }
}

impl Serialize for Origin {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// Where the value came from.
    pub origin: Origin,
    /// The key, such as `license.count`; empty where the file can't be read as TOML.
    pub key: String,
    /// What was found.
    pub found: String,
    /// What is accepted.
    pub accepted: String,
    /// The key that was probably meant, or what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, if self.key.is_empty() { "not TOML" } else { &self.key })?;
        write!(f, "\n    found:    {}\n    accepted: {}", self.found, self.accepted)?;
        match &self.hint {
            Some(hint) => write!(f, "\n    hint:     {hint}"),
            None => Ok(()),
        }
    }
}

/// Everything that is wrong with a configuration; never empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, problem) in self.0.iter().enumerate() {
            if place > 0 {
                writeln!(f)?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// The longest found value that a message repeats, in characters.
const FOUND_CHARS_MAX: usize = 80;

/// A value as a message shows it: one line, not too long.
pub(super) fn shown(value: &toml::Value) -> String {
    let text = match value {
        toml::Value::Table(_) => "a table".to_owned(),
        toml::Value::String(_)
        | toml::Value::Integer(_)
        | toml::Value::Float(_)
        | toml::Value::Boolean(_)
        | toml::Value::Datetime(_)
        | toml::Value::Array(_) => value.to_string(),
    };
    shortened(&text)
}

pub(super) fn shortened(text: &str) -> String {
    let mut one_line: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(FOUND_CHARS_MAX + 1).collect();
    if one_line.chars().count() > FOUND_CHARS_MAX {
        one_line = one_line.chars().take(FOUND_CHARS_MAX).collect();
        one_line.push('…');
    }
    one_line
}
