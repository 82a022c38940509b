//! Watches over the driver: one that ended by a defect, or hangs, is told as CLUSTER_DOWN, and started again from its ledger.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::prepared::{MakePools, Prepared};
use crate::shell::cluster::handle::REQUESTS_MAX;
use crate::shell::cluster::identity::Identity;
use crate::shell::cluster::setup::ClusterSetup;
use crate::shell::cluster::tell;
use crate::shell::context::Context;
use crate::shell::telemetry::AlarmId;
use crate::units::{NANOS_PER_SECOND, Tick};

/// A driver that hasn't gone round for so long hangs.
const HANGS_NANOS: u64 = 30 * NANOS_PER_SECOND;
/// The shortest and the longest time between two starts of a driver that keeps ending.
const RESTART_NANOS: [u64; 2] = [NANOS_PER_SECOND, 300 * NANOS_PER_SECOND];
/// A driver that ran for so long was well: the next failure is a first one.
const HEALTHY_NANOS: u64 = 600 * NANOS_PER_SECOND;

/// How long the last records and the good-bye may take.
pub const LAST_WORDS: Duration = Duration::from_secs(3);

/// Keeps a driver running.
#[derive(Debug)]
pub struct ClusterSupervisor {
    task: Option<JoinHandle<()>>,
    setup: ClusterSetup,
    make_pools: MakePools,
    wait: u64,
    restart_at: Tick,
    running_since: Tick,
    /// The ledger is opened on a thread that may wait for the disk.
    opening: Option<JoinHandle<Result<Prepared, String>>>,
}

impl ClusterSupervisor {
    /// Starts the driver.
    #[must_use]
    pub fn start(prepared: Prepared, make_pools: MakePools, context: &Arc<Context>) -> Self {
        let [wait, _] = RESTART_NANOS;
        let mut supervisor = Self {
            task: None,
            setup: prepared.setup.clone(),
            make_pools,
            wait,
            restart_at: Tick(0),
            running_since: Tick(0),
            opening: None,
        };
        supervisor.spawn(prepared, context);
        supervisor
    }

    /// Looks after it. Every second or so; waits for nothing.
    pub async fn look(&mut self, context: &Arc<Context>) {
        let now = context.clock.now();
        if self.task.as_ref().is_some_and(|task| !task.is_finished()) {
            if now.tick.nanos_since(context.cluster.last_beat()) > HANGS_NANOS {
                context.alarms.raise(tell::down("it hangs; perhaps its disk does"), now.wall);
            } else {
                context.alarms.clear(AlarmId::ClusterDown, "", now.wall);
                if now.tick.nanos_since(self.running_since) >= HEALTHY_NANOS {
                    [self.wait, _] = RESTART_NANOS;
                }
            }
            return;
        }
        match self.opening.take_if(|opening| opening.is_finished()) {
            Some(opened) => match opened.await {
                Ok(Ok(prepared)) => self.spawn(prepared, context),
                Ok(Err(error)) => {
                    context.alarms.raise(tell::down(&error), now.wall);
                }
                Err(_) => {
                    context.alarms.raise(tell::down("it failed inside"), now.wall);
                }
            },
            None if self.opening.is_none() && now.tick >= self.restart_at => {
                if self.task.take().is_some() {
                    context.alarms.raise(tell::down("it stopped by a defect"), now.wall);
                }
                let [_, longest] = RESTART_NANOS;
                self.restart_at = now.tick.plus_nanos(self.wait);
                self.wait = self.wait.saturating_mul(2).min(longest);
                let (setup, make_pools, context) = (self.setup.clone(), self.make_pools.clone(), Arc::clone(context));
                self.opening = Some(tokio::task::spawn_blocking(move || {
                    Prepared::open(setup, &context, &make_pools).map_err(|error| error.to_string())
                }));
            }
            None => {}
        }
    }

    fn spawn(&mut self, prepared: Prepared, context: &Arc<Context>) {
        let (sender, requests) = mpsc::channel(REQUESTS_MAX);
        let now = context.clock.now();
        context.alarms.clear(AlarmId::ClusterDown, "", now.wall);
        self.running_since = now.tick;
        context.cluster.beat(now.tick);
        context.cluster.connect(sender);
        self.task = Some(tokio::spawn(prepared.into_driver().run(Arc::clone(context), requests)));
    }

    /// Reads the certificates again. Those of a new configuration are taken by the next start too.
    ///
    /// # Errors
    /// If they are no identity of this node; then nothing changed.
    pub fn read_identity(&self, setup: &ClusterSetup, context: &Context) -> Result<Identity, String> {
        let wall = context.clock.wall();
        Identity::read(&setup.files, &self.setup.node, wall).map_err(|error| error.to_string())
    }

    /// Takes an identity that was read.
    pub async fn take_identity(&mut self, setup: &ClusterSetup, identity: Identity, context: &Context) {
        self.setup.files = setup.files.clone();
        if let Err(error) = context.cluster.set_identity(identity).await {
            tracing::warn!("the cluster's certificates are taken when its driver runs again: {error}");
        }
    }

    /// Ends it in order, within [`LAST_WORDS`].
    pub async fn stop(self, context: &Context) {
        if !context.cluster.stop(LAST_WORDS).await {
            tracing::warn!("the cluster's driver did not end in time; its peers notice its silence");
        }
        if let Some(mut task) = self.task
            && tokio::time::timeout(LAST_WORDS, &mut task).await.is_err()
        {
            task.abort();
        }
    }
}
