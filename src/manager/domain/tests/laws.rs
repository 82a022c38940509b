//! Laws that hold after every step of any history.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::desk::{DAY, Desk, Host};
use crate::manager::domain::*;
use crate::protocol::*;

#[derive(Debug, Clone)]
enum Step {
    Register {
        host: usize,
        account: usize,
        force: bool,
    },
    TakeOver {
        host: usize,
    },
    Ask {
        host: usize,
        hard: u64,
        license: u64,
    },
    Report {
        host: usize,
        license: u64,
    },
    /// Acknowledges the n-th last grant.
    Ack {
        host: usize,
        back: usize,
    },
    Goodbye {
        host: usize,
    },
    Remove {
        host: usize,
    },
    Move {
        host: usize,
        account: usize,
    },
    Buy {
        account: usize,
        hard: bool,
        quantity: u64,
        days: Option<u64>,
    },
    Take {
        account: usize,
        quantity: u64,
    },
    Pass {
        days: u64,
    },
    Scope(OocScope),
    Reload,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (host, account, count) = (0..4_usize, 0..2_usize, 0..12_u64);
    let step = prop_oneof![
        4 => (host.clone(), account.clone(), any::<bool>())
            .prop_map(|(host, account, force)| Step::Register { host, account, force }),
        1 => host.clone().prop_map(|host| Step::TakeOver { host }),
        8 => (host.clone(), count.clone(), count.clone())
            .prop_map(|(host, hard, license)| Step::Ask { host, hard, license }),
        2 => (host.clone(), count.clone()).prop_map(|(host, license)| Step::Report { host, license }),
        4 => (host.clone(), 0..3_usize).prop_map(|(host, back)| Step::Ack { host, back }),
        1 => host.clone().prop_map(|host| Step::Goodbye { host }),
        1 => host.clone().prop_map(|host| Step::Remove { host }),
        1 => (host, account.clone()).prop_map(|(host, account)| Step::Move { host, account }),
        2 => (account.clone(), any::<bool>(), 1..12_u64, proptest::option::weighted(0.2, 1..200_u64))
            .prop_map(|(account, hard, quantity, days)| Step::Buy { account, hard, quantity, days }),
        1 => (account, 1..6_u64).prop_map(|(account, quantity)| Step::Take { account, quantity }),
        1 => prop_oneof![Just(1_u64), Just(40), Just(92)].prop_map(|days| Step::Pass { days }),
        1 => prop_oneof![Just(OocScope::AllInPool), Just(OocScope::OffenderOnly), Just(OocScope::Priority)]
            .prop_map(Step::Scope),
        1 => Just(Step::Reload),
    ];
    proptest::collection::vec(step, 1..60)
}

struct World {
    desk: Desk,
    accounts: [VirtualAccountId; 2],
    tokens: [RegistrationToken; 2],
    hosts: Vec<Host>,
    grants: Vec<Vec<TagGrant>>,
    keys: u8,
}

impl World {
    fn new() -> Self {
        let mut desk = Desk::new();
        desk.tag("hard", TagClass::Hard, None, None);
        desk.tag("low", TagClass::License, Some(1), Some(OverageStrategy::Deny));
        desk.tag("high", TagClass::License, Some(2), None);
        let accounts = [desk.default(), desk.account("East")];
        let tokens = accounts.map(|account| {
            let new =
                NewToken { virtual_account: Some(account), max_uses: None, days: Some(365), ..NewToken::default() };
            desk.token_with(new).1
        });
        let hosts = (1..=4).map(Host::new).collect();
        Self { desk, accounts, tokens, hosts, grants: vec![Vec::new(); 4], keys: 100 }
    }

    fn note(&mut self, host: usize, grant: Result<Grant, RefusalCode>) {
        let Ok(grant) = grant else { return };
        // `granted` asserts that seq rises; here, that no epoch falls.
        for tag in grant.tags {
            let before = self.grants[host].iter().filter(|old| old.tag == tag.tag);
            let newest = before.map(|old| (old.epoch, old.granted, old.cap)).max();
            if let Some((epoch, granted, cap)) = newest {
                assert!(tag.epoch >= epoch, "an epoch fell");
                assert!(
                    tag.epoch > epoch || (granted, cap) == (tag.granted, tag.cap),
                    "a count changed, not its epoch"
                );
            }
            if tag.tag == "low" {
                assert_eq!(tag.cap, tag.granted, "nothing beyond where overage is denied");
            }
            self.grants[host].push(tag);
        }
    }

    fn step(&mut self, step: Step) {
        let desk = &mut self.desk;
        match step {
            Step::Register { host, account, force } => {
                let _ = self.hosts[host].try_register(desk, &self.tokens[account], force);
            }
            Step::TakeOver { host } => {
                self.keys += 1;
                self.hosts[host].key = SecretKey::from_seed([self.keys; 32]);
                self.hosts[host].grant_seq = 0;
                if self.hosts[host].try_register(desk, &self.tokens[0], true).is_ok() {
                    self.grants[host].clear();
                }
            }
            Step::Ask { host, hard, license } => {
                let asked = [("hard", hard), ("low", license), ("high", license / 2)];
                let grant = self.hosts[host].try_ask(desk, &asked);
                self.note(host, grant);
            }
            Step::Report { host, license } => {
                let grant = self.hosts[host].report(desk, "low", license, license * 2);
                self.note(host, grant);
            }
            Step::Ack { host, back } => {
                let hard: Vec<_> = self.grants[host].iter().filter(|tag| tag.tag == "hard").collect();
                if let Some(grant) = hard.iter().rev().nth(back) {
                    let (tag, epoch, effective) = (grant.tag.clone(), grant.epoch, grant.granted);
                    let _ = self.hosts[host].ack(desk, Acknowledged::Grant { tag, epoch, effective });
                }
            }
            Step::Goodbye { host } => {
                let _ = self.hosts[host].goodbye(desk, "Default");
            }
            Step::Remove { host } => {
                let Some(id) = desk.domain.by_udi.get(&self.hosts[host].udi).copied() else { return };
                if let Ok(preview) = desk.domain.preview_removal(id) {
                    desk.command(OperatorCommand::RemoveInstance { instance: id, confirm: Some(preview.confirm) });
                }
            }
            Step::Move { host, account } => {
                let Some(instance) = desk.domain.by_udi.get(&self.hosts[host].udi).copied() else { return };
                let to = self.accounts[account];
                let _ = desk.try_command(&Actor::system(), OperatorCommand::TransferInstance { instance, to });
            }
            Step::Buy { account, hard, quantity, days } => {
                let end = days.map(|days| crate::units::UnixMillis(desk.now.0 + days * DAY));
                // Hard resources are bought for good here: a term that ends is not anybody's decision.
                let (tag, end) = if hard { ("hard", None) } else { ("low", end) };
                desk.buy_until(self.accounts[account], tag, quantity, end);
            }
            Step::Take { account, quantity } => {
                let from = self.accounts[account];
                let lot = desk.domain.lots.values().find(|lot| lot.virtual_account == from && lot.tag == "hard");
                if let Some(lot) = lot.map(|lot| lot.id) {
                    let transfer = Transfer { lot, to: self.accounts[1 - account], quantity };
                    let _ = desk.try_command(&Actor::system(), OperatorCommand::TransferLicenses(transfer));
                }
            }
            Step::Pass { days } => {
                desk.pass(days * DAY);
                desk.housekeep();
            }
            Step::Scope(scope) => {
                desk.policy(PolicyPatch { ooc_scope: Some(scope), ..PolicyPatch::default() });
            }
            Step::Reload => desk.domain = Domain::load(desk.store.values().cloned()).unwrap(),
        }
        self.laws();
    }

    fn laws(&self) {
        let desk = &self.desk;
        desk.check();
        let mut granted: BTreeMap<VirtualAccountId, u64> = BTreeMap::new();
        for instance in desk.domain.instances.values() {
            for one in instance.entitlements.iter().filter(|one| one.tag == "hard") {
                assert!(one.held >= one.granted);
                *granted.entry(instance.virtual_account).or_default() += one.granted;
            }
            if !instance.state.is_registered() {
                assert!(instance.entitlements.iter().all(|one| one.requested == 0 && one.granted == 0));
            }
        }
        for account in self.accounts {
            let standing = desk.domain.standing(account, "hard", desk.now);
            assert!(standing.held <= standing.supply.purchased, "a hard resource was handed out twice: {standing:?}");
            assert!(granted.get(&account).copied().unwrap_or(0) <= standing.supply.purchased);
            for tag in ["low", "high"] {
                let alert = desk.domain.alerts.contains_key(&alerts::pool_alert(account, tag));
                let short = desk.domain.standing(account, tag, desk.now).shortage() > 0;
                assert_eq!(alert, short, "{tag}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_order_of_messages_sums_hold_nothing_hard_is_granted_twice_and_the_store_is_the_state(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
    }
}
