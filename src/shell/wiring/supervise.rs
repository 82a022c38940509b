//! Watches over a running sidecar: seconds, signals, reloads; and stops it in order.
//!
//! What must stay true: nothing here waits for a disk but the stop, and that with a bound; the watchdog is fed as long as
//! housekeeping gets its rounds, also while the sidecar drains.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use super::start::Sidecar;
use super::{ServeError, notify};
use crate::shell::context::Context;
use crate::shell::housekeeping;
use crate::shell::telemetry::{EventKind, Severity};

/// How long the front ends may take to finish their answers at a stop.
const FINISH: Duration = Duration::from_secs(3);

/// How long the last notices may take.
const LAST_NOTICES: Duration = Duration::from_secs(1);

/// The signals that matter.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Takes them over from now on; before, each would end the process.
    ///
    /// # Errors
    /// If the operating system doesn't give them.
    pub(super) fn listen() -> Result<Self, ServeError> {
        let listen = |kind| signal(kind).map_err(|source| ServeError::System { what: "signals", source });
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    async fn stop(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Runs until a signal stops the sidecar.
pub(super) async fn run(mut sidecar: Sidecar, mut signals: Signals) -> Result<(), ServeError> {
    let mut seconds = interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tokio::spawn(feed_watchdog(Arc::clone(&sidecar.context)));
    let signal = loop {
        tokio::select! {
            _ = signals.terminate.recv() => break "SIGTERM",
            _ = signals.interrupt.recv() => break "SIGINT",
            _ = signals.hangup.recv() => {
                // Told by the reload itself.
                let _ = sidecar.reload().await;
            }
            Some(answer) = sidecar.reloads.recv() => {
                // Who asked may have gone.
                let _ = answer.send(sidecar.reload().await);
            }
            _ = seconds.tick() => {
                sidecar.tick().await;
            }
        }
    };
    sidecar.stop(signal, &mut signals).await
}

/// Tells systemd each second that the slow path lives, if housekeeping had a round since.
async fn feed_watchdog(context: Arc<Context>) {
    let mut seconds = interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut rounds_seen = u64::MAX;
    loop {
        seconds.tick().await;
        let rounds = context.counters.housekeeping_rounds().get();
        if rounds != std::mem::replace(&mut rounds_seen, rounds) {
            notify::alive();
        }
    }
}

impl Sidecar {
    /// What is due each second.
    async fn tick(&mut self) {
        self.licensing.look(&self.context).await;
        self.journaling.look(&self.context);
        self.clustering.look(&self.context).await;
        self.revive_housekeeping();
        self.notifying.look(&self.context);
    }

    async fn reload(&mut self) -> Result<crate::shell::context::Reloaded, crate::shell::context::ReloadRefused> {
        notify::reloading();
        let result = self.reloader.reload(&self.context, &self.licensing, &self.running, &mut self.clustering).await;
        notify::ready(match &result {
            Ok(_) => "Deciding calls; the configuration was reloaded",
            Err(_) => "Deciding calls by the old configuration; the last reload was refused, see the log",
        });
        result
    }

    /// Housekeeping never ends by itself: if it did, a defect stopped it, and leases must end all the same.
    fn revive_housekeeping(&mut self) {
        if self.housekeeping.is_finished() {
            tracing::error!("housekeeping stopped by a defect; it is started again, calls were decided meanwhile");
            self.housekeeping = tokio::spawn(housekeeping::run(Arc::clone(&self.context)));
        }
    }

    async fn stop(mut self, signal: &str, signals: &mut Signals) -> Result<(), ServeError> {
        let context = Arc::clone(&self.context);
        let drain_s = context.config.load().listen.drain_time.0;
        context.set_draining(true);
        notify::stopping("Draining: new calls are refused, live calls are kept for the next start");
        tracing::info!(signal, drain_s, "draining: new calls are refused (cause draining), live calls are kept");
        let text = format!("{signal}: new calls are refused for {drain_s} s, then the sidecar stops.");
        let data = json!({ "signal": signal, "drain_s": drain_s });
        context.events.publish(context.clock.wall(), EventKind::Draining, Severity::Warning, text, data);
        let mut drained = pin!(tokio::time::sleep(Duration::from_secs(drain_s.into())));
        let mut seconds = interval(Duration::from_secs(1));
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = &mut drained => break,
                second = signals.stop() => {
                    tracing::warn!(signal = second, "a second signal: stopping at once");
                    return Err(ServeError::Interrupted);
                }
                _ = seconds.tick() => self.tick().await,
            }
        }
        // Streams of events end first: they never would by themselves.
        context.events.close();
        let drained = self.running.drain(FINISH);
        if drained.cut > 0 {
            tracing::warn!(connections = drained.cut, "some clients did not end in time; their connections were cut");
        }
        self.state.remove_addresses();
        context.notifier.stop(LAST_NOTICES).await;
        // Housekeeping goes on until here, and with it the watchdog.
        self.clustering.stop(&context).await;
        self.licensing.stop(&context).await;
        self.housekeeping.abort();
        self.journaling.stop(&context);
        tracing::info!("stopped; live calls come back from the journal at the next start");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::FINISH;
    use crate::shell::cluster::driver::LAST_WORDS;
    use crate::shell::license::driver::LAST_SAVE;

    /// The largest `listen.drain_time`, in seconds.
    const DRAIN_S_MAX: u64 = 60;

    #[test]
    fn systemd_waits_for_a_stop_longer_than_the_longest_drain_takes() {
        let unit = include_str!("../../../config/callgate.service");
        let wait = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")?.strip_suffix('s'));
        let wait_s: u64 = wait.expect("TimeoutStopSec=...s").parse().expect("seconds");
        assert!(
            wait_s >= DRAIN_S_MAX + FINISH.as_secs() + LAST_SAVE.as_secs() + 2 * LAST_WORDS.as_secs() + 5,
            "{wait_s}"
        );
    }
}
