//! How much of everything there may be.

use crate::units::UnixMillis;

/// Virtual accounts.
pub const VIRTUAL_ACCOUNTS_MAX: usize = 1_000;
/// Entitlement tags that the account knows.
pub const TAGS_MAX: usize = 1_000;
/// Lots of one tag in one virtual account.
pub const LOTS_PER_POOL_MAX: usize = 256;
/// Lots in all.
pub const LOTS_MAX: usize = 50_000;
/// Registration tokens, ended ones included.
pub const TOKENS_MAX: usize = 10_000;
/// Days that a token is good as the policy is delivered.
pub const TOKEN_DAYS: u16 = 30;
/// Product instances, gone ones included.
pub const INSTANCES_MAX: usize = 250_000;
/// Tags of one request.
pub const TAGS_PER_REQUEST_MAX: usize = 64;
/// Licenses of one tag in one request or lot.
pub const LICENSES_MAX: u64 = 1_000_000_000_000;
/// Users.
pub const USERS_MAX: usize = 1_000;
/// API keys, ended ones included.
pub const API_KEYS_MAX: usize = 1_000;
/// Alerts that are held at once.
pub const ALERTS_MAX: usize = 300_000;
/// Signing keys that are remembered.
pub const KEYS_MAX: usize = 256;
/// Settings of the service.
pub const SETTINGS_MAX: usize = 256;
/// Bytes of a setting.
pub const SETTING_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a name.
pub const NAME_BYTES_MAX: usize = 128;
/// Bytes of a note or a description.
pub const NOTE_BYTES_MAX: usize = 1_024;
/// Products or networks of one token.
pub const FILTERS_MAX: usize = 64;
/// Nonces remembered per instance.
pub const NONCES_MAX: usize = 16;
/// Retired keys remembered per instance.
pub const RETIRED_KEYS_MAX: usize = 8;
/// Virtual accounts that an instance may be leaving at once.
pub const LEAVING_MAX: usize = 4;
/// Fenced holdings of an instance.
pub const FENCED_MAX: usize = 256;
/// Identities remembered per machine.
pub const MACHINE_INSTANCES_MAX: usize = 64;
/// Items of one page.
pub const PAGE_MAX: usize = 1_000;
/// Rows of one report.
pub const REPORT_ROWS_MAX: usize = 10_000;

/// Machines that are remembered: each has at least one of the instances, and an instance has at most one machine.
pub const MACHINES_MAX: usize = INSTANCES_MAX;
/// Instances that one call for a page looks at; a search that finds little comes in more and shorter pages.
pub const EXAMINED_MAX: usize = 10_000;
/// The latest time that is taken from anybody: the end of the year 9999.
pub const TIME_MAX: UnixMillis = UnixMillis(253_402_300_799_999);
/// Seconds of evaluation that an agent may claim: a hundred years.
pub const EVALUATION_MAX_S: u64 = 3_155_760_000;
/// Samples that one report may claim.
pub const SAMPLES_MAX: u64 = 1_000_000_000;
/// Uses of one token, unless it has any number.
pub const TOKEN_USES_MAX: u64 = 1_000_000_000;
/// The largest number that an agent may claim for a `seq`: beyond it, counting up could end.
pub const SEQ_MAX: u64 = 1 << 62;
/// How far a restored manager jumps ahead at least.
pub const RESTORE_JUMP: u64 = 1 << 32;
/// For each millisecond since 1970, so many numbers are behind a manager that was restored then. A backup that is restored
/// twice goes on from two different numbers.
pub const RESTORE_PER_MS: u64 = 1 << 11;

/// Milliseconds of a day.
pub const DAY_MS: u64 = 86_400_000;
/// Milliseconds that `sent_at` may be off.
pub const SKEW_MAX_MS: u64 = 3_600_000;
/// Milliseconds that a grant is good for.
pub const GRANT_MS: u64 = 90 * DAY_MS;
/// Milliseconds that an id certificate is good for.
pub const CERTIFICATE_MS: u64 = 365 * DAY_MS;
/// Milliseconds without contact after which an instance is stale.
pub const STALE_MS: u64 = 90 * DAY_MS;
/// Milliseconds before a term's end from which it is told.
pub const EXPIRING_MS: u64 = 90 * DAY_MS;
/// Milliseconds within which a registration that comes again gets the same certificate even if it was acknowledged.
pub const SAME_CERTIFICATE_MS: u64 = DAY_MS;
/// Milliseconds after which what an instance had in a virtual account that it left is free, heard of or not.
pub const LEAVING_MS: u64 = DAY_MS;
/// Times within [`FORKS_WINDOW_MS`] that an identity came with old numbers, between messages with new ones, after which it
/// counts as duplicate. A host that was restored does it once.
pub const FORKS_MAX: usize = 3;
/// See [`FORKS_MAX`].
pub const FORKS_WINDOW_MS: u64 = 30 * DAY_MS;
/// Milliseconds after which of a gone instance only what must never go back is kept.
pub const TOMBSTONE_MS: u64 = 90 * DAY_MS;
/// Milliseconds after which a gone instance is forgotten: no certificate of it is valid any more.
pub const FORGET_MS: u64 = 400 * DAY_MS;
/// Milliseconds after which an API key that ended is forgotten.
pub const API_KEY_KEPT_MS: u64 = 30 * DAY_MS;
