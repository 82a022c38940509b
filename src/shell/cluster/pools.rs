//! The gate's limits, as the cluster's driver moves them.
//!
//! What must stay true: a limit that licensing lifted shows no use and no demand here, so that nothing is borrowed for it; and
//! a driver that starts sets every limit anew from its ledger, down before up.

use std::sync::Arc;

use super::setup::Shared;
use crate::cluster::{Lease, Offered, Pools, ResourceIndex, Used};
use crate::limits::InUse;
use crate::node::NodePools;
use crate::shell::context::Context;
use crate::shell::journal::ShardJournal;
use crate::units::{NANOS_PER_SECOND, Tick};

/// The pools of a driver: those of the core, and which of them ran low.
pub trait DriverPools: Pools + Send {
    /// Which pools ran low since the last call.
    fn take_low_water(&mut self) -> Vec<ResourceIndex>;

    /// Asks for the driver to be woken when no more than `mark` units of a pool are free, or one is refused.
    fn arm_low_water(&mut self, resource: ResourceIndex, mark: u32);

    /// Whether the cluster has none of a capped resource to spare: then a full pool closes until use has fallen.
    fn set_scarce(&mut self, resource: ResourceIndex, scarce: bool, now: Tick);
}

/// The gate's pools of these resources.
#[must_use]
pub fn gate_pools(context: &Arc<Context>, shared: &[Shared]) -> Box<dyn DriverPools> {
    let pools = shared.iter().map(|of| of.pool).collect();
    let now = context.clock.tick();
    Box::new(GatePools { pools: NodePools::new(Arc::clone(&context.gate), pools, now), context: Arc::clone(context) })
}

/// The pools of the gate.
#[derive(Debug)]
struct GatePools {
    pools: NodePools<ShardJournal>,
    context: Arc<Context>,
}

impl GatePools {
    /// Licensing limits it just now.
    fn is_limited(&self, resource: ResourceIndex) -> bool {
        self.pools.pool(resource).is_some_and(|pool| self.context.gate.pool_is_limited(pool))
    }
}

impl Pools for GatePools {
    fn used(&self, resource: ResourceIndex, now: Tick) -> Used {
        if self.is_limited(resource) { self.pools.used(resource, now) } else { Used::default() }
    }

    fn take_offered(&mut self, resource: ResourceIndex) -> Offered {
        let offered = self.pools.take_offered(resource);
        if self.is_limited(resource) { offered } else { Offered::default() }
    }

    fn set(&mut self, resource: ResourceIndex, limit: Lease, now: Tick) {
        self.pools.set(resource, limit, now);
    }

    fn try_lower(&mut self, resource: ResourceIndex, limit: Lease, now: Tick) -> Result<(), InUse> {
        self.pools.try_lower(resource, limit, now)
    }

    /// Proxies had the grace that their suspect calls have to say which live: what came back from the journal, or was torn out of
    /// it, is known by now.
    fn is_reconciled(&self, _resource: ResourceIndex) -> bool {
        let grace = u64::from(self.context.gate.policy().leases.suspect_grace_s).saturating_mul(NANOS_PER_SECOND);
        self.context.clock.tick().nanos_since(self.context.started.tick) >= grace
    }
}

impl DriverPools for GatePools {
    fn take_low_water(&mut self) -> Vec<ResourceIndex> {
        self.pools.take_low_water().collect()
    }

    fn arm_low_water(&mut self, resource: ResourceIndex, mark: u32) {
        if self.is_limited(resource) {
            self.pools.arm_low_water(resource, mark);
        }
    }

    fn set_scarce(&mut self, resource: ResourceIndex, scarce: bool, now: Tick) {
        self.pools.set_scarce(resource, scarce, now);
    }
}
