//! What the manager stores: one record per object, each under a stable key.
//!
//! A record is whole in itself: sums, indexes and orders are made from records at load and never stored. Fields may be
//! added with a default; a field that went is ignored.

mod account;
mod instance;
mod people;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use account::{
    Account, EvalPolicy, Lot, Network, NetworkError, OocScope, Overage, OverageStrategy, TagClass, TagDefinition, Tier,
    Token, VirtualAccount,
};
pub use instance::{
    Certificate, Entitlement, Fenced, Instance, InstanceState, LastUse, Leaving, Machine, PendingKey, RetiredKey,
    RetiredReason,
};
pub use people::{Alert, AlertKind, ApiKey, KeyMeta, KeyState, Role, Setting, Severity, User};

use super::audit::AuditHead;
use super::ids::{ApiKeyId, InstanceId, LotId, TokenId, UserId, VirtualAccountId};

/// One stored object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "value", rename_all = "snake_case")]
pub enum Record {
    /// The smart account: there is one.
    Account(Account),
    /// A virtual account.
    VirtualAccount(VirtualAccount),
    /// An entitlement tag that the account knows.
    Tag(TagDefinition),
    /// Licenses bought at once.
    Lot(Lot),
    /// A registration token.
    Token(Token),
    /// A product instance, also one that is gone.
    Instance(Box<Instance>),
    /// What is remembered of a machine, whichever identities it had.
    Machine(Machine),
    /// A user.
    User(User),
    /// An API key.
    ApiKey(ApiKey),
    /// An alert that is active or was acknowledged.
    Alert(Alert),
    /// What is known of a signing key; never the key.
    Key(KeyMeta),
    /// A setting of the service.
    Setting(Setting),
    /// The end of the audit log's chain.
    AuditHead(AuditHead),
}

/// The kinds of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordKind {
    /// [`Record::Account`].
    Account,
    /// [`Record::VirtualAccount`].
    VirtualAccount,
    /// [`Record::Tag`].
    Tag,
    /// [`Record::Lot`].
    Lot,
    /// [`Record::Token`].
    Token,
    /// [`Record::Instance`].
    Instance,
    /// [`Record::Machine`].
    Machine,
    /// [`Record::User`].
    User,
    /// [`Record::ApiKey`].
    ApiKey,
    /// [`Record::Alert`].
    Alert,
    /// [`Record::Key`].
    Key,
    /// [`Record::Setting`].
    Setting,
    /// [`Record::AuditHead`].
    AuditHead,
}

impl RecordKind {
    /// All of them, in an order in which each record's owners come before it.
    pub const ALL: [Self; 13] = [
        Self::Account,
        Self::VirtualAccount,
        Self::Tag,
        Self::Lot,
        Self::Token,
        Self::Instance,
        Self::Machine,
        Self::User,
        Self::ApiKey,
        Self::Alert,
        Self::Key,
        Self::Setting,
        Self::AuditHead,
    ];

    /// Its name, as stored.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::VirtualAccount => "virtual_account",
            Self::Tag => "tag",
            Self::Lot => "lot",
            Self::Token => "token",
            Self::Instance => "instance",
            Self::Machine => "machine",
            Self::User => "user",
            Self::ApiKey => "api_key",
            Self::Alert => "alert",
            Self::Key => "key",
            Self::Setting => "setting",
            Self::AuditHead => "audit_head",
        }
    }
}

/// A name that is no kind of record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is no kind of record")]
pub struct RecordKindError {
    /// The name, cut at 64 characters.
    pub found: String,
}

impl FromStr for RecordKind {
    type Err = RecordKindError;

    fn from_str(text: &str) -> Result<Self, RecordKindError> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| RecordKindError { found: text.chars().take(64).collect() })
    }
}

/// Under what a record is stored: unique, and never that of another object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RecordKey {
    /// The kind of record.
    pub kind: RecordKind,
    /// Its id within the kind; `-` where there is only one.
    pub id: String,
}

impl fmt::Display for RecordKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.kind.name(), self.id)
    }
}

impl Record {
    /// Under what it is stored.
    #[must_use]
    pub fn key(&self) -> RecordKey {
        let only = || "-".to_owned();
        let (kind, id) = match self {
            Self::Account(_) => (RecordKind::Account, only()),
            Self::VirtualAccount(account) => (RecordKind::VirtualAccount, account.id.to_string()),
            Self::Tag(tag) => (RecordKind::Tag, tag.tag.clone()),
            Self::Lot(lot) => (RecordKind::Lot, lot.id.to_string()),
            Self::Token(token) => (RecordKind::Token, token.id.to_string()),
            Self::Instance(instance) => (RecordKind::Instance, instance.id.to_string()),
            Self::Machine(machine) => (RecordKind::Machine, machine.fingerprint.clone()),
            Self::User(user) => (RecordKind::User, user.id.to_string()),
            Self::ApiKey(key) => (RecordKind::ApiKey, key.id.to_string()),
            Self::Alert(alert) => (RecordKind::Alert, alert.id.clone()),
            Self::Key(key) => (RecordKind::Key, key.kid.clone()),
            Self::Setting(setting) => (RecordKind::Setting, setting.name.clone()),
            Self::AuditHead(_) => (RecordKind::AuditHead, only()),
        };
        RecordKey { kind, id }
    }

    /// What is stored under the key, as JSON without the kind.
    ///
    /// # Errors
    /// None that is known: every record can be written as JSON.
    pub fn body(&self) -> Result<String, serde_json::Error> {
        match self {
            Self::Account(value) => serde_json::to_string(value),
            Self::VirtualAccount(value) => serde_json::to_string(value),
            Self::Tag(value) => serde_json::to_string(value),
            Self::Lot(value) => serde_json::to_string(value),
            Self::Token(value) => serde_json::to_string(value),
            Self::Instance(value) => serde_json::to_string(value),
            Self::Machine(value) => serde_json::to_string(value),
            Self::User(value) => serde_json::to_string(value),
            Self::ApiKey(value) => serde_json::to_string(value),
            Self::Alert(value) => serde_json::to_string(value),
            Self::Key(value) => serde_json::to_string(value),
            Self::Setting(value) => serde_json::to_string(value),
            Self::AuditHead(value) => serde_json::to_string(value),
        }
    }

    /// The record of a stored body.
    ///
    /// # Errors
    /// If the body is not of that kind's shape.
    pub fn parse(kind: RecordKind, body: &str) -> Result<Self, serde_json::Error> {
        Ok(match kind {
            RecordKind::Account => Self::Account(serde_json::from_str(body)?),
            RecordKind::VirtualAccount => Self::VirtualAccount(serde_json::from_str(body)?),
            RecordKind::Tag => Self::Tag(serde_json::from_str(body)?),
            RecordKind::Lot => Self::Lot(serde_json::from_str(body)?),
            RecordKind::Token => Self::Token(serde_json::from_str(body)?),
            RecordKind::Instance => Self::Instance(serde_json::from_str(body)?),
            RecordKind::Machine => Self::Machine(serde_json::from_str(body)?),
            RecordKind::User => Self::User(serde_json::from_str(body)?),
            RecordKind::ApiKey => Self::ApiKey(serde_json::from_str(body)?),
            RecordKind::Alert => Self::Alert(serde_json::from_str(body)?),
            RecordKind::Key => Self::Key(serde_json::from_str(body)?),
            RecordKind::Setting => Self::Setting(serde_json::from_str(body)?),
            RecordKind::AuditHead => Self::AuditHead(serde_json::from_str(body)?),
        })
    }
}

impl From<VirtualAccountId> for RecordKey {
    fn from(id: VirtualAccountId) -> Self {
        Self { kind: RecordKind::VirtualAccount, id: id.to_string() }
    }
}

impl From<LotId> for RecordKey {
    fn from(id: LotId) -> Self {
        Self { kind: RecordKind::Lot, id: id.to_string() }
    }
}

impl From<TokenId> for RecordKey {
    fn from(id: TokenId) -> Self {
        Self { kind: RecordKind::Token, id: id.to_string() }
    }
}

impl From<InstanceId> for RecordKey {
    fn from(id: InstanceId) -> Self {
        Self { kind: RecordKind::Instance, id: id.to_string() }
    }
}

impl From<UserId> for RecordKey {
    fn from(id: UserId) -> Self {
        Self { kind: RecordKind::User, id: id.to_string() }
    }
}

impl From<ApiKeyId> for RecordKey {
    fn from(id: ApiKeyId) -> Self {
        Self { kind: RecordKind::ApiKey, id: id.to_string() }
    }
}
