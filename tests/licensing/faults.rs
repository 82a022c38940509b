//! What people and networks get wrong: each has its named cause, and leaves the state as the tables say.

use super::rig::{FakeTime, Manager, PATIENCE, Settings, Sidecar, authorized};
use crate::support::lane::Lane;
use crate::support::within;

/// The failure that the status names.
fn failure(lane: &Lane, sidecar: &Sidecar) -> String {
    sidecar.json(lane, &["license", "summary"]).to_string()
}

#[test]
#[ignore = "needs network namespaces: run by tests/run-all.sh"]
fn a_token_that_is_mistyped_unknown_used_up_or_revoked_is_told_apart() {
    let lane = Lane::open("tokens");
    let manager = Manager::start(&lane);
    manager.buy(&lane, "Default", "open.cps", 100);
    let sidecar = Sidecar::start(&lane, Settings::of(&manager));
    let good = manager.token(&lane, "Default", &[]);
    let text = std::fs::read_to_string(&good).expect("readable");
    let typo = lane.path("typo");
    let mut typed = text.clone().into_bytes();
    typed[10] = if typed[10] == b'a' { b'b' } else { b'a' };
    std::fs::write(&typo, &typed).expect("written");
    let refused = sidecar.register(&lane, &typo);
    assert!(refused.err.contains("typing error"), "{}", refused.err);
    assert!(!refused.err.contains(&text[8..20]), "a token is never repeated");
    assert_eq!(sidecar.state(&lane), "evaluation", "nothing was sent");

    let id = manager.list(&lane, &["token", "list"])[0]["id"].as_str().expect("an id").to_owned();
    manager.cli(&lane, &["token", "revoke", &id]).ok();
    sidecar.register(&lane, &good).ok();
    let told = within(PATIENCE, || failure(&lane, &sidecar).contains("revoked"));
    assert!(told, "{}", failure(&lane, &sidecar));
    assert!(sidecar.alarms(&lane).contains(&"REG_FAILED".to_owned()));

    let once = manager.token(&lane, "Default", &["--uses", "1"]);
    sidecar.register(&lane, &once).ok();
    sidecar.wait_state(&lane, "authorized");
    let second = Sidecar::start(&lane, Settings { name: "sip-b", port: 1, ..Settings::of(&manager) });
    second.register(&lane, &once).ok();
    let told = within(PATIENCE, || failure(&lane, &second).contains("used"));
    assert!(told, "{}", failure(&lane, &second));
    assert_eq!(second.state(&lane), "evaluation");
}

#[test]
#[ignore = "needs network namespaces: run by tests/run-all.sh"]
fn an_interceptor_with_a_foreign_authority_is_named_and_changes_nothing() {
    let lane = Lane::open("foreign-ca");
    let (mut manager, mut sidecar) = authorized(&lane);
    manager.kill();
    // Another manager at the same address: another authority, another root.
    std::fs::rename(manager.dir(), lane.path("manager-before")).expect("moved");
    let saved_ca = lane.path("manager-before").join("ca.pem");
    manager.restart(&lane);
    sidecar.reconfigure(&lane, |settings| {
        settings.license =
            format!("url = \"https://127.0.0.1:7510\"\nca_file = \"{}\"\ntrust = \"file\"", saved_ca.display());
    });
    sidecar.cli(&lane, &["license", "renew", "auth"]).ok();
    let told = within(PATIENCE, || sidecar.alarms(&lane).contains(&"UNKNOWN_CA".to_owned()));
    assert!(told, "{:?}", sidecar.alarms(&lane));
    assert_eq!(sidecar.state(&lane), "authorized");
    let page = sidecar.cli(&lane, &["license", "test-connection"]);
    let text = page.out + &page.err;
    assert!(text.contains("ca_file"), "the key that adds an authority is named: {text}");
    // Trusted at TLS, it is still not the manager that registered this sidecar: what it says is not believed.
    sidecar.reconfigure(&lane, |settings| settings.license = Settings::of(&manager).license);
    sidecar.cli(&lane, &["license", "renew", "auth"]).ok();
    let told = within(PATIENCE, || {
        let alarms = sidecar.alarms(&lane);
        alarms.contains(&"GRANT_REJECTED".to_owned()) || alarms.contains(&"AUTH_RENEW_FAILED".to_owned())
    });
    assert!(told, "{:?}", sidecar.alarms(&lane));
    assert_eq!(sidecar.state(&lane), "authorized");
    assert!(sidecar.admit(&lane, "call").0);
}

#[test]
#[ignore = "needs network namespaces: run by tests/run-all.sh"]
fn removal_at_the_manager_shows_its_effect_first_and_then_ends_the_registration() {
    let lane = Lane::open("removal");
    let (manager, sidecar) = authorized(&lane);
    let id = manager.list(&lane, &["instance", "list"])[0]["id"].as_str().expect("an id").to_owned();
    let asked = manager.cli(&lane, &["instance", "remove", &id]);
    assert_ne!(asked.code, Some(0), "nobody can be asked, and --yes is missing");
    assert!(
        (asked.out.clone() + &asked.err).contains("call"),
        "the effect on calls is shown: {}{}",
        asked.out,
        asked.err
    );
    assert_eq!(sidecar.state(&lane), "authorized");
    manager.cli(&lane, &["instance", "remove", &id, "--yes"]).ok();
    sidecar.cli(&lane, &["license", "renew", "auth"]).ok();
    let told = within(PATIENCE, || sidecar.alarms(&lane).contains(&"ID_REVOKED".to_owned()));
    assert!(told, "{:?}", sidecar.alarms(&lane));
    assert!(sidecar.admit(&lane, "call").0, "open never refuses for that");
}

#[test]
#[ignore = "needs network namespaces: run by tests/run-all.sh"]
fn two_hosts_with_one_identity_are_found_out() {
    let lane = Lane::open("clone");
    let (manager, mut sidecar) = authorized(&lane);
    sidecar.kill();
    let copied =
        lane.run("cp", &["-a", &sidecar.data_dir.display().to_string(), &lane.path("sip-b").display().to_string()]);
    assert!(copied.status.success());
    sidecar.restart(&lane);
    let clone = Sidecar::start(&lane, Settings { name: "sip-b", port: 1, ..Settings::of(&manager) });
    // Each answers the other's numbers by leaping ahead, until the manager sees that neither stays ahead.
    let found = within(PATIENCE, || {
        for sidecar in [&sidecar, &clone] {
            sidecar.cli(&lane, &["license", "renew", "auth"]);
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
        manager.json(&lane, &["alert", "list"]).to_string().to_lowercase().contains("duplicate")
    });
    assert!(found, "{}", manager.json(&lane, &["alert", "list"]));
}

#[test]
#[ignore = "needs network namespaces and libfaketime: run by tests/run-all.sh"]
fn a_wall_clock_set_ten_years_ahead_refuses_no_call_while_nothing_confirms_it() {
    let lane = Lane::open("clock-ahead");
    let manager = Manager::start(&lane);
    manager.buy(&lane, "Default", "cusp.cps", 20);
    let time = FakeTime::of_the_wall_alone(&lane);
    let settings = Settings { profile: "cusp", time: Some(time.clone()), ..Settings::of(&manager) };
    let sidecar = Sidecar::start(&lane, settings);
    let token = manager.token(&lane, "Default", &[]);
    sidecar.register(&lane, &token).ok();
    sidecar.wait_state(&lane, "authorized");
    time.set(10 * 365 * 24);
    let told = within(PATIENCE, || sidecar.alarms(&lane).contains(&"CLOCK_JUMP".to_owned()));
    assert!(told, "{:?}", sidecar.alarms(&lane));
    assert!(sidecar.admit(&lane, "call").0, "{}", sidecar.status(&lane));
}

#[test]
#[ignore = "needs network namespaces and libfaketime: run by tests/run-all.sh"]
fn a_wall_clock_a_year_back_is_an_alarm_and_gives_no_time_back() {
    let lane = Lane::open("clock-back");
    let time = FakeTime::new(&lane);
    time.set(365 * 24);
    let manager = Manager::start_with(&lane, "127.0.0.1:7510", "sqlite", Some(time.clone()));
    manager.buy(&lane, "Default", "open.cps", 20);
    let mut sidecar = Sidecar::start(&lane, Settings::of(&manager));
    let token = manager.token(&lane, "Default", &[]);
    sidecar.register(&lane, &token).ok();
    sidecar.wait_state(&lane, "authorized");
    sidecar.kill();
    sidecar.reconfigure_clock(&lane, None);
    let told = within(PATIENCE, || sidecar.alarms(&lane).contains(&"CLOCK_ROLLBACK".to_owned()));
    assert!(told, "{:?}", sidecar.alarms(&lane));
    assert_eq!(sidecar.state(&lane), "authorized");
    assert!(sidecar.admit(&lane, "call").0);
}

#[test]
#[ignore = "needs network namespaces and mounts: run by tests/run-all.sh"]
fn a_full_disk_keeps_the_old_state_and_the_calls() {
    let lane = Lane::open("full-disk");
    let manager = Manager::start(&lane);
    manager.buy(&lane, "Default", "open.cps", 20);
    let disk = lane.path("sip-a");
    std::fs::create_dir(&disk).expect("a directory");
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=96m", "tmpfs"])
        .arg(&disk)
        .status()
        .expect("mount runs");
    assert!(mounted.success());
    let _unmount = Unmount(disk.clone());
    let sidecar = Sidecar::start(&lane, Settings::of(&manager));
    let token = manager.token(&lane, "Default", &[]);
    sidecar.register(&lane, &token).ok();
    sidecar.wait_state(&lane, "authorized");
    let filled =
        lane.run("dd", &["if=/dev/zero", &format!("of={}", disk.join("filler").display()), "bs=1M", "count=200"]);
    assert!(!filled.status.success(), "the disk is full now");
    sidecar.cli(&lane, &["license", "renew", "auth"]);
    let told = within(PATIENCE, || sidecar.alarms(&lane).contains(&"STATE_NOT_SAVED".to_owned()));
    assert!(told, "{:?}", sidecar.alarms(&lane));
    assert_eq!(sidecar.state(&lane), "authorized");
    assert!(sidecar.admit(&lane, "call").0);
    std::fs::remove_file(disk.join("filler")).expect("removed");
    let cleared = within(PATIENCE * 3, || {
        sidecar.cli(&lane, &["license", "renew", "auth"]);
        !sidecar.alarms(&lane).contains(&"STATE_NOT_SAVED".to_owned())
    });
    assert!(cleared, "{:?}", sidecar.alarms(&lane));
}

struct Unmount(std::path::PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _gone = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
