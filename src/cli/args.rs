//! Arguments. The help texts are the first thing a newcomer reads: each command says what it does, and shows an example.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::cluster::ClusterCommand;
use super::license::LicenseCommand;
use super::manager::ManagerCommand;
use crate::shell::config::{FlagValue, Inputs, Loader};

/// May this call start? A call-admission sidecar for SIP proxies.
///
/// A proxy on the same host asks per call; callgate answers from memory, by calls per second, concurrent sessions, trunk,
/// tenant and license.
#[derive(Debug, Parser)]
#[command(
    name = "callgate",
    version,
    max_term_width = 110,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Start here:\n  callgate demo                        all of it at work on this host, for a first look\n  callgate serve                       100 calls per second, on loopback, no configuration needed\n  redis-cli -p 7500 ADMIT call-1       may this call start?\n  callgate status                      how things are\n\nExit codes:\n  0   done\n  1   refused or failed: the reason is on stderr\n  2   wrong usage\n  64  wrong configuration\n  69  no sidecar runs here"
)]
pub struct Cli {
    /// How results are printed.
    #[arg(long, global = true, value_enum, default_value_t = Format::Text, help_heading = "Output")]
    pub format: Format,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For scripts.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the sidecar.
    ///
    /// Without any configuration: profile open, 100 calls per second, evaluation mode, loopback only, state in
    /// ~/.local/state/callgate. SIGTERM and Ctrl-C drain and stop it, SIGHUP reads the configuration again.
    #[command(
        after_help = "Examples:\n  callgate serve\n  callgate serve --config /etc/callgate/callgate.toml\n  callgate serve --set license.count=500 --set admission.mode=shadow"
    )]
    Serve(ConfigArgs),
    /// Show all of it at work on this host: a license manager, three sidecars, calls.
    ///
    /// The sidecars register with the manager, find each other, and lend each other licenses while calls come in, most of them
    /// at one sidecar, and every few seconds at another one. Everything is on loopback, on ports that the system chose, in a
    /// temporary directory that goes when the demo ends. Nothing needs to be configured, and a sidecar that runs here already
    /// is not touched.
    #[command(
        after_help = "Ends with 0 if no law was broken: in no second more calls than were bought, no call left over, nothing crashed.\n\nExamples:\n  callgate demo\n  callgate demo --seconds 30\n  callgate demo --headless --seconds 10 | jq '.admitted, .static_split_admitted'"
    )]
    Demo(DemoArgs),
    /// How the running sidecar is: live calls, counters, limits, license, alarms.
    #[command(after_help = "Examples:\n  callgate status\n  callgate status --format json | jq .refused_total")]
    Status(AdminArgs),
    /// Live calls: list them, show one, free one's slot.
    #[command(subcommand)]
    Calls(CallsCommand),
    /// Active alarms: what is wrong, what it does to calls, what comes next, what to do.
    #[command(after_help = "Examples:\n  callgate alarms\n  callgate alarms --history\n  callgate alarms test")]
    Alarms(AlarmsArgs),
    /// Licensing: what it does to calls and when, registration, use, counts, backup.
    #[command(subcommand)]
    License(LicenseCommand),
    /// The cluster: members, loans, certificates.
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// The license manager: run it, and ask a running one.
    #[command(subcommand)]
    Manager(ManagerCommand),
    /// Configuration: validate it, show what is in force, print a commented default.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Refuse every new call from now on; live calls go on.
    #[command(after_help = "Proxies see cause `draining`. `callgate undrain` ends it.\n\nExample:\n  callgate drain")]
    Drain(AdminArgs),
    /// End a drain: new calls are decided again.
    #[command(after_help = "Example:\n  callgate undrain")]
    Undrain(AdminArgs),
    /// Read the configuration again, as SIGHUP does.
    ///
    /// What can change without losing a call changes at once. If anything needs a restart, all of it is refused, each key
    /// with its reason, and the old configuration stays.
    #[command(after_help = "Example:\n  callgate reload")]
    Reload(AdminArgs),
    /// Print a shell's completions.
    #[command(
        after_help = "Examples:\n  callgate completions bash > /etc/bash_completion.d/callgate\n  callgate completions fish > ~/.config/fish/completions/callgate.fish"
    )]
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Write the manual pages into a directory.
    #[command(after_help = "Example:\n  callgate man /usr/local/share/man/man1")]
    Man {
        /// Where to; made if it isn't there.
        directory: PathBuf,
    },
}

/// Where a configuration comes from. Later ones win: the file, environment variables `CALLGATE_SECTION__KEY`, flags.
#[derive(Debug, Clone, Default, Args)]
pub struct ConfigArgs {
    /// The configuration file.
    #[arg(long, value_name = "FILE", env = "CALLGATE_CONFIG", hide_env_values = true, help_heading = "Configuration")]
    pub config: Option<PathBuf>,
    /// Set one key, such as license.count=200. Can be repeated; lists are separated by commas.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value, help_heading = "Configuration")]
    pub set: Vec<(String, String)>,
    /// The state directory (node.data_dir).
    #[arg(long, value_name = "DIR", help_heading = "Configuration")]
    pub data_dir: Option<String>,
    /// The least severe level to log: error, warn, info, debug or trace (telemetry.log_level).
    #[arg(long, value_name = "LEVEL", help_heading = "Configuration")]
    pub log_level: Option<String>,
    /// The log's form: text or json (telemetry.log_format).
    #[arg(long, value_name = "FORM", help_heading = "Configuration")]
    pub log_format: Option<String>,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("accepted: KEY=VALUE, such as license.count=200")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

impl ConfigArgs {
    /// What reads the configuration that these name.
    #[must_use]
    pub fn loader(&self, inputs: Inputs) -> Loader {
        let flag = |flag: &str, key: &str, value: &str| FlagValue {
            flag: flag.to_owned(),
            key: key.to_owned(),
            value: value.to_owned(),
        };
        let mut flags: Vec<FlagValue> = self.set.iter().map(|(key, value)| flag("--set", key, value)).collect();
        for (name, key, value) in [
            ("--data-dir", "node.data_dir", &self.data_dir),
            ("--log-level", "telemetry.log_level", &self.log_level),
            ("--log-format", "telemetry.log_format", &self.log_format),
        ] {
            flags.extend(value.as_ref().map(|value| flag(name, key, value)));
        }
        Loader { file: self.config.clone(), inputs, flags }
    }
}

/// How long, and for whom, the demo runs.
#[derive(Debug, Clone, Default, Args)]
pub struct DemoArgs {
    /// Calls come for so many seconds; left out: until Ctrl-C.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub seconds: Option<u32>,
    /// For machines: no table; the summary is one JSON document on standard output.
    #[arg(long)]
    pub headless: bool,
    /// The seed that the calls are drawn from: the same one offers the same calls.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
}

/// Which running sidecar.
#[derive(Debug, Clone, Default, Args)]
pub struct AdminArgs {
    /// The sidecar's admin socket.
    #[arg(long, value_name = "SOCKET", help_heading = "Which sidecar")]
    pub admin: Option<PathBuf>,
    /// The sidecar's configuration file: the socket is in its node.data_dir.
    #[arg(long, value_name = "FILE", env = "CALLGATE_CONFIG", hide_env_values = true, help_heading = "Which sidecar")]
    pub config: Option<PathBuf>,
}

/// Live calls.
#[derive(Debug, Subcommand)]
pub enum CallsCommand {
    /// List live calls.
    #[command(
        after_help = "A key names a call for `show` and `release`. SUSPECT calls are in doubt since a restart of their proxy or of the sidecar; RESYNC, REFRESH or CONFIRM clears the doubt.\n\nExamples:\n  callgate calls list\n  callgate calls list --trunk carrier-a --suspect\n  callgate calls list --format json --limit 1000"
    )]
    List(ListArgs),
    /// Show all that is known of one call.
    #[command(after_help = "Example:\n  callgate calls show 3f9c2a7be01d4c5566778899aabbccdd")]
    Show {
        /// Which sidecar.
        #[command(flatten)]
        admin: AdminArgs,
        /// The call's key (32 hexadecimal digits), or its id.
        call: String,
    },
    /// Free a call's slot. The call itself is not hung up.
    #[command(
        after_help = "For a call that its proxy forgot. Asks first, unless --yes is given.\n\nExample:\n  callgate calls release 3f9c2a7be01d4c5566778899aabbccdd"
    )]
    Release {
        /// Which sidecar.
        #[command(flatten)]
        admin: AdminArgs,
        /// Don't ask.
        #[arg(long, short = 'y')]
        yes: bool,
        /// The call's key (32 hexadecimal digits), or its id.
        call: String,
    },
}

/// Which calls to list.
#[derive(Debug, Clone, Args)]
pub struct ListArgs {
    /// Which sidecar.
    #[command(flatten)]
    pub admin: AdminArgs,
    /// Only calls of this trunk.
    #[arg(long, value_name = "NAME", help_heading = "Which calls")]
    pub trunk: Option<String>,
    /// Only calls of this tenant.
    #[arg(long, value_name = "NAME", help_heading = "Which calls")]
    pub tenant: Option<String>,
    /// Only calls of this proxy.
    #[arg(long, value_name = "NAME", help_heading = "Which calls")]
    pub proxy: Option<String>,
    /// Only calls in doubt.
    #[arg(long, help_heading = "Which calls")]
    pub suspect: bool,
    /// Only calls in this phase.
    #[arg(long, value_enum, help_heading = "Which calls")]
    pub phase: Option<PhaseArg>,
    /// Stop after so many calls (with a filter: after the page that reaches so many).
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..), help_heading = "Which calls")]
    pub limit: u32,
    /// Go on where the last list stopped.
    #[arg(long, value_name = "CURSOR", help_heading = "Which calls")]
    pub cursor: Option<String>,
}

/// A phase of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PhaseArg {
    /// Admitted, not yet answered.
    Setup,
    /// Answered, or a registration.
    Talk,
}

impl PhaseArg {
    /// Its name in JSON.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Setup => "setup",
            Self::Talk => "talk",
        }
    }
}

/// Which alarms.
#[derive(Debug, Clone, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct AlarmsArgs {
    /// Something else than a list.
    #[command(subcommand)]
    pub command: Option<AlarmsCommand>,
    /// Which sidecar.
    #[command(flatten)]
    pub admin: AdminArgs,
    /// Cleared alarms too.
    #[arg(long)]
    pub history: bool,
}

/// What to do about the places that alarms are told to.
#[derive(Debug, Clone, Subcommand)]
pub enum AlarmsCommand {
    /// Send a test notice to each destination, and say what happened there.
    #[command(after_help = "Examples:\n  callgate alarms test\n  callgate alarms test --destination ops")]
    Test {
        /// Which sidecar.
        #[command(flatten)]
        admin: AdminArgs,
        /// This destination alone.
        #[arg(long, value_name = "NAME")]
        destination: Option<String>,
    },
    /// Print the schema of notices in XML.
    #[command(after_help = "Example:\n  callgate alarms xsd > callgate-notice.xsd")]
    Xsd,
}

/// Configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Say what is wrong with a configuration, or what it comes to.
    ///
    /// Every error at once, each with file and line, key, what was found and what is accepted. Nothing is started.
    #[command(after_help = "Example:\n  callgate config check --config /etc/callgate/callgate.toml")]
    Check(ConfigArgs),
    /// Print every effective value and where it came from.
    ///
    /// The text is a configuration file itself. Secrets are not in it, only the files that hold them.
    #[command(
        after_help = "Examples:\n  callgate config show\n  CALLGATE_LICENSE__COUNT=200 callgate config show --config /etc/callgate/callgate.toml"
    )]
    Show(ConfigArgs),
    /// Print a commented configuration file with every key and its default.
    #[command(after_help = "Example:\n  callgate config default > callgate.toml")]
    Default,
}
