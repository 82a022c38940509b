//! The arguments of `callgate license`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::cli::AdminArgs;

/// Licensing.
#[derive(Debug, Subcommand)]
pub enum LicenseCommand {
    /// Registration, authorization, evaluation, every license in use; what happens to calls now and next.
    #[command(after_help = "Example:\n  callgate license status")]
    Status(AdminArgs),
    /// The fields that the product shows, under its own names.
    #[command(after_help = "Example:\n  callgate license summary")]
    Summary(AdminArgs),
    /// Everything: as status, license by license, and the product.
    #[command(after_help = "Example:\n  callgate license all")]
    All(AdminArgs),
    /// Who this instance is: the unique device identifier.
    #[command(after_help = "Example:\n  callgate license udi")]
    Udi(AdminArgs),
    /// What is used, asked for and granted; report it now, or write a year of it to a file.
    #[command(
        args_conflicts_with_subcommands = true,
        after_help = "Examples:\n  callgate license usage\n  callgate license usage report-now\n  callgate license usage export usage.csv"
    )]
    Usage {
        /// Which sidecar.
        #[command(flatten)]
        admin: AdminArgs,
        /// What to do with it.
        #[command(subcommand)]
        command: Option<UsageCommand>,
    },
    /// Licenses counted from configured ports: today's count and the next.
    #[command(after_help = "Examples:\n  callgate license platform\n  callgate license platform --detail")]
    Platform {
        /// Which sidecar.
        #[command(flatten)]
        admin: AdminArgs,
        /// Every port too.
        #[arg(long)]
        detail: bool,
    },
    /// Messages to the license manager, by kind.
    #[command(after_help = "Example:\n  callgate license statistics")]
    Statistics(AdminArgs),
    /// What happens to calls in the coming days, and when, if nothing changes.
    #[command(after_help = "Examples:\n  callgate license forecast\n  callgate license forecast --days 400")]
    Forecast {
        /// Which sidecar.
        #[command(flatten)]
        admin: AdminArgs,
        /// How far to look.
        #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3650))]
        days: u32,
    },
    /// All that support may see. No token, key or certificate is in it.
    #[command(after_help = "Example:\n  callgate license tech-support --format json > licensing.json")]
    TechSupport(AdminArgs),
    /// Switch licensing on.
    #[command(
        after_help = "Kept over restarts; `callgate config show` shows it.\n\nExample:\n  callgate license enable"
    )]
    Enable(AdminArgs),
    /// Switch licensing off.
    ///
    /// Refused while registered (deregister first), and where the profile keeps licensing on. Asks first where the profile
    /// then refuses calls.
    #[command(after_help = "Example:\n  callgate license disable --yes")]
    Disable(ConsentArgs),
    /// Calls per second to license: a multiple of 5.
    #[command(
        after_help = "Kept over restarts; `callgate config show` shows it.\n\nExamples:\n  callgate license count 200\n  callgate license count --remove"
    )]
    Count {
        /// Which sidecar.
        #[command(flatten)]
        admin: AdminArgs,
        /// Calls per second.
        #[arg(value_name = "N", required_unless_present = "remove", conflicts_with = "remove")]
        count: Option<u32>,
        /// Take the command's count back: what the configuration says is in force again.
        #[arg(long)]
        remove: bool,
    },
    /// Sessions of the default type to license.
    #[command(
        after_help = "Kept over restarts; `callgate config show` shows it.\n\nExamples:\n  callgate license sessions 500\n  callgate license sessions --remove"
    )]
    Sessions {
        /// Which sidecar.
        #[command(flatten)]
        admin: AdminArgs,
        /// Concurrent sessions.
        #[arg(value_name = "N", required_unless_present = "remove", conflicts_with = "remove")]
        sessions: Option<u32>,
        /// Take the command's number back: what the configuration says is in force again.
        #[arg(long)]
        remove: bool,
    },
    /// Register with the license manager.
    ///
    /// The token comes from a file or from standard input, never from the command line, where every user of the host could
    /// read it.
    #[command(
        after_help = "Examples:\n  callgate license register --token-file token.txt\n  callgate manager token create --account default | callgate license register --token-file -"
    )]
    Register {
        /// Which sidecar.
        #[command(flatten)]
        admin: AdminArgs,
        /// The file with the token; `-` is standard input.
        #[arg(long, value_name = "FILE|-")]
        token_file: PathBuf,
        /// Take over what is registered with another key, or move to the token's virtual account.
        #[arg(long)]
        force: bool,
    },
    /// Forget a registration that the license manager has not answered yet.
    ///
    /// The token is wiped; nothing is asked for any more until the next `license register`.
    #[command(after_help = "Example:\n  callgate license cancel")]
    Cancel(AdminArgs),
    /// Give all licenses back and forget the registration. Says first what that does to calls, and when.
    #[command(
        after_help = "For a permanent shutdown; not for a restart.\n\nExample:\n  callgate license deregister --yes"
    )]
    Deregister(ConsentArgs),
    /// Ask the license manager now, before the schedule does.
    #[command(after_help = "Examples:\n  callgate license renew auth\n  callgate license renew id")]
    Renew {
        /// Which sidecar.
        #[command(flatten)]
        admin: AdminArgs,
        /// What to renew.
        what: Renewal,
    },
    /// Try the way to the license manager, and name the step that fails.
    ///
    /// DNS, TCP, proxy, TLS and its issuer, HTTP, clock. Sends nothing about this instance.
    #[command(after_help = "Example:\n  callgate license test-connection")]
    TestConnection(AdminArgs),
    /// Write a backup of licensing. It is sealed, and of use on this machine alone.
    #[command(after_help = "Example:\n  callgate license backup licensing.json")]
    Backup {
        /// Which sidecar.
        #[command(flatten)]
        admin: AdminArgs,
        /// The file; it must not be there yet.
        file: PathBuf,
    },
    /// Take licensing back from a backup. Says first what that does to calls.
    ///
    /// On the machine that made it the registration comes back; on another one only the configuration does, and it must
    /// register again. Used evaluation time is never given back.
    #[command(after_help = "Example:\n  callgate license restore licensing.json --yes")]
    Restore {
        /// The question, and which sidecar.
        #[command(flatten)]
        consent: ConsentArgs,
        /// The backup.
        file: PathBuf,
    },
    /// Back to how the product was delivered.
    #[command(after_help = "Example:\n  callgate license factory-reset --keep-licensing yes --yes")]
    FactoryReset {
        /// The question, and which sidecar.
        #[command(flatten)]
        consent: ConsentArgs,
        /// Whether the registration stays.
        #[arg(long, value_name = "yes|no")]
        keep_licensing: Keep,
    },
}

/// What to do with what is used.
#[derive(Debug, Subcommand)]
pub enum UsageCommand {
    /// Send a report to the license manager now; at most once a minute.
    #[command(after_help = "Example:\n  callgate license usage report-now")]
    ReportNow(AdminArgs),
    /// Write every sample that is kept: peaks of 15 minutes, for a year.
    #[command(
        after_help = "A name that ends in .jsonl gets JSON, one object a line; any other gets CSV.\n\nExamples:\n  callgate license usage export usage.csv\n  callgate license usage export -"
    )]
    Export {
        /// Which sidecar.
        #[command(flatten)]
        admin: AdminArgs,
        /// The file, which must not be there yet; `-` is standard output.
        file: PathBuf,
    },
}

/// Which sidecar, and whether it asks.
#[derive(Debug, Clone, Default, Args)]
pub struct ConsentArgs {
    /// Which sidecar.
    #[command(flatten)]
    pub admin: AdminArgs,
    /// Don't ask.
    #[arg(long, short = 'y')]
    pub yes: bool,
}

/// What to renew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Renewal {
    /// The authorization: a new grant of licenses.
    Auth,
    /// The registration: a new id certificate.
    Id,
}

/// Whether the registration stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Keep {
    /// It stays.
    Yes,
    /// It is given back, and the transport is direct again.
    No,
}
