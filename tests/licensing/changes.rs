//! What changes around a registered sidecar: its host's name, the way to the manager, its state by a backup.

use serde_json::Value;

use super::rig::{Manager, PATIENCE, Settings, Sidecar, authorized};
use crate::support::lane::Lane;
use crate::support::within;

/// The one instance that the manager knows.
fn instance(lane: &Lane, manager: &Manager) -> Value {
    let mut instances = manager.list(lane, &["instance", "list"]);
    assert_eq!(instances.len(), 1, "{instances:?}");
    let id = instances.remove(0)["id"].as_str().expect("an id").to_owned();
    manager.json(lane, &["instance", "show", &id])
}

/// A manager, and a sidecar that registered as the host `edge-1`, with these further keys of `[license]`.
fn named(lane: &Lane, further: &str) -> (Manager, Sidecar) {
    let manager = Manager::start(lane);
    manager.buy(lane, "Default", "open.cps", 20);
    let settings = Settings::of(&manager);
    let license = format!("{}\n{further}", settings.license);
    let sidecar = Sidecar::start(lane, Settings { license, host: Some("edge-1"), ..settings });
    sidecar.register(lane, &manager.token(lane, "Default", &[])).ok();
    sidecar.wait_state(lane, "authorized");
    (manager, sidecar)
}

/// How many renewals of the registration the manager answered.
fn renewals(lane: &Lane, sidecar: &Sidecar) -> u64 {
    let statistics = sidecar.json(lane, &["license", "statistics"]);
    let messages = statistics["messages"].as_array().unwrap_or_else(|| panic!("no list in {statistics}"));
    let renew = messages.iter().find(|of| of["subtype"] == "RENEW");
    renew.and_then(|of| of["success"].as_u64()).unwrap_or(0)
}

#[test]
#[ignore = "needs network and UTS namespaces: run by tests/run-all.sh"]
fn a_host_that_is_renamed_tells_its_manager_by_renewing_the_registration() {
    let lane = Lane::open("renamed");
    let (manager, sidecar) = named(&lane, "");
    assert_eq!(instance(&lane, &manager)["hostname"], "edge-1");
    let udi = instance(&lane, &manager)["udi"].clone();
    sidecar.rename_host(&lane, "edge-2");
    let told = within(PATIENCE, || instance(&lane, &manager)["hostname"] == "edge-2");
    assert!(told, "{}", instance(&lane, &manager));
    assert_eq!(instance(&lane, &manager)["udi"], udi, "another name is no other instance");
    assert_eq!(renewals(&lane, &sidecar), 1);
    // It stood until the manager knew.
    assert!(within(PATIENCE, || sidecar.log().contains("registered as edge-1 and is now called edge-2")));
    sidecar.wait_alarm(&lane, "HOSTNAME_CHANGED", false);
    assert_eq!(sidecar.state(&lane), "authorized");
    assert!(sidecar.admit(&lane, "renamed").0);
    let listed = manager.cli(&lane, &["instance", "list"]).ok();
    assert!(listed.contains("edge-2") && !listed.contains("edge-1"), "{listed}");
}

#[test]
#[ignore = "needs network and UTS namespaces: run by tests/run-all.sh"]
fn where_a_renamed_host_does_not_renew_by_itself_an_alarm_says_what_to_do_until_it_is_done() {
    let lane = Lane::open("renamed-by-hand");
    let (manager, mut sidecar) = named(&lane, "hostname_auto_renew = false");
    sidecar.rename_host(&lane, "edge-2");
    sidecar.wait_alarm(&lane, "HOSTNAME_CHANGED", true);
    let alarms = sidecar.cli(&lane, &["alarms"]).ok();
    assert!(alarms.contains("registered as edge-1 and is now called edge-2"), "{alarms}");
    assert!(alarms.contains("callgate license renew id"), "{alarms}");
    assert_eq!(instance(&lane, &manager)["hostname"], "edge-1", "nothing was sent");
    assert_eq!(renewals(&lane, &sidecar), 0);
    // A restart on the renamed host forgets nothing of it.
    sidecar.edit(|settings| settings.host = Some("edge-2"));
    sidecar.kill();
    sidecar.restart(&lane);
    sidecar.wait_alarm(&lane, "HOSTNAME_CHANGED", true);
    assert!(sidecar.admit(&lane, "renamed").0, "a name stops no call");
    sidecar.cli(&lane, &["license", "renew", "id"]).ok();
    sidecar.wait_alarm(&lane, "HOSTNAME_CHANGED", false);
    assert_eq!(instance(&lane, &manager)["hostname"], "edge-2");
}

#[test]
#[ignore = "needs network and UTS namespaces: run by tests/run-all.sh"]
fn a_host_whose_name_is_not_shared_is_renamed_without_a_word_and_one_that_stops_sharing_is_forgotten() {
    let lane = Lane::open("renamed-in-private");
    let (manager, mut sidecar) = named(&lane, "share_hostname = false");
    assert_eq!(instance(&lane, &manager)["hostname"], Value::Null);
    assert_eq!(instance(&lane, &manager)["address"], Value::Null);
    sidecar.rename_host(&lane, "edge-2");
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert_eq!(renewals(&lane, &sidecar), 0);
    assert!(!sidecar.alarms(&lane).contains(&"HOSTNAME_CHANGED".to_owned()));
    // Shared from now on: with the next renewal the manager knows it.
    let change = |sidecar: &mut Sidecar, from: &str, to: &str| {
        sidecar.edit(|settings| settings.license = settings.license.replace(from, to));
        sidecar.cli(&lane, &["reload"]).ok();
        sidecar.cli(&lane, &["license", "renew", "id"]).ok();
    };
    change(&mut sidecar, "share_hostname = false", "share_hostname = true");
    let shown = within(PATIENCE, || instance(&lane, &manager)["hostname"] == "edge-2");
    assert!(shown, "{}", instance(&lane, &manager));
    // And erases it, with the address, with the one after it is no longer shared.
    change(&mut sidecar, "share_hostname = true", "share_hostname = false");
    let erased = within(PATIENCE, || instance(&lane, &manager)["hostname"].is_null());
    assert!(erased, "{}", instance(&lane, &manager));
    assert_eq!(instance(&lane, &manager)["address"], Value::Null);
}

#[test]
#[ignore = "needs network namespaces: run by tests/run-all.sh"]
fn another_way_to_the_manager_is_refused_by_a_reload_while_registered_and_the_old_one_stays() {
    let lane = Lane::open("transport-reload");
    let manager = Manager::start(&lane);
    manager.buy(&lane, "Default", "expressway.rms", 100);
    let settings = Settings::of(&manager);
    let license = format!("{}\nsessions = 50\ntransport = \"direct\"", settings.license);
    let mut sidecar = Sidecar::start(&lane, Settings { profile: "expressway", license, ..settings });
    sidecar.register(&lane, &manager.token(&lane, "Default", &[])).ok();
    sidecar.wait_state(&lane, "authorized");
    let way = |sidecar: &Sidecar| sidecar.json(&lane, &["license", "all"])["transport"].clone();
    let before = way(&sidecar);
    assert_eq!((&before["mode"], &before["locked"]), (&"direct".into(), &true.into()), "{before}");
    let turn = |sidecar: &mut Sidecar, from: &str, to: &str| {
        sidecar.edit(|settings| settings.license = settings.license.replace(from, to));
    };

    // By the admin API, and everything else of that configuration too.
    turn(&mut sidecar, "transport = \"direct\"", "transport = \"on_prem\"\nshare_hostname = false");
    let refused = sidecar.cli(&lane, &["reload"]).refused();
    for part in ["license.transport", "direct", "on_prem", "deregister", "expressway"] {
        assert!(refused.contains(part), "{part}: {refused}");
    }
    for id in ["TRANSPORT_LOCKED", "RELOAD_REFUSED"] {
        sidecar.wait_alarm(&lane, id, true);
    }
    assert_eq!(way(&sidecar), before);
    let all = sidecar.json(&lane, &["license", "all"]);
    assert_eq!(all["privacy"]["sends_hostname"], true, "a refused configuration is not in force in parts: {all}");

    // By SIGHUP.
    let refusals = |sidecar: &Sidecar| sidecar.log().matches("reload refused").count();
    let told = refusals(&sidecar);
    sidecar.hang_up();
    assert!(within(PATIENCE, || refusals(&sidecar) > told), "{}", sidecar.log());
    assert_eq!(way(&sidecar), before);
    assert_eq!(sidecar.state(&lane), "authorized");
    assert!(sidecar.admit(&lane, "still").0);
    // The old way serves: the manager is still asked by it.
    sidecar.cli(&lane, &["license", "renew", "auth"]).ok();
    let asked = || sidecar.status(&lane)["authorization"]["last_attempt"]["failure"].is_null();
    assert!(within(PATIENCE, asked), "{}", sidecar.status(&lane));

    // Back again, and the alarms end; deregistered, the other way is taken.
    turn(&mut sidecar, "transport = \"on_prem\"", "transport = \"direct\"");
    sidecar.cli(&lane, &["reload"]).ok();
    for id in ["TRANSPORT_LOCKED", "RELOAD_REFUSED"] {
        sidecar.wait_alarm(&lane, id, false);
    }
    sidecar.cli(&lane, &["license", "deregister", "--yes"]).ok();
    sidecar.wait_state(&lane, "evaluation");
    turn(&mut sidecar, "transport = \"direct\"", "transport = \"on_prem\"");
    sidecar.cli(&lane, &["reload"]).ok();
    assert_eq!(way(&sidecar)["mode"], "on_prem");
}

/// What came back of a registration: its identity, what is asked for and granted, and what the manager holds of it.
fn registration(lane: &Lane, manager: &Manager, sidecar: &Sidecar) -> (Value, Value, Value, u64) {
    let all = sidecar.json(lane, &["license", "all"]);
    let line = &all["usage"][0];
    let cps = |field: &str| line[field].clone();
    assert_eq!(cps("tag"), "open.cps", "{all}");
    (all["product"]["udi"].clone(), cps("requested"), cps("granted"), manager.in_use(lane, "Default", "open.cps"))
}

#[test]
#[ignore = "needs network namespaces: run by tests/run-all.sh"]
fn a_restore_on_the_same_machine_brings_the_registration_back_authorized_with_the_counts_of_the_backup() {
    let lane = Lane::open("restore-here");
    let (manager, mut sidecar) = authorized(&lane);
    // Sixty calls per second, by command: twelve licenses.
    sidecar.cli(&lane, &["license", "count", "60"]).ok();
    let counted = |sidecar: &Sidecar, licenses: u64| {
        let reached = within(PATIENCE, || {
            let (_, requested, granted, in_use) = registration(&lane, &manager, sidecar);
            requested == licenses && granted == licenses && in_use == licenses
        });
        assert!(reached, "{licenses}: {:?}", registration(&lane, &manager, sidecar));
    };
    counted(&sidecar, 12);
    let before = registration(&lane, &manager, &sidecar);
    let file = lane.path("backup").display().to_string();
    sidecar.cli(&lane, &["license", "backup", &file]).ok();

    // Over a registration that lives, with other counts and a renewed key.
    sidecar.cli(&lane, &["license", "count", "30"]).ok();
    counted(&sidecar, 6);
    sidecar.cli(&lane, &["license", "renew", "id"]).ok();
    let renewed = |sidecar: &Sidecar| sidecar.log().matches("The id certificate was renewed").count();
    assert!(within(PATIENCE, || renewed(&sidecar) == 1));
    sidecar.cli(&lane, &["license", "restore", &file, "--yes"]).ok();
    sidecar.wait_state(&lane, "authorized");
    counted(&sidecar, 12);
    assert_eq!(registration(&lane, &manager, &sidecar), before);
    sidecar.cli(&lane, &["license", "renew", "id"]).ok();
    assert!(within(PATIENCE, || renewed(&sidecar) == 2), "the renewed key is the one in force");

    // After the disk was lost: what is there is another instance's until the backup is taken.
    let newest = lane.path("newest").display().to_string();
    sidecar.cli(&lane, &["license", "backup", &newest]).ok();
    sidecar.kill();
    for lost in [sidecar.data_dir.clone(), lane.path("sip-a-state")] {
        std::fs::remove_dir_all(lost).expect("the state can be removed");
    }
    sidecar.restart(&lane);
    assert_eq!(sidecar.state(&lane), "evaluation");
    let (fresh, ..) = registration(&lane, &manager, &sidecar);
    assert_ne!(fresh, before.0, "a lost state is another identity");
    sidecar.cli(&lane, &["license", "restore", &newest, "--yes"]).ok();
    sidecar.wait_state(&lane, "authorized");
    counted(&sidecar, 12);
    assert_eq!(registration(&lane, &manager, &sidecar), before);
    assert_eq!(instance(&lane, &manager)["state"], "registered");
    assert!(sidecar.admit(&lane, "restored").0);
    for id in ["REREGISTER_NEEDED", "ID_REVOKED", "DUPLICATE_UDI", "GRANT_REJECTED"] {
        assert!(!sidecar.alarms(&lane).contains(&id.to_owned()), "{:?}", sidecar.alarms(&lane));
    }
    // And over a restart.
    sidecar.kill();
    sidecar.restart(&lane);
    assert_eq!(sidecar.state(&lane), "authorized");
    assert_eq!(registration(&lane, &manager, &sidecar), before);
}
