//! Table 4.6, written a second time and differently: the verdict of a state, straight from the rows.

use super::world::{START, World};
use crate::license::agent::enforcement::{enforced, verdict};
use crate::license::agent::{AgentState, Authorization, Client, Enforced};
use crate::license::{BuiltinProfile, Consequence, Effect, Profile};
use crate::limits::{Verdict, VerdictCause};
use crate::units::UnixMillis;

fn refusing(effect: Effect, cause: VerdictCause) -> Verdict {
    let yes = Some(cause);
    let (calls, registrations, configuration) = match effect {
        Effect::RejectNew => (yes, yes, None),
        Effect::RejectNewRegistrations => (None, yes, None),
        Effect::ConfigFreeze => (None, None, yes),
        Effect::AllowNotify => (None, None, None),
    };
    Verdict { calls, registrations, configuration }
}

/// "X", or "allow T -> X".
fn over_time(what: Consequence, end: Option<UnixMillis>, now: UnixMillis, at_once: VerdictCause) -> Verdict {
    match (what.overage_hours, what.then, end) {
        (Some(_), Some(then), Some(end)) if now >= end => refusing(then, VerdictCause::Enforced),
        (Some(_), Some(_), Some(_)) => Verdict::default(),
        _ => refusing(what.effect, at_once),
    }
}

pub(super) fn by_table(state: &AgentState, profile: &Profile, now: UnixMillis) -> Verdict {
    if state.client == Client::Disabled {
        return refusing(profile.unconfigured.effect, VerdictCause::Unconfigured);
    }
    let deadlines = &state.deadlines;
    let ooc = || over_time(profile.ooc.consequence(), deadlines.overage_end, now, VerdictCause::Enforced);
    match state.authorization {
        Authorization::None
        | Authorization::Evaluation
        | Authorization::Waiting
        | Authorization::Authorized
        | Authorization::Reserved => Verdict::default(),
        Authorization::EvaluationExpired => refusing(profile.eval_expired.effect, VerdictCause::EvaluationExpired),
        Authorization::ReservationExpired => refusing(profile.eval_expired.effect, VerdictCause::ReservationExpired),
        Authorization::OutOfCompliance => ooc(),
        Authorization::AuthorizationExpired => {
            let cause = VerdictCause::AuthorizationExpired;
            let own = over_time(profile.auth_expired, deadlines.authorization_overage_end, now, cause);
            if deadlines.overage_end.is_none() || deadlines.overage_forgotten.is_some() {
                return own;
            }
            let kept = ooc();
            Verdict {
                calls: own.calls.or(kept.calls),
                registrations: own.registrations.or(kept.registrations),
                configuration: own.configuration.or(kept.configuration),
            }
        }
    }
}

const ALL: [Authorization; 9] = [
    Authorization::None,
    Authorization::Evaluation,
    Authorization::EvaluationExpired,
    Authorization::Waiting,
    Authorization::Authorized,
    Authorization::OutOfCompliance,
    Authorization::AuthorizationExpired,
    Authorization::Reserved,
    Authorization::ReservationExpired,
];

const EFFECTS: [Effect; 4] =
    [Effect::RejectNew, Effect::RejectNewRegistrations, Effect::ConfigFreeze, Effect::AllowNotify];

#[test]
fn every_state_has_the_verdict_of_the_table_under_every_effect_and_on_both_sides_of_every_deadline() {
    let base = World::of(BuiltinProfile::Open).agent.state().clone();
    let now = UnixMillis(START);
    let sides = [None, Some(UnixMillis(START - 1)), Some(UnixMillis(START)), Some(UnixMillis(START + 1))];
    for (first, second) in EFFECTS.iter().flat_map(|first| EFFECTS.iter().map(move |second| (*first, *second))) {
        for overage_hours in [None, Some(2160)] {
            let mut profile = Profile::builtin(BuiltinProfile::Open).unwrap();
            profile.unconfigured.effect = first;
            profile.eval_expired.effect = second;
            (profile.ooc.effect, profile.ooc.overage_hours, profile.ooc.then) = (first, overage_hours, Some(second));
            profile.auth_expired = Consequence { effect: second, overage_hours, then: Some(first) };
            for client in [Client::Disabled, Client::Enabled, Client::Reservation] {
                for authorization in ALL {
                    for (overage_end, expired_end) in
                        sides.iter().flat_map(|one| sides.iter().map(move |other| (*one, *other)))
                    {
                        let mut state = base.clone();
                        (state.client, state.authorization) = (client, authorization);
                        state.deadlines.overage_end = overage_end;
                        state.deadlines.authorization_overage_end = expired_end;
                        let expected = by_table(&state, &profile, now);
                        assert_eq!(verdict(&state, &profile, now), expected, "{authorization:?} {profile:?}");
                        let refuses = expected != Verdict::default();
                        let enforced = enforced(&state, &profile, now);
                        assert_eq!(matches!(enforced, Enforced::Enforced { .. }), refuses, "{authorization:?}");
                    }
                }
            }
        }
    }
}
