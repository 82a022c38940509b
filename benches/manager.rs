//! The license manager under load: registrations and reports per second, a storm of re-registrations, and the size of the
//! database.
//!
//! `cargo bench --bench manager -- --instances 100000`. Every message is signed and verified as in life, answers and
//! certificates are signed, each batch is committed to SQLite in a temporary directory (`--dir` for another disk) or to `--postgres URL`. TLS and
//! HTTP are left out. Agents' messages are made before the clock starts.

#![expect(clippy::expect_used, reason = "a bench that cannot set itself up has nothing to say")]
#![expect(clippy::disallowed_methods, reason = "a bench measures time")]
#![expect(clippy::as_conversions, reason = "figures for people")]

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use callgate::manager::domain::{
    Actor, AgentReply, AgentRequest, Caller, CallerCertificate, Change, InstanceId, Journal, NewLot, NewToken,
    OperatorCommand, OperatorReply, UsageRow, VirtualAccountId,
};
use callgate::manager::pki::{IdOrder, Signing, SigningKeys, Validity};
use callgate::manager::service::{Service, ServiceConfig};
use callgate::manager::store::{DatabaseUrl, Retention, Store, restore};
use callgate::protocol::{
    Endpoint, EntitlementRequest, Entropy, Envelope, GrantAnswer, InstanceInfo, Nonce, RegistrationRequest,
    RegistrationToken, ReportRequest, RequestHeader, SecretKey, TagReport, TagRequest, Typ, Udi, certificate_request,
};
use callgate::shell::clock::Clock;
use callgate::units::UnixMillis;

const TAG: &str = "calls-per-second";
/// Requests on their way at once, as many connections would have them.
const IN_FLIGHT: usize = 1_024;
const REPORTS_PER_DAY: u64 = 4;
const REPORT_DAYS: u64 = 30;

struct Options {
    instances: usize,
    dir: Option<PathBuf>,
    postgres: Option<DatabaseUrl>,
}

fn options() -> Options {
    let mut options = Options { instances: 10_000, dir: None, postgres: None };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--instances" => {
                options.instances = arguments.next().and_then(|n| n.parse().ok()).expect("--instances needs a number");
            }
            "--dir" => options.dir = Some(arguments.next().expect("--dir needs a directory").into()),
            "--postgres" => {
                let url = arguments.next().expect("--postgres needs postgres://USER@HOST/DATABASE, an empty one");
                options.postgres = Some(url.parse().expect("an address"));
            }
            // What cargo says to every bench.
            "--bench" => {}
            other => panic!("{other}: accepted: --instances N, --dir DIRECTORY, --postgres URL"),
        }
    }
    options
}

/// An agent, as far as it makes messages.
struct Agent {
    udi: Udi,
    key: SecretKey,
    seq: u64,
    entropy: Entropy,
}

impl Agent {
    fn new(number: usize) -> Self {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&number.to_le_bytes());
        let mut entropy = Entropy::from_seed(seed);
        let udi = Udi::generate("CALLGATE", &mut entropy);
        Self { udi, key: SecretKey::from_seed(entropy.bytes()), seq: 0, entropy }
    }

    fn header(&mut self) -> RequestHeader {
        self.seq += 1;
        RequestHeader {
            udi: self.udi.clone(),
            seq: self.seq,
            nonce: Nonce::generate(&mut self.entropy),
            sent_at: Clock.wall(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    fn seal(&self, typ: Typ, message: &impl serde::Serialize) -> Vec<u8> {
        Envelope::seal(typ, message, &self.key).expect("it can be signed").to_bytes()
    }

    fn registration(&mut self, token: &RegistrationToken) -> Vec<u8> {
        let message = RegistrationRequest {
            header: self.header(),
            token: token.clone(),
            certificate_request_b64: certificate_request(&self.udi, &self.key).expect("a request"),
            info: InstanceInfo {
                hostname: Some(format!("sip-{}.example.net", self.udi.serial().to_lowercase())),
                profile: "cccsp".to_owned(),
                version: "1.0".to_owned(),
                tags: vec![TAG.to_owned()],
                usage: "production".to_owned(),
                fingerprint: format!("{:064x}", self.entropy.number()),
                ..InstanceInfo::default()
            },
            force: false,
            eval_used_s: 60,
            last_grant_seq: 0,
        };
        self.seal(Typ::Registration, &message)
    }

    fn entitlement(&mut self) -> Vec<u8> {
        let tags = vec![TagRequest { tag: TAG.to_owned(), requested: 100, optional: false }];
        let message = EntitlementRequest { header: self.header(), tags, eval_used_s: 60, last_grant_seq: 0 };
        self.seal(Typ::Entitlement, &message)
    }

    fn report(&mut self) -> Vec<u8> {
        let until = Clock.wall();
        let tag = TagReport {
            tag: TAG.to_owned(),
            requested: 100,
            reported: 80,
            observed_peak: 80,
            peak_at: Some(UnixMillis(until.0 - 4_000_000)),
            p95: 71,
            samples: 24,
            next: None,
            lent_used: 0,
        };
        let message = ReportRequest {
            header: self.header(),
            from: UnixMillis(until.0 - 21_600_000),
            until,
            tags: vec![tag],
            eval_used_s: 60,
            last_grant_seq: 0,
        };
        self.seal(Typ::Report, &message)
    }

    fn caller(&self, endpoint: Endpoint) -> Caller {
        let certificate = CallerCertificate {
            udi: self.udi.clone(),
            key: self.key.public(),
            not_after: UnixMillis(Clock.wall().0 + 86_400_000),
        };
        Caller {
            address: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            certificate: (endpoint != Endpoint::Registration).then_some(certificate),
        }
    }
}

/// What a listener does with a request, without HTTP: verify, decide, sign.
async fn serve(service: &Service, signing: &Signing, body: &[u8], caller: Caller) -> usize {
    let envelope = Envelope::parse(body).expect("an envelope");
    let request = AgentRequest::open(&envelope, &caller, |_| Vec::new(), service.now()).expect("a good message");
    match service.agent(request, caller).await.expect("an answer") {
        AgentReply::Registered(registered) => {
            let order = &registered.certificate;
            let mut serial = [0; 16];
            for (to, digits) in serial.iter_mut().zip(order.certificate.serial.as_bytes().chunks(2)) {
                let digits = std::str::from_utf8(digits).expect("digits");
                *to = u8::from_str_radix(digits, 16).expect("digits");
            }
            let validity =
                Validity { not_before: order.certificate.not_before, not_after: order.certificate.not_after };
            let order = IdOrder { udi: &order.udi, key: order.key, serial: &serial, validity };
            let chain = signing.issue(&order).expect("a certificate");
            signing.seal(Typ::RegistrationAnswer, &chain).expect("an answer").to_bytes().len()
        }
        AgentReply::Granted(granted) => {
            let answer = GrantAnswer { header: granted.header, grant: granted.grant, key_set: None };
            signing.seal(Typ::GrantAnswer, &answer).expect("an answer").to_bytes().len()
        }
        other @ (AgentReply::Renewed(_)
        | AgentReply::Deregistered(_)
        | AgentReply::Acknowledged(_)
        | AgentReply::Refused(_)) => panic!("{other:?}"),
    }
}

/// Sends all messages, many at once, and returns how long it took.
async fn send(service: &Service, signing: &Arc<Signing>, messages: Vec<(Vec<u8>, Caller)>) -> Duration {
    let (messages, next) = (Arc::new(messages), Arc::new(AtomicUsize::new(0)));
    let begun = Instant::now();
    let workers: Vec<_> = (0..IN_FLIGHT)
        .map(|_| {
            let (service, signing) = (service.clone(), Arc::clone(signing));
            let (messages, next) = (Arc::clone(&messages), Arc::clone(&next));
            tokio::spawn(async move {
                while let Some((body, caller)) = messages.get(next.fetch_add(1, Ordering::Relaxed)) {
                    serve(&service, &signing, body, caller.clone()).await;
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.expect("all are served");
    }
    begun.elapsed()
}

fn messages(agents: &mut [Agent], endpoint: Endpoint, make: impl Fn(&mut Agent) -> Vec<u8>) -> Vec<(Vec<u8>, Caller)> {
    agents.iter_mut().map(|agent| (make(agent), agent.caller(endpoint))).collect()
}

async fn set_up(service: &Service, instances: usize) -> RegistrationToken {
    let lot = NewLot {
        virtual_account: None,
        tag: TAG.to_owned(),
        quantity: u64::try_from(instances).expect("a number") * 100,
        start: None,
        end: None,
        note: String::new(),
    };
    let command = async |command| service.operator(Actor::system(), command).await.expect("an answer").expect("done");
    command(OperatorCommand::AddLot(lot)).await;
    let token = NewToken { max_uses: None, ..NewToken::default() };
    let OperatorReply::Token(_, Some(token)) = command(OperatorCommand::CreateToken(token)).await else {
        panic!("a token was asked for")
    };
    token
}

/// Bytes of a report's row and of a day's row, from many of them in the order of life: each six hours, all instances.
async fn bytes_per_row(dir: &Path) -> (f64, f64) {
    const INSTANCES: usize = 400;
    let now = Clock.wall();
    let mut store = Store::open(DatabaseUrl::sqlite(dir.join("rows.db")), now).await.expect("a store");
    let mut entropy = Entropy::from_seed([1; 32]);
    let account = VirtualAccountId::generate(&mut entropy);
    let ids: Vec<InstanceId> = (0..INSTANCES).map(|_| InstanceId::generate(&mut entropy)).collect();
    let rounds = REPORTS_PER_DAY * REPORT_DAYS;
    let mut empty = 0;
    for round in 0..=rounds {
        let until = UnixMillis(now.0 - (rounds - round) * 21_600_000);
        let row = |instance: &InstanceId| {
            Change::Append(Journal::Usage(UsageRow {
                instance: *instance,
                virtual_account: account,
                tag: TAG.to_owned(),
                from: UnixMillis(until.0 - 21_600_000),
                until,
                requested: 1_000,
                reported: 800,
                observed_peak: 800,
                peak_at: Some(UnixMillis(until.0 - 4_000_000)),
                p95: 700,
                samples: 24,
                next: None,
                received_at: UnixMillis(until.0 + 1_000),
            }))
        };
        let changes: Vec<Change> = ids.iter().map(row).collect();
        store.commit(&changes).await.expect("it is written");
        if round == 0 {
            // The names' numbers are there from now on.
            empty = store.history().bytes().await.expect("a size");
        }
    }
    let full = store.history().bytes().await.expect("a size");
    let rows = INSTANCES as f64 * rounds as f64;
    let report = (full - empty) as f64 / rows;
    // All become rows of days; a backup that is restored has no pages of what was there before.
    let later = UnixMillis(now.0 + 40 * 86_400_000);
    while !store.retain(Retention::default(), later).await.expect("it rolls up") {}
    store.history().backup(&dir.join("rows.backup"), now).await.expect("a backup");
    let days = DatabaseUrl::sqlite(dir.join("days.db"));
    restore(days.clone(), &dir.join("rows.backup"), false, now).await.expect("it restores");
    let store = Store::open(days, now).await.expect("a store");
    let left = store.history().bytes().await.expect("a size");
    let day = left.saturating_sub(empty) as f64 / (INSTANCES as f64 * REPORT_DAYS as f64);
    (report, day)
}

fn print_rate(what: &str, count: usize, took: Duration) {
    println!("{what:<44} {count:>8} in {:>8.2} s  {:>9.0} /s", took.as_secs_f64(), count as f64 / took.as_secs_f64());
}

#[tokio::main]
async fn main() {
    let options = options();
    let dir = match &options.dir {
        Some(dir) => tempfile::tempdir_in(dir),
        None => tempfile::tempdir(),
    }
    .expect("a directory");
    let count = options.instances;
    let (keys, _) = SigningKeys::open(&dir.path().join("pki"), Clock.wall()).expect("keys");
    let signing = keys.current();
    let url = options.postgres.unwrap_or_else(|| DatabaseUrl::sqlite(dir.path().join("manager.db")));
    let store = Store::open(url.clone(), Clock.wall()).await.expect("a store");
    let kind = store.kind().name();
    let entropy = Entropy::from_seed([9; 32]);
    let clock: callgate::manager::service::WallClock = Arc::new(|| Clock.wall());
    let (service, task) = Service::start(store, ServiceConfig::default(), clock, entropy).await.expect("it starts");
    let token = set_up(&service, count).await;
    let mut agents: Vec<Agent> = (0..count).map(Agent::new).collect();
    println!("{count} product instances, one tag each; {kind}, each commit on the disk; TLS and HTTP left out\n");

    let begun = Instant::now();
    let registrations = messages(&mut agents, Endpoint::Registration, |agent| agent.registration(&token));
    print_rate("registrations", count, send(&service, &signing, registrations).await);
    let entitlements = messages(&mut agents, Endpoint::Entitlement, Agent::entitlement);
    print_rate("authorizations (first grant)", count, send(&service, &signing, entitlements).await);
    let registered = service.history().bytes().await.expect("a size");
    for round in 1..=2 {
        let reports = messages(&mut agents, Endpoint::Report, Agent::report);
        print_rate(
            &format!("reports, round {round}, each with a grant"),
            count,
            send(&service, &signing, reports).await,
        );
    }
    let mut storm = messages(&mut agents, Endpoint::Registration, |agent| agent.registration(&token));
    storm.extend(messages(&mut agents, Endpoint::Entitlement, Agent::entitlement));
    let took = send(&service, &signing, storm).await;
    print_rate("storm: all register and ask for a grant again", 2 * count, took);
    // The service's loop is one task: what it spends in commits is what all else waits for.
    let spent = service.metrics().commits().view().sum_seconds;
    println!("in commits: {spent:.1} s of {:.1} s", begun.elapsed().as_secs_f64());

    let commits = service.metrics().commits().view();
    let batches = service.metrics().batches();
    println!(
        "\n{} commits of {:.0} requests on average, {:.1} ms each",
        commits.count,
        batches.sum() as f64 / commits.count as f64,
        commits.sum_seconds * 1e3 / commits.count as f64
    );
    let begun = Instant::now();
    let backup = service.history().backup(&dir.path().join("backup"), Clock.wall()).await.expect("a backup");
    let rows: u64 = backup.rows.iter().map(|(_, rows)| rows).sum();
    println!("backup of {rows} rows in {:.2} s", begun.elapsed().as_secs_f64());
    service.stop().await;
    task.await.expect("it ends").expect("well");
    let begun = Instant::now();
    let mut store = Store::open(url, Clock.wall()).await.expect("a store");
    let records = store.load().await.expect("it loads").records;
    let domain = callgate::manager::domain::Domain::load(records).expect("a domain");
    println!("start with {count} instances in {:.2} s", begun.elapsed().as_secs_f64());
    drop(domain);

    let (report, day) = bytes_per_row(dir.path()).await;
    let reports = report * (REPORTS_PER_DAY * REPORT_DAYS) as f64;
    let days = f64::from(Retention::default().daily_days);
    println!(
        "\ndatabase, measured: {:.0} bytes per instance, {report:.0} per report, {day:.0} per day of reports, \
         indexes included",
        registered as f64 / count as f64
    );
    println!(
        "database, computed for {count} instances: {:.0} MB of records + {:.0} MB of reports ({REPORT_DAYS} days, every 6 h) \
         + {:.0} MB of days (when {days:.0} are full)",
        registered as f64 / 1e6,
        reports * count as f64 / 1e6,
        day * days * count as f64 / 1e6,
    );
}
