//! The shipped profiles carry the values of the guides, and a wrong one is told by file, key, found and accepted.

use super::*;
use crate::license::agent::TransportClass;

fn changed(from: &str, to: &str) -> String {
    let text = BuiltinProfile::Open.text();
    assert!(text.contains(from), "the open profile says {from}");
    Profile::parse(&text.replacen(from, to, 1), "mine.toml").unwrap_err().to_string()
}

#[test]
fn the_shipped_profiles_are_accepted_and_carry_the_name_they_are_found_by() {
    for builtin in BuiltinProfile::ALL {
        let profile = Profile::builtin(builtin).unwrap();
        assert_eq!(profile.name, builtin.name());
        assert_eq!(BuiltinProfile::from_name(&profile.name), Some(builtin));
        assert_eq!(profile.eval.hours, 2160);
        assert!(profile.emergency_exempt);
    }
    assert_eq!(BuiltinProfile::from_name("mine.toml"), None);
}

#[test]
fn the_products_differ_where_the_requirements_say_so() {
    let [open, cusp, cccsp, ..] = BuiltinProfile::ALL.map(|builtin| Profile::builtin(builtin).unwrap());
    assert_eq!([open.default_enabled, cusp.default_enabled, cccsp.default_enabled], [true, false, false]);
    for product in [&cusp, &cccsp] {
        assert_eq!(product.unconfigured.effect, Effect::RejectNew);
        assert_eq!(product.eval_expired.effect, Effect::RejectNew);
        assert_eq!(product.rate_cap, RateCap::Enforce);
        assert!(!product.overage.control);
    }
    assert_eq!(open.unconfigured.effect, Effect::AllowNotify);
    assert_eq!(cusp.eval.ticks_in, [TicksIn::Unidentified]);
    assert_eq!(cccsp.eval.ticks_in, [TicksIn::Unidentified, TicksIn::RegisteredUnauth]);
    assert_eq!(open.session_types().map(|licensed| licensed.name.as_str()).collect::<Vec<_>>(), ["session"]);
    assert_eq!(cusp.session_types().count(), 0);
}

#[test]
fn a_profile_of_ones_own_may_use_notify_for_allow_notify_and_ordered_tiers() {
    let text = BuiltinProfile::Open.text().replacen("effect = \"allow_notify\"", "effect = \"notify\"", 1);
    let tiers = "\n[[type]]\nname = \"standard\"\nunit = \"sessions\"\ntier = { family = \"agent\", rank = 1 }\n\
                 [[type]]\nname = \"premium\"\nunit = \"sessions\"\ntier = { family = \"agent\", rank = 2 }\n";
    let profile = Profile::parse(&(text + tiers), "mine.toml").unwrap();
    assert_eq!(profile.unconfigured.effect, Effect::AllowNotify);
    assert_eq!(profile.session_types().count(), 3);
}

#[test]
fn an_error_names_the_file_the_key_what_was_found_and_what_is_accepted() {
    assert_eq!(changed("hours = 2160", "hours = 0"), "profile mine.toml: eval.hours: found 0; accepted: 1 to 876600");
    assert_eq!(
        changed("step = 5", "step = 7"),
        "profile mine.toml: type[0].step: found 7; accepted: a multiple of per_license"
    );
    assert_eq!(
        changed("name = \"session\"", "name = \"cps\""),
        "profile mine.toml: type[1].name: found \"cps\" twice; accepted: each name once"
    );
    assert_eq!(
        changed("emergency_exempt = true", "emergency_exempt = false"),
        "profile mine.toml: emergency_exempt: found false; accepted: true (emergency calls are never refused)"
    );
    assert!(changed("hours = 2160", "hours = -1").contains("eval.hours"));
    let unknown = changed("effect = \"allow_notify\"", "effect = \"explode\"");
    assert!(unknown.contains("unconfigured.effect") && unknown.contains("reject_new_registrations"), "{unknown}");
    let stray = changed("hours = 2160", "hours = 2160\nminutes = 3");
    assert!(stray.contains("minutes") && stray.contains("ticks_in"), "{stray}");
    assert!(changed("name = \"open\"", "name = ").contains("(syntax)"));
    assert!(changed("default_enabled = true", "").contains("default_enabled"));
}

/// All six, in the order open, cusp, cccsp, expressway, ccx, ncs540.
fn each<T>(of: impl Fn(&Profile) -> T) -> [T; 6] {
    BuiltinProfile::ALL.map(|builtin| of(&Profile::builtin(builtin).unwrap()))
}

const NOTIFY: Effect = Effect::AllowNotify;

#[test]
fn what_refuses_calls_and_when_is_as_the_guides_say() {
    assert_eq!(each(|p| p.default_enabled), [true, false, false, true, false, true]);
    assert_eq!(each(|p| p.irreversible), [false, false, false, true, true, false]);
    let reject = Effect::RejectNew;
    assert_eq!(each(|p| p.unconfigured.effect), [NOTIFY, reject, reject, NOTIFY, NOTIFY, NOTIFY]);
    let registrations = Effect::RejectNewRegistrations;
    assert_eq!(each(|p| p.eval_expired.effect), [NOTIFY, reject, reject, registrations, Effect::ConfigFreeze, NOTIFY]);
    use ExitBy::{Granted, Registered};
    assert_eq!(each(|p| p.eval_expired.exit), [Granted, Granted, Granted, Registered, Registered, Granted]);
    let stays = |effect| (effect, None);
    let frozen = (NOTIFY, Some((2160 * 3600, Effect::ConfigFreeze)));
    let told = |of: Consequence| (of.effect, of.overage());
    assert_eq!(
        each(|p| told(p.auth_expired)),
        [stays(NOTIFY), stays(reject), stays(NOTIFY), stays(NOTIFY), frozen, stays(NOTIFY)]
    );
    assert_eq!(
        each(|p| told(p.ooc.consequence())),
        [stays(NOTIFY), stays(NOTIFY), stays(NOTIFY), stays(NOTIFY), frozen, stays(NOTIFY)]
    );
    use RateCap::{Enforce, Observe};
    assert_eq!(each(|p| p.rate_cap), [Enforce, Enforce, Enforce, Observe, Observe, Observe]);
    assert_eq!(each(|p| p.revoke_grace_s()), [72 * 3600, 0, 0, 0, 0, 0]);
}

#[test]
fn evaluation_runs_and_is_given_back_as_the_guides_say() {
    assert_eq!(each(|p| p.eval.limit_s()), [7_776_000; 6]);
    assert_eq!(each(|p| p.eval.runs_unregistered()), [true; 6]);
    assert_eq!(each(|p| p.eval.runs_unauthorized()), [false, false, true, false, false, false]);
    assert_eq!(each(|p| p.eval.count_offline), [false; 6]);
    use Capability::{Normal, Requested, Unlimited};
    assert_eq!(each(|p| p.eval.capability), [Requested, Requested, Requested, Normal, Unlimited, Normal]);
    assert_eq!(each(|p| p.dereg.fixed_s()), [None, None, None, None, None, Some(720 * 3600)]);
}

#[test]
fn certificates_authorization_and_retries_have_the_times_of_the_guides() {
    const DAY: u64 = 86_400;
    assert_eq!(each(|p| p.id.valid_s()), [365 * DAY; 6]);
    assert_eq!(each(|p| p.id.renew_after_s() / DAY), [180, 180, 180, 180, 180, 290]);
    assert_eq!(each(|p| p.shows_expired_registration()), [false, false, false, true, true, false]);
    assert_eq!(each(|p| p.auth.renew_s()), [30 * DAY; 6]);
    assert_eq!(each(|p| (p.auth_expiry.span_s(), p.auth_expiry.basis)), [(90 * DAY, ExpiryBasis::LastSuccess); 6]);
    for retry in each(|p| p.retry) {
        assert_eq!(retry.registration_after_s(), 900);
        assert_eq!(retry.auth_expired_after_s(), 14_400);
        // Failure at 0: tries at 15, 30 ... 120 minutes, then every four hours.
        let mut tries = Vec::new();
        let mut at = 0;
        while tries.len() < 10 {
            at += retry.auth_after_s(at);
            tries.push(at / 60);
        }
        assert_eq!(tries, [15, 30, 45, 60, 75, 90, 105, 120, 360, 600]);
    }
    assert_eq!(each(|p| p.token.default_days), [30, 30, 30, 30, 30, 290]);
}

#[test]
fn reports_and_tolerance_are_as_the_guides_say() {
    use ReportValue::{Current, CurrentAndNext, Peak, Requested};
    assert_eq!(each(|p| p.report.interval_s() / 3600), [6, 24, 24, 6, 8, 24]);
    assert_eq!(each(|p| p.report.on_change), [true, true, true, false, false, false]);
    assert_eq!(each(|p| p.report.value), [Peak, Requested, Requested, Current, Peak, CurrentAndNext]);
    let watched = Some(45 * 60);
    assert_eq!(each(|p| p.ooc.tolerance_s()), [watched, None, None, None, watched, None]);
    assert_eq!(each(|p| p.ooc.warn_s()), [1800, 0, 0, 0, 1800, 0]);
    assert_eq!(
        each(|p| (p.overage.default, p.overage.control)).map(|of| of.1),
        [true, false, false, false, true, false]
    );
}

#[test]
fn clusters_reservations_and_transport_are_as_the_guides_say() {
    assert_eq!(each(|p| p.cluster.share), [true, false, false, true, false, false]);
    use ClusterRegistration::{PerNode, PrimaryOnly};
    assert_eq!(each(|p| p.cluster.registration), [PerNode, PerNode, PerNode, PerNode, PrimaryOnly, PerNode]);
    assert_eq!(each(|p| p.cluster.report_cap == ReportCap::Installed), [false, false, false, true, false, false]);
    assert_eq!(each(|p| p.reservation.offered), [true, false, false, true, true, false]);
    assert_eq!(each(|p| p.reservation.kinds.contains(&ReservationKind::Plr)), [true, true, true, true, false, true]);
    use ReservationExpiry::{Immediate, OnRestart, WarnThenRestart};
    assert_eq!(
        each(|p| p.reservation.expiry_enforcement),
        [WarnThenRestart, WarnThenRestart, WarnThenRestart, OnRestart, Immediate, WarnThenRestart]
    );
    assert_eq!(
        each(|p| p.reservation.overuse == ReservationOveruse::Borrow),
        [false, false, false, true, false, false]
    );
    let locked = each(|p| p.transport_change == TransportChange::RequiresDeregister);
    assert_eq!(locked, [false, false, false, true, false, false]);
    for class in [TransportClass::Direct, TransportClass::OnPrem, TransportClass::Proxy] {
        assert_eq!(each(|p| p.transport.offers(class)), [true; 6], "{class:?}");
    }
    let cap =
        |p: &Profile| (p.hard_cap.enabled, p.hard_cap.limit, p.hard_cap.limit_with_webrtc, p.hard_cap.webrtc_limit);
    assert_eq!(each(cap)[3], (true, 2500, 2244, 256));
    assert_eq!(each(|p| p.hard_cap.enabled), [false, false, false, true, false, false]);
    assert_eq!(each(|p| p.export_tag(crate::license::agent::UsageClass::Production))[3], "expressway.export");
}

#[test]
fn each_product_offers_the_ways_to_a_manager_that_its_guide_names() {
    use TransportWay::{CallHome, Direct, Http, Https, OnPrem, Proxy, Satellite};
    let networked = vec![Direct, OnPrem, Proxy];
    // The one calls it call-home or HTTP, where its successor has no choice left; all of them speak HTTPS.
    assert_eq!(
        each(|p| p.transport.allowed.clone()),
        [
            networked.clone(),
            vec![CallHome, Http],
            vec![Https],
            networked.clone(),
            networked,
            vec![CallHome, Https, Proxy, Satellite]
        ]
    );
}

#[test]
fn each_product_licenses_its_own_types_under_its_own_tags() {
    let tags =
        |p: &Profile| -> Vec<String> { p.types.iter().map(|of| p.tag(&of.name, UsageClass::Production)).collect() };
    assert_eq!(
        each(tags),
        [
            vec!["open.cps", "open.session"],
            vec!["cusp.cps"],
            vec!["cccsp.cps"],
            vec!["expressway.rms", "expressway.room", "expressway.desktop"],
            vec!["ccx.standard", "ccx.premium", "ccx.ivr", "ccx.outbound"],
            vec!["ncs540.essential", "ncs540.advanced", "ncs540.tracking"],
        ]
    );
    let [open, .., expressway, ccx, ncs540] = each(Clone::clone);
    let default =
        |p: &Profile, kind| p.session_types().find(|of| of.default_for.contains(&kind)).map(|of| of.name.clone());
    assert_eq!(default(&expressway, TypeKind::Call).as_deref(), Some("rms"));
    assert_eq!(default(&expressway, TypeKind::Registration).as_deref(), Some("desktop"));
    let rank = |name: &str| ccx.type_named(name).unwrap().tier.as_ref().map(|tier| tier.rank);
    assert!(rank("standard") < rank("premium"), "premium covers standard");
    let reported = ccx.types.iter().filter(|of| of.reported).map(|of| of.name.as_str()).collect::<Vec<_>>();
    assert_eq!(reported, ["standard", "premium"], "ports and outbound seats are kept, agents are reported");
    assert_eq!(ncs540.session_types().count(), 0);
    assert_eq!(ncs540.type_named("advanced").unwrap().counts, CountSource::AdvancedPorts);
    assert_eq!(open.tag("my type/x", UsageClass::Lab), "open.my-type-x.lab", "an operator's own type");
    assert_eq!(open.rate_type().map(|of| of.per_license), Some(5));
}

#[test]
fn a_profile_of_ones_own_is_checked_where_keys_must_agree() {
    for (from, to, told) in [
        (
            "renew_after_days = 180",
            "renew_after_days = 365",
            "id.renew_after_days: found 365; accepted: 1 to 364, less than id.valid_days",
        ),
        (
            "renew_days = 30",
            "renew_days = 90",
            "auth.renew_days: found 90; accepted: 1 to 89, less than auth_expiry.days",
        ),
        ("auth_s = 900", "auth_s = 0", "retry.auth_s: found 0; accepted: 1 to 2592000"),
        ("interval_hours = 6", "interval_hours = 0", "report.interval_hours: found 0; accepted: 1 to 8784"),
        ("default_days = 30", "default_days = 366", "token.default_days: found 366; accepted: 1 to 365"),
        (
            "pid = \"CALLGATE\"",
            "pid = \"CALL GATE\"",
            "pid: found \"CALL GATE\"; accepted: 1 to 64 letters, digits, '.', '_' or '-'",
        ),
        (
            "tag = \"open.cps\"",
            "tag = \"a b\"",
            "type[0].tag: found \"a b\"; accepted: 1 to 128 letters, digits, '.', '-', '_' or ':'",
        ),
        ("counts = \"admission\"", "counts = \"systems\"", "type[0].counts: found a source that does not fit the unit"),
        (
            "tolerance_min = 45",
            "tolerance_min = 40",
            "ooc.tolerance_min: found 40; accepted: 0 (none), or a multiple of 15",
        ),
        (
            "warn_min = 30",
            "warn_min = 45",
            "ooc.warn_min: found 45; accepted: 1 or more and less than ooc.tolerance_min",
        ),
        ("[auth_expired]\n", "[auth_expired]\novearge_hours = 5\n", "auth_expired.ovearge_hours: "),
        (
            "[auth_expired]\n",
            "[auth_expired]\noverage_hours = 5\n",
            "auth_expired.then: found nothing, with overage_hours",
        ),
        (
            "[auth_expired]\n",
            "[auth_expired]\nthen = \"config_freeze\"\n",
            "auth_expired.overage_hours: found nothing, with then",
        ),
        (
            "[auth_expired]\neffect = \"allow_notify\"",
            "[auth_expired]\neffect = \"reject_new\"\noverage_hours = 5\nthen = \"config_freeze\"",
            "auth_expired.effect: found another effect with overage_hours; accepted: \"allow_notify\"",
        ),
        ("eval = \"remaining\"", "eval = { fixed = 0 }", "dereg.eval.fixed: found 0"),
        ("allowed = [\"direct\", \"on_prem\", \"proxy\"]", "allowed = []", "transport.allowed: found an empty list"),
        ("kinds = [\"plr\", \"slr\"]", "kinds = []", "reservation.kinds: found an empty list, with offered = true"),
        ("invalid = \"Invalid\"", "invalid = \"\"", "words.license.invalid: found \"\"; accepted: 1 to 64 bytes"),
        ("client = \"Registering\"", "client = \"a\\u001bb\"", "words.pending.client: found \"a\\u{1b}b\""),
    ] {
        let error = changed(from, to);
        assert!(error.starts_with("profile mine.toml: ") && error.contains(told), "{error}");
    }
}

#[test]
fn no_two_states_are_told_by_words_of_which_a_product_knows_only_one() {
    // What the guides list, and nothing else: client states of the SIP proxies, registration states of the others.
    let clients = |p: &Profile| -> Vec<String> {
        let mut words: Vec<String> = p.words.states().map(|(_, of)| of.client.clone()).collect();
        words.sort();
        words.dedup();
        words
    };
    let [_, cusp, cccsp, expressway, ccx, _] = each(clients);
    let proxies =
        ["Authorization Expired", "Authorized", "Out Of Compliance", "Registered", "Un-Configured", "Un-Identified"];
    assert_eq!((cusp.as_slice(), cccsp.as_slice()), (&proxies.map(str::to_owned)[..], &proxies.map(str::to_owned)[..]));
    assert_eq!(
        expressway,
        [
            "Not Applicable",
            "Registered",
            "Unregistered",
            "Unregistered: Registration Expired",
            "Unregistered: Registration Failed",
            "Unregistered: Registration Pending"
        ]
    );
    assert_eq!(ccx, ["Registered", "Registration Expired", "Unregistered"]);
}
