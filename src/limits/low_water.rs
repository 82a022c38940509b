//! A flag that is raised once when a limit runs low, for whoever fetches more.
//!
//! Armed with a mark by the slow path, raised by the first admission that is refused for want of units or leaves no more than
//! the mark free, and quiet from then on until it is armed again: a flood of refusals raises it once. Disarmed, it costs the fast
//! path one load.

use crate::sync::{AtomicBool, AtomicU32, Ordering};

/// Not armed: raised already, or nobody asked.
const DISARMED: u32 = u32::MAX;

/// See the module.
///
/// ```
/// use callgate::limits::LowWater;
/// let low = LowWater::default();
/// assert!(!low.raise(), "nobody asked");
/// low.arm(2);
/// assert_eq!(low.mark(), Some(2));
/// assert!(low.raise() && !low.raise(), "once");
/// assert!(low.take_raised() && !low.take_raised());
/// ```
#[derive(Debug)]
pub struct LowWater {
    mark: AtomicU32,
    raised: AtomicBool,
}

impl Default for LowWater {
    fn default() -> Self {
        Self { mark: AtomicU32::new(DISARMED), raised: AtomicBool::new(false) }
    }
}

impl LowWater {
    /// Asks to be told when no more than `mark` units are free, or one is refused.
    pub fn arm(&self, mark: u32) {
        // Relaxed: the flag says "look", nothing more; who looks reads the limits themselves.
        self.mark.store(mark.min(DISARMED - 1), Ordering::Relaxed);
    }

    /// The mark, if it is armed.
    #[inline]
    #[must_use]
    pub fn mark(&self) -> Option<u32> {
        let mark = self.mark.load(Ordering::Relaxed);
        (mark != DISARMED).then_some(mark)
    }

    /// Raises it. `true` for the one that did: the slow path is to be woken.
    pub fn raise(&self) -> bool {
        // Looked at first, so that a flood writes nothing.
        if self.mark().is_none() || self.mark.swap(DISARMED, Ordering::Relaxed) == DISARMED {
            return false;
        }
        // Release: who sees the flag sees the refusal's counts.
        self.raised.store(true, Ordering::Release);
        true
    }

    /// Whether it was raised since the last call of this.
    pub fn take_raised(&self) -> bool {
        // Acquire: see `raise`. Looked at first: mostly it isn't.
        self.raised.load(Ordering::Relaxed) && self.raised.swap(false, Ordering::Acquire)
    }
}
