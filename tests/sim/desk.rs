//! The pools of a node: the product's own limits, as its gate uses them.

use callgate::cluster::{Kind, Pools, ResourceIndex};
use callgate::limits::{
    InUse, Latch, Lease, LeasedRate, LeasedTiers, LeasedWatermark, Offered, RatePolicy, Side, Used,
};
use callgate::units::{Cps, Tick};
use std::sync::Arc;

/// Calls per second that any window here may be set to at least.
const RATE_MAX: u32 = 1023;

/// Which of the product's limits a resource is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    Rate,
    Sessions,
    Export,
    Webrtc,
}

impl Limit {
    pub const fn kind(self) -> Kind {
        match self {
            Self::Rate => Kind::Rate,
            Self::Sessions | Self::Export | Self::Webrtc => Kind::Session,
        }
    }
}

#[derive(Debug)]
enum Real {
    Rate(Box<LeasedRate>),
    Sessions(LeasedTiers),
    Mark(Arc<LeasedWatermark>, Side),
}

/// One pool.
#[derive(Debug)]
pub struct Desk {
    real: Real,
    /// The lease in force.
    lease: Lease,
    attempts: u32,
    refused: u32,
    pub reconciled: bool,
    /// Export control has closed the gate.
    pub latched: bool,
    /// Mutant: the window is nine tenths of a second.
    short: bool,
}

impl Desk {
    const fn seen(&self, now: Tick) -> Tick {
        if self.short { Tick(now.0 + now.0 / 9) } else { now }
    }

    fn seen_lease(&self, lease: Lease) -> Lease {
        Lease { valid_until: lease.valid_until.map(|end| self.seen(end)), ..lease }
    }

    /// The limit at an instant, by the lease alone: looking changes nothing.
    pub fn limit(&self, now: Tick) -> u32 {
        self.lease.at(now)
    }

    /// A call asks for a unit.
    pub fn take(&mut self, now: Tick) -> bool {
        let seen = self.seen(now);
        let taken = match &self.real {
            _ if self.latched => false,
            Real::Rate(rate) => rate.take(seen, 0),
            Real::Sessions(tiers) => tiers.take(0, 1, 0, seen),
            Real::Mark(mark, side) => match mark.take(*side == Side::Webrtc, 0, seen) {
                Ok(taken) => {
                    mark.mark().commit(taken);
                    true
                }
                Err(_) => false,
            },
        };
        self.attempts += 1;
        self.refused += u32::from(!taken);
        taken
    }

    /// An emergency call takes one where there is none.
    pub fn force(&mut self, now: Tick) {
        match &self.real {
            Real::Rate(rate) => rate.force(self.seen(now)),
            Real::Sessions(tiers) => tiers.force(0, 1),
            Real::Mark(mark, side) => mark.force(*side == Side::Webrtc),
        }
    }

    pub fn release(&self, forced: bool) {
        match (&self.real, forced) {
            (Real::Rate(_), _) => {}
            (Real::Sessions(tiers), false) => tiers.release(0, 1),
            (Real::Sessions(tiers), true) => tiers.release_forced(0, 1),
            (Real::Mark(mark, side), false) => mark.mark().release(*side == Side::Webrtc),
            (Real::Mark(mark, side), true) => mark.release_forced(*side == Side::Webrtc),
        }
    }

    /// A call that the journal knows.
    pub fn recover(&self) {
        match &self.real {
            Real::Rate(_) => {}
            Real::Sessions(tiers) => tiers.tiers().force(0, 1),
            Real::Mark(mark, side) => mark.mark().force(*side == Side::Webrtc),
        }
    }

    /// An admission of the last second that the journal knows.
    pub fn restore(&self, stamp: Tick, now: Tick) {
        if let Real::Rate(rate) = &self.real {
            rate.restore(self.seen(stamp), self.seen(now));
        }
    }

    /// The last second isn't known.
    pub fn fill(&self, now: Tick) {
        if let Real::Rate(rate) = &self.real {
            rate.fill(self.seen(now));
        }
    }

    pub fn used(&self, now: Tick) -> Used {
        match &self.real {
            Real::Rate(rate) => rate.used(self.seen(now)),
            Real::Sessions(tiers) => tiers.used(0),
            Real::Mark(mark, side) => mark.used(*side),
        }
    }
}

/// All pools of a node.
#[derive(Debug)]
pub struct Desks(pub Vec<Desk>);

impl Desks {
    pub fn new(limits: &[Limit], rate_max: u32, short: bool, now: Tick) -> Self {
        let nothing = Lease::fixed(0);
        let mark = Arc::new(LeasedWatermark::new(nothing, Some(nothing), Latch::Spare));
        let real = |limit: &Limit| match limit {
            Limit::Rate => {
                let rate = LeasedRate::new(nothing, Cps::saturating(rate_max.max(RATE_MAX)), RatePolicy::Strict);
                rate.stretch(Tick(if short { now.0 + now.0 / 9 } else { now.0 }));
                Real::Rate(Box::new(rate))
            }
            Limit::Sessions => Real::Sessions(LeasedTiers::new(&[Some(nothing)])),
            Limit::Export => Real::Mark(Arc::clone(&mark), Side::Plain),
            Limit::Webrtc => Real::Mark(Arc::clone(&mark), Side::Webrtc),
        };
        let desk = |limit: &Limit| Desk {
            real: real(limit),
            lease: nothing,
            attempts: 0,
            refused: 0,
            reconciled: true,
            latched: false,
            short,
        };
        Self(limits.iter().map(desk).collect())
    }
}

impl Pools for Desks {
    fn used(&self, resource: ResourceIndex, now: Tick) -> Used {
        self.0[resource.0].used(now)
    }

    fn take_offered(&mut self, resource: ResourceIndex) -> Offered {
        let desk = &mut self.0[resource.0];
        Offered { attempts: std::mem::take(&mut desk.attempts), refused: std::mem::take(&mut desk.refused) }
    }

    fn set(&mut self, resource: ResourceIndex, limit: Lease, now: Tick) {
        let desk = &mut self.0[resource.0];
        desk.lease = limit;
        let (lease, seen) = (desk.seen_lease(limit), desk.seen(now));
        match &desk.real {
            Real::Rate(rate) => rate.set(lease, seen),
            Real::Sessions(tiers) => tiers.set(0, Some(lease), seen),
            Real::Mark(mark, side) => mark.set(*side, lease, seen),
        }
    }

    fn try_lower(&mut self, resource: ResourceIndex, limit: Lease, now: Tick) -> Result<(), InUse> {
        let desk = &mut self.0[resource.0];
        let (lease, seen) = (desk.seen_lease(limit), desk.seen(now));
        match &desk.real {
            Real::Rate(rate) => rate.try_lower(lease, seen)?,
            Real::Sessions(tiers) => tiers.try_lower(0, lease, seen)?,
            Real::Mark(mark, side) => mark.try_lower(*side, lease, seen)?,
        }
        desk.lease = limit;
        Ok(())
    }

    fn is_reconciled(&self, resource: ResourceIndex) -> bool {
        self.0[resource.0].reconciled
    }
}
