//! Carries notices to where operators look: the log, syslog, webhooks, mail.
//!
//! Each destination has a queue and a task of its own, so that one that hangs holds up nothing else. What must stay true:
//! [`Notifier::tell`] never waits; a queue is bounded, and what it drops (the oldest) is counted; a notice is tried again
//! for a bounded time only; no secret is logged. It knows nothing of sidecar or manager: both use it.

mod carrier;
mod mail;
mod queue;
mod syslog;
mod webhook;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::task::JoinHandle;

use self::carrier::Carrier;
use self::queue::Queue;
use crate::notice::Notice;
use crate::shell::config::{Destination, DestinationSecrets, DestinationSetup};
use crate::sync::{AtomicU64, Mutex, Ordering};

/// How many notices may wait for one destination.
pub const QUEUE_MAX: usize = 256;

/// The longest time that a test of one destination takes.
const TEST_TIME_MAX: Duration = Duration::from_secs(20);

/// What became of the notices for one destination.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NotificationCounts {
    /// The destination.
    pub destination: String,
    /// Delivered.
    pub sent: u64,
    /// Given up.
    pub failed: u64,
    /// Not even tried: too many waited, or the destination was taken out.
    pub dropped: u64,
}

#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
}

impl Counts {
    fn add(of: &AtomicU64, count: u64) {
        // Relaxed: nothing is published by a count.
        of.fetch_add(count, Ordering::Relaxed);
    }
}

/// How a test of one destination went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TestOutcome {
    /// The destination.
    pub destination: String,
    /// Its kind.
    pub kind: &'static str,
    /// Whether the notice was taken there.
    pub sent: bool,
    /// Where to and what was answered, or why it was not.
    pub told: String,
}

/// Nobody is called so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no destination is called \"{found}\"; accepted: {}", accepted.join(", "))]
pub struct UnknownDestination {
    /// What was asked for.
    pub found: String,
    /// Who there is.
    pub accepted: Vec<String>,
}

/// Where notices go. Cloning shares it. Without destinations it tells nobody.
#[derive(Debug, Clone, Default)]
pub struct Notifier {
    workers: Arc<Mutex<Vec<Worker>>>,
}

#[derive(Debug)]
struct Worker {
    setup: DestinationSetup,
    carrier: Arc<Carrier>,
    queue: Arc<Queue>,
    counts: Arc<Counts>,
    /// `None`: only tests go there, others tell it by themselves.
    task: Option<JoinHandle<()>>,
}

impl Worker {
    fn start(setup: DestinationSetup, counts: Arc<Counts>, listed_only: bool) -> Self {
        let carrier = Arc::new(Carrier::new(&setup));
        let queue = Arc::new(Queue::default());
        let task = (!listed_only).then(|| {
            let retry_for = setup.destination.retry_for();
            tokio::spawn(worker::run(Arc::clone(&carrier), Arc::clone(&queue), Arc::clone(&counts), retry_for))
        });
        Self { setup, carrier, queue, counts, task }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Notifier {
    /// Puts these destinations in place of the present ones. One that stays as it is keeps what waits there. Call it inside
    /// a runtime.
    ///
    /// `log`: whether there is the predefined destination, and who tells it: with `log_is_told` its owner does, and only
    /// tests come from here.
    pub fn set(&self, destinations: Vec<DestinationSetup>, log: bool, log_is_told: bool) {
        let predefined = DestinationSetup { destination: Destination::predefined(), ..DestinationSetup::default() };
        let wanted = log.then_some((predefined, log_is_told)).into_iter();
        let wanted = wanted.chain(destinations.into_iter().map(|setup| (setup, false)));
        let mut workers = self.workers.lock();
        let mut old = std::mem::take(&mut *workers);
        for (setup, listed_only) in wanted {
            let same = old.iter().position(|worker| worker.setup.destination.name == setup.destination.name);
            let worker = match same.map(|place| old.swap_remove(place)) {
                Some(worker) if worker.setup == setup && worker.task.is_none() == listed_only => worker,
                Some(worker) => {
                    // What waited goes by the new way.
                    let next = Worker::start(setup, Arc::clone(&worker.counts), listed_only);
                    next.queue.take_over(&worker.queue);
                    next
                }
                None => Worker::start(setup, Arc::default(), listed_only),
            };
            workers.push(worker);
        }
    }

    /// Tells everyone who wants it. Never waits.
    pub fn tell(&self, notice: &Notice) {
        let workers = self.workers.lock();
        for worker in workers.iter().filter(|worker| worker.task.is_some()) {
            if worker.setup.destination.filter().takes(notice) {
                let dropped = worker.queue.push(Arc::new(for_one(notice, &worker.setup.destination)));
                Counts::add(&worker.counts.dropped, dropped);
            }
        }
    }

    /// The commands whose output somebody wants with this notice.
    #[must_use]
    pub fn attachments(&self, notice: &Notice) -> Vec<String> {
        let mut wanted: Vec<String> = Vec::new();
        for worker in self.workers.lock().iter() {
            let of = &worker.setup.destination;
            if of.filter().takes(notice) {
                wanted
                    .extend(of.attach.iter().filter(|command| !wanted.contains(command)).cloned().collect::<Vec<_>>());
            }
        }
        wanted
    }

    /// What became of notices, by destination.
    #[must_use]
    pub fn counts(&self) -> Vec<NotificationCounts> {
        let get = |of: &AtomicU64| of.load(Ordering::Relaxed);
        let workers = self.workers.lock();
        let told = workers.iter().filter(|worker| worker.task.is_some());
        told.map(|worker| NotificationCounts {
            destination: worker.setup.destination.name.clone(),
            sent: get(&worker.counts.sent),
            failed: get(&worker.counts.failed),
            dropped: get(&worker.counts.dropped),
        })
        .collect()
    }

    /// Sends this notice at once, past queue and filter, to every destination or to one, and says how it went.
    ///
    /// # Errors
    /// If nobody is called so.
    pub async fn test(&self, only: Option<&str>, notice: &Notice) -> Result<Vec<TestOutcome>, UnknownDestination> {
        let chosen: Vec<(Destination, Arc<Carrier>)> = {
            let workers = self.workers.lock();
            let name = |worker: &Worker| worker.setup.destination.name.clone();
            if let Some(found) = only.filter(|only| !workers.iter().any(|worker| name(worker) == **only)) {
                return Err(UnknownDestination {
                    found: found.chars().filter(|c| !c.is_control()).take(64).collect(),
                    accepted: workers.iter().map(name).collect(),
                });
            }
            let chosen = workers.iter().filter(|worker| only.is_none_or(|only| name(worker) == only));
            chosen.map(|worker| (worker.setup.destination.clone(), Arc::clone(&worker.carrier))).collect()
        };
        let tests = chosen.into_iter().map(async |(of, carrier)| {
            let outcome = carrier.carry(&for_one(notice, &of), TEST_TIME_MAX).await;
            let (sent, told) = match outcome {
                Ok(told) => (true, told),
                Err(failure) => (false, failure.to_string()),
            };
            TestOutcome { kind: of.kind().name(), destination: of.name, sent, told }
        });
        Ok(futures_util::future::join_all(tests).await)
    }

    /// Gives what waits a last chance, so long at most, and ends.
    pub async fn stop(&self, within: Duration) {
        let idle = async {
            while self.workers.lock().iter().any(|worker| worker.queue.is_busy()) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        // What is not told by then is lost with the process; the log has it.
        let _ = tokio::time::timeout(within, idle).await;
        self.workers.lock().clear();
    }
}

/// The notice with what this destination wants attached.
fn for_one(notice: &Notice, destination: &Destination) -> Notice {
    let mut notice = notice.clone();
    notice.attachments.retain(|attachment| destination.attach.contains(&attachment.command));
    notice
}

/// Destinations with what their files hold.
#[must_use]
pub fn setups(destinations: &[Destination], secrets: &[DestinationSecrets]) -> Vec<DestinationSetup> {
    let secrets = secrets.iter().cloned().chain(std::iter::repeat_with(DestinationSecrets::default));
    let pairs = destinations.iter().cloned().zip(secrets);
    pairs.map(|(destination, secrets)| DestinationSetup { destination, secrets }).collect()
}

#[cfg(test)]
mod tests;
