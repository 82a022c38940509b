//! Where a mesh is outgrown: home licenses lie in an engine (etcd), and nodes take chunks of them. PURE.
//!
//! The engine replaces who lends, nothing else: the limits that the fast path reads hold what this node took, and no
//! decision reads remote state. Each node brings its licenses in as its *home*; all homes together are the most that all
//! *chunks* together may hold. A transaction takes or gives back; the engine's *book* has the sums.
//!
//! | file | what it holds |
//! |---|---|
//! | `words` | what is asked of the engine, and what it answers |
//! | `keys` | keys and values in the engine |
//! | `part` | one resource: what is held, the limit that follows, what to take and to give back |
//! | `orders` | requests, and what follows from their answers |
//! | `sweep` | chunks of the dead are reaped; a node that is gone for good is forgotten |
//!
//! # The rules
//!
//! E1. What counts in the limit rises only by a transaction that this node won and that compared the chunk's revision. An
//!     answer that didn't come leaves the chunk *unconfirmed*: it is written once more, unchanged, and that write makes
//!     every older request about it void, wherever it is.
//! E2. Giving back lowers the limit first, in one step with the check that no more is in use; then the request is sent.
//! E3. Calls per second count for a term. The term's lease is granted once and **never kept alive**: for each term there is a
//!     new lease, and a transaction that ties this life's `live` key to it. A clock is read before the lease is asked for
//!     (the anchor), and the chunk counts until `anchor + (TTL - W)(1 - 2*rho)`: the last call by it has cooled when the
//!     lease can first have run out. A leader that was replaced and doesn't know it may still answer a keep-alive, or revoke by
//!     what it remembers of one (etcd 3.4.23 does both; etcd issue 15247): neither can touch a lease that nobody prolongs.
//! E4. The chunk of a life without a `live` key is reaped: a transaction that compares that the key isn't there puts the
//!     licenses back. Who needs licenses looks for such chunks; nobody's clock is compared with another's.
//! E5. Sessions have no term: a call outlives any. Their chunk stays the node's while etcd is gone, while the node is down, and
//!     when it comes back with the same ledger. It is given back when no call uses it, or taken away by an operator who says
//!     that the node is gone ([`Chunks::forget`]); what that node may still use is written down (`gone`). So hard sessions are
//!     never freed by a time, and the one overshoot there can be is declared.
//! E6. A home rises at once and falls as far as licenses are free; what remains is owed: nobody takes anything while it is,
//!     and each holder gives up its part as its calls end. The home has fallen when the book says so.
//! E7. A part of a node's own licenses is kept out of the engine: it counts whatever becomes of etcd. Without it a node that
//!     doesn't reach etcd for a term would admit no calls per second at all.
//!
//! E8. Licenses go to whoever asks first; but who holds less than it brought in and finds nothing free asks it back, in the
//!     book. Then who holds more than it brought in takes nothing more, and gives up its part as its calls end.
//!
//! Where it stops: an idle node holds nothing, so the first calls after a pause have what it keeps (E7).
//!
//! # Driving it
//!
//! 1. [`Chunks::poll_request`], with a clock read just then; send what it returns. One request is under way at a time.
//! 2. [`Chunks::handle_answer`] with what came of it; [`Answer::Failed`] when nothing did.
//! 3. [`Chunks::handle_timeout`] at [`Chunks::poll_timeout`]; [`Chunks::handle_home`], [`Chunks::handle_low_water`] when it
//!    happens. Then again from 1.
//!
//! What must stay true: whatever is lost, late, or crashes, what all nodes may use of a resource is at most the sum of its
//! homes and of what nodes keep; but for what `gone` declares.

mod keys;
mod orders;
mod part;
mod sweep;
mod words;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use self::keys::{Keys, ledger_name};
use self::orders::Pending;
use self::part::Part;
use self::sweep::{Forgetting, Sweep};
pub use self::words::{Answer, Entry, Op, Put, Request, Txn};
use super::ids::{LedgerId, NodeName};
use super::params::Parameters;
use super::pools::Pools;
use super::resource::{Kind, Licenses, Resource, ResourceId, ResourceIndex};
use crate::units::{NANOS_PER_SECOND, Tick};

/// How chunks are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// What all keys begin with.
    pub prefix: String,
    /// The term of a chunk of calls per second, in seconds.
    pub ttl_s: u32,
    /// Of a node's own licenses so many percent are kept out of the engine.
    pub keep_percent: u32,
    /// Taken ahead: the demand of so long a time, in milliseconds.
    pub ahead_ms: u32,
    /// Taken with what is missing, and left with what is given back: so many percent of what is wanted.
    pub chunk_percent: u32,
}

impl Default for Terms {
    fn default() -> Self {
        Self { prefix: "callgate".to_owned(), ttl_s: 10, keep_percent: 20, ahead_ms: 200, chunk_percent: 10 }
    }
}

/// What a node is told.
#[derive(Debug, Clone)]
pub struct ChunkSetup {
    /// Its name.
    pub node: NodeName,
    /// Its state directory's own number: who has it holds this node's sessions.
    pub ledger: LedgerId,
    /// Drawn at random by each process.
    pub life: u64,
    /// What is shared, in the order of its pools.
    pub resources: Vec<Resource>,
    /// Demand, clocks and ticks.
    pub params: Parameters,
    /// Chunks.
    pub terms: Terms,
}

/// Something that people want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChunkEvent {
    /// The engine doesn't know this life any more: its term ended without a new one. What it held is taken anew.
    Lapsed,
    /// Another ledger holds the sessions of this node's name. None of them count here.
    NameTaken(ResourceId),
    /// The engine is older than it was: a backup was put in its place.
    WentBack,
    /// A key holds something that callgate didn't write.
    Unreadable(String),
    /// The chunk of somebody who is gone was put back.
    Reaped(ResourceId, String, Licenses),
    /// This node's home is what it is to be.
    HomeReached(ResourceId, Licenses),
    /// A node is not forgotten: it is alive.
    StillAlive(NodeName),
    /// A node is forgotten. So many licenses of it may still be in use there: declared.
    Forgotten(NodeName, ResourceId, Licenses),
}

/// A resource as this node sees it, in licenses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkView {
    /// Kept out of the engine.
    pub kept: Licenses,
    /// In the limit, while the term lasts.
    pub held: Licenses,
    /// Lowered, and not given back yet.
    pub lowered: Licenses,
    /// This node's home by the engine's book.
    pub home: Licenses,
    /// In no chunk, when the book was last seen.
    pub free: u64,
    /// All homes, then.
    pub homes: u64,
    /// The term's end.
    pub until: Option<Tick>,
    /// What is missing.
    pub want: Licenses,
}

/// This process's sign of life.
#[derive(Debug, Clone, Default)]
struct Live {
    /// Its key's revision; 0: it isn't there.
    revision: i64,
    /// A lease that the key isn't tied to yet: its number, its anchor, its term in seconds.
    granted: Option<(i64, Tick, u32)>,
    /// Until when chunks of calls per second count.
    until: Option<Tick>,
    renew_at: Tick,
}

/// A node's chunks: a state machine without IO.
#[derive(Debug, Clone)]
pub struct Chunks {
    node: NodeName,
    ledger: String,
    life: String,
    keys: Keys,
    params: Parameters,
    terms: Terms,
    live: Live,
    parts: Vec<Part>,
    pending: Option<Pending>,
    number: u64,
    /// Nothing is asked before.
    quiet_until: Tick,
    failures: u32,
    /// How long is waited, at most, after a book was changed by somebody else, in milliseconds.
    contended_ms: u64,
    /// No book is changed before.
    book_at: Tick,
    /// A book is read before it is changed.
    read_first: bool,
    /// The highest revision that the engine ever answered.
    highest: i64,
    tick_at: Tick,
    /// Whose turn it is among the resources.
    turn: usize,
    sweep: Sweep,
    forgetting: VecDeque<Forgetting>,
    events: VecDeque<ChunkEvent>,
    dice: u64,
}

/// Events that nobody fetches are dropped.
const EVENTS_MAX: usize = 256;

impl Chunks {
    /// A node that starts. Its pools are set at once, to what it keeps: nothing yet.
    #[must_use]
    pub fn new(setup: ChunkSetup, now: Tick, pools: &mut dyn Pools) -> Self {
        let life = Keys::life(&setup.node, setup.life);
        let parts = setup.resources.into_iter().enumerate().map(|(place, of)| {
            let holder = match of.id.kind {
                Kind::Rate => life.clone(),
                Kind::Session => setup.node.to_string(),
            };
            let resource = Keys::resource(&of.id);
            Part::new(of, ResourceIndex(place), resource, holder, now)
        });
        let parts: Vec<Part> = parts.collect();
        for part in &parts {
            part.apply(now, pools);
        }
        Self {
            ledger: ledger_name(setup.ledger),
            keys: Keys::new(&setup.terms.prefix),
            life,
            node: setup.node,
            params: setup.params,
            terms: setup.terms,
            live: Live::default(),
            parts,
            pending: None,
            number: 0,
            quiet_until: now,
            failures: 0,
            contended_ms: 0,
            book_at: now,
            read_first: false,
            highest: 0,
            tick_at: now,
            turn: 0,
            sweep: Sweep::new(now),
            forgetting: VecDeque::new(),
            events: VecDeque::new(),
            dice: setup.life | 1,
        }
    }

    /// What this node has of its own of a resource: its grant's count.
    pub fn handle_home(&mut self, resource: ResourceIndex, count: Licenses, now: Tick, pools: &mut dyn Pools) {
        let keep = u64::from(self.terms.keep_percent.min(100));
        let Some(part) = self.parts.get_mut(resource.0) else { return };
        let kept = u32::try_from(u64::from(count.0) * keep / 100).unwrap_or(count.0);
        part.kept = Licenses(kept);
        part.own = count.less(part.kept);
        part.home_at = now;
        part.apply(now, pools);
    }

    /// A pool ran low: what is missing is looked at now.
    pub fn handle_low_water(&mut self, resource: ResourceIndex, now: Tick, pools: &mut dyn Pools) {
        if let Some(part) = self.parts.get_mut(resource.0) {
            part.plan(now, &self.params, &self.terms, pools);
        }
    }

    /// With so many units free, or fewer, a pool runs low.
    #[must_use]
    pub fn low_mark(&self, resource: ResourceIndex) -> u32 {
        self.parts.get(resource.0).map_or(0, |part| part.low_mark)
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    #[must_use]
    pub const fn poll_timeout(&self) -> Tick {
        self.tick_at
    }

    /// Time has come to where something is due.
    pub fn handle_timeout(&mut self, now: Tick, pools: &mut dyn Pools) {
        if now < self.tick_at {
            return;
        }
        self.tick_at = now.plus_millis(u64::from(self.params.tick_ms));
        for part in &mut self.parts {
            part.plan(now, &self.params, &self.terms, pools);
        }
    }

    /// What people want to know.
    pub fn poll_event(&mut self) -> Option<ChunkEvent> {
        self.events.pop_front()
    }

    /// A resource as this node sees it.
    #[must_use]
    pub fn view(&self, resource: ResourceIndex) -> Option<ChunkView> {
        self.parts.get(resource.0).map(|part| ChunkView {
            kept: part.kept,
            held: part.held,
            lowered: part.cooling.plus(part.giving),
            home: Licenses(part.home.value.licenses),
            free: part.book.value.free(),
            homes: part.book.value.homes,
            until: part.until,
            want: part.want,
        })
    }

    /// Whether the engine knows this life, as far as is known: its term lasts.
    #[must_use]
    pub fn is_live(&self, now: Tick) -> bool {
        self.live.until.is_some_and(|until| now < until)
    }

    fn tell(&mut self, event: ChunkEvent) {
        if self.events.len() < EVENTS_MAX {
            self.events.push_back(event);
        }
    }

    /// Some time up to a maximum, not the same at each node.
    fn jitter(&mut self, most_ms: u64) -> u64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        self.dice % most_ms.max(1)
    }

    /// How long a chunk counts from its anchor, in nanoseconds: (TTL - W)(1 - 2*rho).
    fn usable_nanos(&self, ttl_s: u32) -> u64 {
        let whole = u64::from(ttl_s).saturating_mul(NANOS_PER_SECOND).saturating_sub(self.params.window_nanos());
        let error = 2 * u64::from(self.params.clock_error_ppm.min(100_000));
        let usable = u128::from(whole) * u128::from(1_000_000 - error) / 1_000_000;
        u64::try_from(usable).unwrap_or(0)
    }
}
