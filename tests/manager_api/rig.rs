//! A real manager in a directory of its own, an HTTPS client, and an agent written with the protocol alone.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use callgate::protocol::{
    Acknowledged, Acknowledgement, DeregistrationRequest, Endpoint, EntitlementRequest, Entropy, Envelope, GrantAnswer,
    InstanceInfo, KeySet, Nonce, PublicKey, Refusal, RefusalCode, RegistrationAnswer, RegistrationRequest,
    RegistrationToken, RenewAnswer, RenewRequest, ReportRequest, RequestHeader, SecretKey, TagReport, TagRequest, Typ,
    Udi, certificate_request, verify_chain,
};
use callgate::units::UnixMillis;
use rustix::process::Signal;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tempfile::TempDir;

use super::documented;
use crate::support::process::Process;
use crate::support::within;

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    UnixMillis(u64::try_from(since.as_millis()).unwrap())
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A running manager.
pub(crate) struct Manager {
    process: Process,
    dir: TempDir,
    pub(crate) address: SocketAddr,
}

impl Manager {
    pub(crate) fn start() -> Self {
        Self::with("")
    }

    pub(crate) fn with(further: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let text = format!(
            "data_dir = \"{}\"\nlisten = \"127.0.0.1:0\"\naccount = \"Example\"\n{further}",
            dir.path().join("data").display()
        );
        std::fs::write(dir.path().join("manager.toml"), text).unwrap();
        let process = spawn(dir.path());
        let mut manager = Self { process, dir, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        manager.wait();
        manager
    }

    fn wait(&mut self) {
        let file = self.data_dir().join("addresses.json");
        let mut found = None;
        let up = within(PATIENCE, || {
            assert!(self.process.running(), "it ended; its log:\n{}", self.process.log());
            found = std::fs::read(&file).ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
            found.is_some()
        });
        assert!(up, "no addresses; its log:\n{}", self.process.log());
        self.address = found.unwrap()["https"].as_str().unwrap().parse().unwrap();
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.path("manager.toml")
    }

    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    /// SIGTERM, to its end.
    pub(crate) fn stop(&mut self) {
        self.process.signal(Signal::TERM);
        assert!(self.process.wait(PATIENCE).success(), "{}", self.process.log());
        assert!(!self.data_dir().join("addresses.json").exists());
    }

    pub(crate) fn restart(&mut self) {
        self.stop();
        self.restart_after_stop();
    }

    pub(crate) fn restart_after_stop(&mut self) {
        self.process = spawn(self.dir.path());
        self.wait();
    }

    /// At the address that it had, so that its sidecars find it again.
    pub(crate) fn restart_where_it_was(&mut self) {
        let text = std::fs::read_to_string(self.config()).unwrap();
        std::fs::write(self.config(), text.replace("127.0.0.1:0", &self.address.to_string())).unwrap();
        self.restart_after_stop();
    }

    /// `callgate manager WORDS` on its host.
    pub(crate) fn cli(&self, words: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_callgate"))
            .arg("manager")
            .args(words)
            .env_clear()
            .env("CALLGATE_MANAGER_CONFIG", self.config())
            .env("HOME", self.dir.path())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// What it printed; it must have succeeded.
    pub(crate) fn says(&self, words: &[&str]) -> String {
        let output = self.cli(words);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{words:?}: {out}{err}\n{}", self.log());
        out.into_owned()
    }

    pub(crate) fn token(&self, words: &[&str]) -> RegistrationToken {
        self.says(&[&["token", "create"], words].concat()).trim().parse().unwrap()
    }

    pub(crate) fn owner_key(&self) -> String {
        self.says(&["key", "create", "tests", "--role", "owner"]).trim().to_owned()
    }

    /// The API's document: the same of every manager of this program.
    pub(crate) fn document(&self) -> &'static Value {
        static DOCUMENT: OnceLock<Value> = OnceLock::new();
        DOCUMENT.get_or_init(|| {
            let mut stream = UnixStream::connect(self.data_dir().join("manager.sock")).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(b"GET /openapi.json HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).unwrap();
            parsed(&bytes).json()
        })
    }

    /// One request over a connection of its own.
    pub(crate) fn ask(&self, method: &str, path: &str, key: Option<&str>, body: &str) -> Answer {
        let bearer = key.map(|key| format!("authorization: Bearer {key}\r\n")).unwrap_or_default();
        let kind = if body.is_empty() { "" } else { "content-type: application/json\r\n" };
        let head = format!("{bearer}{kind}");
        self.exchange(None, method, path, &head, body.as_bytes())
    }

    pub(crate) fn exchange(
        &self,
        identity: Option<&Identity>,
        method: &str,
        path: &str,
        head: &str,
        body: &[u8],
    ) -> Answer {
        let mut stream = self.connect(identity);
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n{head}\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        // A body that is too large is refused before it is whole: the rest has nowhere to go.
        let _ = stream.write_all(body).and_then(|()| stream.flush());
        let mut bytes = Vec::new();
        // A connection that is cut behind the answer is no failure of the answer.
        let _ = stream.read_to_end(&mut bytes);
        parsed(&bytes)
    }

    pub(crate) fn connect(&self, identity: Option<&Identity>) -> StreamOwned<ClientConnection, TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.data_dir().join("ca.pem")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match identity {
            Some(identity) => {
                let key = PrivatePkcs8KeyDer::from(identity.key.pkcs8_der().to_vec());
                builder.with_client_auth_cert(identity.chain.clone(), PrivateKeyDer::Pkcs8(key)).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        let name = ServerName::try_from("localhost").unwrap();
        let tcp = TcpStream::connect(self.address).unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        tcp.set_write_timeout(Some(PATIENCE)).unwrap();
        StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), tcp)
    }
}

fn spawn(dir: &Path) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_callgate"));
    command.args(["manager", "serve", "--config"]).arg(dir.join("manager.toml")).env_clear().env("HOME", dir);
    Process::start("manager", &mut command, &dir.join("log"))
}

fn parsed(bytes: &[u8]) -> Answer {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("no answer: {:?}", String::from_utf8_lossy(bytes)));
    let head = String::from_utf8_lossy(&bytes[..end]);
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Answer { status, headers, body: bytes[end + 4..].to_vec() }
}

/// What a client shows in TLS.
pub(crate) struct Identity {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: SecretKey,
}

impl Identity {
    pub(crate) fn of(chain_b64: &[String], key: &SecretKey) -> Self {
        use base64::Engine;
        let decode = |text: &String| base64::engine::general_purpose::STANDARD.decode(text).unwrap();
        Self { chain: chain_b64.iter().map(|text| CertificateDer::from(decode(text))).collect(), key: key.clone() }
    }
}

/// An agent: as little as the protocol asks for.
pub(crate) struct Agent {
    pub(crate) udi: Udi,
    pub(crate) key: SecretKey,
    pub(crate) seq: u64,
    pub(crate) entropy: Entropy,
    pub(crate) identity: Option<Identity>,
    pub(crate) root: Option<PublicKey>,
    key_set_seq: u64,
    pub(crate) virtual_account: String,
    pub(crate) last_grant_seq: u64,
    /// The answers that were held against the document.
    pub(crate) documented: RefCell<BTreeSet<(Endpoint, u16)>>,
}

impl Agent {
    pub(crate) fn new(seed: u8) -> Self {
        let mut entropy = Entropy::from_seed([seed; 32]);
        Self {
            udi: Udi::generate("callgate", &mut entropy),
            key: SecretKey::from_seed(entropy.bytes()),
            seq: 0,
            entropy,
            identity: None,
            root: None,
            key_set_seq: 0,
            virtual_account: String::new(),
            last_grant_seq: 0,
            documented: RefCell::default(),
        }
    }

    pub(crate) fn header(&mut self) -> RequestHeader {
        self.seq += 1;
        RequestHeader {
            udi: self.udi.clone(),
            seq: self.seq,
            nonce: Nonce::generate(&mut self.entropy),
            sent_at: now(),
            agent_version: "test".to_owned(),
        }
    }

    fn info(&self) -> InstanceInfo {
        InstanceInfo {
            hostname: Some(format!("host-{}", self.udi.serial())),
            profile: "open".to_owned(),
            version: "1".to_owned(),
            tags: vec!["cps".to_owned()],
            usage: "production".to_owned(),
            fingerprint: format!("machine-{}", self.udi.serial()),
            removal: None,
        }
    }

    pub(crate) fn registration(&mut self, token: &RegistrationToken) -> RegistrationRequest {
        RegistrationRequest {
            header: self.header(),
            token: token.clone(),
            certificate_request_b64: certificate_request(&self.udi, &self.key).unwrap(),
            info: self.info(),
            force: false,
            eval_used_s: 60,
            last_grant_seq: self.last_grant_seq,
        }
    }

    pub(crate) fn entitlement(&mut self, tags: &[(&str, u64)]) -> EntitlementRequest {
        let tags = tags.iter().map(|(tag, requested)| TagRequest {
            tag: (*tag).to_owned(),
            requested: *requested,
            optional: false,
        });
        EntitlementRequest {
            header: self.header(),
            tags: tags.collect(),
            eval_used_s: 60,
            last_grant_seq: self.last_grant_seq,
        }
    }

    /// Sends and returns status and envelope, unverified; both ways are held against the document.
    pub(crate) fn send<T: Serialize>(&self, manager: &Manager, endpoint: Endpoint, message: &T) -> (u16, Envelope) {
        let envelope = Envelope::seal(endpoint.request(), message, &self.key).unwrap();
        let answered = self.send_bytes(manager, endpoint, &envelope.to_bytes());
        if answered.0 == 200
            && let Err(error) = documented::request(manager.document(), endpoint, &envelope)
        {
            panic!("{endpoint:?} was accepted, and isn't as documented: {error}");
        }
        answered
    }

    pub(crate) fn send_bytes(&self, manager: &Manager, endpoint: Endpoint, bytes: &[u8]) -> (u16, Envelope) {
        let answer = manager.exchange(
            self.identity.as_ref(),
            "POST",
            endpoint.path(),
            "content-type: application/json\r\n",
            bytes,
        );
        let envelope = Envelope::parse(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"));
        if let Err(error) = documented::answer(manager.document(), endpoint, &answer) {
            panic!("{endpoint:?} is answered {}, and not as documented: {error}", answer.status);
        }
        self.documented.borrow_mut().insert((endpoint, answer.status));
        (answer.status, envelope)
    }

    /// The message, if a key that the root vouches for signed it.
    pub(crate) fn open<T: DeserializeOwned>(&self, envelope: &Envelope, typ: Typ, key_set: &Envelope) -> T {
        let root = self.root.expect("a root");
        let set = KeySet::open(key_set, &root, self.key_set_seq).unwrap();
        let signer = set.find(&envelope.kid).expect("a key of the set");
        envelope.open(typ, &signer.key).unwrap()
    }

    /// The refusal, verified; an agent that knows no root takes the one in it.
    pub(crate) fn refused(&self, envelope: &Envelope) -> Refusal {
        let peeked: Refusal = envelope.peek().unwrap();
        let root = self.root.or(peeked.root).unwrap();
        let set = KeySet::open(&peeked.key_set.unwrap(), &root, self.key_set_seq).unwrap();
        envelope.open(Typ::Refusal, &set.find(&envelope.kid).unwrap().key).unwrap()
    }

    pub(crate) fn register(&mut self, manager: &Manager, token: &RegistrationToken) -> RegistrationAnswer {
        let request = self.registration(token);
        let (status, envelope) = self.send(manager, Endpoint::Registration, &request);
        assert_eq!(status, 200, "{:?}", envelope.peek::<Refusal>());
        let peeked: RegistrationAnswer = envelope.peek().unwrap();
        self.root = Some(peeked.root);
        let answer: RegistrationAnswer = self.open(&envelope, Typ::RegistrationAnswer, &peeked.key_set);
        assert_eq!(answer.header.in_reply_to, request.header.nonce);
        let id = verify_chain(&answer.certificate_chain_b64, &answer.root, now(), 0).unwrap();
        assert_eq!((&id.udi, id.key), (&self.udi, self.key.public()));
        self.identity = Some(Identity::of(&answer.certificate_chain_b64, &self.key));
        self.virtual_account.clone_from(&answer.virtual_account);
        let instance = answer.instance.clone();
        let ack = Acknowledgement { header: self.header(), acknowledged: Acknowledged::Registration { instance } };
        assert_eq!(self.send(manager, Endpoint::Ack, &ack).0, 200);
        answer
    }

    fn granted(&mut self, (status, envelope): (u16, Envelope), nonce: Nonce, key_set: &Envelope) -> GrantAnswer {
        assert_eq!(status, 200, "{:?}", envelope.peek::<Refusal>());
        let peeked: GrantAnswer = envelope.peek().unwrap();
        // After a rotation the answer itself tells of the key that signed it.
        let answer: GrantAnswer = self.open(&envelope, Typ::GrantAnswer, peeked.key_set.as_ref().unwrap_or(key_set));
        assert_eq!(answer.header.in_reply_to, nonce);
        assert!(answer.grant.seq > self.last_grant_seq, "a grant's number rises");
        assert_eq!(answer.grant.udi, self.udi);
        self.last_grant_seq = answer.grant.seq;
        answer
    }

    pub(crate) fn entitle(&mut self, manager: &Manager, key_set: &Envelope, requested: u64) -> GrantAnswer {
        let request = self.entitlement(&[("cps", requested)]);
        let sent = self.send(manager, Endpoint::Entitlement, &request);
        self.granted(sent, request.header.nonce, key_set)
    }

    pub(crate) fn report(&mut self, manager: &Manager, key_set: &Envelope, requested: u64, peak: u64) -> GrantAnswer {
        let until = now();
        let from = UnixMillis(until.0 - 6 * 3_600_000);
        let tag = TagReport {
            tag: "cps".to_owned(),
            requested,
            reported: peak,
            observed_peak: peak,
            peak_at: Some(UnixMillis(until.0 - 60_000)),
            p95: peak / 2,
            samples: 24,
            next: None,
            lent_used: 0,
        };
        let request = ReportRequest {
            header: self.header(),
            from,
            until,
            tags: vec![tag],
            eval_used_s: 60,
            last_grant_seq: self.last_grant_seq,
        };
        let sent = self.send(manager, Endpoint::Report, &request);
        self.granted(sent, request.header.nonce, key_set)
    }

    /// Renews with a new key and uses it from then on.
    pub(crate) fn renew(&mut self, manager: &Manager) {
        let next = SecretKey::from_seed(self.entropy.bytes());
        let request = RenewRequest {
            header: self.header(),
            certificate_request_b64: certificate_request(&self.udi, &next).unwrap(),
            info: self.info(),
        };
        let (status, envelope) = self.send(manager, Endpoint::Renew, &request);
        assert_eq!(status, 200, "{:?}", envelope.peek::<Refusal>());
        let peeked: RenewAnswer = envelope.peek().unwrap();
        let answer: RenewAnswer = self.open(&envelope, Typ::RenewAnswer, &peeked.key_set);
        let id = verify_chain(&answer.certificate_chain_b64, &self.root.unwrap(), now(), 0).unwrap();
        assert_eq!(id.key, next.public());
        self.identity = Some(Identity::of(&answer.certificate_chain_b64, &next));
        self.key = next;
    }

    pub(crate) fn goodbye(&mut self) -> DeregistrationRequest {
        DeregistrationRequest { header: self.header(), virtual_account: self.virtual_account.clone(), eval_used_s: 60 }
    }

    /// What an attempt is refused for, with its status.
    pub(crate) fn refusal<T: Serialize>(
        &self,
        manager: &Manager,
        endpoint: Endpoint,
        message: &T,
    ) -> (u16, RefusalCode) {
        let (status, envelope) = self.send(manager, endpoint, message);
        (status, self.refused(&envelope).code)
    }
}
