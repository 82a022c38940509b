//! Proxies that restart: epochs, suspects, and RESYNC, by which a proxy names the calls that it still has.
//!
//! Both free calls alone, never registrations. A proxy's list is one of dialogs, and a call whose end was lost would hold its slot for
//! hours; a registration is in no such list, mostly outlives the proxy (in its database), and ends by its own Expires unless its
//! user agent renews it.

use super::entry::{Step, flag, number, state, stored};
use super::gate::{Gate, ResyncError, ResyncOutcome, ResyncToken};
use super::record::{Journal, Record};
use super::request::{CallId, Kind, Name};
use super::resources::Wants;
use super::shard::{Exit, Names, Opening};
use crate::units::Now;

/// What became of an epoch that a proxy said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyEpoch {
    /// It is another one than before: the proxy's calls are suspect.
    New,
    /// The proxy said it before; nothing changed.
    Known,
    /// The table of proxies is full, and nothing changed.
    Full,
}

impl<J: Journal> Gate<J> {
    /// A proxy says in which epoch it lives. In a new one its calls become suspect: freed after the grace unless REFRESH or RESYNC
    /// names them.
    pub fn proxy_epoch(&self, proxy: Name<'_>, epoch: u64, now: Now) -> ProxyEpoch {
        let Some(number) = self.proxy_number(proxy) else { return ProxyEpoch::Full };
        let grace = self.policy().leases.suspect_grace_s;
        if !self.proxies.set_epoch(number, epoch, now.tick, now.tick.plus_secs(u64::from(grace))) {
            return ProxyEpoch::Known;
        }
        for shard in 0..self.shards() {
            let record = Record::ProxyEpoch { proxy: number, epoch, at: now.tick };
            self.with_journal(shard, |journal| journal.append(&record));
        }
        ProxyEpoch::New
    }

    /// Opens a RESYNC of this proxy's calls; an open one of the same proxy is aborted. Suspends the clock of its suspects.
    ///
    /// # Errors
    /// If the table of proxies is full.
    pub fn resync_begin(&self, proxy: Name<'_>, now: Now) -> Result<ResyncToken, ResyncError> {
        let number = self.proxy_number(proxy).ok_or(ResyncError::Full)?;
        self.proxies.begin(number, now.tick)
    }

    /// Names a call that lives at the proxy: it is kept; or adopted, if it is not known and wasn't released just now.
    ///
    /// # Errors
    /// If the token isn't open, or the table of calls is full.
    pub fn resync_add(&self, token: ResyncToken, id: CallId<'_>, now: Now) -> Result<(), ResyncError> {
        let open = self.proxies.open(token)?;
        let key = self.key(id.bytes());
        let settings = self.settings();
        let scene = self.scene(&settings, now);
        let mut shard = self.shard_of(key);
        let found = shard.lookup(key, scene.step);
        if let Some(place) = found {
            let entry = shard.table.entry_mut(place);
            match entry.state {
                state::LIVE => {
                    let moved = entry.proxy != stored(Some(open.proxy));
                    entry.proxy = stored(Some(open.proxy));
                    let named_before = entry.resync == open.serial;
                    entry.resync = open.serial;
                    if moved {
                        shard.journal_live(&scene, place);
                    }
                    shard.heard_of(&scene, place);
                    if !named_before {
                        self.proxies.count_named(&open, true);
                    }
                    return Ok(());
                }
                // It ended while the proxy was writing its list.
                state::RELEASED | state::TOMBSTONE => return Ok(()),
                _ => {}
            }
        }
        if shard.table.is_full() {
            // The proxy's list can't be had whole: END must not free what it names.
            return Err(ResyncError::Full);
        }
        let names = Names {
            proxy: Some(open.proxy),
            license_type: settings.policy.default_type(Kind::Call),
            ..Names::default()
        };
        let wants = Wants {
            trunk: None,
            tenant: None,
            license_type: names.license_type,
            units: 1,
            registration: false,
            webrtc: false,
            encrypted: false,
            priority: true,
            rate_paid: true,
        };
        let held = self.resources.force(&settings, &wants, now.tick);
        let opening = Opening {
            key,
            id: id.bytes(),
            memory: found,
            names,
            seq: None,
            units: 1,
            lease_s: settings.policy.leases.talk_s,
            flags: flag::CONFIRMED | flag::FORCED,
            held: &held,
            resync: open.serial,
        };
        let _ = shard.open(&scene, &opening);
        self.resources.commit(held);
        shard.tally.resync_adopted += 1;
        shard.tally.forced += 1;
        drop(shard);
        self.proxies.count_named(&open, false);
        Ok(())
    }

    /// Frees the proxy's calls that were admitted before BEGIN and not named since. Walks the whole table, a short hold at
    /// a time: call it off the reactor's thread.
    ///
    /// # Errors
    /// If the token isn't open.
    pub fn resync_end(&self, token: ResyncToken, now: Now) -> Result<ResyncOutcome, ResyncError> {
        let open = self.proxies.close(token, true, now.tick)?;
        let settings = self.settings();
        let scene = self.scene(&settings, now);
        let begun = Step::of(open.begun);
        let mut released = 0;
        self.walk(|shard, place| {
            let entry = shard.table.entry(place);
            // Admitted in BEGIN's own step is taken for later: it stays.
            let of_proxy = number(entry.proxy) == Some(open.proxy) && !entry.has(flag::REGISTRATION);
            // Named by this RESYNC, or by one that began meanwhile.
            let named = entry.resync != 0 && entry.resync.wrapping_sub(open.serial) < 0x8000;
            let frees = of_proxy && !named && entry.admitted < begun;
            if frees {
                shard.close(&scene, place, Exit::Resynced, None);
                released += 1;
            }
            frees
        });
        let (kept, adopted) = open.counts;
        Ok(ResyncOutcome { kept, adopted, released })
    }

    /// Forgets a RESYNC; frees nothing, and the clock of the proxy's suspects runs on.
    ///
    /// # Errors
    /// If the token isn't open.
    pub fn resync_abort(&self, token: ResyncToken, now: Now) -> Result<(), ResyncError> {
        self.proxies.close(token, false, now.tick).map(|_| ())
    }
}
