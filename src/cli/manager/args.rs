//! Arguments of `callgate manager`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::further::{HistoryCommand, MachineCommand, PolicyCommand, TagCommand};
use super::people_args::{AuditCommand, KeyCommand, UserCommand};
use crate::manager::serve::ManagerLoader;

/// The license manager.
#[derive(Debug, Subcommand)]
pub enum ManagerCommand {
    /// Run the license manager.
    ///
    /// Without any configuration: HTTPS on 127.0.0.1:7510 with a certificate authority of its own, an embedded database,
    /// state in ~/.local/state/callgate-manager. SIGTERM and Ctrl-C stop it, SIGHUP reads certificates again.
    #[command(
        after_help = "Examples:\n  callgate manager serve\n  callgate manager serve --config /etc/callgate/manager.toml"
    )]
    Serve(ManagerServeArgs),
    /// Its configuration: validate it, print a commented default.
    #[command(subcommand)]
    Config(ManagerConfigCommand),
    /// The manager at a glance.
    #[command(after_help = "Example:\n  callgate manager status")]
    Status(Reach),
    /// Registration tokens: what a person copies to a sidecar.
    #[command(subcommand)]
    Token(TokenCommand),
    /// The smart account and its virtual accounts.
    #[command(subcommand)]
    Account(AccountCommand),
    /// Licenses: what was bought, what is in use.
    #[command(subcommand)]
    Pool(PoolCommand),
    /// Product instances: who registered.
    #[command(subcommand)]
    Instance(InstanceCommand),
    /// Reports.
    #[command(subcommand)]
    Report(ReportCommand),
    /// Alerts.
    #[command(subcommand)]
    Alert(AlertCommand),
    /// People who may log in.
    #[command(subcommand)]
    User(UserCommand),
    /// API keys, and the keys that sign.
    #[command(subcommand)]
    Key(KeyCommand),
    /// The account's policy: shortages, overage, second identities, export.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Entitlement tags: names, tiers, hard resources.
    #[command(subcommand)]
    Tag(TagCommand),
    /// Machines with more than one identity.
    #[command(subcommand)]
    Machine(MachineCommand),
    /// What was: usage, events, transfers, ended alerts.
    #[command(subcommand)]
    History(HistoryCommand),
    /// The audit log.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Write a backup of the database into the manager's data directory.
    ///
    /// Keys are not in it: keep a copy of the directory pki as well, in another place.
    #[command(after_help = "Example:\n  callgate manager backup")]
    Backup(Reach),
    /// Put a backup into the database that the configuration names, while no manager runs on it.
    ///
    /// Which manager must be said: --config or --data-dir. Afterwards every number of a grant jumps ahead, so that none comes twice.
    #[command(
        after_help = "Example:\n  callgate manager restore --data-dir /var/lib/callgate-manager --yes /var/lib/callgate-manager/backups/callgate-manager-1800000000000.backup"
    )]
    Restore {
        /// Which manager.
        #[command(flatten)]
        config: ManagerConfigArgs,
        /// Replace what the database holds.
        #[arg(long, short = 'y')]
        yes: bool,
        /// The backup.
        file: PathBuf,
    },
}

/// How to run.
#[derive(Debug, Clone, Default, Args)]
pub struct ManagerServeArgs {
    /// Where its configuration comes from.
    #[command(flatten)]
    pub config: ManagerConfigArgs,
    /// Start although the database's product instances trust another signing root. All of them must register anew.
    #[arg(long, help_heading = "Configuration")]
    pub accept_new_root: bool,
}

/// Where the manager's configuration comes from.
#[derive(Debug, Clone, Default, Args)]
pub struct ManagerConfigArgs {
    /// The manager's configuration file.
    #[arg(
        long,
        value_name = "FILE",
        env = "CALLGATE_MANAGER_CONFIG",
        hide_env_values = true,
        help_heading = "Configuration"
    )]
    pub config: Option<PathBuf>,
    /// Keys, database, admin socket (data_dir).
    #[arg(long, value_name = "DIR", help_heading = "Configuration")]
    pub data_dir: Option<PathBuf>,
    /// Where to listen (listen).
    #[arg(long, value_name = "ADDRESS", help_heading = "Configuration")]
    pub listen: Option<SocketAddr>,
    /// The database (database); one with a password belongs into database_file.
    #[arg(long, value_name = "URL", help_heading = "Configuration")]
    pub database: Option<String>,
}

impl ManagerConfigArgs {
    /// What reads the configuration that these name.
    #[must_use]
    pub fn loader(&self) -> ManagerLoader {
        ManagerLoader {
            file: self.config.clone(),
            data_dir: self.data_dir.clone(),
            listen: self.listen,
            database: self.database.clone(),
        }
    }
}

/// Which manager to ask: the one on this host, by its admin socket; or any, by HTTPS with an API key.
#[derive(Debug, Clone, Default, Args)]
pub struct Reach {
    /// The manager's admin socket.
    #[arg(long, value_name = "SOCKET", help_heading = "Which manager", conflicts_with = "url")]
    pub admin: Option<PathBuf>,
    /// The manager's configuration file: the socket is in its data_dir.
    #[arg(
        long,
        value_name = "FILE",
        env = "CALLGATE_MANAGER_CONFIG",
        hide_env_values = true,
        help_heading = "Which manager"
    )]
    pub config: Option<PathBuf>,
    /// The manager's data directory.
    #[arg(long, value_name = "DIR", help_heading = "Which manager")]
    pub data_dir: Option<PathBuf>,
    /// Its address, such as `https://license.example.org:7510`.
    #[arg(long, value_name = "URL", help_heading = "Which manager", requires = "api_key_file")]
    pub url: Option<String>,
    /// The authority of its certificate (ca.pem of its data directory); left out: the system's.
    #[arg(long, value_name = "FILE", help_heading = "Which manager", requires = "url")]
    pub ca: Option<PathBuf>,
    /// A file whose first line is an API key.
    #[arg(long, value_name = "FILE", help_heading = "Which manager", requires = "url")]
    pub api_key_file: Option<PathBuf>,
}

/// The manager's configuration.
#[derive(Debug, Subcommand)]
pub enum ManagerConfigCommand {
    /// Say what is wrong with a configuration. Nothing is started.
    #[command(after_help = "Example:\n  callgate manager config check --config /etc/callgate/manager.toml")]
    Check(ManagerConfigArgs),
    /// Print a commented configuration file with every key and its default.
    #[command(after_help = "Example:\n  callgate manager config default > manager.toml")]
    Default,
}

/// Registration tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token. It is printed once, to standard output; keep it out of logs and command lines.
    #[command(
        after_help = "Examples:\n  callgate manager token create > token\n  callgate manager token create --account lab --uses 10 --days 7 --note 'rack 3'"
    )]
    Create {
        /// Which manager.
        #[command(flatten)]
        reach: Reach,
        /// The virtual account where instances land, by name or id; left out: the default one.
        #[arg(long, value_name = "ACCOUNT")]
        account: Option<String>,
        /// Days that it is valid; left out: as the policy says, or, where that is as delivered, as the profiles of --product say.
        #[arg(long, value_parser = clap::value_parser!(u16).range(1..=365))]
        days: Option<u16>,
        /// Registrations allowed.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "unlimited")]
        uses: u64,
        /// Any number of registrations.
        #[arg(long)]
        unlimited: bool,
        /// Without the export flag.
        #[arg(long)]
        no_export: bool,
        /// Only for this product profile. Can be repeated.
        #[arg(long = "product", value_name = "PROFILE")]
        products: Vec<String>,
        /// Only from this network, such as 192.0.2.0/24. Can be repeated.
        #[arg(long = "network", value_name = "NETWORK")]
        networks: Vec<String>,
        /// What it is for.
        #[arg(long, default_value = "")]
        note: String,
    },
    /// List tokens, without their texts.
    #[command(after_help = "Example:\n  callgate manager token list --account lab")]
    List(Listed),
    /// End a token. What registered with it stays registered.
    #[command(after_help = "Example:\n  callgate manager token revoke tok-0123456789abcdef")]
    Revoke {
        /// Which manager.
        #[command(flatten)]
        reach: Reach,
        /// Its id.
        token: String,
    },
    /// Forget a token that ended.
    #[command(after_help = "Example:\n  callgate manager token remove tok-0123456789abcdef")]
    Remove {
        /// Which manager.
        #[command(flatten)]
        reach: Reach,
        /// Its id.
        token: String,
    },
}

/// A list.
#[derive(Debug, Clone, Args)]
pub struct Listed {
    /// Which manager.
    #[command(flatten)]
    pub reach: Reach,
    /// Only of this virtual account, by name or id.
    #[arg(long, value_name = "ACCOUNT")]
    pub account: Option<String>,
}

/// Accounts.
#[derive(Debug, Subcommand)]
pub enum AccountCommand {
    /// Make a virtual account.
    #[command(after_help = "Example:\n  callgate manager account create lab --description Laboratory")]
    Create {
        /// Which manager.
        #[command(flatten)]
        reach: Reach,
        /// Its name.
        name: String,
        /// What it is for.
        #[arg(long, default_value = "")]
        description: String,
    },
    /// Rename or describe a virtual account.
    #[command(after_help = "Example:\n  callgate manager account update lab --name laboratory")]
    Update {
        /// Which manager.
        #[command(flatten)]
        reach: Reach,
        /// Which, by name or id.
        account: String,
        /// Its new name; left out: as it is.
        #[arg(long)]
        name: Option<String>,
        /// What it is for; left out: as it is.
        #[arg(long)]
        description: Option<String>,
    },
    /// Remove a virtual account that holds nothing and isn't the default.
    #[command(after_help = "Example:\n  callgate manager account remove lab")]
    Remove {
        /// Which manager.
        #[command(flatten)]
        reach: Reach,
        /// Which, by name or id.
        account: String,
    },
    /// List virtual accounts.
    #[command(after_help = "Example:\n  callgate manager account list")]
    List(Reach),
    /// The smart account and its policy.
    #[command(after_help = "Example:\n  callgate manager account show")]
    Show(Reach),
}

/// Licenses.
#[derive(Debug, Subcommand)]
pub enum PoolCommand {
    /// Enter a purchase.
    #[command(
        after_help = "Examples:\n  callgate manager pool add open.cps 100\n  callgate manager pool add ccx.premium 10 --days 365 --account lab"
    )]
    Add {
        /// Which manager.
        #[command(flatten)]
        reach: Reach,
        /// The entitlement tag.
        tag: String,
        /// How many licenses.
        quantity: u64,
        /// The virtual account, by name or id; left out: the default one.
        #[arg(long, value_name = "ACCOUNT")]
        account: Option<String>,
        /// A term of so many days from now on; left out: perpetual.
        #[arg(long)]
        days: Option<u32>,
        /// A SKU, an order.
        #[arg(long, default_value = "")]
        note: String,
    },
    /// List pools: bought, in use, balance, compliance.
    #[command(after_help = "Example:\n  callgate manager pool list --account lab")]
    List(Listed),
    /// List purchases, by which licenses are transferred.
    #[command(after_help = "Example:\n  callgate manager pool lots")]
    Lots(Listed),
    /// Take a purchase back. Says first what that does to product instances, and asks.
    #[command(after_help = "Example:\n  callgate manager pool remove lot-0123456789abcdef")]
    Remove {
        /// Which manager.
        #[command(flatten)]
        reach: Reach,
        /// Don't ask.
        #[arg(long, short = 'y')]
        yes: bool,
        /// The purchase: lot-...
        lot: String,
    },
    /// Move licenses of a purchase to another virtual account.
    #[command(after_help = "Example:\n  callgate manager pool transfer lot-0123456789abcdef 10 --to lab")]
    Transfer {
        /// Which manager.
        #[command(flatten)]
        reach: Reach,
        /// The purchase: lot-...
        lot: String,
        /// How many licenses.
        quantity: u64,
        /// To which virtual account, by name or id.
        #[arg(long, value_name = "ACCOUNT")]
        to: String,
    },
}

/// Product instances.
#[derive(Debug, Subcommand)]
pub enum InstanceCommand {
    /// List instances.
    #[command(after_help = "Example:\n  callgate manager instance list --search rack3")]
    List {
        /// Which.
        #[command(flatten)]
        listed: Listed,
        /// Those that are gone too.
        #[arg(long)]
        all: bool,
        /// Only those with this in UDI, host name, id or note.
        #[arg(long, value_name = "TEXT")]
        search: Option<String>,
    },
    /// Show all that is known of one.
    #[command(after_help = "Example:\n  callgate manager instance show inst-0123456789abcdef")]
    Show {
        /// Which manager.
        #[command(flatten)]
        reach: Reach,
        /// Its id or UDI.
        instance: String,
    },
    /// Remove one. Says first what that does to calls, and asks.
    #[command(after_help = "Example:\n  callgate manager instance remove inst-0123456789abcdef")]
    Remove {
        /// Which manager.
        #[command(flatten)]
        reach: Reach,
        /// Don't ask.
        #[arg(long, short = 'y')]
        yes: bool,
        /// Its id or UDI.
        instance: String,
    },
    /// Move one, and what it asks for, to another virtual account.
    #[command(after_help = "Example:\n  callgate manager instance transfer inst-0123456789abcdef --to lab")]
    Transfer {
        /// Which manager.
        #[command(flatten)]
        reach: Reach,
        /// Its id or UDI.
        instance: String,
        /// To which virtual account, by name or id.
        #[arg(long, value_name = "ACCOUNT")]
        to: String,
    },
    /// Set its priority: the higher, the later a shortage is charged to it.
    #[command(after_help = "Example:\n  callgate manager instance priority inst-0123456789abcdef 10")]
    Priority {
        /// Which manager.
        #[command(flatten)]
        reach: Reach,
        /// Its id or UDI.
        instance: String,
        /// 0 to 255.
        priority: u8,
    },
    /// Write a note on one.
    #[command(after_help = "Example:\n  callgate manager instance note inst-0123456789abcdef 'rack 3'")]
    Note {
        /// Which manager.
        #[command(flatten)]
        reach: Reach,
        /// Its id or UDI.
        instance: String,
        /// The note.
        note: String,
    },
    /// Forget one that is gone, with its numbers and its evaluation.
    #[command(after_help = "Example:\n  callgate manager instance forget inst-0123456789abcdef")]
    Forget {
        /// Which manager.
        #[command(flatten)]
        reach: Reach,
        /// Its id or UDI.
        instance: String,
    },
    /// Note that a replacement for a dead instance is prepared.
    #[command(after_help = "Example:\n  callgate manager instance rehost inst-0123456789abcdef")]
    Rehost {
        /// Which manager.
        #[command(flatten)]
        reach: Reach,
        /// Its id or UDI.
        instance: String,
        /// It isn't any more.
        #[arg(long)]
        cancel: bool,
    },
}

/// Kinds of reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReportKindArg {
    /// All pools and instances.
    Inventory,
    /// Shortfalls alone.
    ComplianceWarning,
    /// What is used of what was bought.
    Consumption,
}

impl ReportKindArg {
    /// Its name in JSON.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Inventory => "inventory",
            Self::ComplianceWarning => "compliance_warning",
            Self::Consumption => "consumption",
        }
    }
}

/// Reports.
#[derive(Debug, Subcommand)]
pub enum ReportCommand {
    /// Make a report, archive it and show it.
    #[command(after_help = "Example:\n  callgate manager report run inventory")]
    Run {
        /// Which.
        #[command(flatten)]
        listed: Listed,
        /// What it says.
        #[arg(value_enum)]
        kind: ReportKindArg,
    },
    /// List archived reports.
    #[command(after_help = "Example:\n  callgate manager report list")]
    List(Reach),
    /// Show an archived report.
    #[command(after_help = "Example:\n  callgate manager report show rep-0123456789abcdef")]
    Show {
        /// Which manager.
        #[command(flatten)]
        reach: Reach,
        /// Its id.
        report: String,
    },
}

/// Alerts.
#[derive(Debug, Subcommand)]
pub enum AlertCommand {
    /// List active alerts.
    #[command(after_help = "Example:\n  callgate manager alert list")]
    List(Reach),
    /// Send a test notice to each destination, and say what happened there.
    #[command(after_help = "Examples:\n  callgate manager alert test\n  callgate manager alert test --destination ops")]
    Test {
        /// Which manager.
        #[command(flatten)]
        reach: Reach,
        /// This destination alone.
        #[arg(long, value_name = "NAME")]
        destination: Option<String>,
    },
    /// Say that one is known.
    #[command(after_help = "Example:\n  callgate manager alert ack ID")]
    Ack {
        /// Which manager.
        #[command(flatten)]
        reach: Reach,
        /// Its id.
        alert: String,
    },
}
