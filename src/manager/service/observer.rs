//! Tells of alerts and of the audit log, once they are committed; never waits for who listens.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::manager::domain::{Change, Journal, Record, RecordKind};
use crate::sync::{AtomicU64, Ordering};

/// How many changes may wait for who listens.
const WAITING_MAX: usize = 4_096;

/// The loop's end of the way to who listens.
#[derive(Debug, Clone)]
pub struct Observer {
    sender: mpsc::Sender<Change>,
    missed: Arc<AtomicU64>,
}

impl Observer {
    /// One, and where its changes come out.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Change>) {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        (Self { sender, missed: Arc::default() }, receiver)
    }

    /// Changes that nobody was told of, because too many waited.
    #[must_use]
    pub fn missed_total(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    /// Passes on what is of interest.
    pub(super) fn tell(&self, changes: &[Change]) {
        for change in changes {
            let wanted = match change {
                Change::Put(record) => matches!(record, Record::Alert(_)),
                Change::Remove(key) => key.kind == RecordKind::Alert,
                Change::Append(journal) => matches!(journal, Journal::AlertEnded(_) | Journal::Audit(_)),
            };
            if wanted && self.sender.try_send(change.clone()).is_err() {
                // Relaxed: nothing is published by a count.
                self.missed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}
