//! From stored records to the state and back.

use std::collections::BTreeMap;

use super::books::Books;
use super::bounds::{RESTORE_JUMP, RESTORE_PER_MS, SEQ_MAX};
use super::record::{Record, RecordKey, RecordKind};
use super::{Change, Domain, LoadError, VirtualAccountId};
use crate::units::UnixMillis;

impl Domain {
    /// The state that these records make, in any order.
    ///
    /// # Errors
    /// If they don't fit together. A store in which every commit was whole never gives such.
    pub fn load(records: impl IntoIterator<Item = Record>) -> Result<Self, LoadError> {
        let mut account = None;
        let mut others = Vec::new();
        for record in records {
            if let Record::Account(found) = record {
                if account.replace(found).is_some() {
                    return Err(LoadError::Twice { key: only(RecordKind::Account) });
                }
            } else {
                others.push(record);
            }
        }
        let mut domain = Self::empty(account.ok_or(LoadError::NoAccount)?);
        for record in others {
            domain.take(record)?;
        }
        domain.check()?;
        domain.books =
            Books::of(domain.account.ooc_scope, domain.tags.values(), domain.lots.values(), domain.instances.values());
        Ok(domain)
    }

    fn take(&mut self, record: Record) -> Result<(), LoadError> {
        fn put<K: Ord, V>(map: &mut BTreeMap<K, V>, id: K, value: V, key: RecordKey) -> Result<(), LoadError> {
            if map.insert(id, value).is_some() { Err(LoadError::Twice { key }) } else { Ok(()) }
        }
        let key = record.key();
        match record {
            Record::Account(_) => Err(LoadError::Twice { key }),
            Record::VirtualAccount(account) => put(&mut self.virtual_accounts, account.id, account, key),
            Record::Tag(tag) => put(&mut self.tags, tag.tag.clone(), tag, key),
            Record::Lot(lot) => put(&mut self.lots, lot.id, lot, key),
            Record::Token(token) => {
                if self.token_by_hash.insert(token.hash, token.id).is_some_and(|other| other != token.id) {
                    return Err(LoadError::NotUnique { key, what: "the hash" });
                }
                put(&mut self.tokens, token.id, token, key)
            }
            Record::Instance(instance) => {
                if self.by_udi.insert(instance.udi.clone(), instance.id).is_some_and(|other| other != instance.id) {
                    return Err(LoadError::NotUnique { key, what: "the UDI" });
                }
                put(&mut self.instances, instance.id, *instance, key)
            }
            Record::Machine(machine) => put(&mut self.machines, machine.fingerprint.clone(), machine, key),
            Record::User(user) => put(&mut self.users, user.id, user, key),
            Record::ApiKey(api_key) => {
                if self.api_key_by_hash.insert(api_key.hash, api_key.id).is_some_and(|other| other != api_key.id) {
                    return Err(LoadError::NotUnique { key, what: "the hash" });
                }
                put(&mut self.api_keys, api_key.id, api_key, key)
            }
            Record::Alert(alert) => put(&mut self.alerts, alert.id.clone(), alert, key),
            Record::Key(meta) => put(&mut self.keys, meta.kid.clone(), meta, key),
            Record::Setting(setting) => put(&mut self.settings, setting.name.clone(), setting, key),
            Record::AuditHead(head) => {
                self.audit = head;
                Ok(())
            }
        }
    }

    /// Every record that names another names one that exists.
    fn check(&self) -> Result<(), LoadError> {
        let account = |key: RecordKey, id: VirtualAccountId| {
            if self.virtual_accounts.contains_key(&id) {
                return Ok(());
            }
            Err(LoadError::Missing { key, missing: id.into() })
        };
        account(only(RecordKind::Account), self.account.default_virtual_account)?;
        for lot in self.lots.values() {
            account(lot.id.into(), lot.virtual_account)?;
            if !self.tags.contains_key(&lot.tag) {
                let missing = RecordKey { kind: RecordKind::Tag, id: lot.tag.clone() };
                return Err(LoadError::Missing { key: lot.id.into(), missing });
            }
        }
        for token in self.tokens.values() {
            account(token.id.into(), token.virtual_account)?;
        }
        for instance in self.instances.values() {
            account(instance.id.into(), instance.virtual_account)?;
        }
        Ok(())
    }

    /// All records that the state is made of: what a backup holds, and what [`load`](Self::load) takes.
    pub fn records(&self) -> impl Iterator<Item = Record> {
        let head = [Record::Account(self.account.clone()), Record::AuditHead(self.audit.clone())];
        head.into_iter()
            .chain(self.virtual_accounts.values().cloned().map(Record::VirtualAccount))
            .chain(self.tags.values().cloned().map(Record::Tag))
            .chain(self.lots.values().cloned().map(Record::Lot))
            .chain(self.tokens.values().cloned().map(Record::Token))
            .chain(self.instances.values().cloned().map(|instance| Record::Instance(Box::new(instance))))
            .chain(self.machines.values().cloned().map(Record::Machine))
            .chain(self.users.values().cloned().map(Record::User))
            .chain(self.api_keys.values().cloned().map(Record::ApiKey))
            .chain(self.alerts.values().cloned().map(Record::Alert))
            .chain(self.keys.values().cloned().map(Record::Key))
            .chain(self.settings.values().cloned().map(Record::Setting))
    }

    /// To be called once after a backup was restored, before anything else: every grant's `seq` jumps by 2^32 or to what the
    /// time gives, whichever is more, and with it every epoch: none comes twice, though the same backup be restored again.
    /// Notes it in the audit log.
    #[must_use]
    pub fn after_restore(&mut self, now: UnixMillis) -> Vec<Change> {
        let mut batch = super::batch::Batch::default();
        self.account.restores = self.account.restores.saturating_add(1);
        batch.put(Record::Account(self.account.clone()));
        for instance in self.instances.values_mut() {
            let (jumped, by_time) =
                (instance.grant_seq.saturating_add(RESTORE_JUMP), now.0.saturating_mul(RESTORE_PER_MS));
            instance.grant_seq = jumped.max(by_time).min(SEQ_MAX).max(instance.grant_seq);
            let left = instance.leaving.iter_mut().flat_map(|left| left.entitlements.iter_mut());
            for entitlement in instance.entitlements.iter_mut().chain(left) {
                entitlement.epoch = instance.grant_seq;
            }
            batch.put(Record::Instance(Box::new(instance.clone())));
        }
        let detail = format!("restores: {}; every grant's seq jumped by 2^32 or more", self.account.restores);
        self.note(&super::Actor::system(), "restore", "/account".to_owned(), detail, now, &mut batch);
        batch.changes
    }
}

fn only(kind: RecordKind) -> RecordKey {
    RecordKey { kind, id: "-".to_owned() }
}
