//! Everything that a call takes besides its entry: rates, export control, group sessions, session licenses. Taken in one fixed
//! order, undone in reverse; rates last, since a stamp can't be given back.

use std::sync::Arc;

use super::entry::{Entry, flag, forced, number};
use super::groups::{Group, Groups, Outgrown};
use super::license_types::LicenseTypes;
use super::policy::{ExportControl, ExportCounts, Policy, RatePolicy};
use super::pools::{Loans, NodePool, Watch};
use super::request::Cause;
use crate::limits::{Lease, LeasedRate, LeasedWatermark, Refused, Taken};
use crate::units::{Cps, Tick};

/// `floor(limit * percent / 100)`.
pub(crate) fn percent_of(limit: u32, percent: u8) -> u32 {
    u32::try_from(u64::from(limit) * u64::from(percent.min(100)) / 100).unwrap_or(u32::MAX)
}

/// A policy in force, with what is made from it. One snapshot serves a batch.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The policy.
    pub(crate) policy: Arc<Policy>,
    /// The node's calls per second.
    pub(crate) rate: Arc<LeasedRate>,
}

impl Settings {
    /// The first settings.
    pub(crate) fn new(policy: Policy, rate_max: Cps) -> Self {
        let limit = Lease::fixed(policy.rate.unwrap_or(rate_max).get());
        let rate = LeasedRate::new(limit, rate_max, policy.rate_policy);
        Self { policy: Arc::new(policy), rate: Arc::new(rate) }
    }

    /// These settings after a change of policy. The window goes on unless its algorithm changes. To be called, and put in force,
    /// while nobody decides.
    pub(crate) fn succeed(&self, policy: Policy, rate_max: Cps, loans: &Loans, now: Tick) -> Self {
        let limit = match policy.rate {
            Some(rate) => loans.under(NodePool::Rate, rate.get()),
            None => Lease::fixed(rate_max.get()),
        };
        let rate = if policy.rate_policy == self.policy.rate_policy {
            self.rate.set(limit, now);
            Arc::clone(&self.rate)
        } else {
            // Another algorithm knows nothing of the last second: it starts full.
            let window = LeasedRate::new(limit.from(now), rate_max, policy.rate_policy);
            if loans.of(NodePool::Rate).is_some() {
                window.stretch(now);
            }
            window.fill(now);
            Arc::new(window)
        };
        Self { policy: Arc::new(policy), rate }
    }

    fn headroom(&self, limit: u32, priority: bool) -> u32 {
        match self.policy.headroom_percent {
            0 => 0,
            _ if priority => 0,
            percent => percent_of(limit, percent),
        }
    }

    /// What of the node's rate is kept for others.
    fn rate_headroom(&self, priority: bool, now: Tick) -> u32 {
        if self.policy.headroom_percent == 0 { 0 } else { self.headroom(self.rate.limit(now), priority) }
    }

    /// Whether the node's rate refuses at all.
    fn rate_is_enforced(&self) -> bool {
        self.policy.rate.is_some() && self.policy.rate_enforced
    }
}

/// The watermark's limits under this export control: those of the policy, unless nodes share them; and those of WebRTC sessions,
/// where they are on.
pub(crate) fn export_leases(export: Option<&ExportControl>, loans: &Loans) -> (Lease, Option<Lease>) {
    match export {
        Some(export) if export.webrtc => (
            loans.under(NodePool::Export, export.limit_with_webrtc),
            Some(loans.under(NodePool::Webrtc, export.webrtc_limit)),
        ),
        Some(export) => (loans.under(NodePool::Export, export.limit), None),
        None => (Lease::fixed(u32::MAX), None),
    }
}

/// What one call asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wants<'a> {
    /// Number and group of the trunk.
    pub(crate) trunk: Option<&'a Group>,
    /// The same of the tenant.
    pub(crate) tenant: Option<&'a Group>,
    /// Number of the license type.
    pub(crate) license_type: Option<u16>,
    /// Units of it.
    pub(crate) units: u16,
    /// A registration takes no rates and no group sessions.
    pub(crate) registration: bool,
    /// WebRTC.
    pub(crate) webrtc: bool,
    /// Encrypted.
    pub(crate) encrypted: bool,
    /// May use the headroom.
    pub(crate) priority: bool,
    /// Its calls-per-second license was taken by an earlier attempt.
    pub(crate) rate_paid: bool,
}

/// What was taken, to be committed or undone.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// The entry's flags that say what it holds.
    pub(crate) flags: u16,
    /// Where it is counted as forced; see [`forced`].
    pub(crate) forced: u8,
    /// The tier that was drawn on.
    pub(crate) tier: u8,
    /// A calls-per-second license was taken.
    pub(crate) rate_taken: bool,
    /// The watermark's receipt.
    export: Option<Taken>,
}

/// The limits of one gate.
#[derive(Debug)]
pub(crate) struct Resources {
    /// Export control.
    pub(crate) watermark: LeasedWatermark,
    /// Session licenses.
    pub(crate) types: LicenseTypes,
    /// Trunks.
    pub(crate) trunks: Groups,
    /// Tenants.
    pub(crate) tenants: Groups,
    /// What ran low.
    pub(super) watch: Watch,
}

/// Whether a window would take one more.
fn peek_group(group: Option<&Group>, now: Tick) -> bool {
    group.is_none_or(|group| group.rate.load().as_ref().is_none_or(|window| window.peek(now, 0)))
}

fn take_group(group: Option<&Group>, now: Tick) -> bool {
    group.is_none_or(|group| group.rate.load().as_ref().is_none_or(|window| window.take(now, 0)))
}

/// Counts one more whether there is room or not; says whether there was none.
fn force_group(group: Option<&Group>, now: Tick) -> bool {
    let Some(group) = group else { return false };
    let window = group.rate.load();
    let Some(window) = window.as_ref() else { return false };
    if window.take(now, 0) {
        return false;
    }
    window.force(now);
    true
}

impl Resources {
    /// Whether the rates would let this call pass. Read-only and cheap: a flood ends here.
    pub(crate) fn peek(&self, settings: &Settings, wants: &Wants<'_>, now: Tick) -> Result<(), Cause> {
        if wants.registration || wants.rate_paid {
            return Ok(());
        }
        if settings.rate_is_enforced() && !settings.rate.peek(now, settings.rate_headroom(wants.priority, now)) {
            self.watch.ran_out(NodePool::Rate);
            return Err(Cause::Cps);
        }
        if !peek_group(wants.trunk, now) {
            return Err(Cause::TrunkCps);
        }
        if !peek_group(wants.tenant, now) {
            return Err(Cause::TenantCps);
        }
        Ok(())
    }

    /// Takes what lasts as long as the call, or nothing.
    pub(crate) fn take(&self, settings: &Settings, wants: &Wants<'_>, now: Tick) -> Result<Held, Cause> {
        let mut held = Held::default();
        if let Some(counted_as_webrtc) = counts_under_export(settings, wants) {
            held.export = Some(self.take_export(settings, counted_as_webrtc, wants.priority, now)?);
            held.flags |= flag::EXPORT_COUNTED | if counted_as_webrtc { flag::WEBRTC_COUNTED } else { 0 };
        }
        if !wants.registration {
            if wants.trunk.is_some_and(|trunk| !trunk.sessions.take(1, 0)) {
                self.undo(held);
                return Err(Cause::TrunkSessions);
            }
            if wants.tenant.is_some_and(|tenant| !tenant.sessions.take(1, 0)) {
                if let Some(trunk) = wants.trunk {
                    trunk.sessions.release(1);
                }
                self.undo(held);
                return Err(Cause::TenantSessions);
            }
            held.flags |= flag::GROUPS_COUNTED;
        }
        if let Some(number) = wants.license_type {
            let percent = if wants.priority { 0 } else { settings.policy.headroom_percent };
            let Some(drawn) = self.types.take(number, u32::from(wants.units), percent, now) else {
                self.watch.ran_out(NodePool::Type(number));
                self.give_back(wants, held);
                return Err(Cause::Sessions);
            };
            if drawn.forced {
                self.watch.ran_out(NodePool::Type(number));
                held.forced |= forced::TYPE;
            } else {
                let percent = settings.policy.headroom_percent;
                self.watch.look(NodePool::Type(number), |mark| self.types.has_room(number, percent, mark, now));
            }
            held.tier = drawn.tier;
            held.flags |= flag::TYPE_COUNTED | if drawn.forced { flag::FORCED } else { 0 };
        }
        Ok(held)
    }

    fn take_export(&self, settings: &Settings, webrtc: bool, priority: bool, now: Tick) -> Result<Taken, Cause> {
        let pool = if webrtc { NodePool::Webrtc } else { NodePool::Export };
        // WebRTC sessions have a limit of their own, and headroom of its.
        let headroom = |priority| {
            if settings.policy.headroom_percent == 0 {
                return 0;
            }
            self.watermark.settle(now);
            let mark = self.watermark.mark().view();
            settings.headroom(if webrtc { mark.webrtc_limit.unwrap_or(0) } else { mark.limit }, priority)
        };
        match self.watermark.take(webrtc, headroom(priority), now) {
            Ok(taken) => {
                let mark = self.watermark.mark();
                self.watch.look(pool, |low| mark.has_room(webrtc, headroom(false).saturating_add(low)));
                Ok(taken)
            }
            Err(refused) => {
                self.watch.ran_out(pool);
                match refused {
                    Refused::Latched | Refused::Reached => Err(Cause::ExportControl),
                    Refused::WebrtcFull | Refused::WebrtcOff => Err(Cause::Webrtc),
                }
            }
        }
    }

    /// Takes the rates: trunk, tenant, node. What an earlier one took stays spent if a later one refuses.
    /// `false`: this call needs none.
    pub(crate) fn take_rates(&self, settings: &Settings, wants: &Wants<'_>, now: Tick) -> Result<bool, Cause> {
        if wants.registration || wants.rate_paid {
            return Ok(false);
        }
        if !take_group(wants.trunk, now) {
            return Err(Cause::TrunkCps);
        }
        if !take_group(wants.tenant, now) {
            return Err(Cause::TenantCps);
        }
        if settings.rate_is_enforced() {
            if !settings.rate.take(now, settings.rate_headroom(wants.priority, now)) {
                self.watch.ran_out(NodePool::Rate);
                return Err(Cause::Cps);
            }
            self.watch.look(NodePool::Rate, |mark| {
                settings.rate.peek(now, settings.rate_headroom(false, now).saturating_add(mark))
            });
        } else {
            settings.rate.force(now);
        }
        Ok(true)
    }

    /// Takes the rates whether there is room or not. Says whether any was past its limit.
    pub(crate) fn force_rates(&self, settings: &Settings, wants: &Wants<'_>, now: Tick) -> bool {
        if wants.registration || wants.rate_paid {
            return false;
        }
        let trunk = force_group(wants.trunk, now);
        let tenant = force_group(wants.tenant, now);
        let node = !settings.rate.take(now, 0);
        if node {
            self.watch.ran_out(NodePool::Rate);
            settings.rate.force(now);
        }
        trunk || tenant || (node && settings.rate_is_enforced())
    }

    /// Takes what lasts whether there is room or not: emergency, adopted calls.
    pub(crate) fn force(&self, settings: &Settings, wants: &Wants<'_>, now: Tick) -> Held {
        if let Ok(held) = self.take(settings, wants, now) {
            return held;
        }
        let mut held = Held { flags: flag::FORCED, ..Held::default() };
        if let Some(counted_as_webrtc) = counts_under_export(settings, wants) {
            held.flags |= flag::EXPORT_COUNTED | if counted_as_webrtc { flag::WEBRTC_COUNTED } else { 0 };
            if let Ok(taken) = self.watermark.take(counted_as_webrtc, 0, now) {
                held.export = Some(taken);
            } else {
                self.watermark.force(counted_as_webrtc);
                held.forced |= forced::EXPORT;
            }
        }
        if !wants.registration {
            for group in [wants.trunk, wants.tenant].into_iter().flatten() {
                group.sessions.force(1);
            }
            held.flags |= flag::GROUPS_COUNTED;
        }
        if let Some(drawn) = wants.license_type.and_then(|number| self.types.force(number, u32::from(wants.units), now))
        {
            held.tier = drawn.tier;
            held.flags |= flag::TYPE_COUNTED;
            held.forced |= if drawn.forced { forced::TYPE } else { 0 };
        }
        held
    }

    /// Makes a take final: only now may the watermark latch.
    pub(crate) fn commit(&self, held: Held) {
        if let Some(taken) = held.export {
            self.watermark.mark().commit(taken);
        }
    }

    /// Gives back what [`Resources::take`] took.
    pub(crate) fn give_back(&self, wants: &Wants<'_>, held: Held) {
        if held.flags & flag::TYPE_COUNTED != 0
            && let Some(number) = wants.license_type
        {
            self.types.release(number, u32::from(wants.units), held.forced & forced::TYPE != 0);
            if held.flags & flag::FORCED != 0 {
                self.types.forget_overage(wants.units);
            }
        }
        if held.flags & flag::GROUPS_COUNTED != 0 {
            for group in [wants.tenant, wants.trunk].into_iter().flatten() {
                group.sessions.release(1);
            }
        }
        self.undo(held);
    }

    fn undo(&self, held: Held) {
        if let Some(taken) = held.export {
            self.watermark.mark().undo(taken);
        }
    }

    /// Frees what a live entry holds, as its flags say.
    pub(crate) fn release(&self, entry: &Entry) {
        if entry.has(flag::EXPORT_COUNTED) {
            let webrtc = entry.has(flag::WEBRTC_COUNTED);
            if entry.memo_cause & forced::EXPORT != 0 {
                self.watermark.release_forced(webrtc);
            } else {
                self.watermark.mark().release(webrtc);
            }
        }
        if entry.has(flag::GROUPS_COUNTED) {
            if let Some(trunk) = number(entry.trunk).and_then(|number| self.trunks.get(number)) {
                trunk.sessions.release(1);
            }
            if let Some(tenant) = number(entry.tenant).and_then(|number| self.tenants.get(number)) {
                tenant.sessions.release(1);
            }
        }
        if entry.has(flag::TYPE_COUNTED)
            && let Some(number) = number(entry.license_type)
        {
            self.types.release(number, u32::from(entry.units), entry.memo_cause & forced::TYPE != 0);
        }
    }

    /// Counts a live entry where it isn't counted yet. `admitted`: it was admitted within these limits before (a restart); otherwise
    /// it never was (export control was enabled, shadow mode was left), and is forced where there is no room.
    pub(crate) fn count_again(&self, settings: &Settings, entry: &mut Entry, admitted: bool, now: Tick) {
        let registration = entry.has(flag::REGISTRATION);
        let wants = Wants {
            trunk: None,
            tenant: None,
            license_type: None,
            units: entry.units,
            registration,
            webrtc: entry.has(flag::WEBRTC),
            encrypted: entry.has(flag::ENCRYPTED),
            priority: true,
            rate_paid: true,
        };
        if !entry.has(flag::EXPORT_COUNTED)
            && let Some(as_webrtc) = counts_under_export(settings, &wants)
        {
            if admitted {
                self.watermark.mark().force(as_webrtc);
            } else if let Ok(taken) = self.watermark.take(as_webrtc, 0, now) {
                self.watermark.mark().commit(taken);
            } else {
                self.watermark.force(as_webrtc);
                entry.memo_cause |= forced::EXPORT;
            }
            entry.flags |= flag::EXPORT_COUNTED | if as_webrtc { flag::WEBRTC_COUNTED } else { 0 };
        }
        if !registration && !entry.has(flag::GROUPS_COUNTED) {
            let trunk = number(entry.trunk).and_then(|number| self.trunks.get(number));
            let tenant = number(entry.tenant).and_then(|number| self.tenants.get(number));
            for group in [trunk, tenant].into_iter().flatten() {
                group.sessions.force(1);
            }
            entry.flags |= flag::GROUPS_COUNTED;
        }
        if !entry.has(flag::TYPE_COUNTED)
            && let Some(drawn) = number(entry.license_type).and_then(|number| match admitted {
                true => self.types.restore(number, u32::from(entry.units)),
                false => self.types.force(number, u32::from(entry.units), now),
            })
        {
            entry.drawn_tier = drawn.tier;
            entry.memo_cause |= if drawn.forced { forced::TYPE } else { 0 };
            entry.flags |= flag::TYPE_COUNTED;
        }
    }

    /// Ends what is over by now, as the next admissions would.
    pub(crate) fn settle(&self, settings: &Settings, now: Tick) {
        settings.rate.settle(now);
        self.watermark.settle(now);
        self.types.settle(now);
    }

    /// Puts a policy's limits in force, the node's rate apart, and that of the groups that it returns. Drops no call.
    pub(crate) fn configure(
        &self,
        policy: &Policy,
        before: RatePolicy,
        loans: &Loans,
        now: Tick,
    ) -> [(&Groups, Vec<Outgrown>); 2] {
        let (plain, webrtc) = export_leases(policy.export_control.as_ref(), loans);
        self.watermark.set_all(plain, webrtc, loans.latch(), now);
        self.types.resize(&policy.license_types, loans, now);
        let changed = policy.rate_policy != before;
        [(&self.trunks, &policy.trunks, policy.trunk_default), (&self.tenants, &policy.tenants, policy.tenant_default)]
            .map(|(groups, listed, default)| {
                (groups, groups.configure(listed.iter(), default, policy.rate_policy, changed, now))
            })
    }
}

/// Whether a call counts under export control, and if so whether among the WebRTC sessions (what is WebRTC is encrypted).
fn counts_under_export(settings: &Settings, wants: &Wants<'_>) -> Option<bool> {
    let export = settings.policy.export_control.as_ref()?;
    let counts = match export.counts {
        ExportCounts::All => true,
        ExportCounts::Encrypted => wants.encrypted || wants.webrtc,
    };
    counts.then_some(wants.webrtc)
}
