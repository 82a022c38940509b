//! Clients that nobody here wrote: redis-cli, redis-benchmark, redis-py, curl, and an OpenAPI fuzzer.
//!
//! hiredis is not here: Kamailio speaks through it, in the end-to-end scenarios.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use crate::manager_api::rig::Manager;
use crate::support::lane::Lane;
use crate::support::sidecar::{Settings, Sidecar};

/// What a program printed; it must have ended well.
fn said(what: &str, output: &Output) -> String {
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let shown: Vec<String> = out.lines().map(|line| line.chars().take(400).collect()).collect();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what} ended with {}:\n{}\n{errors}", output.status, shown.join("\n"));
    out
}

/// How many examples a fuzzer of APIs tries of each operation: few, or with `tests/run-all.sh --long` many.
fn examples(few: u32) -> String {
    let many = std::env::var_os("CALLGATE_LONG").is_some();
    (if many { few * 10 } else { few }).to_string()
}

fn busy() -> Settings {
    Settings { count: 100_000, ..Settings::default() }
}

/// A program of the Python environment that `tests/run-all.sh` prepares.
fn python(program: &str) -> PathBuf {
    let venv = std::env::var_os("CALLGATE_VENV")
        .expect("CALLGATE_VENV names the Python environment: tests/run-all.sh makes it");
    Path::new(&venv).join("bin").join(program)
}

#[test]
#[ignore = "needs redis-cli; run by tests/run-all.sh"]
fn redis_cli_reads_answers_in_both_protocols() {
    let lane = Lane::open("redis-cli");
    let sidecar = Sidecar::start(&lane, &Settings::default());
    for protocol in ["-2", "-3"] {
        let ask = |words: &[&str]| {
            let arguments = [&["-p", "7500", protocol][..], words].concat();
            said("redis-cli", &lane.run("redis-cli", &arguments)).trim_end().to_owned()
        };
        assert_eq!(ask(&["PING"]), "PONG");
        assert_eq!(ask(&["ADMIT", protocol, "SEQ", "1"]), "1\nok\n0\n0\n300");
        assert_eq!(ask(&["admit", protocol, "seq", "1"]), "1\nduplicate\n0\n0\n300");
        assert_eq!(ask(&["CONFIRM", protocol]), "1");
        assert!(ask(&["STATUS"]).contains("\"live\":1"));
        assert_eq!(ask(&["RELEASE", protocol]), "1");
        assert!(ask(&["INFO"]).contains('#'), "sections, as Redis has them");
        assert!(ask(&["ADMIT"]).starts_with("ERR "), "an error says what is accepted");
    }
    let counts = sidecar.wait_idle(Duration::from_secs(5));
    assert_eq!((counts.admitted, counts.released), (2, 2));
}

#[test]
#[ignore = "needs redis-benchmark; run by tests/run-all.sh"]
fn redis_benchmark_admits_and_releases_at_full_pipeline() {
    let lane = Lane::open("benchmark");
    let sidecar = Sidecar::start(&lane, &busy());
    for words in [&["ADMIT", "call:__rand_int__"][..], &["RELEASE", "call:__rand_int__"], &["PING"]] {
        let arguments =
            [&["-p", "7500", "-n", "20000", "-r", "100000", "-c", "20", "-P", "16", "-q"][..], words].concat();
        let out = said("redis-benchmark", &lane.run("redis-benchmark", &arguments));
        assert!(out.contains("requests per second"), "{out}");
        assert!(!out.contains("ERR"), "{out}");
    }
    let counts = sidecar.counts();
    assert!(counts.admitted > 0 && counts.released > 0, "{counts:?}");
    assert_eq!(counts.live, counts.admitted - counts.released, "{counts:?}");
}

#[test]
#[ignore = "needs redis-py; run by tests/run-all.sh"]
fn redis_py_pipelines_decodes_and_speaks_resp3() {
    let lane = Lane::open("redis-py");
    let sidecar = Sidecar::start(&lane, &Settings::default());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/redis_py.py");
    let output = lane.command(python("python")).arg(script).args(["127.0.0.1", "7500"]).output().expect("python runs");
    let out = said("redis_py.py", &output);
    assert!(out.contains(" passed 0 failed"), "{out}");
    sidecar.wait_idle(Duration::from_secs(5));
}

#[test]
#[ignore = "needs curl; run by tests/run-all.sh"]
fn curl_keeps_its_connection_over_many_requests() {
    let lane = Lane::open("curl");
    let sidecar = Sidecar::start(&lane, &Settings { count: 5, ..Settings::default() });
    let base = "http://127.0.0.1:7501";
    let admits: Vec<String> = (0..6).map(|n| format!("{base}/v1/admit?id=curl-{n}&seq=1")).collect();
    let mut arguments = vec!["-s", "-X", "POST", "-w", " %{http_code} %{num_connects}\n"];
    arguments.extend(admits.iter().map(String::as_str));
    let out = said("curl", &lane.run("curl", &arguments));
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].starts_with("{\"admitted\":true,\"cause\":\"ok\",\"sip_status\":0,"), "{out}");
    assert!(lines[0].ends_with(" 200 1"), "{out}");
    assert!(lines[1..5].iter().all(|line| line.ends_with(" 200 0")), "the same connection: {out}");
    assert!(
        lines[5].contains("\"cause\":\"cps\"") && lines[5].ends_with(" 429 0"),
        "refused, and still the same connection: {out}"
    );

    let body = "{\"id\":\"curl-0\",\"seq\":1}";
    for (path, code) in [("/v1/confirm", 200), ("/v1/release", 200), ("/v1/release", 200)] {
        let url = format!("{base}{path}");
        let json = ["-s", "-o", "body", "-w", "%{http_code}", "-H", "Content-Type: application/json", "-d", body, &url];
        assert_eq!(said("curl", &lane.run("curl", &json)), code.to_string(), "{path}");
    }
    let nonsense = [
        "-s",
        "-w",
        " %{http_code} %{content_type}",
        "-d",
        "{\"id\":7",
        "-H",
        "Content-Type: application/json",
        &format!("{base}/v1/admit"),
    ];
    let out = said("curl", &lane.run("curl", &nonsense));
    assert!(out.ends_with(" 400 application/problem+json"), "{out}");
    for path in ["/healthz", "/readyz", "/metrics", "/v1/status", "/openapi.json"] {
        let url = format!("{base}{path}");
        assert_eq!(said("curl", &lane.run("curl", &["-s", "-o", "body", "-w", "%{http_code}", &url])), "200", "{path}");
    }
    let counts = sidecar.counts();
    assert_eq!((counts.live, counts.admitted, counts.refused, counts.released), (4, 5, 1, 1));
}

#[test]
#[ignore = "needs schemathesis; run by tests/run-all.sh"]
fn schemathesis_finds_nothing_wrong_with_the_managers_two_apis() {
    let manager = Manager::with("[limits]\nlogins_per_minute = 1000\nregistrations_per_minute = 1000000\n");
    manager.says(&["pool", "add", "cps", "20"]);
    let key = manager.owner_key();
    let base = format!("https://localhost:{}", manager.address.port());
    let document = manager.path("openapi.json");
    std::fs::write(&document, manager.ask("GET", "/openapi.json", Some(&key), "").body).expect("the document");
    let mut command = std::process::Command::new(python("schemathesis"));
    let configuration = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/schemathesis-manager.toml");
    command.arg("--config-file").arg(configuration).arg("run").arg(&document);
    command.args(["--url", &base, "--header", &format!("Authorization: Bearer {key}"), "--tls-verify"]);
    command.arg(manager.data_dir().join("ca.pem"));
    // It would end the key that it asks with.
    command.args(["--exclude-path", "/v1/api-keys/{api_key}/revoke"]);
    command.args(["--max-examples", &examples(8), "--seed", "7", "--no-color", "--request-timeout", "20"]);
    command.args(["--generation-database", "none"]).current_dir(manager.path(""));
    let output = command.output().expect("schemathesis runs");
    let out = said("schemathesis", &output);
    eprintln!("{}", crate::support::process::tail(&out));
    assert_eq!(manager.ask("GET", "/readyz", None, "").status, 200, "it still answers");
    assert!(manager.says(&["audit", "verify"]).starts_with("Whole"));
}

#[test]
#[ignore = "needs schemathesis; run by tests/run-all.sh"]
fn schemathesis_finds_nothing_wrong_with_the_http_interface() {
    let lane = Lane::open("schemathesis");
    let sidecar = Sidecar::start(&lane, &busy());
    let mut command = lane.command(python("schemathesis"));
    command.arg("--config-file").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/schemathesis.toml"));
    command.args([
        "run",
        "http://127.0.0.1:7501/openapi.json",
        "--max-examples",
        &examples(20),
        "--seed",
        "7",
        "--no-color",
    ]);
    // A stream of events never ends.
    command.args(["--exclude-path", "/v1/events", "--request-timeout", "10", "--generation-database", "none"]);
    let output = command.output().expect("schemathesis runs");
    let out = said("schemathesis", &output);
    eprintln!("{}", crate::support::process::tail(&out));
    assert!(sidecar.status().get("node").is_some(), "it still answers");
}
