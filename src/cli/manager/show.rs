//! What people read of a manager's answers. Texts of others are made printable first.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::cli::text::{self, Lean, cut, printable, table};
use crate::units::UnixMillis;

/// A member as text; empty if it isn't one.
pub(super) fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// A member as a number for people; `-` if it isn't one.
pub(super) fn number(value: &Value, name: &str) -> String {
    match value.get(name) {
        Some(Value::Number(number)) => match (number.as_u64(), number.as_i64()) {
            (Some(positive), _) => text::number(positive),
            (None, Some(negative)) => format!("-{}", text::number(negative.unsigned_abs())),
            (None, None) => number.to_string(),
        },
        _ => "-".to_owned(),
    }
}

/// A member as a time; `-` if it isn't one.
pub(super) fn time(value: &Value, name: &str) -> String {
    value.get(name).and_then(Value::as_u64).map_or_else(|| "-".to_owned(), text::time)
}

fn ago(value: &Value, name: &str, now: UnixMillis) -> String {
    value.get(name).and_then(Value::as_u64).map_or_else(|| "-".to_owned(), |then| text::age(then, now))
}

fn shown(value: &Value, name: &str) -> String {
    match text(value, name) {
        "" => "-".to_owned(),
        other => cut(other, 60),
    }
}

fn rows(items: &[Value], row: impl Fn(&Value) -> Vec<String>) -> Vec<Vec<String>> {
    items.iter().map(row).collect()
}

/// A table, or a sentence where there is nothing to show.
fn listed(items: &[Value], columns: &[(&str, Lean)], none: &str, row: impl Fn(&Value) -> Vec<String>) -> String {
    if items.is_empty() { format!("{none}\n") } else { table(columns, &rows(items, row)) }
}

/// `compliance` in words.
fn compliance(value: &Value) -> String {
    match text(value, "status") {
        "in_compliance" => "in compliance".to_owned(),
        "out_of_compliance" => "OUT OF COMPLIANCE".to_owned(),
        other => printable(other),
    }
}

/// Names of virtual accounts by their ids.
pub(super) fn names(accounts: &[Value]) -> BTreeMap<String, String> {
    accounts.iter().map(|account| (text(account, "id").to_owned(), cut(text(account, "name"), 40))).collect()
}

fn named(names: &BTreeMap<String, String>, value: &Value) -> String {
    let id = text(value, "virtual_account");
    names.get(id).cloned().unwrap_or_else(|| printable(id))
}

fn pairs(lines: &[(&str, String)]) -> String {
    let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    lines.iter().map(|(name, value)| format!("{name:<width$}  {value}\n")).collect()
}

pub(super) fn status(status: &Value, now: UnixMillis) -> String {
    let instances = status.get("instances").and_then(Value::as_object);
    let instances: Vec<String> = instances
        .into_iter()
        .flatten()
        .filter(|(_, count)| count.as_u64() != Some(0))
        .map(|(state, count)| format!("{count} {state}"))
        .collect();
    let ready = match status.get("not_ready").and_then(Value::as_str) {
        None => "yes".to_owned(),
        Some(why) => format!("NO: {}", printable(why)),
    };
    let short = match status.get("pools_short").and_then(Value::as_u64) {
        Some(0) | None => "all in compliance".to_owned(),
        Some(count) => format!("{count} OUT OF COMPLIANCE: callgate manager pool list"),
    };
    let here = status.get("root_key_here").and_then(Value::as_bool) == Some(true);
    let due_at = status.get("rotation_due_at").and_then(Value::as_u64).unwrap_or(u64::MAX);
    let root =
        if here { "here; may be kept elsewhere between rotations" } else { "kept elsewhere; a rotation needs it" };
    let ends = status.get("certificate_ends").and_then(Value::as_u64).unwrap_or(0);
    pairs(&[
        ("Version", shown(status, "version")),
        ("Serves", ready),
        ("Instances", if instances.is_empty() { "none".to_owned() } else { instances.join(", ") }),
        ("Pools", short),
        ("Alerts", number(status, "alerts")),
        ("Signs with", shown(status, "issuer")),
        ("Root key", root.to_owned()),
        ("Rotation", rotation(status, now.0 >= due_at, here)),
        ("TLS certificate", format!("ends in {}", text::span(ends.saturating_sub(now.0) / 1_000))),
    ])
}

pub(super) fn tokens(tokens: &[Value], now: UnixMillis) -> String {
    let columns = [
        ("TOKEN", Lean::Left),
        ("STATE", Lean::Left),
        ("USES", Lean::Right),
        ("EXPIRES", Lean::Left),
        ("LAST USED", Lean::Right),
        ("NOTE", Lean::Left),
    ];
    listed(tokens, &columns, "No tokens. `callgate manager token create` makes one.", |token| {
        let max = token.get("max_uses").and_then(Value::as_u64).map_or_else(|| "any".to_owned(), text::number);
        vec![
            shown(token, "id"),
            shown(token, "state"),
            format!("{} of {max}", number(token, "uses")),
            time(token, "expires_at"),
            ago(token, "last_used_at", now),
            shown(token, "note"),
        ]
    })
}

pub(super) fn accounts(accounts: &[Value]) -> String {
    let columns = [
        ("VIRTUAL ACCOUNT", Lean::Left),
        ("ID", Lean::Left),
        ("INSTANCES", Lean::Right),
        ("LICENSES", Lean::Left),
        ("DESCRIPTION", Lean::Left),
    ];
    listed(accounts, &columns, "No virtual accounts.", |account| {
        let default = account.get("is_default").and_then(Value::as_bool) == Some(true);
        let name = shown(account, "name");
        vec![
            if default { format!("{name} (default)") } else { name },
            shown(account, "id"),
            number(account, "instances"),
            compliance(account),
            shown(account, "description"),
        ]
    })
}

/// What may be used beyond what was bought.
fn overage(of: &Value) -> String {
    let strategy = of.get("overage_strategy").unwrap_or(&Value::Null);
    let what = match (strategy.as_str(), strategy.get("percentage")) {
        (Some("allow"), _) => "allowed".to_owned(),
        (Some("deny"), _) => "not allowed".to_owned(),
        (_, Some(_)) => format!("up to {} % of what was bought", number(strategy, "percentage")),
        (Some(other), None) => printable(other),
        (None, None) => return "-".to_owned(),
    };
    let minutes = of.get("tolerance_minutes").and_then(Value::as_u64).filter(|minutes| *minutes > 0);
    let told = minutes.map_or_else(String::new, |minutes| format!(", told after {} min", text::number(minutes)));
    let billed = if of.get("billed").and_then(Value::as_bool) == Some(true) { ", billed" } else { "" };
    format!("{what}{told}{billed}")
}

pub(super) fn account(account: &Value, _now: UnixMillis) -> String {
    let yes =
        |name: &str| if account.get(name).and_then(Value::as_bool) == Some(true) { "yes" } else { "no" }.to_owned();
    pairs(&[
        ("Smart account", shown(account, "name")),
        ("Policy version", number(account, "policy_version")),
        ("Shortage is told to", shown(account, "ooc_scope")),
        ("Overage", account.get("overage").map_or_else(|| "-".to_owned(), overage)),
        ("Second identity of a machine", shown(account, "eval_policy")),
        ("Export permitted", yes("export_permitted")),
        ("Reservations", yes("reservation_allowed")),
        ("Tokens are valid for days", number(account, "token_days")),
        ("Since", time(account, "created_at")),
        ("Restored", number(account, "restores")),
    ])
}

pub(super) fn pools(pools: &[Value], names: &BTreeMap<String, String>, now: UnixMillis) -> String {
    let columns = [
        ("VIRTUAL ACCOUNT", Lean::Left),
        ("TAG", Lean::Left),
        ("PURCHASED", Lean::Right),
        ("IN USE", Lean::Right),
        ("BALANCE", Lean::Right),
        ("STATUS", Lean::Left),
        ("TERM ENDS IN", Lean::Right),
    ];
    listed(pools, &columns, "No licenses. `callgate manager pool add TAG NUMBER` enters a purchase.", |pool| {
        let ends = pool.get("next_end").and_then(Value::as_u64);
        vec![
            named(names, pool),
            shown(pool, "tag"),
            number(pool, "purchased"),
            number(pool, "in_use"),
            number(pool, "balance"),
            compliance(pool),
            ends.map_or_else(|| "-".to_owned(), |end| text::span(end.saturating_sub(now.0) / 1_000)),
        ]
    })
}

pub(super) fn lots(lots: &[Value], _now: UnixMillis) -> String {
    let columns = [
        ("LOT", Lean::Left),
        ("TAG", Lean::Left),
        ("LICENSES", Lean::Right),
        ("FROM", Lean::Left),
        ("UNTIL", Lean::Left),
        ("COUNTS", Lean::Left),
        ("NOTE", Lean::Left),
    ];
    listed(lots, &columns, "No purchases.", |lot| {
        let perpetual = lot.get("end").is_none_or(Value::is_null);
        let active = lot.get("active").and_then(Value::as_bool) == Some(true);
        vec![
            shown(lot, "id"),
            shown(lot, "tag"),
            number(lot, "quantity"),
            time(lot, "start"),
            if perpetual { "perpetual".to_owned() } else { time(lot, "end") },
            if active { "yes" } else { "no" }.to_owned(),
            shown(lot, "note"),
        ]
    })
}

pub(super) fn instances(instances: &[Value], names: &BTreeMap<String, String>, now: UnixMillis) -> String {
    let columns = [
        ("INSTANCE", Lean::Left),
        ("HOST", Lean::Left),
        ("VIRTUAL ACCOUNT", Lean::Left),
        ("STATE", Lean::Left),
        ("PROFILE", Lean::Left),
        ("ASKED FOR", Lean::Left),
        ("LAST CONTACT", Lean::Right),
    ];
    listed(instances, &columns, "No product instances.", |instance| {
        let asked: Vec<String> = entitlements(instance)
            .iter()
            .map(|one| format!("{} {}", number(one, "requested"), cut(text(one, "tag"), 30)))
            .collect();
        vec![
            shown(instance, "id"),
            shown(instance, "hostname"),
            named(names, instance),
            shown(instance, "state"),
            shown(instance, "profile"),
            if asked.is_empty() { "-".to_owned() } else { asked.join(", ") },
            format!("{} ago", ago(instance, "last_contact", now)),
        ]
    })
}

pub(super) fn entitlements(instance: &Value) -> &[Value] {
    instance.get("entitlements").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

pub(super) fn instance(instance: &Value, now: UnixMillis) -> String {
    let certificate = instance.get("certificate").cloned().unwrap_or_default();
    let mut out = pairs(&[
        ("Instance", shown(instance, "id")),
        ("UDI", printable(text(instance, "udi"))),
        ("Host", shown(instance, "hostname")),
        ("Address", shown(instance, "address")),
        ("State", format!("{}, for {}", shown(instance, "state"), ago(instance, "state_since", now))),
        ("Virtual account", shown(instance, "virtual_account")),
        ("Profile", format!("{} {}", shown(instance, "profile"), shown(instance, "version"))),
        ("Priority", number(instance, "priority")),
        ("Registered", time(instance, "registered_at")),
        ("Last contact", format!("{} ago", ago(instance, "last_contact", now))),
        ("Last report", time(instance, "last_report")),
        ("Grant", format!("number {}, until {}", number(instance, "grant_seq"), time(instance, "grant_expires_at"))),
        ("Certificate", format!("{}, until {}", shown(&certificate, "serial"), time(&certificate, "not_after"))),
        ("Note", shown(instance, "note")),
    ]);
    let columns = [
        ("TAG", Lean::Left),
        ("ASKED FOR", Lean::Right),
        ("GRANTED", Lean::Right),
        ("CAP", Lean::Right),
        ("STATUS", Lean::Left),
    ];
    let tags = entitlements(instance);
    if !tags.is_empty() {
        out.push('\n');
        out.push_str(&table(
            &columns,
            &rows(tags, |one| {
                vec![
                    shown(one, "tag"),
                    number(one, "requested"),
                    number(one, "granted"),
                    number(one, "cap"),
                    compliance(one),
                ]
            }),
        ));
    }
    out
}

fn counts(value: &Value, name: &str) -> String {
    let list = value.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let parts: Vec<String> = list
        .iter()
        .filter_map(|pair| Some(format!("{} {}", pair.get(1)?.as_u64()?, printable(pair.get(0)?.as_str()?))))
        .collect();
    if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") }
}

pub(super) fn usage_of_pools(pools: &[Value], names: &BTreeMap<String, String>) -> String {
    let columns = [
        ("VIRTUAL ACCOUNT", Lean::Left),
        ("TAG", Lean::Left),
        ("FROM", Lean::Left),
        ("REPORTS", Lean::Right),
        ("INSTANCES", Lean::Right),
        ("REQUESTED", Lean::Right),
        ("PEAK", Lean::Right),
        ("PEAK AT", Lean::Left),
        ("P95", Lean::Right),
    ];
    listed(pools, &columns, "Nothing was reported.", |pool| {
        vec![
            named(names, pool),
            shown(pool, "tag"),
            time(pool, "from"),
            number(pool, "reports"),
            number(pool, "instances"),
            number(pool, "requested"),
            number(pool, "peak"),
            time(pool, "peak_at"),
            number(pool, "p95"),
        ]
    })
}

pub(super) fn removal(preview: &Value) -> String {
    pairs(&[
        ("Removing", format!("{} ({})", shown(preview, "hostname"), printable(text(preview, "udi")))),
        ("Gives back", counts(preview, "releases")),
        ("Held back", counts(preview, "held_back")),
        ("Effect", printable(text(preview, "effect"))),
    ])
}

/// What taking a purchase back does.
pub(super) fn taken(lot: &Value, purchased: u64, in_use: u64, effect: &str) -> String {
    pairs(&[
        ("Taking back", format!("{} of {}", number(lot, "quantity"), shown(lot, "tag"))),
        ("Of", format!("{} bought, {} in use", text::number(purchased), text::number(in_use))),
        ("Effect", printable(effect)),
    ])
}

pub(super) fn reports(reports: &[Value], _now: UnixMillis) -> String {
    let columns = [("REPORT", Lean::Left), ("KIND", Lean::Left), ("MADE", Lean::Left)];
    listed(reports, &columns, "No reports. `callgate manager report run inventory` makes one.", |report| {
        vec![shown(report, "id"), shown(report, "kind"), time(report, "at")]
    })
}

pub(super) fn report(report: &Value, _now: UnixMillis) -> String {
    let mut out = format!(
        "{} of {}, {} by {}\n\n",
        shown(report, "kind"),
        time(report, "at"),
        shown(report, "id"),
        shown(report, "actor")
    );
    let list = |name: &str| report.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let columns = [
        ("VIRTUAL ACCOUNT", Lean::Left),
        ("TAG", Lean::Left),
        ("PURCHASED", Lean::Right),
        ("IN USE", Lean::Right),
        ("SHORT", Lean::Right),
        ("PEAK", Lean::Right),
        ("P95", Lean::Right),
        ("NEXT", Lean::Right),
    ];
    out.push_str(&listed(list("pools"), &columns, "No pools.", |pool| {
        vec![
            shown(pool, "virtual_account_name"),
            shown(pool, "tag"),
            number(pool, "purchased"),
            number(pool, "in_use"),
            number(pool, "shortage"),
            number(pool, "observed_peak"),
            number(pool, "p95"),
            number(pool, "next"),
        ]
    }));
    if !list("instances").is_empty() {
        let columns = [("INSTANCE", Lean::Left), ("HOST", Lean::Left), ("PROFILE", Lean::Left), ("STATE", Lean::Left)];
        out.push('\n');
        out.push_str(&table(
            &columns,
            &rows(list("instances"), |one| {
                vec![shown(one, "instance"), shown(one, "hostname"), shown(one, "profile"), shown(one, "state")]
            }),
        ));
    }
    out
}

pub(super) fn alerts(alerts: &[Value], now: UnixMillis) -> String {
    if alerts.is_empty() {
        return "No alerts.\n".to_owned();
    }
    let one = |alert: &Value| {
        let acknowledged = if alert.get("acknowledged").is_none_or(Value::is_null) { "" } else { ", acknowledged" };
        format!(
            "{} {}, for {}{acknowledged}\n    {}\n    do: {}\n    id: {}\n",
            shown(alert, "severity").to_uppercase(),
            shown(alert, "kind"),
            ago(alert, "raised_at", now),
            printable(text(alert, "text")),
            printable(text(alert, "action")),
            printable(text(alert, "id")),
        )
    };
    alerts.iter().map(one).collect()
}

pub(super) fn users(users: &[Value], _now: UnixMillis) -> String {
    let columns = [
        ("USER", Lean::Left),
        ("ID", Lean::Left),
        ("ROLE", Lean::Left),
        ("MAY LOG IN", Lean::Left),
        ("SINCE", Lean::Left),
    ];
    listed(users, &columns, "No users. `callgate manager user create` makes one.", |user| {
        let disabled = user.get("disabled").and_then(Value::as_bool) == Some(true);
        vec![
            shown(user, "name"),
            shown(user, "id"),
            shown(user, "role"),
            if disabled { "no" } else { "yes" }.to_owned(),
            time(user, "created_at"),
        ]
    })
}

pub(super) fn api_keys(keys: &[Value], _now: UnixMillis) -> String {
    let columns = [
        ("KEY", Lean::Left),
        ("NAME", Lean::Left),
        ("ROLE", Lean::Left),
        ("BEGINS", Lean::Left),
        ("EXPIRES", Lean::Left),
        ("REVOKED", Lean::Left),
    ];
    listed(keys, &columns, "No API keys.", |key| {
        vec![
            shown(key, "id"),
            shown(key, "name"),
            shown(key, "role"),
            shown(key, "prefix"),
            time(key, "expires_at"),
            time(key, "revoked_at"),
        ]
    })
}

/// What is to be done about the issuer key, and until when.
fn rotation(keys: &Value, due: bool, here: bool) -> String {
    let (due_at, ends) = (time(keys, "rotation_due_at"), time(keys, "issuer_ends"));
    match (due, here) {
        (false, true) => format!("due {due_at}, happens by itself"),
        (false, false) => format!("due {due_at}; put the root's key back by then"),
        (true, true) => format!("DUE, before {ends}: callgate manager key rotate"),
        (true, false) => format!("DUE, before {ends}: put the root's key back, then callgate manager key rotate"),
    }
}

pub(super) fn signing_keys(keys: &Value, _now: UnixMillis) -> String {
    let here = keys.get("root").and_then(|root| root.get("here")).and_then(Value::as_bool) == Some(true);
    let due = keys.get("rotation_due").and_then(Value::as_bool) == Some(true);
    let mut out = pairs(&[
        ("Signs", shown(keys, "active")),
        ("Key set", format!("number {}", number(keys, "key_set_seq"))),
        ("Root key", if here { "here" } else { "kept elsewhere; a rotation needs it" }.to_owned()),
        ("Rotation", rotation(keys, due, here)),
    ]);
    let items = keys.get("items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let columns = [("KEY", Lean::Left), ("STATE", Lean::Left), ("FROM", Lean::Left), ("UNTIL", Lean::Left)];
    out.push('\n');
    out.push_str(&listed(items, &columns, "No keys are noted.", |key| {
        vec![shown(key, "kid"), shown(key, "state"), time(key, "not_before"), time(key, "not_after")]
    }));
    out
}

pub(super) fn tags(tags: &[Value]) -> String {
    let columns = [
        ("TAG", Lean::Left),
        ("NAME", Lean::Left),
        ("CLASS", Lean::Left),
        ("TIER", Lean::Left),
        ("OVERAGE", Lean::Left),
    ];
    listed(tags, &columns, "No tags are known.", |tag| {
        let tier = tag.get("tier").filter(|tier| tier.is_object());
        let tier = tier.map(|tier| format!("{} {}", shown(tier, "family"), number(tier, "level")));
        let own = tag.get("overage").filter(|overage| overage.is_object());
        vec![
            shown(tag, "tag"),
            shown(tag, "display_name"),
            shown(tag, "class"),
            tier.unwrap_or_else(|| "-".to_owned()),
            own.map_or_else(|| "the account's".to_owned(), overage),
        ]
    })
}

/// Rows of whatever members the first has: times as times, the rest as it is.
pub(super) fn members(items: &[Value]) -> String {
    let names: Vec<String> =
        items.first().and_then(Value::as_object).map(|row| row.keys().cloned().collect()).unwrap_or_default();
    let titles: Vec<String> = names.iter().map(|name| printable(name).to_uppercase()).collect();
    let columns: Vec<(&str, Lean)> = titles.iter().map(|title| (title.as_str(), Lean::Left)).collect();
    let is_time = |name: &str| matches!(name, "at" | "from" | "until") || name.ends_with("_at");
    listed(items, &columns, "Nothing was.", |row| {
        let cell = |name: &String| match row.get(name) {
            None | Some(Value::Null) => "-".to_owned(),
            Some(Value::Number(_)) if is_time(name) => time(row, name),
            Some(Value::String(text)) => cut(text, 60),
            Some(other) => cut(&other.to_string(), 60),
        };
        names.iter().map(cell).collect()
    })
}

pub(super) fn audit_verified(verified: &Value, _now: UnixMillis) -> String {
    match verified.get("broken").and_then(Value::as_str) {
        Some(broken) => format!("BROKEN: {}\n", printable(broken)),
        None => format!(
            "Whole: {} entries.\nIts end: {}\nKeep that apart from the database: it shows a chain that was made anew.\n",
            number(verified, "entries"),
            shown_whole(verified, "head")
        ),
    }
}

fn shown_whole(value: &Value, name: &str) -> String {
    printable(text(value, name))
}
