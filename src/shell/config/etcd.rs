//! `[cluster.etcd]`: where the engine is that lends when a mesh is outgrown.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::schema::{Key, Kind, Reload};
use super::validate::Validation;
use crate::cluster::NodeName;
use crate::cluster::chunks::Terms;

/// The most endpoints.
const ENDPOINTS_MAX: usize = 16;

/// Who lends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LedgerEngine {
    /// The members, one another.
    #[default]
    Mesh,
    /// etcd: home licenses lie there, and nodes take chunks of them.
    Etcd,
}

/// `[cluster.etcd]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Etcd {
    /// URLs, with commas between.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub endpoints: String,
    /// What all keys begin with.
    pub prefix: String,
    /// The term of a chunk of calls per second, in seconds.
    pub ttl_s: u32,
    /// How long an answer is waited for, in milliseconds.
    pub timeout_ms: u32,
    /// Of a node's own licenses so many percent stay out of etcd.
    pub keep_percent: u32,
    /// The demand of so long a time is taken ahead, in milliseconds.
    pub ahead_ms: u32,
    /// So many percent of what is wanted are taken on top.
    pub chunk_percent: u32,
    /// etcd's user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// A file with that user's password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// The authorities that signed etcd's certificate; PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// This node's certificate for etcd; PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_file: Option<PathBuf>,
    /// Its key; PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
}

impl Default for Etcd {
    fn default() -> Self {
        let Terms { prefix, ttl_s, keep_percent, ahead_ms, chunk_percent } = Terms::default();
        Self {
            endpoints: String::new(),
            prefix,
            ttl_s,
            timeout_ms: 1000,
            keep_percent,
            ahead_ms,
            chunk_percent,
            user: None,
            password_file: None,
            ca_file: None,
            certificate_file: None,
            key_file: None,
        }
    }
}

impl Etcd {
    /// The endpoints, each by itself.
    pub fn endpoints(&self) -> impl Iterator<Item = &str> {
        self.endpoints.split(',').map(str::trim).filter(|endpoint| !endpoint.is_empty())
    }

    /// What the core is told of it.
    #[must_use]
    pub fn terms(&self) -> Terms {
        Terms {
            prefix: self.prefix.clone(),
            ttl_s: self.ttl_s,
            keep_percent: self.keep_percent,
            ahead_ms: self.ahead_ms,
            chunk_percent: self.chunk_percent,
        }
    }
}

const MADE: Reload = Reload::Restart("the way to etcd is taken at start");

const fn key(path: &'static str, kind: Kind, example: &'static str, doc: &'static str) -> Key {
    Key { path, kind, reload: MADE, example, doc }
}

const fn number(path: &'static str, min: u32, max: u32, of: &'static str, doc: &'static str) -> Key {
    key(path, Kind::Integer { min, max, of }, "", doc)
}

/// The keys of `[cluster.etcd]`, and the one that chooses it.
pub(super) const KEYS: &[Key] = &[
    key(
        "cluster.ledger",
        Kind::Choice(&["mesh", "etcd"]),
        "",
        "Who lends. mesh: the members, one another. etcd: home licenses lie in etcd, and nodes take chunks of them,\nfor clusters beyond 150 nodes or over regions; then listen, peers and certificates above are not used.\nA build has it with the feature etcd.",
    ),
    key(
        "cluster.etcd.endpoints",
        Kind::Text { bytes_max: 2048 },
        "\"https://10.0.0.11:2379, https://10.0.0.12:2379, https://10.0.0.13:2379\"",
        "Where etcd is: URLs with commas between, all http or all https.",
    ),
    key("cluster.etcd.prefix", Kind::Text { bytes_max: 128 }, "", "What all keys begin with, one for each cluster."),
    number(
        "cluster.etcd.ttl_s",
        4,
        60,
        "seconds",
        "The term of a chunk of calls per second, in seconds. A node that doesn't reach etcd uses its chunk\nfor so long less a second; what a killed node held is free after it. Sessions have no term.",
    ),
    number(
        "cluster.etcd.timeout_ms",
        100,
        10_000,
        "milliseconds",
        "How long an answer of etcd is waited for, in milliseconds.",
    ),
    number(
        "cluster.etcd.keep_percent",
        0,
        100,
        "percent",
        "Of what this node holds itself, so many percent never enter etcd: they count here whatever becomes of etcd,\nand are lent to nobody. With 0 a node that doesn't reach etcd for a term admits no calls per second.",
    ),
    number(
        "cluster.etcd.ahead_ms",
        0,
        60_000,
        "milliseconds",
        "The demand of so long a time is taken ahead, in milliseconds.",
    ),
    number(
        "cluster.etcd.chunk_percent",
        0,
        100,
        "percent",
        "Taken on top, and left when something is given back: so many percent of what is wanted.",
    ),
    key("cluster.etcd.user", Kind::Text { bytes_max: 256 }, "\"callgate\"", "etcd's user, with password_file."),
    key(
        "cluster.etcd.password_file",
        Kind::Path,
        "\"/etc/callgate/etcd.password\"",
        "A file with that user's password, readable by this user alone.",
    ),
    key(
        "cluster.etcd.ca_file",
        Kind::Path,
        "\"/etc/callgate/etcd/ca.pem\"",
        "The authorities that signed etcd's certificates (PEM); needed with https.",
    ),
    key(
        "cluster.etcd.certificate_file",
        Kind::Path,
        "\"/etc/callgate/etcd/sip-a.pem\"",
        "This node's certificate for etcd (PEM), if etcd asks for one; with key_file.",
    ),
    key("cluster.etcd.key_file", Kind::Path, "\"/etc/callgate/etcd/sip-a.key\"", "That certificate's key (PEM)."),
];

impl Validation<'_> {
    /// What etcd's values need of one another.
    pub(super) fn etcd(&mut self) {
        let cluster = &self.config.cluster;
        let etcd = &cluster.etcd;
        if cluster.ledger == LedgerEngine::Mesh {
            if !etcd.endpoints.is_empty() {
                self.warnings.push("cluster.ledger is \"mesh\": cluster.etcd is not talked to".to_owned());
            }
            return;
        }
        if !cfg!(feature = "etcd") {
            let hint = "build it with `cargo build --features etcd`".to_owned();
            self.problem("cluster.ledger", "\"etcd\", and this build has no etcd", "mesh", Some(hint));
        }
        if let Err(error) = self.config.node.name.parse::<NodeName>() {
            self.problem("node.name", error.to_string(), "a name that is this node's alone in etcd", None);
        }
        let schemes: Vec<bool> = etcd.endpoints().map(|endpoint| endpoint.starts_with("https://")).collect();
        let urls = etcd.endpoints().all(|endpoint| {
            url::Url::parse(endpoint).is_ok_and(|url| {
                matches!(url.scheme(), "http" | "https") && url.has_host() && matches!(url.path(), "" | "/")
            })
        });
        let accepted =
            "1 to 16 URLs with commas between, all http or all https, such as \"https://10.0.0.11:2379\"".to_owned();
        let one_scheme = schemes.iter().all(|https| schemes.first() == Some(https));
        if schemes.is_empty() {
            self.problem("cluster.etcd.endpoints", "nothing, and cluster.ledger is \"etcd\"", accepted, None);
        } else if !urls || !one_scheme || schemes.len() > ENDPOINTS_MAX {
            self.problem("cluster.etcd.endpoints", format!("{:?}", etcd.endpoints), accepted, None);
        }
        let secure = schemes.first() == Some(&true);
        if secure && etcd.ca_file.is_none() {
            let accepted = "the file of the authority that signed etcd's certificates";
            self.problem("cluster.etcd.ca_file", "nothing, and the endpoints are https", accepted, None);
        }
        if !secure && (etcd.ca_file.is_some() || etcd.certificate_file.is_some()) {
            self.warnings.push("cluster.etcd: the endpoints are http, and certificates are not used".to_owned());
        }
        for (one, other, keys) in [
            (etcd.user.is_some(), etcd.password_file.is_some(), ["user", "password_file"]),
            (etcd.certificate_file.is_some(), etcd.key_file.is_some(), ["certificate_file", "key_file"]),
        ] {
            let [first, second] = keys;
            let (missing, there) = if one { (second, first) } else { (first, second) };
            if one != other {
                let key = format!("cluster.etcd.{missing}");
                self.problem(
                    &key,
                    format!("nothing, and {there} is set"),
                    format!("{first} and {second} together"),
                    None,
                );
            }
        }
        if !secure && etcd.user.is_some() {
            self.warnings.push("cluster.etcd: the password is sent over http, in the clear".to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::shell::config::{Inputs, Loader};

    fn problems(text: &str) -> Vec<String> {
        let environment = [("HOME".to_owned(), "/nowhere".to_owned())].into();
        let inputs = Inputs { environment, host_name: "sip-a".to_owned() };
        let loaded = Loader { inputs, ..Loader::default() }.load_text(Path::new("/etc/callgate.toml"), text);
        let built = |key: &String| cfg!(feature = "etcd") || key != "cluster.ledger";
        loaded.map_or_else(|error| error.0.into_iter().map(|problem| problem.key).filter(built).collect(), |_| vec![])
    }

    #[test]
    fn etcd_without_an_endpoint_or_with_a_half_of_a_pair_is_refused_all_at_once() {
        let text = "[cluster]\nledger = 'etcd'\n[cluster.etcd]\nuser = 'callgate'\nkey_file = 'k'\n";
        let expected = ["cluster.etcd.certificate_file", "cluster.etcd.endpoints", "cluster.etcd.password_file"];
        assert_eq!(problems(text), expected);
    }

    #[test]
    fn endpoints_are_urls_of_one_scheme_and_https_names_its_authority() {
        let with = |endpoints: &str| {
            problems(&format!("[cluster]\nledger = 'etcd'\n[cluster.etcd]\nendpoints = '{endpoints}'\n"))
        };
        assert!(with("http://a:2379, http://b:2379").is_empty());
        assert_eq!(with("https://a:2379"), ["cluster.etcd.ca_file"]);
        for wrong in ["a:2379", "http://a:2379, https://b:2379", "http://a:2379/v3", "ftp://a"] {
            assert_eq!(with(wrong), ["cluster.etcd.endpoints"], "{wrong}");
        }
    }

    #[cfg(not(feature = "etcd"))]
    #[test]
    fn a_build_without_etcd_says_so() {
        let environment = [("HOME".to_owned(), "/nowhere".to_owned())].into();
        let inputs = Inputs { environment, host_name: "sip-a".to_owned() };
        let text = "[cluster]\nledger = 'etcd'\n[cluster.etcd]\nendpoints = 'http://a:2379'\n";
        let error = Loader { inputs, ..Loader::default() }.load_text(Path::new("/etc/c.toml"), text).unwrap_err();
        assert!(error.to_string().contains("this build has no etcd"), "{error}");
    }
}
