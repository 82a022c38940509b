//! What RESP clients get.

use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use callgate::admission::Policy;
use callgate::shell::telemetry::{Command, FrontEnd};
use callgate::units::Cps;

use super::rig::{Client, PATIENCE, Rig, open_policy, password};

#[test]
fn a_call_is_admitted_confirmed_refreshed_and_released() {
    let rig = Rig::new();
    let mut client = rig.resp();
    client.send("*2\r\n$5\r\nADMIT\r\n$3\r\nc-1\r\n");
    assert_eq!(client.lines(7), ["*5", ":1", "$2", "ok", ":0", ":0", ":300"]);
    client.send("ADMIT c-1\r\nADMIT.BOOL c-2\r\n");
    assert_eq!(client.lines(3), ["*5", ":1", "$9"]);
    assert_eq!(client.lines(5), ["duplicate", ":0", ":0", ":300", ":1"]);
    assert_eq!(client.ask("CONFIRM c-1 TTL 60"), ":1");
    assert_eq!(client.ask("REFRESH c-1 c-2 c-3"), ":2");
    assert_eq!(client.ask("RELEASE c-1 REASON bye"), ":1");
    assert_eq!(client.ask("RELEASE c-1"), ":0");
    assert_eq!(rig.context.gate.status(rig.context.clock.now()).calls_live, 1);
    let counters = rig.context.counters.front(FrontEnd::Resp);
    assert_eq!(counters.commands_total(Command::Admit), 3);
    assert_eq!(counters.commands_total(Command::Release), 2);
}

#[test]
fn a_refusal_is_an_answer_and_no_error() {
    let rig = Rig::with(Policy { rate: Some(Cps::saturating(1)), ..open_policy() }, |_| {});
    let mut client = rig.resp();
    client.send("ADMIT a\r\nADMIT b\r\nADMIT.BOOL d\r\nADMIT e EMERGENCY\r\n");
    assert_eq!(client.lines(7).last().unwrap(), ":300");
    let refused = client.lines(7);
    assert_eq!(refused[..5], ["*5", ":0", "$3", "cps", ":503"]);
    assert!([":3", ":4", ":5", ":6"].contains(&&*refused[5]), "{refused:?}");
    assert_eq!(client.line(), ":0");
    assert_eq!(client.lines(4), ["*5", ":1", "$9", "emergency"]);
}

#[test]
fn ten_thousand_commands_in_one_write_are_answered_in_order() {
    let rig = Rig::new();
    let mut client = rig.resp();
    let mut all = String::new();
    for number in 0..5_000 {
        all.push_str(&format!("*2\r\n$10\r\nADMIT.BOOL\r\n$5\r\nc{number:04}\r\nECHO {number}\r\n"));
    }
    let mut writer = client.stream.get_ref().try_clone().unwrap();
    let sender = std::thread::spawn(move || std::io::Write::write_all(&mut writer, all.as_bytes()).unwrap());
    for number in 0..5_000 {
        assert_eq!(client.line(), ":1");
        client.line();
        assert_eq!(client.line(), number.to_string());
    }
    sender.join().unwrap();
    rig.still_serves();
}

#[test]
fn client_libraries_get_what_they_expect_at_connect() {
    let rig = Rig::new();
    let mut client = rig.resp();
    for (command, expected) in [
        ("PING", "+PONG"),
        ("ping hello", "$5"),
        ("SELECT 15", "+OK"),
        ("CLIENT SETNAME kamailio", "+OK"),
        ("CLIENT SETINFO lib-name x", "+OK"),
        ("CLIENT REPLY ON", "+OK"),
        ("CONFIG GET save", "*0"),
        ("COMMAND DOCS", "*0"),
        ("COMMAND COUNT", ":19"),
        ("HELLO 4", "-NOPROTO unsupported protocol version 4; accepted are 2 and 3"),
        ("AUTH x", "-ERR AUTH is called, but this sidecar has no password: leave it out, or set listen.password_file"),
        ("NONSENSE", "-ERR unknown command 'NONSENSE'; accepted are ADMIT"),
        ("RESET", "+RESET"),
    ] {
        let answer = client.ask(command);
        assert!(answer.starts_with(expected), "{command}: {answer}");
        if let Some(length) = answer.strip_prefix('$') {
            assert_eq!(client.line().len().to_string(), length);
        }
    }
    assert_eq!(client.ask("HELLO 3 SETNAME me"), "%7");
    let hello = client.lines(25);
    assert!(hello.contains(&"callgate".to_owned()) && hello.contains(&":3".to_owned()), "{hello:?}");
    assert_eq!(client.ask("CONFIG GET save"), "%0");
    assert_eq!(client.ask("QUIT"), "+OK");
    assert!(client.is_closed());
}

#[test]
fn status_and_info_tell_how_things_are() {
    let rig = Rig::new();
    let mut client = rig.resp();
    client.ask("ADMIT.BOOL a");
    client.ask("STATUS");
    let status: serde_json::Value = serde_json::from_str(&client.line()).unwrap();
    assert_eq!(status["calls"]["live"], 1);
    assert_eq!(status["node"], "test-node");
    assert_eq!(status["admitted_total"], 1);
    assert_eq!(status["refused_total"]["cps"], 0);
    let bytes: usize = client.ask("INFO")[1..].parse().unwrap();
    let mut text = vec![0; bytes + 2];
    std::io::Read::read_exact(&mut client.stream, &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(
        text.contains("redis_version:") && text.contains("db0:keys=1") && text.contains("calls_live:1\r\n"),
        "{text}"
    );
    assert!(client.ask("INFO clients").starts_with('$'));
    assert_eq!(client.line(), "# Clients");
}

#[test]
fn a_resync_keeps_adopts_and_releases() {
    let rig = Rig::new();
    let mut client = rig.resp();
    assert_eq!(client.ask("PROXY p 1"), "+OK");
    for id in ["kept", "lost"] {
        assert_eq!(client.ask(&format!("ADMIT.BOOL {id} PROXY p")), ":1");
    }
    assert_eq!(client.ask("PROXY p 2"), "+OK");
    std::thread::sleep(Duration::from_millis(150));
    let token = client.ask("RESYNC BEGIN p");
    let token = &token[1..];
    // Clients reconnect between commands.
    let mut client = rig.resp();
    assert_eq!(client.ask(&format!("RESYNC ADD {token} kept adopted")), ":2");
    client.send(format!("RESYNC END {token}\r\nPING\r\n"));
    assert_eq!(client.lines(5), ["*3", ":1", ":1", ":1", "+PONG"]);
    assert!(client.ask(&format!("RESYNC ABORT {token}")).starts_with("-ERR no such resync"));
    let token = client.ask("RESYNC BEGIN p");
    assert_eq!(client.ask(&format!("RESYNC ABORT {}", &token[1..])), "+OK");
}

#[test]
fn a_password_opens_the_door_and_wrong_ones_close_it() {
    let rig = Rig::with(open_policy(), password);
    let mut client = rig.resp();
    assert!(client.ask("ADMIT a").starts_with("-NOAUTH"));
    assert!(client.ask("PING").starts_with("-NOAUTH"));
    assert!(client.ask("HELLO 3").starts_with("-NOAUTH"));
    assert!(client.ask("AUTH wrong").starts_with("-WRONGPASS"));
    assert!(client.ask("AUTH other 'correct horse'").starts_with("-WRONGPASS"));
    assert_eq!(client.ask("AUTH 'correct horse'"), "+OK");
    assert_eq!(client.ask("ADMIT.BOOL a"), ":1");
    assert_eq!(client.ask("RESET"), "+RESET");
    assert!(client.ask("ADMIT b").starts_with("-NOAUTH"));
    let mut other = rig.resp();
    assert_eq!(other.ask("HELLO 3 AUTH default 'correct horse'"), "%7");
    let mut guesser = rig.resp();
    for _ in 0..5 {
        assert!(guesser.ask("AUTH guess").starts_with("-WRONGPASS"));
    }
    assert!(guesser.is_closed());
    // Before it told the password, a connection may not send much.
    let mut loud = rig.resp();
    assert!(loud.ask("*2\r\n$4\r\nECHO\r\n$2000").starts_with("-ERR Protocol error: bulk string of '2000' bytes"));
    assert!(loud.is_closed());
}

#[test]
fn a_unix_socket_serves_the_same_with_its_mode() {
    let rig = Rig::new();
    let mode = std::fs::metadata(&rig.resp_socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let mut client = Client::new(UnixStream::connect(&rig.resp_socket).unwrap());
    assert_eq!(client.ask("ADMIT.BOOL a"), ":1");
}

#[test]
fn a_half_closed_client_still_gets_its_answers() {
    let rig = Rig::new();
    let mut client = rig.resp();
    client.send("ADMIT.BOOL a\r\nSTATUS\r\nADMIT.BOOL b\r\n");
    client.stream.get_ref().shutdown(Shutdown::Write).unwrap();
    let all = String::from_utf8(client.until_closed()).unwrap();
    assert!(all.starts_with(":1\r\n$") && all.ends_with("}\r\n:1\r\n"), "{all}");
}

#[test]
fn a_drain_answers_what_was_sent_and_closes() {
    let mut rig = Rig::new();
    let mut clients: Vec<_> = (0..20).map(|_| rig.resp()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.ask("PING"), "+PONG");
        client.send(format!("ADMIT.BOOL d{number}\r\n"));
    }
    let mut http = rig.http();
    assert_eq!(http.exchange("GET", "/healthz", &[], "").status, 200);
    assert_eq!(rig.drain(PATIENCE).cut, 0);
    for client in &mut clients {
        assert_eq!(client.until_closed(), b":1\r\n");
    }
    assert!(http.is_closed());
    assert!(!rig.resp_socket.exists() && !rig.admin.exists());
    assert!(std::net::TcpStream::connect(rig.resp).is_err());
}

#[test]
fn several_reactors_serve_the_same_calls() {
    let rig = Rig::with(open_policy(), |settings| settings.reactors = 3);
    let mut clients: Vec<_> = (0..12).map(|_| rig.resp()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.ask(&format!("ADMIT.BOOL r{number}")), ":1");
    }
    for (number, client) in clients.iter_mut().rev().enumerate() {
        assert_eq!(client.ask(&format!("RELEASE r{number}")), ":1");
    }
}

#[test]
fn an_epoch_is_told_once_however_often_it_is_said() {
    let rig = Rig::new();
    let told = |rig: &Rig| rig.context.events.latest(100).len();
    let before = told(&rig);
    let mut client = rig.resp();
    for _ in 0..50 {
        assert_eq!(client.ask("PROXY p 7"), "+OK");
    }
    assert_eq!(
        rig.http()
            .exchange("POST", "/v1/proxy", &[("content-type", "application/json")], r#"{"proxy":"p","epoch":7}"#)
            .status,
        200
    );
    assert_eq!(told(&rig) - before, 1);
    assert_eq!(client.ask("PROXY p 8"), "+OK");
    assert_eq!(told(&rig) - before, 2);
}
