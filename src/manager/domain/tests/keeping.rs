//! What is kept, for how long, and by which clock.

use super::desk::{DAY, Desk, Host};
use crate::manager::domain::clock::SaneClock;
use crate::manager::domain::*;
use crate::units::UnixMillis;

const HOUR: u64 = 3_600_000;

/// A desk with one host, and the clock that it is kept by.
struct Kept {
    desk: Desk,
    host: Host,
    clock: SaneClock,
    tick: u64,
}

impl Kept {
    fn new() -> Self {
        let mut desk = Desk::new();
        let end = UnixMillis(desk.now.0 + 200 * DAY);
        desk.buy_until(desk.default(), "cps", 10, Some(end));
        let token = desk.token(desk.default());
        let mut host = Host::new(1);
        host.register(&mut desk, &token);
        host.ask(&mut desk, "cps", 4);
        let mut kept = Self { desk, host, clock: SaneClock::new(), tick: 5_000 };
        kept.round();
        kept
    }

    fn round(&mut self) -> UnixMillis {
        let Desk { domain, now, entropy, .. } = &mut self.desk;
        let (trusted, changes) = domain.housekeep_sanely(&mut self.clock, *now, self.tick, entropy);
        self.desk.commit(changes);
        self.desk.check();
        trusted
    }

    fn leap(&mut self, millis: u64) {
        self.desk.pass(millis);
        self.round();
    }

    fn run(&mut self, millis: u64) {
        self.desk.pass(millis);
        self.tick += millis;
        self.round();
    }

    fn restart(&mut self) {
        self.desk.domain = Domain::load(self.desk.store.values().cloned()).unwrap();
        self.clock = SaneClock::new();
        self.tick = 0;
    }

    fn state(&self) -> InstanceState {
        self.desk.instance(&self.host).state
    }
}

#[test]
fn a_clock_that_leaps_ahead_ends_nothing_before_the_manager_ran_on_for_a_day() {
    let mut kept = Kept::new();
    kept.leap(400 * DAY);
    for _ in 0..23 {
        kept.run(HOUR);
        assert_eq!(kept.desk.alerts(), [AlertKind::ClockDoubtful]);
        assert_eq!(kept.state(), InstanceState::Registered);
    }
    kept.run(HOUR);
    assert_eq!(kept.state(), InstanceState::Expired);
    assert!(!kept.desk.alerts().contains(&AlertKind::ClockDoubtful));
}

#[test]
fn a_clock_that_comes_back_ends_the_doubt_and_nothing_else() {
    let mut kept = Kept::new();
    kept.leap(400 * DAY);
    kept.run(HOUR);
    kept.desk.now.0 -= 400 * DAY;
    assert_eq!(kept.round(), kept.desk.now);
    assert!(kept.desk.alerts().is_empty());
    kept.run(DAY);
    assert_eq!(kept.state(), InstanceState::Registered);
}

#[test]
fn an_operator_who_acknowledges_the_alert_confirms_the_clock_and_another_leap_is_another() {
    let mut kept = Kept::new();
    kept.leap(100 * DAY);
    let acknowledge = || OperatorCommand::AcknowledgeAlert("clock_doubtful/clock".to_owned());
    kept.desk.command(acknowledge());
    kept.run(30_000);
    assert_eq!(kept.state(), InstanceState::Stale);
    kept.leap(300 * DAY);
    assert_eq!(kept.state(), InstanceState::Stale);
    kept.desk.command(acknowledge());
    // Yet another, before the first was looked at: what was confirmed was not this.
    kept.leap(300 * DAY);
    kept.run(30_000);
    assert_eq!(kept.state(), InstanceState::Stale);
    assert!(kept.desk.alerts().contains(&AlertKind::ClockDoubtful));
}

#[test]
fn time_that_passes_on_both_clocks_is_no_leap_and_neither_is_an_hour() {
    let mut kept = Kept::new();
    kept.leap(HOUR);
    assert!(kept.desk.alerts().is_empty());
    kept.run(366 * DAY);
    assert_eq!(kept.state(), InstanceState::Expired);
}

#[test]
fn after_weeks_of_downtime_the_fleet_has_a_day_to_be_heard_of() {
    let mut kept = Kept::new();
    kept.run(HOUR);
    kept.restart();
    kept.desk.pass(89 * DAY + 23 * HOUR);
    kept.round();
    kept.run(2 * HOUR);
    assert_eq!((kept.state(), kept.desk.alerts()), (InstanceState::Registered, vec![AlertKind::ClockDoubtful]));
    kept.run(22 * HOUR);
    assert_eq!(kept.state(), InstanceState::Stale);
    // A restart without much time in between asks for no patience.
    kept.restart();
    kept.desk.pass(HOUR / 2);
    assert_eq!(kept.round(), kept.desk.now);
}

#[test]
fn a_gone_instance_leaves_a_tombstone_that_goes_after_400_days() {
    let mut desk = Desk::new();
    let token = desk.token(desk.default());
    let mut host = Host::new(1);
    host.eval_used_s = 77;
    host.register(&mut desk, &token);
    host.try_ask(&mut desk, &[]).unwrap();
    host.goodbye(&mut desk, "Default").unwrap();
    let seq = desk.instance(&host).grant_seq;
    desk.pass(90 * DAY);
    desk.housekeep();
    let tombstone = desk.instance(&host);
    assert_eq!((tombstone.eval_used_s, tombstone.grant_seq), (77, seq));
    assert!(tombstone.hostname.is_none() && tombstone.tags.is_empty() && tombstone.nonces.is_empty());
    let again = desk.domain.housekeep(desk.now, &mut desk.entropy);
    assert!(again.is_empty(), "{again:?}");
    desk.pass(310 * DAY - 1);
    desk.housekeep();
    assert_eq!(desk.domain.instances.len(), 1);
    desk.pass(1);
    desk.housekeep();
    assert!(desk.domain.instances.is_empty() && desk.domain.machines.is_empty());
    desk.check();
}

#[test]
fn operators_are_told_before_there_is_no_room_for_another_instance() {
    let mut desk = Desk::new();
    let token = desk.token(desk.default());
    for number in 1..=9 {
        Host::new(number).register(&mut desk, &token);
    }
    let mut tell = |max| {
        let mut batch = batch::Batch::default();
        desk.domain.tell_of_room(max, desk.now, &mut batch);
        desk.domain.alerts.values().map(|alert| alert.kind).collect::<Vec<_>>()
    };
    assert!(tell(11).is_empty());
    assert_eq!(tell(10), [AlertKind::ProductInstancesNearlyFull]);
    assert!(tell(11).is_empty());
}

#[test]
fn api_keys_that_ended_go_after_30_days() {
    let mut desk = Desk::new();
    let mut make = |days| {
        let new = NewApiKey { name: "ci".into(), role: Role::Viewer, days };
        let OperatorReply::ApiKey(view, Some(_)) = desk.command(OperatorCommand::CreateApiKey(new)) else { panic!() };
        view.id
    };
    let (_expires, revoked, _stays) = (make(Some(1)), make(None), make(None));
    desk.command(OperatorCommand::RevokeApiKey(revoked));
    let mut left = |millis| {
        desk.pass(millis);
        desk.housekeep();
        desk.check();
        desk.domain.api_keys.len()
    };
    assert_eq!([left(30 * DAY - 1), left(1), left(DAY)], [3, 2, 1]);
}

#[test]
fn tolerance_ends_also_where_no_alert_could_be_raised() {
    let mut desk = Desk::new();
    let overage = Overage { strategy: OverageStrategy::Allow, tolerance_minutes: 45, billed: true };
    desk.policy(PolicyPatch { overage: Some(overage), ..PolicyPatch::default() });
    desk.buy(desk.default(), "cps", 1);
    let token = desk.token(desk.default());
    let mut host = Host::new(1);
    host.register(&mut desk, &token);
    host.ask(&mut desk, "cps", 2);
    assert_eq!(desk.domain.stats().pools_short, 1);
    // As if the table had been full.
    desk.domain.alerts.clear();
    desk.store.retain(|key, _| key.kind != RecordKind::Alert);
    desk.pass(45 * 60_000);
    assert_eq!(host.ask(&mut desk, "cps", 2).status, crate::protocol::TagStatus::OutOfCompliance);
    host.ask(&mut desk, "cps", 1);
    assert_eq!(desk.domain.stats().pools_short, 0);
    desk.check();
}

#[test]
fn a_search_looks_at_so_many_instances_at_a_time_and_misses_none() {
    let mut desk = Desk::new();
    let east = desk.account("East");
    let (here, there) = (desk.token(desk.default()), desk.token(east));
    for number in 1..=30 {
        Host::new(number).register(&mut desk, if number % 3 == 0 { &there } else { &here });
    }
    let find = |filter: &InstanceFilter, limit, examined| {
        let (mut found, mut cursor, mut pages) = (Vec::new(), None, 0);
        loop {
            let page = desk.domain.instances_of(filter, &PageRequest { cursor, limit }, examined).unwrap();
            found.extend(page.items.into_iter().filter_map(|one| one.hostname));
            pages += 1;
            match page.next {
                Some(next) => cursor = Some(next),
                None => break,
            }
        }
        found.sort();
        (found, pages)
    };
    let search = InstanceFilter { search: Some("sip-17".into()), ..InstanceFilter::default() };
    assert_eq!(find(&search, 10, 7), (vec!["sip-17".to_owned()], 5));
    assert_eq!(find(&search, 10, 1_000).1, 1);
    let (all, pages) = find(&InstanceFilter::default(), 10, 1_000);
    assert_eq!((all.len(), pages), (30, 3));
    let of_east = InstanceFilter { virtual_account: Some(east), ..InstanceFilter::default() };
    let (found, pages) = find(&of_east, 5, 11);
    assert_eq!((found.len(), pages), (10, 2), "looks at those of the virtual account alone");
}
