//! What one key cannot tell by itself: values that must agree with one another, and with the host.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::keys::TYPES_MAX;
use super::problem::{Origin, Problem, shortened};
use super::secret::{self, BadSecretFile, Secrets};
use super::{Address, Config, ExportScope, Group, TrustChoice};
use crate::license::PrivacyItem;
use crate::license::agent::TransportClass;

/// The most ports whose capacity is licensed.
const PORTS_MAX: usize = 4_096;

/// The longest path of a Unix socket that Linux takes, in bytes (`sun_path` less its zero).
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Where each value that was set came from; what is not in it is a default.
pub(super) type Origins = BTreeMap<Vec<String>, Origin>;

/// Looks at a whole configuration.
pub(super) struct Validation<'a> {
    pub(super) config: &'a Config,
    pub(super) origins: &'a Origins,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<String>,
}

impl Validation<'_> {
    /// Finds what is wrong, and what deserves a warning. Reads the files of secrets.
    pub(super) fn run(&mut self) -> Secrets {
        self.license();
        self.transport();
        self.groups("trunk", &self.config.trunk);
        self.groups("tenant", &self.config.tenant);
        self.listeners();
        self.sizes();
        self.cluster();
        let destinations = self.destinations();
        Secrets { destinations, ..self.secrets() }
    }

    fn origin(&self, key: &str) -> Origin {
        let path: Vec<String> = key.split('.').map(str::to_owned).collect();
        self.origins.get(&path).cloned().unwrap_or(Origin::Default)
    }

    pub(super) fn problem(
        &mut self,
        key: &str,
        found: impl Into<String>,
        accepted: impl Into<String>,
        hint: Option<String>,
    ) {
        self.problems.push(Problem {
            origin: self.origin(key),
            key: key.to_owned(),
            found: found.into(),
            accepted: accepted.into(),
            hint,
        });
    }

    fn license(&mut self) {
        let license = &self.config.license;
        let overage = self.config.profile.overage;
        if !overage.control && license.overage != overage.default {
            let accepted =
                format!("{}: the profile {} does not leave it to the operator", overage.default, license.profile);
            self.problem("license.overage", license.overage.to_string(), accepted, None);
        }
        for (name, of) in &license.types {
            if let Some(own) = of.overage.filter(|own| !overage.control && *own != overage.default) {
                let accepted =
                    format!("{}: the profile {} does not leave it to the operator", overage.default, license.profile);
                self.problem(&format!("license.types.{name}.overage"), own.to_string(), accepted, None);
            }
        }
        let cap = &self.config.profile.hard_cap;
        let export = &self.config.admission.export_control;
        if cap.enabled && !export.enabled {
            let accepted = format!("true: the profile {} comes with this cap", license.profile);
            self.problem("admission.export_control.enabled", "false", accepted, None);
        }
        for (key, found, max) in [
            ("limit", export.limit, cap.limit),
            ("limit_with_webrtc", export.limit_with_webrtc, cap.limit_with_webrtc),
            ("webrtc_limit", export.webrtc_limit, cap.webrtc_limit),
        ] {
            if cap.enabled && found > max {
                let accepted = format!("at most {max}, as the profile {} says", license.profile);
                self.problem(&format!("admission.export_control.{key}"), found.to_string(), accepted, None);
            }
        }
        if export.scope == ExportScope::Cluster {
            let accepted = "node, while cluster.listen is \"off\"";
            if self.config.cluster.listen.0.is_none() {
                self.problem("admission.export_control.scope", "\"cluster\"", accepted, None);
            }
            if export.share.is_none_or(|share| share > export.limit) {
                let found = export.share.map_or_else(|| "nothing".to_owned(), |share| share.to_string());
                let accepted =
                    format!("this member's part of limit, at most {}, with scope = \"cluster\"", export.limit);
                let hint = "the shares of all members together must not exceed limit".to_owned();
                self.problem("admission.export_control.share", found, accepted, Some(hint));
            }
        }
        let (count, max) = (license.count.rate().get(), self.config.node.max_call_rate.get());
        if count > max {
            let from = self.origin("node.max_call_rate");
            self.problem(
                "license.count",
                count.to_string(),
                format!("at most node.max_call_rate, which is {max} ({from})"),
                Some("raise node.max_call_rate if this host can handle more".to_owned()),
            );
        }
        if count == 0 {
            self.warnings.push("license.count is 0: every call but emergency calls is refused".to_owned());
        }
        if license.types.len() > TYPES_MAX {
            self.problem(
                "license.types",
                format!("{} types", license.types.len()),
                format!("at most {TYPES_MAX}"),
                None,
            );
        }
        let mut ranks: HashMap<(&str, u8), &str> = HashMap::new();
        for (name, of) in &license.types {
            let key = format!("license.types.{name}");
            if name.is_empty() || name.len() > crate::admission::NAME_BYTES_MAX {
                self.problem(&key, format!("a name of {} bytes", name.len()), "a name of 1 to 128 bytes", None);
            }
            if let Some(tier) = &of.tier {
                if tier.family.is_empty() {
                    let key = format!("{key}.tier.rank");
                    self.problem(&key, "a tier without a family", "tier = { family = \"agents\", rank = 2 }", None);
                } else if let Some(other) = ranks.insert((&tier.family, tier.rank), name) {
                    let found = format!("{}, the rank of {other} in the same family", tier.rank);
                    self.problem(
                        &format!("{key}.tier.rank"),
                        found,
                        "a rank of its own for each type of a family",
                        None,
                    );
                }
            }
        }
    }

    /// The way to the manager: what one choice needs of another key.
    fn transport(&mut self) {
        let license = &self.config.license;
        let needs_file = matches!(license.trust, TrustChoice::File | TrustChoice::SystemAndFile);
        let with_proxy = license.transport == TransportClass::Proxy;
        for (missing, key, found, accepted) in [
            (
                needs_file && license.ca_file.is_none(),
                "license.ca_file",
                "nothing, and license.trust wants a file",
                "a PEM file",
            ),
            (
                license.trust == TrustChoice::PinSpki && license.pin_spki.is_none(),
                "license.pin_spki",
                "nothing, and license.trust = \"pin_spki\"",
                "the hashes of the manager's public keys",
            ),
            (
                with_proxy && license.proxy.is_none(),
                "license.proxy",
                "nothing, and license.transport = \"proxy\"",
                "the proxy's address",
            ),
            (
                license.proxy_user.is_some() && license.proxy_password_file.is_none(),
                "license.proxy_password_file",
                "nothing, and license.proxy_user is set",
                "a file with that user's password",
            ),
            (
                license.proxy_password_file.is_some() && license.proxy_user.is_none(),
                "license.proxy_user",
                "nothing, and license.proxy_password_file is set",
                "the user whose password it is",
            ),
            (
                license.url.is_none() && license.transport != TransportClass::Direct,
                "license.url",
                "nothing, and license.transport names a way to it",
                "the license manager's address",
            ),
        ] {
            if missing {
                self.problem(key, found, accepted, None);
            }
        }
        let profile = &self.config.profile;
        let class = license.transport;
        if license.url.is_some() && !profile.transport.offers(class) {
            self.warnings.push(format!(
                "license.transport ({}): the product {} does not offer this way; it is used all the same",
                self.origin("license.transport"),
                profile.name
            ));
        }
        if !license.share_hostname && !profile.privacy.contains(&PrivacyItem::Hostname) {
            self.warnings.push(format!(
                "license.share_hostname ({}): the product {} has no such choice; name and address are kept back all the same",
                self.origin("license.share_hostname"),
                profile.name
            ));
        }
        if license.proxy.is_some() && !with_proxy {
            self.warnings.push(format!(
                "license.proxy ({}) is not used: license.transport is not \"proxy\"",
                self.origin("license.proxy")
            ));
        }
        if self.config.license.ports.len() > PORTS_MAX {
            let found = format!("{} ports", self.config.license.ports.len());
            self.problem("license.ports", found, format!("at most {PORTS_MAX}"), None);
        }
    }

    fn groups(&mut self, list: &str, groups: &[Group]) {
        let mut seen: HashMap<&str, usize> = HashMap::with_capacity(groups.len());
        for (place, group) in groups.iter().enumerate() {
            let key = format!("{list}.{place}.name");
            if group.name.is_empty() {
                // A name that was there and not accepted is told already.
                if !self.problems.iter().any(|problem| problem.key == key) {
                    let accepted = format!("a name for each [[{list}]], such as name = \"carrier-a\"");
                    self.problem(&key, "no name", accepted, None);
                }
            } else if let Some(first) = seen.insert(&group.name, place) {
                let first = self.origin(&format!("{list}.{first}.name"));
                let found = format!("\"{}\", which is at {first} already", shortened(&group.name));
                self.problem(&key, found, format!("each {list} once"), None);
            }
        }
    }

    fn destinations(&mut self) -> Vec<super::DestinationSecrets> {
        let mut findings = super::destination::Findings::default();
        let secrets = super::destination::check(&self.config.alarms.destination, &mut findings);
        for (key, found, accepted) in findings.problems {
            let key = format!("alarms.destination.{key}");
            // What was there and not accepted is told already.
            if !self.problems.iter().any(|problem| problem.key == key) {
                self.problem(&key, found, accepted, None);
            }
        }
        for (key, warning) in findings.warnings {
            let key = format!("alarms.destination.{key}");
            self.warnings.push(format!("{key} ({}) {warning}", self.origin(&key)));
        }
        secrets
    }

    fn listeners(&mut self) {
        let listen = &self.config.listen;
        let open = |list: &[Address]| list.iter().find(|address| !address.is_local()).map(ToString::to_string);
        if let (Some(address), None) = (open(&listen.resp), &listen.password_file) {
            self.beyond_loopback("listen.resp", &address, "listen.password_file", "a file with a password");
        }
        if let (Some(address), None) = (open(&listen.datagram), &listen.password_file) {
            self.beyond_loopback("listen.datagram", &address, "listen.password_file", "a file with a password");
        }
        if let (Some(address), None) = (listen.http.0.filter(|http| !http.ip().is_loopback()), &listen.tokens_file) {
            self.beyond_loopback("listen.http", &address.to_string(), "listen.tokens_file", "a file of bearer tokens");
        }
        if let Some(http) = listen.http.0.filter(|http| http.port() != 0 && listen.resp.contains(&Address::Ip(*http))) {
            self.problem("listen.http", http.to_string(), "an address that listen.resp does not have", None);
        }
        for (key, list) in [("listen.resp", &listen.resp), ("listen.datagram", &listen.datagram)] {
            for address in list {
                if let Address::Unix(path) = address {
                    // The system's own bound; the path grew when a relative one was put into data_dir.
                    if path.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
                        let found = format!("{address} ({} bytes)", path.as_os_str().len());
                        let hint =
                            "give the socket a shorter path of its own, such as unix:/run/callgate/callgate.sock";
                        let accepted = "a Unix socket path of at most 107 bytes, which is what the system takes";
                        self.problem(key, found, accepted, Some(hint.to_owned()));
                    } else if key == "listen.datagram" && listen.resp.contains(address) {
                        self.problem(key, address.to_string(), "a path that listen.resp does not have", None);
                    } else if *path == self.config.admin_socket() {
                        self.problem(key, address.to_string(), "a path other than the admin socket's", None);
                    }
                }
            }
        }
        let admin = self.config.admin_socket();
        if admin.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
            let found = format!(
                "{} ({} bytes)",
                self.config.node.data_dir.display(),
                self.config.node.data_dir.as_os_str().len()
            );
            self.problem("node.data_dir", found, "a path of at most 96 bytes: a Unix socket lies in it", None);
        }
        if listen.resp.is_empty() && listen.datagram.is_empty() && listen.http.0.is_none() {
            self.warnings.push("listen.resp, listen.datagram and listen.http are all off: no proxy can ask".to_owned());
        }
    }

    fn beyond_loopback(&mut self, key: &str, address: &str, secret_key: &str, secret: &str) {
        self.problem(
            key,
            format!("{address}, which other hosts can reach"),
            format!("a loopback address or a Unix socket, unless {secret_key} names {secret}"),
            Some(format!("set {secret_key}")),
        );
    }

    fn sizes(&mut self) {
        let leases = &self.config.admission.leases;
        if leases.setup > leases.talk {
            let accepted = format!("at most admission.leases.talk, which is {}", leases.talk);
            self.problem("admission.leases.setup", format!("\"{}\"", leases.setup), accepted, None);
        }
        if self.config.admission.calls_max < self.config.license.sessions.unwrap_or(0) {
            let found = self.config.admission.calls_max.to_string();
            let accepted = format!("at least license.sessions, which is {}", self.config.license.sessions.unwrap_or(0));
            self.problem("admission.calls_max", found, accepted, None);
        }
    }

    fn secrets(&mut self) -> Secrets {
        let listen = &self.config.listen;
        let resp_password = self.secret("listen.password_file", listen.password_file.as_deref(), secret::read_password);
        let http_tokens = self.secret("listen.tokens_file", listen.tokens_file.as_deref(), secret::read_tokens);
        let proxy_password = self.config.license.proxy_password_file.as_deref();
        let proxy_password = self.secret("license.proxy_password_file", proxy_password, secret::read_password);
        Secrets {
            resp_password,
            http_tokens: http_tokens.unwrap_or_default(),
            proxy_password,
            destinations: Vec::new(),
        }
    }

    fn secret<T>(
        &mut self,
        key: &str,
        path: Option<&Path>,
        read: impl FnOnce(&Path) -> Result<(T, bool), BadSecretFile>,
    ) -> Option<T> {
        let path = path?;
        match read(path) {
            Ok((secret, open_to_all)) => {
                if open_to_all {
                    self.warnings.push(format!(
                        "{key} ({}): every user of this host can read {}; chmod 600 it",
                        self.origin(key),
                        path.display()
                    ));
                }
                Some(secret)
            }
            Err(refused) => {
                self.problem(key, refused.found, refused.accepted, None);
                None
            }
        }
    }
}
