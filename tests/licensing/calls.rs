//! Real calls through a real Kamailio, while licensing has its troubles.

use std::time::Duration;

use super::rig::{Manager, PATIENCE, binary};
use crate::e2e::rig::{CALLEE_PORT, Calls, Rig, Via};
use crate::support::lane::Lane;
use crate::support::sidecar::Settings;
use crate::support::within;

/// `callgate …`, against the rig's sidecar.
fn cli(rig: &Rig, arguments: &[&str]) -> String {
    let mut command = rig.lane.command(binary());
    command.args(arguments).arg("--config").arg(rig.lane.path("callgate.toml"));
    let output = command.output().expect("the command starts");
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
#[ignore = "needs Kamailio and SIPp: run by tests/run-all.sh"]
fn calls_flow_through_kamailio_while_the_manager_is_killed_and_the_verdict_stays() {
    let lane = Lane::open("licensed-calls");
    let mut manager = Manager::start(&lane);
    manager.buy(&lane, "Default", "open.cps", 200);
    let token = manager.token(&lane, "Default", &[]).display().to_string();
    let license = format!("url = \"{}\"\nca_file = \"{}\"\ntrust = \"file\"", manager.url(), manager.ca().display());
    let mut rig = Rig::start_in(lane, Via::Resp, &Settings { license, ..Settings::default() }, &[]);
    cli(&rig, &["license", "register", "--token-file", &token]);
    let authorized = |rig: &Rig| cli(rig, &["license", "status", "--format", "json"]).contains("\"authorized\"");
    assert!(within(PATIENCE, || authorized(&rig)), "{}", cli(&rig, &["license", "status"]));
    rig.callee("uas", CALLEE_PORT);
    let callers = rig.callers(&Calls { count: 400, rate: 100, ..Calls::default() });
    std::thread::sleep(Duration::from_secs(1));
    manager.kill();
    cli(&rig, &["license", "renew", "auth"]);
    callers.succeed();
    let counts = rig.sidecar.wait_idle(Duration::from_secs(10));
    assert_eq!((counts.admitted, counts.refused, counts.released), (400, 0, 400));
    assert!(authorized(&rig), "{}", cli(&rig, &["license", "status"]));
    let alarm = within(PATIENCE, || cli(&rig, &["alarms"]).contains("AUTH_RENEW_FAILED"));
    assert!(alarm, "{}", cli(&rig, &["alarms"]));
}
