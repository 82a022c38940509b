//! What a product licenses.

use serde::{Deserialize, Serialize};

/// One thing that is licensed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LicensedType {
    /// Its name; for session types, what `TYPE` says.
    pub name: String,
    /// What it is, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Its entitlement tag; left out: `<profile>.<type>`. See [`Profile::tag`](super::Profile::tag).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// What is counted.
    pub unit: TypeUnit,
    /// Where the count comes from.
    #[serde(default)]
    pub counts: CountSource,
    /// Its use is reported to the license manager; otherwise it is only kept here.
    #[serde(default = "yes")]
    pub reported: bool,
    /// Where no count is configured, what is used is asked for; otherwise nothing is asked for then.
    #[serde(default)]
    pub by_use: bool,
    /// How many units one license covers.
    #[serde(default = "one")]
    pub per_license: u32,
    /// A configured count is a multiple of this.
    #[serde(default = "one")]
    pub step: u32,
    /// Its place in an ordered family, where a higher tier can serve a lower one.
    #[serde(default)]
    pub tier: Option<TierSpec>,
    /// For which kinds it is what a request draws on that names no type.
    #[serde(default)]
    pub default_for: Vec<TypeKind>,
}

const fn one() -> u32 {
    1
}

const fn yes() -> bool {
    true
}

/// Where a type's count comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CountSource {
    /// From what is admitted.
    #[default]
    Admission,
    /// From the configured ports: each active one.
    ActivePorts,
    /// From the configured ports: each active one with an advanced feature.
    AdvancedPorts,
    /// The system, and each line card that ports are configured on.
    Systems,
}

/// What a license type counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TypeUnit {
    /// Calls per second.
    CallsPerSecond,
    /// Concurrent sessions.
    Sessions,
    /// Configured capacity: ports, in units of 10 Gb/s, and systems.
    Capacity,
}

/// A place in an ordered family of license types.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TierSpec {
    /// The family's name.
    pub family: String,
    /// The place in it: higher serves lower.
    pub rank: u8,
}

/// A kind of request that a type can be the default for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TypeKind {
    /// A call.
    Call,
    /// A registration.
    Registration,
}
