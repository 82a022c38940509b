//! Rule 4, and calls that survive: epochs, suspects, RESYNC, recovery.

use super::*;

fn from<'a>(proxy: &'static str, text: &'a str) -> Admit<'a> {
    Admit { proxy: Some(name(proxy)), ..call(text) }
}

fn restart(rig: &Rig, proxy: &str, epoch: u64) {
    assert_ne!(rig.gate.proxy_epoch(name(proxy), epoch, rig.now), ProxyEpoch::Full);
}

/// A proxy with three calls that restarts.
fn restarted() -> Rig {
    let mut rig = Rig::open();
    restart(&rig, "p", 1);
    for text in ["a", "b", "c"] {
        rig.admit(&from("p", text));
    }
    rig.admit(&from("q", "other"));
    rig.pass(1);
    restart(&rig, "p", 2);
    rig
}

#[test]
fn a_new_epoch_makes_the_proxys_calls_suspect_and_frees_them_after_the_grace() {
    let mut rig = restarted();
    assert_eq!(rig.gate.suspects(rig.now), 3);
    assert_eq!(rig.live_through(59).suspects_freed, 0);
    assert_eq!(rig.live_through(2).suspects_freed, 3);
    assert_eq!((rig.live(), rig.status().suspects_freed_total), (1, 3));
}

#[test]
fn the_same_epoch_said_again_changes_nothing() {
    let mut rig = restarted();
    rig.live_through(61);
    rig.admit(&from("p", "d"));
    restart(&rig, "p", 2);
    assert_eq!(rig.gate.suspects(rig.now), 0);
    assert_eq!(rig.live_through(61).suspects_freed, 0);
}

#[test]
fn refresh_and_retransmission_keep_a_suspect_call() {
    let mut rig = restarted();
    assert!(rig.refresh("a"));
    assert_eq!(rig.cause(&from("p", "b")), Cause::Duplicate);
    assert_eq!(rig.live_through(61).suspects_freed, 1);
    assert!(rig.gate.call(id("a"), rig.now).is_some() && rig.gate.call(id("b"), rig.now).is_some());
}

#[test]
fn calls_admitted_in_the_new_epoch_are_not_suspect() {
    let mut rig = restarted();
    rig.admit(&from("p", "new"));
    assert_eq!(rig.live_through(61).suspects_freed, 3);
    assert!(rig.gate.call(id("new"), rig.now).is_some());
}

#[test]
fn resync_keeps_what_it_names_adopts_what_is_unknown_and_releases_the_rest() {
    let mut rig = restarted();
    rig.pass(1);
    let token = rig.gate.resync_begin(name("p"), rig.now).unwrap();
    for text in ["a", "x", "a"] {
        rig.gate.resync_add(token, id(text), rig.now).unwrap();
    }
    rig.pass(1);
    rig.admit(&from("p", "during"));
    let outcome = rig.gate.resync_end(token, rig.now).unwrap();
    assert_eq!(outcome, ResyncOutcome { kept: 1, adopted: 1, released: 2 });
    let live = |text| rig.gate.call(id(text), rig.now).is_some();
    assert!(live("a") && live("x") && live("during") && live("other") && !live("b") && !live("c"));
    assert!(rig.gate.call(id("x"), rig.now).unwrap().forced);
    assert_eq!(rig.live_through(61).suspects_freed, 0, "nothing is suspect any more");
    assert_eq!(rig.gate.resync_end(token, rig.now), Err(ResyncError::UnknownToken));
}

#[test]
fn resync_names_no_call_back_to_life_that_was_released_meanwhile() {
    let rig = restarted();
    let token = rig.gate.resync_begin(name("p"), rig.now).unwrap();
    rig.release("a");
    rig.release("gone");
    rig.gate.resync_add(token, id("a"), rig.now).unwrap();
    rig.gate.resync_add(token, id("gone"), rig.now).unwrap();
    assert!(rig.gate.call(id("a"), rig.now).is_none() && rig.gate.call(id("gone"), rig.now).is_none());
}

#[test]
fn an_open_resync_suspends_the_grace_and_a_lost_one_frees_nothing_itself() {
    let mut rig = restarted();
    rig.live_through(50);
    let token = rig.gate.resync_begin(name("p"), rig.now).unwrap();
    rig.gate.resync_add(token, id("a"), rig.now).unwrap();
    assert_eq!(rig.live_through(30).suspects_freed, 0, "the clock stands");
    assert_eq!(rig.live_through(31).suspects_freed, 0, "aborted after 60 s, which itself frees nothing");
    assert_eq!(rig.gate.resync_add(token, id("b"), rig.now), Err(ResyncError::UnknownToken));
    assert_eq!(rig.live_through(8).suspects_freed, 0, "ten seconds were left");
    assert_eq!(rig.live_through(3).suspects_freed, 2, "those that nobody named");
    assert!(rig.gate.call(id("a"), rig.now).is_some());
}

#[test]
fn an_aborted_resync_frees_nothing_and_starts_the_clock_again() {
    let mut rig = restarted();
    let token = rig.gate.resync_begin(name("p"), rig.now).unwrap();
    rig.gate.resync_abort(token, rig.now).unwrap();
    assert_eq!(rig.live(), 4);
    assert_eq!(rig.gate.resync_abort(token, rig.now), Err(ResyncError::UnknownToken));
    assert_eq!(rig.live_through(61).suspects_freed, 3);
}

#[test]
fn a_second_begin_forgets_the_first() {
    let rig = restarted();
    let first = rig.gate.resync_begin(name("p"), rig.now).unwrap();
    let second = rig.gate.resync_begin(name("p"), rig.now).unwrap();
    assert_eq!(rig.gate.resync_add(first, id("a"), rig.now), Err(ResyncError::UnknownToken));
    assert!(rig.gate.resync_add(second, id("a"), rig.now).is_ok());
}

#[test]
fn more_proxies_than_the_bound_are_refused_and_counted() {
    let rig = Rig::open();
    for proxy in ["a", "b", "c", "d"] {
        restart(&rig, proxy, 1);
    }
    assert_eq!(rig.gate.proxy_epoch(name("a"), 1, rig.now), ProxyEpoch::Known);
    assert_eq!(rig.gate.proxy_epoch(name("e"), 1, rig.now), ProxyEpoch::Full);
    assert_eq!(rig.gate.resync_begin(name("e"), rig.now), Err(ResyncError::Full));
    assert_eq!(rig.cause(&from("a", "known")), Cause::Ok);
    assert!(rig.status().names_refused_total >= 2);
}

// --- the sidecar's own restart ---

fn limited() -> Policy {
    let limits = GroupLimits { cps: Some(Cps::saturating(4)), sessions: Some(3) };
    Policy {
        rate: Some(Cps::saturating(5)),
        trunks: [("t".to_owned(), limits)].into(),
        license_types: vec![LicenseType { name: "session".to_owned(), count: Some(4), overage: false, tier: None }],
        default_type_call: Some(0),
        export_control: Some(ExportControl { limit: 100, ..ExportControl::default() }),
        ..Policy::default()
    }
}

/// The gate that comes after this one, from its journal (or its snapshot and journal).
fn successor(rig: &Rig, records: Vec<Record>, after_millis: u64) -> (Rig, Recovery) {
    let mut next = Rig::new(limited());
    next.now = rig.now;
    next.pass_millis(after_millis);
    let recovery = next.gate.recover(records, 0, next.now);
    (next, recovery)
}

fn names_then_journal(rig: &Rig) -> Vec<Record> {
    // What the journal's driver does: a snapshot when it opens, then what is appended.
    let mut records = Vec::new();
    rig.gate.snapshot(0, 0, &mut |record| records.push(record.clone()));
    records.extend(rig.records());
    records
}

#[test]
fn after_a_restart_every_call_is_known_counted_and_suspect() {
    let rig = Rig::new(limited());
    let on_trunk = |text, seq| Admit { trunk: Some(name("t")), ..call_with_seq(text, seq) };
    rig.admit(&on_trunk("a", 1));
    rig.admit(&on_trunk("b", 1));
    rig.admit(&call("c"));
    rig.confirm("a");
    rig.release("c");
    let (next, recovery) = successor(&rig, names_then_journal(&rig), 10);
    assert_eq!((recovery.live, recovery.released, recovery.stamps), (2, 1, 3));
    assert_eq!((next.live(), next.gate.suspects(next.now)), (2, 2));
    assert_eq!(next.gate.full_status(next.now).suspect_live, 2, "what people are shown says so too");
    assert_eq!((next.used("trunk-sessions:t"), next.used("sessions:session"), next.used("export-control")), (2, 2, 2));
    assert_eq!(next.cause(&on_trunk("a", 1)), Cause::Duplicate);
    assert_eq!(next.cause(&call("c")), Cause::Ok, "a re-attempt behind its release");
    assert_eq!(next.gate.suspects(next.now), 1, "who was heard of is not suspect");
    assert!(next.release("a") && next.release("b"));
    assert_eq!((next.used("trunk-sessions:t"), next.used("export-control")), (0, 1));
}

#[test]
fn a_restart_opens_no_second_window() {
    let rig = Rig::new(limited());
    let on_trunk = |text| Admit { trunk: Some(name("t")), ..call(text) };
    for text in ["a", "b", "c"] {
        rig.admit(&on_trunk(text));
    }
    rig.admit(&call("d"));
    let (mut next, _) = successor(&rig, names_then_journal(&rig), 500);
    assert_eq!(next.used("trunk-cps:t"), 3);
    for text in ["a", "b", "c", "d"] {
        next.release(text);
    }
    assert_eq!(next.cause(&call("e")), Cause::Ok, "four of five were used");
    assert_eq!(next.cause(&call("f")), Cause::Cps);
    next.pass_millis(600);
    assert_eq!(next.cause(&call("g")), Cause::Ok);
}

#[test]
fn what_took_a_license_without_a_call_of_its_own_is_in_the_window_too() {
    let rig = Rig::new(limited());
    rig.admit(&call_with_seq("a", 1));
    rig.admit(&call_with_seq("a", 2));
    rig.admit(&call_with_seq("a", 3));
    let (next, recovery) = successor(&rig, names_then_journal(&rig), 100);
    assert_eq!((recovery.stamps, next.used("cps"), next.live()), (3, 3, 1));
    assert_eq!(next.cause(&call_with_seq("a", 2)), Cause::Late, "the number of the last attempt survives");
}

#[test]
fn a_restart_opens_no_second_window_for_a_trunk_or_tenant_that_is_not_listed() {
    let default = GroupLimits { cps: Some(Cps::saturating(5)), sessions: None };
    let policy = Policy { trunk_default: default, tenant_default: default, ..open_policy() };
    let of = |trunk: &'static str, tenant: &'static str, text| Admit {
        trunk: Some(name(trunk)),
        tenant: Some(name(tenant)),
        ..call(text)
    };
    let rig = Rig::new(policy.clone());
    for text in ["a", "b", "c", "d", "e"] {
        assert_eq!(rig.cause(&of("t", "u", text)), Cause::Ok);
        assert!(rig.release(text), "nothing is live that could bring the names back");
    }
    let mut next = Rig::new(policy);
    next.now = rig.now;
    next.pass_millis(500);
    next.gate.recover(names_then_journal(&rig), 0, next.now);
    assert_eq!((next.used("trunk-cps:t"), next.used("tenant-cps:u")), (5, 5));
    assert_eq!(next.cause(&of("t", "other", "f")), Cause::TrunkCps);
    assert_eq!(next.cause(&of("other", "u", "g")), Cause::TenantCps);
    next.pass_millis(600);
    assert_eq!(next.cause(&of("t", "u", "h")), Cause::Ok);
}

#[test]
fn a_restart_gives_no_free_attempt() {
    let rig = Rig::new(limited());
    assert_eq!(rig.cause(&call("a")), Cause::Ok);
    rig.release("a");
    assert_eq!(rig.cause(&call("a")), Cause::Ok, "behind a challenge: free");
    assert_eq!(rig.used("cps"), 1);
    let (mut next, _) = successor(&rig, names_then_journal(&rig), 10);
    next.release("a");
    assert_eq!(next.cause(&call("a")), Cause::Ok);
    assert_eq!(next.used("cps"), 2, "the third attempt pays, as it would have without the restart");
    next.pass(2);
    next.release("a");
    assert_eq!((next.cause(&call("a")), next.used("cps")), (Cause::Ok, 0), "and the one behind it is free again");
}

#[test]
fn a_restart_opens_no_latch() {
    let policy =
        || Policy { export_control: Some(ExportControl { limit: 200, ..ExportControl::default() }), ..open_policy() };
    let rig = Rig::new(policy());
    let ids: Vec<String> = (0..200).map(|number| number.to_string()).collect();
    for text in &ids {
        assert_eq!(rig.cause(&call(text)), Cause::Ok);
    }
    rig.release("0");
    assert_eq!(rig.cause(&call("more")), Cause::ExportControl);
    let mut next = Rig::new(policy());
    next.now = rig.now;
    next.gate.recover(names_then_journal(&rig), 0, next.now);
    assert_eq!((next.used("export-control"), next.cause(&call("other"))), (199, Cause::ExportControl));
    next.release("1");
    assert_eq!(next.cause(&call("another")), Cause::ExportControl, "198 is the low mark, not below it");
    next.release("2");
    assert_eq!(next.cause(&call("last")), Cause::Ok);
}

#[test]
fn leases_that_end_while_the_sidecar_is_away_are_over() {
    let rig = Rig::new(limited());
    rig.admit(&Admit { ttl_s: Some(5), ..call("a") });
    rig.admit(&call("b"));
    let (mut next, recovery) = successor(&rig, names_then_journal(&rig), 6_000);
    assert_eq!((recovery.live, recovery.lapsed, recovery.stamps), (1, 1, 0));
    assert_eq!(next.live_through(295).lapsed, 1);
    assert_eq!(next.used("export-control"), 0);
}

#[test]
fn a_snapshot_and_the_journal_behind_it_say_the_same_as_the_journal_alone() {
    let rig = Rig::new(limited());
    for text in ["a", "b", "c"] {
        rig.admit(&Admit { proxy: Some(name("p")), ..call(text) });
    }
    rig.release("a");
    let mut snapshot = Vec::new();
    let mut cursor = Some(0);
    while let Some(at) = cursor {
        cursor = rig.gate.snapshot(0, at, &mut |record| snapshot.push(record.clone()));
    }
    let before = rig.records().len();
    rig.confirm("b");
    rig.release("c");
    let mut records = rig.records()[..before].to_vec();
    records.extend(snapshot);
    records.extend_from_slice(&rig.records()[before..]);
    let (next, recovery) = successor(&rig, records, 10);
    assert_eq!((recovery.live, next.live()), (1, 1));
    let view = next.gate.call_by_key(rig.gate.calls(0, 10, rig.now).0[0].key, next.now).unwrap();
    assert_eq!((view.phase, view.proxy.as_deref(), view.suspect), (Phase::Talk, Some("p"), true));
}

#[test]
fn a_proxy_that_restarted_before_the_sidecar_did_has_its_old_calls_freed_after_the_grace() {
    let mut rig = Rig::new(limited());
    let from_p = |text| Admit { proxy: Some(name("p")), ..call(text) };
    restart(&rig, "p", 1);
    rig.admit(&from_p("old"));
    rig.pass_millis(10);
    restart(&rig, "p", 2);
    rig.admit(&from_p("new"));
    let mut snapshot = Vec::new();
    let mut cursor = Some(0);
    while let Some(at) = cursor {
        cursor = rig.gate.snapshot(0, at, &mut |record| snapshot.push(record.clone()));
    }
    for records in [names_then_journal(&rig), snapshot] {
        let (mut next, recovery) = successor(&rig, records, 100);
        assert_eq!(recovery.live, 2);
        restart(&next, "p", 2);
        assert_eq!(next.live_through(61).suspects_freed, 1);
        assert!(next.gate.call(id("new"), next.now).is_some_and(|call| call.suspect));
        restart(&next, "p", 3);
        assert_eq!(next.live_through(61).suspects_freed, 1, "and a newer epoch frees the other");
    }
}

#[test]
fn a_recovered_call_waits_for_its_lease_unless_a_resync_leaves_it_out() {
    let rig = Rig::new(limited());
    let from_p = |text| Admit { proxy: Some(name("p")), ..call(text) };
    rig.admit(&from_p("a"));
    rig.admit(&from_p("b"));
    let (mut next, _) = successor(&rig, names_then_journal(&rig), 100);
    assert_eq!(next.live_through(200).suspects_freed, 0);
    let token = next.gate.resync_begin(name("p"), next.now).unwrap();
    next.gate.resync_add(token, id("a"), next.now).unwrap();
    assert_eq!(next.gate.resync_end(token, next.now).unwrap(), ResyncOutcome { kept: 1, adopted: 0, released: 1 });
    assert_eq!((next.live(), next.gate.suspects(next.now)), (1, 0));
}

#[test]
fn ticks_of_another_boot_are_moved() {
    let rig = Rig::new(limited());
    rig.admit(&call("a"));
    let mut next = Rig::new(limited());
    next.now.tick = Tick::from_secs(50);
    let offset = -950_i64 * 1_000_000_000 + 3_000_000_000;
    // The new boot's clock stands at 50 s; the journal's last record was written at 1000 s of the old one, 3 s "later" than now.
    let recovery = next.gate.recover(names_then_journal(&rig), offset - 6_000_000_000, next.now);
    assert_eq!((recovery.live, recovery.stamps), (1, 0));
    let left = next.gate.call(id("a"), next.now).unwrap().lease_ends_at.as_secs();
    assert!((346..=348).contains(&left), "300 s after 47 s: {left}");
}

#[test]
fn several_shards_know_the_same_calls_as_one() {
    let bounds = Bounds { shards: 4, ..BOUNDS };
    let rig = Rig::bounded(limited(), bounds);
    let ids: Vec<String> = (0..4).map(|number| number.to_string()).collect();
    for text in &ids {
        assert_eq!(rig.cause(&Admit { trunk: None, proxy: Some(name("p")), ..call(text) }), Cause::Ok);
    }
    let (page, cursor) = rig.gate.calls(0, 3, rig.now);
    let (rest, end) = rig.gate.calls(cursor.unwrap(), 3, rig.now);
    assert_eq!((page.len(), rest.len(), end), (3, 1, None));
    let mut next = Rig::new(limited());
    next.now = rig.now;
    let mut live = 0;
    for shard in 0..4 {
        let mut records = Vec::new();
        rig.gate.snapshot(shard, 0, &mut |record| records.push(record.clone()));
        records.extend(rig.gate.with_journal(shard, |journal| journal.clone()).unwrap());
        live += next.gate.recover(records, 0, next.now).live;
    }
    assert_eq!((live, next.live(), next.used("cps")), (4, 4, 4));
    assert_eq!(rig.housekeep().lapsed, 0);
}

/// What the driver of several shards' journals hands on: one stream, a snapshot first, then one log after the other.
fn one_stream(rig: &Rig, shards: usize) -> Vec<Record> {
    let mut records = Vec::new();
    for shard in 0..shards {
        records.extend(rig.gate.with_journal(shard, |journal| journal.clone()).unwrap());
    }
    records
}

#[test]
fn a_call_that_a_resync_kept_is_not_freed_by_the_sidecars_own_restart() {
    let mut rig = Rig::new(limited());
    let of = |proxy, text| Admit { proxy: Some(name(proxy)), ..call(text) };
    for proxy in ["p", "q"] {
        restart(&rig, proxy, 1);
    }
    rig.admit(&of("p", "named"));
    rig.admit(&of("q", "asked again"));
    rig.pass_millis(100);
    for proxy in ["p", "q"] {
        restart(&rig, proxy, 2);
    }
    rig.pass_millis(100);
    assert_eq!(rig.cause(&of("q", "asked again")), Cause::Duplicate);
    let token = rig.gate.resync_begin(name("p"), rig.now).unwrap();
    rig.gate.resync_add(token, id("named"), rig.now).unwrap();
    rig.gate.resync_end(token, rig.now).unwrap();
    let (mut next, recovery) = successor(&rig, names_then_journal(&rig), 100);
    assert_eq!(recovery.live, 2);
    assert_eq!(next.live_through(61).suspects_freed, 0, "its proxy lives, and says nothing: why should it");
}

#[test]
fn epochs_are_judged_by_their_time_whatever_the_order_of_the_shards_logs() {
    let bounds = Bounds { shards: 4, ..BOUNDS };
    let mut rig = Rig::bounded(Policy { rate: None, ..limited() }, bounds);
    let old: Vec<String> = (0..2).map(|number| format!("old-{number}")).collect();
    let new: Vec<String> = (0..2).map(|number| format!("new-{number}")).collect();
    let admit = |rig: &Rig, ids: &[String]| {
        for text in ids {
            assert_eq!(rig.cause(&Admit { proxy: Some(name("p")), ..call(text) }), Cause::Ok);
        }
    };
    restart(&rig, "p", 1);
    rig.pass_millis(10);
    admit(&rig, &old);
    rig.pass_millis(10);
    restart(&rig, "p", 2);
    rig.pass_millis(10);
    admit(&rig, &new);
    let (mut next, recovery) = successor(&rig, one_stream(&rig, 4), 100);
    assert_eq!((recovery.live, recovery.stamps), (4, 4));
    assert_eq!(next.live_through(61).suspects_freed, 2);
    assert!(new.iter().all(|text| next.gate.call(id(text), next.now).is_some()));
}

#[test]
fn a_released_marker_survives_a_snapshot_with_its_number() {
    let rig = Rig::new(limited());
    rig.admit(&call_with_seq("a", 3));
    rig.release_seq("a", 5);
    let mut snapshot = Vec::new();
    let mut cursor = Some(0);
    while let Some(at) = cursor {
        cursor = rig.gate.snapshot(0, at, &mut |record| snapshot.push(record.clone()));
    }
    for records in [snapshot, names_then_journal(&rig)] {
        let (next, recovery) = successor(&rig, records, 100);
        assert_eq!((recovery.live, recovery.released), (0, 1));
        assert_eq!(next.cause(&call_with_seq("a", 5)), Cause::Late);
        assert_eq!(next.cause(&call_with_seq("a", 6)), Cause::Ok);
    }
}

#[test]
fn windows_start_full_where_the_last_second_is_not_known() {
    let mut rig = Rig::new(limited());
    rig.gate.fill_windows(rig.now);
    assert_eq!(rig.cause(&call("a")), Cause::Cps);
    rig.pass_millis(1_100);
    assert_eq!(rig.cause(&call_with_seq("a", 2)), Cause::Ok);
}

#[test]
fn so_does_the_window_of_a_trunk_first_heard_of_behind_such_a_start() {
    let default = GroupLimits { cps: Some(Cps::saturating(5)), sessions: None };
    let mut rig = Rig::new(Policy { trunk_default: default, ..open_policy() });
    rig.gate.fill_windows(rig.now);
    let on = |text| Admit { trunk: Some(name("t")), ..call(text) };
    rig.pass_millis(900);
    assert_eq!(rig.cause(&on("a")), Cause::TrunkCps);
    rig.pass_millis(200);
    assert_eq!(rig.cause(&on("b")), Cause::Ok);
    rig.live_through(3);
    for text in ["c", "d", "e", "f", "g"] {
        assert_eq!(rig.cause(&Admit { trunk: Some(name("u")), ..call(text) }), Cause::Ok);
    }
}

#[test]
fn neither_a_resync_nor_a_new_epoch_frees_a_registration() {
    let mut rig = Rig::open();
    restart(&rig, "p", 1);
    rig.admit(&Admit { kind: Kind::Registration, ttl_s: Some(600), ..from("p", "aor") });
    rig.admit(&from("p", "dialog"));
    rig.pass(1);
    let token = rig.gate.resync_begin(name("p"), rig.now).unwrap();
    let outcome = rig.gate.resync_end(token, rig.now).unwrap();
    assert_eq!(outcome, ResyncOutcome { kept: 0, adopted: 0, released: 1 }, "the proxy lists dialogs");
    restart(&rig, "p", 2);
    assert_eq!(rig.live_through(61).suspects_freed, 0);
    assert_eq!(rig.status().registrations_live, 1);
    assert_eq!(rig.live_through(600).lapsed, 1, "it ends by its own Expires");
}

#[test]
fn the_sweep_of_one_restart_spares_the_calls_of_the_next() {
    let mut rig = Rig::bounded(open_policy(), Bounds { calls_max: 10_000, ..BOUNDS });
    restart(&rig, "p", 1);
    let old: Vec<String> = (0..4_000).map(|number| format!("old-{number}")).collect();
    for text in &old {
        rig.admit(&from("p", text));
    }
    restart(&rig, "p", 2);
    let new: Vec<String> = (0..4_000).map(|number| format!("new-{number}")).collect();
    for text in &new {
        rig.admit(&from("p", text));
    }
    rig.pass(61);
    let first = rig.gate.housekeep(rig.now);
    assert!(first.more && first.suspects_freed < 4_000, "the walk takes several rounds");
    restart(&rig, "p", 3);
    rig.housekeep();
    assert_eq!(rig.live(), 4_000, "those of epoch 2 have a grace of their own");
    assert_eq!(rig.live_through(61).suspects_freed, 4_000);
}

#[test]
fn a_resync_that_begins_while_suspects_are_freed_stops_it() {
    let mut rig = Rig::bounded(open_policy(), Bounds { calls_max: 10_000, ..BOUNDS });
    let old: Vec<String> = (0..4_000).map(|number| format!("old-{number}")).collect();
    for text in &old {
        rig.admit(&from("p", text));
    }
    restart(&rig, "p", 1);
    rig.pass(61);
    rig.gate.housekeep(rig.now);
    let token = rig.gate.resync_begin(name("p"), rig.now).unwrap();
    let left = rig.live();
    rig.housekeep();
    assert!(left > 0 && rig.live() == left);
    rig.gate.resync_abort(token, rig.now).unwrap();
    rig.housekeep();
    assert_eq!(rig.live(), 0);
}

#[test]
fn a_resync_into_a_full_table_says_so_and_frees_nothing() {
    let rig = Rig::bounded(open_policy(), Bounds { calls_max: 1, ..BOUNDS });
    rig.admit(&from("p", "a"));
    let token = rig.gate.resync_begin(name("p"), rig.now).unwrap();
    assert_eq!(rig.gate.resync_add(token, id("b"), rig.now), Err(ResyncError::Full));
    assert_eq!(rig.live(), 1);
}
