//! What the dead left: chunks of calls per second are reaped once their life is over (E4), and a node that is gone for good
//! is forgotten by an operator's word (E5).
//!
//! What must stay true: a chunk is reaped in one transaction with the check that its life has no key and that nobody changed
//! it since it was seen.

use std::collections::VecDeque;

use super::super::ids::NodeName;
use super::super::resource::{Kind, Licenses};
use super::keys::{Book, Hold, Home, Seen, text};
use super::orders::What;
use super::words::{Entry, Op, Put, Txn};
use super::{ChunkEvent, Chunks};
use crate::units::Tick;

/// So many chunks are looked at at once: a transaction of etcd has at most 128 parts.
const PAGE: u32 = 64;
/// Who starves looks for the dead so often, in milliseconds, and up to as much later.
const STARVING_INTERVAL_MS: u64 = 300;
/// Everybody does so often, in milliseconds, and up to as much later: what nobody needs is put back, too.
const IDLE_INTERVAL_MS: u64 = 60_000;
/// A chunk that changed, or a book that others are busy with, is tried so often.
const TRIES: u8 = 5;
/// A home that waits for licenses to come back is tried so often, in milliseconds.
const FORGET_INTERVAL_MS: u64 = 500;
/// Nodes that wait to be forgotten.
const FORGETTING_MAX: usize = 64;

/// A chunk as it was found.
#[derive(Debug, Clone)]
pub(super) struct Found {
    holder: String,
    revision: i64,
    licenses: u32,
    claims: u32,
    tries: u8,
}

/// A step of a look for the dead.
#[derive(Debug, Clone)]
pub(super) enum SweepStep {
    /// Chunks of a resource are listed.
    List(usize),
    /// Who of their holders lives?
    Look(usize, Vec<Found>),
    /// One is put back.
    Reap(usize, Found),
}

/// Where the look for the dead is.
#[derive(Debug, Clone)]
pub(super) struct Sweep {
    steps: VecDeque<SweepStep>,
    /// Where the next page begins.
    after: String,
    /// Whose turn it is.
    turn: usize,
    starving_at: Tick,
    idle_at: Tick,
}

impl Sweep {
    pub(super) const fn new(now: Tick) -> Self {
        Self {
            steps: VecDeque::new(),
            after: String::new(),
            turn: 0,
            starving_at: now,
            idle_at: now.plus_millis(IDLE_INTERVAL_MS / 2),
        }
    }

    /// Begins anew later.
    pub(super) fn rest(&mut self, now: Tick) {
        self.steps.clear();
        self.starving_at = now.plus_millis(STARVING_INTERVAL_MS);
    }
}

/// A node on its way out.
#[derive(Debug, Clone)]
pub(super) struct Forgetting {
    node: NodeName,
    /// The resource; `None`: whether the node lives is looked at first.
    place: Option<usize>,
    home: Seen<Home>,
    chunk: Seen<Hold>,
    due: Tick,
}

impl Chunks {
    /// An operator says that a node is gone for good: its sessions are put back, its home is taken out as licenses become
    /// free. What it may still use, should it live on, is declared under `gone`.
    pub fn forget(&mut self, node: NodeName, now: Tick) {
        if node == self.node || self.forgetting.len() >= FORGETTING_MAX {
            return self.tell(ChunkEvent::StillAlive(node));
        }
        if self.forgetting.iter().all(|of| of.node != node) {
            let (home, chunk) = (Seen::default(), Seen::default());
            self.forgetting.push_back(Forgetting { node, place: None, home, chunk, due: now });
        }
    }

    /// What remains to be asked when no resource needs anything.
    pub(super) fn others(&mut self, now: Tick) -> Option<(What, Op)> {
        self.forget_next(now).or_else(|| self.sweep_next(now))
    }

    fn sweep_next(&mut self, now: Tick) -> Option<(What, Op)> {
        if now < self.book_at {
            return None;
        }
        if self.sweep.steps.is_empty() {
            let starving = |part: &&super::Part| {
                part.kind() == Kind::Rate
                    && part.want > Licenses::ZERO
                    && part.book.known
                    && part.book.value.available(0) == 0
            };
            let starving = (now >= self.sweep.starving_at)
                .then(|| self.parts.iter().find(starving).map(|part| part.index.0))
                .flatten();
            let place = starving.or_else(|| {
                (now >= self.sweep.idle_at).then(|| {
                    self.sweep.idle_at = now.plus_millis(IDLE_INTERVAL_MS + self.jitter(IDLE_INTERVAL_MS));
                    self.sweep.turn += 1;
                    self.sweep.turn % self.parts.len().max(1)
                })
            })?;
            self.sweep.starving_at = now.plus_millis(STARVING_INTERVAL_MS + self.jitter(STARVING_INTERVAL_MS));
            self.sweep.steps.push_back(SweepStep::List(place));
        }
        let step = self.sweep.steps.pop_front()?;
        let op = match &step {
            SweepStep::List(place) => {
                let prefix = self.keys.holds(&self.parts.get(*place)?.resource);
                if !self.sweep.after.starts_with(&prefix) {
                    self.sweep.after.clear();
                }
                Op::List { prefix, after: self.sweep.after.clone(), most: PAGE }
            }
            SweepStep::Look(_, found) => {
                let read = found.iter().map(|of| self.keys.live(&of.holder)).collect();
                Op::Txn(Txn { read, ..Txn::default() })
            }
            SweepStep::Reap(place, found) => {
                let part = self.parts.get(*place)?;
                let (book_key, key) = (self.keys.book(&part.resource), self.keys.hold(&part.resource, &found.holder));
                let book = part.book.value;
                let taken = book.taken.saturating_sub(u64::from(found.licenses));
                let claimed = book.claimed.saturating_sub(u64::from(found.claims));
                let book = Book { taken, claimed, ..book };
                Op::Txn(Txn {
                    compare: vec![
                        (self.keys.live(&found.holder), 0),
                        (key.clone(), found.revision),
                        (book_key.clone(), part.book.revision),
                    ],
                    put: vec![Put { key: book_key, value: text(&book), lease: None }],
                    delete: vec![key],
                    read: Vec::new(),
                })
            }
        };
        Some((What::Sweep(step), op))
    }

    pub(super) fn on_listed(&mut self, what: What, entries: Vec<Entry>, now: Tick) {
        let What::Sweep(SweepStep::List(place)) = what else { return self.lives_listed(&entries, now) };
        let Some(part) = self.parts.get(place) else { return };
        let full = u32::try_from(entries.len()).is_ok_and(|count| count >= PAGE);
        self.sweep.after = if full { entries.last().map(|entry| entry.key.clone()) } else { None }.unwrap_or_default();
        let prefix = self.keys.holds(&part.resource);
        let found = entries.into_iter().filter_map(|entry| {
            let holder = entry.key.strip_prefix(&prefix)?.to_owned();
            let chunk: Hold = serde_json::from_str(&entry.value).ok()?;
            // Sessions are held by nodes, which have no life in their name: no time frees them.
            (holder != part.holder && holder.contains('@')).then_some(Found {
                holder,
                revision: entry.revision,
                licenses: chunk.licenses,
                claims: chunk.claims,
                tries: 0,
            })
        });
        let found: Vec<Found> = found.collect();
        if !found.is_empty() {
            self.sweep.steps.push_back(SweepStep::Look(place, found));
        }
    }

    /// A step of the sweep is done.
    pub(super) fn swept(&mut self, step: SweepStep, txn: &Txn, entries: &[Entry], _now: Tick) {
        match step {
            SweepStep::List(_) => {}
            SweepStep::Look(place, found) => {
                let lives = |of: &Found| {
                    let key = self.keys.live(&of.holder);
                    !txn.read.contains(&key) || entries.iter().any(|entry| entry.key == key)
                };
                let dead: Vec<Found> = found.into_iter().filter(|of| !lives(of)).collect();
                self.sweep.steps.extend(dead.into_iter().map(|of| SweepStep::Reap(place, of)));
            }
            SweepStep::Reap(place, found) => {
                if let Some(id) = self.parts.get(place).map(|part| part.of.id.clone()) {
                    self.tell(ChunkEvent::Reaped(id, found.holder, Licenses(found.licenses)));
                }
            }
        }
    }

    /// A chunk was not reaped: its life has a key after all, somebody changed it, or was as busy with the book.
    pub(super) fn sweep_lost(&mut self, step: SweepStep, _now: Tick) {
        if let SweepStep::Reap(place, found) = step
            && found.tries < TRIES
        {
            self.sweep.steps.push_back(SweepStep::Reap(place, Found { tries: found.tries + 1, ..found }));
        }
    }

    // --- a node that is gone for good --------------------------------------------------------------------------------

    fn forget_next(&mut self, now: Tick) -> Option<(What, Op)> {
        let forgetting = self.forgetting.front().filter(|forgetting| now >= forgetting.due)?;
        let Some(place) = forgetting.place else {
            let prefix = self.keys.lives(&forgetting.node);
            return Some((What::Forget, Op::List { prefix, after: String::new(), most: 1 }));
        };
        let Some(part) = self.parts.get(place) else {
            self.forgetting.pop_front();
            return None;
        };
        let (home_key, book_key) =
            (self.keys.home(&part.resource, forgetting.node.as_str()), self.keys.book(&part.resource));
        let mut txn = Txn {
            compare: vec![(home_key.clone(), forgetting.home.revision), (book_key.clone(), part.book.revision)],
            ..Txn::default()
        };
        let mut book = part.book.value;
        if part.kind() == Kind::Session {
            let key = self.keys.hold(&part.resource, forgetting.node.as_str());
            let chunk = &forgetting.chunk;
            book.taken = book.taken.saturating_sub(u64::from(chunk.value.licenses));
            book.claimed = book.claimed.saturating_sub(u64::from(chunk.value.claims));
            txn.compare.push((key.clone(), chunk.revision));
            txn.delete.push(key);
            if chunk.value.licenses > 0 {
                let key = self.keys.gone(&part.resource, &forgetting.node);
                txn.put.push(Put { key, value: text(&chunk.value), lease: None });
            }
        }
        let (home, book) = forgetting.home.value.towards(Licenses::ZERO, book);
        txn.put.push(Put { key: book_key, value: text(&book), lease: None });
        if home.licenses == 0 {
            txn.delete.push(home_key);
        } else {
            txn.put.push(Put { key: home_key, value: text(&home), lease: None });
        }
        Some((What::Forget, Op::Txn(txn)))
    }

    fn lives_listed(&mut self, entries: &[Entry], now: Tick) {
        let Some(mut forgetting) = self.forgetting.pop_front() else { return };
        if entries.is_empty() {
            forgetting.place = Some(0);
            forgetting.due = now;
            self.forgetting.push_front(forgetting);
        } else {
            self.tell(ChunkEvent::StillAlive(forgetting.node));
        }
    }

    /// A step of forgetting was carried out, or found other values than it knew.
    pub(super) fn forgot(&mut self, won: bool, entries: &[Entry], now: Tick) {
        let Some(forgetting) = self.forgetting.front_mut() else { return };
        let Some(part) = forgetting.place.and_then(|place| self.parts.get(place)) else { return };
        let home_key = self.keys.home(&part.resource, forgetting.node.as_str());
        let chunk_key = self.keys.hold(&part.resource, forgetting.node.as_str());
        if !won {
            let read = |key: &str| entries.iter().find(|entry| entry.key == key);
            let text = |key: &str| (read(key).map_or(0, |of| of.revision), read(key).map(|of| of.value.as_str()));
            let (home, chunk) = (text(&home_key), text(&chunk_key));
            let readable = forgetting.home.learn(home.0, home.1) & forgetting.chunk.learn(chunk.0, chunk.1);
            if !readable {
                self.forgetting.pop_front();
                self.tell(ChunkEvent::Unreadable(home_key));
            }
            return;
        }
        let gone = Licenses(if part.kind() == Kind::Session { forgetting.chunk.value.licenses } else { 0 });
        let (home, _) = forgetting.home.value.towards(Licenses::ZERO, part.book.value);
        let id = part.of.id.clone();
        let node = forgetting.node.clone();
        // Both are read again in the next step.
        (forgetting.home, forgetting.chunk) = (Seen::default(), Seen::default());
        let over = home.licenses == 0;
        if over {
            forgetting.place = forgetting.place.map(|place| place + 1);
        }
        forgetting.due = if over { now } else { now.plus_millis(FORGET_INTERVAL_MS) };
        if over || gone > Licenses::ZERO {
            self.tell(ChunkEvent::Forgotten(node, id, gone));
        }
    }
}
