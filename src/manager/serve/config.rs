//! The manager's configuration: one TOML file, every key optional, every error told at once.
//!
//! What must stay true: what is accepted here needs no second look later; a secret is never a value, only the file that
//! holds it.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Value;
use toml::de::{DeTable, DeValue};

use crate::manager::pki::CertificateSource;
use crate::manager::store::DatabaseUrl;
use crate::shell::config::{DestinationSetup, Inputs, Origin, Problem, Problems, Seconds, destinations_of};
use crate::shell::telemetry::log::{LogFormat, LogSettings, parse_level};

/// The admin socket within the data directory.
pub const MANAGER_SOCKET: &str = "manager.sock";

/// The largest configuration file, in bytes.
const FILE_BYTES_MAX: usize = 1 << 20;

/// Where the database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Database {
    /// A SQLite file in the data directory.
    Embedded,
    /// A URL without a password, such as `postgres://manager@db.example.org/callgate`.
    Url(DatabaseUrl),
    /// The first line of this file is the URL.
    File(PathBuf),
}

/// A configuration that was checked.
#[derive(Debug, Clone)]
pub struct ManagerConfig {
    /// Keys, database, admin socket.
    pub data_dir: PathBuf,
    /// HTTPS, for agents and people.
    pub listen: SocketAddr,
    /// Where the database is.
    pub database: Database,
    /// The smart account's name, for the first start.
    pub account: String,
    /// Further names and addresses by which clients reach the manager.
    pub names: Vec<String>,
    /// The operator's own TLS certificate and key.
    pub tls_files: Option<(PathBuf, PathBuf)>,
    /// The log.
    pub log: LogSettings,
    /// Open connections.
    pub connections_max: u32,
    /// Open connections of one address.
    pub connections_per_address: u32,
    /// Registrations, and deregistrations without a certificate, per minute and address.
    pub registrations_per_minute: u32,
    /// Logins per minute and address.
    pub logins_per_minute: u32,
    /// How long one request may take.
    pub request_time: Seconds,
    /// How long requests under way may take at a stop.
    pub drain_time: Seconds,
    /// Whether alerts are logged: the predefined destination.
    pub alerts_log: bool,
    /// An alert that flaps is told once in this time; 0 is always.
    pub damping: Seconds,
    /// Where alerts go beside the log.
    pub destinations: Vec<DestinationSetup>,
    /// What deserves a look, without being wrong.
    pub warnings: Vec<String>,
    /// The host's name.
    pub host_name: String,
}

impl ManagerConfig {
    fn defaults(inputs: &Inputs) -> Self {
        Self {
            data_dir: PathBuf::new(),
            listen: SocketAddr::from(([127, 0, 0, 1], 7510)),
            database: Database::Embedded,
            account: "default".to_owned(),
            names: Vec::new(),
            tls_files: None,
            log: LogSettings::default(),
            connections_max: 10_000,
            connections_per_address: 2_000,
            registrations_per_minute: 600,
            logins_per_minute: 10,
            request_time: Seconds(30),
            drain_time: Seconds(5),
            alerts_log: true,
            damping: Seconds(60),
            destinations: Vec::new(),
            warnings: Vec::new(),
            host_name: inputs.host_name.clone(),
        }
    }

    /// Where the admin socket is.
    #[must_use]
    pub fn admin_socket(&self) -> PathBuf {
        self.data_dir.join(MANAGER_SOCKET)
    }

    /// Where the TLS certificate comes from.
    #[must_use]
    pub fn certificate(&self) -> CertificateSource {
        if let Some((certificate, key)) = &self.tls_files {
            return CertificateSource::Files { certificate: certificate.clone(), key: key.clone() };
        }
        let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
        let host = self.host_name.to_ascii_lowercase();
        let bound = (!self.listen.ip().is_unspecified()).then(|| self.listen.ip().to_string());
        for name in is_dns_name(&host).then_some(host).into_iter().chain(bound).chain(self.names.iter().cloned()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        CertificateSource::Own { names }
    }
}

fn is_dns_name(name: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let rest = name.strip_prefix("*.").unwrap_or(name);
    name.len() <= 253 && rest.split('.').all(label)
}

/// One key: its name, what it is, its default as the file would say it, what it accepts, and how it is set.
struct Key {
    name: &'static str,
    what: &'static str,
    default: &'static str,
    accepted: &'static str,
    set: fn(&mut ManagerConfig, &Value) -> Option<()>,
}

fn text(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| !text.is_empty())
}

fn path(value: &Value) -> Option<PathBuf> {
    text(value).map(PathBuf::from)
}

fn number(value: &Value, from: u32, to: u32) -> Option<u32> {
    value.as_integer().and_then(|number| u32::try_from(number).ok()).filter(|number| (from..=to).contains(number))
}

fn seconds(value: &Value, to: u32) -> Option<Seconds> {
    let span = match value.as_integer() {
        Some(number) => Seconds(u32::try_from(number).ok()?),
        None => value.as_str()?.parse().ok()?,
    };
    (span.get() <= to).then_some(span)
}

const KEYS: &[Key] = &[
    Key {
        name: "data_dir",
        what: "Keys, database and admin socket. Private to the manager's user.",
        default: "\"~/.local/state/callgate-manager\"",
        accepted: "a directory",
        set: |config, value| path(value).map(|path| config.data_dir = path),
    },
    Key {
        name: "listen",
        what: "HTTPS for agents, for people and for scripts; everything asks for authentication.",
        default: "\"127.0.0.1:7510\"",
        accepted: "an IP address with a port, such as \"0.0.0.0:7510\"",
        set: |config, value| value.as_str()?.parse().ok().map(|listen| config.listen = listen),
    },
    Key {
        name: "names",
        what: "Names and addresses by which clients reach the manager, beside this host's own; they stand in its certificate.",
        default: "[]",
        accepted: "DNS names in lower case and IP addresses, such as [\"license.example.org\", \"192.0.2.7\"]",
        set: |config, value| {
            let names: Option<Vec<String>> =
                value.as_array()?.iter().map(|name| text(name).map(str::to_owned)).collect();
            let names = names.filter(|names| {
                names.len() <= 100 && names.iter().all(|name| name.parse::<IpAddr>().is_ok() || is_dns_name(name))
            })?;
            config.names = names;
            Some(())
        },
    },
    Key {
        name: "database",
        what: "The embedded SQLite file in data_dir, or PostgreSQL. A URL with a password belongs into database_file.",
        default: "\"sqlite\"",
        accepted: "\"sqlite\", \"sqlite:///path/file.db\" or \"postgres://user@host/database\", without a password",
        set: |config, value| {
            let text = text(value)?;
            let known = ["sqlite:", "postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme));
            config.database = match text {
                "sqlite" => Database::Embedded,
                url if known => Database::Url(url.parse().ok().filter(|url: &DatabaseUrl| !url.has_password())?),
                _ => return None,
            };
            Some(())
        },
    },
    Key {
        name: "database_file",
        what: "A file whose first line is the database's URL, password included; in place of `database`.",
        default: "",
        accepted: "a file",
        set: |config, value| path(value).map(|path| config.database = Database::File(path)),
    },
    Key {
        name: "account",
        what: "The smart account's name; used at the first start.",
        default: "\"default\"",
        accepted: "1 to 64 characters",
        set: |config, value| {
            let name = text(value).filter(|name| name.chars().count() <= 64 && !name.chars().any(char::is_control))?;
            config.account = name.to_owned();
            Some(())
        },
    },
    Key {
        name: "tls.certificate",
        what: "The server's own certificate and those above it, PEM; left out, an authority of the manager's own signs one.",
        default: "",
        accepted: "a file; tls.key has to be set with it",
        set: |config, value| {
            config.tls_files.get_or_insert_default().0 = path(value)?;
            Some(())
        },
    },
    Key {
        name: "tls.key",
        what: "Its private key, PEM. Both files are read again every hour and on SIGHUP.",
        default: "",
        accepted: "a file; tls.certificate has to be set with it",
        set: |config, value| {
            config.tls_files.get_or_insert_default().1 = path(value)?;
            Some(())
        },
    },
    Key {
        name: "log.level",
        what: "The least severe level to log.",
        default: "\"info\"",
        accepted: "error, warn, info, debug, trace, or a list such as \"info,callgate::manager=debug\"",
        set: |config, value| {
            let level = text(value).filter(|level| parse_level(level).is_ok())?;
            config.log.level = level.to_owned();
            Some(())
        },
    },
    Key {
        name: "log.format",
        what: "The log's form.",
        default: "\"text\"",
        accepted: "\"text\" or \"json\"",
        set: |config, value| {
            config.log.format = match value.as_str()? {
                "text" => LogFormat::Text,
                "json" => LogFormat::Json,
                _ => return None,
            };
            Some(())
        },
    },
    Key {
        name: "limits.connections_max",
        what: "Open connections; one more is closed at once.",
        default: "10000",
        accepted: "a number from 10 to 100000",
        set: |config, value| number(value, 10, 100_000).map(|number| config.connections_max = number),
    },
    Key {
        name: "limits.connections_per_address",
        what: "Open connections of one address (a /64 of IPv6 is one); one more is closed at once.",
        default: "2000",
        accepted: "a number from 10 to 100000",
        set: |config, value| number(value, 10, 100_000).map(|number| config.connections_per_address = number),
    },
    Key {
        name: "limits.registrations_per_minute",
        what: "Registrations that one address may ask for in a minute.",
        default: "600",
        accepted: "a number from 1 to 1000000",
        set: |config, value| number(value, 1, 1_000_000).map(|number| config.registrations_per_minute = number),
    },
    Key {
        name: "limits.logins_per_minute",
        what: "Logins, and failed API keys, that one address may try in a minute.",
        default: "10",
        accepted: "a number from 1 to 1000",
        set: |config, value| number(value, 1, 1_000).map(|number| config.logins_per_minute = number),
    },
    Key {
        name: "limits.request_time",
        what: "How long one request may take.",
        default: "\"30s\"",
        accepted: "a span from \"1s\" to \"5m\"",
        set: |config, value| {
            config.request_time = seconds(value, 300).filter(|time| time.get() > 0)?;
            Some(())
        },
    },
    Key {
        name: "limits.drain_time",
        what: "How long requests under way may take at a stop.",
        default: "\"5s\"",
        accepted: "a span up to \"1m\"",
        set: |config, value| seconds(value, 60).map(|time| config.drain_time = time),
    },
    Key {
        name: "alerts.log",
        what: "Log alerts as they are raised and cleared: the predefined destination \"log\".",
        default: "true",
        accepted: "true or false",
        set: |config, value| value.as_bool().map(|log| config.alerts_log = log),
    },
    Key {
        name: "alerts.damping",
        what: "An alert that flaps is told twice at once, then once in this time, with the number of changes in between.",
        default: "\"1m\"",
        accepted: "a span up to \"1h\"; 0: always",
        set: |config, value| seconds(value, 3_600).map(|time| config.damping = time),
    },
];

/// The commented default file.
#[must_use]
pub fn default_file() -> String {
    let mut out = String::from(
        "# callgate license manager. Every key is optional; what stands here is the default.\n\
         # callgate manager config check --config FILE says what is wrong with a file.\n",
    );
    let mut section = "";
    for key in KEYS {
        let (table, name) = key.name.split_once('.').unwrap_or(("", key.name));
        if table != section {
            out.push_str(&format!("\n[{table}]\n"));
            section = table;
        }
        out.push_str(&format!("\n# {}\n# Accepted: {}.\n", key.what, key.accepted));
        if key.default.is_empty() {
            out.push_str(&format!("#{name} = \"\"\n"));
        } else if key.name == "data_dir" {
            out.push_str(&format!("#{name} = {}\n", key.default));
        } else {
            out.push_str(&format!("{name} = {}\n", key.default));
        }
    }
    out.push_str(DESTINATIONS);
    out
}

/// The one section that is a list.
const DESTINATIONS: &str = "
# Further places to tell alerts to, at most 32, each in a section of its own. The keys are those of [[alarms.destination]]
# in a sidecar's file, which `callgate config default` explains, but for attach. Categories: pool, instance, satellite,
# reservation, clock and storage, and with severity = \"info\" audit. `callgate manager alert test` tries them.
#[[alerts.destination]]
#name = \"ops\"
#kind = \"webhook\"
#url = \"https://ops.example.com/callgate\"
";

/// What to read, and what goes before it.
#[derive(Clone, Default)]
pub struct ManagerLoader {
    /// The file.
    pub file: Option<PathBuf>,
    /// `--data-dir`.
    pub data_dir: Option<PathBuf>,
    /// `--listen`.
    pub listen: Option<SocketAddr>,
    /// `--database`.
    pub database: Option<String>,
}

impl std::fmt::Debug for ManagerLoader {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A database's address may hold a password until it was checked.
        formatter
            .debug_struct("ManagerLoader")
            .field("file", &self.file)
            .field("data_dir", &self.data_dir)
            .field("listen", &self.listen)
            .finish_non_exhaustive()
    }
}

impl ManagerLoader {
    /// Reads and checks it.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn load(&self, inputs: &Inputs) -> Result<ManagerConfig, Problems> {
        let mut config = ManagerConfig::defaults(inputs);
        let mut problems = Vec::new();
        if let Some(file) = &self.file {
            match read(file) {
                Ok(text) => {
                    apply(&mut config, file, &text, &mut problems);
                    match destinations_of(file, &text, "alerts") {
                        Ok((destinations, warnings)) => {
                            (config.destinations, config.warnings) = (destinations, warnings)
                        }
                        Err(found) => problems.extend(found.0),
                    }
                }
                Err(problem) => problems.push(*problem),
            }
        }
        if let Some(listen) = self.listen {
            config.listen = listen;
        }
        if let Some(database) = &self.database {
            let key = KEYS.iter().find(|key| key.name == "database");
            if let Some(key) = key
                && (key.set)(&mut config, &Value::String(database.clone())).is_none()
            {
                // It may hold a password.
                let origin = Origin::Flag { flag: "--database".to_owned() };
                problems.push(problem(origin, key.name, "another text".to_owned(), key.accepted));
            }
        }
        if let Some(data_dir) = &self.data_dir {
            config.data_dir.clone_from(data_dir);
        }
        if config.data_dir.as_os_str().is_empty() {
            match state_directory(inputs) {
                Some(directory) => config.data_dir = directory,
                None => problems.push(problem(
                    Origin::Default,
                    "data_dir",
                    "neither STATE_DIRECTORY nor XDG_STATE_HOME nor HOME is set".to_owned(),
                    "a directory",
                )),
            }
        }
        if let Some((certificate, key)) = &config.tls_files
            && (certificate.as_os_str().is_empty() || key.as_os_str().is_empty())
        {
            let origin = self
                .file
                .as_ref()
                .map_or(Origin::Default, |file| Origin::File { path: Arc::new(file.clone()), line: 0 });
            problems.push(problem(origin, "tls", "one of tls.certificate and tls.key".to_owned(), "both, or neither"));
        }
        if problems.is_empty() { Ok(config) } else { Err(Problems(problems)) }
    }
}

/// `$STATE_DIRECTORY`, which systemd sets; or the user's.
fn state_directory(inputs: &Inputs) -> Option<PathBuf> {
    let absolute = |name: &str| inputs.environment.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("STATE_DIRECTORY")
        .or_else(|| absolute("XDG_STATE_HOME").map(|path| path.join("callgate-manager")))
        .or_else(|| absolute("HOME").map(|path| path.join(".local/state/callgate-manager")))
}

fn problem(origin: Origin, key: &str, found: String, accepted: &str) -> Problem {
    Problem { origin, key: key.to_owned(), found, accepted: accepted.to_owned(), hint: None }
}

fn read(file: &Path) -> Result<String, Box<Problem>> {
    let wrong = |found: String, accepted: &str| {
        let origin = Origin::File { path: Arc::new(file.to_owned()), line: 0 };
        Box::new(problem(origin, "", found, accepted))
    };
    let bytes = crate::shell::store::read_bounded(file, FILE_BYTES_MAX)
        .map_err(|error| wrong(error.to_string(), "a file that can be read"))?
        .ok_or_else(|| wrong("no such file".to_owned(), "a file that can be read"))?;
    if bytes.len() > FILE_BYTES_MAX {
        return Err(wrong(format!("more than {FILE_BYTES_MAX} bytes"), "a smaller file"));
    }
    String::from_utf8(bytes).map_err(|_| wrong("bytes that are no text".to_owned(), "TOML in UTF-8"))
}

fn shortened(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default().trim();
    let short: String = line.chars().filter(|c| !c.is_control()).take(80).collect();
    if short.len() < line.len() { format!("{short}…") } else { short }
}

fn apply(config: &mut ManagerConfig, file: &Path, text: &str, problems: &mut Vec<Problem>) {
    let path = Arc::new(file.to_owned());
    let origin = |at: usize| Origin::File {
        path: Arc::clone(&path),
        line: text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1,
    };
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let at = error.span().map_or(0, |span| span.start);
        let line = text.get(at..).map(shortened).unwrap_or_default();
        problems.push(problem(origin(at), "", line, &format!("TOML ({})", error.message().replace('\n', "; "))));
    }
    if !problems.is_empty() {
        return;
    }
    let mut leaves = Vec::new();
    for (name, value) in table.get_ref() {
        match value.get_ref() {
            DeValue::Table(inside) => leaves
                .extend(inside.iter().map(|(leaf, value)| (format!("{}.{}", name.get_ref(), leaf.get_ref()), value))),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_) => leaves.push((name.get_ref().to_string(), value)),
        }
    }
    let both = ["database", "database_file"].iter().all(|key| leaves.iter().any(|(name, _)| name == key));
    // It is read as a whole, by what reads a sidecar's.
    for (name, value) in leaves.into_iter().filter(|(name, _)| name != "alerts.destination") {
        let span = value.span();
        let raw = text.get(span.clone()).unwrap_or_default();
        let Some(key) = KEYS.iter().find(|key| key.name == name) else {
            let accepted: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
            problems.push(problem(
                origin(span.start),
                &shortened(&name),
                "a key that doesn't exist".to_owned(),
                &accepted.join(", "),
            ));
            continue;
        };
        let parsed = format!("v = {raw}").parse::<toml::Table>().ok().and_then(|mut table| table.remove("v"));
        if parsed.is_none_or(|value| (key.set)(config, &value).is_none()) {
            // A URL may hold a password.
            let found = if key.name == "database" { "another text".to_owned() } else { shortened(raw) };
            problems.push(problem(origin(span.start), key.name, found, key.accepted));
        } else if both && name == "database_file" {
            problems.push(problem(
                origin(span.start),
                &name,
                "database is set too".to_owned(),
                "one of database and database_file",
            ));
        }
    }
}

#[cfg(test)]
mod tests;
