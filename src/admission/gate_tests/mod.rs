//! The gate's rules, as sentences.

mod account;
mod duplicates;
mod laws;
mod leases;
mod limits;
mod loans;
#[cfg(loom)]
mod loom_tests;
mod memories;
mod reloads;
mod restarts;
mod shadow;
mod threads;

use super::*;
use crate::units::{Cps, HashKey, Now, Tick, UnixMillis};

impl Journal for Vec<Record> {
    fn append(&mut self, record: &Record) {
        self.push(record.clone());
    }
}

/// A gate, a clock that only the test moves, and short words for what a proxy says.
pub(super) struct Rig {
    pub(super) gate: Gate<Vec<Record>>,
    pub(super) now: Now,
}

pub(super) const BOUNDS: Bounds = Bounds {
    calls_max: 1_000,
    memories_max: 1_000,
    id_texts_max: 100,
    rate_max: Cps::saturating(10_000),
    groups_max: 20,
    proxies_max: 4,
    shards: 1,
};

pub(super) fn hash_key() -> HashKey {
    HashKey::from_bytes([7; 16])
}

pub(super) fn id(text: &str) -> CallId<'_> {
    CallId::new(text.as_bytes()).unwrap()
}

pub(super) fn name(text: &str) -> Name<'_> {
    Name::new(text.as_bytes()).unwrap()
}

pub(super) fn call(text: &str) -> Admit<'_> {
    Admit::call(id(text))
}

pub(super) fn call_with_seq(text: &str, seq: u32) -> Admit<'_> {
    Admit { seq: Some(seq), ..call(text) }
}

/// A policy without limits.
pub(super) fn open_policy() -> Policy {
    Policy { rate: None, ..Policy::default() }
}

impl Rig {
    pub(super) fn new(policy: Policy) -> Self {
        Self::bounded(policy, BOUNDS)
    }

    pub(super) fn bounded(policy: Policy, bounds: Bounds) -> Self {
        let journals = (0..bounds.shards).map(|_| Vec::new()).collect();
        let gate = Gate::new(policy, bounds, hash_key(), 1, journals);
        Self { gate, now: Now { tick: Tick::from_secs(1_000), wall: UnixMillis(1_000_000) } }
    }

    pub(super) fn open() -> Self {
        Self::new(open_policy())
    }

    pub(super) fn pass_millis(&mut self, millis: u64) {
        self.now.tick = self.now.tick.plus_millis(millis);
        self.now.wall.0 += millis;
    }

    pub(super) fn pass(&mut self, seconds: u64) {
        self.pass_millis(seconds * 1_000);
    }

    /// Lets time pass and does what time brings, to the end.
    pub(super) fn live_through(&mut self, seconds: u64) -> Housekeeping {
        self.pass(seconds);
        self.housekeep()
    }

    pub(super) fn housekeep(&self) -> Housekeeping {
        let mut all = self.gate.housekeep(self.now);
        while all.more {
            let next = self.gate.housekeep(self.now);
            all.lapsed += next.lapsed;
            all.suspects_freed += next.suspects_freed;
            all.levels.extend(next.levels);
            all.more = next.more;
        }
        all
    }

    pub(super) fn admit(&self, admit: &Admit<'_>) -> Decision {
        self.gate.admit(admit, self.now)
    }

    pub(super) fn cause(&self, admit: &Admit<'_>) -> Cause {
        self.admit(admit).cause
    }

    fn ask(&self, request: Request<'_>) -> bool {
        let mut known = None;
        self.gate.run(&[request], self.now, |answer| {
            if let Answer::Known(answer) = answer {
                known = Some(answer);
            }
        });
        known.expect("an answer")
    }

    pub(super) fn release(&self, text: &str) -> bool {
        self.ask(Request::Release { id: id(text), seq: None })
    }

    pub(super) fn release_seq(&self, text: &str, seq: u32) -> bool {
        self.ask(Request::Release { id: id(text), seq: Some(seq) })
    }

    pub(super) fn confirm(&self, text: &str) -> bool {
        self.ask(Request::Confirm { id: id(text), seq: None, ttl_s: None })
    }

    pub(super) fn confirm_with(&self, text: &str, seq: Option<u32>, ttl_s: Option<u32>) -> bool {
        self.ask(Request::Confirm { id: id(text), seq, ttl_s })
    }

    pub(super) fn refresh(&self, text: &str) -> bool {
        self.ask(Request::Refresh { id: id(text) })
    }

    pub(super) fn status(&self) -> Status {
        self.gate.status(self.now)
    }

    pub(super) fn live(&self) -> u32 {
        let status = self.status();
        status.calls_live + status.registrations_live
    }

    pub(super) fn refused(&self, cause: Cause) -> u64 {
        self.status().refused_total[usize::from(cause.code())]
    }

    pub(super) fn used(&self, limit: &str) -> u32 {
        self.status().limits.iter().find(|view| view.name == limit).map_or(0, |view| view.used)
    }

    pub(super) fn records(&self) -> Vec<Record> {
        self.gate.with_journal(0, |journal| journal.clone()).unwrap()
    }
}
