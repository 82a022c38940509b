//! `/metrics`: everything that a monitoring system reads, as OpenMetrics text.
//!
//! Nothing is registered anywhere: each scrape takes a sample and writes it. Names begin with `callgate_`, units are in
//! the name, counters end in `_total`. What must stay true: the number of lines is bounded (trunks and tenants by
//! `groups_max`; `[telemetry] group_metrics = false` leaves them out), and no call's id appears.

mod cluster;
mod page;
mod sections;

use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use self::page::Page;
use super::alarms::AlarmId;
use super::counters::Counters;
use super::severity::Severity;
use crate::admission::Status;
use crate::limits::Verdict;
use crate::shell::Context;
use crate::shell::cluster::status::ClusterStatus;
use crate::shell::license::status::LicenseStatus;
use crate::shell::notices::NotificationCounts;
use crate::shell::process::{self, ProcessView};
use crate::units::UnixMillis;

/// The `Content-Type` of [`render_metrics`].
pub const METRICS_CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything that one scrape shows, taken at one instant.
#[derive(Debug)]
struct Sample {
    status: Status,
    verdict: Verdict,
    license: Option<Arc<LicenseStatus>>,
    cluster: Option<Arc<ClusterStatus>>,
    counters: Counters,
    alarms: Vec<(AlarmId, Severity)>,
    alarms_raised_total: u64,
    alarms_not_kept_total: u64,
    notifications: Vec<NotificationCounts>,
    log_lines_dropped_total: u64,
    ready: bool,
    started: UnixMillis,
    process: ProcessView,
    group_metrics: bool,
}

/// The metrics of this sidecar, as OpenMetrics text.
#[must_use]
pub fn render_metrics(context: &Context) -> String {
    let now = context.clock.now();
    render(Sample {
        status: context.gate.full_status(now),
        verdict: context.gate.verdict().get(),
        license: context.license.status(),
        cluster: context.cluster.status(),
        counters: context.counters.clone(),
        alarms: context.alarms.active().iter().map(|alarm| (alarm.id, alarm.severity)).collect(),
        alarms_raised_total: context.alarms.raised_total(),
        alarms_not_kept_total: context.alarms.not_kept_total(),
        notifications: context.notifier.counts(),
        log_lines_dropped_total: crate::shell::telemetry::log::lines_dropped_total(),
        ready: context.ready(),
        started: context.started.wall,
        process: process::view(),
        group_metrics: context.config.load().telemetry.group_metrics,
    })
}

fn render(sample: Sample) -> String {
    let mut registry = Registry::with_prefix("callgate");
    registry.register_collector(Box::new(sample));
    let mut text = String::with_capacity(32 * 1024);
    if encode(&mut text, &registry).is_err() {
        // Writing to a string fails only if a formatter says so: none of ours does.
        tracing::error!("metrics could not be written; the scrape gets an incomplete page");
    }
    text
}

impl Collector for Sample {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let page = &mut Page::new(&mut encoder);
        self.admission(page)?;
        self.limits(page)?;
        self.licensing(page)?;
        self.cluster(page)?;
        self.front_ends(page)?;
        self.journal(page)?;
        self.process(page)
    }
}

#[cfg(test)]
mod tests;
