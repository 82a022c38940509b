//! How a command ends when it doesn't do what it was asked.

use std::io;

use crate::shell::config::Problems;

/// Why a command failed. Each kind has its exit code.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Refused, or failed.
    #[error("{0}")]
    Refused(String),
    /// The configuration is wrong.
    #[error("the configuration is wrong:\n{0}")]
    Configuration(Problems),
    /// No sidecar runs where it was looked for.
    #[error("{0}")]
    NotRunning(String),
    /// The result could not be written.
    #[error("cannot write the result: {0}")]
    Output(#[from] io::Error),
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::Configuration(problems)
    }
}

impl Failure {
    /// The process's exit code.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            // Who reads the first lines only, as `head` does, has what it wanted.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Self::Refused(_) | Self::Output(_) => 1,
            Self::Configuration(_) => 64,
            Self::NotRunning(_) => 69,
        }
    }

    /// The same as one JSON document.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let mut error = serde_json::json!({ "error": self.to_string(), "exit_code": self.exit_code() });
        if let (Self::Configuration(problems), Some(fields)) = (self, error.as_object_mut()) {
            fields.insert("error".to_owned(), "the configuration is wrong".into());
            fields.insert("problems".to_owned(), serde_json::to_value(problems).unwrap_or_default());
        }
        error
    }
}
