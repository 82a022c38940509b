//! Alerts: raised once per kind and source, ended when what they tell of has ended.

use super::batch::Batch;
use super::bounds::{ALERTS_MAX, DAY_MS};
use super::record::{Alert, AlertKind, Record, RecordKey, RecordKind, Severity};
use super::report::ReportKind;
use super::{Actor, AlertEnded, Change, Domain, InstanceId, Journal, VirtualAccountId};
use crate::protocol::Entropy;
use crate::units::UnixMillis;

/// What an alert tells of.
pub(super) struct Told {
    pub(super) kind: AlertKind,
    /// Within the kind.
    pub(super) source_id: String,
    pub(super) severity: Severity,
    pub(super) source: String,
    pub(super) virtual_account: Option<VirtualAccountId>,
    pub(super) text: String,
    pub(super) action: &'static str,
    pub(super) due: Option<UnixMillis>,
}

pub(super) fn alert_id(kind: AlertKind, source_id: &str) -> String {
    format!("{}/{source_id}", kind.name())
}

/// The id of the alert of a pool.
pub(super) fn pool_alert(account: VirtualAccountId, tag: &str) -> String {
    alert_id(AlertKind::InsufficientLicenses, &format!("{account}/{tag}"))
}

/// How long before a rotation is due it is told that the root's key isn't at hand: 30 days.
const ROTATION_TOLD_MS: u64 = 30 * DAY_MS;
/// So near its end the key that signs is critical: 7 days.
const ROTATION_CRITICAL_MS: u64 = 7 * DAY_MS;

/// Where in its life the key is that signs, told by whoever holds the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyRotation {
    /// From when on another key should sign.
    pub due_at: UnixMillis,
    /// When agents begin to refuse what this one signs.
    pub ends: UnixMillis,
    /// The root's key is at hand, so that the rotation happens by itself.
    pub root_here: bool,
}

impl Domain {
    /// Raises or ends the alert about the key that signs: the root's key isn't at hand 30 days before a rotation is due or
    /// later, or it is and the rotation, due for a day, did not happen.
    #[must_use]
    pub fn tell_of_rotation(&mut self, keys: KeyRotation, now: UnixMillis) -> Vec<Change> {
        let mut batch = Batch::default();
        let kind = AlertKind::SigningKeyRotationDue;
        let told_from = if keys.root_here {
            keys.due_at.0.saturating_add(DAY_MS)
        } else {
            keys.due_at.0.saturating_sub(ROTATION_TOLD_MS)
        };
        if now.0 < told_from {
            self.clear(&alert_id(kind, "issuer"), now, &mut batch);
            return batch.changes;
        }
        let severity = if now.0.saturating_add(ROTATION_CRITICAL_MS) >= keys.ends.0 {
            Severity::Critical
        } else if now >= keys.due_at {
            Severity::Major
        } else {
            Severity::Warning
        };
        let (why, action) = if keys.root_here {
            ("it was not replaced by itself; the log says why", "mend that, then `callgate manager key rotate`")
        } else {
            (
                "the root's key, which alone can vouch for another one, isn't here",
                "put the root's key back, `callgate manager key rotate`, and take it away again",
            )
        };
        let told = Told {
            kind,
            source_id: "issuer".to_owned(),
            severity,
            source: "/keys".to_owned(),
            virtual_account: None,
            text: format!("the key that signs comes to its end, after which agents refuse every answer: {why}"),
            action,
            due: Some(keys.ends),
        };
        self.raise(told, now, &mut batch);
        batch.changes
    }

    /// Raises an alert, or brings it up to date; one that says nothing new is left alone. True if it is new.
    pub(super) fn raise(&mut self, told: Told, now: UnixMillis, batch: &mut Batch) -> bool {
        let id = alert_id(told.kind, &told.source_id);
        let old = self.alerts.get(&id);
        let new = old.is_none();
        if new && self.alerts.len() >= ALERTS_MAX {
            self.alerts_dropped = self.alerts_dropped.saturating_add(1);
            return false;
        }
        let worse = old.is_some_and(|old| told.severity > old.severity);
        let alert = Alert {
            id: id.clone(),
            kind: told.kind,
            severity: told.severity,
            source: told.source,
            virtual_account: told.virtual_account,
            text: told.text,
            action: told.action.to_owned(),
            due: told.due,
            raised_at: old.map_or(now, |old| old.raised_at),
            acknowledged: old.and_then(|old| old.acknowledged.clone()).filter(|_| !worse),
        };
        if old == Some(&alert) {
            return false;
        }
        batch.put(Record::Alert(alert.clone()));
        self.alerts.insert(id, alert);
        new
    }

    /// Ends an alert, if there is one.
    pub(super) fn clear(&mut self, id: &str, now: UnixMillis, batch: &mut Batch) {
        if let Some(alert) = self.alerts.remove(id) {
            batch.remove(RecordKey { kind: RecordKind::Alert, id: id.to_owned() });
            batch.append(Journal::AlertEnded(AlertEnded { at: now, alert }));
        }
    }

    /// Ends every alert about an instance.
    pub(super) fn clear_instance(&mut self, id: InstanceId, now: UnixMillis, batch: &mut Batch) {
        let kinds = [AlertKind::ProductInstanceFailedToConnect, AlertKind::FailedToRenew, AlertKind::DuplicateLicenses];
        for kind in kinds {
            self.clear(&alert_id(kind, &id.to_string()), now, batch);
        }
    }

    /// Raises and ends the alerts of the pools that a call touched. A pool that becomes short is reported at once.
    pub(super) fn tell_of_pools(&mut self, now: UnixMillis, entropy: &mut Entropy, batch: &mut Batch) {
        let mut pools = std::collections::BTreeSet::new();
        for (account, tag) in std::mem::take(&mut batch.touched) {
            pools.extend(self.relatives(&tag).into_iter().map(|tag| (account, tag)));
        }
        for (account, tag) in pools {
            self.tell_of_pool(account, &tag, now, entropy, batch);
        }
    }

    pub(super) fn tell_of_pool(
        &mut self,
        account: VirtualAccountId,
        tag: &str,
        now: UnixMillis,
        entropy: &mut Entropy,
        batch: &mut Batch,
    ) {
        let standing = self.standing(account, tag, now);
        let id = pool_alert(account, tag);
        if standing.shortage() == 0 {
            self.clear(&id, now, batch);
            self.note_short(account, tag, None, batch);
            return;
        }
        let alert = self.alerts.get(&id).map(|alert| alert.raised_at);
        let new = self.note_short(account, tag, Some(alert.unwrap_or(now)), batch);
        if alert.is_some() {
            // Its figures are brought up to date by housekeeping, not with every message.
            return;
        }
        let told = self.told_of_pool(account, tag, now);
        self.raise(told, now, batch);
        if new
            && let Ok(report) =
                self.report(ReportKind::ComplianceWarning, Some(account), &Actor::system(), now, entropy)
        {
            batch.append(Journal::Report(Box::new(report)));
        }
    }

    /// Notes since when a pool is short, or that it isn't. What was noted first stays. True if it changed.
    fn note_short(
        &mut self,
        account: VirtualAccountId,
        tag: &str,
        since: Option<UnixMillis>,
        batch: &mut Batch,
    ) -> bool {
        let Some(account) = self.virtual_accounts.get_mut(&account) else { return false };
        match since {
            Some(_) if account.short_since.contains_key(tag) => return false,
            Some(since) => account.short_since.insert(tag.to_owned(), since),
            None if !account.short_since.contains_key(tag) => return false,
            None => account.short_since.remove(tag),
        };
        batch.put(Record::VirtualAccount(account.clone()));
        true
    }

    pub(super) fn told_of_pool(&self, account: VirtualAccountId, tag: &str, now: UnixMillis) -> Told {
        let standing = self.standing(account, tag, now);
        let name = self.virtual_accounts.get(&account).map_or("", |account| account.name.as_str());
        Told {
            kind: AlertKind::InsufficientLicenses,
            source_id: format!("{account}/{tag}"),
            severity: Severity::Major,
            source: format!("/virtual-accounts/{account}/licenses/{tag}"),
            virtual_account: Some(account),
            text: format!(
                "{tag} is short by {} in {name}: {} in use, {} bought, {} of higher tiers stand in",
                standing.shortage(),
                standing.in_use,
                standing.supply.purchased,
                standing.supply.from_above
            ),
            action: "buy or transfer licenses to this virtual account, or ask for fewer",
            due: None,
        }
    }
}
