//! What Redis clients and Redis monitoring want to know about a server.

use std::fmt::Write;

use super::super::shared::Shared;
use super::super::status::{license_state, mode_name};
use crate::admission::Cause;
use crate::codec::resp::{Protocol, reply};
use crate::shell::process;
use crate::shell::telemetry::{FrontEnd, RefusedConnection};

/// The Redis version whose connection commands are spoken: clients choose what they send by it.
const REDIS_VERSION: &str = "7.2.0";

/// Name, and how many words it has, itself counted; below zero: at least so many.
const COMMANDS: &[(&str, i8)] = &[
    ("admit", -2),
    ("admit.bool", -2),
    ("confirm", -2),
    ("release", -2),
    ("refresh", -2),
    ("proxy", 3),
    ("resync", -3),
    ("status", 1),
    ("info", -1),
    ("ping", -1),
    ("echo", 2),
    ("hello", -1),
    ("auth", -2),
    ("select", 2),
    ("client", -2),
    ("command", -1),
    ("config", -2),
    ("quit", 1),
    ("reset", 1),
];

/// `COMMAND COUNT`.
pub(super) fn command_count() -> u64 {
    u64::try_from(COMMANDS.len()).unwrap_or(0)
}

/// `COMMAND`: name, arity, flags, first key, last key, step. The call id is no key: a client that spreads keys over
/// servers has nothing to spread.
pub(super) fn commands(out: &mut Vec<u8>) {
    reply::array(out, COMMANDS.len());
    for (name, arity) in COMMANDS {
        reply::array(out, 6);
        reply::bulk(out, name.as_bytes());
        out.extend_from_slice(format!(":{arity}\r\n").as_bytes());
        reply::array(out, 1);
        reply::simple(out, "fast");
        for _ in 0..3 {
            reply::integer(out, 0);
        }
    }
}

/// The answer to `HELLO`.
pub(super) fn hello(out: &mut Vec<u8>, protocol: Protocol, id: u64) {
    let number = match protocol {
        Protocol::Resp2 => 2,
        Protocol::Resp3 => 3,
    };
    reply::map(out, 7, protocol);
    for (key, value) in [("server", "callgate"), ("version", REDIS_VERSION)] {
        reply::bulk(out, key.as_bytes());
        reply::bulk(out, value.as_bytes());
    }
    reply::bulk(out, b"proto");
    reply::integer(out, number);
    reply::bulk(out, b"id");
    reply::integer(out, id);
    for (key, value) in [("mode", "standalone"), ("role", "master")] {
        reply::bulk(out, key.as_bytes());
        reply::bulk(out, value.as_bytes());
    }
    reply::bulk(out, b"modules");
    reply::array(out, 0);
}

/// `INFO [section]`: Redis-style text.
pub(super) fn info(shared: &Shared, section: Option<&[u8]>) -> String {
    let context = &shared.context;
    let status = context.gate.full_status(context.clock.now());
    let process = process::view();
    let front = context.counters.front(FrontEnd::Resp);
    let refused: u64 = Cause::ALL
        .iter()
        .zip(status.refused_total)
        .filter(|(cause, _)| !cause.admits())
        .fold(0, |sum, (_, count)| sum.saturating_add(count));
    let commands =
        crate::shell::telemetry::Command::ALL.iter().map(|command| front.commands_total(*command)).sum::<u64>();
    let live = u64::from(status.calls_live) + u64::from(status.registrations_live);
    let sections: [(&str, Vec<(&str, String)>); 7] = [
        (
            "Server",
            vec![
                ("redis_version", REDIS_VERSION.to_owned()),
                ("redis_mode", "standalone".to_owned()),
                ("callgate_version", env!("CARGO_PKG_VERSION").to_owned()),
                ("os", "Linux".to_owned()),
                ("process_id", std::process::id().to_string()),
                ("uptime_in_seconds", context.uptime_s().to_string()),
            ],
        ),
        (
            "Clients",
            vec![
                ("connected_clients", shared.resp.open().to_string()),
                ("maxclients", shared.limits.connections_max.to_string()),
            ],
        ),
        (
            "Memory",
            vec![
                ("used_memory", process.resident_bytes.to_string()),
                ("used_memory_rss", process.resident_bytes.to_string()),
            ],
        ),
        (
            "Stats",
            vec![
                ("total_connections_received", front.accepted_total().to_string()),
                ("rejected_connections", front.refused_total(RefusedConnection::Limit).to_string()),
                ("total_commands_processed", commands.to_string()),
                ("total_net_input_bytes", front.bytes_in.get().to_string()),
                ("total_net_output_bytes", front.bytes_out.get().to_string()),
            ],
        ),
        ("Replication", vec![("role", "master".to_owned()), ("connected_slaves", "0".to_owned())]),
        (
            "Admission",
            vec![
                ("mode", mode_name(status.mode).to_owned()),
                ("draining", u8::from(status.draining).to_string()),
                ("calls_live", status.calls_live.to_string()),
                ("registrations_live", status.registrations_live.to_string()),
                ("suspect_live", status.suspect_live.to_string()),
                ("admitted_total", status.admitted_total.to_string()),
                ("refused_total", refused.to_string()),
                ("released_total", status.released_total.to_string()),
                ("lapsed_total", status.lapsed_total.to_string()),
                ("duplicates_total", status.duplicates_total.to_string()),
                ("license_state", license_state(shared).to_owned()),
            ],
        ),
        (
            "Keyspace",
            if live > 0 { vec![("db0", format!("keys={live},expires={live},avg_ttl=0"))] } else { Vec::new() },
        ),
    ];
    let all = section.is_none_or(|name| matches!(name, b"all" | b"everything" | b"default"));
    let mut text = String::new();
    for (title, lines) in sections {
        if all || section.is_some_and(|name| title.as_bytes().eq_ignore_ascii_case(name)) {
            if !text.is_empty() {
                text.push_str("\r\n");
            }
            // Writing to a String can't fail.
            let _ = write!(text, "# {title}\r\n");
            for (key, value) in lines {
                let _ = write!(text, "{key}:{value}\r\n");
            }
        }
    }
    text
}
