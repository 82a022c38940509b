//! One destination's task: takes what waits, tries, tries again, gives up.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Counts;
use super::carrier::{Carrier, Failure};
use super::queue::Queue;

/// The first pause between two tries; it doubles.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
/// The longest.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// How often at most a destination that fails is logged.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// Runs until it is aborted.
pub(super) async fn run(carrier: Arc<Carrier>, queue: Arc<Queue>, counts: Arc<Counts>, retry_for: Duration) {
    let mut trouble = Trouble::default();
    loop {
        let (notice, since) = queue.next().await;
        let mut pause = PAUSE_FIRST;
        loop {
            match carrier.carry(&notice, Duration::MAX).await {
                Ok(_) => {
                    Counts::add(&counts.sent, 1);
                    trouble.over(carrier.name());
                    break;
                }
                Err(failure) => {
                    trouble.tell(carrier.name(), &failure);
                    let again = matches!(failure, Failure::Passing(_));
                    if !again || since.elapsed().saturating_add(pause) > retry_for {
                        Counts::add(&counts.failed, 1);
                        break;
                    }
                    sleep(pause).await;
                    pause = pause.saturating_mul(2).min(PAUSE_MAX);
                }
            }
        }
    }
}

/// Failures, logged with restraint: a dead mail server is no reason for a line a second.
#[derive(Debug, Default)]
struct Trouble {
    told_at: Option<Instant>,
    failures: u64,
}

impl Trouble {
    fn tell(&mut self, destination: &str, failure: &Failure) {
        self.failures += 1;
        if self.told_at.is_none_or(|at| at.elapsed() >= TOLD_EVERY) {
            self.told_at = Some(Instant::now());
            tracing::warn!(destination, failures = self.failures, "a notice was not taken: {failure}");
        }
    }

    fn over(&mut self, destination: &str) {
        if self.failures > 0 {
            tracing::info!(destination, failures = self.failures, "notices are taken again");
            *self = Self::default();
        }
    }
}
