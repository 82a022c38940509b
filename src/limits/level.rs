//! How full a limit is, for alarms: three levels with a hysteresis of 1 % of the limit, so that a use that swings around
//! a mark doesn't ring with every call. Decides nothing.

use serde::Serialize;

/// How full one watched limit is. Told as events by the shell; with a hysteresis of 1 % of the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Below 90 %.
    #[default]
    Normal,
    /// 90 % or more.
    Near,
    /// 100 % or more.
    Reached,
}

/// Watches one limit's [`Level`].
///
/// ```
/// use callgate::limits::{Level, LevelWatch};
/// let mut watch = LevelWatch::default();
/// assert_eq!(watch.observe(2249, 2500), None);
/// assert_eq!(watch.observe(2250, 2500), Some((Level::Normal, Level::Near)));
/// assert_eq!(watch.observe(2225, 2500), None, "not yet 1 % below the mark");
/// assert_eq!(watch.observe(2224, 2500), Some((Level::Near, Level::Normal)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LevelWatch {
    level: Level,
}

impl LevelWatch {
    /// The level at the last look.
    #[must_use]
    pub const fn level(&self) -> Level {
        self.level
    }

    /// Looks at a use and the limit in force; answers the change, if there is one, as (from, to).
    ///
    /// A limit of zero is reached by the first unit in use, not before.
    pub fn observe(&mut self, used: u32, limit: u32) -> Option<(Level, Level)> {
        // The mark is the first whole number with used * 100 >= limit * 90: 2250 of 2500, 2020 of 2244.
        let near_mark = u64::from(limit) * 90;
        let near_mark = near_mark.div_ceil(100).max(1);
        let reached_mark = u64::from(limit).max(1);
        let slack = u64::from(limit / 100);
        let used = u64::from(used);
        let passed = |mark: u64, held: bool| used >= if held { mark - slack } else { mark };
        let to = if passed(reached_mark, self.level == Level::Reached) {
            Level::Reached
        } else if passed(near_mark, self.level >= Level::Near) {
            Level::Near
        } else {
            Level::Normal
        };
        let from = std::mem::replace(&mut self.level, to);
        (from != to).then_some((from, to))
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    fn marks(limit: u32) -> (u32, u32, u32, u32) {
        let rises = |watch: LevelWatch, to: Level| {
            (0..=limit).find(|used| watch.clone().observe(*used, limit).is_some_and(|change| change.1 >= to)).unwrap()
        };
        let falls = |from: Level| {
            let watch = LevelWatch { level: from };
            (0..=limit).rev().find(|used| watch.clone().observe(*used, limit).is_some()).unwrap()
        };
        let watch = LevelWatch::default();
        (rises(watch, Level::Near), falls(Level::Near).min(limit), rises(watch, Level::Reached), falls(Level::Reached))
    }

    #[test]
    fn marks_of_2500_and_2244_are_the_published_ones() {
        // From Near, the first change on the way down from the limit itself is up, to Reached: look below it.
        let fall = |limit: u32| {
            let watch = LevelWatch { level: Level::Near };
            (0..limit).rev().find(|used| watch.clone().observe(*used, limit).is_some()).unwrap()
        };
        let (near, _, reached, cleared) = marks(2500);
        assert_eq!((near, fall(2500), reached, cleared), (2250, 2224, 2500, 2474));
        let (near, _, reached, cleared) = marks(2244);
        assert_eq!((near, fall(2244), reached, cleared), (2020, 1997, 2244, 2221));
    }

    #[test]
    fn near_is_where_a_hundred_times_the_use_reaches_ninety_times_the_limit() {
        for limit in 1..=3000_u32 {
            for used in 0..=limit {
                let mut watch = LevelWatch::default();
                watch.observe(used, limit);
                let expected = match () {
                    () if used >= limit => Level::Reached,
                    () if used * 100 >= limit * 90 => Level::Near,
                    () => Level::Normal,
                };
                assert_eq!(watch.level(), expected, "{used} of {limit}");
            }
        }
    }

    #[test]
    fn a_reached_limit_falls_to_near_and_then_to_normal() {
        let mut watch = LevelWatch::default();
        assert_eq!(watch.observe(100, 100), Some((Level::Normal, Level::Reached)));
        assert_eq!(watch.observe(99, 100), None);
        assert_eq!(watch.observe(98, 100), Some((Level::Reached, Level::Near)));
        assert_eq!(watch.observe(99, 100), None, "not reached again before the limit itself");
        assert_eq!(watch.observe(100, 100), Some((Level::Near, Level::Reached)));
        assert_eq!(watch.observe(10, 100), Some((Level::Reached, Level::Normal)));
    }

    #[test]
    fn a_limit_of_zero_is_reached_by_the_first_unit() {
        let mut watch = LevelWatch::default();
        assert_eq!(watch.observe(0, 0), None);
        assert_eq!(watch.observe(1, 0), Some((Level::Normal, Level::Reached)));
        assert_eq!(watch.observe(0, 0), Some((Level::Reached, Level::Normal)));
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        let mut watch = LevelWatch::default();
        assert_eq!(watch.observe(u32::MAX, u32::MAX), Some((Level::Normal, Level::Reached)));
    }
}
