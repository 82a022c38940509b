//! The one place that reads clocks.

use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::units::{NANOS_PER_SECOND, Now, Tick, UnixMillis};

/// The host's clocks: the boot clock for every limit and lease, the wall clock for deadlines and people.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clock;

impl Clock {
    /// Both clocks, read now. Call it once per batch, after the batch's bytes were read: a clock older than a raise of a
    /// limit would over-admit.
    #[must_use]
    pub fn now(self) -> Now {
        Now { tick: self.tick(), wall: self.wall() }
    }

    /// The boot clock (`CLOCK_BOOTTIME`).
    #[must_use]
    pub fn tick(self) -> Tick {
        Tick(nanos(clock_gettime(ClockId::Boottime)))
    }

    /// The wall clock.
    #[must_use]
    pub fn wall(self) -> UnixMillis {
        UnixMillis(nanos(clock_gettime(ClockId::Realtime)) / 1_000_000)
    }
}

fn nanos(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(NANOS_PER_SECOND).saturating_add(nanos)
}
