//! Hard resources: what is taken away goes to nobody else before its holder acknowledged, or its grant has ended.

use super::desk::{DAY, Desk, Host};
use crate::manager::domain::*;
use crate::protocol::*;

/// Ten licenses of a hard tag, and two hosts.
fn ten() -> (Desk, Host, Host) {
    let mut desk = Desk::new();
    desk.tag("export", TagClass::Hard, None, None);
    desk.buy(desk.default(), "export", 10);
    let token = desk.token(desk.default());
    let (mut one, mut two) = (Host::new(1), Host::new(2));
    one.register(&mut desk, &token);
    two.register(&mut desk, &token);
    assert_eq!(one.ask(&mut desk, "export", 8).granted, 8);
    let short = two.ask(&mut desk, "export", 8);
    assert_eq!((short.granted, short.cap, short.status), (2, 2, TagStatus::OutOfCompliance));
    (desk, one, two)
}

#[test]
fn a_decrease_is_given_to_nobody_else_before_it_is_acknowledged() {
    let (mut desk, mut one, mut two) = ten();
    let less = one.ask(&mut desk, "export", 3);
    assert_eq!(less.granted, 3);
    assert_eq!(two.ask(&mut desk, "export", 8).granted, 2);
    one.in_force(&mut desk, &less);
    assert_eq!(two.ask(&mut desk, "export", 8).granted, 7);
    desk.check();
}

#[test]
fn an_acknowledgement_of_an_older_epoch_gives_nothing_back() {
    let (mut desk, mut one, mut two) = ten();
    let less = one.ask(&mut desk, "export", 3);
    let more = one.ask(&mut desk, "export", 5);
    assert_eq!(more.granted, 5);
    one.in_force(&mut desk, &less);
    assert_eq!(two.ask(&mut desk, "export", 8).granted, 2);
    one.in_force(&mut desk, &more);
    assert_eq!(two.ask(&mut desk, "export", 8).granted, 5);
    desk.check();
}

#[test]
fn a_tag_given_back_is_in_the_answer_until_it_is_acknowledged() {
    let (mut desk, mut one, mut two) = ten();
    let grant = one.try_ask(&mut desk, &[]).unwrap();
    assert_eq!((grant.tags.len(), grant.tags[0].granted), (1, 0));
    assert_eq!(two.ask(&mut desk, "export", 8).granted, 2);
    one.in_force(&mut desk, &grant.tags[0]);
    assert_eq!(two.ask(&mut desk, "export", 8).granted, 8);
    assert!(one.try_ask(&mut desk, &[]).unwrap().tags.is_empty());
    desk.check();
}

#[test]
fn without_acknowledgement_it_comes_back_when_the_last_grant_has_ended() {
    for removed in [false, true] {
        let (mut desk, mut one, mut two) = ten();
        if removed {
            let id = desk.instance(&one).id;
            let confirm = Some(desk.domain.preview_removal(id).unwrap().confirm);
            desk.command(OperatorCommand::RemoveInstance { instance: id, confirm });
        } else {
            one.goodbye(&mut desk, "Default").unwrap();
        }
        assert_eq!(desk.in_use(desk.default(), "export"), 8, "of the other");
        assert_eq!(two.ask(&mut desk, "export", 8).granted, 2);
        desk.pass(90 * DAY + 3_600_000 - 1);
        desk.housekeep();
        assert_eq!(two.ask(&mut desk, "export", 8).granted, 2);
        desk.pass(1);
        desk.housekeep();
        assert_eq!(two.ask(&mut desk, "export", 8).granted, 8);
        desk.check();
    }
}

#[test]
fn a_gone_instance_may_still_acknowledge() {
    let (mut desk, mut one, mut two) = ten();
    let held = one.ask(&mut desk, "export", 8);
    one.goodbye(&mut desk, "Default").unwrap();
    one.in_force(&mut desk, &TagGrant { granted: 0, ..held });
    assert_eq!(two.ask(&mut desk, "export", 8).granted, 8);
    desk.check();
}

#[test]
fn a_host_that_took_an_identity_over_cannot_acknowledge_for_the_old_one() {
    let (mut desk, one, mut two) = ten();
    let token = desk.token(desk.default());
    let mut thief = one.clone();
    thief.key = SecretKey::from_seed([222; 32]);
    thief.try_register(&mut desk, &token, true).unwrap();
    let got = thief.ask(&mut desk, "export", 4);
    assert_eq!(got.granted, 0, "eight may still be in use by the old host, two by the other");
    thief.in_force(&mut desk, &got);
    assert_eq!(two.ask(&mut desk, "export", 8).granted, 2);
    desk.pass(91 * DAY);
    desk.housekeep();
    assert_eq!(two.ask(&mut desk, "export", 8).granted, 8);
    desk.check();
}

#[test]
fn what_moves_to_another_virtual_account_stays_held_in_the_old_one_until_the_new_grant_is_in_force() {
    let (mut desk, mut one, mut two) = ten();
    let east = desk.account("East");
    desk.buy(east, "export", 5);
    let id = desk.instance(&one).id;
    desk.command(OperatorCommand::TransferInstance { instance: id, to: east });
    let grant = one.ask(&mut desk, "export", 8);
    assert_eq!(grant.granted, 5);
    assert_eq!(two.ask(&mut desk, "export", 8).granted, 2);
    one.in_force(&mut desk, &grant);
    assert_eq!(two.ask(&mut desk, "export", 8).granted, 8);
    assert_eq!(desk.held(east, "export"), 5);
    desk.check();
}

#[test]
fn nothing_that_is_held_can_be_transferred_or_removed() {
    let (mut desk, mut one, _) = ten();
    let east = desk.account("East");
    let lot = desk.domain.lots.keys().next().copied().unwrap();
    let transfer = |quantity| OperatorCommand::TransferLicenses(Transfer { lot, to: east, quantity });
    for refused in [transfer(1), OperatorCommand::RemoveLot(lot)] {
        let refused = desk.try_command(&Actor::system(), refused).unwrap_err();
        assert!(matches!(refused, OperatorRefused::Conflict(_)), "{refused}");
    }
    let less = one.ask(&mut desk, "export", 3);
    assert!(desk.try_command(&Actor::system(), transfer(1)).is_err());
    one.in_force(&mut desk, &less);
    assert!(desk.try_command(&Actor::system(), transfer(6)).is_err());
    desk.command(transfer(5));
    assert_eq!(desk.domain.standing(east, "export", desk.now).supply.purchased, 5);
    desk.check();
}

#[test]
fn ordinary_licenses_are_never_held_whatever_is_acknowledged() {
    let mut desk = Desk::new();
    desk.tag("open.cps", TagClass::License, None, None);
    desk.buy(desk.default(), "open.cps", 30);
    let token = desk.token(desk.default());
    let mut one = Host::new(1);
    one.register(&mut desk, &token);
    one.ask(&mut desk, "open.cps", 30);
    let less = one.ask(&mut desk, "open.cps", 20);
    one.in_force(&mut desk, &less);
    assert!(desk.instance(&one).entitlements.iter().all(|one| one.held == 0));
    desk.check();
}
