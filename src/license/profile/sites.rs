//! What concerns more than one instance, or the way to the manager: transport, privacy, clusters, reservations.

use serde::{Deserialize, Serialize};

use crate::license::agent::TransportClass;

/// The ways to the manager that the product offers. The protocol is ours, over HTTPS, on each of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transport {
    /// The ways, in the product's words.
    pub allowed: Vec<TransportWay>,
}

/// A way to the manager, in the words of the products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransportWay {
    /// HTTPS to any manager, through a proxy or not.
    Https,
    /// The same to a product that also calls it HTTP.
    Http,
    /// The same to a product that calls it call-home.
    CallHome,
    /// Straight to a cloud manager.
    Direct,
    /// To a manager on the premises.
    OnPrem,
    /// The same to a product that calls it satellite.
    Satellite,
    /// Through an HTTP proxy.
    Proxy,
}

impl Transport {
    /// Whether the product offers this way.
    #[must_use]
    pub fn offers(&self, class: TransportClass) -> bool {
        self.allowed.iter().any(|way| match way {
            TransportWay::Https | TransportWay::Http | TransportWay::CallHome => true,
            TransportWay::Direct => class == TransportClass::Direct,
            TransportWay::OnPrem | TransportWay::Satellite => class == TransportClass::OnPrem,
            TransportWay::Proxy => class == TransportClass::Proxy,
        })
    }
}

/// Whether the way to the manager can change while registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransportChange {
    /// It can.
    Allowed,
    /// Deregister first.
    RequiresDeregister,
}

/// What an operator can keep from the manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrivacyItem {
    /// The host's name.
    Hostname,
    /// Its address.
    Ip,
    /// User names.
    User,
    /// Passwords. They are never sent at all.
    Password,
}

/// Several nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterRules {
    /// Nodes lend one another licenses, unless the operator says otherwise.
    pub share: bool,
    /// Who registers.
    pub registration: ClusterRegistration,
    /// What caps the use that a node reports.
    pub report_cap: ReportCap,
}

/// Who registers in a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClusterRegistration {
    /// Every node.
    PerNode,
    /// One, for all.
    PrimaryOnly,
}

/// What caps the use that a node reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportCap {
    /// Nothing.
    None,
    /// What is installed on it; what was observed is sent beside it.
    Installed,
}

/// Reservation of licenses for a host without contact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReservationRules {
    /// It can be enabled without changing the profile.
    pub offered: bool,
    /// Which kinds.
    pub kinds: Vec<ReservationKind>,
    /// What happens to use beyond what is reserved.
    pub overuse: ReservationOveruse,
    /// When the end of a term takes effect.
    pub expiry_enforcement: ReservationExpiry,
}

/// A kind of reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReservationKind {
    /// All licenses, for ever.
    Plr,
    /// Chosen ones, perhaps for a term.
    Slr,
}

/// Use beyond what is reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReservationOveruse {
    /// Refused.
    Deny,
    /// Served by borrowing in the cluster.
    Borrow,
}

/// When the end of a reserved term takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReservationExpiry {
    /// At the next start; nothing is said before.
    OnRestart,
    /// An alarm at the end, the effect at the next start.
    WarnThenRestart,
    /// At once.
    Immediate,
}
