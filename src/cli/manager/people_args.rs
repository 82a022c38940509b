//! Arguments of the commands about people and keys: users, API keys, signing keys, the audit log.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

use super::args::Reach;

/// What somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RoleArg {
    /// Look.
    Viewer,
    /// Tokens, removals, reports.
    Operator,
    /// Licenses and accounts too.
    LicenseAdmin,
    /// Everything.
    Owner,
}

impl RoleArg {
    /// Its name in JSON.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::LicenseAdmin => "license_admin",
            Self::Owner => "owner",
        }
    }
}

/// Users.
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Make a user. The password is the first line of a file or of standard input.
    #[command(after_help = "Example:\n  callgate manager user create ann --role operator --password-file -")]
    Create {
        /// Which manager.
        #[command(flatten)]
        reach: Reach,
        /// The name to log in with.
        name: String,
        /// What the user may do.
        #[arg(long, value_enum)]
        role: RoleArg,
        /// The file; - is standard input.
        #[arg(long, value_name = "FILE")]
        password_file: PathBuf,
    },
    /// List users.
    #[command(after_help = "Example:\n  callgate manager user list")]
    List(Reach),
    /// Give a user another role.
    #[command(after_help = "Example:\n  callgate manager user role ann viewer")]
    Role {
        /// Which manager.
        #[command(flatten)]
        reach: Reach,
        /// The user's name or id.
        user: String,
        /// What the user may do.
        #[arg(value_enum)]
        role: RoleArg,
    },
    /// Keep a user from logging in; ends the user's sessions.
    #[command(after_help = "Example:\n  callgate manager user disable ann")]
    Disable {
        /// Which manager.
        #[command(flatten)]
        reach: Reach,
        /// The user's name or id.
        user: String,
    },
    /// Let a user log in again.
    #[command(after_help = "Example:\n  callgate manager user enable ann")]
    Enable {
        /// Which manager.
        #[command(flatten)]
        reach: Reach,
        /// The user's name or id.
        user: String,
    },
    /// Give a user another password, the first line of a file or of standard input; ends the user's sessions.
    #[command(after_help = "Example:\n  callgate manager user password ann --password-file -")]
    Password {
        /// Which manager.
        #[command(flatten)]
        reach: Reach,
        /// The user's name or id.
        user: String,
        /// The file; - is standard input.
        #[arg(long, value_name = "FILE")]
        password_file: PathBuf,
    },
    /// Remove a user.
    #[command(after_help = "Example:\n  callgate manager user remove ann")]
    Remove {
        /// Which manager.
        #[command(flatten)]
        reach: Reach,
        /// The user's name or id.
        user: String,
    },
}

/// Keys.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make an API key. It is printed once, to standard output.
    #[command(after_help = "Example:\n  callgate manager key create ci --role operator --days 90")]
    Create {
        /// Which manager.
        #[command(flatten)]
        reach: Reach,
        /// What it is for.
        name: String,
        /// What it may do.
        #[arg(long, value_enum)]
        role: RoleArg,
        /// Days that it is valid; left out: until revoked.
        #[arg(long, value_parser = clap::value_parser!(u16).range(1..=3650))]
        days: Option<u16>,
    },
    /// List API keys, without their texts.
    #[command(after_help = "Example:\n  callgate manager key list")]
    List(Reach),
    /// End an API key (ak-...), or take an issuer key out of the key set at once.
    ///
    /// Certificates that a revoked issuer key signed are issued anew as their agents renew them; until then they are
    /// accepted. The root's key must be here for that.
    #[command(after_help = "Example:\n  callgate manager key revoke ak-0123456789abcdef")]
    Revoke {
        /// Which manager.
        #[command(flatten)]
        reach: Reach,
        /// Its id, as `key list` or `key signing` shows it.
        key: String,
    },
    /// Show the keys that sign.
    #[command(after_help = "Example:\n  callgate manager key signing")]
    Signing(Reach),
    /// Add an issuer key, which signs from now on; those before it stay good until their time is over.
    #[command(after_help = "Example:\n  callgate manager key rotate")]
    Rotate(Reach),
}

/// The audit log.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Recompute the chain, and say where it is broken, if it is.
    #[command(after_help = "Example:\n  callgate manager audit verify")]
    Verify(Reach),
    /// Print all entries, one JSON object a line, the oldest first.
    #[command(after_help = "Example:\n  callgate manager audit export > audit.jsonl")]
    Export(Reach),
}
