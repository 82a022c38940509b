//! What every driver of one running sidecar shares.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::clock::Clock;
use super::cluster::handle::ClusterHandle;
use super::config::Config;
use super::journal::ShardJournal;
use super::license::handle::LicenseHandle;
use super::notices::Notifier;
use super::telemetry::{Alarms, Counters, Events};
use crate::admission::Gate;
use crate::units::Now;

/// One running sidecar: the gate and what stands around it. Shared by `Arc` between listeners, housekeeping and commands.
#[derive(Debug)]
pub struct Context {
    /// Decides.
    pub gate: Arc<Gate<ShardJournal>>,
    /// Tells the time.
    pub clock: Clock,
    /// The configuration in force.
    pub config: ArcSwap<Config>,
    /// Active alarms and their history.
    pub alarms: Alarms,
    /// What happened, for `/v1/events`.
    pub events: Events,
    /// Counters of the front ends and of the shell itself.
    pub counters: Counters,
    /// Licensing: figures, questions, commands.
    pub license: LicenseHandle,
    /// Where alarms are told to beside log and events.
    pub notifier: Notifier,
    /// The cluster: figures, commands.
    pub cluster: ClusterHandle,
    /// When the process started.
    pub started: Now,
    phase: AtomicU8,
    reloads: OnceLock<mpsc::Sender<ReloadRequest>>,
}

/// Where a sidecar is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Phase {
    /// It recovers its state; nothing is answered yet.
    Starting = 0,
    /// It answers requests.
    Ready = 1,
    /// It refuses new calls: it will stop, or its operator drained it.
    Draining = 2,
}

/// What a reload did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Reloaded {
    /// The keys whose values changed, such as `license.count`.
    pub changed: Vec<String>,
}

/// Why a reload was refused. The old configuration stays in force, whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("the new configuration was refused, the old one stays: {}", reasons.join("; "))]
pub struct ReloadRefused {
    /// Each with file, line and key where there is one.
    pub reasons: Vec<String>,
}

/// A request to reload, and where its result goes.
pub type ReloadRequest = oneshot::Sender<Result<Reloaded, ReloadRefused>>;

impl Context {
    /// A sidecar that starts: not ready, without alarms.
    #[must_use]
    pub fn new(gate: Gate<ShardJournal>, config: Config, counters: Counters) -> Self {
        let clock = Clock;
        let started = clock.now();
        let events = Events::new(started.wall);
        let alarms = Alarms::new(events.clone());
        alarms.set_logged(config.alarms.log);
        let (gate, cluster) = (Arc::new(gate), ClusterHandle::default());
        let low_water = cluster.low_water_flag();
        // One waking without a lock or a system call, unless the driver sleeps. The gate is new: nobody said another.
        gate.on_low_water(move || low_water.notify_one());
        Self {
            gate,
            clock,
            config: ArcSwap::from_pointee(config),
            alarms,
            events,
            counters,
            license: LicenseHandle::default(),
            notifier: Notifier::default(),
            cluster,
            started,
            phase: AtomicU8::new(Phase::Starting.code()),
            reloads: OnceLock::new(),
        }
    }

    /// Where it is in its life.
    #[must_use]
    pub fn phase(&self) -> Phase {
        // Acquire: who sees `Ready` also sees what was recovered before.
        match self.phase.load(Ordering::Acquire) {
            1 => Phase::Ready,
            2 => Phase::Draining,
            _ => Phase::Starting,
        }
    }

    /// Goes on to another phase.
    pub fn set_phase(&self, phase: Phase) {
        self.phase.store(phase.code(), Ordering::Release);
    }

    /// Whether `/readyz` says yes: it answers requests and does not drain.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.phase() == Phase::Ready
    }

    /// Whether every new call is refused because the sidecar stops or was drained by its operator.
    #[must_use]
    pub fn draining(&self) -> bool {
        self.phase() == Phase::Draining
    }

    /// Refuses every new call from now on (`draining`), or stops doing so.
    pub fn set_draining(&self, draining: bool) {
        self.gate.set_draining(draining);
        self.set_phase(if draining { Phase::Draining } else { Phase::Ready });
    }

    /// Seconds since the process started.
    #[must_use]
    pub fn uptime_s(&self) -> u64 {
        self.clock.tick().nanos_since(self.started.tick) / crate::units::NANOS_PER_SECOND
    }

    /// Reads the configuration again and puts it in force, as SIGHUP does.
    ///
    /// # Errors
    /// If the new configuration has errors, or changes what cannot change without a restart; the old one stays.
    pub async fn reload(&self) -> Result<Reloaded, ReloadRefused> {
        let unable = || ReloadRefused { reasons: vec!["the sidecar is starting or stopping".to_owned()] };
        let (answer, result) = oneshot::channel();
        let requests = self.reloads.get().ok_or_else(unable)?;
        requests.send(answer).await.map_err(|_| unable())?;
        result.await.map_err(|_| unable())?
    }

    /// Says who carries out reloads. Once, at start; later calls change nothing.
    pub fn set_reloader(&self, requests: mpsc::Sender<ReloadRequest>) {
        // A second sender is a mistake of the caller that does no harm: the first one works.
        let _ = self.reloads.set(requests);
    }
}

impl Phase {
    #[expect(clippy::as_conversions, reason = "a fieldless repr(u8) enum's discriminant")]
    const fn code(self) -> u8 {
        self as u8
    }
}
