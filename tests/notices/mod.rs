//! Notices as others read them: XML by a validating parser, mail by a real server. They need Debian packages that
//! `tests/run-all.sh` installs, and run in its stage `notices`.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use base64::Engine;
use callgate::notice::{Attachment, Attempt, Category, Change, Format, Level, Notice, XSD};
use callgate::units::UnixMillis;

use crate::support::process::Process;
use crate::support::within;

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

fn xmllint(dir: &Path, document: &str) -> Output {
    std::fs::write(dir.join("notice.xsd"), XSD).unwrap();
    std::fs::write(dir.join("notice.xml"), document).unwrap();
    let mut command = Command::new("xmllint");
    command.args(["--noout", "--nonet", "--schema"]).arg(dir.join("notice.xsd")).arg(dir.join("notice.xml"));
    command.output().expect("xmllint of Debian's libxml2-utils runs")
}

#[test]
#[ignore = "needs xmllint: tests/run-all.sh installs it"]
fn every_notice_in_xml_is_valid_by_the_published_schema_and_another_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let hostile = "</what><id>x</id>&\u{0}\u{1F}\u{FFFE}\u{202E}]]>\r\n<![CDATA[".repeat(400);
    let text = || hostile.clone();
    for level in Level::ALL {
        for category in Category::ALL {
            for change in [Change::Raised, Change::Cleared, Change::Happened, Change::Test] {
                let bare = Notice::new(level, "REG_DOWN", *category, change, UnixMillis(1_800_000_000_000));
                let full = Notice {
                    aliases: vec![text(); 20],
                    subject: text(),
                    source: text(),
                    since: UnixMillis(u64::MAX),
                    what: text(),
                    effect: text(),
                    next: text(),
                    due: Some(UnixMillis(0)),
                    remedy: text(),
                    attempts: vec![Attempt { at: UnixMillis(1), what: text(), failure: Some(text()) }; 9],
                    untold: u32::MAX,
                    attachments: vec![Attachment { command: text(), text: text() }; 20],
                    ..bare.clone()
                };
                // One process for each would take long: the whole product is taken for one level.
                if level == Level::Major || change == Change::Raised {
                    for notice in [bare, full] {
                        let seen = xmllint(dir.path(), &notice.render(Format::Xml));
                        assert!(seen.status.success(), "{notice:?}: {}", String::from_utf8_lossy(&seen.stderr));
                    }
                }
            }
        }
    }
    let good = Notice::new(Level::Major, "X", Category::License, Change::Raised, UnixMillis(0)).render(Format::Xml);
    for (from, to) in
        [("major", "grave"), ("<untold>0</untold>", ""), ("1970-01-01T00:00:00Z", "today"), ("urn:", "urn:x")]
    {
        assert!(good.contains(from));
        assert!(!xmllint(dir.path(), &good.replace(from, to)).status.success(), "{from} as {to}");
    }
}

struct MailServer {
    child: Child,
    port: u16,
    lines: std::sync::mpsc::Receiver<String>,
}

impl Drop for MailServer {
    fn drop(&mut self) {
        // It ends with its standard input; if it did already, nothing is left to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A certificate for this host that is its own authority, as files.
fn certificate(dir: &Path) -> (PathBuf, PathBuf) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let pem = |kind: &str, der: &[u8]| {
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", lines.join("\n"))
    };
    let (certificate, key) = (dir.join("mail.pem"), dir.join("mail.key"));
    std::fs::write(&certificate, pem("CERTIFICATE", made.cert.der())).unwrap();
    std::fs::write(&key, pem("PRIVATE KEY", &made.signing_key.serialize_der())).unwrap();
    (certificate, key)
}

impl MailServer {
    fn start(certificate: &Path, key: &Path) -> Self {
        let mut command = Command::new("/usr/bin/python3");
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/notices/smtp.py"));
        command.arg(certificate).arg(key).args(["ops", "s3cret"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut reader = BufReader::new(child.stdout.take().unwrap());
        let mut first = String::new();
        reader.read_line(&mut first).unwrap();
        let port = first.trim().strip_prefix("PORT ").expect("the mail server listens").parse().unwrap();
        let (sender, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || reader.lines().map_while(Result::ok).all(|line| sender.send(line).is_ok()));
        Self { child, port, lines }
    }
}

#[test]
#[ignore = "needs aiosmtpd: tests/run-all.sh installs it"]
fn a_real_mail_server_gets_an_alarm_by_starttls_with_a_password_and_a_wrong_one_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (certificate, key) = certificate(dir.path());
    let server = MailServer::start(&certificate, &key);
    let secret = |name: &str, text: &str| {
        let mut file = std::fs::File::create(dir.path().join(name)).unwrap();
        std::os::unix::fs::PermissionsExt::set_mode(&mut file.metadata().unwrap().permissions(), 0o600);
        writeln!(file, "{text}").unwrap();
    };
    secret("good", "s3cret");
    secret("bad", "wr0ng");
    let mail = |name: &str, password: &str, trust: &str| {
        format!(
            "[[alarms.destination]]\nname = \"{name}\"\nkind = \"mail\"\nserver = \"localhost:{}\"\nuser = \"ops\"\n\
             password_file = \"{password}\"\n{trust}from = \"callgate@example.com\"\n\
             to = [\"a@example.com\", \"b@example.com\"]\n",
            server.port
        )
    };
    let ours = "trust = \"file\"\nca_file = \"mail.pem\"\n";
    let text = format!(
        "[node]\nname = \"sip-a\"\ndata_dir = \"data\"\n[listen]\nresp = []\ndatagram = []\nhttp = \"off\"\n{}{}{}",
        mail("good", "good", ours),
        mail("bad", "bad", ours),
        mail("foreign", "good", "")
    );
    let file = dir.path().join("callgate.toml");
    std::fs::write(&file, text).unwrap();
    let callgate = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_callgate"));
        command.env_clear().env("XDG_STATE_HOME", dir.path().join("state"));
        command
    };
    let mut serve = callgate();
    serve.arg("serve").arg("--config").arg(&file);
    let mut sidecar = Process::start("sidecar", &mut serve, &dir.path().join("log"));
    assert!(within(PATIENCE, || sidecar.running() && sidecar.log().contains("calls are decided")), "{}", sidecar.log());
    let test = |name: &str| {
        let seen = callgate().args(["alarms", "test", "--destination", name, "--config"]).arg(&file).output().unwrap();
        (seen.status.success(), String::from_utf8(seen.stdout).unwrap() + &String::from_utf8(seen.stderr).unwrap())
    };
    let (good, told) = test("good");
    assert!(good && told.contains("250"), "{told}\n{}", sidecar.log());
    let mut mail = Vec::new();
    while let Ok(line) = server.lines.recv_timeout(PATIENCE) {
        let last = line.contains("What to do");
        mail.push(line);
        if last {
            break;
        }
    }
    for line in ["TLS True", "RCPT a@example.com,b@example.com", "From: callgate@example.com", "INFO TEST test"] {
        assert!(mail.iter().any(|found| found == line), "{line}: {mail:#?}");
    }
    let (good, told) = test("bad");
    assert!(!good && told.contains("535") && !told.contains("wr0ng"), "{told}");
    let (good, told) = test("foreign");
    assert!(!good && told.contains("ertificate"), "the host's own store does not know it: {told}");
    assert!(!sidecar.log().contains("s3cret") && !sidecar.log().contains("wr0ng"));
}
