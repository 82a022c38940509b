//! One resource at one node: what stays here, what is held of the engine, and the limit that follows.
//!
//! ```text
//! limit = kept + held                  (calls per second: kept alone, from the term's end on)
//! in etcd: held + cooling + giving <= the chunk
//! ```
//!
//! What must stay true: `held` rises only in [`Part::hold`], after a transaction that this node won and that named the
//! chunk's revision, and by what was lowered here and is in no request; it falls before anything is given back, in one step
//! with the check that no more is in use.

use super::super::params::Parameters;
use super::super::pools::Pools;
use super::super::resource::{Kind, Licenses, Resource, ResourceIndex};
use super::super::share::Demand;
use super::Terms;
use super::keys::{Book, Hold, Home, Seen};
use crate::limits::Lease;
use crate::units::Tick;

/// What is idle is given back at most so often, in milliseconds: each time is a transaction.
const GIVE_INTERVAL_MS: u64 = 1000;

#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) of: Resource,
    pub(super) index: ResourceIndex,
    /// Its name in keys.
    pub(super) resource: String,
    /// Who holds its chunk.
    pub(super) holder: String,
    /// Of this node's own licenses those that the engine never sees.
    pub(super) kept: Licenses,
    /// Those that are to be its home.
    pub(super) own: Licenses,
    pub(super) book: Seen<Book>,
    pub(super) home: Seen<Home>,
    pub(super) chunk: Seen<Hold>,
    /// The chunk is as the last won transaction left it, and no request is about that nobody answered.
    pub(super) confirmed: bool,
    /// Another ledger under this node's name holds the chunk.
    pub(super) foreign: bool,
    /// In the limit.
    pub(super) held: Licenses,
    /// Out of the limit, but perhaps still in use.
    pub(super) cooling: Licenses,
    /// Out of the limit and of use: to be given back.
    pub(super) giving: Licenses,
    /// Being given back: the request is under way.
    pub(super) returning: bool,
    /// Until when `held` counts (calls per second).
    pub(super) until: Option<Tick>,
    /// Licenses that are missing.
    pub(super) want: Licenses,
    /// With so many units free, or fewer, it runs low.
    pub(super) low_mark: u32,
    demand: Demand,
    give_at: Tick,
    /// The book that was already answered by giving something up.
    shed_for: i64,
    pub(super) look_at: Tick,
    pub(super) claim_at: Tick,
    pub(super) home_at: Tick,
    pub(super) confirm_at: Tick,
}

impl Part {
    pub(super) fn new(of: Resource, index: ResourceIndex, resource: String, holder: String, now: Tick) -> Self {
        Self {
            of,
            index,
            resource,
            holder,
            kept: Licenses::ZERO,
            own: Licenses::ZERO,
            book: Seen::default(),
            home: Seen::default(),
            chunk: Seen::default(),
            confirmed: false,
            foreign: false,
            held: Licenses::ZERO,
            cooling: Licenses::ZERO,
            giving: Licenses::ZERO,
            returning: false,
            until: None,
            want: Licenses::ZERO,
            low_mark: 0,
            demand: Demand::new(now),
            give_at: now,
            shed_for: 0,
            look_at: now,
            claim_at: now,
            home_at: now,
            confirm_at: now,
        }
    }

    pub(super) const fn kind(&self) -> Kind {
        self.of.id.kind
    }

    /// The limit as the fast path is told.
    pub(super) fn lease(&self) -> Lease {
        let kept = self.kept.units(self.kind());
        let limit = self.kept.plus(self.held).units(self.kind());
        let lease = match (self.kind(), self.until) {
            (Kind::Session, _) => Lease::fixed(limit),
            (Kind::Rate, None) => Lease::fixed(kept),
            (Kind::Rate, Some(until)) => Lease { limit, floor: kept, valid_until: Some(until) },
        };
        self.of.limit_max.map_or(lease, |most| lease.at_most(most))
    }

    pub(super) fn apply(&self, now: Tick, pools: &mut dyn Pools) {
        pools.set(self.index, self.lease(), now);
    }

    /// A transaction was won that named the chunk's revision: it is what is written there.
    pub(super) fn hold(&mut self, until: Option<Tick>) {
        self.confirmed = true;
        let there = Licenses(self.chunk.value.licenses);
        // What is missing was given back by a request that nobody answered.
        self.giving = self.giving.min(there.less(self.held.plus(self.cooling)));
        self.cooling = self.cooling.min(there.less(self.held));
        self.held = there.less(self.cooling.plus(self.giving));
        if self.kind() == Kind::Rate {
            self.until = until;
        }
    }

    /// The term's end came without a new one, or the engine forgot this life: nothing of it counts any more.
    pub(super) fn lapse(&mut self) {
        (self.held, self.cooling, self.giving) = (Licenses::ZERO, Licenses::ZERO, Licenses::ZERO);
        self.until = None;
        self.confirmed = false;
    }

    /// The chunk was read. Whatever is new in it is confirmed before it counts.
    pub(super) fn learn_chunk(&mut self, revision: i64, text: Option<&str>, ledger: &str) -> bool {
        if revision != self.chunk.revision || !self.chunk.known {
            self.confirmed = false;
        }
        let readable = self.chunk.learn(revision, text);
        self.foreign = self.chunk.value.licenses > 0 && self.chunk.value.ledger != ledger;
        readable
    }

    /// Looks at what is used and asked for: what is missing, what is idle, what is owed.
    pub(super) fn plan(&mut self, now: Tick, params: &Parameters, terms: &Terms, pools: &mut dyn Pools) {
        let offered = pools.take_offered(self.index);
        self.demand.observe(offered, now, params);
        self.cool(now, pools);
        self.shed(now, pools);
        let used = pools.used(self.index, now).used;
        let limit = self.lease().at(now);
        let reserve = if self.demand.is_idle() {
            0
        } else {
            let deviations = if self.kind() == Kind::Session { params.session_deviations } else { 0 };
            self.demand.ahead(terms.ahead_ms, deviations).saturating_add(1)
        };
        self.low_mark = reserve / 2;
        let soon = used.saturating_add(reserve);
        let wanted = match self.kind() {
            Kind::Rate => soon.max(self.demand.per_second()),
            Kind::Session => soon,
        };
        let host_max = self.of.limit_max.unwrap_or(u32::MAX);
        let wanted = wanted.saturating_add(self.of.headroom).min(host_max);
        let chunk = Licenses::covering(percent(wanted, terms.chunk_percent), self.kind());
        self.want = Licenses::ZERO;
        if wanted > limit {
            let missing = Licenses::covering(wanted - limit, self.kind()).plus(chunk);
            let back = self.take_back(missing, now, pools);
            self.want = missing.less(back);
        } else {
            self.give(limit - wanted, chunk, now, pools);
        }
    }

    /// What was lowered and not given back yet is used again, but for what is owed.
    fn take_back(&mut self, missing: Licenses, now: Tick, pools: &mut dyn Pools) -> Licenses {
        let book = self.book.value;
        let asked = book.short() > 0 || book.asked_back() > 0 && self.held >= self.own;
        if !self.confirmed || self.returning || asked {
            return Licenses::ZERO;
        }
        let giving = self.giving.min(missing);
        let cooling = self.cooling.min(missing.less(giving));
        self.giving = self.giving.less(giving);
        self.cooling = self.cooling.less(cooling);
        let back = giving.plus(cooling);
        if back > Licenses::ZERO {
            self.held = self.held.plus(back);
            self.apply(now, pools);
        }
        back
    }

    /// Gives back what is idle beyond two chunks; beyond one where others find nothing free.
    fn give(&mut self, idle: u32, chunk: Licenses, now: Tick, pools: &mut dyn Pools) {
        if now < self.give_at || !self.confirmed || !self.is_reconciled(pools) {
            return;
        }
        let idle = Licenses::within(idle, self.kind()).min(self.held);
        let scarce = self.book.known && self.book.value.available(0) == 0;
        let spared = if scarce { chunk } else { chunk.plus(chunk) };
        let back = if idle > spared { idle.less(chunk) } else { Licenses::ZERO };
        if back == Licenses::ZERO {
            return;
        }
        let lower = Self { held: self.held.less(back), ..self.clone() }.lease();
        if pools.try_lower(self.index, lower, now).is_ok() {
            self.held = self.held.less(back);
            self.giving = self.giving.plus(back);
            self.give_at = now.plus_millis(GIVE_INTERVAL_MS);
        }
    }

    /// Homes are to give up what is taken: each holder gives its part of it, as calls end or cool. Of what others ask back who
    /// hold less than they brought in, only who holds more than that gives its part.
    fn shed(&mut self, now: Tick, pools: &mut dyn Pools) {
        let book = self.book.value;
        if book.asked_back() == 0 || self.book.revision <= self.shed_for || !self.confirmed {
            return;
        }
        self.shed_for = self.book.revision;
        let part = |of: u64| {
            let part = u128::from(of) * u128::from(self.held.0);
            Licenses(u32::try_from(part.div_ceil(u128::from(book.taken.max(1)))).unwrap_or(u32::MAX))
        };
        let part = part(book.short()).max(part(book.asked_back()).min(self.held.less(self.own)));
        let part = part.less(self.cooling.plus(self.giving)).min(self.held);
        self.held = self.held.less(part);
        self.cooling = self.cooling.plus(part);
        self.apply(now, pools);
    }

    /// What is to be asked back for a chunk of so many licenses of which so many more are wanted.
    pub(super) fn claims(&self, chunk: Licenses, want: Licenses) -> u32 {
        self.own.less(chunk).min(want).0
    }

    /// Whether what is in use is known in full: of calls per second the journal brought the last second back.
    fn is_reconciled(&self, pools: &dyn Pools) -> bool {
        match self.kind() {
            Kind::Rate => true,
            Kind::Session => pools.is_reconciled(self.index),
        }
    }

    /// What was lowered by force is given back once no more is in use than the limit says.
    fn cool(&mut self, now: Tick, pools: &mut dyn Pools) {
        if self.cooling > Licenses::ZERO
            && self.is_reconciled(pools)
            && pools.try_lower(self.index, self.lease(), now).is_ok()
        {
            self.giving = self.giving.plus(self.cooling);
            self.cooling = Licenses::ZERO;
        }
    }
}

fn percent(of: u32, part: u32) -> u32 {
    u32::try_from(u64::from(of) * u64::from(part) / 100).unwrap_or(u32::MAX)
}
