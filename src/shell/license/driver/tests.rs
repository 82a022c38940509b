//! The driver with real stores, a real gate and no manager; and what becomes of it when it dies.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::admission::{Admit, CallId, Gate};
use crate::license::agent::{Agent, Command, Registration, Stored};
use crate::license::view::Page;
use crate::limits::{Verdict, VerdictCause};
use crate::protocol::{Entropy, RegistrationToken};
use crate::shell::config::{FlagValue, Inputs, Loaded, Loader};
use crate::shell::context::Context;
use crate::shell::journal::ShardJournal;
use crate::shell::license::handle::Request;
use crate::shell::license::setup::{Host, agent_setup};
use crate::shell::telemetry::{AlarmId, Counters};
use crate::units::{HashKey, Now};

mod changes;
mod defects;

/// What fails.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Defects {
    /// The driver, at once.
    pub(crate) driver: bool,
    /// Computing what is used, until this is taken back.
    pub(crate) usage: bool,
    /// The next exchange with the manager.
    pub(crate) exchange: bool,
}

/// An agent in evaluation, as one that starts now.
pub(crate) fn evaluating(now: Now) -> Agent {
    let config = crate::shell::config::Config::defaults("sip-a", Path::new("/nowhere"));
    let host = Host { name: "host".to_owned(), fingerprint: "print".to_owned() };
    Agent::start(agent_setup(&config, &host, None), Stored::default(), now, [7; 32])
}

fn load(dir: &Path, flags: &[(&str, &str)]) -> Loaded {
    let data_dir = dir.display().to_string();
    let flags = [("node.data_dir", data_dir.as_str()), ("license.stable_id", "a machine")]
        .iter()
        .chain(flags)
        .map(|(key, value)| FlagValue { flag: "--set".to_owned(), key: (*key).to_owned(), value: (*value).to_owned() })
        .collect();
    let inputs = Inputs { host_name: "host".to_owned(), ..Inputs::default() };
    Loader { file: None, inputs, flags }.load().unwrap()
}

struct Rig {
    context: Arc<Context>,
    supervisor: Supervisor,
}

fn start(dir: &Path, flags: &[(&str, &str)]) -> Rig {
    let Loaded { config, secrets, .. } = load(dir, flags);
    let sources = Sources { data_dir: dir.to_owned(), outside: None, host_name: "host".to_owned() };
    let prepared = Prepared::open(&sources, &config, &secrets, crate::shell::clock::Clock.now()).unwrap();
    let key = HashKey::from_bytes([7; 16]);
    let gate = Gate::new(prepared.in_force(&[]).0, config.bounds(), key, 1, vec![ShardJournal::off()]);
    gate.verdict().set(prepared.verdict());
    let context = Arc::new(Context::new(gate, config, Counters::default()));
    let supervisor = Supervisor::start(prepared, sources, secrets, &context);
    Rig { context, supervisor }
}

impl Rig {
    async fn state<T: Send + 'static>(
        &self,
        look: impl FnOnce(&crate::license::agent::AgentState) -> T + Send + 'static,
    ) -> T {
        self.context.license.look(move |input| look(input.state)).await.unwrap()
    }

    async fn until(&mut self, what: &str, mut done: impl FnMut(&Context) -> bool) {
        for _ in 0..600 {
            self.supervisor.look(&self.context).await;
            if done(&self.context) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{what} did not come");
    }

    async fn stop(self) {
        self.supervisor.stop(&self.context).await;
    }
}

fn token() -> RegistrationToken {
    RegistrationToken::generate(&mut Entropy::from_seed([5; 32]))
}

#[tokio::test]
async fn without_a_manager_evaluation_runs_and_the_configured_limits_are_in_force() {
    let dir = tempfile::tempdir().unwrap();
    let rig = start(dir.path(), &[("license.count", "50"), ("license.sessions", "7")]);
    let policy = rig.context.gate.policy();
    assert_eq!((policy.rate.map(|rate| rate.get()), policy.license_types[0].count), (Some(50), Some(7)));
    let status = rig.context.license.status().unwrap();
    assert_eq!((status.state, status.registration, status.verdict), ("evaluation", "unregistered", Verdict::default()));
    let page = rig.context.license.look(|input| Page::All.json(input, 30).to_string()).await.unwrap();
    assert!(page.contains("PID:CALLGATE"), "{page}");
    rig.stop().await;
}

#[tokio::test]
async fn the_identity_is_made_once_and_a_clean_stop_costs_no_evaluation() {
    let dir = tempfile::tempdir().unwrap();
    let rig = start(dir.path(), &[]);
    let (udi, used) = rig.state(|state| (state.udi.clone(), state.evaluation.used_s)).await;
    rig.stop().await;
    let rig = start(dir.path(), &[]);
    let (again, used_again) = rig.state(|state| (state.udi.clone(), state.evaluation.used_s)).await;
    assert_eq!(udi, again);
    assert!(used_again - used < 30, "{used} {used_again}");
    drop(rig);
    // Not stopped: the minute since the last save may be lost, and is charged.
    let rig = start(dir.path(), &[]);
    assert!(rig.state(|state| state.evaluation.used_s).await >= used_again + 60);
    rig.stop().await;
}

#[tokio::test]
async fn a_profile_that_refuses_unlicensed_calls_does_so_before_the_first_is_asked() {
    let dir = tempfile::tempdir().unwrap();
    let rig = start(dir.path(), &[("license.profile", "cusp")]);
    assert_eq!(rig.context.gate.verdict().get().calls, Some(VerdictCause::Unconfigured));
    let now = rig.context.clock.now();
    assert!(!rig.context.gate.admit(&Admit::call(CallId::new(b"a").unwrap()), now).admitted);
    let on = load(dir.path(), &[("license.profile", "cusp"), ("license.enabled", "true")]);
    rig.context.license.reconfigure(&on.config, &on.secrets).await.unwrap();
    assert_eq!(rig.context.gate.verdict().get(), Verdict::default());
    rig.stop().await;
}

#[tokio::test]
async fn a_registration_without_a_manager_stays_pending_and_names_the_step_that_failed() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = start(dir.path(), &[("license.url", "https://no-such-host.invalid")]);
    let done = rig.context.license.command(Command::Register { token: token(), force: false }).await.unwrap();
    assert!(done.in_progress, "{done:?}");
    rig.until("REG_RETRY", |context| context.alarms.is_active(AlarmId::RegRetry, "")).await;
    let (registration, latest) = rig.state(|state| (state.registration.clone(), state.latest_failure.clone())).await;
    assert_eq!((registration, latest.unwrap().code), (Registration::Pending, "dns".to_owned()));
    // It is on disk: a start knows of it, and the token is not in clear there.
    rig.stop().await;
    let bytes = std::fs::read(dir.path().join("license/state")).unwrap();
    let reveal = token().reveal().as_bytes().to_vec();
    assert!(!bytes.windows(reveal.len()).any(|window| window == reveal));
    let rig = start(dir.path(), &[("license.url", "https://no-such-host.invalid")]);
    assert_eq!(rig.state(|state| state.registration.clone()).await, Registration::Pending);
    let cancelled = rig.context.license.command(Command::CancelRegistration).await.unwrap();
    assert!(!cancelled.in_progress);
    let refused = rig.context.license.command(Command::Deregister).await.unwrap_err();
    assert!(!refused.text.is_empty());
    rig.stop().await;
}

#[tokio::test]
async fn a_dead_agent_changes_no_verdict_is_told_and_starts_again_from_its_store() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = start(dir.path(), &[("license.count", "50")]);
    let udi = rig.state(|state| state.udi.clone()).await;
    let (policy, verdict) = (rig.context.gate.policy(), rig.context.gate.verdict().get());
    rig.context.license.send(Request::Defects(Defects { driver: true, ..Defects::default() })).await.unwrap();
    rig.until("AGENT_STALE", |context| context.alarms.is_active(AlarmId::AgentStale, "")).await;
    assert_eq!((rig.context.gate.policy(), rig.context.gate.verdict().get()), (policy, verdict));
    let now = rig.context.clock.now();
    assert!(rig.context.gate.admit(&Admit::call(CallId::new(b"a").unwrap()), now).admitted);
    rig.until("the agent's return", |context| !context.alarms.is_active(AlarmId::AgentStale, "")).await;
    assert_eq!(rig.state(|state| state.udi.clone()).await, udi);
    rig.stop().await;
}

#[tokio::test]
async fn an_agent_that_cannot_be_started_again_is_told_until_it_can() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = start(dir.path(), &[]);
    let places = ["license/state", "node/license-state"].map(|name| dir.path().join(name));
    let kept = places.clone().map(|place| std::fs::read(place).unwrap());
    rig.context.license.send(Request::Defects(Defects { driver: true, ..Defects::default() })).await.unwrap();
    for place in &places {
        std::fs::remove_file(place).unwrap();
        std::fs::create_dir(place).unwrap();
    }
    rig.until("AGENT_INIT_FAILED", |context| context.alarms.is_active(AlarmId::AgentInitFailed, "")).await;
    for (place, bytes) in places.iter().zip(kept) {
        std::fs::remove_dir(place).unwrap();
        std::fs::write(place, bytes).unwrap();
    }
    rig.until("the agent's return", |context| !context.alarms.is_active(AlarmId::AgentInitFailed, "")).await;
    rig.stop().await;
}

#[tokio::test]
async fn a_state_that_cannot_be_written_binds_nothing_and_is_told_until_it_can() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = start(dir.path(), &[("license.url", "https://no-such-host.invalid")]);
    // Files stand where the directories were.
    let away = tempfile::tempdir().unwrap();
    for name in ["license", "node"] {
        std::fs::rename(dir.path().join(name), away.path().join(name)).unwrap();
        std::fs::write(dir.path().join(name), b"").unwrap();
    }
    let refused = rig.context.license.command(Command::Register { token: token(), force: false }).await.unwrap_err();
    assert_eq!(refused.code, "not_saved");
    assert!(rig.context.alarms.is_active(AlarmId::StateNotSaved, "license"));
    assert_eq!(rig.state(|state| state.registration.clone()).await, Registration::Unregistered);
    for name in ["license", "node"] {
        std::fs::remove_file(dir.path().join(name)).unwrap();
        std::fs::rename(away.path().join(name), dir.path().join(name)).unwrap();
    }
    // The agent waits a while before it writes again.
    tokio::time::sleep(Duration::from_secs(11)).await;
    rig.context.license.command(Command::Register { token: token(), force: false }).await.unwrap();
    rig.until("the end of the alarm", |context| !context.alarms.is_active(AlarmId::StateNotSaved, "license")).await;
    rig.stop().await;
}

#[tokio::test]
async fn a_start_that_can_write_nothing_binds_calls_by_what_it_found_and_saves_as_soon_as_it_can() {
    let dir = tempfile::tempdir().unwrap();
    let flags = [("license.profile", "cusp")];
    let rig = start(dir.path(), &flags);
    let udi = rig.state(|state| state.udi.clone()).await;
    rig.stop().await;
    // A directory stands where the file beside is written: nothing can be saved, and everything can be read.
    let blocks = ["license/state.new", "node/license-state.new"].map(|name| dir.path().join(name));
    for block in &blocks {
        std::fs::create_dir(block).unwrap();
    }
    let mut rig = start(dir.path(), &flags);
    assert_eq!(rig.context.gate.verdict().get().calls, Some(VerdictCause::Unconfigured));
    assert_eq!(rig.state(|state| state.udi.clone()).await, udi);
    rig.until("STATE_NOT_SAVED", |context| context.alarms.is_active(AlarmId::StateNotSaved, "license")).await;
    for block in &blocks {
        std::fs::remove_dir(block).unwrap();
    }
    rig.until("the end of the alarm", |context| !context.alarms.is_active(AlarmId::StateNotSaved, "license")).await;
    rig.stop().await;
    // Where nothing was found, evaluation would run for nothing: that start is refused.
    let empty = tempfile::tempdir().unwrap();
    for name in ["license", "node"] {
        std::fs::write(empty.path().join(name), b"").unwrap();
    }
    let Loaded { config, secrets, .. } = load(empty.path(), &flags);
    let sources = Sources { data_dir: empty.path().to_owned(), outside: None, host_name: "host".to_owned() };
    assert!(Prepared::open(&sources, &config, &secrets, crate::shell::clock::Clock.now()).is_err());
}

#[tokio::test]
async fn a_configuration_that_the_gate_or_the_agent_refuses_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let rig = start(dir.path(), &[("license.count", "50")]);
    let types = load(dir.path(), &[("license.count", "60"), ("license.types.extra.count", "3")]);
    let refused = rig.context.license.reconfigure(&types.config, &types.secrets).await.unwrap_err();
    assert!(refused.contains("license types"), "{refused}");
    assert_eq!(rig.context.gate.policy().rate.map(|rate| rate.get()), Some(50));
    let more = load(dir.path(), &[("license.count", "60")]);
    rig.context.license.reconfigure(&more.config, &more.secrets).await.unwrap();
    assert_eq!(rig.context.gate.policy().rate.map(|rate| rate.get()), Some(60));
    let asked = rig.context.license.look(|input| input.setup.requested[0].units).await.unwrap();
    assert_eq!(asked, Some(60), "what is asked for follows the configuration");
    rig.stop().await;
}

#[tokio::test]
async fn a_backup_comes_back_here_and_gives_no_evaluation_time_back() {
    let dir = tempfile::tempdir().unwrap();
    let rig = start(dir.path(), &[]);
    let udi = rig.state(|state| state.udi.clone()).await;
    let backup = rig.context.license.backup().await.unwrap();
    let used = rig.state(|state| state.evaluation.used_s).await;
    rig.context.license.restore(backup.clone().into_bytes()).await.unwrap();
    assert!(rig.state(|state| state.evaluation.used_s).await >= used);
    assert_eq!(rig.state(|state| state.udi.clone()).await, udi);
    let refused = rig.context.license.restore(b"{}".to_vec()).await.unwrap_err();
    assert_eq!(refused.code, "backup");
    rig.stop().await;
    // On another machine its identity is not taken, and people are told.
    let elsewhere = tempfile::tempdir().unwrap();
    let rig = start(elsewhere.path(), &[("license.stable_id", "another machine")]);
    rig.context.license.restore(backup.into_bytes()).await.unwrap();
    assert_ne!(rig.state(|state| state.udi.clone()).await, udi);
    assert!(rig.context.alarms.is_active(AlarmId::ReregisterNeeded, ""));
    rig.stop().await;
}

#[tokio::test]
async fn use_is_sampled_from_the_gate_each_second() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = start(dir.path(), &[("license.sessions", "7")]);
    let now = rig.context.clock.now();
    for id in [b"a", b"b", b"c"] {
        assert!(rig.context.gate.admit(&Admit::call(CallId::new(id).unwrap()), now).admitted);
    }
    rig.until("three sessions in use", |context| {
        let status = context.license.status().unwrap();
        status.types.iter().any(|figures| figures.type_name == "session" && figures.used == 3)
    })
    .await;
    rig.stop().await;
}
