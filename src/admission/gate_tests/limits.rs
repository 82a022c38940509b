//! What refuses, in which order, and what a refusal gives back.

use super::*;
use crate::limits::{Level, RatePolicy, Verdict, VerdictCause};

fn trunk(limits: GroupLimits) -> Policy {
    Policy { trunks: [("t".to_owned(), limits)].into(), ..open_policy() }
}

fn on_trunk(text: &str) -> Admit<'_> {
    Admit { trunk: Some(name("t")), ..call(text) }
}

fn typed(types: Vec<LicenseType>) -> Policy {
    Policy { license_types: types, default_type_call: Some(0), ..open_policy() }
}

fn license(name: &str, count: u32, rank: u8) -> LicenseType {
    let tier = Some(Tier { family: "agents".to_owned(), rank });
    LicenseType { name: name.to_owned(), count: Some(count), overage: false, tier }
}

#[test]
fn the_node_admits_at_most_its_calls_per_second_in_any_second() {
    let mut rig = Rig::new(Policy { rate: Some(Cps::saturating(5)), ..Policy::default() });
    let ids: Vec<String> = (0..40).map(|number| number.to_string()).collect();
    let mut admitted = 0;
    for text in &ids {
        admitted += u32::from(rig.admit(&call(text)).admitted);
        rig.pass_millis(100);
    }
    assert_eq!(admitted, 20, "five in each of four seconds");
}

#[test]
fn a_refusal_by_rate_gives_back_the_sessions_that_it_took() {
    let policy = Policy { rate: Some(Cps::saturating(1)), ..trunk(GroupLimits { cps: None, sessions: Some(10) }) };
    let rig = Rig::new(policy);
    assert_eq!(rig.cause(&on_trunk("a")), Cause::Ok);
    for text in ["b", "c", "d"] {
        assert_eq!(rig.cause(&on_trunk(text)), Cause::Cps);
    }
    assert_eq!(rig.used("trunk-sessions:t"), 1);
}

#[test]
fn a_call_refused_for_its_sessions_takes_no_calls_per_second_license() {
    let policy = Policy { rate: Some(Cps::saturating(2)), ..trunk(GroupLimits { cps: None, sessions: Some(1) }) };
    let rig = Rig::new(policy);
    assert_eq!(rig.cause(&on_trunk("a")), Cause::Ok);
    assert_eq!(rig.cause(&on_trunk("b")), Cause::TrunkSessions);
    assert_eq!(rig.used("cps"), 1);
    assert_eq!(rig.cause(&call("c")), Cause::Ok, "the second license is still there");
}

#[test]
fn trunks_and_tenants_have_rates_and_sessions_of_their_own() {
    let limits = GroupLimits { cps: Some(Cps::saturating(1)), sessions: Some(2) };
    let mut rig = Rig::new(Policy {
        trunks: [("t".to_owned(), limits)].into(),
        tenants: [("n".to_owned(), limits)].into(),
        ..open_policy()
    });
    let of_tenant = |text| Admit { tenant: Some(name("n")), ..call(text) };
    assert_eq!(rig.cause(&on_trunk("a")), Cause::Ok);
    assert_eq!(rig.cause(&on_trunk("b")), Cause::TrunkCps);
    assert_eq!(rig.cause(&of_tenant("c")), Cause::Ok);
    assert_eq!(rig.cause(&of_tenant("d")), Cause::TenantCps);
    rig.pass(3);
    assert_eq!(rig.cause(&on_trunk("e")), Cause::Ok);
    assert_eq!(rig.cause(&of_tenant("f")), Cause::Ok);
    rig.pass(3);
    assert_eq!(rig.cause(&on_trunk("g")), Cause::TrunkSessions);
    assert_eq!(rig.cause(&of_tenant("h")), Cause::TenantSessions);
    let refused = rig.admit(&on_trunk("i"));
    assert_eq!((refused.sip_status, refused.retry_after_s), (480, 0));
    assert!(rig.release("a"));
    assert_eq!(rig.cause(&on_trunk("j")), Cause::Ok);
}

#[test]
fn an_unlisted_trunk_has_the_default_limits_and_strictness_refuses_it() {
    let default = GroupLimits { cps: None, sessions: Some(1) };
    let mut policy = trunk(GroupLimits::default());
    policy.trunk_default = default;
    let rig = Rig::new(policy.clone());
    let from = |trunk: &'static str, text| Admit { trunk: Some(name(trunk)), ..call(text) };
    assert_eq!(rig.cause(&from("x", "a")), Cause::Ok);
    assert_eq!(rig.cause(&from("x", "b")), Cause::TrunkSessions);
    assert_eq!(rig.cause(&from("y", "c")), Cause::Ok, "each name has limits of its own");
    policy.strict_trunks = true;
    rig.gate.set_policy(policy, rig.now).unwrap();
    assert_eq!(rig.cause(&from("z", "d")), Cause::UnknownTrunk);
    assert_eq!(rig.cause(&from("x", "e")), Cause::UnknownTrunk, "known by use, but not listed");
    assert_eq!(rig.cause(&from("t", "f")), Cause::Ok);
    assert_eq!(rig.cause(&Admit { tenant: Some(name("n")), ..call("g") }), Cause::UnknownTenant);
}

#[test]
fn names_beyond_the_bound_share_one_group() {
    let rig = Rig::new(Policy { trunk_default: GroupLimits { cps: None, sessions: Some(1) }, ..open_policy() });
    let names: Vec<String> = (0..30).map(|number| format!("trunk-{number}")).collect();
    let ids: Vec<String> = (0..30).map(|number| format!("call-{number}")).collect();
    let admitted = names
        .iter()
        .zip(&ids)
        .filter(|(trunk, text)| rig.admit(&Admit { trunk: Some(name(trunk)), ..call(text) }).admitted)
        .count();
    assert_eq!(admitted, 21, "twenty of their own, and one for all the others");
    assert_eq!(rig.status().names_refused_total, 10);
}

#[test]
fn ten_premium_and_forty_standard_licenses_serve_what_the_tiers_allow() {
    for (premium, standard_left) in [(0, 50), (10, 40), (5, 45)] {
        let rig = Rig::new(typed(vec![license("standard", 40, 0), license("premium", 10, 1)]));
        let ids: Vec<String> = (0..60).map(|number| number.to_string()).collect();
        let of_type = |text, kind: &'static str| Admit { license_type: Some(name(kind)), ..call(text) };
        for text in ids.iter().take(premium) {
            assert_eq!(rig.cause(&of_type(text, "premium")), Cause::Ok);
        }
        let standard = ids.iter().skip(premium).filter(|text| rig.admit(&of_type(text, "standard")).admitted).count();
        assert_eq!(standard, standard_left, "beside {premium} premium");
    }
    let rig = Rig::new(typed(vec![license("standard", 40, 0), license("premium", 10, 1)]));
    let ids: Vec<String> = (0..11).map(|number| number.to_string()).collect();
    let premium = |text| Admit { license_type: Some(name("premium")), ..call(text) };
    assert_eq!(ids.iter().filter(|text| rig.admit(&premium(text)).admitted).count(), 10, "never the reverse");
}

#[test]
fn a_call_shows_the_tier_that_it_draws_on() {
    let rig = Rig::new(typed(vec![license("standard", 1, 0), license("premium", 1, 1)]));
    rig.admit(&call("a"));
    rig.admit(&call("b"));
    assert_eq!(rig.gate.call(id("a"), rig.now).unwrap().license_tier, None);
    assert_eq!(rig.gate.call(id("b"), rig.now).unwrap().license_tier.as_deref(), Some("premium"));
}

#[test]
fn units_are_taken_together_or_not_at_all_and_overage_is_counted() {
    let mut types = vec![license("standard", 10, 0)];
    let rig = Rig::new(typed(types.clone()));
    let units = |text, units| Admit { units, ..call(text) };
    assert_eq!(rig.cause(&units("a", 8)), Cause::Ok);
    assert_eq!(rig.cause(&units("b", 3)), Cause::Sessions);
    assert_eq!(rig.cause(&units("c", 2)), Cause::Ok);
    types[0].overage = true;
    rig.gate.set_policy(typed(types), rig.now).unwrap();
    assert_eq!(rig.cause(&units("d", 5)), Cause::Ok);
    assert_eq!((rig.used("sessions:standard"), rig.status().overage_total), (15, 5));
    assert!(rig.gate.call(id("d"), rig.now).unwrap().forced);
    for text in ["a", "c", "d"] {
        rig.release(text);
    }
    assert_eq!(rig.used("sessions:standard"), 0);
}

#[test]
fn a_type_that_nobody_knows_is_a_refusal_of_its_own_which_no_waiting_mends() {
    let rig = Rig::open();
    let gold = |text| Admit { license_type: Some(name("gold")), ..call(text) };
    let refused = rig.admit(&gold("a"));
    assert_eq!((refused.admitted, refused.cause), (false, Cause::UnknownType));
    assert_eq!((refused.sip_status, refused.retry_after_s), (480, 0));
    assert_eq!(rig.status().refused_total[usize::from(Cause::UnknownType.code())], 1);
    assert_eq!(rig.cause(&Admit { emergency: true, ..gold("b") }), Cause::Emergency, "never refused");
}

#[test]
fn the_set_of_license_types_is_fixed_while_the_gate_runs() {
    let rig = Rig::new(typed(vec![license("standard", 10, 0)]));
    let refused = rig.gate.set_policy(typed(vec![license("other", 10, 0)]), rig.now).unwrap_err();
    assert_eq!(refused, PolicyRefused::LicenseTypes);
    rig.gate.set_policy(typed(vec![license("standard", 0, 0)]), rig.now).unwrap();
    assert_eq!(rig.cause(&call("a")), Cause::Sessions);
}

#[test]
fn export_control_refuses_from_the_limit_on_until_use_is_below_the_low_mark() {
    let export = ExportControl { limit: 200, ..ExportControl::default() };
    let rig = Rig::new(Policy { export_control: Some(export), ..open_policy() });
    let ids: Vec<String> = (0..202).map(|number| number.to_string()).collect();
    for text in ids.iter().take(200) {
        assert_eq!(rig.cause(&call(text)), Cause::Ok);
    }
    assert_eq!(rig.cause(&call(&ids[200])), Cause::ExportControl);
    for text in ids.iter().take(2) {
        rig.release(text);
    }
    assert_eq!(rig.used("export-control"), 198);
    assert_eq!(rig.cause(&Admit { seq: Some(1), ..call(&ids[200]) }), Cause::ExportControl, "198 is not below 198");
    rig.release(&ids[2]);
    assert_eq!(rig.cause(&Admit { seq: Some(2), ..call(&ids[200]) }), Cause::Ok);
}

#[test]
fn a_call_refused_by_a_later_limit_does_not_close_the_export_gate() {
    let export = ExportControl { limit: 2, ..ExportControl::default() };
    let mut policy = trunk(GroupLimits { cps: None, sessions: Some(0) });
    policy.export_control = Some(export);
    let rig = Rig::new(policy);
    rig.admit(&call("a"));
    assert_eq!(rig.cause(&on_trunk("b")), Cause::TrunkSessions, "it held the second place for a moment");
    assert_eq!(rig.cause(&call("c")), Cause::Ok);
    assert_eq!(rig.cause(&call("d")), Cause::ExportControl);
}

#[test]
fn webrtc_is_refused_under_export_control_unless_it_is_on_and_then_counted_apart() {
    let off = ExportControl { webrtc_limit: 2, ..ExportControl::default() };
    let rig = Rig::new(Policy { export_control: Some(off), ..open_policy() });
    let webrtc = |text| Admit { webrtc: true, ..call(text) };
    assert_eq!(rig.cause(&webrtc("a")), Cause::Webrtc);
    let on = ExportControl { webrtc: true, ..off };
    rig.gate.set_policy(Policy { export_control: Some(on), ..open_policy() }, rig.now).unwrap();
    assert_eq!(rig.cause(&webrtc("b")), Cause::Ok);
    assert_eq!(rig.cause(&webrtc("c")), Cause::Ok);
    assert_eq!(rig.cause(&webrtc("d")), Cause::Webrtc);
    assert_eq!((rig.used("webrtc"), rig.used("export-control")), (2, 0));
    rig.gate.set_policy(Policy { export_control: Some(off), ..open_policy() }, rig.now).unwrap();
    assert_eq!((rig.live(), rig.used("export-control")), (2, 2), "nobody is dropped, and they count now");
    rig.release("b");
    rig.release("c");
    assert_eq!(rig.used("export-control"), 0);
    let free = Rig::open();
    assert_eq!(free.cause(&webrtc("a")), Cause::Ok, "without export control WebRTC is a call like any other");
}

#[test]
fn export_control_that_is_switched_on_counts_the_calls_that_are_live() {
    let rig = Rig::open();
    for text in ["a", "b", "c"] {
        rig.admit(&call(text));
    }
    let export = ExportControl { limit: 3, ..ExportControl::default() };
    rig.gate.set_policy(Policy { export_control: Some(export), ..open_policy() }, rig.now).unwrap();
    assert_eq!(rig.used("export-control"), 3);
    assert_eq!(rig.cause(&call("d")), Cause::ExportControl);
    for text in ["a", "b", "c"] {
        rig.release(text);
    }
    assert_eq!(rig.used("export-control"), 0);
}

#[test]
fn only_encrypted_sessions_count_where_only_they_do() {
    let export = ExportControl { limit: 1, counts: ExportCounts::Encrypted, ..ExportControl::default() };
    let rig = Rig::new(Policy { export_control: Some(export), ..open_policy() });
    let encrypted = |text| Admit { encrypted: true, ..call(text) };
    assert_eq!(rig.cause(&encrypted("a")), Cause::Ok);
    assert_eq!(rig.cause(&encrypted("b")), Cause::ExportControl);
    assert_eq!(rig.cause(&call("c")), Cause::Ok);
}

#[test]
fn an_emergency_call_is_never_refused_and_always_counted() {
    let bounds = Bounds { calls_max: 3, ..BOUNDS };
    let export = ExportControl { limit: 1, ..ExportControl::default() };
    let mut policy = Policy { rate: Some(Cps::saturating(1)), export_control: Some(export), ..Policy::default() };
    policy.license_types = vec![license("standard", 1, 0)];
    policy.default_type_call = Some(0);
    let rig = Rig::bounded(policy, bounds);
    rig.gate.verdict().set(Verdict { calls: Some(VerdictCause::Enforced), ..Verdict::default() });
    rig.gate.set_draining(true);
    let emergency = |text| Admit { emergency: true, ..call(text) };
    for text in ["a", "b", "c"] {
        assert_eq!(rig.cause(&emergency(text)), Cause::Emergency);
    }
    assert_eq!((rig.used("cps"), rig.used("export-control"), rig.used("sessions:standard")), (3, 3, 3));
    assert_eq!(rig.cause(&emergency("d")), Cause::Emergency, "the table is full, the call is not refused");
    let status = rig.status();
    assert_eq!((status.calls_live, status.untracked_total, status.emergency_total), (3, 1, 4));
    assert_eq!(rig.used("cps"), 4, "counted all the same");
    assert_eq!(status.forced_total, 3, "the first had room everywhere");
}

#[test]
fn a_full_table_refuses_with_capacity() {
    let rig = Rig::bounded(open_policy(), Bounds { calls_max: 1, ..BOUNDS });
    assert_eq!(rig.cause(&call("a")), Cause::Ok);
    let refused = rig.admit(&call("b"));
    assert_eq!((refused.cause, refused.sip_status), (Cause::Capacity, 503));
    assert!((3..=6).contains(&refused.retry_after_s));
}

#[test]
fn each_verdict_has_its_cause_and_touches_no_live_call() {
    let rig = Rig::open();
    rig.admit(&call("live"));
    for (verdict, cause) in [
        (VerdictCause::Unconfigured, Cause::Unconfigured),
        (VerdictCause::EvaluationExpired, Cause::EvaluationExpired),
        (VerdictCause::AuthorizationExpired, Cause::AuthorizationExpired),
        (VerdictCause::ReservationExpired, Cause::ReservationExpired),
        (VerdictCause::Enforced, Cause::Enforced),
        (VerdictCause::Revoked, Cause::Revoked),
    ] {
        rig.gate.verdict().set(Verdict { calls: Some(verdict), ..Verdict::default() });
        let refused = rig.admit(&call(cause.name()));
        assert_eq!((refused.cause, refused.sip_status, refused.retry_after_s), (cause, 503, 0));
        let register = Admit { kind: Kind::Registration, seq: Some(9), ..call(cause.name()) };
        assert_eq!(rig.cause(&register), Cause::Ok, "registrations have a verdict of their own");
    }
    assert!(rig.confirm("live"));
}

#[test]
fn headroom_lies_inside_the_limit_and_is_for_priority_calls() {
    let rig = Rig::new(Policy { rate: Some(Cps::saturating(10)), headroom_percent: 25, ..Policy::default() });
    let ids: Vec<String> = (0..12).map(|number| number.to_string()).collect();
    let ordinary = ids.iter().filter(|text| rig.admit(&call(text)).admitted).count();
    assert_eq!(ordinary, 8, "floor(10 * 25 / 100) = 2 are kept back");
    let urgent: Vec<String> = (0..12).map(|number| format!("p{number}")).collect();
    let priority = urgent.iter().filter(|text| rig.admit(&Admit { priority: true, ..call(text) }).admitted).count();
    assert_eq!(priority, 2);
}

#[test]
fn an_observed_rate_counts_and_refuses_nothing() {
    let policy = Policy { rate: Some(Cps::saturating(1)), rate_enforced: false, ..Policy::default() };
    let rig = Rig::new(policy);
    for text in ["a", "b", "c"] {
        assert_eq!(rig.cause(&call(text)), Cause::Ok);
    }
    assert_eq!(rig.used("cps"), 3);
}

#[test]
fn a_lower_rate_counts_at_once_and_another_algorithm_starts_full() {
    let mut policy = Policy { rate: Some(Cps::saturating(10)), ..Policy::default() };
    let mut rig = Rig::new(policy.clone());
    for text in ["a", "b", "c"] {
        rig.admit(&call(text));
    }
    policy.rate = Some(Cps::saturating(5));
    rig.gate.set_policy(policy.clone(), rig.now).unwrap();
    assert_eq!(
        (rig.cause(&call("d")), rig.cause(&call("e")), rig.cause(&call("f"))),
        (Cause::Ok, Cause::Ok, Cause::Cps)
    );
    policy.rate_policy = RatePolicy::Burst(5);
    rig.gate.set_policy(policy.clone(), rig.now).unwrap();
    assert_eq!(rig.cause(&call("g")), Cause::Cps);
    rig.pass(3);
    assert_eq!(rig.cause(&call("h")), Cause::Ok);
    policy.rate = Some(Cps::saturating(10_005));
    assert!(rig.gate.set_policy(policy, rig.now).is_err());
}

/// The levels that housekeeping tells of one limit.
fn levels(rig: &Rig, limit: &str) -> Vec<Level> {
    rig.housekeep().levels.iter().filter(|change| change.limit_name == limit).map(|change| change.to).collect()
}

#[test]
fn a_latched_limit_is_reached_although_less_is_in_use() {
    let export_control = Some(ExportControl { limit: 200, ..ExportControl::default() });
    let rig = Rig::new(Policy { export_control, ..open_policy() });
    let ids: Vec<String> = (0..200).map(|number| number.to_string()).collect();
    for text in &ids {
        rig.admit(&call(text));
    }
    rig.release("0");
    rig.release("1");
    assert_eq!(
        levels(&rig, "export-control"),
        [Level::Reached],
        "between two looks two calls ended, and the latch is closed"
    );
    rig.release("2");
    assert_eq!(levels(&rig, "export-control"), [Level::Near]);
}

#[test]
fn a_limit_that_refused_between_two_looks_is_reached_although_calls_ended_since() {
    let rig = Rig::new(Policy {
        export_control: Some(ExportControl { webrtc: true, webrtc_limit: 2, ..ExportControl::default() }),
        license_types: vec![LicenseType { name: "s".to_owned(), count: Some(4), overage: false, tier: None }],
        default_type_call: Some(0),
        ..open_policy()
    });
    let webrtc = |text| Admit { webrtc: true, ..call(text) };
    for text in ["a", "b"] {
        assert_eq!(rig.cause(&webrtc(text)), Cause::Ok);
    }
    assert_eq!(rig.cause(&webrtc("c")), Cause::Webrtc);
    for text in ["d", "e"] {
        assert_eq!(rig.cause(&call(text)), Cause::Ok);
    }
    assert_eq!(rig.cause(&call("f")), Cause::Sessions);
    for text in ["a", "b", "d"] {
        rig.release(text);
    }
    let told = rig.housekeep().levels;
    let of = |limit| told.iter().find(|change| change.limit_name == limit).map(|change| change.to);
    assert_eq!((of("webrtc"), of("sessions:s")), (Some(Level::Reached), Some(Level::Reached)));
    assert_eq!(levels(&rig, "webrtc"), [Level::Normal], "nothing was refused since");
}

#[test]
fn the_nodes_rate_has_levels_too() {
    let mut rig = Rig::new(Policy { rate: Some(Cps::saturating(10)), ..Policy::default() });
    let ids: Vec<String> = (0..11).map(|number| number.to_string()).collect();
    for text in &ids[..9] {
        rig.admit(&call(text));
    }
    assert_eq!(levels(&rig, "cps"), [Level::Near]);
    assert_eq!((rig.cause(&call("9")), rig.cause(&call("10"))), (Cause::Ok, Cause::Cps));
    assert_eq!(levels(&rig, "cps"), [Level::Reached]);
    rig.pass(2);
    assert_eq!(levels(&rig, "cps"), [Level::Normal]);
}

#[test]
fn levels_are_told_at_90_and_100_percent_and_cleared_one_percent_lower() {
    let export = ExportControl { limit: 100, ..ExportControl::default() };
    let rig = Rig::new(Policy { export_control: Some(export), ..open_policy() });
    let ids: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    let mut told = Vec::new();
    let look = |rig: &Rig, told: &mut Vec<(Level, u32)>| {
        let levels = rig.housekeep().levels;
        told.extend(levels.iter().filter(|l| l.limit_name == "export-control").map(|level| (level.to, level.used)));
    };
    for text in &ids {
        rig.admit(&call(text));
        look(&rig, &mut told);
    }
    for text in &ids {
        rig.release(text);
        look(&rig, &mut told);
    }
    assert_eq!(told, [(Level::Near, 90), (Level::Reached, 100), (Level::Near, 98), (Level::Normal, 88)]);
}

#[test]
fn a_refusal_is_told_as_the_operator_configured_it() {
    let mut policy = Policy { rate: Some(Cps::saturating(0)), ..Policy::default() };
    policy.refusals[usize::from(Cause::Cps.code())] =
        RefusalStatus { sip_status: 600, retry_after_s: Some(60), retry_spread_s: 0 };
    let rig = Rig::new(policy);
    let refused = rig.admit(&call("a"));
    assert_eq!((refused.sip_status, refused.retry_after_s, refused.lease_s), (600, 60, 0));
}

#[test]
fn a_trunk_that_nothing_limits_is_counted_and_shown_too() {
    let rig = Rig::open();
    rig.admit(&Admit { trunk: Some(name("new")), ..call("a") });
    assert_eq!(rig.used("trunk-sessions:new"), 1);
    assert_eq!(rig.gate.call(id("a"), rig.now).unwrap().trunk.as_deref(), Some("new"));
}

#[test]
fn webrtc_sessions_have_headroom_of_their_own_limit() {
    let export = ExportControl { webrtc: true, limit_with_webrtc: 1_000, webrtc_limit: 10, ..ExportControl::default() };
    let rig = Rig::new(Policy { export_control: Some(export), headroom_percent: 20, ..open_policy() });
    let ids: Vec<String> = (0..12).map(|number| number.to_string()).collect();
    let webrtc = |text| Admit { webrtc: true, ..call(text) };
    assert_eq!(ids.iter().filter(|text| rig.admit(&webrtc(text)).admitted).count(), 8);
}

#[test]
fn standard_calls_leave_the_headroom_of_the_tiers_that_serve_them() {
    let policy = Policy { headroom_percent: 10, ..typed(vec![license("standard", 0, 0), license("premium", 10, 1)]) };
    let rig = Rig::new(policy);
    let ids: Vec<String> = (0..12).map(|number| number.to_string()).collect();
    assert_eq!(ids.iter().filter(|text| rig.admit(&call(text)).admitted).count(), 9);
    assert_eq!(rig.cause(&Admit { priority: true, ..call("p") }), Cause::Ok);
}

#[test]
fn a_policy_with_more_trunks_than_places_is_refused_and_nothing_changes() {
    let rig = Rig::open();
    let limits = GroupLimits { cps: None, sessions: Some(1) };
    let trunks = (0..21).map(|number| (format!("t{number}"), limits)).collect();
    let refused = rig.gate.set_policy(Policy { trunks, ..open_policy() }, rig.now).unwrap_err();
    assert_eq!(refused, PolicyRefused::Groups { class: "trunk" });
    assert_eq!(rig.cause(&Admit { trunk: Some(name("t0")), ..call("a") }), Cause::Ok);
    assert_eq!(rig.cause(&Admit { trunk: Some(name("t0")), ..call("b") }), Cause::Ok);
}

#[test]
fn an_overage_that_comes_to_nothing_is_not_counted() {
    let mut types = vec![license("standard", 0, 0)];
    types[0].overage = true;
    let policy = Policy { rate: Some(Cps::saturating(1)), headroom_percent: 0, ..typed(types) };
    let rig = Rig::new(policy);
    let ids: Vec<String> = (0..5).map(|number| number.to_string()).collect();
    for text in &ids {
        rig.admit(&call(text));
    }
    assert_eq!((rig.status().overage_total, rig.used("sessions:standard")), (1, 1));
}
