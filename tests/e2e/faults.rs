//! How calls go when something breaks: a lost BYE, a killed proxy, a sidecar that hangs, dies, or comes back.

use std::time::Duration;

use super::rig::{CALLEE_PORT, CALLER_PORT, Calls, Rig, Via};
use crate::support::sidecar::{Counts, Settings};
use crate::support::within;

const SOON: Duration = Duration::from_secs(15);

fn pause(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

fn wait_live(rig: &Rig, live: u64) {
    assert!(within(SOON, || rig.sidecar.counts().live == live), "live is {:?}, not {live}", rig.sidecar.counts());
}

pub(super) fn lost_bye_with_dialog_timeout(via: Via) {
    let mut rig = Rig::start("lost-bye", via, &Settings::default(), &["DIALOG_TIMEOUT=2"]);
    rig.callee("uas_lost_bye", CALLEE_PORT);
    rig.call(&Calls { scenario: "uac_lost_bye", count: 30, ..Calls::default() });
    let counts = rig.sidecar.wait_idle(SOON);
    assert_eq!(counts, Counts { live: 0, admitted: 30, refused: 0, released: 30, lapsed: 0 });
}

pub(super) fn lost_bye_with_lease(via: Via) {
    let mut rig = Rig::start("lease", via, &Settings { setup_s: 3, talk_s: 3, ..Settings::default() }, &[]);
    rig.callee("uas_lost_bye", CALLEE_PORT);
    rig.call(&Calls { scenario: "uac_lost_bye", count: 30, ..Calls::default() });
    assert_eq!(rig.sidecar.counts().live, 30, "nobody ended these calls");
    let counts = rig.sidecar.wait_idle(SOON);
    assert_eq!(counts, Counts { live: 0, admitted: 30, refused: 0, released: 0, lapsed: 30 });
}

pub(super) fn proxy_killed(via: Via) {
    let mut rig = Rig::start("proxy-killed", via, &Settings { suspect_grace_s: 2, ..Settings::default() }, &[]);
    rig.callee("uas", CALLEE_PORT);
    let callers = rig.callers(&Calls { count: 20, hold_ms: 30_000, ..Calls::default() });
    wait_live(&rig, 20);
    rig.kill_proxy();
    drop(callers);
    pause(1_000);
    assert_eq!(rig.sidecar.counts().live, 20, "a dead proxy says nothing, and nothing is guessed");
    rig.restart_proxy();
    let counts = rig.sidecar.wait_idle(SOON);
    assert_eq!((counts.admitted, counts.released, counts.lapsed), (20, 0, 0), "{counts:?}");
    assert_eq!(rig.sidecar.total("suspects_freed_total"), 20);
    // The new life works.
    rig.call(&Calls { count: 10, port: CALLER_PORT + 1, ..Calls::default() });
    let counts = rig.sidecar.wait_idle(SOON);
    assert_eq!((counts.admitted, counts.refused), (30, 0), "{counts:?}");
}

pub(super) fn resync(via: Via) {
    let mut rig = Rig::start("resync", via, &Settings::default(), &[]);
    rig.callee("uas", CALLEE_PORT);
    let lost = rig.callers(&Calls { count: 20, hold_ms: 30_000, ..Calls::default() });
    wait_live(&rig, 20);
    rig.kill_proxy();
    drop(lost);
    rig.restart_proxy();
    let lives = rig.callers(&Calls { count: 5, hold_ms: 4_000, port: CALLER_PORT + 1, ..Calls::default() });
    wait_live(&rig, 25);
    assert_eq!(rig.resync(), "kept 5, adopted 0, released 20");
    assert_eq!(rig.sidecar.counts().live, 5);
    lives.succeed();
    let counts = rig.sidecar.wait_idle(SOON);
    assert_eq!(counts, Counts { live: 0, admitted: 25, refused: 0, released: 5, lapsed: 0 });
    assert_eq!((rig.sidecar.total("resync_released_total"), rig.sidecar.total("suspects_freed_total")), (20, 0));
}

pub(super) fn resync_adopts(via: Via) {
    let mut rig = Rig::start("adopts", via, &Settings::default(), &[]);
    rig.callee("uas", CALLEE_PORT);
    let lives = rig.callers(&Calls { count: 5, hold_ms: 5_000, ..Calls::default() });
    wait_live(&rig, 5);
    rig.sidecar.kill();
    // Its state is lost with its disk.
    std::fs::remove_dir_all(rig.sidecar.data_dir()).expect("the state can be removed");
    let lane = &rig.lane;
    rig.sidecar.restart(lane);
    assert_eq!(rig.sidecar.counts().live, 0);
    assert_eq!(rig.resync(), "kept 0, adopted 5, released 0");
    assert_eq!(rig.sidecar.counts().live, 5);
    lives.succeed();
    let counts = rig.sidecar.wait_idle(SOON);
    assert_eq!((counts.released, counts.lapsed), (5, 0), "{counts:?}");
    assert_eq!(rig.sidecar.total("resync_adopted_total"), 5);
}

pub(super) fn hung_with_breaker(via: Via) {
    let mut rig = Rig::start("hung", via, &Settings::default(), &[]);
    rig.callee("uas", CALLEE_PORT);
    let callers = rig.callers(&Calls { count: 400, rate: 100, hold_ms: 500, ..Calls::default() });
    pause(1_000);
    rig.sidecar.freeze();
    pause(2_000);
    rig.sidecar.thaw();
    callers.succeed();
    // What could not be said while it hung is repeated once the breaker closes.
    let counts = rig.sidecar.wait_idle(Duration::from_secs(30));
    assert_eq!(counts.lapsed, 0, "{counts:?}");
    assert_eq!(rig.recording().calls_answered(200, CALLER_PORT), 400, "no call fails");
}

pub(super) fn hung_without_breaker(via: Via) {
    let mut rig = Rig::start("hung-bare", via, &Settings::default(), &["CALLGATE_NO_BREAKER"]);
    rig.callee("uas", CALLEE_PORT);
    let callers = rig.callers(&Calls { count: 200, rate: 100, hold_ms: 500, ..Calls::default() });
    pause(700);
    rig.sidecar.freeze();
    pause(2_000);
    rig.sidecar.thaw();
    // Calls may fail: this is what the breaker is for. Slots may not leak.
    callers.end();
    let counts = rig.sidecar.wait_idle(Duration::from_secs(40));
    assert_eq!(counts.lapsed, 0, "{counts:?}");
}

pub(super) fn dead_open(via: Via) {
    let mut rig = Rig::start("dead-open", via, &Settings::default(), &[]);
    rig.callee("uas", CALLEE_PORT);
    rig.sidecar.kill();
    rig.call(&Calls { count: 100, ..Calls::default() });
    let lane = &rig.lane;
    rig.sidecar.restart(lane);
    assert_eq!(rig.sidecar.wait_idle(SOON).admitted, 0);
    assert_eq!(rig.recording().calls_answered(200, CALLER_PORT), 100, "fail-open: every call passes");
}

pub(super) fn dead_closed(via: Via) {
    let mut rig = Rig::start("dead-closed", via, &Settings::default(), &["CALLGATE_FAIL_CLOSED"]);
    rig.callee("uas", CALLEE_PORT);
    rig.sidecar.kill();
    rig.call(&Calls { count: 100, ..Calls::default() });
    rig.call(&Calls { count: 5, ruri: "urn:service:sos", port: CALLER_PORT + 1, ..Calls::default() });
    let lane = &rig.lane;
    rig.sidecar.restart(lane);
    assert_eq!(rig.sidecar.wait_idle(SOON).admitted, 0);
    let recording = rig.recording();
    assert_eq!(recording.calls_answered(503, CALLER_PORT), 100, "fail-closed: none passes");
    assert_eq!(recording.calls_answered(200, CALLER_PORT + 1), 5, "but emergency calls do");
}

pub(super) fn sidecar_killed(via: Via) {
    let mut rig = Rig::start("sidecar-killed", via, &Settings::default(), &[]);
    rig.callee("uas", CALLEE_PORT);
    let callers = rig.callers(&Calls { count: 40, hold_ms: 5_000, ..Calls::default() });
    wait_live(&rig, 40);
    rig.sidecar.kill();
    let lane = &rig.lane;
    rig.sidecar.restart(lane);
    assert_eq!(rig.sidecar.counts().live, 40, "every call whose answer was sent is known again");
    callers.succeed();
    let counts = rig.sidecar.wait_idle(SOON);
    assert_eq!((counts.released, counts.lapsed), (40, 0), "released by their BYE, not by a lease: {counts:?}");
}

pub(super) fn asked_again(via: Via) {
    let mut rig = Rig::start("asked-again", via, &Settings::default(), &[]);
    rig.callee("uas", CALLEE_PORT);
    let callers = rig.callers(&Calls { count: 200, rate: 100, hold_ms: 300, ..Calls::default() });
    pause(800);
    // Its connections break between a question and its answer; the proxy connects again and repeats the question.
    rig.sidecar.kill();
    let lane = &rig.lane;
    rig.sidecar.restart(lane);
    callers.succeed();
    let counts = rig.sidecar.wait_idle(Duration::from_secs(30));
    assert_eq!((counts.refused, counts.lapsed), (0, 0), "{counts:?}");
    assert_eq!(rig.recording().calls_answered(200, CALLER_PORT), 200, "no call fails");
}
