//! The changes of one call, as they gather.

use std::collections::BTreeSet;

use super::audit::AuditEntry;
use super::ids::VirtualAccountId;
use super::{Change, InstanceEvent, Journal, Record, RecordKey};

/// The changes of one call, and the pools whose sums they touched.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) changes: Vec<Change>,
    pub(super) touched: BTreeSet<(VirtualAccountId, String)>,
}

impl Batch {
    pub(super) fn put(&mut self, record: Record) {
        self.changes.push(Change::Put(record));
    }

    pub(super) fn remove(&mut self, key: impl Into<RecordKey>) {
        self.changes.push(Change::Remove(key.into()));
    }

    pub(super) fn append(&mut self, journal: Journal) {
        self.changes.push(Change::Append(journal));
    }

    pub(super) fn event(&mut self, event: InstanceEvent) {
        self.append(Journal::Event(event));
    }

    pub(super) fn audit(&mut self, entry: AuditEntry) {
        self.append(Journal::Audit(entry));
    }
}
