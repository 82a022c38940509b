//! What an operator can ask of the agent.

use serde::Serialize;

use super::state::{AgentState, Setup};
use crate::protocol::RegistrationToken;

/// A command.
#[derive(Debug)]
pub enum Command {
    /// Switch licensing on.
    Enable,
    /// Switch it off.
    Disable,
    /// Register.
    Register {
        /// By what right.
        token: RegistrationToken,
        /// Take over what is registered otherwise; while registered: move to the token's virtual account.
        force: bool,
    },
    /// Forget a registration that is not answered yet.
    CancelRegistration,
    /// Give everything back.
    Deregister,
    /// Ask for a new grant now.
    RenewAuthorization,
    /// Ask for a new id certificate now.
    RenewId,
    /// Send a usage report now; at most once a minute.
    ReportNow,
    /// A new configuration.
    Configure(Box<Setup>),
    /// Take what a backup says, as far as this is the machine that made it.
    Restore(Box<AgentState>),
    /// Back to how the product was delivered.
    FactoryReset {
        /// The registration stays.
        keep_licensing: bool,
    },
}

/// What a command began or did, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Done {
    /// It is still going on: its end is told by state and events.
    pub in_progress: bool,
    /// What happens now.
    pub text: String,
}

/// Why a command was not carried out. Nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{text}")]
pub struct CommandRefused {
    /// A short name, such as `already_registered`.
    pub code: &'static str,
    /// What is, and what to do.
    pub text: String,
}
