//! `[[alarms.destination]]` of a sidecar, `[[alerts.destination]]` of a manager: where notices go beside the log.
//!
//! One table of keys serves both. What one kind of destination needs is checked here; a key that only another kind reads is
//! warned of, so that a line with a wrong `kind` doesn't go unnoticed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

use super::layers::Layers;
use super::problem::{Origin, Problem, Problems};
use super::secret::{self, BadSecretFile, Secret};
use super::targets::{HostPort, SyslogAddress, WebhookUrl};
use super::{Seconds, TrustChoice};
use crate::notice::{Category, Filter, Format, Level};

/// The most destinations.
const DESTINATIONS_MAX: usize = 32;
/// The most recipients of one mail.
pub(super) const RECIPIENTS_MAX: usize = 32;
/// Commands whose output can go along with a sidecar's alarm.
pub(super) const ATTACHABLE: &[&str] =
    &["license summary", "license status", "license all", "license usage", "license forecast"];
/// Facilities of syslog, in the order of their numbers where it matters: see [`Destination::facility_number`].
pub(super) const FACILITIES: &[&str] = &[
    "user", "daemon", "auth", "syslog", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];
const FACILITY_NUMBERS: &[u8] = &[1, 3, 4, 5, 16, 17, 18, 19, 20, 21, 22, 23];

/// The name of the destination that is always there.
const PREDEFINED: &str = "log";

/// What a destination is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DestinationKind {
    /// The process's own log.
    Log,
    /// A syslog daemon.
    Syslog,
    /// An HTTP server.
    Webhook,
    /// People, by mail.
    Mail,
}

impl DestinationKind {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Syslog => "syslog",
            Self::Webhook => "webhook",
            Self::Mail => "mail",
        }
    }
}

/// How the way to a mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MailSecurity {
    /// TLS once the connection stands, or no mail.
    StartTls,
    /// TLS from the first byte on.
    Tls,
    /// Not at all: only to this host itself.
    None,
}

/// One destination.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Destination {
    /// Its name.
    pub name: String,
    /// What it is; `None` is refused by the check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<DestinationKind>,
    /// How it is written to; `None`: as its kind has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// The mildest that it is told; `None`: warning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<Level>,
    /// What it is told about; empty: whatever is usual.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub categories: Vec<Category>,
    /// Commands whose output goes along.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attach: Vec<String>,
    /// How long one try may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Seconds>,
    /// How long a notice is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_for: Option<Seconds>,
    /// syslog: where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<SyslogAddress>,
    /// syslog: the facility.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub facility: Option<String>,
    /// webhook: where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<WebhookUrl>,
    /// webhook: the bearer token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// webhook: the key of its signatures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signing_key_file: Option<PathBuf>,
    /// webhook, mail: whom to believe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trust: Option<TrustChoice>,
    /// webhook, mail: certificate authorities, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// mail: the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<HostPort>,
    /// mail: how the way is protected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security: Option<MailSecurity>,
    /// mail: the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// mail: that user's password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// mail: the sender.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// mail: the recipients.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<String>,
}

impl Destination {
    /// The predefined one: every alarm, one line each, in the log.
    #[must_use]
    pub fn predefined() -> Self {
        Self { name: PREDEFINED.to_owned(), kind: Some(DestinationKind::Log), ..Self::default() }
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> DestinationKind {
        self.kind.unwrap_or(DestinationKind::Log)
    }

    /// How it is written to.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format.unwrap_or(match self.kind() {
            DestinationKind::Log | DestinationKind::Syslog => Format::Short,
            DestinationKind::Webhook => Format::Json,
            DestinationKind::Mail => Format::Full,
        })
    }

    /// What it wants.
    #[must_use]
    pub fn filter(&self) -> Filter {
        Filter { level: self.severity.unwrap_or(Level::Warning), categories: self.categories.clone() }
    }

    /// How long one try may take.
    #[must_use]
    pub fn timeout(&self) -> std::time::Duration {
        self.timeout.unwrap_or(Seconds(10)).duration()
    }

    /// How long a notice is tried again.
    #[must_use]
    pub fn retry_for(&self) -> std::time::Duration {
        self.retry_for.unwrap_or(Seconds(15 * 60)).duration()
    }

    /// The facility's number (RFC 5424, table 1).
    #[must_use]
    pub fn facility_number(&self) -> u8 {
        let name = self.facility.as_deref().unwrap_or("daemon");
        let place = FACILITIES.iter().position(|facility| *facility == name);
        place.and_then(|place| FACILITY_NUMBERS.get(place)).copied().unwrap_or(3)
    }
}

/// What a destination's files hold. Its `Debug` shows nothing.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DestinationSecrets {
    /// From `token_file`.
    pub token: Option<Secret>,
    /// From `signing_key_file`.
    pub signing_key: Option<Secret>,
    /// From `password_file`.
    pub password: Option<Secret>,
}

/// A destination, ready to be used.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DestinationSetup {
    /// What was configured.
    pub destination: Destination,
    /// What its files hold.
    pub secrets: DestinationSecrets,
}

/// What a check of the list found. Keys begin with the entry's number.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Key, found, accepted.
    pub(super) problems: Vec<(String, String, String)>,
    /// Key, and what is to be said of it.
    pub(super) warnings: Vec<(String, String)>,
}

/// Checks the list as a whole, and reads the files of secrets.
pub(super) fn check(list: &[Destination], findings: &mut Findings) -> Vec<DestinationSecrets> {
    if list.len() > DESTINATIONS_MAX {
        let accepted = format!("at most {DESTINATIONS_MAX}");
        findings.problems.push(("0".to_owned(), format!("{} destinations", list.len()), accepted));
        return Vec::new();
    }
    let mut names = BTreeSet::new();
    let mut secrets = Vec::with_capacity(list.len());
    for (place, of) in list.iter().enumerate() {
        let mut refuse = |key: &str, found: &str, accepted: &str| {
            findings.problems.push((format!("{place}.{key}"), found.to_owned(), accepted.to_owned()));
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if of.name.is_empty() || !of.name.chars().all(plain) || of.name == PREDEFINED {
            let found = if of.name.is_empty() { "no name".to_owned() } else { format!("\"{}\"", of.name) };
            let accepted = "a name of letters, digits, '.', '-' and '_'; \"log\" is the predefined one's";
            refuse("name", &found, accepted);
        } else if !names.insert(of.name.as_str()) {
            refuse("name", &format!("\"{}\" a second time", of.name), "each destination once");
        }
        if of.kind.is_none() {
            refuse("kind", "nothing", "\"log\", \"syslog\", \"webhook\" or \"mail\"");
        }
        needs(of, &mut refuse);
        for (key, kinds, set) in reads(of) {
            if set && !kinds.contains(&of.kind()) && of.kind.is_some() {
                let kinds: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
                let text = format!("is not used: only kind = {} reads it", kinds.join(" or "));
                findings.warnings.push((format!("{place}.{key}"), text));
            }
        }
        let mut secret = |key: &str, path: &Option<PathBuf>| {
            let path = path.as_deref()?;
            read(findings, &format!("{place}.{key}"), path)
        };
        secrets.push(DestinationSecrets {
            token: secret("token_file", &of.token_file),
            signing_key: secret("signing_key_file", &of.signing_key_file),
            password: secret("password_file", &of.password_file),
        });
    }
    secrets
}

/// What its kind cannot do without.
fn needs(of: &Destination, refuse: &mut impl FnMut(&str, &str, &str)) {
    let local = of.server.as_ref().is_some_and(HostPort::is_local);
    match of.kind() {
        DestinationKind::Log | DestinationKind::Syslog => {}
        DestinationKind::Webhook => {
            if of.url.is_none() {
                refuse("url", "nothing, and kind = \"webhook\"", WebhookUrl::ACCEPTED);
            }
        }
        DestinationKind::Mail => {
            if of.server.is_none() {
                refuse("server", "nothing, and kind = \"mail\"", HostPort::ACCEPTED);
            }
            if of.from.is_none() {
                refuse("from", "nothing, and kind = \"mail\"", "the sender's mail address");
            }
            if of.to.is_empty() {
                refuse("to", "nothing, and kind = \"mail\"", "a list of 1 to 32 mail addresses");
            }
            if of.security == Some(MailSecurity::None) && !local {
                let accepted = "\"starttls\" or \"tls\"; \"none\" only to this host itself";
                refuse("security", "\"none\" to another host", accepted);
            }
            if of.user.is_some() != of.password_file.is_some() {
                let (key, found) = if of.user.is_some() {
                    ("password_file", "nothing, and user is set")
                } else {
                    ("user", "nothing, and password_file is set")
                };
                refuse(key, found, "user and password_file together");
            }
        }
    }
    let wants_file = matches!(of.trust, Some(TrustChoice::File | TrustChoice::SystemAndFile));
    if wants_file && of.ca_file.is_none() {
        refuse("ca_file", "nothing, and trust wants a file", "a PEM file");
    }
}

/// Keys that not every kind reads, who does, and whether they are set.
fn reads(of: &Destination) -> [(&'static str, &'static [DestinationKind], bool); 13] {
    use DestinationKind::{Mail, Syslog, Webhook};
    [
        ("address", &[Syslog], of.address.is_some()),
        ("facility", &[Syslog], of.facility.is_some()),
        ("url", &[Webhook], of.url.is_some()),
        ("token_file", &[Webhook], of.token_file.is_some()),
        ("signing_key_file", &[Webhook], of.signing_key_file.is_some()),
        ("trust", &[Webhook, Mail], of.trust.is_some()),
        ("ca_file", &[Webhook, Mail], of.ca_file.is_some()),
        ("server", &[Mail], of.server.is_some()),
        ("security", &[Mail], of.security.is_some()),
        ("user", &[Mail], of.user.is_some()),
        ("password_file", &[Mail], of.password_file.is_some()),
        ("from", &[Mail], of.from.is_some()),
        ("to", &[Mail], !of.to.is_empty()),
    ]
}

fn read(findings: &mut Findings, key: &str, path: &Path) -> Option<Secret> {
    match secret::read_password(path) {
        Ok((secret, open_to_all)) => {
            if open_to_all {
                let text = format!("is a file that every user of this host can read: chmod 600 {}", path.display());
                findings.warnings.push((key.to_owned(), text));
            }
            Some(secret)
        }
        Err(BadSecretFile { found, accepted }) => {
            findings.problems.push((key.to_owned(), found, accepted));
            None
        }
    }
}

/// The destinations in a file of another program that has them in `[[SECTION.destination]]` (the manager's `alerts`), and
/// what deserves a look. Outputs of a sidecar's commands cannot go along there.
///
/// # Errors
/// Everything that is wrong with them.
pub fn destinations_of(
    file: &Path,
    text: &str,
    section: &str,
) -> Result<(Vec<DestinationSetup>, Vec<String>), Problems> {
    let (table, _) = DeTable::parse_recoverable(text);
    let Some(DeValue::Table(alerts)) = table.get_ref().get(section).map(toml::Spanned::get_ref) else {
        return Ok((Vec::new(), Vec::new()));
    };
    let mut layers = Layers::default();
    layers.list_in_file(file, text, ["alarms", "destination"], alerts);
    let Layers { leaves, mut problems } = layers;
    let mut list: Vec<Table> = Vec::new();
    let mut origins = std::collections::BTreeMap::new();
    for (path, (value, origin)) in leaves {
        let [_, _, place, key] = path.as_slice() else { continue };
        let place = place.parse().unwrap_or(0);
        if list.len() <= place {
            list.resize_with(place + 1, Table::new);
        }
        if let Some(entry) = list.get_mut(place) {
            entry.insert(key.clone(), value);
        }
        origins.insert(format!("{place}.{key}"), origin);
    }
    let whole = Origin::File { path: std::sync::Arc::new(file.to_owned()), line: 0 };
    let origin = |key: &str| {
        origins.get(key).cloned().unwrap_or_else(|| {
            let name = key.split_once('.').map_or_else(String::new, |(place, _)| format!("{place}.name"));
            origins.get(&name).cloned().unwrap_or_else(|| whole.clone())
        })
    };
    let mut told: Vec<Problem> = Vec::new();
    let mut destinations: Vec<Destination> = Vec::with_capacity(list.len());
    for (place, entry) in list.into_iter().enumerate() {
        match Destination::deserialize(Value::Table(entry)) {
            Ok(destination) => destinations.push(destination),
            Err(error) => told.push(Problem {
                origin: origin(&format!("{place}.name")),
                key: format!("alarms.destination.{place}"),
                found: error.message().to_owned(),
                accepted: "a destination".to_owned(),
                hint: None,
            }),
        }
    }
    let mut findings = Findings::default();
    let secrets = check(&destinations, &mut findings);
    for (place, of) in destinations.iter().enumerate().filter(|(_, of)| !of.attach.is_empty()) {
        let found = format!("{:?} of {}", of.attach, of.name);
        let accepted = "nothing: these commands are a sidecar's".to_owned();
        findings.problems.push((format!("{place}.attach"), found, accepted));
    }
    for (key, found, accepted) in findings.problems {
        let full = format!("alarms.destination.{key}");
        if !problems.iter().any(|problem| problem.key == full) {
            told.push(Problem { origin: origin(&key), key: full, found, accepted, hint: None });
        }
    }
    problems.append(&mut told);
    for problem in &mut problems {
        problem.key = problem.key.replacen("alarms.", &format!("{section}."), 1);
        problem.accepted = problem.accepted.replace("[[alarms.", &format!("[[{section}."));
    }
    if !problems.is_empty() {
        problems.sort();
        return Err(Problems(problems));
    }
    let warnings = findings.warnings.into_iter();
    let warnings = warnings.map(|(key, text)| format!("{section}.destination.{key} ({}) {text}", origin(&key)));
    let setups = destinations.into_iter().zip(secrets);
    let setups = setups.map(|(destination, secrets)| DestinationSetup { destination, secrets });
    Ok((setups.collect(), warnings.collect()))
}
