//! What flaps is not told each time: each alarm may be told twice at once (so that it is raised and cleared without delay),
//! and from then on once an interval, with the number of changes in between. The last state is always told.

use std::collections::BTreeMap;

use super::{Change, Notice};
use crate::units::Tick;

/// How many alarms are watched at once; what comes beyond is told undamped.
pub const DAMPED_MAX: usize = 8_192;

/// How many notices of one alarm may come at once.
const BURST: u64 = 2;

/// Holds back what comes too often.
///
/// ```
/// use callgate::notice::{Category, Change, Damper, Level, Notice};
/// use callgate::units::{Tick, UnixMillis};
///
/// let mut damper = Damper::new(60_000);
/// let change = |change| Notice::new(Level::Major, "OOC", Category::License, change, UnixMillis(0));
/// assert!(damper.offer(change(Change::Raised), Tick::from_secs(1)).is_some());
/// assert!(damper.offer(change(Change::Cleared), Tick::from_secs(2)).is_some());
/// assert!(damper.offer(change(Change::Raised), Tick::from_secs(3)).is_none());
/// assert!(damper.due(Tick::from_secs(60)).is_empty());
/// assert_eq!(damper.due(Tick::from_secs(61)).len(), 1);
/// ```
#[derive(Debug)]
pub struct Damper {
    interval_ms: u64,
    watched: BTreeMap<(String, String), Watched>,
}

#[derive(Debug)]
struct Watched {
    /// When its whole burst is free again.
    free_at: Tick,
    /// What waits to be told; its `untold` counts what it took the place of.
    held: Option<Notice>,
}

impl Damper {
    /// One that tells each alarm once in so many milliseconds; 0: always.
    #[must_use]
    pub const fn new(interval_ms: u64) -> Self {
        Self { interval_ms, watched: BTreeMap::new() }
    }

    /// Another interval, from now on.
    pub const fn set_interval(&mut self, interval_ms: u64) {
        self.interval_ms = interval_ms;
    }

    /// What is to be told now of this; `None`: it is held back until [`Damper::due`]. What just happened (and a test) has no
    /// state that could flap, and is always told.
    pub fn offer(&mut self, notice: Notice, now: Tick) -> Option<Notice> {
        match notice.change {
            Change::Happened | Change::Test => return Some(notice),
            Change::Raised | Change::Cleared => {}
        }
        let key = (notice.id.clone(), notice.subject.clone());
        if !self.watched.contains_key(&key) {
            self.forget(now);
            if self.interval_ms == 0 || self.watched.len() >= DAMPED_MAX {
                return Some(notice);
            }
        }
        let watched = self.watched.entry(key).or_insert(Watched { free_at: now, held: None });
        if let Some(held) = &mut watched.held {
            let untold = held.untold.saturating_add(1);
            *held = Notice { untold, ..notice };
            return None;
        }
        if watched.may_tell(now, self.interval_ms) {
            watched.told(now, self.interval_ms);
            return Some(notice);
        }
        watched.held = Some(notice);
        None
    }

    /// What was held back and may be told now.
    pub fn due(&mut self, now: Tick) -> Vec<Notice> {
        let interval = self.interval_ms;
        let mut due = Vec::new();
        for watched in self.watched.values_mut() {
            if watched.may_tell(now, interval)
                && let Some(notice) = watched.held.take()
            {
                watched.told(now, interval);
                due.push(notice);
            }
        }
        self.forget(now);
        due
    }

    /// How many wait.
    #[must_use]
    pub fn held(&self) -> usize {
        self.watched.values().filter(|watched| watched.held.is_some()).count()
    }

    /// Alarms that were quiet for long enough begin anew.
    fn forget(&mut self, now: Tick) {
        self.watched.retain(|_, watched| watched.held.is_some() || watched.free_at > now);
    }
}

impl Watched {
    /// GCRA: a burst's worth of notices may be ahead of their time.
    fn may_tell(&self, now: Tick, interval_ms: u64) -> bool {
        self.free_at <= now.plus_millis(interval_ms.saturating_mul(BURST - 1))
    }

    fn told(&mut self, now: Tick, interval_ms: u64) {
        self.free_at = self.free_at.max(now).plus_millis(interval_ms);
    }
}
