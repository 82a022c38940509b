//! The license manager's decisions: who may use what. PURE.
//!
//! [`Domain`] holds in memory everything that it needs to decide: accounts, tokens, pools, instances, users, alerts. Each
//! call says what to answer and which records changed. Driving it:
//!
//! 1. [`Domain::load`] what the store holds, or [`Domain::found`] a new account.
//! 2. Per message: [`AgentRequest::open`], then [`Domain::agent`]; per command: [`Domain::operator`]; every minute or so:
//!    [`Domain::housekeep_sanely`].
//! 3. Commit the changes of one or of many calls, in order and in one transaction. Then answer; not before.
//! 4. If the commit failed, the memory is ahead of the store: throw it away and load again.
//!
//! Here end signing keys, certificates, passwords and sessions. What must stay true:
//! - the sums of each pool equal what its instances ask for; a hard resource is never handed out twice;
//! - `seq`, `epoch` and evaluation time never go back;
//! - what was loaded from the committed changes equals what was in memory.

mod agent;
mod alerts;
mod audit;
mod batch;
mod books;
pub mod bounds;
mod change;
mod clock;
mod command;
mod housekeep;
mod ids;
mod load;
mod message;
mod operator;
mod pool;
mod query;
mod record;
mod report;
#[cfg(test)]
mod tests;
mod view;

use std::collections::{BTreeMap, HashMap};

pub use alerts::KeyRotation;
pub use audit::{AuditEntry, AuditHead, ChainBroken};
pub use change::{AlertEnded, Change, InstanceEvent, InstanceEventKind, Journal, TransferRow, UsageRow};
pub use clock::SaneClock;
pub use command::{
    Actor, ApiKeySecret, InstancePatch, NewApiKey, NewLot, NewToken, NewUser, NewVirtualAccount, OperatorCommand,
    OperatorRefused, OperatorReply, PasswordHash, PolicyPatch, Transfer, UserPatch,
};
pub use ids::{ApiKeyId, IdError, InstanceId, LotId, ReportId, TokenId, UserId, VirtualAccountId};
pub use message::{
    AgentReply, AgentRequest, Caller, CallerCertificate, Granted, IssueCertificate, Registered, Renewed, refusal,
};
pub use query::Paged;
pub use record::{
    Account, Alert, AlertKind, ApiKey, Certificate, Entitlement, EvalPolicy, Fenced, Instance, InstanceState, KeyMeta,
    KeyState, LastUse, Leaving, Lot, Machine, Network, NetworkError, OocScope, Overage, OverageStrategy, PendingKey,
    Record, RecordKey, RecordKind, RecordKindError, RetiredKey, RetiredReason, Role, Setting, Severity, TagClass,
    TagDefinition, Tier, Token, User, VirtualAccount,
};
pub use report::{Report, ReportInstance, ReportKind, ReportPool};
pub use view::{
    AccountView, AlertView, ApiKeyView, EntitlementView, InstanceFilter, InstanceView, LicenseView, LotView, Page,
    PageRequest, RemovalPreview, Stats, TokenState, TokenView, UserView, VirtualAccountView,
};

use books::Books;

use crate::protocol::{Entropy, PublicKey, TokenHash, Udi};
use crate::units::UnixMillis;

/// Why the stored records are not a manager's state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// There is no account.
    #[error("the records hold no account")]
    NoAccount,
    /// Two records of one key.
    #[error("the records hold {key} twice")]
    Twice {
        /// Which.
        key: RecordKey,
    },
    /// A record names another that doesn't exist.
    #[error("{key} belongs to {missing}, which the records don't hold")]
    Missing {
        /// Which.
        key: RecordKey,
        /// What it names.
        missing: RecordKey,
    },
    /// Two records share what must be unique.
    #[error("{key} has {what} of another")]
    NotUnique {
        /// Which.
        key: RecordKey,
        /// What.
        what: &'static str,
    },
}

/// The manager's state.
#[derive(Debug, Clone)]
pub struct Domain {
    account: Account,
    virtual_accounts: BTreeMap<VirtualAccountId, VirtualAccount>,
    tags: BTreeMap<String, TagDefinition>,
    lots: BTreeMap<LotId, Lot>,
    tokens: BTreeMap<TokenId, Token>,
    token_by_hash: HashMap<TokenHash, TokenId>,
    instances: BTreeMap<InstanceId, Instance>,
    by_udi: HashMap<Udi, InstanceId>,
    machines: BTreeMap<String, Machine>,
    users: BTreeMap<UserId, User>,
    api_keys: BTreeMap<ApiKeyId, ApiKey>,
    api_key_by_hash: HashMap<TokenHash, ApiKeyId>,
    alerts: BTreeMap<String, Alert>,
    keys: BTreeMap<String, KeyMeta>,
    settings: BTreeMap<String, Setting>,
    audit: AuditHead,
    /// Made from the records.
    books: Books,
    /// Since the start.
    alerts_dropped: u64,
    messages: u64,
    refusals: BTreeMap<&'static str, u64>,
}

impl Domain {
    /// A new account with its default virtual account.
    #[must_use]
    pub fn found(name: &str, now: UnixMillis, entropy: &mut Entropy) -> (Self, Vec<Change>) {
        let default = VirtualAccount {
            id: VirtualAccountId::generate(entropy),
            name: "Default".to_owned(),
            description: "Where new licenses and instances land unless stated otherwise.".to_owned(),
            created_at: now,
            short_since: BTreeMap::new(),
        };
        let account = Account {
            name: name.to_owned(),
            default_virtual_account: default.id,
            policy_version: 1,
            ooc_scope: OocScope::AllInPool,
            overage: Overage { strategy: OverageStrategy::Allow, tolerance_minutes: 0, billed: true },
            eval_policy: EvalPolicy::Allow,
            export_permitted: true,
            reservation_allowed: true,
            products: Vec::new(),
            token_days: bounds::TOKEN_DAYS,
            report_days: 30,
            reported_at: now,
            created_at: now,
            restores: 0,
            trusted_at: UnixMillis(0),
        };
        let changes =
            vec![Change::Put(Record::Account(account.clone())), Change::Put(Record::VirtualAccount(default.clone()))];
        let mut domain = Self::empty(account);
        domain.virtual_accounts.insert(default.id, default);
        (domain, changes)
    }

    fn empty(account: Account) -> Self {
        Self {
            account,
            virtual_accounts: BTreeMap::new(),
            tags: BTreeMap::new(),
            lots: BTreeMap::new(),
            tokens: BTreeMap::new(),
            token_by_hash: HashMap::new(),
            instances: BTreeMap::new(),
            by_udi: HashMap::new(),
            machines: BTreeMap::new(),
            users: BTreeMap::new(),
            api_keys: BTreeMap::new(),
            api_key_by_hash: HashMap::new(),
            alerts: BTreeMap::new(),
            keys: BTreeMap::new(),
            settings: BTreeMap::new(),
            audit: AuditHead::default(),
            books: Books::default(),
            alerts_dropped: 0,
            messages: 0,
            refusals: BTreeMap::new(),
        }
    }

    /// The keys that an instance signs with or ever did, as far as they are known; the present one first.
    #[must_use]
    pub fn instance_keys(&self, udi: &Udi) -> Vec<PublicKey> {
        let Some(instance) = self.by_udi.get(udi).and_then(|id| self.instances.get(id)) else { return Vec::new() };
        let pending = instance.pending.iter().map(|pending| pending.key);
        let retired = instance.retired.iter().rev().map(|retired| retired.key);
        std::iter::once(instance.key).chain(pending).chain(retired).collect()
    }
}
