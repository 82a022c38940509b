//! How calls go when nothing breaks: answered, given up, refused by the callee, forked, challenged.

use std::time::Duration;

use super::rig::{CALLEE_PORT, CALLER_PORT, Calls, PROXY_PORT, Rig, Via};
use super::window::judge;
use crate::support::sidecar::{Counts, Settings};
use crate::support::within;

const SOON: Duration = Duration::from_secs(10);

/// Every call was admitted, released once, and none lapsed.
fn all_released(admitted: u64) -> Counts {
    Counts { live: 0, admitted, refused: 0, released: admitted, lapsed: 0 }
}

pub(super) fn answered(via: Via) {
    let mut rig = Rig::start("answered", via, &Settings::default(), &[]);
    rig.callee("uas", CALLEE_PORT);
    rig.call(&Calls { count: 300, ..Calls::default() });
    assert_eq!(rig.sidecar.wait_idle(SOON), all_released(300));
    let recording = rig.recording();
    assert_eq!(recording.calls_answered(200, CALLER_PORT), 300);
    assert_eq!(recording.asked(via, "admit").len(), 300, "each call asks once");
    assert_eq!(recording.asked(via, "confirm").len(), 300);
    assert_eq!(recording.asked(via, "release").len(), 300);
}

pub(super) fn cancel_while_ringing(via: Via) {
    let mut rig = Rig::start("cancel", via, &Settings::default(), &[]);
    rig.callee("uas_ringing", CALLEE_PORT);
    rig.call(&Calls { scenario: "uac_cancel", count: 30, hold_ms: 200, ..Calls::default() });
    assert_eq!(rig.sidecar.wait_idle(SOON), all_released(30));
    assert_eq!(rig.recording().calls_answered(487, CALLER_PORT), 30);
}

pub(super) fn busy(via: Via) {
    let mut rig = Rig::start("busy", via, &Settings::default(), &[]);
    rig.callee("uas_busy", CALLEE_PORT);
    rig.call(&Calls { count: 30, ..Calls::default() });
    assert_eq!(rig.sidecar.wait_idle(SOON), all_released(30));
    assert_eq!(rig.recording().calls_answered(486, CALLER_PORT), 30);
}

pub(super) fn no_answer(via: Via) {
    let mut rig = Rig::start("no-answer", via, &Settings::default(), &["NO_ANSWER_TIMEOUT=1500"]);
    rig.callee("uas_ringing", CALLEE_PORT);
    rig.call(&Calls { count: 20, ..Calls::default() });
    assert_eq!(rig.sidecar.wait_idle(SOON), all_released(20));
    assert_eq!(rig.recording().calls_answered(408, CALLER_PORT), 20);
}

pub(super) fn cancel_during_the_question(via: Via) {
    let mut rig = Rig::start("cancel-early", via, &Settings::default(), &[]);
    rig.callee("uas", CALLEE_PORT);
    rig.sidecar.freeze();
    let callers = rig.callers(&Calls { scenario: "uac_cancel_early", count: 1, hold_ms: 60, ..Calls::default() });
    assert!(within(SOON, || rig.heard("CANCEL ")), "the caller cancels while the proxy waits");
    rig.sidecar.thaw();
    callers.succeed();
    let counts = rig.sidecar.wait_idle(SOON);
    assert_eq!(counts.lapsed, 0, "{counts:?}");
    let recording = rig.recording();
    assert_eq!(recording.calls_answered(487, CALLER_PORT), 1);
    let forwarded =
        recording.sip().iter().filter(|sip| sip.to.port() == CALLEE_PORT && sip.is_request("INVITE")).count();
    assert_eq!(forwarded, 0, "a call that was given up is not passed on");
    assert_eq!(recording.asked(via, "release").len(), 1, "no dialog event comes: the routing gives the license back");
}

pub(super) fn retransmitted(via: Via) {
    let mut rig = Rig::start("retransmitted", via, &Settings::default(), &[]);
    rig.callee("uas", CALLEE_PORT);
    rig.call(&Calls { scenario: "uac_twice", count: 30, ..Calls::default() });
    assert_eq!(rig.sidecar.wait_idle(SOON), all_released(30));
    let recording = rig.recording();
    let invites = recording.sip().iter().filter(|sip| sip.to.port() == PROXY_PORT && sip.is_request("INVITE")).count();
    assert!(invites >= 60, "each INVITE went out twice: {invites}");
    assert_eq!(recording.asked(via, "admit").len(), 30, "each call asks once");
}

pub(super) fn forked(via: Via) {
    let mut rig = Rig::start("forked", via, &Settings::default(), &[]);
    rig.callee("uas", CALLEE_PORT);
    rig.callee("uas_ringing", CALLEE_PORT + 1);
    rig.call(&Calls { count: 20, rate: 20, forked: true, ..Calls::default() });
    assert_eq!(rig.sidecar.wait_idle(SOON), all_released(20));
    let recording = rig.recording();
    let other_leg =
        recording.sip().iter().filter(|sip| sip.to.port() == CALLEE_PORT + 1 && sip.is_request("INVITE")).count();
    assert!(other_leg >= 20, "both legs were called: {other_leg}");
    assert_eq!(recording.asked(via, "admit").len(), 20, "two legs are one call");
}

pub(super) fn reinvite(via: Via) {
    let mut rig = Rig::start("reinvite", via, &Settings::default(), &[]);
    rig.callee("uas_reinvite", CALLEE_PORT);
    rig.call(&Calls { scenario: "uac_reinvite", count: 20, ..Calls::default() });
    assert_eq!(rig.sidecar.wait_idle(SOON), all_released(20));
    let recording = rig.recording();
    let invites = recording.sip().iter().filter(|sip| sip.to.port() == CALLEE_PORT && sip.is_request("INVITE")).count();
    assert!(invites >= 60, "three INVITEs in each dialog: {invites}");
    assert_eq!(recording.asked(via, "admit").len(), 20, "a dialog asks once");
}

pub(super) fn challenged(via: Via) {
    // Ten calls a second and ten calls at once: a second license for the second attempt would not be there.
    let mut rig = Rig::start("challenged", via, &Settings { count: 10, ..Settings::default() }, &[]);
    rig.callee("uas_challenge", CALLEE_PORT);
    rig.call(&Calls { scenario: "uac_challenged", count: 10, rate: 50, ..Calls::default() });
    let counts = rig.sidecar.wait_idle(SOON);
    assert_eq!((counts.refused, counts.lapsed), (0, 0), "{counts:?}");
    let recording = rig.recording();
    assert_eq!(recording.calls_answered(407, CALLER_PORT), 10);
    assert_eq!(recording.calls_answered(200, CALLER_PORT), 10);
    let judgment = judge(&recording.questions(via), 10);
    assert_eq!((judgment.consumed, judgment.reattempts), (10, 10), "{judgment:?}");
}

pub(super) fn ipv6(via: Via) {
    let mut rig = Rig::start("ipv6", via, &Settings { host: "[::1]", ..Settings::default() }, &[]);
    rig.callee("uas", CALLEE_PORT);
    rig.call(&Calls { count: 50, ..Calls::default() });
    assert_eq!(rig.sidecar.wait_idle(SOON), all_released(50));
    let recording = rig.recording();
    assert_eq!(recording.calls_answered(200, CALLER_PORT), 50);
    assert!(recording.sip().iter().all(|sip| sip.from.is_ipv6()), "SIP over IPv6 only");
    assert_eq!(recording.asked(via, "admit").len(), 50);
}
