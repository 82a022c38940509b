//! What is to become durable, gathered in batches.
//!
//! At most one batch is under way. What is recorded meanwhile is gathered for the next, so one `fsync` serves all loans
//! that were made during the one before it. Nothing here decides what must wait for which batch: [`Journal::push`] says the
//! number, whoever needs durability keeps it and asks [`Journal::is_durable`].
//!
//! What must stay true: records of one key become durable in the order in which they were made, also across a write that
//! failed; and a number counts as durable only when everything that was recorded under it, or earlier, is.

use std::collections::BTreeMap;

use crate::cluster::action::{Action, Event};
use crate::cluster::ledger::{Key, Record};
use crate::units::Tick;

use super::outbox::Outbox;

/// A write that failed is tried again after so long, in milliseconds.
const RETRY_MS: u64 = 500;

/// The number of a batch. 0 is durable from the start.
pub(in crate::cluster) type BatchNo = u64;

/// The batches of a node's ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cluster) struct Journal {
    gathered: BTreeMap<Key, Record>,
    /// The number that the gathered records will have, or a lower one: never higher than the batch that holds them.
    next: BatchNo,
    under_way: Option<(BatchNo, BTreeMap<Key, Record>)>,
    durable: BatchNo,
    retry_at: Option<Tick>,
}

impl Default for Journal {
    fn default() -> Self {
        Self { gathered: BTreeMap::new(), next: 1, under_way: None, durable: 0, retry_at: None }
    }
}

impl Journal {
    /// Records a fact; returns the batch with which it will be durable.
    pub(in crate::cluster) fn push(&mut self, record: Record) -> BatchNo {
        self.gathered.insert(record.key(), record);
        self.next
    }

    /// Whether everything up to that batch is durable.
    pub(in crate::cluster) const fn is_durable(&self, batch: BatchNo) -> bool {
        batch <= self.durable
    }

    /// Whether the last write failed, and none succeeded since.
    pub(in crate::cluster) const fn is_failing(&self) -> bool {
        self.retry_at.is_some()
    }

    /// When a write that failed is tried again.
    pub(in crate::cluster) const fn retry_at(&self) -> Option<Tick> {
        if self.under_way.is_some() { None } else { self.retry_at }
    }

    /// Asks for the gathered records to be written, if none are under way and no failed write rests.
    pub(in crate::cluster) fn flush(&mut self, outbox: &mut Outbox, now: Tick) {
        if self.under_way.is_some() || self.gathered.is_empty() || self.retry_at.is_some_and(|at| now < at) {
            return;
        }
        let batch = self.next;
        self.next += 1;
        let records = std::mem::take(&mut self.gathered);
        outbox.push(Action::Persist { batch, records: records.values().cloned().collect() });
        self.under_way = Some((batch, records));
    }

    /// A batch is durable. Says whether it was the one under way.
    pub(in crate::cluster) fn persisted(&mut self, batch: BatchNo, outbox: &mut Outbox) -> bool {
        if self.under_way.as_ref().is_none_or(|(number, _)| *number != batch) {
            return false;
        }
        self.under_way = None;
        self.durable = batch;
        if self.retry_at.take().is_some() {
            outbox.tell(Event::LedgerWritable);
        }
        true
    }

    /// A batch could not be made durable, or nobody knows. Its records are gathered again, beneath newer ones.
    pub(in crate::cluster) fn failed(&mut self, batch: BatchNo, now: Tick, outbox: &mut Outbox) {
        let Some((_, records)) = self.under_way.take_if(|(number, _)| *number == batch) else { return };
        for (key, record) in records {
            self.gathered.entry(key).or_insert(record);
        }
        self.retry_at = Some(now.plus_millis(RETRY_MS));
        outbox.tell(Event::LedgerFailed { batch });
    }
}
