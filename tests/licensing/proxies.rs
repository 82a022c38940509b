//! Through a real proxy (Debian's squid): with and without a password, over HTTP and HTTPS; and the wrong ones.

use std::os::unix::fs::PermissionsExt;

use super::rig::{Manager, PATIENCE, Settings, Sidecar};
use crate::support::lane::Lane;
use crate::support::process::Process;
use crate::support::within;

const PASSWORD: &str = "correct-horse";

/// A squid in the lane: 3128 for all, 3129 with user and password, 3130 the same over TLS.
fn squid(lane: &Lane) -> Process {
    // squid leaves root's rights behind, and must still read its files.
    std::fs::set_permissions(lane.dir(), std::fs::Permissions::from_mode(0o755)).expect("the lane can be opened");
    let hash = lane.run("openssl", &["passwd", "-apr1", PASSWORD]);
    std::fs::write(lane.path("users"), format!("sip:{}\n", String::from_utf8_lossy(&hash.stdout).trim()))
        .expect("written");
    let (key, certificate, ca) = (lane.path("proxy.key"), lane.path("proxy.pem"), lane.path("proxy-ca.pem"));
    let made = lane.run("bash", &["-ec", r#"
        openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj "/CN=proxy authority" -keyout proxy-ca.key -out proxy-ca.pem
        openssl req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout proxy.key -out proxy.csr
        openssl x509 -req -in proxy.csr -CA proxy-ca.pem -CAkey proxy-ca.key -CAcreateserial -days 30 -out proxy.pem \
            -extfile <(printf "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=critical,CA:FALSE\n")
    "#]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    assert!(ca.exists());
    for file in [&key, &certificate, &lane.path("users")] {
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o644)).expect("readable");
    }
    let config = lane.path("squid.conf");
    let text = format!(
        "http_port 127.0.0.1:3128\nhttp_port 127.0.0.1:3129\n\
         https_port 127.0.0.1:3130 tls-cert={certificate} tls-key={key}\n\
         pid_filename none\naccess_log none\ncache_log {dir}/squid-cache.log\ncache deny all\ncoredump_dir /tmp\n\
         shutdown_lifetime 0 seconds\nvisible_hostname proxy.test\nnetdb_filename none\n\
         auth_param basic program /usr/lib/squid/basic_ncsa_auth {dir}/users\n\
         auth_param basic children 2 startup=1 idle=1\nauth_param basic realm proxy\n\
         acl open localport 3128\nacl known proxy_auth REQUIRED\n\
         http_access allow open\nhttp_access allow known\nhttp_access deny all\n",
        certificate = certificate.display(),
        key = key.display(),
        dir = lane.dir().display(),
    );
    std::fs::write(&config, text).expect("written");
    std::fs::write(lane.path("squid-cache.log"), "").expect("written");
    std::fs::set_permissions(lane.path("squid-cache.log"), std::fs::Permissions::from_mode(0o666)).expect("writable");
    let mut process = lane.start("squid", lane.command("/usr/sbin/squid").args(["-N", "-f"]).arg(&config));
    let up = within(PATIENCE, || {
        assert!(process.running(), "squid ended: {}", process.log());
        [3128, 3129, 3130]
            .iter()
            .all(|port| lane.run("bash", &["-c", &format!("exec 3<>/dev/tcp/127.0.0.1/{port}")]).status.success())
    });
    assert!(up, "squid does not listen: {}", process.log());
    process
}

fn through(manager: &Manager, more: &str) -> Settings {
    let settings = Settings::of(manager);
    Settings { license: format!("{}\n{more}", settings.license), ..settings }
}

fn password_file(lane: &Lane, password: &str) -> String {
    let file = lane.path("proxy-password");
    std::fs::write(&file, format!("{password}\n")).expect("written");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("private");
    file.display().to_string()
}

/// Registers, and returns once authorized.
fn registers(lane: &Lane, manager: &Manager, license: &str) -> Sidecar {
    manager.buy(lane, "Default", "open.cps", 20);
    let sidecar = Sidecar::start(lane, through(manager, license));
    let token = manager.token(lane, "Default", &[]);
    sidecar.register(lane, &token).ok();
    sidecar.wait_state(lane, "authorized");
    sidecar
}

#[test]
#[ignore = "needs network namespaces and squid: run by tests/run-all.sh"]
fn an_http_proxy_without_a_password_carries_licensing_whatever_form_its_address_has() {
    let lane = Lane::open("proxy");
    let _squid = squid(&lane);
    let manager = Manager::start(&lane);
    let mut sidecar = registers(&lane, &manager, "transport = \"proxy\"\nproxy = \"http://127.0.0.1:3128\"");
    for form in ["127.0.0.1:3128", "localhost:3128"] {
        sidecar.reconfigure(&lane, |settings| {
            settings.license = through(&manager, &format!("transport = \"proxy\"\nproxy = \"{form}\"")).license
        });
        let told = sidecar.cli(&lane, &["license", "test-connection"]).ok();
        assert!(told.contains("proxy"), "{told}");
    }
}

#[test]
#[ignore = "needs network namespaces and squid: run by tests/run-all.sh"]
fn a_proxy_that_asks_for_a_password_gets_it_from_a_file_and_it_is_never_shown() {
    let lane = Lane::open("proxy-auth");
    let _squid = squid(&lane);
    let manager = Manager::start(&lane);
    let file = password_file(&lane, PASSWORD);
    let license = format!(
        "transport = \"proxy\"\nproxy = \"http://127.0.0.1:3129\"\nproxy_user = \"sip\"\nproxy_password_file = \"{file}\""
    );
    let sidecar = registers(&lane, &manager, &license);
    let shown = sidecar.cli(&lane, &["config", "show"]).ok()
        + &sidecar.cli(&lane, &["license", "tech-support"]).ok()
        + &sidecar.log();
    assert!(!shown.contains(PASSWORD), "the password is in a page or in the log");
}

#[test]
#[ignore = "needs network namespaces and squid: run by tests/run-all.sh"]
fn a_wrong_proxy_password_is_named_as_the_step_that_failed() {
    let lane = Lane::open("proxy-wrong");
    let _squid = squid(&lane);
    let manager = Manager::start(&lane);
    let file = password_file(&lane, "wrong");
    let license = format!(
        "transport = \"proxy\"\nproxy = \"http://127.0.0.1:3129\"\nproxy_user = \"sip\"\nproxy_password_file = \"{file}\""
    );
    let sidecar = Sidecar::start(&lane, through(&manager, &license));
    let told = sidecar.cli(&lane, &["license", "test-connection"]);
    let text = told.out.clone() + &told.err;
    assert_eq!(told.code, Some(1), "{text}");
    assert!(text.contains("407") && text.contains("proxy"), "{text}");
    let token = manager.token(&lane, "Default", &[]);
    sidecar.register(&lane, &token).ok();
    let retried = within(PATIENCE, || sidecar.alarms(&lane).contains(&"REG_RETRY".to_owned()));
    assert!(retried, "a failure of the way is retried: {:?}", sidecar.alarms(&lane));
}

#[test]
#[ignore = "needs network namespaces and squid: run by tests/run-all.sh"]
fn a_proxy_over_tls_is_trusted_by_an_authority_of_its_own() {
    let lane = Lane::open("proxy-tls");
    let _squid = squid(&lane);
    let manager = Manager::start(&lane);
    let (file, ca) = (password_file(&lane, PASSWORD), lane.path("proxy-ca.pem"));
    let license = format!(
        "transport = \"proxy\"\nproxy = \"https://localhost:3130\"\nproxy_user = \"sip\"\nproxy_password_file = \"{file}\"\nproxy_ca_file = \"{}\"",
        ca.display()
    );
    registers(&lane, &manager, &license);
}

#[test]
#[ignore = "needs network namespaces and squid: run by tests/run-all.sh"]
fn without_a_proxy_there_is_no_way_round_one_that_is_down() {
    let lane = Lane::open("proxy-down");
    let manager = Manager::start(&lane);
    let sidecar = Sidecar::start(&lane, through(&manager, "transport = \"proxy\"\nproxy = \"http://127.0.0.1:3128\""));
    let told = sidecar.cli(&lane, &["license", "test-connection"]);
    let text = told.out.clone() + &told.err;
    assert_eq!(told.code, Some(1), "{text}");
    assert!(text.contains("3128"), "the message names the proxy: {text}");
}
