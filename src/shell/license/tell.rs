//! What the agent raises, clears and notices, as this sidecar's alarms, events and log lines.

use serde_json::json;

use crate::license::agent::{Alarm, AlarmKind, AlarmLevel, Limits, Notice, nothing_granted};
use crate::limits::Verdict;
use crate::shell::context::Context;
use crate::shell::telemetry::{AlarmId, EventKind, Raise, Severity};
use crate::units::UnixMillis;

/// The subject of alarms that other parts raise by the same name too.
const SUBJECT: &str = "license";

/// How much it matters.
#[must_use]
pub const fn severity(level: AlarmLevel) -> Severity {
    match level {
        AlarmLevel::Info => Severity::Info,
        AlarmLevel::Warning => Severity::Warning,
        AlarmLevel::Major => Severity::Major,
        AlarmLevel::Critical => Severity::Critical,
    }
}

/// The alarm's name here.
#[must_use]
pub const fn alarm_id(kind: AlarmKind) -> AlarmId {
    match kind {
        AlarmKind::RegFailed => AlarmId::RegFailed,
        AlarmKind::RegRetry => AlarmId::RegRetry,
        AlarmKind::ReregFailed => AlarmId::ReregFailed,
        AlarmKind::ReregisterNeeded => AlarmId::ReregisterNeeded,
        AlarmKind::HostnameChanged => AlarmId::HostnameChanged,
        AlarmKind::RegDown => AlarmId::RegDown,
        AlarmKind::AuthDown => AlarmId::AuthDown,
        AlarmKind::IdRenewFailed => AlarmId::IdRenewFailed,
        AlarmKind::IdExpired => AlarmId::IdExpired,
        AlarmKind::IdRevoked => AlarmId::IdRevoked,
        AlarmKind::AuthRenewFailed => AlarmId::AuthRenewFailed,
        AlarmKind::AuthExpired => AlarmId::AuthExpired,
        AlarmKind::OocPending => AlarmId::OocPending,
        AlarmKind::OocImminent => AlarmId::OocImminent,
        AlarmKind::Ooc => AlarmId::Ooc,
        AlarmKind::Enforced => AlarmId::Enforced,
        AlarmKind::EvalNear => AlarmId::EvalNear,
        AlarmKind::EvalExpired => AlarmId::EvalExpired,
        AlarmKind::ReportFailed => AlarmId::ReportFailed,
        AlarmKind::ComputeFailed => AlarmId::ComputeFailed,
        AlarmKind::AgentInitFailed => AlarmId::AgentInitFailed,
        AlarmKind::InvalidTag => AlarmId::InvalidTag,
        AlarmKind::GrantRejected => AlarmId::GrantRejected,
        AlarmKind::ClockRollback => AlarmId::ClockRollback,
        AlarmKind::ClockJump => AlarmId::ClockJump,
        AlarmKind::ClockSkew => AlarmId::ClockSkew,
        AlarmKind::UnknownCa => AlarmId::UnknownCa,
        AlarmKind::TransportLocked => AlarmId::TransportLocked,
        AlarmKind::DuplicateUdi => AlarmId::DuplicateUdi,
        AlarmKind::DeregOrphan => AlarmId::DeregOrphan,
        AlarmKind::AgentStale => AlarmId::AgentStale,
        AlarmKind::StateRestored => AlarmId::StateRestored,
    }
}

const fn subject(kind: AlarmKind) -> &'static str {
    if matches!(kind, AlarmKind::StateRestored) { SUBJECT } else { "" }
}

/// Raises, or renews the text of, an alarm of the agent.
pub fn raise(context: &Context, alarm: &Alarm, wall: UnixMillis) {
    let Alarm { kind, level, what, effect, next, remedy, .. } = alarm;
    let raise = Raise {
        id: alarm_id(*kind),
        subject: subject(*kind).to_owned(),
        severity: severity(*level),
        what: sentence(what),
        effect: sentence(effect),
        next: sentence(next),
        remedy: sentence(remedy),
    };
    context.alarms.raise(raise, wall);
}

/// Clears it.
pub fn clear(context: &Context, kind: AlarmKind, wall: UnixMillis) {
    context.alarms.clear(alarm_id(kind), subject(kind), wall);
}

/// Tells what happened.
pub fn notice(context: &Context, notice: &Notice, wall: UnixMillis) {
    let Notice { name, level, text, at } = notice;
    let kind = if *name == "deadline_near" { EventKind::DeadlineNear } else { EventKind::License };
    let text = sentence(text);
    tracing::info!(notice = name, "{text}");
    context.events.publish(wall, kind, severity(*level), text, json!({ "notice": name, "at": at }));
}

/// Tells that calls are judged otherwise from now on. `without` are the types of which nothing was granted.
pub fn verdict(context: &Context, limits: &Limits, without: &[&str], state: &str, wall: UnixMillis) {
    let verdict = limits.verdict;
    let (severity, effect) = refused(verdict, without);
    let text = format!("Licensing is in state {state}: {effect}.");
    tracing::warn!(state, "{text}");
    let data = json!({
        "state": state,
        "refuses_calls": verdict.calls.is_some(),
        "refuses_registrations": verdict.registrations.is_some(),
        "refuses_configuration": verdict.configuration.is_some(),
    });
    context.events.publish(wall, EventKind::Verdict, severity, text, data);
}

/// What is refused now, by the verdict and by what was not granted at all.
fn refused(verdict: Verdict, without: &[&str]) -> (Severity, String) {
    let refused: Vec<&str> = [
        ("new calls", verdict.calls.is_some()),
        ("new registrations", verdict.registrations.is_some()),
        ("changes of the configuration", verdict.configuration.is_some()),
    ]
    .into_iter()
    .filter_map(|(what, refused)| refused.then_some(what))
    .collect();
    let short = (verdict.calls.is_none() && !without.is_empty()).then(|| nothing_granted(without));
    let by_verdict =
        (!refused.is_empty()).then(|| format!("{} are refused; emergency calls are admitted", refused.join(" and ")));
    match (by_verdict, short) {
        (None, None) => (Severity::Info, "no call is refused but beyond its limits".to_owned()),
        (Some(text), None) | (None, Some(text)) => (Severity::Critical, text),
        (Some(text), Some(short)) => (Severity::Critical, format!("{text}; {short}")),
    }
}

/// The state cannot be written.
#[must_use]
pub fn not_saved(error: &str, nowhere: bool) -> Raise {
    Raise {
        id: AlarmId::StateNotSaved,
        subject: SUBJECT.to_owned(),
        severity: if nowhere { Severity::Critical } else { Severity::Major },
        what: sentence(error),
        effect: if nowhere {
            "Calls are judged as before: what licensing decided since is not in force.".to_owned()
        } else {
            "No call is affected.".to_owned()
        },
        next: "It is tried again.".to_owned(),
        remedy: "Check space and rights of node.data_dir.".to_owned(),
    }
}

/// Every copy of the state is lost.
#[must_use]
pub fn lost(what: &str) -> Raise {
    Raise {
        id: AlarmId::ReregisterNeeded,
        subject: String::new(),
        severity: Severity::Major,
        what: sentence(what),
        effect: "Calls are judged as of a sidecar that is not registered; used evaluation time still counts."
            .to_owned(),
        next: "Nothing changes by itself.".to_owned(),
        remedy:
            "Register it again with a token, and remove the old instance at the license manager; or restore a backup."
                .to_owned(),
    }
}

/// The agent is not running.
#[must_use]
pub fn stale(what: &str) -> Raise {
    Raise {
        id: AlarmId::AgentStale,
        subject: String::new(),
        severity: Severity::Major,
        what: sentence(what),
        effect: "The last verdict and limits stand; no call is affected.".to_owned(),
        next: "It is started again from its stored state.".to_owned(),
        remedy: "Look for its failure in the log, and report it.".to_owned(),
    }
}

/// The agent ended, and cannot be started again.
#[must_use]
pub fn cannot_start(error: &str) -> Raise {
    Raise {
        id: AlarmId::AgentInitFailed,
        subject: String::new(),
        severity: Severity::Critical,
        what: sentence(&format!("the licensing agent cannot be started again: {error}")),
        effect: "The last verdict and limits stand; no call is affected.".to_owned(),
        next: "It is tried again, every five minutes at the latest.".to_owned(),
        remedy: "Mend what it names; until then keep the sidecar running: a restart would fail.".to_owned(),
    }
}

/// The subject of COMPUTE_FAILED about computing itself.
pub const COMPUTED: &str = "";

/// The subject of COMPUTE_FAILED about the record of what was used.
pub const RECORD: &str = "record";

/// What is used, or what follows from it, could not be computed.
#[must_use]
pub fn not_computed(error: &str) -> Raise {
    Raise {
        id: AlarmId::ComputeFailed,
        subject: COMPUTED.to_owned(),
        severity: Severity::Major,
        what: sentence(&format!("computing what is used of the licenses failed inside: {error}")),
        effect:
            "The last verdict and limits stand; no call is affected. What was used meanwhile is missing in reports."
                .to_owned(),
        next: "It is computed again each second; the alarm ends when that succeeds.".to_owned(),
        remedy: "Look for its failure in the log, and report it.".to_owned(),
    }
}

/// The record of what was used cannot be kept, or was found damaged.
#[must_use]
pub fn not_recorded(error: &str) -> Raise {
    Raise {
        id: AlarmId::ComputeFailed,
        subject: RECORD.to_owned(),
        severity: Severity::Major,
        what: sentence(error),
        effect: "No call is affected; reports may say less than was used.".to_owned(),
        next: "It is written with the next sample, within 15 minutes; the alarm ends when that succeeds.".to_owned(),
        remedy: "Check space and rights of node.data_dir.".to_owned(),
    }
}

/// What a panic said.
#[must_use]
pub fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("it said nothing")
}

/// The first letter large, a full stop at the end. A name that stands first, such as a tag or a key, stays as it is written.
pub(super) fn sentence(text: &str) -> String {
    let mut text = text.trim().to_owned();
    let word = text.split_whitespace().next().unwrap_or_default().trim_end_matches([',', ':', ';', '.', '!', '?']);
    let is_word = word.chars().all(|letter| letter.is_alphabetic() || matches!(letter, '-' | '\''));
    if let Some(first) = text.get_mut(..1).filter(|_| is_word) {
        first.make_ascii_uppercase();
    }
    if !text.is_empty() && !text.ends_with(['.', '!', '?']) {
        text.push('.');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::VerdictCause;

    #[test]
    fn a_name_that_begins_a_sentence_stays_as_it_is_written() {
        for (text, told) in [
            ("open.cps: 15 in use, 4 bought", "open.cps: 15 in use, 4 bought."),
            ("license.url is not set", "license.url is not set."),
            ("more is in use than was bought", "More is in use than was bought."),
            ("re-registration failed; try again!", "Re-registration failed; try again!"),
            ("none: new calls are admitted", "None: new calls are admitted."),
            ("", ""),
        ] {
            assert_eq!(sentence(text), told);
        }
    }

    #[test]
    fn what_was_not_granted_at_all_is_told_as_refused_although_the_verdict_admits() {
        let admits = Verdict::default();
        let refuses =
            Verdict { calls: Some(VerdictCause::Enforced), registrations: Some(VerdictCause::Enforced), ..admits };
        let frozen = Verdict { configuration: Some(VerdictCause::Enforced), ..admits };
        assert_eq!(refused(admits, &[]), (Severity::Info, "no call is refused but beyond its limits".to_owned()));
        let (severity, text) = refused(admits, &["session"]);
        assert_eq!(severity, Severity::Critical);
        assert!(text.starts_with("new calls that need session are refused"), "{text}");
        let (_, text) = refused(refuses, &["session"]);
        assert_eq!(text, "new calls and new registrations are refused; emergency calls are admitted");
        let (_, text) = refused(frozen, &["cps"]);
        assert!(text.contains("changes of the configuration are refused") && text.contains("need cps"), "{text}");
    }
}
