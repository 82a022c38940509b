//! `callgate calls`: live calls, for people.

use std::io::{BufRead, IsTerminal, Write};

use serde::Deserialize;
use serde_json::{Value, json};

use super::args::{Format, ListArgs};
use super::client::Client;
use super::failure::Failure;
use super::text::{self, Lean, age, cut, printable, span, table};
use crate::units::UnixMillis;

/// The most calls of one page that the sidecar gives.
const PAGE_MAX: u32 = 1_000;

/// A call, as the sidecar tells it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Call {
    key: String,
    id: Option<String>,
    id_hex: Option<String>,
    kind: String,
    phase: String,
    suspect: bool,
    emergency: bool,
    forced: bool,
    webrtc: bool,
    seq: Option<u32>,
    trunk: Option<String>,
    tenant: Option<String>,
    proxy: Option<String>,
    #[serde(rename = "type")]
    license_type: Option<String>,
    license_tier: Option<String>,
    units: u16,
    admitted_at: u64,
    lease_left_s: u64,
}

impl Call {
    fn of(value: &Value) -> Self {
        Self::deserialize(value).unwrap_or_default()
    }

    /// Its id as people know it, or what is there of it.
    fn name(&self) -> String {
        match (&self.id, &self.id_hex) {
            (Some(id), _) => printable(id),
            (None, Some(hex)) => format!("0x{}", printable(hex)),
            (None, None) => "(id not kept)".to_owned(),
        }
    }

    fn state(&self) -> String {
        let flags = [
            (self.suspect, "SUSPECT"),
            (self.emergency, "emergency"),
            (self.forced && !self.emergency, "forced"),
            (self.webrtc, "webrtc"),
        ];
        let set = flags.into_iter().filter(|(set, _)| *set).map(|(_, name)| name);
        std::iter::once(self.phase.as_str()).chain(set).collect::<Vec<_>>().join(" ")
    }

    fn row(&self, now: UnixMillis) -> Vec<String> {
        let or_dash = |name: &Option<String>| name.as_ref().map_or_else(|| "-".to_owned(), |name| cut(name, 20));
        vec![
            self.key.clone(),
            cut(&self.name(), 32),
            self.kind.clone(),
            self.state(),
            or_dash(&self.trunk),
            or_dash(&self.tenant),
            or_dash(&self.proxy),
            age(self.admitted_at, now),
            span(self.lease_left_s),
        ]
    }
}

const COLUMNS: &[(&str, Lean)] = &[
    ("KEY", Lean::Left),
    ("ID", Lean::Left),
    ("KIND", Lean::Left),
    ("STATE", Lean::Left),
    ("TRUNK", Lean::Left),
    ("TENANT", Lean::Left),
    ("PROXY", Lean::Left),
    ("AGE", Lean::Right),
    ("LEASE LEFT", Lean::Right),
];

/// What `list` found.
#[derive(Debug)]
pub(super) struct Listed {
    calls: Vec<Value>,
    next: Option<String>,
}

pub(super) fn list(client: &Client, args: &ListArgs) -> Result<Listed, Failure> {
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let mut found = Listed { calls: Vec::new(), next: args.cursor.clone() };
    loop {
        let missing = u32::try_from(limit.saturating_sub(found.calls.len())).unwrap_or(PAGE_MAX);
        let mut path = format!("/v1/calls?limit={}", missing.clamp(1, PAGE_MAX));
        if let Some(cursor) = &found.next {
            let digits = cursor.bytes().all(|byte| byte.is_ascii_digit());
            if !digits || cursor.is_empty() {
                return Err(Failure::Refused(format!(
                    "--cursor: found {}; accepted is the number that the last list ended with",
                    printable(cursor)
                )));
            }
            path.push_str(&format!("&cursor={cursor}"));
        }
        let page = client.get(&path)?;
        let calls = page.get("calls").and_then(Value::as_array).cloned().unwrap_or_default();
        found.calls.extend(calls.into_iter().filter(|call| wanted(call, args)));
        found.next = page.get("next_cursor").and_then(Value::as_str).map(str::to_owned);
        if found.next.is_none() || found.calls.len() >= limit {
            return Ok(found);
        }
    }
}

fn wanted(value: &Value, args: &ListArgs) -> bool {
    let call = Call::of(value);
    let is = |asked: &Option<String>, found: &Option<String>| asked.is_none() || asked == found;
    is(&args.trunk, &call.trunk)
        && is(&args.tenant, &call.tenant)
        && is(&args.proxy, &call.proxy)
        && (!args.suspect || call.suspect)
        && args.phase.is_none_or(|phase| phase.name() == call.phase)
}

impl Listed {
    pub(super) fn print(&self, format: Format, now: UnixMillis, out: &mut dyn Write) -> Result<(), Failure> {
        match format {
            Format::Json => writeln!(out, "{}", json!({ "calls": self.calls, "next_cursor": self.next }))?,
            Format::Text if self.calls.is_empty() => writeln!(out, "No such call is live.")?,
            Format::Text => {
                let rows: Vec<_> = self.calls.iter().map(|call| Call::of(call).row(now)).collect();
                write!(out, "{}", table(COLUMNS, &rows))?;
            }
        }
        if let (Format::Text, Some(next)) = (format, &self.next) {
            writeln!(out, "\nThere are more: --cursor {}", printable(next))?;
        }
        Ok(())
    }
}

/// A call by its key, or by its id's text.
pub(super) fn find(client: &Client, named: &str) -> Result<Value, Failure> {
    if named.len() == 32 && named.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return client.get(&format!("/v1/calls/{}", named.to_ascii_lowercase()));
    }
    let mut cursor: Option<String> = None;
    loop {
        let after = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        let page = client.get(&format!("/v1/calls?limit={PAGE_MAX}{after}"))?;
        let calls = page.get("calls").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        if let Some(call) = calls.iter().find(|call| call.get("id").and_then(Value::as_str) == Some(named)) {
            return Ok(call.clone());
        }
        cursor = page.get("next_cursor").and_then(Value::as_str).map(str::to_owned);
        if cursor.is_none() {
            return Err(Failure::Refused(format!(
                "no live call has the id {}. If its id's text was not kept, name it by its key: `callgate calls list`.",
                printable(named)
            )));
        }
    }
}

pub(super) fn print_one(value: &Value, format: Format, now: UnixMillis, out: &mut dyn Write) -> Result<(), Failure> {
    if format == Format::Json {
        writeln!(out, "{value}")?;
        return Ok(());
    }
    let call = Call::of(value);
    let or_none = |name: &Option<String>| name.as_deref().map_or_else(|| "-".to_owned(), printable);
    let license_type = match (&call.license_type, &call.license_tier) {
        (Some(asked), Some(tier)) => format!("{} (served by {})", printable(asked), printable(tier)),
        (asked, _) => or_none(asked),
    };
    for (name, value) in [
        ("key", call.key.clone()),
        ("id", call.name()),
        ("kind", call.kind.clone()),
        ("state", call.state()),
        ("trunk", or_none(&call.trunk)),
        ("tenant", or_none(&call.tenant)),
        ("proxy", or_none(&call.proxy)),
        ("type", license_type),
        ("units", call.units.to_string()),
        ("seq", call.seq.map_or_else(|| "-".to_owned(), |seq| seq.to_string())),
        ("admitted", format!("{} ({} ago)", text::time(call.admitted_at), age(call.admitted_at, now))),
        ("lease left", span(call.lease_left_s)),
    ] {
        writeln!(out, "{name:<11} {value}")?;
    }
    Ok(())
}

/// How `release` asks: what a terminal is, a script isn't.
#[derive(Debug)]
pub(super) enum Consent {
    Given,
    Ask,
    NobodyToAsk,
}

impl Consent {
    pub(super) fn of(yes: bool) -> Self {
        if yes {
            Self::Given
        } else if std::io::stdin().is_terminal() {
            Self::Ask
        } else {
            Self::NobodyToAsk
        }
    }
}

pub(super) fn release(
    client: &Client,
    named: &str,
    consent: &Consent,
    format: Format,
    now: UnixMillis,
    input: &mut dyn BufRead,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let call = Call::of(&find(client, named)?);
    let status = client.get("/v1/status")?;
    let node = status.get("node").and_then(Value::as_str).map_or_else(|| "this host".to_owned(), printable);
    let what = format!(
        "call {} ({}, {}, admitted {} ago) on {node}",
        call.name(),
        call.key,
        call.state(),
        age(call.admitted_at, now)
    );
    match consent {
        Consent::Given => {}
        Consent::NobodyToAsk => {
            return Err(Failure::Refused(format!(
                "would free the slot of {what}. Nobody can be asked here: say --yes to do it."
            )));
        }
        Consent::Ask => {
            write!(out, "This frees the slot of {what} at once. The call itself is not hung up.\nGo on? [y/N] ")?;
            out.flush()?;
            let mut answer = String::new();
            input.read_line(&mut answer)?;
            if !matches!(answer.trim(), "y" | "Y" | "yes") {
                return Err(Failure::Refused("nothing was released".to_owned()));
            }
        }
    }
    let answer = client.post("/v1/admin/calls/release", &json!({ "key": call.key }))?;
    if answer.get("released").and_then(Value::as_bool) != Some(true) {
        return Err(Failure::Refused(format!("{what} ended meanwhile: there was nothing to release")));
    }
    match format {
        Format::Json => writeln!(out, "{}", json!({ "released": true, "key": call.key, "node": node }))?,
        Format::Text => writeln!(out, "Released: {what}")?,
    }
    Ok(())
}
