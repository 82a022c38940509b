//! Figures of the way to the peers.

use super::tls::Refusal;
use crate::cluster::WireError;
use crate::sync::{AtomicU64, Mutex, Ordering};
use std::collections::BTreeMap;

/// A number that rises.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    /// One more.
    pub(crate) fn count(&self) {
        // Relaxed: a figure guards nothing.
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What was counted since the start.
#[derive(Debug, Default)]
pub struct Counters {
    pub(super) messages_sent: Count,
    pub(super) messages_received: Count,
    pub(super) datagrams_sent: Count,
    pub(super) datagrams_failed: Count,
    pub(super) datagrams_received: Count,
    pub(super) datagrams_dropped: Count,
    pub(super) replaced: Count,
    pub(super) overflowed: Count,
    pub(super) unconnected: Count,
    pub(super) handshakes_dropped: Count,
    refused: [Count; Refusal::ALL.len()],
    garbled: Mutex<BTreeMap<&'static str, u64>>,
}

/// The same, to read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Figures {
    /// Messages written to a stream.
    pub messages_sent: u64,
    /// Messages read from one.
    pub messages_received: u64,
    /// Datagrams given to a connection.
    pub datagrams_sent: u64,
    /// Datagrams that a connection didn't take.
    pub datagrams_failed: u64,
    /// Datagrams that came.
    pub datagrams_received: u64,
    /// Datagrams that came faster than the driver takes them.
    pub datagrams_dropped: u64,
    /// Messages that gave way to a newer one on the same matter, while they waited.
    pub replaced: u64,
    /// Messages dropped because too many different ones waited.
    pub overflowed: u64,
    /// Messages and datagrams to a peer that isn't connected.
    pub unconnected: u64,
    /// Handshakes that were not begun: too many at once.
    pub handshakes_dropped: u64,
    /// Peers refused, by reason.
    pub refused: Vec<(&'static str, u64)>,
    /// Messages that were none of ours, by fault.
    pub garbled: Vec<(&'static str, u64)>,
}

impl Counters {
    pub(super) fn refused(&self, refusal: Refusal) {
        let place = Refusal::ALL.iter().position(|other| *other == refusal);
        if let Some(count) = place.and_then(|place| self.refused.get(place)) {
            count.count();
        }
    }

    pub(super) fn garbled(&self, error: &WireError) {
        *self.garbled.lock().entry(error.label()).or_default() += 1;
    }

    pub(super) fn read(&self) -> Figures {
        let refused = Refusal::ALL.iter().zip(&self.refused);
        Figures {
            messages_sent: self.messages_sent.get(),
            messages_received: self.messages_received.get(),
            datagrams_sent: self.datagrams_sent.get(),
            datagrams_failed: self.datagrams_failed.get(),
            datagrams_received: self.datagrams_received.get(),
            datagrams_dropped: self.datagrams_dropped.get(),
            replaced: self.replaced.get(),
            overflowed: self.overflowed.get(),
            unconnected: self.unconnected.get(),
            handshakes_dropped: self.handshakes_dropped.get(),
            refused: refused.map(|(refusal, count)| (refusal.label(), count.get())).collect(),
            garbled: self.garbled.lock().iter().map(|(fault, count)| (*fault, *count)).collect(),
        }
    }
}
