//! Every way in which a manager, a proxy or the network between can fail, against real sockets and real TLS.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::testing::{Answer, Authority, Server, http, tls};
use super::*;
use crate::license::agent::{ExchangeId, Secret as Seed};
use crate::protocol::{Endpoint, SecretKey};

const QUICK: Duration = Duration::from_secs(20);

struct Rig {
    dir: tempfile::TempDir,
    authority: Authority,
}

impl Rig {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), authority: Authority::new("Our CA", 1) }
    }

    fn settings(&self, url: &str) -> Settings {
        Settings {
            url: Some(url.parse().unwrap()),
            trust: Trust::File(self.authority.file(self.dir.path())),
            proxy: None,
            timeout: QUICK,
        }
    }

    async fn answering(&self, answer: Answer) -> Exchange {
        let server = Server::start(Some(tls(&self.authority, &["localhost"], None)), answer).await;
        exchange(self.settings(&format!("https://localhost:{}", server.port))).await
    }
}

fn outgoing(client: Option<ClientIdentity>, within_s: u64) -> Outgoing {
    Outgoing { exchange: ExchangeId(1), endpoint: Endpoint::Report, body: b"{\"a\":1}".to_vec(), client, within_s }
}

async fn exchange(settings: Settings) -> Exchange {
    Transport::new(settings).exchange(&outgoing(None, 20)).await
}

fn failed(exchange: Exchange) -> TransportFailure {
    match exchange {
        Exchange::Failed(failure) => failure,
        Exchange::Answered { status, body, .. } => panic!("{status}: {}", String::from_utf8_lossy(&body)),
    }
}

#[track_caller]
fn assert_failed(exchange: Exchange, step: TransportStep, words: &[&str]) {
    let found = failed(exchange);
    assert_eq!(found.step, step, "{}", found.text);
    for word in words {
        assert!(found.text.contains(word), "{word:?} is missing: {}", found.text);
    }
}

#[tokio::test]
async fn an_answer_comes_back_whole_with_its_status_and_when_to_come_again() {
    let rig = Rig::new();
    let server = Server::start(
        Some(tls(&rig.authority, &["localhost"], None)),
        http("503 Busy", "retry-after: 120\r\n", "{\"b\":2}"),
    )
    .await;
    let settings = rig.settings(&format!("https://localhost:{}/SmartTransport", server.port));
    let answered = exchange(settings).await;
    assert_eq!(answered, Exchange::Answered { status: 503, retry_after_s: Some(120), body: b"{\"b\":2}".to_vec() });
    let heard = String::from_utf8(server.heard.lock().clone()).unwrap();
    assert!(heard.starts_with("POST /v1/agent/report HTTP/1.1\r\n") && heard.ends_with("\r\n\r\n{\"a\":1}"), "{heard}");
}

#[tokio::test]
async fn a_date_says_when_to_come_again_by_the_servers_own_clock() {
    let rig = Rig::new();
    let headers = "date: Sun, 06 Nov 1994 08:49:37 GMT\r\nretry-after: Sun, 06 Nov 1994 08:59:37 GMT\r\n";
    let Exchange::Answered { retry_after_s, .. } = rig.answering(http("503 Busy", headers, "x")).await else {
        panic!("no answer")
    };
    assert_eq!(retry_after_s, Some(600));
}

#[tokio::test]
async fn a_manager_that_answers_garbage_is_not_http() {
    let rig = Rig::new();
    let garbage = Answer::Bytes(b"\x00\x01\x02 garbage \xff\xfe\r\n\r\n".to_vec());
    assert_failed(rig.answering(garbage).await, TransportStep::Http, &["does not speak HTTP"]);
}

#[tokio::test]
async fn a_web_page_is_a_captive_portal_by_its_type_or_by_its_first_byte() {
    let rig = Rig::new();
    let typed = http("200 OK", "content-type: text/html; charset=utf-8\r\n", "please log in");
    assert_failed(rig.answering(typed).await, TransportStep::Http, &["captive portal"]);
    let bare = http("200 OK", "content-type: application/json\r\n", "\n <!doctype html>");
    assert_failed(rig.answering(bare).await, TransportStep::Http, &["captive portal"]);
}

#[tokio::test]
async fn a_redirect_is_named_and_not_followed() {
    let rig = Rig::new();
    for status in ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"] {
        let answer = http(status, "location: https://localhost:1/elsewhere\r\n", "");
        assert_failed(rig.answering(answer).await, TransportStep::Http, &["redirect", "license.url"]);
    }
}

#[tokio::test]
async fn half_an_answer_is_cut_short_wherever_it_ends() {
    let rig = Rig::new();
    for bytes in ["", "HTTP/1.1 200 OK\r\ncontent-", "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf"] {
        assert_failed(rig.answering(Answer::Bytes(bytes.into())).await, TransportStep::Http, &["localhost"]);
    }
}

#[tokio::test]
async fn a_gigabyte_is_refused_at_the_bound_whether_announced_or_endless() {
    let rig = Rig::new();
    let announced = Answer::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\nx".to_vec());
    for answer in [announced, Answer::Endless] {
        assert_failed(rig.answering(answer).await, TransportStep::Http, &["more than 262144 bytes"]);
    }
}

#[tokio::test]
async fn a_manager_that_says_nothing_is_given_up_after_the_time_of_the_request() {
    let rig = Rig::new();
    let server = Server::start(Some(tls(&rig.authority, &["localhost"], None)), Answer::Nothing).await;
    let transport = Transport::new(rig.settings(&format!("https://localhost:{}", server.port)));
    assert_failed(transport.exchange(&outgoing(None, 1)).await, TransportStep::Timeout, &["1 s"]);
}

#[tokio::test]
async fn a_server_that_never_finishes_tls_is_given_up_too() {
    let rig = Rig::new();
    let server = Server::start(None, Answer::Nothing).await;
    let transport = Transport::new(rig.settings(&format!("https://localhost:{}", server.port)));
    assert_failed(transport.exchange(&outgoing(None, 1)).await, TransportStep::Timeout, &["1 s"]);
}

#[tokio::test]
async fn a_foreign_ca_is_named_with_its_issuer_and_the_key_that_would_add_it() {
    let rig = Rig::new();
    let foreign = Authority::new("Interceptor Inc", 9);
    let server = Server::start(Some(tls(&foreign, &["localhost"], None)), http("200 OK", "", "{}")).await;
    let settings = rig.settings(&format!("https://localhost:{}", server.port));
    assert_failed(
        exchange(settings.clone()).await,
        TransportStep::TlsIssuer,
        &["Interceptor Inc", "license.ca_file", "intercepts"],
    );
    // The same name with another key is no less foreign.
    let namesake = Authority::new("Our CA", 8);
    let server = Server::start(Some(tls(&namesake, &["localhost"], None)), http("200 OK", "", "{}")).await;
    let settings = Settings { url: Some(format!("https://localhost:{}", server.port).parse().unwrap()), ..settings };
    assert_failed(exchange(settings).await, TransportStep::TlsIssuer, &["Our CA"]);
}

#[tokio::test]
async fn the_host_of_the_url_must_be_in_the_certificate() {
    let rig = Rig::new();
    let server = Server::start(Some(tls(&rig.authority, &["lm.example.com"], None)), http("200 OK", "", "{}")).await;
    for host in ["localhost", "127.0.0.1"] {
        let settings = rig.settings(&format!("https://{host}:{}/SmartTransport", server.port));
        assert_failed(exchange(settings).await, TransportStep::Tls, &["lm.example.com", host]);
    }
    let server = Server::start(Some(tls(&rig.authority, &["127.0.0.1"], None)), http("200 OK", "", "{}")).await;
    let by_address = exchange(rig.settings(&format!("https://127.0.0.1:{}", server.port))).await;
    assert!(matches!(by_address, Exchange::Answered { status: 200, .. }), "{by_address:?}");
}

#[tokio::test]
async fn a_pinned_key_is_believed_whoever_issued_it_and_another_key_is_not() {
    let rig = Rig::new();
    let foreign = Authority::new("Whoever", 9);
    let server = Server::start(Some(tls(&foreign, &["localhost"], None)), http("200 OK", "", "{}")).await;
    let url = format!("https://localhost:{}", server.port);
    let told = failed(exchange(Settings { trust: Trust::PinSpki(vec![[7; 32]]), ..rig.settings(&url) }).await);
    assert_eq!(told.step, TransportStep::TlsIssuer);
    assert!(told.text.contains("license.pin_spki"), "{}", told.text);
    // The message tells the hash that would have to be pinned.
    let hash = told.text.split("public key ").nth(1).and_then(|rest| rest.get(..64)).unwrap();
    let pinned = Settings { trust: Trust::PinSpki(vec![parse_pin(hash).unwrap()]), ..rig.settings(&url) };
    assert!(matches!(exchange(pinned.clone()).await, Exchange::Answered { status: 200, .. }));
    let misnamed = format!("https://127.0.0.1:{}", server.port);
    let misnamed = Settings { url: Some(misnamed.parse().unwrap()), ..pinned };
    assert_failed(exchange(misnamed).await, TransportStep::Tls, &["127.0.0.1"]);
}

#[tokio::test]
async fn a_name_without_address_a_closed_port_and_no_url_are_three_different_steps() {
    let rig = Rig::new();
    let nowhere = exchange(rig.settings("https://no-such-host.invalid")).await;
    assert_failed(nowhere, TransportStep::Dns, &["no-such-host.invalid", "license.transport = \"proxy\""]);
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let closed = exchange(rig.settings(&format!("https://127.0.0.1:{free}"))).await;
    assert_failed(closed, TransportStep::Tcp, &["127.0.0.1", "refused"]);
    let unset = exchange(Settings { url: None, ..rig.settings("https://x") }).await;
    assert_failed(unset, TransportStep::Configuration, &["license.url"]);
    let missing = Trust::File(rig.dir.path().join("missing.pem"));
    let unreadable = exchange(Settings { trust: missing, ..rig.settings("https://x") }).await;
    assert_failed(unreadable, TransportStep::Configuration, &["license.ca_file", "missing.pem"]);
}

#[tokio::test]
async fn the_id_certificate_is_proven_to_the_manager() {
    let rig = Rig::new();
    let clients = Authority::new("Instances", 3);
    let acceptor = tls(&rig.authority, &["localhost"], Some(&clients));
    let server = Server::start(Some(acceptor), http("200 OK", "", "{}")).await;
    let transport = Transport::new(rig.settings(&format!("https://localhost:{}", server.port)));
    let (certificate, _) = clients.issue(&["instance"], 5);
    let identity = ClientIdentity {
        certificate_chain_b64: vec![STANDARD.encode(&certificate)],
        key_seed: Seed(*SecretKey::from_seed([5; 32]).seed()),
    };
    let known = transport.exchange(&outgoing(Some(identity), 20)).await;
    assert!(matches!(known, Exchange::Answered { status: 200, .. }), "{known:?}");
    assert_failed(transport.exchange(&outgoing(None, 20)).await, TransportStep::Tls, &["TLS with the license manager"]);
}

fn through(settings: Settings, proxy: &str, user: Option<(&str, &str)>, ca_file: Option<PathBuf>) -> Settings {
    let user = user.map(|(user, password)| (user.to_owned(), Secret::new(password.as_bytes())));
    Settings { proxy: Some(Proxy { address: proxy.parse().unwrap(), user, ca_file }), ..settings }
}

#[tokio::test]
async fn a_proxy_asks_for_a_password_and_opens_the_way_with_the_right_one() {
    let rig = Rig::new();
    let server = Server::start(Some(tls(&rig.authority, &["lm.example.com"], None)), http("200 OK", "", "{}")).await;
    // "op:hunter2"
    let proxy = Server::proxy(None, server.port, Some("b3A6aHVudGVyMg==")).await;
    let settings = rig.settings("https://lm.example.com");
    let address = format!("127.0.0.1:{}", proxy.port);
    let open = through(settings.clone(), &address, None, None);
    assert_failed(exchange(open).await, TransportStep::Proxy, &["407", "license.proxy_user"]);
    let wrong = through(settings.clone(), &address, Some(("op", "wrong-word")), None);
    let told = failed(exchange(wrong.clone()).await);
    assert!(told.step == TransportStep::Proxy && told.text.contains("407"), "{}", told.text);
    assert!(!told.text.contains("wrong-word") && !format!("{wrong:?}").contains("wrong-word"), "{}", told.text);
    let right = through(settings, &address, Some(("op", "hunter2")), None);
    assert!(matches!(exchange(right).await, Exchange::Answered { status: 200, .. }));
    let heard = String::from_utf8(proxy.heard.lock().clone()).unwrap();
    assert!(heard.starts_with("CONNECT lm.example.com:443 HTTP/1.1\r\n"), "{heard}");
}

#[tokio::test]
async fn an_https_proxy_has_an_authority_of_its_own_and_never_sees_the_id_certificate() {
    let rig = Rig::new();
    let clients = Authority::new("Instances", 3);
    let server =
        Server::start(Some(tls(&rig.authority, &["localhost"], Some(&clients))), http("200 OK", "", "{}")).await;
    let proxies = Authority::new("Proxy CA", 4);
    let proxy = Server::proxy(Some(tls(&proxies, &["localhost"], None)), server.port, None).await;
    let settings = rig.settings(&format!("https://localhost:{}", server.port));
    let address = format!("https://localhost:{}", proxy.port);
    let unknown = through(settings.clone(), &address, None, Some(rig.authority.file(rig.dir.path())));
    assert_failed(
        exchange(unknown).await,
        TransportStep::TlsIssuer,
        &["Proxy CA", "the proxy", "license.proxy_ca_file"],
    );
    let theirs = tempfile::tempdir().unwrap();
    let known = through(settings, &address, None, Some(proxies.file(theirs.path())));
    let (certificate, _) = clients.issue(&["instance"], 5);
    let identity = ClientIdentity {
        certificate_chain_b64: vec![STANDARD.encode(&certificate)],
        key_seed: Seed(*SecretKey::from_seed([5; 32]).seed()),
    };
    let transport = Transport::new(known.clone());
    let answered = transport.exchange(&outgoing(Some(identity.clone()), 20)).await;
    assert!(matches!(answered, Exchange::Answered { status: 200, .. }), "{answered:?}");
    // A proxy that asks for a certificate gets none, and says so.
    let nosy = Server::proxy(Some(tls(&proxies, &["localhost"], Some(&clients))), server.port, None).await;
    let nosy = through(known, &format!("https://localhost:{}", nosy.port), None, Some(proxies.file(theirs.path())));
    let refused = failed(Transport::new(nosy).exchange(&outgoing(Some(identity), 20)).await);
    assert!(refused.step < TransportStep::Http, "{refused:?}");
}

#[tokio::test]
async fn a_proxy_that_cannot_reach_the_manager_or_hangs_up_is_at_fault() {
    let rig = Rig::new();
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let proxy = Server::proxy(None, free, None).await;
    let settings = through(rig.settings("https://localhost"), &format!("localhost:{}", proxy.port), None, None);
    assert_failed(exchange(settings.clone()).await, TransportStep::Proxy, &["does not open a way"]);
    let silent = Server::start(None, Answer::Bytes(Vec::new())).await;
    let settings = through(settings, &format!("localhost:{}", silent.port), None, None);
    assert_failed(exchange(settings.clone()).await, TransportStep::Proxy, &["closed the connection"]);
    let settings = through(settings, &format!("localhost:{free}"), None, None);
    assert_failed(exchange(settings).await, TransportStep::Tcp, &["the proxy http://localhost"]);
}

fn outcomes(report: &ProbeReport) -> Vec<(&str, StepOutcome)> {
    report.steps.iter().map(|step| (step.step, step.outcome)).collect()
}

#[tokio::test]
async fn a_probe_walks_the_whole_way_and_sees_the_clock() {
    use StepOutcome::{Failed, Passed, Skipped};
    let rig = Rig::new();
    let answer = http("200 OK", "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n", "{\"status\":\"ok\"}");
    let server = Server::start(Some(tls(&rig.authority, &["localhost"], None)), answer).await;
    let transport = Transport::new(rig.settings(&format!("https://localhost:{}", server.port)));
    let then = UnixMillis(784_111_777_000);
    let report = transport.probe(None, || then).await;
    let way = ["configuration", "dns", "tcp", "proxy", "tls_issuer", "tls", "http", "status", "clock"];
    let expected: Vec<_> = way.map(|step| (step, if step == "proxy" { Skipped } else { Passed })).into();
    assert_eq!((outcomes(&report), report.failed), (expected, None));
    assert!(String::from_utf8_lossy(&server.heard.lock()).starts_with("GET /healthz "));
    let year_ahead = || UnixMillis(then.0 + 365 * 86_400_000);
    let report = transport.probe(None, year_ahead).await;
    assert_eq!(report.failed, Some("clock"));
    let clock = report.steps.last().unwrap();
    assert_eq!((clock.step, clock.outcome), ("clock", Failed));
    assert!(clock.text.contains("1994-11-06") && clock.text.contains("1995-11-06"), "{}", clock.text);
}

#[tokio::test]
async fn a_probe_names_the_step_that_failed_and_none_behind_it() {
    use StepOutcome::{Failed, Next, NotReached, Passed};
    let rig = Rig::new();
    let foreign = Authority::new("Interceptor Inc", 9);
    let intercepted = Server::start(Some(tls(&foreign, &["localhost"], None)), http("200 OK", "", "{}")).await;
    let unwell = Server::start(Some(tls(&rig.authority, &["localhost"], None)), http("500 Oops", "", "{}")).await;
    let plain = Server::start(None, Answer::Nothing).await;
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    for (url, step) in [
        ("https://no-such-host.invalid".to_owned(), "dns"),
        (format!("https://localhost:{free}"), "tcp"),
        (format!("https://localhost:{}", intercepted.port), "tls_issuer"),
        (format!("https://127.0.0.1:{}", unwell.port), "tls"),
        (format!("https://localhost:{}", unwell.port), "status"),
    ] {
        let report = Transport::new(rig.settings(&url)).probe(None, || UnixMillis(0)).await;
        assert_eq!(report.failed, Some(step), "{report:?}");
        let place = report.steps.iter().position(|told| told.step == step).unwrap();
        assert_eq!(report.steps[place].outcome, Failed);
        assert!(report.steps[..place].iter().all(|told| told.outcome == Passed || told.step == "proxy"), "{report:?}");
        assert!(report.steps[place + 1..].iter().all(|told| told.outcome == NotReached), "{report:?}");
        assert_eq!(report.steps.len(), 9, "{report:?}");
    }
    let mut hanging = rig.settings(&format!("https://localhost:{}", plain.port));
    hanging.timeout = Duration::from_secs(1);
    let report = Transport::new(hanging).probe(None, || UnixMillis(0)).await;
    assert_eq!(report.steps.len(), 9, "{report:?}");
    assert!(report.failed.is_some(), "{report:?}");
    let mut report =
        Transport::new(Settings { url: None, ..rig.settings("https://x") }).probe(None, || UnixMillis(0)).await;
    assert_eq!(report.failed, Some("configuration"));
    report.conclude("registration", false, "not registered");
    assert_eq!(report.steps.last().unwrap().outcome, NotReached);
    let well = Server::start(Some(tls(&rig.authority, &["localhost"], None)), http("200 OK", "", "{}")).await;
    let mut works =
        Transport::new(rig.settings(&format!("https://localhost:{}", well.port))).probe(None, || UnixMillis(0)).await;
    works.conclude("registration", false, "not registered");
    assert_eq!((works.failed, works.steps.last().unwrap().outcome), (None, Next), "{works:?}");
}
