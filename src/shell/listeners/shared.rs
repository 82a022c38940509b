//! What every connection of the front ends shares.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use super::access::Access;
use super::peers::Peers;
use super::settings::ConnectionLimits;
use crate::admission::ResyncOutcome;
use crate::shell::Context;
use crate::shell::telemetry::{EventKind, Severity};
use crate::units::Tick;

/// What every connection of the front ends shares.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) context: Arc<Context>,
    pub(super) limits: ConnectionLimits,
    pub(super) access: ArcSwap<Access>,
    /// Set when the front ends stop.
    pub(super) stop: CancellationToken,
    pub(super) resp: Arc<Peers>,
    pub(super) http: Arc<Peers>,
    pub(super) admin: Arc<Peers>,
    pub(super) event_streams: AtomicUsize,
    pub(super) wrong_passwords: Throttle,
}

/// Lets one line through a second, and counts what it keeps back: nobody fills the log by failing.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    /// When a line may come again, in nanoseconds of the boot clock.
    next: AtomicU64,
    kept_back: AtomicU64,
}

impl Throttle {
    /// It happened again. `Some`: tell it now, with how often it happened since it was told last.
    pub(super) fn tell(&self, now: Tick) -> Option<u64> {
        // Relaxed: a line more or less in a race is no harm, and no count is lost.
        self.kept_back.fetch_add(1, Ordering::Relaxed);
        let next = self.next.load(Ordering::Relaxed);
        let free = now.0 >= next
            && self.next.compare_exchange(next, now.plus_secs(1).0, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        free.then(|| self.kept_back.swap(0, Ordering::Relaxed))
    }
}

impl Shared {
    /// Tells what a proxy said about itself.
    pub(super) fn tell_epoch(&self, proxy: &[u8], epoch: u64) {
        let name = proxy.escape_ascii().to_string();
        tracing::info!(proxy = name, epoch, "a proxy told its epoch");
        self.context.events.publish(
            self.context.clock.wall(),
            EventKind::ProxyEpoch,
            Severity::Info,
            format!("Proxy {name} lives in epoch {epoch}."),
            serde_json::json!({ "proxy": name, "epoch": epoch }),
        );
    }

    /// Tells how a RESYNC ended; `None`: it was aborted.
    pub(super) fn tell_resync(&self, outcome: Option<ResyncOutcome>) {
        let (text, data) = match outcome {
            Some(ResyncOutcome { kept, adopted, released }) => (
                format!("A resync ended: {kept} calls kept, {adopted} adopted, {released} released."),
                serde_json::json!({ "kept": kept, "adopted": adopted, "released": released }),
            ),
            None => ("A resync was aborted; it released nothing.".to_owned(), serde_json::json!({ "aborted": true })),
        };
        tracing::info!("{text}");
        self.context.events.publish(self.context.clock.wall(), EventKind::Resync, Severity::Info, text, data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_throttle_tells_once_a_second_and_counts_the_rest() {
        let throttle = Throttle::default();
        let start = Tick(7);
        assert_eq!(throttle.tell(start), Some(1));
        for _ in 0..99 {
            assert_eq!(throttle.tell(Tick(8)), None);
        }
        assert_eq!(throttle.tell(start.plus_secs(1)), Some(100));
    }
}
