//! What a node says of itself and of the others: usage, export control, who answers. It moves nothing.

use super::Cluster;
use crate::cluster::export::ExportView;
use crate::cluster::ids::NodeName;
use crate::cluster::pools::Pools;
use crate::cluster::presence::{HintSum, Refused};
use crate::cluster::resource::{Licenses, ResourceId, ResourceIndex};
use crate::cluster::usage::{Usage, usage};
use crate::units::Tick;

impl Cluster {
    /// Why nothing is shared with a peer, if nothing is.
    #[must_use]
    pub fn refusal(&self, peer: &NodeName) -> Option<Refused> {
        self.presence.refusal(peer)
    }

    /// Those that answer.
    pub fn reachable(&self) -> impl Iterator<Item = &NodeName> {
        self.presence.reachable()
    }

    /// Who is lost: silent for so long that its licenses are kept, or out of use.
    pub fn lost(&self) -> impl Iterator<Item = &NodeName> {
        self.retained.lost()
    }

    /// Who has something to spare, by what was said lately: the most first.
    #[must_use]
    pub fn with_surplus(&self, resource: &ResourceId, now: Tick) -> Vec<(NodeName, Licenses)> {
        self.presence.with_surplus(resource, now)
    }

    /// Sums over what peers said lately, this node left out. Hints: for alarms and views, not for decisions.
    #[must_use]
    pub fn hint_sum(&self, resource: &ResourceId, now: Tick) -> HintSum {
        self.presence.hint_sum(resource, now)
    }

    /// What was ignored so far, by reason.
    pub fn ignored(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.presence.ignored()
    }

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
