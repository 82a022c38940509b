//! The C header says what the codec says, and the C client talks to a real sidecar.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use callgate::admission::{Cause, ID_BYTES_MAX, NAME_BYTES_MAX, UNITS_MAX};
use callgate::codec::datagram::{
    ANSWER_BIT, ANSWER_BYTES, DATAGRAM_BYTES_MAX, ErrorCode, HEAD_BYTES, MAGIC, REQUEST_BYTES_MAX, REQUESTS_MAX,
    VERSION, Verb, flag,
};

use super::rig::PATIENCE;

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Every `#define CALLGATE_NAME number` of the header.
fn defined() -> BTreeMap<String, usize> {
    let header = std::fs::read_to_string(project("config/include/callgate.h")).unwrap();
    let define = |line: &str| {
        let (name, value) = line.strip_prefix("#define CALLGATE_")?.split_once(' ')?;
        let number = value.strip_prefix("0x").map_or(value.parse(), |hex| usize::from_str_radix(hex, 16));
        Some((name.to_owned(), number.unwrap_or_else(|_| panic!("{line}"))))
    };
    header.lines().filter_map(define).collect()
}

/// `TrunkCps` as `TRUNK_CPS`.
fn upper(name: &str) -> String {
    name.replace('-', "_").to_ascii_uppercase()
}

#[test]
fn the_c_header_has_the_codecs_numbers_and_no_others() {
    let mut expected: BTreeMap<String, usize> = [
        ("MAGIC", usize::from(MAGIC)),
        ("VERSION", usize::from(VERSION)),
        ("HEAD_BYTES", HEAD_BYTES),
        ("ANSWER_BYTES", ANSWER_BYTES),
        ("REQUESTS_MAX", REQUESTS_MAX),
        ("REQUEST_BYTES_MAX", REQUEST_BYTES_MAX),
        ("DATAGRAM_BYTES_MAX", DATAGRAM_BYTES_MAX),
        ("ID_BYTES_MAX", ID_BYTES_MAX),
        ("NAME_BYTES_MAX", NAME_BYTES_MAX),
        ("UNITS_MAX", usize::from(UNITS_MAX)),
        ("ANSWER_BIT", usize::from(ANSWER_BIT)),
        ("KIND_CALL", 0),
        ("KIND_REGISTRATION", 1),
        ("FLAG_SEQ", usize::from(flag::SEQ)),
        ("FLAG_TTL", usize::from(flag::TTL)),
        ("FLAG_DEADLINE", usize::from(flag::DEADLINE)),
        ("FLAG_EMERGENCY", usize::from(flag::EMERGENCY)),
        ("FLAG_PRIORITY", usize::from(flag::PRIORITY)),
        ("FLAG_WEBRTC", usize::from(flag::WEBRTC)),
        ("FLAG_ENCRYPTED", usize::from(flag::ENCRYPTED)),
        ("OUTCOME_NO", 0),
        ("OUTCOME_YES", 1),
        ("OUTCOME_ERROR", 2),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    for verb in Verb::ALL {
        expected.insert(upper(&format!("VERB_{verb:?}")), usize::from(verb.code()));
    }
    for error in ErrorCode::ALL {
        expected.insert(upper(&format!("ERROR_{error:?}")), usize::from(error.code()));
    }
    for cause in Cause::ALL {
        expected.insert(upper(&format!("CAUSE_{}", cause.name())), usize::from(cause.code()));
    }
    assert_eq!(defined(), expected);
}

/// A sidecar of the real binary; it ends with this.
struct Sidecar(Child);

impl Drop for Sidecar {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn compiled(dir: &Path) -> PathBuf {
    let client = dir.join("datagram_client");
    let output = Command::new("cc")
        .args(["-Wall", "-Wextra", "-Werror", "-std=c11", "-I"])
        .arg(project("config/include"))
        .arg("-o")
        .arg(&client)
        .arg(project("config/examples/datagram_client.c"))
        .output()
        .expect("a C compiler is here: Rust links with it");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    client
}

#[test]
fn the_c_client_compiles_without_a_warning_and_talks_to_a_sidecar() {
    let dir = tempfile::tempdir().unwrap();
    let client = compiled(dir.path());
    let socket = dir.path().join("datagram.sock");
    let text = format!(
        "[node]\nname = \"sip-a\"\n[license]\ncount = 100\n[listen]\nresp = []\nhttp = \"off\"\ndrain_time = \"0s\"\n\
         datagram = [\"127.0.0.1:0\", \"unix:{}\"]\n[[trunk]]\nname = \"closed\"\nsessions = 0\n",
        socket.display()
    );
    std::fs::write(dir.path().join("callgate.toml"), text).unwrap();
    let log = std::fs::File::create(dir.path().join("log")).unwrap();
    let data = dir.path().join("data");
    let child = Command::new(env!("CARGO_BIN_EXE_callgate"))
        .args(["serve", "--config"])
        .arg(dir.path().join("callgate.toml"))
        .env_clear()
        .env("CALLGATE_NODE__DATA_DIR", &data)
        .env("XDG_STATE_HOME", dir.path().join("state"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    let _sidecar = Sidecar(child);
    let began = Instant::now();
    let addresses: serde_json::Value = loop {
        let told = std::fs::read(data.join("addresses.json")).ok();
        if let Some(value) = told.and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
            break value;
        }
        let log = || std::fs::read_to_string(dir.path().join("log")).unwrap_or_default();
        assert!(began.elapsed() < PATIENCE, "it doesn't start: {}", log());
        std::thread::sleep(std::time::Duration::from_millis(10));
    };
    let udp = addresses["datagram"][0].as_str().unwrap();
    let port = udp.rsplit_once(':').unwrap().1;
    let path = socket.to_str().unwrap();
    let ask = |arguments: &[&str]| {
        let output = Command::new(&client).args(arguments).output().unwrap();
        let Output { status, stdout, stderr } = output;
        let said = String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
        (status.code(), said)
    };
    let admitted = "admit outcome=1 cause=0 error=0 sip=0 retry_after_ms=0 lease_s=300\n\
                    confirm outcome=1 cause=0 error=0 sip=0 retry_after_ms=0 lease_s=0\n\
                    release outcome=1 cause=0 error=0 sip=0 retry_after_ms=0 lease_s=0\n";
    let refused = "admit outcome=0 cause=6 error=0 sip=480 retry_after_ms=0 lease_s=0\n";
    assert_eq!(ask(&["127.0.0.1", port, "over-udp"]), (Some(0), admitted.to_owned()));
    assert_eq!(ask(&["unix", path, "over-unix"]), (Some(0), admitted.to_owned()));
    assert_eq!(ask(&["127.0.0.1", port, "refused", "closed"]), (Some(1), refused.to_owned()));
    assert_eq!(ask(&["127.0.0.1", "1", "nobody"]).0, Some(2));
}
