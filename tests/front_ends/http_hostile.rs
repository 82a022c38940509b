//! What hostile HTTP clients don't get.

use std::time::{Duration, Instant};

use callgate::shell::process;
use callgate::shell::telemetry::{ClosedConnection, EventKind, FrontEnd, Severity};

use super::rig::{PATIENCE, Rig, alone, open_policy};

fn quick(settings: &mut callgate::shell::listeners::Settings) {
    settings.limits.idle = Duration::from_millis(300);
    settings.limits.request = Duration::from_millis(300);
    settings.limits.write = Duration::from_millis(300);
}

fn wait_closed(rig: &Rig, why: ClosedConnection) {
    let began = Instant::now();
    let counters = rig.context.counters.front(FrontEnd::Http);
    while counters.closed_total(why) == 0 && began.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(counters.closed_total(why), 1, "{why:?}");
}

#[test]
fn requests_that_could_be_read_in_two_ways_are_refused() {
    let rig = Rig::new();
    let smuggled = "POST /v1/admit?id=smuggled HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n";
    let rows = [
        format!(
            "POST /v1/admit?id=a HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\ncontent-length: {}\r\n\r\n{smuggled}",
            smuggled.len()
        ),
        format!("POST /v1/admit?id=a HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n{smuggled}"),
        format!("POST /v1/admit?id=a HTTP/1.1\r\nhost: x\r\ncontent-length: +5\r\n\r\n{smuggled}"),
        format!("POST /v1/admit?id=a HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999999999999999\r\n\r\n{smuggled}"),
        format!(
            "POST /v1/admit?id=a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n{smuggled}"
        ),
        format!(
            "POST /v1/admit?id=a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n{smuggled}"
        ),
        format!(
            "POST /v1/admit?id=a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n{smuggled}"
        ),
        format!("POST /v1/admit?id=a HTTP/1.1\r\nhost : x\r\ncontent-length: 0\r\n\r\n{smuggled}"),
        "\r\n\r\n\r\nnonsense\r\n\r\n".to_owned(),
        "POST /v1/admit HTTP/9.9\r\n\r\n".to_owned(),
    ];
    for request in rows {
        let mut client = rig.http();
        client.try_send(&request);
        let all = String::from_utf8_lossy(&client.until_closed()).into_owned();
        let both = request.contains("chunked\r\ncontent-length");
        assert!(all.is_empty() || both || all.starts_with("HTTP/1.1 4"), "{request:?}: {all}");
        let heads = all.lines().filter(|line| line.starts_with("HTTP/1.1 ")).count();
        assert_eq!(heads, usize::from(!all.is_empty()), "{request:?}: {all}");
        assert!(all.is_empty() || both || all.contains("application/problem+json"), "{request:?}: {all}");
    }
    let (live, _) = rig.context.gate.calls(0, 10, rig.context.clock.now());
    // With both lengths the chunks count, and the connection ends behind them (RFC 9112, 6.1): that call may live.
    assert!(live.iter().all(|call| call.id.as_deref() == Some(b"a")), "{live:?}");
    rig.still_serves();
}

#[test]
fn a_head_that_cannot_be_understood_is_told_what_is_wrong_behind_the_answers_before_it() {
    let rig = Rig::new();
    let told = |answer: super::rig::Answer, status: u16, title: &str| {
        assert_eq!((answer.status, answer.header("content-type")), (status, Some("application/problem+json")));
        let problem = answer.json();
        assert_eq!((problem["status"].as_u64(), problem["title"].as_str()), (Some(status.into()), Some(title)));
    };
    for head in ["nonsense\r\n\r\n", "GET /v1/status HTTP/1.1\r\nno colon\r\n\r\n"] {
        let mut client = rig.http();
        client.send(head);
        told(client.answer(), 400, "the head can't be understood");
        assert!(client.is_closed());
    }
    let mut client = rig.http();
    client.send("POST /v1/admit?id=a HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\nnonsense\r\n\r\n");
    assert_eq!(client.answer().status, 200);
    told(client.answer(), 400, "the head can't be understood");
    let mut client = rig.http();
    client.send(format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(65)));
    told(client.answer(), 431, "the head is too large");
    rig.still_serves();
}

#[test]
fn what_is_too_large_is_refused() {
    let rig = Rig::new();
    let large = "x".repeat(65 * 1024);
    let answer = rig.http().post_json("/v1/admit", &format!(r#"{{"id":"{large}"}}"#));
    assert_eq!((answer.status, answer.header("content-type")), (413, Some("application/problem+json")));
    let mut chunked = rig.http();
    chunked.send("POST /v1/admit HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n");
    for _ in 0..200 {
        if !chunked.try_send(format!("400\r\n{}\r\n", "y".repeat(1024))) {
            break;
        }
    }
    chunked.send("0\r\n\r\n");
    assert_eq!(chunked.answer().status, 413);
    let mut head = rig.http();
    head.try_send(format!("GET / HTTP/1.1\r\nhost: x\r\nbig: {large}\r\n\r\n"));
    let line = head.line();
    assert!(line.is_empty() || line.starts_with("HTTP/1.1 431"), "{line}");
    let mut many = rig.http();
    many.try_send(format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(100)));
    let line = many.line();
    assert!(line.is_empty() || line.starts_with("HTTP/1.1 431"), "{line}");
    let mut long = rig.http();
    long.try_send(format!("GET /{large} HTTP/1.1\r\nhost: x\r\n\r\n"));
    let line = long.line();
    assert!(line.is_empty() || line.starts_with("HTTP/1.1 4"), "{line}");
    rig.still_serves();
}

#[test]
fn bodies_that_cannot_be_understood_are_400_or_415() {
    let rig = Rig::new();
    let mut client = rig.http();
    let nested = "[".repeat(20_000);
    let long = format!(r#"{{"id":"{}"}}"#, "x".repeat(513));
    for body in [
        "",
        "{",
        "[]",
        "null",
        r#"{"id":""}"#,
        &long,
        &nested,
        r#"{"id":"a","seq":-1}"#,
        r#"{"id":"a","seq":1e400}"#,
        r#"{"id":"a","units":18446744073709551616}"#,
        r#"{"id":"a","x":1}"#,
        "{\"id\":\"\u{0}\"}",
    ] {
        let answer = client.post_json("/v1/admit", body);
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (400, Some("application/problem+json")),
            "{body:.40}"
        );
        let problem = answer.json();
        for name in ["field", "found", "accepted"] {
            assert!(problem[name].is_string(), "{body:.40}: {problem}");
        }
    }
    let answer = client.exchange("POST", "/v1/admit", &[("content-type", "text/plain")], "id=a");
    assert_eq!(answer.status, 415);
    assert_eq!(client.exchange("POST", "/v1/admit?id=%zz", &[], "").status, 400);
    assert_eq!(client.exchange("POST", "/v1/admit?id=%00%ff", &[], "").status, 200, "ids are any bytes");
}

#[test]
fn a_slow_head_and_a_slow_body_are_closed() {
    for part in ["GET / HTTP/1.1\r\na: ", "POST /v1/admit HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n\r\n{\"id\""] {
        let rig = Rig::with(open_policy(), quick);
        let mut client = rig.http();
        client.send(part);
        let began = Instant::now();
        while began.elapsed() < PATIENCE && client.try_send("x") && rig.running().connections() > 0 {
            std::thread::sleep(Duration::from_millis(50));
        }
        wait_closed(&rig, ClosedConnection::SlowSender);
        rig.still_serves();
    }
}

#[test]
fn silence_is_closed_when_an_idle_timeout_is_set() {
    let rig = Rig::with(open_policy(), quick);
    let mut client = rig.http();
    assert_eq!(client.exchange("GET", "/healthz", &[], "").status, 200);
    assert!(client.is_closed());
    wait_closed(&rig, ClosedConnection::Idle);
}

#[test]
fn a_stream_of_events_outlives_the_idle_timeout() {
    let rig = Rig::with(open_policy(), quick);
    let mut client = rig.http();
    client.send("GET /v1/events HTTP/1.1\r\nhost: x\r\n\r\n");
    assert_eq!(client.answer().status, 200);
    std::thread::sleep(Duration::from_millis(800));
    rig.context.events.publish(
        rig.context.clock.wall(),
        EventKind::Operator,
        Severity::Info,
        "late",
        serde_json::Value::Null,
    );
    while !client.line().contains("late") {}
}

#[test]
fn a_subscriber_that_never_reads_is_closed() {
    if !alone(module_path!(), "a_subscriber_that_never_reads_is_closed") {
        return;
    }
    let rig = Rig::with(open_policy(), quick);
    let mut client = rig.http();
    client.send("GET /v1/events HTTP/1.1\r\nhost: x\r\n\r\n");
    let before = process::view().resident_bytes;
    let text = "x".repeat(10_000);
    let began = Instant::now();
    let counters = rig.context.counters.front(FrontEnd::Http);
    while counters.closed_total(ClosedConnection::SlowReader) == 0 && began.elapsed() < PATIENCE {
        for _ in 0..100 {
            rig.context.events.publish(
                rig.context.clock.wall(),
                EventKind::Operator,
                Severity::Info,
                &*text,
                serde_json::Value::Null,
            );
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    wait_closed(&rig, ClosedConnection::SlowReader);
    let grown = process::view().resident_bytes.saturating_sub(before);
    assert!(grown < 120_000_000, "{grown} bytes (the ring of events keeps 41 MB of these)");
    rig.still_serves();
}

#[test]
fn more_streams_than_allowed_are_refused_and_places_come_back() {
    let rig = Rig::with(open_policy(), |settings| settings.limits.event_streams_max = 2);
    let mut streams: Vec<_> = (0..2).map(|_| rig.http()).collect();
    for client in &mut streams {
        client.send("GET /v1/events HTTP/1.1\r\nhost: x\r\n\r\n");
        assert_eq!(client.answer().status, 200);
    }
    assert_eq!(rig.http().exchange("GET", "/v1/events", &[], "").status, 503);
    drop(streams);
    let began = Instant::now();
    loop {
        let mut client = rig.http();
        client.send("GET /v1/events HTTP/1.1\r\nhost: x\r\n\r\n");
        if client.answer().status == 200 {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "the places don't come back");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn the_connection_above_the_limit_is_503() {
    let rig = Rig::with(open_policy(), |settings| settings.limits.connections_max = 2);
    let mut clients: Vec<_> = (0..2).map(|_| rig.http()).collect();
    for client in &mut clients {
        assert_eq!(client.exchange("GET", "/healthz", &[], "").status, 200);
    }
    let mut above = rig.http();
    assert_eq!(above.answer().status, 503);
    assert!(above.is_closed());
}

#[test]
fn all_clients_together_buffer_no_more_than_the_budget() {
    let rig = Rig::with(open_policy(), |settings| settings.limits.buffered_bytes_max = 256 * 1024);
    let part = "x".repeat(60_000);
    let mut clients: Vec<_> = (0..20).map(|_| rig.http()).collect();
    for client in &mut clients {
        client.try_send(format!("POST /v1/admit HTTP/1.1\r\nhost: x\r\ncontent-length: 65000\r\n\r\n{part}"));
    }
    let began = Instant::now();
    let counters = rig.context.counters.front(FrontEnd::Http);
    while counters.closed_total(ClosedConnection::Buffers) < 10 && began.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(counters.closed_total(ClosedConnection::Buffers) < 20, "some have room");
    rig.still_serves();
    let mut told = 0;
    for client in &mut clients {
        client.stream.get_ref().set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let mut bytes = [0; 1_024];
        if let Ok(length @ 1..) = std::io::Read::read(client.stream.get_mut(), &mut bytes) {
            let answer = String::from_utf8_lossy(&bytes[..length]).into_owned();
            assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("connection: close"), "{answer}");
            told += 1;
        }
    }
    assert!(told > 0, "nobody was told why");
    drop(clients);
    while rig.running().connections() > 0 && began.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(5));
    }
    // What they held came back.
    let answer = rig.http().post_json("/v1/admit", &format!(r#"{{"id":"a","x":"{part}"}}"#));
    assert_eq!(answer.status, 400);
}
