//! Table 4.6: what a state does to calls, as functions of state, profile and time and of nothing else.
//!
//! What must stay true: an effect that authorization or compliance brought is never lifted by the other one's arrival, and
//! overage that began keeps its first deadline.

use super::action::{Limits, TypeCap};
use super::state::{
    Addresses, AgentState, Authorization, Client, Enforced, Registration, Requested, Setup, TransportClass, UsageClass,
};
use crate::license::{Capability, Consequence, Effect, ExitBy, Profile, TransportChange};
use crate::limits::{Verdict, VerdictCause};
use crate::protocol::{Grant, TagGrant, TagStatus};
use crate::units::UnixMillis;

/// Seconds of evaluation left: of a fixed evaluation after deregistration until its end, otherwise of running time. What was
/// granted once holds; a profile that gives less counts as less.
#[must_use]
pub fn evaluation_left_s(state: &AgentState, profile: &Profile, now: UnixMillis) -> u64 {
    match state.deadlines.deregistered_evaluation_end {
        Some(end) => end.0.saturating_sub(now.0).div_ceil(1000),
        None => state.evaluation.limit_s.min(profile.eval.limit_s()).saturating_sub(state.evaluation.used_s),
    }
}

/// Whether evaluation time runs.
#[must_use]
pub fn evaluation_runs(state: &AgentState, profile: &Profile) -> bool {
    state.client == Client::Enabled
        && match state.authorization {
            Authorization::Evaluation => true,
            Authorization::Waiting => profile.eval.runs_unauthorized(),
            Authorization::None
            | Authorization::EvaluationExpired
            | Authorization::Authorized
            | Authorization::OutOfCompliance
            | Authorization::AuthorizationExpired
            | Authorization::Reserved
            | Authorization::ReservationExpired => false,
        }
}

/// An effect that is in force or will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Force {
    enforced: Enforced,
    cause: VerdictCause,
}

const NORMAL: Force = Force { enforced: Enforced::Normal, cause: VerdictCause::Enforced };

/// Everything that is in force: for an authorization that expired while out of compliance there are two.
fn forces(state: &AgentState, profile: &Profile, now: UnixMillis) -> [Force; 2] {
    let plain = |effect, cause| [Force { enforced: plain(effect, now), cause }, NORMAL];
    let notify_if =
        |noted| [Force { enforced: if noted { Enforced::Notify } else { Enforced::Normal }, ..NORMAL }, NORMAL];
    let failing = state.contact.failures > 0;
    if state.client == Client::Disabled {
        return plain(profile.unconfigured.effect, VerdictCause::Unconfigured);
    }
    match state.authorization {
        Authorization::None | Authorization::Evaluation | Authorization::Reserved => [NORMAL, NORMAL],
        Authorization::EvaluationExpired => plain(profile.eval_expired.effect, VerdictCause::EvaluationExpired),
        // Evaluation used up here means that registering ended it; otherwise the state would be another one.
        Authorization::Waiting | Authorization::Authorized => notify_if(failing),
        Authorization::OutOfCompliance => [ooc(state, profile, now), NORMAL],
        Authorization::AuthorizationExpired => {
            let own = consequence(
                profile.auth_expired,
                state.deadlines.authorization_overage_end,
                VerdictCause::AuthorizationExpired,
                now,
            );
            let was_ooc = state.deadlines.overage_end.is_some() && state.deadlines.overage_forgotten.is_none();
            [own, if was_ooc { ooc(state, profile, now) } else { NORMAL }]
        }
        Authorization::ReservationExpired => plain(profile.eval_expired.effect, VerdictCause::ReservationExpired),
    }
}

/// When the overage ends that ran at this time: both, where an authorization expired while out of compliance.
pub(super) fn overage_ends(
    state: &AgentState,
    profile: &Profile,
    now: UnixMillis,
) -> impl Iterator<Item = UnixMillis> + use<> {
    forces(state, profile, now).into_iter().filter_map(|force| match force.enforced {
        Enforced::Overage { until } => Some(until),
        Enforced::Normal | Enforced::Notify | Enforced::Enforced { .. } => None,
    })
}

fn ooc(state: &AgentState, profile: &Profile, now: UnixMillis) -> Force {
    consequence(profile.ooc.consequence(), state.deadlines.overage_end, VerdictCause::Enforced, now)
}

fn consequence(what: Consequence, deadline: Option<UnixMillis>, cause: VerdictCause, now: UnixMillis) -> Force {
    match (what.overage(), deadline) {
        (Some(_), Some(until)) if now < until => Force { enforced: Enforced::Overage { until }, cause },
        (Some((_, then)), Some(until)) => Force { enforced: plain(then, until), cause: VerdictCause::Enforced },
        _ => Force { enforced: plain(what.effect, now), cause },
    }
}

const fn plain(effect: Effect, since: UnixMillis) -> Enforced {
    match effect {
        Effect::AllowNotify => Enforced::Notify,
        Effect::RejectNew | Effect::RejectNewRegistrations | Effect::ConfigFreeze => {
            Enforced::Enforced { effect, since }
        }
    }
}

/// How hard something is on calls, for choosing the harder of two.
const fn rank(enforced: Enforced) -> u8 {
    match enforced {
        Enforced::Normal => 0,
        Enforced::Notify => 1,
        Enforced::Overage { .. } => 2,
        Enforced::Enforced { effect, .. } => match effect {
            Effect::AllowNotify => 1,
            Effect::ConfigFreeze => 3,
            Effect::RejectNewRegistrations => 4,
            Effect::RejectNew => 5,
        },
    }
}

/// Region E.
#[must_use]
pub fn enforced(state: &AgentState, profile: &Profile, now: UnixMillis) -> Enforced {
    let [one, other] = forces(state, profile, now).map(|force| force.enforced);
    let harder = match (one, other) {
        (Enforced::Overage { until: one }, Enforced::Overage { until: other }) => {
            Enforced::Overage { until: one.min(other) }
        }
        _ if rank(other) > rank(one) => other,
        _ => one,
    };
    match (state.enforced, harder) {
        // It has been in force for a while: since when is not forgotten.
        (Enforced::Enforced { effect: was, since }, Enforced::Enforced { effect, .. }) if was == effect => {
            Enforced::Enforced { effect, since }
        }
        _ => harder,
    }
}

/// What may start.
#[must_use]
pub fn verdict(state: &AgentState, profile: &Profile, now: UnixMillis) -> Verdict {
    let mut verdict = Verdict::default();
    for Force { enforced, cause } in forces(state, profile, now) {
        let Enforced::Enforced { effect, .. } = enforced else { continue };
        let Verdict { calls, registrations, configuration } = &mut verdict;
        match effect {
            Effect::RejectNew => {
                calls.get_or_insert(cause);
                registrations.get_or_insert(cause);
            }
            Effect::RejectNewRegistrations => drop(registrations.get_or_insert(cause)),
            Effect::ConfigFreeze => drop(configuration.get_or_insert(cause)),
            Effect::AllowNotify => {}
        }
    }
    verdict
}

/// Whether more units than the cap of some type may be used, as far as this side has a say.
#[must_use]
pub fn overage_wanted(setup: &Setup) -> bool {
    if overage_is_left(setup) {
        setup.overage_allowed || setup.overage_of.values().any(|allowed| *allowed)
    } else {
        setup.profile.overage.default
    }
}

/// Likewise of the type with this name.
#[must_use]
pub fn overage_wanted_of(setup: &Setup, type_name: &str) -> bool {
    if overage_is_left(setup) {
        setup.overage_of.get(type_name).copied().unwrap_or(setup.overage_allowed)
    } else {
        setup.profile.overage.default
    }
}

/// The operator has a say: control is for production licenses alone.
fn overage_is_left(setup: &Setup) -> bool {
    match setup.usage {
        UsageClass::Production => setup.profile.overage.control,
        UsageClass::Lab => false,
    }
}

/// Everything that calls are judged by.
#[must_use]
pub fn limits(state: &AgentState, setup: &Setup, now: UnixMillis) -> Limits {
    let overage_allowed = match state.authorization {
        Authorization::Reserved | Authorization::ReservationExpired => false,
        Authorization::None
        | Authorization::Evaluation
        | Authorization::EvaluationExpired
        | Authorization::Waiting
        | Authorization::Authorized
        | Authorization::OutOfCompliance
        | Authorization::AuthorizationExpired => {
            overage_wanted(setup) && state.grant.as_ref().is_none_or(|grant| grant.overage_allowed)
        }
    };
    let types = setup
        .requested
        .iter()
        .map(|requested| {
            let overage = overage_allowed && overage_wanted_of(setup, &requested.type_name);
            (requested.type_name.clone(), cap(state, setup, requested, overage))
        })
        .collect();
    Limits {
        verdict: verdict(state, &setup.profile, now),
        types,
        overage_allowed,
        export_lifted: export_lifted(state, setup),
    }
}

fn cap(state: &AgentState, setup: &Setup, requested: &Requested, overage: bool) -> TypeCap {
    if state.client == Client::Disabled {
        return TypeCap::Uncapped;
    }
    match state.authorization {
        Authorization::None => match requested.units {
            None => TypeCap::Uncapped,
            Some(_) => TypeCap::Requested,
        },
        Authorization::Evaluation
        | Authorization::EvaluationExpired
        | Authorization::Waiting
        | Authorization::ReservationExpired => match setup.profile.eval.capability {
            Capability::Requested => TypeCap::Requested,
            Capability::Normal | Capability::Unlimited => TypeCap::Uncapped,
        },
        Authorization::Authorized
        | Authorization::OutOfCompliance
        | Authorization::AuthorizationExpired
        | Authorization::Reserved => {
            match (requested.units, overage) {
                // Not limited here: what is used is asked for, or nothing is.
                (None, _) => TypeCap::Uncapped,
                (Some(_), true) if matches!(state.enforced, Enforced::Overage { .. }) => TypeCap::Uncapped,
                // Row 42: what the manager was not asked for yet waits for its answer with what is requested.
                (Some(_), _) if !was_asked(state, requested) => TypeCap::Requested,
                // The grant's own cap: what is requested, less where the manager bounds overage.
                (Some(units), true) => match units_of(state, requested, |tag| tag.cap) {
                    Some(cap) if cap < units => TypeCap::Units(cap),
                    Some(_) | None => TypeCap::Requested,
                },
                (Some(units), false) => TypeCap::Units(units.min(granted_units(state, requested))),
            }
        }
    }
}

/// The grant in force answers a request for a count of this type, be it another count.
fn was_asked(state: &AgentState, requested: &Requested) -> bool {
    state.requested.iter().any(|asked| asked.tag == requested.tag && asked.units.is_some())
}

/// Units that the grant in force covers. The end of a term only makes the manager be asked: what it says is what ends it.
#[must_use]
pub fn granted_units(state: &AgentState, requested: &Requested) -> u32 {
    units_of(state, requested, |tag| tag.granted).unwrap_or(0)
}

/// The units of one type in the grant in force, counted this way; `None` if the grant doesn't name it.
fn units_of(state: &AgentState, requested: &Requested, count: impl Fn(&TagGrant) -> u64) -> Option<u32> {
    let tags = state.grant.iter().flat_map(|grant| &grant.tags);
    let licenses = tags.filter(|tag| tag.tag == requested.tag).map(count).reduce(u64::saturating_add)?;
    Some(in_units(licenses, requested))
}

fn in_units(licenses: u64, requested: &Requested) -> u32 {
    u32::try_from(licenses.saturating_mul(u64::from(requested.per_license))).unwrap_or(u32::MAX)
}

/// Export control is lifted by the account's flag and an export entitlement together, never by one of them.
fn export_lifted(state: &AgentState, setup: &Setup) -> bool {
    let granted = match state.authorization {
        Authorization::Authorized | Authorization::OutOfCompliance | Authorization::AuthorizationExpired => {
            &state.grant
        }
        Authorization::None
        | Authorization::Evaluation
        | Authorization::EvaluationExpired
        | Authorization::Waiting
        | Authorization::Reserved
        | Authorization::ReservationExpired => &None,
    };
    let tag = setup.profile.export_tag(setup.usage);
    granted.as_ref().is_some_and(|grant| grant.export_allowed && grants_one(grant, &tag))
}

fn grants_one(grant: &Grant, tag: &str) -> bool {
    grant.tags.iter().any(|granted| granted.tag == tag && granted.granted >= 1 && granted.status != TagStatus::Invalid)
}

/// The export entitlement is held: a license in use, although it counts nothing.
pub(super) fn holds_export(state: &AgentState, setup: &Setup) -> bool {
    let tag = setup.profile.export_tag(setup.usage);
    setup.export_control && state.grant.as_ref().is_some_and(|grant| grants_one(grant, &tag))
}

/// What the evaluation that is left makes of a state that leaves registration.
#[must_use]
pub fn evaluation_state(state: &AgentState, profile: &Profile, now: UnixMillis) -> Authorization {
    if evaluation_left_s(state, profile, now) > 0 {
        Authorization::Evaluation
    } else {
        Authorization::EvaluationExpired
    }
}

/// Row 11: what a registration makes of what evaluation was.
#[must_use]
pub fn registered_state(state: &AgentState, profile: &Profile, now: UnixMillis) -> Authorization {
    let used_up = evaluation_left_s(state, profile, now) == 0;
    match profile.eval_expired.exit {
        ExitBy::Granted if used_up => Authorization::EvaluationExpired,
        ExitBy::Granted | ExitBy::Registered => Authorization::Waiting,
    }
}

/// Rows 6 and 34: evaluation runs out here.
#[must_use]
pub fn evaluation_counts(state: &AgentState, profile: &Profile) -> bool {
    match (state.authorization, profile.eval_expired.exit) {
        // Registering ended it: what is used up no longer matters.
        (Authorization::Waiting, ExitBy::Registered) => false,
        _ => evaluation_runs(state, profile),
    }
}

/// Row 26's guard: another way than this setup's is what the registration is bound to.
#[must_use]
pub fn transport_locked(state: &AgentState, setup: &Setup) -> bool {
    let registered_by = state.membership.as_ref().map(|membership| membership.transport);
    is_registered(state)
        && setup.profile.transport_change == TransportChange::RequiresDeregister
        && registered_by.is_some_and(|by| by != setup.transport)
}

/// The way to the manager that is in force: while registered, a product may be bound to the one it registered by.
#[must_use]
pub fn transport_in_force(state: &AgentState, setup: &Setup) -> TransportClass {
    let registered_by = state.membership.as_ref().map(|membership| membership.transport);
    registered_by.filter(|_| transport_locked(state, setup)).unwrap_or(setup.transport)
}

/// The addresses on that way. Where it is locked they are those of the time before the configuration left it.
#[must_use]
pub fn addresses_in_force<'a>(state: &'a AgentState, setup: &'a Setup) -> &'a Addresses {
    let kept = state.membership.as_ref().map(|membership| &membership.addresses);
    // A registration of an earlier version knows none.
    kept.filter(|kept| kept.url.is_some() && transport_locked(state, setup)).unwrap_or(&setup.addresses)
}

/// Registered, by the tables.
#[must_use]
pub fn is_registered(state: &AgentState) -> bool {
    state.registration == Registration::Registered
}
