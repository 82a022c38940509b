//! A model of etcd: keys with revisions, leases that end, transactions.

use std::collections::BTreeMap;

use crate::cluster::chunks::{Answer, Entry, Op, Txn};
use crate::units::NANOS_PER_SECOND;

#[derive(Debug, Clone)]
pub(super) struct Value {
    text: String,
    revision: i64,
    lease: Option<i64>,
}

/// What one etcd holds. Its clock is as fast as the error allows, and a lease ends the moment that it may.
#[derive(Debug, Clone, Default)]
pub(super) struct Engine {
    pub(super) revision: i64,
    pub(super) keys: BTreeMap<String, Value>,
    /// Each with its end in real time and its term.
    pub(super) leases: BTreeMap<i64, (u64, u64)>,
    pub(super) granted: i64,
    pub(super) fast_ppm: u64,
    pub(super) transactions: u64,
}

impl Engine {
    pub(super) fn expire(&mut self, now: u64) {
        let over: Vec<i64> = self.leases.iter().filter(|(_, (end, _))| *end <= now).map(|(id, _)| *id).collect();
        for id in over {
            self.leases.remove(&id);
            self.keys.retain(|_, value| value.lease != Some(id));
            self.revision += 1;
        }
    }

    /// A restart, or another leader: every lease has its whole term before it again.
    pub(super) fn restart(&mut self, now: u64) {
        for (end, term) in self.leases.values_mut() {
            *end = now + *term;
        }
    }

    pub(super) fn apply(&mut self, op: &Op, now: u64) -> Answer {
        self.expire(now);
        match op {
            Op::Grant { ttl_s } => {
                self.granted += 1;
                let term = u64::from(*ttl_s) * NANOS_PER_SECOND * 1_000_000 / (1_000_000 + self.fast_ppm);
                self.leases.insert(self.granted, (now + term, term));
                Answer::Granted { lease: self.granted, ttl_s: *ttl_s }
            }
            Op::Txn(txn) => self.transact(txn),
            Op::List { prefix, after, most } => {
                let found = self.keys.iter().filter(|(key, _)| key.starts_with(prefix) && *key > after);
                let entries = found.take(usize::try_from(*most).unwrap()).map(|(key, _)| self.entry(key).unwrap());
                Answer::Listed { revision: self.revision, entries: entries.collect() }
            }
        }
    }

    fn transact(&mut self, txn: &Txn) -> Answer {
        let won = txn.compare.iter().all(|(key, revision)| self.at(key) == *revision);
        if won {
            if txn.put.iter().any(|put| put.lease.is_some_and(|lease| !self.leases.contains_key(&lease))) {
                return Answer::Failed;
            }
            self.transactions += u64::from(!txn.put.is_empty());
            self.revision += i64::from(!txn.put.is_empty() || !txn.delete.is_empty());
            for put in &txn.put {
                let value = Value { text: put.value.clone(), revision: self.revision, lease: put.lease };
                assert!(txn.compare.iter().any(|(key, _)| *key == put.key) || put.key.contains("/gone/"), "{put:?}");
                self.keys.insert(put.key.clone(), value);
            }
            for key in &txn.delete {
                self.keys.remove(key);
            }
        }
        let compared = txn.compare.iter().map(|(key, _)| key).filter(|_| !won);
        let entries = txn.read.iter().chain(compared).filter_map(|key| self.entry(key)).collect();
        Answer::Txn { won, revision: self.revision, entries }
    }

    fn at(&self, key: &str) -> i64 {
        self.keys.get(key).map_or(0, |value| value.revision)
    }

    fn entry(&self, key: &str) -> Option<Entry> {
        let value = self.keys.get(key)?;
        Some(Entry { key: key.to_owned(), value: value.text.clone(), revision: value.revision })
    }

    /// Keys with a prefix, and a number of their values.
    pub(super) fn numbers(&self, prefix: &str, field: &str) -> BTreeMap<String, u64> {
        let found = self.keys.iter().filter_map(|(key, value)| {
            let rest = key.strip_prefix(prefix)?;
            let value: serde_json::Value = serde_json::from_str(&value.text).unwrap();
            Some((rest.to_owned(), value[field].as_u64().unwrap()))
        });
        found.collect()
    }

    pub(super) fn put(&mut self, key: &str, text: &str) {
        self.revision += 1;
        self.keys.insert(key.to_owned(), Value { text: text.to_owned(), revision: self.revision, lease: None });
    }
}
