//! The session table's index: open addressing over words of `{tag: 32, place: 32}`, linear probing, backward-shift deletion.
//!
//! Sized once for the table's bound: no growth, hence no rehash, hence no stall. Untouched pages cost nothing. The tag is the
//! key's top half-word; a slot's home is derived from the tag by multiplication, so deletion needs no look at the entries.

use crate::units::CallKey;

/// Where a key's entry is, if anywhere.
#[derive(Debug)]
pub(crate) struct Index {
    /// `tag << 32 | place + 1`; 0 is empty.
    slots: Box<[u64]>,
}

/// The tag of a key.
const fn tag(key: CallKey) -> u64 {
    key.high >> 32
}

/// A slot's word.
const fn word(key: CallKey, place: u32) -> u64 {
    #[expect(clippy::as_conversions, reason = "u32 to u64 widens")]
    let place = place as u64 + 1;
    tag(key) << 32 | place
}

/// The place in a slot's word.
fn place(word: u64) -> u32 {
    u32::try_from((word & 0xffff_ffff).saturating_sub(1)).unwrap_or(u32::MAX)
}

impl Index {
    /// An index for at most `entries` entries, filled to two thirds then.
    pub(crate) fn new(entries: u32) -> Self {
        let slots = usize::try_from(entries).unwrap_or(usize::MAX).saturating_mul(3) / 2 + 16;
        Self { slots: bytemuck::allocation::zeroed_slice_box(slots) }
    }

    fn home_of_tag(&self, tag: u64) -> usize {
        // Multiply and shift maps 32 bits of tag evenly on any length, without a division.
        let length = u64::try_from(self.slots.len()).unwrap_or(u64::MAX);
        usize::try_from((tag * length) >> 32).unwrap_or(0)
    }

    /// The slot where a key's search begins.
    pub(crate) fn home(&self, key: CallKey) -> usize {
        self.home_of_tag(tag(key))
    }

    fn after(&self, slot: usize) -> usize {
        let next = slot + 1;
        if next == self.slots.len() { 0 } else { next }
    }

    fn at(&self, slot: usize) -> u64 {
        self.slots.get(slot).copied().unwrap_or(0)
    }

    /// The slot at which to prefetch.
    pub(crate) fn slot(&self, slot: usize) -> Option<&u64> {
        self.slots.get(slot)
    }

    /// The first place with this key's tag: most likely its entry. For prefetching alone.
    pub(crate) fn likely_place(&self, key: CallKey) -> Option<u32> {
        let mut slot = self.home(key);
        for _ in 0..8 {
            let word = self.at(slot);
            if word == 0 {
                return None;
            }
            if word >> 32 == tag(key) {
                return Some(place(word));
            }
            slot = self.after(slot);
        }
        None
    }

    /// The place of the entry for which `is_it` holds, among those with this key's tag.
    pub(crate) fn find(&self, key: CallKey, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let mut slot = self.home(key);
        loop {
            let word = self.at(slot);
            if word == 0 {
                return None;
            }
            if word >> 32 == tag(key) && is_it(place(word)) {
                return Some(place(word));
            }
            slot = self.after(slot);
        }
    }

    /// Notes that this key's entry is at `place`. The key must not be there, and the bound must not be passed.
    pub(crate) fn insert(&mut self, key: CallKey, place: u32) {
        let mut slot = self.home(key);
        while self.at(slot) != 0 {
            slot = self.after(slot);
        }
        if let Some(free) = self.slots.get_mut(slot) {
            *free = word(key, place);
        }
    }

    /// Forgets the entry at `place`, and closes the gap, so that no search ends early.
    pub(crate) fn remove(&mut self, key: CallKey, place: u32) {
        let wanted = word(key, place);
        let mut slot = self.home(key);
        loop {
            let word = self.at(slot);
            if word == 0 {
                return;
            }
            if word == wanted {
                break;
            }
            slot = self.after(slot);
        }
        let mut gap = slot;
        let mut next = self.after(gap);
        loop {
            let word = self.at(next);
            if word == 0 {
                break;
            }
            let home = self.home_of_tag(word >> 32);
            // The word may move into the gap unless its home lies behind the gap (cyclically, up to where it stands).
            let stays = if gap <= next { gap < home && home <= next } else { gap < home || home <= next };
            if !stays {
                if let Some(hole) = self.slots.get_mut(gap) {
                    *hole = word;
                }
                gap = next;
            }
            next = self.after(next);
        }
        if let Some(hole) = self.slots.get_mut(gap) {
            *hole = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn key(high: u64) -> CallKey {
        CallKey { high, low: high ^ 7 }
    }

    proptest! {
        #[test]
        fn an_index_finds_exactly_what_was_inserted_and_not_removed(
            steps in prop::collection::vec((any::<bool>(), 0u64..24, 0u64..3), 1..200),
        ) {
            // Few homes and equal tags, so that runs collide, wrap around and close gaps.
            let mut index = Index::new(40);
            let mut model: HashMap<u64, u32> = HashMap::new();
            let mut keys: Vec<CallKey> = Vec::new();
            for (insert, spread, end) in steps {
                let high = (spread * 0x0800_0000 + end * 0xf800_0000) << 32 | spread << 4 | end;
                let key = key(high);
                if insert && !model.contains_key(&high) && model.len() < 40 {
                    let place = u32::try_from(keys.len()).unwrap();
                    keys.push(key);
                    index.insert(key, place);
                    model.insert(high, place);
                } else if let Some(place) = model.remove(&high) {
                    index.remove(key, place);
                }
                for (high, place) in &model {
                    let found = index.find(self::key(*high), |place| keys[usize::try_from(place).unwrap()].high == *high);
                    prop_assert_eq!(found, Some(*place));
                }
            }
            let left = index.slots.iter().filter(|word| **word != 0).count();
            prop_assert_eq!(left, model.len());
        }
    }
}
