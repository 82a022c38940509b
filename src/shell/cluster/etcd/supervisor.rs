//! Watches over the driver: one that ended by a defect is told as CLUSTER_DOWN, and started again.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::EtcdSetup;
use super::access::EtcdError;
use super::task::Driver;
use crate::shell::cluster::driver::{LAST_WORDS, MakePools};
use crate::shell::cluster::handle::REQUESTS_MAX;
use crate::shell::cluster::tell;
use crate::shell::context::Context;
use crate::shell::telemetry::AlarmId;
use crate::units::Tick;

/// The shortest and the longest time between two starts of a driver that keeps ending, in seconds.
const RESTART_S: [u64; 2] = [1, 300];

/// Keeps a driver running.
#[derive(Debug)]
pub struct EtcdSupervisor {
    task: Option<JoinHandle<()>>,
    setup: EtcdSetup,
    make_pools: MakePools,
    wait_s: u64,
    restart_at: Tick,
}

impl EtcdSupervisor {
    /// Starts the driver. It needs no etcd to start: until one answers, this node has what it keeps.
    ///
    /// # Errors
    /// If the state directory's number can't be had.
    pub fn start(setup: EtcdSetup, make_pools: MakePools, context: &Arc<Context>) -> Result<Self, EtcdError> {
        let [wait_s, _] = RESTART_S;
        let mut supervisor = Self { task: None, setup, make_pools, wait_s, restart_at: Tick(0) };
        supervisor.spawn(context)?;
        Ok(supervisor)
    }

    fn spawn(&mut self, context: &Arc<Context>) -> Result<(), EtcdError> {
        let driver = Driver::open(self.setup.clone(), context, &self.make_pools)?;
        let (sender, requests) = mpsc::channel(REQUESTS_MAX);
        let now = context.clock.now();
        context.alarms.clear(AlarmId::ClusterDown, "", now.wall);
        context.cluster.beat(now.tick);
        context.cluster.connect(sender);
        self.task = Some(tokio::spawn(driver.run(Arc::clone(context), requests)));
        Ok(())
    }

    /// Looks after it. Every second or so.
    pub fn look(&mut self, context: &Arc<Context>) {
        let now = context.clock.now();
        if self.task.as_ref().is_some_and(|task| !task.is_finished()) || now.tick < self.restart_at {
            return;
        }
        let [_, longest] = RESTART_S;
        self.restart_at = now.tick.plus_secs(self.wait_s);
        self.wait_s = self.wait_s.saturating_mul(2).min(longest);
        context.alarms.raise(tell::down("it stopped by a defect"), now.wall);
        if let Err(error) = self.spawn(context) {
            context.alarms.raise(tell::down(&error.to_string()), now.wall);
        }
    }

    /// Ends it in order, within [`LAST_WORDS`].
    pub async fn stop(self, context: &Context) {
        if !context.cluster.stop(LAST_WORDS).await {
            tracing::warn!("the driver of etcd's chunks did not end in time; they are free when their term ends");
        }
        if let Some(task) = self.task {
            task.abort();
        }
    }
}
