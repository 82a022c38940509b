//! `callgate cluster`: members and loans of a running sidecar, commands to it; and the cluster's certificates, which need
//! no sidecar.

mod args;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::io::{BufRead, Write};
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

pub use self::args::{CaCommand, ClusterCommand};
use super::calls::Consent;
use super::text::{Lean, printable, span, table, time};
use super::{AdminArgs, Client, Failure, Format, connect, told};
use crate::cluster::NodeName;
use crate::shell::cluster::ca::{self, CA_CERTIFICATE, Made};
use crate::shell::cluster::identity::NEAR_EXPIRY_MS;
use crate::shell::config::Inputs;
use crate::units::UnixMillis;

/// Runs one command.
pub(super) fn run(
    command: ClusterCommand,
    inputs: Inputs,
    format: Format,
    now: UnixMillis,
    input: &mut impl BufRead,
    out: &mut impl Write,
) -> Result<(), Failure> {
    match command {
        ClusterCommand::Members(admin) => page(&admin, inputs, format, out, |cluster| members(cluster, now)),
        ClusterCommand::Loans(admin) => page(&admin, inputs, format, out, loans),
        ClusterCommand::Drain(admin) => post(&connect(&admin, inputs)?, "drain", &json!({}), format, out),
        ClusterCommand::Undrain(admin) => post(&connect(&admin, inputs)?, "undrain", &json!({}), format, out),
        ClusterCommand::Forget { admin, yes, node } => {
            let node = node_name(&node)?;
            let client = connect(&admin, inputs)?;
            let what = format!("what is kept of {node}");
            match Consent::of(yes) {
                Consent::Given => {}
                Consent::NobodyToAsk => {
                    let text = format!("would give up {what}. Nobody can be asked here: say --yes to do it.");
                    return Err(Failure::Refused(text));
                }
                Consent::Ask => {
                    write!(
                        out,
                        "This gives up {what}: if it still runs somewhere, calls beyond the licenses may be admitted.\n\
                         Go on? [y/N] "
                    )?;
                    out.flush()?;
                    let mut answer = String::new();
                    input.read_line(&mut answer)?;
                    if !matches!(answer.trim(), "y" | "Y" | "yes") {
                        return Err(Failure::Refused("nothing was given up".to_owned()));
                    }
                }
            }
            post(&client, "forget", &json!({ "node": node }), format, out)
        }
        ClusterCommand::Ca(CaCommand::Init { directory }) => {
            let made = ca::init(&directory, now).map_err(|error| Failure::Refused(error.to_string()))?;
            show_made(&made, format, out, &authority_text(&made, &directory))
        }
        ClusterCommand::Ca(CaCommand::Issue { node, directory }) => {
            let node = node_name(&node)?;
            let made = ca::issue(&directory, &node, now).map_err(|error| Failure::Refused(error.to_string()))?;
            show_made(&made, format, out, &node_text(&made, &node, &directory))
        }
    }
}

fn node_name(text: &str) -> Result<NodeName, Failure> {
    text.parse().map_err(|error: crate::cluster::NodeNameError| Failure::Refused(error.to_string()))
}

fn post(client: &Client, command: &str, body: &Value, format: Format, out: &mut impl Write) -> Result<(), Failure> {
    let answer = client.post(&format!("/v1/admin/cluster/{command}"), body)?;
    told(format, &answer, out, |answer, out| {
        let text = answer.get("text").and_then(Value::as_str).map(printable).unwrap_or_default();
        Ok(writeln!(out, "{text}")?)
    })
}

fn show_made(made: &Made, format: Format, out: &mut impl Write, text: &str) -> Result<(), Failure> {
    match format {
        Format::Json => writeln!(
            out,
            "{}",
            json!({
                "certificate": made.certificate,
                "key": made.key,
                "not_before": made.not_before,
                "not_after": made.not_after,
            })
        )?,
        Format::Text => write!(out, "{text}")?,
    }
    Ok(())
}

fn authority_text(made: &Made, directory: &Path) -> String {
    format!(
        "A certificate authority for one cluster, valid until {}:\n  {}  its certificate, which every node needs\n  {}  \
         its key: whoever has it can make members. Keep it off the nodes.\n\nNext, for each node, by its node.name:\n  \
         callgate cluster ca issue sip-a {}\n",
        time(made.not_after.0),
        made.certificate.display(),
        made.key.display(),
        directory.display()
    )
}

fn node_text(made: &Made, node: &NodeName, directory: &Path) -> String {
    format!(
        "A certificate for {node}, valid until {}. Copy these three to {node}, readable by the sidecar's user alone:\n  \
         {}\n  {}\n  {}\n\nand name them there:\n  [node]\n  name = \"{node}\"\n  [cluster]\n  listen = \"0.0.0.0:7503\"\n  \
         ca_file = \"/etc/callgate/cluster/{CA_CERTIFICATE}\"\n  certificate_file = \"/etc/callgate/cluster/{node}.pem\"\n  \
         key_file = \"/etc/callgate/cluster/{node}.key\"\n",
        time(made.not_after.0),
        directory.join(CA_CERTIFICATE).display(),
        made.certificate.display(),
        made.key.display()
    )
}

/// The cluster, as the sidecar tells it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Cluster {
    enabled: bool,
    node: String,
    listen: String,
    draining: bool,
    drained: bool,
    census_waits_for: Option<Vec<String>>,
    certificate_expires: u64,
    members: Vec<Member>,
    resources: Vec<Share>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Member {
    name: String,
    address: String,
    state: String,
    for_s: u64,
    round_trip_us: Option<u64>,
    certificate_expires: Option<u64>,
    failure: Option<String>,
    refused: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Share {
    resource: String,
    kind: String,
    home: u64,
    limit_units: u64,
    used_units: u64,
    limbo: u64,
    lent: std::collections::BTreeMap<String, u64>,
    borrowed: std::collections::BTreeMap<String, u64>,
}

fn page(
    admin: &AdminArgs,
    inputs: Inputs,
    format: Format,
    out: &mut impl Write,
    text: impl FnOnce(&Cluster) -> String,
) -> Result<(), Failure> {
    let answer = connect(admin, inputs)?.get("/v1/cluster")?;
    told(format, &answer, out, |answer, out| {
        let cluster = Cluster::deserialize(answer)
            .map_err(|error| Failure::Refused(format!("the sidecar's answer cannot be shown as text: {error}")))?;
        let text = if cluster.enabled {
            text(&cluster)
        } else {
            "This node is in no cluster: cluster.listen is \"off\".\n".to_owned()
        };
        Ok(write!(out, "{text}")?)
    })
}

/// When a certificate ends, with a word where that is soon.
fn expiry(ends: u64, now: UnixMillis) -> String {
    let warning = if ends <= now.0 {
        " (ENDED)"
    } else if ends <= now.0.saturating_add(NEAR_EXPIRY_MS) {
        " (SOON)"
    } else {
        ""
    };
    format!("{}{warning}", time(ends))
}

fn members(cluster: &Cluster, now: UnixMillis) -> String {
    let mut text = format!(
        "{} is heard at {}{}; its certificate ends at {}\n\n",
        printable(&cluster.node),
        printable(&cluster.listen),
        match (cluster.draining, cluster.drained) {
            (true, true) => ", drained: nothing is lent and nothing held",
            (true, false) => ", draining",
            (false, _) => "",
        },
        expiry(cluster.certificate_expires, now)
    );
    if let Some(missing) = &cluster.census_waits_for {
        let missing: Vec<String> = missing.iter().map(|name| printable(name)).collect();
        // Writing to a string doesn't fail.
        let _ = write!(
            text,
            "Its ledger is new: its own licenses are out of use until {} said what they hold of it.\n\n",
            if missing.is_empty() { "the disk has what members".to_owned() } else { missing.join(", ") }
        );
    }
    if cluster.members.is_empty() {
        text.push_str("No other member is configured.\n");
        return text;
    }
    let row = |member: &Member| {
        let round_trip = member.round_trip_us.map(|us| format!("{}.{} ms", us / 1000, us % 1000 / 100));
        vec![
            printable(&member.name),
            printable(&member.address),
            printable(&member.state),
            span(member.for_s),
            round_trip.unwrap_or_else(|| "-".to_owned()),
            member.certificate_expires.map_or_else(|| "-".to_owned(), |ends| expiry(ends, now)),
        ]
    };
    let columns = [
        ("MEMBER", Lean::Left),
        ("ADDRESS", Lean::Left),
        ("STATE", Lean::Left),
        ("FOR", Lean::Right),
        ("ROUND TRIP", Lean::Right),
        ("CERTIFICATE ENDS", Lean::Left),
    ];
    text.push_str(&table(&columns, &cluster.members.iter().map(row).collect::<Vec<_>>()));
    for member in &cluster.members {
        if let Some(failure) = &member.failure {
            // Writing to a string doesn't fail.
            let _ = write!(text, "\n{}: {}\n", printable(&member.name), printable(failure));
        }
        if let Some(refused) = member.refused.as_ref().filter(|_| member.state == "connected") {
            let _ = write!(
                text,
                "\n{}: nothing is lent to it or borrowed of it: it {}\n",
                printable(&member.name),
                printable(refused)
            );
        }
    }
    text
}

fn loans(cluster: &Cluster) -> String {
    if cluster.resources.is_empty() {
        return "Nothing is shared: cluster.share, and types without a count, leave nothing to lend.\n".to_owned();
    }
    let mut rows = Vec::new();
    for share in &cluster.resources {
        let sum = |words: &std::collections::BTreeMap<String, u64>| words.values().sum::<u64>().to_string();
        let head = [printable(&share.resource), printable(&share.kind), "all".to_owned()];
        let counts = [
            share.home.to_string(),
            sum(&share.lent),
            share.limbo.to_string(),
            sum(&share.borrowed),
            share.limit_units.to_string(),
            share.used_units.to_string(),
        ];
        rows.push(head.into_iter().chain(counts).collect());
        let mut peers: Vec<&String> = share.lent.keys().chain(share.borrowed.keys()).collect();
        peers.sort();
        peers.dedup();
        for peer in peers {
            let of =
                |words: &std::collections::BTreeMap<String, u64>| words.get(peer).copied().unwrap_or(0).to_string();
            let blank = String::new;
            let (lent, borrowed) = (of(&share.lent), of(&share.borrowed));
            rows.push(vec![blank(), blank(), printable(peer), blank(), lent, blank(), borrowed, blank(), blank()]);
        }
    }
    let columns = [
        ("RESOURCE", Lean::Left),
        ("KIND", Lean::Left),
        ("MEMBER", Lean::Left),
        ("OWN", Lean::Right),
        ("LENT", Lean::Right),
        ("RESTING", Lean::Right),
        ("BORROWED", Lean::Right),
        ("LIMIT", Lean::Right),
        ("USED", Lean::Right),
    ];
    format!(
        "{}\nOWN, LENT, RESTING and BORROWED count licenses (one: five calls per second, or one session); LIMIT and USED count units. \
         RESTING: out of use until nobody can use them elsewhere.\n",
        table(&columns, &rows)
    )
}
