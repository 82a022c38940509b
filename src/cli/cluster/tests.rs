use serde_json::json;

use crate::cli::tests::{Sidecar, run_command};
use crate::shell::config::Inputs;

const DAY_MS: u64 = 86_400_000;
const NOW_MS: u64 = 1_700_000_133_000;

fn cluster() -> serde_json::Value {
    json!({
        "enabled": true, "node": "sip-a", "listen": "10.0.0.1:7503", "ledger": "00", "incarnation": 3, "draining": false,
        "certificate_expires": NOW_MS + 20 * DAY_MS,
        "members": [
            { "name": "sip-b", "address": "10.0.0.2:7503", "state": "connected", "for_s": 7300, "round_trip_us": 1234,
              "certificate_expires": NOW_MS + 300 * DAY_MS, "failure": null },
            { "name": "sip-c", "address": "10.0.0.3:7503", "state": "lost", "for_s": 90, "round_trip_us": null,
              "certificate_expires": null, "failure": "10.0.0.3:7503 doesn't answer" },
        ],
        "resources": [
            { "resource": "cps", "kind": "rate", "class": "license", "home": 20, "limbo": 1, "limit_units": 75, "used_units": 55,
              "lent": { "sip-b": 4 }, "borrowed": {} },
            { "resource": "session", "kind": "session", "class": "license", "home": 500, "limbo": 0, "limit_units": 515, "used_units": 510,
              "lent": {}, "borrowed": { "sip-b": 12, "sip-c": 3 } },
        ],
        "as_of": NOW_MS,
    })
}

#[test]
fn members_and_loans_are_tables_and_a_certificate_that_ends_soon_stands_out() {
    let sidecar = Sidecar::answering(vec![("get /v1/cluster", 200, cluster())]);
    insta::assert_snapshot!(sidecar.run(&["cluster", "members"]).unwrap());
    insta::assert_snapshot!(sidecar.run(&["cluster", "loans"]).unwrap());
}

#[test]
fn a_node_alone_says_so() {
    let sidecar = Sidecar::answering(vec![("get /v1/cluster", 200, json!({ "enabled": false }))]);
    assert!(sidecar.run(&["cluster", "members"]).unwrap().contains("cluster.listen"));
}

#[test]
fn forgetting_a_member_asks_first_and_commands_say_what_happens() {
    let done = || json!({ "text": "what sip-c holds is used here again" });
    let sidecar = Sidecar::answering(vec![("/v1/admin/cluster/", 200, done())]);
    let refused = sidecar.run(&["cluster", "forget", "sip-c"]).unwrap_err();
    assert_eq!(refused.exit_code(), 1);
    assert!(sidecar.asked.lock().is_empty(), "{:?}", sidecar.asked.lock());
    assert_eq!(sidecar.run(&["cluster", "forget", "sip-c", "--yes"]).unwrap(), "what sip-c holds is used here again\n");
    assert!(sidecar.asked.lock()[0].contains("post /v1/admin/cluster/forget"), "{:?}", sidecar.asked.lock());
    assert!(sidecar.asked.lock()[0].contains("sip-c"));
    sidecar.run(&["cluster", "drain"]).unwrap();
    sidecar.run(&["cluster", "undrain"]).unwrap();
    assert!(sidecar.asked.lock()[2].contains("/v1/admin/cluster/undrain"));
}

#[test]
fn certificates_are_made_once_and_it_is_said_what_goes_where() {
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca");
    let at = ca.to_str().unwrap();
    let run = |arguments: &[&str]| run_command(arguments, Inputs::default(), "");
    let plain = |text: String| text.replace(at, "/safe/ca");
    insta::assert_snapshot!(plain(run(&["cluster", "ca", "init", at]).unwrap()));
    insta::assert_snapshot!(plain(run(&["cluster", "ca", "issue", "sip-a", at]).unwrap()));
    let again = run(&["cluster", "ca", "issue", "sip-a", at]).unwrap_err();
    assert_eq!(again.exit_code(), 1);
    insta::assert_snapshot!(plain(again.to_string()));
    let bad = run(&["cluster", "ca", "issue", "SIP_A", at]).unwrap_err().to_string();
    assert!(bad.contains("lower-case letters"), "{bad}");
}
