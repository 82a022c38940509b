//! Defects inside, and what becomes of them: each is told, none stops calls.

use super::*;
use crate::protocol::Endpoint;

async fn break_it(rig: &Rig, defects: Defects) {
    rig.context.license.send(Request::Defects(defects)).await.unwrap();
}

#[tokio::test]
async fn use_that_cannot_be_computed_is_told_holds_up_no_deadline_and_ends_with_the_next_success() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = start(dir.path(), &[]);
    break_it(&rig, Defects { usage: true, ..Defects::default() }).await;
    rig.until("COMPUTE_FAILED", |context| context.alarms.is_active(AlarmId::ComputeFailed, "")).await;
    let used = rig.state(|state| state.evaluation.used_s).await;
    assert!(!rig.context.alarms.is_active(AlarmId::AgentStale, ""), "the agent goes on");
    for _ in 0..200 {
        if rig.state(|state| state.evaluation.used_s).await > used {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(rig.state(|state| state.evaluation.used_s).await > used, "evaluation runs");
    assert!(rig.context.alarms.is_active(AlarmId::ComputeFailed, ""));
    break_it(&rig, Defects::default()).await;
    rig.until("the end of COMPUTE_FAILED", |context| !context.alarms.is_active(AlarmId::ComputeFailed, "")).await;
    rig.stop().await;
}

#[tokio::test]
async fn a_driver_that_panics_is_told_with_what_it_said_until_the_next_one_has_computed() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = start(dir.path(), &[]);
    break_it(&rig, Defects { driver: true, ..Defects::default() }).await;
    rig.until("COMPUTE_FAILED", |context| context.alarms.is_active(AlarmId::ComputeFailed, "")).await;
    let told = rig.context.alarms.active();
    let told = told.iter().find(|alarm| alarm.id == AlarmId::ComputeFailed).unwrap();
    assert!(told.what.contains("a test asked for it"), "{told:?}");
    rig.until("the end of COMPUTE_FAILED", |context| !context.alarms.is_active(AlarmId::ComputeFailed, "")).await;
    rig.until("the end of AGENT_STALE", |context| !context.alarms.is_active(AlarmId::AgentStale, "")).await;
    rig.stop().await;
}

#[tokio::test]
async fn a_record_of_use_that_is_damaged_is_told_until_it_is_kept_anew() {
    let dir = tempfile::tempdir().unwrap();
    start(dir.path(), &[]).stop().await;
    std::fs::write(dir.path().join("license/usage"), b"no usage").unwrap();
    let mut rig = start(dir.path(), &[]);
    rig.until("COMPUTE_FAILED", |context| context.alarms.is_active(AlarmId::ComputeFailed, "record")).await;
    let context = Arc::clone(&rig.context);
    // The end keeps what was used.
    rig.stop().await;
    assert!(!context.alarms.is_active(AlarmId::ComputeFailed, "record"));
}

#[tokio::test]
async fn an_exchange_that_panics_is_counted_told_and_tried_again_and_the_next_goes_its_way() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = start(dir.path(), &[("license.url", "https://no-such-host.invalid")]);
    break_it(&rig, Defects { exchange: true, ..Defects::default() }).await;
    rig.context.license.command(Command::Register { token: token(), force: false }).await.unwrap();
    rig.until("REG_RETRY", |context| context.alarms.is_active(AlarmId::RegRetry, "")).await;
    let look = |state: &crate::license::agent::AgentState| {
        let counts = state.statistics[&Endpoint::Registration];
        let code = state.latest_failure.as_ref().map(|failure| failure.code.clone());
        (code, counts.failed, counts.in_queue, state.deadlines.registration_retry.is_some())
    };
    assert_eq!(rig.state(look).await, (Some("internal".to_owned()), 1, 0, true));
    assert!(!rig.context.alarms.is_active(AlarmId::AgentStale, ""));
    // The token is sent again by hand, as the retry would after a quarter of an hour.
    rig.context.license.command(Command::Register { token: token(), force: false }).await.unwrap();
    for _ in 0..200 {
        if rig.state(look).await.1 == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(rig.state(look).await, (Some("dns".to_owned()), 2, 0, true));
    rig.stop().await;
}
