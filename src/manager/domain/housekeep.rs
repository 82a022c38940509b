//! What time alone brings about.

use super::agent::{end, event, release_ended, release_left_before};
use super::alerts::{Told, alert_id};
use super::batch::Batch;
use super::bounds::{
    API_KEY_KEPT_MS, DAY_MS, EXPIRING_MS, FORGET_MS, INSTANCES_MAX, LEAVING_MS, STALE_MS, TOMBSTONE_MS,
};
use super::record::{Alert, AlertKind, ApiKey, Instance, InstanceState, Lot, Severity};
use super::report::ReportKind;
use super::{Actor, Change, Domain, InstanceEventKind, Journal, Record};
use crate::protocol::Entropy;
use crate::units::UnixMillis;

impl Domain {
    /// Does what is due: terms that began or ended, instances that went silent or did not renew, holdings whose grant has
    /// ended, alerts, periodic reports. To be called every minute or so; it walks everything once.
    #[must_use]
    pub fn housekeep(&mut self, now: UnixMillis, entropy: &mut Entropy) -> Vec<Change> {
        let mut batch = Batch::default();
        self.books.refresh(now);
        self.tell_of_terms(now, &mut batch);
        self.age_instances(now, &mut batch);
        self.bury(now, &mut batch);
        self.forget_api_keys(now, &mut batch);
        self.tell_of_room(INSTANCES_MAX, now, &mut batch);
        self.end_unknown(now, &mut batch);
        // A term that began or ended touches its pool without anybody asking; so does a changed policy.
        let pools: Vec<_> = self.books.pools().map(|(account, tag, _)| (account, tag.clone())).collect();
        batch.touched.extend(pools);
        let short = self.virtual_accounts.values();
        let short = short.flat_map(|account| account.short_since.keys().map(|tag| (account.id, tag.clone())));
        batch.touched.extend(short);
        self.tell_of_pools(now, entropy, &mut batch);
        self.mend_pool_alerts(now, &mut batch);
        self.report_periodically(now, entropy, &mut batch);
        batch.changes
    }

    fn tell_of_terms(&mut self, now: UnixMillis, batch: &mut Batch) {
        let lots: Vec<Lot> = self.lots.values().filter(|lot| lot.end.is_some() && lot.start <= now).cloned().collect();
        for lot in lots {
            let Some(end) = lot.end else { continue };
            let (expiring, expired) = (AlertKind::LicensesExpiring, AlertKind::LicensesExpired);
            let source_id = lot.id.to_string();
            let told = |kind, severity, text: String, action| Told {
                kind,
                source_id: source_id.clone(),
                severity,
                source: format!("/lots/{}", lot.id),
                virtual_account: Some(lot.virtual_account),
                text,
                action,
                due: Some(end),
            };
            let account = self.name_of(lot.virtual_account);
            if end <= now {
                self.clear(&alert_id(expiring, &source_id), now, batch);
                if now.0 - end.0 < EXPIRING_MS {
                    let text = format!("the term of {} {} in {account} has ended", lot.quantity, lot.tag);
                    self.raise(told(expired, Severity::Major, text, "renew the term, or remove the lot"), now, batch);
                } else {
                    self.clear(&alert_id(expired, &source_id), now, batch);
                }
            } else if end.0 - now.0 <= EXPIRING_MS {
                let severity = if end.0 - now.0 <= 7 * DAY_MS { Severity::Major } else { Severity::Warning };
                let text = format!("the term of {} {} in {account} ends", lot.quantity, lot.tag);
                self.raise(told(expiring, severity, text, "renew the term before it ends"), now, batch);
            }
        }
    }

    fn age_instances(&mut self, now: UnixMillis, batch: &mut Batch) {
        let due: Vec<_> = self.instances.values().filter(|one| is_due(one, now)).map(|one| one.id).collect();
        for id in due {
            let Some(mut instance) = self.instances.get(&id).cloned() else { continue };
            release_ended(&mut instance, now);
            release_left_before(&mut instance, UnixMillis(now.0.saturating_sub(LEAVING_MS)));
            let registered = instance.state.is_registered();
            if registered && has_expired(&instance, now) {
                end(&mut instance, InstanceState::Expired, now);
                self.clear_instance(id, now, batch);
                batch.event(event(&instance, InstanceEventKind::Expired, now, ""));
                let text = format!("{} did not renew its id certificate; its licenses came back", instance.udi);
                let action = "register it again if it still runs";
                let told = about(&instance, AlertKind::FailedToRenew, Severity::Major, text, action);
                self.raise(told, now, batch);
            } else if instance.state == InstanceState::Registered && is_silent(&instance, now) {
                instance.state = InstanceState::Stale;
                instance.state_since = now;
                batch.event(event(&instance, InstanceEventKind::WentStale, now, ""));
                let text = format!("{} was not heard of for 90 days; its licenses are kept", instance.udi);
                let action = "mend its connection, or remove it if it no longer runs";
                let told = about(&instance, AlertKind::ProductInstanceFailedToConnect, Severity::Warning, text, action);
                self.raise(told, now, batch);
            }
            self.store(instance, batch);
        }
    }

    /// Of what is gone for long, only what must never go back is kept; then nothing.
    fn bury(&mut self, now: UnixMillis, batch: &mut Batch) {
        let age = |one: &Instance| now.0.saturating_sub(one.state_since.0);
        let due = |one: &&Instance| {
            let gone = !one.state.is_registered() && !holds_anything(one);
            gone && (age(one) >= FORGET_MS || (age(one) >= TOMBSTONE_MS && !is_tombstone(one)))
        };
        let due: Vec<_> = self.instances.values().filter(due).take(BURIED_PER_ROUND).cloned().collect();
        for mut instance in due {
            if age(&instance) >= FORGET_MS {
                self.forget(&instance, now, batch);
                continue;
            }
            (instance.hostname, instance.address, instance.removal) = (None, None, None);
            instance.tags.clear();
            instance.nonces.clear();
            instance.usage.clear();
            instance.forked_at.clear();
            self.store(instance, batch);
        }
    }

    fn forget_api_keys(&mut self, now: UnixMillis, batch: &mut Batch) {
        let ended = |key: &&ApiKey| {
            let end = [key.revoked_at, key.expires_at].into_iter().flatten().min();
            end.is_some_and(|end| now.0 >= end.0.saturating_add(API_KEY_KEPT_MS))
        };
        let due: Vec<_> = self.api_keys.values().filter(ended).map(|key| (key.id, key.hash)).collect();
        for (id, hash) in due {
            self.api_keys.remove(&id);
            self.api_key_by_hash.remove(&hash);
            batch.remove(id);
        }
    }

    /// Tells when nine tenths of the room for instances are taken.
    pub(super) fn tell_of_room(&mut self, max: usize, now: UnixMillis, batch: &mut Batch) {
        let kind = AlertKind::ProductInstancesNearlyFull;
        if self.instances.len() < max / 10 * 9 + max % 10 {
            self.clear(&alert_id(kind, "instances"), now, batch);
            return;
        }
        let told = Told {
            kind,
            source_id: "instances".to_owned(),
            severity: Severity::Major,
            source: "/instances".to_owned(),
            virtual_account: None,
            text: format!("nine tenths of the {max} product instances that may be known are there, gone ones included"),
            action: "forget those that are gone and never come back",
            due: None,
        };
        self.raise(told, now, batch);
    }

    /// What is not known shows its certificate no more once that has ended.
    fn end_unknown(&mut self, now: UnixMillis, batch: &mut Batch) {
        let ended =
            |alert: &&Alert| alert.kind == AlertKind::UnknownProductInstance && alert.due.is_some_and(|due| due <= now);
        let ended: Vec<_> = self.alerts.values().filter(ended).map(|alert| alert.id.clone()).collect();
        ended.iter().for_each(|id| self.clear(id, now, batch));
    }

    /// Brings the figures in the alerts of short pools up to date, and ends those of pools that are no more.
    fn mend_pool_alerts(&mut self, now: UnixMillis, batch: &mut Batch) {
        let short = self.alerts.values().filter(|alert| alert.kind == AlertKind::InsufficientLicenses);
        let short: Vec<_> = short.map(|alert| (alert.id.clone(), alert.virtual_account)).collect();
        for (id, account) in short {
            let tag = id.rsplit('/').next().unwrap_or_default().to_owned();
            let Some(account) = account.filter(|account| self.standing(*account, &tag, now).shortage() > 0) else {
                self.clear(&id, now, batch);
                continue;
            };
            let told = self.told_of_pool(account, &tag, now);
            self.raise(told, now, batch);
        }
    }

    fn report_periodically(&mut self, now: UnixMillis, entropy: &mut Entropy, batch: &mut Batch) {
        let every = u64::from(self.account.report_days) * DAY_MS;
        if every == 0 || now.0 < self.account.reported_at.0.saturating_add(every) {
            return;
        }
        self.account.reported_at = now;
        batch.put(Record::Account(self.account.clone()));
        for kind in [ReportKind::Inventory, ReportKind::Consumption] {
            if let Ok(report) = self.report(kind, None, &Actor::system(), now, entropy) {
                batch.append(Journal::Report(Box::new(report)));
            }
        }
    }
}

/// How many instances one round of housekeeping buries.
const BURIED_PER_ROUND: usize = 10_000;

fn holds_anything(instance: &Instance) -> bool {
    !instance.entitlements.is_empty() || !instance.leaving.is_empty() || !instance.fenced.is_empty()
}

fn is_tombstone(instance: &Instance) -> bool {
    instance.hostname.is_none() && instance.tags.is_empty() && instance.nonces.is_empty() && instance.usage.is_empty()
}

fn is_due(instance: &Instance, now: UnixMillis) -> bool {
    let left =
        instance.leaving.iter().flat_map(|left| &left.entitlements).any(|one| one.held > 0 && one.held_until <= now);
    let here = instance.entitlements.iter().any(|one| one.held > one.granted && one.held_until <= now);
    left || here
        || instance.fenced.iter().any(|one| one.held_until <= now)
        || instance.leaving.iter().any(|left| is_left(left.since, now))
        || (instance.state.is_registered() && has_expired(instance, now))
        || (instance.state == InstanceState::Registered && is_silent(instance, now))
}

fn is_left(since: UnixMillis, now: UnixMillis) -> bool {
    now.0 >= since.0.saturating_add(LEAVING_MS)
}

fn is_silent(instance: &Instance, now: UnixMillis) -> bool {
    now.0 >= instance.last_contact.0.saturating_add(STALE_MS)
}

/// Neither of its certificates is valid any more.
fn has_expired(instance: &Instance, now: UnixMillis) -> bool {
    let pending = instance.pending.as_ref().map_or(UnixMillis(0), |pending| pending.certificate.not_after);
    instance.certificate.not_after.max(pending) < now
}

fn about(instance: &Instance, kind: AlertKind, severity: Severity, text: String, action: &'static str) -> Told {
    Told {
        kind,
        source_id: instance.id.to_string(),
        severity,
        source: format!("/instances/{}", instance.id),
        virtual_account: Some(instance.virtual_account),
        text,
        action,
        due: None,
    }
}
