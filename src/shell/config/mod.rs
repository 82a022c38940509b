//! Configuration: file, environment, flags; read once, checked as a whole, then only typed values.
//!
//! The layers lie over one another: defaults, the file, environment variables `CALLGATE_SECTION__KEY`, flags. Every value
//! remembers where it came from, and every problem says where it stands, which key, what was found and what is accepted.
//! [`Loader`] does it all; what comes out is a [`Loaded`], whose [`Config`] the rest of the shell reads.
//!
//! What must stay true: a [`Config`] that came out of a [`Loader`] is valid as a whole; nothing here reads the process's
//! environment but [`Inputs::of_process`]; no secret is in a `Config` (they are in [`Secrets`], which shows nothing).

mod check;
mod cluster;
mod destination;
mod destination_keys;
mod etcd;
mod keys;
mod layers;
mod load;
mod policy;
mod problem;
mod reload;
mod render;
mod schema;
mod secret;
mod sections;
mod targets;
mod validate;
mod values;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use cluster::{Cluster, ClusterPeer};
pub use destination::{
    Destination, DestinationKind, DestinationSecrets, DestinationSetup, MailSecurity, destinations_of,
};
pub use etcd::{Etcd, LedgerEngine};
pub use load::{FlagValue, Inputs, Loaded, Loader, StateDirectory};
pub use policy::DEFAULT_TYPE;
pub use problem::{Origin, Problem, Problems};
pub use reload::{Change, NeedsRestart, Refused};
pub use render::{ShownKey, default_file};
#[cfg(feature = "etcd")]
pub(in crate::shell) use secret::read_password;
pub use secret::{Role, Secret, Secrets, Token};
pub use sections::*;
pub use targets::{HostPort, SyslogAddress, WebhookUrl};
pub use values::{Address, Bytes, FileMode, NotAccepted, Seconds, Switched};

use crate::license::agent::{TransportClass, UsageClass};
use crate::license::{BuiltinProfile, Profile};
use crate::units::{Cps, LicensedRate};

/// The name of the RESP Unix socket within the state directory.
pub const RESP_SOCKET: &str = "callgate.sock";
/// The name of the admin socket within the state directory.
pub const ADMIN_SOCKET: &str = "admin.sock";

/// The effective configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// This host.
    pub node: Node,
    /// What is licensed.
    pub license: License,
    /// How calls are decided.
    pub admission: Admission,
    /// Trunks with limits of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trunk: Vec<Group>,
    /// Tenants with limits of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tenant: Vec<Group>,
    /// Front ends.
    pub listen: Listen,
    /// What survives the sidecar.
    pub journal: Journal,
    /// Peers that lend one another licenses.
    pub cluster: Cluster,
    /// Where alarms go.
    pub alarms: Alarms,
    /// Logs.
    pub telemetry: Telemetry,
    /// The profile that `license.profile` names.
    #[serde(skip, default = "open_profile")]
    pub profile: Arc<Profile>,
    /// The call rate that the gate was allocated for, once a reload lowered `node.max_call_rate`.
    #[serde(skip)]
    allocated_call_rate: Option<Cps>,
}

impl Config {
    /// The defaults for a node of this name with this state directory: what `serve` runs with when nobody set anything.
    #[must_use]
    pub fn defaults(name: &str, data_dir: &Path) -> Self {
        Self::defaults_under(open_profile(), OPEN, name, data_dir)
    }

    /// The defaults under another profile: what a product has switched on differs.
    fn defaults_under(profile: Arc<Profile>, profile_name: &str, name: &str, data_dir: &Path) -> Self {
        let ip = |port| std::net::SocketAddr::from(([127, 0, 0, 1], port));
        Self {
            node: Node { name: name.to_owned(), data_dir: data_dir.to_owned(), max_call_rate: Cps::saturating(2500) },
            license: License {
                profile: profile_name.to_owned(),
                enabled: profile.default_enabled,
                count: DEFAULT_COUNT,
                sessions: None,
                overage: profile.overage.default,
                rate_cap: profile.rate_cap,
                url: None,
                transport: TransportClass::Direct,
                trust: TrustChoice::System,
                ca_file: None,
                pin_spki: None,
                proxy: None,
                proxy_user: None,
                proxy_password_file: None,
                proxy_ca_file: None,
                timeout: Seconds(30),
                share_hostname: true,
                hostname_auto_renew: true,
                usage: UsageClass::Production,
                retry_jitter: true,
                stable_id: None,
                root_key: None,
                types: std::collections::BTreeMap::new(),
                ports: std::collections::BTreeMap::new(),
            },
            admission: Admission::defaults(&profile),
            cluster: Cluster::defaults(&profile),
            trunk: Vec::new(),
            tenant: Vec::new(),
            listen: Listen {
                resp: vec![Address::Ip(ip(7500)), Address::Unix(PathBuf::from(RESP_SOCKET)).within(data_dir)],
                datagram: vec![Address::Ip(ip(7500))],
                http: Switched(Some(ip(7501))),
                reactors: 1,
                connections_max: 10_000,
                idle_timeout: Seconds(300),
                drain_time: Seconds(1),
                unix_mode: FileMode(0o660),
                password_file: None,
                tokens_file: None,
            },
            journal: Journal { enabled: true, segment_size: Bytes(8 << 20), fsync_interval: Seconds(1) },
            alarms: Alarms { log: true, damping: Seconds(60), destination: Vec::new() },
            telemetry: Telemetry {
                log_level: LogLevel::Info,
                log_format: LogFormat::Text,
                log_call_ids: false,
                group_metrics: true,
            },
            profile,
            allocated_call_rate: None,
        }
    }

    /// Where the admin socket is.
    #[must_use]
    pub fn admin_socket(&self) -> PathBuf {
        self.node.data_dir.join(ADMIN_SOCKET)
    }
}

/// What `serve` licenses when nobody says otherwise.
const DEFAULT_COUNT: LicensedRate = match LicensedRate::new(100) {
    Ok(rate) => rate,
    Err(_) => panic!("100 is a multiple of 5"),
};

/// The name of the default profile.
const OPEN: &str = BuiltinProfile::Open.name();

#[expect(clippy::expect_used, reason = "a file compiled in, which a test of `license::profile` parses")]
fn open_profile() -> Arc<Profile> {
    Arc::new(Profile::builtin(BuiltinProfile::Open).expect("the shipped profile `open` parses"))
}

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;
