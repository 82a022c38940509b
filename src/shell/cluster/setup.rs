//! From the configuration to what a node of a cluster is told.

use std::net::SocketAddr;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::identity::IdentityFiles;
use super::ledger::LedgerPlace;
use crate::admission::{NodePool, Policy};
use crate::cluster::{Class, Kind, Licenses, NodeName, Parameters, Resource, ResourceId};
use crate::license::agent::Limits;
use crate::limits::Verdict;
use crate::node::{Clustered, Home, clustered_policy_under};
use crate::shell::config::{Config, ExportScope, LedgerEngine};

/// What a node of a cluster is told.
#[derive(Debug, Clone)]
pub struct ClusterSetup {
    /// Its name.
    pub node: NodeName,
    /// Where peers are heard.
    pub listen: SocketAddr,
    /// Its certificates.
    pub files: IdentityFiles,
    /// The other members, with their hosts and ports.
    pub peers: Vec<(NodeName, String)>,
    /// What it shares, in the order of its pools.
    pub shared: Vec<Shared>,
    /// Parameters.
    pub params: Parameters,
    /// Its ledger.
    pub ledger: LedgerPlace,
}

/// A resource, and the limit of the gate that holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shared {
    /// As nodes call it.
    pub resource: Resource,
    /// The gate's limit of it.
    pub pool: NodePool,
}

/// Where a node's state lies, beside the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surroundings {
    /// The machine's fingerprint.
    pub machine: String,
    /// The directory of the copies that don't depend on the state directory.
    pub outside: Option<std::path::PathBuf>,
}

impl ClusterSetup {
    /// What the configuration tells; `None` if this node is alone. The configuration was checked as a whole.
    #[must_use]
    pub fn of(config: &Config, around: &Surroundings) -> Option<Self> {
        let cluster = &config.cluster;
        match cluster.ledger {
            LedgerEngine::Mesh => {}
            LedgerEngine::Etcd => return None,
        }
        let node: NodeName = config.node.name.parse().ok()?;
        let peers = cluster.peers.iter().filter_map(|(name, peer)| Some((name.parse().ok()?, peer.address.clone())));
        Some(Self {
            listen: cluster.listen.0?,
            files: IdentityFiles {
                ca: cluster.ca_file.clone()?,
                certificate: cluster.certificate_file.clone()?,
                key: cluster.key_file.clone()?,
            },
            peers: peers.filter(|(name, _)| *name != node).collect(),
            shared: shared(config),
            params: cluster.parameters.clone(),
            ledger: LedgerPlace {
                dir: config.node.data_dir.join("cluster"),
                machine: around.machine.clone(),
                outside: around.outside.as_ref().map(|dir| witness(dir, &config.node.data_dir)),
            },
            node,
        })
    }

    /// The core's part of it.
    #[must_use]
    pub fn core(&self, seed: u64) -> crate::cluster::Setup {
        crate::cluster::Setup {
            node: self.node.clone(),
            peers: self.peers.iter().map(|(name, _)| name.clone()).collect(),
            resources: self.shared.iter().map(|shared| shared.resource.clone()).collect(),
            params: self.params.clone(),
            seed,
            rules: crate::cluster::Rules::default(),
        }
    }
}

/// One for each state directory: several sidecars may run on one host.
fn witness(outside: &Path, data_dir: &Path) -> std::path::PathBuf {
    let name = Sha256::digest(data_dir.as_os_str().as_encoded_bytes());
    let name: String = name.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    outside.join("cluster").join(format!("{name}.mark"))
}

/// The license types that are counted, and to be shared.
pub(super) fn shared(config: &Config) -> Vec<Shared> {
    let policy = config.policy();
    let headroom = |count: u32| {
        let part = u64::from(count) * u64::from(policy.headroom_percent) / 100;
        u32::try_from(part).unwrap_or(count)
    };
    let one = |name: &str, kind: Kind, count: u32, limit_max: Option<u32>, pool: NodePool| {
        let id = ResourceId { name: name.into(), kind, class: Class::License };
        Shared { resource: Resource { id, limit_max, headroom: headroom(count) }, pool }
    };
    let rate = config.profile.rate_type().filter(|_| policy.rate_enforced).and_then(|licensed| {
        let count = policy.rate?.get();
        Some(one(&licensed.name, Kind::Rate, count, Some(config.node.max_call_rate.get()), NodePool::Rate))
    });
    let types = policy
        .license_types
        .iter()
        .enumerate()
        .filter_map(|(place, of)| Some(one(&of.name, Kind::Session, of.count?, None, type_at(place)?)));
    let licensed = rate.into_iter().chain(types).filter(|shared| config.cluster.shares(&shared.resource.id.name));
    licensed.chain(under_export_control(config)).collect()
}

/// What export control caps over the whole cluster: everything, and WebRTC sessions, which are none while WebRTC is off.
fn under_export_control(config: &Config) -> Vec<Shared> {
    let export = &config.admission.export_control;
    if !export.enabled || export.scope != ExportScope::Cluster {
        return Vec::new();
    }
    let one = |name: &str, pool: NodePool, limit: u32| {
        let id = ResourceId { name: name.into(), kind: Kind::Session, class: Class::Hard };
        let part = u64::from(limit) * u64::from(config.policy().headroom_percent) / 100;
        let headroom = u32::try_from(part).unwrap_or(limit);
        Shared { resource: Resource { id, limit_max: None, headroom }, pool }
    };
    let limit = if export.webrtc { export.limit_with_webrtc } else { export.limit };
    vec![
        one("export-control", NodePool::Export, limit.min(export.share.unwrap_or(0))),
        one("export-control-webrtc", NodePool::Webrtc, 0),
    ]
}

fn type_at(place: usize) -> Option<NodePool> {
    u16::try_from(place).ok().map(NodePool::Type)
}

/// The pools that a node of this configuration shares, in the order of the cluster's resources; none if it is alone.
#[must_use]
pub fn shared_pools(config: &Config) -> Vec<NodePool> {
    match (config.cluster.ledger, config.cluster.listen.0) {
        (LedgerEngine::Mesh, None) => Vec::new(),
        (LedgerEngine::Mesh, Some(_)) | (LedgerEngine::Etcd, _) => {
            shared(config).into_iter().map(|of| of.pool).collect()
        }
    }
}

/// The gate's settings under these limits where nodes share `pools`, and what this node brings of each of those. Before
/// licensing has said anything, what is configured.
#[must_use]
pub fn in_force(config: &Config, limits: Option<&Limits>, pools: &[NodePool]) -> (Policy, Vec<Home>) {
    let configured =
        Limits { verdict: Verdict::default(), types: Vec::new(), overage_allowed: true, export_lifted: false };
    let limits = limits.unwrap_or(&configured);
    let export = &config.admission.export_control;
    let clustered = Clustered {
        pools,
        host_max: config.node.max_call_rate,
        export_share: (export.share.unwrap_or(0), export.limit),
    };
    clustered_policy_under(config.policy(), limits, &config.profile, &clustered)
}

/// The homes in whole licenses. What licensing doesn't limit just now is used without a limit, and can't be lent: none.
#[must_use]
pub fn licenses(shared: &[Shared], homes: &[Home]) -> Vec<Licenses> {
    let whole = |(of, home): (&Shared, &Home)| match home {
        Home::Units(units) => Licenses::within(*units, of.resource.id.kind),
        Home::Uncapped => Licenses::ZERO,
    };
    shared.iter().zip(homes).map(whole).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::config::{Inputs, Loader};

    fn setup(text: &str) -> Option<ClusterSetup> {
        let environment = [("HOME".to_owned(), "/nowhere".to_owned())].into();
        let inputs = Inputs { environment, host_name: "sip-a".to_owned() };
        let loaded = Loader { inputs, ..Loader::default() }.load_text(Path::new("/etc/c.toml"), text).unwrap();
        ClusterSetup::of(&loaded.config, &Surroundings { machine: "m".to_owned(), outside: Some("/o".into()) })
    }

    const CLUSTER: &str =
        "[cluster]\nlisten = '127.0.0.1:7503'\nca_file = 'a'\ncertificate_file = 'b'\nkey_file = 'c'\n";

    #[test]
    fn a_node_without_an_address_is_alone() {
        assert!(setup("").is_none());
        assert!(setup(CLUSTER).is_some());
    }

    #[test]
    fn counted_types_are_shared_and_unlimited_or_excluded_ones_are_not() {
        let types = "[license]\ncount = 100\nsessions = 50\n[license.types.premium]\ncount = 7\n[license.types.free]\n";
        let names = |text: &str| -> Vec<(String, NodePool)> {
            let shared = setup(text).unwrap().shared.into_iter();
            shared.map(|of| (of.resource.id.name.to_string(), of.pool)).collect()
        };
        let all = names(&format!("{types}{CLUSTER}"));
        let place = |name: &str| all.iter().find(|(of, _)| of == name).map(|(_, pool)| *pool);
        assert_eq!(all.len(), 3, "{all:?}");
        assert_eq!(place("cps"), Some(NodePool::Rate));
        assert!(place("session").is_some() && place("premium").is_some());
        let some = names(&format!("{types}{CLUSTER}share = 'premium'\n"));
        assert_eq!(some.len(), 1);
        assert_eq!(names(&format!("{types}{CLUSTER}share = 'none'\n")), []);
    }

    #[test]
    fn this_nodes_own_entry_is_no_peer() {
        let peers = "[cluster.peers.sip-a]\naddress = 'a:1'\n[cluster.peers.sip-b]\naddress = 'b:1'\n";
        let setup = setup(&format!("{CLUSTER}{peers}")).unwrap();
        assert_eq!(setup.peers, [("sip-b".parse().unwrap(), "b:1".to_owned())]);
    }

    #[test]
    fn five_calls_per_second_are_one_license_and_what_is_not_limited_is_none() {
        let of = |pool, kind| Shared {
            resource: Resource {
                id: ResourceId { name: "x".into(), kind, class: Class::License },
                limit_max: None,
                headroom: 0,
            },
            pool,
        };
        let shared = [of(NodePool::Rate, Kind::Rate), of(NodePool::Type(9), Kind::Session)];
        assert_eq!(licenses(&shared, &[Home::Units(101), Home::Uncapped]), [Licenses(20), Licenses(0)]);
    }
}
