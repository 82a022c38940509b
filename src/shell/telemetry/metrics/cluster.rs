//! The families of the cluster.

use std::fmt::Error;

use super::Sample;
use super::page::{Labels, Page, escaped};
use crate::cluster::Licenses;
use crate::shell::cluster::status::{ClusterStatus, MEMBER_STATES, Share};
use crate::units::UnixMillis;

fn one(value: u64) -> [(Labels<'static>, u64); 1] {
    [(Vec::new(), value)]
}

#[expect(clippy::as_conversions, reason = "milliseconds to a float of seconds for display; f64 has no TryFrom<u64>")]
fn seconds(at: UnixMillis) -> f64 {
    at.0 as f64 / 1e3
}

/// One row for each resource and member.
fn words<'a>(
    resources: &'a [Share],
    of: fn(&Share) -> &std::collections::BTreeMap<String, Licenses>,
) -> impl Iterator<Item = (Labels<'a>, u64)> {
    resources.iter().flat_map(move |share| {
        of(share).iter().map(|(member, count)| {
            let labels = vec![("resource", escaped(&share.resource)), ("member", escaped(member))];
            (labels, u64::from(count.0))
        })
    })
}

impl Sample {
    pub(super) fn cluster(&self, page: &mut Page<'_, '_>) -> Result<(), Error> {
        let alone = ClusterStatus::default();
        let cluster = self.cluster.as_deref().unwrap_or(&alone);
        page.gauge("cluster_enabled", "1 if this node is in a cluster", one(self.cluster.is_some().into()))?;
        page.gauge("cluster_incarnation", "How often the ledger was opened", one(cluster.incarnation))?;
        page.gauge("cluster_draining", "1 while this node takes no part", one(cluster.draining.into()))?;
        let members = |state: &str| cluster.members.iter().filter(|member| member.state == state).count();
        page.gauge(
            "cluster_members",
            "Other configured members, by state",
            MEMBER_STATES.map(|state| (vec![("state", state.into())], u64::try_from(members(state)).unwrap_or(0))),
        )?;
        let own = self.cluster.is_some().then_some((cluster.node.as_str(), cluster.certificate_expires));
        let others =
            cluster.members.iter().filter_map(|member| Some((member.name.as_str(), member.certificate_expires?)));
        page.gauge_f64(
            "cluster_certificate_expiry_timestamp_seconds",
            "When certificates end, as Unix time",
            own.into_iter().chain(others).map(|(name, ends)| (vec![("member", escaped(name))], seconds(ends))),
        )?;
        page.gauge(
            "cluster_home_licenses",
            "What this node holds by its own grant",
            cluster.resources.iter().map(|of| (vec![("resource", escaped(&of.resource))], u64::from(of.home.0))),
        )?;
        let each = |of: fn(&Share) -> u64| {
            cluster.resources.iter().map(move |share| (vec![("resource", escaped(&share.resource))], of(share)))
        };
        page.gauge(
            "cluster_limit_units",
            "The limit for new calls: home, less what is lent and rests, and what is borrowed",
            each(|share| share.limit_units.into()),
        )?;
        page.gauge("cluster_used_units", "Units in use here", each(|share| share.used_units.into()))?;
        page.gauge(
            "cluster_resting_licenses",
            "Home licenses that rest until nobody can use them any more",
            each(|share| share.limbo.0.into()),
        )?;
        page.gauge(
            "cluster_starving",
            "1 while calls are refused for want of units",
            each(|share| share.starving.into()),
        )?;
        page.gauge(
            "cluster_census",
            "1 while this node's ledger is new and members have not said what they hold of it",
            one(cluster.census_waits_for.is_some().into()),
        )?;
        page.gauge(
            "cluster_recalled_licenses",
            "Of what is lent: wanted back and not back yet",
            words(&cluster.resources, |of| &of.recalled),
        )?;
        page.gauge(
            "cluster_reclaimed_licenses",
            "Taken back from members that are long silent and may use it still",
            words(&cluster.resources, |of| &of.reclaimed),
        )?;
        page.gauge(
            "cluster_lent_licenses",
            "What is lent: what each member may hold",
            words(&cluster.resources, |of| &of.lent),
        )?;
        page.gauge("cluster_borrowed_licenses", "What is borrowed", words(&cluster.resources, |of| &of.borrowed))?;
        self.cluster_traffic(page, cluster)
    }

    fn cluster_traffic(&self, page: &mut Page<'_, '_>, cluster: &ClusterStatus) -> Result<(), Error> {
        let figures = &cluster.figures;
        let traffic = &figures.transport;
        let both = |sent: u64, received: u64| {
            [(vec![("direction", "sent".into())], sent), (vec![("direction", "received".into())], received)]
        };
        page.counter(
            "cluster_messages",
            "Messages over streams",
            both(traffic.messages_sent, traffic.messages_received),
        )?;
        page.counter("cluster_datagrams", "Datagrams", both(traffic.datagrams_sent, traffic.datagrams_received))?;
        let dropped = [
            ("replaced", traffic.replaced),
            ("overflowed", traffic.overflowed),
            ("unconnected", traffic.unconnected),
            ("datagram_not_taken", traffic.datagrams_failed),
            ("datagram_too_fast", traffic.datagrams_dropped),
            ("handshake_too_many", traffic.handshakes_dropped),
        ];
        page.counter(
            "cluster_dropped",
            "Messages, datagrams and handshakes that were dropped, by reason; what matters is said again",
            dropped.map(|(reason, count)| (vec![("reason", reason.into())], count)),
        )?;
        let by = |label: &'static str, counts: &[(&'static str, u64)]| -> Vec<(Labels<'static>, u64)> {
            counts.iter().map(|(value, count)| (vec![(label, (*value).into())], *count)).collect()
        };
        page.counter("cluster_peers_refused", "Peers refused, by reason", by("reason", &traffic.refused))?;
        page.counter("cluster_garbled", "Messages that were none of ours, by fault", by("fault", &traffic.garbled))?;
        page.counter(
            "cluster_ignored",
            "Messages that the rules of lending ignored, by reason",
            figures.ignored.iter().map(|(reason, count)| (vec![("reason", (*reason).into())], *count)),
        )?;
        page.counter("cluster_persists", "Batches of records made durable", one(figures.persisted_total))?;
        page.counter("cluster_persist_failures", "Tries that failed", one(figures.persist_failures_total))?;
        page.counter_f64(
            "cluster_persist_seconds",
            "Time spent on making them durable",
            figures.persist_seconds_total,
        )?;
        page.gauge_f64(
            "cluster_persist_longest_seconds",
            "The longest of them",
            [(Vec::new(), figures.persist_seconds_max)],
        )
    }
}
