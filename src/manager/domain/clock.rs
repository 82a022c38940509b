//! Whether the wall clock can be trusted with what cannot be undone: the end of instances, of terms, of what is kept.
//!
//! A clock that leaps ahead by more than an hour against the monotonic one is doubted: time goes on from where it was, as the
//! manager runs, until it ran so for 24 hours, the clock came back, or an operator acknowledged the alert. After a restart it
//! is compared with the last time that was trusted: being down for weeks looks like a leap, and costs 24 hours of patience.
//! Messages of agents are not judged here: their own clocks must agree with this one.

use super::alerts::{Told, alert_id};
use super::batch::Batch;
use super::record::{AlertKind, Record, Severity};
use super::{Change, Domain};
use crate::protocol::Entropy;
use crate::units::UnixMillis;
use crate::units::when::when;

/// Milliseconds that the clock may go ahead between two looks beyond what passed.
const LEAP_MS: u64 = 3_600_000;
/// Milliseconds of running after which a clock that leapt is believed.
const CONFIRM_MS: u64 = 24 * 3_600_000;
/// Milliseconds after which the trusted time is stored again.
const STORE_MS: u64 = 600_000;

/// The wall clock, as far as it is trusted. One for as long as the manager runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SaneClock {
    /// Wall and monotonic time at the last look.
    last: Option<(UnixMillis, u64)>,
    trusted: UnixMillis,
    /// Since the leap, milliseconds of running.
    doubted_ms: Option<u64>,
}

/// What a look at the clock showed.
struct Look {
    trusted: UnixMillis,
    doubted: bool,
    /// Now, and not before.
    leapt: bool,
}

impl SaneClock {
    /// A clock that was not looked at yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn look(&mut self, wall: UnixMillis, tick_ms: u64, stored: UnixMillis, confirmed: bool) -> Look {
        let (ahead, ran) = match self.last.replace((wall, tick_ms)) {
            Some((last, tick)) => {
                let ran = tick_ms.saturating_sub(tick);
                (wall.0.saturating_sub(last.0).saturating_sub(ran), ran)
            }
            None if stored == UnixMillis(0) => (0, 0),
            None => {
                self.trusted = stored;
                (wall.0.saturating_sub(stored.0), 0)
            }
        };
        let leapt = ahead > LEAP_MS;
        let expected = UnixMillis(self.trusted.0.saturating_add(ran));
        self.doubted_ms = if leapt { Some(0) } else { self.doubted_ms.map(|before| before.saturating_add(ran)) };
        let is_back = wall.0 <= expected.0.saturating_add(LEAP_MS);
        let believed = !leapt && confirmed;
        if is_back || believed || self.doubted_ms.is_some_and(|ran| ran >= CONFIRM_MS) {
            self.doubted_ms = None;
        }
        let doubted = self.doubted_ms.is_some();
        self.trusted = if doubted { expected } else { wall };
        Look { trusted: self.trusted, doubted, leapt: leapt && doubted }
    }
}

impl Domain {
    /// [`housekeep`](Self::housekeep) by the time that is trusted, which is given back; what else ends by time must wait for
    /// it too. `tick_ms` is the caller's monotonic clock, from any beginning.
    #[must_use]
    pub fn housekeep_sanely(
        &mut self,
        clock: &mut SaneClock,
        wall: UnixMillis,
        tick_ms: u64,
        entropy: &mut Entropy,
    ) -> (UnixMillis, Vec<Change>) {
        let mut batch = Batch::default();
        let id = alert_id(AlertKind::ClockDoubtful, "clock");
        let confirmed = self.alerts.get(&id).is_some_and(|alert| alert.acknowledged.is_some());
        let before = clock.trusted.max(self.account.trusted_at);
        let Look { trusted, doubted, leapt } = clock.look(wall, tick_ms, self.account.trusted_at, confirmed);
        if leapt || !doubted {
            self.clear(&id, trusted, &mut batch);
        }
        if doubted && !self.alerts.contains_key(&id) {
            let told = Told {
                kind: AlertKind::ClockDoubtful,
                source_id: "clock".to_owned(),
                severity: Severity::Major,
                source: "/account".to_owned(),
                virtual_account: None,
                text: format!(
                    "the clock leapt ahead from {} to {}, or the manager was down that long; nothing ends by time for 24 h",
                    when(before),
                    when(wall)
                ),
                action: "set the clock right; if it is right, acknowledge this alert",
                due: None,
            };
            self.raise(told, trusted, &mut batch);
        }
        if trusted.0.abs_diff(self.account.trusted_at.0) >= STORE_MS {
            self.account.trusted_at = trusted;
            batch.put(Record::Account(self.account.clone()));
        }
        let mut changes = batch.changes;
        changes.extend(self.housekeep(trusted, entropy));
        (trusted, changes)
    }
}
