//! How calls go when something breaks: a lost BYE, a killed proxy, a sidecar that hangs, dies, or comes back.

use std::collections::{BTreeMap, BTreeSet};
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

/// Waits until the sidecar has admitted so many calls, and hangs it for two seconds.
fn hang_after(rig: &Rig, admitted: u64) {
    assert!(within(SOON, || rig.sidecar.counts().admitted >= admitted), "{:?}", rig.sidecar.counts());
    rig.sidecar.freeze();
    pause(2_000);
    rig.sidecar.thaw();
}

/// What a hung sidecar owes when it is over: each call that it admitted was released, by its proxy and by nothing else; what it
/// read too late took nothing; and of what the proxy was told, nothing was forgotten. How many callers were answered, by status.
fn settled(rig: &mut Rig, via: Via) -> BTreeMap<u16, usize> {
    let counts = rig.sidecar.wait_idle(Duration::from_secs(40));
    assert_eq!((counts.released, counts.lapsed), (counts.admitted, 0), "{counts:?}");
    assert_eq!(
        counts.refused,
        rig.sidecar.refused("deadline"),
        "there is room for every call that is asked for in time"
    );
    assert_eq!((rig.sidecar.total("suspects_freed_total"), rig.sidecar.total("resync_released_total")), (0, 0));
    let recording = rig.recording();
    let questions = recording.asked(via, "admit");
    let told = questions.iter().filter(|question| question.admitted == Some(true)).map(|question| &question.id);
    let told: BTreeSet<_> = told.collect();
    let mut answered = BTreeMap::new();
    for status in [200, 408, 480, 487, 500, 503] {
        let calls = recording.calls_answered(status, CALLER_PORT);
        if calls > 0 {
            answered.insert(status, calls);
        }
    }
    eprintln!(
        "{via:?}: {counts:?}; {} questions, {} calls told yes; callers {answered:?}",
        questions.len(),
        told.len()
    );
    assert!(u64::try_from(told.len()).is_ok_and(|told| told <= counts.admitted), "{counts:?}");
    answered
}

pub(super) fn hung_with_breaker(via: Via) {
    let mut rig = Rig::start("hung", via, &Settings::default(), &[]);
    rig.callee("uas", CALLEE_PORT);
    let callers = rig.callers(&Calls { count: 400, rate: 100, hold_ms: 500, ..Calls::default() });
    hang_after(&rig, 50);
    callers.succeed();
    // What could not be said while it hung is repeated once the breaker closes.
    let answered = settled(&mut rig, via);
    assert_eq!(answered, BTreeMap::from([(200, 400)]), "no call fails");
    assert!(rig.sidecar.counts().admitted < 400, "some calls passed unasked, or it never hung");
}

pub(super) fn hung_without_breaker(via: Via) {
    let mut rig = Rig::start("hung-bare", via, &Settings::default(), &["CALLGATE_NO_BREAKER"]);
    rig.callee("uas", CALLEE_PORT);
    let callers = rig.callers(&Calls { count: 200, rate: 100, hold_ms: 500, ..Calls::default() });
    hang_after(&rig, 30);
    // Calls may fail: this is what the breaker is for. Slots may not leak, and no caller waits for ever.
    callers.end();
    let answered = settled(&mut rig, via);
    assert_eq!(answered.values().sum::<usize>(), 200, "each call has an end: {answered:?}");
    let admitted = usize::try_from(rig.sidecar.counts().admitted).expect("it fits");
    assert!(admitted < 200 && answered.get(&200).is_some_and(|passed| *passed >= admitted), "{answered:?}");
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

pub(super) fn killed_among_questions(via: Via) {
    let mut rig = Rig::start("among", via, &Settings::default(), &[]);
    rig.callee("uas", CALLEE_PORT);
    let callers = rig.callers(&Calls { count: 200, rate: 100, hold_ms: 300, ..Calls::default() });
    assert!(within(SOON, || rig.sidecar.counts().admitted >= 50), "{:?}", rig.sidecar.counts());
    // Questions and their connections break off; the proxy lets calls pass and connects again.
    rig.sidecar.kill();
    let lane = &rig.lane;
    rig.sidecar.restart(lane);
    callers.succeed();
    let counts = rig.sidecar.wait_idle(Duration::from_secs(30));
    assert_eq!((counts.refused, counts.lapsed), (0, 0), "{counts:?}");
    assert_eq!(rig.recording().calls_answered(200, CALLER_PORT), 200, "no call fails");
}

/// `ndb_redis` connects again when 200 ms have brought no answer, and asks once more if the sidecar answers a PING there: so
/// it must wake just then. (`http_client` never asks again.) Emergency calls, because others are refused by a question that is
/// read past its deadline, which is that first timeout.
pub(super) fn asked_again(via: Via) {
    let mut rig = Rig::start("asked-again", via, &Settings::default(), &["CALLGATE_NO_BREAKER"]);
    rig.callee("uas", CALLEE_PORT);
    let mut calls: u16 = 0;
    // On a busy host it wakes too late now and then: the proxy let the call pass.
    while rig.sidecar.total("duplicates_total") == 0 {
        assert!(calls < 15, "no question was asked again");
        let pings = rig.times_heard("PING");
        rig.sidecar.freeze();
        let emergency =
            Calls { ruri: "urn:service:sos", hold_ms: 6_000, port: CALLER_PORT + calls, ..Calls::default() };
        let callers = rig.callers(&emergency);
        within(Duration::from_secs(2), || rig.times_heard("PING") > pings);
        rig.sidecar.thaw();
        callers.succeed();
        rig.sidecar.wait_idle(SOON);
        calls += 1;
    }
    let counts = rig.sidecar.counts();
    let again = rig.sidecar.total("duplicates_total");
    let recording = rig.recording();
    let mut asked: BTreeMap<_, u64> = BTreeMap::new();
    for question in recording.asked(via, "admit") {
        *asked.entry((question.id, question.seq)).or_default() += 1;
    }
    eprintln!("{via:?}: {counts:?}, {again} duplicates; {calls} calls, asked {asked:?}");
    assert_eq!(asked.values().map(|times| times - 1).sum::<u64>(), again, "what was asked again got the same answer");
    assert_eq!(Ok(counts.admitted), u64::try_from(asked.len()), "each call took one license: {asked:?}");
    assert_eq!((counts.refused, counts.released, counts.lapsed), (0, counts.admitted, 0), "{counts:?}");
    let answered = (0..calls).map(|call| recording.calls_answered(200, CALLER_PORT + call)).sum::<usize>();
    assert_eq!(answered, usize::from(calls), "no call fails");
}
