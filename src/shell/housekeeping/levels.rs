//! How full a limit is, told as events and alarms.
//!
//! A rise is told at once. The gate's levels have a hysteresis of their own; but use moves so much faster than people read that
//! a fall is told only after it stayed low for a while, or each second would bring an alarm.

use std::collections::BTreeMap;

use serde_json::json;

use crate::admission::{Level, LevelChange, Mode};
use crate::shell::context::Context;
use crate::shell::telemetry::{AlarmId, EventKind, Raise, Severity};
use crate::units::{Now, Tick};

/// How long a limit's use must stay low before that is told.
const SETTLE_S: u64 = 5;

/// Levels that fell and may rise again soon. Bounded by the number of limits.
#[derive(Debug, Default)]
pub(super) struct LevelWatch {
    falling: BTreeMap<String, Falling>,
}

#[derive(Debug)]
struct Falling {
    /// Told so far.
    from: Level,
    /// The latest.
    change: LevelChange,
    tell_at: Tick,
}

impl LevelWatch {
    /// The gate says that a limit passed a mark.
    pub(super) fn changed(&mut self, context: &Context, mut change: LevelChange) {
        let now = context.clock.now();
        if let Some(falling) = self.falling.remove(&change.limit_name) {
            change.from = falling.from;
        }
        if change.to == change.from {
            return;
        }
        if change.to < change.from {
            let tell_at = now.tick.plus_secs(SETTLE_S);
            self.falling.insert(change.limit_name.clone(), Falling { from: change.from, change, tell_at });
            return;
        }
        tell(context, &change, now);
    }

    /// Tells what stayed low long enough.
    pub(super) fn settle(&mut self, context: &Context, now: Now) {
        if self.falling.is_empty() {
            return;
        }
        self.falling.retain(|_, falling| {
            let due = now.tick >= falling.tell_at;
            if due {
                tell(context, &falling.change, now);
            }
            !due
        });
    }
}

fn tell(context: &Context, change: &LevelChange, now: Now) {
    let LevelChange { limit_name, to, limit, used, .. } = change;
    let (severity, text) = match to {
        Level::Normal => (Severity::Info, format!("{} is below 90 % of its limit again.", subject(limit_name))),
        Level::Near => (Severity::Warning, format!("{} is near its limit: {used} of {limit}.", subject(limit_name))),
        Level::Reached => {
            (Severity::Major, format!("{} has reached its limit: {used} of {limit}.", subject(limit_name)))
        }
    };
    let data = json!({ "limit": limit_name, "from": change.from, "to": to, "limit_units": limit, "used_units": used });
    context.events.publish(now.wall, EventKind::LimitLevel, severity, text.clone(), data);
    let shadow = context.gate.policy().mode == Mode::Shadow;
    // 90 % and 100 % are two alarms: the first stays while the second is active.
    if *to >= Level::Near {
        context.alarms.raise(near(limit_name, *limit, *used, *to, shadow), now.wall);
    } else {
        context.alarms.clear(AlarmId::CapNear, limit_name, now.wall);
    }
    if *to == Level::Reached {
        context.alarms.raise(reached(limit_name, *limit, shadow), now.wall);
    } else {
        context.alarms.clear(AlarmId::CapReached, limit_name, now.wall);
    }
}

fn near(name: &str, limit: u32, used: u32, level: Level, shadow: bool) -> Raise {
    let effect = match level {
        Level::Normal | Level::Near => "No call is refused because of it yet.",
        Level::Reached => "The limit itself is reached: see CAP_REACHED.",
    };
    Raise {
        id: AlarmId::CapNear,
        subject: name.to_owned(),
        severity: Severity::Warning,
        what: format!("{} is at 90 % of its limit or more: {used} of {limit}.", subject(name)),
        effect: effect.to_owned(),
        next: if shadow {
            "At 100 % calls would be refused; shadow mode only counts them.".to_owned()
        } else {
            format!("At 100 % {}.", refusal(name))
        },
        remedy: remedy(name),
    }
}

fn reached(name: &str, limit: u32, shadow: bool) -> Raise {
    let (effect, next) = if shadow {
        (
            "Shadow mode: nothing is refused, what would be is counted.".to_owned(),
            "In enforce mode these calls would be refused.".to_owned(),
        )
    } else {
        let mut effect = refusal(name);
        if let Some(first) = effect.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        (format!("{effect}; live calls go on, emergency calls pass."), format!("{}.", recovery(name, limit)))
    };
    Raise {
        id: AlarmId::CapReached,
        subject: name.to_owned(),
        severity: Severity::Major,
        what: format!("{} has reached its limit of {limit}.", subject(name)),
        effect,
        next,
        remedy: remedy(name),
    }
}

/// A limit's name as the subject of a sentence.
fn subject(name: &str) -> String {
    match name.split_once(':') {
        Some(("sessions", of)) => format!("The number of {of} session licenses in use"),
        _ => match name {
            "cps" => "The node's call rate".to_owned(),
            "export-control" => "The number of calls and registrations under export control".to_owned(),
            "webrtc" => "The number of WebRTC sessions".to_owned(),
            "calls" => "The table of live calls".to_owned(),
            other => format!("The limit {other}"),
        },
    }
}

fn refusal(name: &str) -> String {
    let cause = match name.split_once(':') {
        Some(("sessions", _)) => "sessions",
        Some((class, _)) => class,
        None if name == "calls" => "capacity",
        None => name,
    };
    format!("new calls beyond it are refused with cause {cause}")
}

fn recovery(name: &str, limit: u32) -> String {
    if name == "cps" {
        "Each second brings room for new calls".to_owned()
    } else if name == "export-control" {
        format!("New calls pass again once use is below {}", limit - limit / 100)
    } else {
        "New calls pass again as calls end".to_owned()
    }
}

fn remedy(name: &str) -> String {
    let advice = match name.split_once(':') {
        Some(("sessions", _)) => {
            "License more sessions (license.sessions, license.types), or look for calls that are never released"
        }
        Some(_) | None => match name {
            "cps" => "License more calls per second (license.count), or spread the load over more nodes",
            "export-control" | "webrtc" => "Spread the load over more nodes, or look for calls that are never released",
            "calls" => "Raise admission.calls_max and restart, or look for calls that are never released",
            _ => "Raise the limit, or spread the load over more nodes",
        },
    };
    format!("{advice}.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_says_what_it_does_to_calls_and_what_to_do() {
        insta::assert_debug_snapshot!("reached_cps", reached("cps", 100, false));
        insta::assert_debug_snapshot!("near_sessions", near("sessions:premium", 10, 9, Level::Near, false));
        insta::assert_debug_snapshot!("reached_export_control", reached("export-control", 2500, false));
        insta::assert_debug_snapshot!("reached_sessions_in_shadow", reached("sessions:premium", 30, true));
    }
}
