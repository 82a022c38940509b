//! Deregistration, and acknowledgements: what comes back, and when.
//!
//! Licenses come back at once. A hard resource comes back only when its holder says that it no longer uses it, or its
//! grant has ended.

use super::super::batch::Batch;
use super::super::bounds::{FENCED_MAX, LICENSES_MAX, NAME_BYTES_MAX, SKEW_MAX_MS};
use super::super::message::AgentReply;
use super::super::record::{Entitlement, Fenced, Instance, InstanceState};
use super::super::{Domain, InstanceEventKind, VirtualAccountId};
use super::entitlement::nothing_yet;
use super::{Admitted, Denied, Taking, at_most, bounded, check_evaluation, check_seq, denied, event};
use crate::protocol::{
    AckAnswer, Acknowledged, Acknowledgement, DeregistrationAnswer, DeregistrationRequest, RefusalCode,
};
use crate::units::UnixMillis;

impl Domain {
    pub(super) fn deregister(
        &mut self,
        taking: &Taking<'_>,
        request: &DeregistrationRequest,
        batch: &mut Batch,
    ) -> Result<AgentReply, Denied> {
        let now = taking.now;
        bounded("virtual_account", &request.virtual_account, NAME_BYTES_MAX)?;
        check_evaluation(request.eval_used_s)?;
        let mut instance = self.admit(taking, &Admitted::Goodbye, batch)?;
        self.note_evaluation(&mut instance, request.eval_used_s, false, batch);
        let named = self.virtual_accounts.values().find(|account| account.name == request.virtual_account);
        match named.map(|account| account.id) {
            // A goodbye to a virtual account that it left before: it stays where it is.
            Some(account) if account != instance.virtual_account => release_left(&mut instance, account),
            // Its own, or one that was renamed since.
            Some(_) | None => {
                if instance.state.is_registered() {
                    end(&mut instance, InstanceState::Deregistered, now);
                    self.clear_instance(instance.id, now, batch);
                    batch.event(event(&instance, InstanceEventKind::Deregistered, now, String::new()));
                }
            }
        }
        let header = self.answer(&instance, taking);
        self.store(instance, batch);
        Ok(AgentReply::Deregistered(DeregistrationAnswer { header }))
    }

    pub(super) fn acknowledge(
        &mut self,
        taking: &Taking<'_>,
        request: &Acknowledgement,
        batch: &mut Batch,
    ) -> Result<AgentReply, Denied> {
        match &request.acknowledged {
            Acknowledged::Registration { instance } => bounded("instance", instance, NAME_BYTES_MAX)?,
            Acknowledged::Grant { tag, epoch, effective } => {
                bounded("tag", tag, NAME_BYTES_MAX)?;
                check_seq("epoch", *epoch)?;
                at_most("effective", *effective, LICENSES_MAX)?;
            }
        }
        let mut instance = self.admit(taking, &Admitted::Ack(&request.acknowledged), batch)?;
        match &request.acknowledged {
            Acknowledged::Registration { .. } => release_licenses_left(&mut instance),
            Acknowledged::Grant { tag, epoch, effective } => {
                let hard = self.is_hard(tag);
                in_force(&mut instance, tag, hard, *epoch, *effective);
            }
        }
        let header = self.answer(&instance, taking);
        self.store(instance, batch);
        Ok(AgentReply::Acknowledged(AckAnswer { header }))
    }
}

/// A grant is in force: what it took away comes back. An older epoch says nothing, for a later grant may be on its way;
/// unless the instance is gone, which gets no more grants.
fn in_force(instance: &mut Instance, tag: &str, hard: bool, epoch: u64, effective: u64) {
    let gone = !instance.state.is_registered();
    let mut current = gone;
    for one in instance.entitlements.iter_mut().filter(|one| one.tag == tag && (one.epoch == epoch || gone)) {
        // Only hard resources are held; a tag that was one may be held still.
        let granted = if hard { one.granted } else { 0 };
        one.held = granted.max(one.held.min(effective));
        current = true;
    }
    for left in &mut instance.leaving {
        for one in left.entitlements.iter_mut().filter(|one| one.tag == tag) {
            if current && !gone {
                // The grant of the new virtual account replaced that of the one it left.
                one.held = 0;
            } else if gone || one.epoch == epoch {
                one.held = one.held.min(effective);
            }
        }
    }
    tidy(instance);
}

/// Ends a registration: licenses come back, hard resources when they may.
pub(in super::super) fn end(instance: &mut Instance, state: InstanceState, now: UnixMillis) {
    give_back(instance);
    instance.state = state;
    instance.state_since = now;
    instance.pending = None;
}

/// Gives back everything that may come back at once, here and where it was before. It takes a number as a grant does, for the
/// counts change and so must their epochs: should the instance come back, its first grant tells of the same tags.
pub(in super::super) fn give_back(instance: &mut Instance) {
    let held_until = held_until(instance);
    instance.grant_seq = instance.grant_seq.saturating_add(1);
    let seq = instance.grant_seq;
    let left = instance.leaving.iter_mut().flat_map(|left| left.entitlements.iter_mut());
    for one in instance.entitlements.iter_mut().chain(left) {
        nothing_more(one, held_until, seq);
    }
    tidy(instance);
}

/// Another host takes the identity over: what the old one may still hold counts until its grant has ended, and nobody can
/// acknowledge for it.
pub(super) fn fence(instance: &mut Instance) -> Result<(), Denied> {
    let until = held_until(instance);
    let mut fenced = std::mem::take(&mut instance.fenced);
    let here = instance.entitlements.drain(..).map(|one| (instance.virtual_account, one));
    let left = instance
        .leaving
        .drain(..)
        .flat_map(|left| left.entitlements.into_iter().map(move |one| (left.virtual_account, one)));
    fenced.extend(here.chain(left).filter(|(_, one)| one.held > 0).map(|(virtual_account, one)| Fenced {
        virtual_account,
        tag: one.tag,
        held: one.held,
        held_until: one.held_until.max(until),
    }));
    if fenced.len() > FENCED_MAX {
        return Err(denied(RefusalCode::Busy, "too many hosts had this identity; wait until their grants have ended"));
    }
    instance.fenced = fenced;
    Ok(())
}

/// Nothing is asked for and granted any more; what is held, is held until its time.
pub(super) fn nothing_more(one: &mut Entitlement, held_until: UnixMillis, seq: u64) {
    if one.held > 0 && one.held == one.granted {
        one.held_until = held_until;
    }
    if one.granted != 0 || one.cap != 0 {
        one.epoch = one.epoch.max(seq);
    }
    one.requested = 0;
    one.granted = 0;
    one.cap = 0;
}

/// When the last grant has ended for sure, whatever the agent's clock says.
pub(super) fn held_until(instance: &Instance) -> UnixMillis {
    UnixMillis(instance.grant_expires_at.map_or(0, |end| end.0.saturating_add(SKEW_MAX_MS)))
}

/// What it had in virtual accounts that it left comes back, but for hard resources.
pub(super) fn release_licenses_left(instance: &mut Instance) {
    for left in &mut instance.leaving {
        left.entitlements.iter_mut().for_each(|one| one.requested = 0);
    }
    tidy(instance);
}

fn release_left(instance: &mut Instance, account: VirtualAccountId) {
    for left in instance.leaving.iter_mut().filter(|left| left.virtual_account == account) {
        left.entitlements.iter_mut().for_each(|one| one.requested = 0);
    }
    tidy(instance);
}

/// Hard resources whose grant has ended come back unacknowledged.
pub(in super::super) fn release_ended(instance: &mut Instance, now: UnixMillis) -> bool {
    let mut released = false;
    let left = instance.leaving.iter_mut().flat_map(|left| left.entitlements.iter_mut().map(|one| (one, true)));
    for (one, gone) in instance.entitlements.iter_mut().map(|one| (one, false)).chain(left) {
        let keeps = if gone { 0 } else { one.granted };
        if one.held > keeps && one.held_until <= now {
            one.held = keeps;
            released = true;
        }
    }
    let fenced = instance.fenced.len();
    instance.fenced.retain(|one| one.held_until > now);
    released |= fenced != instance.fenced.len();
    if released {
        tidy(instance);
    }
    released
}

/// What an operator moved: what it asks for goes along, and what it was given is left behind; hard resources are held there
/// until it shows that it knows.
pub(in super::super) fn carry(instance: &mut Instance, asked: Vec<(String, u64)>) {
    release_licenses_left(instance);
    for (tag, requested) in asked {
        match instance.entitlements.iter_mut().find(|one| one.tag == tag) {
            Some(one) => one.requested = requested,
            None => {
                let one = nothing_yet(&tag);
                instance.entitlements.push(Entitlement { requested, ..one });
            }
        }
    }
}

/// Licenses in virtual accounts that it left long ago come back, heard of or not.
pub(in super::super) fn release_left_before(instance: &mut Instance, since: UnixMillis) {
    for left in instance.leaving.iter_mut().filter(|left| left.since <= since) {
        left.entitlements.iter_mut().for_each(|one| one.requested = 0);
        left.since = UnixMillis(u64::MAX);
    }
    tidy(instance);
}

/// Forgets entitlements that nothing is left of.
pub(super) fn tidy(instance: &mut Instance) {
    let registered = instance.state.is_registered();
    instance.entitlements.retain(|one| one.held > 0 || (registered && (one.requested > 0 || one.granted > 0)));
    for left in &mut instance.leaving {
        left.entitlements.retain(|one| one.held > 0 || one.requested > 0);
    }
    instance.leaving.retain(|left| !left.entitlements.is_empty());
}
