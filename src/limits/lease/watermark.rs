//! Export control, of which some sessions are borrowed.

use super::{End, Lease, Used};
use crate::limits::watermark::Outcome;
use crate::limits::{InUse, Latch, Refused, Taken, Watermark, WatermarkLimits};
use crate::sync::{AtomicU32, Mutex, Ordering};
use crate::units::Tick;

/// Which of a watermark's limits: each is a resource of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// Sessions that count toward the watermark.
    Plain,
    /// WebRTC sessions, where they are on and counted apart.
    Webrtc,
}

/// A [`Watermark`] whose limits are [`Lease`]s.
#[derive(Debug)]
pub struct LeasedWatermark {
    mark: Watermark,
    /// The end of whichever side's loans ends first.
    end: End,
    /// Forced sessions, plain and WebRTC; kept as [`super::LeasedTiers`] keeps its own.
    forced: [AtomicU32; 2],
    leases: Mutex<Leases>,
}

/// What is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Leases {
    plain: Lease,
    /// `None`: WebRTC is off.
    webrtc: Option<Lease>,
    latch: Latch,
}

impl Leases {
    fn end(&self) -> Option<Tick> {
        [Some(self.plain), self.webrtc].into_iter().flatten().filter_map(|lease| lease.valid_until).min()
    }

    fn limits(&self) -> WatermarkLimits {
        WatermarkLimits { limit: self.plain.limit, webrtc: self.webrtc.map(|lease| lease.limit), latch: self.latch }
    }

    fn from(self, now: Tick) -> Self {
        Self { plain: self.plain.from(now), webrtc: self.webrtc.map(|lease| lease.from(now)), ..self }
    }
}

impl LeasedWatermark {
    /// A watermark with no sessions. `webrtc`: it is on, with so many counted apart.
    #[must_use]
    pub fn new(plain: Lease, webrtc: Option<Lease>, latch: Latch) -> Self {
        let leases = Leases { plain, webrtc, latch };
        Self {
            mark: Watermark::new(leases.limits()),
            end: End::new(leases.end()),
            forced: [AtomicU32::new(0), AtomicU32::new(0)],
            leases: Mutex::new(leases),
        }
    }

    /// The watermark, for what doesn't change its limits and forces nothing.
    #[must_use]
    pub const fn mark(&self) -> &Watermark {
        &self.mark
    }

    /// Counts a session tentatively, as of `now`; see [`Watermark::take`].
    ///
    /// # Errors
    /// Why it was refused; nothing changed.
    pub fn take(&self, webrtc: bool, headroom: u32, now: Tick) -> Result<Taken, Refused> {
        loop {
            match self.mark.take_until(webrtc, headroom, now, &self.end) {
                Ok(taken) => return Ok(taken),
                Err(Outcome::Refused(refused)) => return Err(refused),
                Err(Outcome::Over(at)) => self.expire(at),
            }
        }
    }

    /// Counts a session whatever the limits say, as forced; see [`Watermark::force`].
    pub fn force(&self, webrtc: bool) {
        self.mark.force(webrtc);
        let [plain, of_webrtc] = &self.forced;
        // Release: who sees it counted sees the word that has it.
        if webrtc { of_webrtc } else { plain }.fetch_add(1, Ordering::Release);
    }

    /// A committed session ended that was forced. (Others: [`Watermark::release`].)
    pub fn release_forced(&self, webrtc: bool) {
        let _changing = self.leases.lock();
        let [plain, of_webrtc] = &self.forced;
        let forced = if webrtc { of_webrtc } else { plain };
        let _ = forced.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |forced| forced.checked_sub(1));
        self.mark.release(webrtc);
    }

    /// What is in use of a side. With WebRTC off nothing of that side: its sessions count on the plain one.
    #[must_use]
    pub fn used(&self, side: Side) -> Used {
        let forced = self.forced();
        let view = self.mark.view();
        let (used, forced) = match (side, view.webrtc_limit.is_some()) {
            (Side::Plain, apart) => (view.count, forced.of_plain(apart)),
            (Side::Webrtc, true) => (view.webrtc, forced.webrtc),
            (Side::Webrtc, false) => (0, 0),
        };
        Used { used, forced: forced.min(used) }
    }

    fn forced(&self) -> ForcedSessions {
        let [plain, webrtc] = &self.forced;
        // Acquire: the word has what is counted here.
        ForcedSessions { plain: plain.load(Ordering::Acquire), webrtc: webrtc.load(Ordering::Acquire) }
    }

    /// Puts other limits in force, in one step; see [`Watermark::set`].
    pub fn set_all(&self, plain: Lease, webrtc: Option<Lease>, latch: Latch, now: Tick) {
        let mut held = self.leases.lock();
        self.put(&mut held, Leases { plain, webrtc, latch }.from(now));
    }

    /// Sets one side's limit. That of WebRTC sessions where those are off changes nothing.
    pub fn set(&self, side: Side, lease: Lease, now: Tick) {
        let mut held = self.leases.lock();
        let next = held.from(now).with(side, lease.from(now));
        self.put(&mut held, next);
    }

    /// Says how the latch closes.
    pub fn set_latch(&self, latch: Latch, now: Tick) {
        let mut held = self.leases.lock();
        if held.latch != latch {
            let next = Leases { latch, ..held.from(now) };
            self.put(&mut held, next);
        }
    }

    /// Lowers one side's limit, if no more than that is in use, forced sessions apart: check and change are one step. It is
    /// checked also if the limit in force is lower already.
    ///
    /// # Errors
    /// If more is in use. Nothing changed.
    pub fn try_lower(&self, side: Side, lease: Lease, now: Tick) -> Result<(), InUse> {
        let mut held = self.leases.lock();
        let next = held.from(now).with(side, lease.from(now));
        let limits = next.limits();
        // Under the lock none of these is given back.
        let forced = self.forced();
        let forced = (forced.of_plain(limits.webrtc.is_some()), forced.webrtc);
        // Every change of the limits is another generation of the word: always one that never was before.
        self.end.change(next.end(), |_| self.mark.try_set(limits, side, forced))?;
        *held = next;
        Ok(())
    }

    /// Ends what is over by now, as the next admission would.
    pub fn settle(&self, now: Tick) {
        if super::Ends::over(&&self.end, now) {
            self.expire(now);
        }
    }

    #[cold]
    fn expire(&self, now: Tick) {
        let mut held = self.leases.lock();
        let next = held.from(now);
        if next != *held {
            self.put(&mut held, next);
        }
    }

    fn put(&self, held: &mut Leases, next: Leases) {
        self.end.change_to(next.end(), |_| self.mark.set(next.limits()));
        *held = next;
    }
}

impl Leases {
    fn with(mut self, side: Side, lease: Lease) -> Self {
        match (side, &mut self.webrtc) {
            (Side::Plain, _) => self.plain = lease,
            (Side::Webrtc, Some(webrtc)) => *webrtc = lease,
            (Side::Webrtc, None) => {}
        }
        self
    }
}

#[derive(Debug, Clone, Copy)]
struct ForcedSessions {
    plain: u32,
    webrtc: u32,
}

impl ForcedSessions {
    /// Those that count toward the plain limit; `apart`: WebRTC sessions don't.
    const fn of_plain(self, apart: bool) -> u32 {
        if apart { self.plain } else { self.plain.saturating_add(self.webrtc) }
    }
}
