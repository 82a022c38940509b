//! Arguments of `callgate manager policy`, `tag`, `machine` and `history`.

use clap::{Args, Subcommand};

use super::args::Reach;

/// The account's policy.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Show the policy.
    #[command(after_help = "Example:\n  callgate manager policy show")]
    Show(Reach),
    /// Change the policy. What is left out stays.
    #[command(
        after_help = "Examples:\n  callgate manager policy set --ooc-scope priority\n  callgate manager policy set --overage 10 --tolerance-minutes 60"
    )]
    Set(PolicyArgs),
}

/// What may be used beyond what was bought.
#[derive(Debug, Clone, Args)]
pub struct OverageArgs {
    /// What may be used beyond what was bought: allow, deny, or so many percent of it (1 to 1000).
    #[arg(long, value_name = "allow|deny|PERCENT")]
    pub overage: Option<String>,
    /// Minutes of shortage before anybody is told to be out of compliance.
    #[arg(long, value_name = "MINUTES")]
    pub tolerance_minutes: Option<u32>,
    /// What is used beyond is billed.
    #[arg(long, value_name = "true|false")]
    pub billed: Option<bool>,
}

/// What of the policy changes.
#[derive(Debug, Clone, Args)]
pub struct PolicyArgs {
    /// Which manager.
    #[command(flatten)]
    pub reach: Reach,
    /// The smart account's name.
    #[arg(long)]
    pub name: Option<String>,
    /// The virtual account where things land unless stated otherwise, by name or id.
    #[arg(long, value_name = "ACCOUNT")]
    pub default_account: Option<String>,
    /// Who is told of a shortage.
    #[arg(long, value_parser = ["all_in_pool", "offender_only", "priority"])]
    pub ooc_scope: Option<String>,
    /// What may be used beyond what was bought.
    #[command(flatten)]
    pub overage: OverageArgs,
    /// What becomes of a second identity of a machine.
    #[arg(long, value_parser = ["allow", "deny", "ask"])]
    pub eval_policy: Option<String>,
    /// Tokens may carry the export flag.
    #[arg(long, value_name = "true|false")]
    pub export_permitted: Option<bool>,
    /// Licenses may be reserved.
    #[arg(long, value_name = "true|false")]
    pub reservation_allowed: Option<bool>,
    /// Only these product profiles may register. Can be repeated.
    #[arg(long = "product", value_name = "PROFILE", conflicts_with = "any_product")]
    pub products: Vec<String>,
    /// Every product profile may register.
    #[arg(long)]
    pub any_product: bool,
    /// Days that a token is valid unless stated otherwise.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=365))]
    pub token_days: Option<u16>,
    /// Days between archived reports; 0 is never.
    #[arg(long, value_parser = clap::value_parser!(u16).range(0..=365))]
    pub report_days: Option<u16>,
}

/// Entitlement tags.
#[derive(Debug, Subcommand)]
pub enum TagCommand {
    /// Make a tag known, or change all that is known of it.
    #[command(
        after_help = "Examples:\n  callgate manager tag define premium --name 'Premium sessions' --family sessions --level 2\n  callgate manager tag define trunk --name Trunks --hard"
    )]
    Define {
        /// Which manager.
        #[command(flatten)]
        reach: Reach,
        /// The tag, as agents name it.
        tag: String,
        /// Its name for people; left out: the tag.
        #[arg(long)]
        name: Option<String>,
        /// What it is.
        #[arg(long, default_value = "")]
        description: String,
        /// Never hand out more than was bought.
        #[arg(long)]
        hard: bool,
        /// The order of tiers that it belongs to.
        #[arg(long, requires = "level")]
        family: Option<String>,
        /// Its place there: higher stands in for lower.
        #[arg(long, requires = "family")]
        level: Option<u8>,
        /// Its own overage policy.
        #[command(flatten)]
        overage: OverageArgs,
    },
    /// List tags.
    #[command(after_help = "Example:\n  callgate manager tag list")]
    List(Reach),
    /// Forget a tag that has no licenses and no use.
    #[command(after_help = "Example:\n  callgate manager tag remove premium")]
    Remove {
        /// Which manager.
        #[command(flatten)]
        reach: Reach,
        /// The tag.
        tag: String,
    },
}

/// Machines.
#[derive(Debug, Subcommand)]
pub enum MachineCommand {
    /// Allow further identities of a machine, where the policy asks.
    #[command(after_help = "Example:\n  callgate manager machine allow 4f1c0a")]
    Allow {
        /// Which manager.
        #[command(flatten)]
        reach: Reach,
        /// Its fingerprint, as the alert names it.
        fingerprint: String,
        /// No more.
        #[arg(long)]
        cancel: bool,
    },
}

/// What a row of a pool's use sums up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum UsageByArg {
    /// An hour.
    Hour,
    /// A day (UTC).
    Day,
    /// The whole time.
    Range,
}

impl UsageByArg {
    /// Its name in the API.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Range => "range",
        }
    }
}

/// What was.
#[derive(Debug, Subcommand)]
pub enum HistoryCommand {
    /// Use by report, of the last 30 days; or by day, of what is older.
    #[command(after_help = "Example:\n  callgate manager history usage --tag open.cps --daily")]
    Usage {
        /// Which.
        #[command(flatten)]
        listed: super::args::Listed,
        /// Only of this instance, by id or UDI.
        #[arg(long, value_name = "INSTANCE")]
        instance: Option<String>,
        /// Only of this tag.
        #[arg(long)]
        tag: Option<String>,
        /// Only of the last so many days.
        #[arg(long)]
        days: Option<u32>,
        /// By day.
        #[arg(long)]
        daily: bool,
        /// How many rows at most.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
        /// Go on where a page ended: what it said.
        #[arg(long, value_name = "CURSOR")]
        after: Option<String>,
    },
    /// Use of each tag in each virtual account: peaks, 95th percentiles and reports, over time.
    #[command(after_help = "Example:\n  callgate manager history pools --tag open.cps --days 30")]
    Pools {
        /// Which.
        #[command(flatten)]
        listed: super::args::Listed,
        /// Only of this tag.
        #[arg(long)]
        tag: Option<String>,
        /// Only of the last so many days.
        #[arg(long)]
        days: Option<u32>,
        /// What a row sums up.
        #[arg(long, value_enum, default_value = "day")]
        by: UsageByArg,
    },
    /// What happened to an instance, the newest first.
    #[command(after_help = "Example:\n  callgate manager history events inst-0123456789abcdef")]
    Events {
        /// Which manager.
        #[command(flatten)]
        reach: Reach,
        /// Its id or UDI.
        instance: String,
    },
    /// Transfers of licenses, the newest first.
    #[command(after_help = "Example:\n  callgate manager history transfers")]
    Transfers(Reach),
    /// Alerts that ended, the newest first.
    #[command(after_help = "Example:\n  callgate manager history alerts")]
    Alerts(Reach),
}
