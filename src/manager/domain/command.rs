//! The operators' side of the face: commands in, replies or refusals out.

use core::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::ids::{ApiKeyId, InstanceId, LotId, TokenId, UserId, VirtualAccountId};
use super::record::{EvalPolicy, KeyMeta, Network, OocScope, Overage, Role, Setting, TagDefinition};
use super::report::{Report, ReportKind};
use super::view::{
    AccountView, AlertView, ApiKeyView, InstanceView, LotView, RemovalPreview, TokenView, UserView, VirtualAccountView,
};
use crate::protocol::RegistrationToken;
use crate::units::UnixMillis;

/// Who commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// As the audit log names it: `user:NAME`, `key:PREFIX`, `system`.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// From where, if over a network.
    pub address: Option<IpAddr>,
}

impl Actor {
    /// The service itself, and whoever can start it on its host.
    #[must_use]
    pub fn system() -> Self {
        Self { name: "system".to_owned(), role: Role::Owner, address: None }
    }
}

/// A command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperatorCommand {
    /// Makes a virtual account.
    CreateVirtualAccount(NewVirtualAccount),
    /// Renames or describes one.
    UpdateVirtualAccount(VirtualAccountId, NewVirtualAccount),
    /// Removes one that has no licenses, instances and live tokens, and isn't the default.
    RemoveVirtualAccount(VirtualAccountId),
    /// Changes the account's policy.
    SetPolicy(PolicyPatch),
    /// Makes a tag known, or changes what is known of it.
    DefineTag(TagDefinition),
    /// Forgets a tag that has no lots and no use.
    RemoveTag(String),
    /// Enters a purchase. A tag that isn't known becomes known.
    AddLot(NewLot),
    /// Takes a purchase back.
    RemoveLot(LotId),
    /// Moves licenses to another virtual account.
    TransferLicenses(Transfer),
    /// Makes a registration token.
    CreateToken(NewToken),
    /// Ends one. What registered with it stays registered.
    RevokeToken(TokenId),
    /// Forgets one that ended.
    RemoveToken(TokenId),
    /// Removes an instance: see [`Domain::preview_removal`](super::Domain::preview_removal). Without, or with an
    /// outdated `confirm`, the refusal carries the preview.
    RemoveInstance {
        /// Which.
        instance: InstanceId,
        /// [`RemovalPreview::confirm`].
        confirm: Option<String>,
    },
    /// Moves an instance, and what it asks for, to another virtual account.
    TransferInstance {
        /// Which.
        instance: InstanceId,
        /// Where to.
        to: VirtualAccountId,
    },
    /// Changes what people decide about an instance.
    UpdateInstance(InstanceId, InstancePatch),
    /// Forgets an instance that is gone, with its `seq` numbers and evaluation.
    ForgetInstance(InstanceId),
    /// Notes that a replacement for a dead instance is prepared, or no more.
    PrepareRehost {
        /// Which.
        instance: InstanceId,
        /// Begin or give up.
        prepare: bool,
    },
    /// Allows further identities of a machine.
    AllowMachine {
        /// Its fingerprint.
        fingerprint: String,
        /// Allow or no more.
        allow: bool,
    },
    /// Says that an alert is known.
    AcknowledgeAlert(String),
    /// Makes a report and archives it.
    RunReport(ReportKind, Option<VirtualAccountId>),
    /// Makes a user.
    CreateUser(NewUser),
    /// Changes a user.
    UpdateUser(UserId, UserPatch),
    /// Sets a user's password: an owner may, and the user. Whoever hashes it checked the old one.
    SetPassword(UserId, PasswordHash),
    /// Removes a user.
    RemoveUser(UserId),
    /// Makes an API key.
    CreateApiKey(NewApiKey),
    /// Ends one.
    RevokeApiKey(ApiKeyId),
    /// Stores what is known of a signing key.
    PutKey(KeyMeta),
    /// Stores a setting of the service.
    PutSetting(Setting),
}

/// Name and purpose of a virtual account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewVirtualAccount {
    /// Its name, unique.
    pub name: String,
    /// What it is for.
    #[serde(default)]
    pub description: String,
}

/// What of the policy changes; what is left out stays.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyPatch {
    /// The account's name.
    pub name: Option<String>,
    /// The default virtual account.
    pub default_virtual_account: Option<VirtualAccountId>,
    /// Who is told of a shortage.
    pub ooc_scope: Option<OocScope>,
    /// What may be used beyond what was bought.
    pub overage: Option<Overage>,
    /// What becomes of a second identity of a machine.
    pub eval_policy: Option<EvalPolicy>,
    /// Tokens may carry the export flag.
    pub export_permitted: Option<bool>,
    /// Licenses may be reserved.
    pub reservation_allowed: Option<bool>,
    /// Profiles that may register; empty means all.
    pub products: Option<Vec<String>>,
    /// Days that a token is valid unless stated otherwise, 1 to 365.
    pub token_days: Option<u16>,
    /// Days between archived reports, 0 (never) to 365.
    pub report_days: Option<u16>,
}

/// A purchase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewLot {
    /// Whose; left out: the default one's.
    #[serde(default)]
    pub virtual_account: Option<VirtualAccountId>,
    /// The tag.
    pub tag: String,
    /// How many, at least 1.
    pub quantity: u64,
    /// From when; left out: now.
    #[serde(default)]
    pub start: Option<UnixMillis>,
    /// Until when; left out: perpetual.
    #[serde(default)]
    pub end: Option<UnixMillis>,
    /// A SKU, an order.
    #[serde(default)]
    pub note: String,
}

/// Licenses to move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transfer {
    /// From which lot, and so from which virtual account.
    pub lot: LotId,
    /// To where.
    pub to: VirtualAccountId,
    /// How many.
    pub quantity: u64,
}

/// A token to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// Where instances land; left out: the default one.
    #[serde(default)]
    pub virtual_account: Option<VirtualAccountId>,
    /// Days, 1 to 365; left out: as the policy says.
    #[serde(default)]
    pub days: Option<u16>,
    /// Registrations allowed; `null` is any number; left out: 1.
    #[serde(default = "one_use")]
    pub max_uses: Option<u64>,
    /// The export flag; left out: set where the account permits it.
    #[serde(default)]
    pub export_allowed: Option<bool>,
    /// Profiles or product ids that may use it; empty means all.
    #[serde(default)]
    pub products: Vec<String>,
    /// Networks that may use it; empty means all.
    #[serde(default)]
    pub networks: Vec<Network>,
    /// What it is for.
    #[serde(default)]
    pub note: String,
}

#[expect(clippy::unnecessary_wraps, reason = "serde wants the field's type")]
const fn one_use() -> Option<u64> {
    Some(1)
}

impl Default for NewToken {
    fn default() -> Self {
        Self {
            virtual_account: None,
            days: None,
            max_uses: one_use(),
            export_allowed: None,
            products: Vec::new(),
            networks: Vec::new(),
            note: String::new(),
        }
    }
}

/// What of an instance people decide.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InstancePatch {
    /// The higher, the later a shortage is charged to it.
    pub priority: Option<u8>,
    /// A note.
    pub note: Option<String>,
}

/// A password's hash. Its `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(pub String);

impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("PasswordHash(..)")
    }
}

/// A user to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewUser {
    /// The name to log in with, unique: 1 to 128 of A-Z a-z 0-9 . _ - @.
    pub name: String,
    /// What the user may do.
    pub role: Role,
    /// The password's hash.
    pub password_hash: PasswordHash,
}

/// What of a user changes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UserPatch {
    /// What the user may do.
    pub role: Option<Role>,
    /// May not log in.
    pub disabled: Option<bool>,
}

/// An API key to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewApiKey {
    /// What it is for.
    pub name: String,
    /// What it may do; at most what its maker may.
    pub role: Role,
    /// Days, 1 to 3650; left out: until revoked.
    #[serde(default)]
    pub days: Option<u16>,
}

/// The text of a new API key, shown once. Its `Debug` shows nothing; memory is wiped when it goes.
#[derive(Clone, PartialEq, Eq, zeroize::Zeroize, zeroize::ZeroizeOnDrop)]
pub struct ApiKeySecret(pub(super) String);

impl ApiKeySecret {
    /// The text, to be shown once.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for ApiKeySecret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("ApiKeySecret(..)")
    }
}

/// What a command did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperatorReply {
    /// As asked, and there is no more to say.
    Done,
    /// The policy as it is now.
    Account(Box<AccountView>),
    /// The virtual account as it is now.
    VirtualAccount(Box<VirtualAccountView>),
    /// The tag as it is now.
    Tag(Box<TagDefinition>),
    /// The lot as it is now; of a transfer, the new one.
    Lot(Box<LotView>),
    /// The token's facts, and for a new one the token.
    Token(Box<TokenView>, Option<RegistrationToken>),
    /// The instance as it is now.
    Instance(Box<InstanceView>),
    /// The alert as it is now.
    Alert(Box<AlertView>),
    /// The user as it is now.
    User(Box<UserView>),
    /// The key's facts, and for a new one the key.
    ApiKey(Box<ApiKeyView>, Option<ApiKeySecret>),
    /// The report.
    Report(Box<Report>),
}

/// Why a command was refused. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OperatorRefused {
    /// The actor's role doesn't allow it.
    #[error("the role {found} may not do this; needed: {}", .needs.name(), found = .found.name())]
    Forbidden {
        /// The actor's role.
        found: Role,
        /// The least role that may.
        needs: Role,
    },
    /// No such object.
    #[error("there is no {what} {id:?}")]
    NotFound {
        /// What kind of object.
        what: &'static str,
        /// The id that was given.
        id: String,
    },
    /// A value that is not accepted.
    #[error("{field}: found {found}; accepted: {accepted}")]
    Invalid {
        /// Which member.
        field: &'static str,
        /// What was given.
        found: String,
        /// What is accepted.
        accepted: String,
    },
    /// There are as many as there may be.
    #[error("there are {max} {what} already, and no more are accepted")]
    Full {
        /// What.
        what: &'static str,
        /// How many there may be.
        max: usize,
    },
    /// The object is not in a state that allows it.
    #[error("{0}")]
    Conflict(String),
    /// The effect must be confirmed first.
    #[error("this must be confirmed: {}", .0.effect)]
    ConfirmationNeeded(Box<RemovalPreview>),
}
