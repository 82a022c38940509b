//! `callgate config`: checks and shows a configuration, without a running sidecar.

use std::io::Write;

use serde_json::json;

use super::args::Format;
use super::failure::Failure;
use crate::shell::config::{Address, Config, Loaded, Loader, RatePolicy, default_file};

/// Says what is wrong, or what it comes to.
pub(super) fn check(loader: &Loader, format: Format, out: &mut dyn Write) -> Result<(), Failure> {
    let loaded = loader.load()?;
    match format {
        Format::Json => writeln!(out, "{}", json!({ "ok": true, "warnings": loaded.warnings }))?,
        Format::Text => summary(&loaded, out)?,
    }
    Ok(())
}

fn summary(loaded: &Loaded, out: &mut dyn Write) -> Result<(), Failure> {
    let Config { node, license, admission, listen, .. } = &loaded.config;
    let file = loaded
        .loader
        .file
        .as_ref()
        .map_or_else(|| "no file, the defaults".to_owned(), |file| file.display().to_string());
    writeln!(out, "OK: {file}")?;
    writeln!(out, "    node       {}, state in {}", node.name, node.data_dir.display())?;
    let sessions = license.sessions.map_or_else(
        || "sessions not limited".to_owned(),
        |sessions| {
            let above = if license.overage { "above it: admitted as overage" } else { "above it: refused" };
            format!("{sessions} sessions ({above})")
        },
    );
    writeln!(
        out,
        "    license    profile {}{}, {} calls per second ({} licenses), {sessions}",
        license.profile,
        if license.enabled { "" } else { ", off" },
        license.count.rate().get(),
        license.count.licenses()
    )?;
    let policy = match admission.rate_policy {
        RatePolicy::Strict => "strict".to_owned(),
        RatePolicy::Burst(burst) => format!("bursts of {burst}"),
    };
    let mode = match admission.mode {
        crate::shell::config::Mode::Enforce => "enforce",
        crate::shell::config::Mode::Shadow => "shadow (refuses nothing)",
    };
    writeln!(
        out,
        "    admission  {mode}, {policy}; listed trunks: {}, tenants: {}",
        loaded.config.trunk.len(),
        loaded.config.tenant.len()
    )?;
    let resp: Vec<String> = listen.resp.iter().map(Address::to_string).collect();
    let resp = if resp.is_empty() { "off".to_owned() } else { resp.join(", ") };
    let datagram: Vec<String> = listen.datagram.iter().map(Address::to_string).collect();
    let datagram = if datagram.is_empty() { "off".to_owned() } else { datagram.join(", ") };
    writeln!(out, "    listens    RESP {resp}; datagrams {datagram}; HTTP {}", listen.http)?;
    for warning in &loaded.warnings {
        writeln!(out, "warning: {warning}")?;
    }
    Ok(())
}

/// Prints every effective value and where it came from.
pub(super) fn show(loader: &Loader, format: Format, out: &mut dyn Write) -> Result<(), Failure> {
    let loaded = loader.load()?;
    match format {
        Format::Json => writeln!(out, "{}", json!({ "keys": loaded.shown(), "warnings": loaded.warnings }))?,
        Format::Text => write!(out, "{}", loaded.to_toml())?,
    }
    Ok(())
}

/// Prints the commented default file.
pub(super) fn default(format: Format, out: &mut dyn Write) -> Result<(), Failure> {
    match format {
        Format::Json => writeln!(out, "{}", json!({ "file": default_file() }))?,
        Format::Text => write!(out, "{}", default_file())?,
    }
    Ok(())
}
