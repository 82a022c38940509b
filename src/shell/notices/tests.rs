//! Against real receivers: sockets of this host.

use std::net::SocketAddr;
use std::path::Path;

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, UdpSocket, UnixDatagram};
use tokio::sync::mpsc;

use super::*;
use crate::notice::{Attachment, Category, Change, Format, Level};
use crate::shell::config::Secret;
use crate::shell::license::transport::testing::{Answer, Authority, Server, http, tls};
use crate::units::UnixMillis;

const PATIENCE: Duration = Duration::from_secs(20);

fn notice(what: &str) -> Notice {
    Notice {
        what: what.to_owned(),
        source: "udi".to_owned(),
        ..Notice::new(Level::Major, "REG_DOWN", Category::License, Change::Raised, UnixMillis(1_800_000_000_000))
    }
}

/// A destination as a file would say it.
fn destination(text: &str) -> DestinationSetup {
    let destination: Destination = toml::from_str(text).unwrap();
    DestinationSetup { destination, secrets: DestinationSecrets::default() }
}

fn notifier(setups: Vec<DestinationSetup>) -> Notifier {
    let notifier = Notifier::default();
    notifier.set(setups, false, false);
    notifier
}

async fn test_one(setup: DestinationSetup) -> TestOutcome {
    let mut outcomes = notifier(vec![setup]).test(None, &notice("x")).await.unwrap();
    outcomes.pop().unwrap()
}

async fn until(mut ready: impl FnMut() -> bool) {
    let waiting = async {
        while !ready() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it comes in time");
}

#[tokio::test]
async fn syslog_takes_rfc_5424_by_unix_socket_udp_and_tcp() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let unix = UnixDatagram::bind(&path).unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = |name: &str, address: String| {
        destination(&format!("name = '{name}'\nkind = 'syslog'\naddress = '{address}'\n"))
    };
    let mut full = at("unix", format!("unix:{}", path.display()));
    full.destination.facility = Some("local3".to_owned());
    let notifier = notifier(vec![
        full,
        at("udp", format!("udp://{}", udp.local_addr().unwrap())),
        at("tcp", format!("tcp://{}", tcp.local_addr().unwrap())),
    ]);
    notifier.tell(&notice("no contact"));
    let mut buffer = vec![0; 65_536];
    let read = unix.recv(&mut buffer).await.unwrap();
    let text = String::from_utf8(buffer[..read].to_vec()).unwrap();
    let (host, id) = (rustix::system::uname().nodename().to_string_lossy().into_owned(), std::process::id());
    let line = format!("2027-01-15T08:00:00Z {host} callgate {id} REG_DOWN - \u{FEFF}major REG_DOWN udi no contact");
    assert_eq!(text, format!("<155>1 {line}"), "local3 (19) * 8 + error (3)");
    let read = udp.recv(&mut buffer).await.unwrap();
    assert_eq!(String::from_utf8(buffer[..read].to_vec()).unwrap(), format!("<27>1 {line}"));
    let mut framed = String::new();
    tcp.accept().await.unwrap().0.read_to_string(&mut framed).await.unwrap();
    let message = format!("<27>1 {line}");
    assert_eq!(framed, format!("{} {message}", message.len()), "octets are counted");
}

#[tokio::test]
async fn what_no_datagram_holds_goes_as_a_short_line_and_not_cut_in_two() {
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = udp.local_addr().unwrap();
    let setup = destination(&format!(
        "name = 'u'\nkind = 'syslog'\nformat = 'xml'\nattach = ['license all']\naddress = 'udp://{address}'\n"
    ));
    let notifier = notifier(vec![setup]);
    let attachments = vec![Attachment { command: "license all".to_owned(), text: "x".repeat(20_000) }];
    notifier.tell(&Notice { attachments, ..notice("a") });
    let long = "<>".repeat(1_000);
    notifier.tell(&Notice { what: long.clone(), effect: long.clone(), next: long, ..notice("b") });
    let mut buffer = vec![0; 65_536];
    let read = udp.recv(&mut buffer).await.unwrap();
    let text = String::from_utf8(buffer[..read].to_vec()).unwrap();
    assert!(text.ends_with("</notice>\n") && !text.contains("<attachment>"), "{text}");
    let read = udp.recv(&mut buffer).await.unwrap();
    let text = String::from_utf8(buffer[..read].to_vec()).unwrap();
    assert!(text.contains("\u{FEFF}major REG_DOWN udi <>"), "{text}");
}

/// A receiver that answers with these states in turn, then with 204; and what came.
async fn receiver(mut answers: Vec<StatusCode>) -> (SocketAddr, mpsc::UnboundedReceiver<(HeaderMap, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, received) = mpsc::unbounded_channel();
    answers.reverse();
    let answers = Arc::new(Mutex::new(answers));
    let router = axum::Router::new().route(
        "/hook",
        post(async move |headers: HeaderMap, body: Bytes| {
            let _ = sender.send((headers, String::from_utf8(body.to_vec()).unwrap()));
            answers.lock().pop().unwrap_or(StatusCode::NO_CONTENT)
        }),
    );
    tokio::spawn(axum::serve(listener, router).into_future());
    (address, received)
}

fn hook(address: SocketAddr, further: &str) -> DestinationSetup {
    destination(&format!("name = 'hook'\nkind = 'webhook'\nurl = 'http://{address}/hook'\n{further}"))
}

#[tokio::test]
async fn a_webhook_gets_json_with_its_token_and_a_signature_that_a_receiver_can_check() {
    use hmac::{Hmac, Mac};
    let (address, mut received) = receiver(Vec::new()).await;
    let secrets = DestinationSecrets {
        token: Some(Secret::new(b"t0ken")),
        signing_key: Some(Secret::new(b"k3y")),
        password: None,
    };
    let notifier = notifier(vec![DestinationSetup { secrets, ..hook(address, "attach = ['license summary']\n") }]);
    let attachment = |command: &str| Attachment { command: command.to_owned(), text: "page".to_owned() };
    let attachments = vec![attachment("license summary"), attachment("license all")];
    let told = Notice { attachments, ..notice("no contact") };
    assert_eq!(notifier.attachments(&told), ["license summary"]);
    notifier.tell(&told);
    let (headers, body) = received.recv().await.unwrap();
    assert_eq!(headers["authorization"], "Bearer t0ken");
    assert_eq!(headers["content-type"], "application/json");
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"k3y").unwrap();
    mac.update(format!("{}.{body}", headers["x-callgate-timestamp"].to_str().unwrap()).as_bytes());
    let expected: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(headers["x-callgate-signature"].to_str().unwrap(), format!("sha256={expected}"));
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((body["id"].as_str(), body["what"].as_str()), (Some("REG_DOWN"), Some("no contact")));
    let attached: Vec<&str> =
        body["attachments"].as_array().unwrap().iter().map(|of| of["command"].as_str().unwrap()).collect();
    assert_eq!(attached, ["license summary"], "only what this destination wants");
    until(|| notifier.counts()[0].sent == 1).await;
    assert!(!format!("{notifier:?}").contains("t0ken") && !format!("{notifier:?}").contains("k3y"));
}

#[tokio::test]
async fn what_fails_for_now_is_tried_again_and_what_fails_for_good_is_not() {
    let (address, mut received) =
        receiver(vec![StatusCode::SERVICE_UNAVAILABLE, StatusCode::OK, StatusCode::GONE]).await;
    let notifier = notifier(vec![hook(address, "")]);
    notifier.tell(&notice("first"));
    let (first, body) = received.recv().await.unwrap();
    let (second, again) = received.recv().await.unwrap();
    assert_eq!((body, &first["idempotency-key"]), (again, &second["idempotency-key"]));
    notifier.tell(&notice("second"));
    assert!(received.recv().await.unwrap().1.contains("second"));
    notifier.tell(&notice("third"));
    assert!(received.recv().await.unwrap().1.contains("third"), "410 is not tried again");
    until(|| notifier.counts()[0].sent == 2).await;
    let counts = NotificationCounts { destination: "hook".to_owned(), sent: 2, failed: 1, dropped: 0 };
    assert_eq!(notifier.counts(), [counts]);
}

#[tokio::test]
async fn a_destination_that_hangs_holds_up_nobody_and_its_queue_drops_the_oldest() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, mut received) = receiver(Vec::new()).await;
    let mut hanging = hook(silent.local_addr().unwrap(), "timeout = 60\n");
    hanging.destination.name = "hanging".to_owned();
    let notifier = notifier(vec![hanging, hook(address, "")]);
    notifier.tell(&notice("before"));
    until(|| notifier.workers.lock()[0].queue.is_busy()).await;
    // It is under way, no longer in the queue.
    until(|| notifier.workers.lock()[1].counts.sent.load(Ordering::Relaxed) == 1).await;
    assert!(received.recv().await.unwrap().1.contains("before"));
    for number in 0..QUEUE_MAX + 3 {
        notifier.tell(&notice(&number.to_string()));
        received.recv().await.unwrap();
    }
    let counts = notifier.counts();
    assert_eq!((counts[0].sent, counts[0].failed), (0, 0));
    assert!((3..=4).contains(&counts[0].dropped), "{counts:?}");
    notifier.stop(Duration::from_millis(10)).await;
    assert!(notifier.counts().is_empty());
}

#[tokio::test]
async fn a_filter_chooses_and_a_test_goes_to_everyone_or_one_and_says_what_happened() {
    let (address, mut received) = receiver(vec![StatusCode::OK, StatusCode::FORBIDDEN]).await;
    let mut other = hook(address, "categories = ['admission']\nseverity = 'critical'\n");
    other.destination.name = "other".to_owned();
    let closed = destination("name = 'closed'\nkind = 'syslog'\naddress = 'unix:/nowhere/at/all'\n");
    let notifier = notifier(vec![other, closed]);
    notifier.tell(&notice("not for it"));
    let outcomes = notifier.test(None, &Notice { change: Change::Test, ..notice("a test") }).await.unwrap();
    assert!(received.recv().await.unwrap().1.contains("a test"));
    let of = |outcome: &TestOutcome| (outcome.destination.clone(), outcome.kind, outcome.sent);
    assert_eq!(
        outcomes.iter().map(of).collect::<Vec<_>>(),
        [("other".to_owned(), "webhook", true), ("closed".to_owned(), "syslog", false)]
    );
    assert!(outcomes[0].told.contains("200") && outcomes[1].told.contains("/nowhere/at/all"), "{outcomes:?}");
    let outcomes = notifier.test(Some("other"), &notice("x")).await.unwrap();
    assert!(outcomes.len() == 1 && !outcomes[0].sent && outcomes[0].told.contains("403"), "{outcomes:?}");
    let unknown = notifier.test(Some("nobody"), &notice("x")).await.unwrap_err();
    assert_eq!(unknown.to_string(), "no destination is called \"nobody\"; accepted: other, closed");
}

#[tokio::test]
async fn a_webhook_over_tls_believes_the_chosen_authority_alone_and_follows_no_redirect() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = (Authority::new("ours", 1), Authority::new("theirs", 2));
    let file = ours.file(dir.path());
    let at = |server: &Server, file: &Path| {
        destination(&format!(
            "name = 'tls'\nkind = 'webhook'\nurl = 'https://localhost:{}/'\ntrust = 'file'\nca_file = '{}'\n",
            server.port,
            file.display()
        ))
    };
    let good = Server::start(Some(tls(&ours, &["localhost"], None)), http("200 OK", "", "")).await;
    let outcome = test_one(at(&good, &file)).await;
    assert!(outcome.sent, "{outcome:?}");
    assert!(String::from_utf8_lossy(&good.heard.lock()).starts_with("POST / "));
    let foreign = Server::start(Some(tls(&theirs, &["localhost"], None)), http("200 OK", "", "")).await;
    let outcome = test_one(at(&foreign, &file)).await;
    assert!(!outcome.sent && foreign.heard.lock().is_empty(), "{outcome:?}");
    let elsewhere = http("302 Found", "location: https://localhost:1/\r\n", "");
    let redirecting = Server::start(Some(tls(&ours, &["localhost"], None)), elsewhere).await;
    let outcome = test_one(at(&redirecting, &file)).await;
    assert!(!outcome.sent && outcome.told.contains("302"), "{outcome:?}");
    let nothing = Server::start(Some(tls(&ours, &["localhost"], None)), Answer::Nothing).await;
    let mut slow = at(&nothing, &file);
    slow.destination.timeout = Some(crate::shell::config::Seconds(1));
    let outcome = test_one(slow).await;
    assert!(!outcome.sent && outcome.told.contains("within 1 s"), "{outcome:?}");
}

#[tokio::test]
async fn a_changed_destination_keeps_what_waits_and_its_counts_and_one_taken_out_ends() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, mut received) = receiver(Vec::new()).await;
    let notifier = notifier(vec![hook(silent.local_addr().unwrap(), "timeout = 60\n")]);
    notifier.tell(&notice("under way"));
    until(|| notifier.workers.lock()[0].queue.is_busy()).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    notifier.tell(&notice("waits"));
    notifier.set(vec![hook(address, "")], true, false);
    assert!(received.recv().await.unwrap().1.contains("waits"));
    until(|| notifier.counts().iter().any(|counts| counts.destination == "hook" && counts.sent == 1)).await;
    notifier.set(Vec::new(), true, true);
    assert!(notifier.counts().is_empty(), "the log tells itself");
    assert_eq!(notifier.test(None, &notice("x")).await.unwrap()[0].destination, "log");
}

#[tokio::test]
async fn hostile_text_in_a_mail_makes_no_header_of_its_own() {
    // A mail server of a few lines: enough to see what is said to it. A real one is asked in tests/notifications.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = tokio::spawn(async move {
        use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
        let (stream, _) = listener.accept().await.unwrap();
        let (read, mut write) = stream.into_split();
        let mut lines = BufReader::new(read).lines();
        write.write_all(b"220 x ESMTP\r\n").await.unwrap();
        let (mut data, mut heard) = (false, Vec::new());
        while let Some(line) = lines.next_line().await.unwrap() {
            heard.push(line.clone());
            let answer: &[u8] = match line.split(' ').next().unwrap() {
                "." => b"250 taken\r\n",
                _ if data => continue,
                "EHLO" => b"250 x\r\n",
                "DATA" => b"354 go\r\n",
                "QUIT" => b"221 bye\r\n",
                _ => b"250 ok\r\n",
            };
            data = line == "DATA";
            write.write_all(answer).await.unwrap();
            if line == "QUIT" || line == "." {
                break;
            }
        }
        heard
    });
    let setup = destination(&format!(
        "name = 'm'\nkind = 'mail'\nserver = '{address}'\nsecurity = 'none'\nfrom = 'a@example.com'\n\
         to = ['b@example.com', 'c@example.com']\nformat = 'short'\n"
    ));
    let hostile = Notice { id: "X\r\nBcc: evil@example.com".to_owned(), ..notice("\n.\nMAIL FROM:<evil@example.com>") };
    let outcomes = notifier(vec![setup]).test(None, &hostile).await.unwrap();
    assert!(outcomes[0].sent && outcomes[0].told.contains("taken"), "{outcomes:?}");
    let heard = served.await.unwrap();
    let recipients: Vec<&String> = heard.iter().filter(|line| line.starts_with("RCPT")).collect();
    assert_eq!(recipients, ["RCPT TO:<b@example.com>", "RCPT TO:<c@example.com>"]);
    assert!(!heard.iter().any(|line| line.starts_with("Bcc") || line.starts_with("MAIL FROM:<evil")), "{heard:?}");
    assert_eq!(heard.iter().filter(|line| *line == ".").count(), 1, "{heard:?}");
    assert_eq!(outcomes[0].kind, "mail");
    assert!(heard.iter().any(|line| line.starts_with("Subject: major X")), "{heard:?}");
    assert_eq!(destination("kind = 'mail'").destination.format(), Format::Full);
}
