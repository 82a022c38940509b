//! What hostile RESP clients don't get.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use callgate::shell::process;
use callgate::shell::telemetry::{ClosedConnection, FrontEnd, RefusedConnection};

use super::rig::{Client, PATIENCE, Rig, alone, open_policy};

fn quick(settings: &mut callgate::shell::listeners::Settings) {
    settings.limits.idle = Duration::from_millis(300);
    settings.limits.request = Duration::from_millis(300);
    settings.limits.write = Duration::from_millis(300);
}

fn closed_for(rig: &Rig, why: ClosedConnection) -> u64 {
    rig.context.counters.front(FrontEnd::Resp).closed_total(why)
}

/// The counter follows the close: wait for it.
fn wait_closed(rig: &Rig, why: ClosedConnection) {
    let began = Instant::now();
    while closed_for(rig, why) == 0 && began.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(closed_for(rig, why), 1, "{why:?}");
}

#[test]
fn what_breaks_the_protocol_is_told_and_closed() {
    let rig = Rig::new();
    let nested = "*1\r\n".repeat(10_000);
    let inline = "a".repeat(70_000);
    let many = "*1024\r\n".to_owned() + &format!("$65536\r\n{}\r\n", "y".repeat(65_536)).repeat(16);
    let rows: [(&str, &str); 14] = [
        ("*-1\r\n", "array of '-1' elements; accepted are 0 to 1024"),
        ("*99999999999\r\n", "array of '99999999999' elements"),
        ("*18446744073709551616\r\n", "array of '18446744073709551616' elements"),
        ("*1025\r\n", "array of '1025' elements"),
        (&nested, "an array inside a command"),
        ("*1\r\n$-1\r\n", "a null bulk string"),
        ("*1\r\n$-5\r\n", "bulk string of '-5' bytes"),
        ("*1\r\n$4294967295\r\n", "bulk string of '4294967295' bytes"),
        ("*1\r\n$9223372036854775808\r\n", "bulk string of '9223372036854775808' bytes"),
        ("*2\r\n$5\r\nADMIT\r\n$1\r\nabc\r\n", "bulk string is followed by 'bc'"),
        (&inline, "inline command without a line end"),
        (&many, "command of at least 1"),
        ("GET / HTTP/1.1\r\nhost: x\r\n\r\n", "this is the RESP port"),
        ("\u{0}\u{1}\u{2}", "a command begins with"),
    ];
    for (input, expected) in rows {
        let mut client = rig.resp();
        client.try_send(input);
        let line = client.line();
        assert!(line.starts_with(&format!("-ERR Protocol error: {expected}")), "{:.40}: {line}", input.escape_debug());
        assert!(client.is_closed());
    }
    rig.still_serves();
}

#[test]
fn what_cannot_be_understood_is_told_and_the_connection_goes_on() {
    let rig = Rig::new();
    let mut client = rig.resp();
    let long = format!("ADMIT {}", "x".repeat(513));
    for (command, expected) in [
        ("ADMIT \"\"", "-ERR id has 0 bytes; accepted are 1 to 512"),
        (&long, "-ERR id has 513 bytes; accepted are 1 to 512"),
        ("ADMIT a SEQ -1", "-ERR SEQ is '-1'"),
        ("ADMIT a TTL 4294967296", "-ERR TTL is '4294967296'"),
        ("ADMIT a UNITS 99999999999999999999999", "-ERR UNITS is '99999999999999999999999'"),
        ("RELEASE a SEQ 1 SEQ 2", "-ERR option SEQ is given twice"),
        ("RESYNC END 99999999999999999999999", "-ERR token is"),
        ("RESYNC END 1", "-ERR no such resync"),
    ] {
        let answer = client.ask(command);
        assert!(answer.starts_with(expected), "{command:.40}: {answer}");
    }
    client.send(b"*2\r\n$10\r\nADMIT.BOOL\r\n$6\r\n\x00\xff\r\n\x80*\r\n");
    assert_eq!(client.line(), ":1", "ids are any bytes");
    client.send(b"*2\r\n$7\r\nRELEASE\r\n$6\r\n\x00\xff\r\n\x80*\r\n");
    assert_eq!(client.line(), ":1");
}

#[test]
fn a_claimed_length_takes_no_memory() {
    if !alone(module_path!(), "a_claimed_length_takes_no_memory") {
        return;
    }
    let rig = Rig::new();
    let before = process::view().resident_bytes;
    let mut clients: Vec<_> = (0..500).map(|_| rig.resp()).collect();
    for client in &mut clients {
        client.send("*1024\r\n$65536\r\nx");
    }
    clients[0].send("");
    rig.still_serves();
    let grown = process::view().resident_bytes.saturating_sub(before);
    assert!(grown < 20_000_000, "{grown} bytes for 500 connections that claim 64 KiB each");
}

#[test]
fn half_a_request_is_waited_for_and_then_closed() {
    let rig = Rig::with(open_policy(), quick);
    let mut client = rig.resp();
    client.send("*2\r\n$5\r\nADM");
    // Slowly on: every byte resets nothing.
    let began = Instant::now();
    while began.elapsed() < PATIENCE && client.try_send("I") {
        std::thread::sleep(Duration::from_millis(50));
        if closed_for(&rig, ClosedConnection::SlowSender) > 0 {
            break;
        }
    }
    assert!(client.is_closed());
    wait_closed(&rig, ClosedConnection::SlowSender);
    rig.still_serves();
}

#[test]
fn silence_is_closed_when_an_idle_timeout_is_set() {
    let rig = Rig::with(open_policy(), quick);
    let mut client = rig.resp();
    assert_eq!(client.ask("PING"), "+PONG");
    assert!(client.is_closed());
    wait_closed(&rig, ClosedConnection::Idle);
}

#[test]
fn a_client_that_never_reads_stops_being_read_and_is_closed() {
    if !alone(module_path!(), "a_client_that_never_reads_stops_being_read_and_is_closed") {
        return;
    }
    let rig = Rig::with(open_policy(), quick);
    let client = rig.resp();
    let mut writer = client.stream.get_ref().try_clone().unwrap();
    let before = process::view().resident_bytes;
    let sender = std::thread::spawn(move || {
        // Each asks for a long answer; the server must stop reading long before the end.
        let chunk = b"COMMAND\r\n".repeat(1_000);
        let mut sent = 0_usize;
        while sent < 200_000_000 && writer.write_all(&chunk).is_ok() {
            sent += chunk.len();
        }
        sent
    });
    rig.still_serves();
    let sent = sender.join().unwrap();
    assert!(sent < 100_000_000, "{sent} bytes were taken from a client that reads nothing");
    let grown = process::view().resident_bytes.saturating_sub(before);
    assert!(grown < 50_000_000, "{grown} bytes");
    wait_closed(&rig, ClosedConnection::SlowReader);
    rig.still_serves();
}

#[test]
fn the_connection_above_the_limit_is_told_and_closed() {
    let rig = Rig::with(open_policy(), |settings| settings.limits.connections_max = 3);
    let mut clients: Vec<_> = (0..3).map(|_| rig.resp()).collect();
    for client in &mut clients {
        assert_eq!(client.ask("PING"), "+PONG");
    }
    let mut above = rig.resp();
    assert_eq!(above.line(), "-ERR max number of clients reached");
    assert!(above.is_closed());
    assert_eq!(rig.context.counters.front(FrontEnd::Resp).refused_total(RefusedConnection::Limit), 1);
    drop(clients.pop());
    let began = Instant::now();
    while rig.running().connections() > 2 && began.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(rig.resp().ask("PING"), "+PONG");
}

/// The name of the environment variable that makes the test below hold the clients' ends: where to, and how many.
const HOLD: &str = "CALLGATE_TEST_HOLD";

/// Half a request from each of `count` clients; at a word from standard input some of them send the other half.
fn hold_connections(address: &str, count: usize) {
    let mut held = Vec::new();
    for _ in 0..count {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"*2\r\n$5\r\nADMIT\r\n$3").unwrap();
        held.push(stream);
    }
    eprintln!("held");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    for (number, stream) in held.iter_mut().enumerate().step_by(1_000) {
        stream.write_all(format!("\r\n{:03}\r\n", number / 1_000).as_bytes()).unwrap();
        let mut client = Client::new(stream.try_clone().unwrap());
        assert_eq!(client.line(), "*5");
    }
}

#[test]
fn ten_thousand_connections_are_held_in_bounded_memory() {
    let name = "ten_thousand_connections_are_held_in_bounded_memory";
    if let Ok(hold) = std::env::var(HOLD) {
        let (address, count) = hold.split_once(' ').unwrap();
        return hold_connections(address, count.parse().unwrap());
    }
    if !alone(module_path!(), name) {
        return;
    }
    let rig = Rig::with(open_policy(), |settings| settings.limits.connections_max = 20_000);
    // The front ends have raised the limit of files as far as they may; each end is in a process of its own.
    let files = usize::try_from(process::view().max_fds).unwrap();
    let count = if files >= 11_000 {
        10_000
    } else {
        assert!(
            std::env::var_os("CALLGATE_SMALL_HOST").is_some(),
            "this process may open {files} files; 10,000 connections need 11,000: raise the hard limit (ulimit -Hn), or \
             set CALLGATE_SMALL_HOST=1 to hold as many as there is room for"
        );
        files.saturating_sub(500)
    };
    let before = process::view().resident_bytes;
    let test = format!("{}::{name}", module_path!().split_once("::").unwrap().1);
    let mut holder = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &test, "--nocapture"])
        .env(HOLD, format!("{} {count}", rig.resp))
        .stdin(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(holder.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert_eq!(line, "held\n", "the clients' ends");
    let began = Instant::now();
    while rig.running().connections() < count && began.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(rig.running().connections(), count);
    rig.still_serves();
    let each = process::view().resident_bytes.saturating_sub(before) / u64::try_from(count.max(1)).unwrap();
    assert!(each < 8_192, "{each} bytes for each of {count} connections");
    holder.stdin.take().unwrap().write_all(b"go\n").unwrap();
    assert!(holder.wait().unwrap().success(), "some of them are not answered");
}

#[test]
fn all_clients_together_buffer_no_more_than_the_budget() {
    const BUDGET: usize = 4 * 1024 * 1024;
    let rig = Rig::with(open_policy(), |settings| settings.limits.buffered_bytes_max = BUDGET);
    // Nearly whole requests of nearly 1 MiB: room for a few only.
    let part = format!("$65000\r\n{}\r\n", "y".repeat(65_000)).repeat(15);
    let mut held = Vec::new();
    let mut refused = 0;
    for _ in 0..20 {
        let mut client = rig.resp();
        client.try_send("*1000\r\n");
        client.try_send(&part);
        held.push(client);
    }
    for client in &mut held {
        client.stream.get_ref().set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let mut byte = [0; 256];
        match std::io::Read::read(client.stream.get_mut(), &mut byte) {
            Ok(0) => refused += 1,
            Ok(length) => {
                let told = String::from_utf8_lossy(&byte[..length]).into_owned();
                assert!(told.starts_with("-ERR too many bytes are buffered"), "{told}");
                refused += 1;
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => refused += 1,
            Err(_) => {}
        }
    }
    assert!((20 - BUDGET / part.len()..20).contains(&refused), "{refused} of 20");
    let began = Instant::now();
    while closed_for(&rig, ClosedConnection::Buffers) < u64::try_from(refused).unwrap() && began.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(closed_for(&rig, ClosedConnection::Buffers), u64::try_from(refused).unwrap());
    rig.still_serves();
    drop(held);
    let began = Instant::now();
    while rig.running().connections() > 0 && began.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(5));
    }
    // What the others held came back: one of these is taken whole again, up to the protocol's own limit.
    let mut client = rig.resp();
    client.try_send("*1000\r\n");
    client.try_send(part.repeat(2));
    assert!(client.line().starts_with("-ERR Protocol error: command of at least 1"));
}

#[test]
fn a_client_that_takes_a_little_at_a_time_is_closed() {
    let rig = Rig::with(open_policy(), |settings| {
        settings.limits.write = Duration::from_millis(500);
    });
    let mut client = rig.resp();
    let mut writer = client.stream.get_ref().try_clone().unwrap();
    let sender = std::thread::spawn(move || while writer.write_all(&b"COMMAND\r\n".repeat(1_000)).is_ok() {});
    let began = Instant::now();
    while closed_for(&rig, ClosedConnection::SlowReader) == 0 && began.elapsed() < PATIENCE {
        // At most 10 KiB in half a second.
        let mut bytes = [0; 1_024];
        let _ = std::io::Read::read(client.stream.get_mut(), &mut bytes);
        std::thread::sleep(Duration::from_millis(50));
    }
    wait_closed(&rig, ClosedConnection::SlowReader);
    drop(client);
    sender.join().unwrap();
    rig.still_serves();
}
