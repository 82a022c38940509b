//! Requests, and what follows from their answers.
//!
//! Each transaction compares every key that it writes, so that of two requests about one key at most one is carried out,
//! whichever arrives first and however late. What is won says what is written; what is lost brings what is there.

use super::super::pools::Pools;
use super::super::resource::{Kind, Licenses};
use super::keys::{Book, Hold, text};
use super::part::Part;
use super::sweep::SweepStep;
use super::words::{Answer, Entry, Op, Put, Request, Txn};
use super::{ChunkEvent, Chunks};
use crate::units::Tick;

/// A node that finds nothing free looks at the book at most so often, in milliseconds.
const LOOK_INTERVAL_MS: u64 = 200;
/// The shortest and the longest wait after a book was changed by somebody else, in milliseconds.
const CONTENDED_MS: [u64; 2] = [4, 2000];
/// What is asked back is said anew at most so often, in milliseconds.
const CLAIM_INTERVAL_MS: u64 = 500;
/// A home that waits for licenses to come back is tried so often, in milliseconds.
const HOME_INTERVAL_MS: u64 = 500;
/// Sessions that another ledger holds are looked at so often, in milliseconds.
const FOREIGN_INTERVAL_MS: u64 = 5000;
/// The first and the longest pause after a request that nobody answered, in milliseconds.
const FAILED_MS: [u64; 2] = [50, 1600];
/// Of a term so much is left when the next is asked for, in percent.
const RENEW_BELOW_PERCENT: u64 = 40;

/// The request under way.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    number: u64,
    what: What,
    txn: Txn,
}

#[derive(Debug, Clone)]
pub(super) enum What {
    /// A lease, with its anchor.
    Grant(Tick),
    /// The `live` key is tied to it.
    Renew {
        anchor: Tick,
        ttl_s: u32,
    },
    /// The chunk is written as it is (E1).
    Confirm(usize),
    Take(usize),
    /// What is asked back is written into the book.
    Claim(usize),
    Return(usize, Licenses),
    Home(usize),
    /// The book is read.
    Look,
    Sweep(SweepStep),
    Forget,
}

impl Chunks {
    /// The next request, if one is due and none is under way. `now` is read just before: it is the anchor.
    pub fn poll_request(&mut self, now: Tick) -> Option<Request> {
        if self.pending.is_some() || now < self.quiet_until {
            return None;
        }
        let (what, op) = self.term(now).or_else(|| self.each_part(now)).or_else(|| self.others(now))?;
        self.number += 1;
        let txn = if let Op::Txn(txn) = &op { txn.clone() } else { Txn::default() };
        self.pending = Some(Pending { number: self.number, what, txn });
        Some(Request { number: self.number, op })
    }

    /// What came of a request. Answers to others than the one under way are nobody's.
    pub fn handle_answer(&mut self, number: u64, answer: Answer, now: Tick, pools: &mut dyn Pools) {
        let Some(pending) = self.pending.take_if(|pending| pending.number == number) else { return };
        let Pending { what, txn, .. } = pending;
        match answer {
            Answer::Failed => self.on_failed(what, now),
            Answer::Granted { lease, ttl_s } => {
                self.failures = 0;
                if let What::Grant(anchor) = what {
                    self.live.granted = Some((lease, anchor, ttl_s));
                }
            }
            Answer::Listed { revision, entries } => {
                if self.engine_is_at(revision, now, pools)
                    && let What::Sweep(_) | What::Forget = what
                {
                    self.on_listed(what, entries, now);
                }
            }
            Answer::Txn { won, revision, entries } => {
                if self.engine_is_at(revision, now, pools) {
                    self.on_txn(what, &txn, (won, revision), &entries, now, pools);
                }
            }
        }
    }

    fn changes_a_book(&self, txn: &Txn) -> bool {
        self.parts.iter().any(|part| {
            let key = self.keys.book(&part.resource);
            txn.compare.iter().any(|(compared, _)| *compared == key)
        })
    }

    // --- what is asked -----------------------------------------------------------------------------------------------

    /// The next term (E3).
    fn term(&mut self, now: Tick) -> Option<(What, Op)> {
        if let Some((lease, anchor, ttl_s)) = self.live.granted {
            let key = self.keys.live(&self.life);
            let put = Put { key: key.clone(), value: self.ledger.clone(), lease: Some(lease) };
            let read = self.parts.iter().map(|part| self.keys.book(&part.resource)).collect();
            let txn = Txn { compare: vec![(key, self.live.revision)], put: vec![put], delete: Vec::new(), read };
            return Some((What::Renew { anchor, ttl_s }, Op::Txn(txn)));
        }
        (now >= self.live.renew_at).then_some((What::Grant(now), Op::Grant { ttl_s: self.terms.ttl_s }))
    }

    /// What a resource needs most, each in its turn.
    fn each_part(&mut self, now: Tick) -> Option<(What, Op)> {
        for _ in 0..self.parts.len() {
            let place = self.turn % self.parts.len();
            self.turn = place + 1;
            let found = self.one_part(place, now);
            if self.read_first && found.as_ref().is_some_and(|(_, txn)| self.changes_a_book(txn)) {
                self.read_first = false;
                return self.read_book(place);
            }
            if found.is_some() {
                return found.map(|(what, txn)| (what, Op::Txn(txn)));
            }
        }
        None
    }

    fn read_book(&mut self, place: usize) -> Option<(What, Op)> {
        let part = self.parts.get_mut(place)?;
        // What was to be sent is made anew from what is read.
        (part.returning, part.home_at, part.claim_at) = (false, Tick(0), Tick(0));
        let read = vec![self.keys.book(&part.resource)];
        Some((What::Look, Op::Txn(Txn { read, ..Txn::default() })))
    }

    fn one_part(&mut self, place: usize, now: Tick) -> Option<(What, Txn)> {
        let is_live = self.is_live(now);
        let (keys, live) = (self.keys.clone(), (self.keys.live(&self.life), self.live.revision));
        let ledger = self.ledger.clone();
        let part = self.parts.get_mut(place)?;
        let rate = part.kind() == Kind::Rate;
        let chunk_key = keys.hold(&part.resource, &part.holder);
        let book_key = keys.book(&part.resource);
        let with_chunk = |part: &Part, licenses: Licenses, want: Licenses, book: Option<Book>| {
            let before = part.chunk.value.claims;
            let claims = if book.is_some() { part.claims(licenses, want) } else { before };
            let chunk = Hold { licenses: licenses.0, claims, ledger: ledger.clone() };
            let mut txn = Txn {
                compare: vec![(chunk_key.clone(), part.chunk.revision)],
                put: vec![Put { key: chunk_key.clone(), value: text(&chunk), lease: None }],
                ..Txn::default()
            };
            if let Some(mut book) = book {
                book.claimed = book.claimed.saturating_sub(u64::from(before)).saturating_add(u64::from(claims));
                txn.compare.push((book_key.clone(), part.book.revision));
                txn.put.push(Put { key: book_key.clone(), value: text(&book), lease: None });
            }
            if rate {
                txn.compare.push(live.clone());
            }
            txn
        };
        let usable = is_live || !rate;
        if !part.confirmed && usable && now >= part.confirm_at {
            if part.foreign || !part.chunk.known && part.chunk.revision != 0 {
                // Lost on purpose: it brings what is there now.
                part.confirm_at = now.plus_millis(FOREIGN_INTERVAL_MS);
                let txn = Txn { compare: vec![(chunk_key.clone(), -1)], ..Txn::default() };
                return Some((What::Confirm(place), txn));
            }
            return Some((
                What::Confirm(place),
                with_chunk(part, Licenses(part.chunk.value.licenses), Licenses::ZERO, None),
            ));
        }
        if !part.book.is_writable() || !part.home.is_writable() {
            // Nothing is written over what isn't understood.
            return None;
        }
        if now < self.book_at {
            return None;
        }
        let home = &part.home.value;
        let settled = part.home.known && home.licenses == part.own.0 && home.target == part.own.0;
        if !settled && now >= part.home_at {
            part.home_at = now.plus_millis(HOME_INTERVAL_MS);
            let key = keys.home(&part.resource, self.node.as_str());
            if part.home.known && home.target == part.own.0 && part.book.value.free() == 0 {
                return Some((What::Look, Txn { read: vec![book_key], ..Txn::default() }));
            }
            let (next, book) = home.towards(part.own, part.book.value);
            let txn = Txn {
                compare: vec![(key.clone(), part.home.revision), (book_key.clone(), part.book.revision)],
                put: vec![
                    Put { key, value: text(&next), lease: None },
                    Put { key: book_key, value: text(&book), lease: None },
                ],
                ..Txn::default()
            };
            return Some((What::Home(place), txn));
        }
        if !part.confirmed || !usable {
            return None;
        }
        let there = Licenses(part.chunk.value.licenses);
        let book = part.book.value;
        if part.giving > Licenses::ZERO {
            part.returning = true;
            let taken = book.taken.saturating_sub(u64::from(part.giving.0));
            let txn = with_chunk(part, there.less(part.giving), Licenses::ZERO, Some(Book { taken, ..book }));
            return Some((What::Return(place, part.giving), txn));
        }
        let claims = part.chunk.value.claims;
        if part.book.known
            && part.claims(there, part.want) != claims
            && now >= part.claim_at
            && (part.want == Licenses::ZERO || book.available(claims) == 0)
        {
            part.claim_at = now.plus_millis(CLAIM_INTERVAL_MS);
            return Some((What::Claim(place), with_chunk(part, there, part.want, Some(book))));
        }
        if part.want > Licenses::ZERO {
            let take = u64::from(part.want.0).min(book.available(claims));
            if part.book.known && take > 0 {
                let more = Licenses(u32::try_from(take).unwrap_or(u32::MAX));
                let txn = with_chunk(
                    part,
                    there.plus(more),
                    part.want.less(more),
                    Some(Book { taken: book.taken + take, ..book }),
                );
                return Some((What::Take(place), txn));
            }
            if now >= part.look_at {
                part.look_at = now.plus_millis(LOOK_INTERVAL_MS);
                return Some((What::Look, Txn { read: vec![book_key], ..Txn::default() }));
            }
        }
        None
    }

    // --- what is answered --------------------------------------------------------------------------------------------

    /// Nobody knows what became of it (E1).
    fn on_failed(&mut self, what: What, now: Tick) {
        match what {
            What::Confirm(place) | What::Take(place) | What::Claim(place) | What::Return(place, _) => {
                if let Some(part) = self.parts.get_mut(place) {
                    part.confirmed = false;
                    part.returning = false;
                }
            }
            // Another lease is asked for: this one may have been tied to the key, or still be.
            What::Grant(_) | What::Renew { .. } => self.live.granted = None,
            What::Home(_) | What::Look | What::Forget => {}
            What::Sweep(_) => self.sweep.rest(now),
        }
        let [first, longest] = FAILED_MS;
        let pause = (first << self.failures.min(10)).min(longest);
        let pause = pause / 2 + self.jitter(pause);
        self.failures += 1;
        self.quiet_until = now.plus_millis(pause);
    }

    /// Looks whether the engine is as new as it was. One from a backup knows nothing of what was taken since.
    fn engine_is_at(&mut self, revision: i64, now: Tick, pools: &mut dyn Pools) -> bool {
        self.failures = 0;
        if revision >= self.highest {
            self.highest = revision;
            return true;
        }
        self.highest = revision;
        self.live = super::Live { renew_at: now, ..super::Live::default() };
        for part in &mut self.parts {
            part.book = Default::default();
            part.home = Default::default();
            part.chunk = Default::default();
            (part.confirmed, part.returning) = (false, false);
            if part.kind() == Kind::Rate {
                part.lapse();
                part.apply(now, pools);
            }
        }
        self.sweep.rest(now);
        self.tell(ChunkEvent::WentBack);
        false
    }

    fn on_txn(
        &mut self,
        what: What,
        txn: &Txn,
        (won, revision): (bool, i64),
        entries: &[Entry],
        now: Tick,
        pools: &mut dyn Pools,
    ) {
        let read = |key: &str| entries.iter().find(|entry| entry.key == key);
        for key in &txn.read {
            let entry = read(key);
            self.learn(key, entry.map_or(0, |entry| entry.revision), entry.map(|entry| entry.value.as_str()));
        }
        if won {
            for put in &txn.put {
                self.learn(&put.key, revision, Some(&put.value));
            }
            for key in &txn.delete {
                self.learn(key, 0, None);
            }
            if self.changes_a_book(txn) {
                self.contended_ms = self.contended_ms * 3 / 4;
            }
            return self.on_won(what, txn, revision, entries, now, pools);
        }
        for (key, _) in &txn.compare {
            let entry = read(key);
            self.learn(key, entry.map_or(0, |entry| entry.revision), entry.map(|entry| entry.value.as_str()));
        }
        if self.changes_a_book(txn) {
            // Others are as busy with the same book: the more of them, the longer, and it is read again right before.
            let [least, longest] = CONTENDED_MS;
            self.contended_ms = (self.contended_ms * 2).clamp(least, longest);
            let pause = self.jitter(self.contended_ms);
            self.book_at = now.plus_millis(pause);
            self.read_first = true;
        }
        self.on_lost(what, txn, entries, now, pools);
    }

    fn on_won(&mut self, what: What, txn: &Txn, revision: i64, entries: &[Entry], now: Tick, pools: &mut dyn Pools) {
        let until = self.live.until;
        match what {
            What::Renew { anchor, ttl_s } => self.renewed(anchor, ttl_s, revision, now, pools),
            What::Confirm(place) | What::Take(place) => {
                if let Some(part) = self.parts.get_mut(place) {
                    part.hold(until);
                    part.want = Licenses::ZERO;
                    part.apply(now, pools);
                }
            }
            What::Claim(place) => {
                if let Some(part) = self.parts.get_mut(place) {
                    let until = part.until;
                    part.hold(until);
                }
            }
            What::Return(place, given) => {
                if let Some(part) = self.parts.get_mut(place) {
                    part.returning = false;
                    part.giving = part.giving.less(given);
                    let until = part.until;
                    part.hold(until);
                }
            }
            What::Home(place) => {
                let reached = self.parts.get(place).map(|part| (part.of.id.clone(), part.own, &part.home.value));
                if let Some((id, own, home)) = reached
                    && home.licenses == own.0
                {
                    self.tell(ChunkEvent::HomeReached(id, own));
                }
            }
            What::Sweep(step) => self.swept(step, txn, entries, now),
            What::Forget => self.forgot(true, entries, now),
            What::Grant(_) | What::Look => {}
        }
    }

    /// The `live` key is tied to a new lease.
    fn renewed(&mut self, anchor: Tick, ttl_s: u32, revision: i64, now: Tick, pools: &mut dyn Pools) {
        let usable = self.usable_nanos(ttl_s);
        let until = anchor.plus_nanos(usable);
        self.live = super::Live {
            revision,
            granted: None,
            until: Some(until),
            renew_at: anchor.plus_nanos(usable / 100 * (100 - RENEW_BELOW_PERCENT)),
        };
        for part in self.parts.iter_mut().filter(|part| part.kind() == Kind::Rate && part.confirmed) {
            part.until = Some(until);
            part.apply(now, pools);
        }
    }

    fn on_lost(&mut self, what: What, txn: &Txn, entries: &[Entry], now: Tick, pools: &mut dyn Pools) {
        let live = self.keys.live(&self.life);
        if txn.compare.iter().any(|(key, _)| *key == live) {
            let found = entries.iter().find(|entry| entry.key == live).map_or(0, |entry| entry.revision);
            self.live_is_at(found, now, pools);
        }
        match what {
            What::Return(place, _) | What::Confirm(place) | What::Take(place) | What::Claim(place) => {
                let Some(part) = self.parts.get_mut(place) else { return };
                part.returning = false;
                if part.foreign {
                    let id = part.of.id.clone();
                    part.confirm_at = now.plus_millis(FOREIGN_INTERVAL_MS);
                    self.tell(ChunkEvent::NameTaken(id));
                }
            }
            What::Home(place) => {
                if let Some(part) = self.parts.get_mut(place) {
                    part.home_at = now;
                }
            }
            What::Sweep(step) => self.sweep_lost(step, now),
            What::Forget => self.forgot(false, entries, now),
            What::Grant(_) | What::Renew { .. } | What::Look => {}
        }
    }

    /// The `live` key was found at another revision than the one known.
    fn live_is_at(&mut self, found: i64, now: Tick, pools: &mut dyn Pools) {
        if found == self.live.revision {
            return;
        }
        let lapsed = found == 0;
        if lapsed {
            self.live.until = None;
            self.live.renew_at = now;
            self.tell(ChunkEvent::Lapsed);
        }
        self.live.revision = found;
        for part in &mut self.parts {
            // A request of this life that nobody answered was carried out, or the node may have been forgotten: the chunk is
            // looked at anew.
            part.confirmed = false;
            if lapsed && part.kind() == Kind::Rate {
                part.lapse();
                part.apply(now, pools);
            }
        }
    }

    /// A key was read, or written by a transaction that was won.
    fn learn(&mut self, key: &str, revision: i64, value: Option<&str>) {
        let mut unreadable = false;
        for part in &mut self.parts {
            if key == self.keys.book(&part.resource) {
                unreadable |= !part.book.learn(revision, value);
            } else if key == self.keys.home(&part.resource, self.node.as_str()) {
                unreadable |= !part.home.learn(revision, value);
            } else if key == self.keys.hold(&part.resource, &part.holder) {
                unreadable |= !part.learn_chunk(revision, value, &self.ledger);
            }
        }
        if unreadable {
            self.tell(ChunkEvent::Unreadable(key.to_owned()));
        }
    }
}
