//! From a configuration to a running sidecar.

use std::io::{IsTerminal, Write};
use std::sync::Arc;

use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::banner::Banner;
use super::clustering::Clustering;
use super::journaling::Journaling;
use super::notifying::{Notifying, Pages};
use super::reload::Reloader;
use super::{ServeError, StateDir, listen, notify, tell_mode};
use crate::admission::{Gate, Policy, Recovery};
use crate::license::view::LicenseView;
use crate::shell::clock::Clock;
use crate::shell::cluster::setup::shared_pools;
use crate::shell::config::{Config, Loaded, LogFormat};
use crate::shell::context::{Context, Phase, ReloadRequest};
use crate::shell::housekeeping;
use crate::shell::license::driver::{Prepared, Sources, Supervisor};
use crate::shell::listeners::{Listeners, Running, check_exposure};
use crate::shell::store::{KeyOrigin, load_hash_key};
use crate::shell::telemetry::log::LogHandle;
use crate::shell::telemetry::{AlarmId, Counters, EventKind, Raise, Severity};

/// How many requests to reload may wait.
const RELOADS_WAITING_MAX: usize = 4;

/// A running sidecar, and what its supervisor needs.
#[derive(Debug)]
pub(super) struct Sidecar {
    pub(super) context: Arc<Context>,
    pub(super) licensing: Supervisor,
    pub(super) journaling: Journaling,
    pub(super) clustering: Clustering,
    pub(super) running: Running,
    pub(super) reloader: Reloader,
    pub(super) reloads: mpsc::Receiver<ReloadRequest>,
    pub(super) housekeeping: JoinHandle<()>,
    pub(super) notifying: Notifying,
    pub(super) state: StateDir,
}

impl Sidecar {
    /// Starts everything, in order. Call it inside the slow runtime.
    ///
    /// # Errors
    /// If something cannot be had; then nothing listens.
    pub(super) fn start(loaded: Loaded, log: Option<LogHandle>, pages: Pages) -> Result<Self, ServeError> {
        let Loaded { config, secrets, warnings, loader, .. } = loaded;
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        let settings = listen::settings(&config, &secrets);
        check_exposure(&settings)?;
        let state = StateDir::open(&config.node.data_dir)?;
        let (hash_key, key_origin) = load_hash_key(state.path())?;
        let sources = Sources {
            data_dir: state.path().to_owned(),
            outside: loader.inputs.evaluation_directory(),
            host_name: loader.inputs.host_name.clone(),
        };
        let prepared = Prepared::open(&sources, &config, &secrets, Clock.now())?;
        let view = prepared.view();
        let bounds = config.bounds();
        let (mut journaling, journals) = Journaling::open(&config, state.path(), bounds.shards)?;
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(|error| ServeError::Random(error.to_string()))?;
        let pools = shared_pools(&config);
        // For people: what this node has of its own.
        let own = prepared.in_force(&[]).0;
        let (policy, homes) = prepared.in_force(&pools);
        let gate = Gate::new(policy, bounds, hash_key, u64::from_le_bytes(seed), journals);
        gate.verdict().set(prepared.verdict());
        let context = Arc::new(Context::new(gate, config, Counters::default()));
        context.cluster.share(pools);
        context.cluster.set_homes(homes);
        let notifying = Notifying::start(&context, &secrets, pages);
        tell_key(&context, &key_origin);
        let recovery = journaling.recover(&context, &key_origin);
        journaling.begin(&context)?;
        let (sender, reloads) = mpsc::channel(RELOADS_WAITING_MAX);
        context.set_reloader(sender);
        context.license.set_status(prepared.status());
        let clustering = Clustering::start(&context, sources.outside.clone())?;
        let running = Listeners::start(Arc::clone(&context), settings)?;
        let sidecar = Self {
            licensing: Supervisor::start(prepared, sources, secrets, &context),
            housekeeping: tokio::spawn(housekeeping::run(Arc::clone(&context))),
            notifying,
            reloader: Reloader { loader, log },
            context,
            journaling,
            clustering,
            running,
            reloads,
            state,
        };
        sidecar.announce(recovery, &view, &own)?;
        Ok(sidecar)
    }

    fn announce(&self, recovery: Recovery, license: &LicenseView, policy: &Policy) -> Result<(), ServeError> {
        let context = &self.context;
        let config = context.config.load();
        tell_mode(context, &config);
        let resp: Vec<String> = self.running.resp.iter().map(ToString::to_string).collect();
        let datagram: Vec<String> = self.running.datagram.iter().map(ToString::to_string).collect();
        let http = self.running.http.map(|address| address.to_string());
        let addresses = json!({
            "pid": std::process::id(),
            "resp": resp,
            "datagram": datagram,
            "http": http,
            "admin": config.admin_socket(),
        });
        if let Err(error) = self.state.write_addresses(&addresses) {
            // Calls are decided all the same: only tools that look the addresses up there don't find them.
            tracing::warn!("the file that tells the listening addresses was not written: {error}");
        }
        context.set_phase(Phase::Ready);
        let text = format!("callgate {} is ready.", env!("CARGO_PKG_VERSION"));
        context.events.publish(context.clock.wall(), EventKind::Started, Severity::Info, text, addresses);
        let banner = Banner {
            node: &config.node.name,
            pid: std::process::id(),
            data_dir: self.state.path().display().to_string(),
            resp,
            datagram,
            http,
            policy,
            license,
            recovered: recovery.live,
            journal: config.journal.enabled,
        };
        tracing::info!(
            node = banner.node,
            resp = banner.resp.join(","),
            http = banner.http,
            recovered = banner.recovered,
            "ready: calls are decided from now on"
        );
        if wants_banner(&config) {
            // After the lines that are waiting.
            if let Some(log) = &self.reloader.log {
                let _ = log.flush(super::LOG_FLUSH);
            }
            // A closed standard error is no reason not to run.
            let _ = std::io::stderr().lock().write_all(banner.text().as_bytes());
        }
        notify::ready(&format!("Deciding calls; {} live calls came back from the journal", recovery.live));
        Ok(())
    }
}

/// A person reads standard error: not systemd's journal, and no collector of JSON lines.
fn wants_banner(config: &Config) -> bool {
    config.telemetry.log_format == LogFormat::Text
        && (std::io::stderr().is_terminal() || std::env::var_os("JOURNAL_STREAM").is_none())
}

fn tell_key(context: &Context, origin: &KeyOrigin) {
    match origin {
        KeyOrigin::Loaded => {}
        KeyOrigin::Created => tracing::info!("first start here: a new key for hashing call ids was made"),
        KeyOrigin::Replaced { reason, kept_as } => {
            context.alarms.raise(
                Raise {
                    id: AlarmId::StateRestored,
                    subject: "hash.key".to_owned(),
                    severity: Severity::Major,
                    what: format!("The key for hashing call ids was unusable: {reason}. A new one was made."),
                    effect: "Calls from before this start count against the limits, but releases don't find them."
                        .to_owned(),
                    next: "Each of them goes when its lease ends.".to_owned(),
                    remedy: format!("Check the disk; the damaged file is kept as {}.", kept_as.display()),
                },
                context.clock.wall(),
            );
        }
    }
}
