//! What is used: peaks of 15 minutes for a year, by entitlement tag. PURE.
//!
//! 1. Feed [`Usage::observe`] with the highest use of each second or so, per tag, in units (calls per second, sessions).
//! 2. Every [`SAMPLE_S`] seconds call [`Usage::sample`]: what was observed since the last sample becomes one.
//! 3. Before a report call `sample` too, then [`Usage::interval`] or [`report::tag_report`]. What is not sampled yet is in
//!    no report, so that no peak is lost and none is told twice.
//!
//! What must stay true: a sample's peak is the highest value observed since the sample before; samples end in rising
//! order; a year of them and [`TAGS_MAX`] tags are kept, the oldest go first. Here ends what is counted: comparing it with
//! what was granted is [`tolerance`]'s and the agent's.

mod codec;
mod export;
pub mod report;
pub mod tolerance;

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::ports::DailyCount;
use crate::units::UnixMillis;

pub use codec::BadUsage;
pub use export::{UsageRow, csv, json_lines};

/// Seconds between samples.
pub const SAMPLE_S: u64 = 900;

/// Samples kept of each tag: one year.
pub const SAMPLES_MAX: usize = 35_040;

/// Tags that use is kept of; observations of further ones are dropped and counted.
pub const TAGS_MAX: usize = 128;

/// One sample, as it is kept: ten bytes on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sample {
    /// When it ended, in seconds since the Unix epoch.
    end_s: u32,
    /// So many seconds before its end the peak was reached.
    before_s: u16,
    /// The peak, in units.
    peak: u32,
}

impl Sample {
    fn ended_at(self) -> UnixMillis {
        UnixMillis(u64::from(self.end_s) * 1000)
    }

    fn peak_at(self) -> UnixMillis {
        UnixMillis(u64::from(self.end_s.saturating_sub(u32::from(self.before_s))) * 1000)
    }
}

/// What was observed since the last sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Open {
    peak: u32,
    peak_s: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct TagUsage {
    samples: VecDeque<Sample>,
    open: Option<Open>,
    /// The newest observation, in units. Not kept between runs.
    current: Option<u32>,
    /// What counts from the next day on. Not kept either.
    next: Option<u32>,
    /// Lent to others, in units, and the most that was borrowed since the last sample. Not kept either.
    lent: u32,
    borrowed: u32,
}

/// What one call of [`Usage::sample`] closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// The entitlement tag.
    pub tag: String,
    /// The highest use of the sample, in units.
    pub peak: u32,
    /// When that was.
    pub peak_at: UnixMillis,
    /// The most that was borrowed of other members of the cluster, in units: using it is no over-use.
    pub borrowed: u32,
}

/// Use over an interval, in units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Interval {
    /// The highest use.
    pub peak: u32,
    /// When that was; the first time, if it was reached more than once.
    pub peak_at: Option<UnixMillis>,
    /// The 95th percentile of the samples' peaks (nearest rank).
    pub p95: u32,
    /// How many samples.
    pub samples: u64,
}

/// Use by entitlement tag.
///
/// ```
/// use callgate::license::usage::Usage;
/// use callgate::units::UnixMillis;
/// let at = |s: u64| UnixMillis(1_700_000_000_000 + s * 1000);
/// let mut usage = Usage::default();
/// usage.observe("open.cps", 30, 40, at(10));
/// usage.observe("open.cps", 15, 15, at(11));
/// usage.sample(at(900));
/// let hour = usage.interval("open.cps", at(0), at(3600));
/// assert_eq!((hour.peak, hour.peak_at, hour.samples), (40, Some(at(10)), 1));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Usage {
    tags: BTreeMap<String, TagUsage>,
    /// The daily count of configured capacity.
    pub capacity: Option<DailyCount>,
    dropped: u64,
}

fn seconds(at: UnixMillis) -> u32 {
    u32::try_from(at.0 / 1000).unwrap_or(u32::MAX)
}

impl Usage {
    /// Takes the use of now, and the highest of the time since the last call.
    pub fn observe(&mut self, tag: &str, current: u32, peak: u32, now: UnixMillis) {
        let used = peak.max(current);
        let now_s = seconds(now);
        let known = self.tags.contains_key(tag);
        if !known && (self.tags.len() >= TAGS_MAX || tag.is_empty() || tag.len() > codec::TAG_BYTES_MAX) {
            self.dropped = self.dropped.saturating_add(1);
            return;
        }
        if !known {
            self.tags.insert(tag.to_owned(), TagUsage::default());
        }
        let Some(of) = self.tags.get_mut(tag) else { return };
        of.current = Some(current);
        match &mut of.open {
            Some(open) if open.peak >= used => {}
            Some(open) => *open = Open { peak: used, peak_s: now_s },
            None => of.open = Some(Open { peak: used, peak_s: now_s }),
        }
    }

    /// Closes what was observed since the last sample. Tags that nothing was observed of get no sample: a time in which
    /// nothing ran is not a time without use.
    pub fn sample(&mut self, now: UnixMillis) -> Vec<Closed> {
        let mut closed = Vec::new();
        for (tag, of) in &mut self.tags {
            let Some(open) = of.open.take() else { continue };
            let borrowed = std::mem::take(&mut of.borrowed);
            // Effective time never goes back; should a caller's, samples still end in order.
            let end_s = seconds(now).max(of.samples.back().map_or(0, |last| last.end_s)).max(open.peak_s);
            let before_s = u16::try_from(end_s - open.peak_s).unwrap_or(u16::MAX);
            if of.samples.len() >= SAMPLES_MAX {
                of.samples.pop_front();
            }
            let sample = Sample { end_s, before_s, peak: open.peak };
            of.samples.push_back(sample);
            closed.push(Closed { tag: tag.clone(), peak: sample.peak, peak_at: sample.peak_at(), borrowed });
        }
        closed
    }

    /// The tags that use is known of.
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        self.tags.keys().map(String::as_str)
    }

    /// The newest observation, in units.
    #[must_use]
    pub fn current(&self, tag: &str) -> u32 {
        self.observed(tag).unwrap_or(0)
    }

    /// The newest observation of this run, if there is one yet.
    #[must_use]
    pub fn observed(&self, tag: &str) -> Option<u32> {
        self.tags.get(tag)?.current
    }

    /// Takes what is lent to other members of the cluster and borrowed of them, in units, of a tag that was observed.
    pub fn count_loans(&mut self, tag: &str, lent: u32, borrowed: u32) {
        if let Some(of) = self.tags.get_mut(tag) {
            of.lent = lent;
            of.borrowed = of.borrowed.max(borrowed);
        }
    }

    /// What is lent to others now, in units.
    #[must_use]
    pub fn lent(&self, tag: &str) -> u32 {
        self.tags.get(tag).map_or(0, |of| of.lent)
    }

    /// Takes what counts from the next day on, of a tag that was observed.
    pub fn count_next(&mut self, tag: &str, next: Option<u32>) {
        if let Some(of) = self.tags.get_mut(tag) {
            of.next = next;
        }
    }

    /// What counts from the next day on, if anybody said.
    #[must_use]
    pub fn next(&self, tag: &str) -> Option<u32> {
        self.tags.get(tag)?.next
    }

    /// Use in the samples that ended after `from` and not after `until`.
    #[must_use]
    pub fn interval(&self, tag: &str, from: UnixMillis, until: UnixMillis) -> Interval {
        let Some(of) = self.tags.get(tag) else { return Interval::default() };
        let (from_s, until_s) = (seconds(from), seconds(until));
        let first = of.samples.partition_point(|sample| sample.end_s <= from_s);
        let last = of.samples.partition_point(|sample| sample.end_s <= until_s).max(first);
        let mut peaks: Vec<u32> = Vec::with_capacity(last - first);
        let mut highest: Option<Sample> = None;
        for sample in of.samples.range(first..last) {
            peaks.push(sample.peak);
            if highest.is_none_or(|highest| sample.peak > highest.peak) {
                highest = Some(*sample);
            }
        }
        peaks.sort_unstable();
        Interval {
            peak: highest.map_or(0, |sample| sample.peak),
            peak_at: highest.map(Sample::peak_at),
            p95: nearest_rank_95(&peaks),
            samples: u64::try_from(peaks.len()).unwrap_or(u64::MAX),
        }
    }

    /// Time goes back to `now`: what was used later than that was used now. Samples keep their order.
    pub(in crate::license) fn take_back(&mut self, now: UnixMillis) {
        let now_s = seconds(now);
        for of in self.tags.values_mut() {
            if let Some(open) = &mut of.open {
                open.peak_s = open.peak_s.min(now_s);
            }
            for sample in of.samples.iter_mut().rev().take_while(|sample| sample.end_s > now_s) {
                (sample.end_s, sample.before_s) = (now_s, 0);
            }
        }
    }

    /// Observations that were dropped because there were too many tags, or their names too long.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Forgets a tag that is no longer licensed, with its samples.
    pub fn forget(&mut self, tag: &str) {
        self.tags.remove(tag);
    }
}

/// The nearest-rank 95th percentile: the smallest value that at least 95 % of them don't exceed. 0 of none.
fn nearest_rank_95(sorted: &[u32]) -> u32 {
    let rank = (sorted.len() * 95).div_ceil(100);
    rank.checked_sub(1).and_then(|place| sorted.get(place)).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests;
