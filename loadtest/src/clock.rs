//! The one place that reads a clock.

use rustix::time::{ClockId, Timespec, clock_gettime};

/// Nanoseconds since the run began, on the monotonic clock.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: u64,
}

impl Clock {
    /// The run begins now.
    #[must_use]
    pub fn start() -> Self {
        Self { origin: nanos(clock_gettime(ClockId::Monotonic)) }
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> u64 {
        nanos(clock_gettime(ClockId::Monotonic)).saturating_sub(self.origin)
    }
}

/// The wall time, in milliseconds since the Unix epoch: for people, and for names that no earlier run has used.
#[must_use]
pub fn unix_ms() -> u64 {
    nanos(clock_gettime(ClockId::Realtime)) / 1_000_000
}

/// Processor time that this thread has used, in nanoseconds.
#[must_use]
pub fn thread_cpu() -> u64 {
    nanos(clock_gettime(ClockId::ThreadCPUTime))
}

fn nanos(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}
