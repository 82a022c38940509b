//! Why a command can't be understood: what was found, and what is accepted. The connection goes on.

use super::super::excerpt::Excerpt;
use crate::admission::{ID_BYTES_MAX, NAME_BYTES_MAX};

/// A command that can't be understood. Never a refusal: a refusal is an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// No such command.
    #[error(
        "unknown command {found}; accepted are ADMIT, ADMIT.BOOL, CONFIRM, RELEASE, REFRESH, PROXY, RESYNC, STATUS, INFO, PING, \
         ECHO, HELLO, AUTH, SELECT, CLIENT, COMMAND, CONFIG GET, QUIT, RESET"
    )]
    UnknownCommand {
        /// Its name.
        found: Excerpt,
    },
    /// No such subcommand.
    #[error("unknown subcommand {found} of {command}; accepted are {accepted}")]
    UnknownSubcommand {
        /// The command.
        command: &'static str,
        /// The subcommand's name.
        found: Excerpt,
        /// What there is.
        accepted: &'static str,
    },
    /// Too few or too many arguments.
    #[error("wrong number of arguments: {found}; accepted is {usage}")]
    Arity {
        /// How many there were, the command's name not counted.
        found: usize,
        /// The command's shape.
        usage: &'static str,
    },
    /// No such option.
    #[error("unknown option {found} of {command}; accepted are {accepted}")]
    UnknownOption {
        /// The command.
        command: &'static str,
        /// The option.
        found: Excerpt,
        /// What there is.
        accepted: &'static str,
    },
    /// An option that needs a value is the last word.
    #[error("option {option} has no value; accepted is {accepted}")]
    MissingValue {
        /// The option.
        option: &'static str,
        /// What its value may be.
        accepted: &'static str,
    },
    /// An option is there twice.
    #[error("option {option} is given twice; accepted is once")]
    Twice {
        /// The option.
        option: &'static str,
    },
    /// A value outside what is accepted.
    #[error("{what} is {found}; accepted is {accepted}")]
    BadValue {
        /// What the value is of.
        what: &'static str,
        /// The value.
        found: Excerpt,
        /// What it may be.
        accepted: &'static str,
    },
    /// An id of 0 bytes or of too many.
    #[error("id has {found} bytes; accepted are 1 to {ID_BYTES_MAX}")]
    BadId {
        /// How many bytes it had.
        found: usize,
    },
    /// A name of 0 bytes or of too many.
    #[error("{what} has {found} bytes; accepted are 1 to {NAME_BYTES_MAX}")]
    BadName {
        /// What it names.
        what: &'static str,
        /// How many bytes it had.
        found: usize,
    },
}
