//! The licenses of one tag in one virtual account: what was bought, what is asked for, and in which order a shortage is
//! charged. Sums are kept as they change; nothing here walks all instances.

use super::ids::{InstanceId, LotId};
use super::record::Lot;
use crate::units::UnixMillis;

/// An instance's place in the order of a pool: what comes later is charged a shortage first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// 255 less the priority where priority counts, else 0.
    pub(super) band: u8,
    pub(super) registered_at: UnixMillis,
    pub(super) instance: InstanceId,
}

/// Numbers by place, with sums over all that come before a place: blocks of a bounded length, each with its sum.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct OrderedSums {
    blocks: Vec<Block>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Block {
    entries: Vec<(Place, u64)>,
    sum: u64,
}

const BLOCK_MAX: usize = 512;

impl OrderedSums {
    /// Sets the number of a place; 0 removes it.
    pub(super) fn set(&mut self, place: Place, number: u64) {
        let at = self.block_of(place);
        let Some(block) = self.blocks.get_mut(at) else {
            if number > 0 {
                self.blocks.push(Block { entries: vec![(place, number)], sum: number });
            }
            return;
        };
        match block.entries.binary_search_by_key(&place, |(place, _)| *place) {
            Ok(found) if number == 0 => {
                let (_, old) = block.entries.remove(found);
                block.sum -= old;
                if block.entries.is_empty() {
                    self.blocks.remove(at);
                }
            }
            Ok(found) => {
                if let Some((_, old)) = block.entries.get_mut(found) {
                    block.sum = block.sum - *old + number;
                    *old = number;
                }
            }
            Err(_) if number == 0 => {}
            Err(free) => {
                block.entries.insert(free, (place, number));
                block.sum += number;
                if block.entries.len() > BLOCK_MAX {
                    let entries = block.entries.split_off(BLOCK_MAX / 2);
                    let sum = entries.iter().map(|(_, number)| number).sum();
                    block.sum -= sum;
                    self.blocks.insert(at + 1, Block { entries, sum });
                }
            }
        }
    }

    /// The sum over all that come before this place.
    pub(super) fn before(&self, place: Place) -> u64 {
        let at = self.block_of(place);
        let whole: u64 = self.blocks.iter().take(at).map(|block| block.sum).sum();
        let part = self.blocks.get(at).map_or(0, |block| {
            block.entries.iter().take_while(|(other, _)| *other < place).map(|(_, number)| number).sum()
        });
        whole + part
    }

    /// All numbers in order.
    #[cfg(test)]
    pub(super) fn all(&self) -> Vec<(Place, u64)> {
        self.blocks.iter().flat_map(|block| block.entries.iter().copied()).collect()
    }

    /// The block that holds this place, or would: the last one that begins at or before it.
    fn block_of(&self, place: Place) -> usize {
        self.blocks
            .partition_point(|block| block.entries.first().is_some_and(|(first, _)| *first <= place))
            .saturating_sub(1)
    }
}

/// What counts of a lot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Term {
    lot: LotId,
    quantity: u64,
    start: UnixMillis,
    end: Option<UnixMillis>,
}

/// The licenses of one tag in one virtual account.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Pool {
    terms: Vec<Term>,
    /// The sum of the terms that count in `[from, until)`.
    cached: u64,
    from: UnixMillis,
    until: UnixMillis,
    /// Licenses asked for.
    pub(super) in_use: u64,
    /// Hard resources: licenses that instances may believe to hold.
    pub(super) held: u64,
    pub(super) order: OrderedSums,
}

impl Pool {
    /// Adds a lot, or replaces it.
    pub(super) fn put_lot(&mut self, lot: &Lot) {
        self.remove_lot(lot.id);
        self.terms.push(Term { lot: lot.id, quantity: lot.quantity, start: lot.start, end: lot.end });
        self.terms.sort_unstable_by_key(|term| term.lot);
    }

    pub(super) fn remove_lot(&mut self, lot: LotId) {
        self.terms.retain(|term| term.lot != lot);
        self.until = UnixMillis(0);
    }

    pub(super) fn lots(&self) -> usize {
        self.terms.len()
    }

    /// Nothing was bought and nothing is asked for.
    pub(super) fn is_empty(&self) -> bool {
        self.terms.is_empty() && self.in_use == 0 && self.held == 0
    }

    /// Licenses bought that count at this time.
    pub(super) fn purchased(&self, now: UnixMillis) -> u64 {
        if self.from <= now && now < self.until {
            return self.cached;
        }
        self.terms.iter().filter(|term| term.counts(now)).map(|term| term.quantity).sum()
    }

    /// Sums the terms anew, if one began or ended since.
    pub(super) fn refresh(&mut self, now: UnixMillis) {
        if self.from <= now && now < self.until {
            return;
        }
        self.until = UnixMillis(0);
        self.cached = self.purchased(now);
        let edges = || self.terms.iter().flat_map(|term| [Some(term.start), term.end]).flatten();
        let (from, until) = (edges().filter(|edge| *edge <= now).max(), edges().filter(|edge| *edge > now).min());
        self.from = from.unwrap_or_default();
        self.until = until.unwrap_or(UnixMillis(u64::MAX));
    }

    /// When the first of the terms that count ends.
    pub(super) fn next_end(&self, now: UnixMillis) -> Option<UnixMillis> {
        self.terms.iter().filter(|term| term.counts(now)).filter_map(|term| term.end).min()
    }

    /// When so many terms have ended that fewer than `needed` licenses are left; `None` if that never comes.
    pub(super) fn lasts_until(&self, needed: u64, now: UnixMillis) -> Option<UnixMillis> {
        let mut ending: Vec<_> = self
            .terms
            .iter()
            .filter(|term| term.counts(now))
            .filter_map(|term| Some((term.end?, term.quantity)))
            .collect();
        ending.sort_unstable();
        let mut left = self.purchased(now);
        for (end, quantity) in ending {
            left = left.saturating_sub(quantity);
            if left < needed {
                return Some(end);
            }
        }
        None
    }
}

impl Term {
    fn counts(&self, now: UnixMillis) -> bool {
        self.start <= now && self.end.is_none_or(|end| now < end)
    }
}

/// One tier of a family in one virtual account, the highest first in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TierPool {
    pub(super) purchased: u64,
    pub(super) in_use: u64,
}

/// What each tier has when surplus of higher ones stands in: its own purchase and what comes down to it. A higher tier
/// serves its own demand first, so no tier is short while a higher one has a surplus.
pub(super) fn supplies(tiers: impl IntoIterator<Item = TierPool>) -> impl Iterator<Item = Supply> {
    let mut surplus = 0_u64;
    tiers.into_iter().map(move |tier| {
        let supply = Supply { purchased: tier.purchased, from_above: surplus };
        surplus = supply.total().saturating_sub(tier.in_use);
        supply
    })
}

/// What a tier has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Supply {
    /// Its own.
    pub(super) purchased: u64,
    /// What higher tiers don't need.
    pub(super) from_above: u64,
}

impl Supply {
    pub(super) const fn total(self) -> u64 {
        self.purchased.saturating_add(self.from_above)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::protocol::Entropy;

    fn places(count: u8) -> Vec<Place> {
        let mut entropy = Entropy::from_seed([3; 32]);
        (0..count)
            .map(|at| Place {
                band: at % 3,
                registered_at: UnixMillis(u64::from(at / 2)),
                instance: InstanceId::generate(&mut entropy),
            })
            .collect()
    }

    /// The least number of requests that stay unserved, by trying every way to spread each tier's licenses.
    fn unserved(tiers: &[(u64, u64)]) -> u64 {
        // Each tier in turn, from the lowest: it takes so many of its own and of each higher pool.
        fn serve(at: usize, left: &mut Vec<u64>, needs: &[u64]) -> u64 {
            let Some(need) = needs.get(at).copied() else { return 0 };
            fn take(from: usize, need: u64, at: usize, left: &mut Vec<u64>, needs: &[u64]) -> u64 {
                if from == left.len() {
                    return need + serve(at + 1, left, needs);
                }
                let mut best = u64::MAX;
                for taken in 0..=need.min(left[from]) {
                    left[from] -= taken;
                    best = best.min(take(from + 1, need - taken, at, left, needs));
                    left[from] += taken;
                }
                best
            }
            take(at, need, at, left, needs)
        }
        let mut left = tiers.iter().map(|(purchased, _)| *purchased).collect();
        let needs: Vec<u64> = tiers.iter().map(|(_, in_use)| *in_use).collect();
        serve(0, &mut left, &needs)
    }

    proptest! {
        #[test]
        fn sums_before_a_place_are_those_of_a_plain_list(steps in proptest::collection::vec((0..200_u8, 0..5_u64), 1..2_000)) {
            let places = places(200);
            let (mut sums, mut plain) = (OrderedSums::default(), BTreeMap::new());
            for (at, number) in steps {
                let place = places[usize::from(at)];
                sums.set(place, number);
                plain.insert(place, number);
                let expected: u64 = plain.range(..place).map(|(_, number)| number).sum();
                prop_assert_eq!(sums.before(place), expected);
            }
        }

        #[test]
        fn a_shortage_of_three_tiers_is_the_least_that_any_assignment_leaves(
            lowest_first in proptest::collection::vec((0..5_u64, 0..5_u64), 3)
        ) {
            let tiers: Vec<_> =
                lowest_first.iter().rev().map(|(purchased, in_use)| TierPool { purchased: *purchased, in_use: *in_use }).collect();
            let short: Vec<u64> =
                supplies(tiers.clone()).zip(&tiers).map(|(supply, tier)| tier.in_use.saturating_sub(supply.total())).collect();
            prop_assert_eq!(short.iter().sum::<u64>(), unserved(&lowest_first));
            // A higher tier is never short for the sake of a lower one.
            prop_assert_eq!(short[0], tiers[0].in_use.saturating_sub(tiers[0].purchased));
        }
    }

    #[test]
    fn ordered_sums_hold_many_more_than_one_block() {
        let mut entropy = Entropy::from_seed([4; 32]);
        let mut sums = OrderedSums::default();
        let mut all: Vec<Place> = (0..5_000)
            .map(|_| Place { band: 0, registered_at: UnixMillis(0), instance: InstanceId::generate(&mut entropy) })
            .collect();
        all.iter().for_each(|place| sums.set(*place, 2));
        all.sort_unstable();
        assert!(sums.blocks.len() > 5 && sums.blocks.iter().all(|block| block.entries.len() <= BLOCK_MAX));
        for (at, place) in all.iter().enumerate().step_by(97) {
            assert_eq!(sums.before(*place), 2 * u64::try_from(at).unwrap());
        }
        all.iter().for_each(|place| sums.set(*place, 0));
        assert_eq!(sums, OrderedSums::default());
    }

    #[test]
    fn terms_count_from_their_start_until_their_end_also_between_refreshes() {
        let mut entropy = Entropy::from_seed([5; 32]);
        let lot = |quantity, start, end, entropy: &mut Entropy| Lot {
            id: LotId::generate(entropy),
            virtual_account: crate::manager::domain::VirtualAccountId::generate(entropy),
            tag: "cps".to_owned(),
            quantity,
            start: UnixMillis(start),
            end,
            note: String::new(),
            created_at: UnixMillis(0),
            split_from: None,
        };
        let mut pool = Pool::default();
        pool.put_lot(&lot(1, 0, None, &mut entropy));
        pool.put_lot(&lot(10, 100, Some(UnixMillis(200)), &mut entropy));
        pool.put_lot(&lot(100, 150, Some(UnixMillis(300)), &mut entropy));
        let expected =
            [(0, 1), (99, 1), (100, 11), (149, 11), (150, 111), (199, 111), (200, 101), (299, 101), (300, 1)];
        for refreshed in [0, 120, 160, 250, 400] {
            pool.refresh(UnixMillis(refreshed));
            for (now, purchased) in expected {
                assert_eq!(pool.purchased(UnixMillis(now)), purchased, "at {now}, refreshed at {refreshed}");
            }
        }
        assert_eq!(pool.next_end(UnixMillis(160)), Some(UnixMillis(200)));
        assert_eq!(pool.lasts_until(1, UnixMillis(160)), None);
        assert_eq!(pool.lasts_until(2, UnixMillis(160)), Some(UnixMillis(300)));
        assert_eq!(pool.lasts_until(105, UnixMillis(160)), Some(UnixMillis(200)));
    }
}
