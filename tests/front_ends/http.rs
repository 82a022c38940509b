//! What HTTP clients get.

use std::collections::BTreeMap;
use std::time::Duration;

use callgate::admission::{GroupLimits, Policy};
use callgate::shell::Phase;
use callgate::shell::telemetry::{EventKind, Severity};
use callgate::units::Cps;

use super::rig::{Rig, open_policy, tokens};

#[test]
fn a_call_is_admitted_confirmed_refreshed_and_released_on_one_connection() {
    let rig = Rig::new();
    let mut client = rig.http();
    let answer = client.post_json("/v1/admit", r#"{"id":"a","seq":1}"#);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.body, r#"{"admitted":true,"cause":"ok","sip_status":0,"retry_after_s":0,"lease_s":300}"#);
    let again = client.exchange("POST", "/v1/admit?id=a&seq=1", &[], "");
    assert_eq!(again.json()["cause"], "duplicate");
    assert_eq!(client.post_json("/v1/confirm", r#"{"id":"a"}"#).body, r#"{"known":true}"#);
    assert_eq!(client.post_json("/v1/refresh", r#"{"ids":["a","b"]}"#).body, r#"{"known":1}"#);
    let form = [("content-type", "application/x-www-form-urlencoded")];
    assert_eq!(client.exchange("POST", "/v1/release", &form, "id=%61&reason=bye").body, r#"{"released":true}"#);
    assert_eq!(client.exchange("POST", "/v1/release", &form, r#"{"id":"a"}"#).body, r#"{"released":false}"#);
}

#[test]
fn a_refusal_is_429_with_retry_after_where_there_is_one() {
    let rig = Rig::with(Policy { rate: Some(Cps::saturating(1)), strict_trunks: true, ..open_policy() }, |_| {});
    let mut client = rig.http();
    assert_eq!(client.post_json("/v1/admit", r#"{"id":"a"}"#).status, 200);
    let refused = client.post_json("/v1/admit", r#"{"id":"b"}"#);
    assert_eq!((refused.status, refused.json()["cause"].as_str()), (429, Some("cps")));
    let retry: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert_eq!(refused.json()["retry_after_s"], retry);
    let unknown = client.post_json("/v1/admit", r#"{"id":"c","trunk":"x"}"#);
    assert_eq!((unknown.status, unknown.json()["cause"].as_str()), (429, Some("unknown-trunk")));
    assert_eq!(unknown.header("retry-after"), None);
}

#[test]
fn a_resync_goes_over_http_too() {
    let rig = Rig::new();
    let mut client = rig.http();
    client.post_json("/v1/admit", r#"{"id":"lost","proxy":"p"}"#);
    std::thread::sleep(Duration::from_millis(150));
    let token =
        client.exchange("POST", "/v1/resync?op=begin&proxy=p", &[], "").json()["token"].as_str().unwrap().to_owned();
    let add = client.post_json("/v1/resync", &format!(r#"{{"op":"add","token":"{token}","ids":["new"]}}"#));
    assert_eq!(add.body, r#"{"added":1}"#);
    let end = client.exchange("POST", &format!("/v1/resync?op=end&token={token}"), &[], "");
    assert_eq!(end.body, r#"{"kept":0,"adopted":1,"released":1}"#);
    let unknown = client.exchange("POST", &format!("/v1/resync?op=end&token={token}"), &[], "");
    assert_eq!((unknown.status, unknown.header("content-type")), (409, Some("application/problem+json")));
}

#[test]
fn live_calls_are_listed_shown_and_freed() {
    let trunks = BTreeMap::from([("t".to_owned(), GroupLimits { cps: None, sessions: Some(100) })]);
    let rig = Rig::with(Policy { trunks, ..open_policy() }, |_| {});
    let mut client = rig.admin();
    for number in 0..5 {
        client.post_json("/v1/admit", &format!(r#"{{"id":"call-{number}","trunk":"t"}}"#));
    }
    let first = client.exchange("GET", "/v1/calls?limit=3", &[], "").json();
    assert_eq!(first["calls"].as_array().unwrap().len(), 3);
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = client.exchange("GET", &format!("/v1/calls?limit=3&cursor={cursor}"), &[], "").json();
    assert_eq!(second["calls"].as_array().unwrap().len(), 2);
    assert!(second["next_cursor"].is_null(), "{second}");
    let call = &first["calls"][0];
    let key = call["key"].as_str().unwrap();
    let shown = client.exchange("GET", &format!("/v1/calls/{key}"), &[], "").json();
    assert_eq!(shown["id"], call["id"]);
    assert_eq!(shown["trunk"], "t");
    assert_eq!(
        client.post_json("/v1/admin/calls/release", &format!(r#"{{"key":"{key}"}}"#)).body,
        r#"{"released":true}"#
    );
    assert_eq!(client.exchange("GET", &format!("/v1/calls/{key}"), &[], "").status, 404);
    assert_eq!(client.exchange("GET", "/v1/calls/xyz", &[], "").status, 400);
    assert_eq!(client.exchange("GET", "/v1/calls?limit=0", &[], "").status, 400);
    assert_eq!(client.post_json("/v1/admin/calls/release", r#"{"id":"call-nine"}"#).body, r#"{"released":false}"#);
}

#[test]
fn health_readiness_and_drain_follow_the_phase() {
    let rig = Rig::new();
    let mut client = rig.http();
    assert_eq!(client.exchange("GET", "/readyz", &[], "").status, 200);
    rig.context.set_phase(Phase::Starting);
    assert_eq!(client.exchange("GET", "/readyz", &[], "").status, 503);
    assert_eq!(client.post_json("/v1/admit", r#"{"id":"a"}"#).status, 503);
    rig.context.set_phase(Phase::Ready);
    let mut admin = rig.admin();
    assert_eq!(admin.post_json("/v1/admin/drain", "").body, r#"{"draining":true}"#);
    assert_eq!(client.exchange("GET", "/readyz", &[], "").status, 503);
    assert_eq!(client.exchange("GET", "/healthz", &[], "").status, 200);
    let refused = client.post_json("/v1/admit", r#"{"id":"b"}"#);
    assert_eq!((refused.status, refused.json()["cause"].as_str()), (429, Some("draining")));
    assert_eq!(admin.post_json("/v1/admin/undrain", "").status, 200);
    assert_eq!(client.post_json("/v1/admit", r#"{"id":"b"}"#).status, 200);
    let reload = admin.post_json("/v1/admin/reload", "");
    assert_eq!(reload.status, 409, "nobody reloads in this rig");
}

#[test]
fn documents_are_served_with_their_types() {
    let rig = Rig::new();
    let mut client = rig.http();
    for (path, content_type) in [
        ("/", "text/html; charset=utf-8"),
        ("/metrics", "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        ("/openapi.json", "application/json"),
        ("/v1/status", "application/json"),
        ("/v1/alarms?history=true", "application/json"),
        ("/v1/license", "application/json"),
    ] {
        let answer = client.exchange("GET", path, &[], "");
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(content_type)), "{path}");
        assert!(!answer.body.is_empty());
    }
    let lost = client.exchange("GET", "/nowhere", &[], "");
    assert_eq!((lost.status, lost.header("content-type")), (404, Some("application/problem+json")));
    let wrong = client.exchange("DELETE", "/v1/status", &[], "");
    assert_eq!((wrong.status, wrong.header("allow")), (405, Some("GET,HEAD")));
    let wrong = client.exchange("GET", "/v1/admit", &[], "");
    assert_eq!((wrong.status, wrong.header("allow")), (405, Some("POST")));
}

#[test]
fn without_tokens_tcp_asks_and_reads_but_does_not_administer() {
    let rig = Rig::new();
    let refused = rig.http().post_json("/v1/admin/drain", "");
    assert_eq!(refused.status, 403);
    assert!(refused.json()["detail"].as_str().unwrap().contains("listen.tokens_file"));
    assert!(!rig.context.draining());
    assert_eq!(rig.admin().post_json("/v1/admin/drain", "").status, 200);
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&rig.admin).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn tokens_open_what_their_role_allows() {
    let rig = Rig::with(open_policy(), tokens);
    let mut client = rig.http();
    let rows = [
        ("POST", "/v1/admit?id=a", None, 401),
        ("POST", "/v1/admit?id=a", Some("Bearer wrong"), 401),
        ("POST", "/v1/admit?id=a", Some("Basic ask-only"), 401),
        ("POST", "/v1/admit?id=a", Some("Bearer ask-only"), 200),
        ("GET", "/metrics", None, 401),
        ("GET", "/metrics", Some("bearer ask-only"), 200),
        ("GET", "/healthz", None, 200),
        ("GET", "/readyz", None, 200),
        ("POST", "/v1/admin/undrain", Some("Bearer ask-only"), 403),
        ("POST", "/v1/admin/undrain", Some("Bearer all-mighty"), 200),
        ("POST", "/v1/admin/calls/release?id=a", Some("Bearer ask-only"), 403),
        ("POST", "/v1/admin/calls/release?id=a", Some("Bearer all-mighty"), 200),
    ];
    for (method, path, token, expected) in rows {
        let headers: Vec<_> = token.iter().map(|token| ("authorization", *token)).collect();
        let answer = client.exchange(method, path, &headers, "");
        assert_eq!(answer.status, expected, "{method} {path} {token:?}: {answer:?}");
        assert_eq!(answer.header("www-authenticate").is_some(), expected == 401, "{path}");
    }
    assert_eq!(rig.admin().exchange("GET", "/metrics", &[], "").status, 200, "the admin socket needs none");
}

#[test]
fn a_page_of_another_site_may_ask_nothing() {
    let rig = Rig::new();
    let mut client = rig.http();
    let host = "test";
    for (origin, expected) in [
        ("http://evil.example", 403),
        ("null", 403),
        ("http://test.evil.example", 403),
        ("http://test:8080", 403),
        (host, 403),
        ("http://test", 200),
        ("http://TEST", 200),
    ] {
        for (method, path) in [("POST", "/v1/admit?id=a"), ("GET", "/v1/status")] {
            let answer = client.exchange(method, path, &[("origin", origin)], "");
            assert_eq!(answer.status, expected, "{method} {origin}");
            let problem = answer.header("content-type") == Some("application/problem+json");
            assert_eq!(problem, expected == 403, "{method} {origin}");
        }
    }
    assert_eq!(client.exchange("POST", "/v1/admit?id=a", &[], "").status, 200, "what is no browser says no origin");
}

#[test]
fn events_stream_from_where_the_subscriber_left() {
    let rig = Rig::new();
    let publish = |text: &str| {
        rig.context.events.publish(
            rig.context.clock.wall(),
            EventKind::Operator,
            Severity::Info,
            text,
            serde_json::Value::Null,
        )
    };
    let first = publish("one");
    publish("two");
    let mut client = rig.http();
    client.send(format!("GET /v1/events HTTP/1.1\r\nhost: x\r\nlast-event-id: {first}\r\n\r\n"));
    let answer = client.answer();
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/event-stream")));
    let mut told = |wanted: &str| {
        while !client.line().contains(wanted) {}
    };
    told("\"two\"");
    publish("three");
    told("\"three\"");
    let bad = rig.http().exchange("GET", "/v1/events", &[("last-event-id", "x")], "");
    assert_eq!(bad.status, 400);
}
