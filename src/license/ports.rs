//! Flexible consumption: licenses counted from configured capacity, once a day. PURE.
//!
//! Ports stand in the configuration with their speed; each active one counts in units of 10 Gb/s, begun ones as whole,
//! one that has an advanced feature counts there too, and the system and its line cards are counted beside them. The
//! count of a day holds until the next day (UTC); what the configuration says meanwhile is the *next* count.

use serde::{Deserialize, Serialize};

use super::agent::UsageNow;
use super::profile::{CountSource, Profile};
use crate::units::UnixMillis;

/// Gigabits per second that one license covers.
pub const GBPS_PER_UNIT: u32 = 10;

const DAY_MS: u64 = 86_400_000;

/// One configured port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Its name, such as `HundredGigE0/0/0/1`.
    pub name: String,
    /// Its speed in gigabits per second.
    pub gbps: u32,
    /// The advanced features that are on; with none it counts as essential alone.
    pub features: Vec<String>,
    /// It is in use. One that isn't is not counted.
    pub active: bool,
    /// The line card that it is on; `None` on a fixed chassis.
    pub card: Option<String>,
}

impl Port {
    /// How many units it counts.
    #[must_use]
    pub const fn units(&self) -> u32 {
        if self.active { self.gbps.div_ceil(GBPS_PER_UNIT) } else { 0 }
    }
}

/// Counts of capacity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Units of 10 Gb/s of active ports.
    pub essential: u32,
    /// Those with an advanced feature.
    pub advanced: u32,
    /// The system and its line cards.
    pub systems: u32,
}

impl Counts {
    /// What these ports come to. The system counts even without ports.
    ///
    /// ```
    /// use callgate::license::ports::{Counts, Port};
    /// let port = |gbps, features: &[&str]| Port {
    ///     name: "p".to_owned(), gbps, features: features.iter().map(|f| (*f).to_owned()).collect(), active: true, card: None,
    /// };
    /// let counts = Counts::of(&[port(100, &["l3vpn"]), port(25, &[]), port(1, &[])]);
    /// assert_eq!((counts.essential, counts.advanced, counts.systems), (14, 10, 1));
    /// ```
    #[must_use]
    pub fn of(ports: &[Port]) -> Self {
        let sum = |advanced_only: bool| {
            let counted = ports.iter().filter(|port| !advanced_only || !port.features.is_empty());
            counted.fold(0_u32, |sum, port| sum.saturating_add(port.units()))
        };
        let mut cards: Vec<&str> = ports.iter().filter_map(|port| port.card.as_deref()).collect();
        cards.sort_unstable();
        cards.dedup();
        let cards = u32::try_from(cards.len()).unwrap_or(u32::MAX);
        Self { essential: sum(false), advanced: sum(true), systems: cards.saturating_add(1) }
    }

    /// What a type of this source counts; `None`: it is counted from what is admitted.
    #[must_use]
    pub const fn from_source(&self, source: CountSource) -> Option<u32> {
        match source {
            CountSource::Admission => None,
            CountSource::ActivePorts => Some(self.essential),
            CountSource::AdvancedPorts => Some(self.advanced),
            CountSource::Systems => Some(self.systems),
        }
    }

    /// What is used of each type that is counted from capacity: these counts now, and `next` from the next day on.
    #[must_use]
    pub fn usage(&self, next: &Self, profile: &Profile) -> Vec<UsageNow> {
        let counted = profile.types.iter().filter_map(|licensed| {
            let current = self.from_source(licensed.counts)?;
            let next = next.from_source(licensed.counts);
            Some(UsageNow { type_name: licensed.name.clone(), current, peak: current, next })
        });
        counted.collect()
    }
}

/// The count of a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DailyCount {
    /// Which: days since 1970-01-01, UTC.
    pub day: u32,
    /// What was counted.
    pub counts: Counts,
}

impl DailyCount {
    /// Counts anew if there is no count of this day yet, by effective time, which goes back only where a signed time says
    /// so. `true` if it did: tell the agent the new counts, and save.
    pub fn refresh(kept: &mut Option<Self>, ports: &[Port], now: UnixMillis) -> bool {
        let day = u32::try_from(now.0 / DAY_MS).unwrap_or(u32::MAX);
        if kept.is_some_and(|kept| kept.day == day) {
            return false;
        }
        *kept = Some(Self { day, counts: Counts::of(ports) });
        true
    }

    /// When it was counted at the earliest: the beginning of its day.
    #[must_use]
    pub fn since(&self) -> UnixMillis {
        UnixMillis(u64::from(self.day) * DAY_MS)
    }

    /// When the next count is due.
    #[must_use]
    pub fn next_at(&self) -> UnixMillis {
        UnixMillis((u64::from(self.day) + 1) * DAY_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(name: &str, gbps: u32, features: &[&str], active: bool, card: Option<&str>) -> Port {
        Port {
            name: name.to_owned(),
            gbps,
            features: features.iter().map(|feature| (*feature).to_owned()).collect(),
            active,
            card: card.map(str::to_owned),
        }
    }

    #[test]
    fn active_ports_count_in_begun_units_of_ten_gigabits_and_advanced_ones_twice() {
        let ports = [
            port("a", 100, &["l3vpn", "srv6"], true, Some("0/0")),
            port("b", 25, &[], true, Some("0/0")),
            port("c", 1, &["l3vpn"], true, Some("0/1")),
            port("d", 400, &["l3vpn"], false, Some("0/2")),
        ];
        assert_eq!(Counts::of(&ports), Counts { essential: 14, advanced: 11, systems: 4 });
        assert_eq!(Counts::of(&[]), Counts { essential: 0, advanced: 0, systems: 1 }, "a fixed chassis counts as one");
    }

    #[test]
    fn each_type_draws_on_its_own_source() {
        let counts = Counts { essential: 3, advanced: 2, systems: 1 };
        let of = [CountSource::ActivePorts, CountSource::AdvancedPorts, CountSource::Systems, CountSource::Admission]
            .map(|source| counts.from_source(source));
        assert_eq!(of, [Some(3), Some(2), Some(1), None]);
    }

    #[test]
    fn a_days_count_holds_until_another_day() {
        let at = |day: u64, ms: u64| UnixMillis(day * DAY_MS + ms);
        let (ten, hundred) = ([port("a", 10, &[], true, None)], [port("a", 100, &[], true, None)]);
        let mut kept = None;
        assert!(DailyCount::refresh(&mut kept, &ten, at(20_000, 5)));
        assert!(!DailyCount::refresh(&mut kept, &hundred, at(20_000, DAY_MS - 1)));
        assert_eq!(kept.unwrap().counts.essential, 1, "the current count");
        assert_eq!(Counts::of(&hundred).essential, 10, "the next count");
        assert!(DailyCount::refresh(&mut kept, &hundred, at(20_001, 0)));
        assert_eq!(kept.unwrap().counts.essential, 10);
        assert_eq!(kept.unwrap().next_at(), at(20_002, 0));
        // A day that a wrong clock had brought is not waited for.
        assert!(DailyCount::refresh(&mut kept, &ten, at(19_000, 0)));
        assert_eq!(kept.unwrap().counts.essential, 1);
    }
}
