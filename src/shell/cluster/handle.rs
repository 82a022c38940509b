//! How the rest of the sidecar speaks with the cluster's driver: commands over a channel, figures in a cell.
//!
//! What must stay true: nobody who asks waits longer than [`PATIENCE`] for a driver that is not there; nothing of the fast
//! path asks. What the fast path says is one wake-up, without a lock.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::{Notify, mpsc, oneshot};

use super::identity::Identity;
use super::status::{ClusterStatus, Share};
use crate::admission::NodePool;
use crate::cluster::{Class, Licenses, NodeName};
use crate::node::Home;
use crate::sync::{AtomicBool, AtomicU64, Ordering};
use crate::units::Tick;

/// How long somebody waits for the driver.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How many requests may wait.
pub(super) const REQUESTS_MAX: usize = 64;

type Answer<T> = oneshot::Sender<T>;

/// What the driver is asked.
#[derive(Debug)]
pub(super) enum Request {
    Drain(bool, Answer<Result<String, ClusterRefused>>),
    Forget(NodeName, Answer<Result<String, ClusterRefused>>),
    Identity(Box<Identity>),
    Stop(Answer<()>),
    #[cfg(test)]
    Panic,
}

/// Why a command was not carried out. Nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClusterRefused {
    /// `[cluster]` is off.
    #[error("this node is in no cluster: cluster.listen is \"off\"")]
    Off,
    /// The driver doesn't answer.
    #[error("the cluster's driver doesn't answer; it is started again (alarm CLUSTER_DOWN)")]
    NotRunning,
    /// The command can't be carried out.
    #[error("{0}")]
    Refused(String),
}

/// The cluster's driver, from outside.
#[derive(Debug, Default)]
pub struct ClusterHandle {
    status: ArcSwapOption<ClusterStatus>,
    requests: ArcSwapOption<mpsc::Sender<Request>>,
    low_water: Arc<Notify>,
    /// The gate's pools that nodes share: those that the start found, for as long as the process runs.
    pools: OnceLock<Box<[NodePool]>>,
    /// What this node brings of each of them, by licensing.
    homes: ArcSwap<Vec<Home>>,
    homes_changed: Notify,
    /// This node takes no part, though its driver starts anew.
    draining: AtomicBool,
    /// When the driver last went round, in nanoseconds of the boot clock.
    beat: AtomicU64,
}

impl ClusterHandle {
    /// The cluster in figures; `None` while this node is in none.
    #[must_use]
    pub fn status(&self) -> Option<Arc<ClusterStatus>> {
        self.status.load_full()
    }

    /// What is lent and borrowed of each license type, in units, as the driver last said: for reports of use.
    #[must_use]
    pub fn loans(&self) -> Vec<(String, u32, u32)> {
        let Some(status) = self.status() else { return Vec::new() };
        let sum = |of: &Share, loans: &BTreeMap<String, Licenses>| {
            loans.values().fold(Licenses::ZERO, |sum, count| sum.plus(*count)).units(of.kind)
        };
        let licensed = status.resources.iter().filter(|of| of.class == Class::License);
        licensed.map(|of| (of.resource.clone(), sum(of, &of.lent), sum(of, &of.borrowed))).collect()
    }

    pub(super) fn set_status(&self, status: ClusterStatus) {
        self.status.store(Some(Arc::new(status)));
    }

    /// Says who answers from now on.
    pub(super) fn connect(&self, requests: mpsc::Sender<Request>) {
        self.requests.store(Some(Arc::new(requests)));
    }

    /// What the gate raises when a shared limit runs low: its driver is woken.
    #[must_use]
    pub fn low_water_flag(&self) -> Arc<Notify> {
        Arc::clone(&self.low_water)
    }

    /// Says which pools nodes share. Once, before the first call is judged; later calls change nothing: what is shared is fixed
    /// while the process runs.
    pub fn share(&self, pools: Vec<NodePool>) {
        // A second word is a mistake of the caller that does no harm: the first one holds.
        let _ = self.pools.set(pools.into());
    }

    /// The pools that nodes share; none where this node is alone.
    #[must_use]
    pub fn pools(&self) -> &[NodePool] {
        self.pools.get().map_or(&[], |pools| pools)
    }

    /// What this node brings of each shared pool from now on. Said after the gate has the settings that belong to it.
    pub fn set_homes(&self, homes: Vec<Home>) {
        if **self.homes.load() != homes {
            self.homes.store(Arc::new(homes));
            self.homes_changed.notify_one();
        }
    }

    /// What this node brings, in the order of [`pools`](Self::pools).
    #[must_use]
    pub fn homes(&self) -> Arc<Vec<Home>> {
        self.homes.load_full()
    }

    pub(super) async fn homes_changed(&self) {
        self.homes_changed.notified().await;
    }

    pub(super) async fn low_water(&self) {
        self.low_water.notified().await;
    }

    pub(super) fn set_draining(&self, draining: bool) {
        self.draining.store(draining, Ordering::Relaxed);
    }

    pub(super) fn is_draining(&self) -> bool {
        // Relaxed: it guards nothing.
        self.draining.load(Ordering::Relaxed)
    }

    /// The driver went round.
    pub(super) fn beat(&self, now: Tick) {
        // Relaxed: a time guards nothing.
        self.beat.store(now.0, Ordering::Relaxed);
    }

    /// When it did last.
    pub(super) fn last_beat(&self) -> Tick {
        Tick(self.beat.load(Ordering::Relaxed))
    }

    pub(super) async fn send(&self, request: Request) -> Result<(), ClusterRefused> {
        let requests = self.requests.load_full().ok_or(ClusterRefused::Off)?;
        requests.send_timeout(request, PATIENCE).await.map_err(|_| ClusterRefused::NotRunning)
    }

    async fn ask<T>(&self, request: impl FnOnce(Answer<T>) -> Request) -> Result<T, ClusterRefused> {
        let (answer, answered) = oneshot::channel();
        self.send(request(answer)).await?;
        let waited = tokio::time::timeout(PATIENCE, answered).await.map_err(|_| ClusterRefused::NotRunning)?;
        waited.map_err(|_| ClusterRefused::NotRunning)
    }

    /// Returns what is borrowed, recalls what is lent, and takes no part; or takes part again. Says what happens now.
    ///
    /// # Errors
    /// If it is refused, or nobody answers.
    pub async fn drain(&self, draining: bool) -> Result<String, ClusterRefused> {
        self.ask(|answer| Request::Drain(draining, answer)).await?
    }

    /// Gives up what is kept of a member that is gone for good. Says what happens now.
    ///
    /// # Errors
    /// If it is refused, or nobody answers.
    pub async fn forget(&self, node: NodeName) -> Result<String, ClusterRefused> {
        self.ask(|answer| Request::Forget(node, answer)).await?
    }

    /// Takes other certificates for new connections; every connection is made anew.
    ///
    /// # Errors
    /// If nobody answers.
    pub async fn set_identity(&self, identity: Identity) -> Result<(), ClusterRefused> {
        self.send(Request::Identity(Box::new(identity))).await
    }

    /// Ends the driver in order. `false` if it doesn't within that time.
    pub async fn stop(&self, within: Duration) -> bool {
        let (answer, answered) = oneshot::channel();
        let stopped = async { self.send(Request::Stop(answer)).await.is_ok() && answered.await.is_ok() };
        tokio::time::timeout(within, stopped).await.unwrap_or(false)
    }
}
