//! The export-control watermark: at most so many sessions at once, and once that many are reached no more until use has
//! fallen 1 % below (the *latch*). WebRTC sessions, where they are on, are counted apart and have no latch.
//!
//! One word holds both counts, how many of each are only tentative, the latch, and which of the kept limits is in force.
//! The limits themselves stand beside it, in slots that the word names: the limit of a count is the one that the very
//! word names, and a swap of the word fails if another was put in force meanwhile.
//!
//! What must stay true: unforced use never passes the limit in force; the latch closes when *committed* use reaches the
//! limit, never by a tentative take that is undone; nothing that happens to limits drops a session.

use super::InUse;
use super::lease::{Endless, Ends, Side};
use super::peaks::Peaks;
use crate::sync::{AtomicU64, Mutex, Ordering};
use crate::units::Tick;

/// The highest limit that the counts have room for.
const LIMIT_MAX: u32 = 2_000_000;
/// The highest limit of WebRTC sessions counted apart.
const WEBRTC_LIMIT_MAX: u32 = 256;
/// Kept limits. Two would do: one in force, one being written. The rest makes a reader that was stalled through a
/// change more likely to find what it was told of; if it doesn't, its swap fails.
const SLOTS: usize = 4;

/// The limits of a [`Watermark`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatermarkLimits {
    /// Sessions at once (2500, or 2244 with WebRTC on); at most 2,000,000, higher ones count as that.
    pub limit: u32,
    /// WebRTC is on, with so many sessions counted apart; at most 256, higher ones count as that.
    pub webrtc: Option<u32>,
    /// What closes the latch, and what opens it.
    pub latch: Latch,
}

/// When a watermark closes behind the session that reached its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Latch {
    /// Always, until use is below `limit - floor(limit / 100)`: the limit is this node's alone.
    #[default]
    Alone,
    /// Never (what is closed stays so until use is low): the cluster may have units to spare, and an empty pool alone isn't the
    /// cap.
    Spare,
    /// Always, until use is below `limit - ceil(limit / 100)`: the cluster has none to spare. Rounded up, so that the sum of all
    /// nodes' low marks is at most the cluster's.
    Scarce,
}

impl WatermarkLimits {
    /// Use must fall below this before a latch opens: 2475 of 2500, 2222 of 2244.
    #[must_use]
    pub const fn low_mark(self) -> u32 {
        match self.latch {
            Latch::Alone => self.limit - self.limit / 100,
            Latch::Spare | Latch::Scarce => self.limit - self.limit.div_ceil(100),
        }
    }

    fn clamped(self) -> Self {
        Self {
            limit: self.limit.min(LIMIT_MAX),
            webrtc: self.webrtc.map(|limit| limit.min(WEBRTC_LIMIT_MAX)),
            latch: self.latch,
        }
    }

    fn pack(self) -> u64 {
        let latch = match self.latch {
            Latch::Alone => 0,
            Latch::Spare => 1,
            Latch::Scarce => 2,
        };
        latch << 62 | u64::from(self.limit) << 32 | self.webrtc.map_or(0, |limit| u64::from(limit) << 1 | 1)
    }

    fn unpack(word: u64) -> Self {
        let latch = match word >> 62 {
            0 => Latch::Alone,
            1 => Latch::Spare,
            _ => Latch::Scarce,
        };
        Self { limit: field(word, 32, 30), webrtc: (word & 1 == 1).then(|| field(word, 1, 31)), latch }
    }
}

/// Why a session was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refused {
    /// The limit was reached before, and use has not yet fallen below the low mark.
    Latched,
    /// The limit (less the headroom) is in use.
    Reached,
    /// As many WebRTC sessions as are counted apart.
    WebrtcFull,
    /// WebRTC is off.
    WebrtcOff,
}

/// Why there is no session of a take that looks at an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Refused.
    Refused(Refused),
    /// The lease is over at this instant.
    Over(Tick),
}

/// A tentative session: counted, not yet committed. Give it to [`Watermark::commit`] or [`Watermark::undo`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a tentative session must be committed or undone, or it counts forever"]
pub struct Taken {
    webrtc: bool,
    /// False in the rare case that no room was left to count it as tentative: then it counts as committed at once.
    tentative: bool,
}

/// A watermark at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatermarkView {
    /// The limit in force.
    pub limit: u32,
    /// Sessions that count toward it: with WebRTC off, remaining WebRTC sessions too.
    pub count: u32,
    /// WebRTC sessions.
    pub webrtc: u32,
    /// How many WebRTC sessions are counted apart; `None` if WebRTC is off.
    pub webrtc_limit: Option<u32>,
    /// Closed until `count` falls below the low mark.
    pub latched: bool,
}

/// Export control's count of sessions.
///
/// ```
/// use callgate::limits::{Latch, Refused, Watermark, WatermarkLimits};
/// let mark = Watermark::new(WatermarkLimits { limit: 200, webrtc: None, latch: Latch::Alone });
/// for _ in 0..200 {
///     let taken = mark.take(false, 0).unwrap();
///     mark.commit(taken);
/// }
/// assert_eq!(mark.take(false, 0), Err(Refused::Latched));
/// mark.release(false);
/// mark.release(false);
/// assert_eq!(mark.take(false, 0), Err(Refused::Latched), "198 is the low mark, not below it");
/// mark.release(false);
/// assert!(mark.take(false, 0).is_ok_and(|taken| { mark.undo(taken); true }));
/// ```
#[derive(Debug)]
pub struct Watermark {
    word: AtomicU64,
    limits: [AtomicU64; SLOTS],
    /// Held while limits change, so that no slot is written by two.
    changing: Mutex<()>,
    peaks: Peaks,
    webrtc_peaks: Peaks,
}

/// The word: `{generation: 8, latched: 1, tentative_webrtc: 6, tentative: 7, webrtc: 21, plain: 21}`.
#[derive(Clone, Copy)]
struct Word {
    generation: u8,
    latched: bool,
    tentative_webrtc: u32,
    tentative: u32,
    webrtc: u32,
    plain: u32,
}

const COUNT_MAX: u32 = (1 << 21) - 1;
const TENTATIVE_MAX: u32 = (1 << 7) - 1;
const TENTATIVE_WEBRTC_MAX: u32 = (1 << 6) - 1;

/// `width` bits (at most 32) of a word.
fn field(word: u64, shift: u32, width: u32) -> u32 {
    u32::try_from(word >> shift & ((1 << width) - 1)).unwrap_or(u32::MAX)
}

impl Word {
    fn unpack(word: u64) -> Self {
        let [generation, ..] = word.to_be_bytes();
        Self {
            generation,
            latched: field(word, 55, 1) == 1,
            tentative_webrtc: field(word, 49, 6),
            tentative: field(word, 42, 7),
            webrtc: field(word, 21, 21),
            plain: field(word, 0, 21),
        }
    }

    fn pack(self) -> u64 {
        u64::from(self.generation) << 56
            | u64::from(self.latched) << 55
            | u64::from(self.tentative_webrtc) << 49
            | u64::from(self.tentative) << 42
            | u64::from(self.webrtc) << 21
            | u64::from(self.plain)
    }

    /// Sessions that count toward the limit: WebRTC sessions too, unless they are counted apart.
    const fn used(self, limits: WatermarkLimits) -> u32 {
        if limits.webrtc.is_some() { self.plain } else { self.plain + self.webrtc }
    }

    /// The same without those that may still be undone.
    const fn committed(self, limits: WatermarkLimits) -> u32 {
        let tentative = if limits.webrtc.is_some() { self.tentative } else { self.tentative + self.tentative_webrtc };
        self.used(limits).saturating_sub(tentative)
    }

    /// Closes the latch if committed use has reached the limit.
    const fn close_if_reached(mut self, limits: WatermarkLimits) -> Self {
        let closes = !matches!(limits.latch, Latch::Spare);
        self.latched = self.latched || (closes && self.committed(limits) >= limits.limit);
        self
    }

    /// Closes the latch wherever a closed one would still be closed.
    const fn close_unless_low(mut self, limits: WatermarkLimits) -> Self {
        let closes = !matches!(limits.latch, Latch::Spare);
        self.latched = self.latched || (closes && self.used(limits) >= limits.low_mark());
        self
    }

    /// Opens the latch if use is below the low mark.
    const fn open_if_low(mut self, limits: WatermarkLimits) -> Self {
        self.latched = self.latched && self.used(limits) >= limits.low_mark();
        self
    }

    /// Whether there is room for one more.
    fn room(self, limits: WatermarkLimits, webrtc: bool, headroom: u32) -> Result<(), Refused> {
        if webrtc {
            let limit = limits.webrtc.ok_or(Refused::WebrtcOff)?;
            if self.webrtc >= limit.saturating_sub(headroom) {
                return Err(Refused::WebrtcFull);
            }
        } else if self.latched {
            return Err(Refused::Latched);
        } else if self.used(limits) >= limits.limit.saturating_sub(headroom) {
            return Err(Refused::Reached);
        }
        Ok(())
    }

    /// One more session, if the counter has room: at two million it stands, far above every limit.
    const fn plus_one(mut self, webrtc: bool) -> Self {
        let count = if webrtc { &mut self.webrtc } else { &mut self.plain };
        if *count < COUNT_MAX {
            *count += 1;
        }
        self
    }

    /// The word under other limits.
    const fn under(self, generation: u8, limits: WatermarkLimits) -> Self {
        Self { generation, ..self }.open_if_low(limits).close_if_reached(limits)
    }

    const fn minus_one(mut self, webrtc: bool) -> Self {
        let count = if webrtc { &mut self.webrtc } else { &mut self.plain };
        *count = count.saturating_sub(1);
        self
    }

    const fn resolved(mut self, taken: &Taken) -> Self {
        if taken.tentative {
            let tentative = if taken.webrtc { &mut self.tentative_webrtc } else { &mut self.tentative };
            *tentative = tentative.saturating_sub(1);
        }
        self
    }
}

impl Watermark {
    /// A watermark with no sessions.
    #[must_use]
    pub fn new(limits: WatermarkLimits) -> Self {
        let limits = limits.clamped();
        let empty = Word { generation: 0, latched: false, tentative_webrtc: 0, tentative: 0, webrtc: 0, plain: 0 };
        Self {
            word: AtomicU64::new(empty.pack()),
            limits: std::array::from_fn(|_| AtomicU64::new(limits.pack())),
            changing: Mutex::new(()),
            peaks: Peaks::new(),
            webrtc_peaks: Peaks::new(),
        }
    }

    /// Counts a session tentatively, if that leaves at least `headroom` of its limit free. It can't close the latch
    /// before it is committed, but it can be the one that fills the limit for others.
    ///
    /// # Errors
    /// Why it was refused; nothing changed.
    pub fn take(&self, webrtc: bool, headroom: u32) -> Result<Taken, Refused> {
        self.take_until(webrtc, headroom, Tick(0), Endless).map_err(|outcome| match outcome {
            Outcome::Refused(refused) => refused,
            // Nothing ends.
            Outcome::Over(_) => Refused::Reached,
        })
    }

    /// The same, unless the lease is over; see [`super::lease`].
    pub(super) fn take_until(&self, webrtc: bool, headroom: u32, now: Tick, end: impl Ends) -> Result<Taken, Outcome> {
        let mut tentative = true;
        let (word, limits) = self.update(|word, limits| {
            if end.over(now) {
                return Err(Outcome::Over(now));
            }
            word.room(limits, webrtc, headroom).map_err(Outcome::Refused)?;
            let mut next = word.plus_one(webrtc);
            let (pending, room) = if webrtc {
                (&mut next.tentative_webrtc, TENTATIVE_WEBRTC_MAX)
            } else {
                (&mut next.tentative, TENTATIVE_MAX)
            };
            tentative = *pending < room;
            if tentative {
                *pending += 1;
                Ok(next)
            } else {
                // More takes between take and commit than the field counts: this one counts as committed at once.
                Ok(next.close_if_reached(limits))
            }
        })?;
        self.note(word, limits);
        Ok(Taken { webrtc, tentative })
    }

    /// Makes a tentative session final; closes the latch if committed use has now reached the limit.
    pub fn commit(&self, taken: Taken) {
        self.change(|word, limits| word.resolved(&taken).close_if_reached(limits));
    }

    /// Takes a tentative session back, as if it had never been.
    pub fn undo(&self, taken: Taken) {
        self.change(|word, limits| word.resolved(&taken).minus_one(taken.webrtc).open_if_low(limits));
    }

    /// Counts a session whatever the limits say (emergency, adopted). Committed at once: it can close the latch.
    pub fn force(&self, webrtc: bool) {
        let (word, limits) = self.change(|word, limits| word.plus_one(webrtc).close_if_reached(limits));
        self.note(word, limits);
    }

    /// For a start whose sessions are known again, but not whether the latch was closed: it is, unless use is below the
    /// low mark. A latch that a restart opened would let use return to the limit again and again.
    pub fn close_unless_low(&self) {
        self.change(Word::close_unless_low);
    }

    /// A committed session ended. `webrtc` as it was taken, whatever was switched meanwhile.
    pub fn release(&self, webrtc: bool) {
        self.change(|word, limits| word.minus_one(webrtc).open_if_low(limits));
    }

    /// Puts other limits in force, in one step. Drops nobody: if committed use is at the new limit or above, the latch
    /// closes; if it was closed and use is below the new low mark, it opens.
    pub fn set(&self, limits: WatermarkLimits) {
        let _changing = self.changing.lock();
        let (generation, new) = self.announce(limits);
        self.change(|word, _| word.under(generation, new));
    }

    /// The same, if no more than its new limit is in use of this side, forced sessions apart: one step. `forced`: of those
    /// that count toward the limit, and of those of WebRTC; none is given back meanwhile.
    pub(super) fn try_set(&self, limits: WatermarkLimits, side: Side, forced: (u32, u32)) -> Result<(), InUse> {
        let _changing = self.changing.lock();
        let (generation, new) = self.announce(limits);
        let checked = self.update(|word, _| {
            let (used, limit) = match side {
                Side::Plain => (word.used(new).saturating_sub(forced.0), new.limit),
                Side::Webrtc => (word.webrtc.saturating_sub(forced.1), new.webrtc.unwrap_or(u32::MAX)),
            };
            if used > limit { Err(InUse { used }) } else { Ok(word.under(generation, new)) }
        });
        checked.map(|_| ())
    }

    /// Whether a session would be taken now.
    #[must_use]
    pub fn has_room(&self, webrtc: bool, headroom: u32) -> bool {
        let (word, limits) = self.load();
        word.room(limits, webrtc, headroom).is_ok()
    }

    /// Writes limits where the next generation of the word finds them. Under the lock.
    fn announce(&self, limits: WatermarkLimits) -> (u8, WatermarkLimits) {
        let new = limits.clamped();
        // Relaxed: only a holder of the lock changes the generation.
        let generation = Word::unpack(self.word.load(Ordering::Relaxed)).generation.wrapping_add(1);
        // Relaxed: published by the swap of the word that names it.
        self.slot(generation).store(new.pack(), Ordering::Relaxed);
        (generation, new)
    }

    /// What it holds now.
    #[must_use]
    pub fn view(&self) -> WatermarkView {
        let (word, limits) = self.load();
        WatermarkView {
            limit: limits.limit,
            count: word.used(limits),
            webrtc: word.webrtc,
            webrtc_limit: limits.webrtc,
            latched: word.latched,
        }
    }

    /// The most sessions that ever counted toward the limit, and the most WebRTC sessions counted apart.
    #[must_use]
    pub fn peaks(&self) -> (u32, u32) {
        (self.peaks.since_start(), self.webrtc_peaks.since_start())
    }

    /// The same since the last call of this.
    pub fn take_peaks_since_last_look(&self) -> (u32, u32) {
        let view = self.view();
        (self.peaks.look(view.count), self.webrtc_peaks.look(view.webrtc))
    }

    fn note(&self, word: Word, limits: WatermarkLimits) {
        self.peaks.note(word.used(limits));
        self.webrtc_peaks.note(word.webrtc);
    }

    fn slot(&self, generation: u8) -> &AtomicU64 {
        &self.limits[usize::from(generation) % SLOTS]
    }

    /// The word and the limits that it names. Of one instant only if the word is still the same afterwards.
    fn named(&self, word: u64) -> (Word, WatermarkLimits) {
        let word = Word::unpack(word);
        // Relaxed: the acquire load of the word that names this slot made its contents visible.
        (word, WatermarkLimits::unpack(self.slot(word.generation).load(Ordering::Relaxed)))
    }

    fn load(&self) -> (Word, WatermarkLimits) {
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            let named = self.named(word);
            let again = self.word.load(Ordering::Acquire);
            if Word::unpack(again).generation == named.0.generation {
                return named;
            }
            word = again;
        }
    }

    fn change(&self, next: impl Fn(Word, WatermarkLimits) -> Word) -> (Word, WatermarkLimits) {
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            let (old, limits) = self.named(word);
            let new = next(old, limits);
            match self.swap(word, new) {
                Ok(()) => return (new, limits),
                Err(seen) => word = seen,
            }
        }
    }

    fn update<E>(
        &self,
        mut next: impl FnMut(Word, WatermarkLimits) -> Result<Word, E>,
    ) -> Result<(Word, WatermarkLimits), E> {
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            let (old, limits) = self.named(word);
            match next(old, limits) {
                Ok(new) => match self.swap(word, new) {
                    Ok(()) => return Ok((new, limits)),
                    Err(seen) => word = seen,
                },
                Err(refused) => {
                    // The slot may have been written anew under a stalled reader: only an unchanged generation vouches
                    // for it.
                    let again = self.word.load(Ordering::Acquire);
                    if Word::unpack(again).generation == old.generation {
                        return Err(refused);
                    }
                    word = again;
                }
            }
        }
    }

    fn swap(&self, old: u64, new: Word) -> Result<(), u64> {
        // Release: limits written before a new generation, and a session's end before its unit is free, are seen by
        // whoever acquires the word. It fails if the generation moved on meanwhile, so no count is ever judged by limits
        // that its word doesn't name (256 changes of the limits within one call of this would be needed).
        self.word.compare_exchange_weak(old, new.pack(), Ordering::AcqRel, Ordering::Acquire).map(|_| ())
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
