//! From the domain's alerts and audit log to notices, and on to the notifier.
//!
//! What was committed is told, in a task of its own: nothing waits for it. An alert is told when it is new, when it becomes
//! graver, and when it ends; not when its figures change. After a restart what was told before isn't told again.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::manager::domain::{
    Alert, AlertEnded, AlertKind, AuditEntry, Change, Journal, PageRequest, Record, Severity,
};
use crate::manager::service::Service;
use crate::notice::{Category, Change as Became, Damper, Level, Notice};
use crate::shell::notices::Notifier;
use crate::units::{Tick, UnixMillis};

/// How many alerts are asked for at once.
const PAGE: usize = 1_000;

/// Tells until the service ends.
pub(super) async fn run(
    mut changes: mpsc::Receiver<Change>,
    service: Service,
    notifier: Notifier,
    source: String,
    damping: Duration,
) {
    let started = Instant::now();
    let mut known = known(&service).await;
    let mut damper = Damper::new(u64::try_from(damping.as_millis()).unwrap_or(u64::MAX));
    let mut seconds = interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let notice = tokio::select! {
            change = changes.recv() => match change {
                Some(change) => of_change(change, &mut known, service.now()),
                None => return,
            },
            _ = seconds.tick() => None,
        };
        let now = Tick::from_millis(u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX));
        let mut due = damper.due(now);
        due.extend(notice.and_then(|notice| damper.offer(notice, now)));
        for notice in due {
            notifier.tell(&Notice { source: source.clone(), ..notice });
        }
    }
}

/// The alerts that were there at the start, and how grave they were.
async fn known(service: &Service) -> BTreeMap<String, Severity> {
    let mut known = BTreeMap::new();
    let mut page = PageRequest { cursor: None, limit: PAGE };
    loop {
        let asked = page.clone();
        let Ok(Ok(found)) = service.read(move |domain, _| domain.alerts(&asked)).await else { return known };
        known.extend(found.items.into_iter().map(|alert| (alert.id, alert.severity)));
        match found.next {
            Some(next) => page.cursor = Some(next),
            None => return known,
        }
    }
}

fn of_change(change: Change, known: &mut BTreeMap<String, Severity>, now: UnixMillis) -> Option<Notice> {
    match change {
        Change::Put(Record::Alert(alert)) => {
            let before = known.insert(alert.id.clone(), alert.severity);
            before.is_none_or(|before| alert.severity > before).then(|| of_alert(&alert, Became::Raised, now))
        }
        Change::Append(Journal::AlertEnded(AlertEnded { at, alert })) => {
            known.remove(&alert.id);
            Some(of_alert(&alert, Became::Cleared, at))
        }
        Change::Append(Journal::Audit(entry)) => Some(of_audit(&entry)),
        Change::Put(_) | Change::Remove(_) | Change::Append(_) => None,
    }
}

fn of_alert(alert: &Alert, change: Became, at: UnixMillis) -> Notice {
    let subject = alert.id.split_once('/').map_or(alert.id.as_str(), |(_, subject)| subject);
    Notice {
        subject: subject.to_owned(),
        since: alert.raised_at,
        what: format!("{}: {}", alert.kind.title(), alert.text),
        effect:
            "What this does to calls is for each product instance's profile to say: `callgate license forecast` there."
                .to_owned(),
        next: if alert.due.is_some() { "The term below ends.".to_owned() } else { String::new() },
        due: alert.due,
        remedy: format!("{} ({})", alert.action, alert.source),
        ..Notice::new(level(alert.severity), alert.kind.name(), category(alert.kind), change, at)
    }
}

fn of_audit(entry: &AuditEntry) -> Notice {
    let AuditEntry { seq, at, actor, address, action, target, detail, .. } = entry;
    let from = address.as_deref().map_or_else(String::new, |address| format!(" from {address}"));
    Notice {
        subject: format!("audit entry {seq}"),
        what: format!("{actor}{from}: {action} {target} {detail}").trim_end().to_owned(),
        ..Notice::new(Level::Info, "AUDIT", Category::Audit, Became::Happened, *at)
    }
}

const fn level(severity: Severity) -> Level {
    match severity {
        Severity::Info => Level::Info,
        Severity::Warning => Level::Warning,
        Severity::Major => Level::Major,
        Severity::Critical => Level::Critical,
    }
}

const fn category(kind: AlertKind) -> Category {
    match kind {
        AlertKind::InsufficientLicenses | AlertKind::LicensesExpiring | AlertKind::LicensesExpired => Category::Pool,
        AlertKind::ProductInstanceFailedToConnect
        | AlertKind::FailedToRenew
        | AlertKind::AuthorizationPending
        | AlertKind::DuplicateLicenses
        | AlertKind::UnknownProductInstance
        | AlertKind::ProductInstancesNearlyFull => Category::Instance,
        AlertKind::SynchronizationOverdue
        | AlertKind::SatelliteRemoved
        | AlertKind::SatelliteAuthorizationFileReady => Category::Satellite,
        AlertKind::ReservedLicenseExpired | AlertKind::ReservedLicensesReturned => Category::Reservation,
        AlertKind::ClockDoubtful => Category::Clock,
        AlertKind::SigningKeyRotationDue => Category::Storage,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(severity: Severity) -> Alert {
        Alert {
            id: "insufficient_licenses/va-1/open.cps".to_owned(),
            kind: AlertKind::InsufficientLicenses,
            severity,
            source: "/virtual-accounts/va-1/licenses/open.cps".to_owned(),
            virtual_account: None,
            text: "short by 3".to_owned(),
            action: "buy".to_owned(),
            due: None,
            raised_at: UnixMillis(5),
            acknowledged: None,
        }
    }

    #[test]
    fn an_alert_is_told_when_new_when_graver_and_when_it_ends_and_not_for_its_figures() {
        let mut known = BTreeMap::new();
        let mut told =
            |change| of_change(change, &mut known, UnixMillis(9)).map(|notice| (notice.change, notice.level));
        let put = |severity| Change::Put(Record::Alert(alert(severity)));
        assert_eq!(told(put(Severity::Warning)), Some((Became::Raised, Level::Warning)));
        assert_eq!(told(put(Severity::Warning)), None);
        assert_eq!(told(put(Severity::Major)), Some((Became::Raised, Level::Major)));
        assert_eq!(told(put(Severity::Warning)), None);
        let ended =
            || Change::Append(Journal::AlertEnded(AlertEnded { at: UnixMillis(9), alert: alert(Severity::Major) }));
        assert_eq!(told(ended()), Some((Became::Cleared, Level::Major)));
        assert_eq!(told(put(Severity::Major)), Some((Became::Raised, Level::Major)), "it came again");
        let notice = of_alert(&alert(Severity::Major), Became::Raised, UnixMillis(9));
        assert_eq!((notice.subject.as_str(), notice.category), ("va-1/open.cps", Category::Pool));
        assert_eq!(notice.what, "Insufficient Licenses: short by 3");
    }
}
