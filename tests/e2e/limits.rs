//! How calls go when there are too many: the rate, trunks, export control, and emergency calls past all of them.

use std::time::Duration;

use super::rig::{CALLEE_PORT, CALLER_PORT, Calls, Rig, Via};
use super::window::judge;
use crate::support::sidecar::Settings;
use crate::support::within;

const SOON: Duration = Duration::from_secs(15);

pub(super) fn rate(via: Via) {
    const LIMIT: usize = 50;
    let mut rig = Rig::start("rate", via, &Settings { count: 50, ..Settings::default() }, &[]);
    rig.callee("uas", CALLEE_PORT);
    rig.call(&Calls { count: 1_200, rate: 200, hold_ms: 100, ..Calls::default() });
    let counts = rig.sidecar.wait_idle(SOON);
    let recording = rig.recording();
    let judgment = judge(&recording.questions(via), LIMIT);
    eprintln!("{via:?}: {judgment:?}, {counts:?}");
    assert!(judgment.proven_peak <= LIMIT, "more than {LIMIT} in one second: {judgment:?}");
    assert!(judgment.consumed * 100 >= judgment.exact * 95, "an exact window would have admitted more: {judgment:?}");
    assert_eq!(u64::try_from(judgment.consumed), Ok(counts.admitted), "the status counts what the packets show");
    assert_eq!(counts.admitted + counts.refused, 1_200);
    assert_eq!(recording.calls_answered(200, CALLER_PORT), judgment.consumed);
    assert_eq!(recording.calls_answered(503, CALLER_PORT), 1_200 - judgment.consumed);
    for refusal in recording.sip().iter().filter(|sip| sip.to.port() == CALLER_PORT && sip.is_response(503, "INVITE")) {
        let retry_after: u32 = refusal.header("Retry-After").parse().expect("a node-wide refusal says when to retry");
        assert!((3..=6).contains(&retry_after), "{retry_after}");
        assert_eq!(refusal.header("Reason"), "SIP;cause=503;text=\"cps\"");
    }
}

pub(super) fn rate_challenged(via: Via) {
    const LIMIT: usize = 25;
    let mut rig = Rig::start("rate-407", via, &Settings { count: 25, ..Settings::default() }, &[]);
    rig.callee("uas_challenge", CALLEE_PORT);
    rig.call(&Calls { scenario: "uac_challenged", count: 400, rate: 80, hold_ms: 100, ..Calls::default() });
    rig.sidecar.wait_idle(SOON);
    let recording = rig.recording();
    let judgment = judge(&recording.questions(via), LIMIT);
    eprintln!("{via:?}: {judgment:?}");
    assert!(judgment.proven_peak <= LIMIT, "more than {LIMIT} in one second: {judgment:?}");
    assert!(judgment.consumed * 100 >= judgment.exact * 95, "an exact window would have admitted more: {judgment:?}");
    assert_eq!(
        judgment.reattempts, judgment.consumed,
        "each admitted call came a second time, and took no second license"
    );
    assert_eq!(recording.calls_answered(200, CALLER_PORT), judgment.consumed, "no second attempt was refused");
}

pub(super) fn emergency(via: Via) {
    let settings = Settings {
        count: 5,
        tables: "[admission.export_control]\nenabled = true\nlimit = 4\n".into(),
        ..Settings::default()
    };
    let mut rig = Rig::start("emergency", via, &settings, &[]);
    rig.callee("uas", CALLEE_PORT);
    let full = rig.callers(&Calls { count: 4, hold_ms: 5_000, ..Calls::default() });
    assert!(within(SOON, || rig.sidecar.counts().live == 4));
    rig.call(&Calls { count: 10, port: CALLER_PORT + 1, ..Calls::default() });
    let before = rig.sidecar.counts();
    assert_eq!((before.admitted, before.refused), (4, 10), "everything else is refused");
    rig.call(&Calls { count: 20, ruri: "urn:service:sos", port: CALLER_PORT + 2, ..Calls::default() });
    let after = rig.sidecar.counts();
    assert_eq!((after.admitted, after.refused), (24, 10), "emergency calls pass, and are counted");
    full.succeed();
    rig.sidecar.wait_idle(SOON);
    let recording = rig.recording();
    assert_eq!(recording.calls_answered(503, CALLER_PORT + 1), 10);
    assert_eq!(recording.calls_answered(200, CALLER_PORT + 2), 20);
}

pub(super) fn trunk(via: Via) {
    let settings = Settings {
        tables: "[[trunk]]\nname = \"lisbon\"\nsessions = 3\n[[trunk]]\nname = \"porto\"\ncps = 5\n".into(),
        ..Settings::default()
    };
    let mut rig = Rig::start("trunk", via, &settings, &[]);
    rig.callee("uas", CALLEE_PORT);
    rig.call(&Calls { count: 10, hold_ms: 1_500, trunk: "lisbon", ..Calls::default() });
    assert_eq!(rig.sidecar.refused("trunk-sessions"), 7);
    rig.call(&Calls { count: 12, rate: 200, trunk: "porto", port: CALLER_PORT + 1, ..Calls::default() });
    assert_eq!(rig.sidecar.refused("trunk-cps"), 7);
    rig.call(&Calls { count: 10, trunk: "-", port: CALLER_PORT + 2, ..Calls::default() });
    let counts = rig.sidecar.wait_idle(SOON);
    assert_eq!((counts.admitted, counts.refused, counts.released), (18, 14, 18));
    let recording = rig.recording();
    let refusals: Vec<_> = recording.sip().into_iter().filter(|sip| sip.is_response(480, "INVITE")).collect();
    assert!(refusals.len() >= 14, "{}", refusals.len());
    assert!(refusals.iter().all(|sip| sip.header("Reason").starts_with("Q.850;cause=34")), "{refusals:?}");
    assert_eq!(recording.calls_answered(200, CALLER_PORT + 2), 10, "calls of no trunk pass");
}

pub(super) fn export_control(via: Via) {
    let settings =
        Settings { tables: "[admission.export_control]\nenabled = true\nlimit = 100\n".into(), ..Settings::default() };
    let mut rig = Rig::start("export", via, &settings, &[]);
    rig.callee("uas", CALLEE_PORT);
    let live = |rig: &Rig, live: u64| {
        assert!(within(SOON, || rig.sidecar.counts().live == live), "{:?}", rig.sidecar.counts())
    };
    let probe = |rig: &Rig, port: u16| rig.call(&Calls { hold_ms: 100, port, ..Calls::default() });

    let most = rig.callers(&Calls { count: 98, rate: 200, hold_ms: 9_000, ..Calls::default() });
    live(&rig, 98);
    let second = rig.callers(&Calls { hold_ms: 5_000, port: CALLER_PORT + 1, ..Calls::default() });
    live(&rig, 99);
    let first = rig.callers(&Calls { hold_ms: 2_000, port: CALLER_PORT + 2, ..Calls::default() });
    live(&rig, 100);
    probe(&rig, CALLER_PORT + 3);
    assert_eq!(rig.sidecar.refused("export-control"), 1, "the limit is reached");
    first.succeed();
    live(&rig, 99);
    probe(&rig, CALLER_PORT + 4);
    assert_eq!(rig.sidecar.refused("export-control"), 2, "99 is below the limit, not below the low mark");
    second.succeed();
    live(&rig, 98);
    probe(&rig, CALLER_PORT + 5);
    assert_eq!(rig.sidecar.refused("export-control"), 2, "below the low mark calls start again");
    most.succeed();
    let counts = rig.sidecar.wait_idle(SOON);
    assert_eq!((counts.admitted, counts.refused, counts.released), (101, 2, 101));
}
