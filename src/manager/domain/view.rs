//! What people and programs see. No secrets and no hashes of secrets.

use serde::{Deserialize, Serialize};

use super::ids::{ApiKeyId, InstanceId, LotId, TokenId, UserId, VirtualAccountId};
use super::record::{
    Alert, ApiKey, Certificate, EvalPolicy, Instance, InstanceState, LastUse, Lot, Network, OocScope, Overage, Role,
    TagClass, Tier, Token, User,
};
use crate::protocol::{ComplianceStatus, TagStatus};
use crate::units::UnixMillis;

/// Which part of a list: at most `limit` items after `cursor`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PageRequest {
    /// [`Page::next`] of the page before.
    #[serde(default)]
    pub cursor: Option<String>,
    /// At most so many, 1 to 1000.
    #[serde(default = "page_limit")]
    pub limit: usize,
}

const fn page_limit() -> usize {
    100
}

impl Default for PageRequest {
    fn default() -> Self {
        Self { cursor: None, limit: page_limit() }
    }
}

/// Part of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The items, in the order of their ids.
    pub items: Vec<T>,
    /// Where the next page begins, if there is one.
    pub next: Option<String>,
}

/// Which instances.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InstanceFilter {
    /// Of this virtual account.
    pub virtual_account: Option<VirtualAccountId>,
    /// In this state; left out: those that are registered.
    pub state: Option<InstanceState>,
    /// Those that are gone too.
    pub all: bool,
    /// With this in UDI, host name, id or note.
    pub search: Option<String>,
}

/// The smart account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountView {
    /// Its name.
    pub name: String,
    /// Where new licenses and instances land.
    pub default_virtual_account: VirtualAccountId,
    /// The policy's version.
    pub policy_version: u64,
    /// Who is told of a shortage.
    pub ooc_scope: OocScope,
    /// What may be used beyond what was bought.
    pub overage: Overage,
    /// What becomes of a second identity of a machine.
    pub eval_policy: EvalPolicy,
    /// Tokens may carry the export flag.
    pub export_permitted: bool,
    /// Licenses may be reserved.
    pub reservation_allowed: bool,
    /// Profiles that may register; empty means all.
    pub products: Vec<String>,
    /// Days that a token is valid unless stated otherwise.
    pub token_days: u16,
    /// Days between archived reports; 0 is never.
    pub report_days: u16,
    /// When it was set up.
    pub created_at: UnixMillis,
    /// How often it was restored.
    pub restores: u64,
}

/// A virtual account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtualAccountView {
    /// Its id.
    pub id: VirtualAccountId,
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// It is the default one.
    pub is_default: bool,
    /// Registered instances.
    pub instances: u64,
    /// Whether anything is short.
    pub status: ComplianceStatus,
    /// When it was made.
    pub created_at: UnixMillis,
}

/// The licenses of one tag in one virtual account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LicenseView {
    /// Whose.
    pub virtual_account: VirtualAccountId,
    /// The tag.
    pub tag: String,
    /// Its name for people.
    pub display_name: String,
    /// Whether it is a hard resource.
    pub class: TagClass,
    /// Its tier.
    pub tier: Option<Tier>,
    /// Licenses bought and not ended.
    pub purchased: u64,
    /// Licenses asked for.
    pub in_use: u64,
    /// Hard resources: licenses that instances may still believe to hold.
    pub held: u64,
    /// Licenses reserved.
    pub reserved: u64,
    /// Licenses in transit.
    pub in_transit: u64,
    /// Surplus, or shortage if below zero: `purchased - in_use - reserved`.
    pub balance: i64,
    /// Licenses of higher tiers that stand in.
    pub substituted: u64,
    /// Licenses short after that.
    pub shortage: u64,
    /// Whether it is short.
    pub status: ComplianceStatus,
    /// When the first term ends.
    pub next_end: Option<UnixMillis>,
}

/// A purchase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LotView {
    /// Its id.
    pub id: LotId,
    /// Whose.
    pub virtual_account: VirtualAccountId,
    /// The tag.
    pub tag: String,
    /// How many.
    pub quantity: u64,
    /// From when.
    pub start: UnixMillis,
    /// Until when; `None` is perpetual.
    pub end: Option<UnixMillis>,
    /// It counts now.
    pub active: bool,
    /// A SKU, an order.
    pub note: String,
    /// When it was entered.
    pub created_at: UnixMillis,
    /// The lot that it was split from.
    pub split_from: Option<LotId>,
}

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenState {
    /// It registers instances.
    Active,
    /// It registered as many as it may.
    UsedUp,
    /// Its time is over.
    Expired,
    /// Somebody ended it.
    Revoked,
}

/// A token's facts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenView {
    /// Its id.
    pub id: TokenId,
    /// Where instances land.
    pub virtual_account: VirtualAccountId,
    /// What it is now.
    pub state: TokenState,
    /// Registrations allowed; `None` is any number.
    pub max_uses: Option<u64>,
    /// Registrations made.
    pub uses: u64,
    /// When it was made.
    pub created_at: UnixMillis,
    /// When it ends.
    pub expires_at: UnixMillis,
    /// The export flag.
    pub export_allowed: bool,
    /// Profiles or product ids; empty means all.
    pub products: Vec<String>,
    /// Networks; empty means all.
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

/// A product instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceView {
    /// Its id.
    pub id: InstanceId,
    /// Its identity.
    pub udi: String,
    /// Where it is registered.
    pub virtual_account: VirtualAccountId,
    /// What it is.
    pub state: InstanceState,
    /// Since when.
    pub state_since: UnixMillis,
    /// The host's name, if shared.
    pub hostname: Option<String>,
    /// Where it last called from, if shared.
    pub address: Option<String>,
    /// The product profile.
    pub profile: String,
    /// The product's version.
    pub version: String,
    /// The agent's version.
    pub agent_version: String,
    /// Production or lab.
    pub usage: String,
    /// The export flag.
    pub export_allowed: bool,
    /// Its priority.
    pub priority: u8,
    /// A note.
    pub note: String,
    /// When it registered there.
    pub registered_at: UnixMillis,
    /// When it last said anything.
    pub last_contact: UnixMillis,
    /// When it last reported use.
    pub last_report: Option<UnixMillis>,
    /// The short name of its key.
    pub key_id: String,
    /// Its id certificate.
    pub certificate: Certificate,
    /// `seq` of its last grant.
    pub grant_seq: u64,
    /// When that ends.
    pub grant_expires_at: Option<UnixMillis>,
    /// What it asked for and was given.
    pub entitlements: Vec<EntitlementView>,
    /// Evaluation seconds used.
    pub eval_used_s: u64,
    /// A replacement is being prepared since.
    pub rehost_prepared_at: Option<UnixMillis>,
}

/// What an instance asked for of one tag and was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntitlementView {
    /// The tag.
    pub tag: String,
    /// Licenses asked for.
    pub requested: u64,
    /// Licenses granted.
    pub granted: u64,
    /// Licenses that may be used.
    pub cap: u64,
    /// Hard resources: licenses that it may still believe to hold.
    pub held: u64,
    /// Rises whenever `granted` or `cap` changes.
    pub epoch: u64,
    /// What the last answer said.
    pub status: TagStatus,
    /// What was last reported.
    pub last_use: Option<LastUse>,
}

/// What the removal of an instance would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovalPreview {
    /// Which.
    pub instance: InstanceId,
    /// Its identity.
    pub udi: String,
    /// Its host's name, if shared.
    pub hostname: Option<String>,
    /// Licenses that come back, by tag.
    pub releases: Vec<(String, u64)>,
    /// Licenses of hard resources that come back only with its last grant's end.
    pub held_back: Vec<(String, u64)>,
    /// What its product does then with calls, and when.
    pub effect: String,
    /// Calls may be refused by it, at once or after its evaluation.
    pub may_refuse_calls: bool,
    /// To be given back with the command; changes whenever the effect may.
    pub confirm: String,
}

/// An alert.
pub type AlertView = Alert;

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserView {
    /// The id.
    pub id: UserId,
    /// The name.
    pub name: String,
    /// What the user may do.
    pub role: Role,
    /// May not log in.
    pub disabled: bool,
    /// When made.
    pub created_at: UnixMillis,
    /// When the password was last set.
    pub password_at: UnixMillis,
}

/// An API key's facts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKeyView {
    /// The id.
    pub id: ApiKeyId,
    /// What it is for.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The beginning of the key.
    pub prefix: String,
    /// Who made it.
    pub created_by: String,
    /// When made.
    pub created_at: UnixMillis,
    /// When it ends.
    pub expires_at: Option<UnixMillis>,
    /// When it was revoked.
    pub revoked_at: Option<UnixMillis>,
}

/// Figures, kept as things change; for metrics.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Stats {
    /// Virtual accounts.
    pub virtual_accounts: u64,
    /// Instances by state.
    pub instances: Vec<(InstanceState, u64)>,
    /// Tokens, ended ones included.
    pub tokens: u64,
    /// Active alerts.
    pub alerts: u64,
    /// Alerts that were not raised because there are too many.
    pub alerts_dropped: u64,
    /// Pools that are short.
    pub pools_short: u64,
    /// Messages taken since the start.
    pub messages: u64,
    /// Messages refused since the start, by code.
    pub refusals: Vec<(String, u64)>,
}

impl LotView {
    pub(super) fn of(lot: &Lot, now: UnixMillis) -> Self {
        Self {
            id: lot.id,
            virtual_account: lot.virtual_account,
            tag: lot.tag.clone(),
            quantity: lot.quantity,
            start: lot.start,
            end: lot.end,
            active: lot.is_active(now),
            note: lot.note.clone(),
            created_at: lot.created_at,
            split_from: lot.split_from,
        }
    }
}

impl Token {
    /// What it is at this time.
    #[must_use]
    pub fn state(&self, now: UnixMillis) -> TokenState {
        if self.revoked_at.is_some() {
            TokenState::Revoked
        } else if self.expires_at <= now {
            TokenState::Expired
        } else if self.max_uses.is_some_and(|max| self.uses >= max) {
            TokenState::UsedUp
        } else {
            TokenState::Active
        }
    }
}

impl TokenView {
    pub(super) fn of(token: &Token, now: UnixMillis) -> Self {
        Self {
            id: token.id,
            virtual_account: token.virtual_account,
            state: token.state(now),
            max_uses: token.max_uses,
            uses: token.uses,
            created_at: token.created_at,
            expires_at: token.expires_at,
            export_allowed: token.export_allowed,
            products: token.products.clone(),
            networks: token.networks.clone(),
            note: token.note.clone(),
            created_by: token.created_by.clone(),
            revoked_at: token.revoked_at,
            last_used_at: token.last_used_at,
        }
    }
}

impl InstanceFilter {
    pub(super) fn wants(&self, instance: &Instance) -> bool {
        let state = match self.state {
            Some(state) => instance.state == state,
            None => self.all || instance.state.is_registered(),
        };
        let found = |text: &String| {
            instance.udi.to_string().contains(text)
                || instance.hostname.as_ref().is_some_and(|name| name.contains(text))
                || instance.id.to_string().contains(text)
                || instance.note.contains(text)
        };
        state
            && self.virtual_account.is_none_or(|id| instance.virtual_account == id)
            && self.search.as_ref().is_none_or(found)
    }
}

impl InstanceView {
    pub(super) fn of(instance: &Instance) -> Self {
        let entitlements = instance.entitlements.iter().map(|entitlement| EntitlementView {
            tag: entitlement.tag.clone(),
            requested: entitlement.requested,
            granted: entitlement.granted,
            cap: entitlement.cap,
            held: entitlement.held,
            epoch: entitlement.epoch,
            status: entitlement.status,
            last_use: entitlement.last_use.clone(),
        });
        Self {
            id: instance.id,
            udi: instance.udi.to_string(),
            virtual_account: instance.virtual_account,
            state: instance.state,
            state_since: instance.state_since,
            hostname: instance.hostname.clone(),
            address: instance.address.map(|address| address.to_string()),
            profile: instance.profile.clone(),
            version: instance.version.clone(),
            agent_version: instance.agent_version.clone(),
            usage: instance.usage.clone(),
            export_allowed: instance.export_allowed,
            priority: instance.priority,
            note: instance.note.clone(),
            registered_at: instance.registered_at,
            last_contact: instance.last_contact,
            last_report: instance.last_report,
            key_id: instance.key.id().to_string(),
            certificate: instance.certificate.clone(),
            grant_seq: instance.grant_seq,
            grant_expires_at: instance.grant_expires_at,
            entitlements: entitlements.collect(),
            eval_used_s: instance.eval_used_s,
            rehost_prepared_at: instance.rehost_prepared_at,
        }
    }
}

impl UserView {
    pub(super) fn of(user: &User) -> Self {
        Self {
            id: user.id,
            name: user.name.clone(),
            role: user.role,
            disabled: user.disabled,
            created_at: user.created_at,
            password_at: user.password_at,
        }
    }
}

impl ApiKeyView {
    pub(super) fn of(key: &ApiKey) -> Self {
        Self {
            id: key.id,
            name: key.name.clone(),
            role: key.role,
            prefix: key.prefix.clone(),
            created_by: key.created_by.clone(),
            created_at: key.created_at,
            expires_at: key.expires_at,
            revoked_at: key.revoked_at,
        }
    }
}
