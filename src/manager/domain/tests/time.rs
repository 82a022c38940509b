//! What time alone brings about.

use super::desk::{DAY, Desk, Host};
use crate::manager::domain::*;
use crate::protocol::*;
use crate::units::UnixMillis;

#[test]
fn an_instance_that_is_silent_for_90_days_is_stale_keeps_its_licenses_and_comes_back() {
    let mut desk = Desk::new();
    let account = desk.default();
    desk.buy(account, "cps", 10);
    let token = desk.token(account);
    let mut host = Host::new(1);
    host.register(&mut desk, &token);
    host.ask(&mut desk, "cps", 4);
    desk.pass(90 * DAY - 1);
    desk.housekeep();
    assert_eq!(desk.instance(&host).state, InstanceState::Registered);
    desk.pass(1);
    desk.housekeep();
    assert_eq!(desk.instance(&host).state, InstanceState::Stale);
    assert_eq!(desk.alerts(), [AlertKind::ProductInstanceFailedToConnect]);
    assert_eq!(desk.in_use(account, "cps"), 4);
    desk.check();
    host.ask(&mut desk, "cps", 4);
    assert_eq!(desk.instance(&host).state, InstanceState::Registered);
    assert!(desk.alerts().is_empty());
    desk.check();
}

#[test]
fn an_instance_that_did_not_renew_is_gone_and_its_licenses_come_back() {
    let mut desk = Desk::new();
    let account = desk.default();
    desk.buy(account, "cps", 10);
    let token = desk.token(account);
    let mut host = Host::new(1);
    host.register(&mut desk, &token);
    host.ask(&mut desk, "cps", 4);
    desk.pass(365 * DAY + 1);
    desk.housekeep();
    assert_eq!(desk.instance(&host).state, InstanceState::Expired);
    assert_eq!((desk.alerts(), desk.in_use(account, "cps")), (vec![AlertKind::FailedToRenew], 0));
    assert_eq!(host.try_ask(&mut desk, &[]), Err(RefusalCode::InstanceRemoved));
    desk.check();
}

#[test]
fn a_term_is_told_of_90_and_7_days_before_its_end_and_drops_what_it_bought_at_its_end() {
    let mut desk = Desk::new();
    let account = desk.default();
    let end = UnixMillis(desk.now.0 + 100 * DAY);
    desk.buy_until(account, "cps", 10, Some(end));
    let token = desk.token(account);
    let mut host = Host::new(1);
    host.register(&mut desk, &token);
    host.ask(&mut desk, "cps", 4);
    desk.pass(9 * DAY);
    desk.housekeep();
    assert!(desk.alerts().is_empty());
    let severity = |desk: &Desk| desk.domain.alerts.values().next().unwrap().severity;
    desk.pass(DAY);
    desk.housekeep();
    assert_eq!((desk.alerts(), severity(&desk)), (vec![AlertKind::LicensesExpiring], Severity::Warning));
    assert_eq!(desk.domain.alerts.values().next().unwrap().due, Some(end));
    host.ask(&mut desk, "cps", 4);
    desk.pass(83 * DAY);
    desk.housekeep();
    assert_eq!(severity(&desk), Severity::Major);
    host.ask(&mut desk, "cps", 4);
    desk.pass(7 * DAY);
    desk.housekeep();
    assert_eq!(desk.alerts(), [AlertKind::InsufficientLicenses, AlertKind::LicensesExpired]);
    assert_eq!(host.ask(&mut desk, "cps", 4).status, TagStatus::OutOfCompliance);
    desk.check();
}

#[test]
fn a_shortage_is_reported_at_once_with_the_shortfalls_alone() {
    let mut desk = Desk::new();
    let account = desk.default();
    desk.buy(account, "cps", 10);
    desk.buy(account, "session", 10);
    let token = desk.token(account);
    let mut host = Host::new(1);
    host.register(&mut desk, &token);
    host.try_ask(&mut desk, &[("cps", 12), ("session", 3)]).unwrap();
    host.try_ask(&mut desk, &[("cps", 13), ("session", 3)]).unwrap();
    let reports: Vec<_> = reports(&desk);
    assert_eq!(reports.len(), 1, "once");
    assert_eq!((reports[0].kind, reports[0].instances.len()), (ReportKind::ComplianceWarning, 0));
    let pools: Vec<_> = reports[0].pools.iter().map(|pool| (pool.tag.as_str(), pool.shortage)).collect();
    assert_eq!(pools, [("cps", 2)]);
}

fn reports(desk: &Desk) -> Vec<&Report> {
    let reports = desk.journal.iter().filter_map(|journal| match journal {
        Journal::Report(report) => Some(&**report),
        Journal::Audit(_) | Journal::Transfer(_) | Journal::Event(_) | Journal::AlertEnded(_) | Journal::Usage(_) => {
            None
        }
    });
    reports.collect()
}

#[test]
fn inventory_and_consumption_are_archived_every_so_many_days() {
    let mut desk = Desk::new();
    let account = desk.default();
    desk.buy(account, "cps", 10);
    let token = desk.token(account);
    let mut host = Host::new(1);
    host.register(&mut desk, &token);
    host.ask(&mut desk, "cps", 4);
    host.report(&mut desk, "cps", 4, 6).unwrap();
    desk.pass(30 * DAY - 1000);
    desk.housekeep();
    assert!(reports(&desk).is_empty());
    desk.pass(1000);
    desk.housekeep();
    desk.housekeep();
    let reports = reports(&desk);
    assert_eq!(
        reports.iter().map(|report| report.kind).collect::<Vec<_>>(),
        [ReportKind::Inventory, ReportKind::Consumption]
    );
    assert_eq!(reports[0].instances[0].tags, [("cps".to_owned(), 4)]);
    let pool = &reports[1].pools[0];
    assert_eq!((pool.purchased, pool.in_use, pool.observed_peak, pool.p95, pool.next), (10, 4, 6, 3, 4));
    desk.check();
}

#[test]
fn housekeeping_says_nothing_twice() {
    let mut desk = Desk::new();
    let account = desk.default();
    desk.buy_until(account, "cps", 1, Some(UnixMillis(desk.now.0 + 20 * DAY)));
    let token = desk.token(account);
    let mut host = Host::new(1);
    host.register(&mut desk, &token);
    host.ask(&mut desk, "cps", 4);
    desk.housekeep();
    let again = desk.domain.housekeep(desk.now, &mut desk.entropy);
    assert!(again.is_empty(), "{again:?}");
}

#[test]
fn a_rotation_without_the_roots_key_is_told_in_time_grows_worse_and_ends_with_the_rotation() {
    let mut desk = Desk::new();
    let (due_at, ends) = (UnixMillis(desk.now.0 + 292 * DAY), UnixMillis(desk.now.0 + 365 * DAY));
    let told = |desk: &mut Desk, day: u64, keys: KeyRotation| {
        let now = UnixMillis(desk.now.0 + day * DAY);
        let _changes = desk.domain.tell_of_rotation(keys, now);
        let page = desk.domain.alerts(&PageRequest { cursor: None, limit: 10 }).unwrap();
        page.items.first().map(|alert| (alert.kind, alert.severity, alert.due))
    };
    let offline = KeyRotation { due_at, ends, root_here: false };
    let alert = |severity| Some((AlertKind::SigningKeyRotationDue, severity, Some(ends)));
    assert_eq!(told(&mut desk, 261, offline), None);
    assert_eq!(told(&mut desk, 262, offline), alert(Severity::Warning));
    assert_eq!(told(&mut desk, 292, offline), alert(Severity::Major));
    assert_eq!(told(&mut desk, 358, offline), alert(Severity::Critical));
    assert_eq!(told(&mut desk, 400, offline), alert(Severity::Critical));
    let rotated = KeyRotation {
        due_at: UnixMillis(due_at.0 + 292 * DAY),
        ends: UnixMillis(ends.0 + 292 * DAY),
        root_here: false,
    };
    assert_eq!(told(&mut desk, 400, rotated), None);
    // With the root's key here it happens by itself; only if it doesn't, somebody is told.
    let here = KeyRotation { root_here: true, ..offline };
    assert_eq!(told(&mut desk, 292, here), None);
    assert_eq!(told(&mut desk, 293, here), alert(Severity::Major));
}
