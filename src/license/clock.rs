//! Effective time: what deadlines are judged by. It never goes backwards, and it doesn't believe a leap of the wall clock
//! until a license manager confirms it or three days have passed.
//!
//! What must stay true: [`EffectiveClock::now`] never falls below [`EffectiveClock::signed`], which is signed time and what
//! ran since; it falls at all only if a signed, fresh time says that the wall clock alone had brought it ahead.

use serde::Serialize;

use crate::units::{Now, Tick, UnixMillis};

/// How far the wall clock may go back before that is told.
const ROLLBACK_MS: u64 = 300_000;

/// How far ahead of the boot clock the wall clock may run before that needs confirmation.
const JUMP_MS: u64 = 3_600_000;

/// How long a leap waits for confirmation.
const JUMP_WAIT_NANOS: u64 = 72 * 3_600_000_000_000;

/// How long the clock must be sane before its alarms end.
const SANE_NANOS: u64 = 3_600_000_000_000;

/// How far a license manager's clock may be from effective time.
pub const SKEW_MAX_MS: u64 = 3_600_000;

/// The host's clocks, made into one that can be trusted.
///
/// ```
/// use callgate::license::{EffectiveClock, KeptTime};
/// use callgate::units::{Now, Tick, UnixMillis};
/// let at = |s: u64, wall| Now { tick: Tick::from_secs(s), wall: UnixMillis(wall) };
/// let mut clock = EffectiveClock::start(KeptTime::default(), at(0, 1_000_000_000));
/// clock.observe(at(60, 0)); // back to 1970: the boot clock goes on
/// assert_eq!(clock.now(), UnixMillis(1_000_060_000));
/// assert!(clock.rolled_back());
/// ```
#[derive(Debug, Clone, Copy)]
pub struct EffectiveClock {
    anchor: (Tick, UnixMillis),
    now: UnixMillis,
    tick: Tick,
    wall: UnixMillis,
    trouble: [Trouble; 2],
    /// Since when the wall clock has been ahead without confirmation.
    leap_since: Option<Tick>,
    /// The wall clock was ahead when the run began: this may be a leap, or time in which nothing ran.
    absent: bool,
    /// The highest signed time, and when it was taken.
    signed: (Tick, UnixMillis),
}

/// What was kept of the clock between two runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeptTime {
    /// The largest effective time.
    pub high_water: UnixMillis,
    /// The boot clock then; in another boot it says nothing.
    pub tick: Tick,
    /// The highest signed time, and what ran since.
    pub signed: UnixMillis,
}

/// Something that was wrong with the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Trouble {
    #[default]
    None,
    Now,
    SaneSince(Tick),
}

/// What a license manager's time says about ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Skew {
    /// The manager's time.
    pub theirs: UnixMillis,
    /// Effective time here.
    pub ours: UnixMillis,
}

impl EffectiveClock {
    /// A clock that goes on from what was kept. What the wall clock is ahead of it is a leap until it is confirmed, unless
    /// the boot clock has gone on as far, in the same boot.
    #[must_use]
    pub fn start(kept: KeptTime, now: Now) -> Self {
        let slept_ms = now.tick.nanos_since(kept.tick) / 1_000_000;
        let ahead_ms = now.wall.0.saturating_sub(kept.high_water.0);
        let absent = kept.high_water.0 > 0 && ahead_ms > JUMP_MS && ahead_ms.abs_diff(slept_ms) > JUMP_MS;
        let begin = if absent { kept.high_water } else { kept.high_water.max(now.wall) };
        let mut clock = Self {
            anchor: (now.tick, begin),
            now: begin,
            tick: now.tick,
            wall: now.wall,
            trouble: [Trouble::None; 2],
            leap_since: None,
            absent,
            signed: (now.tick, kept.signed.min(begin)),
        };
        clock.observe(now);
        clock
    }

    /// What to keep between two runs.
    #[must_use]
    pub fn kept(&self) -> KeptTime {
        KeptTime { high_water: self.now, tick: self.tick, signed: self.signed() }
    }

    /// The highest signed time and what ran since: effective time never goes below.
    #[must_use]
    pub fn signed(&self) -> UnixMillis {
        let (tick, time) = self.signed;
        UnixMillis(time.0.saturating_add(self.tick.nanos_since(tick) / 1_000_000))
    }

    /// The time to tell a manager: the wall clock's, as long as it may be right that nothing ran for so long.
    #[must_use]
    pub fn told(&self) -> UnixMillis {
        if self.absent && self.leap_since.is_some() { self.wall } else { self.now }
    }

    /// Takes a reading of both clocks. One with an earlier tick changes nothing.
    pub fn observe(&mut self, now: Now) {
        if now.tick < self.tick {
            return;
        }
        (self.tick, self.wall) = (now.tick, now.wall);
        let (anchor_tick, anchor) = self.anchor;
        let by_boot = UnixMillis(anchor.0.saturating_add(now.tick.nanos_since(anchor_tick) / 1_000_000));
        let ahead_ms = now.wall.0.saturating_sub(by_boot.0);
        if ahead_ms > JUMP_MS {
            let since = *self.leap_since.get_or_insert(now.tick);
            if now.tick.nanos_since(since) >= JUMP_WAIT_NANOS {
                self.believe(now.wall);
            } else {
                self.now = self.now.max(by_boot);
            }
        } else {
            (self.leap_since, self.absent) = (None, false);
            if ahead_ms > 0 {
                self.anchor = (now.tick, now.wall);
            }
            self.now = self.now.max(by_boot).max(now.wall);
        }
        let back = now.wall.0.saturating_add(ROLLBACK_MS) < self.now.0;
        let leaping = self.leap_since.is_some();
        for (trouble, is) in self.trouble.iter_mut().zip([back, leaping]) {
            *trouble = match (*trouble, is) {
                (_, true) => Trouble::Now,
                (Trouble::None, false) => Trouble::None,
                (Trouble::Now, false) => Trouble::SaneSince(now.tick),
                (Trouble::SaneSince(since), false) if now.tick.nanos_since(since) >= SANE_NANOS => Trouble::None,
                (Trouble::SaneSince(since), false) => Trouble::SaneSince(since),
            };
        }
    }

    /// Effective time at the last reading.
    #[must_use]
    pub const fn now(&self) -> UnixMillis {
        self.now
    }

    /// The tick at which effective time will be `at`, if the wall clock goes on as it does.
    #[must_use]
    pub fn tick_of(&self, at: UnixMillis) -> Tick {
        self.tick.plus_millis(at.0.saturating_sub(self.now.0))
    }

    /// Takes the time of an authentic message of a license manager that answers a request of now. It confirms a leap of
    /// the wall clock that it agrees with, and denies one that it doesn't: the three days begin again. It moves effective
    /// time ahead by what is within the accepted skew, and back to itself if only the wall clock had brought it ahead.
    ///
    /// # Errors
    /// If it is further from effective time than [`SKEW_MAX_MS`] and none of this holds; nothing changed then.
    pub fn confirm(&mut self, theirs: UnixMillis) -> Result<(), Skew> {
        if self.leap_since.is_some() {
            if self.wall.0.abs_diff(theirs.0) <= SKEW_MAX_MS {
                self.believe(self.wall);
            } else if self.absent && theirs > self.now && theirs < self.wall {
                // Nothing ran for a while, and the wall clock is wrong too.
                self.believe(theirs);
                self.leap_since = Some(self.tick);
            }
        }
        if self.now.0.saturating_sub(theirs.0) > SKEW_MAX_MS && theirs.0.saturating_add(SKEW_MAX_MS) >= self.signed().0
        {
            self.now = theirs.max(self.signed());
            self.anchor = (self.tick, self.now);
        }
        if self.now.0.abs_diff(theirs.0) > SKEW_MAX_MS {
            return Err(Skew { theirs, ours: self.now });
        }
        if self.leap_since.is_some() {
            // Denied: the wall clock is wrong, however long it stays so.
            (self.leap_since, self.absent) = (Some(self.tick), false);
        }
        if theirs > self.now {
            let (leap_since, absent) = (self.leap_since, self.absent);
            self.believe(theirs);
            (self.leap_since, self.absent) = (leap_since, absent);
        }
        if theirs > self.signed() {
            self.signed = (self.tick, theirs);
        }
        Ok(())
    }

    /// The wall clock went back, and hasn't been sane for an hour since.
    #[must_use]
    pub fn rolled_back(&self) -> bool {
        matches!(self.trouble, [Trouble::Now | Trouble::SaneSince(_), _])
    }

    /// The wall clock leapt ahead, and hasn't been sane for an hour since.
    #[must_use]
    pub fn leapt(&self) -> bool {
        matches!(self.trouble, [_, Trouble::Now | Trouble::SaneSince(_)])
    }

    /// How far the wall clock was ahead of the boot clock at the last reading, in milliseconds modulo 2^64: it changes when
    /// somebody sets the wall clock.
    #[must_use]
    pub const fn offset_ms(&self) -> u64 {
        self.wall.0.wrapping_sub(self.tick.nanos_since(Tick(0)) / 1_000_000)
    }

    /// The wall clock at the last reading.
    #[must_use]
    pub const fn wall(&self) -> UnixMillis {
        self.wall
    }

    fn believe(&mut self, time: UnixMillis) {
        (self.leap_since, self.absent) = (None, false);
        self.anchor = (self.tick, self.now.max(time));
        self.now = self.anchor.1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_700_000_000_000;
    const HOUR: u64 = 3_600_000;
    const YEAR: u64 = 365 * 24 * HOUR;

    /// `ms` after the start by the boot clock, with the wall clock off by `off_ms`.
    fn at(ms: u64, off_ms: i64) -> Now {
        Now { tick: Tick::from_secs(500).plus_millis(ms), wall: UnixMillis((START + ms).saturating_add_signed(off_ms)) }
    }

    fn clock() -> EffectiveClock {
        EffectiveClock::start(KeptTime::default(), at(0, 0))
    }

    #[test]
    fn a_clock_set_back_by_a_year_costs_and_gives_no_time_and_is_told_until_an_hour_after_it_is_mended() {
        let mut clock = clock();
        clock.observe(at(1000, -(YEAR.cast_signed())));
        assert_eq!(clock.now(), UnixMillis(START + 1000));
        clock.observe(at(HOUR, -(YEAR.cast_signed())));
        assert_eq!((clock.now(), clock.rolled_back()), (UnixMillis(START + HOUR), true));
        clock.observe(at(HOUR + 1, 0));
        clock.observe(at(2 * HOUR, 0));
        assert!(clock.rolled_back());
        clock.observe(at(2 * HOUR + 1, 0));
        assert!(!clock.rolled_back());
        assert_eq!(clock.now(), UnixMillis(START + 2 * HOUR + 1));
    }

    #[test]
    fn going_back_by_less_than_five_minutes_is_not_told() {
        let mut clock = clock();
        clock.observe(at(1000, -299_000));
        assert!(!clock.rolled_back());
        assert_eq!(clock.now(), UnixMillis(START + 1000));
    }

    #[test]
    fn a_start_with_a_clock_behind_the_kept_time_goes_on_from_the_kept_time() {
        let kept = KeptTime { high_water: UnixMillis(START + YEAR), ..KeptTime::default() };
        let clock = EffectiveClock::start(kept, at(0, 0));
        assert_eq!((clock.now(), clock.rolled_back()), (UnixMillis(START + YEAR), true));
    }

    #[test]
    fn a_leap_of_ten_years_is_not_believed_for_three_days_and_a_clock_mended_meanwhile_leaves_no_trace() {
        let mut clock = clock();
        let leap = (10 * YEAR).cast_signed();
        for hour in 1..=71 {
            clock.observe(at(hour * HOUR, leap));
            assert_eq!((clock.now(), clock.leapt()), (UnixMillis(START + hour * HOUR), true));
        }
        let mut mended = clock;
        mended.observe(at(72 * HOUR, 0));
        mended.observe(at(74 * HOUR, 0));
        assert_eq!((mended.now(), mended.leapt()), (UnixMillis(START + 74 * HOUR), false));
        clock.observe(at(73 * HOUR, leap));
        assert_eq!(clock.now(), UnixMillis(START + 73 * HOUR + 10 * YEAR));
    }

    #[test]
    fn a_leap_that_a_manager_confirms_is_believed_at_once_and_one_that_it_denies_is_not() {
        let mut clock = clock();
        clock.observe(at(HOUR, YEAR.cast_signed()));
        let mut denied = clock;
        denied.confirm(UnixMillis(START + HOUR + 5)).unwrap();
        assert_eq!(denied.now(), UnixMillis(START + HOUR + 5));
        clock.confirm(UnixMillis(START + HOUR + YEAR - 60_000)).unwrap();
        assert_eq!(clock.now(), UnixMillis(START + HOUR + YEAR));
    }

    #[test]
    fn a_managers_time_moves_ours_ahead_by_at_most_an_hour_and_beyond_that_both_are_named() {
        let mut clock = clock();
        clock.confirm(UnixMillis(START + HOUR)).unwrap();
        assert_eq!(clock.now(), UnixMillis(START + HOUR));
        let skew = clock.confirm(UnixMillis(START + 2 * HOUR + 1)).unwrap_err();
        assert_eq!(skew, Skew { theirs: UnixMillis(START + 2 * HOUR + 1), ours: UnixMillis(START + HOUR) });
        assert_eq!(clock.now(), UnixMillis(START + HOUR));
        clock.observe(at(1000, 0));
        assert_eq!(clock.now(), UnixMillis(START + HOUR + 1000));
    }

    fn kept_by(clock: &EffectiveClock) -> KeptTime {
        // Another boot: the boot clock begins anew.
        KeptTime { tick: Tick::from_secs(1_000_000), ..clock.kept() }
    }

    #[test]
    fn a_start_far_ahead_is_not_believed_for_three_days_unless_the_boot_clock_went_on_as_far() {
        let ten = (10 * YEAR).cast_signed();
        let mut clock = EffectiveClock::start(kept_by(&clock()), at(0, ten));
        assert_eq!((clock.now(), clock.told()), (UnixMillis(START), UnixMillis(START + 10 * YEAR)));
        clock.observe(at(HOUR, ten));
        assert_eq!((clock.now(), clock.kept().high_water), (UnixMillis(START + HOUR), UnixMillis(START + HOUR)));
        let mut mended = clock;
        mended.observe(at(2 * HOUR, 0));
        assert_eq!(mended.now(), UnixMillis(START + 2 * HOUR));
        clock.observe(at(72 * HOUR, ten));
        assert_eq!(clock.now(), UnixMillis(START + 72 * HOUR + 10 * YEAR));
        let slept = EffectiveClock::start(self::clock().kept(), at(YEAR, 0));
        assert_eq!((slept.now(), slept.leapt()), (UnixMillis(START + YEAR), false));
    }

    #[test]
    fn weeks_without_running_count_once_a_signed_time_confirms_them_though_the_wall_clock_be_wrong() {
        let week = (7 * 24 * HOUR).cast_signed();
        for wall in [week, 100 * week] {
            let mut clock = EffectiveClock::start(kept_by(&clock()), at(0, wall));
            clock.confirm(UnixMillis(START + 7 * 24 * HOUR)).unwrap();
            assert_eq!(clock.now(), UnixMillis(START + 7 * 24 * HOUR));
            assert_eq!((clock.told(), clock.leapt()), (clock.now(), true), "the alarm stays for an hour");
        }
    }

    #[test]
    fn each_signed_time_that_denies_a_leap_makes_it_wait_for_three_days_again() {
        let mut clock = clock();
        let leap = YEAR.cast_signed();
        for hour in 1..200 {
            clock.observe(at(hour * HOUR, leap));
            if hour % 24 == 0 {
                clock.confirm(UnixMillis(START + hour * HOUR)).unwrap();
            }
            assert_eq!(clock.now(), UnixMillis(START + hour * HOUR));
        }
        clock.observe(at((192 + 72) * HOUR, leap));
        assert_eq!(clock.now(), UnixMillis(START + (192 + 72) * HOUR + YEAR));
    }

    #[test]
    fn a_signed_time_brings_back_what_the_wall_clock_alone_had_brought_and_never_below_signed_time() {
        let ten = (10 * YEAR).cast_signed();
        let mut clock = EffectiveClock::start(KeptTime::default(), at(0, ten));
        clock.confirm(UnixMillis(START)).unwrap();
        assert_eq!((clock.now(), clock.signed()), (UnixMillis(START), UnixMillis(START)));
        clock.observe(at(HOUR, ten));
        assert_eq!(clock.now(), UnixMillis(START + HOUR), "the wall clock was denied");
        clock.observe(at(73 * HOUR, ten));
        assert_eq!(clock.now(), UnixMillis(START + 73 * HOUR + 10 * YEAR));
        assert!(clock.confirm(UnixMillis(START + 71 * HOUR)).is_err(), "running time is certain");
        clock.confirm(UnixMillis(START + 73 * HOUR)).unwrap();
        assert_eq!(clock.now(), UnixMillis(START + 73 * HOUR));
    }

    #[test]
    fn a_deadlines_tick_is_as_far_ahead_as_the_deadline() {
        let mut clock = clock();
        clock.observe(at(1000, 0));
        assert_eq!(clock.tick_of(UnixMillis(START + 6000)), at(6000, 0).tick);
        assert_eq!(clock.tick_of(UnixMillis(START)), at(1000, 0).tick);
    }
}
