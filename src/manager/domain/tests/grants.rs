//! What is granted, and who is told of a shortage.

use super::desk::{DAY, Desk, Host};
use crate::manager::domain::message::Message;
use crate::manager::domain::*;
use crate::protocol::*;
use crate::units::UnixMillis;

fn hosts(desk: &mut Desk, count: u8) -> Vec<Host> {
    let token = desk.token(desk.default());
    (1..=count)
        .map(|number| {
            let mut host = Host::new(number);
            host.register(desk, &token);
            desk.pass(1000);
            host
        })
        .collect()
}

fn statuses(desk: &mut Desk, hosts: &mut [Host], requested: u64) -> Vec<(u64, u64, TagStatus)> {
    hosts.iter_mut().for_each(|host| drop(host.ask(desk, "cps", requested)));
    let ask = |host: &mut Host| host.ask(desk, "cps", requested);
    hosts.iter_mut().map(ask).map(|tag| (tag.granted, tag.cap, tag.status)).collect()
}

use TagStatus::{InCompliance as Fine, OutOfCompliance as Short};

#[test]
fn a_shortage_is_told_to_all_or_to_those_who_made_it_or_to_the_lowest_priority() {
    let mut desk = Desk::new();
    let account = desk.default();
    desk.buy(account, "cps", 10);
    let mut hosts = hosts(&mut desk, 3);
    // In use 12 of 10.
    assert_eq!(statuses(&mut desk, &mut hosts, 4), [(4, 4, Short), (4, 4, Short), (2, 4, Short)]);
    let scope = |scope| PolicyPatch { ooc_scope: Some(scope), ..PolicyPatch::default() };
    desk.policy(scope(OocScope::OffenderOnly));
    assert_eq!(statuses(&mut desk, &mut hosts, 4), [(4, 4, Fine), (4, 4, Fine), (2, 4, Short)]);
    desk.policy(scope(OocScope::Priority));
    for (host, priority) in hosts.iter().zip([1, 9, 5]) {
        let id = desk.instance(host).id;
        desk.command(OperatorCommand::UpdateInstance(id, InstancePatch { priority: Some(priority), note: None }));
    }
    assert_eq!(statuses(&mut desk, &mut hosts, 4), [(2, 4, Short), (4, 4, Fine), (4, 4, Fine)]);
    desk.check();
}

#[test]
fn overage_is_allowed_denied_or_a_percentage_of_what_was_bought() {
    for (strategy, caps) in [
        (OverageStrategy::Allow, [60, 60, 60]),
        (OverageStrategy::Deny, [60, 40, 0]),
        (OverageStrategy::Percentage(25), [60, 60, 5]),
    ] {
        let mut desk = Desk::new();
        desk.tag("cps", TagClass::License, None, Some(strategy));
        desk.buy(desk.default(), "cps", 100);
        let mut hosts = hosts(&mut desk, 3);
        let found = statuses(&mut desk, &mut hosts, 60);
        assert_eq!(found.iter().map(|(_, cap, _)| *cap).collect::<Vec<_>>(), caps, "{strategy:?}");
        assert_eq!(found.iter().map(|(granted, ..)| *granted).collect::<Vec<_>>(), [60, 40, 0], "{strategy:?}");
        let grant = hosts[0].try_ask(&mut desk, &[("cps", 60)]).unwrap();
        assert_eq!(grant.overage_allowed, strategy == OverageStrategy::Allow);
        desk.check();
    }
}

#[test]
fn nobody_is_told_of_a_shortage_within_its_tolerance() {
    let mut desk = Desk::new();
    let overage = Overage { strategy: OverageStrategy::Allow, tolerance_minutes: 45, billed: true };
    desk.policy(PolicyPatch { overage: Some(overage), ..PolicyPatch::default() });
    desk.buy(desk.default(), "cps", 1);
    let mut hosts = hosts(&mut desk, 1);
    assert_eq!(hosts[0].ask(&mut desk, "cps", 2).status, Fine);
    assert_eq!(desk.alerts(), [AlertKind::InsufficientLicenses], "the operator is told at once");
    desk.pass(45 * 60_000 - 1);
    assert_eq!(hosts[0].ask(&mut desk, "cps", 2).status, Fine);
    desk.pass(1);
    assert_eq!(hosts[0].ask(&mut desk, "cps", 2).status, Short);
}

#[test]
fn an_unknown_tag_is_invalid_and_the_others_are_granted() {
    let mut desk = Desk::new();
    desk.buy(desk.default(), "cps", 10);
    let mut hosts = hosts(&mut desk, 1);
    let grant = hosts[0].try_ask(&mut desk, &[("nothing", 3), ("cps", 4), ("neither", 1)]).unwrap();
    let found: Vec<_> = grant.tags.iter().map(|tag| (tag.tag.as_str(), tag.granted, tag.status)).collect();
    assert_eq!(found, [("nothing", 0, TagStatus::Invalid), ("cps", 4, Fine), ("neither", 0, TagStatus::Invalid)]);
    assert_eq!(grant.status, ComplianceStatus::InCompliance);
    // Known at the next answer once it is defined.
    desk.tag("nothing", TagClass::License, None, None);
    assert_eq!(hosts[0].try_ask(&mut desk, &[("nothing", 3)]).unwrap().tags[0].status, Short);
    desk.check();
}

#[test]
fn every_answer_to_a_report_is_a_grant_so_that_a_purchase_is_noticed_with_the_next_one() {
    let mut desk = Desk::new();
    let account = desk.default();
    desk.buy(account, "cps", 1);
    let mut hosts = hosts(&mut desk, 1);
    assert_eq!(hosts[0].ask(&mut desk, "cps", 5).status, Short);
    assert_eq!(desk.alerts(), [AlertKind::InsufficientLicenses]);
    desk.buy(account, "cps", 4);
    assert!(desk.alerts().is_empty());
    let grant = hosts[0].report(&mut desk, "cps", 5, 9).unwrap();
    assert_eq!((grant.status, grant.expires_at.0 - grant.issued_at.0), (ComplianceStatus::InCompliance, 90 * DAY));
    assert_eq!(grant.pools, [PoolView { tag: "cps".to_owned(), purchased: 5, in_use: 5 }]);
    desk.check();
}

#[test]
fn a_report_stores_what_was_observed_beside_what_is_reported_and_gives_nothing_back() {
    let mut desk = Desk::new();
    desk.buy(desk.default(), "cps", 10);
    desk.buy(desk.default(), "session", 10);
    let mut hosts = hosts(&mut desk, 1);
    hosts[0].try_ask(&mut desk, &[("cps", 5), ("session", 6)]).unwrap();
    let grant = hosts[0].report(&mut desk, "cps", 5, 9).unwrap();
    assert_eq!(grant.tags.iter().map(|tag| tag.granted).collect::<Vec<_>>(), [5, 6]);
    let row = desk.journal.iter().find_map(|journal| match journal {
        Journal::Usage(row) => Some(row),
        Journal::Audit(_) | Journal::Transfer(_) | Journal::Event(_) | Journal::AlertEnded(_) | Journal::Report(_) => {
            None
        }
    });
    let row = row.unwrap();
    assert_eq!((row.reported, row.observed_peak, row.p95, row.tag.as_str()), (5, 9, 4, "cps"));
    let view = desk.domain.instance(row.instance).unwrap();
    assert_eq!(view.entitlements[0].last_use.as_ref().unwrap().observed_peak, 9);
    desk.check();
}

#[test]
fn an_epoch_rises_when_the_count_changes_and_only_then_even_after_the_tag_was_given_back() {
    let mut desk = Desk::new();
    desk.buy(desk.default(), "cps", 10);
    let mut hosts = hosts(&mut desk, 1);
    let host = &mut hosts[0];
    let first = host.ask(&mut desk, "cps", 4);
    assert_eq!(host.ask(&mut desk, "cps", 4).epoch, first.epoch);
    let less = host.ask(&mut desk, "cps", 3);
    assert!(less.epoch > first.epoch);
    host.try_ask(&mut desk, &[]).unwrap();
    assert!(host.ask(&mut desk, "cps", 3).epoch > less.epoch);
}

#[test]
fn a_higher_tier_stands_in_for_a_lower_one_and_never_the_other_way() {
    let mut desk = Desk::new();
    let account = desk.default();
    desk.tag("standard", TagClass::License, Some(1), None);
    desk.tag("premium", TagClass::License, Some(2), None);
    desk.buy(account, "premium", 10);
    desk.buy(account, "standard", 40);
    let mut hosts = hosts(&mut desk, 1);
    let mut ask = |desk: &mut Desk, premium, standard| {
        let grant = hosts[0].try_ask(desk, &[("premium", premium), ("standard", standard)]).unwrap();
        grant.tags.iter().map(|tag| tag.status == Fine).collect::<Vec<_>>()
    };
    for (premium, standard, expected) in [
        (10, 40, [true, true]),
        (0, 50, [true, true]),
        (5, 45, [true, true]),
        (5, 46, [true, false]),
        (0, 51, [true, false]),
        (11, 0, [false, true]),
        (10, 41, [true, false]),
    ] {
        assert_eq!(ask(&mut desk, premium, standard), expected, "{premium} premium, {standard} standard");
    }
    desk.check();
}

#[test]
fn a_restored_manager_jumps_ahead_of_every_grant_that_it_forgot() {
    let mut desk = Desk::new();
    desk.buy(desk.default(), "cps", 10);
    let mut hosts = hosts(&mut desk, 1);
    let host = &mut hosts[0];
    host.ask(&mut desk, "cps", 1);
    let backup = (desk.store.clone(), desk.journal.clone());
    let forgotten = host.ask(&mut desk, "cps", 2);
    let seq = host.grant_seq;
    desk.domain = Domain::load(backup.0.values().cloned()).unwrap();
    (desk.store, desk.journal) = backup;
    let changes = desk.domain.after_restore(desk.now);
    desk.commit(changes);
    // The agent says nothing of what it holds.
    host.grant_seq = 0;
    let grant = host.try_ask(&mut desk, &[("cps", 1)]).unwrap();
    assert!(grant.seq > seq + (1 << 31) && grant.tags[0].epoch > forgotten.epoch);
    desk.check();
}

#[test]
fn a_grant_never_falls_behind_what_the_agent_says_it_holds() {
    let mut desk = Desk::new();
    let mut hosts = hosts(&mut desk, 1);
    hosts[0].grant_seq = 1_000_000;
    assert_eq!(hosts[0].try_ask(&mut desk, &[]).unwrap().seq, 1_000_001);
}

#[test]
fn a_grant_tells_when_the_term_behind_it_ends() {
    let mut desk = Desk::new();
    let account = desk.default();
    let end = UnixMillis(desk.now.0 + 100 * DAY);
    desk.buy(account, "cps", 5);
    desk.buy_until(account, "cps", 5, Some(end));
    let mut hosts = hosts(&mut desk, 1);
    assert_eq!(hosts[0].ask(&mut desk, "cps", 5).term_end, None);
    assert_eq!(hosts[0].ask(&mut desk, "cps", 6).term_end, Some(end));
}

#[test]
fn what_is_optional_is_granted_if_it_is_there_and_is_no_shortage_otherwise() {
    let mut desk = Desk::new();
    desk.buy(desk.default(), "expressway.export", 1);
    let token = desk.token(desk.default());
    let (mut one, mut two) = (Host::new(1), Host::new(2));
    one.register(&mut desk, &token);
    two.register(&mut desk, &token);
    let mut optional = |host: &mut Host, tag: &str| {
        let mut request = host.entitlement(&desk, &[(tag, 1)]);
        let Message::Entitlement(message) = &mut request.message else { panic!() };
        message.tags[0].optional = true;
        host.granted(&mut desk, &request).unwrap()
    };
    let first = optional(&mut one, "expressway.export");
    assert_eq!((first.status, first.tags[0].granted), (ComplianceStatus::InCompliance, 1));
    let second = optional(&mut two, "expressway.export");
    assert_eq!(second.status, ComplianceStatus::InCompliance);
    assert!(second.tags.iter().all(|tag| tag.granted == 0 && tag.status == TagStatus::InCompliance));
    assert!(optional(&mut two, "nobody.knows").tags.is_empty());
    assert_eq!(optional(&mut one, "expressway.export").tags[0].granted, 1, "asking again keeps it");
}
