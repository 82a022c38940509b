//! Newtypes for every quantity that crosses a module: a call rate is not a session count, a tick is not a wall time.
//!
//! Values that cannot be legal cannot be built: a [`LicensedRate`] is a multiple of five because its constructor says so.

pub mod when;

use std::fmt;

use serde::{Deserialize, Serialize};

/// Nanoseconds in one second.
pub const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Calls per second that one license covers. The field sells call rates in licenses of five.
pub const CALLS_PER_SECOND_PER_LICENSE: u32 = 5;

/// The highest call rate that a window can hold.
pub const CALL_RATE_MAX: u32 = 1_000_000;

/// An instant: nanoseconds on the host's boot clock (`CLOCK_BOOTTIME`: monotonic, counts suspend). Never a wall time,
/// never compared between hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Tick(pub u64);

impl Tick {
    /// The instant `seconds` after boot.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds.saturating_mul(NANOS_PER_SECOND))
    }

    /// The instant `millis` milliseconds after boot.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// This instant, `nanos` later.
    #[must_use]
    pub const fn plus_nanos(self, nanos: u64) -> Self {
        Self(self.0.saturating_add(nanos))
    }

    /// This instant, `millis` milliseconds later.
    #[must_use]
    pub const fn plus_millis(self, millis: u64) -> Self {
        self.plus_nanos(millis.saturating_mul(1_000_000))
    }

    /// This instant, `seconds` later.
    #[must_use]
    pub const fn plus_secs(self, seconds: u64) -> Self {
        self.plus_nanos(seconds.saturating_mul(NANOS_PER_SECOND))
    }

    /// Nanoseconds since `earlier`; zero if `earlier` is later.
    #[must_use]
    pub const fn nanos_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Whole seconds since boot.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0 / NANOS_PER_SECOND
    }
}

/// A wall time: milliseconds since the Unix epoch. Used for deadlines and for what people read, never to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixMillis(pub u64);

/// Both clocks, read together, once per batch and after the batch's bytes were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// The instant that every limit and lease is judged by.
    pub tick: Tick,
    /// The wall time that a request's `DEADLINE` is judged by.
    pub wall: UnixMillis,
}

/// A call rate in calls per second, as a limit: in any window of one second at most this many admissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cps(u32);

impl Cps {
    /// A rate, or `None` above [`CALL_RATE_MAX`].
    #[must_use]
    pub const fn new(calls_per_second: u32) -> Option<Self> {
        if calls_per_second <= CALL_RATE_MAX { Some(Self(calls_per_second)) } else { None }
    }

    /// A rate; above [`CALL_RATE_MAX`] it is that maximum.
    #[must_use]
    pub const fn saturating(calls_per_second: u32) -> Self {
        if calls_per_second <= CALL_RATE_MAX { Self(calls_per_second) } else { Self(CALL_RATE_MAX) }
    }

    /// Calls per second.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Cps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} calls per second", self.0)
    }
}

/// A call rate as it is licensed: a multiple of five calls per second.
///
/// ```
/// use callgate::units::LicensedRate;
/// assert_eq!(LicensedRate::new(100).unwrap().licenses(), 20);
/// let refused = LicensedRate::new(42).unwrap_err();
/// assert_eq!((refused.below, refused.above), (40, 45));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct LicensedRate(Cps);

/// A count that is not a multiple of five, with the two accepted values nearest to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{found} is not a multiple of {CALLS_PER_SECOND_PER_LICENSE}: the nearest accepted values are {below} and {above}"
)]
pub struct NotWholeLicenses {
    /// What was asked for, in calls per second.
    pub found: u32,
    /// The accepted value below it.
    pub below: u32,
    /// The accepted value above it (the one before [`CALL_RATE_MAX`] where there is none).
    pub above: u32,
}

impl LicensedRate {
    /// A licensed rate of `calls_per_second`.
    ///
    /// # Errors
    /// If it is not a multiple of five, or above [`CALL_RATE_MAX`].
    pub const fn new(calls_per_second: u32) -> Result<Self, NotWholeLicenses> {
        let below = calls_per_second - calls_per_second % CALLS_PER_SECOND_PER_LICENSE;
        if calls_per_second > CALL_RATE_MAX {
            return Err(NotWholeLicenses {
                found: calls_per_second,
                below: CALL_RATE_MAX - CALLS_PER_SECOND_PER_LICENSE,
                above: CALL_RATE_MAX,
            });
        }
        if below != calls_per_second {
            return Err(NotWholeLicenses {
                found: calls_per_second,
                below,
                above: below + CALLS_PER_SECOND_PER_LICENSE,
            });
        }
        Ok(Self(Cps(calls_per_second)))
    }

    /// How many licenses of five that is.
    #[must_use]
    pub const fn licenses(self) -> u32 {
        self.0.0 / CALLS_PER_SECOND_PER_LICENSE
    }

    /// The rate.
    #[must_use]
    pub const fn rate(self) -> Cps {
        self.0
    }
}

/// A keyed 128-bit hash of a call's id: what the session table and the journal keep instead of the id's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct CallKey {
    /// The high half; the session table's index is derived from it.
    pub high: u64,
    /// The low half.
    pub low: u64,
}

/// The secret that call ids are hashed with, so that nobody outside can choose ids that collide. Kept in `data_dir`.
#[derive(Clone, Copy)]
pub struct HashKey {
    k0: u64,
    k1: u64,
}

impl HashKey {
    /// The key from its 16 stored bytes (two little-endian words).
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let word = u128::from_le_bytes(bytes);
        let [k0, k1] = bytemuck::cast::<u128, [u64; 2]>(word);
        Self { k0, k1 }
    }

    /// The key of a call id: SipHash-1-3 with 128 bits of output (Aumasson and Bernstein, 2012; the rounds that hash tables use).
    #[must_use]
    pub fn hash(&self, id: &[u8]) -> CallKey {
        use siphasher::sip128::SipHasher13;
        let hash = SipHasher13::new_with_keys(self.k0, self.k1).hash(id);
        CallKey { high: hash.h1, low: hash.h2 }
    }
}

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey(redacted)")
    }
}
