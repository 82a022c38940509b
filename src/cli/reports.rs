//! `callgate status` and `alarms`: what a running sidecar says of itself, for people.

use std::io::Write;

use serde::Deserialize;
use serde_json::Value;

use super::args::Format;
use super::failure::Failure;
use super::text::{self, Lean, age, number, printable, span, table};
use crate::units::UnixMillis;

/// How many trunk and tenant limits the status shows.
const GROUPS_SHOWN: usize = 10;

fn u64_at(value: &Value, path: &str) -> u64 {
    value.pointer(path).and_then(Value::as_u64).unwrap_or(0)
}

fn text_at(value: &Value, path: &str) -> String {
    value.pointer(path).and_then(Value::as_str).map(printable).unwrap_or_default()
}

/// `30 cps, 2 trunk-cps`, the most first; nothing if all are zero.
fn by_cause(counts: &Value) -> (u64, String) {
    let mut counts: Vec<(&String, u64)> = counts
        .as_object()
        .map(|counts| counts.iter().filter_map(|(cause, count)| Some((cause, count.as_u64()?))).collect())
        .unwrap_or_default();
    counts.retain(|(_, count)| *count > 0);
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let total = counts.iter().map(|(_, count)| count).sum();
    let told: Vec<String> =
        counts.iter().map(|(cause, count)| format!("{} {}", number(*count), printable(cause))).collect();
    (total, told.join(", "))
}

/// A limit, as the sidecar tells it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Limit {
    name: String,
    limit: Option<u64>,
    used: u64,
    peak: u64,
}

impl Limit {
    fn is_group(&self) -> bool {
        self.name.starts_with("trunk-") || self.name.starts_with("tenant-")
    }

    fn percent(&self) -> Option<u64> {
        self.limit.filter(|limit| *limit > 0).map(|limit| self.used.saturating_mul(100) / limit)
    }

    fn row(&self) -> Vec<String> {
        vec![
            printable(&self.name),
            number(self.used),
            self.limit.map_or_else(|| "not limited".to_owned(), number),
            self.percent().map_or_else(|| "-".to_owned(), |percent| format!("{percent} %")),
            number(self.peak),
        ]
    }
}

pub(super) fn status(status: &Value, out: &mut dyn Write) -> Result<(), Failure> {
    writeln!(
        out,
        "{}: callgate {}, {}, {} mode, up {}",
        text_at(status, "/node"),
        text_at(status, "/version"),
        text_at(status, "/phase"),
        text_at(status, "/mode"),
        span(u64_at(status, "/uptime_s"))
    )?;
    if text_at(status, "/mode") == "shadow" {
        writeln!(out, "Shadow mode: every call is admitted; refusals are only counted.")?;
    }
    let count = |path: &str| number(u64_at(status, path));
    writeln!(out)?;
    writeln!(
        out,
        "live      {} calls, {} registrations, {} of them in doubt",
        count("/calls/live"),
        count("/registrations/live"),
        count("/suspect_live")
    )?;
    writeln!(
        out,
        "admitted  {} ({} emergency, {} past a limit)",
        count("/admitted_total"),
        count("/emergency_total"),
        count("/forced_total")
    )?;
    for (name, path) in [("refused", "/refused_total"), ("would be", "/would_refuse_total")] {
        let (total, causes) = by_cause(status.pointer(path).unwrap_or(&Value::Null));
        match (total, path) {
            (0, "/would_refuse_total") => {}
            (0, _) => writeln!(out, "{name:<9} 0")?,
            (_, _) => writeln!(out, "{name:<9} {}: {causes}", number(total))?,
        }
    }
    writeln!(
        out,
        "ended     {} released, {} leases lapsed, {} freed in doubt",
        count("/released_total"),
        count("/lapsed_total"),
        count("/suspects_freed_total")
    )?;
    writeln!(out, "repeated  {} retransmissions", count("/duplicates_total"))?;
    let left = status.pointer("/license/evaluation_left_s").and_then(Value::as_u64);
    writeln!(
        out,
        "license   {} (profile {}){}",
        text_at(status, "/license/state"),
        text_at(status, "/license/profile"),
        left.map_or_else(String::new, |left| format!(", {} h of evaluation left", number(left / 3_600)))
    )?;
    let alarms = status.get("alarms").and_then(Value::as_array).map_or(0, Vec::len);
    writeln!(
        out,
        "alarms    {}",
        if alarms == 0 { "none".to_owned() } else { format!("{alarms}: see `callgate alarms`") }
    )?;
    limits(status, out)
}

fn limits(status: &Value, out: &mut dyn Write) -> Result<(), Failure> {
    let limits = status.get("limits").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let limits = limits.iter().filter_map(|limit| Limit::deserialize(limit).ok());
    let (mut groups, node): (Vec<Limit>, Vec<Limit>) = limits.partition(Limit::is_group);
    groups.sort_by_key(|limit| std::cmp::Reverse((limit.percent(), limit.used)));
    let more = groups.len().saturating_sub(GROUPS_SHOWN);
    let rows: Vec<_> = node.iter().chain(groups.iter().take(GROUPS_SHOWN)).map(Limit::row).collect();
    if rows.is_empty() {
        return Ok(());
    }
    let columns = [
        ("LIMIT", Lean::Left),
        ("USED", Lean::Right),
        ("OF", Lean::Right),
        ("FULL", Lean::Right),
        ("PEAK", Lean::Right),
    ];
    write!(out, "\n{}", table(&columns, &rows))?;
    if more > 0 {
        writeln!(
            out,
            "and {} more trunk and tenant limits that are less full (--format json has all)",
            number(u64::try_from(more).unwrap_or(u64::MAX))
        )?;
    }
    Ok(())
}

/// An alarm, as the sidecar tells it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Alarm {
    id: String,
    subject: String,
    severity: String,
    since: u64,
    cleared_at: Option<u64>,
    what: String,
    effect: String,
    next: String,
    remedy: String,
}

/// The active alarms; with `history`, the cleared ones too.
pub(super) fn alarms(alarms: &Value, history: bool, now: UnixMillis, out: &mut dyn Write) -> Result<(), Failure> {
    let list = |name: &str| -> Vec<Alarm> {
        let alarms = alarms.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        alarms.iter().filter_map(|alarm| Alarm::deserialize(alarm).ok()).collect()
    };
    let active = list("active");
    match active.len() {
        0 => writeln!(out, "No alarm is active.")?,
        1 => writeln!(out, "1 alarm is active.")?,
        count => writeln!(out, "{count} alarms are active.")?,
    }
    for alarm in &active {
        writeln!(out, "\n{}, since {} ({})", heading(alarm), text::time(alarm.since), age(alarm.since, now))?;
        for (name, text) in
            [("what", &alarm.what), ("now", &alarm.effect), ("next", &alarm.next), ("to do", &alarm.remedy)]
        {
            if !text.is_empty() {
                writeln!(out, "    {name:<6} {}", printable(text))?;
            }
        }
    }
    let cleared = list("history");
    if history && cleared.is_empty() {
        writeln!(out, "\nNone was cleared since the sidecar started.")?;
    }
    if !cleared.is_empty() {
        writeln!(out, "\nCleared, the latest first:")?;
        for alarm in &cleared {
            let cleared = alarm.cleared_at.unwrap_or(alarm.since);
            let lasted = span(cleared.saturating_sub(alarm.since) / 1_000);
            writeln!(
                out,
                "    {}  {}, lasted {lasted}: {}",
                text::time(cleared),
                heading(alarm),
                printable(&alarm.what)
            )?;
        }
    }
    Ok(())
}

/// How a test of the destinations went. It failed if one of them did.
pub(super) fn tested(answer: &Value, format: Format, out: &mut dyn Write) -> Result<(), Failure> {
    let results = answer.get("results").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let failed = results.iter().filter(|result| result.get("sent") != Some(&Value::Bool(true))).count();
    match format {
        Format::Json => writeln!(out, "{answer}")?,
        Format::Text if results.is_empty() => {
            writeln!(out, "There is no destination: [[alarms.destination]] makes one.")?
        }
        Format::Text => {
            for result in results {
                let text = |name: &str| printable(result.get(name).and_then(Value::as_str).unwrap_or_default());
                let sent = if result.get("sent") == Some(&Value::Bool(true)) { "sent  " } else { "FAILED" };
                writeln!(out, "{sent}  {} ({}): {}", text("destination"), text("kind"), text("told"))?;
            }
        }
    }
    if failed == 0 {
        return Ok(());
    }
    Err(Failure::Refused(format!("{failed} of {} destinations did not take the test notice", results.len())))
}

fn heading(alarm: &Alarm) -> String {
    let subject = if alarm.subject.is_empty() { String::new() } else { format!(" {}", printable(&alarm.subject)) };
    format!("{} {}{subject}", printable(&alarm.severity), printable(&alarm.id))
}
