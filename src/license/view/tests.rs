//! Pages say what is, in the product's words, and the forecast says what the profile will do to calls on which day.

use super::samples::{DAY, NOW, Sample, days};
use super::*;
use crate::license::BuiltinProfile;
use crate::license::agent::{Authorization, Client, Enforced, Registration};
use crate::license::profile::StateWords;

use BuiltinProfile::{Cccsp, Ccx, Cusp, Expressway, Ncs540, Open};

fn words(sample: &Sample) -> (String, String) {
    let StateWords { client, licensing } = LicenseView::of(&sample.input()).words;
    (client, licensing)
}

/// One row of the projection table: the state's words under cccsp, cusp, expressway, ccx, ncs540.
fn row(state: impl Fn(Sample) -> Sample) -> Vec<String> {
    [Cccsp, Cusp, Expressway, Ccx, Ncs540]
        .map(|builtin| {
            let (client, licensing) = words(&state(Sample::new(builtin)));
            if client == licensing { client } else { format!("{client} / {licensing}") }
        })
        .into()
}

#[test]
fn every_state_is_told_in_each_products_own_words() {
    assert_eq!(
        row(Sample::disabled),
        ["Un-Configured", "Un-Configured", "Not Applicable", "Unregistered / No licenses in use", "Disabled"]
    );
    assert_eq!(
        row(|sample| sample),
        [
            "Un-Identified",
            "Un-Identified / Eval",
            "Unregistered / Evaluation Mode",
            "Unregistered / Evaluation Mode",
            "Eval Period"
        ]
    );
    assert_eq!(
        row(Sample::pending),
        [
            "Un-Identified",
            "Un-Identified / Eval",
            "Unregistered: Registration Pending / Evaluation Mode",
            "Unregistered / Evaluation Mode",
            "Eval Period"
        ]
    );
    assert_eq!(row(Sample::refused)[2], "Unregistered: Registration Failed / Evaluation Mode");
    assert_eq!(
        row(Sample::registered),
        ["Registered", "Registered / Eval", "Registered / (license: Waiting)", "Registered", "Waiting"]
    );
    assert_eq!(
        row(Sample::authorized),
        [
            "Authorized",
            "Authorized / InCompliance",
            "Registered / Authorized",
            "Registered / Authorized (In Compliance)",
            "Authorized"
        ]
    );
    assert_eq!(
        row(Sample::out_of_compliance),
        [
            "Out Of Compliance / OutOfCompliance",
            "Out Of Compliance / OutOfcompliance",
            "Registered / Out-of-compliance",
            "Registered / Out of Compliance",
            "Out-Of-Compliance"
        ]
    );
    assert_eq!(
        row(Sample::authorization_expired),
        [
            "Authorization Expired",
            "Authorization Expired / AuthorizationExpired",
            "Registered / Authorization Expired",
            "Registered / Authorization Expired",
            "Authorized grace (Expired)"
        ]
    );
    assert_eq!(
        row(Sample::evaluation_expired),
        [
            "Un-Identified / Eval Expired",
            "Un-Identified / EvalExpried",
            "Unregistered / Evaluation Expired",
            "Unregistered / Evaluation expired",
            "Eval Period (expired)"
        ]
    );
    let expired = |mut sample: Sample| {
        sample.state.registration = Registration::Expired;
        sample
    };
    assert_eq!(row(expired)[2], "Unregistered: Registration Expired / Evaluation Mode");
    assert_eq!(row(expired)[3], "Registration Expired / Evaluation Mode");
    let none = |sample: Sample| {
        let mut sample = sample.registered();
        sample.state.authorization = Authorization::None;
        sample
    };
    assert_eq!(
        row(none),
        [
            "Registered",
            "Registered / InCompliance",
            "Registered / No Licenses in Use",
            "Registered / No licenses in use",
            "Authorized"
        ]
    );
}

#[test]
fn what_is_ours_stands_in_brackets_behind_the_products_words() {
    let heading = |sample: &Sample| LicenseView::of(&sample.input()).heading();
    assert_eq!(heading(&Sample::new(Ccx).evaluation_expired()), "Unregistered / Evaluation expired (Enforcement)");
    assert_eq!(
        heading(&Sample::new(Expressway).evaluation_expired()),
        "Unregistered / Evaluation Expired (product: Unauthorized)"
    );
    assert_eq!(heading(&Sample::new(Cusp).evaluation_expired()), "Un-Identified / EvalExpried (new calls refused)");
    assert_eq!(
        heading(&Sample::new(Ccx).out_of_compliance()),
        "Registered / Out of Compliance (overage until 2026-08-25 12:00 UTC)"
    );
    let reserved = |builtin, authorization| {
        let mut sample = Sample::new(builtin);
        sample.state.client = Client::Reservation;
        sample.state.authorization = authorization;
        heading(&sample)
    };
    assert_eq!(reserved(Cccsp, Authorization::Reserved), "Authorized (reserved)");
    assert_eq!(reserved(Cccsp, Authorization::ReservationExpired), "Authorization Expired (reservation)");
    assert_eq!(reserved(Open, Authorization::Reserved), "Reserved");
    assert_eq!(reserved(Open, Authorization::ReservationExpired), "Reservation Expired");
}

/// The days from now on which something happens in a future, and whether it changes what calls meet.
fn told(track: &Track) -> Vec<(u64, &str, bool)> {
    track.steps.iter().map(|step| ((step.at.0 - NOW.0) / DAY, step.what.as_str(), step.changes_calls)).collect()
}

#[test]
fn the_forecast_of_an_evaluation_is_the_day_on_which_its_hours_end() {
    for (builtin, changes) in
        [(Open, false), (Cusp, true), (Cccsp, true), (Expressway, true), (Ccx, true), (Ncs540, false)]
    {
        let sample = Sample::new(builtin);
        let forecast = Forecast::of(&sample.input(), 400);
        assert_eq!(told(&forecast.as_now), [(80, "evaluation is used up", changes)], "{builtin:?}");
        assert_eq!(forecast.as_now.steps[0].at, days(NOW, 80));
        assert_eq!(forecast.without_contact, None);
        assert_eq!(Forecast::of(&sample.input(), 79).as_now.steps, [], "{builtin:?}: not within 79 days");
    }
    let calls = |builtin| Forecast::of(&Sample::new(builtin).input(), 400).as_now.at_the_end;
    assert!(calls(Cusp).starts_with("new calls and registrations are refused"));
    assert!(calls(Expressway).starts_with("new registrations are refused; calls are admitted"));
    assert!(calls(Ccx).starts_with("calls are admitted; changes of trunks"));
    assert!(calls(Open).starts_with("new calls are admitted"));
}

#[test]
fn while_the_manager_answers_nothing_happens_and_without_it_the_profile_says_what_and_when() {
    let lost = |builtin| {
        let sample = Sample::new(builtin).authorized();
        let forecast = Forecast::of(&sample.input(), 400);
        assert_eq!(forecast.as_now.steps, [], "{builtin:?}");
        forecast.without_contact.unwrap()
    };
    // Last contact ten days ago: expiry in 80. The certificate was made 20 days ago: its end in 345.
    // Ten days of evaluation are used: what follows the certificate's end are the 80 that are left, beyond 400.
    let auth = "authorization expires after 90 days";
    let id = "the registration's certificate expires";
    assert_eq!(told(&lost(Open)), [(80, auth, false), (345, id, false)]);
    assert_eq!(told(&lost(Cccsp)), [(80, auth, false), (345, id, false)]);
    assert_eq!(told(&lost(Cusp)), [(80, auth, true), (345, id, true)], "evaluation gives calls back");
    assert_eq!(told(&lost(Expressway)), [(80, auth, false), (345, id, false)]);
    assert_eq!(
        told(&lost(Ccx)),
        [(80, auth, false), (170, "the overage period ends", true), (345, id, true)],
        "180 days in all: 90 to expiry, 90 of overage"
    );
    assert_eq!(told(&lost(Ncs540)), [(80, auth, false), (345, id, false)]);
}

#[test]
fn a_shortage_runs_its_course_although_the_manager_answers() {
    let of = |builtin| Forecast::of(&Sample::new(builtin).out_of_compliance().input(), 400);
    assert_eq!(told(&of(Ccx).as_now), [(85, "the overage period ends", true)]);
    assert!(of(Ccx).as_now.at_the_end.contains("changes of trunks"));
    for builtin in [Open, Cusp, Cccsp, Expressway, Ncs540] {
        assert_eq!(told(&of(builtin).as_now), [], "{builtin:?}");
    }
    let without = of(Ccx).without_contact.unwrap();
    assert_eq!(
        told(&without)[..2],
        [(80, "authorization expires after 90 days", false), (85, "the overage period ends", true)],
        "an expiry keeps the earlier deadline of the overage"
    );
}

#[test]
fn evaluation_runs_while_registered_and_not_authorized_only_where_the_profile_says_so() {
    let of = |builtin| Forecast::of(&Sample::new(builtin).registered().input(), 400);
    assert_eq!(told(&of(Cccsp).as_now), [(80, "evaluation is used up", true)]);
    assert_eq!(told(&of(Cusp).as_now), []);
    let both: Vec<u64> = told(of(Cccsp).without_contact.as_ref().unwrap()).iter().map(|(day, ..)| *day).collect();
    assert_eq!(both[0], 80, "evaluation goes first where both are due");
}

#[test]
fn a_fixed_evaluation_ends_at_its_hour_and_a_removal_after_its_grace() {
    let mut sample = Sample::new(Ncs540);
    sample.state.deadlines.deregistered_evaluation_end = Some(days(NOW, 12));
    assert_eq!(told(&Forecast::of(&sample.input(), 30).as_now), [(12, "evaluation is used up", false)]);
    let mut sample = Sample::new(Cusp).evaluation_expired();
    sample.state.enforced = Enforced::Notify;
    sample.state.deadlines.revocation_grace_end = Some(days(NOW, 3));
    let forecast = Forecast::of(&sample.input(), 30);
    assert_eq!(told(&forecast.as_now), [(3, "the grace after the manager's removal ends", true)]);
}

#[test]
fn licensing_that_is_off_stays_as_it_is() {
    let sample = Sample::new(Cusp).disabled();
    let forecast = Forecast::of(&sample.input(), 400);
    assert_eq!(forecast.as_now.steps, []);
    assert!(forecast.as_now.at_the_end.starts_with("new calls and registrations are refused"));
    let view = LicenseView::of(&sample.input());
    assert_eq!(view.refused.calls.as_deref(), Some("unconfigured"));
    assert_eq!(view.advice, "`callgate license enable` switches licensing on");
}

#[test]
fn refusals_carry_the_cause_of_their_state() {
    let refused = |sample: Sample| LicenseView::of(&sample.input()).refused;
    let of = refused(Sample::new(Cusp).authorization_expired());
    assert_eq!((of.calls.as_deref(), of.configuration), (Some("authorization-expired"), None));
    let of = refused(Sample::new(Expressway).evaluation_expired());
    assert_eq!((of.calls, of.registrations.as_deref()), (None, Some("evaluation-expired")));
    assert_eq!(refused(Sample::new(Ccx).authorization_expired()), Refused::default(), "overage refuses nothing");
    let mut frozen = Sample::new(Ccx).out_of_compliance();
    frozen.enforce(crate::license::Effect::ConfigFreeze);
    let of = refused(frozen);
    assert_eq!((of.calls, of.registrations, of.configuration.as_deref()), (None, None, Some("enforced")));
}

#[test]
fn no_page_shows_a_secret_or_the_machines_fingerprint() {
    let mut sample = Sample::new(Open).authorized();
    let token = crate::protocol::RegistrationToken::generate(&mut crate::protocol::Entropy::from_seed([3; 32]));
    sample.state.token = Some(token.clone());
    for page in Page::ALL {
        let text = page.json(&sample.input(), 30).to_string();
        assert!(text.len() > 100, "{page:?} is a page");
        assert!(!text.contains("never-shown") && !text.contains("key_seed"), "{page:?}");
        assert!(!text.contains(&token.reveal()[6..20]), "{page:?}");
        assert_eq!(Page::from_name(page.name()), Some(page));
    }
}

#[test]
fn every_page_begins_with_what_is_what_comes_and_what_to_do() {
    for builtin in BuiltinProfile::ALL {
        let states: [fn(Sample) -> Sample; 8] = [
            Sample::disabled,
            |sample| sample,
            Sample::pending,
            Sample::refused,
            Sample::evaluation_expired,
            Sample::authorized,
            Sample::out_of_compliance,
            Sample::authorization_expired,
        ];
        for state in states {
            let sample = state(Sample::new(builtin));
            for page in Page::ALL {
                let json = page.json(&sample.input(), 30);
                let overview = [&json["overview"], &json["all"]["overview"], &json]
                    .into_iter()
                    .find(|of| of.get("effect_now").is_some())
                    .unwrap_or_else(|| panic!("{page:?}"));
                for field in ["effect_now", "next", "advice", "state"] {
                    assert!(!overview[field].as_str().unwrap().is_empty(), "{builtin:?} {page:?} {field}");
                }
            }
        }
    }
}

#[test]
fn the_license_page_keeps_what_earlier_versions_told() {
    let view = serde_json::to_value(LicenseView::of(&Sample::new(Cusp).input())).unwrap();
    for (field, value) in [
        ("profile", serde_json::json!("cusp")),
        ("state", "evaluation".into()),
        ("enforcement", "normal".into()),
        ("cap", "requested".into()),
        ("hours_left", 1920.into()),
        ("hours_granted", 2160.into()),
        ("seconds_left", 6_912_000.into()),
        ("used_s", 864_000.into()),
        ("next_at", days(NOW, 80).0.into()),
    ] {
        assert_eq!(view[field], value, "{field}");
    }
    assert_eq!(view["words"]["licensing"], "Eval");
}

#[test]
fn the_platform_tells_current_and_next_counts_of_capacity() {
    let page = PlatformPage::of(&Sample::new(Ncs540).input());
    let counts: Vec<_> = page.counts.iter().map(|of| (of.name.as_str(), of.current, of.next)).collect();
    assert_eq!(counts, [("essential", 11, 14), ("advanced", 10, 13), ("tracking", 1, 1)]);
    assert_eq!((page.model.as_str(), page.next_at), ("flexible", Some(UnixMillis(1_780_358_400_000))));
    let page = PlatformPage::of(&Sample::new(Cusp).input());
    assert_eq!((page.model.as_str(), page.counts.len()), ("generic", 0));
}

#[test]
fn a_license_that_the_manager_does_not_know_is_told_as_invalid_and_the_others_are_not_touched() {
    let mut sample = Sample::new(Expressway).authorized();
    sample.state.grant.as_mut().unwrap().tags[1].status = crate::protocol::TagStatus::Invalid;
    let page = UsagePage::of(&sample.input());
    let told: Vec<_> = page.usage.iter().map(|of| (of.name.as_str(), of.status.as_str())).collect();
    assert_eq!(told, [("rms", "Authorized"), ("room", "Invalid-tag"), ("desktop", "Authorized")]);
    assert!(page.overview.advice.contains("doesn't know expressway.room"), "{}", page.overview.advice);
}

#[test]
fn what_deregistering_and_disabling_would_do_is_told_with_its_day() {
    let would = |sample: Sample| LicenseView::of(&sample.input());
    let of = would(Sample::new(Cusp).authorized());
    assert_eq!((of.if_deregistered.refuses_at, of.if_disabled.refuses_at), (Some(days(NOW, 80)), Some(NOW)));
    assert!(of.if_deregistered.what.contains("1920 h, until 2026-08-20 12:00 UTC; after that new calls"), "{of:?}");
    let mut used = Sample::new(Cusp).authorized();
    used.state.evaluation.used_s = used.state.evaluation.limit_s;
    let of = would(used);
    assert_eq!(of.if_deregistered.refuses_at, Some(NOW), "none is left: at once");
    assert!(of.if_deregistered.what.contains("no evaluation is left"), "{of:?}");
    let of = would(Sample::new(Ncs540).authorized());
    assert!(of.if_deregistered.what.contains("720 h"), "a fixed evaluation: {of:?}");
    assert!(!of.if_deregistered.refuses && !of.if_disabled.refuses);
}
