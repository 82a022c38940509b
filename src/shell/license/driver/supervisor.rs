//! Watches over the driver: one that ended by a defect, or hangs, is told as AGENT_STALE, and started again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::prepared::{Prepared, Sources};
use crate::shell::config::Secrets;
use crate::shell::context::Context;
use crate::shell::license::handle::REQUESTS_MAX;
use crate::shell::license::tell;
use crate::shell::telemetry::AlarmId;
use crate::sync::Mutex;
use crate::units::{NANOS_PER_SECOND, Tick};

/// A driver that hasn't gone round for so long hangs: the disk, most likely.
const HANGS_NANOS: u64 = 60 * NANOS_PER_SECOND;

/// The shortest and the longest time between two starts of a driver that keeps ending.
const RESTART_NANOS: [u64; 2] = [NANOS_PER_SECOND, 300 * NANOS_PER_SECOND];

/// A driver that ran for so long was well: the next failure is a first one.
const HEALTHY_NANOS: u64 = 600 * NANOS_PER_SECOND;

/// The times between two starts.
#[derive(Debug)]
struct Backoff {
    wait: u64,
    running_since: Tick,
}

impl Backoff {
    const fn new() -> Self {
        let [wait, _] = RESTART_NANOS;
        Self { wait, running_since: Tick(0) }
    }

    const fn started(&mut self, now: Tick) {
        self.running_since = now;
    }

    /// It runs. After ten minutes what was before is forgotten.
    const fn well(&mut self, now: Tick) {
        if now.nanos_since(self.running_since) >= HEALTHY_NANOS {
            [self.wait, _] = RESTART_NANOS;
        }
    }

    /// It is started again now; if that fails, when next.
    fn next(&mut self, now: Tick) -> Tick {
        let [_, longest] = RESTART_NANOS;
        self.wait = self.wait.saturating_mul(2).min(longest);
        now.plus_nanos(self.wait)
    }
}

/// How long the last save may take.
pub const LAST_SAVE: Duration = Duration::from_secs(5);

/// Keeps a driver running.
#[derive(Debug)]
pub struct Supervisor {
    task: Option<JoinHandle<()>>,
    sources: Sources,
    secrets: Arc<Mutex<Secrets>>,
    restart_at: Tick,
    backoff: Backoff,
    /// The stores are opened on a thread that may wait for the disk.
    opening: Option<JoinHandle<Result<Prepared, String>>>,
}

impl Supervisor {
    /// Starts the driver.
    #[must_use]
    pub fn start(prepared: Prepared, sources: Sources, secrets: Secrets, context: &Arc<Context>) -> Self {
        let mut supervisor = Self {
            task: None,
            sources,
            secrets: Arc::new(Mutex::new(secrets)),
            restart_at: Tick(0),
            backoff: Backoff::new(),
            opening: None,
        };
        supervisor.spawn(prepared, context);
        supervisor
    }

    /// Takes the secrets of a new configuration, for the next start.
    pub fn set_secrets(&self, secrets: Secrets) {
        *self.secrets.lock() = secrets;
    }

    /// Looks after it. Every second or so; waits for nothing.
    pub async fn look(&mut self, context: &Arc<Context>) {
        let now = context.clock.now();
        let ended = self.task.as_ref().is_none_or(JoinHandle::is_finished);
        if !ended {
            if now.tick.nanos_since(context.license.last_beat()) > HANGS_NANOS {
                context.alarms.raise(tell::stale("the licensing agent hangs; perhaps its disk does"), now.wall);
            } else if self.opening.is_none() {
                context.alarms.clear(AlarmId::AgentStale, "", now.wall);
                self.backoff.well(now.tick);
            }
            return;
        }
        if let Some(task) = self.task.take()
            && let Err(error) = task.await
            && let Ok(panic) = error.try_into_panic()
        {
            // Cleared by the driver's first round that succeeds.
            context.alarms.raise(tell::not_computed(tell::panic_text(&*panic)), now.wall);
        }
        context.alarms.raise(tell::stale("the licensing agent stopped by a defect"), now.wall);
        match self.opening.take_if(|opening| opening.is_finished()) {
            Some(opened) => match opened.await {
                Ok(Ok(prepared)) => self.spawn(prepared, context),
                Ok(Err(error)) => cannot_start(context, &error),
                Err(_) => cannot_start(context, "it failed inside"),
            },
            None if self.opening.is_none() && now.tick >= self.restart_at => {
                self.restart_at = self.backoff.next(now.tick);
                let (sources, secrets) = (self.sources.clone(), self.secrets.lock().clone());
                let config = context.config.load_full();
                self.opening = Some(tokio::task::spawn_blocking(move || {
                    Prepared::open(&sources, &config, &secrets, now).map_err(|error| error.to_string())
                }));
            }
            None => {}
        }
    }

    fn spawn(&mut self, prepared: Prepared, context: &Arc<Context>) {
        let (sender, requests) = mpsc::channel(REQUESTS_MAX);
        let now = context.clock.now();
        context.alarms.clear(AlarmId::AgentInitFailed, "", now.wall);
        self.backoff.started(now.tick);
        context.license.set_status(prepared.status());
        context.license.beat(now.tick);
        context.license.connect(sender);
        self.task = Some(tokio::spawn(prepared.into_driver().run(Arc::clone(context), requests)));
    }

    /// Ends it in order, within [`LAST_SAVE`].
    pub async fn stop(self, context: &Context) {
        if !context.license.stop(LAST_SAVE).await {
            tracing::error!("the licensing agent did not end in time; that may cost a minute of evaluation");
        }
        if let Some(task) = self.task {
            task.abort();
        }
    }
}

fn cannot_start(context: &Context, error: &str) {
    tracing::error!("the licensing agent cannot start again: {error}");
    context.alarms.raise(tell::cannot_start(error), context.clock.wall());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_grow_rarer_until_a_driver_ran_for_ten_minutes() {
        let mut backoff = Backoff::new();
        let mut now = Tick::from_secs(1000);
        let mut waits = Vec::new();
        for _ in 0..10 {
            backoff.started(now);
            backoff.well(now.plus_secs(599));
            let next = backoff.next(now);
            waits.push(next.nanos_since(now) / NANOS_PER_SECOND);
            now = next;
        }
        assert_eq!(waits, [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        backoff.started(now);
        backoff.well(now.plus_secs(600));
        assert_eq!(backoff.next(now).nanos_since(now), 2 * NANOS_PER_SECOND);
    }
}
