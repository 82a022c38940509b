//! The cluster's view of the gate's limits.

use std::sync::Arc;

use crate::admission::{Gate, Journal, NodePool, OfferedTotal};
use crate::cluster::{Pools, ResourceIndex};
use crate::limits::{InUse, Lease, Offered, Used};
use crate::units::{Now, Tick, UnixMillis};

/// The pools of a gate that nodes share, in the order of the cluster's resources.
///
/// Made before the first call is admitted: from then on each of them admits what the cluster gave, which is nothing at first.
#[derive(Debug)]
pub struct NodePools<J: Journal> {
    gate: Arc<Gate<J>>,
    pools: Vec<NodePool>,
    seen: Vec<OfferedTotal>,
}

/// Limits are judged by the boot clock alone.
const fn at(tick: Tick) -> Now {
    Now { tick, wall: UnixMillis(0) }
}

fn since(now: u64, seen: u64) -> u32 {
    u32::try_from(now.saturating_sub(seen)).unwrap_or(u32::MAX)
}

impl<J: Journal> NodePools<J> {
    /// Takes over these pools of the gate; resource 0 is the first one.
    #[must_use]
    pub fn new(gate: Arc<Gate<J>>, pools: Vec<NodePool>, now: Tick) -> Self {
        let seen = pools.iter().map(|pool| gate.pool_offered(*pool)).collect();
        for pool in &pools {
            gate.set_lease(*pool, Lease::fixed(0), at(now));
        }
        Self { gate, pools, seen }
    }

    /// The gate's pool of a resource.
    #[must_use]
    pub fn pool(&self, resource: ResourceIndex) -> Option<NodePool> {
        self.pools.get(resource.0).copied()
    }

    /// Asks to be told when no more than `mark` units are free, or one is refused; see [`Gate::arm_low_water`].
    pub fn arm_low_water(&self, resource: ResourceIndex, mark: u32) {
        if let Some(pool) = self.pool(resource) {
            self.gate.arm_low_water(pool, mark);
        }
    }

    /// Which resources ran low since the last call of this. None of them is watched until it is armed again.
    pub fn take_low_water(&self) -> impl Iterator<Item = ResourceIndex> {
        let low = |(index, pool): (usize, &NodePool)| self.gate.take_low_water(*pool).then_some(ResourceIndex(index));
        self.pools.iter().enumerate().filter_map(low)
    }

    /// Whether the cluster has none of a resource to spare; see [`Gate::set_scarce`].
    pub fn set_scarce(&self, resource: ResourceIndex, scarce: bool, now: Tick) {
        if let Some(pool) = self.pool(resource) {
            self.gate.set_scarce(pool, scarce, at(now));
        }
    }
}

impl<J: Journal> Pools for NodePools<J> {
    fn used(&self, resource: ResourceIndex, now: Tick) -> Used {
        self.pool(resource).map_or(Used::default(), |pool| self.gate.pool_used(pool, at(now)))
    }

    fn take_offered(&mut self, resource: ResourceIndex) -> Offered {
        let Some((pool, seen)) = self.pools.get(resource.0).zip(self.seen.get_mut(resource.0)) else {
            return Offered::default();
        };
        let total = self.gate.pool_offered(*pool);
        let before = std::mem::replace(seen, total);
        Offered { attempts: since(total.attempts, before.attempts), refused: since(total.refused, before.refused) }
    }

    fn set(&mut self, resource: ResourceIndex, limit: Lease, now: Tick) {
        if let Some(pool) = self.pool(resource) {
            self.gate.set_lease(pool, limit, at(now));
        }
    }

    fn try_lower(&mut self, resource: ResourceIndex, limit: Lease, now: Tick) -> Result<(), InUse> {
        self.pool(resource).map_or(Ok(()), |pool| self.gate.try_lower_lease(pool, limit, at(now)))
    }
}
