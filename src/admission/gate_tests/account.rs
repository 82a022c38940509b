//! An account of calls per second that is kept beside a gate, from its answers alone: who was admitted when, and whether that one
//! paid. The gate's own windows are held against it, and never asked what it should hold.

use std::collections::BTreeMap;

use super::*;
use crate::admission::entry::Step;
use crate::units::NANOS_PER_SECOND;

/// How much longer than a second an admission may stand in a window: the coarsest one's grain.
const SLACK_NANOS: u64 = 2_000_000;

/// A trunk and a tenant.
type Names = (Option<String>, Option<String>);

/// What is known of one id.
#[derive(Default)]
struct Known {
    /// Its last attempt paid, and for the names that it is live with.
    paid: bool,
    /// It was released: until when that is remembered, and the names for which one more attempt is free.
    released: Option<(Step, Names)>,
}

/// See the module.
#[derive(Default)]
pub(super) struct Account {
    /// Who paid, by the window's name.
    paid: BTreeMap<String, Vec<Tick>>,
    calls: BTreeMap<Vec<u8>, Known>,
}

fn names_of(admit: &Admit<'_>) -> Names {
    let text = |name: Name<'_>| String::from_utf8(name.bytes().to_vec()).unwrap();
    (admit.trunk.map(text), admit.tenant.map(text))
}

/// The windows that a call with these names passes, with their limits.
fn windows(policy: &Policy, (trunk, tenant): &Names) -> Vec<(String, Option<u32>)> {
    let cps = |limits: Option<&GroupLimits>| limits.and_then(|limits| limits.cps).map(Cps::get);
    let mut windows = vec![("cps".to_owned(), policy.rate.map(Cps::get))];
    windows.extend(trunk.iter().map(|name| (format!("trunk-cps:{name}"), cps(policy.trunks.get(name)))));
    windows.extend(tenant.iter().map(|name| (format!("tenant-cps:{name}"), cps(policy.tenants.get(name)))));
    windows
}

impl Account {
    /// Asks the gate, and judges its answer.
    pub(super) fn admit(&mut self, rig: &Rig, admit: &Admit<'_>) -> Decision {
        let before = rig.status();
        let live = rig.gate.call(admit.id, rig.now);
        let decision = rig.admit(admit);
        let after = rig.status();
        let sum = |causes: [u64; Cause::COUNT]| causes.iter().sum::<u64>();
        // Shadow mode: it takes nothing, as if it had been refused.
        let would_refuse = sum(after.would_refuse_total) > sum(before.would_refuse_total);
        let repeated = after.refusals_repeated_total > before.refusals_repeated_total;
        let names = names_of(admit);
        if !decision.admitted && !repeated {
            self.judge_refusal(rig, &names, decision.cause);
        }
        if !decision.admitted || decision.cause == Cause::Duplicate {
            return decision;
        }
        let call = self.calls.entry(admit.id.bytes().to_vec()).or_default();
        let pays = if let Some(live) = live {
            let late = live.seq.zip(admit.seq).is_some_and(|(live, asked)| asked < live);
            let pays = !would_refuse && !late && !live.registration && admit.kind == Kind::Call;
            if pays {
                call.paid = names == (live.trunk, live.tenant);
            }
            pays
        } else if rig.gate.call(admit.id, rig.now).is_some() {
            // After a challenge the same call by the same way is free, once.
            let released = call.released.take().filter(|(ends, _)| *ends > Step::of(rig.now.tick));
            let free = released.is_some_and(|(_, paid_for)| paid_for == names);
            call.paid = admit.kind == Kind::Call && !would_refuse && !free;
            call.paid
        } else {
            // Admitted for nothing: in shadow mode, what came late; or a registration that ends.
            false
        };
        if pays {
            self.pay(rig, &names, decision.cause);
        }
        decision
    }

    /// It pays: it must have found room, unless nothing refuses it.
    fn pay(&mut self, rig: &Rig, names: &Names, cause: Cause) {
        let now = rig.now.tick;
        for (window, limit) in windows(&rig.gate.policy(), names) {
            self.paid.entry(window.clone()).or_default().push(now);
            let paid = self.of_last(&window, now, NANOS_PER_SECOND);
            if cause != Cause::Emergency {
                assert!(limit.is_none_or(|limit| paid <= limit), "{paid} in a second of {window}, limit {limit:?}");
            }
        }
    }

    /// It was refused: if for want of calls per second, they must have been used.
    fn judge_refusal(&self, rig: &Rig, names: &Names, cause: Cause) {
        let rates = [(Cause::Cps, "cps"), (Cause::TrunkCps, "trunk-cps:"), (Cause::TenantCps, "tenant-cps:")];
        let class = rates.iter().find(|(refuses, _)| *refuses == cause);
        for (window, limit) in windows(&rig.gate.policy(), names) {
            if class.is_some_and(|(_, class)| window.starts_with(class)) {
                let paid = self.of_last(&window, rig.now.tick, NANOS_PER_SECOND + SLACK_NANOS);
                assert!(limit.is_some_and(|limit| paid >= limit), "refused at {paid} of {window}, limit {limit:?}");
            }
        }
    }

    /// Who paid in the last so many nanoseconds.
    fn of_last(&self, window: &str, now: Tick, nanos: u64) -> u32 {
        let paid = self.paid.get(window).map_or(&[][..], Vec::as_slice);
        let recent = paid.iter().rev().take_while(|stamp| now.nanos_since(**stamp) < nanos).count();
        u32::try_from(recent).unwrap()
    }

    /// A live call was released, which `view` shows as it was before.
    pub(super) fn released(&mut self, rig: &Rig, id: CallId<'_>, view: &CallView) {
        let call = self.calls.entry(id.bytes().to_vec()).or_default();
        let ends = Step::after(rig.now.tick, rig.gate.policy().leases.released_s);
        let paid = call.paid && !view.registration;
        call.released = paid.then(|| (ends, (view.trunk.clone(), view.tenant.clone())));
    }

    /// A call became live, or ended, without being asked for.
    pub(super) fn changed(&mut self, id: CallId<'_>) {
        self.calls.remove(id.bytes());
    }

    /// What an attempt paid isn't known after a restart: the next one does. The windows are.
    pub(super) fn restarted(&mut self) {
        self.calls.clear();
    }

    /// Each window holds who paid in the last second, neither more nor less.
    pub(super) fn check(&self, rig: &Rig) {
        for window in self.paid.keys() {
            let used = rig.used(window);
            let least = self.of_last(window, rig.now.tick, NANOS_PER_SECOND);
            let most = self.of_last(window, rig.now.tick, NANOS_PER_SECOND + SLACK_NANOS);
            assert!((least..=most).contains(&used), "{window} holds {used}, paid were {least} to {most}");
        }
    }
}
