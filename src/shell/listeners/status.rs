//! The status document: the same for `STATUS`, `GET /v1/status` and the commands.

use std::collections::BTreeMap;

use serde::Serialize;

use super::shared::Shared;
use crate::admission::{Cause, LimitView, Mode};
use crate::shell::telemetry::Alarm;

/// Live calls or registrations.
#[derive(Debug, Serialize)]
pub(super) struct Live {
    live: u32,
}

/// What licensing says.
#[derive(Debug, Serialize)]
pub(super) struct License {
    state: &'static str,
    profile: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    registration: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    evaluation_left_s: Option<u64>,
}

/// The status document.
#[derive(Debug, Serialize)]
pub(super) struct StatusDocument {
    node: String,
    version: &'static str,
    uptime_s: u64,
    phase: crate::shell::Phase,
    mode: &'static str,
    draining: bool,
    calls: Live,
    registrations: Live,
    suspect_live: u32,
    admitted_total: u64,
    emergency_total: u64,
    forced_total: u64,
    untracked_total: u64,
    refused_total: BTreeMap<&'static str, u64>,
    would_refuse_total: BTreeMap<&'static str, u64>,
    duplicates_total: u64,
    refusals_repeated_total: u64,
    reattempts_total: u64,
    confirmed_total: u64,
    released_total: u64,
    released_unknown_total: u64,
    lapsed_total: u64,
    suspects_freed_total: u64,
    resync_released_total: u64,
    resync_adopted_total: u64,
    overage_total: u64,
    limits: Vec<LimitView>,
    license: License,
    alarms: Vec<Alarm>,
}

/// The name of a mode, as the configuration has it.
pub(super) const fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Enforce => "enforce",
        Mode::Shadow => "shadow",
    }
}

/// The state of licensing; `starting` before there is one.
pub(super) fn license_state(shared: &Shared) -> &'static str {
    shared.context.license.status().map_or("starting", |status| status.state)
}

fn by_cause(counts: &[u64; Cause::COUNT]) -> BTreeMap<&'static str, u64> {
    let counted = Cause::ALL.iter().zip(counts);
    counted.filter(|(cause, _)| !cause.admits()).map(|(cause, count)| (cause.name(), *count)).collect()
}

/// How things are now.
pub(super) fn document(shared: &Shared) -> StatusDocument {
    let context = &shared.context;
    let status = context.gate.full_status(context.clock.now());
    let license = context.license.status();
    StatusDocument {
        node: context.config.load().node.name.clone(),
        version: env!("CARGO_PKG_VERSION"),
        uptime_s: context.uptime_s(),
        phase: context.phase(),
        mode: mode_name(status.mode),
        draining: status.draining,
        calls: Live { live: status.calls_live },
        registrations: Live { live: status.registrations_live },
        suspect_live: status.suspect_live,
        admitted_total: status.admitted_total,
        emergency_total: status.emergency_total,
        forced_total: status.forced_total,
        untracked_total: status.untracked_total,
        refused_total: by_cause(&status.refused_total),
        would_refuse_total: by_cause(&status.would_refuse_total),
        duplicates_total: status.duplicates_total,
        refusals_repeated_total: status.refusals_repeated_total,
        reattempts_total: status.reattempts_total,
        confirmed_total: status.confirmed_total,
        released_total: status.released_total,
        released_unknown_total: status.released_unknown_total,
        lapsed_total: status.lapsed_total,
        suspects_freed_total: status.suspects_freed_total,
        resync_released_total: status.resync_released_total,
        resync_adopted_total: status.resync_adopted_total,
        overage_total: status.overage_total,
        limits: status.limits,
        license: License {
            state: license_state(shared),
            profile: license
                .as_ref()
                .map_or_else(|| context.config.load().license.profile.clone(), |status| status.profile.clone()),
            registration: license.as_ref().map(|status| status.registration),
            evaluation_left_s: license.as_ref().map(|status| status.evaluation_left_s),
        },
        alarms: context.alarms.active(),
    }
}

/// The same as JSON text.
pub(super) fn json(shared: &Shared) -> String {
    serde_json::to_string(&document(shared)).unwrap_or_default()
}
