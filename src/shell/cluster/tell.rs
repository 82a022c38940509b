//! What the cluster's driver finds, as this sidecar's alarms.

use serde_json::json;

use super::ca::date;
use super::identity::NEAR_EXPIRY_MS;
use super::status::Member;
use crate::cluster::Event;
use crate::shell::context::Context;
use crate::shell::telemetry::{AlarmId, EventKind, Raise, Severity};
use crate::units::UnixMillis;

/// The driver doesn't run.
#[must_use]
pub fn down(why: &str) -> Raise {
    Raise {
        id: AlarmId::ClusterDown,
        subject: String::new(),
        severity: Severity::Major,
        what: format!("The cluster's driver doesn't run: {}.", why.trim_end_matches('.')),
        effect: "Calls are decided by what this node has now; borrowed calls per second end with their loans."
            .to_owned(),
        next: "It is tried again, more rarely each time, at most five minutes apart.".to_owned(),
        remedy: "Do what the message says; the log has more.".to_owned(),
    }
}

/// etcd isn't reached, or refuses.
#[cfg(feature = "etcd")]
#[must_use]
pub fn etcd_lost(why: &str) -> Raise {
    Raise {
        id: AlarmId::ClusterDown,
        subject: "etcd".to_owned(),
        severity: Severity::Major,
        what: format!("Nothing can be taken or given back: {}.", why.trim_end_matches('.')),
        effect:
            "Calls go on with the chunk that this node has: sessions for as long as it takes, calls per second until \
                 cluster.etcd.ttl_s is over; then with what keep_percent left here."
                .to_owned(),
        next: "It is tried again every second or two, and the alarm ends when etcd answers.".to_owned(),
        remedy: "Do what the message says: look at etcd, the way to it, and the user and certificates of cluster.etcd."
            .to_owned(),
    }
}

/// What lies in etcd isn't what callgate left there.
#[cfg(feature = "etcd")]
#[must_use]
pub fn etcd_wrong(event: &crate::cluster::chunks::ChunkEvent) -> Raise {
    use crate::cluster::chunks::ChunkEvent;
    let (what, effect, remedy) = match event {
        ChunkEvent::NameTaken(id) => (
            format!("Sessions of {} under this node's name belong to another state directory.", id.name),
            "No sessions are taken of etcd here; calls go on with what keep_percent left.",
            "Give each node a name of its own. If the other one is gone for good: `callgate cluster forget` at a third.",
        ),
        ChunkEvent::WentBack => (
            "etcd is older than it was: a backup was put in its place.".to_owned(),
            "What was taken since that backup may be given out again.",
            "After restoring etcd, stop all sidecars of the cluster for cluster.etcd.ttl_s, and let session calls end.",
        ),
        ChunkEvent::Unreadable(key) => (
            format!("The key {key} holds something that callgate didn't write."),
            "Nothing is taken of that resource or given back.",
            "Look who else writes under cluster.etcd.prefix; `etcdctl get` shows the key.",
        ),
        ChunkEvent::Lapsed
        | ChunkEvent::Reaped(..)
        | ChunkEvent::HomeReached(..)
        | ChunkEvent::StillAlive(_)
        | ChunkEvent::Forgotten(..) => (format!("{event:?}"), "None.", "None."),
    };
    Raise {
        id: AlarmId::ClusterLedger,
        subject: "etcd".to_owned(),
        severity: Severity::Major,
        what,
        effect: effect.to_owned(),
        next: "It is looked at again every few seconds.".to_owned(),
        remedy: remedy.to_owned(),
    }
}

/// Records cannot be made durable.
#[must_use]
pub fn ledger_failing(why: &str) -> Raise {
    Raise {
        id: AlarmId::ClusterLedger,
        subject: String::new(),
        severity: Severity::Major,
        what: format!("The cluster's ledger cannot be written: {}.", why.trim_end_matches('.')),
        effect: "Nothing more is lent; what is lent and borrowed stays. No call is affected otherwise.".to_owned(),
        next: "It is tried again, and lending goes on once it succeeds.".to_owned(),
        remedy: "Look at the disk under node.data_dir: is it full, read-only or failing?".to_owned(),
    }
}

/// A member isn't reached for long.
#[must_use]
pub fn lost(member: &Member) -> Raise {
    let why = member.failure.as_deref().unwrap_or("no connection");
    Raise {
        id: AlarmId::ClusterPeerLost,
        subject: member.name.clone(),
        severity: Severity::Warning,
        what: format!("The member {} is not reached: {}.", member.name, why.trim_end_matches('.')),
        effect: "Nothing is borrowed of it; what it holds of this node stays out of use here until its loans end."
            .to_owned(),
        next: "It is dialed again every few seconds, and the alarm ends when it is connected.".to_owned(),
        remedy: format!(
            "Look whether it runs, and whether {} is reached by UDP; if it is gone for good, `callgate cluster forget {}`.",
            member.address, member.name
        ),
    }
}

/// A new ledger waits for members to say what they hold of it.
#[must_use]
pub fn census(missing: &[String]) -> Raise {
    let missing = if missing.is_empty() { "the disk".to_owned() } else { missing.join(", ") };
    Raise {
        id: AlarmId::ClusterCensus,
        subject: String::new(),
        severity: Severity::Major,
        what: format!("This node's ledger is new, and {missing} hasn't said yet what it holds of this node."),
        effect: "Its own shared licenses are out of use: only borrowed ones admit calls.".to_owned(),
        next: "They are used as soon as every member of cluster.peers has answered.".to_owned(),
        remedy:
            "Start or connect the members; of one that is gone for good, or was never there, `callgate cluster forget`."
                .to_owned(),
    }
}

/// A certificate ends soon, or has ended; `None` while there is time.
#[must_use]
pub fn certificate(whose: &str, ends: UnixMillis, now: UnixMillis) -> Option<Raise> {
    if ends.0 > now.0.saturating_add(NEAR_EXPIRY_MS) {
        return None;
    }
    let over = ends <= now;
    Some(Raise {
        id: AlarmId::ClusterCertificate,
        subject: whose.to_owned(),
        severity: if over { Severity::Major } else { Severity::Warning },
        what: format!("The cluster certificate of {whose} {} on {}.", if over { "ended" } else { "ends" }, date(ends)),
        effect: if over {
            "Peers refuse it: nothing is lent to it or borrowed of it.".to_owned()
        } else {
            "None yet.".to_owned()
        },
        next: if over { "It stays so.".to_owned() } else { "From then on its peers refuse it.".to_owned() },
        remedy: format!(
            "Issue a new one with `callgate cluster ca issue {whose} DIR`, put both files in place, and `callgate reload`."
        ),
    })
}

/// Two processes have one name.
#[must_use]
pub fn name_twice(name: &str, seen: &str) -> Raise {
    Raise {
        id: AlarmId::ClusterNameTwice,
        subject: name.to_owned(),
        severity: Severity::Major,
        what: format!("Two nodes use the name {name} in turn, seen at {seen}."),
        effect: "What is lent to that name goes back and forth; no limit is exceeded.".to_owned(),
        next: "It stays so until one of them stops.".to_owned(),
        remedy: "Give each node a name and a certificate of its own; a copied state directory must not run twice."
            .to_owned(),
    }
}

/// What the core tells, as alarms, events and log lines.
pub fn event(context: &Context, event: &Event, wall: UnixMillis) {
    match event {
        // Counted by the driver.
        Event::Ignored { .. } => {}
        Event::LedgerFailed { batch } => tracing::error!(
            batch,
            "records of the ledger are not durable: nothing is lent that needs them until they are"
        ),
        Event::LedgerWritable => tracing::info!("the ledger's records are durable again"),
        Event::GrantIgnored { resource, epoch } => {
            tracing::warn!(
                epoch = epoch.0,
                "a home count of {} is ignored: older than one that is known, or out of bounds",
                resource.name
            );
        }
        Event::OvershootPossible { resource, borrower, units } => tell_operators(
            context,
            Severity::Major,
            format!(
                "{borrower} is silent for long: {} licenses of {} were taken back from it, and it may use them still.",
                units.0, resource.name
            ),
            json!({ "overshoot_possible": { "of": borrower.as_str(), "resource": &*resource.name, "licenses": units.0 } }),
        ),
        Event::OvershootClosed { resource, borrower, units } => tell_operators(
            context,
            Severity::Info,
            format!(
                "{borrower} is back: the {} licenses of {} that were taken back are in use once only.",
                units.0, resource.name
            ),
            json!({ "overshoot_closed": { "of": borrower.as_str(), "resource": &*resource.name, "licenses": units.0 } }),
        ),
        Event::CensusOver => {
            tracing::info!("every member said what it holds of this node: its licenses are in use again")
        }
        Event::Drained => tracing::info!("nothing is lent and nothing held: this node may go"),
        Event::PeerUp { node } => tracing::info!("{node} answers"),
        Event::PeerSuspect { node } => tracing::info!("{node} doesn't answer; it is given a few seconds"),
        Event::PeerDown { node } => tracing::warn!("{node} answers no more"),
        Event::PeerRejoined { node } => tracing::info!("{node} is back in a new life"),
        Event::PeerLost { node } => tracing::warn!("{node} is lost"),
        Event::PeerBack { node } => tracing::info!("{node}, which was lost, is back"),
        Event::MembersFull { refused } => {
            context.alarms.raise(full(refused.as_str()), wall);
        }
        Event::OtherVersion { node, found: [low, high], accepted: [from, to] } => tracing::warn!(
            "{node} speaks versions {low} to {high} of the cluster's protocol, this node {from} to {to}: nothing is lent \
             to it or borrowed of it"
        ),
        Event::NameUsedTwice { node, ledgers: [known, came] } => {
            let seen = format!("ledger {:032x} and ledger {:032x}", known.0, came.0);
            context.alarms.raise(name_twice(node.as_str(), &seen), wall);
        }
        Event::LedgerUsedTwice { ledger, nodes: [one, other] } => {
            context.alarms.raise(ledger_twice(one.as_str(), other.as_str(), ledger.0), wall);
        }
        Event::LedgerWentBack { node, ledger, seen, found } => {
            context.alarms.raise(ledger_went_back(node.as_str(), ledger.0, seen.0, found.0), wall);
        }
        Event::Replaced { node, before, now } => {
            tracing::warn!("{node} has a new ledger, {:032x}; {:032x} fell silent", now.0, before.0);
        }
        Event::RetentionEnded { node } => tell_operators(
            context,
            Severity::Warning,
            format!("The time is over for which licenses of {node} are kept: they are out of use from now on."),
            json!({ "retention_ended": node.as_str() }),
        ),
        Event::Trustee { about, round } => {
            tracing::info!(round, "this node keeps what {about} left: a majority voted for it");
        }
        Event::RetainedUse { node, resource, licenses } => tell_operators(
            context,
            Severity::Warning,
            format!("{} licenses of {} that {node} left are in use here.", licenses.0, resource.name),
            json!({ "retained_use": { "of": node.as_str(), "resource": &*resource.name, "licenses": licenses.0 } }),
        ),
    }
}

/// For the audit: an event and a log line.
fn tell_operators(context: &Context, severity: Severity, text: String, data: serde_json::Value) {
    tracing::warn!("{text}");
    context.events.publish(context.clock.wall(), EventKind::Cluster, severity, text, data);
}

fn full(refused: &str) -> Raise {
    Raise {
        id: AlarmId::ClusterFull,
        subject: String::new(),
        severity: Severity::Warning,
        what: format!("The list of the cluster's members is full: {refused} was left out."),
        effect: "Nothing is borrowed of members that are left out. No call is affected otherwise.".to_owned(),
        next: "It stays so until members leave.".to_owned(),
        remedy: "Raise cluster.parameters.members_max, or look who all these members are.".to_owned(),
    }
}

fn ledger_twice(one: &str, other: &str, ledger: u128) -> Raise {
    Raise {
        what: format!("The nodes {one} and {other} use one ledger, {ledger:032x}: it was copied."),
        effect: "Each lends the same licenses: limits may be exceeded until one of them stops.".to_owned(),
        ..name_twice(one, "")
    }
}

fn ledger_went_back(node: &str, ledger: u128, seen: u64, found: u64) -> Raise {
    Raise {
        what: format!(
            "The ledger {ledger:032x} of {node} went back from opening {seen} to {found}: an older copy was put in its \
             place."
        ),
        effect: "Nothing is borrowed of it: it may lend what it has lent already.".to_owned(),
        remedy: format!("On {node}: move ledger.redb and ledger.mark away and start it again."),
        ..name_twice(node, "")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_told_a_month_before_its_end_and_worse_after_it() {
        let day = 86_400_000;
        let now = UnixMillis(1_800_000_000_000);
        let at = |days: u64| UnixMillis(now.0 + days * day);
        assert_eq!(certificate("sip-a", at(31), now), None);
        let near = certificate("sip-a", at(29), now).unwrap();
        assert_eq!(near.severity, Severity::Warning);
        assert!(near.remedy.contains("ca issue sip-a"), "{near:?}");
        assert_eq!(certificate("sip-a", now, now).unwrap().severity, Severity::Major);
    }
}
