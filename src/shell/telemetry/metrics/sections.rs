//! The families of `/metrics`, section by section.

use std::fmt::Error;

use super::Sample;
use super::page::{Labels, Page, escaped, unlabeled};
use crate::admission::{Cause, LimitView, Mode};
use crate::protocol::Endpoint;
use crate::shell::license::status::{REGISTRATIONS, STATES, TypeFigures};
use crate::shell::notices::NotificationCounts;
use crate::shell::telemetry::{
    AlarmId, ClosedConnection, Command, DroppedDatagram, FrontEnd, FrontEndCounters, RefusedConnection, Severity,
};
use crate::units::UnixMillis;

type Written = Result<(), Error>;

/// One sample without labels.
fn one(value: u64) -> [(Labels<'static>, u64); 1] {
    [(unlabeled(), value)]
}

fn label(key: &'static str, value: &'static str) -> Labels<'static> {
    vec![(key, value.into())]
}

fn by_cause(counts: &[u64; Cause::COUNT]) -> impl Iterator<Item = (Labels<'static>, u64)> {
    Cause::ALL
        .iter()
        .zip(counts)
        .filter(|(cause, _)| !cause.admits())
        .map(|(cause, count)| (label("cause", cause.name()), *count))
}

#[expect(clippy::as_conversions, reason = "milliseconds to a float of seconds for display; f64 has no TryFrom<u64>")]
fn timestamp_seconds(at: UnixMillis) -> f64 {
    at.0 as f64 / 1e3
}

impl Sample {
    pub(super) fn admission(&self, page: &mut Page<'_, '_>) -> Written {
        let status = &self.status;
        let ordinary = status.admitted_total.saturating_sub(status.emergency_total);
        page.counter(
            "admitted",
            "Calls and registrations admitted, retransmissions not counted",
            [(label("cause", "ok"), ordinary), (label("cause", "emergency"), status.emergency_total)],
        )?;
        page.counter("refused", "Calls and registrations refused, by cause", by_cause(&status.refused_total))?;
        page.counter(
            "would_refuse",
            "Shadow mode: admitted, but would have been refused, by cause",
            by_cause(&status.would_refuse_total),
        )?;
        let counters = [
            ("forced", "Admitted past a limit: emergency, overage, observe, shadow, adopted", status.forced_total),
            (
                "untracked",
                "Emergency calls admitted while the table was full: counted, not tracked",
                status.untracked_total,
            ),
            ("duplicates", "Retransmissions answered from the table", status.duplicates_total),
            ("refusals_repeated", "Refusals repeated from memory", status.refusals_repeated_total),
            ("reattempts", "Later attempts of a live call that paid the rates again", status.reattempts_total),
            ("confirmed", "Calls confirmed", status.confirmed_total),
            ("released", "Calls released by their proxy", status.released_total),
            ("released_unknown", "Releases of calls that were not known", status.released_unknown_total),
            ("lapsed", "Leases that ended without a release", status.lapsed_total),
            ("suspects_freed", "Suspect calls freed after their grace", status.suspects_freed_total),
            ("resync_released", "Calls released because a RESYNC did not name them", status.resync_released_total),
            ("resync_adopted", "Calls adopted because a RESYNC named them", status.resync_adopted_total),
            ("overage_units", "Session-license units admitted above their count", status.overage_total),
            ("memories_evicted", "Memories dropped early because their table was full", status.memories_evicted_total),
            ("id_texts_dropped", "Id texts not kept because their table was full", status.id_texts_dropped_total),
            ("names_refused", "Names not kept because their table was full", status.names_refused_total),
        ];
        for (name, help, value) in counters {
            page.counter(name, help, one(value))?;
        }
        page.gauge("calls_live", "Live calls", one(status.calls_live.into()))?;
        page.gauge("registrations_live", "Live registrations", one(status.registrations_live.into()))?;
        page.gauge(
            "suspects_live",
            "Live calls and registrations that a restart of their proxy or of the sidecar left in doubt",
            one(status.suspect_live.into()),
        )?;
        page.gauge(
            "shadow_mode",
            "1 in shadow mode, where nothing is refused",
            one((status.mode == Mode::Shadow).into()),
        )?;
        page.gauge("draining", "1 while every new call is refused because of a drain", one(status.draining.into()))?;
        page.gauge("ready", "1 while the sidecar answers requests and does not drain", one(self.ready.into()))
    }

    pub(super) fn limits(&self, page: &mut Page<'_, '_>) -> Written {
        let (groups, node): (Vec<&LimitView>, Vec<&LimitView>) =
            self.status.limits.iter().partition(|limit| group(&limit.name).is_some());
        let rows = |of: fn(&LimitView) -> Option<u32>| {
            let node = &node;
            node.iter().filter_map(move |limit| Some((vec![("limit", escaped(&limit.name))], of(limit)?.into())))
        };
        page.gauge(
            "limit_units",
            "Limits of this node: calls per second for cps, sessions or entries otherwise. Not there: not limited",
            rows(|limit| limit.limit),
        )?;
        page.gauge("limit_used_units", "How much of each limit is in use", rows(|limit| Some(limit.used)))?;
        page.gauge("limit_peak_units", "The most of each limit in use since start", rows(|limit| Some(limit.peak)))?;
        if !self.group_metrics {
            return Ok(());
        }
        let rows = |of: fn(&LimitView) -> Option<u32>| {
            let groups = &groups;
            groups.iter().filter_map(move |limit| {
                let (scope, resource, name) = group(&limit.name)?;
                let labels = vec![("scope", scope.into()), ("resource", resource.into()), ("name", escaped(name))];
                Some((labels, of(limit)?.into()))
            })
        };
        page.gauge(
            "group_limit_units",
            "Limits of trunks and tenants: calls per second for cps, sessions for sessions. Not there: not limited",
            rows(|limit| limit.limit),
        )?;
        page.gauge(
            "group_limit_used_units",
            "How much of a trunk's or tenant's limit is in use",
            rows(|l| Some(l.used)),
        )?;
        page.gauge(
            "group_limit_peak_units",
            "The most of a trunk's or tenant's limit in use since start",
            rows(|limit| Some(limit.peak)),
        )
    }

    pub(super) fn licensing(&self, page: &mut Page<'_, '_>) -> Written {
        let license = self.license.as_deref();
        let profile = license.map_or("", |license| license.profile.as_str());
        page.info("license", "The product profile", &vec![("profile", escaped(profile))])?;
        let state = license.map(|license| license.state);
        page.gauge(
            "license_state",
            "1 for the state that licensing is in, 0 for the others",
            STATES.iter().map(|each| (label("state", each), (Some(*each) == state).into())),
        )?;
        let registration = license.map(|license| license.registration);
        page.gauge(
            "license_registration",
            "1 for the state that registration is in, 0 for the others",
            REGISTRATIONS.iter().map(|each| (label("state", each), (Some(*each) == registration).into())),
        )?;
        page.gauge_f64(
            "license_deadline_timestamp_seconds",
            "When a deadline of licensing is due if the sidecar runs until then, as unix time",
            license
                .iter()
                .flat_map(|license| &license.deadlines)
                .map(|(name, at)| (label("deadline", name), timestamp_seconds(*at))),
        )?;
        page.gauge(
            "evaluation_left_seconds",
            "Running time left of the evaluation period",
            license.map(|license| (unlabeled(), license.evaluation_left_s)),
        )?;
        page.gauge(
            "evaluation_used_seconds",
            "Running time used of the evaluation period. Never falls",
            license.map(|license| (unlabeled(), license.evaluation_used_s)),
        )?;
        self.license_types(page)?;
        self.license_contact(page)?;
        let verdict = &self.verdict;
        page.gauge(
            "verdict_refuses",
            "1 where licensing refuses what is new; established calls are never affected",
            [
                (label("scope", "calls"), verdict.calls.is_some().into()),
                (label("scope", "registrations"), verdict.registrations.is_some().into()),
                (label("scope", "configuration"), verdict.configuration.is_some().into()),
            ],
        )?;
        page.gauge(
            "alarms_active",
            "Active alarms by severity",
            Severity::ALL.iter().map(|severity| (label("severity", severity.name()), self.alarms_of(*severity))),
        )?;
        page.gauge(
            "alarm_active",
            "Active alarms by identity; more than 1 where several subjects have it",
            AlarmId::ALL.iter().map(|id| (label("alarm", id.name()), self.alarms_with(*id))),
        )?;
        page.counter("alarms_raised", "Alarms raised", one(self.alarms_raised_total))?;
        page.counter(
            "alarms_not_kept",
            "Alarms told but not kept, because too many were active",
            one(self.alarms_not_kept_total),
        )
    }

    fn license_types(&self, page: &mut Page<'_, '_>) -> Written {
        let rows = |of: fn(&TypeFigures) -> Option<u32>| {
            let types = self.license.iter().flat_map(|license| &license.types);
            types.filter_map(move |figures| {
                let labels = vec![("type", escaped(&figures.type_name)), ("tag", escaped(&figures.tag))];
                Some((labels, of(figures)?.into()))
            })
        };
        page.gauge(
            "license_requested_units",
            "Units asked for, by license type. Not there: as many as are used",
            rows(|figures| figures.requested),
        )?;
        page.gauge(
            "license_granted_units",
            "Units granted, by license type. Not there: no grant",
            rows(|figures| figures.granted),
        )?;
        page.gauge("license_used_units", "Units in use, by license type", rows(|figures| Some(figures.used)))
    }

    fn license_contact(&self, page: &mut Page<'_, '_>) -> Written {
        let license = self.license.as_deref();
        let counts = |of: Endpoint| {
            let messages = license.map(|license| license.messages.as_slice()).unwrap_or_default();
            messages.iter().find(|(endpoint, _)| *endpoint == of).map(|(_, counts)| *counts).unwrap_or_default()
        };
        let rows = Endpoint::ALL.into_iter().flat_map(|endpoint| {
            let counts = counts(endpoint);
            let of = move |outcome: &'static str, count: u64| {
                (vec![("message", endpoint.request().name().into()), ("outcome", outcome.into())], count)
            };
            [of("success", counts.success), of("failed", counts.failed), of("dropped", counts.dropped)]
        });
        page.counter("license_messages", "Messages to the license manager, by kind and outcome", rows)?;
        page.gauge(
            "license_messages_queued",
            "Messages to the license manager that are on their way",
            Endpoint::ALL
                .into_iter()
                .map(|endpoint| (label("message", endpoint.request().name()), counts(endpoint).in_queue)),
        )?;
        page.gauge(
            "license_contact_failures",
            "Failed contacts since the last that succeeded",
            license.map(|license| (unlabeled(), license.failures.into())),
        )?;
        page.gauge_f64(
            "license_contact_timestamp_seconds",
            "The newest contact that succeeded, as unix time",
            license.and_then(|license| license.last_success).map(|at| (unlabeled(), timestamp_seconds(at))),
        )?;
        page.counter(
            "license_unexpected_events",
            "Events of licensing that no rule names; each was ignored",
            one(license.map_or(0, |license| license.unexpected_total)),
        )
    }

    fn alarms_of(&self, severity: Severity) -> u64 {
        count(self.alarms.iter().filter(|alarm| alarm.1 == severity))
    }

    fn alarms_with(&self, id: AlarmId) -> u64 {
        count(self.alarms.iter().filter(|alarm| alarm.0 == id))
    }

    pub(super) fn front_ends(&self, page: &mut Page<'_, '_>) -> Written {
        let each = |of: fn(&FrontEndCounters) -> u64| {
            FrontEnd::ALL.iter().map(move |&f| (label("front_end", f.label()), of(self.counters.front(f))))
        };
        page.histogram(
            "decision_seconds",
            "From the moment that a batch's bytes were read until its answers were ready, for each decision",
            FrontEnd::ALL.iter().map(|&f| (label("front_end", f.label()), self.counters.front(f).decision_time.view())),
        )?;
        page.gauge("connections_open", "Connections open now", each(FrontEndCounters::open))?;
        page.counter("connections_accepted", "Connections accepted", each(FrontEndCounters::accepted_total))?;
        page.counter(
            "connections_refused",
            "Connections refused at once, by reason",
            pairs("reason", RefusedConnection::ALL, RefusedConnection::label, |f, why| {
                self.counters.front(f).refused_total(why)
            }),
        )?;
        page.counter(
            "connections_closed",
            "Connections that ended, by reason",
            pairs("reason", ClosedConnection::ALL, ClosedConnection::label, |f, why| {
                self.counters.front(f).closed_total(why)
            }),
        )?;
        page.counter(
            "requests",
            "Requests understood, by command",
            pairs("command", Command::ALL, Command::label, |f, command| self.counters.front(f).commands_total(command)),
        )?;
        let datagrams = self.counters.datagrams();
        page.counter("datagrams_received", "Datagrams that came", one(datagrams.received.get()))?;
        page.counter("datagrams_sent", "Datagrams of answers that were sent", one(datagrams.sent.get()))?;
        page.counter(
            "datagrams_dropped",
            "Datagrams that were dropped, or the rest of one, or its answer, by reason",
            DroppedDatagram::ALL.iter().map(|&why| (label("reason", why.label()), datagrams.dropped_total(why))),
        )?;
        page.counter("protocol_errors", "Requests that could not be understood", each(|f| f.protocol_errors.get()))?;
        page.counter("auth_failures", "Wrong or missing passwords and tokens", each(|f| f.auth_failures.get()))?;
        page.counter("received_bytes", "Bytes read from connections", each(|f| f.bytes_in.get()))?;
        page.counter("sent_bytes", "Bytes written to connections", each(|f| f.bytes_out.get()))
    }

    pub(super) fn journal(&self, page: &mut Page<'_, '_>) -> Written {
        let journal = self.counters.journal();
        page.gauge(
            "journal_healthy",
            "1 while the journal keeps everything; 0: some calls would not survive a restart",
            one(journal.healthy.get()),
        )?;
        page.counter("journal_records", "Records appended", one(journal.appended.get()))?;
        page.counter("journal_dropped_records", "Records that could not be kept", one(journal.dropped.get()))?;
        page.counter("journal_written_bytes", "Bytes appended", one(journal.bytes.get()))?;
        page.counter("journal_segments", "Segments begun", one(journal.segments.get()))?;
        page.counter("journal_snapshots", "Snapshots completed", one(journal.snapshots.get()))?;
        page.counter("journal_errors", "Errors of the disk", one(journal.errors.get()))?;
        page.gauge("journal_disk_bytes", "Size of the journal's files", one(journal.disk_bytes.get()))?;
        page.gauge("journal_recovered_records", "Records read at start", one(journal.recovered.get()))?;
        page.gauge("journal_recovered_calls", "Calls live again at start", one(journal.recovered_calls.get()))?;
        page.gauge(
            "journal_recovery_dropped_calls",
            "Live calls of the journal that did not fit into the table at start: they are not counted",
            one(journal.recovery_dropped.get()),
        )?;
        page.gauge("journal_torn_tails", "Damaged tails found at start", one(journal.torn_tails.get()))
    }

    pub(super) fn process(&self, page: &mut Page<'_, '_>) -> Written {
        let told = |of: fn(&NotificationCounts) -> u64| {
            self.notifications
                .iter()
                .map(|counts| (vec![("destination", escaped(&counts.destination))], of(counts)))
                .collect::<Vec<_>>()
        };
        page.counter("notifications_sent", "Notices of alarms that a destination took", told(|of| of.sent))?;
        page.counter("notifications_failed", "Notices of alarms that were given up", told(|of| of.failed))?;
        page.counter(
            "notifications_dropped",
            "Notices of alarms dropped because too many waited",
            told(|of| of.dropped),
        )?;
        page.info("build", "What runs", &vec![("version", env!("CARGO_PKG_VERSION").into())])?;
        page.counter(
            "reloads",
            "Reloads of the configuration, by result",
            [
                (label("result", "applied"), self.counters.reloads().get()),
                (label("result", "refused"), self.counters.reloads_refused().get()),
            ],
        )?;
        page.counter(
            "housekeeping_rounds",
            "Rounds of housekeeping; stands still if the slow path hangs",
            one(self.counters.housekeeping_rounds().get()),
        )?;
        page.counter(
            "log_lines_dropped",
            "Log lines dropped because standard error took no more",
            one(self.log_lines_dropped_total),
        )?;
        let process = &self.process;
        page.gauge_f64(
            "process_start_time_seconds",
            "When the process started, as unix time",
            [(unlabeled(), timestamp_seconds(self.started))],
        )?;
        page.gauge("process_resident_memory_bytes", "Resident memory", one(process.resident_bytes))?;
        page.gauge("process_open_fds", "Open file descriptors", one(process.open_fds))?;
        page.gauge("process_max_fds", "The most file descriptors that may be open", one(process.max_fds))?;
        page.counter_f64("process_cpu_seconds", "Processor time used", process.cpu_seconds)
    }
}

/// Scope, resource and name of a trunk's or tenant's limit; `None` for the node's own.
fn group(limit: &str) -> Option<(&'static str, &'static str, &str)> {
    let (class, name) = limit.split_once(':')?;
    match class {
        "trunk-cps" => Some(("trunk", "cps", name)),
        "trunk-sessions" => Some(("trunk", "sessions", name)),
        "tenant-cps" => Some(("tenant", "cps", name)),
        "tenant-sessions" => Some(("tenant", "sessions", name)),
        _ => None,
    }
}

fn count(alarms: impl Iterator) -> u64 {
    u64::try_from(alarms.count()).unwrap_or(u64::MAX)
}

/// A row for each front end and each value of a second label.
fn pairs<T: Copy + 'static>(
    key: &'static str,
    all: &'static [T],
    name: fn(T) -> &'static str,
    of: impl Fn(FrontEnd, T) -> u64,
) -> impl Iterator<Item = (Labels<'static>, u64)> {
    let rows = FrontEnd::ALL.iter().flat_map(move |&f| all.iter().map(move |&value| (f, value)));
    rows.map(move |(f, value)| (vec![("front_end", f.label().into()), (key, name(value).into())], of(f, value)))
}
