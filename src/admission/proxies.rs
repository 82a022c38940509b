//! Proxies by name: the epoch each lives in, the grace of its suspect calls, and its open RESYNC.

use std::collections::HashMap;

use dashmap::DashMap;
use xxhash_rust::xxh3::Xxh3Builder;

use super::gate::{ResyncError, ResyncToken};
use crate::sync::{AtomicU32, AtomicU64, Mutex, Ordering};
use crate::units::Tick;

/// An epoch, and the instant at which its proxy said it.
type SaidEpoch = (u64, Tick);

/// One proxy.
#[derive(Debug)]
struct Proxy {
    name: Box<[u8]>,
    /// Counts its restarts; entries remember the one they were last heard of in. Read on the fast path.
    generation: AtomicU32,
    slow: Mutex<Slow>,
}

/// What only the slow path touches.
#[derive(Debug, Default)]
struct Slow {
    /// The epoch that it said, and when.
    epoch: Option<SaidEpoch>,
    grace: Grace,
    resync: Option<Resync>,
    /// Counts its RESYNCs: what marks the entries that the open one named. Zero marks none.
    serial: u16,
}

/// The clock of a proxy's suspect calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Grace {
    /// None is suspect.
    #[default]
    Idle,
    /// They are freed then.
    Until(Tick),
    /// An open RESYNC suspends it, so many nanoseconds before its end.
    Suspended(u64),
}

/// An open RESYNC.
#[derive(Debug, Clone, Copy)]
struct Resync {
    token: u64,
    begun: Tick,
    kept: u32,
    adopted: u32,
}

/// An open RESYNC, as its commands need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OpenResync {
    /// The proxy's number.
    pub(crate) proxy: u16,
    /// Marks the entries that it names.
    pub(crate) serial: u16,
    /// When it began.
    pub(crate) begun: Tick,
    /// Calls kept and adopted so far.
    pub(crate) counts: (u32, u32),
}

/// All proxies.
#[derive(Debug)]
pub(crate) struct Proxies {
    by_name: DashMap<Box<[u8]>, u16, Xxh3Builder>,
    slots: Box<[std::sync::OnceLock<Proxy>]>,
    count: AtomicU32,
    refused: AtomicU64,
    open: Mutex<HashMap<u64, u16>>,
    tokens: AtomicU64,
}

impl Proxies {
    /// A registry of at most `max` names, hashed with `seed`; tokens begin at a place that `seed` chooses.
    pub(crate) fn new(max: u16, seed: u64) -> Self {
        Self {
            by_name: DashMap::with_hasher_and_shard_amount(Xxh3Builder::new().with_seed(seed), 16),
            slots: (0..max).map(|_| std::sync::OnceLock::new()).collect(),
            count: AtomicU32::new(0),
            refused: AtomicU64::new(0),
            open: Mutex::new(HashMap::new()),
            tokens: AtomicU64::new(seed >> 16),
        }
    }

    fn get(&self, number: u16) -> Option<&Proxy> {
        self.slots.get(usize::from(number))?.get()
    }

    /// Requests whose proxy's name found no place.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// The number of a proxy's name, and whether it is new just now. `None` if the registry is full.
    pub(crate) fn number(&self, name: &[u8]) -> Option<(u16, bool)> {
        if let Some(number) = self.by_name.get(name) {
            return Some((*number, false));
        }
        if usize::try_from(self.count.load(Ordering::Relaxed)).is_ok_and(|count| count >= self.slots.len()) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        match self.by_name.entry(name.into()) {
            dashmap::Entry::Occupied(known) => Some((*known.get(), false)),
            dashmap::Entry::Vacant(vacant) => {
                // Relaxed: the number only has to be unique; the slot publishes the proxy.
                let next = self.count.fetch_add(1, Ordering::Relaxed);
                let slot = usize::try_from(next).ok().and_then(|next| self.slots.get(next));
                let (Some(slot), Ok(number)) = (slot, u16::try_from(next)) else {
                    self.count.fetch_sub(1, Ordering::Relaxed);
                    self.refused.fetch_add(1, Ordering::Relaxed);
                    return None;
                };
                slot.get_or_init(|| Proxy {
                    name: name.into(),
                    generation: AtomicU32::new(0),
                    slow: Mutex::new(Slow::default()),
                });
                vacant.insert(number);
                Some((number, true))
            }
        }
    }

    /// A proxy's name.
    pub(crate) fn name(&self, number: u16) -> Option<&[u8]> {
        self.get(number).map(|proxy| &*proxy.name)
    }

    /// Every proxy's number, name, and the epoch it said with the instant of saying.
    pub(crate) fn names(&self) -> Vec<(u16, Box<[u8]>, Option<SaidEpoch>)> {
        (0..=u16::MAX)
            .zip(self.slots.iter())
            .filter_map(|(number, slot)| {
                let proxy = slot.get()?;
                Some((number, proxy.name.clone(), proxy.slow.lock().epoch))
            })
            .collect()
    }

    /// The generation that a proxy lives in, cut to what an entry stores.
    pub(crate) fn generation(&self, number: u16) -> u16 {
        // Relaxed: an ADMIT that races with its proxy's restart may count to either side; the grace outlasts both.
        let generation = self.get(number).map_or(0, |proxy| proxy.generation.load(Ordering::Relaxed));
        u16::try_from(generation & 0xffff).unwrap_or(0)
    }

    /// A proxy says its epoch. `true` if that is a new one: its calls are suspect until `grace_ends`.
    pub(crate) fn set_epoch(&self, number: u16, epoch: u64, now: Tick, grace_ends: Tick) -> bool {
        let Some(proxy) = self.get(number) else { return false };
        let mut slow = proxy.slow.lock();
        if slow.epoch.is_some_and(|(known, _)| known == epoch) {
            return false;
        }
        slow.epoch = Some((epoch, now));
        proxy.generation.fetch_add(1, Ordering::Relaxed);
        if let Some(resync) = slow.resync.take() {
            // It was begun by the life before this one.
            self.open.lock().remove(&resync.token);
        }
        slow.grace = Grace::Until(grace_ends);
        true
    }

    /// Opens a RESYNC; one that was open for the same proxy is forgotten.
    pub(crate) fn begin(&self, number: u16, now: Tick) -> Result<ResyncToken, ResyncError> {
        let proxy = self.get(number).ok_or(ResyncError::Full)?;
        let mut slow = proxy.slow.lock();
        let mut open = self.open.lock();
        if let Some(before) = slow.resync.take() {
            open.remove(&before.token);
        }
        let token = self.tokens.fetch_add(1, Ordering::Relaxed) & 0x7fff_ffff_ffff_ffff;
        open.insert(token, number);
        slow.serial = if slow.serial == u16::MAX { 1 } else { slow.serial + 1 };
        slow.resync = Some(Resync { token, begun: now, kept: 0, adopted: 0 });
        if let Grace::Until(end) = slow.grace {
            slow.grace = Grace::Suspended(end.nanos_since(now));
        }
        Ok(ResyncToken(token))
    }

    /// The open RESYNC of a token.
    pub(crate) fn open(&self, token: ResyncToken) -> Result<OpenResync, ResyncError> {
        let number = *self.open.lock().get(&token.0).ok_or(ResyncError::UnknownToken)?;
        let slow = self.get(number).ok_or(ResyncError::UnknownToken)?.slow.lock();
        let resync = slow.resync.filter(|resync| resync.token == token.0).ok_or(ResyncError::UnknownToken)?;
        Ok(OpenResync {
            proxy: number,
            serial: slow.serial,
            begun: resync.begun,
            counts: (resync.kept, resync.adopted),
        })
    }

    /// Counts a call that an open RESYNC named.
    pub(crate) fn count_named(&self, open: &OpenResync, kept: bool) {
        if let Some(proxy) = self.get(open.proxy)
            && let Some(resync) = &mut proxy.slow.lock().resync
        {
            if kept {
                resync.kept += 1;
            } else {
                resync.adopted += 1;
            }
        }
    }

    /// Ends a RESYNC. Done, nothing is suspect any more; forgotten, the clock of the suspects runs on.
    pub(crate) fn close(&self, token: ResyncToken, done: bool, now: Tick) -> Result<OpenResync, ResyncError> {
        let resync = self.open(token)?;
        self.open.lock().remove(&token.0);
        if let Some(proxy) = self.get(resync.proxy) {
            let mut slow = proxy.slow.lock();
            if slow.resync.is_some_and(|open| open.token == token.0) {
                slow.resync = None;
                slow.grace = match slow.grace {
                    _ if done => Grace::Idle,
                    Grace::Suspended(left) => Grace::Until(now.plus_nanos(left)),
                    unchanged @ (Grace::Idle | Grace::Until(_)) => unchanged,
                };
            }
        }
        Ok(resync)
    }

    /// Forgets RESYNCs that have been open for longer than `limit_nanos`.
    pub(crate) fn abort_overdue(&self, limit_nanos: u64, now: Tick) {
        let open: Vec<u64> = self.open.lock().keys().copied().collect();
        for token in open.into_iter().map(ResyncToken) {
            if self.open(token).is_ok_and(|resync| now.nanos_since(resync.begun) > limit_nanos) {
                // Lost a race with its END: then there is nothing to forget.
                let _ = self.close(token, false, now);
            }
        }
    }

    /// Whether a RESYNC of this proxy is open; if so, its clock stands at nothing left.
    pub(crate) fn suspend_again(&self, number: u16) -> bool {
        let Some(proxy) = self.get(number) else { return false };
        let mut slow = proxy.slow.lock();
        let open = slow.resync.is_some();
        if open && slow.grace == Grace::Idle {
            slow.grace = Grace::Suspended(0);
        }
        open
    }

    /// A proxy whose suspects' grace is over; its clock is idle from now on.
    pub(crate) fn next_overdue(&self, now: Tick) -> Option<u16> {
        (0..=u16::MAX).zip(self.slots.iter()).find_map(|(number, slot)| {
            let mut slow = slot.get()?.slow.lock();
            match slow.grace {
                Grace::Until(end) if end <= now => {
                    slow.grace = Grace::Idle;
                    Some(number)
                }
                Grace::Idle | Grace::Until(_) | Grace::Suspended(_) => None,
            }
        })
    }
}
