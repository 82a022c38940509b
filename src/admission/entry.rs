//! One entry of the session table: a cache line.

use bytemuck::{Pod, Zeroable};

use crate::units::{CallKey, Tick};

/// A coarse instant: steps of 2^26 ns (67 ms) since boot. Leases and memories are kept to this grain; 32 bits last nine years.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Pod, Zeroable)]
#[repr(transparent)]
pub(crate) struct Step(pub(crate) u32);

/// Nanoseconds per step, as a shift.
const STEP_SHIFT: u32 = 26;

/// The longest lease, in seconds: a year. Keeps every deadline within [`Step`].
pub(crate) const LEASE_SECONDS_MAX: u32 = 366 * 86_400;

impl Step {
    /// The step that `tick` lies in.
    pub(crate) fn of(tick: Tick) -> Self {
        Self(u32::try_from(tick.0 >> STEP_SHIFT).unwrap_or(u32::MAX))
    }

    /// The first step that begins `seconds` or more after `tick`: a lease never ends early.
    pub(crate) fn after(tick: Tick, seconds: u32) -> Self {
        let end = tick.plus_secs(u64::from(seconds.min(LEASE_SECONDS_MAX)));
        Self::ending(end)
    }

    /// The first step that begins at `end` or later.
    pub(crate) fn ending(end: Tick) -> Self {
        Self(u32::try_from(end.0.div_ceil(1 << STEP_SHIFT)).unwrap_or(u32::MAX))
    }

    /// When the step begins.
    pub(crate) const fn tick(self) -> Tick {
        // A widening conversion; `u64::from` is not const.
        #[expect(clippy::as_conversions, reason = "u32 to u64 widens")]
        Tick((self.0 as u64) << STEP_SHIFT)
    }
}

/// What an entry is.
pub(crate) mod state {
    // 0 is nothing: on the free list.
    /// A live call or registration.
    pub(crate) const LIVE: u8 = 1;
    /// A refusal, remembered.
    pub(crate) const REFUSED: u8 = 2;
    /// A released call, remembered.
    pub(crate) const RELEASED: u8 = 3;
    /// A release that came before its call, remembered.
    pub(crate) const TOMBSTONE: u8 = 4;
}

/// Bits of [`Entry::flags`]. The low ones are those of `record.rs`, and are journaled; these are not.
pub(crate) mod flag {
    pub(crate) use crate::admission::record::{
        FLAG_CONFIRMED as CONFIRMED, FLAG_EMERGENCY as EMERGENCY, FLAG_ENCRYPTED as ENCRYPTED,
        FLAG_EXPORT_COUNTED as EXPORT_COUNTED, FLAG_FORCED as FORCED, FLAG_REGISTRATION as REGISTRATION,
        FLAG_SHADOW as SHADOW, FLAG_WEBRTC as WEBRTC,
    };

    /// The flags that an entry and its record share.
    pub(crate) const JOURNALED: u16 =
        CONFIRMED | EMERGENCY | ENCRYPTED | EXPORT_COUNTED | FORCED | REGISTRATION | SHADOW | WEBRTC;

    /// Its session is counted at its trunk and tenant.
    pub(crate) const GROUPS_COUNTED: u16 = 1 << 6;

    /// Its units are counted at its license type.
    pub(crate) const TYPE_COUNTED: u16 = 1 << 9;
    /// The watermark counts it among the WebRTC sessions.
    pub(crate) const WEBRTC_COUNTED: u16 = 1 << 10;
    /// Restored from the journal, and not heard of since.
    pub(crate) const RECOVERED: u16 = 1 << 11;
    /// `seq` holds a number.
    pub(crate) const HAS_SEQ: u16 = 1 << 12;
    /// A re-attempt behind its release pays: this attempt took no calls-per-second license itself.
    pub(crate) const NEXT_PAYS: u16 = 1 << 13;
    /// A memory that also holds a refusal: `memo_*`. A live call: that of a later attempt may stand beside it.
    pub(crate) const HAS_MEMO: u16 = 1 << 14;
    /// `memo_seq` holds a number.
    pub(crate) const MEMO_HAS_SEQ: u16 = 1 << 15;
}

/// Bits of [`Entry::memo_cause`] of a live entry: where it is counted as forced, and must be released as such.
pub(crate) mod forced {
    /// By export control's watermark.
    pub(crate) const EXPORT: u8 = 1;
    /// By its license type.
    pub(crate) const TYPE: u8 = 2;
}

/// "None" in a link, and in the numbers of trunk, tenant, proxy and type: numbers are stored plus one.
pub(crate) const NONE: u16 = 0;

/// An entry: 64 bytes, one cache line. A memory uses the fields that a live call needs for its lease to hold a refusal.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Entry {
    /// The id's hash.
    pub(crate) key: CallKey,
    /// The next entry of the list it is on.
    pub(crate) next: u32,
    /// The one before, or the list.
    pub(crate) prev: u32,
    /// When it ends. It may stand in an earlier slot of the wheel: looked at there, and moved on.
    pub(crate) ends: Step,
    /// When it was admitted; of a memory: how long its memo lasts.
    pub(crate) admitted: Step,
    /// The attempt's number.
    pub(crate) seq: u32,
    /// The lease's length in seconds; of a memo: its Retry-After.
    pub(crate) lease_s: u32,
    /// The number of the attempt that a memo is about.
    pub(crate) memo_seq: u32,
    /// The trunk's number.
    pub(crate) trunk: u16,
    /// The tenant's number.
    pub(crate) tenant: u16,
    /// The proxy's number.
    pub(crate) proxy: u16,
    /// The license type's number.
    pub(crate) license_type: u16,
    /// Units of it.
    pub(crate) units: u16,
    /// See [`flag`].
    pub(crate) flags: u16,
    /// The generation of its proxy that it was last heard of in.
    pub(crate) generation: u16,
    /// The RESYNC that named it last.
    pub(crate) resync: u16,
    /// See [`state`].
    pub(crate) state: u8,
    /// How often a retransmission without SEQ was answered.
    pub(crate) repeats: u8,
    /// The tier whose units it draws on.
    pub(crate) drawn_tier: u8,
    /// The cause of a memo's refusal; of a live entry: see [`forced`].
    pub(crate) memo_cause: u8,
}

impl Entry {
    /// The attempt's number, if it has one.
    pub(crate) const fn seq(&self) -> Option<u32> {
        if self.has(flag::HAS_SEQ) { Some(self.seq) } else { None }
    }

    /// Sets or clears the attempt's number.
    pub(crate) const fn set_seq(&mut self, seq: Option<u32>) {
        match seq {
            Some(seq) => {
                self.seq = seq;
                self.flags |= flag::HAS_SEQ;
            }
            None => self.flags &= !flag::HAS_SEQ,
        }
    }

    /// Whether all these bits are set.
    pub(crate) const fn has(&self, bits: u16) -> bool {
        self.flags & bits == bits
    }

    /// Sets or clears these bits.
    pub(crate) const fn set(&mut self, bits: u16, on: bool) {
        if on {
            self.flags |= bits;
        } else {
            self.flags &= !bits;
        }
    }

    /// Whether it is a live call or registration.
    pub(crate) const fn is_live(&self) -> bool {
        self.state == state::LIVE
    }
}

/// A number plus one, so that zero is "none".
pub(crate) const fn stored(number: Option<u16>) -> u16 {
    match number {
        Some(number) => number.saturating_add(1),
        None => NONE,
    }
}

/// The number behind a stored one.
pub(crate) const fn number(stored: u16) -> Option<u16> {
    stored.checked_sub(1)
}

const _: () = assert!(size_of::<Entry>() == 64);
