//! The sums of all pools, as instances come, change and go; and what a pool has to give.

use std::collections::{BTreeMap, BTreeSet};

use super::batch::Batch;
use super::pool::{Place, Pool, Supply, TierPool, supplies};
use super::record::{Entitlement, Instance, OocScope, Overage, Record};
use super::{Domain, InstanceId, InstanceState, Lot, TagDefinition, VirtualAccountId};
use crate::units::UnixMillis;

/// All pools.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Books {
    /// Shortages are charged by priority.
    by_priority: bool,
    pools: BTreeMap<VirtualAccountId, BTreeMap<String, Pool>>,
    /// Tiers by family, the highest first.
    families: BTreeMap<String, Vec<(u8, String)>>,
    /// Instances by state.
    pub(super) states: BTreeMap<InstanceState, u64>,
    /// Instances by virtual account, gone ones included.
    pub(super) members: BTreeMap<VirtualAccountId, BTreeSet<InstanceId>>,
    /// Registered instances by virtual account.
    pub(super) registered: BTreeMap<VirtualAccountId, u64>,
}

impl Books {
    /// The books of these records.
    pub(super) fn of<'a>(
        scope: OocScope,
        tags: impl IntoIterator<Item = &'a TagDefinition>,
        lots: impl IntoIterator<Item = &'a Lot>,
        instances: impl IntoIterator<Item = &'a Instance>,
    ) -> Self {
        let mut books = Self { by_priority: scope == OocScope::Priority, ..Self::default() };
        books.set_families(tags);
        for lot in lots {
            books.pool_mut(lot.virtual_account, &lot.tag).put_lot(lot);
        }
        let mut touched = BTreeSet::new();
        for instance in instances {
            books.add(instance, &mut touched);
        }
        books
    }

    pub(super) fn set_families<'a>(&mut self, tags: impl IntoIterator<Item = &'a TagDefinition>) {
        self.families.clear();
        for tag in tags {
            if let Some(tier) = &tag.tier {
                self.families.entry(tier.family.clone()).or_default().push((tier.level, tag.tag.clone()));
            }
        }
        self.families.values_mut().for_each(|family| family.sort_unstable_by(|one, other| other.cmp(one)));
    }

    /// The tags of a family, the highest tier first.
    pub(super) fn family(&self, name: &str) -> &[(u8, String)] {
        self.families.get(name).map_or(&[], Vec::as_slice)
    }

    pub(super) fn pool(&self, account: VirtualAccountId, tag: &str) -> Option<&Pool> {
        self.pools.get(&account)?.get(tag)
    }

    pub(super) fn pool_mut(&mut self, account: VirtualAccountId, tag: &str) -> &mut Pool {
        let pools = self.pools.entry(account).or_default();
        if !pools.contains_key(tag) {
            pools.insert(tag.to_owned(), Pool::default());
        }
        // Just put there, if it wasn't.
        pools.entry(tag.to_owned()).or_default()
    }

    /// Forgets a pool that has nothing left in it.
    pub(super) fn tidy(&mut self, account: VirtualAccountId, tag: &str) {
        if let Some(pools) = self.pools.get_mut(&account)
            && pools.get(tag).is_some_and(Pool::is_empty)
        {
            pools.remove(tag);
            if pools.is_empty() {
                self.pools.remove(&account);
            }
        }
    }

    /// Sums the terms of all pools anew, where one began or ended since.
    pub(super) fn refresh(&mut self, now: UnixMillis) {
        self.pools.values_mut().flat_map(BTreeMap::values_mut).for_each(|pool| pool.refresh(now));
    }

    /// All pools, by virtual account and tag.
    pub(super) fn pools(&self) -> impl Iterator<Item = (VirtualAccountId, &String, &Pool)> {
        self.pools.iter().flat_map(|(account, pools)| pools.iter().map(|(tag, pool)| (*account, tag, pool)))
    }

    /// The pools of one virtual account.
    pub(super) fn pools_of(&self, account: VirtualAccountId) -> impl Iterator<Item = (&String, &Pool)> {
        self.pools.get(&account).into_iter().flatten()
    }

    pub(super) fn place(&self, instance: &Instance, registered_at: UnixMillis) -> Place {
        let band = if self.by_priority { u8::MAX - instance.priority } else { 0 };
        Place { band, registered_at, instance: instance.id }
    }

    fn add(&mut self, instance: &Instance, touched: &mut BTreeSet<(VirtualAccountId, String)>) {
        for share in shares(instance) {
            let place = self.place(instance, share.registered_at);
            let pool = self.pool_mut(share.account, share.tag);
            if share.requested > 0 {
                pool.in_use = pool.in_use.saturating_add(share.requested);
                pool.order.set(place, share.requested);
            }
            pool.held = pool.held.saturating_add(share.held);
            touched.insert((share.account, share.tag.to_owned()));
        }
        *self.states.entry(instance.state).or_default() += 1;
        self.members.entry(instance.virtual_account).or_default().insert(instance.id);
        if instance.state.is_registered() {
            *self.registered.entry(instance.virtual_account).or_default() += 1;
        }
    }

    fn subtract(&mut self, instance: &Instance, touched: &mut BTreeSet<(VirtualAccountId, String)>) {
        for share in shares(instance) {
            let place = self.place(instance, share.registered_at);
            let pool = self.pool_mut(share.account, share.tag);
            if share.requested > 0 {
                pool.in_use = pool.in_use.saturating_sub(share.requested);
                pool.order.set(place, 0);
            }
            pool.held = pool.held.saturating_sub(share.held);
            self.tidy(share.account, share.tag);
            touched.insert((share.account, share.tag.to_owned()));
        }
        take_one(&mut self.states, instance.state);
        if let Some(members) = self.members.get_mut(&instance.virtual_account) {
            members.remove(&instance.id);
            if members.is_empty() {
                self.members.remove(&instance.virtual_account);
            }
        }
        if instance.state.is_registered() {
            take_one(&mut self.registered, instance.virtual_account);
        }
    }
}

fn take_one<K: Ord>(counts: &mut BTreeMap<K, u64>, key: K) {
    if let Some(count) = counts.get_mut(&key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(&key);
        }
    }
}

/// What an instance adds to a pool.
struct Share<'a> {
    account: VirtualAccountId,
    tag: &'a str,
    registered_at: UnixMillis,
    requested: u64,
    held: u64,
}

/// What an instance has where: here, where it was before, and what a host before it may still hold.
fn shares(instance: &Instance) -> impl Iterator<Item = Share<'_>> {
    let registered = instance.state.is_registered();
    let here = instance.entitlements.iter();
    let here = here.map(move |one| share(instance.virtual_account, instance.registered_at, one, registered));
    let left = instance.leaving.iter().flat_map(move |left| {
        left.entitlements.iter().map(move |one| share(left.virtual_account, left.registered_at, one, registered))
    });
    let fenced = instance.fenced.iter().map(|one| Share {
        account: one.virtual_account,
        tag: &one.tag,
        registered_at: UnixMillis(0),
        requested: 0,
        held: one.held,
    });
    here.chain(left).chain(fenced)
}

/// Only what is registered asks for anything; a gone instance may still hold.
fn share(account: VirtualAccountId, registered_at: UnixMillis, one: &Entitlement, registered: bool) -> Share<'_> {
    let requested = if registered { one.requested } else { 0 };
    Share { account, tag: &one.tag, registered_at, requested, held: one.held }
}

/// How a tag stands in a virtual account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) supply: Supply,
    pub(super) in_use: u64,
    pub(super) held: u64,
}

impl Standing {
    pub(super) const fn shortage(self) -> u64 {
        self.in_use.saturating_sub(self.supply.total())
    }
}

impl Domain {
    /// Puts an instance in the place of what is known of it, and keeps the sums.
    pub(super) fn replace(&mut self, new: Instance, batch: &mut Batch) {
        if let Some(old) = self.instances.get(&new.id) {
            self.books.subtract(old, &mut batch.touched);
        } else {
            self.by_udi.insert(new.udi.clone(), new.id);
        }
        self.books.add(&new, &mut batch.touched);
        self.instances.insert(new.id, new);
    }

    /// As [`replace`](Self::replace), and stores it.
    pub(super) fn store(&mut self, new: Instance, batch: &mut Batch) {
        batch.put(Record::Instance(Box::new(new.clone())));
        self.replace(new, batch);
    }

    /// Forgets an instance that is gone, and everything that names it.
    pub(super) fn forget(&mut self, instance: &Instance, now: UnixMillis, batch: &mut Batch) {
        self.books.subtract(instance, &mut batch.touched);
        self.instances.remove(&instance.id);
        self.by_udi.remove(&instance.udi);
        batch.remove(instance.id);
        self.clear_instance(instance.id, now, batch);
        self.detach(&instance.fingerprint, instance.id, now, batch);
    }

    /// How a tag stands in a virtual account, after higher tiers stood in.
    pub(super) fn standing(&self, account: VirtualAccountId, tag: &str, now: UnixMillis) -> Standing {
        let own = |tag: &str| {
            self.books.pool(account, tag).map_or(TierPool { purchased: 0, in_use: 0 }, |pool| TierPool {
                purchased: pool.purchased(now),
                in_use: pool.in_use,
            })
        };
        let mine = own(tag);
        let held = self.books.pool(account, tag).map_or(0, |pool| pool.held);
        let plain = Supply { purchased: mine.purchased, from_above: 0 };
        let supply = match self.tags.get(tag).and_then(|tag| tag.tier.as_ref()) {
            None => plain,
            Some(tier) => {
                let family = self.books.family(&tier.family);
                let above = family.iter().take_while(|(level, _)| *level >= tier.level);
                supplies(above.map(|(_, tag)| own(tag))).last().unwrap_or(plain)
            }
        };
        Standing { supply, in_use: mine.in_use, held }
    }

    /// What may be used of a tag beyond what was bought.
    pub(super) fn overage(&self, tag: &str) -> Overage {
        self.tags.get(tag).and_then(|tag| tag.overage).unwrap_or(self.account.overage)
    }

    /// The tags that stand or fall with this one: its family, or itself.
    pub(super) fn relatives(&self, tag: &str) -> Vec<String> {
        match self.tags.get(tag).and_then(|tag| tag.tier.as_ref()) {
            Some(tier) => self.books.family(&tier.family).iter().map(|(_, tag)| tag.clone()).collect(),
            None => vec![tag.to_owned()],
        }
    }

    /// Makes all sums anew: after the order of charging, or what a tag is, changed.
    pub(super) fn rebook(&mut self) {
        self.books = Books::of(self.account.ooc_scope, self.tags.values(), self.lots.values(), self.instances.values());
    }
}
