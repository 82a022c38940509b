//! Limits that the cluster moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::limits::{InUse, Lease};

const TYPE: NodePool = NodePool::Type(0);

fn policy(rate: u32, sessions: u32, export: Option<ExportControl>) -> Policy {
    Policy {
        rate: Some(Cps::saturating(rate)),
        license_types: vec![LicenseType { name: "s".to_owned(), count: Some(sessions), overage: false, tier: None }],
        default_type_call: Some(0),
        export_control: export,
        ..Policy::default()
    }
}

fn ids(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("call-{number}")).collect()
}

/// How many of these calls are admitted, one after another.
fn admitted<'a>(rig: &Rig, ids: impl IntoIterator<Item = &'a String>) -> usize {
    ids.into_iter().filter(|text| rig.admit(&call(text)).admitted).count()
}

fn until(limit: u32, floor: u32, millis: u64, rig: &Rig) -> Lease {
    Lease { limit, floor, valid_until: Some(rig.now.tick.plus_millis(millis)) }
}

#[test]
fn a_loan_of_each_pool_ends_by_the_clock_of_the_call_that_comes() {
    let export = ExportControl::default();
    let stories: [(NodePool, Policy); 3] = [
        (NodePool::Rate, policy(50, 100, None)),
        (TYPE, policy(500, 100, None)),
        (NodePool::Export, policy(500, 100, Some(export))),
    ];
    let ids = ids(40);
    for (pool, policy) in stories {
        let mut rig = Rig::new(policy);
        rig.gate.set_lease(pool, until(10, 4, 300, &rig), rig.now);
        rig.pass_millis(299);
        assert_eq!(admitted(&rig, &ids[..6]), 6, "{pool:?}");
        rig.pass_millis(1);
        assert_eq!(admitted(&rig, &ids[6..12]), 0, "six are in use, and the floor is four: {pool:?}");
        ids[..3].iter().for_each(|text| assert!(rig.release(text)));
        rig.pass_millis(1_100);
        let room = if pool == NodePool::Rate { 4 } else { 1 };
        assert_eq!(admitted(&rig, &ids[12..20]), room, "{pool:?}");
        assert_eq!(rig.gate.pool_limit(pool, rig.now), Some(4));
    }
}

#[test]
fn a_reload_neither_undoes_what_the_cluster_gave_nor_is_undone_by_it() {
    let rig = Rig::new(policy(100, 30, None));
    let lease = |limit| Lease::fixed(limit);
    let limits = |rig: &Rig| (rig.gate.pool_limit(NodePool::Rate, rig.now), rig.gate.pool_limit(TYPE, rig.now));
    rig.gate.set_lease(NodePool::Rate, lease(60), rig.now);
    rig.gate.set_lease(TYPE, lease(10), rig.now);
    rig.gate.set_policy(policy(90, 30, None), rig.now).unwrap();
    assert_eq!(limits(&rig), (Some(60), Some(10)), "a reload raises nothing");
    rig.gate.set_policy(policy(50, 5, None), rig.now).unwrap();
    assert_eq!(limits(&rig), (Some(50), Some(5)), "the policy is the cap");
    rig.gate.set_lease(NodePool::Rate, lease(80), rig.now);
    rig.gate.set_lease(TYPE, lease(20), rig.now);
    assert_eq!(limits(&rig), (Some(50), Some(5)), "the cluster doesn't pass it");
    let unlimited = Policy { rate: None, ..policy(1, 1, None) };
    rig.gate.set_policy(unlimited, rig.now).unwrap();
    assert_eq!(limits(&rig).0, None);
    rig.gate.set_policy(policy(100, 30, None), rig.now).unwrap();
    assert_eq!(limits(&rig), (Some(80), Some(20)), "what the cluster gave stands again");
    let burst = Policy { rate_policy: RatePolicy::Burst(5), ..policy(100, 30, None) };
    rig.gate.set_policy(burst, rig.now).unwrap();
    assert_eq!(limits(&rig), (Some(80), Some(20)), "under another algorithm too");
}

#[test]
fn emergencies_do_not_hold_back_a_lowering_and_calls_do() {
    let export = ExportControl { limit: 4, ..ExportControl::default() };
    for (pool, policy) in [
        (NodePool::Rate, policy(4, 100, None)),
        (TYPE, policy(500, 4, None)),
        (NodePool::Export, policy(500, 100, Some(export))),
    ] {
        let rig = Rig::new(policy);
        rig.gate.set_lease(pool, Lease::fixed(4), rig.now);
        let ids = ids(6);
        assert_eq!(admitted(&rig, &ids[..4]), 4);
        for text in &ids[4..] {
            assert_eq!(rig.cause(&Admit { emergency: true, ..call(text) }), Cause::Emergency);
        }
        let used = rig.gate.pool_used(pool, rig.now);
        assert_eq!((used.used, used.forced), (6, 2), "{pool:?}");
        assert_eq!(rig.gate.try_lower_lease(pool, Lease::fixed(3), rig.now), Err(InUse { used: 4 }));
        assert_eq!(rig.gate.pool_limit(pool, rig.now), Some(4), "nothing changed");
        if pool != NodePool::Rate {
            assert!(rig.release(&ids[0]));
            assert_eq!(rig.gate.try_lower_lease(pool, Lease::fixed(3), rig.now), Ok(()), "{pool:?}");
            // The emergencies end: what is left is what was admitted.
            assert!(rig.release(&ids[4]) && rig.release(&ids[5]));
            let used = rig.gate.pool_used(pool, rig.now);
            assert_eq!((used.used, used.forced), (3, 0), "{pool:?}");
            assert_eq!(rig.gate.try_lower_lease(pool, Lease::fixed(2), rig.now), Err(InUse { used: 3 }));
        }
    }
}

#[test]
fn a_pool_that_runs_low_wakes_once_until_it_is_armed_again() {
    let rig = Rig::new(policy(8, 100, None));
    let woken = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&woken);
    assert!(rig.gate.on_low_water(move || {
        count.fetch_add(1, Ordering::Relaxed);
    }));
    assert!(!rig.gate.on_low_water(|| {}), "there is one who sleeps");
    let ids = ids(20);
    rig.gate.arm_low_water(NodePool::Rate, 3);
    assert_eq!(admitted(&rig, &ids[..4]), 4);
    assert_eq!(woken.load(Ordering::Relaxed), 0, "four are free");
    assert_eq!(admitted(&rig, &ids[4..12]), 4);
    assert_eq!(woken.load(Ordering::Relaxed), 1, "once, however many are refused");
    assert!(rig.gate.take_low_water(NodePool::Rate) && !rig.gate.take_low_water(NodePool::Rate));
    assert_eq!(admitted(&rig, &ids[12..14]), 0);
    assert_eq!(woken.load(Ordering::Relaxed), 1, "not armed");
    rig.gate.arm_low_water(NodePool::Rate, 0);
    assert_eq!(admitted(&rig, &ids[14..16]), 0);
    assert_eq!(woken.load(Ordering::Relaxed), 2, "a refusal raises it too");
    assert!(!rig.gate.take_low_water(TYPE));
}

#[test]
fn what_is_asked_is_counted_by_pool_and_a_refusal_for_another_reason_is_not() {
    let rig = Rig::new(policy(6, 4, None));
    let ids = ids(12);
    let units = |text| Admit { units: 2, ..call(text) };
    assert_eq!(ids[..4].iter().filter(|text| rig.admit(&units(text)).admitted).count(), 2);
    let of_type = rig.gate.pool_offered(TYPE);
    assert_eq!((of_type.attempts, of_type.refused), (8, 4), "units, not calls");
    let rate = rig.gate.pool_offered(NodePool::Rate);
    assert_eq!((rate.attempts, rate.refused), (2, 0), "what found no session asked for no rate");
    assert_eq!(rig.cause(&units(&ids[2])), Cause::Sessions);
    assert_eq!(rig.gate.pool_offered(TYPE), of_type, "a refusal repeated from memory is no new demand");
}

#[test]
fn in_a_cluster_the_gate_latches_only_when_there_is_nothing_to_spare() {
    let export = ExportControl { limit: 1_000, ..ExportControl::default() };
    let rig = Rig::new(policy(10_000, 2_000, Some(export)));
    rig.gate.set_lease(NodePool::Export, Lease::fixed(250), rig.now);
    let ids = ids(260);
    assert_eq!(admitted(&rig, &ids[..255]), 250);
    assert!(rig.release(&ids[0]));
    assert_eq!(rig.cause(&call(&ids[255])), Cause::Ok, "an empty pool alone closes nothing");
    rig.gate.set_scarce(NodePool::Export, true, rig.now);
    assert!(rig.release(&ids[1]));
    assert_eq!(rig.cause(&call(&ids[256])), Cause::ExportControl, "the limit is reached, and nobody has more");
    assert!(rig.release(&ids[2]));
    assert!(rig.release(&ids[3]));
    assert_eq!(rig.cause(&call(&ids[257])), Cause::ExportControl, "247 is 250 - ceil(2.5), not below it");
    assert!(rig.release(&ids[4]));
    assert_eq!(rig.cause(&call(&ids[258])), Cause::Ok);
}

#[test]
fn webrtc_on_is_two_resources_and_neither_touches_the_other() {
    let export = ExportControl { webrtc: true, ..ExportControl::default() };
    let rig = Rig::new(policy(10_000, 2_000, Some(export)));
    rig.gate.set_lease(NodePool::Export, Lease::fixed(2), rig.now);
    rig.gate.set_lease(NodePool::Webrtc, Lease::fixed(1), rig.now);
    let ids = ids(9);
    assert_eq!(admitted(&rig, &ids[..3]), 2);
    let webrtc = |text| Admit { webrtc: true, ..call(text) };
    assert_eq!((rig.cause(&webrtc(&ids[3])), rig.cause(&webrtc(&ids[4]))), (Cause::Ok, Cause::Webrtc));
    assert_eq!(rig.gate.pool_used(NodePool::Webrtc, rig.now).used, 1);
    assert_eq!(rig.gate.try_lower_lease(NodePool::Webrtc, Lease::fixed(0), rig.now), Err(InUse { used: 1 }));
    assert_eq!(rig.gate.try_lower_lease(NodePool::Export, Lease::fixed(1), rig.now), Err(InUse { used: 2 }));
    rig.gate.set_lease(NodePool::Webrtc, Lease::fixed(500), rig.now);
    assert_eq!(rig.gate.pool_limit(NodePool::Webrtc, rig.now), Some(256), "the product's number is the cap");
}

#[test]
fn headroom_lies_inside_what_the_cluster_gave() {
    let rig = Rig::new(Policy { headroom_percent: 20, ..policy(100, 100, None) });
    rig.gate.set_lease(NodePool::Rate, until(20, 10, 500, &rig), rig.now);
    let ids = ids(30);
    assert_eq!(admitted(&rig, &ids[..20]), 16);
    let urgent = |text| Admit { priority: true, ..call(text) };
    assert_eq!(ids[20..].iter().filter(|text| rig.admit(&urgent(text)).admitted).count(), 4);
}

#[test]
fn calls_that_a_restart_brings_back_hold_their_units_and_count_as_admitted() {
    let rig = Rig::new(policy(100, 10, None));
    let ids = ids(5);
    assert_eq!(admitted(&rig, &ids), 5);
    let next = Rig { now: rig.now, ..Rig::new(policy(100, 10, None)) };
    next.gate.set_lease(TYPE, Lease::fixed(3), next.now);
    let mut records = Vec::new();
    rig.gate.snapshot(0, 0, &mut |record| records.push(record.clone()));
    records.extend(rig.records());
    next.gate.recover(records, 0, next.now);
    let used = next.gate.pool_used(TYPE, next.now);
    assert_eq!((used.used, used.forced), (5, 0));
    assert_eq!(next.gate.try_lower_lease(TYPE, Lease::fixed(4), next.now), Err(InUse { used: 5 }));
}
