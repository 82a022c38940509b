//! The session table of one shard: live calls and memories, found by key, ended by time. Owned by one thread at a time.
//!
//! One entry per id, whatever is known of it, so that one look answers "live?", "refused just now?", "released just now?".
//! Entries live in chunks that are made as calls come and reused last-in first-out; their places never change. Live entries hang in
//! a hashed timing wheel (Varghese and Lauck, 1987, scheme 6): a slot is a list, an entry whose end was moved back stays where it is and
//! moves on when its slot comes due. Memories of one kind all last equally long: a queue each, oldest first.
//!
//! Must stay true: every entry that isn't free is in the index once and on exactly one list.

use super::entry::{Entry, Step, state};
use super::index::Index;
use super::prefetch::prefetch;
use crate::units::CallKey;

/// Entries per chunk: one allocation of 64 KiB.
const CHUNK: usize = 1024;

/// Slots of the wheel; with steps of 67 ms it turns in 18 minutes.
const WHEEL_SLOTS: u32 = 1 << 14;

/// Lists behind the wheel's slots: the entries being looked at, then the three kinds of memory.
const LIST_DUE: u32 = WHEEL_SLOTS;
const LISTS: u32 = WHEEL_SLOTS + 4;

/// Marks a `prev` link that names a list.
const LIST: u32 = 1 << 31;

/// Entry bound that links can express.
pub(crate) const ENTRIES_MAX: u32 = LIST - 2;

/// A kind of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Memory {
    /// A refusal.
    Refused,
    /// A released call.
    Released,
    /// A release that came before its call.
    Tombstone,
}

impl Memory {
    /// All kinds.
    pub(crate) const ALL: [Self; 3] = [Self::Refused, Self::Released, Self::Tombstone];

    const fn number(self) -> u32 {
        match self {
            Self::Refused => 0,
            Self::Released => 1,
            Self::Tombstone => 2,
        }
    }

    const fn of_state(of: u8) -> Option<Self> {
        match of {
            state::REFUSED => Some(Self::Refused),
            state::RELEASED => Some(Self::Released),
            state::TOMBSTONE => Some(Self::Tombstone),
            _ => None,
        }
    }

    pub(crate) const fn state(self) -> u8 {
        match self {
            Self::Refused => state::REFUSED,
            Self::Released => state::RELEASED,
            Self::Tombstone => state::TOMBSTONE,
        }
    }
}

/// Widens a place or list number to an index.
#[expect(clippy::as_conversions, reason = "u32 to usize widens on every platform that this runs on")]
const fn wide(number: u32) -> usize {
    number as usize
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Table {
    index: Index,
    chunks: Vec<Box<[Entry]>>,
    /// Head of the free list, as a link.
    free: u32,
    /// Places handed out at least once.
    fresh: u32,
    /// Heads of the lists, as links (0 is none, else place + 1).
    heads: Box<[u32]>,
    /// Tails of the memories' queues, as links.
    tails: [u32; 3],
    /// Entries in the memories' queues.
    memories: [u32; 3],
    /// The wheel's hand: the last step that was looked at.
    hand: Option<Step>,
    live: u32,
    live_peak: u32,
    live_max: u32,
    memories_max: u32,
}

impl Table {
    /// A table for at most so many live entries and memories.
    pub(crate) fn new(live_max: u32, memories_max: u32) -> Self {
        let live_max = live_max.min(ENTRIES_MAX / 2);
        let memories_max = memories_max.min(ENTRIES_MAX / 2);
        let entries = live_max + memories_max;
        Self {
            index: Index::new(entries),
            chunks: Vec::with_capacity(wide(entries) / CHUNK + 1),
            free: 0,
            fresh: 0,
            heads: bytemuck::allocation::zeroed_slice_box(wide(LISTS)),
            tails: [0; 3],
            memories: [0; 3],
            hand: None,
            live: 0,
            live_peak: 0,
            live_max,
            memories_max,
        }
    }

    /// The entry at a place that this table handed out.
    pub(crate) fn entry(&self, place: u32) -> &Entry {
        &self.chunks[wide(place) / CHUNK][wide(place) % CHUNK]
    }

    /// The same, to change it.
    pub(crate) fn entry_mut(&mut self, place: u32) -> &mut Entry {
        &mut self.chunks[wide(place) / CHUNK][wide(place) % CHUNK]
    }

    /// Live entries.
    pub(crate) const fn live(&self) -> u32 {
        self.live
    }

    /// The most that were live at once.
    pub(crate) const fn live_peak(&self) -> u32 {
        self.live_peak
    }

    fn count_live(&mut self) {
        self.live += 1;
        self.live_peak = self.live_peak.max(self.live);
    }

    /// Memories of every kind.
    pub(crate) fn memories(&self) -> u32 {
        self.memories.iter().sum()
    }

    /// No further live entry fits.
    pub(crate) const fn is_full(&self) -> bool {
        self.live >= self.live_max
    }

    /// Places handed out so far: all entries lie below.
    pub(crate) const fn places(&self) -> u32 {
        self.fresh
    }

    /// The entry of this key, in whatever state.
    pub(crate) fn find(&self, key: CallKey) -> Option<u32> {
        self.index.find(key, |place| self.entry(place).key == key)
    }

    // --- prefetching, in three steps: each needs what the one before fetched ---

    /// Fetches the index line of a key.
    pub(crate) fn prefetch_index(&self, key: CallKey) {
        if let Some(slot) = self.index.slot(self.index.home(key)) {
            prefetch(slot);
        }
    }

    /// Fetches the entry of a key, if it seems to have one.
    pub(crate) fn prefetch_entry(&self, key: CallKey) -> Option<u32> {
        let place = self.index.likely_place(key)?;
        prefetch(self.entry(place));
        Some(place)
    }

    /// Fetches the neighbours of an entry: unlinking writes to them.
    pub(crate) fn prefetch_neighbours(&self, place: u32) {
        let entry = self.entry(place);
        if let Some(next) = entry.next.checked_sub(1) {
            prefetch(self.entry(next));
        }
        if entry.prev != 0 && entry.prev & LIST == 0 {
            prefetch(self.entry(entry.prev - 1));
        }
    }

    // --- coming and going ---

    /// A new live entry for a key that has none, on no list yet. `None` if the table is full.
    pub(crate) fn add_live(&mut self, key: CallKey) -> Option<u32> {
        if self.is_full() {
            return None;
        }
        let place = self.take_place(key, state::LIVE);
        self.count_live();
        Some(place)
    }

    /// Turns a memory into a live entry, on no list yet. `false` if the table is full.
    pub(crate) fn revive(&mut self, place: u32) -> bool {
        if self.is_full() {
            return false;
        }
        self.unlink(place);
        let key = self.entry(place).key;
        *self.entry_mut(place) = Entry { key, state: state::LIVE, ..bytemuck::Zeroable::zeroed() };
        self.count_live();
        true
    }

    /// A new memory for a key that has no entry, at its queue's end. Says whether an older memory had to go for it; `None`
    /// if there is no room for any.
    pub(crate) fn add_memory(&mut self, key: CallKey, kind: Memory, ends: Step, now: Step) -> Option<(u32, bool)> {
        let evicted = self.make_room(kind, now)?;
        let place = self.take_place(key, kind.state());
        self.entry_mut(place).ends = ends;
        self.push_back(place, kind);
        Some((place, evicted))
    }

    /// Turns a live entry into a memory, keeping its fields; or frees it, if there is no room for memories.
    pub(crate) fn remember(&mut self, place: u32, kind: Memory, ends: Step, now: Step) -> bool {
        let Some(evicted) = self.make_room(kind, now) else {
            self.remove(place);
            return false;
        };
        self.unlink(place);
        self.live -= 1;
        let entry = self.entry_mut(place);
        entry.state = kind.state();
        entry.ends = ends;
        self.push_back(place, kind);
        evicted
    }

    /// Frees an entry, live or memory.
    pub(crate) fn remove(&mut self, place: u32) {
        self.unlink(place);
        if self.entry(place).is_live() {
            self.live -= 1;
        }
        let key = self.entry(place).key;
        self.index.remove(key, place);
        let free = self.free;
        *self.entry_mut(place) = Entry { next: free, ..bytemuck::Zeroable::zeroed() };
        self.free = place + 1;
    }

    /// Gives a memory another key, which has no entry. It keeps its place in its queue.
    pub(crate) fn rename(&mut self, place: u32, key: CallKey) {
        let before = self.entry(place).key;
        self.index.remove(before, place);
        self.entry_mut(place).key = key;
        self.index.insert(key, place);
    }

    fn take_place(&mut self, key: CallKey, state: u8) -> u32 {
        let place = if let Some(place) = self.free.checked_sub(1) {
            self.free = self.entry(place).next;
            place
        } else {
            let place = self.fresh;
            if wide(place) / CHUNK == self.chunks.len() {
                self.chunks.push(bytemuck::allocation::zeroed_slice_box(CHUNK));
            }
            self.fresh += 1;
            place
        };
        *self.entry_mut(place) = Entry { key, state, ..bytemuck::Zeroable::zeroed() };
        self.index.insert(key, place);
        place
    }

    /// Room for one more memory. Refusals may fill half of it. What is over goes first; else the oldest of the kind that holds most,
    /// so that a flood of one kind pushes out its own. Says whether a memory went before its time.
    fn make_room(&mut self, kind: Memory, now: Step) -> Option<bool> {
        let full = self.memories() >= self.memories_max;
        let own_share = kind == Memory::Refused && self.memories[0] >= self.memories_max / 2;
        if !full && !own_share {
            return Some(false);
        }
        let is_over = |place: &u32| self.entry(*place).ends <= now;
        let over = Memory::ALL.into_iter().filter(|other| !own_share || *other == kind);
        let victim = over.filter_map(|kind| self.oldest(kind)).find(is_over);
        let (victim, early) = match victim {
            Some(victim) => (victim, false),
            None if own_share => (self.oldest(kind)?, true),
            None => {
                let most = Memory::ALL.into_iter().max_by_key(|kind| self.memories[wide(kind.number())])?;
                (self.oldest(most)?, true)
            }
        };
        self.remove(victim);
        if let Some(next) = self.oldest(kind) {
            // The next to go: its line, its neighbour's and its index's, fetched well before they are needed.
            self.prefetch_neighbours(next);
            self.prefetch_index(self.entry(next).key);
        }
        Some(early)
    }

    /// The oldest memory of this kind.
    pub(crate) fn oldest(&self, kind: Memory) -> Option<u32> {
        self.heads[wide(LIST_DUE + 1 + kind.number())].checked_sub(1)
    }

    // --- lists ---

    fn push_front(&mut self, place: u32, list: u32) {
        let head = self.heads[wide(list)];
        if let Some(first) = head.checked_sub(1) {
            self.entry_mut(first).prev = place + 1;
        }
        let entry = self.entry_mut(place);
        entry.next = head;
        entry.prev = LIST | list;
        self.heads[wide(list)] = place + 1;
    }

    fn push_back(&mut self, place: u32, kind: Memory) {
        let number = wide(kind.number());
        let list = LIST_DUE + 1 + kind.number();
        let tail = self.tails[number];
        let entry = self.entry_mut(place);
        entry.next = 0;
        entry.prev = if tail == 0 { LIST | list } else { tail };
        match tail.checked_sub(1) {
            Some(last) => self.entry_mut(last).next = place + 1,
            None => self.heads[wide(list)] = place + 1,
        }
        self.tails[number] = place + 1;
        self.memories[number] += 1;
    }

    /// Takes an entry off its list.
    fn unlink(&mut self, place: u32) {
        let &Entry { next, prev, state, .. } = self.entry(place);
        if prev == 0 {
            return; // on no list
        }
        if prev & LIST == 0 {
            self.entry_mut(prev - 1).next = next;
        } else {
            self.heads[wide(prev & !LIST)] = next;
        }
        if let Some(next) = next.checked_sub(1) {
            self.entry_mut(next).prev = prev;
        }
        if let Some(kind) = Memory::of_state(state) {
            let number = wide(kind.number());
            if next == 0 {
                self.tails[number] = if prev & LIST == 0 { prev } else { 0 };
            }
            self.memories[number] -= 1;
        }
        let entry = self.entry_mut(place);
        entry.next = 0;
        entry.prev = 0;
    }

    // --- time ---

    /// Hangs a live entry that is on no list into the wheel, at its end.
    pub(crate) fn arm(&mut self, place: u32, now: Step) {
        let hand = *self.hand.get_or_insert(now);
        let ends = self.entry(place).ends.max(Step(hand.0.saturating_add(1)));
        self.push_front(place, ends.0 % WHEEL_SLOTS);
    }

    /// Moves the end of a live entry. Later, and it stays where it hangs until looked at; earlier, and it moves now.
    pub(crate) fn rearm(&mut self, place: u32, ends: Step, now: Step) {
        let entry = self.entry_mut(place);
        let later = ends >= entry.ends;
        entry.ends = ends;
        if !later {
            self.unlink(place);
            self.arm(place, now);
        }
    }

    /// The next live entry whose end has come; it is on no list then. `None` when there is none by now, or when `budget`,
    /// the number of entries to look at, is used up.
    pub(crate) fn next_ended(&mut self, now: Step, budget: &mut u32) -> Option<u32> {
        let mut hand = *self.hand.get_or_insert(now);
        loop {
            let due = self.heads[wide(LIST_DUE)];
            let Some(place) = due.checked_sub(1) else {
                if hand >= now {
                    return None;
                }
                hand = Step(hand.0 + 1);
                self.hand = Some(hand);
                let slot = hand.0 % WHEEL_SLOTS;
                let head = std::mem::take(&mut self.heads[wide(slot)]);
                if let Some(first) = head.checked_sub(1) {
                    self.entry_mut(first).prev = LIST | LIST_DUE;
                    self.heads[wide(LIST_DUE)] = head;
                }
                continue;
            };
            if *budget == 0 {
                return None;
            }
            *budget -= 1;
            self.unlink(place);
            if let Some(next) = self.heads[wide(LIST_DUE)].checked_sub(1) {
                self.prefetch_neighbours(next);
            }
            if self.entry(place).ends <= now {
                return Some(place);
            }
            self.arm(place, now);
        }
    }

    /// Removes memories whose time is over, at most `budget` of them; says whether more remain.
    pub(crate) fn forget_ended(&mut self, now: Step, budget: &mut u32) -> bool {
        for kind in Memory::ALL {
            while let Some(place) = self.oldest(kind) {
                if self.entry(place).ends > now {
                    break;
                }
                if *budget == 0 {
                    return true;
                }
                *budget -= 1;
                self.remove(place);
            }
        }
        false
    }

    /// Live entries have hung past their end: there is work for [`Table::next_ended`].
    pub(crate) fn is_behind(&self, now: Step) -> bool {
        self.heads[wide(LIST_DUE)] != 0 || self.hand.is_some_and(|hand| hand < now)
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
