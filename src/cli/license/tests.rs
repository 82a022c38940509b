//! What operators read of licensing, before a sidecar that answers with pages of real states.

use insta::assert_snapshot;
use serde_json::{Value, json};

use super::render;
use crate::cli::Failure;
use crate::cli::tests::Sidecar;
use crate::license::BuiltinProfile;
use crate::license::view::samples::{NOW, Sample};
use crate::license::view::{
    Forecast, Page, PlatformPage, StatisticsPage, StatusPage, SummaryPage, SupportPage, UdiPage, UsagePage,
};

use BuiltinProfile::{Cccsp, Ccx, Cusp, Expressway, Ncs540, Open};

/// A page of a state, through the JSON that a sidecar sends.
fn page<T: serde::de::DeserializeOwned>(sample: &Sample, page: Page) -> T {
    super::typed(&page.json(&sample.input(), 400)).unwrap()
}

fn joined(pages: impl IntoIterator<Item = (&'static str, String)>) -> String {
    pages.into_iter().map(|(title, text)| format!("=== {title}\n{text}\n")).collect()
}

fn failing(mut sample: Sample) -> Sample {
    sample.fails(12);
    sample
}

#[test]
fn status_says_what_is_what_comes_and_what_to_do() {
    let of = |sample: Sample| render::status(&page::<StatusPage>(&sample, Page::Status));
    assert_snapshot!(joined([
        ("open, evaluating", of(Sample::new(Open))),
        ("cusp, off", of(Sample::new(Cusp).disabled())),
        ("expressway, pending", of(Sample::new(Expressway).pending())),
        ("expressway, refused", of(Sample::new(Expressway).refused())),
        ("cusp, evaluation used up", of(Sample::new(Cusp).evaluation_expired())),
        ("cccsp, waiting", of(Sample::new(Cccsp).registered())),
        ("open, authorized", of(Sample::new(Open).authorized())),
        ("open, authorized, contact lost", of(failing(Sample::new(Open).authorized()))),
        ("ccx, out of compliance", of(Sample::new(Ccx).out_of_compliance())),
        ("cusp, authorization expired", of(Sample::new(Cusp).authorization_expired())),
    ]));
}

#[test]
fn summary_has_the_fields_of_the_guides_in_the_products_own_words() {
    let of = |sample: Sample| render::summary(&page::<SummaryPage>(&sample, Page::Summary));
    assert_snapshot!(joined([
        ("cccsp", of(Sample::new(Cccsp).authorized())),
        ("cusp", of(Sample::new(Cusp).evaluation_expired())),
        ("expressway", of(Sample::new(Expressway).evaluation_expired())),
        ("ccx", of(Sample::new(Ccx).out_of_compliance())),
        ("ncs540", of(Sample::new(Ncs540).authorized())),
        ("open", of(Sample::new(Open).pending())),
    ]));
}

#[test]
fn all_tells_every_license_and_the_product() {
    let of = |sample: Sample| render::all(&page::<StatusPage>(&sample, Page::All));
    assert_snapshot!(joined([
        ("expressway, authorized", of(Sample::new(Expressway).authorized())),
        ("ccx, out of compliance", of(Sample::new(Ccx).out_of_compliance())),
    ]));
}

#[test]
fn udi_usage_and_statistics_are_pages_of_their_own() {
    let sample = Sample::new(Open).authorized();
    let lost = failing(Sample::new(Cusp).authorized());
    assert_snapshot!(joined([
        ("udi", render::udi(&page::<UdiPage>(&sample, Page::Udi))),
        ("usage", render::usage(&page::<UsagePage>(&sample, Page::Usage))),
        ("statistics", render::statistics(&page::<StatisticsPage>(&sample, Page::Statistics))),
        ("statistics, contact lost", render::statistics(&page::<StatisticsPage>(&lost, Page::Statistics))),
    ]));
}

#[test]
fn platform_tells_current_and_next_counts_and_in_detail_every_port() {
    let ports = page::<PlatformPage>(&Sample::new(Ncs540).authorized(), Page::Platform);
    let none = page::<PlatformPage>(&Sample::new(Cusp), Page::Platform);
    assert_snapshot!(joined([
        ("ncs540", render::platform(&ports, false)),
        ("ncs540, in detail", render::platform(&ports, true)),
        ("cusp", render::platform(&none, false)),
    ]));
}

#[test]
fn forecast_says_what_happens_to_calls_and_when() {
    let of = |sample: Sample| render::forecast(&page::<Forecast>(&sample, Page::Forecast));
    assert_snapshot!(joined([
        ("open, evaluating", of(Sample::new(Open))),
        ("cusp, evaluating", of(Sample::new(Cusp))),
        ("cusp, authorized", of(Sample::new(Cusp).authorized())),
        ("ccx, out of compliance", of(Sample::new(Ccx).out_of_compliance())),
        ("ccx, contact lost", of(failing(Sample::new(Ccx).authorized()))),
        ("cusp, off", of(Sample::new(Cusp).disabled())),
    ]));
}

#[test]
fn tech_support_has_it_all_in_one() {
    let sample = failing(Sample::new(Expressway).authorized());
    assert_snapshot!(render::tech_support(&page::<SupportPage>(&sample, Page::TechSupport)));
}

fn answers(sample: &Sample) -> Vec<(&'static str, u16, Value)> {
    let json = |page: Page| page.json(&sample.input(), 30);
    let done = |text: &str, in_progress: bool| json!({ "text": text, "in_progress": in_progress });
    vec![
        ("page=overview", 200, json(Page::Overview)),
        ("page=status", 200, json(Page::Status)),
        ("page=forecast&days=7", 200, json(Page::Forecast)),
        ("license/register", 200, done("Registration was asked for.", true)),
        ("license/deregister", 200, done("Deregistered.", false)),
        ("license/disable", 200, done("Licensing is off.", false)),
        ("license/renew", 200, done("Authorization process is in progress.", true)),
        ("license/sessions", 200, done("The configuration's sessions are in force.", false)),
        ("license/cancel", 200, done("The registration was cancelled.", false)),
        ("license/count", 200, done("200 calls per second are asked for.", false)),
        ("license/restore", 200, done("Restored.", false)),
        ("license/factory-reset", 200, done("Reset.", false)),
        ("license/backup", 200, json!({ "callgate_license_backup": 1, "sealed": "AAAA" })),
        (
            "page=samples",
            200,
            json!({ "rows": [{ "tag": "open.cps", "ended_at": NOW.0, "peak": 71, "peak_at": NOW.0 - 1000 }] }),
        ),
    ]
}

fn asked(sidecar: &Sidecar) -> Vec<String> {
    sidecar.asked.lock().clone()
}

#[test]
fn what_can_stop_calls_says_where_and_when_and_refuses_where_nobody_can_be_asked() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("backup.json");
    std::fs::write(&file, "{\"sealed\":\"AAAA\"}").unwrap();
    let file = file.to_str().unwrap();
    let sidecar = Sidecar::answering(answers(&Sample::new(Cusp).authorized()));
    let commands: [&[&str]; 5] = [
        &["license", "deregister"],
        &["license", "disable"],
        &["license", "restore", file],
        &["license", "factory-reset", "--keep-licensing", "no"],
        &["license", "factory-reset", "--keep-licensing", "yes"],
    ];
    let mut told = String::new();
    for command in commands {
        let refused: Failure = sidecar.run(command).unwrap_err();
        assert_eq!(refused.exit_code(), 1);
        told.push_str(&format!("{}\n    {refused}\n", command.join(" ").replace(file, "FILE")));
    }
    assert!(asked(&sidecar).iter().all(|asked| asked.starts_with("get ")), "nothing was changed");
    for command in commands {
        told.push_str(&sidecar.run(&[command, &["--yes"]].concat()).unwrap());
    }
    let posted: Vec<String> = asked(&sidecar).into_iter().filter(|asked| asked.starts_with("post")).collect();
    told.push_str(&posted.join("\n"));
    assert_snapshot!(told);
}

#[test]
fn a_reset_that_keeps_a_registration_says_that_there_is_none() {
    let sidecar = Sidecar::answering(answers(&Sample::new(Open)));
    let refused = sidecar.run(&["license", "factory-reset", "--keep-licensing", "yes"]).unwrap_err();
    assert!(refused.to_string().contains("changes nothing: there is no registration to keep"), "{refused}");
}

#[test]
fn licensing_whose_absence_refuses_nothing_is_switched_off_without_a_question() {
    let sidecar = Sidecar::answering(answers(&Sample::new(Open)));
    assert_eq!(sidecar.run(&["license", "disable"]).unwrap(), "Licensing is off.\n");
}

#[test]
fn a_token_comes_from_a_file_or_from_standard_input_and_a_typing_error_is_found_before_it_is_sent() {
    let mut entropy = crate::protocol::Entropy::from_seed([5; 32]);
    let token = crate::protocol::RegistrationToken::generate(&mut entropy);
    let sidecar = Sidecar::answering(answers(&Sample::new(Open)));
    let register = ["license", "register", "--token-file", "-", "--force"];
    let told = sidecar.run_with(&register, &format!("{}\n", token.reveal())).unwrap();
    assert_eq!(
        told,
        "Registration was asked for.\nIt goes on by itself: `callgate license status` shows what became of it.\n"
    );
    let last = asked(&sidecar).pop().unwrap();
    assert!(last.contains(token.reveal()) && last.contains("\"force\":true"), "{last}");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, token.reveal()).unwrap();
    sidecar.run(&["license", "register", "--token-file", file.to_str().unwrap()]).unwrap();
    let count = asked(&sidecar).len();
    let (head, tail) = token.reveal().split_at(8);
    let swapped = format!("{head}{}{}", if tail.starts_with('a') { 'b' } else { 'a' }, &tail[1..]);
    let long = "x".repeat(5000);
    for (wrong, told) in [
        (swapped.as_str(), "no token in -: the registration token has a typing error"),
        ("", "no token in -: not a registration token: found 0 characters"),
        (&long, "cannot read the token from -: found more than 4096 bytes"),
    ] {
        let refused = sidecar.run_with(&register, wrong).unwrap_err();
        assert!(refused.to_string().starts_with(told), "{refused}");
        assert!(wrong.is_empty() || !refused.to_string().contains(&wrong[6..]), "an error never repeats a token");
    }
    let gone = sidecar.run(&["license", "register", "--token-file", "/nowhere/token"]).unwrap_err();
    assert!(gone.to_string().starts_with("cannot read the token from /nowhere/token: No such file"), "{gone}");
    assert_eq!(asked(&sidecar).len(), count, "nothing was sent");
}

#[test]
fn a_token_on_the_command_line_is_not_accepted() {
    use clap::Parser;
    let parse = |arguments: &[&str]| crate::cli::Cli::try_parse_from([&["callgate"], arguments].concat()).is_ok();
    assert!(!parse(&["license", "register", "cgt_abc"]));
    assert!(!parse(&["license", "register", "--token", "cgt_abc"]));
    assert!(!parse(&["license", "register"]));
    assert!(parse(&["license", "register", "--token-file", "-"]));
}

#[test]
fn commands_send_what_was_asked_for_and_tell_the_answer() {
    let sidecar = Sidecar::answering(answers(&Sample::new(Open).authorized()));
    assert_eq!(sidecar.run(&["license", "count", "200"]).unwrap(), "200 calls per second are asked for.\n");
    assert_eq!(asked(&sidecar).pop().unwrap(), "post /v1/admin/license/count {\"count\":200}");
    sidecar.run(&["license", "count", "--remove"]).unwrap();
    assert_eq!(asked(&sidecar).pop().unwrap(), "post /v1/admin/license/count {\"count\":null}");
    sidecar.run(&["license", "sessions", "--remove"]).unwrap();
    assert_eq!(asked(&sidecar).pop().unwrap(), "post /v1/admin/license/sessions {\"sessions\":null}");
    assert_eq!(sidecar.run(&["license", "cancel"]).unwrap(), "The registration was cancelled.\n");
    assert_eq!(asked(&sidecar).pop().unwrap(), "post /v1/admin/license/cancel {}");
    let renewed = sidecar.run(&["license", "renew", "auth"]).unwrap();
    assert!(renewed.starts_with("Authorization process is in progress.\nIt goes on by itself"), "{renewed}");
    assert_eq!(asked(&sidecar).pop().unwrap(), "post /v1/admin/license/renew-auth {}");
    sidecar.run(&["license", "renew", "id"]).unwrap();
    assert_eq!(asked(&sidecar).pop().unwrap(), "post /v1/admin/license/renew-id {}");
    sidecar.run(&["license", "forecast", "--days", "7"]).unwrap();
    assert_eq!(asked(&sidecar).pop().unwrap(), "get /v1/license?page=forecast&days=7");
    let json = sidecar.run(&["license", "status", "--format", "json"]).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["overview"]["state"], "authorized");
    let refused = Sidecar::answering(vec![(
        "count",
        409,
        json!({ "title": "refused", "detail": "found 201; accepted: a multiple of 5" }),
    )]);
    let refused = refused.run(&["license", "count", "201"]).unwrap_err();
    assert_eq!(
        (refused.to_string().as_str(), refused.exit_code()),
        ("refused: found 201; accepted: a multiple of 5", 1)
    );
}

#[test]
fn exports_and_backups_are_new_files_of_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let sidecar = Sidecar::answering(answers(&Sample::new(Open)));
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let told = sidecar.run(&["license", "usage", "export", &path("u.csv")]).unwrap();
    assert!(told.ends_with("u.csv (samples of 15 minutes: 1)\n"), "{told}");
    assert_eq!(
        std::fs::read_to_string(path("u.csv")).unwrap(),
        "tag,ended_at,peak,peak_at\r\nopen.cps,2026-06-01T12:00:00Z,71,2026-06-01T11:59:59Z\r\n"
    );
    sidecar.run(&["license", "usage", "export", &path("u.jsonl")]).unwrap();
    assert!(std::fs::read_to_string(path("u.jsonl")).unwrap().starts_with("{\"tag\":\"open.cps\""));
    assert!(sidecar.run(&["license", "usage", "export", "-"]).unwrap().starts_with("tag,ended_at"));
    sidecar.run(&["license", "backup", &path("b.json")]).unwrap();
    assert_eq!(std::fs::metadata(path("b.json")).unwrap().permissions().mode() & 0o777, 0o600);
    let again = sidecar.run(&["license", "backup", &path("b.json")]).unwrap_err();
    assert!(again.to_string().ends_with("it is there already; name a new file"), "{again}");
    sidecar.run(&["license", "restore", &path("b.json"), "--yes"]).unwrap();
    assert!(asked(&sidecar).pop().unwrap().ends_with("restore {\"callgate_license_backup\":1,\"sealed\":\"AAAA\"}"));
    std::fs::write(path("no.json"), "<html>").unwrap();
    let wrong = sidecar.run(&["license", "restore", &path("no.json"), "--yes"]).unwrap_err();
    assert!(wrong.to_string().contains("not a backup:"), "{wrong}");
}

#[test]
fn a_test_of_the_connection_names_the_step_that_fails() {
    let step = |name: &str, ok: bool, text: &str| json!({ "step": name, "outcome": if ok { "passed" } else { "failed" }, "text": text });
    let whole = json!({ "failed": null, "steps": [step("dns", true, "licenses.example.com is 192.0.2.7"), step("tls", true, "TLS 1.3")] });
    let failed = json!({ "failed": "tls_issuer", "steps": [
        step("dns", true, "licenses.example.com is 192.0.2.7"),
        step("tls_issuer", false, "found issuer CN=Intercepting Proxy\u{1b}[2J; accepted: an issuer of license.ca_file"),
    ] });
    let sidecar = |answer| Sidecar::answering(vec![("test-connection", 200, answer)]);
    let ok = sidecar(whole).run(&["license", "test-connection"]).unwrap();
    assert_eq!(
        ok,
        "passed      dns           licenses.example.com is 192.0.2.7\npassed      tls           TLS 1.3\nThe way to the license manager works.\n"
    );
    let unregistered = json!({ "failed": null, "steps": [step("tls", true, "TLS 1.3"), { "step": "registration", "outcome": "next", "text": "this instance is unregistered: register it with a token" }] });
    let ok = sidecar(unregistered).run(&["license", "test-connection"]).unwrap();
    assert!(ok.ends_with("works.\nNext: `callgate license register --token-file FILE`\n"), "{ok}");
    let refused = sidecar(failed).run(&["license", "test-connection"]).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the way to the license manager fails at tls_issuer: found issuer CN=Intercepting Proxy\\u{1b}[2J; accepted: an issuer of license.ca_file"
    );
    assert_eq!(refused.exit_code(), 1);
}

#[test]
fn an_answer_of_another_version_is_told_as_such() {
    let sidecar = Sidecar::answering(vec![("page=status", 200, json!({ "profile": "open" }))]);
    let told = sidecar.run(&["license", "status"]).unwrap_err().to_string();
    assert!(told.contains("may be of another version") && told.contains("--format json"), "{told}");
    assert_eq!(sidecar.run(&["license", "status", "--format", "json"]).unwrap(), "{\"profile\":\"open\"}\n");
}
