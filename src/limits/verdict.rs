//! The licensing agent's verdict: one atomic word that the fast path reads.
//!
//! If the agent stops, the last verdict stands: it never decays to a refusal by itself.

use crate::sync::{AtomicU64, Ordering};

/// Why a verdict refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum VerdictCause {
    /// Licensing is off, and the profile admits nothing without it.
    Unconfigured = 1,
    /// The evaluation period is used up.
    EvaluationExpired = 2,
    /// The authorization expired.
    AuthorizationExpired = 3,
    /// The reservation expired.
    ReservationExpired = 4,
    /// Enforcement after a grace period.
    Enforced = 5,
    /// The license manager revoked this instance.
    Revoked = 6,
}

/// What may start. Established calls and live registrations are never affected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verdict {
    /// Set if new calls are refused.
    pub calls: Option<VerdictCause>,
    /// Set if new registrations are refused.
    pub registrations: Option<VerdictCause>,
    /// Set if configuration changes are refused.
    pub configuration: Option<VerdictCause>,
}

impl VerdictCause {
    const fn from_bits(bits: u64) -> Option<Self> {
        match bits & 0xff {
            1 => Some(Self::Unconfigured),
            2 => Some(Self::EvaluationExpired),
            3 => Some(Self::AuthorizationExpired),
            4 => Some(Self::ReservationExpired),
            5 => Some(Self::Enforced),
            6 => Some(Self::Revoked),
            _ => None,
        }
    }

    #[expect(clippy::as_conversions, reason = "a fieldless repr(u8) enum's discriminant")]
    const fn bits(cause: Option<Self>) -> u64 {
        match cause {
            None => 0,
            Some(cause) => cause as u64,
        }
    }
}

/// The verdict as the fast path reads it: calls, registrations and configuration in one word.
///
/// ```
/// use callgate::limits::{Verdict, VerdictCause, VerdictCell};
/// let cell = VerdictCell::default();
/// assert_eq!(cell.get(), Verdict::default());
/// cell.set(Verdict { calls: Some(VerdictCause::EvaluationExpired), ..Verdict::default() });
/// assert_eq!(cell.get().calls, Some(VerdictCause::EvaluationExpired));
/// ```
#[derive(Debug)]
pub struct VerdictCell(AtomicU64);

impl Default for VerdictCell {
    fn default() -> Self {
        Self(AtomicU64::new(0))
    }
}

impl VerdictCell {
    /// The verdict that stands.
    #[must_use]
    pub fn get(&self) -> Verdict {
        // Acquire: what the agent did before it published (such as resizing a pool) is seen with the verdict.
        let word = self.0.load(Ordering::Acquire);
        Verdict {
            calls: VerdictCause::from_bits(word),
            registrations: VerdictCause::from_bits(word >> 8),
            configuration: VerdictCause::from_bits(word >> 16),
        }
    }

    /// Publishes a verdict.
    pub fn set(&self, verdict: Verdict) {
        let word = VerdictCause::bits(verdict.calls)
            | VerdictCause::bits(verdict.registrations) << 8
            | VerdictCause::bits(verdict.configuration) << 16;
        // Release: pairs with `get`.
        self.0.store(word, Ordering::Release);
    }
}
