//! The seam to the limits that the fast path reads. The gate implements it; so does the simulator, over the same limits.

use super::resource::ResourceIndex;
use crate::limits::{InUse, Lease, Offered, Used};
use crate::units::Tick;

/// The pools of a node.
pub trait Pools {
    /// What is in use.
    fn used(&self, resource: ResourceIndex, now: Tick) -> Used;

    /// What was asked for since the last call.
    fn take_offered(&mut self, resource: ResourceIndex) -> Offered;

    /// Sets the limit at once: a raise, or a forced lowering, which leaves `used` above it. From `valid_until` on, by the
    /// clock of the admission itself, the limit is `floor`: what is borrowed ends though no task has run.
    fn set(&mut self, resource: ResourceIndex, limit: Lease, now: Tick);

    /// Lowers the limit if no more than that is in use, forced units apart: check and change are one step.
    ///
    /// # Errors
    /// If more is in use. Nothing changed.
    fn try_lower(&mut self, resource: ResourceIndex, limit: Lease, now: Tick) -> Result<(), InUse>;

    /// Whether what is in use is known in full: after a restart, once the proxy has said which calls live, or a grace has
    /// passed. Until then nothing that was adopted is given back.
    fn is_reconciled(&self, _resource: ResourceIndex) -> bool {
        true
    }
}
