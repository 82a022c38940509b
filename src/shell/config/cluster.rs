//! `[cluster]`: peers that lend one another licenses. Its values, its keys, and what must agree in it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Config;
use super::etcd::{Etcd, LedgerEngine};
use super::schema::{Key, Kind, Reload};
use super::targets::HostPort;
use super::validate::Validation;
use super::values::Switched;
use crate::cluster::{NodeName, Parameters, Retention};
use crate::license::{Profile, ReportCap};
use crate::shell::cluster::ca::dns_name;

/// The most peers.
const PEERS_MAX: usize = 1_000;

/// `[cluster]`: peers lend one another licenses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// Where peers are heard (UDP); off: this node is alone.
    pub listen: Switched,
    /// The certificates of the cluster's authorities; PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// This node's certificate; PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_file: Option<PathBuf>,
    /// Its key; PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// Which license types are lent and borrowed: `all`, `none`, or names with commas between.
    pub share: String,
    /// The other members by name. This node's own entry is left out, so that all members can have the same file.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub peers: BTreeMap<String, ClusterPeer>,
    /// How lending goes about.
    pub parameters: Parameters,
    /// Who lends.
    pub ledger: LedgerEngine,
    /// Where etcd is, if it does.
    pub etcd: Etcd,
}

/// `[cluster.peers.<name>]`: one member.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterPeer {
    /// Its host and port.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub address: String,
}

impl Cluster {
    /// The defaults under this profile.
    pub(super) fn defaults(profile: &Profile) -> Self {
        Self {
            listen: Switched(None),
            ca_file: None,
            certificate_file: None,
            key_file: None,
            share: if profile.cluster.share { "all" } else { "none" }.to_owned(),
            peers: BTreeMap::new(),
            parameters: Parameters { retention: retention(profile), ..Parameters::default() },
            ledger: LedgerEngine::Mesh,
            etcd: Etcd::default(),
        }
    }

    /// Whether a license type is lent and borrowed.
    #[must_use]
    pub fn shares(&self, name: &str) -> bool {
        match self.share.as_str() {
            "all" => true,
            "none" => false,
            names => names.split(',').any(|of| of.trim() == name),
        }
    }
}

impl Config {
    /// The license types that peers can lend one another, with how a unit of each is used: the rate, then the sessions.
    #[must_use]
    pub fn shareable(&self) -> Vec<(String, crate::cluster::Kind)> {
        let rate = self.profile.rate_type().map(|of| (of.name.clone(), crate::cluster::Kind::Rate));
        let types = self.policy().license_types.into_iter().map(|of| (of.name, crate::cluster::Kind::Session));
        rate.into_iter().chain(types).collect()
    }
}

/// A product that caps what it reports at what is installed also keeps a lost peer's licenses in use, for two weeks.
const fn retention(profile: &Profile) -> Retention {
    match profile.cluster.report_cap {
        ReportCap::Installed => Retention::Any,
        ReportCap::None => Retention::Off,
    }
}

const MADE: Reload = Reload::Restart("the cluster's members, resources and parameters are taken at start");

const fn key(path: &'static str, kind: Kind, reload: Reload, example: &'static str, doc: &'static str) -> Key {
    Key { path, kind, reload, example, doc }
}

const fn parameter(path: &'static str, min: u32, max: u32, of: &'static str, doc: &'static str) -> Key {
    key(path, Kind::Integer { min, max, of }, MADE, "", doc)
}

const MS: &str = "milliseconds";
const PERCENT: &str = "percent";

/// The keys of `[cluster]`.
pub(super) const KEYS: &[Key] = &[
    key(
        "cluster.listen",
        Kind::Switched,
        Reload::Restart("peers know this node by this address"),
        "",
        "Where peers are heard, UDP; conventionally \"0.0.0.0:7503\". \"off\": this node is alone. Both sides of every\nconnection show certificates: `callgate cluster ca` makes them.",
    ),
    key(
        "cluster.ca_file",
        Kind::Path,
        Reload::Live,
        "\"/etc/callgate/cluster/ca.pem\"",
        "The authority's certificate (PEM); two while it is changed. Read again at each reload, as are the next two.",
    ),
    key(
        "cluster.certificate_file",
        Kind::Path,
        Reload::Live,
        "\"/etc/callgate/cluster/sip-a.pem\"",
        "This node's certificate (PEM). Its one DNS name is node.name.",
    ),
    key(
        "cluster.key_file",
        Kind::Path,
        Reload::Live,
        "\"/etc/callgate/cluster/sip-a.key\"",
        "The certificate's key (PEM), readable by this user alone.",
    ),
    key(
        "cluster.share",
        Kind::Text { bytes_max: 1024 },
        MADE,
        "\"all\"",
        "Which license types are lent and borrowed: all, none, or names with commas between, such as \"cps, session\".\nA type without a count is never shared. Default: as the profile says (open, expressway: all; others: none).",
    ),
    key("cluster.peers.*.address", Kind::HostPort, MADE, "\"10.0.0.2:7503\"", "Its host and port."),
    parameter(
        "cluster.parameters.clock_error_ppm",
        1,
        100_000,
        "parts per million",
        "How wrong the rate of a node's clock may be, steal and slew included, in parts per million.",
    ),
    parameter(
        "cluster.parameters.tick_ms",
        1,
        1_000,
        MS,
        "How often work that nothing triggers is done, in milliseconds.",
    ),
    parameter("cluster.parameters.gossip_period_ms", 10, 10_000, MS, "How often hints are gossiped, in milliseconds."),
    parameter("cluster.parameters.mesh_nodes_max", 2, 1_000, "nodes", "Up to so many nodes, hints go to all."),
    parameter("cluster.parameters.gossip_fanout", 1, 64, "nodes", "Beyond, hints go to so many nodes at a time."),
    parameter(
        "cluster.parameters.rate_term_ms",
        200,
        600_000,
        MS,
        "The term of a loan of calls per second, in milliseconds.",
    ),
    parameter(
        "cluster.parameters.session_term_ms",
        1_000,
        3_600_000,
        MS,
        "The term of a loan of session licenses, in milliseconds. What export control caps has none.",
    ),
    parameter(
        "cluster.parameters.renew_below_percent",
        5,
        90,
        PERCENT,
        "A loan is renewed when less than this part of its term is left, in percent.",
    ),
    parameter(
        "cluster.parameters.demand_tau_ms",
        10,
        60_000,
        MS,
        "The time constant of the demand estimate, in milliseconds.",
    ),
    parameter(
        "cluster.parameters.borrow_ahead_ms",
        0,
        60_000,
        MS,
        "The demand of so long a time is borrowed ahead, in milliseconds: about a round trip and a tick.",
    ),
    parameter(
        "cluster.parameters.session_deviations",
        0,
        10,
        "standard deviations",
        "Standard deviations of the demand that are borrowed ahead for sessions.",
    ),
    parameter(
        "cluster.parameters.scarce_reserve_percent",
        0,
        100,
        PERCENT,
        "While a peer starves, a reserve is at most this part of a node's fair share (by demand) of what is free\nanywhere, in percent; otherwise twice that.",
    ),
    parameter(
        "cluster.parameters.return_above_percent",
        100,
        1_000,
        PERCENT,
        "So many reserves are kept before anything is returned, in percent.",
    ),
    parameter("cluster.parameters.asked_max", 1, 64, "peers", "The most peers that are asked at once."),
    parameter("cluster.parameters.asked_max_large", 1, 64, "peers", "The same in clusters of more than 20 nodes."),
    parameter(
        "cluster.parameters.ask_interval_ms",
        1,
        10_000,
        MS,
        "A peer is asked at most so often, in milliseconds.",
    ),
    parameter(
        "cluster.parameters.blind_interval_ms",
        1,
        60_000,
        MS,
        "When nobody is known to have units: how often some are asked all the same, in milliseconds.",
    ),
    parameter(
        "cluster.parameters.pending_ms",
        0,
        10_000,
        MS,
        "What was asked for and not there is remembered for so long, in milliseconds.",
    ),
    parameter(
        "cluster.parameters.recall_after_ms",
        0,
        60_000,
        MS,
        "A node that refuses calls recalls what it lent after so long without a free unit, in milliseconds.",
    ),
    parameter(
        "cluster.parameters.recall_interval_ms",
        10,
        10_000,
        MS,
        "A recall is repeated so often, in milliseconds.",
    ),
    parameter(
        "cluster.parameters.repeat_interval_ms",
        100,
        60_000,
        MS,
        "What isn't acknowledged yet of lent sessions is repeated so often, in milliseconds.",
    ),
    parameter(
        "cluster.parameters.max_lend_percent",
        0,
        100,
        PERCENT,
        "The most that one peer is lent, in percent of what this node holds.",
    ),
    parameter(
        "cluster.parameters.reclaim_grace_ms",
        1_000,
        86_400_000,
        MS,
        "How long after a silent borrower's lease its sessions may be reclaimed, in milliseconds.",
    ),
    parameter(
        "cluster.parameters.lost_after_ms",
        1_000,
        86_400_000,
        MS,
        "A peer that can't be reached for so long is lost, in milliseconds.",
    ),
    parameter(
        "cluster.parameters.retention_ms",
        60_000,
        2_592_000_000,
        MS,
        "Licenses of a lost peer are kept for so long, in milliseconds: 14 days.",
    ),
    key(
        "cluster.parameters.retention",
        Kind::Choice(&["off", "any", "quorum"]),
        MADE,
        "\"off\"",
        "Session licenses of a lost peer: off: out of use until it is back. any: each side of a split uses them.\nquorum: one node does, for which a majority of the members voted. Every use is logged for the audit.\nDefault: as the product does (expressway: any; the others: off).",
    ),
    parameter(
        "cluster.parameters.trustee_term_ms",
        1_000,
        3_600_000,
        MS,
        "With quorum: how long such a vote holds, in milliseconds; it is renewed before.",
    ),
    key(
        "cluster.parameters.self_lease",
        Kind::Bool,
        MADE,
        "",
        "Hard limits (export control): a node uses what lies above its floor only while a majority of the members hears\nit, so that the majority can use that when the node is lost. A node that is cut off is limited to its floor.\nThe same on every member; three members or more.",
    ),
    parameter(
        "cluster.parameters.self_lease_ms",
        500,
        600_000,
        MS,
        "With self_lease: for how long a member that heard a node lets it go on, in milliseconds.",
    ),
    parameter(
        "cluster.parameters.self_lease_ahead_percent",
        1,
        100,
        PERCENT,
        "With self_lease: how far the floor is kept above what is in use and lent, in percent of what the node holds.",
    ),
    parameter(
        "cluster.parameters.members_max",
        2,
        100_000,
        "members",
        "The longest list of members; who comes on top is left out, with an alarm.",
    ),
];

impl Validation<'_> {
    /// What the cluster's values need of one another and of the rest.
    pub(super) fn cluster(&mut self) {
        let cluster = &self.config.cluster;
        self.peers();
        self.shared_types();
        self.etcd();
        if cluster.ledger == LedgerEngine::Etcd {
            if cluster.listen.0.is_some() {
                self.warnings
                    .push("cluster.ledger is \"etcd\": cluster.listen and cluster.peers are not used".to_owned());
            }
            return;
        }
        if cluster.listen.0.is_none() {
            if !cluster.peers.is_empty() {
                self.warnings.push("cluster.listen is \"off\": cluster.peers are not talked to".to_owned());
            }
            return;
        }
        for (file, key, accepted) in [
            (&cluster.ca_file, "cluster.ca_file", "the file of the authority's certificate"),
            (&cluster.certificate_file, "cluster.certificate_file", "the file of this node's certificate"),
            (&cluster.key_file, "cluster.key_file", "the file of that certificate's key"),
        ] {
            if file.is_none() {
                let hint = "`callgate cluster ca init` and `ca issue` make the three files".to_owned();
                self.problem(key, "nothing, and cluster.listen is set", accepted, Some(hint));
            }
        }
        if let Err(reason) = node_name(&self.config.node.name) {
            let accepted = "a name that a certificate can have, while cluster.listen is set: lower-case letters, digits, \
                            hyphens and dots, such as sip-a or sip-a.example.com";
            self.problem("node.name", format!("{:?}: {reason}", self.config.node.name), accepted, None);
        }
        let others = cluster.peers.keys().filter(|name| **name != self.config.node.name).count();
        if others == 0 {
            self.warnings.push("cluster.peers names no other node: nothing is lent or borrowed".to_owned());
        } else if others == 1 && cluster.parameters.self_lease {
            let told =
                "cluster.parameters.self_lease: of two members neither is a majority, so nothing is kept of a lost one";
            self.warnings.push(told.to_owned());
        }
    }

    fn peers(&mut self) {
        let peers = &self.config.cluster.peers;
        if peers.len() > PEERS_MAX {
            self.problem("cluster.peers", format!("{} peers", peers.len()), format!("at most {PEERS_MAX}"), None);
        }
        for (name, peer) in peers {
            let key = format!("cluster.peers.{name}");
            if let Err(reason) = node_name(name) {
                let accepted = "the DNS name in that node's certificate: lower-case letters, digits, hyphens and dots";
                self.problem(&key, format!("{name:?}: {reason}"), accepted, None);
            }
            if peer.address.parse::<HostPort>().is_err() {
                self.problem(&format!("{key}.address"), "nothing", HostPort::ACCEPTED, None);
            }
        }
    }

    fn shared_types(&mut self) {
        let share = &self.config.cluster.share;
        if matches!(share.as_str(), "all" | "none") {
            return;
        }
        let known: Vec<String> = self.config.shareable().into_iter().map(|(name, _)| name).collect();
        for name in share.split(',').map(str::trim) {
            if !known.iter().any(|of| of == name) {
                let accepted = format!("all, none, or license types, with commas between: {}", known.join(", "));
                self.problem("cluster.share", format!("{name:?}"), accepted, None);
            }
        }
    }
}

/// A name that a node of a cluster can have, or why not.
fn node_name(name: &str) -> Result<NodeName, String> {
    let name: NodeName = name.parse().map_err(|error: crate::cluster::NodeNameError| error.to_string())?;
    dns_name(&name).map_err(|error| error.to_string())?;
    Ok(name)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::shell::config::{Inputs, Loaded, Loader, Problems};

    fn load(text: &str) -> Result<Loaded, Problems> {
        let environment = [("HOME".to_owned(), "/nowhere".to_owned())].into();
        let inputs = Inputs { environment, host_name: "sip-a".to_owned() };
        Loader { inputs, ..Loader::default() }.load_text(Path::new("/etc/callgate.toml"), text)
    }

    fn problems(text: &str) -> Vec<(String, String)> {
        load(text).unwrap_err().0.into_iter().map(|problem| (problem.key, problem.found)).collect()
    }

    #[test]
    fn a_cluster_without_certificates_or_with_names_that_none_can_have_is_refused_all_at_once() {
        let text = "[node]\nname = 'SIP_A'\n[cluster]\nlisten = '0.0.0.0:7503'\nshare = 'cps, gold'\n\
                    [cluster.peers.sip-b]\n[cluster.peers.'10.0.0.1']\naddress = 'h:7503'\n";
        let keys: Vec<String> = problems(text).into_iter().map(|(key, _)| key).collect();
        assert_eq!(
            keys,
            [
                "cluster.ca_file",
                "cluster.certificate_file",
                "cluster.key_file",
                "cluster.peers.10.0.0.1",
                "cluster.peers.sip-b.address",
                "node.name",
                "cluster.share"
            ]
        );
    }

    #[test]
    fn every_member_can_have_the_same_peers_and_certificates_lie_beside_the_file() {
        let text = "[license]\nsessions = 10\n[cluster]\nlisten = '0.0.0.0:7503'\nca_file = 'ca.pem'\n\
                    certificate_file = 'a.pem'\nkey_file = 'a.key'\n[cluster.peers.sip-a]\naddress = '10.0.0.1:7503'\n\
                    [cluster.peers.sip-b]\naddress = 'sip-b.example.com:7503'\n[cluster.parameters]\ntick_ms = 10\n";
        let loaded = load(text).unwrap();
        assert_eq!(loaded.config.cluster.ca_file.as_deref(), Some(Path::new("/etc/ca.pem")));
        assert_eq!(loaded.config.cluster.peers.len(), 2);
        assert_eq!(loaded.config.cluster.parameters.tick_ms, 10);
        assert!(loaded.config.cluster.shares("session"), "the profile open shares");
        assert_eq!(loaded.warnings, Vec::<String>::new());
        let alone =
            text.replace("sip-b", "sip-a").replacen("[cluster.peers.sip-a]\naddress = '10.0.0.1:7503'\n", "", 1);
        assert!(load(&alone).unwrap().warnings[0].contains("names no other node"));
    }

    #[test]
    fn a_self_lease_of_two_members_is_warned_of_and_its_bounds_are_checked() {
        let text = "[license]\nsessions = 10\n[cluster]\nlisten = '0.0.0.0:7503'\nca_file = 'ca.pem'\n\
                    certificate_file = 'a.pem'\nkey_file = 'a.key'\n[cluster.peers.sip-b]\naddress = 'h:7503'\n\
                    [cluster.parameters]\nself_lease = true\n";
        let loaded = load(text).unwrap();
        assert!(loaded.config.cluster.parameters.self_lease);
        assert!(loaded.warnings.iter().any(|told| told.contains("neither is a majority")), "{:?}", loaded.warnings);
        let three =
            text.replace("[cluster.parameters]", "[cluster.peers.sip-c]\naddress = 'h:7503'\n[cluster.parameters]");
        assert_eq!(load(&three).unwrap().warnings, Vec::<String>::new());
        let found = problems("[cluster.parameters]\nself_lease_ms = 20\nself_lease_ahead_percent = 0\n");
        let keys: std::collections::BTreeSet<&str> = found.iter().map(|(key, _)| key.as_str()).collect();
        let both = ["cluster.parameters.self_lease_ahead_percent", "cluster.parameters.self_lease_ms"];
        assert_eq!(keys, both.into());
    }

    #[test]
    fn a_parameter_out_of_its_bounds_is_refused_with_them() {
        let found = load("[cluster.parameters]\nmax_lend_percent = 101\n").unwrap_err();
        let told = found.0[0].to_string();
        assert!(told.contains("cluster.parameters.max_lend_percent") && told.contains("100"), "{told}");
    }
}
