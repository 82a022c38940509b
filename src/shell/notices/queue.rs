//! What waits for one destination: bounded; when it is full, the oldest goes, because the newest says how things are.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::QUEUE_MAX;
use crate::notice::Notice;
use crate::sync::{AtomicBool, Mutex, Ordering};

/// A notice, and since when it waits.
pub(super) type Waiting = (Arc<Notice>, Instant);

#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<VecDeque<Waiting>>,
    wake: Notify,
    /// One was taken and isn't done yet.
    under_way: AtomicBool,
}

impl Queue {
    /// Adds one. Says how many had to go for it.
    pub(super) fn push(&self, notice: Arc<Notice>) -> u64 {
        let mut waiting = self.waiting.lock();
        let full = waiting.len() >= QUEUE_MAX;
        if full {
            waiting.pop_front();
        }
        waiting.push_back((notice, Instant::now()));
        drop(waiting);
        self.wake.notify_one();
        u64::from(full)
    }

    /// Takes what waits elsewhere.
    pub(super) fn take_over(&self, other: &Self) {
        *self.waiting.lock() = std::mem::take(&mut *other.waiting.lock());
        self.wake.notify_one();
    }

    /// The next one, when there is one.
    pub(super) async fn next(&self) -> Waiting {
        loop {
            let next = {
                let mut waiting = self.waiting.lock();
                let next = waiting.pop_front();
                // Release: who sees it free also sees the queue empty.
                self.under_way.store(next.is_some(), Ordering::Release);
                next
            };
            if let Some(next) = next {
                return next;
            }
            self.wake.notified().await;
        }
    }

    /// Whether something waits or is under way.
    pub(super) fn is_busy(&self) -> bool {
        let waiting = self.waiting.lock();
        !waiting.is_empty() || self.under_way.load(Ordering::Acquire)
    }
}
