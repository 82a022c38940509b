//! Tables that are full: told once, and again only after a time without.

use serde_json::json;

use crate::admission::{Cause, Status};
use crate::shell::context::Context;
use crate::shell::telemetry::{AlarmId, EventKind, Raise, Severity};
use crate::units::{Now, Tick};

/// A table's alarm is cleared when it had room for so long.
const QUIET_S: u64 = 300;

/// One thing that overflows: subject, severity, what it means, what to do.
struct Table {
    subject: &'static str,
    severity: Severity,
    what: &'static str,
    effect: &'static str,
    remedy: &'static str,
    count: fn(&Status) -> u64,
}

const TABLES: [Table; 4] = [
    Table {
        subject: "calls",
        severity: Severity::Critical,
        what: "The table of live calls is full.",
        effect: "New calls are refused with cause capacity; emergency calls pass untracked.",
        remedy: "Raise admission.calls_max and restart, or look for calls that are never released.",
        count: |status| refused(status, Cause::Capacity).saturating_add(status.untracked_total),
    },
    Table {
        subject: "memories",
        severity: Severity::Warning,
        what: "The table of remembered refusals and releases is full.",
        effect: "The oldest memories go early: a late retransmission may be counted as a new attempt.",
        remedy: "Raise admission.memories_max and restart if this lasts.",
        count: |status| status.memories_evicted_total,
    },
    Table {
        subject: "id-texts",
        severity: Severity::Info,
        what: "The table of call ids' texts is full.",
        effect: "No call is affected; `callgate calls list` shows some calls without their id.",
        remedy: "Raise admission.id_texts_max and restart if you need every id.",
        count: |status| status.id_texts_dropped_total,
    },
    Table {
        subject: "names",
        severity: Severity::Major,
        what: "The table of trunk, tenant and proxy names is full.",
        effect: "Calls with further names are judged by the default limits, without a count of their own.",
        remedy: "Check what the proxies send as TRUNK, TENANT and PROXY: a name per call is a mistake.",
        count: |status| status.names_refused_total,
    },
];

/// Watches the counters that say that a table was full.
#[derive(Debug, Default)]
pub(super) struct CapacityWatch {
    seen: [u64; TABLES.len()],
    quiet_since: [Option<Tick>; TABLES.len()],
}

impl CapacityWatch {
    /// Compares with the last look.
    pub(super) fn look(&mut self, context: &Context, status: &Status, now: Now) {
        for ((table, seen), quiet_since) in TABLES.iter().zip(&mut self.seen).zip(&mut self.quiet_since) {
            let count = (table.count)(status);
            let grew = count > std::mem::replace(seen, count);
            if grew {
                *quiet_since = Some(now.tick);
                if context.alarms.raise(table.raise(), now.wall) {
                    let data = json!({ "table": table.subject, "count": count });
                    context.events.publish(now.wall, EventKind::Capacity, table.severity, table.what, data);
                }
            } else if quiet_since.is_some_and(|since| now.tick >= since.plus_secs(QUIET_S)) {
                *quiet_since = None;
                context.alarms.clear(AlarmId::Capacity, table.subject, now.wall);
            }
        }
    }
}

impl Table {
    fn raise(&self) -> Raise {
        Raise {
            id: AlarmId::Capacity,
            subject: self.subject.to_owned(),
            severity: self.severity,
            what: self.what.to_owned(),
            effect: self.effect.to_owned(),
            next: "It is told again if it lasts, and cleared after five minutes without.".to_owned(),
            remedy: self.remedy.to_owned(),
        }
    }
}

fn refused(status: &Status, cause: Cause) -> u64 {
    status.refused_total.get(usize::from(cause.code())).copied().unwrap_or(0)
}
