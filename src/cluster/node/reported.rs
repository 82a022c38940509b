//! What is reported of a resource, and what is capped over the whole cluster.

use super::Cluster;
use crate::cluster::export::ExportView;
use crate::cluster::pools::Pools;
use crate::cluster::resource::ResourceIndex;
use crate::cluster::usage::{Usage, usage};
use crate::units::Tick;

impl Cluster {
    /// What is to be reported of a resource; `peak`: the most in use since the last report; `capped`: as the profile says.
    #[must_use]
    pub fn usage(
        &self,
        resource: ResourceIndex,
        peak: u32,
        capped: bool,
        now: Tick,
        pools: &dyn Pools,
    ) -> Option<Usage> {
        let (kind, home, lent) = self.engine.home_and_lent(resource)?;
        Some(usage(pools.used(resource, now).used, peak, home, lent, kind, capped))
    }

    /// Export control over the whole cluster: looks at a hard resource of which all together may use `cap` units; says
    /// whether new calls are refused here. Called after each committed admission that reaches the limit, and each tick.
    pub fn look_export(&mut self, resource: ResourceIndex, cap: u64, now: Tick, pools: &dyn Pools) -> bool {
        let Some((id, limit, none_spare)) = self.engine.scarcity(resource) else { return false };
        let used = pools.used(resource, now).used;
        let used_by_all = self.presence.hint_sum(id, now).used.saturating_add(u64::from(used));
        let latch = self.latches.entry(resource).or_default();
        let latched = latch.look(&ExportView { used, limit, none_spare, used_by_all, cap });
        let wanted = latch.wanted(used, limit).unwrap_or(0);
        self.engine.set_wanted_min(resource, wanted);
        latched
    }
}
