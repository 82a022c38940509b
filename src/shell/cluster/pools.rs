//! The gate's limits, as the cluster's driver moves them.

use std::sync::Arc;

use super::setup::Shared;
use crate::cluster::{Lease, Offered, Pools, ResourceIndex, Used};
use crate::limits::InUse;
use crate::shell::context::Context;
use crate::units::Tick;

/// The pools of a driver: those of the core, and which of them ran low.
pub trait DriverPools: Pools + Send {
    /// Which pools ran low since the last call.
    fn take_low_water(&mut self) -> Vec<ResourceIndex>;
}

/// The gate's pools of these resources.
#[must_use]
pub fn gate_pools(_context: &Arc<Context>, _shared: &[Shared]) -> Box<dyn DriverPools> {
    Box::new(Unmoved)
}

/// Limits that nobody moves: all of them counts as used, so nothing is lent, and nothing borrowed would be admitted.
#[derive(Debug)]
struct Unmoved;

impl Pools for Unmoved {
    fn used(&self, _resource: ResourceIndex, _now: Tick) -> Used {
        Used { used: u32::MAX, forced: 0 }
    }

    fn take_offered(&mut self, _resource: ResourceIndex) -> Offered {
        Offered::default()
    }

    fn set(&mut self, _resource: ResourceIndex, _limit: Lease, _now: Tick) {}

    fn try_lower(&mut self, _resource: ResourceIndex, _limit: Lease, _now: Tick) -> Result<(), InUse> {
        Err(InUse { used: u32::MAX })
    }
}

impl DriverPools for Unmoved {
    fn take_low_water(&mut self) -> Vec<ResourceIndex> {
        Vec::new()
    }
}
