//! What a real grant does to calls: caps without overage, and export control.

use super::rig::{Manager, PATIENCE, Settings, Sidecar};
use crate::support::lane::Lane;
use crate::support::within;

/// The line of a page that begins with this name.
fn line(text: &str, name: &str) -> String {
    text.lines()
        .find(|line| line.trim_start().starts_with(name))
        .unwrap_or_else(|| panic!("no {name} in\n{text}"))
        .to_owned()
}

/// What the page says that happens to calls now.
fn effect(lane: &Lane, sidecar: &Sidecar) -> String {
    line(&sidecar.cli(lane, &["license", "status"]).ok(), "now")
}

fn without_overage(lane: &Lane, manager: &Manager, further: &str, state: &str) -> Sidecar {
    let settings = Settings::of(manager);
    let license = format!("{}\noverage = false\n{further}", settings.license);
    // More calls per second than are asked for here in one.
    let sidecar = Sidecar::start(lane, Settings { license, count: 100, ..settings });
    sidecar.register(lane, &manager.token(lane, "Default", &[])).ok();
    sidecar.wait_state(lane, state);
    sidecar
}

#[test]
#[ignore = "needs network namespaces: run by tests/run-all.sh"]
fn without_overage_what_is_not_limited_is_not_refused_and_a_new_count_refuses_nothing_before_it_is_answered() {
    let lane = Lane::open("no-overage");
    let manager = Manager::start(&lane);
    manager.buy(&lane, "Default", "open.cps", 20);
    manager.buy(&lane, "Default", "open.session", 100);
    let sidecar = without_overage(&lane, &manager, "", "authorized");
    let ten = |prefix: &str| sidecar.admit_many(&lane, prefix, 10);
    assert_eq!(ten("registered"), (10, None));
    let told = effect(&lane, &sidecar);
    assert!(told.contains("new calls are admitted") && told.contains("100 cps"), "{told}");
    assert!(!told.contains("session"), "what is not limited has no cap: {told}");

    // The manager hangs: the new count waits for its answer.
    manager.freeze();
    sidecar.cli(&lane, &["license", "sessions", "50"]).ok();
    assert_eq!(ten("asked"), (10, None));
    let told = effect(&lane, &sidecar);
    assert!(told.contains("new calls are admitted") && !told.contains("refused"), "{told}");
    manager.thaw();
    let granted = within(PATIENCE, || manager.in_use(&lane, "Default", "open.session") == 50);
    assert!(granted, "{}", sidecar.status(&lane));
    let told = within(PATIENCE, || effect(&lane, &sidecar).contains("50 session"));
    assert!(told, "{}", effect(&lane, &sidecar));
    // Twenty are live: thirty more, and no more.
    assert_eq!(sidecar.admit_many(&lane, "granted", 35), (30, Some("sessions".to_owned())));
}

#[test]
#[ignore = "needs network namespaces: run by tests/run-all.sh"]
fn without_overage_sessions_are_held_to_what_was_granted_and_the_pages_name_the_cap() {
    let lane = Lane::open("session-cap");
    let manager = Manager::start(&lane);
    manager.buy(&lane, "Default", "open.cps", 20);
    manager.buy(&lane, "Default", "open.session", 3);
    let sidecar = without_overage(&lane, &manager, "sessions = 5", "out_of_compliance");
    let told = effect(&lane, &sidecar);
    assert!(told.contains("3 session"), "{told}");
    assert_eq!(sidecar.admit_many(&lane, "capped", 5), (3, Some("sessions".to_owned())));
    manager.buy(&lane, "Default", "open.session", 2);
    sidecar.cli(&lane, &["license", "renew", "auth"]).ok();
    sidecar.wait_state(&lane, "authorized");
    let told = effect(&lane, &sidecar);
    assert!(told.contains("5 session"), "{told}");
    assert_eq!(sidecar.admit_many(&lane, "bought", 5), (2, Some("sessions".to_owned())));
}

/// The most calls under export control.
const EXPORT: u32 = 2500;

/// An expressway in a virtual account of its own, whose token carries the export flag or not.
fn expressway(lane: &Lane, manager: &Manager, (name, port): (&'static str, u16), flag: bool, usage: &str) -> Sidecar {
    let settings = Settings::of(manager);
    let license = format!("{}\nusage = \"{usage}\"", settings.license);
    let sidecar = Sidecar::start(lane, Settings { name, port, profile: "expressway", license, ..settings });
    let token = manager.token(lane, name, if flag { &[] } else { &["--no-export"] });
    sidecar.register(lane, &token).ok();
    let registered = within(PATIENCE, || sidecar.status(lane)["overview"]["registration"] == "registered");
    assert!(registered, "{}", sidecar.status(lane));
    sidecar
}

#[test]
#[ignore = "needs network namespaces: run by tests/run-all.sh"]
fn export_control_is_lifted_by_the_tokens_flag_and_a_bought_entitlement_together_in_production_and_in_the_lab() {
    let lane = Lane::open("export");
    let manager = Manager::start(&lane);
    let account = |name: &str, tags: &[&str]| {
        manager.cli(&lane, &["account", "create", name]).ok();
        for tag in tags {
            manager.buy(&lane, name, tag, 5000);
        }
    };
    account("both", &["expressway.rms", "expressway.export"]);
    account("flag", &["expressway.rms"]);
    account("bought", &["expressway.rms", "expressway.export"]);
    account("lab", &["expressway.rms.lab", "expressway.export.lab"]);
    // In the lab only the lab's entitlement counts.
    account("wrong", &["expressway.rms.lab", "expressway.export"]);

    let all = EXPORT + 20;
    for (account, port, flag, usage, tag) in [
        ("both", 0, true, "production", Some("expressway.export")),
        ("flag", 1, true, "production", None),
        ("bought", 2, false, "production", None),
        ("lab", 3, true, "lab", Some("expressway.export.lab")),
        ("wrong", 4, true, "lab", None),
    ] {
        let mut sidecar = expressway(&lane, &manager, (account, port), flag, usage);
        // One call: a license in use is asked for, and with it the manager has answered.
        assert!(sidecar.admit(&lane, "first").0);
        let rms = if usage == "lab" { "expressway.rms.lab" } else { "expressway.rms" };
        let granted = within(PATIENCE, || {
            // What is used is looked at each second.
            sidecar.cli(&lane, &["license", "renew", "auth"]);
            manager.in_use(&lane, account, rms) >= 1
        });
        assert!(granted, "{account}: {}", sidecar.status(&lane));
        sidecar.wait_state(&lane, "authorized");
        if let Some(tag) = tag {
            assert_eq!(manager.in_use(&lane, account, tag), 1, "{account}");
        }
        let expected = if tag.is_some() { (all, None) } else { (EXPORT - 1, Some("export-control".to_owned())) };
        assert_eq!(sidecar.admit_many(&lane, account, all), expected, "{account}");
        let export = sidecar.json(&lane, &["license", "all"])["registration"]["export_allowed"].clone();
        assert_eq!(export, flag, "{account}");
        sidecar.kill();
    }
}
