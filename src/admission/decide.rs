//! The decision of one ADMIT. The order of its steps is the law of this program: refuse cheaply first, take the rate last.

use super::entry::{Entry, Step, flag, number, state, stored};
use super::policy::Mode;
use super::pools::NodePool;
use super::record::{Journal, Record};
use super::recover::buried_record;
use super::request::{Admit, Cause, Decision, Kind};
use super::resources::{Held, Wants};
use super::shard::{Exit, Names, Opening, Scene, Shard, lease_of};
use super::table::Memory;
use crate::limits::VerdictCause;
use crate::units::{CallKey, NANOS_PER_SECOND};

/// The cause that a verdict refuses with.
pub(crate) const fn cause_of(verdict: VerdictCause) -> Cause {
    match verdict {
        VerdictCause::Unconfigured => Cause::Unconfigured,
        VerdictCause::EvaluationExpired => Cause::EvaluationExpired,
        VerdictCause::AuthorizationExpired => Cause::AuthorizationExpired,
        VerdictCause::ReservationExpired => Cause::ReservationExpired,
        VerdictCause::Enforced => Cause::Enforced,
        VerdictCause::Revoked => Cause::Revoked,
    }
}

const fn admitted(cause: Cause, lease_s: u32) -> Decision {
    Decision { admitted: true, cause, sip_status: 0, retry_after_s: 0, lease_s }
}

/// What a live entry makes of an ADMIT for its id.
enum Again {
    /// The stored answer, for free.
    Retransmission,
    /// Another attempt in an open call: it pays the rates.
    Attempt,
    /// A message from before.
    Late,
}

impl<J: Journal> Shard<J> {
    /// Decides one ADMIT.
    pub(crate) fn admit(&mut self, scene: &Scene<'_>, key: CallKey, admit: &Admit<'_>, names: &Names) -> Decision {
        // 0. Nobody waits for this answer any more.
        if !admit.emergency && admit.deadline.is_some_and(|deadline| deadline < scene.now.wall) {
            return self.refuse(scene, key, admit, names, None, Cause::Deadline);
        }
        // 1. Known already?
        let found = self.lookup(key, scene.step);
        let registration = admit.kind == Kind::Registration;
        if registration && admit.ttl_s == Some(0) && !found.is_some_and(|place| self.table.entry(place).is_live()) {
            // The end of a registration that isn't there, or not any more.
            return admitted(Cause::Ok, 0);
        }
        let mut rate_paid = false;
        if let Some(place) = found {
            let entry = self.table.entry(place);
            match entry.state {
                state::LIVE => return self.admit_again(scene, place, admit, names),
                state::RELEASED => {
                    // 3. The same or an older attempt comes too late; a newer one follows a challenge. What it does not pay
                    // again is what was paid: the same trunk's license, and the same tenant's.
                    rate_paid = goes_by(entry, names) && !registration && !entry.has(flag::NEXT_PAYS);
                    if admit.emergency {
                        // Never refused.
                    } else if entry.seq().zip(admit.seq).is_some_and(|(released, asked)| asked <= released) {
                        return self.refuse(scene, key, admit, names, found, Cause::Late);
                    }
                }
                state::TOMBSTONE if !admit.emergency => {
                    let newer = entry.seq().zip(admit.seq).is_some_and(|(released, asked)| asked > released);
                    if !newer {
                        return self.refuse(scene, key, admit, names, found, Cause::Late);
                    }
                }
                _ => {}
            }
            if !admit.emergency
                && scene.settings.policy.mode == Mode::Enforce
                && let Some(decision) = self.remembered_refusal(scene, place, admit.seq)
            {
                self.tally.refusals_repeated += 1;
                return decision;
            }
        }
        let wants = wants(scene, admit, names, rate_paid);
        // 2. Emergency: never refused, always counted.
        if admit.emergency {
            return self.admit_emergency(scene, key, admit, names, found, &wants);
        }
        match self.take_all(scene, admit, names, &wants) {
            Ok(held) => self.admit_held(scene, key, admit, names, found, held),
            Err(cause) => {
                self.tally.wanted(cause, names.license_type, admit.units);
                self.refuse(scene, key, admit, names, found, cause)
            }
        }
    }

    /// Steps 4 to 7: everything that may refuse, the rates last.
    fn take_all(
        &mut self,
        scene: &Scene<'_>,
        admit: &Admit<'_>,
        names: &Names,
        wants: &Wants<'_>,
    ) -> Result<Held, Cause> {
        let verdict = match admit.kind {
            Kind::Call => scene.verdict.calls,
            Kind::Registration => scene.verdict.registrations,
        };
        if let Some(cause) = verdict {
            return Err(cause_of(cause));
        }
        if scene.draining {
            return Err(Cause::Draining);
        }
        if let Some(cause) = names.refused {
            return Err(cause);
        }
        if self.table.is_full() {
            return Err(Cause::Capacity);
        }
        let (resources, tick) = (scene.resources, scene.now.tick);
        resources.peek(scene.settings, wants, tick)?;
        let mut held = resources.take(scene.settings, wants, tick)?;
        match resources.take_rates(scene.settings, wants, tick) {
            Ok(rate_taken) => {
                held.rate_taken = rate_taken;
                Ok(held)
            }
            Err(cause) => {
                resources.give_back(wants, held);
                Err(cause)
            }
        }
    }

    /// Step 8: what was taken becomes a live call.
    fn admit_held(
        &mut self,
        scene: &Scene<'_>,
        key: CallKey,
        admit: &Admit<'_>,
        names: &Names,
        memory: Option<u32>,
        held: Held,
    ) -> Decision {
        let lease_s = lease_of(admit, scene.leases());
        let opening = Opening { memory, lease_s, flags: base_flags(admit), ..Opening::of(key, admit, names, &held) };
        // There is room: nobody else adds to this shard between the look and here.
        let _ = self.open(scene, &opening);
        self.tally.admitted += 1;
        self.tally.forced += u64::from(held.flags & flag::FORCED != 0);
        self.tally.took(&held, names.license_type, admit.units);
        scene.resources.commit(held);
        admitted(Cause::Ok, lease_s)
    }

    fn admit_emergency(
        &mut self,
        scene: &Scene<'_>,
        key: CallKey,
        admit: &Admit<'_>,
        names: &Names,
        memory: Option<u32>,
        wants: &Wants<'_>,
    ) -> Decision {
        let rates_forced = scene.resources.force_rates(scene.settings, wants, scene.now.tick);
        self.tally.admitted += 1;
        self.tally.emergency += 1;
        let lease_s = lease_of(admit, scene.leases());
        if self.table.is_full() {
            self.tally.untracked += 1;
            self.tally.forced += 1;
            self.journal_stamp(scene, names);
            return admitted(Cause::Emergency, lease_s);
        }
        let mut held = scene.resources.force(scene.settings, wants, scene.now.tick);
        held.rate_taken = !wants.registration && !wants.rate_paid;
        let forced = rates_forced || held.flags & flag::FORCED != 0;
        let mut flags = base_flags(admit) | flag::EMERGENCY;
        if forced {
            flags |= flag::FORCED;
            self.tally.forced += 1;
        }
        self.tally.took(&held, names.license_type, admit.units);
        let opening = Opening { memory, lease_s, flags, ..Opening::of(key, admit, names, &held) };
        let _ = self.open(scene, &opening);
        scene.resources.commit(held);
        admitted(Cause::Emergency, lease_s)
    }

    /// An ADMIT for an id that is live.
    fn admit_again(&mut self, scene: &Scene<'_>, place: u32, admit: &Admit<'_>, names: &Names) -> Decision {
        let entry = *self.table.entry(place);
        if entry.has(flag::REGISTRATION) && admit.kind == Kind::Registration {
            return self.admit_registration_again(scene, place, admit);
        }
        let again = if entry.has(flag::REGISTRATION) == (admit.kind == Kind::Registration) {
            self.again(scene, place, admit.seq)
        } else {
            // A call by a registration's id, or the reverse: neither may ride on the other.
            Again::Late
        };
        match again {
            Again::Late if admit.emergency => admitted(Cause::Emergency, entry.lease_s),
            Again::Late => self.refuse(scene, entry.key, admit, names, None, Cause::Late),
            Again::Retransmission => {
                if admit.seq.is_none() {
                    let entry = self.table.entry_mut(place);
                    entry.repeats = entry.repeats.saturating_add(1);
                }
                self.heard_of(scene, place);
                self.tally.duplicates += 1;
                admitted(Cause::Duplicate, entry.lease_s)
            }
            Again::Attempt => self.admit_attempt(scene, place, admit, names),
        }
    }

    fn again(&self, scene: &Scene<'_>, place: u32, asked: Option<u32>) -> Again {
        let entry = self.table.entry(place);
        match (entry.seq(), asked) {
            (Some(live), Some(asked)) if asked < live => Again::Late,
            (Some(live), Some(asked)) if asked == live => Again::Retransmission,
            (Some(_) | None, Some(_)) => Again::Attempt,
            (_, None) => {
                let leases = scene.leases();
                let age = scene.now.tick.nanos_since(entry.admitted.tick());
                let recent = age < u64::from(leases.retransmission_s) * NANOS_PER_SECOND;
                if recent && entry.repeats < leases.retransmissions_max {
                    Again::Retransmission
                } else {
                    Again::Attempt
                }
            }
        }
    }

    /// A later attempt of an open call: pays the rates, never a second session; refused, the call stays live.
    fn admit_attempt(&mut self, scene: &Scene<'_>, place: u32, admit: &Admit<'_>, names: &Names) -> Decision {
        let enforced = scene.settings.policy.mode == Mode::Enforce;
        if !admit.emergency
            && enforced
            && let Some(decision) = self.remembered_attempt(scene, place, admit.seq)
        {
            self.tally.refusals_repeated += 1;
            return decision;
        }
        let wants = wants(scene, admit, names, false);
        let (resources, tick) = (scene.resources, scene.now.tick);
        let paid = if admit.emergency {
            resources.force_rates(scene.settings, &wants, tick);
            Ok(!wants.registration)
        } else {
            resources
                .peek(scene.settings, &wants, tick)
                .and_then(|()| resources.take_rates(scene.settings, &wants, tick))
        };
        match paid {
            Ok(true) => {
                self.tally.offer(NodePool::Rate, 1, 0);
                self.journal_stamp(scene, names);
                // Paid at another trunk, it leaves none free at the call's own.
                let entry = self.table.entry_mut(place);
                entry.set(flag::NEXT_PAYS, !goes_by(entry, names));
            }
            Ok(false) => {}
            Err(cause) => {
                self.tally.wanted(cause, None, 0);
                if enforced {
                    let decision = self.count_refusal(scene, cause);
                    self.remember_attempt(scene, place, admit.seq, decision);
                    return decision;
                }
                self.count_would_refuse(cause);
            }
        }
        self.tally.reattempts += 1;
        let entry = self.table.entry_mut(place);
        entry.admitted = scene.step;
        entry.repeats = 0;
        if admit.seq.is_some() {
            entry.set_seq(admit.seq);
        }
        let lease_s = entry.lease_s;
        self.heard_of(scene, place);
        self.journal_lease(scene, place);
        admitted(if admit.emergency { Cause::Emergency } else { Cause::Ok }, lease_s)
    }

    /// A REGISTER of a live registration: a refresh past every verdict and latch, or its end.
    fn admit_registration_again(&mut self, scene: &Scene<'_>, place: u32, admit: &Admit<'_>) -> Decision {
        let live = self.table.entry(place).seq();
        if live.zip(admit.seq).is_some_and(|(live, asked)| asked < live) {
            let lease_s = self.table.entry(place).lease_s;
            return admitted(Cause::Duplicate, lease_s);
        }
        if admit.ttl_s == Some(0) {
            self.close(scene, place, Exit::Released, admit.seq);
            return admitted(Cause::Ok, 0);
        }
        if admit.seq.is_some() {
            self.table.entry_mut(place).set_seq(admit.seq);
        }
        let lease_s = lease_of(admit, scene.leases());
        self.renew(scene, place, lease_s);
        admitted(Cause::Ok, lease_s)
    }

    /// A stamp without a live call of its own.
    fn journal_stamp(&mut self, scene: &Scene<'_>, names: &Names) {
        self.journal.append(&Record::Stamp { at: scene.now.tick, trunk: names.trunk, tenant: names.tenant });
    }

    fn count_refusal(&mut self, scene: &Scene<'_>, cause: Cause) -> Decision {
        if let Some(count) = self.tally.refused.get_mut(usize::from(cause.code())) {
            *count += 1;
        }
        self.refusal(scene, cause)
    }

    fn count_would_refuse(&mut self, cause: Cause) {
        if let Some(count) = self.tally.would_refuse.get_mut(usize::from(cause.code())) {
            *count += 1;
        }
    }

    /// Refuses, and remembers it; in shadow mode admits instead, and counts what would have been.
    fn refuse(
        &mut self,
        scene: &Scene<'_>,
        key: CallKey,
        admit: &Admit<'_>,
        names: &Names,
        memory: Option<u32>,
        cause: Cause,
    ) -> Decision {
        if scene.settings.policy.mode == Mode::Shadow {
            return self.admit_in_shadow(scene, key, admit, names, memory, cause);
        }
        let decision = self.count_refusal(scene, cause);
        if !matches!(cause, Cause::Draining | Cause::Deadline | Cause::Late) {
            self.remember_refusal(scene, key, memory, admit.seq, decision);
        }
        decision
    }

    /// Shadow mode: the call is live and marked, and takes nothing, so that the next one is judged as enforcement would judge it.
    fn admit_in_shadow(
        &mut self,
        scene: &Scene<'_>,
        key: CallKey,
        admit: &Admit<'_>,
        names: &Names,
        memory: Option<u32>,
        cause: Cause,
    ) -> Decision {
        self.count_would_refuse(cause);
        self.tally.admitted += 1;
        self.tally.forced += 1;
        let lease_s = lease_of(admit, scene.leases());
        // What came late has ended already, and opens nothing; nor does what finds no room.
        if matches!(cause, Cause::Late | Cause::Deadline | Cause::Capacity) {
            self.tally.untracked += 1;
            return admitted(Cause::Ok, lease_s);
        }
        let nothing = Held::default();
        let opening = Opening {
            memory,
            lease_s,
            flags: base_flags(admit) | flag::FORCED | flag::SHADOW,
            ..Opening::of(key, admit, names, &nothing)
        };
        if self.open(scene, &opening).is_none() {
            self.tally.untracked += 1;
        }
        admitted(Cause::Ok, lease_s)
    }
}

/// Whether an attempt names the trunk and the tenant of the entry.
fn goes_by(entry: &Entry, names: &Names) -> bool {
    entry.trunk == stored(names.trunk) && entry.tenant == stored(names.tenant)
}

fn base_flags(admit: &Admit<'_>) -> u16 {
    let registration = if admit.kind == Kind::Registration { flag::REGISTRATION | flag::CONFIRMED } else { 0 };
    let webrtc = if admit.webrtc { flag::WEBRTC } else { 0 };
    let encrypted = if admit.encrypted { flag::ENCRYPTED } else { 0 };
    registration | webrtc | encrypted
}

fn wants<'a>(scene: &Scene<'a>, admit: &Admit<'_>, names: &Names, rate_paid: bool) -> Wants<'a> {
    Wants {
        trunk: names.trunk.and_then(|number| scene.resources.trunks.get(number)),
        tenant: names.tenant.and_then(|number| scene.resources.tenants.get(number)),
        license_type: names.license_type,
        units: admit.units,
        registration: admit.kind == Kind::Registration,
        webrtc: admit.webrtc,
        encrypted: admit.encrypted,
        priority: admit.priority || admit.emergency,
        rate_paid,
    }
}

impl<J: Journal> Shard<J> {
    /// CONFIRM: the setup lease becomes a talk lease.
    pub(crate) fn confirm(&mut self, scene: &Scene<'_>, key: CallKey, seq: Option<u32>, ttl_s: Option<u32>) -> bool {
        let Some(place) = self.lookup(key, scene.step) else { return false };
        let entry = self.table.entry_mut(place);
        if !entry.is_live() || is_older(seq, entry.seq()) {
            return false;
        }
        entry.flags |= flag::CONFIRMED;
        let talk_s = ttl_s.filter(|ttl| *ttl > 0).unwrap_or(scene.leases().talk_s);
        self.tally.confirmed += 1;
        self.renew(scene, place, talk_s.min(super::entry::LEASE_SECONDS_MAX));
        true
    }

    /// REFRESH: the lease starts again.
    pub(crate) fn refresh(&mut self, scene: &Scene<'_>, key: CallKey) -> bool {
        let Some(place) = self.lookup(key, scene.step) else { return false };
        let entry = self.table.entry(place);
        if !entry.is_live() {
            return false;
        }
        let lease_s = entry.lease_s;
        self.renew(scene, place, lease_s);
        true
    }

    /// RELEASE: the call ended, or will turn out to have ended before it came.
    pub(crate) fn release(&mut self, scene: &Scene<'_>, key: CallKey, seq: Option<u32>) -> bool {
        match self.lookup(key, scene.step) {
            Some(place) if self.table.entry(place).is_live() => {
                if is_older(seq, self.table.entry(place).seq()) {
                    return false;
                }
                self.close(scene, place, Exit::Released, seq);
                true
            }
            Some(place) => {
                self.release_memory(scene, key, place, seq);
                false
            }
            None => {
                self.bury(scene, key, seq);
                false
            }
        }
    }

    /// A RELEASE that came before its call: whatever comes behind it opens nothing.
    fn bury(&mut self, scene: &Scene<'_>, key: CallKey, seq: Option<u32>) {
        self.tally.released_unknown += 1;
        let ends = Step::after(scene.now.tick, scene.leases().tombstone_s);
        if let Some((place, evicted)) = self.table.add_memory(key, Memory::Tombstone, ends, scene.step) {
            self.table.entry_mut(place).set_seq(seq);
            self.tally.memories_evicted += u64::from(evicted);
            self.journal_tombstone(place);
        }
    }

    /// Journals a tombstone whole: what comes behind a restart is late too.
    fn journal_tombstone(&mut self, place: u32) {
        let record = buried_record(self.table.entry(place));
        self.journal.append(&record);
    }

    /// A RELEASE that meets a memory: there is nothing to release. But that of a later attempt, which overtook it, is remembered.
    fn release_memory(&mut self, scene: &Scene<'_>, key: CallKey, place: u32, seq: Option<u32>) {
        let entry = self.table.entry(place);
        let memo = entry.has(flag::MEMO_HAS_SEQ).then_some(entry.memo_seq);
        match entry.state {
            state::TOMBSTONE if seq > entry.seq() => {
                self.table.entry_mut(place).set_seq(seq);
                self.journal_tombstone(place);
            }
            state::REFUSED if memo.zip(seq).is_some_and(|(memo, seq)| seq > memo) => {
                self.table.remove(place);
                self.bury(scene, key, seq);
            }
            _ => {}
        }
    }

    /// Whether an entry is in doubt.
    pub(crate) fn is_suspect(&self, scene: &Scene<'_>, place: u32) -> bool {
        self.table.entry(place).has(flag::RECOVERED) || self.is_stale(scene, place)
    }

    /// Whether its proxy has restarted since it was last heard of.
    pub(crate) fn is_stale(&self, scene: &Scene<'_>, place: u32) -> bool {
        let entry = self.table.entry(place);
        number(entry.proxy).is_some_and(|proxy| scene.proxies.generation(proxy) != entry.generation)
    }
}

/// A message of an attempt before the live one.
const fn is_older(asked: Option<u32>, live: Option<u32>) -> bool {
    match (asked, live) {
        (Some(asked), Some(live)) => asked < live,
        _ => false,
    }
}
