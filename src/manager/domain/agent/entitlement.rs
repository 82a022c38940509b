//! What an instance asks for, and what it is granted.

use super::super::batch::Batch;
use super::super::bounds::{GRANT_MS, LICENSES_MAX, SAMPLES_MAX, SKEW_MAX_MS, TIME_MAX};
use super::super::message::{AgentReply, Granted};
use super::super::record::{Entitlement, Instance, LastUse, OocScope, OverageStrategy, TagClass};
use super::super::{Domain, Journal, UsageRow};
use super::goodbye::{held_until, nothing_more, release_ended, release_licenses_left, tidy};
use super::{Admitted, Denied, Taking, at_most, catch_up, check_evaluation, check_seq, check_tags, denied};
use crate::protocol::{
    ComplianceStatus, EntitlementRequest, Grant, PoolView, RefusalCode, ReportRequest, TagGrant, TagReport, TagStatus,
};
use crate::units::UnixMillis;
use crate::units::when::iso;

/// What was asked for of one tag.
struct Asked<'a> {
    tag: &'a str,
    requested: u64,
    optional: bool,
    used: Option<LastUse>,
}

/// What one tag comes to.
struct Judged {
    granted: u64,
    cap: u64,
    status: TagStatus,
}

impl Domain {
    pub(super) fn entitle(
        &mut self,
        taking: &Taking<'_>,
        request: &EntitlementRequest,
        batch: &mut Batch,
    ) -> Result<AgentReply, Denied> {
        check_tags(request.tags.iter().map(|tag| tag.tag.as_str()))?;
        request.tags.iter().try_for_each(|tag| check_count("requested", tag.requested))?;
        check_seq("last_grant_seq", request.last_grant_seq)?;
        check_evaluation(request.eval_used_s)?;
        let mut instance = self.admit(taking, &Admitted::Plain, batch)?;
        self.note_evaluation(&mut instance, request.eval_used_s, false, batch);
        catch_up(&mut instance, request.last_grant_seq);
        let asked = request.tags.iter().map(|tag| Asked {
            tag: &tag.tag,
            requested: tag.requested,
            optional: tag.optional,
            used: None,
        });
        let asked: Vec<_> = asked.collect();
        Ok(self.grant(instance, &asked, true, taking, batch))
    }

    pub(super) fn take_report(
        &mut self,
        taking: &Taking<'_>,
        request: &ReportRequest,
        batch: &mut Batch,
    ) -> Result<AgentReply, Denied> {
        let now = taking.now;
        check_tags(request.tags.iter().map(|tag| tag.tag.as_str()))?;
        request.tags.iter().try_for_each(check_report)?;
        check_seq("last_grant_seq", request.last_grant_seq)?;
        check_evaluation(request.eval_used_s)?;
        if request.from > request.until || request.until.0 > now.0.saturating_add(SKEW_MAX_MS) {
            let text = format!(
                "a report from {} to {}; accepted: from not after to, and to at most 1 h after {}",
                iso(request.from),
                iso(request.until),
                iso(now)
            );
            return Err(denied(RefusalCode::BadRequest, text));
        }
        let mut instance = self.admit(taking, &Admitted::Plain, batch)?;
        self.note_evaluation(&mut instance, request.eval_used_s, false, batch);
        catch_up(&mut instance, request.last_grant_seq);
        instance.last_report = Some(now);
        for tag in request.tags.iter().filter(|tag| self.tags.contains_key(&tag.tag)) {
            batch.append(Journal::Usage(usage_row(&instance, request, tag, now)));
        }
        let asked: Vec<_> = request.tags.iter().map(|tag| asked_by(tag, now)).collect();
        Ok(self.grant(instance, &asked, false, taking, batch))
    }

    /// Takes what was asked for, and grants. A tag that is left out is given back if this is `all` that is asked for.
    fn grant(
        &mut self,
        mut instance: Instance,
        asked: &[Asked<'_>],
        all: bool,
        taking: &Taking<'_>,
        batch: &mut Batch,
    ) -> AgentReply {
        let now = taking.now;
        release_licenses_left(&mut instance);
        release_ended(&mut instance, now);
        instance.grant_seq = instance.grant_seq.saturating_add(1);
        let (seq, until) = (instance.grant_seq, held_until(&instance));

        let mut rest = std::mem::take(&mut instance.entitlements);
        for ask in asked.iter().filter(|ask| self.tags.contains_key(ask.tag)) {
            let mut one = match rest.iter().position(|one| one.tag == ask.tag) {
                Some(at) => rest.remove(at),
                None => nothing_yet(ask.tag),
            };
            let is_there = !ask.optional || self.has_for(&instance, &one, ask.requested, now);
            one.requested = if is_there { ask.requested } else { 0 };
            one.last_use = ask.used.clone().or(one.last_use);
            instance.entitlements.push(one);
        }
        if all {
            rest.iter_mut().for_each(|one| nothing_more(one, until, seq));
        }
        instance.entitlements.append(&mut rest);
        // Its own request counts when it is judged.
        self.replace(instance.clone(), batch);
        let mut entitlements = std::mem::take(&mut instance.entitlements);
        for one in &mut entitlements {
            let Judged { granted, cap, status } = self.judge(&instance, one, now);
            if one.epoch == 0 || (granted, cap) != (one.granted, one.cap) {
                one.epoch = seq;
            }
            if granted < one.held && one.held == one.granted {
                one.held_until = until;
            }
            if self.is_hard(&one.tag) {
                one.held = one.held.max(granted);
            }
            (one.granted, one.cap, one.status) = (granted, cap, status);
        }
        instance.entitlements = entitlements;
        let expires_at = UnixMillis(now.0.saturating_add(GRANT_MS));
        instance.grant_expires_at = Some(expires_at);
        let grant = self.grant_of(&instance, asked, now, expires_at);
        let header = self.answer(&instance, taking);
        tidy(&mut instance);
        self.store(instance, batch);
        AgentReply::Granted(Box::new(Granted { header, grant }))
    }

    /// So many licenses are there for this instance without a shortage; its old request is in the books still.
    fn has_for(&self, instance: &Instance, one: &Entitlement, requested: u64, now: UnixMillis) -> bool {
        let standing = self.standing(instance.virtual_account, &one.tag, now);
        let others = if self.is_hard(&one.tag) {
            standing.held.saturating_sub(one.held)
        } else {
            standing.in_use.saturating_sub(one.requested)
        };
        others.saturating_add(requested) <= standing.supply.total()
    }

    pub(super) fn is_hard(&self, tag: &str) -> bool {
        self.tags.get(tag).is_some_and(|tag| tag.class == TagClass::Hard)
    }

    /// What an instance gets of a tag, its request being booked.
    fn judge(&self, instance: &Instance, one: &Entitlement, now: UnixMillis) -> Judged {
        let standing = self.standing(instance.virtual_account, &one.tag, now);
        if self.is_hard(&one.tag) {
            // What others may still believe to hold is not there, whatever they were last told.
            let others = standing.held.saturating_sub(one.held);
            let granted = one.requested.min(standing.supply.purchased.saturating_sub(others));
            let status = if granted < one.requested { TagStatus::OutOfCompliance } else { TagStatus::InCompliance };
            return Judged { granted, cap: granted, status };
        }
        let place = self.books.place(instance, instance.registered_at);
        let before = self.books.pool(instance.virtual_account, &one.tag).map_or(0, |pool| pool.order.before(place));
        let beyond = |limit: u64| before.saturating_add(one.requested).saturating_sub(limit).min(one.requested);
        let bought = standing.supply.total();
        let overage = self.overage(&one.tag);
        let limit = match overage.strategy {
            OverageStrategy::Allow => u64::MAX,
            OverageStrategy::Deny => bought,
            OverageStrategy::Percentage(percent) => {
                bought.saturating_add(bought.saturating_mul(u64::from(percent)) / 100)
            }
        };
        let account = self.virtual_accounts.get(&instance.virtual_account);
        let since = account.and_then(|account| account.short_since.get(&one.tag)).copied().unwrap_or(now);
        let tolerated = now.0.saturating_sub(since.0) < u64::from(overage.tolerance_minutes) * 60_000;
        let short = standing.shortage() > 0 && !tolerated;
        let concerned = match self.account.ooc_scope {
            OocScope::AllInPool => one.requested > 0,
            OocScope::OffenderOnly | OocScope::Priority => beyond(bought) > 0,
        };
        Judged {
            granted: one.requested - beyond(bought),
            cap: one.requested - beyond(limit),
            status: if short && concerned { TagStatus::OutOfCompliance } else { TagStatus::InCompliance },
        }
    }

    fn grant_of(&self, instance: &Instance, asked: &[Asked<'_>], now: UnixMillis, expires_at: UnixMillis) -> Grant {
        let account = instance.virtual_account;
        let mut tags = Vec::with_capacity(asked.len());
        let mut pools = Vec::with_capacity(asked.len());
        let mut known = instance.entitlements.iter();
        for ask in asked.iter().filter(|ask| !ask.optional && !self.tags.contains_key(ask.tag)) {
            tags.push(unknown(ask.tag, instance.grant_seq));
        }
        for one in known.by_ref() {
            let standing = self.standing(account, &one.tag, now);
            let needed = standing.in_use.min(standing.supply.purchased);
            let term_end = if one.granted == 0 {
                None
            } else {
                self.books.pool(account, &one.tag).and_then(|pool| pool.lasts_until(needed, now))
            };
            tags.push(TagGrant {
                tag: one.tag.clone(),
                epoch: one.epoch,
                granted: one.granted,
                cap: one.cap,
                status: one.status,
                term_end,
            });
            pools.push(PoolView {
                tag: one.tag.clone(),
                purchased: standing.supply.purchased,
                in_use: standing.in_use,
            });
        }
        // In the order of the request; what was not asked for behind it.
        tags.sort_by_key(|tag| asked.iter().position(|ask| ask.tag == tag.tag).unwrap_or(usize::MAX));
        let short = tags.iter().any(|tag| tag.status == TagStatus::OutOfCompliance);
        let mut overages = instance.entitlements.iter().map(|one| self.overage(&one.tag).strategy);
        let overage_allowed = if instance.entitlements.is_empty() {
            self.account.overage.strategy == OverageStrategy::Allow
        } else {
            overages.all(|strategy| strategy == OverageStrategy::Allow)
        };
        Grant {
            udi: instance.udi.clone(),
            virtual_account: self.name_of(account),
            seq: instance.grant_seq,
            issued_at: now,
            expires_at,
            status: if short { ComplianceStatus::OutOfCompliance } else { ComplianceStatus::InCompliance },
            tags,
            pools,
            overage_allowed,
            export_allowed: instance.export_allowed && self.account.export_permitted,
            policy_version: self.account.policy_version,
        }
    }
}

pub(super) fn nothing_yet(tag: &str) -> Entitlement {
    Entitlement {
        tag: tag.to_owned(),
        requested: 0,
        granted: 0,
        cap: 0,
        held: 0,
        held_until: UnixMillis(0),
        epoch: 0,
        status: TagStatus::InCompliance,
        last_use: None,
    }
}

fn unknown(tag: &str, epoch: u64) -> TagGrant {
    TagGrant { tag: tag.to_owned(), epoch, granted: 0, cap: 0, status: TagStatus::Invalid, term_end: None }
}

fn asked_by(tag: &TagReport, now: UnixMillis) -> Asked<'_> {
    let used =
        LastUse { at: now, reported: tag.reported, observed_peak: tag.observed_peak, p95: tag.p95, next: tag.next };
    Asked { tag: &tag.tag, requested: tag.requested, optional: false, used: Some(used) }
}

fn usage_row(instance: &Instance, request: &ReportRequest, tag: &TagReport, now: UnixMillis) -> UsageRow {
    UsageRow {
        instance: instance.id,
        virtual_account: instance.virtual_account,
        tag: tag.tag.clone(),
        from: request.from,
        until: request.until,
        requested: tag.requested,
        reported: tag.reported,
        observed_peak: tag.observed_peak,
        peak_at: tag.peak_at,
        p95: tag.p95,
        samples: tag.samples,
        next: tag.next,
        received_at: now,
    }
}

fn check_count(field: &str, count: u64) -> Result<(), Denied> {
    at_most(field, count, LICENSES_MAX)
}

fn check_report(tag: &TagReport) -> Result<(), Denied> {
    check_count("requested", tag.requested)?;
    check_count("reported", tag.reported)?;
    check_count("observed_peak", tag.observed_peak)?;
    check_count("p95", tag.p95)?;
    at_most("samples", tag.samples, SAMPLES_MAX)?;
    at_most("peak_at", tag.peak_at.map_or(0, |at| at.0), TIME_MAX.0)?;
    check_count("next", tag.next.unwrap_or(0))
}
