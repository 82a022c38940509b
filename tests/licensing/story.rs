//! Ninety days and more of the real binaries, under libfaketime: months pass by writing a file.

use super::rig::{FakeTime, Manager, PATIENCE, Settings, Sidecar};
use crate::support::lane::Lane;
use crate::support::within;

const DAY_H: u64 = 24;

fn admitted() -> (bool, String) {
    (true, "ok".to_owned())
}

#[test]
#[ignore = "needs network namespaces and libfaketime: run by tests/run-all.sh"]
fn a_product_that_loses_contact_for_ninety_days_refuses_calls_from_then_on_and_recovers() {
    let lane = Lane::open("story");
    let time = FakeTime::new(&lane);
    let mut manager = Manager::start_with(&lane, "127.0.0.1:7510", "sqlite", Some(time.clone()));
    manager.buy(&lane, "Default", "cusp.cps", 20);
    let sidecar = Sidecar::start(&lane, Settings { profile: "cusp", ..Settings::of(&manager) });
    let token = manager.token(&lane, "Default", &[]);
    sidecar.register(&lane, &token).ok();
    sidecar.wait_state(&lane, "authorized");

    // Day 10: everything is well; the manager is seen each day.
    for day in 1..=10 {
        time.set(day * DAY_H);
        assert_eq!(sidecar.admit(&lane, &format!("day-{day}")), admitted(), "day {day}");
    }
    let contact = within(PATIENCE, || sidecar.status(&lane).to_string().contains("authorized"));
    assert!(contact);
    // The daily report of day 10 must have been answered before contact is lost.
    sidecar.cli(&lane, &["license", "renew", "auth"]).ok();
    std::thread::sleep(std::time::Duration::from_secs(2));
    manager.kill();

    // Days 11 to 99: no contact, and calls flow.
    for day in [11, 30, 45, 60, 75, 89, 95, 99] {
        time.set(day * DAY_H);
        std::thread::sleep(std::time::Duration::from_millis(1500));
        assert_eq!(sidecar.state(&lane), "authorized", "day {day}");
        assert_eq!(sidecar.admit(&lane, &format!("day-{day}")), admitted(), "day {day}");
    }
    let forecast = sidecar.cli(&lane, &["license", "forecast", "--days", "30"]).ok();
    assert!(forecast.contains("refuse"), "the operator is told what is coming:\n{forecast}");

    // Day 101: more than ninety days after the last contact.
    time.set(101 * DAY_H);
    sidecar.wait_state(&lane, "authorization_expired");
    let mut tries = 0;
    let refused = within(PATIENCE, || {
        tries += 1;
        sidecar.admit(&lane, &format!("day-101-{tries}")) == (false, "authorization-expired".to_owned())
    });
    assert!(refused, "{}", sidecar.status(&lane));
    let emergency = lane.run("redis-cli", &["-p", &sidecar.resp_port().to_string(), "ADMIT", "sos", "EMERGENCY"]);
    assert!(String::from_utf8_lossy(&emergency.stdout).starts_with('1'), "emergency calls pass");

    // The manager comes back: the next try, every four hours, is enough.
    manager.restart(&lane);
    time.set(101 * DAY_H + 5);
    sidecar.wait_state(&lane, "authorized");
    assert!(sidecar.admit(&lane, "day-102").0);
}

#[test]
#[ignore = "needs network namespaces and libfaketime: run by tests/run-all.sh"]
fn evaluation_that_is_used_up_stays_used_up_across_restarts() {
    let lane = Lane::open("evaluation");
    let time = FakeTime::new(&lane);
    let manager = Manager::start_with(&lane, "127.0.0.1:7510", "sqlite", Some(time.clone()));
    let mut sidecar = Sidecar::start(&lane, Settings { profile: "cusp", ..Settings::of(&manager) });
    for day in [30, 60, 89] {
        time.set(day * DAY_H);
        assert_eq!(sidecar.admit(&lane, &format!("day-{day}")), admitted(), "day {day}");
    }
    time.set(91 * DAY_H);
    sidecar.wait_state(&lane, "evaluation_expired");
    let mut tries = 0;
    let refused = within(PATIENCE, || {
        tries += 1;
        sidecar.admit(&lane, &format!("day-91-{tries}")) == (false, "evaluation-expired".to_owned())
    });
    assert!(refused, "{}", sidecar.status(&lane));
    sidecar.kill();
    sidecar.restart(&lane);
    assert_eq!(sidecar.state(&lane), "evaluation_expired");
    // A grant ends it.
    manager.buy(&lane, "Default", "cusp.cps", 20);
    let token = manager.token(&lane, "Default", &[]);
    sidecar.register(&lane, &token).ok();
    sidecar.wait_state(&lane, "authorized");
    assert!(sidecar.admit(&lane, "granted").0);
    // And without the grant it is where it was.
    sidecar.cli(&lane, &["license", "deregister", "--yes"]).ok();
    sidecar.wait_state(&lane, "evaluation_expired");
}
