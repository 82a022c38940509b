//! Metrics, in the OpenMetrics text format.

use std::collections::BTreeMap;
use std::fmt::Write;

use axum::http::StatusCode;
use parking_lot::Mutex;

use super::Api;
use super::problem::Problem;
use crate::manager::service::{Readiness, ServiceMetrics};
use crate::shell::notices::NotificationCounts;
use crate::shell::process;

/// The content type.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Requests by operation and status. Both come from fixed sets.
#[derive(Debug, Default)]
pub(super) struct RequestMetrics {
    counts: Mutex<BTreeMap<(&'static str, u16), u64>>,
}

impl RequestMetrics {
    pub(super) fn count(&self, operation: &'static str, status: StatusCode) {
        *self.counts.lock().entry((operation, status.as_u16())).or_default() += 1;
    }
}

struct Page(String);

impl Page {
    fn family(&mut self, kind: &str, name: &str, help: &str, rows: impl IntoIterator<Item = (String, u64)>) {
        let suffix = if kind == "counter" { "_total" } else { "" };
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "# HELP callgate_manager_{name} {help}\n# TYPE callgate_manager_{name} {kind}");
        for (labels, value) in rows {
            let _ = writeln!(self.0, "callgate_manager_{name}{suffix}{labels} {value}");
        }
    }

    fn one(&mut self, kind: &str, name: &str, help: &str, value: u64) {
        self.family(kind, name, help, [(String::new(), value)]);
    }
}

/// How many requests share a commit, and how long commits take.
fn histograms(page: &mut Page, counters: &ServiceMetrics) {
    let mut count = 0;
    // Writing to a string does not fail.
    let _ = writeln!(
        page.0,
        "# HELP callgate_manager_commit_requests Requests that shared one commit.\n# TYPE callgate_manager_commit_requests histogram"
    );
    for (bound, fell) in counters.batches().buckets() {
        count += fell;
        let bound = bound.map_or_else(|| "+Inf".to_owned(), |bound| format!("{bound}.0"));
        let _ = writeln!(page.0, "callgate_manager_commit_requests_bucket{{le=\"{bound}\"}} {count}");
    }
    let sum = counters.batches().sum();
    let _ = writeln!(
        page.0,
        "callgate_manager_commit_requests_sum {sum}\ncallgate_manager_commit_requests_count {count}\n\
         # HELP callgate_manager_commit_seconds How long commits took.\n# TYPE callgate_manager_commit_seconds histogram"
    );
    let view = counters.commits().view();
    let mut count = 0;
    for (bound, fell) in view.buckets {
        count += fell;
        let bound = if bound == f64::MAX { "+Inf".to_owned() } else { format!("{bound:?}") };
        let _ = writeln!(page.0, "callgate_manager_commit_seconds_bucket{{le=\"{bound}\"}} {count}");
    }
    let _ = writeln!(
        page.0,
        "callgate_manager_commit_seconds_sum {}\ncallgate_manager_commit_seconds_count {count}",
        view.sum_seconds
    );
}

/// The page.
pub(super) async fn page(api: &Api) -> Result<String, Problem> {
    let stats = api.service.read(|domain, _| domain.stats()).await?;
    let bytes = api.service.history().bytes().await.ok();
    let counters = api.service.metrics();
    let mut page = Page(String::new());
    let requests: Vec<_> = api.requests.counts.lock().iter().map(|(labels, count)| (*labels, *count)).collect();
    page.family(
        "counter",
        "requests",
        "Requests by operation and HTTP status.",
        requests
            .into_iter()
            .map(|((operation, status), count)| (format!("{{operation=\"{operation}\",status=\"{status}\"}}"), count)),
    );
    page.family(
        "counter",
        "agent_refusals",
        "Messages of agents that were refused, by cause.",
        counters.refusals_total().into_iter().map(|(code, count)| (format!("{{code=\"{code}\"}}"), count)),
    );
    page.family(
        "gauge",
        "instances",
        "Product instances by state.",
        stats.instances.iter().map(|(state, count)| (format!("{{state=\"{}\"}}", state.name()), *count)),
    );
    let gauges = [
        ("virtual_accounts", "Virtual accounts.", stats.virtual_accounts),
        ("tokens", "Registration tokens, ended ones included.", stats.tokens),
        ("alerts", "Active alerts.", stats.alerts),
        ("pools_short", "Pools that are out of compliance.", stats.pools_short),
        ("sessions", "Open sessions of people.", u64::try_from(api.logins.count()).unwrap_or(u64::MAX)),
        ("queue_length", "Requests that wait for the service.", u64::try_from(api.service.queue_length()).unwrap_or(0)),
        ("ready", "1 if requests are served.", u64::from(api.service.readiness() == Readiness::Ready)),
        ("resident_memory_bytes", "Resident memory.", process::view().resident_bytes),
        ("open_file_descriptors", "Open file descriptors.", process::view().open_fds),
    ];
    for (name, help, value) in gauges {
        page.one("gauge", name, help, value);
    }
    if let Some(bytes) = bytes {
        page.one("gauge", "database_bytes", "What the database takes.", bytes);
    }
    let seconds = |time: crate::units::UnixMillis| time.0 / 1_000;
    if let Some(end) = api.tls.not_after() {
        page.one("gauge", "tls_certificate_end_timestamp_seconds", "When the TLS certificate ends.", seconds(end));
    }
    let signing = api.keys.current();
    if let Some(key) = signing.key_set().find(&signing.issuer_id()) {
        let help = "When the issuer key that signs ends.";
        page.one("gauge", "issuer_key_end_timestamp_seconds", help, seconds(key.not_after));
    }
    let notifications = api.notifier.counts();
    type Count = fn(&NotificationCounts) -> u64;
    let told: [(&str, &str, Count); 3] = [
        ("notifications_sent", "Notices of alerts that a destination took.", |of| of.sent),
        ("notifications_failed", "Notices of alerts that were given up.", |of| of.failed),
        ("notifications_dropped", "Notices of alerts dropped because too many waited.", |of| of.dropped),
    ];
    for (name, help, of) in told {
        // A destination's name is of letters, digits, '.', '-' and '_'.
        let row = |counts: &NotificationCounts| (format!("{{destination=\"{}\"}}", counts.destination), of(counts));
        page.family("counter", name, help, notifications.iter().map(row));
    }
    let missed = api.observer.missed_total();
    page.one(
        "counter",
        "notifications_missed",
        "Alerts that nobody was told of because too many came at once.",
        missed,
    );
    let totals = [
        ("messages", "Messages of agents taken.", stats.messages),
        ("alerts_dropped", "Alerts that were not raised because there are too many.", stats.alerts_dropped),
        ("changes", "Changes committed.", counters.changes_total()),
        ("commit_failures", "Commits that failed.", counters.commit_failures_total()),
        ("reloads", "Times that the state was loaded again after a failure.", counters.reloads_total()),
        ("busy", "Requests refused because too many waited.", counters.busy_total()),
        ("cannot_write", "Requests refused because the database could not be written.", counters.cannot_write_total()),
        (
            "unstorable",
            "Requests refused because the database does not take what they lead to.",
            counters.unstorable_total(),
        ),
        ("reads", "Requests that only looked.", counters.reads_total()),
    ];
    for (name, help, value) in totals {
        page.one("counter", name, help, value);
    }
    histograms(&mut page, counters);
    let due = u64::from(signing.rotation_due(api.service.now()));
    page.one("gauge", "issuer_key_rotation_due", "1 if another issuer key is due.", due);
    let here = u64::from(api.keys.root_is_online());
    page.one(
        "gauge",
        "root_key_here",
        "1 if the root's key is on this host, so that rotations happen by themselves.",
        here,
    );
    page.0.push_str("# EOF\n");
    Ok(page.0)
}
