//! The smart account and what belongs to it: virtual accounts, tags, lots of licenses, tokens.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::manager::domain::ids::{LotId, TokenId, VirtualAccountId};
use crate::protocol::TokenHash;
use crate::units::UnixMillis;

/// The smart account: the repository of everything that was bought, and the policy for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Its name, for people.
    pub name: String,
    /// Where new licenses and instances land unless stated otherwise.
    pub default_virtual_account: VirtualAccountId,
    /// Rises with each change of policy.
    pub policy_version: u64,
    /// Which instances are told of a shortage.
    pub ooc_scope: OocScope,
    /// What may be used beyond what was bought, for tags that don't say.
    pub overage: Overage,
    /// What becomes of a second identity of the same machine.
    pub eval_policy: EvalPolicy,
    /// Tokens may carry the export flag.
    pub export_permitted: bool,
    /// Licenses may be reserved.
    pub reservation_allowed: bool,
    /// Profiles that may register; empty means all.
    pub products: Vec<String>,
    /// The days that a token is valid unless stated otherwise.
    pub token_days: u16,
    /// Every so many days an inventory and a consumption report are archived; 0 is never.
    pub report_days: u16,
    /// When that last happened.
    pub reported_at: UnixMillis,
    /// When the manager was set up.
    pub created_at: UnixMillis,
    /// How often it was restored from a backup; each time every `seq` jumped.
    #[serde(default)]
    pub restores: u64,
    /// The last time that the clock was trusted with, every ten minutes or so.
    #[serde(default)]
    pub trusted_at: UnixMillis,
}

/// Which instances of a virtual account are told that a tag is short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OocScope {
    /// Every one that uses the tag.
    AllInPool,
    /// Those whose request made it short: the last registered first.
    OffenderOnly,
    /// Those of the lowest priority first, and among equals the last registered.
    Priority,
}

/// What may be used beyond what was bought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overage {
    /// How much.
    #[serde(rename = "overage_strategy")]
    pub strategy: OverageStrategy,
    /// Minutes that a tag may be short before anybody is told to be out of compliance.
    #[serde(default)]
    pub tolerance_minutes: u32,
    /// What is used beyond is billed; for reports.
    #[serde(default)]
    pub billed: bool,
}

/// How much may be used beyond what was bought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OverageStrategy {
    /// Anything.
    Allow,
    /// Nothing.
    Deny,
    /// So many percent of what was bought, 1 to 1000.
    Percentage(u16),
}

/// What becomes of a second identity of the same machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EvalPolicy {
    /// It registers, with an evaluation of its own.
    Allow,
    /// It is refused.
    Deny,
    /// It is refused until an operator allows the machine.
    Ask,
}

/// A virtual account: its licenses are for its own instances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtualAccount {
    /// Its id.
    pub id: VirtualAccountId,
    /// Its name, unique in the account.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// When it was made.
    pub created_at: UnixMillis,
    /// Tags of which it has too few, and since when: what a tolerance counts from.
    #[serde(default)]
    pub short_since: BTreeMap<String, UnixMillis>,
}

/// An entitlement tag that the account knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TagDefinition {
    /// The tag, as agents name it.
    pub tag: String,
    /// Its name for people.
    pub display_name: String,
    /// What it is.
    #[serde(default)]
    pub description: String,
    /// Whether a number beyond what was bought may ever be handed out.
    #[serde(default)]
    pub class: TagClass,
    /// Its place among tags of which a higher one stands in for a lower.
    #[serde(default)]
    pub tier: Option<Tier>,
    /// Its own overage policy.
    #[serde(default)]
    pub overage: Option<Overage>,
}

/// Whether a number beyond what was bought may ever be handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TagClass {
    /// A license: a shortage is a matter of compliance.
    #[default]
    License,
    /// A hard resource: what is granted never exceeds what was bought, and what is taken away goes to nobody else before
    /// its holder acknowledged.
    Hard,
}

/// A tag's place in an order of tiers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    /// The order's name.
    pub family: String,
    /// Higher stands in for lower.
    pub level: u8,
}

/// Licenses bought at once, or moved at once from another virtual account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lot {
    /// Its id.
    pub id: LotId,
    /// Whose they are.
    pub virtual_account: VirtualAccountId,
    /// The tag.
    pub tag: String,
    /// How many.
    pub quantity: u64,
    /// From when.
    pub start: UnixMillis,
    /// Until when; `None` is perpetual.
    pub end: Option<UnixMillis>,
    /// What was bought, for people: a SKU, an order.
    pub note: String,
    /// When it was entered.
    pub created_at: UnixMillis,
    /// The lot that it was split from.
    pub split_from: Option<LotId>,
}

impl Lot {
    /// Whether it counts at this time.
    #[must_use]
    pub fn is_active(&self, now: UnixMillis) -> bool {
        self.start <= now && self.end.is_none_or(|end| now < end)
    }
}

/// A registration token. The token itself is nowhere; this is its SHA-256 and what it allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Its id.
    pub id: TokenId,
    /// Where instances land.
    pub virtual_account: VirtualAccountId,
    /// The SHA-256.
    pub hash: TokenHash,
    /// Registrations allowed; `None` is any number.
    pub max_uses: Option<u64>,
    /// Registrations made.
    pub uses: u64,
    /// When it was made.
    pub created_at: UnixMillis,
    /// When it ends.
    pub expires_at: UnixMillis,
    /// The export flag that instances get.
    pub export_allowed: bool,
    /// Profiles or product ids that may use it; empty means all.
    pub products: Vec<String>,
    /// Networks that may use it; empty means all.
    pub networks: Vec<Network>,
    /// What it is for.
    pub note: String,
    /// Who made it.
    pub created_by: String,
    /// When it was revoked.
    pub revoked_at: Option<UnixMillis>,
    /// When it was last used.
    pub last_used_at: Option<UnixMillis>,
}

/// A network: an address and how many of its leading bits count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// A text that is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{found:?} is no network; accepted: an IPv4 or IPv6 address, or one with /0 to /32 or /128 and no bits beyond it"
)]
pub struct NetworkError {
    /// The text, cut at 64 characters.
    pub found: String,
}

impl Network {
    /// Whether the address lies in it. An IPv4 address written as IPv6 counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => masked_v4(address, self.prefix) == network,
            (IpAddr::V6(network), IpAddr::V6(address)) => masked_v6(address, self.prefix) == network,
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

fn masked_v4(address: Ipv4Addr, prefix: u8) -> Ipv4Addr {
    let mask = u32::MAX.checked_shl(32_u32.saturating_sub(u32::from(prefix))).unwrap_or(0);
    Ipv4Addr::from_bits(address.to_bits() & mask)
}

fn masked_v6(address: Ipv6Addr, prefix: u8) -> Ipv6Addr {
    let mask = u128::MAX.checked_shl(128_u32.saturating_sub(u32::from(prefix))).unwrap_or(0);
    Ipv6Addr::from_bits(address.to_bits() & mask)
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let parse = || {
            let (address, prefix) = match text.split_once('/') {
                Some((address, prefix)) => (address, Some(prefix)),
                None => (text, None),
            };
            let address = address.parse::<IpAddr>().ok()?;
            let longest = if address.is_ipv4() { 32 } else { 128 };
            let prefix = match prefix {
                Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse::<u8>().ok()?,
                Some(_) => return None,
                None => longest,
            };
            let network = match address {
                IpAddr::V4(v4) => IpAddr::V4(masked_v4(v4, prefix)),
                IpAddr::V6(v6) => IpAddr::V6(masked_v6(v6, prefix)),
            };
            (prefix <= longest && network == address).then_some(Self { address, prefix })
        };
        parse().ok_or_else(|| NetworkError { found: text.chars().take(64).collect() })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.address, self.prefix)
    }
}

impl Serialize for Network {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_its_own_addresses_and_no_others() {
        let rows = [
            ("10.1.0.0/16", "10.1.255.255", true),
            ("10.1.0.0/16", "10.2.0.0", false),
            ("10.1.0.0/16", "::ffff:10.1.2.3", true),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.6", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
        ];
        for (network, address, expected) in rows {
            let network: Network = network.parse().unwrap();
            assert_eq!(network.contains(address.parse().unwrap()), expected, "{network} {address}");
        }
        for wrong in ["", "10.1.0.0/33", "10.1.2.3/16", "2001:db8::/129", "10.0.0.0/+8", "ten", "10.0.0.0/"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }
}
