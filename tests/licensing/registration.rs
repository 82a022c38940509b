//! A sidecar's way from evaluation to a grant, and back.

use super::rig::{Manager, Settings, Sidecar, authorized};
use crate::support::lane::Lane;
use crate::support::within;

#[test]
#[ignore = "needs network namespaces: run by tests/run-all.sh"]
fn a_registered_sidecar_is_authorized_and_its_rate_is_what_it_asked_for() {
    let lane = Lane::open("registration");
    let (manager, sidecar) = authorized(&lane);
    assert_eq!(manager.list(&lane, &["instance", "list"]).len(), 1);
    assert_eq!(manager.in_use(&lane, "Default", "open.cps"), 10, "fifty calls per second are ten licenses");
    let all = sidecar.json(&lane, &["license", "all"]).to_string();
    assert!(all.contains("Example") && all.contains("Default"), "{all}");
    assert!(sidecar.admit(&lane, "one").0);
    let text = sidecar.cli(&lane, &["license", "summary"]).ok();
    assert!(text.contains("Authorized"), "{text}");
}

#[test]
#[ignore = "needs network namespaces: run by tests/run-all.sh"]
fn a_shortage_puts_every_instance_out_of_compliance_and_a_purchase_brings_all_back() {
    let lane = Lane::open("shortage");
    let manager = Manager::start(&lane);
    // Fifteen licenses; each sidecar asks for ten.
    manager.buy(&lane, "Default", "open.cps", 15);
    let token = manager.token(&lane, "Default", &["--uses", "2"]);
    let first = Sidecar::start(&lane, Settings::of(&manager));
    first.register(&lane, &token).ok();
    first.wait_state(&lane, "authorized");
    let second = Sidecar::start(&lane, Settings { name: "sip-b", port: 1, ..Settings::of(&manager) });
    second.register(&lane, &token).ok();
    second.wait_state(&lane, "out_of_compliance");
    first.cli(&lane, &["license", "renew", "auth"]).ok();
    first.wait_state(&lane, "out_of_compliance");
    assert!(first.alarms(&lane).contains(&"OOC".to_owned()), "{:?}", first.alarms(&lane));
    assert!(first.admit(&lane, "still").0, "the open profile refuses nothing for lack of compliance");
    manager.buy(&lane, "Default", "open.cps", 5);
    for sidecar in [&first, &second] {
        sidecar.cli(&lane, &["license", "renew", "auth"]).ok();
        sidecar.wait_state(&lane, "authorized");
        assert!(!sidecar.alarms(&lane).contains(&"OOC".to_owned()));
    }
}

#[test]
#[ignore = "needs network namespaces: run by tests/run-all.sh"]
fn deregistration_gives_the_licenses_back_at_once_and_returns_to_evaluation() {
    let lane = Lane::open("deregister");
    let (manager, sidecar) = authorized(&lane);
    let refused = sidecar.cli(&lane, &["license", "deregister"]);
    assert_ne!(refused.code, Some(0), "nobody can be asked, and --yes is missing");
    sidecar.cli(&lane, &["license", "deregister", "--yes"]).ok();
    sidecar.wait_state(&lane, "evaluation");
    assert_eq!(manager.in_use(&lane, "Default", "open.cps"), 0);
}

#[test]
#[ignore = "needs network namespaces: run by tests/run-all.sh"]
fn deregistration_without_the_manager_happens_here_and_says_what_to_do_there() {
    let lane = Lane::open("orphan");
    let (mut manager, sidecar) = authorized(&lane);
    manager.kill();
    sidecar.cli(&lane, &["license", "deregister", "--yes"]).ok();
    sidecar.wait_state(&lane, "evaluation");
    assert!(within(super::rig::PATIENCE, || sidecar.alarms(&lane).contains(&"DEREG_ORPHAN".to_owned())));
    // The goodbye is kept and sent when the manager is seen again: here, with the next registration.
    manager.restart(&lane);
    let token = manager.token(&lane, "Default", &[]);
    sidecar.register(&lane, &token).ok();
    sidecar.wait_state(&lane, "authorized");
}

#[test]
#[ignore = "needs network namespaces: run by tests/run-all.sh"]
fn calls_and_verdict_do_not_change_while_the_manager_is_dead_or_hangs() {
    let lane = Lane::open("dead-manager");
    let (mut manager, mut sidecar) = authorized(&lane);
    manager.freeze();
    assert!(sidecar.admit(&lane, "hung").0);
    manager.thaw();
    manager.kill();
    sidecar.cli(&lane, &["license", "renew", "auth"]).ok();
    assert!(within(super::rig::PATIENCE, || sidecar.alarms(&lane).contains(&"AUTH_RENEW_FAILED".to_owned())));
    assert_eq!(sidecar.state(&lane), "authorized");
    assert!(sidecar.admit(&lane, "dead").0);
    sidecar.kill();
    sidecar.restart(&lane);
    assert_eq!(sidecar.state(&lane), "authorized", "after a restart without the manager too");
    assert!(sidecar.admit(&lane, "restarted").0);
    manager.restart(&lane);
    sidecar.cli(&lane, &["license", "renew", "auth"]).ok();
    assert!(within(super::rig::PATIENCE, || !sidecar.alarms(&lane).contains(&"AUTH_RENEW_FAILED".to_owned())));
}

#[test]
#[ignore = "needs network namespaces: run by tests/run-all.sh"]
fn reregistration_moves_an_instance_to_another_virtual_account() {
    let lane = Lane::open("move");
    let (manager, sidecar) = authorized(&lane);
    manager.cli(&lane, &["account", "create", "emea"]).ok();
    manager.buy(&lane, "emea", "open.cps", 10);
    let token = manager.token(&lane, "emea", &[]);
    let refused = sidecar.register(&lane, &token).refused();
    assert!(refused.contains("force"), "{refused}");
    let file = token.display().to_string();
    sidecar.cli(&lane, &["license", "register", "--token-file", &file, "--force"]).ok();
    let moved = within(super::rig::PATIENCE, || {
        sidecar.json(&lane, &["license", "all"]).to_string().contains("emea") && sidecar.state(&lane) == "authorized"
    });
    assert!(moved, "{}", sidecar.status(&lane));
    assert_eq!(manager.in_use(&lane, "Default", "open.cps"), 0, "the old account has its licenses back");
    assert_eq!(manager.in_use(&lane, "emea", "open.cps"), 10);
}

#[test]
#[ignore = "needs network namespaces: run by tests/run-all.sh"]
fn a_product_that_must_deregister_first_refuses_another_transport_while_registered() {
    let lane = Lane::open("transport");
    let manager = Manager::start(&lane);
    manager.buy(&lane, "Default", "expressway.rms", 100);
    let settings = Settings::of(&manager);
    let license = format!("{}\nsessions = 50", settings.license);
    let mut sidecar = Sidecar::start(&lane, Settings { profile: "expressway", license, ..settings });
    let token = manager.token(&lane, "Default", &[]);
    sidecar.register(&lane, &token).ok();
    sidecar.wait_state(&lane, "authorized");
    sidecar.reconfigure(&lane, |settings| settings.license.push_str("\ntransport = \"on_prem\""));
    assert!(within(super::rig::PATIENCE, || sidecar.alarms(&lane).contains(&"TRANSPORT_LOCKED".to_owned())));
    assert_eq!(sidecar.state(&lane), "authorized");
}

#[test]
#[ignore = "needs network namespaces: run by tests/run-all.sh"]
fn a_backup_brings_the_registration_back_here_and_asks_for_a_new_one_elsewhere() {
    let lane = Lane::open("backup");
    let (manager, mut sidecar) = authorized(&lane);
    let file = lane.path("backup").display().to_string();
    sidecar.cli(&lane, &["license", "backup", &file]).ok();
    sidecar.cli(&lane, &["license", "deregister", "--yes"]).ok();
    sidecar.wait_state(&lane, "evaluation");
    let before = sidecar.status(&lane)["evaluation"]["used_s"].as_u64();
    sidecar.cli(&lane, &["license", "restore", &file, "--yes"]).ok();
    let used = sidecar.status(&lane)["evaluation"]["used_s"].as_u64();
    assert!(used >= before, "no evaluation time is given back: {before:?} {used:?}");
    // Elsewhere: another machine's identity.
    let other = Sidecar::start(
        &lane,
        Settings {
            name: "sip-b",
            port: 1,
            license: format!("{}\nstable_id = \"another machine\"", Settings::of(&manager).license),
            ..Settings::of(&manager)
        },
    );
    other.cli(&lane, &["license", "restore", &file, "--yes"]).ok();
    assert_eq!(other.state(&lane), "evaluation", "{}", other.status(&lane));
    assert!(other.alarms(&lane).contains(&"REREGISTER_NEEDED".to_owned()), "{:?}", other.alarms(&lane));
    let udi = |sidecar: &Sidecar| sidecar.json(&lane, &["license", "udi"]).to_string();
    assert_ne!(udi(&sidecar), udi(&other));
    sidecar.kill();
    sidecar.restart(&lane);
}

#[test]
#[ignore = "needs network namespaces: run by tests/run-all.sh"]
fn a_factory_reset_keeps_or_drops_licensing_and_never_gives_evaluation_back() {
    let lane = Lane::open("factory");
    let (_manager, mut sidecar) = authorized(&lane);
    sidecar.cli(&lane, &["license", "factory-reset", "--keep-licensing", "yes", "--yes"]).ok();
    sidecar.kill();
    sidecar.restart(&lane);
    sidecar.wait_state(&lane, "authorized");
    sidecar.cli(&lane, &["license", "factory-reset", "--keep-licensing", "no", "--yes"]).ok();
    sidecar.wait_state(&lane, "evaluation");
    sidecar.kill();
    sidecar.restart(&lane);
    assert_eq!(sidecar.state(&lane), "evaluation");
}

#[test]
#[ignore = "needs network namespaces and PostgreSQL: run by tests/run-all.sh"]
fn a_manager_on_postgresql_serves_a_sidecar_and_survives_its_own_kill() {
    let lane = Lane::open("postgres");
    let server = crate::support::postgres::Postgres::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let database = runtime.block_on(server.database());
    let mut manager = Manager::start_with(&lane, "127.0.0.1:7510", &database, None);
    manager.buy(&lane, "Default", "open.cps", 20);
    let sidecar = Sidecar::start(&lane, Settings::of(&manager));
    let token = manager.token(&lane, "Default", &[]);
    sidecar.register(&lane, &token).ok();
    sidecar.wait_state(&lane, "authorized");
    manager.kill();
    manager.restart(&lane);
    sidecar.cli(&lane, &["license", "renew", "auth"]).ok();
    assert!(within(super::rig::PATIENCE, || manager.in_use(&lane, "Default", "open.cps") == 10));
}
